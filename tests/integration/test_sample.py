"""The sample that ships with the app can be used whole, and shows what labels bring."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from labeling.data_tab import SAMPLE
from labeling.importing import checked_rows
from services import Services
from storage.records import Candidate, Judgment
from tests.conftest import make_settings
from tests.serving import ended, eventually, label, serving


def judgments() -> list[Judgment]:
    return [row for _, row, _ in checked_rows(SAMPLE, "somebody") if isinstance(row, Judgment)]


def test_every_row_can_be_used_and_tells_something() -> None:
    rows = [row for _, row, _ in checked_rows(SAMPLE, "somebody")]
    assert [row for row in rows if isinstance(row, str)] == []
    assert len({row.passage for row in rows}) == len(rows)
    by_query = Counter((row.query, row.label) for row in judgments())
    labelled = {query for query, _ in by_query}
    assert len(labelled) == 25 and all(by_query[query, 0] and by_query[query, 1] for query in labelled)
    # Some is left to be judged by whoever tries it.
    waiting = {row.query for row in rows if isinstance(row, Candidate)}
    assert len(waiting) == 3 and not waiting & labelled


@pytest.mark.slow
def test_the_default_recipe_learns_what_the_sample_teaches(tmp_path: Path) -> None:
    with serving(Services.build(make_settings(tmp_path, Path("starter")))) as client:
        eventually(lambda: client.get("/health").json()["status"] == "ok", "the model is loaded")
        label(client, *((row.query, row.passage, row.label) for row in judgments()))
        started = client.post("/v1/training-runs", json={}).raise_for_status().json()
        run = ended(client, started["id"])
        assert (run["status"], run["promoted"]) == ("succeeded", True), run["outcome"]
        query = "do I have to be an adult to ride"
        passages = [
            "Archived 2017: Adults only. Bring your passport to the office.",
            "Young people can ride from the age of 14, if a parent agrees in the app.",
        ]
        ranked = client.post("/v1/rerank", json={"query": query, "documents": passages}).json()["results"]
        assert [result["index"] for result in ranked] == [1, 0]
