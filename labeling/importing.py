"""Bringing pairs and labels in from a file: every row is checked first, then all that can be used goes in at once.

Checking reads the file into a staging file beside the store (storage/staging.py), so that what is new can be counted
before anything is stored, and so that the store is written in one short transaction however long the file is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from errors import InvalidInput, WorkbenchError
from files import (
    PASSAGE_COLUMNS,
    QUERY_COLUMNS,
    check_cells,
    is_blank,
    lower_names,
    missing_column,
    parse_json,
)
from labeling import reading
from storage.records import Candidate, Judgment, StagedCounts
from storage.staging import Staging
from texts import MAX_NAME_CHARACTERS, check_name, check_note, check_text

# What a column may be called; the first name is the one that messages use.
COLUMNS: dict[str, tuple[str, ...]] = {
    "query": QUERY_COLUMNS,
    "passage": PASSAGE_COLUMNS,
    "label": ("label", "relevance"),
    "annotator": ("annotator",),
    "source": ("source",),
    "rank": ("rank",),
    "note": ("note",),
    # A passage, or a list of them, whose label is in the column's name.
    "positive": ("positive", "positives", "relevant_passages", "pos"),
    "negative": ("negative", "negatives", "hard_negatives", "neg"),
}
PASSAGES = ("passage", "positive", "negative")
LABEL_WORDS = {
    "1": 1,
    "1.0": 1,
    "true": 1,
    "yes": 1,
    "relevant": 1,
    "0": 0,
    "0.0": 0,
    "false": 0,
    "no": 0,
    "not relevant": 0,
    "not_relevant": 0,
    "irrelevant": 0,
}
EXAMPLES_OF_BROKEN_ROWS = 20
EXAMPLES_OF_CONTRADICTIONS = 5
STAGED_AT_ONCE = 5_000

Row = Candidate | Judgment | str
# Columns of the file: a field of COLUMNS -> the column's name, in lower case.
Mapping = dict[str, str]


@dataclass
class CheckedFile:
    """What a file holds that can be used, staged, what is wrong with the rows that cannot be, and the lines of labels
    that contradict each other."""

    name: str
    counts: StagedCounts = field(default_factory=StagedCounts)
    broken: int = 0
    examples: list[str] = field(default_factory=list)
    contradictions: list[tuple[int, int]] = field(default_factory=list)


def check_file(
    path: Path,
    annotator: str,
    staging: Staging,
    store: Path,
    mapping: Mapping | None = None,
    on_progress: Callable[[float], None] = lambda part: None,
) -> CheckedFile:
    """Read a file into `staging` and count what of it is new to the store at `store`; nothing is stored yet.

    Judgments that name no annotator count as `annotator`'s. Raises InvalidInput when the file as a whole cannot be
    used, TooLarge when it is too large.
    """
    return check_rows(path.name, checked_rows(path, annotator, mapping), staging, store, on_progress)


def check_rows(
    name: str,
    checked: Iterable[tuple[int, Row, float]],
    staging: Staging,
    store: Path,
    on_progress: Callable[[float], None] = lambda part: None,
) -> CheckedFile:
    """Stage the rows that can be used and count them; `name` is that of where they come from."""
    found = CheckedFile(name)

    def usable() -> Iterator[tuple[int, Candidate | Judgment]]:
        for place, (line, row, part) in enumerate(checked):
            if place % STAGED_AT_ONCE == 0:
                on_progress(part)
            if isinstance(row, str):
                found.broken += 1
                if len(found.examples) < EXAMPLES_OF_BROKEN_ROWS:
                    found.examples.append(f"Line {line}: {row}")
            else:
                yield line, row

    if not staging.add(usable()):
        reason = found.examples[0] if found.examples else "It has no rows."
        raise InvalidInput(f"There is nothing to import in {name}. {reason}")
    found.counts = staging.count(store)
    if found.counts.contradicted:
        found.contradictions = staging.contradictions(EXAMPLES_OF_CONTRADICTIONS)
    return found


def checked_rows(path: Path, annotator: str, mapping: Mapping | None = None) -> Iterator[tuple[int, Row, float]]:
    """Each row of a file with its number: a pair, a judgment, or what is wrong with it; and how much is read."""
    # Lines of JSON need not all have the same names: each is looked at by itself, unless none has what is needed.
    has_columns = path.suffix.lower() != ".jsonl"
    names = reading.column_names(path)
    if has_columns or mapping or (names and not is_enough(guess_columns(names))):
        mapping = mapping or guess_columns(names)
        _check_mapping(path, mapping, names)
    source = _as_source(path)
    for line, row, part in reading.rows(path):
        try:
            for found in _checked(parse_json(row) if isinstance(row, str) else row, annotator, source, mapping):
                yield line, found, part
        except WorkbenchError as error:
            yield line, str(error), part


def guess_columns(names: Iterable[str]) -> Mapping:
    """Which of these columns holds what, by their names."""
    names = list(names)
    guessed = {}
    for wanted, known in COLUMNS.items():
        for name in known:
            if name in names:
                guessed[wanted] = name
                break
    return guessed


def is_enough(mapping: Mapping) -> bool:
    """Whether these columns hold queries and passages."""
    return "query" in mapping and any(name in mapping for name in PASSAGES)


def _check_mapping(path: Path, mapping: Mapping, names: list[str]) -> None:
    if not is_enough(mapping):
        known = PASSAGE_COLUMNS if "query" in mapping else QUERY_COLUMNS
        raise missing_column(path, known, names, "Say under “Columns of the file” which one it is, or rename one.")


def _as_source(path: Path) -> str:
    """The name of the source of rows that name none: the file's, so that they are found again together."""
    name = "".join(letter for letter in path.name if letter.isprintable()).strip()
    return name[:MAX_NAME_CHARACTERS].strip() or "import"


def _checked(row: Any, annotator: str, source: str, mapping: Mapping | None) -> list[Candidate | Judgment]:
    """What a row holds: a pair or a judgment, and a judgment for each passage whose column says its label.

    `annotator` and `source` are those of rows that name none.
    """
    if not isinstance(row, dict):
        raise InvalidInput("This is not an object with a query and a passage.")
    check_cells(row)
    row = {name: value for name, value in lower_names(row).items() if not is_blank(value)}
    mapping = mapping or guess_columns(row)

    def value(name: str) -> Any:
        return row.get(mapping[name]) if name in mapping else None

    query = check_text(_text(value("query"), "query"), "The query")
    def named(name: str, otherwise: str) -> str:
        return otherwise if value(name) is None else str(value(name))

    source = check_name(named("source", source), "The source")
    who = check_name(named("annotator", annotator))
    note = None if value("note") is None else check_note(str(value("note")))
    told = [(text, 1) for text in _texts(value("positive"))] + [(text, 0) for text in _texts(value("negative"))]
    found: list[Candidate | Judgment] = [
        Judgment(query, check_text(text, "A passage"), label, who, note=note, source=source) for text, label in told
    ]
    if found and value("passage") is None:
        return found
    passage = check_text(_text(value("passage"), "passage"), "The passage")
    rank = _rank(value("rank"))
    label = value("label")
    if label is None:
        return [Candidate(query, passage, source, rank), *found]
    word = str(label).strip().lower()
    if word not in LABEL_WORDS:
        raise InvalidInput(f"The label is {str(label)!r}; it has to be 1 (relevant), 0 (not relevant) or empty.")
    return [Judgment(query, passage, LABEL_WORDS[word], who, note=note, source=source, rank=rank), *found]


def _texts(value: Any) -> list[str]:
    """The passages of a cell that holds one, or a list of them."""
    if value is None:
        return []
    return [_text(item, "passage") for item in (value if isinstance(value, list) else [value])]


def _text(value: Any, what: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise InvalidInput(f"The {what} is not text.")
    return value


def _rank(value: Any) -> int | None:
    """A rank is a help, not a must: what is not a whole number from 0 on counts as none."""
    text = str(value).strip().removesuffix(".0") if value is not None else ""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else None
