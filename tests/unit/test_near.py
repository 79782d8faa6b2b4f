"""Which passages count as nearly the same, and which queries that brings together."""

from __future__ import annotations

import random

import numpy as np
import pytest

from reranker import near
from reranker.near import clusters, groups

LONG = (
    "The lighthouse on the northern cape was built of granite, and its lamp has been lit every night since the harbour "
    "was opened to ships; a keeper lived there with a family until the lamp was made to switch itself on at dusk."
)


def same(one: str, other: str) -> bool:
    found = clusters([one, other])
    return found[one] == found[other]


@pytest.mark.parametrize(
    "other",
    [
        LONG.upper(), LONG.replace(",", " -").replace(" ", "  "), f"\n{LONG[:-1]}!\t", LONG.replace("dusk", "night"),
        LONG.replace("granite", "stone"), f"Note: {LONG}", LONG.replace("with a family ", ""),
    ],
    ids=["case", "punctuation", "ends", "last word", "one word", "one word more", "three words fewer"],
)  # fmt: skip
def test_nearly_the_same(other: str) -> None:
    assert other != LONG
    assert same(LONG, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Assessing the risks of a business", "Assessing the risks of a customer"),
        ("Passage number 12 for the question about bridges", "Passage number 13 for the question about bridges"),
        (LONG.replace("a family", "2 children"), LONG.replace("a family", "3 children")),
        (LONG, " ".join(reversed(LONG.split()))),
        (LONG, f"{LONG} Today it is a museum that tells of the ships that were lost, and one can climb to the lamp and "
               "look out over the whole of the bay, on clear days as far as the mountains of the other side."),
        ("?", "!"),
        ("水の中", "水の上"),
    ],
)  # fmt: skip
def test_not_the_same(one: str, other: str) -> None:
    assert not same(one, other)


def test_one_number_in_a_long_text_is_a_small_change() -> None:
    text = " ".join(f"word{'abcdefgh'[place % 8]} number{'xyz'[place % 3]} {place}" for place in range(40))
    assert same(text, text.replace(" 17", " 99"))


def test_texts_that_are_alike_over_others_are_one_cluster() -> None:
    steps = [LONG]
    for word in ("granite", "harbour", "keeper", "lamp", "northern", "ships"):
        steps.append(steps[-1].replace(word, "thing"))
    assert not same(steps[0], steps[-1])
    assert len(set(clusters(steps).values())) == 1


def test_the_clusters_are_those_of_a_comparison_of_all_with_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "ROWS", 7)
    monkeypatch.setattr(near, "COMMON", 10)  # so that much of these texts is boilerplate
    chance = random.Random(1)
    opening = [f"opening{letter}" for letter in "abcdefghijkl"]
    texts = []
    for base in range(6):
        for _ in range(9):
            words = [
                *opening,
                *(f"word{base}" if place == 5 else f"w{'xyz'[base % 3]}{place * 'o'}" for place in range(25)),
            ]
            for _ in range(chance.randrange(4)):
                words[chance.randrange(len(words))] = f"other{chance.choice('abc5')}"
            texts.append(" ".join(words))
    texts = list(dict.fromkeys(texts))

    def runs(text: str) -> set[tuple[str, ...]]:
        words = ["", "", *text.split(), "", ""]
        return {tuple(words[start : start + 3]) for start in range(len(words) - 2)}

    def numbers(text: str) -> list[str]:
        return [word for word in text.split() if any(sign.isdigit() for sign in word)]

    first, second = near._resembling([text.split() for text in texts])
    expected = set()
    for one in range(len(texts)):
        for other in range(one + 1, len(texts)):
            a, b = runs(texts[one]), runs(texts[other])
            least = 0.7 if numbers(texts[one]) == numbers(texts[other]) else 0.9
            if len(a & b) / len(a | b) >= least:
                # Texts with nothing in common but boilerplate are not compared.
                rare = [run for run in a & b if sum(run in runs(text) for text in texts) <= 10]
                if rare:
                    expected.add((one, other))
    assert 20 < len(expected) < len(texts) ** 2 / 4
    assert set(zip(first, second, strict=True)) == expected


def test_a_run_counts_once_and_never_goes_on_into_the_next_text() -> None:
    texts = [("a", "b", "c", "a", "b", "c"), ("a", "b"), ("", "b")]
    words, lengths, known = near._numbered(texts)
    runs = near._runs(words, lengths)
    padded = [["", "", *text, "", ""] for text in texts]
    expected = [{tuple(text[place : place + 3]) for place in range(len(text) - 2)} for text in padded]
    assert runs.data.tolist() == [1] * runs.nnz
    assert np.diff(runs.indptr).tolist() == [len(found) for found in expected]
    shared = (runs @ runs.T).toarray()
    assert shared.tolist() == [[len(one & other) for other in expected] for one in expected]
    # So many different words that three of them are more than a number holds.
    many = words * 3_000_000
    assert ((near._runs(many, lengths) != runs).nnz, many.max()) == (0, 3_000_000 * (len(known) - 1))


def test_no_texts_have_no_clusters() -> None:
    assert clusters([]) == {}


# Groups of queries


def test_queries_with_the_same_answer_belong_together() -> None:
    queries = {"a": "who lit the lamp", "b": "when was it lit", "c": "how high is the tower", "d": "Who lit the lamp?"}
    found = groups([("a", LONG), ("b", LONG.upper()), ("c", "It is forty metres high.")], queries)
    assert found["a"] == found["b"] == found["d"] != found["c"]
    assert found.keys() == queries.keys()


def test_queries_are_together_over_others() -> None:
    relevant = [("a", "one answer"), ("b", "one answer"), ("b", "another answer"), ("c", "another answer")]
    found = groups(relevant, {"a": "first", "b": "second", "c": "third"})
    assert len(set(found.values())) == 1


def test_queries_that_share_nothing_stay_apart() -> None:
    assert groups([], {"a": "first", "b": "second"}) == {"a": 0, "b": 1}
    assert groups([], {}) == {}


def test_queries_that_nearly_all_hang_together_are_taken_apart() -> None:
    # Each query has four answers, and shares one with the next: 0 1 2 3, 3 4 5 6, and so on.
    queries = {f"q{number}": f"query {number}" for number in range(8)}
    chain = [(f"q{number}", f"answer {3 * number + place}") for number in range(8) for place in range(4)]
    assert len(set(groups(chain, queries).values())) == 1
    assert len(set(groups(chain, queries, most=0.5).values())) == 8


def test_queries_with_most_answers_in_common_stay_together_when_a_group_is_taken_apart() -> None:
    queries = {f"q{number}": f"query {number}" for number in range(8)} | {"same": "Query 5?", "none": "something else"}
    chain = [(f"q{number}", f"answer {3 * number + place}") for number in range(8) for place in range(4)]
    # Four of the seven that are relevant to q0 or q1 are relevant to both, and so with q2 and q3.
    chain += [("q1", f"answer {place}") for place in range(3)] + [("q3", f"answer {place}") for place in range(6, 9)]
    found = groups(chain, queries, most=0.5)
    together = [{query_id for query_id in queries if found[query_id] == number} for number in set(found.values())]
    assert {frozenset(group) for group in together if len(group) > 1} == {
        frozenset(("q0", "q1")), frozenset(("q2", "q3")), frozenset(("q5", "same")),
    }  # fmt: skip


def test_a_group_that_is_no_more_than_a_part_stays_together() -> None:
    queries = {f"q{number}": f"query {number}" for number in range(8)}
    chain = [(f"q{number}", f"answer {3 * number + place}") for number in range(4) for place in range(4)]
    assert sorted(groups(chain, queries, most=0.5).values()) == [0, 0, 0, 0, 1, 2, 3, 4]
