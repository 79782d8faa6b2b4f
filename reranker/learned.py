"""What a version has learned from, and what it was made from before it: nothing of that says how good it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from reranker.run_files import RunFiles
from storage.model_store import ModelStore
from storage.records import ModelVersion


def learned_by(
    versions: Iterable[ModelVersion], models: ModelStore, files: Callable[[str], RunFiles]
) -> list[str] | None:
    """The ids of the queries that these versions, or those that they were made from, were trained on.

    `files` gives the files of a run by its id. None where those of one are no longer on this disk.
    """
    found: set[str] = set()
    for version in versions:
        while version.run_id is not None:
            try:
                found |= {pair.query_id for pair in files(version.run_id).read_sets()["train"]}
            except OSError:
                return None
            version = models.version(version.base, deleted=True)
    return sorted(found)
