"""What is stored is found by its words, has a history, and comes back when it was deleted."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from errors import NotFound
from storage import copies, database
from storage.browse_store import DELETED_AT_ONCE, BrowseStore, Filter, FoundCounts, Search, Sort
from storage.label_store import LabelStore
from storage.queue_store import QueueStore
from storage.records import Candidate, Judgment, text_id
from storage.review_store import ReviewStore
from storage.score_store import ScoreStore
from tests.serving import eventually


@pytest.fixture
def labels(tmp_path: Path) -> LabelStore:
    database.create(tmp_path / "workbench.db")
    return LabelStore(tmp_path / "workbench.db")


@pytest.fixture
def browse(labels: LabelStore) -> BrowseStore:
    return BrowseStore(labels.path)


def found(browse: BrowseStore, words: str = "", kept: Filter = "all", skip: int = 0) -> list[str]:
    while browse.index_more():
        pass
    return [pair.passage for pair in browse.find(Search(words, kept), skip, 10)]


def restored(browse: BrowseStore, step: str) -> list[int]:
    return list(browse.restore(step))


def everything(labels: LabelStore, browse: BrowseStore) -> dict[str, list]:
    """All rows of what is said of pairs, without the numbers of the candidates and when they were made new."""
    while browse.index_more():
        pass
    with database.read(labels.path) as db:
        columns = "query_id, passage_id, source, rank, created_at, shuffle, voices, relevant"
        rows = {table: db.conn.execute(f"SELECT * FROM {table}").fetchall() for table in
                ("labels", "skips", "flags", "adjudications", "counters", "annotators")}  # fmt: skip
        rows["candidates"] = db.conn.execute(f"SELECT {columns} FROM candidates").fetchall()
    return {table: sorted(found) for table, found in rows.items()}


def key(passage: str) -> tuple[str, str]:
    return text_id("a query"), text_id(passage)


def add(labels: LabelStore, *passages: str) -> None:
    labels.add_candidates(Candidate("a query", passage) for passage in passages)


def test_words_are_found_in_queries_and_passages(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "The red bridge", "A bridge of stone", "Rain in Köln")
    labels.add_candidates([Candidate("how long is the bridge", "Two miles")])
    assert found(browse, "bridge") == ["Two miles", "A bridge of stone", "The red bridge"]
    assert found(browse, "BRIDGE stone") == ["A bridge of stone"]
    assert found(browse, "bri") == ["Two miles", "A bridge of stone", "The red bridge"]
    assert found(browse, "koln") == ["Rain in Köln"]
    assert found(browse, "nothing of this") == []
    assert len(found(browse)) == 4


@pytest.mark.parametrize("words", ["a AND", "NEAR(", "col:x", "' OR 1=1"])
def test_what_is_typed_is_never_a_query_language(labels: LabelStore, browse: BrowseStore, words: str) -> None:
    add(labels, "one", "and, near, or, col x, 1")
    assert found(browse, words) == ["and, near, or, col x, 1"]


@pytest.mark.parametrize("words", ['"', "*", "  "])
def test_signs_without_a_word_leave_nothing_out(labels: LabelStore, browse: BrowseStore, words: str) -> None:
    add(labels, "one", "another")
    assert found(browse, words) == ["another", "one"]


def test_filters(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "open", "yes", "no", "both")
    labels.save([Judgment("a query", "yes", 1, "anna", note="sure"), Judgment("a query", "no", 0, "anna")])
    labels.save([Judgment("a query", "both", 0, "anna"), Judgment("a query", "both", 1, "bo")])
    labels.toggle_flag(*key("open"), "anna")
    expected: dict[Filter, list[str]] = {
        "all": ["both", "no", "yes", "open"], "judged": ["both", "no", "yes"], "not judged": ["open"],
        "relevant": ["both", "yes"], "not relevant": ["both", "no"], "disputed": ["both"], "flagged": ["open"],
        "with a note": ["yes"],
    }  # fmt: skip
    assert {kept: found(browse, kept=kept) for kept in expected} == expected


def test_what_was_decided_is_found_with_the_votes_and_is_in_dispute_no_longer(
    labels: LabelStore, browse: BrowseStore
) -> None:
    labels.save([Judgment("a query", "both", 0, "anna"), Judgment("a query", "both", 1, "bo")])
    labels.save([Judgment("a query", "other", 1, "anna"), Judgment("a query", "other", 0, "bo")])
    review = ReviewStore(labels.path)
    review.decide(*key("both"), 1, "dora", "says the year")
    assert found(browse, kept="disputed") == ["other"]
    other, both = browse.find(Search(), 0, 10)
    assert other.decision is None and both.decision is not None
    assert (both.decision.label, both.decision.decided_by, both.decision.note) == (1, "dora", "says the year")
    *_, last = browse.history(*key("both"))
    assert (last.action, last.label, last.annotator, last.note) == ("decide", 1, "dora", "says the year")
    # Also where the passage was corrected since.
    browse.edit("passage", text_id("both"), "both of them", "ed", keep_labels=True)
    assert [event.action for event in browse.history(*key("both of them"))] == ["label", "label", "decide", "passage"]
    review.withdraw(*key("both of them"))
    assert found(browse, kept="disputed") == ["both of them", "other"]
    assert [pair.decision for pair in browse.find(Search(), 0, 10)] == [None, None]


def test_pages_go_back_in_time(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, *(f"passage {number}" for number in range(15)))
    assert found(browse)[0] == "passage 14"
    assert found(browse, skip=10) == [f"passage {number}" for number in range(4, -1, -1)]


def test_orders(labels: LabelStore, browse: BrowseStore) -> None:
    labels.add_candidates(Candidate(query, passage) for passage in "ab" for query in ("x", "y"))
    labels.save([Judgment("x", "b", 1, "anna"), Judgment("x", "b", 0, "bo"), Judgment("y", "a", 0, "bo")])

    def pairs(sort: Sort) -> list[str]:
        return [pair.query + pair.passage for pair in browse.find(Search(), 0, 10, sort)]

    assert pairs("newest first") == ["yb", "xb", "ya", "xa"]
    assert pairs("oldest first") == ["xa", "ya", "xb", "yb"]
    assert pairs("most judged first") == ["xb", "ya", "yb", "xa"]
    by_query = [pair[0] for pair in pairs("query by query")]
    assert by_query in (list("xxyy"), list("yyxx"))


def test_a_deleted_pair_is_gone_and_comes_back_with_all_that_was_said(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one", "two")
    labels.save([Judgment("a query", "one", 1, "anna", note="sure"), Judgment("a query", "one", 0, "bo")])
    labels.toggle_flag(*key("one"), "cy")
    ReviewStore(labels.path).decide(*key("one"), 1, "ed", None)
    ScoreStore(labels.path).save_scores("v1", [(*key("one"), 1.0)])
    assert found(browse, "one") == ["one"]
    step = browse.delete(*key("one"), "ed")
    assert (found(browse, "one"), found(browse)) == ([], ["two"])
    assert (list(labels.labels()), labels.consensus()) == ([], [])
    progress = labels.progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine) == (1, 0, 0, 0)
    assert labels.undo("anna") == []
    assert restored(browse, step) == [1]
    assert found(browse, "one") == ["one"]
    assert {(label.annotator, label.label, label.note) for label in labels.labels()} == {
        ("anna", 1, "sure"), ("bo", 0, None),
    }  # fmt: skip
    assert [label.label for label in labels.consensus()] == [1]
    progress = labels.progress("anna")
    assert (progress.candidates, progress.judged, progress.relevant, progress.mine) == (2, 1, 1, 1)
    with pytest.raises(NotFound):
        restored(browse, step)


def test_an_undo_brings_back_nothing_that_was_deleted(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one", "two")
    labels.save([Judgment("a query", "two", 1, "anna")])
    for label in (0, 1):
        labels.save([Judgment("a query", "one", label, "anna")])
    step = browse.delete(*key("one"), "ed")
    add(labels, "one")
    assert [judged.task.passage for judged in labels.judged_by("anna", 9)] == ["two"]
    assert labels.event_of(*key("one"), "anna") is None
    assert labels.undo("anna") == [key("two")]
    assert (labels.undo("anna"), list(labels.labels())) == ([], [])
    # Put back, it can be taken back again.
    restored(browse, step)
    assert labels.undo("anna") == [key("one")]
    assert [label.label for label in labels.labels()] == [0]


def test_what_comes_back_gives_way_to_what_was_said_since(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one", "two")
    labels.save([Judgment("a query", "one", 1, "anna")])
    step = browse.delete(*key("one"), "ed")
    add(labels, "one")
    labels.skip(*key("one"), "anna", "cannot_tell", None)
    restored(browse, step)
    task = QueueStore(labels.path).task(*key("one"), "anna")
    assert task is not None and (task.label, task.skip) == (None, "cannot_tell")
    assert QueueStore(labels.path).left("anna") == 1


def test_a_number_that_is_given_out_again_does_not_confuse_the_search(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "first", "last")
    assert found(browse, "last") == ["last"]
    browse.delete(*key("last"), "ed")
    add(labels, "another")
    assert (found(browse, "last"), found(browse, "another")) == ([], ["another"])


def test_what_is_gone_cannot_be_deleted(labels: LabelStore, browse: BrowseStore) -> None:
    with pytest.raises(NotFound):
        browse.delete(*key("nothing"), "ed")


def test_the_history_of_a_pair(labels: LabelStore, browse: BrowseStore) -> None:
    labels.save([Judgment("a query", "one", 1, "anna")])
    labels.save([Judgment("a query", "one", 0, "anna", note="no")])
    labels.undo("anna")
    assert [(event.action, event.label, event.previous_label) for event in browse.history(*key("one"))] == [
        ("label", 1, None), ("label", 0, 1), ("undo", 1, 0),
    ]  # fmt: skip


def test_the_index_is_made_again_where_it_is_missing(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one")
    assert found(browse, "one") == ["one"]
    browse.index_path.unlink()
    assert browse.not_indexed() == 1
    assert found(browse, "one") == ["one"]


def test_what_is_not_indexed_yet_is_indexed_behind_the_search(
    labels: LabelStore, browse: BrowseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.browse_store.INDEXED_AT_ONCE", 2)
    add(labels, *(f"passage {number}" for number in range(5)))
    for _ in range(3):
        browse.index_the_rest()
    eventually(lambda: browse.not_indexed() == 0, "all words are indexed")
    assert len(browse.find(Search("passage"), 0, 10)) == 5
    # And again, when others have come.
    add(labels, "another passage")

    def is_found() -> bool:
        browse.index_the_rest()
        return len(browse.find(Search("passage"), 0, 10)) == 6

    eventually(is_found, "what came later is found too")


def test_sources_are_listed_and_filtered_by(labels: LabelStore, browse: BrowseStore) -> None:
    assert browse.sources() == []
    labels.add_candidates(Candidate("a query", passage, source) for passage, source in
                          (("one", "bm25"), ("two", "faq.csv"), ("three", "bm25"), ("four", "Ärger")))  # fmt: skip
    assert browse.sources() == ["bm25", "faq.csv", "Ärger"]
    assert [pair.passage for pair in browse.find(Search(source="bm25"), 0, 10)] == ["three", "one"]
    found(browse)
    assert [pair.passage for pair in browse.find(Search("thr", source="bm25"), 0, 10)] == ["three"]
    assert browse.find(Search("two", source="bm25"), 0, 10) == []
    assert browse.find(Search(source="nowhere"), 0, 10) == []


def test_what_is_found_is_counted(labels: LabelStore, browse: BrowseStore) -> None:
    assert browse.count(Search()) == FoundCounts(0, 0, 0)
    add(labels, "red one", "red two", "blue")
    labels.save([Judgment("a query", "red one", 1, "anna"), Judgment("a query", "red one", 0, "bo")])
    found(browse)
    assert browse.count(Search()) == FoundCounts(3, 2, 3)
    assert browse.count(Search("red")) == FoundCounts(2, 2, 2)
    assert browse.count(Search("red", "not judged")) == FoundCounts(1, 0, 2)


def test_all_that_is_found_is_deleted_in_one_step_and_comes_back_in_one(
    labels: LabelStore, browse: BrowseStore
) -> None:
    many = DELETED_AT_ONCE + 2
    labels.add_candidates(Candidate(f"query {number % 7}", f"passage {number}", "faq.csv") for number in range(many))
    add(labels, "another")
    labels.save(Judgment(f"query {number % 7}", f"passage {number}", number % 2, who)
                for number in range(0, many, 20) for who in ("anna", "bo"))  # fmt: skip
    labels.save([Judgment("query 0", "passage 0", 1, "bo", note="no")])
    labels.toggle_flag(text_id("query 1"), text_id("passage 1"), "cy")
    labels.skip(text_id("query 2"), text_id("passage 2"), "cy", "later", None)
    ReviewStore(labels.path).decide(text_id("query 0"), text_id("passage 0"), 1, "ed", None)
    before = everything(labels, browse)
    search = Search(source="faq.csv")
    counts = browse.count(search)
    assert (counts.pairs, counts.labels) == (many, 22)
    steps = list(browse.delete_found(search, counts.last_id, "ed"))
    assert [done for _, done in steps] == [DELETED_AT_ONCE, many]
    assert len({step for step, _ in steps}) == 1
    assert found(browse) == ["another"]
    assert (list(labels.labels()), labels.progress("anna").mine) == ([], 0)
    [deletion] = browse.deletions(0, 10)
    assert (deletion.deleted_by, deletion.pairs, deletion.labels) == ("ed", many, 22)
    assert deletion.passage.startswith("passage ")
    assert restored(browse, deletion.step) == [DELETED_AT_ONCE, many]
    assert everything(labels, browse) == before
    assert browse.deletions(0, 10) == []


def test_what_came_later_is_not_deleted(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one", "two")
    last_id = browse.count(Search()).last_id
    add(labels, "three")
    assert [done for _, done in browse.delete_found(Search(), last_id, "ed")] == [2]
    assert found(browse) == ["three"]


def test_what_takes_the_number_of_a_deleted_pair_meanwhile_stays(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, *(f"passage {number}" for number in range(DELETED_AT_ONCE + 1)))
    going = browse.delete_found(Search(), browse.count(Search()).last_id, "ed")
    next(going)
    browse.delete(*key(f"passage {DELETED_AT_ONCE}"), "bo")
    add(labels, "new")
    assert [done for _, done in going] == [DELETED_AT_ONCE]
    assert found(browse) == ["new"]


def test_a_deletion_that_broke_off_is_put_back_as_far_as_it_came(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, *(f"passage {number}" for number in range(DELETED_AT_ONCE + 1)))
    before = everything(labels, browse)
    going = browse.delete_found(Search(), browse.count(Search()).last_id, "ed")
    step, _ = next(going)
    going.close()
    assert found(browse) == [f"passage {DELETED_AT_ONCE}"]
    assert restored(browse, step) == [DELETED_AT_ONCE]
    assert everything(labels, browse) == before


def test_deletions_are_listed_the_latest_first(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one", "two", "three")
    steps = [browse.delete(*key(passage), "ed") for passage in ("one", "two", "three")]
    assert [(deletion.passage, deletion.pairs) for deletion in browse.deletions(0, 2)] == [("three", 1), ("two", 1)]
    assert [deletion.passage for deletion in browse.deletions(2, 2)] == ["one"]
    restored(browse, steps[1])
    assert [deletion.passage for deletion in browse.deletions(0, 10)] == ["three", "one"]


def test_nothing_is_said_of_a_pair_that_is_deleted_by_a_model(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one", "two")
    scores = ScoreStore(labels.path)
    for version in ("v1", "v2"):
        scores.save_scores(version, [(*key("one"), 1.0), (*key("two"), 2.0)])
    browse.delete(*key("one"), "ed")
    assert [[pair.passage for pair in scores.scored_pairs(version)] for version in ("v1", "v2")] == [["two"], ["two"]]


def test_the_index_of_another_store_is_made_anew(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "one bridge", "two bridges", "rain")
    assert found(browse, "bridge") == ["two bridges", "one bridge"]
    labels.path.unlink()
    for file in labels.path.parent.glob("workbench.db-*"):
        file.unlink()
    database.create(labels.path)
    add(labels, "a tower", "a bridge", "a road", "a wall")
    assert found(browse, "bridge") == ["a bridge"]
    assert found(browse, "rain") == []


def test_an_older_copy_of_the_store_is_indexed_as_it_is(
    labels: LabelStore, browse: BrowseStore, tmp_path: Path
) -> None:
    add(labels, "one", "two")
    copy = tmp_path / "copy.db"
    copies.take(labels.path, copy)
    add(labels, "three", "four")
    assert found(browse, "three") == ["three"]
    for file in labels.path.parent.glob("workbench.db*"):
        file.unlink()
    copy.rename(labels.path)
    add(labels, "five", "six")
    assert found(browse, "three") == []
    assert found(browse, "five") == ["five"]


def test_words_are_found_in_scripts_that_put_no_spaces_between_them(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "您可以在火车站租自行车。", "自転車は借りられます", "rain")
    assert found(browse, "火车站") == ["您可以在火车站租自行车。"]
    assert found(browse, "自行") == ["您可以在火车站租自行车。"]
    assert found(browse, "借り") == ["自転車は借りられます"]
    assert found(browse, "车火") == []
    browse.delete(*key("您可以在火车站租自行车。"), "boss")
    assert found(browse, "火车站") == []


@pytest.mark.parametrize(
    ("words", "other", "beginning"),
    [
        ("पानी", "पान", "पानी"),  # Hindi: water, betel leaf
        ("மலை", "மாலை", "மல"),  # Tamil: mountain, evening
        ("ที่", "ทา", "ที"),  # Thai: at, to smear
        ("ශ්‍රී", "ශර", "ශ්‍ර"),  # Sinhala, joined by a character that is not seen
        ("שָׁלוֹם", "שִׁלֵּם", "שָׁל"),  # Hebrew with its points: peace, paid
        ("nin\u0303o", "ninja", "NIÑO"),  # a letter and its accent, one by one
    ],
)
def test_words_with_other_vowels_are_other_words(
    labels: LabelStore, browse: BrowseStore, words: str, other: str, beginning: str
) -> None:
    add(labels, f"1 {words} 2", f"1 {other} 2")
    assert found(browse, words) == found(browse, beginning) == [f"1 {words} 2"]
    assert found(browse, f"{other} 2") == [f"1 {other} 2"]
    browse.delete(*key(f"1 {words} 2"), "ed")
    assert found(browse, words) == []


def test_an_index_of_an_app_before_is_made_anew(labels: LabelStore, browse: BrowseStore) -> None:
    add(labels, "पानी", "पान")
    with closing(sqlite3.connect(browse.index_path)) as index, index:
        index.executescript(
            "CREATE VIRTUAL TABLE words USING fts5 (query, passage, content='');"
            "CREATE TABLE progress AS SELECT 2 AS done, (SELECT '') AS moment; PRAGMA user_version = 1;"
            "INSERT INTO words (rowid, query, passage) VALUES (1, 'a query', 'पानी'), (2, 'a query', 'पान')"
        )
    assert found(browse, "पानी") == ["पानी"]


def test_words_are_found_after_the_last_pair_that_was_indexed_is_deleted(
    labels: LabelStore, browse: BrowseStore
) -> None:
    add(labels, "one", "two", "three")
    assert found(browse, "one") == ["one"]
    browse.delete(*key("three"), "boss")
    add(labels, "four")
    assert found(browse, "four") == ["four"]
    assert (found(browse, "three"), found(browse, "one")) == ([], ["one"])
