"""From labels to sets: a query belongs to one set, for good."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from reranker.dataset import (
    MIN_QUERIES_TO_MEASURE,
    MIN_QUERIES_TO_SPLIT,
    LabelledPair,
    Settled,
    TrainingSets,
    assign_splits,
    by_query,
    count_given,
    count_given_in,
    count_labels,
    groups_of,
    make_sets,
    place_queries,
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
    sets = make_sets(make_pairs(queries), assign_splits(queries, Settled()))
    ids = [{pair.query_id for pair in pairs} for pairs in (sets.train, sets.dev, sets.test)]
    assert all(ids)
    assert sum(map(len, ids)) == len(set.union(*ids)) == 200
    assert len(sets.train) + len(sets.dev) + len(sets.test) == 600


def test_a_query_keeps_its_set_whatever_comes_later() -> None:
    splits: dict[str, str] = {}
    for count in (5, 19, 20, 60, 300):
        new = assign_splits(make_queries(count), Settled(splits))
        assert not new.keys() & splits.keys()
        splits |= new
        assert splits.keys() == make_queries(count).keys()
    assert {splits[f"id{number}"] for number in range(19)} == {"train"}


def test_a_known_set_is_never_decided_again() -> None:
    queries = make_queries(50)
    known = dict.fromkeys(queries, "test")
    assert assign_splits(queries, Settled(known)) == {}


def test_with_few_queries_one_that_asks_the_same_as_one_held_back_is_held_back() -> None:
    queries = {"old": "how long is the bridge", "new": "How long is the bridge?", "other": "who sings"}
    splits = assign_splits(queries, Settled({"old": "dev"}), {"old": 0, "new": 0, "other": 1})
    assert splits == {"new": "dev", "other": "train"}


def test_a_query_gets_the_set_of_one_that_said_the_same_though_that_has_no_labels_any_more() -> None:
    others = [text for text in make_queries(60).values() if split_of(text) == "train"]
    queries = {"new": others[0].capitalize() + "?"} | {f"id{number}": text for number, text in enumerate(others[1:])}
    settled = Settled.of([("gone", others[0], "dev"), ("another", "who sings", "test")])
    assert assign_splits(queries, settled)["new"] == "dev"
    # What is known of a query itself counts as before.
    assert Settled.of([("one", "who sings", "test")]).by_id == {"one": "test"}


def test_queries_that_have_come_to_say_the_same_are_in_one_set() -> None:
    same = [("held", "HOW LONG is it?", "dev"), ("taught", "how long is it", "train")]
    settled = Settled.of([*same, ("x", "who", "test")])
    assert settled.by_id == {"held": "train", "taught": "train", "x": "test"}


@pytest.mark.parametrize("count", [0, 1, MIN_QUERIES_TO_SPLIT - 1])
def test_with_few_queries_all_are_trained_on(count: int) -> None:
    assert assign_splits(make_queries(count), Settled()) == dict.fromkeys(make_queries(count), "train")


def test_known_queries_count_towards_the_number_needed() -> None:
    queries = make_queries(MIN_QUERIES_TO_SPLIT)
    known = {query_id: "train" for query_id in list(queries)[:-1]}
    (last,) = set(queries) - set(known)
    assert assign_splits(queries, Settled(known)) == {last: split_of(queries[last])}


def test_the_set_depends_on_the_text_alone() -> None:
    queries = make_queries(100)
    other_ids = {f"other{query_id}": text for query_id, text in reversed(queries.items())}
    first, second = assign_splits(queries, Settled()), assign_splits(other_ids, Settled())
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


def test_what_is_only_assumed_is_no_label(tmp_path: Path) -> None:
    pair = LabelledPair("id", 'what does "assumed": true mean', '{"assumed": true}', 1)
    write_pairs(tmp_path / "pairs.jsonl", [pair, replace(pair, label=0, assumed=True)])
    assert count_given_in(tmp_path / "pairs.jsonl") == count_given(read_pairs(tmp_path / "pairs.jsonl")) == 1


def test_labels_are_counted() -> None:
    assert count_labels(make_pairs(make_queries(4))) == {"queries": 4, "relevant": 4, "not_relevant": 8}
    assert count_labels([]) == {"queries": 0, "relevant": 0, "not_relevant": 0}


def test_pairs_written_to_a_file_are_read_back(tmp_path: Path) -> None:
    pairs = [LabelledPair("id", 'qu"ery\n🙂', "two\r\nlines\u2028\tعربي", 1), *make_pairs(make_queries(2))]
    write_pairs(tmp_path / "pairs.jsonl", pairs)
    assert read_pairs(tmp_path / "pairs.jsonl") == pairs
    write_pairs(tmp_path / "none.jsonl", [])
    assert read_pairs(tmp_path / "none.jsonl") == []


# What would be in two sets


def test_a_group_gets_one_set() -> None:
    queries = make_queries(400)
    groups = {query_id: place // 4 for place, query_id in enumerate(queries)}
    splits = assign_splits(queries, Settled(), groups)
    sets = [{splits[query_id] for query_id in queries if groups[query_id] == group} for group in range(100)]
    assert all(len(names) == 1 for names in sets)
    counts = Counter(splits.values())
    assert counts["train"] > counts["dev"] > 0 and counts["test"] > 0


def test_a_query_that_joins_a_group_gets_the_set_of_the_group() -> None:
    queries = make_queries(40)
    groups = dict.fromkeys(queries, 0) | {f"id{number}": number for number in range(8, 40)}
    known = {f"id{number}": "dev" for number in range(3)}
    assert {assign_splits(queries, Settled(known), groups)[f"id{number}"] for number in range(3, 8)} == {"dev"}
    # What one of them was trained on is not measured on any more.
    known["id1"] = "train"
    assert {assign_splits(queries, Settled(known), groups)[f"id{number}"] for number in range(3, 8)} == {"train"}


def test_a_group_that_is_most_of_the_queries_is_trained_on() -> None:
    queries = make_queries(60)
    assert set(assign_splits(queries, Settled(), dict.fromkeys(queries, 0)).values()) == {"train"}


def make_set(name: str, count: int, passages: tuple[str, ...], labels: tuple[int, ...]) -> list[LabelledPair]:
    """Queries of one set, each with these passages, which may name its number."""
    return [
        LabelledPair(f"{name}{number}", f"{name} query {number}", passage.format(name, number), label)
        for number in range(count)
        for passage, label in zip(passages, labels, strict=True)
    ]


def sets_of(*pairs: LabelledPair) -> TrainingSets:
    return make_sets(pairs, {pair.query_id: pair.query_id.rstrip("0123456789") for pair in pairs})


HELD = "A held-out passage that tells about the tides in the bay, which are higher in spring than they are in summer."


def test_a_passage_that_is_held_back_is_not_trained_on() -> None:
    own = make_set("train", 5, ("{} answer {}", "{} noise {}"), (1, 0))
    crossing = make_set("train", 1, (HELD.upper() + "!",), (0,))
    sets = sets_of(*own, *crossing, *make_set("dev", 3, (HELD, "{} noise {}"), (1, 0)))
    assert sets.train == own
    assert sets.left_out == crossing
    assert sets.shared == 0
    assert len(sets.dev) == 6


def test_it_is_left_out_for_the_test_set_as_well() -> None:
    own = make_set("train", 5, ("{} answer {}", "{} noise {}"), (1, 0))
    crossing = make_set("train", 1, (HELD,), (1,))
    assert sets_of(*own, *crossing, *make_set("test", 1, (HELD,), (0,))).left_out == crossing


def test_where_all_queries_are_about_the_same_passages_only_shared_answers_are_left_out() -> None:
    # Every query has been judged with the same two passages that are wrong: without them nothing wrong would be left.
    train = make_set("train", 6, ("{} answer {}", "rain", "sun"), (1, 0, 0))
    answered = make_set("train", 1, ("dev answer 0",), (1,))
    sets = sets_of(*train, *answered, *make_set("dev", 3, ("{} answer {}", "rain", "sun"), (1, 0, 0)))
    assert sets.train == train
    assert sets.left_out == answered
    assert sets.shared == 12


def test_where_nothing_would_be_left_nothing_is_left_out() -> None:
    train = make_set("train", 3, ("answer", "rain"), (1, 0))
    sets = sets_of(*train, *make_set("dev", 3, ("answer", "rain"), (1, 0)))
    assert (sets.train, sets.left_out, sets.shared) == (train, [], 6)


def test_queries_are_shown_with_the_reason_for_their_set() -> None:
    pairs = make_pairs(make_queries(30))
    pairs += [LabelledPair(f"twin{number}", f"twin {number}", HELD, 1) for number in range(2)]
    early = next(query_id for query_id, text in make_queries(30).items() if split_of(text) != "train")
    placed = {query.query: query for query in place_queries(pairs, Settled({early: "train"}))}
    assert len(placed) == 32
    assert placed["twin 0"].split == placed["twin 1"].split
    assert "together with another query" in placed["twin 0"].why
    old = placed[make_queries(30)[early]]
    assert (old.split, old.is_new) == ("train", False)
    assert "fewer than 20" in old.why
    others = [query for text, query in placed.items() if not text.startswith("twin") and query is not old]
    assert all(query.split == split_of(query.query) and "hash" in query.why for query in others)
    assert all((query.relevant, query.not_relevant, query.is_new) == (1, 2, True) for query in others)


def test_a_query_is_not_said_to_be_together_with_those_of_another_set() -> None:
    pairs = [LabelledPair("one", "one", HELD, 1), LabelledPair("two", "two", HELD, 1)]
    placed = place_queries(pairs, Settled.of([("one", "one", "train"), ("two", "two", "dev")]))
    assert not any("together" in query.why for query in placed)


def test_queries_that_all_belong_together_cannot_be_cross_checked() -> None:
    apart = [
        LabelledPair(f"q{number}", f"query {number}", passage, label)
        for number in range(6)
        for passage, label in ((f"answer {number}", 1), (f"nothing {number}", 0))
    ]
    assert TrainingSets(apart).measurable_by_folds()
    together = [replace(pair, passage="the one answer") if pair.label else pair for pair in apart]
    assert not TrainingSets(together).measurable_by_folds()


def test_queries_that_only_hang_together_are_measured_all_the_same() -> None:
    # Thirty queries with four relevant passages each, one of them in common with the next, and two wrong ones.
    pairs = [
        LabelledPair(f"id{number}", f"query {number}", f"answer {3 * number + place}", 1)
        for number in range(30)
        for place in range(4)
    ]
    pairs += [
        LabelledPair(f"id{number}", f"query {number}", f"{other} {number}", 0)
        for number in range(30)
        for other in ("rain", "sun")
    ]
    splits = assign_splits({pair.query_id: pair.query for pair in pairs}, Settled(), groups_of(pairs))
    sets = make_sets(pairs, splits)
    assert sets.measurable() and sets.measurable_by_folds()
    held_back = {pair.passage for pair in [*sets.dev, *sets.test]}
    assert not held_back & {pair.passage for pair in sets.train}
    assert 0 < len(sets.left_out) < len(sets.train)
