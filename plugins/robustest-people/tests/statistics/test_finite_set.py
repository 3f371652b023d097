"""Bounds on how many of a finite set are wrong: exact by enumeration, and never more certain than the draws allow."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from robustest_people.label_quality import count_bounds, decide_wrong

from robustest import Verdict


def chance(seen: int, looked: int, wrong: int, total: int) -> float:
    return comb(wrong, seen) * comb(total - wrong, looked - seen) / comb(total, looked)


@pytest.mark.parametrize(("looked", "total", "alpha"), [(5, 12, 0.05), (1, 7, 0.1), (7, 7, 0.01), (10, 30, 0.01)])
def test_the_bounds_err_as_seldom_as_they_say(looked: int, total: int, alpha: float) -> None:
    for wrong in range(total + 1):
        below = above = 0.0
        for seen in range(max(0, looked - total + wrong), min(looked, wrong) + 1):
            low, high = count_bounds(seen, looked, total, alpha)
            below += chance(seen, looked, wrong, total) * (high < wrong)
            above += chance(seen, looked, wrong, total) * (low > wrong)
        assert max(below, above) <= alpha + 1e-12


def test_the_bounds_are_as_tight_as_they_can_be() -> None:
    """One more than the most is ruled out; the most is not."""
    for seen in range(4):
        low, high = count_bounds(seen, 8, 40, 0.05)
        tail = sum(chance(k, 8, high, 40) for k in range(seen + 1))
        assert tail > 0.05 >= sum(chance(k, 8, high + 1, 40) for k in range(seen + 1))
        if low > seen:
            assert sum(chance(k, 8, low - 1, 40) for k in range(seen, 9)) <= 0.05


def test_a_set_that_was_looked_at_whole_is_certain() -> None:
    assert count_bounds(3, 50, 50, 0.01) == (3, 3)
    found = decide_wrong(3, 0, 50, 50, 0.06, scope="set", alpha=0.01)
    assert (found.verdict, found.interval, found.at_alpha) == (Verdict.PASSED, (0.06, 0.06), False)
    assert decide_wrong(4, 0, 50, 50, 0.06, scope="set", alpha=0.01).verdict is Verdict.FAILED
    assert decide_wrong(3, 1, 50, 50, 0.06, scope="set", alpha=0.01).verdict is Verdict.INCONCLUSIVE, "one is tied"


def test_79_wrong_labels_of_10000() -> None:
    """1,000 looks settle "at most 2 %" in three of four draws or more, and hardly ever bound it below the truth."""
    random = np.random.default_rng(0)
    draws = [int(random.hypergeometric(79, 9921, 1000)) for _ in range(400)]
    found = {seen: decide_wrong(seen, 0, 1000, 10_000, 0.02, scope="set", alpha=0.01) for seen in set(draws)}
    assert np.mean([found[seen].verdict is Verdict.PASSED for seen in draws]) >= 0.75
    assert np.mean([found[seen].interval[1] < 0.0079 for seen in draws]) <= 0.02


def test_three_wrong_of_300_settle_nothing() -> None:
    for scope in ("set", "population"):
        found = decide_wrong(3, 0, 300, 10_000, 0.02, scope=scope, alpha=0.01)
        assert (found.verdict, found.estimate) == (Verdict.INCONCLUSIVE, 0.01)
        assert found.interval[0] < 0.01
        assert found.interval[1] > 0.02
    assert decide_wrong(30, 0, 300, 10_000, 0.02, scope="set", alpha=0.01).verdict is Verdict.FAILED
    assert decide_wrong(30, 0, 300, 10_000, 0.02, scope="population", alpha=0.01).verdict is Verdict.FAILED
    assert decide_wrong(0, 0, 300, 10_000, 0.02, scope="population", alpha=0.01).verdict is Verdict.PASSED
    assert decide_wrong(0, 6, 300, 10_000, 0.02, scope="population", alpha=0.01).verdict is Verdict.INCONCLUSIVE


def test_nothing_is_decided_where_nothing_is_claimed() -> None:
    found = decide_wrong(3, 0, 300, 10_000, None, scope="set", alpha=0.01)
    assert (found.verdict, found.rule, found.at_alpha) == (Verdict.INCONCLUSIVE, "no threshold given", False)
