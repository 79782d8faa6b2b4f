"""Exports for other tools: each is read by the tool that it is for, or comes back as what it was."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import get_args

import pytest

from errors import InvalidInput
from labeling.exchange import EXPORTS, PIECE_BYTES, Exportable, ExportFormat, gathered
from labeling.importing import checked_rows
from storage.records import ConsensusLabel, Judgment
from tests.unit.test_exchange import HARD_TEXTS

CONSENSUS = [
    ConsensusLabel("q1", 'a "query", with\na line', "p1", "one", 1),
    ConsensusLabel("q1", 'a "query", with\na line', "p2", "مرحبا 🙂", 0),
    ConsensusLabel("q2", "nothing is relevant", "p1", "one", 0),
    ConsensusLabel("q3", "only relevant", "p3", "three", 1),
]


def written(kind: str, tmp_path: Path, consensus: list[ConsensusLabel]) -> Path:
    file = EXPORTS[kind]  # type: ignore[index]
    path = tmp_path / file.name
    path.write_bytes(b"".join(file.pieces(Exportable(lambda: iter(()), lambda: consensus))))
    return path


def read_back(path: Path) -> list[tuple[str, str, int]]:
    rows = [row for _, row, _ in checked_rows(path, "importer")]
    assert all(isinstance(row, Judgment) for row in rows), rows
    return [(row.query, row.passage, row.label) for row in rows]  # type: ignore[union-attr]


def test_every_format_says_what_it_is() -> None:
    assert EXPORTS.keys() == set(get_args(ExportFormat))


def test_pairs_are_a_dataset_that_a_cross_encoder_is_trained_on(tmp_path: Path, model_dir: Path) -> None:
    from datasets import Dataset
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments

    path = written("pairs", tmp_path, CONSENSUS)
    dataset = Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert dataset.column_names == ["query", "passage", "label"]
    assert [tuple(row.values()) for row in dataset] == [(item.query, item.passage, item.label) for item in CONSENSUS]
    arguments = CrossEncoderTrainingArguments(str(tmp_path / "out"), max_steps=1, report_to="none", save_strategy="no")
    trainer = CrossEncoderTrainer(CrossEncoder(str(model_dir)), arguments, train_dataset=dataset)
    assert trainer.train().training_loss > 0


def test_pairs_come_back(tmp_path: Path) -> None:
    hard = [ConsensusLabel("q", "the query", f"p{place}", text, place % 2) for place, text in enumerate(HARD_TEXTS)]
    assert read_back(written("pairs", tmp_path, hard)) == [(item.query, item.passage, item.label) for item in hard]


def test_quepid_gets_a_rating_for_each_query_and_document(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(written("quepid", tmp_path, CONSENSUS).read_text(), newline="")))
    assert rows[:2] == [
        {"query": 'a "query", with\na line', "docid": "p1", "rating": "1"},
        {"query": 'a "query", with\na line', "docid": "p2", "rating": "0"},
    ]
    assert len(rows) == 4


def test_cohere_gets_a_line_for_each_query_that_has_a_relevant_passage(tmp_path: Path) -> None:
    lines = [json.loads(line) for line in written("cohere", tmp_path, CONSENSUS).read_text().splitlines()]
    assert lines == [
        {"query": 'a "query", with\na line', "relevant_passages": ["one"], "hard_negatives": ["مرحبا 🙂"]},
        {"query": "only relevant", "relevant_passages": ["three"], "hard_negatives": []},
    ]


def test_what_cohere_gets_comes_back(tmp_path: Path) -> None:
    assert read_back(written("cohere", tmp_path, CONSENSUS)) == [
        ('a "query", with\na line', "one", 1),
        ('a "query", with\na line', "مرحبا 🙂", 0),
        ("only relevant", "three", 1),
    ]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"anchor": "q", "positive": "p", "negative": "n"}, [("q", "p", 1), ("q", "n", 0)]),
        ({"query": "q", "pos": ["a", "b"], "neg": ["c"]}, [("q", "a", 1), ("q", "b", 1), ("q", "c", 0)]),
        ({"query": "q", "positive": ["a"], "negative": []}, [("q", "a", 1)]),
        ({"query": "q", "passage": "p", "label": 0, "positive": "a"}, [("q", "p", 0), ("q", "a", 1)]),
    ],
)
def test_columns_may_say_the_label(tmp_path: Path, row: dict, expected: list) -> None:
    path = tmp_path / "triplets.jsonl"
    path.write_text(json.dumps(row))
    assert read_back(path) == expected


@pytest.mark.parametrize("row", [{"query": "q", "positive": [1]}, {"query": "q", "positive": [""]}])
def test_a_row_without_a_usable_passage_is_broken_as_a_whole(tmp_path: Path, row: dict) -> None:
    path = tmp_path / "triplets.jsonl"
    path.write_text(json.dumps(row | {"negative": ["n"]}))
    [(line, found, _)] = checked_rows(path, "importer")
    assert line == 1 and isinstance(found, str)


def test_a_table_of_triplets_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "triplets.csv"
    path.write_text("anchor,positive,negative\nq,yes,no\n")
    assert read_back(path) == [("q", "yes", 1), ("q", "no", 0)]


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_columns_of_other_names_are_told_and_then_said(tmp_path: Path, kind: str) -> None:
    import pandas as pd

    path = tmp_path / f"german.{kind}"
    table = pd.DataFrame({"frage": ["q"], "gut": ["ja"], "schlecht": ["nein"]})
    {
        "jsonl": lambda: table.to_json(path, orient="records", lines=True),
        "parquet": lambda: table.to_parquet(path),
        "csv": lambda: table.to_csv(path, index=False),
    }[kind]()
    with pytest.raises(InvalidInput, match="no column named query .*Its columns are: frage, gut, schlecht"):
        list(checked_rows(path, "importer"))
    with pytest.raises(InvalidInput, match="no column named passage"):
        list(checked_rows(path, "importer", {"query": "frage"}))
    rows = [row for _, row, _ in checked_rows(path, "importer", {"query": "frage", "positive": "gut"})]
    assert [(row.query, row.passage, row.label) for row in rows if isinstance(row, Judgment)] == [("q", "ja", 1)]


def test_what_is_sent_over_http_comes_in_few_pieces_and_is_the_same() -> None:
    lines = [f"line {number}\n".encode() for number in range(50_000)]
    pieces = list(gathered(iter(lines)))
    assert b"".join(pieces) == b"".join(lines)
    assert all(len(piece) >= PIECE_BYTES for piece in pieces[:-1])
    assert len(pieces) <= 1 + len(b"".join(lines)) // PIECE_BYTES
    assert list(gathered(iter([]))) == []
