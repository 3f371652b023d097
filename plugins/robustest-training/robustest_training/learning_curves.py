"""Learning curves read backwards: how many real samples teach as much as a set does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from robustest_training.training_draws import Trained, difference_interval

Floats = NDArray[np.float64]

_STEPS = 24
"""Sizes that are looked at between two measured ones."""
_WIDEST = 16.0
"""An interval of sizes that spans more than this factor places nothing: the curve is flat where it would be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachesAs:
    """How many real samples teach as much.

    Attributes:
        size: as read off the curve; None where the curve is flat there, or ends before.
        low, high: an interval of it; None where the curve ends before it does.
    """

    size: float | None
    low: float | None
    high: float | None


def rising(values: Floats, weights: Floats) -> Floats:
    """(n,) the closest values that never fall, by least squares (pool adjacent violators; Ayer et al. 1955).

    Args:
        values: (n,).
        weights: (n,) > 0.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, members
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        mean, total, members = value, weight, 1
        while pools and pools[-1][0] >= mean:
            before, heavy, many = pools.pop()
            mean = (before * heavy + mean * total) / (heavy + total)
            total, members = heavy + total, members + many
        pools.append((mean, total, members))
    return np.repeat([mean for mean, _, _ in pools], [members for _, _, members in pools])


def at_size(curve: Sequence[Trained], size: float) -> Trained | None:
    """What learners of a size between measured ones would do, along the logarithm of the size; None beyond the curve.

    Args:
        curve: of growing sizes.
        size: training samples.
    """
    for less, more in pairwise(curve):
        if less.size * (1 - 1e-9) <= size <= more.size * (1 + 1e-9):
            share = log(size / less.size) / log(more.size / less.size)
            return Trained(
                size=round(size),
                right=(1 - share) * less.right + share * more.right,
                variance=max(less.variance, more.variance),
                freedom=min(less.freedom, more.freedom),
                draws=min(less.draws, more.draws),
            )
    return None


def teaches_as(curve: Sequence[Trained], other: Trained, alpha: float) -> TeachesAs:
    """Where a real learning curve has the accuracy that learners of another set reach.

    The interval holds every size at which real learners are not certainly better or worse.

    Args:
        curve: learners of real samples, of growing sizes, two or more.
        other: learners of the set, judged on the same test samples.
        alpha: error on each side, about.
    """
    sizes = [exp(v) for less, more in pairwise(curve) for v in np.linspace(log(less.size), log(more.size), _STEPS)]
    alike = [size for size in sizes if _alike(curve, other, size, alpha)]
    if not alike:
        return _between(curve, other, sizes, alpha)
    low, high = alike[0], alike[-1]
    ends = (None if low == sizes[0] else low, None if high == sizes[-1] else high)
    if high / low > _WIDEST or low == sizes[0]:
        return TeachesAs(size=None, low=ends[0], high=ends[1])
    return TeachesAs(size=_inverted(curve, other.accuracy), low=ends[0], high=ends[1])


def _alike(curve: Sequence[Trained], other: Trained, size: float, alpha: float) -> bool:
    there = at_size(curve, size)
    if there is None:
        return False
    low, high = difference_interval(there, other, alpha)
    return low <= 0 <= high


def _between(curve: Sequence[Trained], other: Trained, sizes: list[float], alpha: float) -> TeachesAs:
    """Where no size fits: all of the curve is above, or below, or it leaps over."""
    if difference_interval(curve[0], other, alpha)[0] > 0:
        return TeachesAs(size=None, low=None, high=sizes[0])
    if difference_interval(curve[-1], other, alpha)[1] < 0:
        return TeachesAs(size=None, low=sizes[-1], high=None)
    size = _inverted(curve, other.accuracy)
    return TeachesAs(size=size, low=size, high=size)


def _inverted(curve: Sequence[Trained], accuracy: float) -> float:
    """The size at which a curve that never falls has an accuracy; its ends for what is beyond them."""
    means = np.array([one.accuracy for one in curve])
    weights = np.array([1 / (one.variance + 1e-6) for one in curve])
    level = rising(means, weights) + 1e-12 * np.arange(len(curve))  # where it is level, the first size that reaches it
    return exp(float(np.interp(accuracy, level, [log(one.size) for one in curve])))
