"""Learning curves read backwards: the number of real samples that teach as much as another set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import exp, log

import numpy as np
from numpy.typing import NDArray

from robustest_training.training_draws import Trained, difference_interval

Floats = NDArray[np.float64]

# Sizes compared between two measured ones.
_STEPS = 24
# A wider interval of sizes (by this factor) means that the curve is flat there.
_WIDEST = 16.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachesAs:
    """The number of real samples that teach as much."""

    size: float | None  # read off the curve; None if the curve is flat there, or ends before
    low: float | None  # low, high: its interval; None if the curve ends before
    high: float | None


def rising(values: Floats, weights: Floats) -> Floats:
    """Return the closest values (n,) that never fall, by least squares with weights (n,) > 0."""
    # Pool adjacent violators (Ayer et al. 1955): merge a value with its predecessors while they are not below it.
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
    """Return learners of a size between measured ones, along the logarithm of the size; None beyond the curve."""
    for less, more in pairwise(curve):
        if less.size * (1 - 1e-9) <= size <= more.size * (1 + 1e-9):
            share = log(size / less.size) / log(more.size / less.size)
            return Trained(
                size=round(size),
                right=(1 - share) * less.right + share * more.right,
                # The more uncertain neighbour's error: interpolation must not look surer than the points.
                variance=max(less.variance, more.variance),
                freedom=min(less.freedom, more.freedom),
                draws=min(less.draws, more.draws),
            )
    return None


def teaches_as(curve: Sequence[Trained], other: Trained, alpha: float) -> TeachesAs:
    """Return the place of a real learning curve with the accuracy of learners of another set, and its interval."""
    sizes = [exp(v) for less, more in pairwise(curve) for v in np.linspace(log(less.size), log(more.size), _STEPS)]
    # The interval holds every size at which real learners are neither surely better nor surely worse.
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
    # No size fits: the curve is above the accuracy, below it, or leaps over it.
    if difference_interval(curve[0], other, alpha)[0] > 0:
        return TeachesAs(size=None, low=None, high=sizes[0])
    if difference_interval(curve[-1], other, alpha)[1] < 0:
        return TeachesAs(size=None, low=sizes[-1], high=None)
    size = _inverted(curve, other.accuracy)
    return TeachesAs(size=size, low=size, high=size)


def _inverted(curve: Sequence[Trained], accuracy: float) -> float:
    """Return the size at which the rising curve has an accuracy; an end for accuracies beyond."""
    means = np.array([one.accuracy for one in curve])
    weights = np.array([1 / (one.variance + 1e-6) for one in curve])
    level = rising(means, weights) + 1e-12 * np.arange(len(curve))  # where it is level, the first size that reaches it
    return exp(float(np.interp(accuracy, level, [log(one.size) for one in curve])))
