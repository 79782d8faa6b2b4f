"""Candidates, tasks, labels, their export, and agreement over HTTP."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from services import Services
from tests.conftest import make_settings
from tests.serving import assert_error, label, serving

FIELDS = {"query_id", "query", "passage_id", "passage", "label", "annotator", "note", "updated_at"}
STRANGE = [
    "🌉 the bridge 👩‍👩‍👧‍👦",
    "الجسر القديم",
    "<script>alert(1)</script>",
    'a "quoted", text; with\r\nlines\nand\ttabs',
    "\u2028 line \u0085 separators \x0b\x0c",
    "=HYPERLINK(1)",
    "e\u0301\ufeff",
]
BAD_TEXTS = ["", "  ", "\n", "a\x00b", "\ud800", None, 5, ["text"], {"text": "text"}]


def pair(number: int = 0, **changes: Any) -> dict[str, Any]:
    return {"query": f"query {number}", "passage": f"passage {number}"} | changes


def judged(number: int = 0, label: Any = 1, **changes: Any) -> dict[str, Any]:
    return pair(number, label=label) | changes


def post(client: httpx.Client, path: str, body: Any) -> httpx.Response:
    # With half a surrogate pair in it, httpx would not encode the body; as an escape it travels.
    return client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})


def stored(client: httpx.Client) -> list[dict[str, Any]]:
    """Every label, as the JSON lines of the export."""
    return [json.loads(line) for line in client.get("/v1/labels").raise_for_status().text.split("\n") if line]


# Candidates and tasks


def test_candidates_are_counted_as_new_or_known(client: httpx.Client) -> None:
    first = [pair(1), pair(1, passage="another"), pair(2, source="bm25")]
    response = client.post("/v1/candidates", json={"pairs": first})
    assert response.status_code == 200
    assert response.json() == {"queries": 2, "passages": 3, "candidates": 3, "duplicates": 0}
    again = [pair(1), pair(2, passage="passage 1"), pair(3), pair(3)]
    answer = client.post("/v1/candidates", json={"pairs": again}).json()
    assert answer == {"queries": 1, "passages": 1, "candidates": 2, "duplicates": 2}


@pytest.mark.parametrize("field", ["query", "passage"])
@pytest.mark.parametrize("bad", BAD_TEXTS, ids=ascii)
def test_one_bad_candidate_keeps_all_out(shared_client: httpx.Client, field: str, bad: Any) -> None:
    response = post(shared_client, "/v1/candidates", {"pairs": [pair(1), pair(2, **{field: bad}), pair(3)]})
    assert_error(response, 422, "invalid_input")
    assert shared_client.get("/v1/tasks/next").status_code == 204


@pytest.mark.parametrize("source", ["", " ", "a\nb", "\x00", "x" * 101, 5], ids=lambda source: ascii(source)[:8])
def test_bad_sources_are_refused(shared_client: httpx.Client, source: Any) -> None:
    response = shared_client.post("/v1/candidates", json={"pairs": [pair(1, source=source)]})
    assert response.status_code in (413, 422)
    assert_error(response, response.status_code, "too_large" if response.status_code == 413 else "invalid_input")


def test_too_many_or_no_candidates_are_refused(client: httpx.Client) -> None:
    assert_error(client.post("/v1/candidates", json={"pairs": []}), 422, "invalid_input")
    many = [pair(number) for number in range(1_001)]
    assert_error(client.post("/v1/candidates", json={"pairs": many}), 413, "too_large")
    assert client.get("/v1/tasks/next").status_code == 204
    assert client.post("/v1/candidates", json={"pairs": many[:1_000]}).json()["candidates"] == 1_000


def test_unknown_fields_are_refused(shared_client: httpx.Client) -> None:
    response = shared_client.post("/v1/candidates", json={"pairs": [pair(1, labl=1)]})
    assert "labl" in assert_error(response, 422, "invalid_input")
    assert_error(post(shared_client, "/v1/candidates", {"pairs": [pair(1)], "\ud800": 1}), 422, "invalid_input")


def test_tasks_come_until_nothing_is_left(client: httpx.Client) -> None:
    client.post("/v1/candidates", json={"pairs": [pair(1), pair(2)]})
    for number in (1, 2):
        response = client.get("/v1/tasks/next", params={"strategy": "oldest"})
        assert response.status_code == 200
        task = response.json()
        assert set(task) == {"query_id", "query", "passage_id", "passage"}
        assert (task["query"], task["passage"]) == (f"query {number}", f"passage {number}")
        client.post("/v1/labels", json=judged(number, number % 2)).raise_for_status()
    nothing = client.get("/v1/tasks/next")
    assert (nothing.status_code, nothing.content) == (204, b"")


def test_every_annotator_has_a_queue_of_their_own(client: httpx.Client) -> None:
    client.post("/v1/candidates", json={"pairs": [pair(1)]})
    label(client, ("query 1", "passage 1", 1), annotator="anna")
    assert client.get("/v1/tasks/next", params={"annotator": "anna"}).status_code == 204
    assert client.get("/v1/tasks/next", params={"annotator": "berta"}).status_code == 200
    assert client.get("/v1/tasks/next").status_code == 200


def test_spaces_around_an_annotators_name_do_not_count(client: httpx.Client) -> None:
    client.post("/v1/candidates", json={"pairs": [pair(1)]})
    label(client, ("query 1", "passage 1", 1), annotator=" anna ")
    assert [row["annotator"] for row in stored(client)] == ["anna"]
    assert client.get("/v1/tasks/next", params={"annotator": "anna "}).status_code == 204


@pytest.mark.parametrize("strategy", ["gain", "uncertain", "disagreement", "top", "random", "oldest"])
def test_every_strategy_hands_out_what_there_is(client: httpx.Client, strategy: str) -> None:
    pairs = [pair(number) for number in range(3)]
    client.post("/v1/candidates", json={"pairs": pairs})
    seen = []
    for _ in pairs:
        task = client.get("/v1/tasks/next", params={"strategy": strategy}).json()
        seen.append({name: task[name] for name in ("query", "passage")})
        client.post("/v1/labels", json=seen[-1] | {"label": 0}).raise_for_status()
    assert sorted(seen, key=str) == sorted(pairs, key=str)


def test_whoever_asks_again_gets_the_same_task(client: httpx.Client) -> None:
    client.post("/v1/candidates", json={"pairs": [pair(number) for number in range(30)]})
    tasks = [client.get("/v1/tasks/next", params={"annotator": "anna"}).json() for _ in range(5)]
    assert all(task == tasks[0] for task in tasks)
    assert client.get("/v1/tasks/next", params={"annotator": "berta"}).json() != tasks[0]


@pytest.mark.parametrize("params", [{"strategy": "best"}, {"strategy": ""}, {"annotator": ""}, {"annotator": "a\x00"}])
def test_bad_task_parameters_are_refused(shared_client: httpx.Client, params: dict[str, str]) -> None:
    assert_error(shared_client.get("/v1/tasks/next", params=params), 422, "invalid_input")


def test_with_a_quota_a_pair_is_given_to_so_many(tmp_path: Path, model_dir: Path) -> None:
    settings = make_settings(tmp_path / "data", model_dir, OVERLAP="2")
    with serving(Services.build(settings)) as client:
        client.post("/v1/candidates", json={"pairs": [pair(1)]})
        asked = [client.get("/v1/tasks/next", params={"annotator": name}).status_code for name in ("a", "b", "c")]
        assert asked == [200, 200, 204]
        label(client, ("query 1", "passage 1", 1), annotator="a")
        label(client, ("query 1", "passage 1", 0), annotator="b")
        assert client.get("/v1/tasks/next", params={"annotator": "c"}).status_code == 204


# Labels


def test_one_label_is_saved(client: httpx.Client) -> None:
    response = client.post("/v1/labels", json=judged(1, annotator="anna", note="see page 3"))
    assert response.status_code == 200
    assert response.json() == {"saved": 1, "changed": 0}
    (row,) = stored(client)
    assert set(row) == FIELDS
    expected = judged(1, annotator="anna", note="see page 3")
    assert {name: row[name] for name in expected} == expected


def test_one_point_zero_is_one(client: httpx.Client) -> None:
    assert client.post("/v1/labels", json=judged(1, 1.0)).json() == {"saved": 1, "changed": 0}
    assert [repr(row["label"]) for row in stored(client)] == ["1"]


def test_changes_are_counted(client: httpx.Client) -> None:
    many = {"labels": [judged(1, 1), judged(2, 0), judged(3, 1)]}
    assert client.post("/v1/labels", json=many).json() == {"saved": 3, "changed": 0}
    assert client.post("/v1/labels", json=many).json() == {"saved": 3, "changed": 0}
    other = {"labels": [judged(1, 0), judged(2, 0), judged(3, 0), judged(4, 1)]}
    assert client.post("/v1/labels", json=other).json() == {"saved": 4, "changed": 2}
    assert client.post("/v1/labels", json=judged(1, 1, annotator="berta")).json() == {"saved": 1, "changed": 0}
    assert {(row["query"], row["annotator"]): row["label"] for row in stored(client)} == {
        ("query 1", "api"): 0, ("query 2", "api"): 0, ("query 3", "api"): 0, ("query 4", "api"): 1,
        ("query 1", "berta"): 1,
    }  # fmt: skip


def test_the_last_of_two_labels_for_a_pair_counts(client: httpx.Client) -> None:
    answer = client.post("/v1/labels", json={"labels": [judged(1, 1), judged(1, 0)]}).json()
    assert answer == {"saved": 2, "changed": 1}
    assert [row["label"] for row in stored(client)] == [0]


def test_a_labelled_pair_is_a_candidate_for_others(client: httpx.Client) -> None:
    label(client, ("query 1", "passage 1", 1), annotator="anna")
    task = client.get("/v1/tasks/next", params={"annotator": "berta"}).json()
    assert (task["query"], task["passage"]) == ("query 1", "passage 1")


BAD_LABELS = [
    *({"query": bad} for bad in BAD_TEXTS), *({"passage": bad} for bad in BAD_TEXTS),
    *({"label": bad} for bad in (2, -1, True, False, "1", 0.5, None, [], "relevant")),
    *({"annotator": bad} for bad in ("", " ", "a\x00", "a\nb", "\ud800", 5)),
    *({"note": bad} for bad in ("a\x00b", "\ud800", 5)),
    {"lable": 1}, {"\ud800": 1}, {"labels": []},
]  # fmt: skip


@pytest.mark.parametrize("changes", BAD_LABELS, ids=ascii)
def test_one_bad_label_keeps_all_out(shared_client: httpx.Client, changes: dict[str, Any]) -> None:
    bad = judged(2) | changes
    response = post(shared_client, "/v1/labels", {"labels": [judged(1), bad, judged(3)]})
    assert "#" not in assert_error(response, 422, "invalid_input")
    assert_error(post(shared_client, "/v1/labels", bad), 422, "invalid_input")
    assert stored(shared_client) == []


@pytest.mark.parametrize("missing", ["query", "passage", "label"])
def test_missing_fields_are_named(shared_client: httpx.Client, missing: str) -> None:
    body = {name: value for name, value in judged(1).items() if name != missing}
    assert missing in assert_error(shared_client.post("/v1/labels", json=body), 422, "invalid_input")
    assert missing in assert_error(shared_client.post("/v1/labels", json={"labels": [body]}), 422, "invalid_input")


@pytest.mark.parametrize("body", [None, [], "text", {}, {"labels": None}, {"labels": {}}, [judged(1)]], ids=str)
def test_what_holds_no_labels_is_refused(shared_client: httpx.Client, body: Any) -> None:
    assert_error(shared_client.post("/v1/labels", json=body), 422, "invalid_input")


def test_too_many_or_too_long_labels_are_refused(client: httpx.Client) -> None:
    many = [judged(number) for number in range(1_001)]
    assert_error(client.post("/v1/labels", json={"labels": many}), 413, "too_large")
    assert_error(client.post("/v1/labels", json=judged(1, passage="x" * 2_000_000)), 413, "too_large")
    assert_error(client.post("/v1/labels", json=judged(1, note="x" * 2_000_000)), 413, "too_large")
    assert_error(client.post("/v1/labels", json=judged(1, annotator="x" * 101)), 413, "too_large")
    assert_error(client.post("/v1/labels", content=b" " * 10_000_001), 413, "too_large")
    assert stored(client) == []
    assert client.post("/v1/labels", json={"labels": many[:1_000]}).json() == {"saved": 1_000, "changed": 0}


def test_a_blank_note_is_no_note(client: httpx.Client) -> None:
    client.post("/v1/labels", json={"labels": [judged(1, note=" "), judged(2, note=""), judged(3, note=None)]})
    assert [row["note"] for row in stored(client)] == [None, None, None]


# Export


@pytest.fixture
def strange(client: httpx.Client) -> list[dict[str, Any]]:
    """Labels with every text that is hard to write to a file, as they were sent."""
    labels = [
        {"query": text, "passage": f"{text} too", "label": place % 2, "annotator": "änna, b", "note": text}
        for place, text in enumerate(STRANGE)
    ]
    client.post("/v1/labels", json={"labels": labels}).raise_for_status()
    return labels


def sent_part(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("query", "passage", "label", "annotator", "note")
    return sorted(({name: row[name] for name in names} for row in rows), key=lambda row: row["query"])


def test_jsonl_gives_back_what_was_sent(client: httpx.Client, strange: list[dict[str, Any]]) -> None:
    response = client.get("/v1/labels", params={"format": "jsonl"})
    assert response.headers["content-type"] == "application/x-ndjson"
    assert response.content == client.get("/v1/labels").content
    rows = [json.loads(line) for line in response.content.splitlines()]
    assert all(set(row) == FIELDS for row in rows)
    assert sent_part(rows) == sent_part(strange)


def test_csv_gives_back_what_was_sent(client: httpx.Client, strange: list[dict[str, Any]]) -> None:
    response = client.get("/v1/labels", params={"format": "csv"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="labels.csv"' in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.content.decode(), newline="")))
    assert all(set(row) == FIELDS for row in rows)
    assert sent_part([row | {"label": int(row["label"])} for row in rows]) == sent_part(strange)


def test_parquet_gives_back_what_was_sent(client: httpx.Client, strange: list[dict[str, Any]]) -> None:
    response = client.get("/v1/labels", params={"format": "parquet"})
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    rows = pq.read_table(io.BytesIO(response.content)).to_pylist()
    assert all(set(row) == FIELDS for row in rows)
    assert sent_part(rows) == sent_part(strange)


def test_qrels_hold_what_each_pair_counts_as(client: httpx.Client) -> None:
    label(client, ("q", "one", 1), ("q", "two", 0), ("q", "tied", 1), annotator="anna")
    label(client, ("q", "one", 1), ("q", "two", 1), ("q", "tied", 0), annotator="berta")
    label(client, ("q", "one", 0), ("q", "two", 0), annotator="carla")
    ids = {row["passage"]: (row["query_id"], row["passage_id"]) for row in stored(client)}
    response = client.get("/v1/labels", params={"format": "qrels"})
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    rows = [line.split(" ") for line in response.text.splitlines()]
    assert sorted(rows) == sorted([[ids["one"][0], "0", ids["one"][1], "1"], [ids["two"][0], "0", ids["two"][1], "0"]])


def test_without_labels_every_format_is_empty_but_whole(client: httpx.Client) -> None:
    files = {kind: client.get("/v1/labels", params={"format": kind}) for kind in ("jsonl", "csv", "qrels", "parquet")}
    assert {response.status_code for response in files.values()} == {200}
    assert files["jsonl"].content == files["qrels"].content == b""
    assert set(next(csv.reader([files["csv"].text]))) == FIELDS
    assert set(pq.read_table(io.BytesIO(files["parquet"].content)).column_names) == FIELDS


def test_every_label_of_many_is_exported(client: httpx.Client) -> None:
    for start in range(0, 6_000, 1_000):
        labels = [judged(number) for number in range(start, start + 1_000)]
        client.post("/v1/labels", json={"labels": labels}).raise_for_status()
    assert {row["query"] for row in stored(client)} == {f"query {number}" for number in range(6_000)}
    parquet = pq.read_table(io.BytesIO(client.get("/v1/labels?format=parquet").content))
    assert len(set(parquet.column("query").to_pylist())) == 6_000


def test_the_files_of_trec_come_as_a_zip(client: httpx.Client) -> None:
    label(client, ("q", "one", 1), ("q", "two\nlines", 0))
    response = client.get("/v1/labels", params={"format": "trec"})
    assert response.headers["content-type"] == "application/zip"
    assert 'filename="labels-trec.zip"' in response.headers["content-disposition"]
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        files = {name: archive.read(name).decode().splitlines() for name in archive.namelist()}
    assert [line.split("\t")[1] for line in files["topics.tsv"]] == ["q"]
    assert sorted(line.split("\t")[1] for line in files["collection.tsv"]) == ["one", "two lines"]
    assert sorted(line.split()[3] for line in files["qrels.txt"]) == ["0", "1"]


@pytest.mark.parametrize("kind", ["", "xml", "JSONL", "jsonl,csv"])
def test_unknown_formats_are_refused(shared_client: httpx.Client, kind: str) -> None:
    assert "format" in assert_error(shared_client.get("/v1/labels", params={"format": kind}), 422, "invalid_input")


# Agreement


def test_agreement_of_nobody(client: httpx.Client) -> None:
    response = client.get("/v1/agreement")
    assert response.status_code == 200
    assert response.json() == {"annotators": 0, "pairs": 0, "krippendorff_alpha": None, "cohen_kappa": []}


def test_agreement_of_annotators(client: httpx.Client) -> None:
    ours = [1, 1, 1, 0, 0, 0, 1, 0, 1, 0]
    theirs = [1, 1, 0, 0, 0, 1, 1, 0, 1, 0]
    for annotator, labels in (("anna", ours), ("berta", theirs)):
        label(client, *(("q", f"passage {place}", value) for place, value in enumerate(labels)), annotator=annotator)
    label(client, ("q", "passage of one", 1), annotator="carla")
    answer = client.get("/v1/agreement").json()
    assert set(answer) == {"annotators", "pairs", "krippendorff_alpha", "cohen_kappa"}
    assert (answer["annotators"], answer["pairs"]) == (3, 10)
    # Eight of ten pairs agree, each annotator has five of each label: kappa is (0.8 - 0.5) / (1 - 0.5). For alpha the
    # expected disagreement is that of 20 labels drawn without putting back: 1 - 0.2 / (2 * 10 * 10 / (20 * 19)).
    assert answer["krippendorff_alpha"] == pytest.approx(1 - 0.2 / (200 / 380))
    kappas = {tuple(item["annotators"]): item for item in answer["cohen_kappa"]}
    assert kappas["anna", "berta"] == {"annotators": ["anna", "berta"], "pairs": 10, "kappa": pytest.approx(0.6)}
    assert kappas["anna", "carla"] == {"annotators": ["anna", "carla"], "pairs": 0, "kappa": None}
    assert len(kappas) == 3


def test_disputes_are_listed_with_their_votes(services: Services, client: httpx.Client) -> None:
    assert client.get("/v1/disputes").json() == {"total": 0, "disputes": []}
    label(client, ("q", "same", 1), ("q", "differs", 1), ("q", "differs too", 1), annotator="anna")
    label(client, ("q", "same", 1), ("q", "differs", 0), ("q", "differs too", 0), annotator="bo")
    answer = client.get("/v1/disputes").json()
    assert answer["total"] == len(answer["disputes"]) == 2
    dispute = answer["disputes"][0]
    assert (dispute["query"], dispute["passage"]) == ("q", "differs")
    assert [(vote["annotator"], vote["label"], vote["note"]) for vote in dispute["votes"]] == [
        ("anna", 1, None), ("bo", 0, None),
    ]  # fmt: skip
    services.labeling.decide(dispute["query_id"], dispute["passage_id"], 1, "ed")
    assert [item["passage"] for item in client.get("/v1/disputes").json()["disputes"]] == ["differs too"]


def test_guidelines_are_read(services: Services, client: httpx.Client) -> None:
    assert client.get("/v1/guidelines").json() == {"text": "", "written_by": None, "created_at": None}
    services.labeling.write_guidelines("# Be *kind*", "ed", None)
    answer = client.get("/v1/guidelines").json()
    assert (answer["text"], answer["written_by"]) == ("# Be *kind*", "ed")


# When something breaks


def test_what_breaks_here_is_said_in_the_same_shape(services: Services, client: httpx.Client) -> None:
    label(client, ("q", "p", 1))
    with sqlite3.connect(services.settings.database_path) as db:
        db.execute("ALTER TABLE labels RENAME TO gone")
    db.close()
    for _ in range(3):
        message = assert_error(client.get("/v1/agreement"), 500, "internal_error")
        assert "labels" not in message and "SQL" not in message
        assert_error(client.post("/v1/labels", json=judged(2)), 500, "internal_error")
        assert client.get("/health").status_code == 200
