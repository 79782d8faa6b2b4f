"""Which engine scores, that it scores right, and what is kept of it from one start to the next."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from errors import UnusableModel
from reranker import loading
from reranker import model as model_module
from reranker.conversions import LoadedModel, forget_oldest
from reranker.engine import Plan
from reranker.loading import LAST_RESORT, PLANS, RanksDiffer, check_lists, compare_ranks, load_model
from reranker.model import Reranker
from reranker.sources import STARTER_DIR
from settings import ENGINES
from tests.serving import eventually

ROOT = Path(__file__).parents[2]
PAIRS = [
    ("what crosses a river", "A bridge crosses a river."),
    ("what crosses a river", "The best music for a winter garden. " * 80),
    ("summer", ""),
    ("how high is the old stone bridge", "It has stood since 1566 and is 24 metres high."),
]


def plain_scores(path: Path) -> np.ndarray:
    model = CrossEncoder(str(path), activation_fn=torch.nn.Identity(), local_files_only=True)
    return model.predict(PAIRS, show_progress_bar=False)


def test_the_setting_names_what_there_is() -> None:
    assert set(ENGINES) == {loading.AUTO, *loading.LIBRARIES, *PLANS}


@pytest.mark.parametrize("engine", ["openvino-float32", "torch-float32", "sentence-transformers"])
@pytest.mark.parametrize("model", ["tiny", "starter"])
def test_scores_are_those_of_plain_sentence_transformers(engine: str, model: str, model_dir: Path) -> None:
    path = model_dir if model == "tiny" else STARTER_DIR
    reranker = Reranker(path, engine=engine)
    assert reranker.loaded.engine.plan == PLANS[engine]
    assert reranker.scores(PAIRS) == pytest.approx(plain_scores(path).tolist(), abs=1e-4)


def test_half_precision_ranks_as_float32_does() -> None:
    reranker = Reranker(STARTER_DIR, engine="torch-bfloat16")
    assert reranker.loaded.engine.plan == PLANS["torch-bfloat16"]
    assert "orders are the same" in reranker.loaded.reason
    assert reranker.scores(PAIRS) == pytest.approx(plain_scores(STARTER_DIR).tolist(), abs=0.3)


def test_the_choice_is_explained(model_dir: Path) -> None:
    loaded = load_model(model_dir)
    assert loaded.engine.plan.backend == "openvino"
    assert "Checked against plain sentence-transformers on 43 pairs" in loaded.reason


def test_without_openvino_torch_scores(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = loading.importlib.util.find_spec
    monkeypatch.setattr(loading.importlib.util, "find_spec", lambda name: None if name == "openvino" else find(name))
    assert load_model(model_dir).engine.plan.backend == "torch"


def test_an_engine_that_cannot_be_built_is_passed_over_with_the_reason(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("this operation is not supported\nand much more")

    monkeypatch.setattr(loading.engines, "convert", fail)
    loaded = load_model(model_dir)
    assert loaded.engine.plan.backend == "torch"
    assert "OpenVINO in float32 is not used: this operation is not supported." in loaded.reason
    assert "this operation is not supported" in caplog.messages[0] and "much more" not in caplog.messages[0]
    # What a maintainer needs to find the fault.
    assert caplog.records[0].exc_info


def test_an_engine_that_ranks_differently_is_passed_over(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(loading.OpenVINOEngine):
        """Gives each pair the score that another should have."""

        def score(self, pairs) -> np.ndarray:  # noqa: ANN001
            return -super().score(pairs)

    monkeypatch.setattr(loading, "OpenVINOEngine", Wrong)
    loaded = load_model(model_dir)
    assert loaded.engine.plan.backend == "torch"
    assert "It puts another passage first than float32 does" in loaded.reason


def test_a_damaged_model_is_no_model(model_dir: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    damaged = tmp_path / "damaged"
    shutil.copytree(model_dir, damaged)
    weights = load_file(damaged / "model.safetensors")
    weights["classifier.weight"][:] = float("nan")
    save_file(weights, damaged / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnusableModel, match="not numbers"):
        load_model(damaged)


def saved_as(dtype: torch.dtype, model_dir: Path, directory: Path) -> Path:
    """The model with its weights in another precision."""
    shutil.copytree(model_dir, directory)
    BertForSequenceClassification.from_pretrained(model_dir).to(dtype).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("engine", ["auto", "torch-float32", "sentence-transformers"])
def test_a_model_that_was_saved_in_half_precision_scores_as_in_float32(
    dtype: torch.dtype, engine: str, model_dir: Path, tmp_path: Path
) -> None:
    half = saved_as(dtype, model_dir, tmp_path / "half")
    expected = Reranker(model_dir, engine="sentence-transformers").scores(PAIRS)
    for at_once in (False, True):
        assert Reranker(half, engine=engine, at_once=at_once).scores(PAIRS) == pytest.approx(expected, abs=0.05)


def test_right_orders_by_wrong_scores_are_no_agreement() -> None:
    right = [np.linspace(-4, 4, 20)]
    assert "20 pairs" in compare_ranks(right, [right[0] + 0.01])
    with pytest.raises(RanksDiffer, match="off by up to 2"):
        compare_ranks(right, [right[0] / 2])


@pytest.mark.parametrize("claims", ["BertModel", "BertForSequenceClassification"])
def test_an_encoder_without_a_classifier_is_no_reranker(claims: str, model_dir: Path, tmp_path: Path) -> None:
    encoder = tmp_path / "encoder"
    shutil.copytree(model_dir, encoder)
    BertForSequenceClassification.from_pretrained(model_dir).bert.save_pretrained(encoder)
    config = json.loads((encoder / "config.json").read_text())
    (encoder / "config.json").write_text(json.dumps(config | {"architectures": [claims]}))
    for at_once in (False, True):
        with pytest.raises(UnusableModel, match=r"no weights for what gives the score \(classifier.weight\)"):
            Reranker(encoder, at_once=at_once)


# Conversions that are kept


def test_a_kept_conversion_scores_without_torch(model_dir: Path, tmp_path: Path) -> None:
    first = Reranker(model_dir, conversions=tmp_path / "engines")
    script = f"""
import json, sys
from pathlib import Path
from reranker.model import Reranker
reranker = Reranker(Path({str(model_dir)!r}), conversions=Path({str(tmp_path / "engines")!r}))
scores = reranker.scores({PAIRS!r})
heavy = sorted({{"torch", "transformers", "sentence_transformers"}} & set(sys.modules))
print(json.dumps([scores, heavy, reranker.loaded.reason, reranker.max_tokens]))
"""
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    scores, heavy, reason, max_tokens = json.loads(process.stdout)
    kept = [path.read_text() for path in (tmp_path / "engines").glob("*/engine.json")]
    assert heavy == [], (first.loaded.reason, kept, process.stderr[-2000:])
    assert scores == pytest.approx(first.scores(PAIRS), abs=1e-5)
    assert (reason, max_tokens) == (first.loaded.reason, first.max_tokens)


def test_models_that_are_loaded_side_by_side_are_all_converted(model_dir: Path) -> None:
    with ThreadPoolExecutor(3) as threads:
        loaded = list(threads.map(lambda _: load_model(model_dir, "openvino-float32"), range(6)))
    assert {str(model.engine.plan) for model in loaded} == {"OpenVINO in float32"}


def test_converting_starts_no_process_and_tells_nobody(model_dir: Path) -> None:
    script = """
import os, sys
from pathlib import Path
forks = []
os.register_at_fork(before=lambda: forks.append(1))
from reranker.loading import load_model
print(load_model(Path(sys.argv[1]), "openvino-float32").engine.plan, len(forks))
"""
    # Their own switch for tests would hide what people get.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    command = [sys.executable, "-c", script, str(model_dir)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "OpenVINO in float32 0"


@pytest.mark.parametrize("damage", ["weights", "facts", "tokenizer"])
def test_a_damaged_conversion_is_made_again(model_dir: Path, tmp_path: Path, damage: str) -> None:
    first = Reranker(model_dir, conversions=tmp_path)
    name = {"weights": "model.xml", "facts": "engine.json", "tokenizer": "tokenizer.json"}[damage]
    [kept] = tmp_path.glob(f"*/{name}")
    kept.write_text("{", encoding="utf-8")
    again = Reranker(model_dir, conversions=tmp_path)
    assert again.scores(PAIRS) == first.scores(PAIRS)
    assert kept.read_text(encoding="utf-8") != "{"


def test_a_conversion_for_another_setting_or_machine_is_not_used(model_dir: Path, tmp_path: Path) -> None:
    load_model(model_dir, conversions=tmp_path)
    [kept] = tmp_path.glob("*/engine.json")
    facts = json.loads(kept.read_text())
    kept.write_text(json.dumps({**facts, "reason": "kept"}))
    assert load_model(model_dir, conversions=tmp_path).reason == "kept"
    assert load_model(model_dir, "openvino-float32", tmp_path).reason != "kept"
    kept.write_text(json.dumps({**facts, "reason": "kept", "made_for": {**facts["made_for"], "processor": "other"}}))
    assert load_model(model_dir, conversions=tmp_path).reason != "kept"


def test_other_weights_are_another_conversion(model_dir: Path, other_model_dir: Path, tmp_path: Path) -> None:
    one = Reranker(model_dir, conversions=tmp_path).scores(PAIRS)
    other = Reranker(other_model_dir, conversions=tmp_path).scores(PAIRS)
    assert one != other
    assert Reranker(model_dir, conversions=tmp_path).scores(PAIRS) == one
    assert len(list(tmp_path.glob("*/engine.json"))) == 2


def test_only_the_conversions_used_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(6):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "engine.json").write_text("{}")
        os.utime(tmp_path / str(number) / "engine.json", (number, number))
    forget_oldest(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2", "3", "4", "5"]


def test_what_a_process_left_that_was_ended_while_it_wrote_goes(tmp_path: Path) -> None:
    for name in ("unfinished-old", "unfinished-under-way"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.bin").write_bytes(b"half of it")
    os.utime(tmp_path / "unfinished-old", (0, 0))
    forget_oldest(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["unfinished-under-way"]


# The check


def test_the_check_has_dozens_of_pairs_and_one_that_is_too_long() -> None:
    lists = check_lists()
    assert sum(map(len, lists)) >= 36
    assert max(len(passage.split()) for pairs in lists for _, passage in pairs) > 380


def test_ranks_that_agree() -> None:
    right = [np.array([3.0, 1.0, 2.0]), np.array([0.1, 0.2])]
    sentence = compare_ranks(right, [right[0] + 0.01, right[1]])
    assert "5 pairs: 4 of 4 orders" in sentence and "at most 0.0100" in sentence


def test_passages_that_score_alike_may_change_places() -> None:
    right, given = np.array([5.0, -11.20, -11.21, -11.22]), np.array([5.0, -11.22, -11.21, -11.20])
    assert "3 of 3 orders" in compare_ranks([right], [given])


@pytest.mark.parametrize("given", [[4.0, 1.0, 2.0, 3.0], [4.0, 3.0, float("nan"), 1.0], [1.0, 1.0, 1.0, 1.0]])
def test_ranks_that_do_not(given: list[float]) -> None:
    with pytest.raises(RanksDiffer):
        compare_ranks([np.array([4.0, 3.0, 2.0, 1.0])], [np.array(given)])


def test_one_list_that_differs_is_enough() -> None:
    right = np.arange(20.0)
    with pytest.raises(RanksDiffer, match="another passage first"):
        compare_ranks([right, right], [right, right[::-1]])


def test_the_top_alone_is_not_enough() -> None:
    right = np.arange(20.0)
    with pytest.raises(RanksDiffer, match="of 190 passages in another order"):
        compare_ranks([right], [np.array([*right[:19][::-1], 19.0])])


def test_a_model_that_gives_all_passages_the_same_score_may_be_scored_by_any_engine() -> None:
    assert "0 of 0 orders" in compare_ranks([np.ones(5)], [np.ones(5)])


def test_the_last_resort_is_the_library_itself() -> None:
    assert Plan("sentence-transformers", "float32") == LAST_RESORT


# Scoring at once, and faster later


def wait_until_prepared(reranker: Reranker) -> None:
    for thread in threading.enumerate():
        if thread.name == "prepare-engine":
            thread.join(120)


@pytest.mark.parametrize("model", ["tiny", pytest.param("starter", marks=pytest.mark.slow)])
def test_it_scores_at_once_and_faster_later(
    model: str, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def convert_here(*_: object) -> None:
        raise AssertionError("Every request would wait for this; a process of its own converts.")

    monkeypatch.setattr(loading.engines, "convert", convert_here)
    path = model_dir if model == "tiny" else STARTER_DIR
    reranker = Reranker(path, conversions=tmp_path, at_once=True)
    assert reranker.loaded.engine.plan == PLANS["torch-float32"]
    right = plain_scores(path).tolist()
    assert reranker.scores(PAIRS) == pytest.approx(right, abs=1e-4)
    wait_until_prepared(reranker)
    plan = reranker.loaded.engine.plan
    assert plan.backend == "openvino"
    reranker._known.clear()
    # Where the processor multiplies in bfloat16, scores are a little coarser; ranks were checked when it was prepared.
    assert reranker.scores(PAIRS) == pytest.approx(right, abs=1e-4 if plan.precision == "float32" else 0.1)
    # The next time what was prepared is there at once.
    assert Reranker(path, conversions=tmp_path, at_once=True).loaded.engine.plan.backend == "openvino"


def save_with_template(path: Path, model_dir: Path) -> None:
    """A model that is asked in the words of a template, as those made from chat models are."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.chat_template = "{% for message in messages %}music {{ message['content'] }} {% endfor %}"
    tokenizer.save_pretrained(path)
    torch.manual_seed(1)
    sizes = {"vocab_size": len(tokenizer), "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "num_key_value_heads": 2, "pad_token_id": tokenizer.pad_token_id}
    config = Qwen2Config(**sizes, num_labels=1, initializer_range=0.5)
    Qwen2ForSequenceClassification(config).save_pretrained(path)


@pytest.mark.parametrize("odd", ["prompt", "template", "padding_side", "truncation_side"])
def test_a_model_that_reads_pairs_in_its_own_way_is_read_so_from_the_start(
    odd: str, model_dir: Path, tmp_path: Path
) -> None:
    path = tmp_path / "odd"
    if odd == "prompt":
        asked = {"prompts": {"search": "music in the garden: "}, "default_prompt_name": "search"}
        CrossEncoder(str(model_dir), activation_fn=torch.nn.Identity(), **asked).save_pretrained(str(path))
    elif odd == "template":
        save_with_template(path, model_dir)
    else:
        settings = shutil.copytree(model_dir, path) / "tokenizer_config.json"
        settings.write_text(json.dumps(json.loads(settings.read_text()) | {odd: "left"}))
    expected = plain_scores(path).tolist()
    assert Reranker(path, at_once=True).scores(PAIRS) == pytest.approx(expected, abs=1e-4)
    # What a training is held to.
    model = CrossEncoder(str(path), activation_fn=torch.nn.Identity(), local_files_only=True)
    assert loading.logits(model, PAIRS).tolist() == pytest.approx(expected, abs=1e-4)


def test_what_the_process_that_converts_cannot_keep_is_converted_here(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "SECONDS_BEFORE_PREPARING", 0.0)
    (tmp_path / "a file").write_text("no directory can be made in this")
    reranker = Reranker(model_dir, conversions=tmp_path / "a file" / "engines", at_once=True)
    wait_until_prepared(reranker)
    assert reranker.loaded.engine.plan.backend == "openvino"


def test_closing_ends_the_process_that_converts(
    model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def converting() -> list[psutil.Process]:
        children = psutil.Process().children()
        return [child for child in children if "reranker.convert" in child.cmdline()]

    monkeypatch.setattr(model_module, "SECONDS_BEFORE_PREPARING", 0.0)
    reranker = Reranker(model_dir, conversions=tmp_path, at_once=True)
    eventually(converting, "the process has begun")
    reranker.close()
    assert not converting()
    assert not list(tmp_path.iterdir())
    assert reranker.loaded.engine.plan == PLANS["torch-float32"]


def test_where_nothing_faster_can_be_prepared_it_goes_on(
    model_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise MemoryError("the memory ran out")

    monkeypatch.setattr(model_module, "load_model", fail)
    reranker = Reranker(model_dir, at_once=True)
    wait_until_prepared(reranker)
    assert "No faster engine could be prepared: the memory ran out" in reranker.loaded.reason
    assert reranker.scores(PAIRS) == pytest.approx(plain_scores(model_dir).tolist(), abs=1e-4)
    assert "the memory ran out" in caplog.text


def test_what_cannot_be_used_is_refused_at_once_too(model_dir: Path, tmp_path: Path) -> None:
    two_outputs = tmp_path / "two"
    sizes = {"vocab_size": 200, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = BertForSequenceClassification(BertConfig(**sizes, intermediate_size=8, num_labels=2))
    model.save_pretrained(two_outputs)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        shutil.copy(model_dir / name, two_outputs)
    with pytest.raises(UnusableModel, match="has 2 outputs"):
        Reranker(two_outputs, at_once=True)


def test_closing_waits_for_what_is_being_prepared(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "SECONDS_BEFORE_PREPARING", 0.0)
    begun, prepared = threading.Event(), threading.Event()

    def load(*arguments: object) -> LoadedModel:
        begun.set()
        loaded = load_model(*arguments)  # type: ignore[arg-type]
        prepared.set()
        return loaded

    monkeypatch.setattr(model_module, "load_model", load)
    reranker = Reranker(model_dir, at_once=True)
    assert begun.wait(60)
    reranker.close()
    assert prepared.is_set()


def test_closing_before_it_has_begun_prepares_nothing(model_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "SECONDS_BEFORE_PREPARING", 3600.0)
    reranker = Reranker(model_dir, at_once=True)
    reranker.close()
    wait_until_prepared(reranker)
    assert reranker.loaded.engine.plan == PLANS["torch-float32"]
