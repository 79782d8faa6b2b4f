"""A model in the middle of several that learned the same in different ways.

Out of few labels each training learns what they say and, beside it, much that is chance: which pairs it saw, and in
which order. Models that start from the same weights stay close enough together for the mean of their weights to be a
model, which has what they have in common, and of the chance of each only a part (Wortsman et al., 2022, "Model soups:
averaging weights of multiple fine-tuned models improves accuracy without increasing inference time").
"""

from __future__ import annotations

import ast
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from reranker.loading import MODEL_KWARGS

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder

# The example in a card that sentence-transformers wrote: the pairs, and their scores over as many lines as they take.
EXAMPLE = re.compile(
    r"^pairs = (?P<pairs>\[\n.*?^\])\n.*?^print\(scores\)\n(?P<scores>(?:#[^\n]*\n)+)", re.DOTALL | re.MULTILINE
)


def average(models: list[Path], place: Path) -> None:
    """Write the mean of these models to `place`, which appears in one step; the rest of it is the first one's, but
    for the scores in its card.

    The models are directories that sentence-transformers wrote, of the same kind.
    """
    import torch
    from sentence_transformers import CrossEncoder

    def load(directory: Path) -> CrossEncoder:
        return CrossEncoder(str(directory), local_files_only=True, model_kwargs=MODEL_KWARGS)

    mean = load(models[0])
    with torch.no_grad():
        for number, directory in enumerate(models[1:], start=2):
            weights = dict(load(directory).named_parameters())
            for name, weight in mean.named_parameters():
                weight.lerp_(weights[name], 1 / number)
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(models[0], unfinished)
    mean.save_pretrained(str(unfinished), create_model_card=False)
    if (card := unfinished / "README.md").is_file():
        card.write_text(_with_own_scores(card.read_text(encoding="utf-8"), mean), encoding="utf-8")
    unfinished.rename(place)


def _with_own_scores(card: str, model: CrossEncoder) -> str:
    """The card with what this model scores the pairs of its example, in the place of what the first one did."""
    found = EXAMPLE.search(card)
    if not found:
        return card
    scores = model.predict(ast.literal_eval(found["pairs"]), show_progress_bar=False)
    with np.printoptions(precision=4):
        lines = "".join(f"# {line}\n" for line in str(scores).splitlines())
    return card[: found.start("scores")] + lines + card[found.end("scores") :]
