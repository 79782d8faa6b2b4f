"""Datasets of the Hub, brought to this disk by a process of its own (labeling/hub_dataset.py).

In a process, because that can be ended: when somebody stops it, and when the Hub no longer answers. What it writes is
a file of JSON lines, which is then checked and imported like any other.
"""

from __future__ import annotations

import json
import os
import queue
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import HubRefused, InvalidInput
from hub_names import check_repo_id

PROJECT_DIR = Path(__file__).parent.parent
MAX_ROWS = 1_000_000
DEFAULT_ROWS = 10_000
# To import the libraries takes a few seconds already, and the Hub is asked several times before the first row.
SILENT_SECONDS = 45.0


@dataclass(frozen=True)
class Choices:
    """The subsets of a dataset (the Hub's configurations), and the splits of one of them."""

    subsets: list[str]
    subset: str
    splits: list[str]


def look_up(dataset_id: str, subset: str | None = None, silent_seconds: float = SILENT_SECONDS) -> Choices:
    """What there is to choose from. Raises InvalidInput, HubRefused with the reason."""
    command = ["choices", check_id(dataset_id), *([subset] if subset else [])]
    for answer in _answers(command, silent_seconds):
        if "choices" in answer:
            return Choices(**answer["choices"])
    raise HubRefused(f"The Hub did not say what {dataset_id} holds.")


def fetch(
    dataset_id: str, subset: str, split: str, limit: int, path: Path, silent_seconds: float = SILENT_SECONDS
) -> Generator[int, None, bool]:
    """Write the first `limit` rows of a split to `path`; yields how many have come so far, at least once a second.

    Returns whether these are all rows of the split. The download ends when the generator is closed. Raises
    InvalidInput, HubRefused with the reason.
    """
    if not 1 <= limit <= MAX_ROWS:
        raise InvalidInput(f"So many rows cannot be fetched: take from 1 to {MAX_ROWS:,}.")
    rows = 0
    for answer in _answers(["rows", check_id(dataset_id), subset, split, str(limit), str(path)], silent_seconds):
        rows = answer.get("done", answer.get("rows", rows))
        yield rows
        if "done" in answer:
            return bool(answer["is_all"])
    raise HubRefused(f"The download of {dataset_id} broke off.")


def check_id(dataset_id: str) -> str:
    """The id without the spaces and the address around it, which may be that of any page of the dataset. Raises
    InvalidInput unless it is of the form owner/name."""
    path = re.sub(r"^(https?://[^/]+/)?(datasets/)?", "", dataset_id.strip())
    of_a_page = re.match(r"[^/?#]+/[^/?#]+", path) if "://" in dataset_id else None
    return check_repo_id(of_a_page[0] if of_a_page else path.rstrip("/"), "The dataset")


def _answers(command: list[str], silent_seconds: float) -> Iterator[dict[str, Any]]:
    """What the process answers, line by line, and {} for each second without an answer, in which it can be stopped.

    Raises HubRefused for an error, and when nothing comes for so long.
    """
    with tempfile.TemporaryDirectory() as nowhere, _child(command, nowhere) as child:
        lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=_read, args=(child.stdout, lines), daemon=True).start()
        silent_since = time.monotonic()
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                if time.monotonic() - silent_since > silent_seconds:
                    asked = f"when asked for {command[1]}"
                    raise HubRefused(f"The Hub did not answer for {silent_seconds:.0f} seconds {asked}.") from None
                yield {}
                continue
            if line is None:
                return
            silent_since = time.monotonic()
            answer = json.loads(line)
            if "error" in answer:
                raise HubRefused(answer["error"])
            yield answer


@contextmanager
def _child(command: list[str], directory: str) -> Iterator[subprocess.Popen]:
    # In an empty directory, so that no folder of this machine is taken for a dataset of that name.
    child = subprocess.Popen(
        [sys.executable, "-m", "labeling.hub_dataset", *command],
        cwd=directory,
        env=os.environ | {"PYTHONPATH": str(PROJECT_DIR), "HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # ctrl+c is for the app; this ends when its standard input is closed
    )
    try:
        yield child
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            pipe.close()  # type: ignore[union-attr]


def _read(lines: Iterator[str], into: queue.Queue[str | None]) -> None:
    try:
        for line in lines:
            into.put(line)
    except ValueError:  # the pipe was closed
        pass
    into.put(None)
