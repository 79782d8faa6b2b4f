"""A model halfway between what it was and what it has learned.

Few labels teach a model what is right for them, and with it much that is chance. On the straight line between the
weights before and after, most of what was learned comes early and most of what is forgotten comes late: a model on the
way ranks the new texts about as well as the one at the end or better, and others better (Wortsman et al., 2022, "Robust
fine-tuning of zero-shot models"). It costs no label and no step.
"""

from __future__ import annotations

import torch


def weights_of(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A copy of a model's weights, in main memory."""
    return {name: weight.detach().cpu().clone() for name, weight in model.named_parameters()}


@torch.no_grad()
def move_back(model: torch.nn.Module, before: dict[str, torch.Tensor], share: float) -> None:
    """Put a model on the line between the weights `before` (share 0) and its own (share 1)."""
    for name, weight in model.named_parameters():
        weight.copy_(torch.lerp(before[name].to(weight), weight, share))
