"""The starter on real queries with human judgments that it was not trained on."""

from __future__ import annotations

import pytest
from sentence_transformers import CrossEncoder

from distillation.evaluate import rerank_ndcg
from reranker.sources import STARTER_DIR
from tests.serving import ROOT

TREC_DL21 = ROOT.parent / "shared" / "data" / "trec_dl21"


@pytest.mark.slow
@pytest.mark.skipif(not TREC_DL21.is_dir(), reason="the judged queries are not beside the checkout")
def test_it_ranks_better_than_bm25() -> None:
    model = CrossEncoder(str(STARTER_DIR), local_files_only=True)
    bm25 = rerank_ndcg(TREC_DL21)
    # As published for this list, so the measure is right.
    assert bm25 == pytest.approx(0.4458, abs=0.0005)
    starter = rerank_ndcg(TREC_DL21, lambda pairs: model.predict(pairs, batch_size=16, show_progress_bar=False))
    print(f"nDCG@10 on trec_dl21: BM25 {bm25:.4f}, starter {starter:.4f}")
    assert starter > bm25
