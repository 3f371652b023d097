"""Losses that attacks on classes climb: pure functions of logits (B, K) and labels (B,), K >= 2."""

# They return (B,) values that grow as the label loses. "Shift" is a number added to a sample's logits, "scale" a
# positive factor; neither changes predictions, but an attack whose loss depends on the scale fails on large or small
# logits.

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import devices

# Scales are never below this, so that equal logits give zero rather than NaN.
_TINY = 1e-12


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return -log softmax of the label's logit; invariant to shift, not to scale."""
    return F.cross_entropy(logits, y, reduction="none")


def log_odds_tangent(logits: Tensor, y: Tensor) -> Tensor:
    """Return a linear form with the gradient of the log-odds against the label."""
    return log_odds_terms(logits, y).sum(1)


def log_odds_terms(logits: Tensor, y: Tensor) -> Tensor:
    """Return (B, K) the terms of `log_odds_tangent`, which PGD climbs: one operation, and no graph of a loss."""
    at = y.unsqueeze(1)
    others = logits.detach().scatter(1, at, -torch.inf)
    # The log-odds are the log-sum-exp of the other logits minus the label's, so their gradient is the softmax of the
    # other logits, and -1 at the label. The cross-entropy is their softplus: in float32 its gradient loses the label's
    # part once the label's probability rounds to 1, from a gap of 17 on, and is zero from 104 on.
    return others.softmax(1).scatter_(1, at, -1.0) * logits


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Return the largest other logit of (..., K) minus the label's: positive if misclassified."""
    at = y.unsqueeze(1)
    if logits.ndim > 2:
        at = y.view(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    if logits.requires_grad:
        others = logits.detach().scatter(-1, at, -torch.inf)
        return (lead(others.argmax(1), y, logits) * logits).sum(1)
    others = logits.scatter(-1, at, -torch.inf)
    return (others.amax(-1, keepdim=True) - logits.gather(-1, at)).squeeze(-1)


def lead(target: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """Return the weights, of the type of logits (B, K), that give the target's logit minus the label's."""
    weights = torch.zeros_like(logits, requires_grad=False)
    return weights.scatter_(1, target.unsqueeze(1), 1.0).scatter_(1, y.unsqueeze(1), -1.0)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Return the difference of logits ratio: the margin loss over the gap between largest and third largest logit.

    Croce and Hein, ICML 2020, section 4, equation 6; invariant to shift and scale for K >= 3.
    """
    if logits.shape[1] == 2:
        return margin_loss(logits, y)
    # For K = 2 nothing differentiable is invariant to both, so there it is the margin loss.
    first, _, third = logits.topk(3, 1).values.unbind(1)
    return margin_loss(logits, y) / (first - third).clamp(min=_TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """Return the target's logit minus the label's, over the largest minus the mean of third and fourth largest logit.

    Croce and Hein, ICML 2020, section 4, equation 7; invariant to shift and scale for K >= 3.
    """
    gain = (logits.gather(1, target.unsqueeze(1)) - logits.gather(1, y.unsqueeze(1))).squeeze(1)
    if logits.shape[1] == 2:
        return gain
    # With three classes this is the mean of second and third: the third alone would make the ratio -1, without a
    # gradient, wherever the label is first and the target last.
    top = logits.topk(min(4, logits.shape[1]), 1).values
    return gain / (top[:, 0] - top[:, -2:].mean(1)).clamp(min=_TINY)


def ranked_class(logits: Tensor, y: Tensor, rank: int, known: Tensor | None = None) -> Tensor:
    """Return (B,) int64: the class at place `rank` (0: the likeliest) among those other than the label.

    Args:
        known: (B,) int64: classes that are returned as they are, where they are not negative.
    """
    if known is not None and devices.on_host(known) and int(known.min()) >= 0:
        return known
    place = min(rank, logits.shape[1] - 2)
    others = logits.detach().scatter(1, y.unsqueeze(1), -torch.inf)
    # Sorting a thousand classes costs.
    ranked = others.argmax(1) if place == 0 else others.argsort(dim=1, descending=True, stable=True)[:, place]
    return ranked if known is None else torch.where(known < 0, ranked, known)
