"""python -m labeling.hub_dataset: look a dataset of the Hub up, or write its first rows into a file.

    choices ID [SUBSET]                  what there is to choose from: subsets, and the splits of one of them
    rows ID SUBSET SPLIT LIMIT FILE      the first LIMIT rows of a split, as JSON lines

Rows are streamed, so no more of a dataset is fetched than is asked for, and no code of a dataset is ever run. It prints
JSON lines: {"rows": n} now and then, and last {"choices": ...}, {"done": n, "is_all": bool} or {"error": SENTENCE}.
Whoever starts this process holds its standard input: when that is closed, it ends.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errors import first_line

MAX_FILE_BYTES = 1_000_000_000
SECONDS_BETWEEN_REPORTS = 0.5
SECONDS_TO_ANSWER = 10


def choices(dataset_id: str, subset: str | None = None) -> dict[str, Any]:
    """{"subsets": names, "subset": the one that `splits` are of, "splits": names}."""
    from datasets import get_dataset_config_names, get_dataset_split_names
    from huggingface_hub import HfApi

    # It says at once whether the dataset is there; `datasets` tries again for minutes where the Hub is out of reach.
    HfApi().dataset_info(dataset_id, timeout=SECONDS_TO_ANSWER)
    subsets = get_dataset_config_names(dataset_id)
    if subset not in subsets:
        subset = "default" if "default" in subsets else subsets[0]
    return {"subsets": subsets, "subset": subset, "splits": get_dataset_split_names(dataset_id, subset)}


def rows(dataset_id: str, subset: str, split: str) -> Iterator[dict[str, Any]]:
    """The rows of a split as they come; images and sounds as the bytes that they are stored as."""
    from datasets import load_dataset

    found = load_dataset(dataset_id, subset, split=split, streaming=True)
    # What the columns of CSV and JSON hold is not known before they are read; then nothing is decoded anyway.
    yield from found.decode(False) if found.features else found


def write_rows(found: Iterator[dict[str, Any]], limit: int, path: Path) -> tuple[int, bool]:
    """Write up to `limit` rows, and up to MAX_FILE_BYTES; returns how many, and whether these are all there are."""
    written, told = 0, time.monotonic()
    with path.open("w", encoding="utf-8") as lines:
        for row in found:
            if written == limit or lines.tell() > MAX_FILE_BYTES:
                return written, False
            lines.write(json.dumps(row, ensure_ascii=False, default=_as_text) + "\n")
            written += 1
            if time.monotonic() - told > SECONDS_BETWEEN_REPORTS:
                told = time.monotonic()
                _say({"rows": written})
    return written, True


def _as_text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def explain(error: BaseException, dataset_id: str) -> str:
    """What went wrong, for a person."""
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    causes = []
    cause: BaseException | None = error
    while cause is not None and len(causes) < 10:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__

    def is_caused_by(*kinds: type[BaseException]) -> bool:
        return any(isinstance(cause, kinds) for cause in causes)

    if is_caused_by(OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE forbids asking the Hub for {dataset_id}."
    if is_caused_by(GatedRepoError) or "is a gated dataset" in str(error):
        return f"{dataset_id} is gated: accept its terms on the Hub and set HF_TOKEN to a token of yours."
    if is_caused_by(HFValidationError):
        return f"{dataset_id!r} is not the id of a dataset on the Hub, such as owner/name."
    if is_caused_by(DataFilesNotFoundError, EmptyDatasetError):
        return f"{dataset_id} has no files on the Hub that can be read as a table."
    if is_caused_by(DatasetNotFoundError, RepositoryNotFoundError):
        return f"There is no dataset {dataset_id} on the Hub, or it is private and needs HF_TOKEN."
    reason = first_line(error)
    return f"The Hub did not deliver {dataset_id}: {reason}" + ("" if reason.endswith((".", "!", "?")) else ".")


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), file=_answers, flush=True)


def _end_with_stdin() -> None:
    while os.read(0, 1):  # not sys.stdin, whose lock would be held when the interpreter ends
        pass
    os._exit(1)


def main(command: str, dataset_id: str, *arguments: str) -> None:
    """Do what was asked, and print the outcome."""
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        if command == "choices":
            _say({"choices": choices(dataset_id, *arguments)})
        else:
            subset, split, limit, path = arguments
            written, is_all = write_rows(rows(dataset_id, subset, split), int(limit), Path(path))
            _say({"done": written, "is_all": is_all})
    except Exception as error:  # a dataset may be broken in any way, and all that is one thing to a user
        import traceback

        traceback.print_exc()
        _say({"error": explain(error, dataset_id)})
    # Threads that prefetch may still wait for the network.
    os._exit(0)


_answers = sys.stdout
if __name__ == "__main__":
    # Libraries print to stdout as they like; only answers may go there.
    _answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    main(*sys.argv[1:])
