"""Clients made for Cohere, Jina and Text Embeddings Inference: what they send and read besides the contract."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.serving import assert_error, loaded_version

TEXTS = ["the bridge is long", "music in the city", "rain and sun", "a stone bridge of the north", "x"]


@pytest.fixture
def reader(shared_client: httpx.Client) -> httpx.Client:
    loaded_version(shared_client)
    return shared_client


def body(**changes: Any) -> dict[str, Any]:
    return {"query": "how long is the old bridge", "documents": TEXTS} | changes


# What clients of the field send, as they send it: Cohere's, old and new, and those of LangChain, Haystack and LiteLLM.
OF_CLIENTS: list[tuple[str, dict[str, Any]]] = [
    ("/v2/rerank", {"model": "active", "top_n": 2}),
    ("/v2/rerank", {"model": "active", "top_n": 2, "max_tokens_per_doc": None}),
    ("/v2/rerank", {"model": "active", "top_n": 2, "max_tokens_per_doc": 4096}),
    ("/v2/rerank", {"model": "active", "top_n": 2, "return_documents": True}),
    ("/v1/rerank", {"top_n": 2, "rank_fields": ["text"], "return_documents": True, "max_chunks_per_doc": 3}),
    ("/v1/rerank", {"model": "active", "top_n": None}),
]


@pytest.mark.parametrize(("path", "sent"), OF_CLIENTS, ids=str)
def test_clients_of_the_field_are_answered(reader: httpx.Client, path: str, sent: dict[str, Any]) -> None:
    plain = reader.post("/v1/rerank", json=body()).json()
    answer = reader.post(path, json=body(**sent), headers={"Authorization": "Bearer theirs"}).json()
    ranked = [{name: result[name] for name in ("index", "relevance_score")} for result in answer["results"]]
    assert ranked == plain["results"][: sent["top_n"]]
    assert answer["model"] == plain["model"]
    # Of what they read besides, the absence of these ends some of them with an error of their own.
    assert answer["usage"]["total_tokens"] > len(TEXTS)
    assert answer["meta"]["billed_units"]["search_units"] == 1


def test_every_hundred_documents_count_as_a_search(reader: httpx.Client) -> None:
    answers = [reader.post("/v2/rerank", json=body(documents=["a"] * count)).json() for count in (100, 101)]
    assert [answer["meta"]["billed_units"]["search_units"] for answer in answers] == [1, 2]
    assert answers[1]["usage"]["total_tokens"] * 100 == answers[0]["usage"]["total_tokens"] * 101


def test_clients_of_tei_are_told_what_the_model_takes(reader: httpx.Client) -> None:
    info = reader.get("/info").json()
    assert info["model_id"] == reader.get("/health").json()["model"]["version"]
    assert list(info["model_type"]) == ["reranker"]
    assert info["max_client_batch_size"] == 1_000
    # As many tokens as it says are read, with the three around them; and no more.
    room = info["max_input_length"] - 4
    for words, status in ((room, 200), (room + 1, 422)):
        sent = {"query": "rain", "texts": ["rain " * words], "truncate": False}
        assert reader.post("/rerank", json=sent).status_code == status


def test_documents_for_the_other_call_are_told_where_to_go(reader: httpx.Client) -> None:
    message = assert_error(reader.post("/rerank", json=body(model="active")), 422, "invalid_input")
    assert message == "This call takes `texts`. Send `documents` to /v1/rerank."
