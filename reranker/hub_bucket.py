"""The bucket on the Hub that the files of a run travel through, to the job that trains and back.

Each job has a folder of its own in it: `code` with what the job runs, `models` with those that the run needs, and
`run`, the directory of the run as the job sees it. Nothing of the store is sent but the run's own labelled pairs. The
folder is removed when what came out of the job is on this disk.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from huggingface_hub import HfApi
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status, http_backoff

from errors import HubRefused
from reranker.dataset import SPLITS
from reranker.in_job import ENDED
from reranker.run_files import MARK, MODELS, RunFiles, files_in, read_json

PROJECT_DIR = Path(__file__).parent.parent
# What the child imports beside its own package, and the libraries of requirements.txt that it needs.
MODULES = ("errors.py", "texts.py")
LIBRARIES = (
    "torch", "sentence-transformers", "transformers", "datasets", "accelerate", "tokenizers", "numpy", "cachetools",
    "scipy", "scikit-learn", "joblib", "psutil",
)  # fmt: skip
# What only a run that goes on needs.
UNFINISHED = re.compile(r"(checkpoints/|curve/|folds/|best-)")
# What says nothing without the folds, which the job kept for itself: whether a model is the run's own or the mean. So a
# run that was broken off goes on from its last checkpoint.
NEEDS_FOLDS = re.compile(r"(model/|folds/|trained\.json$)")
SECONDS_TO_ANSWER = 30


class RunBucket:
    """The folder of one job in a bucket, and the run's directory here."""

    def __init__(self, api: HfApi, bucket: str, folder: str, files: RunFiles) -> None:
        self.api = api
        self.bucket = bucket
        self.folder = folder
        self.files = files

    def send(self) -> None:
        """Make the bucket where it is missing, and put in what the job needs.

        Raises HubRefused where everyone could read what is sent, and what the Hub's client raises.
        """
        self.api.create_bucket(self.bucket, private=True, exist_ok=True)
        if not self.api.bucket_info(self.bucket).private:
            raise HubRefused(
                f"Everyone can read the bucket {self.bucket}, and the labels would be in it. Make it private on the "
                "Hub, or name another in TRAIN_BUCKET."
            )
        config, models = self._config_and_models()
        add: list[tuple[Path | bytes, str]] = [
            (config, "run/config.json"),
            (training_requirements(), "code/requirements.txt"),
        ]
        add += [(path, f"code/{name}") for name, path in _code()]
        add += [(path, f"run/{name}") for name, path in self._state()]
        for name, directory in models.items():
            add += [(path, f"models/{name}/{path.relative_to(directory).as_posix()}") for path in files_in(directory)]
        self.api.batch_bucket_files(self.bucket, add=[(source, f"{self.folder}/{name}") for source, name in add])

    def _config_and_models(self) -> tuple[bytes, dict[str, Path]]:
        """The configuration as it is right in the job, and the directories of its models by their names there."""
        config = read_json(self.files.config)
        models: dict[str, Path] = {}
        for name in MODELS:
            path = Path(config[f"{name}_path"])
            known = next((other for other, directory in models.items() if directory == path), None)
            models.setdefault(known or name, path)
            config[f"{name}_path"] = f"models/{known or name}"
        return json.dumps(config).encode(), models

    def _state(self) -> Iterator[tuple[str, Path]]:
        """The labelled pairs, and what a run that was broken off goes on from."""
        here = self.files
        ours = (here.config, here.job, here.stop, here.events, here.log, here.job_log)
        for path in files_in(here.directory):
            name = path.relative_to(here.directory).as_posix()
            if path not in ours and ".part" not in name:
                yield name, path

    def read(self, name: str, start: int = 0) -> bytes:
        """What a file of the job's run holds from byte `start` on; nothing while it is not there."""
        url = f"{self.api.endpoint}/buckets/{self.bucket}/resolve/{quote(self._place(name))}"
        headers = build_hf_headers() | {"Range": f"bytes={start}-"}
        answer = http_backoff("GET", url, headers=headers, timeout=SECONDS_TO_ANSWER, max_retries=1)
        if answer.status_code in (404, 416):  # not there; nothing new
            return b""
        hf_raise_for_status(answer)
        return answer.content if answer.status_code == 206 else answer.content[start:]

    def has(self, name: str) -> bool:
        """Whether the job has written this file."""
        return any(True for _ in self.api.get_bucket_paths_info(self.bucket, [self._place(name)]))

    def ask_to_stop(self) -> None:
        """Put in the file that asks the run to stop."""
        # Not empty: an empty file is easily taken for one that is still being written.
        self.api.batch_bucket_files(self.bucket, add=[(b"stop", self._place(self.files.stop.name))])

    def bring_back(self) -> None:
        """Put what the job has made into the run's directory here: a manifest, where there is one, last of all.

        May be done again after a crash in its middle.
        """
        theirs = {name: entry for name, entry in self._tree("run/") if self._is_wanted(name)}
        left_there = UNFINISHED if self.files.manifest.name in theirs else NEEDS_FOLDS
        theirs = {name: entry for name, entry in theirs.items() if not left_there.match(name)}
        here, unpacked = self.files, self.files.directory / "from-job.part"
        shutil.rmtree(unpacked, ignore_errors=True)
        self.api.download_bucket_files(self.bucket, [(entry, unpacked / name) for name, entry in theirs.items()])
        for directory in (here.checkpoints, here.model):
            shutil.rmtree(directory, ignore_errors=True)
        for name in sorted(theirs, key=lambda name: (name == here.manifest.name, name.endswith(f"/{MARK}"), name)):
            (here.directory / name).parent.mkdir(parents=True, exist_ok=True)
            (unpacked / name).replace(here.directory / name)
        shutil.rmtree(unpacked, ignore_errors=True)

    def _is_wanted(self, name: str) -> bool:
        given = (self.files.config, self.files.stop, self.files.events, self.files.log, *map(self.files.pairs, SPLITS))
        is_ours = name in (ENDED, *(path.name for path in given))
        return not is_ours and not PurePosixPath(name).is_absolute() and ".." not in PurePosixPath(name).parts

    def clear(self) -> None:
        """Remove the folder."""
        self.api.batch_bucket_files(self.bucket, delete=[entry.path for _, entry in self._tree()])

    def _tree(self, inside: str = "") -> Iterator[tuple[str, Any]]:
        """The files in the folder, or in a folder in it, with what the Hub says of them, by their name there."""
        start = f"{self.folder}/{inside}"
        for entry in self.api.list_bucket_tree(self.bucket, start.rstrip("/"), recursive=True):
            if entry.type == "file" and entry.path.startswith(start):
                yield entry.path.removeprefix(start), entry

    def _place(self, name: str) -> str:
        return f"{self.folder}/run/{name}"


def training_requirements() -> bytes:
    """The lines of requirements.txt that name what the child needs."""
    lines = (PROJECT_DIR / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return "".join(f"{line}\n" for line in lines if line.partition("==")[0] in LIBRARIES).encode()


def _code() -> Iterator[tuple[str, Path]]:
    """The child's own code: the package but its starter model, and the modules beside it."""
    package = PROJECT_DIR / "reranker"
    for path in [*package.glob("*.py"), *package.glob("*.json*"), *(PROJECT_DIR / name for name in MODULES)]:
        yield path.relative_to(PROJECT_DIR).as_posix(), path
