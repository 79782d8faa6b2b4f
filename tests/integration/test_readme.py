"""What README.md says is so: its commands run, its table names every setting, and it makes this repository a Space."""

from __future__ import annotations

import json
import re
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from gradio_client import Client
from gradio_client.exceptions import AppError
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from reranker.model import Reranker
from reranker.sources import STARTER_DIR
from server.training_schemas import TrainingRequest
from settings import Settings
from tests.serving import ROOT, App, assert_error, ended, loaded_version

README = (ROOT / "README.md").read_text(encoding="utf-8")
FRONT_MATTER = yaml.safe_load(README.split("---")[1])
# The extras of gradio that a Space installs; "" stands for what it needs without any.
EXTRAS = ("", "oauth", "mcp")
# Set by the Space itself, not by whoever configures the app.
NOT_SETTINGS = {"ON_SPACE", "SIGN_IN"}


def http_section() -> str:
    """The bash block that shows the HTTP calls."""
    return re.search(r"^## HTTP\n.*?```bash\n(.*?)```", README, re.DOTALL | re.MULTILINE)[1]  # type: ignore[index]


def test_every_http_line_runs(shared_app: App) -> None:
    url = str(shared_app.client.base_url).rstrip("/")
    script = http_section().replace("http://127.0.0.1:7860", url).replace("curl -s", "curl -sS --fail-with-body")
    before, _, roll_back = script.strip().rpartition("\n")
    done = subprocess.run(
        ["bash", "-euc", f"{before}\necho; echo $RUN"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"relevance_score"' in done.stdout
    run = ended(shared_app.client, done.stdout.split()[-1])
    assert run["promoted"]
    rolled_back = subprocess.run(["bash", "-euc", roll_back], capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(rolled_back.stdout)["active"]


def test_the_starter_ranks_the_example_as_a_reader_would() -> None:
    """Whoever tries it without a network sees what the built-in model says of it."""
    sent = json.loads(re.search(r"/v1/rerank .*?-d '(.*?)'", http_section(), re.DOTALL)[1])  # type: ignore[index]
    ranked = Reranker(STARTER_DIR).rank(sent["query"], sent["documents"])
    assert ranked[0].index == 0
    assert ranked[0].probability > 0.5 > ranked[1].probability


@pytest.mark.parametrize("method", ["QUERY", "PROPFIND", "ANY"])
def test_whatever_the_method_it_is_a_call_that_answers_and_not_the_page_behind(
    shared_app: App, method: str
) -> None:
    assert_error(shared_app.client.request(method, "/v1/rerank"), 405, "method_not_allowed")
    assert_error(shared_app.client.request(method, "/health"), 405, "method_not_allowed")
    assert_error(shared_app.client.request(method, "/v2/nothing"), 404, "not_found")


def test_gradios_own_client_sees_the_same_things(shared_app: App) -> None:
    before = loaded_version(shared_app.client)
    client = Client(str(shared_app.client.base_url), verbose=False)
    ranked = client.predict("a query", ["one passage", "another one"], api_name="/rerank")
    assert sorted(result["index"] for result in ranked) == [0, 1]
    assert client.predict("a query", "one passage", 1, "ada", api_name="/label") == {"saved": 1, "changed": 0}
    assert client.predict("a query", "another one", 0, "ada", api_name="/label") == {"saved": 1, "changed": 0}
    run = client.predict("classic", None, 1, None, None, None, "always", api_name="/train")
    over_http = ended(shared_app.client, run["id"])
    assert over_http["promoted"]
    assert set(run) == set(over_http)
    assert client.predict(run["id"], api_name="/training_run") == over_http
    versions = client.predict(api_name="/models")
    assert versions == shared_app.client.get("/v1/models").json()
    assert (versions[0]["version"], versions[0]["active"]) == (over_http["model_version"], True)
    assert client.predict(api_name="/rollback")["version"] == before
    assert client.predict(over_http["model_version"], api_name="/promote")["active"]


def test_gradios_own_client_finds_every_call_by_its_name(shared_app: App) -> None:
    info = shared_app.client.get("/gradio_api/info").raise_for_status().json()
    assert set(info["named_endpoints"]) == {
        "/rerank", "/label", "/next_task", "/agreement", "/train", "/training_run", "/cancel_training",
        "/resume_training", "/models", "/add_model", "/promote", "/rollback", "/delete_model", "/make_again", "/push",
    }  # fmt: skip
    asked = {parameter["parameter_name"] for parameter in info["named_endpoints"]["/train"]["parameters"]}
    assert asked == {*TrainingRequest.model_fields, "token"}


def test_gradios_own_client_is_told_what_is_wrong(shared_app: App) -> None:
    client = Client(str(shared_app.client.base_url), verbose=False)
    ranked = client.predict("a query", [{"text": "one passage"}, "another one"], api_name="/rerank")
    assert sorted(result["index"] for result in ranked) == [0, 1]
    assert client.predict("a query", "one passage", 1, api_name="/label") == {"saved": 1, "changed": 0}
    for arguments, name, message in (
        (("a query", "abc"), "/rerank", "documents: Input should be a valid list"),
        ((5, ["one"]), "/rerank", "query: Input should be a valid string"),
        (("a query", None, 1, "ada"), "/label", "passage: Input should be a valid string"),
        (([],), "/next_task", "annotator: Input should be a valid string"),
        (("classic", None, 0), "/train", "epochs: Input should be greater than or equal to 1"),
    ):
        with pytest.raises(AppError, match=message):
            client.predict(*arguments, api_name=name)


def test_the_table_names_every_setting(tmp_path: Path) -> None:
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", README, re.MULTILINE))
    known = set(re.findall(r"\b([A-Z_]+)=", Settings.from_env({"DATA_DIR": str(tmp_path)}).describe()))
    assert documented == known - NOT_SETTINGS


def test_the_front_matter_makes_it_a_space() -> None:
    pinned = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    assert FRONT_MATTER["sdk"] == "gradio"
    assert FRONT_MATTER["sdk_version"] == pinned["gradio"]
    assert (ROOT / FRONT_MATTER["app_file"]).is_file()
    assert FRONT_MATTER["python_version"] == "3.11"
    assert FRONT_MATTER["models"] == ["cross-encoder/ms-marco-MiniLM-L6-v2"]


def test_a_space_can_install_what_is_pinned() -> None:
    """A Space installs requirements.txt and gradio[oauth,mcp] at once: one that the other rules out ends the build."""
    pinned = dict(line.split("==") for line in (ROOT / "requirements.txt").read_text().splitlines() if "==" in line)
    named = {canonicalize_name(name): version for name, version in pinned.items()}
    asked = [Requirement(line) for line in metadata.requires("gradio") or []]
    of_a_space = [one for one in asked if not one.marker or any(one.marker.evaluate({"extra": e}) for e in EXTRAS)]
    assert {one.name for one in of_a_space} >= {"pydantic", "itsdangerous", "mcp"}
    ruled_out = [
        f"{one} is not {named[canonicalize_name(one.name)]}"
        for one in of_a_space
        if canonicalize_name(one.name) in named and named[canonicalize_name(one.name)] not in one.specifier
    ]
    assert ruled_out == []


def test_a_space_is_not_pushed_to_by_git() -> None:
    """The Hub turns away a push with files that are not text, and the starter model is such."""
    section = README.partition("## On a Hugging Face Space")[2].partition("\n## ")[0]
    assert "git push" not in section.replace("`git push`", "")
    assert "hf upload YOU/rerank-workbench" in section


def test_every_file_that_it_shows_is_there() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)]+)\)", README)
    assert links
    assert [link for link in links if not is_there(*link.partition("#")[::2])] == []


def is_there(path: str, section: str) -> bool:
    """Whether this file is there, and in it the section that a link names after "#"."""
    if not section:
        return (ROOT / path).exists()
    headings = re.findall(r"^#+ (.*)$", (ROOT / path).read_text(encoding="utf-8"), re.MULTILINE)
    return section in [heading.lower().replace(" ", "-") for heading in headings]
