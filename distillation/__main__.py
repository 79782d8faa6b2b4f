"""Make the starter model from scratch.

usage: python -m distillation --teacher DIR --data DIR --out DIR [--pairs N] [--steps N] [--seed N] [--work DIR]

--data holds the dataset folders named by --train and --measure. Nothing of the measured ones is trained on. On two CPU
cores the defaults take about three hours; the teacher's scores are kept in --work and used again.
"""

import argparse
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoTokenizer

from distillation.evaluate import SETS, compare_starter, correlation
from distillation.export import MAX_TOKENS, CardFacts, save_student, write_card
from distillation.pairs import Pair, sample_pairs
from distillation.student import build_student, fit_embeddings
from distillation.teacher import encode, load_teacher, score
from distillation.train import TrainSettings, train

log = logging.getLogger("distillation")
HELD_OUT_SHARE = 0.02


@dataclass(frozen=True)
class Sizes:
    """How much of everything: what a test makes small. Layers count from 0, `judged_pairs` are of each judged set."""

    pairs: int = 69_600
    steps: int = 3_400
    embedding_steps: int = 1_000
    embedding_size: int = 144
    intermediate_size: int = 1088
    init_layers: tuple[int, ...] = (0, 2, 5, 7, 9)
    pruning_pairs: int = 256
    judged_pairs: int = 2_000


def held_out(pair: Pair) -> bool:
    """Say whether the pair's query is kept from training, by a hash of its id."""
    return zlib.crc32(pair.query_id.encode()) % 1000 < HELD_OUT_SHARE * 1000


def distil(teacher: str, folders: Sequence[Path], out: Path, work: Path, sizes: Sizes, seed: int) -> float:
    """Make the student, write it to `out` and return its correlation with the teacher on held-out queries."""
    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(teacher)
    pairs = sample_pairs(folders, sizes.pairs, seed)
    log.info("sampled %d pairs", len(pairs))
    rows = encode(tokenizer, pairs, MAX_TOKENS)
    model = load_teacher(teacher)
    logits = score(teacher, rows, work)
    student = build_student(
        model, sizes.init_layers, sizes.embedding_size, sizes.intermediate_size, rows[: sizes.pruning_pairs]
    )
    fit_embeddings(student, model, rows, sizes.embedding_steps)
    is_held_out = np.array([held_out(pair) for pair in pairs])
    seen, kept = np.flatnonzero(~is_held_out), np.flatnonzero(is_held_out)
    settings = TrainSettings(steps=sizes.steps, seed=seed)
    train(student, [pairs[n] for n in seen], [rows[n] for n in seen], logits[seen], settings)
    save_student(student, tokenizer, out)
    scores = CrossEncoder(str(out), device="cpu").predict([(pairs[n].query, pairs[n].passage) for n in kept])
    agreement = correlation(scores, logits[kept])
    log.info("correlation with the teacher on %d held-out pairs: %.4f", len(kept), agreement)
    return agreement


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, make the model, measure it and write its card."""
    sizes = Sizes()
    parser = argparse.ArgumentParser(prog="python -m distillation", description="Make the starter model from scratch.")
    parser.add_argument("--teacher", required=True, help="a BERT CrossEncoder: a directory or a Hub id")
    parser.add_argument("--data", type=Path, required=True, help="the directory of the dataset folders")
    parser.add_argument("--out", type=Path, required=True, help="where the model goes")
    parser.add_argument("--work", type=Path, help="where the teacher's scores are kept (default: OUT.work)")
    parser.add_argument("--train", nargs="+", default=["squad_train", "medquad", "pubmedqa"], help="dataset folders")
    parser.add_argument("--measure", nargs="+", default=list(SETS), help="dataset folders to measure on")
    parser.add_argument("--pairs", type=int, default=sizes.pairs)
    parser.add_argument("--steps", type=int, default=sizes.steps)
    parser.add_argument("--seed", type=int, default=42)
    given = parser.parse_args(arguments)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    log.setLevel(logging.INFO)
    sizes = replace(sizes, pairs=given.pairs, steps=given.steps)
    work = given.work or given.out.with_name(given.out.name + ".work")
    agreement = distil(given.teacher, [given.data / name for name in given.train], given.out, work, sizes, given.seed)
    measured = [given.data / name for name in given.measure]
    report = compare_starter(str(given.out), given.teacher, measured, sizes.judged_pairs, torch.bfloat16, work)
    command = f"python -m distillation --teacher DIR --data DIR --out DIR --pairs {given.pairs} --steps {given.steps}"
    facts = CardFacts(
        command=f"{command} --seed {given.seed}",
        datasets=", ".join(given.train),
        pairs=given.pairs,
        steps=given.steps,
        seed=given.seed,
        correlation=agreement,
        results=f"{report.markdown()}\n\n{report.summary('starter', 'teacher')}",
    )
    write_card(facts, given.out)


if __name__ == "__main__":
    main()
