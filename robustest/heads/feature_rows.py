"""Rows of features with labels: checked, split and standardised."""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, DataError, expected

_ROWS_AT_A_TIME = 4096


def checked_rows(features: Tensor, labels: Tensor, classes: int | None = None, *, complete: bool = True) -> int:
    """The number of classes K of features (N, D) with labels (N,).

    Args:
        features: (N, D) real and finite, N >= 1, D >= 1.
        labels: (N,) whole numbers in 0..K-1.
        classes: K; None takes the largest label + 1.
        complete: whether every class must have a row.

    Raises:
        ConfigError: classes is no whole number >= 2.
        DataError: a shape or type is wrong, a value is NaN or infinite, a label is no class, or a class has no rows.
    """
    if (
        not isinstance(features, Tensor)
        or features.ndim != 2
        or 0 in features.shape
        or not features.is_floating_point()
    ):
        got = tuple(features.shape) if isinstance(features, Tensor) and features.ndim != 2 else features
        raise DataError(expected("features to be a floating tensor (N, D)", got))
    if not isinstance(labels, Tensor) or labels.shape != features.shape[:1] or labels.dtype != torch.int64:
        raise DataError(expected(f"labels to be an int64 tensor ({len(features)},)", labels))
    if classes is not None and (type(classes) is not int or classes < 2):
        raise ConfigError(expected("classes to be a whole number >= 2", classes))
    if not all(bool(torch.isfinite(part).all()) for part in torch.split(features, _ROWS_AT_A_TIME)):
        raise DataError("Expected finite features but got NaN or infinity among them.")
    k = max(2, int(labels.max()) + 1) if classes is None else classes
    if int(labels.min()) < 0 or int(labels.max()) >= k:
        raise DataError(expected(f"labels in 0..{k - 1}", (int(labels.min()), int(labels.max()))))
    missing = (torch.bincount(labels, minlength=k) == 0).nonzero().flatten().tolist()
    if complete and missing:
        raise DataError(f"Expected rows of every class in 0..{k - 1} but got none of {missing[:10]}.")
    return k


def held_out(labels: Tensor, share: float, seed: int) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows held out, a share of each class, both (.,) int64 in rising order.

    Args:
        labels: (N,) int64.
        share: of each class, rounded, in [0, 1); a class keeps at least one row to train on.
        seed: draws them.
    """
    order = rng.permutation(seed, len(labels))
    shuffled, out = labels.cpu()[order], torch.zeros(len(labels), dtype=torch.bool)
    for k in torch.unique(shuffled).tolist():
        members = order[shuffled == k]
        out[members[: min(len(members) - 1, round(share * len(members)))]] = True
    return (~out).nonzero().squeeze(1), out.nonzero().squeeze(1)


def standardisation(features: Tensor, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (D,) over rows (N, D), gathered in float64; 1 where a feature is constant.

    Args:
        features: (N, D) on any device.
        device, dtype: of what is returned.
    """
    mean = torch.zeros(features.shape[1], dtype=torch.float64, device=features.device)
    for part in torch.split(features, _ROWS_AT_A_TIME):
        mean += part.double().sum(0) / len(features)
    square = torch.zeros_like(mean)
    for part in torch.split(features, _ROWS_AT_A_TIME):
        square += (part.double() - mean).square().sum(0)
    scale = (square / len(features)).sqrt()
    # A constant feature keeps some rounding noise, which must not be blown up to unit variance.
    scale = torch.where(scale > 1e-6 * mean.abs().clamp(min=1e-6), scale, torch.ones_like(scale))
    return mean.to(device, dtype), scale.to(device, dtype)
