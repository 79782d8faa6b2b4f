"""The side of a run within a job on the Hub: what is brought to the mounted bucket, when and in which order."""

from __future__ import annotations

import ast
import errno
import json
import shutil
import sys
from pathlib import Path

import pytest

from reranker import in_job
from reranker.hub_bucket import LIBRARIES, MODULES, training_requirements
from reranker.in_job import ENDED, Mirror
from reranker.launch import Launch
from reranker.run_files import MODELS, files_in
from tests.unit.test_imports import IMPORTS, reached_from
from tests.unit.test_imports import MODULES as APP

# Names that libraries are imported by where those of their distributions are others.
IMPORTED_AS = {"sentence_transformers": "sentence-transformers", "sklearn": "scikit-learn"}
# safetensors comes with transformers; OpenVINO is not used where a model is only measured.
NOT_NEEDED = {"safetensors", "openvino"}


def write(directory: Path, **files: str) -> None:
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """The job's own directory and the mount, with what was given in both."""
    here, mount = tmp_path / "here", tmp_path / "mount"
    for directory in (here, mount):
        write(directory, config_dot_json="{}", train_dot_jsonl="pairs")
    return here, mount


def test_what_is_new_or_changed_is_brought_over_and_what_is_gone_goes(places: tuple[Path, Path]) -> None:
    here, mount = places
    mirror = Mirror(here, mount)
    assert mirror.copy()
    assert names(mount) == {"config.json", "train.jsonl"}
    write(here, events_dot_jsonl="one\n", model__weights="w", **{"best-1_dot_safetensors": "best"})
    assert mirror.copy()
    assert names(mount) == {"config.json", "train.jsonl", "events.jsonl", "model/weights", "best-1.safetensors"}
    with (here / "events.jsonl").open("a") as events:
        events.write("two\n")
    (here / "best-1.safetensors").unlink()
    assert mirror.copy()
    assert (mount / "events.jsonl").read_text() == "one\ntwo\n"
    assert not (mount / "best-1.safetensors").exists()


def test_a_directory_that_goes_while_it_is_looked_through_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, config_dot_json="{}", checkpoints__weights="w")
    found = files_in(tmp_path)
    assert next(found).name == "config.json"
    # As whoever trains does, beside it, when the next checkpoint is whole.
    shutil.rmtree(tmp_path / "checkpoints")
    assert list(found) == []


def test_what_is_not_whole_stays_here(places: tuple[Path, Path]) -> None:
    here, mount = places
    mirror = Mirror(here, mount)
    write(here, history_dot_json_dot_part="{", model_dot_part__weights="half", **{"checkpoints__checkpoint-2__w": "w"})
    assert mirror.copy()
    assert names(mount) == {"config.json", "train.jsonl"}
    write(here, **{"checkpoints__checkpoint-2__whole": ""})
    assert mirror.copy()
    assert {"checkpoints/checkpoint-2/w", "checkpoints/checkpoint-2/whole"} <= names(mount)


def test_folds_stay_here(places: tuple[Path, Path]) -> None:
    here, mount = places
    mirror = Mirror(here, mount)
    write(here, folds__0__manifest_dot_json="{}", folds__alone__weights="w", model__weights="w")
    assert mirror.copy()
    assert names(mount) == {"config.json", "train.jsonl", "model/weights"}


def test_what_vouches_for_others_comes_after_them(places: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    here, mount = places
    order = []
    real = shutil.copyfile

    def copyfile(source: Path, target: Path) -> None:
        order.append(source.name)
        real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    mirror = Mirror(here, mount)
    write(
        here, manifest_dot_json="{}", trained_dot_json="{}", model__weights="w", events_dot_jsonl="e",
        **{"checkpoints__checkpoint-2__whole": "", "checkpoints__checkpoint-2__optimizer": "o"},
    )  # fmt: skip
    assert mirror.copy()
    assert order == ["events.jsonl", "optimizer", "weights", "trained.json", "whole", "manifest.json"]


def test_what_cannot_be_written_is_tried_again_and_nothing_after_it(places: tuple[Path, Path]) -> None:
    here, mount = places
    mirror = Mirror(here, mount)
    # A file where a folder has to be.
    write(mount, model="in the way")
    write(here, model__weights="w", manifest_dot_json="{}", events_dot_jsonl="e")
    assert not mirror.copy()
    assert names(mount) == {"config.json", "train.jsonl", "events.jsonl", "model"}
    (mount / "model").unlink()
    assert mirror.copy()
    assert {"model/weights", "manifest.json"} <= names(mount)


def test_what_cannot_be_removed_is_tried_again(places: tuple[Path, Path]) -> None:
    here, mount = places
    mirror = Mirror(here, mount)
    write(here, **{"best-1_dot_safetensors": "best", "best-2_dot_safetensors": "best"})
    assert mirror.copy()
    for path in here.glob("best-*"):
        path.unlink()
    # What no file can be removed of.
    (mount / "best-1.safetensors").unlink()
    (mount / "best-1.safetensors").mkdir()
    write(here, manifest_dot_json="{}")
    assert not mirror.copy()
    assert names(mount) == {"config.json", "train.jsonl", "manifest.json"}
    (mount / "best-1.safetensors").rmdir()
    write(mount, **{"best-1_dot_safetensors": "best"})
    assert mirror.copy()
    assert names(mount) == {"config.json", "train.jsonl", "manifest.json"}


def test_a_mount_that_does_not_answer_for_a_moment_ends_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mount, job = tmp_path / "mount", tmp_path / "job"
    config = json.dumps({f"{name}_path": "models/base" for name in MODELS})
    write(mount, run__config_dot_json=config, models__base__weights="w")
    job.mkdir()
    monkeypatch.chdir(job)
    (job / "train.py").write_text(
        "import pathlib, time\n"
        "run = pathlib.Path('run')\n"
        "for _ in range(200):\n"
        "    (run / 'stop').exists() or time.sleep(0.05)\n"
        "(run / 'manifest.json').write_text('it was stopped' if (run / 'stop').exists() else 'it was not')\n"
    )
    monkeypatch.setattr(Launch, "command", lambda *_: [sys.executable, "train.py"])
    answers = iter([OSError(errno.EIO, "Input/output error"), OSError(errno.ENOTCONN, "Not connected"), True])
    stop = mount / "run" / "stop"
    exists = Path.exists

    def ask(path: Path) -> bool:
        answer = next(answers, True) if path == stop else exists(path)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(Path, "exists", ask)
    assert in_job.train(mount, 0.05, 1) == 0
    assert (mount / "run" / "manifest.json").read_text() == "it was stopped"
    assert (mount / "run" / ENDED).read_text() == "0"


def test_a_job_is_sent_the_code_and_the_libraries_that_training_needs() -> None:
    reached = reached_from("reranker.in_job") | reached_from("reranker.train")
    # `train` imports some only where they are used; the walk sees them all.
    assert {name for name in reached if "." not in name} - {"reranker"} == {Path(name).stem for name in MODULES}
    assert {name.partition(".")[0] for name in reached if "." in name} == {"reranker"}
    imported = {imported.partition(".")[0] for name in reached for imported in IMPORTS[name]}
    others = imported - set(sys.stdlib_module_names) - {name.partition(".")[0] for name in APP} - NOT_NEEDED - {""}
    assert {IMPORTED_AS.get(name, name) for name in others} <= set(LIBRARIES)
    lines = training_requirements().decode().splitlines()
    assert {line.partition("==")[0] for line in lines} == set(LIBRARIES)
    assert all("==" in line for line in lines)


def test_what_a_job_runs_first_needs_no_store() -> None:
    for name in ("reranker.in_job", "reranker.launch", "reranker.hub_job", "reranker.hub_bucket"):
        assert not [module for module in reached_from(name) if module.startswith("storage")]
        assert ast.parse(APP[name].read_text())
