"""Agreement between annotators, against a published example and against the formulas."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from labeling.agreement import (
    AnnotatorAgreement,
    PairKappa,
    agreement,
    agreement_by_annotator,
    agreement_by_week,
    counts_of,
)
from storage import database
from storage.browse_store import BrowseStore
from storage.label_store import LabelStore
from storage.records import Judgment, StoredLabel, text_id
from storage.review_store import ReviewStore

# Klaus Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), A: binary data, two observers, none missing.
MEG = (0, 1, 0, 0, 0, 0, 0, 0, 1, 0)
OWEN = (1, 1, 1, 0, 0, 1, 0, 0, 0, 0)
PUBLISHED_ALPHA = 0.095


def labels(**by_annotator: Sequence[int | None]) -> list[StoredLabel]:
    """Labels in the order of the pairs; None where an annotator did not judge a pair."""
    return [
        StoredLabel("q", "query", f"p{place}", "passage", label, annotator, None, "2026-01-01T00:00:00+00:00")
        for annotator, given in by_annotator.items()
        for place, label in enumerate(given)
        if label is not None
    ]


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
    assert agreement(labels(meg=MEG, owen=OWEN)).krippendorff_alpha == pytest.approx(PUBLISHED_ALPHA, abs=0.0005)


def test_alpha_with_three_annotators_and_gaps_equals_the_formula() -> None:
    given = agreement(labels(a=[1, 0, 1, None, 1, 0], b=[1, 1, None, None, 1, 0], c=[1, 0, 0, 1, None, 0]))
    expected = alpha_by_formula([1, 1, 1], [0, 1, 0], [1, 0], [1], [1, 1], [0, 0, 0])
    assert given.krippendorff_alpha == pytest.approx(expected)
    assert (given.annotators, given.pairs) == (3, 5)


def test_kappa_equals_the_formula() -> None:
    (pair,) = agreement(labels(meg=MEG, owen=OWEN)).cohen_kappa
    assert (pair.annotators, pair.pairs) == (("meg", "owen"), 10)
    assert pair.kappa == pytest.approx(kappa_by_formula(MEG, OWEN))
    assert pair.kappa == pytest.approx(1 / 11)


def test_kappa_counts_only_pairs_that_both_judged() -> None:
    (pair,) = agreement(labels(a=[1, 0, 1, 0, None, 1], b=[1, 0, 0, None, 1, 1])).cohen_kappa
    assert pair == PairKappa(("a", "b"), 4, pytest.approx(kappa_by_formula([1, 0, 1, 1], [1, 0, 0, 1])))


def test_full_agreement_is_one() -> None:
    full = agreement(labels(a=[1, 0, 1], b=[1, 0, 1]))
    assert full.krippendorff_alpha == pytest.approx(1)
    assert [pair.kappa for pair in full.cohen_kappa] == [pytest.approx(1)]


def test_full_disagreement_is_below_zero() -> None:
    none = agreement(labels(a=[1, 0, 1, 0], b=[0, 1, 0, 1]))
    assert none.krippendorff_alpha is not None and none.krippendorff_alpha < 0
    assert none.cohen_kappa[0].kappa == pytest.approx(-1)


def test_neither_is_defined_when_all_labels_are_the_same() -> None:
    same = agreement(labels(a=[1, 1, 1], b=[1, 1, 1]))
    assert same.krippendorff_alpha is None
    assert same.cohen_kappa == [PairKappa(("a", "b"), 3, None)]


def test_one_annotator_without_variation_leaves_kappa_at_zero() -> None:
    assert agreement(labels(a=[1, 1, 1, 1], b=[1, 0, 1, 0])).cohen_kappa[0].kappa == pytest.approx(0)


def test_annotators_without_common_pairs_have_no_kappa() -> None:
    apart = agreement(labels(a=[1, 0, None, None], b=[None, None, 1, 0]))
    assert (apart.annotators, apart.pairs, apart.krippendorff_alpha) == (2, 0, None)
    assert apart.cohen_kappa == [PairKappa(("a", "b"), 0, None)]


@pytest.mark.parametrize("given", [{}, {"a": [1, 0]}])
def test_fewer_than_two_annotators_cannot_agree(given: dict[str, list[int]]) -> None:
    alone = agreement(labels(**given))
    assert (alone.annotators, alone.pairs, alone.krippendorff_alpha, alone.cohen_kappa) == (len(given), 0, None, [])


def test_each_two_annotators_are_compared_once() -> None:
    three = agreement(labels(c=[1, 0], a=[1, 0], b=[0, 0]))
    assert [pair.annotators for pair in three.cohen_kappa] == [("a", "b"), ("a", "c"), ("b", "c")]


def test_the_same_passage_under_another_query_is_another_pair() -> None:
    stored = [
        StoredLabel("q1", "one", "p", "passage", 1, "a", None, ""),
        StoredLabel("q2", "two", "p", "passage", 0, "b", None, ""),
    ]
    assert agreement(stored).pairs == 0


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
    assert agreement(review.vote_counts()) == agreement(store.labels())
    assert agreement_by_week(review.vote_counts()) == agreement_by_week(store.labels())
    by_annotator = agreement_by_annotator(review.vote_counts())
    assert by_annotator == agreement_by_annotator(store.labels())
    assert AnnotatorAgreement("eve", 0, 0, None, None) in by_annotator


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
    assert agreement(ReviewStore(tmp_path / "store.db").vote_counts()) == agreement([])
