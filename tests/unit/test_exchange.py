"""Labels and pairs as files: what comes in is what was meant, and what goes out comes back equal."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from errors import InvalidInput, TooLarge
from labeling import exchange, reading
from labeling.exchange import EXPORTS, LABEL_FIELDS, Exportable
from labeling.importing import COLUMNS, LABEL_WORDS, check_file, checked_rows
from labeling.trec import ZIP_FILES
from storage import database
from storage.records import Candidate, ConsensusLabel, Judgment, StoredLabel
from storage.staging import Staging

HARD_TEXTS = [
    'commas, "quotes" and ; semicolons',
    "two\nlines",
    "windows\r\nline",
    "old\rline",
    "tab\tand\u2028separator",
    "emoji 👩‍🔬 🙂",
    "مرحبا بالعالم",
    "‮turned round‬",
    " spaces around ",
    "=SUM(A1:A2)",
    "null",
    "0",
    "back\\slash \\n",
    "水火",
]


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@dataclass
class Imported:
    """The rows of a file, by what they are."""

    candidates: list[Candidate] = field(default_factory=list)
    judgments: list[Judgment] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


def read(tmp_path: Path, name: str, content: str | bytes, mapping: dict[str, str] | None = None) -> Imported:
    return read_file(write(tmp_path, name, content), mapping)


def read_file(path: Path, mapping: dict[str, str] | None = None) -> Imported:
    imported = Imported()
    for line, row, _ in checked_rows(path, "importer", mapping):
        if isinstance(row, Candidate):
            imported.candidates.append(row)
        elif isinstance(row, Judgment):
            imported.judgments.append(row)
        else:
            imported.broken.append(f"Line {line}: {row}")
    return imported


def refusal(tmp_path: Path, name: str, content: str | bytes) -> str:
    """What is said of a file that cannot be used as a whole."""
    path = write(tmp_path, name, content)
    database.create(tmp_path / "store.db")
    with pytest.raises(InvalidInput) as raised:
        check_file(path, "importer", Staging(tmp_path / "staging.db"), tmp_path / "store.db")
    return str(raised.value)


def judgment(query: str, passage: str, label: int, annotator: str = "importer", **more: Any) -> Judgment:
    return Judgment(query, passage, label, annotator, **{"source": "a.csv", **more})


def stored_labels() -> list[StoredLabel]:
    """Labels that hold everything that is hard to write into a file."""
    return [
        StoredLabel(
            f"q{place}", f"query: {text}", f"p{place}", text, place % 2, f"anna {place}", text if place % 3 else None,
            f"2026-01-01T00:00:{place:02}.000001+00:00",
        )
        for place, text in enumerate(HARD_TEXTS)
    ]  # fmt: skip


def exported(kind: Any, labels: Sequence[StoredLabel], consensus: Sequence[ConsensusLabel] = ()) -> bytes:
    return b"".join(EXPORTS[kind].pieces(Exportable(lambda: iter(labels), lambda: list(consensus))))


# In


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "query,passage,label\nq,one,1\nq,two,0\nq,three,\n"),
        ("a.tsv", "query\tpassage\tlabel\nq\tone\t1\nq\ttwo\t0\nq\tthree\t\n"),
        ("a.jsonl", '{"query":"q","passage":"one","label":1}\n{"query":"q","passage":"two","label":0}\n\n'
                    '{"query":"q","passage":"three"}\n'),
        ("A.CSV", "\ufeffQuery, PASSAGE ,Label\r\nq,one,1\r\nq,two,0\r\nq,three,\r\n"),
        ("old.csv", "query,passage,label\rq,one,1\rq,two,0\rq,three,\r"),
    ],
)  # fmt: skip
def test_every_kind_of_file_is_read(tmp_path: Path, name: str, content: str) -> None:
    pairs = read(tmp_path, name, content)
    assert pairs.judgments == [judgment("q", "one", 1, source=name), judgment("q", "two", 0, source=name)]
    assert pairs.candidates == [Candidate("q", "three", name)]
    assert pairs.broken == []


@pytest.mark.parametrize("query", COLUMNS["query"])
@pytest.mark.parametrize("passage", COLUMNS["passage"])
def test_columns_may_have_the_names_that_others_use(tmp_path: Path, query: str, passage: str) -> None:
    assert read(tmp_path, "a.csv", f"id,{passage},{query}\n1,p,q\n").candidates == [Candidate("q", "p", "a.csv")]
    line = json.dumps({"id": 1, passage: "p", query: "q"})
    assert read(tmp_path, "a.jsonl", line).candidates == [Candidate("q", "p", "a.jsonl")]


@pytest.mark.parametrize(
    ("name", "source"),
    [("my pairs.csv", "my pairs.csv"), ("tab\there.csv", "tabhere.csv"), (f"{'x' * 120}.csv", "x" * 100)],
)
def test_rows_that_name_no_source_come_from_their_file(tmp_path: Path, name: str, source: str) -> None:
    pairs = read(tmp_path, name, "query,passage,source\nq,p,\nq,r,bm25\n")
    assert (pairs.candidates, pairs.broken) == ([Candidate("q", "p", source), Candidate("q", "r", "bm25")], [])


def test_annotator_source_and_note_are_kept(tmp_path: Path) -> None:
    pairs = read(tmp_path, "a.csv", "query,passage,label,annotator,source,note\nq,p,1, anna ,bm25,sure\nq,r,,,bm25,\n")
    assert pairs.judgments == [judgment("q", "p", 1, "anna", source="bm25", note="sure")]
    assert pairs.candidates == [Candidate("q", "r", "bm25")]


@pytest.mark.parametrize("word", LABEL_WORDS)
def test_every_label_word_is_understood(tmp_path: Path, word: str) -> None:
    for shown in (word, word.upper(), f" {word.title()} "):
        pairs = read(tmp_path, "a.csv", f"query,passage,label\nq,p,{shown}\n")
        assert pairs.judgments == [judgment("q", "p", LABEL_WORDS[word])]


@pytest.mark.parametrize(("value", "label"), [(1, 1), (0, 0), (True, 1), (False, 0), (1.0, 1), (0.0, 0), ("1", 1)])
def test_labels_in_jsonl_may_be_numbers_booleans_and_words(tmp_path: Path, value: Any, label: int) -> None:
    line = json.dumps({"query": "q", "passage": "p", "label": value})
    assert read(tmp_path, "a.jsonl", line).judgments == [judgment("q", "p", label, source="a.jsonl")]


@pytest.mark.parametrize("value", ["", " ", None])
def test_an_empty_label_is_a_pair_to_be_judged(tmp_path: Path, value: Any) -> None:
    line = json.dumps({"query": "q", "passage": "p", "label": value})
    pairs = read(tmp_path, "a.jsonl", line)
    assert (len(pairs.candidates), pairs.judgments) == (1, [])


def test_broken_rows_of_a_table_are_named_by_their_line_and_the_others_read(tmp_path: Path) -> None:
    rows = ["query,passage,label", "q,one,1", ",two,1", "q,,1", "q,three,maybe", "q,four,2", "q", "q,five,0"]
    pairs = read(tmp_path, "a.csv", "\n".join(rows))
    assert [made.passage for made in pairs.judgments] == ["one", "five"]
    assert [line.split(":")[0] for line in pairs.broken] == ["Line 3", "Line 4", "Line 5", "Line 6", "Line 7"]
    assert "The query is empty" in pairs.broken[0]
    assert "The passage is empty" in pairs.broken[1]
    assert "'maybe'" in pairs.broken[2] and "1 (relevant), 0 (not relevant)" in pairs.broken[2]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    pairs = read(tmp_path, "a.csv", 'query,passage,label\nq,"one\nwith\nlines",1\n\nq,two,maybe\n')
    assert [made.passage for made in pairs.judgments] == ["one\nwith\nlines"]
    assert pairs.broken[0].startswith("Line 6: ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("{broken", "not JSON"),
        ("[" * 100_000, "not JSON that can be read"),
        ('{"query": "q", "passage": "p", "label": ' + "1" * 5_000 + "}", "not JSON that can be read"),
        ("[]", "not an object"),
        ('"text"', "not an object"),
        ("7", "not an object"),
        ('{"passage": "p"}', "The query is empty"),
        ('{"query": "q", "passage": ["p"]}', "The passage is not text"),
        ('{"query": "q", "passage": 7}', "The passage is not text"),
        ('{"query": "q", "passage": "p", "label": 2}', "The label is '2'"),
        ('{"query": "q", "passage": "p", "label": 0.5}', "The label is '0.5'"),
        ('{"query": "q", "passage": "a\\u0000b"}', "NUL"),
        ('{"query": "\\ud83d", "passage": "p"}', "surrogate"),
        ('{"query": "q", "passage": "p", "source": "two\\nlines"}', "The source"),
        ('{"query": "q", "passage": "p", "label": 1, "annotator": "two\\nlines"}', "The annotator's name"),
        ('{"query": "q", "passage": "p", "label": 1, "note": "\\ud83d"}', "The note"),
    ],
    ids=lambda value: value[:60],
)  # fmt: skip
def test_broken_lines_of_jsonl_are_named_and_the_others_read(tmp_path: Path, line: str, words: str) -> None:
    pairs = read(tmp_path, "a.jsonl", f'{{"query":"q","passage":"good"}}\n\n{line}\n{{"query":"q","passage":"too"}}\n')
    assert [candidate.passage for candidate in pairs.candidates] == ["good", "too"]
    assert pairs.judgments == []
    assert len(pairs.broken) == 1
    assert pairs.broken[0].startswith("Line 3: ") and words in pairs.broken[0]


@pytest.mark.parametrize(
    ("header", "missing"), [("passage,label", "query"), ("query,label", "passage"), ("id,name", "query")]
)
def test_a_table_without_a_needed_column_is_told_which_and_what_it_has(
    tmp_path: Path, header: str, missing: str
) -> None:
    message = refusal(tmp_path, "a.csv", f"{header}\nx,y\n")
    assert f"has no column named {missing}" in message
    for column in header.split(","):
        assert column in message


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.jsonl"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    assert name in refusal(tmp_path, name, "")


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    assert "It has no rows" in refusal(tmp_path, "a.csv", "query,passage\n")


def test_a_file_with_broken_rows_only_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    message = refusal(tmp_path, "a.csv", "query,passage,label\nq,p,perhaps\nq,p,maybe\n")
    assert "Line 2" in message and "'perhaps'" in message


@pytest.mark.parametrize("name", ["a.xlsx", "a.json", "a.txt", "a"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str) -> None:
    assert ".csv, .tsv, .jsonl" in refusal(tmp_path, name, "query,passage\nq,p\n")


@pytest.mark.parametrize("content", [b"query,passage\nq,\x00\x00\n", "query,passage\nq,p\n".encode("utf-16")])
def test_a_binary_file_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(tmp_path, "a.csv", content)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "a.csv", "query,passage\nnaïve,p\n".encode("latin-1"))
    assert "UTF-8" in message and "byte 17" in message


def test_a_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "query,passage\nq,p\n")
    with path.open("ab") as file:
        file.truncate(reading.MAX_IMPORT_BYTES + 1)
    with pytest.raises(TooLarge, match=r"a\.csv has 2,000 MB; at most 2,000 MB"):
        read_file(path)


# Out


def test_exported_jsonl_is_read_back_equal() -> None:
    lines = exported("jsonl", stored_labels()).decode().split("\n")
    assert lines.pop() == ""
    assert [StoredLabel(**json.loads(line)) for line in lines] == stored_labels()


def test_exported_csv_is_read_back_equal() -> None:
    rows = csv.DictReader(io.StringIO(exported("csv", stored_labels()).decode(), newline=""))
    read_back = [StoredLabel(**{**row, "label": int(row["label"]), "note": row["note"] or None}) for row in rows]
    assert read_back == stored_labels()
    assert rows.fieldnames == LABEL_FIELDS


def test_exported_parquet_is_read_back_equal() -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(exported("parquet", stored_labels())))
    assert [StoredLabel(**row) for row in table.to_pylist()] == stored_labels()


def test_parquet_of_more_rows_than_one_group_holds_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(exchange, "PARQUET_ROWS", 3)
    table = pq.read_table(io.BytesIO(exported("parquet", stored_labels())))
    assert [StoredLabel(**row) for row in table.to_pylist()] == stored_labels()


def test_exported_qrels_hold_the_consensus_in_four_columns() -> None:
    consensus = [ConsensusLabel("q1", "query", "p1", "a passage", 1), ConsensusLabel("q1", "query", "p2", "b\nc", 0)]
    assert exported("qrels", stored_labels(), consensus) == b"q1 0 p1 1\nq1 0 p2 0\n"


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_what_was_exported_can_be_imported(tmp_path: Path, kind: str) -> None:
    pairs = read(tmp_path, f"labels.{kind}", exported(kind, stored_labels()))
    assert pairs.broken == []
    assert pairs.judgments == [
        judgment(label.query, label.passage, label.label, label.annotator, note=label.note, source=f"labels.{kind}")
        for label in stored_labels()
    ]


@pytest.mark.parametrize("kind", EXPORTS)
def test_an_export_without_labels_is_an_empty_file_of_its_kind(kind: str) -> None:
    content = exported(kind, [])
    if kind in ("parquet", "pairs"):
        import pyarrow.parquet as pq

        names = {"parquet": LABEL_FIELDS, "pairs": ["query", "passage", "label"]}[kind]
        assert pq.read_table(io.BytesIO(content)).column_names == names
    elif kind == "trec":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == dict.fromkeys(ZIP_FILES, b"")
    else:
        heads = {"csv": [",".join(LABEL_FIELDS)], "quepid": ["query,docid,rating"]}
        assert content.decode().split() == heads.get(kind, [])


def test_the_exported_fields_are_those_of_a_label() -> None:
    assert list(asdict(stored_labels()[0])) == LABEL_FIELDS


def test_blank_cells_are_empty_cells(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("query,passage,label,note,annotator,source\nq,p,1, , ,\t\nq,r, ,,,\n")
    pairs = read_file(path)
    assert pairs.broken == []
    assert [(one.annotator, one.note, one.source) for one in pairs.judgments] == [("importer", None, "pairs.csv")]
    assert [one.passage for one in pairs.candidates] == ["r"]


def test_names_in_json_lines_may_be_of_any_case(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"Query": "q", "PASSAGE": "p", " Label ": 1}\n')
    assert [one.label for one in read_file(path).judgments] == [1]
