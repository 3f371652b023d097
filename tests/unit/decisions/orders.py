"""Sets of outcomes in random order: examples of them, and exact chances over all orders."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Rule = Callable[[NDArray[np.int64], NDArray[np.int64]], Bools]

alphas = st.floats(1e-4, 0.4)


@st.composite
def streams(draw: st.DrawFn, largest: int = 60) -> tuple[Bools, int, int]:
    """All outcomes of a set in the order drawn, its size, and how many must hold."""
    n = draw(st.integers(1, largest))
    held = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(held), n, draw(st.integers(1, n))


def chance_of_ever(n: int, k: int, stops: Rule, bad: Rule) -> float:
    """The chance that a stream from a set of n of which k hold stops at a bad state; exact, over all orders.

    Args:
        n: size of the set.
        k: how many hold.
        stops: whether a run ends at (right, wrong), arrays of states.
        bad: whether it ends badly there.
    """
    alive, ended = np.array([1.0]), 0.0
    for read in range(1, n + 1):
        before = np.arange(read)
        up = alive * np.clip(k - before, 0, None) / (n - read + 1)
        down = alive * np.clip(n - k - (read - 1 - before), 0, None) / (n - read + 1)
        alive = np.concatenate([[0.0], up]) + np.concatenate([down, [0.0]])
        right = np.arange(read + 1)
        stop = stops(right, read - right)
        ended += float(alive[stop & bad(right, read - right)].sum())
        alive = np.where(stop, 0.0, alive)
    return ended
