"""The threshold that another sample of the same population would keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import hypergeom, t

from robustest.cli.claims import limits_of, of_population
from robustest.decisions.drop import drop_bounds
from robustest.decisions.share import clopper_pearson
from robustest.decisions.thresholds import count_at_least, count_at_most
from robustest.results import Result, Verdict
from robustest.run.finish import keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """A threshold for a claim, or the reason that there is none.

    Attributes:
        threshold: the value, rounded to the safe side; None where there is none.
        margin: how far it is from what was measured; 0 where there is none.
        of_population: whether it only bounds the population's value: another sample may miss it by its own chance.
        why_not: the reason; empty where there is a threshold.
        seeds: how many it rests on, where the value moves with the seed; else 1.
    """

    threshold: float | None
    margin: float = 0.0
    of_population: bool = False
    why_not: str = ""
    seeds: int = 1


def suggestion(result: Result, alpha: float, others: Sequence[Result] = ()) -> Suggestion:
    """The strictest threshold that another sample, of as many from the same population, keeps but for chance alpha.

    For shares and their falls the bound is one on the next sample's counts, exact and one-sided: wider than a bound on
    the population's share, as the next sample has chance of its own. A claim about a population needs that its bound,
    too, is kept by the next sample. For other values it is the end of the interval. Where the value moves with the
    seed, the bound is one that another seed's bound keeps as well: a one-sided prediction bound of Student's t, or the
    worst of those seen where that is further.

    Args:
        result: of a claim with a threshold, measured on every sample.
        alpha: the chance that the next sample breaks it, in (0, 0.5).
        others: the same claim under other seeds.
    """
    results = (result, *others)
    if why_not := next(filter(None, (_why_not(one) for one in results)), ""):
        return Suggestion(threshold=None, why_not=why_not)
    moved = any(moves(result, other) for other in others)
    if moved and len(results) < SEEDS:
        return Suggestion(threshold=None, why_not=f"it moves with the seed, and only {len(results)} were measured")
    at_least = result.comparison == ">="
    found = [_next(one, alpha) for one in results]
    share = all(bound is not None for bound in found)
    values = [one.left_interval[0 if at_least else 1] for one in results]
    value = _beyond([bound[0] for bound in found if bound] if share else values, alpha, at_least=at_least)
    n = found[0][1] if share and found[0] is not None else 1000
    threshold = _rounded(value, n, down=at_least, share=share)
    if threshold <= max(0.0, result.trivial or 0.0) if at_least else threshold >= _widest(result, share=share):
        few = "it moves too much with the seed" if moved else f"n={n} is too few"
        return Suggestion(threshold=None, why_not=f"{few} for one that says anything")
    if (before := min(map(_to_lose, results))) <= threshold:
        held = "held before" if not result.details.get("without_looking") else "was right before beyond chance"
        why_not = f"n={n} is too few: only {before:.3f} {held}, and a fall of {threshold:g} could not fail"
        return Suggestion(threshold=None, why_not=why_not)
    if any(_untested(one, threshold) for one in results):
        why_not = f"so few samples change that nothing could fail it at {threshold:g}"
        return Suggestion(threshold=None, why_not=why_not)
    margin = abs((result.estimate or 0.0) - threshold)
    return Suggestion(threshold=threshold, margin=margin, of_population=not share, seeds=len(results) if moved else 1)


def _widest(result: Result, *, share: bool) -> float:
    """What a limit has to stay below to claim anything."""
    return (1.0 if share else math.inf) if result.trivial is None else result.trivial


SEEDS = 5
"""How many are measured where a value moves with the seed."""


def moves(first: Result, second: Result) -> bool:
    """Whether another seed gave another value, or decided otherwise."""
    if first.estimate is None or second.estimate is None:
        return True
    same = math.isclose(first.estimate, second.estimate, rel_tol=1e-9, abs_tol=1e-12)
    ends = zip(first.left_interval, second.left_interval, strict=True)
    return not same or not all(math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12) for a, b in ends)


def _why_not(result: Result) -> str:
    if result.estimate is None:
        return f"only {result.n} of {result.n_total} samples were looked at"
    if spoke := _health(result):
        return f"health check: {spoke}; what holds may not be robust"
    if untested := result.details.get("nothing_tested"):
        return str(untested)
    if result.threshold is not None and len(set(limits_of(result))) > 1:
        return "it asks for several numbers at once, and which of them to move is yours to say"
    if result.verdict is Verdict.INCONCLUSIVE and _kept(result) and not _idle(result):
        return f"inconclusive, though what was measured keeps its threshold ({result.rule}): another would not help"
    return ""


def _kept(result: Result) -> bool:
    """Whether a claim has all it asks of the number, so that something else stands in its way.

    About the set that is the number itself, about the population its interval, too.
    """
    if result.threshold is None or result.estimate is None:
        return False
    values: list[float] = [result.estimate, *(result.left_interval if of_population(result) else ())]
    return min(values) >= result.threshold if result.comparison == ">=" else max(values) <= result.threshold


def _idle(result: Result) -> bool:
    """Return True if nothing could have failed a claim, and a stricter threshold would settle it.

    It allows a fall that is no less than all that held before, or is kept by the samples that no change changed.
    """
    if result.threshold is None:
        return False
    return _to_lose(result) <= result.threshold or _untested(result, result.threshold)


def _untested(result: Result, threshold: float) -> bool:
    """Return True if a threshold would be kept were the model wrong on every sample that changed."""
    worst = result.details.get("nothing_fails_at")
    return worst is not None and keeps(worst, threshold, at_least=result.comparison == ">=")


def _to_lose(result: Result) -> float:
    """Return, of a fall, the share that was right before beyond chance: a claim that allows as much proves nothing.

    There is no limit where the start of the fall is not known.
    """
    before = result.start.value if result.start is not None else None
    if before is None and result.counts is not None and result.counts.gained is not None:
        before = result.details.get("clean_accuracy")
    chance = result.details.get("without_looking") or 0.0
    return float(before) - float(chance) if isinstance(before, float) else math.inf


def _beyond(values: Sequence[float], alpha: float, *, at_least: bool) -> float:
    """What the next of such values keeps but for a chance of alpha, and all of these do."""
    worst = min(values) if at_least else max(values)
    if len(values) < 2:
        return worst
    spread = float(t.ppf(1 - alpha, len(values) - 1)) * stdev(values) * math.sqrt(1 + 1 / len(values))
    return min(worst, mean(values) - spread) if at_least else max(worst, mean(values) + spread)


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
    population = of_population(result)
    counts = result.counts
    if counts is None or counts.n < 1:
        return None
    events, n = counts.events, counts.n
    if not _same(result, (events - (counts.gained or 0)) / n):
        return None
    if counts.gained is not None:
        lost = n - fewest(n - events, n, alpha / 2)
        gained = fewest(counts.gained, n, alpha / 2)
        value = drop_bounds(lost, gained, n, alpha)[1] if population else (lost - gained) / n
        return max(0.0, value), n
    if result.comparison == ">=":
        k = fewest(events, n, alpha)
        return (clopper_pearson(k, n, alpha)[0] if population else k / n), n
    k = n - fewest(n - events, n, alpha)
    return (clopper_pearson(k, n, alpha)[1] if population else k / n), n


def _same(result: Result, value: float) -> bool:
    return result.estimate is not None and math.isclose(result.estimate, value, abs_tol=1e-9)


def _health(result: Result) -> str:
    findings = result.details.get("health") or []
    return ", ".join(finding["name"] for finding in findings if not (finding["suppressed"] or finding.get("carried")))


def _rounded(value: float, n: int, *, down: bool, share: bool) -> float:
    """To the safe side: shares to a tenth of a percent, or finer for many samples; others to three digits."""
    if value == 0:
        return 0.0
    digits = (3 if n <= 1000 else 4) if share else 2 - math.floor(math.log10(abs(value)))
    parts: float = 10.0**digits
    if share and abs(value) <= 1:  # exactly, as thresholds are counted
        return (count_at_most(value, int(parts)) if down else count_at_least(value, int(parts))) / parts
    return round((math.floor if down else math.ceil)(value * parts) / parts, digits)
