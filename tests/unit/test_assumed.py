"""What is taken as not relevant where only relevant passages are known."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest

from reranker.assumed import EACH, _best_first, _likest, assumed, with_assumed
from reranker.dataset import LabelledPair, TrainingSets, queries_that_tell

THINGS = ("bridge", "tower", "harbour", "station", "market", "museum", "garden")


def relevant(query: str, *passages: str) -> list[LabelledPair]:
    return [LabelledPair(query, query, passage, 1) for passage in passages]


def questions(*things: str) -> list[LabelledPair]:
    return [
        pair for thing in things for pair in relevant(f"who built the {thing}", f"The {thing} was built by {thing}s.")
    ]


def of_queries(pairs: list[LabelledPair]) -> dict[str, list[str]]:
    found = defaultdict(list)
    for pair in pairs:
        found[pair.query].append(pair.passage)
    return dict(found)


def test_each_query_gets_passages_of_others_that_are_marked() -> None:
    pairs = questions(*THINGS)
    added = assumed(pairs, {})
    assert all(pair.assumed and pair.label == 0 for pair in added)
    assert not {(pair.query, pair.passage) for pair in added} & {(pair.query, pair.passage) for pair in pairs}
    assert {pair.passage for pair in added} <= {pair.passage for pair in pairs}
    assert {query: len(set(passages)) for query, passages in of_queries(added).items()} == {
        f"who built the {thing}": EACH for thing in THINGS
    }
    assert len(queries_that_tell([*pairs, *added])) == len(THINGS)


def test_the_likest_by_their_words_come_first() -> None:
    pairs = relevant("how deep is the harbour", "Ships of ten metres can enter.") + relevant(
        "who runs the harbour", "The harbour is run by the town; it is deep."
    )
    for number in range(EACH + 2):
        pairs += relevant(f"question {number}", f"Something else altogether, number {number}.")
    assert of_queries(assumed(pairs, {}))["how deep is the harbour"][0] == "The harbour is run by the town; it is deep."


@pytest.mark.parametrize(
    ("query", "answer", "likest"),
    [
        ("如何重置密码", "点击登录页面的链接。", "重置密码需要邮箱。"),
        ("パスワードの再設定", "ログイン画面から進みます。", "パスワードは八文字です。"),
        ("รีเซ็ตรหัสผ่าน", "กดลิงก์ที่หน้าแรก", "รหัสผ่านต้องยาว"),
    ],
)
def test_the_likest_come_first_in_scripts_without_spaces(query: str, answer: str, likest: str) -> None:
    pairs = relevant(query, answer)
    for number in range(EACH + 2):
        pairs += relevant(f"question {number}", f"Something else altogether, number {number}.")
    pairs += relevant("another question", likest)
    assert of_queries(assumed(pairs, {}))[query][0] == likest


def test_passages_without_a_word_are_taken_too() -> None:
    pairs = [*relevant("is it good", "👍"), *relevant("is it bad", "👎"), *relevant("👍", "!!")]
    added = of_queries(assumed(pairs, {}))
    assert set(added["is it good"]) == {"👎", "!!"} and added["👍"][0] == "👍"


def test_what_waits_to_be_judged_comes_before_passages_of_other_queries() -> None:
    query = "who built the bridge"
    waiting = ["Rain falls.", "Snow lies.", "The bridge was built of stone."]
    added = of_queries(assumed(questions(*THINGS), {query: waiting}))
    assert set(added[query][:3]) == set(waiting) and len(added[query]) == EACH


def test_what_is_held_back_is_not_trained_on() -> None:
    held = "The bridge over the river was built by monks in the year of the great flood and stands there still."
    waiting = {
        "who built the tower": [held, "Rain falls."],
        "who built the museum": ["Only the museum's candidate."],
        "who built the market": ["Only the museum's candidate."],
    }
    sets = TrainingSets(questions("tower", "market"), relevant("who built the bridge", held) + questions("museum"))
    found = with_assumed(sets, lambda _: waiting)
    assert "Only the museum's candidate." in {pair.passage for pair in found.dev}
    trained_on = {pair.passage for pair in found.train if pair.assumed}
    assert "Rain falls." in trained_on and not trained_on & {held, "Only the museum's candidate."}


def test_where_somebody_said_what_is_not_relevant_nothing_is_assumed() -> None:
    pairs = [*questions(*THINGS), LabelledPair("who built the bridge", "who built the bridge", "Rain falls.", 0)]
    assert "who built the bridge" not in of_queries(assumed(pairs, {}))
    only_not = [LabelledPair("why", "why", "Rain falls.", 0)]
    assert "why" not in of_queries(assumed([*questions(*THINGS), *only_not], {}))


def test_what_says_the_same_is_not_taken_as_not_relevant() -> None:
    same = "The old bridge over the river was built by monks in the year of the great flood and stands there still."
    nearly = same.replace("there still", "there now")
    pairs = relevant("who built the bridge", same) + relevant("when was the flood", nearly) + questions(*THINGS[1:])
    added = of_queries(assumed(pairs, {}))
    assert nearly not in added["who built the bridge"] and same not in added["when was the flood"]
    # Both have one answer, so they ask the same as far as anybody can tell.
    pairs += relevant("who were the builders of the bridge", same, "Monks have built it.")
    assert "Monks have built it." not in of_queries(assumed(pairs, {}))["who built the bridge"]


def test_there_may_be_nothing_to_take() -> None:
    assert assumed([], {}) == []
    assert assumed(questions("bridge"), {}) == []
    assert len(assumed(questions("bridge", "tower"), {})) == 2
    # Whoever asked for it is not told to ask for it.
    alone = TrainingSets(questions("bridge"))
    assert "Or have passages that nobody judged taken" in (alone.why_not_trainable() or "")
    told = with_assumed(alone, lambda _: {}).why_not_trainable()
    assert told and "no other passages to be taken as not relevant" in told and "Or have" not in told


def test_it_is_the_same_each_time() -> None:
    assert assumed(questions(*THINGS), {}) == assumed(questions(*THINGS), {})


def test_nothing_of_one_set_gets_into_another() -> None:
    sets = TrainingSets(questions(*THINGS[:3]), questions(*THINGS[3:5]), questions(*THINGS[5:]))
    found = with_assumed(sets, lambda _: {})
    for before, after in ((sets.train, found.train), (sets.dev, found.dev), (sets.test, found.test)):
        assert after[: len(before)] == before
        assert {pair.passage for pair in after} == {pair.passage for pair in before}
    assert sets.why_not_trainable() is not None and found.why_not_trainable() is None


def test_what_something_was_said_of_is_never_assumed() -> None:
    said = {"who built the bridge": ["Rain falls.", "The tower was built by towers."]}
    waiting = {"who built the bridge": ["Rain  falls!", "Snow lies."]}
    added = of_queries(assumed(questions(*THINGS), waiting, (), said))["who built the bridge"]
    assert "Snow lies." in added and not {"Rain  falls!", "The tower was built by towers."} & set(added)


def test_the_likest_are_looked_for_only_where_too_few_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_for = []

    def likest(queries: list, passages: list[str]) -> Iterator:
        looked_for.extend(judged.query for judged in queries)
        return _likest(queries, passages)

    monkeypatch.setattr("reranker.assumed._likest", likest)
    pairs = questions(*THINGS)
    waiting = {pair.query_id: [f"{pair.query} {word}" for word in ("ask", "see", "buy", "go")] for pair in pairs[1:]}
    added = of_queries(assumed(pairs, waiting))
    assert looked_for == [pairs[0].query]
    assert {query: len(passages) for query, passages in added.items()} == {pair.query: EACH for pair in pairs}


@pytest.mark.parametrize("most", [0, 3, 1_000])
def test_the_best_come_first_however_many_are_sorted_at_first(monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr("reranker.assumed.SORTED_FIRST", most or 1)
    likeness = np.array([0.0, 0.5, 0.5, 0.2, 0.9, 0.0, 0.5, 0.2, 0.0])
    assert list(_best_first(likeness)) == [4, 1, 2, 6, 3, 7, 0, 5, 8]
