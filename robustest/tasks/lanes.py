"""Answers of which a row has several: folded into the batch, and out of it again."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


def by_row(work: Callable[[Tensor, Tensor], Tensor], output: Tensor, y: Tensor, axes: int) -> Tensor:
    """What `work` says of each answer: (B,) of outputs (B, *O), (B, A) of outputs (B, A, *O).

    Args:
        work: maps outputs (b, *O) and targets (b, *T) to (b,).
        output: what a model gave.
        y: (B, *T) targets.
        axes: how many *O has.
    """
    if output.ndim == axes + 1:
        return work(output, y)
    rows, lanes = output.shape[:2]
    return work(output.flatten(0, 1), y.repeat_interleave(lanes, 0)).view(rows, lanes)
