"""What the Hub keeps of files and says of them: datasets with their history, and the entries of its listings."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LARGE = (".safetensors", ".bin", ".onnx")


@dataclass
class Dataset:
    """A dataset repository: every state it was ever in, by the id of the commit, the latest one last."""

    visibility: str = "private"
    commits: dict[str, dict[str, bytes]] = field(default_factory=lambda: {commit_id(0): {".gitattributes": b""}})

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, **changes: bytes) -> None:
        """Add or replace these files."""
        self.add({**self.files, **changes})

    def add(self, files: dict[str, bytes]) -> None:
        self.commits[commit_id(len(self.commits))] = files


def file_names(directory: Path) -> list[str]:
    return sorted(path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file())


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def tree_entry(directory: Path, name: str) -> dict[str, Any]:
    content = (directory / name).read_bytes()
    entry: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": blob_id(content)}
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content), "pointerSize": 134}
    return entry


def commit_id(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


def content_id(content: bytes, large: bool) -> str:
    return hashlib.sha256(content).hexdigest() if large else blob_id(content)


def sibling(name: str, content: bytes, large: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": blob_id(content)}
    if large:
        # The blob of a large file is a pointer to it, which has a hash of its own.
        digest = hashlib.sha256(content).hexdigest()
        entry |= {
            "blobId": blob_id(digest.encode()),
            "lfs": {"sha256": digest, "size": len(content), "pointerSize": 1},
        }
    return entry
