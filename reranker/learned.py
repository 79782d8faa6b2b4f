"""What a version has learned from, and what it was made from before it: nothing of that says how good it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from itertools import chain

from reranker import near
from reranker.dataset import HELD_OUT, LabelledPair
from reranker.run_files import RunFiles
from storage.label_store import LabelStore
from storage.model_store import ModelStore
from storage.records import ModelVersion

# What sets queries of the present labels apart from those that were learned from, which may be the same.
NOW, BEFORE = "now:", "before:"


def learned_by(
    versions: Iterable[ModelVersion], models: ModelStore, files: Callable[[str], RunFiles]
) -> list[LabelledPair] | None:
    """The pairs that these versions, or those that they were made from, were trained on.

    `files` gives the files of a run by its id. None where those of one are no longer on this disk.
    """
    found: dict[LabelledPair, None] = {}
    for version in versions:
        while version.run_id is not None:
            try:
                found |= dict.fromkeys(files(version.run_id).read_sets()["train"])
            except OSError:
                return None
            version = models.version(version.base, deleted=True)
    return list(found)


def queries_learned(
    versions: Iterable[ModelVersion],
    sets: Mapping[str, list[LabelledPair]],
    models: ModelStore,
    files: Callable[[str], RunFiles],
    labels: LabelStore,
) -> set[str] | None:
    """The ids of the queries that these versions have learned from, and of those in these sets that were in another
    guise; None where that is not known any more."""
    learned = learned_by(versions, models, files)
    if learned is None:
        return None
    # Whoever corrects the text of a query gives it another id, and it is no new query for that.
    return labels.as_corrected({pair.query_id for pair in learned}) | met_before(sets, learned)


def met_before(sets: Mapping[str, list[LabelledPair]], learned: list[LabelledPair]) -> set[str]:
    """The ids of the queries in these sets that were learned from, also in another guise: those that say the same as
    one that was, or have most of what is relevant to them in common with it. Labels may have been deleted since, and
    brought back with other queries.
    """
    if not learned:
        return set()
    queries: dict[str, str] = {}
    relevant: list[tuple[str, str]] = []
    for when, pairs in ((NOW, chain(*sets.values())), (BEFORE, learned)):
        for pair in pairs:
            queries[when + pair.query_id] = pair.query
            if pair.label:
                relevant.append((when + pair.query_id, pair.passage))
    # To share one passage of several is not enough: such a one is kept from training where the sets are made.
    group = near.groups(relevant, queries, most=1 / max(len(queries), 1))
    known = {number for name, number in group.items() if name.startswith(BEFORE)}
    return {name.removeprefix(NOW) for name, number in group.items() if name.startswith(NOW) and number in known}


def leave_out(
    sets: Mapping[str, list[LabelledPair]], learned: Collection[str]
) -> tuple[dict[str, list[LabelledPair]], int]:
    """The sets without what is held out of the queries with these ids, which tells nothing any more; and how many
    queries these were."""
    gone = set(learned)
    left = {split: [pair for pair in sets[split] if pair.query_id not in gone] for split in HELD_OUT}
    seen = {pair.query_id for split in HELD_OUT for pair in sets[split]}
    return {**sets, **left}, len(seen & gone)
