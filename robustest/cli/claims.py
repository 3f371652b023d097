"""The claim that a result is of, and what it asks for."""

from __future__ import annotations

from robustest.results import Result
from robustest.words import further_limits

Bars = tuple[tuple[str, float], ...]
"""What a claim asks for: each comparison (">=" or "<=") and its number."""


def claim_of(test: str, result: Result) -> tuple[str, str]:
    """Return what names a claim in every run: its test and its key."""
    return test, result.claim


def limits_of(result: Result) -> Bars:
    """Return the numbers that a claim requires, its threshold first."""
    first = () if result.threshold is None else ((result.comparison, result.threshold),)
    return (*first, *((one.comparison, one.value) for one in further_limits(result)))


def bars_of(result: Result, alpha: float) -> Bars:
    """Return every number that a claim asks for, in an order of its own: two results of one claim compare one by one.

    The scope is one of them, as a claim about the population asks for more than one about the set; so is what a
    baseline demands; and the error level, last, as a smaller one asks for more.
    """
    asked = list(limits_of(result))
    asked.append((">=", float(of_population(result))))
    baseline = result.details.get("baseline") or {}
    if isinstance(baseline.get("accuracy"), float):
        asked.append((">=", baseline["accuracy"] - float(baseline.get("tolerance") or 0.0)))
    return (*asked, ("<=", alpha))


def of_population(result: Result) -> bool:
    """Return True if a claim asks for what bounds on the population keep.

    Of a claim that is about the population in any scope, the scope may still rule parts of it.
    """
    return bool(result.details.get("scope_of_parts", result.scope) == "population")


def stricter(before: Bars, after: Bars) -> bool:
    """Return True if something more is asked for than before."""
    if len(before) != len(after):
        return len(after) > len(before)
    return any(b > a if sign == ">=" else b < a for (sign, a), (_, b) in zip(before, after, strict=True))
