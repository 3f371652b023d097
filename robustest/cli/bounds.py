"""The threshold that another sample of the same population would keep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scipy.stats import hypergeom

from robustest.results import Result
from robustest.verdicts.fixed import clopper_pearson
from robustest.verdicts.paired import drop_bounds
from robustest.verdicts.thresholds import most, need

_SHARES = frozenset({"accuracy", "robust accuracy", "flip rate", "fooling rate"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A threshold for a claim, or the reason that there is none.

    Attributes:
        threshold: the value, rounded to the safe side; None where there is none.
        margin: how far it is from what was measured; 0 where there is none.
        of_population: whether it only bounds the population's value: another sample may miss it by its own chance.
        why_not: the reason; empty where there is a threshold.
    """

    threshold: float | None
    margin: float = 0.0
    of_population: bool = False
    why_not: str = ""


def suggestion(result: Result, alpha: float) -> Suggestion:
    """The strictest threshold that another sample, of as many from the same population, keeps but for chance alpha.

    For shares and their falls the bound is one on the next sample's counts, exact and one-sided: wider than a bound on
    the population's share, as the next sample has chance of its own. A claim about a population needs that its bound,
    too, is kept by the next sample. For other values it is the end of the interval.

    Args:
        result: of a claim with a threshold, measured on every sample.
        alpha: the chance that the next sample breaks it, in (0, 0.5).
    """
    if result.estimate is None:
        return Suggestion(threshold=None, why_not=f"only {result.n_used} of {result.n_total} samples were looked at")
    if spoke := _health(result):
        return Suggestion(threshold=None, why_not=f"health check: {spoke}; what holds may not be robust")
    bound = _next(result, alpha)
    at_least = result.comparison == ">="
    if bound is None:
        value, n = result.left_interval[0 if at_least else 1], 1000
    else:
        value, n = bound
    threshold = _rounded(value, n, down=at_least, share=bound is not None)
    if threshold <= 0 if at_least else bound is not None and threshold >= 1:
        return Suggestion(threshold=None, why_not=f"n={n} is too few for one that says anything")
    return Suggestion(threshold=threshold, margin=abs(result.estimate - threshold), of_population=bound is None)


def fewest(held: int, n: int, alpha: float) -> int:
    """The fewest of n that hold in another sample, but for chance alpha: an exact one-sided prediction bound.

    Where both samples are of one population, and so many hold in both together, those in the second are
    hypergeometric, whatever the population's share: the bound is the smallest number that Fisher's exact test does not
    reject (Thatcher, Journal of the Royal Statistical Society B 1964).

    Args:
        held: how many of the first n hold.
        n: size of each sample, >= 1.
        alpha: the chance that the second has fewer, at most.
    """
    low, high = 0, held  # as many again are never rejected at alpha < 1/2
    while low < high:
        middle = (low + high) // 2
        if hypergeom.cdf(middle, 2 * n, held + middle, n) > alpha:
            high = middle
        else:
            low = middle + 1
    return low


def _next(result: Result, alpha: float) -> tuple[float, int] | None:
    """The bound, and of how many samples; None where the numbers for one are not in the result."""
    population = result.rule.startswith("population")
    details: Mapping[str, Any] = result.details
    if result.quantity == "accuracy drop" and _counts(details, "lost", "gained"):
        n = result.n_used
        lost = n - fewest(n - details["lost"], n, alpha / 2)
        gained = fewest(details["gained"], n, alpha / 2)
        value = drop_bounds(lost, gained, n, alpha)[1] if population else (lost - gained) / n
        return (max(0.0, value), n) if _same(result, (details["lost"] - details["gained"]) / n) else None
    events, n = sum(outcome is True for outcome in result.outcomes), result.n_used
    if result.comparison == "<=":
        events = sum(outcome is False for outcome in result.outcomes)
    if result.quantity == "flip rate" and _counts(details, "flips", "of"):
        events, n = details["flips"], details["of"]
    if result.quantity not in _SHARES or n < 1 or not _same(result, events / n):
        return None
    if result.comparison == ">=":
        k = fewest(events, n, alpha)
        return (clopper_pearson(k, n, alpha)[0] if population else k / n), n
    k = n - fewest(n - events, n, alpha)
    return (clopper_pearson(k, n, alpha)[1] if population else k / n), n


def _counts(details: Mapping[str, Any], *names: str) -> bool:
    return all(type(details.get(name)) is int for name in names)


def _same(result: Result, value: float) -> bool:
    return result.estimate is not None and math.isclose(result.estimate, value, abs_tol=1e-9)


def _health(result: Result) -> str:
    findings = result.details.get("health") or []
    return ", ".join(finding["name"] for finding in findings if not finding["suppressed"])


def _rounded(value: float, n: int, *, down: bool, share: bool) -> float:
    """To the safe side: shares to a tenth of a percent, or finer for many samples; others to three digits."""
    if value == 0:
        return 0.0
    digits = (3 if n <= 1000 else 4) if share else 2 - math.floor(math.log10(abs(value)))
    parts: float = 10.0**digits
    if share and abs(value) <= 1:  # exactly, as thresholds are counted
        return (most(value, int(parts)) if down else need(value, int(parts))) / parts
    return round((math.floor if down else math.ceil)(value * parts) / parts, digits)
