"""Reading the files that people bring: text, JSON lines and tables, with errors that say what to change."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from errors import InvalidInput, TooLarge


def read_text_file(path: Path, max_bytes: int, kinds: tuple[str, ...]) -> str:
    """The text of a file whose name has to end in one of `kinds`.

    Raises InvalidInput when it is of another kind or not text in UTF-8, TooLarge past `max_bytes`.
    """
    if path.suffix.lower() not in kinds:
        raise InvalidInput(f"{path.name} is of a kind that is not read. Choose a {', '.join(kinds)} file.")
    size = path.stat().st_size
    if size > max_bytes:
        raise TooLarge(
            f"{path.name} has {size / 1e6:,.0f} MB; at most {max_bytes / 1e6:,.0f} MB can be read at once. Split it."
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path.name} is not a text file in UTF-8 (byte {error.start + 1} is not). Save it as UTF-8 and try again."
        ) from error
    if "\x00" in text:
        raise InvalidInput(f"{path.name} is a binary file, not text. Choose a {', '.join(kinds)} file.")
    return text


def json_lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines of a JSONL file that hold something, with their numbers from 1; `parse_json` reads one."""
    # Not splitlines(): a JSON string may hold the other line ends of Unicode as they are.
    lines = enumerate(text.replace("\r\n", "\n").split("\n"), start=1)
    return ((number, line) for number, line in lines if line.strip())


def parse_json(line: str) -> Any:
    """The value that a line of JSON holds. Raises InvalidInput."""
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInput(f"This is not JSON: {error.msg} at character {error.pos + 1}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput("This is not JSON that can be read: a number is too long, or lists are too deep.") from error


def table_rows(text: str, name: str, wanted: Sequence[Sequence[str]]) -> Iterator[tuple[int, dict[str, str | None]]]:
    """The rows of a CSV or TSV file (told by its `name`) with the number of their last line, by lower-case column name.

    Raises InvalidInput unless there is a column for each of `wanted`, which lists the names that will do.
    """
    csv.field_size_limit(sys.maxsize if sys.maxsize < 2**32 else 2**31 - 1)
    if "\n" not in text:
        text = text.replace("\r", "\n")
    delimiter = "\t" if name.lower().endswith(".tsv") else ","
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    with telling_the_line(reader, name):
        reader.fieldnames = [(column or "").strip().lower() for column in reader.fieldnames or []]
        for names in wanted:
            if not set(names) & set(reader.fieldnames):
                found = ", ".join(filter(None, reader.fieldnames)) or "(none)"
                raise InvalidInput(
                    f"{name} has no column named {names[0]} (or {', '.join(names[1:])}). Its columns are: {found}. "
                    "Rename one in its first line."
                )
        for row in reader:
            check_cells(row)
            yield reader.line_num, row


def check_cells(row: dict[Any, Any]) -> None:
    """Raise InvalidInput where a row of a table has cells that belong to no column: what was meant is not known."""
    if any(cell.strip() for cell in row.get(None) or []):
        raise InvalidInput(
            "There are more cells than the first line names columns. Put text that holds the separator into quotes."
        )


@contextmanager
def telling_the_line(reader: csv.DictReader, name: str) -> Iterator[None]:
    """Turn what is wrong with a row of a table into InvalidInput that says where it is, and what to change."""
    try:
        yield
    except csv.Error as error:
        raise InvalidInput(
            f"Line {reader.line_num + 1} of {name} cannot be read: {error}. A cell that begins with a quote has to end "
            'with one, and quotes within it are doubled: "so ""quoted"" here".'
        ) from error
    except InvalidInput as error:
        if reader.line_num < 2:
            raise
        raise InvalidInput(f"Line {reader.line_num} of {name}: {error}") from error
