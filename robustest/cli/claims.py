"""What makes two results results of the same claim, and what they ask for."""

from __future__ import annotations

import re

from robustest.history import without_thresholds as without_thresholds
from robustest.results import Result

_THRESHOLD = re.compile(r"\s*(>=|<=)\s*([-+.\deE]+)")

Bars = tuple[tuple[str, float], ...]
"""What a claim asks for: each comparison (">=" or "<=") and its number."""


def claim_of(test: str, result: Result) -> tuple[str, str, str]:
    """A test's claim: the test, the kind of claim, and its words without thresholds, which may change."""
    return test, result.kind, without_thresholds(result.statement)


def limits_of(result: Result) -> Bars:
    """The numbers in a claim's words."""
    return tuple((sign, float(number)) for sign, number in _THRESHOLD.findall(result.statement))


def bars_of(result: Result, alpha: float) -> Bars:
    """Every number that a claim asks for, in an order of its own: two results of one claim have theirs side by side.

    The scope is one of them, as a claim about the population asks for more than one about the set; so is what a
    baseline demands; and the error level, last, as a smaller one asks for more.
    """
    asked = list(limits_of(result))
    if result.threshold is not None:
        asked.insert(0, (result.comparison, result.threshold))
    asked.append((">=", float(of_population(result))))
    baseline = result.details.get("baseline") or {}
    if isinstance(baseline.get("accuracy"), float):
        asked.append((">=", baseline["accuracy"] - float(baseline.get("tolerance") or 0.0)))
    return (*asked, ("<=", alpha))


def of_population(result: Result) -> bool:
    """Whether a claim asks for what bounds on the population keep, whatever words its rule has.

    Of a claim that is about the population in any scope, the scope may still rule parts of it.
    """
    scope = result.details.get("scope_of_parts", result.scope)
    return scope == "population" or result.rule.startswith("population")  # results of before had no scope


def stricter(before: Bars, after: Bars) -> bool:
    """Whether something more is asked for than before."""
    if len(before) != len(after):
        return len(after) > len(before)
    return any(b > a if sign == ">=" else b < a for (sign, a), (_, b) in zip(before, after, strict=True))
