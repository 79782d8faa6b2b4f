"""Agreement between annotators, against a published example and against the formulas."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import combinations
from pathlib import Path

import pytest

from labeling.agreement import (
    AnnotatorAgreement,
    PairKappa,
    agreement,
    agreement_by_annotator,
    agreement_by_week,
    in_words,
)
from storage import database
from storage.browse_store import BrowseStore
from storage.label_store import LabelStore
from storage.records import Judgment, StoredLabel, VoteCounts, text_id
from storage.review_store import ReviewStore

# Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), A: binary data, two observers, none missing.
MEG = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0)
OWEN = (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)
PUBLISHED_ALPHA = 0.095


def votes(**by_annotator: Sequence[int | None]) -> VoteCounts:
    """Labels in the order of the pairs, counted; None where an annotator did not judge a pair."""
    return votes_at(
        *(
            (f"p{place}", annotator, label, "2026-01-01T00:00:00+00:00")
            for annotator, given in by_annotator.items()
            for place, label in enumerate(given)
            if label is not None
        )
    )


def votes_at(*given: tuple[str, str, int, str]) -> VoteCounts:
    """Labels, each as (passage id, annotator, label, moment), counted."""
    return counts_of(
        StoredLabel("q", "query", passage_id, "passage", label, annotator, None, moment)
        for passage_id, annotator, label, moment in given
    )


def counts_of(labels: Iterable[StoredLabel]) -> VoteCounts:
    """The counts that agreement is computed from, label by label: what the store has to come to."""
    by_pair: dict[tuple[str, str], dict[str, StoredLabel]] = defaultdict(dict)
    annotators = set()
    for label in labels:
        annotators.add(label.annotator)
        by_pair[label.query_id, label.passage_id][label.annotator] = label
    shared: Counter[str] = Counter()
    by_week: Counter[tuple[str, int, int]] = Counter()
    by_two: Counter[tuple[str, str, int, int]] = Counter()
    for given in by_pair.values():
        if len(given) > 1:
            shared.update(given.keys())
            last = date.fromisoformat(max(label.updated_at for label in given.values())[:10])
            monday = str(last - timedelta(days=last.weekday()))
            by_week[monday, len(given), sum(label.label for label in given.values())] += 1
            for one, other in combinations(sorted(given), 2):
                by_two[one, other, given[one].label, given[other].label] += 1
    return VoteCounts(
        sorted(annotators),
        dict(shared),
        [(*key, pairs) for key, pairs in sorted(by_week.items())],
        [(*key, pairs) for key, pairs in sorted(by_two.items())],
    )


def kappa_by_formula(first: Sequence[int], second: Sequence[int]) -> float:
    """(observed - expected) / (1 - expected), the expected agreement from each annotator's own share of ones."""
    observed = sum(a == b for a, b in zip(first, second, strict=True)) / len(first)
    ones_first, ones_second = sum(first) / len(first), sum(second) / len(second)
    expected = ones_first * ones_second + (1 - ones_first) * (1 - ones_second)
    return (observed - expected) / (1 - expected)


def alpha_by_formula(*units: Sequence[int]) -> float:
    """1 - observed / expected disagreement from the coincidences within units, for nominal data with gaps."""
    pairable = [unit for unit in units if len(unit) > 1]
    values = [value for unit in pairable for value in unit]
    observed = sum(
        sum(a != b for i, a in enumerate(unit) for j, b in enumerate(unit) if i != j) / (len(unit) - 1)
        for unit in pairable
    )
    ones, zeros, total = values.count(1), values.count(0), len(values)
    return 1 - (total - 1) * observed / (2 * ones * zeros)


def test_alpha_equals_the_published_example() -> None:
    assert agreement(votes(meg=MEG, owen=OWEN)).krippendorff_alpha == pytest.approx(PUBLISHED_ALPHA, abs=0.0005)


def test_alpha_with_three_annotators_and_gaps_equals_the_formula() -> None:
    given = agreement(votes(a=[1, 0, 1, None, 1, 0], b=[1, 1, None, None, 1, 0], c=[1, 0, 0, 1, None, 0]))
    expected = alpha_by_formula([1, 1, 1], [0, 1, 0], [1, 0], [1], [1, 1], [0, 0, 0])
    assert given.krippendorff_alpha == pytest.approx(expected)
    assert (given.annotators, given.pairs) == (3, 5)


def test_kappa_equals_the_formula() -> None:
    (pair,) = agreement(votes(meg=MEG, owen=OWEN)).cohen_kappa
    assert (pair.annotators, pair.pairs) == (("meg", "owen"), 10)
    assert pair.kappa == pytest.approx(kappa_by_formula(MEG, OWEN))
    assert pair.kappa == pytest.approx(1 / 11)


def test_kappa_counts_only_pairs_that_both_judged() -> None:
    (pair,) = agreement(votes(a=[1, 0, 1, 0, None, 1], b=[1, 0, 0, None, 1, 1])).cohen_kappa
    assert pair == PairKappa(("a", "b"), 4, pytest.approx(kappa_by_formula([1, 0, 1, 1], [1, 0, 0, 1])))


def test_full_agreement_is_one() -> None:
    full = agreement(votes(a=[1, 0, 1], b=[1, 0, 1]))
    assert full.krippendorff_alpha == pytest.approx(1)
    assert [pair.kappa for pair in full.cohen_kappa] == [pytest.approx(1)]


def test_full_disagreement_is_below_zero() -> None:
    none = agreement(votes(a=[1, 0, 1, 0], b=[0, 1, 0, 1]))
    assert none.krippendorff_alpha is not None and none.krippendorff_alpha < 0
    assert none.cohen_kappa[0].kappa == pytest.approx(-1)


def test_neither_is_defined_when_all_labels_are_the_same() -> None:
    same = agreement(votes(a=[1, 1, 1], b=[1, 1, 1]))
    assert same.krippendorff_alpha is None
    assert same.cohen_kappa == [PairKappa(("a", "b"), 3, None)]


def test_one_annotator_without_variation_leaves_kappa_at_zero() -> None:
    assert agreement(votes(a=[1, 1, 1, 1], b=[1, 0, 1, 0])).cohen_kappa[0].kappa == pytest.approx(0)


def test_annotators_without_common_pairs_have_no_kappa() -> None:
    apart = agreement(votes(a=[1, 0, None, None], b=[None, None, 1, 0]))
    assert (apart.annotators, apart.pairs, apart.krippendorff_alpha) == (2, 0, None)
    assert apart.cohen_kappa == [PairKappa(("a", "b"), 0, None)]
    # Of many annotators they are not listed.
    visitors = {f"visitor {n:04}": [1 if n == place else None for place in range(150)] for n in range(150)}
    many = agreement(votes(**visitors))
    assert (many.annotators, many.cohen_kappa) == (150, [])


@pytest.mark.parametrize("given", [{}, {"a": [1, 0]}])
def test_fewer_than_two_annotators_cannot_agree(given: dict[str, list[int]]) -> None:
    alone = agreement(votes(**given))
    assert (alone.annotators, alone.pairs, alone.krippendorff_alpha, alone.cohen_kappa) == (len(given), 0, None, [])


def test_each_two_annotators_are_compared_once() -> None:
    three = agreement(votes(c=[1, 0], a=[1, 0], b=[0, 0]))
    assert [pair.annotators for pair in three.cohen_kappa] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_same_passage_under_another_query_is_another_pair() -> None:
    stored = [
        StoredLabel("q1", "one", "p", "passage", 1, "a", None, ""),
        StoredLabel("q2", "two", "p", "passage", 0, "b", None, ""),
    ]
    assert agreement(counts_of(stored)).pairs == 0


def test_agreement_week_by_week() -> None:
    early, late = "2026-01-07T10:00:00+00:00", "2026-01-12T10:00:00+00:00"
    found = agreement_by_week(
        votes_at(
            ("a", "anna", 1, early), ("a", "bo", 1, early), ("b", "anna", 0, early), ("b", "bo", 0, early),
            ("c", "anna", 1, early), ("c", "bo", 0, late), ("d", "anna", 0, late),
        )
    )  # fmt: skip
    assert [(week.begins, week.pairs) for week in found] == [("2026-01-05", 2), ("2026-01-12", 1)]
    assert found[0].krippendorff_alpha == 1.0
    # Two labels, one of each: the observed disagreement is that of chance.
    assert found[1].krippendorff_alpha == pytest.approx(0.0)


def test_agreement_of_each_annotator_with_the_others() -> None:
    given = votes(anna=(1, 1, 0, 0), bo=(1, 0, 0, 0), cy=(1, 1, None, None))
    found = {item.annotator: item for item in agreement_by_annotator(given)}
    # anna and bo differ on one of four; anna and cy on none of two; bo and cy on one of two.
    assert (found["anna"].pairs, found["anna"].comparisons, found["anna"].same) == (4, 6, pytest.approx(5 / 6))
    assert found["bo"].same == pytest.approx(4 / 6)
    # (0.75 - 0.5) / (1 - 0.5) with bo over four pairs; with cy kappa is not defined, all labels being the same.
    assert found["anna"].kappa == pytest.approx(0.5)
    # With cy, who says 1 throughout, bo's kappa is 0: the mean is weighted by four and two pairs.
    assert found["bo"].kappa == pytest.approx((4 * 0.5 + 2 * 0.0) / 6)


@pytest.mark.parametrize(("alpha", "words"), [(0.8, "reliable"), (0.7, "tentative"), (0.5, "too low"), (None, "yet")])
def test_alpha_in_words(alpha: float | None, words: str) -> None:
    assert words in in_words(alpha)


def test_the_store_counts_what_the_labels_say(tmp_path: Path) -> None:
    database.create(tmp_path / "store.db")
    store, review = LabelStore(tmp_path / "store.db"), ReviewStore(tmp_path / "store.db")
    rng = random.Random(7)
    judged = [
        Judgment("query", f"passage {place}", rng.randrange(2), annotator)
        for place in range(60)
        for annotator in rng.sample(["ann", "bob", "cy", "di"], rng.randint(1, 4))
    ]
    store.save([*judged, Judgment("query", "alone", 1, "eve")])
    with database.write(tmp_path / "store.db") as db:
        for place, day in enumerate(("2026-01-04", "2026-01-05", "2026-01-11", "2026-01-12")):
            db.conn.execute(
                "UPDATE labels SET updated_at = ? WHERE unicode(passage_id) % 4 = ?", (f"{day}T23:59:00+00:00", place)
            )
    counts = counts_of(store.labels())
    assert review.vote_counts() == counts
    assert {week for week, *_ in counts.by_week} == {"2025-12-29", "2026-01-05", "2026-01-12"}
    assert AnnotatorAgreement("eve", 0, 0, None, None) in agreement_by_annotator(counts)


def test_the_store_counts_anew_when_a_label_changes_comes_or_goes(tmp_path: Path) -> None:
    database.create(tmp_path / "store.db")
    store, review = LabelStore(tmp_path / "store.db"), ReviewStore(tmp_path / "store.db")
    browse = BrowseStore(tmp_path / "store.db")
    store.save([Judgment("q", passage, 1, annotator) for passage in ("a", "b") for annotator in ("ann", "bob")])
    assert review.vote_counts() is review.vote_counts()
    for change in (
        lambda: store.save([Judgment("q", "a", 0, "bob")]),
        lambda: store.undo("bob"),
        lambda: store.save([Judgment("q", "a", 0, "cy")]),
        lambda: store.skip(text_id("q"), text_id("b"), "bob", "cannot_tell", None),
        lambda: list(browse.restore(browse.delete(text_id("q"), text_id("a"), "ed"))),
        lambda: browse.delete(text_id("q"), text_id("a"), "ed"),
        lambda: browse.edit("passage", text_id("b"), "c", "ed", keep_labels=False),
    ):
        change()
        assert review.vote_counts() == counts_of(store.labels())


def test_votes_are_counted_anew_when_one_pair_is_put_back_and_another_like_it_deleted(tmp_path: Path) -> None:
    database.create(tmp_path / "store.db")
    store, review = LabelStore(tmp_path / "store.db"), ReviewStore(tmp_path / "store.db")
    browse = BrowseStore(store.path)
    for passage, anna, bo in (("a", 1, 1), ("b", 1, 0), ("c", 0, 0), ("d", 1, 1)):
        store.save([Judgment("q", passage, anna, "anna"), Judgment("q", passage, bo, "bo")])
    step = browse.delete(text_id("q"), text_id("a"), "boss")
    assert review.vote_counts() == counts_of(store.labels())
    list(browse.restore(step))
    browse.delete(text_id("q"), text_id("b"), "boss")
    assert review.vote_counts() == counts_of(store.labels())


def test_an_empty_store_has_no_agreement(tmp_path: Path) -> None:
    database.create(tmp_path / "store.db")
    assert ReviewStore(tmp_path / "store.db").vote_counts() == counts_of([])
