"""Intervals of a share, wherever a stream of outcomes stops."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from robustest import Verdict
from robustest.decisions.share import set_share_interval, settle_share

sys.path.insert(0, str(Path(__file__).parent))
from orders import Bools, Rule, alphas, chance_of_ever, streams


@given(streams(), alphas, alphas)
def test_the_interval_agrees_with_the_verdict(
    stream: tuple[Bools, int, int], pass_alpha: float, fail_alpha: float
) -> None:
    """Where the interval errs no less than the verdict, it lies on the verdict's side of the threshold."""
    held, n, need = stream
    settled = settle_share(held, n, need, pass_alpha=pass_alpha, fail_alpha=fail_alpha)
    assert settled is not None
    right = int(held[: settled.after].sum())
    low, high = set_share_interval(right, settled.after - right, n, max(pass_alpha, fail_alpha))
    if settled.verdict is Verdict.PASSED:
        assert low >= need / n
    else:
        assert high < need / n


@given(streams(), alphas)
def test_the_interval_keeps_to_what_is_certain_and_wide_alphas_to_narrow_ones(
    stream: tuple[Bools, int, int], alpha: float
) -> None:
    held, n, read = stream
    right = int(held[:read].sum())
    low, high = set_share_interval(right, read - right, n, alpha)
    assert right / n <= low <= high <= 1 - (read - right) / n + 1e-12
    wider_low, wider_high = set_share_interval(right, read - right, n, alpha / 3)
    assert wider_low <= low
    assert high <= wider_high
    if read == n:
        assert low == high == right / n


@given(st.integers(2, 80), st.data(), alphas)
def test_another_outcome_moves_the_interval_its_way(n: int, data: st.DataObject, alpha: float) -> None:
    read = data.draw(st.integers(0, n - 1))
    right = data.draw(st.integers(0, read))
    good, bad = (
        set_share_interval(right + 1, read - right, n, alpha),
        set_share_interval(right, read - right + 1, n, alpha),
    )
    assert bad[0] <= good[0]
    assert bad[1] <= good[1]


def test_before_anything_is_read_the_interval_is_everything() -> None:
    assert set_share_interval(0, 0, 37, 0.01) == (0.0, 1.0)


@cache
def intervals(n: int, alpha: float) -> dict[tuple[int, int], tuple[float, float]]:
    """The interval after each number of outcomes that held, and that did not."""
    return {
        (right, read - right): set_share_interval(right, read - right, n, alpha)
        for read in range(n + 1)
        for right in range(read + 1)
    }


@pytest.mark.parametrize("alpha", [0.02, 0.2])
@pytest.mark.parametrize("k", [0, 3, 25, 50])
def test_neither_end_is_ever_beyond_the_truth_oftener_than_alpha(k: int, alpha: float) -> None:
    """Looked at after every outcome, so that no rule to stop by does harm; exact, over all orders."""
    n = 50
    ends = intervals(n, alpha)

    def beyond(end: int) -> Rule:
        def rule(right: NDArray[np.int64], wrong: NDArray[np.int64]) -> tuple[Bools, Bools]:
            found = np.array([ends[state][end] for state in zip(right.tolist(), wrong.tolist(), strict=True)])
            over = found > k / n if end == 0 else found < k / n
            return over, over

        return rule

    for end in (0, 1):
        assert chance_of_ever(n, k, beyond(end)) <= alpha
