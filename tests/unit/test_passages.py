"""Passages pasted or in a file: what becomes one passage, and what a file that cannot be read is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from errors import InvalidInput, TooLarge
from files import read_text_file
from reranker.passages import FILE_TYPES, MAX_FILE_BYTES, PASSAGE_COLUMNS, join_passages, read_passages, split_pasted


def write(tmp_path: Path, name: str, content: str | bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refusal(path: Path) -> str:
    """What is said of a file that cannot be used."""
    with pytest.raises(InvalidInput) as raised:
        read_passages(path)
    assert path.name in str(raised.value)
    return str(raised.value)


# Pasted


@pytest.mark.parametrize(
    ("pasted", "passages"),
    [
        ("one\ntwo\n", ["one", "two"]),
        ("one\r\ntwo\r\n", ["one", "two"]),
        ("one\rtwo", ["one", "two"]),
        ("one\nstill one\n\ntwo", ["one\nstill one", "two"]),
        ("one\r\nstill one\r\n\r\ntwo", ["one\nstill one", "two"]),
        ("one\n \t \n\n\ntwo", ["one", "two"]),
        ("\n\none\ntwo\n\n", ["one", "two"]),
        ("  one  \n\ttwo", ["one", "two"]),
        ("", []),
        (" \n\n ", []),
    ],
)
def test_pasted_text_is_split_at_empty_lines_or_else_at_each_line(pasted: str, passages: list[str]) -> None:
    assert split_pasted(pasted) == passages


@pytest.mark.parametrize(
    "passages",
    [
        [],
        ["one"],
        ["one", "two"],
        ["one\nstill one", "two"],
        ["one", "two\nstill two", "three"],
        ["水🙂", "عربي"],
    ],
)
def test_joined_passages_split_into_the_same_again(passages: list[str]) -> None:
    assert split_pasted(join_passages(passages)) == passages


@pytest.mark.parametrize(
    ("passages", "again"),
    [
        (["one\n\n\nstill one", "two"], ["one\nstill one", "two"]),
        (["one\r\n\r\nstill one", "two"], ["one\nstill one", "two"]),
        (["one\rstill one", "two"], ["one\nstill one", "two"]),
        (["one\nstill one"], ["one still one"]),
        (["one\rstill one"], ["one still one"]),
        ([" one ", "two\n"], ["one", "two"]),
    ],
)
def test_joining_keeps_each_passage_one_passage(passages: list[str], again: list[str]) -> None:
    assert split_pasted(join_passages(passages)) == again


# Files


def test_a_text_file_is_read_like_pasted_text(tmp_path: Path) -> None:
    assert read_passages(write(tmp_path, "a.txt", "one\ntwo\n\nthree")) == ["one\ntwo", "three"]


@pytest.mark.parametrize("column", [*PASSAGE_COLUMNS, " Passage ", "TEXT"])
def test_a_table_is_read_from_the_column_named_for_it(tmp_path: Path, column: str) -> None:
    table = f'id,{column}\n1,"one, with a comma"\n2,"two\nlines"\n3,"say ""hi"""\n'
    assert read_passages(write(tmp_path, "a.csv", table)) == ["one, with a comma", "two\nlines", 'say "hi"']


def test_the_passage_column_goes_before_the_others(tmp_path: Path) -> None:
    assert read_passages(write(tmp_path, "a.csv", "text,passage\nwrong,right\n")) == ["right"]


def test_tabs_part_the_columns_of_a_tsv(tmp_path: Path) -> None:
    assert read_passages(write(tmp_path, "a.tsv", "query\tpassage\nq\tone, two\n")) == ["one, two"]


def test_the_kind_of_a_file_does_not_depend_on_its_case(tmp_path: Path) -> None:
    assert read_passages(write(tmp_path, "A.CSV", "passage\none\n")) == ["one"]


def test_short_and_blank_rows_of_a_table_do_no_harm(tmp_path: Path) -> None:
    assert read_passages(write(tmp_path, "a.csv", "id,passage\n1\n2, \n\n3,three,,\n")) == ["three"]


def test_a_table_is_not_read_with_parts_of_its_passages_missing(tmp_path: Path) -> None:
    assert "Line 3 of a.csv: There are more cells" in refusal(
        write(tmp_path, "a.csv", "id,passage\n1,one\n2,two, and more\n")
    )
    unclosed = refusal(write(tmp_path, "a.tsv", 'id\tpassage\n1\t"one\n2\ttwo\n'))
    assert "Line 2 of a.tsv cannot be read" in unclosed and "has to end with one" in unclosed


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_read_in_tables(tmp_path: Path, line_end: str) -> None:
    path = write(tmp_path, "a.csv", line_end.join(["id,passage", "1,one", "2,two", ""]))
    assert read_passages(path) == ["one", "two"]


def test_each_line_of_jsonl_is_a_string_or_an_object(tmp_path: Path) -> None:
    lines = '"one"\n\n{"text": "two\\nlines"}\r\n{"id": 3, "passage": "three"}\n""\n'
    assert read_passages(write(tmp_path, "a.jsonl", lines)) == ["one", "two\nlines", "three"]


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str) -> None:
    content = {"a.txt": "one", "a.jsonl": '"one"'}.get(name, "passage\none\n")
    assert read_passages(write(tmp_path, name, b"\xef\xbb\xbf" + content.encode())) == ["one"]


def test_a_table_without_a_passage_column_is_told_its_columns(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.csv", "id,name\n1,one\n"))
    assert "Its columns are: id, name" in message
    assert "passage" in message and "text" in message


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl"])
def test_an_empty_file_is_refused(tmp_path: Path, name: str) -> None:
    refusal(write(tmp_path, name, ""))


def test_a_table_without_rows_is_refused(tmp_path: Path) -> None:
    assert "There are no passages" in refusal(write(tmp_path, "a.csv", "passage\n"))


@pytest.mark.parametrize("line", ["{broken", "[" * 100_000, "1" * 5_000], ids=["broken", "too deep", "too long"])
def test_a_line_that_is_not_json_is_named(tmp_path: Path, line: str) -> None:
    assert "Line 3 " in refusal(write(tmp_path, "a.jsonl", f'"one"\n\n{line}\n'))


@pytest.mark.parametrize("line", ["7", "null", "[]", '{"title": "one"}', '{"passage": 7}', '{"passage": null}'])
def test_a_line_without_a_passage_is_named(tmp_path: Path, line: str) -> None:
    assert "Line 2 " in refusal(write(tmp_path, "a.jsonl", f'"one"\n{line}\n'))


@pytest.mark.parametrize("name", ["a.pdf", "a.docx", "a", "a.json", ".txt"])
def test_other_kinds_of_files_are_refused(tmp_path: Path, name: str) -> None:
    assert ".txt, .csv, .tsv, .jsonl" in refusal(write(tmp_path, name, "one"))


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    message = refusal(write(tmp_path, "a.txt", "naïve".encode("latin-1")))
    assert "UTF-8" in message and "byte 3" in message


@pytest.mark.parametrize("content", [b"one\x00two", b"\x00" * 10, "one\n".encode("utf-16")])
def test_a_binary_file_is_refused(tmp_path: Path, content: bytes) -> None:
    refusal(write(tmp_path, "a.txt", content))


def test_a_file_may_be_as_large_as_the_limit_and_no_larger(tmp_path: Path) -> None:
    path = write(tmp_path, "a.txt", b"x" * MAX_FILE_BYTES)
    assert len(read_text_file(path, MAX_FILE_BYTES, FILE_TYPES)) == MAX_FILE_BYTES
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(TooLarge, match=r"a\.txt has 10 MB; at most 10 MB"):
        read_passages(path)
