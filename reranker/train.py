"""python -m reranker.train RUN_DIR: the child process that trains.

It gets files and gives files. RUN_DIR holds `config.json` (see `jobs.py`), `train.jsonl`, `dev.jsonl` and `test.jsonl`.
While it works, events go to stdout, one JSON object to a line. The model is written to RUN_DIR/model and last of all
RUN_DIR/manifest.json: only a run that has a manifest has succeeded. It never opens the database.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from reranker.dataset import SPLITS, JudgedQuery, LabelledPair, Suspect, queries_that_tell, read_pairs
from reranker.environment import environment
from reranker.evaluation import Evaluation, compare, evaluate
from reranker.first_token import shorten
from reranker.general import general_queries
from reranker.loading import cpu_precision, tokenizer_of
from reranker.model import Reranker
from reranker.recipe import RECIPES
from reranker.suspects import find_suspects

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# A training step on a pair costs about three times a forward pass over it: forward, and backward twice that.
TRAINING_COST = 3
MEASURED = ("dev", "test")


class Reporter:
    """Writes events for the parent, and knows how much of the whole work is done."""

    def __init__(self, stream: TextIO, total_work: float) -> None:
        self.stream = stream
        self.total_work = max(total_work, 1)
        self.finished_work = 0.0
        self.started = time.monotonic()

    def event(self, kind: str, **values: Any) -> None:
        """Write one event."""
        self.stream.write(json.dumps({"event": kind, "time": time.time(), **values}) + "\n")
        self.stream.flush()

    def progress(self, phase: str, work: float, **values: Any) -> None:
        """Report that `work` of this phase is done; the time left assumes the speed so far."""
        share = min((self.finished_work + work) / self.total_work, 1.0)
        elapsed = time.monotonic() - self.started
        left = elapsed / share - elapsed if share > 0 else None
        self.event("progress", phase=phase, progress=share, seconds_left=left, **values)

    def finish_phase(self, work: float) -> None:
        self.finished_work += work


def run(run_dir: Path, stream: TextIO) -> None:
    """Measure the champion, train the challenger, save it, measure it, and write the manifest."""
    config = json.loads((run_dir / "config.json").read_text())
    pairs = {split: read_pairs(run_dir / f"{split}.jsonl") for split in SPLITS}
    sets = {split: queries_that_tell(pairs[split]) for split in MEASURED} | {"general": general_queries()}
    labelled = [pair for split in SPLITS for pair in pairs[split]]
    to_measure = sum(len(judged.passages) for queries in sets.values() for judged in queries)
    work = 2 * to_measure + len(labelled) + TRAINING_COST * config["epochs"] * len(pairs["train"])
    reporter = Reporter(stream, work)

    reporter.progress("Loading the models", 0)
    reranker = load(Path(config["champion_path"]))
    champion = measure(reranker, sets, reporter, "Measuring the active model")
    suspects = look_for_suspects(reranker, labelled, reporter)
    del reranker
    model_dir = run_dir / "model"
    train(config, pairs["train"], model_dir, reporter)
    reporter.progress("Trying out the new model", 0)
    challenger = measure(load(model_dir), sets, reporter, "Measuring the new model")
    write_manifest(run_dir, champion, challenger, len(pairs["train"]), suspects)
    reporter.event("done")


def load(model_dir: Path) -> Reranker:
    """The model in `model_dir`, tried out."""
    # With torch, which is loaded anyway: to convert a model that is measured once would take longer than measuring.
    reranker = Reranker(model_dir, engine="torch")
    reranker.smoke_test()
    return reranker


def measure(
    reranker: Reranker, sets: dict[str, list[JudgedQuery]], reporter: Reporter, phase: str
) -> dict[str, Evaluation]:
    """The figures of a model on each set that has queries."""
    figures = {}
    for split, queries in sets.items():
        pairs = [(judged.query, passage) for judged in queries for passage in judged.passages]
        if not pairs:
            continue
        scores = iter(_score(reranker, pairs, reporter, phase))
        figures[split] = evaluate(queries, [[next(scores) for _ in judged.passages] for judged in queries])
    return figures


def look_for_suspects(reranker: Reranker, pairs: list[LabelledPair], reporter: Reporter) -> list[Suspect]:
    """The labels that the others contradict most, going by the scores of the champion."""
    scores = _score(reranker, [(pair.query, pair.passage) for pair in pairs], reporter, "Looking for doubtful labels")
    return find_suspects(pairs, scores)


def _score(reranker: Reranker, pairs: list[tuple[str, str]], reporter: Reporter, phase: str) -> list[float]:
    scores = reranker.scores(pairs, on_progress=lambda done, _: reporter.progress(phase, done))
    reporter.finish_phase(len(pairs))
    return scores


def train(config: dict[str, Any], pairs: list[LabelledPair], model_dir: Path, reporter: Reporter) -> None:
    """Fine-tune the base model on `pairs` with sentence-transformers' own trainer, and save it with its model card."""
    from datasets import Dataset
    from sentence_transformers import CrossEncoder, CrossEncoderModelCardData
    from sentence_transformers.cross_encoder import CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    fast = RECIPES[config["recipe"]].fast
    card = CrossEncoderModelCardData(local_files_only=True)
    model = CrossEncoder(
        config["base_path"], local_files_only=True, model_card_data=card, model_kwargs={"use_safetensors": True}
    )
    # The card would find the base only by asking the Hub; the parent knows it.
    card.base_model = config["base_name"]
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(model_dir.parent / "checkpoints"),
        per_device_train_batch_size=config["batch_size"],
        per_device_eval_batch_size=config["batch_size"],
        num_train_epochs=config["epochs"],
        learning_rate=config["learning_rate"],
        seed=config["seed"],
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        bf16=fast and has_bfloat16(),
    )
    # Column names as sentence-transformers gives them to unnamed pairs, so that the card reads as its cards do.
    dataset = Dataset.from_dict(
        {
            "sentence_0": [pair.query for pair in pairs],
            "sentence_1": [pair.passage for pair in pairs],
            "label": [float(pair.label) for pair in pairs],
        }
    )
    work = TRAINING_COST * config["epochs"] * len(pairs)
    make_trainer = _fast_trainer(model, pairs) if fast else _plain_trainer()
    if fast:
        shorten(model.model)
    trainer = make_trainer(
        model=model,
        args=arguments,
        train_dataset=dataset,
        loss=BinaryCrossEntropyLoss(model),
        callbacks=[_steps_to(reporter, work)],
    )
    trainer.train()
    reporter.finish_phase(work)
    reporter.progress("Saving the new model", 0)
    model.save_pretrained(str(model_dir))
    if not config["base_on_hub"]:
        _unlink_base(model_dir / "README.md", config["base_name"])


def has_bfloat16() -> bool:
    """Whether training in bfloat16 is faster than in float32 here."""
    import torch

    return torch.cuda.is_bf16_supported() if torch.cuda.is_available() else cpu_precision() == "bfloat16"


def _plain_trainer() -> Callable:
    from sentence_transformers.cross_encoder import CrossEncoderTrainer

    return CrossEncoderTrainer


def _fast_trainer(model: CrossEncoder, pairs: list[LabelledPair]) -> Callable:
    """What makes a trainer that works through batches in parts; the pairs' tokens are counted once, before."""
    from reranker.trainer import MicroBatchTrainer

    texts = [(pair.query, pair.passage) for pair in pairs]
    tokens = dict(zip(texts, (len(pair.ids) for pair in tokenizer_of(model).encode(texts)), strict=True))
    return functools.partial(MicroBatchTrainer, count_tokens=lambda query, passage: tokens[query, passage])


def _unlink_base(card: Path, base_name: str) -> None:
    """Take the link to the base model out of a model card: it leads nowhere when the base is not on the Hub."""
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace(f"[{base_name}](https://huggingface.co/{base_name})", base_name), encoding="utf-8")


def _steps_to(reporter: Reporter, work: float) -> Any:
    """A trainer callback that reports each step with its loss."""
    from transformers import TrainerCallback

    class ReportSteps(TrainerCallback):
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            reporter.progress("Training", 0, step=0, total_steps=state.max_steps)

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" not in logs:
                return
            reporter.progress(
                "Training",
                work * state.global_step / max(state.max_steps, 1),
                step=state.global_step,
                total_steps=state.max_steps,
                loss=logs["loss"],
                epoch=state.epoch,
                learning_rate=logs["learning_rate"],
            )

    return ReportSteps()


def write_manifest(
    run_dir: Path,
    champion: dict[str, Evaluation],
    challenger: dict[str, Evaluation],
    labels: int,
    suspects: list[Suspect],
) -> None:
    """Write what came out of the run, in one step: a manifest is either whole or not there."""
    comparisons = {split: asdict(compare(champion[split], challenger[split])) for split in champion}
    manifest = {
        "labels": labels,
        "champion": {split: asdict(evaluation) for split, evaluation in champion.items()},
        "challenger": {split: asdict(evaluation) for split, evaluation in challenger.items()},
        "comparison": comparisons,
        "suspects": [asdict(suspect) for suspect in suspects],
        "environment": environment(),
    }
    unfinished = run_dir / "manifest.json.part"
    unfinished.write_text(json.dumps(manifest, indent=1))
    unfinished.rename(run_dir / "manifest.json")


def guarded(work: Callable[[Path, TextIO], None], run_dir: Path, stream: TextIO) -> int:
    """Do the work; an error becomes an `error` event, its traceback goes to the log. Returns the exit status."""
    try:
        work(run_dir, stream)
    except Exception as error:
        stream.write(json.dumps({"event": "error", "time": time.time(), "message": _explain(error)}) + "\n")
        stream.flush()
        import traceback

        traceback.print_exc()
        return 1
    return 0


def _explain(error: Exception) -> str:
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The memory ran out. Try a smaller batch size."
    return f"{type(error).__name__}: {str(error).strip()[:500]}"


if __name__ == "__main__":
    # Libraries print to stdout as they like; only events may go there, so their output is sent to the log.
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # Answering people comes first: training takes the processor time that is left.
    os.nice(10)
    sys.exit(guarded(run, Path(sys.argv[1]), events))
