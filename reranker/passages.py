"""Passages as people bring them: pasted into a box, or in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errors import InvalidInput
from files import (
    PASSAGE_COLUMNS,
    check_cells,
    is_blank,
    is_table,
    lower_names,
    missing_column,
    parse_json,
    read_rows,
    read_text_file,
    table_columns,
)

MAX_FILE_BYTES = 10_000_000
FILE_TYPES = (".txt", ".csv", ".tsv", ".jsonl")

_EMPTY_LINES = re.compile(r"\n(?:[ \t]*\n)+")


def split_pasted(text: str) -> list[str]:
    """The passages in pasted text: blocks parted by empty lines where there are any, else one to a line."""
    text = _one_line_end(text).strip("\n")
    parts = _EMPTY_LINES.split(text) if _EMPTY_LINES.search(text) else text.split("\n")
    return [part.strip() for part in parts if part.strip()]


def join_passages(passages: list[str]) -> str:
    """Text that `split_pasted` splits into these passages again.

    Empty lines inside a passage are closed up. A passage that stands alone becomes one line, since nothing would show
    that its lines belong together.
    """
    tidy = [_EMPTY_LINES.sub("\n", _one_line_end(passage).strip()) for passage in passages]
    if len(tidy) == 1:
        return tidy[0].replace("\n", " ")
    return ("\n\n" if any("\n" in passage for passage in tidy) else "\n").join(tidy)


def _one_line_end(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_passages(path: Path) -> list[str]:
    """The passages in a .txt, .csv, .tsv or .jsonl file. Raises InvalidInput with what to change."""
    if path.suffix.lower() == ".txt":
        passages = split_pasted(read_text_file(path, MAX_FILE_BYTES, FILE_TYPES))
    else:
        passages = [passage for passage in _in_rows(path) if passage.strip()]
    if not passages:
        raise InvalidInput(f"There are no passages in {path.name}.")
    return passages


def _in_rows(path: Path) -> Iterator[str]:
    rows = read_rows(path, MAX_FILE_BYTES, FILE_TYPES)
    column = _passage_column(path) if is_table(path) else ""
    for number, row, _ in rows:
        try:
            if column:
                check_cells(row)
                yield row[column] or ""
            else:
                yield _passage_in(parse_json(row))
        except InvalidInput as error:
            raise InvalidInput(f"Line {number} of {path.name}: {error}") from error


def _passage_column(path: Path) -> str:
    names = table_columns(path)
    for column in PASSAGE_COLUMNS:
        if column in names:
            return column
    raise missing_column(path, PASSAGE_COLUMNS, names, "Rename one in its first line.")


def _passage_in(row: Any) -> str:
    if isinstance(row, dict):
        named = lower_names(row)
        held = [named[column] for column in PASSAGE_COLUMNS if column in named]
        row = next((value for value in held if not is_blank(value)), held[0] if held else None)
    if not isinstance(row, str):
        raise InvalidInput(
            "There is no passage. Each line has to be a string, or an object with one of the keys "
            f"{', '.join(PASSAGE_COLUMNS)}."
        )
    return row
