"""The results in a version's model card: as `model-index`, which the Hub shows and compares, and as a table to read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from reranker.figures import METRICS, SETS

# What sentence-transformers calls this task in the cards it writes.
TASK = {"task_type": "cross-encoder-reranking", "task_name": "Cross Encoder Reranking"}
HEADING = "## Evaluation\n"
# Where sentence-transformers' card goes on after what the model is and how it is used.
NEXT = "## Training Details\n"
CROSS_CHECKED = "cross"


def add_results(card_path: Path, name: str, manifest: dict[str, Any]) -> None:
    """Write the figures of a run's manifest into the model card of the version `name`, in place of earlier ones."""
    # Here, so that the page need not wait for it.
    from huggingface_hub import EvalResult, ModelCard
    from huggingface_hub.utils import HFValidationError, validate_repo_id

    card = ModelCard(card_path.read_text(encoding="utf-8"))
    measured = {split: result["metrics"] for split, result in manifest["challenger"].items() if result["metrics"]}
    try:
        validate_repo_id(card.data.base_model)
    except HFValidationError:  # a directory's name; the Hub takes no card that names such a base
        card.data.base_model = None
    card.data.model_name = name
    card.data.eval_results = [
        EvalResult(
            **TASK,
            dataset_type="rerank-workbench",
            dataset_name=SETS[split].in_card,
            dataset_split=split,
            metric_type=metric,
            metric_name=words,
            metric_value=round(figures[metric], 4),
        )
        for split, figures in measured.items()
        # Those are of other models: whoever loads this one finds others, and better ones.
        if split != CROSS_CHECKED
        for metric, words in METRICS.items()
        if metric in figures
    ]
    card.text = _with_section(card.text, _table(manifest, measured))
    # In one step: a full disk would leave half of it, and the next one to write it would go on from that.
    unfinished = card_path.with_name(f"{card_path.name}.part")
    card.save(unfinished)
    unfinished.rename(card_path)


def _with_section(text: str, table: str) -> str:
    text = re.sub(rf"{HEADING}.*?(?={NEXT}|\Z)", "", text, flags=re.DOTALL)
    before, heading, after = text.partition(NEXT)
    return f"{before.rstrip()}\n\n{HEADING}\n{table}\n{heading}{after}"


def _table(manifest: dict[str, Any], measured: dict[str, dict[str, float]]) -> str:
    lines = [
        "Means over the queries, of the model that was active before and of this one.\n",
        f"| Queries | Model | {' | '.join(METRICS.values())} |",
        f"|:--|:--|{'--:|' * len(METRICS)}",
    ]
    for split in measured:
        this = "models trained like this one, without the query" if split == CROSS_CHECKED else "this model"
        for who, words in (("champion", "before"), ("challenger", this)):
            figures = manifest[who][split]["metrics"]
            cells = " | ".join(f"{figures[metric]:.4f}" if metric in figures else "" for metric in METRICS)
            lines.append(f"| {SETS[split].in_card} ({figures['queries']:.0f}) | {words} | {cells} |")
    if folds := manifest.get("training", {}).get("folds"):
        lines.append(
            f"\nThe weights are the mean of {folds + 1} models that were trained in the same way: one on all of the "
            f"labels, of which the training log below is, and {folds} each without a part of the queries."
        )
    return "\n".join(lines) + "\n"
