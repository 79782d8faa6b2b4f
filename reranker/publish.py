"""A model's directory for others: as a zip, made while it is sent, so that nothing is written to the disk and little is
held in memory; or as a repository on the Hub.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from errors import HubRefused, NotFound
from hub_names import check_repo_id
from storage import hub
from storage.hub import HubFailed

# How long an upload of a model may take.
PUSH_SECONDS = 1800
PIECE_BYTES = 1 << 20
# What a model is loaded from.
LOADED = (".safetensors", ".json", ".txt", ".model", ".jinja")
# What belongs to a model. A directory that RERANKER_MODEL names may hold other things, which are nobody's business.
SUFFIXES = (*LOADED, ".md")


class _Sink(io.RawIOBase):
    """Takes what is written to it and hands it out again, for `zipfile` to write to."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:  # noqa: ANN001 - any buffer, as RawIOBase has it
        self.pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        taken, self.pieces = b"".join(self.pieces), []
        return taken


def zip_directory(directory: Path) -> Iterator[bytes]:
    """The model files in `directory` as an uncompressed zip, in pieces: weights do not get smaller.

    They are opened before the first piece, so that a version that is deleted meanwhile is sent whole. Raises NotFound
    where it has just gone.
    """
    with ExitStack() as opened:
        try:
            files = [
                (_entry(path, directory), opened.enter_context(path.open("rb"))) for path in model_files(directory)
            ]
        except FileNotFoundError:
            files = []
        if not files:
            raise NotFound(f"The files of {directory.name} are no longer there.")
        return _zipped(files, opened.pop_all())


def _entry(path: Path, directory: Path) -> zipfile.ZipInfo:
    # A zip knows no year before 1980; what was built to be the same each time is often dated 1970.
    return zipfile.ZipInfo.from_file(path, path.relative_to(directory), strict_timestamps=False)


def _zipped(files: Sequence[tuple[zipfile.ZipInfo, BinaryIO]], opened: ExitStack) -> Iterator[bytes]:
    sink = _Sink()
    with opened, zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for entry, file in files:
            with archive.open(entry, "w") as target:
                while piece := file.read(PIECE_BYTES):
                    target.write(piece)
                    yield sink.take()
    yield sink.take()


def model_files(directory: Path) -> list[Path]:
    """The files of the model in `directory`, those in its subdirectories included, without hidden ones."""
    return [
        path
        for path in sorted(directory.rglob("*"))
        if path.suffix in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(directory).parts)
    ]


def push_to_hub(directory: Path, version: str, repo: str) -> str:
    """Upload the model files in `directory` to the model repository `repo` ("owner/name"); returns its address.

    Raises InvalidInput where `repo` cannot be a repository, HubRefused with the reason where it did not work.
    """
    check_repo_id(repo, "The repository")
    names = [path.relative_to(directory).as_posix() for path in model_files(directory)]
    request = {"do": "push_model", "repo": repo, "folder": str(directory.absolute()), "files": names, "loaded": LOADED}
    try:
        answer = hub.ask(
            {**request, "message": f"Version {version}"}, PUSH_SECONDS, PUSH_SECONDS, lambda: math.inf, None
        )
    except HubFailed as error:
        raise HubRefused(f"{version} could not be pushed. {error}") from error
    return answer["url"]
