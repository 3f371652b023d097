"""Guards of falls between two sets that are settled early: the fewest that must hold, and when nothing is settled."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from robustest.decisions.rule import Terms
from robustest.decisions.two_set_drop import TwoSetDropRule
from robustest.results import Verdict

TERMS = Terms(scope="set", alpha=1e-6, fail_alpha=1e-6)


def settled(held: int, n: int, **fields: Any) -> Any:
    """The end of a stream of n outcomes, in which those that hold come last."""
    return TwoSetDropRule(**{"terms": TERMS, "whole": True, **fields}).settle({"held": np.arange(n) >= n - held}, n)


@pytest.mark.parametrize(
    ("first", "n_first", "n", "threshold"),
    [
        # A third and a seventh are no floats: what falls by exactly as much is allowed.
        *((2, 3, 3, 1 / 3), (1, 3, 3, 1 / 3), (3, 3, 3, 2 / 3), (2, 2, 7, 1 / 7), (1, 3, 7, 1 / 3), (2, 3, 9, 1 / 3)),
        *((9, 10, 10, 0.1), (9, 10, 10, 0.3), (9, 10, 20, 0.15), (7, 9, 10, 0.2), (5, 6, 8, 0.05), (19, 20, 20, 0.0)),
        *((9, 10, 10, 0.09999), (9, 10, 10, 0.10001), (1, 1, 5, 0.3), (1, 1, 5, 0.1 + 0.2)),
    ],
)
def test_the_fewest_that_must_hold_are_those_of_the_exact_fall(
    first: int, n_first: int, n: int, threshold: float
) -> None:
    def allowed(held: int) -> bool:
        fall = Fraction(first, n_first) - Fraction(held, n)
        return fall <= Fraction(repr(threshold)) or float(fall) <= threshold

    least = min(held for held in range(n + 1) if allowed(held))
    for held in range(n + 1):
        found = settled(held, n, first=first, n_first=n_first, threshold=threshold)
        assert found.verdict is (Verdict.PASSED if held >= least else Verdict.FAILED), held


@pytest.mark.parametrize(
    ("fields", "ends"),
    [
        ({}, True),
        ({"threshold": None}, False),
        ({"whole": False}, False),
        ({"terms": Terms(scope="population", alpha=1e-6, fail_alpha=1e-6)}, False),
    ],
)
def test_a_claim_about_a_population_or_from_a_part_is_not_settled(fields: dict[str, Any], ends: bool) -> None:
    found = settled(10, 10, **{"first": 9, "n_first": 10, "threshold": 0.1, **fields})
    assert (found is not None) is ends
