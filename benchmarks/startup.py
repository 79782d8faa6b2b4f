"""How long the app takes from the start of its process to the page, and to the first ranking.

usage: python -m benchmarks.startup [--model DIR] [--rounds N]

Beside it, in turn, what a script takes that imports sentence-transformers, loads the same model and predicts once. The
first start converts the model for this machine; later ones find that conversion, and both are printed.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from reranker.sources import STARTER_DIR

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = """
import sys
from sentence_transformers import CrossEncoder
CrossEncoder(sys.argv[1], device="cpu").predict([("what is a bridge", "It crosses a river.")])
"""
QUERY = json.dumps({"query": "what is a bridge", "documents": ["It crosses a river."]}).encode()


def peer_seconds(model: Path) -> float:
    """What a plain script takes to its first prediction."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", SCRIPT, str(model)], check=True, capture_output=True, cwd=ROOT)
    return time.perf_counter() - started


def app_seconds(model: Path, data_dir: Path) -> tuple[float, float]:
    """What the app takes to its page, and to its first ranking. It is stopped when its engine is the fastest it has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = {"HOST": "127.0.0.1", "PORT": str(port), "DATA_DIR": str(data_dir), "RERANKER_MODEL": str(model)}
    base = f"http://127.0.0.1:{port}"
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "app.py"], cwd=ROOT, env=os.environ | settings,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        _ask(base + "/")
        page = time.perf_counter() - started
        _ask(base + "/v1/rerank", QUERY)
        ranking = time.perf_counter() - started
        while "meanwhile" in json.loads(_ask(base + "/health"))["engine"]["reason"]:
            time.sleep(0.2)
        return page, ranking
    finally:
        process.terminate()
        process.wait()


def _ask(url: str, body: bytes | None = None) -> bytes:
    """The answer as soon as there is one, for at most two minutes."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    for _ in range(6000):
        try:
            return urllib.request.urlopen(request, timeout=120).read()
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.02)
    raise TimeoutError(url)


def main() -> None:
    """Read the command line and print how they compare."""
    parser = argparse.ArgumentParser(description="Time the app's start.")
    parser.add_argument("--model", type=Path, default=STARTER_DIR)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    peers, first_starts, starts = [], [], []
    peer_seconds(given.model)  # so that all is in the disk's cache
    for _ in range(given.rounds):
        with tempfile.TemporaryDirectory() as data_dir:
            peers.append(peer_seconds(given.model))
            first_starts.append(app_seconds(given.model, Path(data_dir)))
            starts.append(app_seconds(given.model, Path(data_dir)))
    peer = statistics.median(peers)
    first = [statistics.median(times) for times in zip(*first_starts, strict=True)]
    page, ranking = (statistics.median(times) for times in zip(*starts, strict=True))
    print("\n### From the start of the process\n")
    print(f"- A script that imports sentence-transformers, loads the model and predicts once: {peer:.1f} s")
    print(
        f"- The app's page answers: {page:.1f} s ({page / peer:.2f} of that); at the very first start {first[0]:.1f} s"
    )
    print(f"- Its first ranking: {ranking:.1f} s ({ranking / peer:.2f}); at the very first start {first[1]:.1f} s")


if __name__ == "__main__":
    main()
