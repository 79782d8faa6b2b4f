"""The files that people bring mean the same on every tab: what ranks on Rerank goes in on Data, and TREC's too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from errors import InvalidInput
from files import PASSAGE_COLUMNS
from labeling.importing import checked_rows
from labeling.trec import read_collection
from reranker.passages import read_passages
from storage.records import Candidate


def on_both_tabs(path: Path, content: str) -> list[str]:
    """The passages that both tabs find in a file."""
    path.write_bytes(content.encode())
    imported = [row for _, row, _ in checked_rows(path, "importer")]
    assert all(isinstance(row, Candidate) for row in imported), imported
    passages = [row.passage for row in imported if isinstance(row, Candidate)]
    assert read_passages(path) == passages
    return passages


@pytest.mark.parametrize("column", [*PASSAGE_COLUMNS, "Passage", " TEXT "])
def test_a_column_of_passages_is_known_by_the_same_names_everywhere(tmp_path: Path, column: str) -> None:
    assert on_both_tabs(tmp_path / "a.csv", f"query,{column}\nq,one\n") == ["one"]
    assert on_both_tabs(tmp_path / "a.tsv", f"query\t{column}\nq\tone\n") == ["one"]
    assert on_both_tabs(tmp_path / "a.jsonl", json.dumps({"query": "q", column: "one"})) == ["one"]


@pytest.mark.parametrize("column", PASSAGE_COLUMNS)
def test_a_collection_of_trec_may_have_these_names_too(tmp_path: Path, column: str) -> None:
    path = tmp_path / "collection.jsonl"
    path.write_text(json.dumps({"id": "d1", column: "one"}))
    assert list(read_collection(path, {"d1"})) == [("d1", "one")]


@pytest.mark.parametrize("order", [1, -1])
def test_where_there_are_several_the_same_one_is_taken(tmp_path: Path, order: int) -> None:
    names = list(PASSAGE_COLUMNS)[::order]
    row = {"query": "q", **{name: f"of {name}" for name in names}}
    assert on_both_tabs(tmp_path / "a.csv", f"{','.join(row)}\n{','.join(row.values())}\n") == ["of passage"]
    del row["passage"]
    assert on_both_tabs(tmp_path / "a.jsonl", json.dumps(row)) == ["of text"]
    assert on_both_tabs(tmp_path / "b.jsonl", json.dumps(row | {"text": None, "document": " "})) == ["of answer"]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_line_ends_part_rows_and_stay_as_they_are_within_cells(tmp_path: Path, line_end: str) -> None:
    content = line_end.join(["query,passage", 'q,"one', 'line"', "q,two", ""])
    assert on_both_tabs(tmp_path / "a.csv", content) == [f"one{line_end}line", "two"]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_the_first_line_says_what_parts_the_columns(tmp_path: Path, name: str, separator: str) -> None:
    rows = ['query,"passage"', 'q,"one, two; three\tfour"', 'q,"""five"""']
    content = "\n".join(row.replace(",", separator, 1) for row in rows)
    assert on_both_tabs(tmp_path / name, content) == ["one, two; three\tfour", '"five"']


@pytest.mark.parametrize(("separator", "name"), [(",", "a.csv"), (";", "a.csv"), ("\t", "a.csv"), ("\t", "a.tsv")])
def test_separators_within_the_names_of_columns_part_nothing(tmp_path: Path, separator: str, name: str) -> None:
    names = ["query", '"a, or b, or c; d; e"', "passage"]
    content = "\n".join(separator.join(row) for row in (names, ["q", "-", "one"]))
    assert on_both_tabs(tmp_path / name, content) == ["one"]
    assert on_both_tabs(tmp_path / "b.tsv", "query\tpassage\tnote, or why, or how\nq\tone\t\n") == ["one"]


def test_a_table_of_one_column_is_parted_as_its_name_says(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("passage\none, two; three\n")
    assert read_passages(tmp_path / "a.tsv") == ["one, two; three"]
    (tmp_path / "a.csv").write_text("passage\none; two\n")
    assert read_passages(tmp_path / "a.csv") == ["one; two"]


def test_semicolons_are_read_as_strictly_as_commas(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("query;passage\nq;one; and more\nq;two\n")
    assert "more cells" in str([row for _, row, _ in checked_rows(path, "importer")][0])
    path.write_text('query;passage\nq;"one" more\nq;two\n')
    with pytest.raises(InvalidInput, match="Line 2 of a.csv cannot be read"):
        list(checked_rows(path, "importer"))


@pytest.mark.parametrize("content", ["", "\ufeff", "\n\n"])
def test_an_empty_table_is_called_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text(content)
    for read in (read_passages, lambda path: list(checked_rows(path, "importer"))):
        with pytest.raises(InvalidInput, match="a.csv is empty"):
            read(path)
