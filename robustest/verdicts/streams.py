"""Intervals of streams of outcomes that were read on after they had settled a claim."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustest.verdicts.sequential import Settled, interval


def running_interval(held: NDArray[np.bool_], n: int, alpha: float, settled: Settled | None) -> tuple[float, float]:
    """Shares of a whole set that its outcomes so far do not rule out, alpha on each side, at any stopping point.

    Args:
        held: (t,) outcomes in the seeded random order, t <= n.
        n: size of the set.
        alpha: error allowed on each side.
        settled: where they settled a claim, if they did. What was ruled out then stays ruled out, so that the
            interval speaks for the verdict even where later outcomes blur it.
    """
    right = int(held.sum())
    low, high = interval(right, len(held) - right, n, alpha)
    if settled is None or settled.after == len(held):
        return low, high
    then = int(held[: settled.after].sum())
    first = interval(then, settled.after - then, n, alpha)
    return max(low, first[0]), min(high, first[1])
