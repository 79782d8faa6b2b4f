"""Work that several threads do at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable

THREADS = 8


def in_threads(work: Callable[[int], None]) -> None:
    """Run work(0), work(1) and so on at the same time; an error in one of them is an error of the test."""
    start = threading.Barrier(THREADS)
    errors: list[BaseException] = []

    def run(number: int) -> None:
        start.wait()
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
