"""Files on their way into the store: counted first, then taken over whole or not at all; also those of TREC."""

from __future__ import annotations

import io
import sqlite3
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from errors import InvalidInput, WorkbenchError
from labeling.importing import CheckedFile, Mapping, check_file, check_rows, guess_columns
from labeling.reading import column_names, preview
from labeling.trec import read_topics, read_trec, write_zip
from page.render import render
from storage import database
from storage.label_store import LabelStore
from storage.queue_store import QueueStore
from storage.records import Candidate, ConsensusLabel, Judgment, ScoredPair, StagedCounts, text_id
from storage.staging import Staging


@pytest.fixture
def store(tmp_path: Path) -> LabelStore:
    database.create(tmp_path / "workbench.db")
    return LabelStore(tmp_path / "workbench.db")


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path / "rows.db")


def check(
    store: LabelStore, staging: Staging, name: str, content: str | bytes, mapping: Mapping | None = None
) -> CheckedFile:
    path = store.path.with_name(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return check_file(path, "importer", staging, store.path, mapping)


def count(store: LabelStore, table: str) -> int:
    with database.read(store.path) as db:
        return db[table].count


FILE = """query,passage,label,annotator,note,rank
q,one,1,anna,sure,1
q,two,,,,2
q,two,,,,3
q,three,0,,,
q,one,0,anna,,
q,,1,,,
"""


def test_nothing_is_stored_by_checking(store: LabelStore, staging: Staging) -> None:
    checked = check(store, staging, "a.csv", FILE)
    assert checked.counts == StagedCounts(pairs=2, labels=3, new_pairs=3, new_labels=2, contradicted=1)
    assert (checked.broken, checked.examples) == (1, ["Line 7: The passage is empty. Type or paste some text."])
    assert count(store, "candidates") == 0


def test_what_was_checked_is_taken_over(store: LabelStore, staging: Staging) -> None:
    check(store, staging, "a.csv", FILE)
    heard: list[tuple[str, float]] = []
    staging.take_over(store.path, lambda what, part: heard.append((what, part)))
    # Of two labels of one annotator for a pair the last counts, of a pair that is there twice the first.
    assert {(label.passage, label.annotator): (label.label, label.note) for label in store.labels()} == {
        ("one", "anna"): (0, None), ("three", "importer"): (0, None),
    }  # fmt: skip
    with database.read(store.path) as db:
        ranks = db.conn.execute("SELECT rank FROM candidates ORDER BY id").fetchall()
    assert ranks == [(1,), (2,), (None,)]
    progress = store.progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine) == (3, 2, 0, 1)
    assert [part for _, part in heard] == sorted(part for _, part in heard) and heard[-1][1] == 1.0
    assert store.undo("anna") == [(text_id("q"), text_id("one"))]
    assert [label.passage for label in store.labels()] == ["three"]


def test_what_is_known_counts_as_known_and_what_differs_as_changed(store: LabelStore, staging: Staging) -> None:
    store.save([Judgment("q", "one", 1, "anna", note="mine"), Judgment("q", "three", 0, "importer")])
    checked = check(store, staging, "a.csv", FILE)
    assert checked.counts == StagedCounts(pairs=2, labels=3, new_pairs=1, changed_labels=1, contradicted=1)
    assert staging.take_over(store.path) == checked.counts
    with database.read(store.path) as db:
        last = list(db.query("SELECT previous_label, previous_note, label FROM label_events ORDER BY id DESC LIMIT 2"))
    assert last[0] == {"previous_label": 1, "previous_note": "mine", "label": 0}
    store.undo("anna")
    assert {label.annotator: (label.label, label.note) for label in store.labels()}["anna"] == (1, "mine")


def test_the_same_labels_again_leave_notes_days_and_history(store: LabelStore, staging: Staging) -> None:
    store.save([Judgment("q", "one", 0, "anna", note="mine"), Judgment("q", "three", 0, "importer")])
    with database.write(store.path) as db:
        db.conn.execute("UPDATE labels SET updated_at = '2024-03-04'")
    again = "query,passage,label,annotator,note\nq,one,0,anna,\nq,three,0,importer,\n"
    assert check(store, staging, "a.csv", again).counts.changed_labels == 0
    staging.take_over(store.path)
    assert [label.note for label in store.labels()] == ["mine", None]
    assert {label.updated_at for label in store.labels()} == {"2024-03-04"}
    assert count(store, "label_events") == 2
    # A note that is new is something new, and so is another label, to which the note of before does not belong.
    news = "query,passage,label,annotator,note\nq,one,1,anna,\nq,three,0,importer,why\n"
    check(store, staging, "a.csv", news)
    staging.take_over(store.path)
    assert {label.annotator: (label.label, label.note) for label in store.labels()} == {
        "anna": (1, None), "importer": (0, "why"),
    }  # fmt: skip
    store.undo("anna")
    assert {label.annotator: (label.label, label.note) for label in store.labels()}["anna"] == (0, "mine")


def test_labels_that_contradict_each_other_in_one_file_are_named(store: LabelStore, staging: Staging) -> None:
    lines = ["one,1,", "one,1,", "one,0,", "two,1,anna", "two,0,ben", "three,0,", "three,0,", "four,,", "four,1,"]
    rows = "\n".join(f"q,{line}" for line in [*lines, "four,0,"])
    checked = check(store, staging, "a.csv", f"query,passage,label,annotator\n{rows}\n")
    assert (checked.counts.contradicted, checked.contradictions) == (2, [(3, 4), (10, 11)])
    assert staging.take_over(store.path) == checked.counts
    reports = [render("import.html", checked=checked, stored=stored) for stored in (None, checked.counts)]
    for report in reports:
        assert "2 pairs are labelled both relevant and not relevant by the same annotator" in report
        assert "(lines 3 and 4; lines 10 and 11): the later one counts" in report
    assert "New: <b>4 pairs</b> and <b>5 labels</b>." in reports[0]
    assert "Imported: <b>5 labels</b> and <b>4 new pairs</b>." in reports[1]
    assert len(list(store.labels())) == 5


def test_the_report_leaves_out_what_there_is_none_of(store: LabelStore, staging: Staging) -> None:
    checked = check(store, staging, "a.csv", "query,passage\nq,one\n")
    report = render("import.html", checked=checked, stored=staging.take_over(store.path))
    assert "holds <b>1 pair</b> to be judged." in report and "Imported: <b>1 new pair</b>." in report
    assert "label<" not in report and 'href="#label"' in report and 'href="#train"' not in report
    assert "None of its pairs and labels is new." in render(
        "import.html", checked=check(store, staging, "a.csv", "query,passage\nq,one\n"), stored=None
    )


def test_a_label_ends_a_skip_and_a_lease(store: LabelStore, staging: Staging) -> None:
    store.add_candidates([Candidate("q", "one"), Candidate("q", "two")])
    store.skip(text_id("q"), text_id("one"), "anna", "cannot_tell", None)
    assert QueueStore(store.path).hold(text_id("q"), text_id("two"), "anna", "oldest", "oldest")
    check(store, staging, "a.csv", "query,passage,label,annotator\nq,one,1,anna\nq,two,0,anna\n")
    staging.take_over(store.path)
    assert (count(store, "skips"), count(store, "leases"), store.progress("anna").mine_left) == (0, 0, 0)
    store.undo("anna")
    store.undo("anna")
    assert count(store, "skips") == 1


def test_an_import_that_breaks_off_leaves_nothing(store: LabelStore, staging: Staging) -> None:
    check(store, staging, "a.csv", FILE)

    def cancel(what: str, part: float) -> None:
        if what == "labels" and part == 1.0:
            raise RuntimeError("cancelled")

    with pytest.raises(RuntimeError):
        staging.take_over(store.path, cancel)
    assert [count(store, table) for table in ("queries", "passages", "candidates", "labels", "label_events")] == [0] * 5
    staging.take_over(store.path)
    assert count(store, "candidates") == 3


def test_a_label_that_the_store_refuses_keeps_all_out(store: LabelStore, staging: Staging) -> None:
    staging.add([(1, Judgment("q", "one", 1, "anna")), (2, Judgment("q", "two", 7, "anna"))])
    with pytest.raises(sqlite3.IntegrityError):
        staging.take_over(store.path)
    assert count(store, "queries") == 0


def test_importing_again_changes_nothing_but_the_history(store: LabelStore, staging: Staging) -> None:
    check(store, staging, "a.csv", FILE)
    staging.take_over(store.path)
    before = [(label.passage, label.label) for label in store.labels()]
    again = check(store, staging, "a.csv", FILE)
    assert (again.counts.new_pairs, again.counts.new_labels, again.counts.changed_labels) == (0, 0, 0)
    staging.take_over(store.path)
    assert [(label.passage, label.label) for label in store.labels()] == before


# Columns


def test_columns_are_guessed_and_can_be_said(store: LabelStore, staging: Staging) -> None:
    assert guess_columns(["id", "question", "answer", "label"]) == {
        "query": "question", "passage": "answer", "label": "label",
    }  # fmt: skip
    content = "frage,antwort,urteil\nq,one,yes\n"
    with pytest.raises(InvalidInput, match="Its columns are: frage, antwort, urteil"):
        check(store, staging, "a.csv", content)
    said = {"query": "frage", "passage": "antwort", "label": "urteil"}
    assert check(store, staging, "a.csv", content, said).counts.labels == 1
    # A column that nobody maps is not read.
    assert check(store, staging, "a.csv", content, {"query": "frage", "passage": "antwort"}).counts.pairs == 1


def taken_over(store: LabelStore, staging: Staging) -> list[tuple[str, int, str, str | None]]:
    staging.take_over(store.path, lambda what, part: None)
    return [(label.passage, label.label, label.annotator, label.note) for label in store.labels()]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        # As pandas writes a table with its index; with a separator at the end of each line; a nameless name in JSON.
        ("index.csv", ",query,passage,label\n0,q,one,1\n1,q,two,\n"),
        ("end.csv", "query;passage;label;\nq;one;1;x\nq;two;;y\n"),
        ("a.jsonl", '{"": 5, "query": "q", "passage": "one", "label": 1}\n{"": 1, "query": "q", "passage": "two"}\n'),
    ],
)
def test_a_column_without_a_name_is_none_of_those_that_are_missing(
    store: LabelStore, staging: Staging, name: str, content: str
) -> None:
    checked = check(store, staging, name, content)
    assert (checked.counts.labels, checked.counts.pairs, checked.broken) == (1, 1, 0)
    assert taken_over(store, staging) == [("one", 1, "importer", None)]


def test_a_name_that_is_a_number_is_a_name_and_a_number_that_is_none_is_nothing(
    store: LabelStore, staging: Staging
) -> None:
    rows = [
        '{"query": "q", "passage": "one", "label": 1, "annotator": 0, "note": 0}',
        '{"query": "q", "passage": "two", "label": 1.0, "annotator": NaN, "note": NaN}',
        '{"query": "q", "passage": "three", "label": NaN}',
    ]
    checked = check(store, staging, "a.jsonl", "\n".join(rows))
    assert (checked.counts.labels, checked.counts.pairs, checked.broken) == (2, 1, 0)
    assert taken_over(store, staging) == [("one", 1, "0", "0"), ("two", 1, "importer", None)]


def test_names_that_only_later_lines_have_are_names_too(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"query": "q", "passage": "p"}\n' * 50 + '{"query": "q", "passage": "p", "label": 1}\n')
    assert column_names(path) == ["query", "passage", "label"]
    assert len(preview(path)) == 5


def test_the_first_rows_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"Query": "q", "x": 1}\nbroken\n{"passage": "p"}\n')
    assert column_names(path) == ["query", "x", "passage"]
    assert preview(path) == [(1, {"query": "q", "x": 1}), (3, {"passage": "p"})]


# Tables that are not what they seem


@pytest.mark.parametrize("lines", ["query,passage,label\nq,Paris, the one,1", "label,query,passage\n1,q,Paris, the"])
def test_a_row_with_more_cells_than_columns_is_no_pair(store: LabelStore, staging: Staging, lines: str) -> None:
    checked = check(store, staging, "a.csv", f"{lines}\n0,good,0\n")
    assert (checked.counts.labels + checked.counts.pairs, checked.broken) == (1, 1)
    assert checked.examples[0].startswith("Line 2: There are more cells")


def test_empty_cells_at_the_end_of_a_row_do_no_harm(store: LabelStore, staging: Staging) -> None:
    checked = check(store, staging, "a.csv", "query,passage,label\nq,one,1,,\n")
    assert (checked.counts.labels, checked.broken) == (1, 0)


@pytest.mark.parametrize("separator", [",", "\t"])
def test_a_quote_that_is_not_closed_swallows_no_rows(store: LabelStore, staging: Staging, separator: str) -> None:
    lines = [["query", "passage", "label"], ["q", '"opened only', "1"], ["q2", "two", "0"], ["q3", "three", "1"]]
    name = "a.csv" if separator == "," else "a.tsv"
    with pytest.raises(InvalidInput, match="Line 2 of a.... cannot be read"):
        check(store, staging, name, "".join(f"{separator.join(line)}\n" for line in lines))


# Parquet


def test_parquet_is_read(store: LabelStore, staging: Staging) -> None:
    table = pa.table({"query": ["q", "q", None], "passage": ["one", "two", "three"], "label": [1, None, 0]})
    pq.write_table(table, store.path.with_name("a.parquet"))
    content = store.path.with_name("a.parquet").read_bytes()
    checked = check(store, staging, "a.parquet", content)
    assert (checked.counts.pairs, checked.counts.labels, checked.broken) == (1, 1, 1)
    assert checked.examples[0].startswith("Line 3: The query is empty")


def test_what_python_has_no_value_for_is_said(store: LabelStore, staging: Staging) -> None:
    forever = pa.array([9223371331200000000], pa.timestamp("us"))  # a database's "infinity"
    pq.write_table(pa.table({"query": ["q"], "passage": ["p"], "seen": forever}), store.path.with_name("b.parquet"))
    with pytest.raises(InvalidInput, match="cannot be read as Parquet: date value out of range"):
        check(store, staging, "a.parquet", store.path.with_name("b.parquet").read_bytes())


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_damaged_parquet_is_refused(store: LabelStore, staging: Staging, content: bytes) -> None:
    with pytest.raises(InvalidInput, match="cannot be read as Parquet"):
        check(store, staging, "a.parquet", content)


# TREC


def trec(tmp_path: Path, **files: str) -> list:
    paths = {}
    for name, content in files.items():
        paths[name] = tmp_path / f"{name}.txt"
        paths[name].write_text(content)
    return [
        (line, row)
        for line, row, _ in read_trec(
            paths["topics"], paths["collection"], paths.get("qrels"), paths.get("run"), "nist"
        )
    ]


TOPICS, COLLECTION = "1\tthe first query\n2\tanother\n", "d1\tone\nd2\ttwo words\n"


def test_qrels_are_judgments_and_runs_are_candidates(tmp_path: Path) -> None:
    rows = trec(
        tmp_path, topics=TOPICS, collection=COLLECTION, qrels="1 0 d1 2\n1 0 d2 0\n", run="2 Q0 d2 1 17.5 bm25\n"
    )
    assert rows == [
        (1, Judgment("the first query", "one", 1, "nist", source="qrels")),
        (2, Judgment("the first query", "two words", 0, "nist", source="qrels")),
        (1, Candidate("another", "two words", "bm25", 1)),
    ]
    [(_, far)] = trec(tmp_path, topics=TOPICS, collection=COLLECTION, run=f"1 Q0 d1 {10**20} 0.5 bm25\n")
    assert far == Candidate("the first query", "one", "bm25", None)


@pytest.mark.parametrize("name", ["of\ttwo", "n" * 101])
def test_whose_judgments_they_are_has_to_be_a_name(tmp_path: Path, name: str) -> None:
    for what, content in (("topics", TOPICS), ("collection", COLLECTION), ("qrels", "1 0 d1 2\n")):
        (tmp_path / what).write_text(content)
    with pytest.raises(WorkbenchError, match="The annotator's name"):
        list(read_trec(tmp_path / "topics", tmp_path / "collection", tmp_path / "qrels", None, name))


def test_lines_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    qrels = "1 0 d1 1\n\n9 0 d1 1\n1 0 d9 1\n1 0 d1\n1 0 d1 many\n"
    rows = trec(tmp_path, topics=TOPICS, collection=COLLECTION, qrels=qrels)
    assert [line for line, row in rows if isinstance(row, str)] == [3, 4, 5, 6]
    reasons = " ".join(row for _, row in rows if isinstance(row, str))
    for words in ("no query 9", "no passage d9", "3 fields", "'many'"):
        assert words in reasons


def test_topics_of_trec_and_collections_of_json_lines(tmp_path: Path) -> None:
    topics = "<top>\n<num> Number: 301\n<title> Crime < 5 % of GDP\n\n<desc> Description:\nmore\n</top>\n"
    collection = '{"_id": "a", "title": "A title", "text": "and text"}\n{"docid": 7, "contents": "seven"}\n'
    rows = trec(tmp_path, topics=topics, collection=collection, qrels="301 0 a 1\n301 0 7 0\n")
    assert [(row.query, row.passage) for _, row in rows] == [
        ("Crime < 5 % of GDP", "A title and text"), ("Crime < 5 % of GDP", "seven"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"topics": "", "collection": COLLECTION, "qrels": "1 0 d1 1"}, "holds no topics"),
        ({"topics": "no tab", "collection": COLLECTION, "qrels": "1 0 d1 1"}, "Line 1 of topics.txt has no tab"),
        ({"topics": TOPICS, "collection": "no tab", "qrels": "1 0 d1 1"}, "Line 1 of collection.txt has no tab"),
        ({"topics": TOPICS, "collection": '{"a": 1}', "qrels": "1 0 d1 1"}, "has no id or no text"),
        ({"topics": TOPICS, "collection": COLLECTION, "qrels": ""}, "neither a qrels file nor a run"),
    ],
)
def test_files_that_cannot_be_used_are_refused(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        trec(tmp_path, **files)


def test_what_goes_out_comes_in_again(tmp_path: Path, store: LabelStore, staging: Staging) -> None:
    labels = [ConsensusLabel("q1", "a\tquery", "p1", "two\nlines", 1), ConsensusLabel("q1", "a\tquery", "p2", "no", 0)]
    scored = [
        ScoredPair("q1", "a\tquery", "p2", "no", "v1", 2.5),
        ScoredPair("q1", "a\tquery", "p1", "two\nlines", "v1", -1.0),
        ScoredPair("q2", "else", "p1", "two\nlines", "v1", 0.0),
    ]  # fmt: skip
    with zipfile.ZipFile(io.BytesIO(write_zip(labels, scored))) as archive:
        archive.extractall(tmp_path)
    assert (tmp_path / "run.txt").read_text().splitlines() == [
        "q1 Q0 p2 1 2.500000 v1", "q1 Q0 p1 2 -1.000000 v1", "q2 Q0 p1 1 0.000000 v1",
    ]  # fmt: skip
    names = [tmp_path / name for name in ("topics.tsv", "collection.tsv", "qrels.txt", "run.txt")]
    assert read_topics(names[0]) == {"q1": "a query", "q2": "else"}
    checked = check_rows("trec", read_trec(*names, "nist"), staging, store.path)
    assert checked.counts == StagedCounts(pairs=3, labels=2, new_pairs=3, new_labels=2, changed_labels=0)
