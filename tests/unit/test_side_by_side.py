"""Trainings of a run that go on at the same time; with real processes."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import synchronize
from pathlib import Path

import psutil
import pytest
import torch

from reranker import side_by_side
from reranker.dataset import write_pairs
from reranker.process import PROJECT_DIR
from reranker.run_files import RunFiles, read_json
from reranker.side_by_side import Crew, how_many
from tests.cross_checked_run import PAIRS, assert_same, break_off, events_of, go, new_run, pairs_about, progress_of
from tests.serving import eventually

LONG = {"epochs": 2000}


def run_with_curve(directory: Path, model_dir: Path) -> RunFiles:
    """A run that trains three folds and the four parts of a learning curve beside its own model."""
    files = new_run(directory, model_dir, learning_curve=True)
    write_pairs(files.pairs("dev"), pairs_about("bridges of old", "music at night", "rain in june", "paper trains"))
    return files


@pytest.fixture
def files(model_dir: Path, tmp_path: Path) -> RunFiles:
    return run_with_curve(tmp_path / "run", model_dir)


@pytest.fixture(scope="module")
def one_by_one(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFiles:
    """A run whose models were trained one after the other."""
    files = run_with_curve(tmp_path_factory.mktemp("alone") / "run", model_dir)
    go(files)
    return files


def assert_as_one_by_one(files: RunFiles, one_by_one: RunFiles) -> None:
    """Check that the same was learned and measured, bit for bit."""
    assert_same(files.model, one_by_one.model)
    for what in ("comparison", "learning_curve"):
        assert read_json(files.manifest)[what] == read_json(one_by_one.manifest)[what]


def assert_all_work_counts_once(files: RunFiles) -> None:
    """Check that the progress never falls, and comes to its end with the last thing that is done, not before."""
    progress = progress_of(files)
    assert progress == sorted(progress) and progress[-1] == pytest.approx(1)
    told = [event for event in events_of(files) if event["event"] == "progress"]
    assert {event["phase"] for event in told if event["progress"] > 0.9999} == {told[-1]["phase"]}


def parts_of(files: RunFiles) -> list[Path]:
    """Where the parts of a run are trained."""
    curve = {path for path in files.directory.glob("curve/*") if int(path.name) < len(PAIRS)}
    return sorted({*files.folds.glob("[0-9]"), *curve})


def trained_here(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where this process trains parts from now on, and no other one."""
    found = []
    training = side_by_side.train_part

    def noted(config: dict, pairs: list, files: RunFiles, *given: object) -> None:
        found.append(files.directory)
        training(config, pairs, files, *given)

    monkeypatch.setattr(side_by_side, "train_part", noted)
    return found


def after_start(monkeypatch: pytest.MonkeyPatch, then: Callable[[Crew], None]) -> None:
    """Have this done whenever the processes beside a run were started, before it trains its own model."""
    begun = Crew.start

    def start(crew: Crew) -> None:
        begun(crew)
        assert crew.queue and len(crew.workers) == 1
        then(crew)

    monkeypatch.setattr(Crew, "start", start)


def wait_until_it_trains(crew: Crew) -> None:
    eventually(lambda: crew.work_done() > 0, "the other process trains")


def kill_the_other(crew: Crew) -> None:
    crew.workers[0].kill()
    crew.workers[0].join()


def test_what_is_trained_side_by_side_is_what_would_be_trained_one_by_one(
    files: RunFiles, one_by_one: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_start(monkeypatch, wait_until_it_trains)
    here = trained_here(monkeypatch)
    go(files, cores=2)
    assert_as_one_by_one(files, one_by_one)
    assert_all_work_counts_once(one_by_one)
    assert len(parts_of(one_by_one)) == 7
    assert len(here) < 7
    assert_all_work_counts_once(files)
    assert any(event.get("phase", "").startswith("Cross-checking: ") for event in events_of(files))


@pytest.mark.slow
def test_what_a_process_that_was_killed_leaves_is_trained_all_the_same(
    files: RunFiles, one_by_one: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_it_as_it_trains(crew: Crew) -> None:
        wait_until_it_trains(crew)
        kill_the_other(crew)

    after_start(monkeypatch, kill_it_as_it_trains)
    here = trained_here(monkeypatch)
    go(files, cores=2)
    assert_as_one_by_one(files, one_by_one)
    assert sorted(here) == parts_of(files)


def test_a_process_that_is_killed_while_it_takes_a_part_holds_nobody_up(
    files: RunFiles, one_by_one: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill_it_as_it_takes(crew: Crew) -> None:
        kill_the_other(crew)
        assert crew.queue
        # As that process would have left it: the thread that took the lock is gone.
        gone = threading.Thread(target=crew.queue.taken.get_lock().acquire)
        gone.start()
        gone.join()

    after_start(monkeypatch, kill_it_as_it_takes)
    monkeypatch.setattr(side_by_side, "SECONDS_TO_TAKE", 0.1)
    go(files, cores=2)
    assert_as_one_by_one(files, one_by_one)


def test_a_run_that_was_broken_off_goes_on_with_what_was_trained_beside_it(
    files: RunFiles, one_by_one: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = trained_here(monkeypatch)
    break_off(files, "train_folds", cores=2)
    assert len(parts_of(files)) == 7 and all((part / "model").is_dir() for part in parts_of(files))
    here.clear()
    go(files, cores=2)
    assert not here
    assert_as_one_by_one(files, one_by_one)


def test_a_run_that_is_cancelled_ends_what_goes_on_beside_it(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = new_run(tmp_path / "run", model_dir, **LONG)
    crews = []

    def cancel(crew: Crew) -> None:
        wait_until_it_trains(crew)
        files.stop.touch()

    def cancel_meanwhile(crew: Crew) -> None:
        crews.append(crew)
        threading.Thread(target=cancel, args=(crew,)).start()

    after_start(monkeypatch, cancel_meanwhile)
    go(files, cores=2)
    assert read_json(files.manifest)["training"]["stopped"] == "cancelled"
    assert not any(worker.is_alive() for worker in crews[0].workers)


def test_nothing_goes_on_beside_a_run_that_was_killed(model_dir: Path, tmp_path: Path) -> None:
    files = new_run(tmp_path / "run", model_dir, **LONG)
    environment = os.environ | {"OMP_NUM_THREADS": "2", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "reranker.train", str(files.directory)]
    with files.log.open("wb") as log:
        run = psutil.Popen(command, cwd=PROJECT_DIR, env=environment, stdout=log, stderr=subprocess.STDOUT)
    eventually(lambda: any(files.folds.glob("*")) or not run.is_running(), "a part is trained beside it")
    beside = run.children(recursive=True)
    assert beside
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not psutil.wait_procs(beside, timeout=60)[1]


def test_so_many_go_on_at_once_as_there_are_cores_and_memory_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on(cores: int, gigabytes: float, trainings: int = 7) -> int:
        monkeypatch.setattr(torch, "get_num_threads", lambda: cores)
        monkeypatch.setattr(side_by_side, "memory_limit", lambda: gigabytes * 1e9)
        return how_many(trainings, tmp_path)

    (tmp_path / "model.safetensors").write_bytes(bytes(10**6))
    assert on(2, 16) == 2
    assert on(16, 64) == 7
    assert on(16, 16) == 5
    assert on(8, 64, trainings=4) == 4
    assert on(2, 4) == on(1, 16) == on(2, 16, trainings=1) == 1
    with (tmp_path / "model.safetensors").open("wb") as weights:
        weights.truncate(2 * 10**9)  # two thirds of a billion weights need no place on this disk
    assert on(2, 16) == 1
    assert on(2, 64) == 2
    # Several processes share each training already; so does a graphics card.
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert on(2, 64) == 1
    monkeypatch.delenv("WORLD_SIZE")
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    assert on(2, 64) == 1


def test_where_processes_can_share_nothing_a_run_does_all_by_itself(
    files: RunFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(synchronize._multiprocessing, "SemLock", missing)
    here = trained_here(monkeypatch)
    go(files, cores=2)
    assert sorted(here) == parts_of(files)


def test_a_container_has_as_much_memory_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = psutil.virtual_memory().total
    told = tmp_path / "memory.max"
    monkeypatch.setattr(side_by_side, "MEMORY_LIMITS", (told, tmp_path / "not there"))
    assert side_by_side.memory_limit() == machine
    told.write_text("max\n")
    assert side_by_side.memory_limit() == machine
    told.write_text("2000000000\n")
    assert side_by_side.memory_limit() == 2 * 10**9


def test_an_error_in_a_part_is_that_of_the_run(files: RunFiles) -> None:
    files.folds.write_text("a file where the parts should be")
    with pytest.raises(NotADirectoryError):
        go(files, cores=2)
