"""Where a model comes from: a directory, the Hub or its cache, or the starter that ships with the app.

The download runs in a process of its own (reranker/hub_download.py) for one reason: it can be ended. A Hub that does
not answer, or stops sending half way, is given up; when the app starts, it goes on with the starter. What has come is
told by the size of the files in the cache, which need no message from the process that writes them.
"""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from errors import HubRefused, InvalidInput
from reranker.hub_download import IGNORED, NEEDED
from reranker.model import check_model_directory
from storage.records import ModelSource

log = logging.getLogger(__name__)

STARTER_DIR = Path(__file__).parent / "starter"
STARTER_NAME = "rerank-workbench-starter"
PROJECT_DIR = Path(__file__).parent.parent

# A Hub that has sent less than STALL_BYTES in so many seconds counts as not answering: while an app waits for its first
# model, and while somebody waits for one that they asked for.
STALL_SECONDS = 4.5
PATIENT_SECONDS = 30
STALL_BYTES = 50_000
POLL_SECONDS = 0.1
SECONDS_TO_TIDY = 0.3
# How long the process of the download may take until it asks the Hub.
SECONDS_TO_START = 60


@dataclass(frozen=True)
class FoundModel:
    """A model that is on this disk. `notice` says why it is not the one that was asked for, if it is not."""

    source: ModelSource
    name: str
    location: str | None
    path: Path
    notice: str | None = None


def find_model(wanted: str, report: Callable[[str], None]) -> FoundModel:
    """Find the model that the setting RERANKER_MODEL names: a directory, a Hub id, or "starter" for the built-in one.

    `report` gets a line whenever there is something new to say about the download. Where the model is not to be had,
    the starter is returned, with the reason in `notice`; nothing is raised.
    """
    if wanted == "starter":
        return starter()
    if is_directory_name(wanted):
        path = Path(os.path.expanduser(wanted)).absolute()
        try:
            check_model_directory(path)
        except (InvalidInput, OSError) as error:
            return starter(f"RERANKER_MODEL is {wanted!r}, but {error}")
        return FoundModel("directory", path.name, str(path), path)
    try:
        return from_hub(wanted, report)
    except HubRefused as error:
        log.warning("Using the starter model: %s", error)
        return starter(str(error))


def from_hub(model_id: str, report: Callable[[str], None], stall_seconds: float = STALL_SECONDS) -> FoundModel:
    """A model of the Hub, from its cache or else downloaded; `report` is as for `find_model`.

    Raises HubRefused with the reason where it is not to be had, or nothing comes for `stall_seconds`.
    """
    asked_at = time.monotonic()
    path = cached_snapshot(model_id) or _download(model_id, report, asked_at, stall_seconds)
    return FoundModel("hub", model_id, model_id, path)


def starter(notice: str | None = None) -> FoundModel:
    """The model that ships with the app."""
    return FoundModel("starter", STARTER_NAME, None, STARTER_DIR, notice)


def is_directory_name(wanted: str) -> bool:
    """Whether a model's name means a directory rather than a Hub id (which has at most one slash, and no dot first)."""
    return os.path.isdir(os.path.expanduser(wanted)) or wanted.startswith(("/", ".", "~")) or wanted.count("/") > 1


def cached_snapshot(model_id: str) -> Path | None:
    """The directory of a Hub model that is complete in the local cache, or None."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError

    try:
        # With the patterns of the download: a repository may hold much that is not fetched, and so never is complete.
        path = Path(snapshot_download(model_id, local_files_only=True, allow_patterns=NEEDED, ignore_patterns=IGNORED))
        check_model_directory(path)
        return path if _has_all_shards(path) else None
    # LocalEntryNotFoundError is an OSError; so is a cache that may not be read, or holds what is not a cache.
    except (OSError, HFValidationError, InvalidInput):
        return None


def _download(model_id: str, report: Callable[[str], None], asked_at: float, stall_seconds: float) -> Path:
    """Download a model into the Hub's cache and return its snapshot directory. Raises HubRefused."""
    command = [sys.executable, "-m", "reranker.hub_download", model_id]
    try:
        child = subprocess.Popen(
            command,
            cwd=PROJECT_DIR,
            env=os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # ctrl+c is for the app; this ends when its standard input is closed
        )
    except OSError as error:
        raise HubRefused(f"The download of {model_id} could not be started: {error}.") from error
    with child:
        try:
            _watch(child, model_id, report, asked_at, stall_seconds)
            answer = child.stdout.read()  # type: ignore[union-attr]
        finally:
            _end(child)
    try:
        outcome = json.loads(answer)
    except json.JSONDecodeError:
        raise HubRefused(f"The download of {model_id} from the Hub broke off without a reason.") from None
    if "error" in outcome:
        raise HubRefused(outcome["error"])
    path = Path(outcome["path"])
    if not any(path.glob("*.safetensors")):
        raise HubRefused(f"{model_id} has no .safetensors file on the Hub. Weights in another format are not loaded.")
    if not (path / "config.json").is_file() or not _has_all_shards(path):
        raise HubRefused(f"{model_id} is not complete on the Hub: a part of its weights or its config.json is missing.")
    return path


def _watch(
    child: subprocess.Popen, model_id: str, report: Callable[[str], None], asked_at: float, stall_seconds: float
) -> None:
    """Return when the download has ended. Raises HubRefused as soon as it stalls.

    The first wait counts from `asked_at`, but on a machine too slow for that the Hub still has most of it to answer.
    """
    at_start = seen = most = _downloaded_bytes(model_id)
    asking = threading.Thread(target=child.stdout.readline, daemon=True)  # type: ignore[union-attr]
    asking.start()
    asking.join(SECONDS_TO_START)
    since = max(asked_at, time.monotonic() - stall_seconds / 3)
    while child.poll() is None:
        time.sleep(POLL_SECONDS)
        most = max(most, _downloaded_bytes(model_id))
        if most - seen >= STALL_BYTES:
            seen, since = most, time.monotonic()
            report(f"Downloading {model_id}: {(most - at_start) / 1e6:.0f} MB so far.")
        elif time.monotonic() - since > stall_seconds:
            if most > at_start:
                came = f"{(most - at_start) / 1e6:.1f} MB"
                raise HubRefused(f"The Hub stopped sending {model_id}, or nearly so, after {came}.")
            seconds = math.ceil(stall_seconds)
            raise HubRefused(f"The Hub did not answer within {seconds} seconds when asked for {model_id}.")


def _end(child: subprocess.Popen) -> None:
    """End the download if it goes on, and wait until it has ended. Closing its input lets it tidy up first."""
    child.stdin.close()  # type: ignore[union-attr]
    try:
        child.wait(SECONDS_TO_TIDY)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _downloaded_bytes(model_id: str) -> int:
    """How many bytes of this model the Hub's cache holds, finished files and unfinished ones."""
    from huggingface_hub import constants

    blobs = Path(constants.HF_HUB_CACHE) / f"models--{model_id.replace('/', '--')}" / "blobs"
    try:
        return sum(entry.stat().st_size for entry in os.scandir(blobs))
    except OSError:
        return 0


def _has_all_shards(path: Path) -> bool:
    index = path / "model.safetensors.index.json"
    if not index.is_file():
        return (path / "model.safetensors").is_file()
    try:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError):
        return False
    return all((path / shard).is_file() for shard in shards)
