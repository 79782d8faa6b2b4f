"""A model's directory as a zip, made while it is sent: nothing is written to the disk, and little is held in memory."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

PIECE_BYTES = 1 << 20
# What belongs to a model. A directory that RERANKER_MODEL names may hold other things, which are nobody's business.
SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".md", ".jinja")


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
    """The model files in `directory` as an uncompressed zip, in pieces: weights do not get smaller."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path in model_files(directory):
            entry = zipfile.ZipInfo.from_file(path, path.relative_to(directory))
            with path.open("rb") as file, archive.open(entry, "w") as target:
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
