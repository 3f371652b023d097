"""What attacks climb: pure functions of logits (B, K) and labels (B,), (B,) values that grow as the label loses.

All are defined for two classes and more. "Shift" is a number added to a sample's logits, "scale" a positive
number they are multiplied by; neither changes what a model predicts, and models whose logits are large or
small starve attacks whose objective depends on the scale.
"""

from __future__ import annotations

import math

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


def log_odds(logits: Tensor, y: Tensor) -> Tensor:
    """Log of the odds against the label: log-sum-exp of the other logits minus the label's.

    The cross-entropy is its softplus, so that per sample both have the same directions of ascent. In float32 this
    one keeps them: the gradient of the cross-entropy loses the label's part once the label's probability rounds
    to 1, from a gap of 17 on, and is zero from 104 on.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
    """
    at = y.unsqueeze(1)
    return logits.scatter(1, at, -torch.inf).logsumexp(1) - logits.gather(1, at).squeeze(1)


def margin(logits: Tensor, y: Tensor) -> Tensor:
    """Largest other logit minus the label's; positive where misclassified. Free of shift, not of scale.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
    """
    at = y.unsqueeze(1)
    return logits.scatter(1, at, -torch.inf).amax(1) - logits.gather(1, at).squeeze(1)


def dlr(logits: Tensor, y: Tensor) -> Tensor:
    """Difference of logits ratio: the margin over the gap between largest and third largest logit.

    From Croce and Hein, ICML 2020, section 4, equation 6. Free of shift and scale for K >= 3. Two logits have
    nothing left once both are taken out but which is larger, and that has no gradient: for K = 2 this is the
    margin itself, free of shift only.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
    """
    if logits.shape[1] == 2:
        return margin(logits, y)
    first, _, third = logits.topk(3, 1).values.unbind(1)
    return margin(logits, y) / (first - third).clamp(min=_TINY)


def targeted_dlr(logits: Tensor, y: Tensor, target: Tensor) -> Tensor:
    """The target's logit minus the label's, over the largest logit minus the mean of third and fourth largest.

    From Croce and Hein, ICML 2020, section 4, equation 7. Free of shift and scale for K >= 3. With three classes
    the mean is that of second and third: minus the third alone would make this -1 wherever the label is first
    and the target last, without a gradient. With two classes it is the margin, as for `dlr`.

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


def cosine_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Cosine of the angle between the centred logits and the direction from the label to the largest other class.

    It is the margin over sqrt(2) times the Euclidean length of the logits minus their mean: in [-1, 1], free of
    shift and scale for K >= 3, and depending smoothly on every logit, where `dlr` looks at three. With two
    classes it is the margin, as for `dlr`.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
    """
    if logits.shape[1] == 2:
        return margin(logits, y)
    spread: Tensor = torch.linalg.vector_norm(logits - logits.mean(1, keepdim=True), dim=1)
    return margin(logits, y) / (math.sqrt(2) * spread).clamp(min=_TINY)


def ranked_class(logits: Tensor, y: Tensor, rank: int) -> Tensor:
    """(B,) int64: the classes other than the label in falling order of their logits, that at place `rank`.

    Args:
        logits: (B, K) float.
        y: (B,) int64 labels.
        rank: 0 for the likeliest other class; beyond K - 2 it stands for K - 2, the least likely.
    """
    place = min(rank, logits.shape[1] - 2)
    others = logits.detach().scatter(1, y.unsqueeze(1), -torch.inf)
    return torch.argsort(others, dim=1, descending=True, stable=True)[:, place]
