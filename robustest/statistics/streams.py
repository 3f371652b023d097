"""Intervals of streams of outcomes that may have been read on after they had settled a claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from robustest.statistics.sequential import Settled, interval

Interval = tuple[float, float]


def running(bounds: Callable[[int], Interval], read: int, settled: Settled | None) -> Interval:
    """The interval of what a stream is about, valid at any stopping point, and on the side of its verdict.

    What was ruled out when the claim was settled stays ruled out, so that the interval speaks for the verdict where
    later outcomes blur it. Later outcomes may contradict earlier ones altogether (with probability alpha a side, at
    most): then the verdict's own interval stays, and without a verdict all that lies between the two.

    Args:
        bounds: the interval after the first t outcomes, t >= 1.
        read: outcomes read.
        settled: where they settled a claim, if they did.
    """
    low, high = bounds(read)
    if settled is not None and 0 < settled.after < read:
        then = bounds(settled.after)
        low, high = max(low, then[0]), min(high, then[1])
        if low > high:
            low, high = then
    return min(low, high), max(low, high)


def running_interval(held: NDArray[np.bool_], n: int, alpha: float, settled: Settled | None) -> Interval:
    """Shares of a whole set that its outcomes so far do not rule out, alpha on each side; see `running`.

    Args:
        held: (t,) outcomes in the seeded random order, t <= n.
        n: size of the set.
        alpha: error allowed on each side.
        settled: where they settled a claim, if they did.
    """
    right = np.cumsum(held)

    def bounds(read: int) -> Interval:
        return interval(int(right[read - 1]), read - int(right[read - 1]), n, alpha)

    return running(bounds, len(held), settled) if len(held) else interval(0, 0, n, alpha)
