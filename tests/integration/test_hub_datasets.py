"""Datasets of the Hub, through the real libraries, from a Hub on this machine."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from errors import HubRefused, InvalidInput
from labeling.hub_import import Choices, check_id, fetch, look_up
from labeling.importing import checked_rows
from storage.records import Candidate, Judgment
from tests.integration import hub_server
from tests.integration.hub_files import Dataset
from tests.integration.hub_server import HubServer, unused_endpoint

CARD = b"""---
configs:
- config_name: labelled
  data_files:
  - split: train
    path: labelled/train.parquet
  - split: test
    path: labelled/test.parquet
- config_name: triplets
  data_files: triplets/*.parquet
---
"""


def parquet(**columns: list) -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table(columns), written)
    return written.getvalue()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with hub_server.serve({}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        monkeypatch.delenv("HF_TOKEN", raising=False)
        server.datasets["owner/pairs"] = dataset = Dataset("public")
        dataset.commit(**{
            "README.md": CARD,
            "labelled/train.parquet": parquet(query=["q"] * 3, passage=["a", "b", "c"], label=[1, 0, 1]),
            "labelled/test.parquet": parquet(query=["t"], passage=["a"], label=[1]),
            "triplets/some.parquet": parquet(anchor=["q"], positive=["p"], negative=[["n"]]),
        })  # fmt: skip
        yield server


def fetched(path: Path, *arguments: object) -> tuple[int, bool]:
    """How many rows came, and whether these are all."""
    told = [0]
    generator = fetch(*arguments, path)  # type: ignore[arg-type]
    while True:
        try:
            told.append(next(generator))
        except StopIteration as end:
            return told[-1], end.value


def test_what_there_is_to_choose_from(hub: HubServer) -> None:
    assert look_up("owner/pairs") == Choices(["labelled", "triplets"], "labelled", ["train", "test"])
    assert look_up("owner/pairs", "triplets") == Choices(["labelled", "triplets"], "triplets", ["train"])


def test_a_split_is_fetched_as_far_as_asked_and_read_as_a_file(hub: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert fetched(path, "owner/pairs", "labelled", "train", 2) == (2, False)
    assert fetched(path, "owner/pairs", "labelled", "train", 3) == (3, True)
    rows = [row for _, row, _ in checked_rows(path, "importer")]
    assert [(row.passage, row.label) for row in rows if isinstance(row, Judgment)] == [("a", 1), ("b", 0), ("c", 1)]


def test_tables_whose_columns_are_not_known_before_they_are_read_come_too(hub: HubServer, tmp_path: Path) -> None:
    hub.datasets["owner/csv"] = Dataset("public")
    hub.datasets["owner/csv"].commit(**{"train.csv": b"query,passage,label\nq,a,1\nq,b,0\n"})
    path = tmp_path / "rows.jsonl"
    assert fetched(path, "owner/csv", "default", "train", 5) == (2, True)
    rows = [row for _, row, _ in checked_rows(path, "importer")]
    assert [(row.passage, row.label) for row in rows if isinstance(row, Judgment)] == [("a", 1), ("b", 0)]


def test_triplets_come_as_judgments(hub: HubServer, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    fetched(path, "owner/pairs", "triplets", "train", 10)
    rows = [row for _, row, _ in checked_rows(path, "importer")]
    assert [(row.passage, row.label) for row in rows if isinstance(row, Judgment)] == [("p", 1), ("n", 0)]


def test_what_is_no_text_comes_as_some(hub: HubServer, tmp_path: Path) -> None:
    picture = pa.array(
        [{"bytes": b"\x89PNG", "path": "a.png"}], pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    )
    moment = pa.array([1_700_000_000], pa.timestamp("s"))
    hub.datasets["owner/odd"] = Dataset("public")
    hub.datasets["owner/odd"].commit(
        **{"a.parquet": parquet(query=["q"], passage=["p"], picture=picture, moment=moment)}
    )
    path = tmp_path / "rows.jsonl"
    assert fetched(path, "owner/odd", "default", "train", 5) == (1, True)
    row = json.loads(path.read_text())
    assert row["picture"]["bytes"] == "iVBORw==" and row["moment"].startswith("2023-11-14")
    assert [row for _, row, _ in checked_rows(path, "importer")] == [Candidate("q", "p", "rows.jsonl")]


def test_a_dataset_that_is_not_there_or_private_is_told(hub: HubServer) -> None:
    hub.datasets["owner/hidden"] = Dataset("private")
    for name in ("owner/none", "owner/hidden"):
        with pytest.raises(HubRefused, match=f"There is no dataset {name} on the Hub, or it is private"):
            look_up(name)


def test_a_dataset_without_tables_is_told(hub: HubServer) -> None:
    hub.datasets["owner/empty"] = Dataset("public")
    with pytest.raises(HubRefused, match="owner/empty has no files on the Hub that can be read as a table"):
        look_up("owner/empty")


def test_a_hub_that_may_not_be_asked_is_told(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubRefused, match="HF_HUB_OFFLINE forbids asking the Hub"):
        look_up("owner/pairs")


def test_a_hub_that_cannot_be_reached_is_told(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", unused_endpoint())
    with pytest.raises(HubRefused, match="owner/pairs"):
        look_up("owner/pairs")


def test_a_hub_that_falls_silent_is_given_up_and_leaves_no_process(hub: HubServer, tmp_path: Path) -> None:
    hub.behaviour = "silent"
    with pytest.raises(HubRefused, match="did not answer for 3 seconds"):
        look_up("owner/pairs", silent_seconds=3)
    assert [child for child in psutil.Process().children() if "hub_dataset" in " ".join(child.cmdline())] == []


def test_a_fetch_that_is_stopped_leaves_no_process(hub: HubServer, tmp_path: Path) -> None:
    rows = "".join(f'{{"query": "q{number}", "passage": "p"}}\n' for number in range(400_000))
    hub.datasets["owner/long"] = Dataset("public")
    hub.datasets["owner/long"].commit(**{"a.jsonl": rows.encode()})
    going = fetch("owner/long", "default", "train", 400_000, tmp_path / "rows.jsonl")
    assert next(rows for rows in going if rows) < 400_000
    going.close()
    time.sleep(0.1)
    assert [child for child in psutil.Process().children() if "hub_dataset" in " ".join(child.cmdline())] == []


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        (" owner/name ", "owner/name"),
        ("https://huggingface.co/datasets/owner/name", "owner/name"),
        ("https://huggingface.co/datasets/owner/name/viewer/default/train?row=2", "owner/name"),
        ("datasets/owner/na.me-2/", "owner/na.me-2"),
    ],
)
def test_a_name_may_come_with_its_address(typed: str, expected: str) -> None:
    assert check_id(typed) == expected


@pytest.mark.parametrize(
    "typed", ["", "name", "csv", "../owner", "owner/../name", "/etc/passwd", "a/b/c", "a b/c", "./a"]
)
def test_what_is_no_name_of_a_dataset_is_refused_before_anyone_is_asked(typed: str) -> None:
    with pytest.raises(InvalidInput, match="owner/name"):
        look_up(typed)


@pytest.mark.parametrize("limit", [0, -1, 1_000_001])
def test_only_so_many_rows_are_fetched(tmp_path: Path, limit: int) -> None:
    with pytest.raises(InvalidInput, match="from 1 to 1,000,000"):
        next(fetch("owner/name", "default", "train", limit, tmp_path / "rows.jsonl"))
