"""The rerankers that are timed beside each other: the app's own, plain sentence-transformers, and other libraries."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import CrossEncoder
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from reranker.loading import cpu_precision
from reranker.model import Reranker

ROOT = Path(__file__).resolve().parent.parent
PEER_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
PEERS = ("flashrank", "fastembed")
NAMES = {"flashrank": "FlashRank (int8 ONNX, one padded batch)", "fastembed": "fastembed (ONNX, batches of 64)"}


@dataclass(frozen=True)
class Timed:
    """A reranker under measurement. `rank` gives the seconds that it took, and the (N,) scores.

    `dtype` is what it multiplies in, None where torch has no such product to measure it by.
    """

    name: str
    rank: Callable[[str, list[str]], tuple[float, np.ndarray]]
    dtype: torch.dtype | None = torch.float32


def timed(name: str, score: Callable[[str, list[str]], np.ndarray], dtype: torch.dtype) -> Timed:
    """A reranker of this process."""

    def rank(query: str, passages: list[str]) -> tuple[float, np.ndarray]:
        started = time.perf_counter()
        scores = score(query, passages)
        return time.perf_counter() - started, np.asarray(scores)

    return Timed(name, rank, dtype)


def plain(path: Path, batch_size: int, dtype: torch.dtype = torch.float32) -> Timed:
    """`CrossEncoder.predict`."""
    model = CrossEncoder(str(path), device="cpu", activation_fn=torch.nn.Identity(), model_kwargs={"dtype": dtype})
    precision = str(dtype).removeprefix("torch.")

    def score(query: str, passages: list[str]) -> np.ndarray:
        pairs = [(query, passage) for passage in passages]
        return model.predict(pairs, batch_size=batch_size, show_progress_bar=False)

    return timed(f"CrossEncoder.predict, {precision}, batch {batch_size}", score, dtype)


def ours(path: Path, engine: str) -> Timed:
    """The app's own, tokenizing and queueing included, without what it remembers of earlier requests."""
    reranker = Reranker(path, engine=engine)

    def score(query: str, passages: list[str]) -> np.ndarray:
        reranker._known.clear()
        return np.array(reranker.scores([(query, passage) for passage in passages]))

    plan = reranker.loaded.engine.plan
    return timed(f"Rerank Workbench: {plan}", score, getattr(torch, plan.precision))


def other_library(peer: str, model_dir: Path, stack: ExitStack) -> Timed:
    """A library in a process of its own, which ends with `stack`."""
    process = stack.enter_context(
        subprocess.Popen(
            [PEER_PYTHON, "-m", "benchmarks.peer_worker", peer, str(model_dir)],
            cwd=ROOT,
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    )
    assert process.stdin and process.stdout
    stack.callback(process.stdin.close)

    def ask(request: dict | None) -> dict:
        if request is not None:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            raise RuntimeError(f"{peer} ended by itself")
        return json.loads(answer)

    ask(None)

    def rank(query: str, passages: list[str]) -> tuple[float, np.ndarray]:
        answer = ask({"query": query, "passages": passages})
        return answer["seconds"], np.array(answer["scores"])

    return Timed(NAMES[peer], rank, None if peer == "flashrank" else torch.float32)


def all_rerankers(path: Path, stack: ExitStack) -> list[Timed]:
    """Everything that is measured for a model, what it is compared with first."""
    rerankers = [plain(path, 32), plain(path, 8)]
    if cpu_precision() == "bfloat16":
        rerankers.append(plain(path, 8, torch.bfloat16))
    if PEER_PYTHON.exists():
        exported = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        export_onnx(path, exported)
        rerankers += [other_library(peer, exported, stack) for peer in PEERS]
    rerankers.append(ours(path, "auto"))
    return rerankers


def export_onnx(path: Path, out: Path) -> None:
    """Write the model in `path` as `model.onnx`, for batches of any size and length, with its tokenizer."""
    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    model.set_attn_implementation("eager")
    tokenizer = AutoTokenizer.from_pretrained(path)
    tokenizer.save_pretrained(out)
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.save_pretrained(out)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tokenizer(["a query"] * 2, ["a passage", "another passage"], padding=True, return_tensors="pt")
    torch.onnx.export(
        model,
        tuple(example[name] for name in names),
        str(out / "model.onnx"),
        input_names=names,
        output_names=["logits"],
        dynamic_axes={name: {0: "batch", 1: "length"} for name in names} | {"logits": {0: "batch"}},
        opset_version=17,
        dynamo=False,
    )


def six_layers_of(teacher: Path, out: Path) -> Path:
    """A model of the shape of ms-marco-MiniLM-L6-v2 in `out`: every other layer of its twelve-layer sister."""
    model = AutoModelForSequenceClassification.from_pretrained(teacher)
    model.bert.encoder.layer = torch.nn.ModuleList(list(model.bert.encoder.layer)[::2])
    model.config.num_hidden_layers = len(model.bert.encoder.layer)
    model.save_pretrained(out)
    AutoTokenizer.from_pretrained(teacher).save_pretrained(out)
    return out
