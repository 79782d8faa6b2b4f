"""How quick judging is with a long queue and many annotators, and whether anything is lost, double or over its quota.

    python -m benchmarks.labeling --candidates 1000000 --annotators 50

1. `next task` and storing a label, with all annotators at once, each resting a little between two pairs as people do:
   median and 95th percentile, in the process and (the same calls) over HTTP.
2. From a key to the next pair on the screen, in a real browser: the median, and the longest.
3. With quotas, everyone works until nothing is left: each pair has its number of voices, none was given twice to one
   annotator, and every judgment that was answered is in the store.

The texts are made up; their length is that of short web passages.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from labeling.queue import STRATEGIES, Queue
from storage import database
from storage.label_store import LabelStore
from storage.migrations import shuffle_of
from storage.queue_store import QueueStore
from storage.records import Candidate, Judgment, Quota
from storage.staging import Staging
from tests.browser.conftest import CHROMIUM, FLAGS, box, open_page, open_tab, say_name
from tests.serving import app_running

PASSAGES_PER_QUERY = 100
WORDS = [f"word{number}" for number in range(5_000)]
REST_SECONDS = (0.5, 1.5)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=1_000_000, help="pairs in the queue")
    parser.add_argument("--annotators", type=int, default=50, help="how many judge at once")
    parser.add_argument("--pairs", type=int, default=20, help="pairs that each of them judges")
    parser.add_argument("--keys", type=int, default=100, help="keys that are pressed in the browser")
    parser.add_argument("--quota-pairs", type=int, default=500, help="pairs in the check of the quotas")
    parser.add_argument("--store", type=Path, help="a directory to make the store in, and to find it in again")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-labeling-") as folder:
        store = args.store or Path(folder) / "store"
        seconds = fill(store / "workbench.db", args.candidates)
        made = f"made in {seconds:.0f} s" if seconds else "made before"
        lines = [f"{args.candidates:,} candidates, scored, {made}"]
        for strategy in STRATEGIES:
            asked, judged = judge_at_once(store / "workbench.db", args.annotators, args.pairs, strategy)
            lines.append(f"next task, {strategy}: {_spread(asked)}; storing a label: {_spread(judged)}")
        lines += over_http_and_in_a_browser(store, args.annotators, args.pairs, args.keys)
        lines += check_quotas(Path(folder) / "quotas.db", args.quota_pairs, args.annotators)
    print("\n".join(lines))


def fill(path: Path, candidates: int) -> float:
    """Put so many made-up candidates and their scores into a new store; returns the seconds, 0 where it is there."""
    if path.exists():
        return 0.0
    database.create(path)
    started = time.perf_counter()
    staging = Staging(path.with_name("rows.db"))
    staging.add(enumerate(made_up(candidates)))
    staging.take_over(path)
    staging.remove()
    with database.write(path) as db:
        db.conn.execute("CREATE TEMP TABLE shuffled AS SELECT query_id, passage_id, shuffle FROM candidates")
        db.conn.execute(
            "INSERT INTO candidate_scores (model_version, query_id, passage_id, score) "
            "SELECT 'starter', query_id, passage_id, shuffle % 1600 / 100.0 - 8 FROM shuffled "
            "ORDER BY query_id, passage_id"
        )
    return time.perf_counter() - started


def made_up(count: int) -> Iterator[Candidate]:
    """Candidates that differ, with PASSAGES_PER_QUERY passages to a query."""
    rng = random.Random(1)
    query = ""
    for number in range(count):
        if number % PASSAGES_PER_QUERY == 0:
            query = f"query {number // PASSAGES_PER_QUERY} {' '.join(rng.choices(WORDS, k=5))}"
        rank = number % PASSAGES_PER_QUERY + 1
        yield Candidate(query, f"passage {number} {' '.join(rng.choices(WORDS, k=35))}", "made up", rank)


def judge_at_once(path: Path, annotators: int, pairs: int, strategy: str) -> tuple[list[float], list[float]]:
    """The seconds that each call of `next_task`, and each storing of a label, took with all annotators at work."""
    labels, queue = LabelStore(path), Queue(QueueStore(path), lambda: ("starter",))
    asked: list[float] = []
    judged: list[float] = []

    def work(number: int) -> None:
        rng = random.Random(number)
        annotator = f"{strategy} {number} {time.time_ns()}"
        for _ in range(pairs):
            time.sleep(rng.uniform(*REST_SECONDS))
            task = _timed(asked, lambda: queue.next_task(annotator, strategy))
            judgment = Judgment(task.query, task.passage, rng.randrange(2), annotator)
            _timed(judged, lambda judgment=judgment: labels.save([judgment]))

    database.keep_open(path)
    try:
        _in_threads(work, annotators)
    finally:
        database.let_close(path)
    return asked, judged


def over_http_and_in_a_browser(store: Path, annotators: int, pairs: int, keys: int) -> list[str]:
    """`python app.py` on this store: the HTTP calls with all annotators at work, and the keys of one in a browser."""
    with app_running(store, Path("starter")) as app:
        asked: list[float] = []
        judged: list[float] = []

        def work(number: int) -> None:
            rng = random.Random(number)
            annotator = f"http {number} {time.time_ns()}"
            with httpx.Client(base_url=app.client.base_url, timeout=60) as client:
                for _ in range(pairs):
                    time.sleep(rng.uniform(*REST_SECONDS))
                    task = _timed(asked, lambda: client.get("/v1/tasks/next", params={"annotator": annotator})).json()
                    label = {"query": task["query"], "passage": task["passage"], "label": 1, "annotator": annotator}
                    _timed(judged, lambda label=label: client.post("/v1/labels", json=label)).raise_for_status()

        _in_threads(work, annotators)
        shown = in_a_browser(app, keys)
    return [
        f"next task over HTTP: {_spread(asked)}; storing a label: {_spread(judged)}",
        f"from a key to the next pair on the screen: {_spread(shown)}",
    ]


def in_a_browser(app, keys: int) -> list[float]:  # noqa: ANN001
    """The seconds from each key to the frame in which another pair is on the screen, told by the page's own clock."""
    measure = """(key) => new Promise((resolve) => {
        const pair = () => document.querySelector('#task section[data-query]:not([aria-busy])')?.dataset.passage;
        const before = pair();
        const started = performance.now();
        const look = () => pair() && pair() !== before
            ? requestAnimationFrame(() => resolve(performance.now() - started)) : setTimeout(look, 1);
        document.body.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        look();
    })"""
    seconds = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = open_page(browser.new_context(), app)
        say_name(page, f"judge {time.time_ns()}")
        open_tab(page, "Label")
        page.wait_for_selector("#task section[data-query]")
        assert box(page, "strategy").input_value().startswith("gain")
        for number in range(keys):
            page.wait_for_timeout(400)
            seconds.append(page.evaluate(measure, "10"[number % 2]) / 1000)
        browser.close()
    return seconds


def check_quotas(path: Path, pairs: int, annotators: int) -> list[str]:
    """Everyone works as fast as they can until nothing is left; what is stored is compared with what was judged."""
    database.create(path)
    labels, quota = LabelStore(path), Quota(2, 0.2)
    labels.add_candidates(made_up(pairs))
    queue = Queue(QueueStore(path, quota))
    given: list[tuple[str, str, str]] = []

    def work(number: int) -> None:
        misses = 0
        while misses < 3:
            task = queue.next_task(f"annotator {number}", "random")
            if task is None:
                # Others may hold the last pairs, and put them back.
                misses += 1
                time.sleep(0.2)
                continue
            labels.save([Judgment(task.query, task.passage, 1, f"annotator {number}")])
            given.append((*task.key, f"annotator {number}"))

    database.keep_open(path)
    _in_threads(work, annotators)
    database.let_close(path)
    stored = [(label.query_id, label.passage_id, label.annotator) for label in labels.labels()]
    voices = Counter(key[:2] for key in stored)
    wanted = {key: 2 if shuffle_of(*key) < quota.shared_below else 1 for key in voices}
    wrong = sum(voices[key] != wanted[key] for key in voices) + pairs - len(voices)
    return [
        f"quotas with {annotators} annotators: {len(given)} judgments of {pairs} pairs; "
        f"lost {len(set(given) - set(stored))}, double {len(given) - len(set(given))}, "
        f"pairs without their number of voices {wrong}"
    ]


def _timed(times: list[float], call: Callable):  # noqa: ANN202
    started = time.perf_counter()
    answer = call()
    times.append(time.perf_counter() - started)
    return answer


def _in_threads(work: Callable[[int], None], count: int) -> None:
    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    at_95 = ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]
    return f"median {statistics.median(ordered) * 1000:.1f} ms, p95 {at_95 * 1000:.1f} ms, of {len(ordered)}"


if __name__ == "__main__":
    main()
