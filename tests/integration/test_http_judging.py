"""The Label tab's calls over HTTP: errors in the one shape, and nobody else's page may send them."""

from __future__ import annotations

import json

from tests.serving import App, assert_error


def test_the_pages_own_calls(app: App) -> None:
    client = app.client
    client.post("/v1/candidates", json={"pairs": [{"query": "q", "passage": "p"}]}).raise_for_status()
    said = {"annotator": " anna ", "strategy": "oldest", "want": 2}
    answer = client.post("/judging/pairs", json=said).raise_for_status().json()
    [task] = answer["tasks"]
    assert "<section" in task["html"] and "empty" in answer

    # An HTML form of another page can send text, but no JSON.
    press = {"annotator": "anna", "key": task["key"], "state": "relevant", "press": "1"}
    plain = {"Content-Type": "text/plain", "Origin": "http://elsewhere.example"}
    assert_error(client.post("/judging/judge", content=json.dumps(press), headers=plain), 422, "invalid_input")
    asked = client.options(
        "/judging/judge",
        headers={"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "content-type"},
    )  # fmt: skip
    assert "access-control-allow-origin" not in asked.headers

    assert "of <b>1</b><" in client.post("/judging/team", json={}).raise_for_status().json()["progress"]
    assert_error(client.post("/judging/pairs", json={**said, "annotator": "  "}), 422, "invalid_input")
    assert_error(client.post("/judging/judge", json={**press, "state": "perhaps"}), 422, "invalid_input")
    json_type = {"Content-Type": "application/json"}
    for call, body in (
        ("undo", '"event": 1180591620717411303424'), ("judge", '"key": ["\\ud800", "a"], "state": "relevant"'),
        ("pairs", '"keys": [["\\ud800", "x"]]'), ("next_query", '"query": "\\ud800"'),
    ):  # fmt: skip
        answer = client.post(f"/judging/{call}", content=f'{{"annotator": "ada", {body}}}', headers=json_type)
        assert_error(answer, 422, "invalid_input")
    for method in ("GET", "POST"):
        assert_error(client.request(method, "/judging/nothing"), 404, "not_found")
    assert_error(client.post("/judging/judge", json={**press, "key": ["no", "pair"]}), 404, "not_found")
    assert_error(client.post("/judging/pairs", content=b"x" * 11_000_000), 413, "too_large")
    for _ in range(2):
        answer = client.post("/judging/judge", json=press).raise_for_status().json()
        assert answer["rows"][0]["state"] == "relevant"
    labels = [json.loads(line) for line in client.get("/v1/labels").text.splitlines()]
    assert [(row["annotator"], row["label"]) for row in labels] == [("anna", 1)]
