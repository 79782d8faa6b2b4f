"""Passages as people bring them: pasted into a box, or in a file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from errors import InvalidInput
from files import json_lines, parse_json, read_text_file, table_rows

MAX_FILE_BYTES = 10_000_000
PASSAGE_COLUMNS = ("passage", "text", "document", "content", "body", "sentence_1")
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
    text = read_text_file(path, MAX_FILE_BYTES, FILE_TYPES)
    kind = path.suffix.lower()
    if kind == ".txt":
        passages = split_pasted(text)
    elif kind == ".jsonl":
        passages = _from_jsonl(text, path.name)
    else:
        passages = _from_table(text, path.name)
    if not passages:
        raise InvalidInput(f"There are no passages in {path.name}.")
    return passages


def _from_jsonl(text: str, name: str) -> list[str]:
    passages = []
    for number, line in json_lines(text):
        try:
            passages.append(_passage_in(parse_json(line)))
        except InvalidInput as error:
            raise InvalidInput(f"Line {number} of {name}: {error}") from error
    return [passage for passage in passages if passage.strip()]


def _passage_in(row: Any) -> str:
    if isinstance(row, dict):
        row = next((row[column] for column in PASSAGE_COLUMNS if column in row), None)
    if not isinstance(row, str):
        raise InvalidInput(
            "There is no passage. Each line has to be a string, or an object with one of the keys "
            f"{', '.join(PASSAGE_COLUMNS)}."
        )
    return row


def _from_table(text: str, name: str) -> list[str]:
    rows = [row for _, row in table_rows(text, name, [PASSAGE_COLUMNS])]
    column = next((wanted for wanted in PASSAGE_COLUMNS if rows and wanted in rows[0]), "")
    return [passage for row in rows if (passage := row[column] or "").strip()]
