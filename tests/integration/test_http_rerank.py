"""Reranking over HTTP: both calls, what they answer, and what they make of bad input."""

from __future__ import annotations

import gzip
import json
import math
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.error_answers import MAX_BODY_BYTES
from tests.serving import assert_error, eventually
from texts import MAX_CHARACTERS

QUERY = "how long is the old bridge"
TEXTS = ["the bridge is long", "music in the city", "rain and sun", "a stone bridge of the north", "x"]
# The two calls, and the name that each has for the passages.
CALLS = [("/v1/rerank", "documents"), ("/rerank", "texts")]
JSON = {"Content-Type": "application/json"}

both_calls = pytest.mark.parametrize(("path", "key"), CALLS)


@pytest.fixture
def reader(shared_client: httpx.Client) -> httpx.Client:
    eventually(lambda: shared_client.get("/health").json()["status"] == "ok", "the model is loaded")
    return shared_client


@pytest.fixture(scope="module")
def logits(model_dir: Path) -> dict[str, float]:
    """What sentence-transformers itself says of TEXTS."""
    import torch
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(model_dir), activation_fn=torch.nn.Identity())
    return dict(zip(TEXTS, model.predict([(QUERY, text) for text in TEXTS]).tolist(), strict=True))


def body(key: str, passages: Any = TEXTS, **changes: Any) -> dict[str, Any]:
    return {"query": QUERY, key: passages} | changes


# What is answered


def test_health_names_the_model(reader: httpx.Client) -> None:
    health = reader.get("/health").json()
    version = health["model"]["version"]
    assert set(health) == {"status", "model", "engine"}
    assert health["status"] == "ok"
    assert health["model"] == {"version": version, "name": "tiny", "source": "directory"}
    assert health["engine"]["backend"] == "torch" and "orders are the same" in health["engine"]["reason"]
    assert version.startswith("tiny")


def test_health_answers_monitors_that_ask_with_head(reader: httpx.Client) -> None:
    response = reader.head("/health")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == reader.get("/health").headers["content-length"]


def test_documents_come_back_best_first(reader: httpx.Client, logits: dict[str, float]) -> None:
    response = reader.post("/v1/rerank", json=body("documents"))
    assert response.status_code == 200
    answer = response.json()
    assert set(answer) == {"id", "model", "results", "usage", "meta"}
    assert answer["model"] == reader.get("/health").json()["model"]["version"]
    assert all(set(result) == {"index", "relevance_score"} for result in answer["results"])
    order = sorted(range(len(TEXTS)), key=lambda index: -logits[TEXTS[index]])
    assert [result["index"] for result in answer["results"]] == order
    expected = [1 / (1 + math.exp(-logits[TEXTS[index]])) for index in order]
    assert [result["relevance_score"] for result in answer["results"]] == pytest.approx(expected, abs=1e-5)


def test_each_answer_has_an_id_of_its_own(reader: httpx.Client) -> None:
    ids = [reader.post("/v1/rerank", json=body("documents")).json()["id"] for _ in range(2)]
    assert ids[0] != ids[1]


def test_documents_may_be_texts_or_objects(reader: httpx.Client) -> None:
    mixed = [{"text": text} if place % 2 else text for place, text in enumerate(TEXTS)]
    plain = reader.post("/v1/rerank", json=body("documents")).json()["results"]
    assert reader.post("/v1/rerank", json=body("documents", passages=mixed)).json()["results"] == plain


def test_documents_are_returned_when_asked_for(reader: httpx.Client) -> None:
    results = reader.post("/v1/rerank", json=body("documents", return_documents=True)).json()["results"]
    assert [result["document"] for result in results] == [{"text": TEXTS[result["index"]]} for result in results]


@pytest.mark.parametrize("top_n", [1, 3, 5, 1_000_000])
def test_top_n_cuts_the_list(reader: httpx.Client, top_n: int) -> None:
    every = reader.post("/v1/rerank", json=body("documents")).json()["results"]
    assert reader.post("/v1/rerank", json=body("documents", top_n=top_n)).json()["results"] == every[:top_n]


def test_model_may_be_named_by_version_or_name(reader: httpx.Client) -> None:
    model = reader.get("/health").json()["model"]
    for name in (model["version"], model["name"]):
        answer = reader.post("/v1/rerank", json=body("documents", model=name)).json()
        assert answer["model"] == model["version"]


def test_what_other_clients_send_besides_is_ignored(reader: httpx.Client) -> None:
    sent = body("documents", max_chunks_per_doc=10, rank_fields=["text"], max_tokens_per_doc=512, truncation=True)
    assert reader.post("/v1/rerank", json=sent).status_code == 200


def test_null_means_left_out(reader: httpx.Client) -> None:
    sent = body("documents", top_n=None, model=None, return_documents=None)
    plain = reader.post("/v1/rerank", json=body("documents")).json()["results"]
    assert reader.post("/v1/rerank", json=sent).json()["results"] == plain


def test_tei_scores_are_probabilities(reader: httpx.Client, logits: dict[str, float]) -> None:
    response = reader.post("/rerank", json=body("texts"))
    assert response.status_code == 200
    ranks = response.json()
    assert all(set(rank) == {"index", "score"} for rank in ranks)
    assert {TEXTS[rank["index"]]: rank["score"] for rank in ranks} == pytest.approx(
        {text: 1 / (1 + math.exp(-logit)) for text, logit in logits.items()}, abs=1e-5
    )
    assert [rank["score"] for rank in ranks] == sorted((rank["score"] for rank in ranks), reverse=True)


def test_tei_raw_scores_are_logits(reader: httpx.Client, logits: dict[str, float]) -> None:
    ranks = reader.post("/rerank", json=body("texts", raw_scores=True)).json()
    assert {TEXTS[rank["index"]]: rank["score"] for rank in ranks} == pytest.approx(logits, abs=1e-4)


def test_tei_texts_are_returned_when_asked_for(reader: httpx.Client) -> None:
    ranks = reader.post("/rerank", json=body("texts", return_text=True)).json()
    assert [rank["text"] for rank in ranks] == [TEXTS[rank["index"]] for rank in ranks]


def test_tei_refuses_what_is_too_long_only_without_truncation(reader: httpx.Client) -> None:
    long = body("texts", passages=["rain", "river " * 500])
    assert "Text 2" in assert_error(reader.post("/rerank", json=long | {"truncate": False}), 422, "invalid_input")
    assert len(reader.post("/rerank", json=long | {"truncate": True}).json()) == 2
    assert len(reader.post("/rerank", json=long).json()) == 2


@both_calls
def test_a_thousand_passages_are_ranked(reader: httpx.Client, path: str, key: str) -> None:
    response = reader.post(path, json=body(key, passages=[f"passage {number}" for number in range(1_000)]))
    answer = response.json()
    ranked = answer["results"] if isinstance(answer, dict) else answer
    assert sorted(result["index"] for result in ranked) == list(range(1_000))


@pytest.mark.parametrize(
    "text",
    [
        "🌉 the bridge 👩‍👩‍👧‍👦 is long",
        "الجسر القديم طويل جدا",
        "הגשר הישן ארוך \u202eknil\u202c",
        "<script>alert(1)</script>",
        "'; DROP TABLE labels; --",
        "東京の橋は長い",
        "e\u0301 \u200b\ufeff\ufffd \U0010ffff",
        "line one\r\nline two\ttab\x07bell",
        '"quoted" \\ back\\slash {{ template }} %s {0}',
        "x" * MAX_CHARACTERS,
    ],
    ids=lambda text: ascii(text[:12]),
)
@both_calls
def test_any_text_is_ranked_and_comes_back_unchanged(reader: httpx.Client, path: str, key: str, text: str) -> None:
    sent = {"query": text, key: [text, "rain"], "return_documents": True, "return_text": True}
    answer = reader.post(path, json=sent).json()
    if path == "/rerank":
        texts = {rank["index"]: rank["text"] for rank in answer}
    else:
        texts = {result["index"]: result["document"]["text"] for result in answer["results"]}
    assert texts == {0: text, 1: "rain"}


def test_requests_at_once_get_their_own_answers(reader: httpx.Client) -> None:
    texts = ["river " * (place * 7 % 50 + 1) for place in range(100)]

    def ask(number: int) -> dict[int, float]:
        sent = {"query": f"query {number}", "texts": texts, "raw_scores": True}
        response = reader.post("/rerank", json=sent)
        assert response.status_code == 200, response.text
        return {rank["index"]: rank["score"] for rank in response.json()}

    one_by_one = [ask(number) for number in range(16)]
    # The server is in this process: its threads are made to take turns as often as they can.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            at_once = list(threads.map(ask, [*range(16)] * 4))
    finally:
        sys.setswitchinterval(interval)
    for ours, theirs in zip(at_once, one_by_one * 4, strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


# What is refused


@pytest.mark.parametrize("blank", ["", " ", "\n\t ", "\u3000\u2003"], ids=ascii)
@both_calls
def test_blank_query_or_passage_is_refused(reader: httpx.Client, path: str, key: str, blank: str) -> None:
    assert "query" in assert_error(reader.post(path, json=body(key, query=blank)), 422, "invalid_input")
    message = assert_error(reader.post(path, json=body(key, passages=["rain", blank])), 422, "invalid_input")
    assert "Passage 2" in message


@both_calls
def test_no_passages_are_refused(reader: httpx.Client, path: str, key: str) -> None:
    assert_error(reader.post(path, json=body(key, passages=[])), 422, "invalid_input")


@pytest.mark.parametrize("count", [1_001, 5_000])
@both_calls
def test_too_many_passages_are_refused(reader: httpx.Client, path: str, key: str, count: int) -> None:
    message = assert_error(reader.post(path, json=body(key, passages=["rain"] * count)), 413, "too_large")
    assert "1,000" in message


@both_calls
def test_a_passage_of_two_megabytes_is_refused(reader: httpx.Client, path: str, key: str) -> None:
    assert_error(reader.post(path, json=body(key, passages=["rain", "x" * 2_000_000])), 413, "too_large")
    assert_error(reader.post(path, json=body(key, query="x" * 2_000_000)), 413, "too_large")


@both_calls
def test_a_body_of_ten_megabytes_is_read(reader: httpx.Client, path: str, key: str) -> None:
    sent = json.dumps(body(key)).encode().ljust(MAX_BODY_BYTES)
    assert reader.post(path, content=sent, headers=JSON).status_code == 200


@pytest.mark.parametrize("size", [MAX_BODY_BYTES + 1, 40_000_000])
@pytest.mark.parametrize("way", ["declared", "chunked", "closing"])
@both_calls
def test_a_larger_body_is_refused(reader: httpx.Client, path: str, key: str, way: str, size: int) -> None:
    sent = json.dumps(body(key)).encode().ljust(size)

    def pieces() -> Iterator[bytes]:
        for start in range(0, size, 1 << 20):
            yield sent[start : start + (1 << 20)]

    # Some clients and proxies have the connection closed after the answer.
    headers = JSON | ({"Connection": "close"} if way == "closing" else {})
    response = reader.post(path, content=pieces() if way == "chunked" else sent, headers=headers)
    assert_error(response, 413, "too_large")
    assert reader.post(path, json=body(key)).status_code == 200


@both_calls
def test_nul_is_refused(reader: httpx.Client, path: str, key: str) -> None:
    assert "NUL" in assert_error(reader.post(path, json=body(key, query="a\x00b")), 422, "invalid_input")
    assert "NUL" in assert_error(reader.post(path, json=body(key, passages=["a\x00b"])), 422, "invalid_input")


@pytest.mark.parametrize("place", ["query", "passage", "model", "unknown field"])
@both_calls
def test_half_a_surrogate_pair_is_never_a_server_error(reader: httpx.Client, path: str, key: str, place: str) -> None:
    half = "\ud83d"
    sent = {
        "query": body(key, query=half),
        "passage": body(key, passages=[half]),
        "model": body(key, model=half),
        "unknown field": body(key, **{half: half}),
    }[place]
    response = reader.post(path, content=json.dumps(sent), headers=JSON)
    # What is not a field of the call is ignored, whatever it holds.
    if place == "unknown field" or (place == "model" and path == "/rerank"):
        assert response.status_code == 200
    else:
        assert_error(response, 422, "invalid_input")


@pytest.mark.parametrize(
    "changes",
    [
        {"query": None}, {"query": 5}, {"query": ["text"]}, {"query": {"text": "text"}}, {"query": True},
        {"passages": None}, {"passages": "text"}, {"passages": [1]}, {"passages": [None]}, {"passages": [["text"]]},
        {"passages": {"text": "text"}}, {"passages": [{"body": "text"}]}, {"passages": [{"text": 1}]},
    ],
    ids=str,
)  # fmt: skip
@both_calls
def test_wrong_types_are_refused(reader: httpx.Client, path: str, key: str, changes: dict[str, Any]) -> None:
    message = assert_error(reader.post(path, json=body(key, **changes)), 422, "invalid_input")
    assert (key if "passages" in changes else "query") in message
    assert "function" not in message and "#" not in message


@pytest.mark.parametrize(
    "changes",
    [
        {"top_n": 0}, {"top_n": -1}, {"top_n": 1.5}, {"top_n": "3"}, {"top_n": True}, {"return_documents": "yes"},
        {"model": 1},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_options_are_refused(reader: httpx.Client, changes: dict[str, Any]) -> None:
    message = assert_error(reader.post("/v1/rerank", json=body("documents", **changes)), 422, "invalid_input")
    assert next(iter(changes)) in message


@pytest.mark.parametrize("field", ["raw_scores", "return_text", "truncate"])
def test_wrong_tei_options_are_refused(reader: httpx.Client, field: str) -> None:
    assert field in assert_error(reader.post("/rerank", json=body("texts", **{field: 1})), 422, "invalid_input")


@pytest.mark.parametrize("missing", ["query", "passages"])
@both_calls
def test_missing_fields_are_named(reader: httpx.Client, path: str, key: str, missing: str) -> None:
    field = key if missing == "passages" else missing
    sent = {name: value for name, value in body(key).items() if name != field}
    assert field in assert_error(reader.post(path, json=sent), 422, "invalid_input")


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b'{"query": "\xff", "documents": ["a"], "texts": ["a"]}',
        b'{"query": "q", "documents": ' + b"[" * 100_000, b'{"query": "q", "top_n": ' + b"9" * 5_000 + b"}",
    ],
    ids=lambda content: ascii(content[:16]),
)  # fmt: skip
@both_calls
def test_what_is_not_such_an_object_is_refused(reader: httpx.Client, path: str, key: str, content: bytes) -> None:
    assert_error(reader.post(path, content=content, headers=JSON), 422, "invalid_input")


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("/v1/rerank", b"", "The body is empty. Send a JSON object."),
        ("/v1/labels", b"", "The body is empty. Send a JSON object."),
        ("/v1/rerank", b"[]", "The body has to be a JSON object."),
        ("/v1/training-runs", b'"classic"', "The body has to be a JSON object."),
        ("/v1/candidates", b'{"pairs": ["text"]}', "pairs.0: This has to be a JSON object."),
        ("/v1/rerank", b'{"query": "\\ud800", "documents": ["a"]}', "query: half of a surrogate pair is not text."),
    ],
)
def test_what_is_wrong_with_a_body_is_said_in_plain_words(
    reader: httpx.Client, path: str, content: bytes, said: str
) -> None:
    assert assert_error(reader.post(path, content=content, headers=JSON), 422, "invalid_input") == said


def test_a_compressed_body_is_named_as_such(reader: httpx.Client) -> None:
    content = gzip.compress(json.dumps(body("documents")).encode())
    response = reader.post("/v1/rerank", content=content, headers=JSON | {"Content-Encoding": "gzip"})
    assert "compressed" in assert_error(response, 422, "invalid_input")


@pytest.mark.parametrize("headers", [{}, {"Content-Type": "text/plain"}], ids=["none", "text"])
@both_calls
def test_another_content_type_is_refused(reader: httpx.Client, path: str, key: str, headers: dict[str, str]) -> None:
    response = reader.post(path, content=json.dumps(body(key)), headers=headers)
    assert "application/json" in assert_error(response, 422, "invalid_input")


@pytest.mark.parametrize("model", ["", "v99", "../../etc/passwd", "..%2f..%2fetc%2fpasswd", "/etc/passwd", "tiny/.."])
def test_unknown_models_are_not_found(reader: httpx.Client, model: str) -> None:
    message = assert_error(reader.post("/v1/rerank", json=body("documents", model=model)), 404, "not_found")
    assert "send `active` or leave `model` out" in message


@pytest.mark.parametrize(
    "path",
    [
        "/v1", "/v1/", "/v1/nothing", "/v1/rerank/", "/v1/rerank/more", "/v1/models/a/b", "/rerank/", "/health/",
        "/v2", "/v2/rerank/", "/v2/models", "/info/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_unknown_calls_are_not_found(reader: httpx.Client, method: str, path: str) -> None:
    assert_error(reader.request(method, path), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/rerank", "POST"), ("GET", "/v2/rerank", "POST"), ("POST", "/info", "GET"),
        ("DELETE", "/rerank", "POST"), ("POST", "/health", "GET, HEAD"),
        ("PUT", "/v1/labels", "GET, POST"), ("PATCH", "/v1/training-runs/x", "DELETE, GET"),
        ("OPTIONS", "/v1/models", "GET, POST"), ("PROPFIND", "/v1/models", "GET, POST"),
        ("TRACE", "/health", "GET, HEAD"),
    ],
)  # fmt: skip
def test_other_methods_are_not_allowed(reader: httpx.Client, method: str, path: str, allowed: str) -> None:
    response = reader.request(method, path)
    assert_error(response, 405, "method_not_allowed")
    assert ", ".join(sorted(response.headers["allow"].split(", "))) == allowed
