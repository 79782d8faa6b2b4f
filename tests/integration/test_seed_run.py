"""The two pairs that the project started from, the whole way: label, train with the classic recipe, promote, roll back.

The model card of the run has to say what that of the original run says (shared/seed/model_card.md).
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from services import Services
from tests.conftest import make_settings
from tests.serving import ROOT, ended, eventually, label, serving

SEED = ROOT.parent / "shared" / "seed"

pytestmark = pytest.mark.skipif(
    not (SEED / "pairs.jsonl").is_file(), reason="the seed pairs are not beside the checkout"
)


@dataclass(frozen=True)
class SeedRun:
    """What there was to see before, during and after the run."""

    client: httpx.Client
    pairs: list[tuple[str, str]]
    before: dict[int, float]
    run: dict[str, Any]
    base: dict[str, Any]
    model_dir: Path

    @property
    def card(self) -> str:
        return (self.model_dir / "README.md").read_text(encoding="utf-8")


def scores(client: httpx.Client, pairs: list[tuple[str, str]]) -> dict[int, float]:
    body = {"query": pairs[0][0], "texts": [passage for _, passage in pairs], "raw_scores": True}
    return {rank["index"]: rank["score"] for rank in client.post("/rerank", json=body).raise_for_status().json()}


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeedRun]:
    rows = [json.loads(line) for line in (SEED / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
    pairs = [(row["query"], row["passage"]) for row in rows]
    with serving(Services.build(make_settings(tmp_path_factory.mktemp("seed"), Path("starter")))) as client:
        eventually(lambda: client.get("/health").json()["status"] == "ok", "the model is loaded")
        before = scores(client, pairs)
        label(client, *((query, passage, place) for place, (query, passage) in enumerate(pairs)))
        response = client.post("/v1/training-runs", json={"recipe": "classic", "promote": "always"})
        assert response.status_code == 202, response.text
        run = ended(client, response.json()["id"])
        assert run["status"] == "succeeded", run
        versions = {item["version"]: item for item in client.get("/v1/models").json()}
        model_dir = tmp_path_factory.mktemp("unpacked")
        archive = client.get(f"/v1/models/{run['model_version']}/download").raise_for_status().content
        zipfile.ZipFile(io.BytesIO(archive)).extractall(model_dir)
        yield SeedRun(client, pairs, before, run, versions[versions[run["model_version"]]["base"]], model_dir)


def front_matter(card: str) -> dict[str, Any]:
    return yaml.safe_load(card.split("---\n")[1])


def hyperparameters(card: str, heading: str) -> dict[str, str]:
    part = card.partition(f"#### {heading}\n")[2]
    part = re.split(r"\n####? |</details>", part)[0]
    return dict(re.findall(r"^- `(\w+)`: (.*)$", part, re.MULTILINE))


def test_the_new_model_answers_without_a_restart(seed: SeedRun) -> None:
    assert seed.run["promoted"] is True
    assert seed.client.get("/health").json()["model"]["version"] == seed.run["model_version"]
    body = {"query": seed.pairs[0][0], "documents": [passage for _, passage in seed.pairs]}
    assert seed.client.post("/v1/rerank", json=body).json()["model"] == seed.run["model_version"]
    after = scores(seed.client, seed.pairs)
    assert all(abs(after[index] - seed.before[index]) > 1e-3 for index in seed.before)
    assert after[1] - after[0] > seed.before[1] - seed.before[0], "it has learned which of the two is relevant"


def test_the_run_took_three_steps(seed: SeedRun) -> None:
    assert (seed.run["step"], seed.run["total_steps"], seed.run["error"]) == (3, 3, None)


def test_the_card_begins_as_the_original(seed: SeedRun) -> None:
    original = front_matter((SEED / "model_card.md").read_text(encoding="utf-8"))
    ours = front_matter(seed.card)
    assert ours["tags"] == original["tags"]
    assert ours["base_model"] == seed.base["name"]
    assert ours["pipeline_tag"] == original["pipeline_tag"] == "text-ranking"
    assert ours["library_name"] == original["library_name"] == "sentence-transformers"


def test_the_card_describes_the_training_set(seed: SeedRun) -> None:
    assert "* Size: 2 training samples\n" in seed.card
    assert "* Columns: <code>sentence_0</code>, <code>sentence_1</code>, and <code>label</code>\n" in seed.card
    statistics = seed.card.partition("* Approximate statistics based on the first 2 samples:\n")[2].partition("* Sa")[0]
    (details,) = [line for line in statistics.splitlines() if line.strip().startswith("| details")]
    assert details.count("<li>min: ") == details.count("<li>mean: ") == details.count("<li>max: ") == 3
    assert details.rstrip(" |").endswith("<ul><li>min: 0.0</li><li>mean: 0.5</li><li>max: 1.0</li></ul>")
    samples = seed.card.partition("* Samples:\n")[2].partition("* Loss:")[0]
    for _, passage in seed.pairs:
        assert passage.splitlines()[0][:60] in samples


def test_the_card_names_the_loss(seed: SeedRun) -> None:
    loss = seed.card.partition("* Loss: [<code>BinaryCrossEntropyLoss</code>]")[2]
    parameters = json.loads(loss.partition("```json\n")[2].partition("```")[0])
    assert parameters == {"activation_fn": "torch.nn.modules.linear.Identity", "pos_weight": None}


def test_the_card_has_the_original_hyperparameters(seed: SeedRun) -> None:
    original = (SEED / "model_card.md").read_text(encoding="utf-8")
    changed = hyperparameters(seed.card, "Non-Default Hyperparameters")
    assert changed == {"per_device_train_batch_size": "16", "per_device_eval_batch_size": "16"}
    assert changed == hyperparameters(original, "Non-Default Hyperparameters")
    ours, theirs = (hyperparameters(card, "All Hyperparameters") for card in (seed.card, original))
    for name, value in {
        "learning_rate": "5e-05", "num_train_epochs": "3", "seed": "42", "lr_scheduler_type": "linear",
        "warmup_steps": "0", "weight_decay": "0.0", "adam_beta1": "0.9", "adam_beta2": "0.999", "adam_epsilon": "1e-08",
        "gradient_accumulation_steps": "1", "label_smoothing_factor": "0.0", "fp16": "False", "bf16": "False",
    }.items():  # fmt: skip
        assert ours[name] == theirs[name] == value
    # Newer releases take the fused kernel of the same optimizer, write 1 as 1.0 and no share of warm-up as None.
    assert ours["optim"].startswith(theirs["optim"])
    assert float(ours["max_grad_norm"]) == float(theirs["max_grad_norm"]) == 1
    assert ours["warmup_ratio"] in ("0.0", "None")


def test_the_card_names_versions_and_whom_to_cite(seed: SeedRun) -> None:
    part = seed.card.partition("### Framework Versions\n")[2]
    versions = re.findall(r"^- ([\w ]+): [\w.+]+$", part, re.MULTILINE)
    names = ["Python", "Sentence Transformers", "Transformers", "PyTorch", "Accelerate", "Datasets", "Tokenizers"]
    assert versions == names
    assert "@inproceedings{reimers-2019-sentence-bert," in seed.card.partition("## Citation\n")[2]


def test_the_download_is_a_plain_cross_encoder(seed: SeedRun) -> None:
    from sentence_transformers import CrossEncoder

    model = CrossEncoder(str(seed.model_dir))
    assert model.predict(seed.pairs).shape == (2,)
    ranks = model.rank(seed.pairs[0][0], [passage for _, passage in seed.pairs])
    assert [set(rank) for rank in ranks] == [{"corpus_id", "score"}] * 2
    served = scores(seed.client, seed.pairs)
    assert [rank["corpus_id"] for rank in ranks] == sorted(served, key=lambda index: -served[index])


def test_rolling_back_restores_the_scores(seed: SeedRun) -> None:
    trained = scores(seed.client, seed.pairs)
    assert seed.client.post("/v1/models/rollback").json()["version"] == seed.base["version"]
    assert scores(seed.client, seed.pairs) == pytest.approx(seed.before, abs=1e-6)
    seed.client.post(f"/v1/models/{seed.run['model_version']}/promote").raise_for_status()
    assert scores(seed.client, seed.pairs) == pytest.approx(trained, abs=1e-6)
