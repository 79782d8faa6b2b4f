"""Another library's reranker, in a process and an environment of its own: they need other versions than the app does.

usage: python -m benchmarks.peer_worker flashrank|fastembed MODEL_DIR

MODEL_DIR holds model.onnx (float32), a tokenizer and config.json. Reads requests, one JSON object {"query", "passages"}
to a line, and answers each with {"seconds", "scores"}. Imports nothing of this project.

FlashRank gets the model in int8, as it ships its own: dynamic quantization by onnxruntime.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

# FlashRank knows models by name; with a directory of this name in its cache it downloads nothing.
FLASHRANK_NAME = "ms-marco-MiniLM-L-12-v2"
FLASHRANK_FILE = "flashrank-MiniLM-L-12-v2_Q.onnx"

Rank = Callable[[str, list[str]], list[float]]


def flashrank(model_dir: Path) -> Rank:
    """FlashRank: all passages padded to the longest, in one batch."""
    from flashrank import Ranker, RerankRequest
    from onnxruntime.quantization import QuantType, quantize_dynamic

    cache = model_dir / "flashrank"
    shutil.rmtree(cache, ignore_errors=True)
    own = cache / FLASHRANK_NAME
    own.mkdir(parents=True)
    for path in [*model_dir.glob("*.json"), *model_dir.glob("*.txt")]:
        shutil.copy(path, own)
    if not (own / "special_tokens_map.json").exists():
        (own / "special_tokens_map.json").write_text("{}")
    quantize_dynamic(model_dir / "model.onnx", own / FLASHRANK_FILE, weight_type=QuantType.QInt8)
    ranker = Ranker(FLASHRANK_NAME, cache_dir=str(cache), max_length=512, log_level="ERROR")

    def rank(query: str, passages: list[str]) -> list[float]:
        # It puts its scores into the passages that it is given, and sorts them.
        rows = [{"id": number, "text": text} for number, text in enumerate(passages)]
        scores = {row["id"]: float(row["score"]) for row in ranker.rerank(RerankRequest(query=query, passages=rows))}
        return [scores[number] for number in range(len(passages))]

    return rank


def fastembed(model_dir: Path) -> Rank:
    """fastembed's cross-encoder: batches of 64, as they come."""
    from fastembed.common.model_description import ModelSource
    from fastembed.rerank.cross_encoder import TextCrossEncoder

    TextCrossEncoder.add_custom_model(
        model="benchmark/model", model_file="model.onnx", sources=ModelSource(hf="benchmark/model")
    )
    model = TextCrossEncoder("benchmark/model", specific_model_path=str(model_dir), threads=os.cpu_count())
    return lambda query, passages: [float(score) for score in model.rerank(query, passages)]


def main(peer: str, model_dir: str) -> None:
    """Serve requests until the input ends."""
    rank = {"flashrank": flashrank, "fastembed": fastembed}[peer](Path(model_dir))
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        started = time.perf_counter()
        scores = rank(request["query"], request["passages"])
        print(json.dumps({"seconds": time.perf_counter() - started, "scores": scores}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
