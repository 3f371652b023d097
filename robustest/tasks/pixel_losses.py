"""What attacks on masks climb: pure functions of logits (B, C, H, W) and masks (B, H, W).

They give (B,) values: means over the pixels that count, of which each grows as its label loses. A pixel that is lost
need not be pushed on: what is spent on it another pixel lacks (Gu et al., ECCV 2022, section 3; Croce, Singh and Hein,
ECCV 2024, section 3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_EARLY = 0.25
"""SegPGD's weight of lost pixels, which rises from 0 to 1/2 over its steps, as its mean."""
_NEAR = 0.2
"""Pixels right by more than so many usual leads have little say in the margin loss."""
_TINY = 1e-12


def leads(logits: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) the label's logit minus the largest other: positive where a pixel is right.

    Args:
        logits: (B, C, H, W) float, C >= 2.
        y: (B, H, W) int64 labels in 0..C - 1.
    """
    at = y.unsqueeze(1)
    return logits.gather(1, at).squeeze(1) - logits.scatter(1, at, -torch.inf).amax(1)


def mean(values: Tensor, counts: Tensor) -> Tensor:
    """(B,) means of values (B, H, W) over the pixels that count (B, H, W) bool; 0 where none does."""
    return (values * counts).flatten(1).sum(1) / counts.flatten(1).sum(1).clamp(min=1)


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) the log-odds against the label: as cross-entropy, without its rounding to a slope of 0."""
    at = y.unsqueeze(1)
    others = logits.scatter(1, at, -torch.inf)
    return others.logsumexp(1) - logits.gather(1, at).squeeze(1)


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) -log softmax of the label's logit."""
    return F.cross_entropy(logits, y, reduction="none")


def still_right(logits: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) bool: where the label is predicted."""
    return logits.detach().argmax(1) == y


def weighted(logits: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) cross-entropy with SegPGD's weights: three quarters for pixels still right, a quarter for lost ones."""
    right = still_right(logits, y)
    return torch.where(right, 1 - _EARLY, _EARLY) * cross_entropy(logits, y)


def masked(logits: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) cross-entropy of pixels still right; 0 where they are lost."""
    return still_right(logits, y) * cross_entropy(logits, y)


def turning(logits: Tensor, y: Tensor) -> Tensor:
    """(B, H, W) the softplus of each pixel's lead negated: what is far from turning has little say.

    Leads are in usual ones of the image, so that the scale of logits does not matter.
    """
    lead = leads(logits, y)
    usual = lead.detach().abs().flatten(1).mean(1).clamp(min=_TINY).view(-1, 1, 1)
    return F.softplus(lead / (-_NEAR * usual))
