"""python -m reranker.convert MODEL_DIR ENGINE DIRECTORY: convert a model for this machine, check it and keep it.

Seconds of computing, most of them in Python. In the app's own process every request would wait for them; so this is
done in one of its own, which takes the processor time that is left.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

from reranker.loading import load_model

log = logging.getLogger(__name__)

PROJECT_DIR = Path(__file__).parent.parent
SECONDS_BETWEEN_LOOKS = 0.1


def convert_apart(path: Path, wanted: str, conversions: Path, stop: threading.Event) -> None:
    """Have a process of its own do what `load_model` does with these arguments, so that it finds a kept conversion.

    Returns when it is done, for better or worse: what it could not do, `load_model` tries and explains. `stop` ends it.
    """
    command = [sys.executable, "-m", "reranker.convert", str(path.absolute()), wanted, str(conversions.absolute())]
    child = subprocess.Popen(command, cwd=PROJECT_DIR, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        while child.poll() is None and not stop.wait(SECONDS_BETWEEN_LOOKS):
            pass
    finally:
        child.kill()
    if child.wait() and not stop.is_set():
        log.warning("The process that converts %s ended with status %s", path.name, child.returncode)


def main() -> None:
    """Convert the model that the command line names."""
    os.nice(10)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    load_model(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))


if __name__ == "__main__":
    main()
