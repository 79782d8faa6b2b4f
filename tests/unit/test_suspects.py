"""Which labels are held to be doubtful."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from reranker.dataset import LabelledPair, Suspect
from reranker.suspects import LEAST_WEIGHT, MIN_PAIRS, _likely_right, _told_by_others, find_suspects

TOPICS = ["rivers", "engines", "bread", "planets", "violins", "taxes", "cats", "glaciers", "chess", "bridges"]


def labelled(queries: int, flipped: float = 0.0) -> tuple[list[LabelledPair], list[float], set[tuple[str, str]]]:
    """Pairs of which one in four is relevant, the scores of a model that is mostly right, and the wrong ones."""
    chance = random.Random(5)
    pairs, logits, wrong = [], [], set()
    for number in range(queries):
        topic = TOPICS[number % len(TOPICS)]
        for place in range(8):
            relevant = place < 2
            passage = f"{topic if relevant else chance.choice(TOPICS)} passage {number} {place}"
            label = int(relevant)
            if chance.random() < flipped:
                label = 1 - label
                wrong.add((f"q{number}", passage))
            pairs.append(LabelledPair(f"q{number}", f"q{number}", passage, label))
            logits.append(chance.gauss(1.5 if relevant else -1.5, 1.0))
    return pairs, logits, wrong


def test_at_least_half_of_the_wrong_labels_are_in_the_first_tenth() -> None:
    pairs, logits, wrong = labelled(60, flipped=0.1)
    suspects = find_suspects(pairs, logits)
    assert len(suspects) <= len(pairs) / 10
    found = {(suspect.query, suspect.passage) for suspect in suspects}
    assert len(wrong) > 30
    assert len(found & wrong) >= len(wrong) / 2
    # Those at the top are the surest.
    assert {(suspect.query, suspect.passage) for suspect in suspects[:10]} <= wrong


def test_they_come_in_the_order_of_doubt_and_are_all_contradicted() -> None:
    pairs, logits, _ = labelled(60, flipped=0.1)
    suspects = find_suspects(pairs, logits)
    doubts = [suspect.probability if suspect.label else 1 - suspect.probability for suspect in suspects]
    assert doubts == sorted(doubts)
    assert all(doubt < 0.5 for doubt in doubts)
    assert find_suspects(pairs, logits) == suspects


def test_a_label_does_not_speak_for_itself() -> None:
    # The same pair, labelled the one way and the other: what is thought of it does not change.
    pairs, logits, _ = labelled(40)
    chosen = pairs[0]
    assert chosen.label == 1
    turned = [
        LabelledPair(pair.query_id, pair.query, pair.passage, 0 if pair is chosen else pair.label) for pair in pairs
    ]
    logits[0] = 4.0
    (suspect,) = [found for found in find_suspects(turned, logits) if found.passage == chosen.passage]
    assert suspect == Suspect(chosen.query, chosen.passage, 0, suspect.probability)
    assert suspect.probability > 0.9
    assert chosen.passage not in [found.passage for found in find_suspects(pairs, logits)]


def test_what_is_likely_wrong_says_little_of_others() -> None:
    texts = csr_matrix(np.ones((2, 1)))
    residuals, members = np.array([0.0, -1.0]), [np.array([0, 1])]
    told = _told_by_others(residuals, np.ones(2), texts, texts, members)[0]
    told_by_a_doubtful_one = _told_by_others(residuals, np.array([1.0, 0.05]), texts, texts, members)[0]
    assert told < 5 * told_by_a_doubtful_one < 0

    right = _likely_right(np.array([0.0, 0.1, 0.5, 1.0]))
    assert right == pytest.approx([LEAST_WEIGHT, 0.5, 0.9, 1.0])


def test_of_few_labels_none_is_doubted() -> None:
    pairs, logits, _ = labelled(30, flipped=0.1)
    assert find_suspects(pairs[: MIN_PAIRS - 1], logits[: MIN_PAIRS - 1]) == []
    of_one_query = [LabelledPair("q", "q", pair.passage, pair.label) for pair in pairs]
    assert find_suspects(of_one_query, logits) == []
    assert find_suspects([], []) == []


@pytest.mark.parametrize("label", [0, 1])
def test_labels_of_one_kind_are_not_doubted(label: int) -> None:
    pairs, logits, _ = labelled(30)
    same = [LabelledPair(pair.query_id, pair.query, pair.passage, label) for pair in pairs]
    assert find_suspects(same, logits) == []


def listed(pairs: list[LabelledPair], logits: list[float]) -> set[tuple[str, str]]:
    return {(suspect.query, suspect.passage) for suspect in find_suspects(pairs, logits)}


def test_a_label_is_held_against_those_of_passages_in_like_words() -> None:
    # The model cannot tell these passages apart; only their words say which of them belong together.
    chance = random.Random(3)
    pairs, wrong = [], set()
    for number in range(30):
        for place in range(10):
            about = TOPICS[number % 5 + 5 * (place % 2)]
            passage = f"{about} {about}s {about}ing number{number}x{place}"
            label = place % 2
            if place == number % 10:
                label = 1 - label
                wrong.add((f"q{number}", passage))
            pairs.append(LabelledPair(f"q{number}", f"q{number}", passage, label))
    logits = [chance.gauss(0, 1) for _ in pairs]
    assert len(listed(pairs, logits) & wrong) >= len(wrong) * 0.8


def test_a_label_is_held_against_those_of_queries_in_like_words() -> None:
    # Each query is there three times in other words, and once with a label of another kind.
    chance = random.Random(4)
    pairs, wrong = [], set()
    for number in range(20):
        place_of_relevant = chance.sample(range(8), 4)
        for way in ("how to find topic{0}", "find topic{0}", "topic{0} how find"):
            query = way.format(number)
            for place in range(8):
                passage = f"passage{number}x{place} text{number}x{place}"
                label = int(place in place_of_relevant)
                if way.startswith("find") and place == number % 8:
                    label = 1 - label
                    wrong.add((query, passage))
                pairs.append(LabelledPair(query, query, passage, label))
    logits = [chance.gauss(0, 1) for _ in pairs]
    assert len(listed(pairs, logits) & wrong) >= len(wrong) * 0.8


def test_the_labels_of_one_fold_may_hold_all_that_is_relevant() -> None:
    pairs, logits, _ = labelled(30)
    one = [
        LabelledPair(pair.query_id, pair.query, pair.passage, pair.label if pair.query_id == "q0" else 0)
        for pair in pairs
    ]
    # Without its own there is no relevant one to learn from, and so nothing to hold against it.
    assert "q0" not in {query for query, _ in listed(one, logits)}


def test_many_labels_of_one_query_are_taken_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, logits, wrong = labelled(60, flipped=0.1)
    whole = listed(pairs, logits)
    monkeypatch.setattr("reranker.suspects.MOST_OF_QUERY", 3)
    monkeypatch.setattr("reranker.suspects.MOST_TOGETHER", 5)
    monkeypatch.setattr("reranker.suspects.ROWS", 7)
    parts = listed(pairs, logits)
    assert len(parts & wrong) >= len(wrong) / 2
    assert parts != whole


def test_a_query_with_nothing_in_it_that_counts_as_a_word() -> None:
    pairs, logits, _ = labelled(30, flipped=0.1)
    odd = [LabelledPair(pair.query_id, "?" * (int(pair.query_id[1:]) + 1), "…", pair.label) for pair in pairs]
    for some, scores in (([*odd, *pairs], [*logits, *logits]), (odd, logits)):
        assert all(0 <= suspect.probability <= 1 for suspect in find_suspects(some, scores))
