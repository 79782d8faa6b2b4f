"""The starter on real queries with human judgments that it was not trained on."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from distillation.evaluate import cross_encoder, mean_ndcg, scores_of
from distillation.judged import read_judged
from reranker.sources import STARTER_DIR
from services import Services
from tests.conftest import make_settings
from tests.serving import ROOT, ended, eventually, label, serving

DATA = ROOT.parent / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the judged queries are not beside the checkout")
@pytest.mark.parametrize(("name", "pairs"), [("trec_dl21", None), ("stackfaq", 2000), ("med", 1000)])
def test_it_ranks_better_than_bm25(name: str, pairs: int | None, tmp_path: Path) -> None:
    judged = read_judged(DATA / name, pairs)
    bm25 = mean_ndcg(judged)
    if name == "trec_dl21":
        # As published for this list, so the measure is right.
        assert bm25 == pytest.approx(0.4458, abs=0.0005)
    starter = mean_ndcg(judged, scores_of(cross_encoder("starter", str(STARTER_DIR), torch.float32), judged, tmp_path))
    print(f"nDCG@10 on {name}: BM25 {bm25:.4f}, starter {starter:.4f}")
    assert starter > bm25


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the judged queries are not beside the checkout")
@pytest.mark.parametrize("queries", [10, 50])
def test_it_learns_from_few_labels(queries: int, tmp_path: Path) -> None:
    """Ten labels for each query: the order of what was labelled gets better."""
    judged = [query for query in read_judged(DATA / "stackfaq") if sum(query.grades[:10]) in range(2, 9)][:queries]
    triples = [
        (query.text, passage, grade)
        for query in judged
        for passage, grade in zip(query.passages[:10], query.grades[:10], strict=True)
    ]
    labelled = [replace(query, passages=query.passages[:10], grades=query.grades[:10]) for query in judged]

    def ndcg(client: httpx.Client) -> float:
        scores = []
        for query in labelled:
            answer = client.post("/rerank", json={"query": query.text, "texts": query.passages}).json()
            known = {rank["index"]: rank["score"] for rank in answer}
            scores.append(np.array([known[number] for number in range(len(query.passages))]))
        return mean_ndcg(labelled, scores)

    with serving(Services.build(make_settings(tmp_path, Path("starter")))) as client:
        eventually(lambda: client.get("/health").json()["status"] == "ok", "the model is loaded")
        before = ndcg(client)
        label(client, *triples)
        started = time.monotonic()
        body = {"recipe": "classic", "promote": "always"}
        run_id = client.post("/v1/training-runs", json=body).raise_for_status().json()["id"]
        run = ended(client, run_id, patience=1800)
        seconds = time.monotonic() - started
        assert run["status"] == "succeeded", run
        after = ndcg(client)
    print(f"{len(triples)} labels, {seconds:.0f} s: nDCG@10 of what was labelled {before:.4f} -> {after:.4f}")
    print(f"held-out queries: {run['metrics']}")
    assert after > before
