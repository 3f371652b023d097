"""What attacks on classes climb: pure functions of logits (B, K) and labels (B,).

They give (B,) values that grow as the label loses. All are defined for two classes and more. "Shift" is a number
added to a sample's logits, "scale" a positive number they are multiplied by; neither changes what a model predicts,
and models whose logits are large or small starve attacks whose objective depends on the scale.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-12
"""Scales are never below this, so that equal logits give zero rather than NaN."""


def cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """-log softmax of the label's logit. Free of shift, not of scale.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
    """
    return F.cross_entropy(logits, y, reduction="none")


def linear(logits: Tensor, weights: Tensor) -> Tensor:
    """A linear form of the logits: the objective whose gradient is the weights, at the cost of two operations.

    Where the gradient of an objective is known, this is as good to climb, and costs less than a graph of its formula:
    on small networks that shows.

    Args:
        logits: (B, K) float.
        weights: (B, K) of the same kind; no gradient goes through them.
    """
    return (weights * logits).sum(1)


def log_odds_tangent(logits: Tensor, y: Tensor) -> Tensor:
    """A linear form with the gradient of the log-odds against the label, which are what PGD climbs.

    The log-odds are the log-sum-exp of the other logits minus the label's, so that their gradient is the softmax of the
    other logits, and -1 at the label. The cross-entropy is their softplus: per sample both have the same directions of
    ascent. In float32 this one keeps them: the gradient of the cross-entropy loses the label's part once the label's
    probability rounds to 1, from a gap of 17 on, and is zero from 104 on.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
    """
    at = y.unsqueeze(1)
    others = logits.detach().scatter(1, at, -torch.inf)
    return (others.softmax(1).scatter_(1, at, -1.0) * logits).sum(1)


def margin_loss(logits: Tensor, y: Tensor) -> Tensor:
    """Largest other logit minus the label's: the margin negated, positive where misclassified.

    Free of shift, not of scale. The margin itself, positive where the label stands, is `Classification.margin`.

    Args:
        logits: (..., K) float, led by the batch axis.
        y: (B,) int64 labels.
    """
    at = y.unsqueeze(1)
    if logits.ndim > 2:
        at = y.view(-1, *[1] * (logits.ndim - 1)).expand(*logits.shape[:-1], 1)
    others = logits.detach().scatter(-1, at, -torch.inf)
    if logits.requires_grad:
        return linear(logits, lead(others.argmax(1), y, logits))
    return (others.amax(-1, keepdim=True) - logits.gather(-1, at)).squeeze(-1)


def lead(target: Tensor, y: Tensor, logits: Tensor) -> Tensor:
    """(B, K) the weights of logits (B, K) that give the target's logit minus the label's.

    Args:
        target: (B,) int64 classes other than the label.
        y: (B,) int64 labels.
        logits: whose shape, kind and device the weights have.
    """
    weights = torch.zeros_like(logits, requires_grad=False)
    return weights.scatter_(1, target.unsqueeze(1), 1.0).scatter_(1, y.unsqueeze(1), -1.0)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: the margin loss over the gap between largest and third largest logit.

    From Croce and Hein, ICML 2020, section 4, equation 6. Free of shift and scale for K >= 3. Two logits have
    nothing left once both are taken out but which is larger, and that has no gradient: for K = 2 this is the
    margin loss, free of shift only.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
    """
    if logits.shape[1] == 2:
        return margin_loss(logits, y)
    first, _, third = logits.topk(3, 1).values.unbind(1)
    return margin_loss(logits, y) / (first - third).clamp(min=_TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The target's logit minus the label's, over the largest logit minus the mean of third and fourth largest.

    From Croce and Hein, ICML 2020, section 4, equation 7. Free of shift and scale for K >= 3. With three classes
    the mean is that of second and third: minus the third alone would make this -1 wherever the label is first
    and the target last, without a gradient. With two classes it is the margin loss, as for `dlr`.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
        target: (B,) int64 classes other than the label.
    """
    gain = (logits.gather(1, target.unsqueeze(1)) - logits.gather(1, y.unsqueeze(1))).squeeze(1)
    if logits.shape[1] == 2:
        return gain
    top = logits.topk(min(4, logits.shape[1]), 1).values
    return gain / (top[:, 0] - top[:, -2:].mean(1)).clamp(min=_TINY)


def ranked_class(logits: Tensor, y: Tensor, rank: int) -> Tensor:
    """(B,) int64: the classes other than the label in falling order of their logits, that at place `rank`.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
        rank: 0 for the likeliest other class; beyond K - 2 it stands for K - 2, the least likely.
    """
    place = min(rank, logits.shape[1] - 2)
    others = logits.detach().scatter(1, y.unsqueeze(1), -torch.inf)
    if place == 0:  # sorting a thousand classes costs
        return others.argmax(1)
    return torch.argsort(others, dim=1, descending=True, stable=True)[:, place]
