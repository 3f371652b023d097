"""Sets of outcomes in random order: examples of them, and exact chances over all orders."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustest.decisions.share import evidence

Bools = NDArray[np.bool_]
Rule = Callable[[NDArray[np.int64], NDArray[np.int64]], tuple[Bools, Bools]]

alphas = st.floats(1e-4, 0.4)


@st.composite
def streams(draw: st.DrawFn, largest: int = 60) -> tuple[Bools, int, int]:
    """All outcomes of a set in the order drawn, its size, and how many must hold."""
    n = draw(st.integers(1, largest))
    held = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    return np.array(held), n, draw(st.integers(1, n))


def chance_of_ever(n: int, k: int, rule: Rule) -> float:
    """The chance that a stream from a set of n of which k hold stops at a bad state; exact, over all orders.

    Args:
        n: size of the set.
        k: how many hold.
        rule: of (right, wrong), arrays of states: whether a run ends there, and whether it ends badly there.
    """
    alive, ended = np.array([1.0]), 0.0
    for read in range(1, n + 1):
        before = np.arange(read)
        up = alive * np.clip(k - before, 0, None) / (n - read + 1)
        down = alive * np.clip(n - k - (read - 1 - before), 0, None) / (n - read + 1)
        alive = np.concatenate([[0.0], up]) + np.concatenate([down, [0.0]])
        right = np.flatnonzero(alive)  # other states no run is in
        stop, bad = rule(right, read - right)
        ended += float(alive[right[stop & bad]].sum())
        alive[right[stop]] = 0.0
    return ended


@cache
def wrong_rate(n: int, need: int, *, passes: bool, alpha: float = 0.01, level: float = 0.01) -> float:
    """The exact chance of a wrong verdict at the worst K: need - 1, which must not pass, or need, which must not fail.

    Args:
        n: size of the set.
        need: how many must hold.
        passes: whether the wrong verdict is a pass.
        alpha: error allowed on the other side.
        level: error allowed on the side that is wrong.
    """
    levels = {True: level if passes else alpha, False: alpha if passes else level}

    def rule(right: NDArray[np.int64], wrong: NDArray[np.int64]) -> tuple[Bools, Bools]:
        passed = (right >= need) | (evidence(right, wrong, n, need - 1, above=True) >= -np.log(levels[True]))
        failed = (wrong > n - need) | (evidence(right, wrong, n, need, above=False) >= -np.log(levels[False]))
        return passed | failed, passed if passes else failed

    return chance_of_ever(n, need - 1 if passes else need, rule)
