"""The starter on real queries with human judgments that it was not trained on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from distillation.evaluate import cross_encoder, mean_ndcg, scores_of
from distillation.judged import read_judged
from reranker.sources import STARTER_DIR
from tests.serving import ROOT

DATA = ROOT.parent / "shared" / "data"


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason="the judged queries are not beside the checkout")
@pytest.mark.parametrize(("name", "queries"), [("trec_dl21", None), ("tatqa_dev", 100), ("med", None)])
def test_it_ranks_better_than_bm25(name: str, queries: int | None, tmp_path: Path) -> None:
    judged = read_judged(DATA / name, queries)
    bm25 = mean_ndcg(judged)
    if name == "trec_dl21":
        # As published for this list, so the measure is right.
        assert bm25 == pytest.approx(0.4458, abs=0.0005)
    starter = mean_ndcg(judged, scores_of(cross_encoder("starter", str(STARTER_DIR), torch.float32), judged, tmp_path))
    print(f"nDCG@10 on {name}: BM25 {bm25:.4f}, starter {starter:.4f}")
    assert starter > bm25
