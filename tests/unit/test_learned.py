"""What was learned from is found again, also in another guise."""

from __future__ import annotations

from reranker.dataset import LabelledPair
from reranker.learned import leave_out, met_before

BRIDGE = "The bridge over the river was built of red stone in the winter of that year by three brothers."
ROAD = "The road to the south follows the coast for two days and then turns into the hills behind the old town."
WELL = "The well in the yard is forty feet deep and has never been dry, not even in the summer of the great fire."


def pairs(query: str, *relevant: str, query_id: str = "") -> list[LabelledPair]:
    judged = [LabelledPair(query_id or query, query, passage, 1) for passage in relevant]
    return [*judged, LabelledPair(query_id or query, query, "nothing of the kind", 0)]


def test_a_query_that_says_the_same_was_met_before() -> None:
    learned = pairs("who built the bridge", BRIDGE)
    sets = {"train": [], "dev": pairs("Who built the bridge?"), "test": pairs("who dug the well", WELL)}
    assert met_before(sets, learned) == {"Who built the bridge?"}


def test_a_query_with_the_same_answers_was_met_before() -> None:
    learned = pairs("who built teh bridge", BRIDGE)
    sets = {"train": [], "dev": pairs("who built the bridge", BRIDGE.replace("red ", "")), "test": []}
    assert met_before(sets, learned) == {"who built the bridge"}


def test_one_answer_of_several_in_common_is_not_enough() -> None:
    learned = pairs("who built the bridge", BRIDGE)
    sets = {"train": [], "dev": pairs("what is old here", BRIDGE, ROAD, WELL), "test": []}
    assert met_before(sets, learned) == set()


def test_a_passage_that_is_not_relevant_to_either_says_nothing() -> None:
    sets = {"train": [], "dev": pairs("who dug the well", WELL), "test": []}
    assert met_before(sets, pairs("who built the bridge", BRIDGE)) == set()
    assert met_before(sets, []) == set()


def test_what_was_met_before_is_left_out_of_what_is_held_out_and_trained_on_all_the_same() -> None:
    query = pairs("who built the bridge", BRIDGE)
    other = pairs("who dug the well", WELL)
    sets = {"train": query, "dev": [*query, *other], "test": query}
    assert leave_out(sets, ["who built the bridge"]) == ({"train": query, "dev": other, "test": []}, 1)
    assert leave_out(sets, []) == (sets, 0)
