"""Measuring a model within a run: the scores it gives to the sets, and what they say. May be broken off."""

from __future__ import annotations

import hashlib
from pathlib import Path

from reranker.dataset import JudgedQuery, LabelledPair, Suspect, part_by_query, texts_of
from reranker.engine import Plan
from reranker.evaluation import Evaluation, evaluate
from reranker.model import Reranker
from reranker.reporter import PhaseReporter, Reporter
from reranker.run_files import RunFiles
from reranker.suspects import find_suspects

# What it costs to load a model and to try it out, in pairs that are scored: see STEP_COST in training.py.
LOADING = 200


class Stopped(Exception):
    """Somebody asked the run to stop."""


# How the models of each kind are scored; see _kind.
_checked: dict[str, Plan] = {}


def load(model_dir: Path, reporter: Reporter | PhaseReporter | None = None) -> Reranker:
    """The model in `model_dir`, tried out; a `reporter` counts that as LOADING.

    Whether it is scored as sentence-transformers would is checked once for all models of one configuration and
    tokenizer: it does not hang on the weights, and takes longer than to measure some dozen queries.
    """
    kind = _kind(model_dir)
    # With torch, which is loaded anyway: to convert a model that is measured once would take longer than measuring.
    reranker = Reranker(model_dir, engine="torch", checked=_checked.get(kind))
    reranker.smoke_test()
    _checked[kind] = reranker.loaded.engine.plan
    if reporter:
        reporter.finish_phase(LOADING)
    return reranker


def _kind(model_dir: Path) -> str:
    digest = hashlib.sha256()
    for name in ("config.json", "tokenizer.json", "modules.json"):
        if (model_dir / name).is_file():
            digest.update((model_dir / name).read_bytes())
    return digest.hexdigest()


def measure(
    reranker: Reranker,
    sets: dict[str, list[JudgedQuery]],
    reporter: Reporter | PhaseReporter,
    phase: str,
    files: RunFiles | None = None,
) -> dict[str, Evaluation]:
    """The figures of a model on each set that has queries. With `files`, raises Stopped when that is asked for."""
    figures = {}
    for split, queries in sets.items():
        if pairs := texts_of(queries):
            scores = _score(reranker, pairs, reporter, phase, files)
            figures[split] = evaluate(queries, part_by_query(queries, scores))
    return figures


def look_for_suspects(
    reranker: Reranker, pairs: list[LabelledPair], reporter: Reporter | PhaseReporter, files: RunFiles | None = None
) -> list[Suspect]:
    """The labels that the others contradict most, going by the scores of a model that has learned from none of them."""
    texts = [(pair.query, pair.passage) for pair in pairs]
    return find_suspects(pairs, _score(reranker, texts, reporter, "Looking for doubtful labels", files))


def _score(
    reranker: Reranker,
    pairs: list[tuple[str, str]],
    reporter: Reporter | PhaseReporter,
    phase: str,
    files: RunFiles | None,
) -> list[float]:
    def report(done: int, _: int) -> None:
        if files and files.stop.is_file():
            raise Stopped
        reporter.progress(phase, done)

    scores = reranker.scores(pairs, report)
    reporter.finish_phase(len(pairs))
    return scores
