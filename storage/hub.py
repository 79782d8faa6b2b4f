"""Asking the Hub for copies of the store, and giving it some; giving it models.

`ask` starts `python -m storage.hub`, a process of its own because that can be ended: a Hub that takes a connection and
then says nothing must neither keep the app from starting nor from stopping. One request goes to its standard input as
JSON; its standard output has a line when it begins to ask the Hub, which on a slow machine is seconds after its start,
and then one answer. `error` in that is a sentence for a person.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from errors import first_line
from storage.copies import is_sound

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import DatasetInfo

PROJECT_DIR = Path(__file__).parent.parent

MAIN_COPY = "workbench.db"
# Others stand beside it where it could be neither read nor replaced; their names, of the app's making, sort by time.
ANY_COPY = re.compile(r"workbench(-\d{8}T\d{6}-[0-9a-f]{4})?\.db")
# How often somebody else may be faster before an upload is given up.
ATTEMPTS = 3
# Pieces so small that a slow download can be told from one that stands still.
CHUNK_BYTES = 16_384
STALL_BYTES = 50_000
POLL_SECONDS = 0.05
# How long the process may take until it asks the Hub.
SECONDS_TO_START = 60


class HubFailed(Exception):
    """The Hub did not do what it was asked; the message says why, for a person."""


def ask(
    request: dict[str, Any], seconds: float, limit: float, ends: Callable[[], float], watched: Path | None
) -> dict[str, Any]:
    """The answer to a request: "do" names a function below, the rest are its arguments. Raises HubFailed.

    It may take `seconds`, counted anew with each STALL_BYTES that come into the directory `watched`, at most `limit`,
    and no longer than to the moment `ends`, which may move while this waits. On a machine so slow that the process has
    not asked by then, the Hub still has most of `seconds` to answer.
    """
    start = since = time.monotonic()
    seen = 0
    try:
        with _child() as child:
            try:
                child.stdin.write(json.dumps({**request, "limit": limit}))  # type: ignore[union-attr]
                child.stdin.close()  # type: ignore[union-attr]
                asking = threading.Thread(target=child.stdout.readline, daemon=True)  # type: ignore[union-attr]
                asking.start()
                while child.poll() is None:
                    if asking.is_alive() and time.monotonic() < start + SECONDS_TO_START:
                        since = max(start, time.monotonic() - seconds / 3)
                    if watched and (size := _bytes_in(watched)) >= seen + STALL_BYTES:
                        seen, since = size, time.monotonic()
                    if time.monotonic() > min(since + seconds, start + limit, ends()):
                        raise HubFailed("The Hub did not answer in time.")
                    time.sleep(POLL_SECONDS)
                asking.join()
                answer = json.loads(child.stdout.read())  # type: ignore[union-attr]
            finally:
                child.kill()
    except (ValueError, OSError):
        raise HubFailed("The process that asks the Hub ended without an answer.") from None
    if "error" in answer:
        raise HubFailed(f"Asked for {request['repo']}: {answer['error']}")
    return answer


def _child() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "storage.hub"],
        cwd=PROJECT_DIR,
        env=os.environ | {"HF_HUB_DISABLE_PROGRESS_BARS": "1"},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # ctrl+c is for the app, which still wants its last upload
    )


def _bytes_in(folder: Path) -> int:
    try:
        return sum(path.stat().st_size for path in folder.rglob("*"))
    except OSError:  # a file was moved in this moment
        return 0


def content_ids(path: Path) -> list[str]:
    """What the Hub calls the content of this file: its SHA-256 where it keeps it as a large file, else git's hash."""
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            sha256.update(chunk)
            git.update(chunk)
    return [sha256.hexdigest(), git.hexdigest()]


# In the other process


def fetch(api: HfApi, repo: str, folder: str) -> dict[str, Any]:
    """Download the copy to start from: {"file": where it is, "name": its name in the repository}, {} for none."""
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        info = api.dataset_info(repo, files_metadata=True)
    except RepositoryNotFoundError:
        return {}
    copies = _copies(_files(info))
    for name in copies:
        path = _download(api, repo, info, name, folder)
        if is_sound(path):
            return {"file": str(path), "name": name}
    if copies:
        raise HubFailed(f"{', '.join(copies)} in it cannot be read: damaged, or not a copy of a store.")
    return {}


def push(
    api: HfApi, repo: str, folder: str, file: str, name: str, known: list[str], left: list[str]
) -> dict[str, Any]:
    """Write `file` to the repository as `name`, made private where it is missing.

    `known` are the contents that `file` holds all of. A copy that is there already is replaced only if it is one of
    them. Else it is downloaded for the caller to look at, and so are those beside it that are not `left` alone; nothing
    is written then. Returns where these are, by their names: {"unseen": {...}}. The commit names its parent, so that
    nobody can slip in between.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    for _ in range(ATTEMPTS):
        try:
            info = api.dataset_info(repo, files_metadata=True)
        except RepositoryNotFoundError:
            api.create_repo(repo, repo_type="dataset", private=True, exist_ok=True)
            info = api.dataset_info(repo, files_metadata=True)
        files = _files(info)
        copies = _copies(files)
        unseen = [copy for copy in copies if files[copy] not in known and (copy == name or copy not in left)]
        if unseen:
            return {"unseen": {copy: str(_download(api, repo, info, copy, folder)) for copy in unseen}}
        outdated = [copy for copy in copies if files[copy] in known and copy not in (name, MAIN_COPY)]
        if not outdated and files.get(name) in content_ids(Path(file)):
            return {"unseen": {}}
        try:
            api.create_commit(
                repo,
                [CommitOperationAdd(name, file), *map(CommitOperationDelete, outdated)],
                commit_message=f"{name} as of {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
                repo_type="dataset",
                parent_commit=info.sha,
            )
            return {"unseen": {}}
        except HfHubHTTPError as error:
            if error.response.status_code != 412:
                raise
    raise HubFailed("others kept writing to it.")


def push_model(
    api: HfApi, repo: str, folder: str, files: list[str], loaded: list[str], message: str
) -> dict[str, Any]:
    """Write these files of a folder to a model repository, made private where it is missing. Returns where it is:
    {"url": ...}.

    Others there whose names end as those that a model is `loaded` from are removed: they are of an earlier model, and
    this one would be loaded with them. Hidden ones are not.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    url = api.create_repo(repo, repo_type="model", private=True, exist_ok=True)
    there = [file.rfilename for file in api.model_info(repo).siblings or []]
    adds = [CommitOperationAdd(name, Path(folder, name)) for name in files]
    earlier = [name for name in there if name.endswith(tuple(loaded)) and "/." not in f"/{name}" and name not in files]
    api.create_commit(repo, [*adds, *map(CommitOperationDelete, earlier)], commit_message=message, repo_type="model")
    return {"url": str(url)}


def _files(info: DatasetInfo) -> dict[str, str]:
    """The files of the repository and the ids of their contents."""
    return {file.rfilename: (file.lfs.sha256 if file.lfs else file.blob_id) or "" for file in info.siblings or []}


def _copies(files: dict[str, str]) -> list[str]:
    """The copies of a store among the files, the main one first, then the latest."""
    names = (name for name in files if ANY_COPY.fullmatch(name))
    return sorted(names, key=lambda name: (name == MAIN_COPY, name), reverse=True)


def _download(api: HfApi, repo: str, info: DatasetInfo, name: str, folder: str) -> Path:
    return Path(api.hf_hub_download(repo, name, repo_type="dataset", revision=info.sha, local_dir=folder))


def _answer(do: str, request: dict[str, Any]) -> dict[str, Any]:
    from huggingface_hub import HfApi, constants, get_token
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    print("asking", flush=True)
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK_BYTES
    if do == "fetch":
        # Xet writes a file in pieces of many megabytes; plain HTTP shows at any moment how much has come.
        constants.HF_HUB_DISABLE_XET = True
    if not get_token():
        return {"error": "HF_TOKEN is not set. It takes a token that may write to that repository."}
    try:
        return {"fetch": fetch, "push": push, "push_model": push_model}[do](HfApi(), **request)
    except RepositoryNotFoundError:
        return {"error": "the Hub does not show it. Is it right, and may HF_TOKEN read and write it?"}
    except HfHubHTTPError as error:
        if error.response.status_code in (401, 403):
            return {"error": f"HF_TOKEN may not do that ({_reason(error)})."}
        return {"error": f"the Hub answered with an error: {_reason(error)}."}
    except Exception as error:  # whatever else the network does is one thing to a user: the Hub is out of reach
        return {"error": f"{_reason(error)}."}


def _reason(error: BaseException) -> str:
    return first_line(error).rstrip(".")


def main() -> None:
    """Answer the one request on standard input."""
    request = json.load(sys.stdin)
    # Where the app is killed, nobody else ends this.
    end = threading.Timer(request.pop("limit"), os._exit, [1])
    end.daemon = True
    end.start()
    print(json.dumps(_answer(request.pop("do"), request)), flush=True)


if __name__ == "__main__":
    main()
