"""From labels to sets: a query belongs to one set, for good."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from reranker.dataset import (
    MIN_QUERIES_TO_MEASURE,
    MIN_QUERIES_TO_SPLIT,
    LabelledPair,
    TrainingSets,
    assign_splits,
    by_query,
    count_labels,
    make_sets,
    queries_that_tell,
    read_pairs,
    split_of,
    write_pairs,
)


def make_queries(count: int) -> dict[str, str]:
    return {f"id{number}": f"query number {number}" for number in range(count)}


def make_pairs(queries: dict[str, str], labels: tuple[int, ...] = (1, 0, 0)) -> list[LabelledPair]:
    """For each query one pair with each of these labels, the queries taking turns."""
    return [
        LabelledPair(query_id, query, f"passage {place} for {query}", label)
        for place, label in enumerate(labels)
        for query_id, query in queries.items()
    ]


# The split


def test_a_query_never_crosses_sets() -> None:
    queries = make_queries(200)
    sets = make_sets(make_pairs(queries), assign_splits(queries, {}))
    ids = [{pair.query_id for pair in pairs} for pairs in (sets.train, sets.dev, sets.test)]
    assert all(ids)
    assert sum(map(len, ids)) == len(set.union(*ids)) == 200
    assert len(sets.train) + len(sets.dev) + len(sets.test) == 600


def test_a_query_keeps_its_set_whatever_comes_later() -> None:
    splits: dict[str, str] = {}
    for count in (5, 19, 20, 60, 300):
        new = assign_splits(make_queries(count), splits)
        assert not new.keys() & splits.keys()
        splits |= new
        assert splits.keys() == make_queries(count).keys()
    assert {splits[f"id{number}"] for number in range(19)} == {"train"}


def test_a_known_set_is_never_decided_again() -> None:
    queries = make_queries(50)
    known = dict.fromkeys(queries, "test")
    assert assign_splits(queries, known) == {}


@pytest.mark.parametrize("count", [0, 1, MIN_QUERIES_TO_SPLIT - 1])
def test_with_few_queries_all_are_trained_on(count: int) -> None:
    assert assign_splits(make_queries(count), {}) == dict.fromkeys(make_queries(count), "train")


def test_known_queries_count_towards_the_number_needed() -> None:
    queries = make_queries(MIN_QUERIES_TO_SPLIT)
    known = {query_id: "train" for query_id in list(queries)[:-1]}
    (last,) = set(queries) - set(known)
    assert assign_splits(queries, known) == {last: split_of(queries[last])}


def test_the_set_depends_on_the_text_alone() -> None:
    queries = make_queries(100)
    other_ids = {f"other{query_id}": text for query_id, text in reversed(queries.items())}
    first, second = assign_splits(queries, {}), assign_splits(other_ids, {})
    assert {queries[query_id]: split for query_id, split in first.items()} == {
        other_ids[query_id]: split for query_id, split in second.items()
    }


def test_the_set_of_a_text_is_the_same_for_ever() -> None:
    # As they were when the rule was made: queries that are labelled on different machines must fall into the same sets.
    known = {"query number 0": "train", "query number 5": "test", "query number 8": "dev", "水": "dev"}
    assert {text: split_of(text) for text in known} == known


def test_the_shares_are_seven_two_and_one_in_ten() -> None:
    counts = Counter(split_of(f"query number {number}") for number in range(10_000))
    assert counts["train"] == pytest.approx(7_000, abs=200)
    assert counts["dev"] == pytest.approx(2_000, abs=200)
    assert counts["test"] == pytest.approx(1_000, abs=200)


# What can be trained and measured


def test_nothing_can_be_trained_without_labels() -> None:
    assert "There are no labels" in (TrainingSets().why_not_trainable() or "")


@pytest.mark.parametrize(("label", "words"), [(1, "are relevant"), (0, "are not relevant")])
def test_nothing_can_be_trained_with_labels_of_one_kind(label: int, words: str) -> None:
    sets = TrainingSets(train=make_pairs(make_queries(3), (label,)), dev=make_pairs(make_queries(3)))
    assert words in (sets.why_not_trainable() or "")


def test_nothing_can_be_trained_when_all_is_set_aside() -> None:
    assert "set aside for measuring" in (TrainingSets(test=make_pairs(make_queries(3))).why_not_trainable() or "")


def test_one_label_of_each_kind_can_be_trained_on() -> None:
    assert TrainingSets(train=make_pairs(make_queries(1), (1, 0))).why_not_trainable() is None


def test_a_query_tells_models_apart_only_with_both_labels() -> None:
    queries = make_queries(3)
    pairs = [
        *make_pairs({"id0": queries["id0"]}, (1, 1)),
        *make_pairs({"id1": queries["id1"]}, (0,)),
        *make_pairs({"id2": queries["id2"]}, (0, 1)),
    ]
    assert [judged.query_id for judged in queries_that_tell(pairs)] == ["id2"]


def test_a_measurement_needs_enough_queries_that_tell() -> None:
    enough, too_few = make_queries(MIN_QUERIES_TO_MEASURE), make_queries(MIN_QUERIES_TO_MEASURE - 1)
    assert TrainingSets(dev=make_pairs(enough)).measurable()
    assert not TrainingSets(dev=make_pairs(too_few)).measurable()
    assert not TrainingSets(dev=make_pairs(enough, (1, 1))).measurable()


def test_the_pairs_of_a_query_come_together_in_order() -> None:
    queries = make_queries(2)
    first, second = by_query(make_pairs(queries, (1, 0, 1)))
    assert (first.query_id, first.query, first.labels) == ("id0", queries["id0"], [1, 0, 1])
    assert second.passages == [f"passage {place} for {queries['id1']}" for place in range(3)]


def test_labels_are_counted() -> None:
    assert count_labels(make_pairs(make_queries(4))) == {"queries": 4, "relevant": 4, "not_relevant": 8}
    assert count_labels([]) == {"queries": 0, "relevant": 0, "not_relevant": 0}


def test_pairs_written_to_a_file_are_read_back(tmp_path: Path) -> None:
    pairs = [LabelledPair("id", 'qu"ery\n🙂', "two\r\nlines\u2028\tعربي", 1), *make_pairs(make_queries(2))]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    write_pairs(tmp_path / "none.jsonl", [])
    assert read_pairs(tmp_path / "none.jsonl") == []
