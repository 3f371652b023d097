"""Targets as tensors, from what data give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from robustest.errors import DataError, expected


def integers(given: object, what: str, shape: str, *, axes: int) -> Tensor:
    """(B, ...) int64 on the CPU.

    Args:
        given: integers in a tensor, an array, or a sequence of them or of images.
        what: they are, in words.
        shape: that they have, in words.
        axes: of that shape.

    Raises:
        DataError: no integers, or of another shape.
    """
    values = _tensor(given, what)
    if values.is_floating_point() or values.is_complex():
        raise DataError(f"Expected {what} as integers but got {values.dtype}. Convert them if they are whole.")
    if values.ndim != axes:
        raise DataError(expected(f"{what} of shape {shape}", tuple(values.shape)))
    return values.to(torch.int64)


def reals(given: object, what: str, *, within: float | None = None) -> Tensor:
    """(B, ...) float32 on the CPU, finite.

    Args:
        given: numbers in a tensor, an array, or a sequence of them.
        what: they are, in words.
        within: how far float32 may move a number; None where it may round as it does.

    Raises:
        DataError: no numbers, or some that are NaN or infinite, or that float32 cannot tell so finely.
    """
    values = _tensor(given, what)
    if values.is_complex() or values.dtype == torch.bool:
        raise DataError(f"Expected {what} as real numbers but got {values.dtype}.")
    exact, values = values, values.to(torch.float32)
    moved = float((exact.double() - values.double()).abs().max()) if within is not None and values.numel() else 0.0
    if within is not None and moved > within:
        raise DataError(
            f"Expected {what} that float32 tells to within {within:g} but it moves one by {moved:g}: a model would be "
            "right on numbers that are not yours. Take off their mean, or scale them."
        )
    if not bool(torch.isfinite(values).all()):
        raise DataError(f"Expected finite {what} but some are NaN or infinite.")
    return values


def _tensor(given: object, what: str) -> Tensor:
    try:
        if isinstance(given, Tensor):
            return given.detach().cpu()
        if isinstance(given, Sequence) and not isinstance(given, str):
            each = [one.detach().cpu() if isinstance(one, Tensor) else torch.as_tensor(np.array(one)) for one in given]
            return torch.stack(each)
        return torch.as_tensor(np.array(given))
    except (TypeError, ValueError, RuntimeError):
        raise DataError(expected(f"{what}, all of one shape", given)) from None
