"""Children that train without importing anything: forks of a process that has imported it all, once for many of them.

Two thirds of what a short training takes is the import of sentence_transformers. What is forked runs
`python -m reranker.train` in every other respect, and can be watched, killed and resumed as such a process.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import psutil
import pytest

from reranker import process
from reranker.launch import Launch
from reranker.process import PROJECT_DIR
from reranker.run_files import RunFiles

_start_whole = process.start
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["tests.forked_imports"])


class Fork(psutil.Popen):
    """A forked child, with what the app uses of one that was started."""

    # How a child ended can be read once, and is read whenever another one is started.
    _one_at_a_time = threading.Lock()

    def __init__(self, work: Callable[..., None], *arguments: Any) -> None:
        self._fork = _forks.Process(target=work, args=arguments, daemon=True)
        with self._one_at_a_time:
            self._fork.start()
        self._Popen__subproc = self._fork  # where psutil looks for what a process has not
        psutil.Process.__init__(self, self._fork.pid)

    @property
    def returncode(self) -> int | None:
        return self.poll()

    def poll(self) -> int | None:
        with self._one_at_a_time:
            return self._fork.exitcode

    def wait(self, timeout: float | None = None) -> int | None:
        began = time.monotonic()
        while (status := self.poll()) is None:
            if timeout is not None and time.monotonic() - began > timeout:
                raise psutil.TimeoutExpired(timeout, self.pid)
            time.sleep(0.02)
        return status


def _train(directory: str, environment: dict[str, str], log: str) -> None:
    """In the fork: become what `Popen` would have made, and run the module."""
    os.setsid()
    # What ends with the tests may not start processes of its own; a run does.
    multiprocessing.current_process()._config["daemon"] = False
    os.chdir(PROJECT_DIR)
    os.environ.clear()
    os.environ.update(environment)
    opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(opened, stream.fileno())
    sys.argv = ["reranker.train", directory]
    runpy.run_module("reranker.train", run_name="__main__", alter_sys=True)


@cache
def _can_fork() -> bool:
    """A fork has no use of a graphics card, and macOS does not fork what has threads."""
    import torch

    return sys.platform == "linux" and not torch.cuda.is_available()


def _start(files: RunFiles, launch: Launch) -> psutil.Popen:
    if launch.launcher != "python" or files.job.is_file() or not _can_fork():
        return _start_whole(files, launch)
    files.events.touch()
    return Fork(_train, str(files.directory.absolute()), launch.environment(), str(files.log.absolute()))


@contextmanager
def forked_trainings() -> Iterator[None]:
    """Have the runs that this process starts trained by forks, where that can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "start", _start)
        yield


@contextmanager
def whole_trainings() -> Iterator[None]:
    """Have them trained by processes of their own again, as the app does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "start", _start_whole)
        yield
