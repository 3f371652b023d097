"""Claims as rules on a stream of outcomes: when it is settled, and what to say of it then.

Verdicts on a share as early as they are certain enough: samples drawn without replacement from a finite set.

The claim is about a set of N samples of which K hold, looked at in a random order. A mixture of likelihood
ratios against the nearest false value of K is a non-negative supermartingale of mean at most 1 while the claim
is false, so that it ever reaches 1 / alpha with probability at most alpha (Ville, 1939; for sampling without
replacement see Waudby-Smith and Ramdas, NeurIPS 2020). It may be looked at after every sample.

Verdicts on a share when every sample was evaluated.

Intervals of streams of outcomes that may have been read on after they had settled a claim.

Verdicts by resampling or by a studentised mean: about alpha, and never a pass of a population.

A bootstrap, a jackknife and Student's t take the spread of a sample for that of the population. Where a loss sits in a
few rare items, annotators or trainings, a sample often holds none of them: it shows next to no spread, and a false
claim passes far more often than alpha (`benchmarks/rare_strata.py`). More draws of the bootstrap change nothing. So
such a rule says "about", and its pass is of the units that were looked at, as `scope="set"` asks; where the claim is
about the population, a pass becomes inconclusive. A failure may stand: it is no green number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict

Columns = Mapping[str, NDArray[Any]]
"""Per-sample arrays, rows in the seeded random order in which the samples were looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a verdict may rest on.

    Attributes:
        scope: "set" (this very set of samples) or "population" (what it was drawn from).
        alpha: error allowed for a pass, and on each end of an interval.
        fail_alpha: error allowed for a failure before every sample was looked at; less than alpha, as many claims of
            a run share it (see `multiplicity`). What is not that sure is looked at further.
    """

    scope: str
    alpha: float
    fail_alpha: float

    def of(self) -> Any:
        """Keyword arguments of the rules for samples that were all looked at."""
        return {"scope": self.scope, "alpha": self.alpha}


@dataclass(frozen=True, slots=True)
class EarlyVerdict:
    """Where a stream of outcomes settles a claim.

    Attributes:
        verdict: passed or failed.
        after: outcomes read, 0..N.
        certain: whether no outcome of the rest could change it; else it holds at alpha.
        alpha: the error allowed on its side.
    """

    verdict: Verdict
    after: int
    certain: bool
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """A part of the samples, judged by itself.

    Attributes:
        name: what its samples have in common: "2 objects".
        n: samples of it that were looked at.
        value: the claimed quantity, measured on them alone.
        interval: bounds of the value that hold for all strata at once.
        beyond: whether the value is beyond the threshold at the level that all strata share.
    """

    name: str
    n: int
    value: float
    interval: tuple[float, float]
    beyond: bool

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}] on {self.n} samples of {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and what it rests on.

    Attributes:
        verdict: passed, failed or inconclusive.
        rule: why, in words.
        estimate: the measured value; None where not all samples were looked at.
        interval: two-sided at 1 - 2 alpha, so that each end is the one-sided bound of a population claim.
        at_alpha: whether the verdict rests on alpha: another draw of samples could have made another one.
        proven: whether it passed by proofs alone, so that it does not matter what a search could not find.
        approximate: whether the error is only about alpha, and by no bound at most that.
        strata: the parts of the samples that were judged by themselves too; empty where there are none.
        reasons: as of `robustest.results.Result`: why the verdict is not what the value alone would make it.
    """

    verdict: Verdict
    rule: str
    estimate: float | None
    interval: tuple[float, float]
    at_alpha: bool = False
    proven: bool = False
    approximate: bool = False
    strata: tuple[Stratum, ...] = ()
    reasons: tuple[str, ...] = ()


class Rule(Protocol):
    """A rule on a stream of outcomes."""

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """Where the outcomes so far settle it, of n samples in all; None where they do not, or must not yet."""

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """The verdict on the samples looked at, of n in all."""

    def doomed(self, broken: int, n: int) -> bool:
        """Whether so many samples that do not hold, of n, refute it whatever the others do."""


@runtime_checkable
class DivisibleRule(Rule, Protocol):
    """A rule that can be asked about a part of the samples."""

    def for_part(self, terms: Terms) -> Rule:
        """Return the rule for a part of the samples, on other terms."""


def first_verdict(
    passes: NDArray[np.bool_],
    fails: NDArray[np.bool_],
    *,
    pass_alpha: float,
    fail_alpha: float,
    sure: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> EarlyVerdict | None:
    """The first point at which a stream passes or fails; where it does both at once, it passes.

    Args:
        passes, fails: (t,) whether the outcomes read by then settle it so.
        pass_alpha, fail_alpha: chance allowed for a pass, and for a failure, that is wrong.
        sure: (t,) whether no outcome of the rest could change a pass, and whether none could change a failure; None
            where neither is ever certain.

    Returns:
        None where none of them settles it.
    """
    either = passes | fails
    if not either.any():
        return None
    at = int(either.argmax())
    passed = bool(passes[at])
    certain = sure is not None and bool(sure[0 if passed else 1][at])
    if passed:
        return EarlyVerdict(Verdict.PASSED, at + 1, certain=certain, alpha=pass_alpha)
    return EarlyVerdict(Verdict.FAILED, at + 1, certain=certain, alpha=fail_alpha)


def judge_interval(
    interval: tuple[float, float], threshold: float, *, at_least: bool, wider: tuple[float, float] | None = None
) -> Verdict:
    """Passed where the whole interval keeps the threshold, failed where it breaks it, else inconclusive.

    Args:
        interval: the interval of the measured value.
        threshold: the value claimed.
        at_least: whether the value must be at least the threshold, or at most.
        wider: the interval that failures are judged by, where it is another one.
    """
    low, high = interval
    if low >= threshold if at_least else high <= threshold:
        return Verdict.PASSED
    low, high = wider or interval
    if high < threshold if at_least else low > threshold:
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE


def decide_early(
    threshold: float | None,
    interval: tuple[float, float],
    read: int,
    n: int,
    settled: EarlyVerdict | None,
    *,
    at_least: bool,
    terms: Terms,
) -> Decision:
    """The verdict where only `read` of n samples were looked at: no estimate, an interval."""
    if settled is not None:
        kind = "certain" if settled.certain else f"alpha = {settled.alpha:.2g}"
        return Decision(
            verdict=settled.verdict,
            rule=f"{kind} after {settled.after} of {n}",
            estimate=None,
            interval=interval,
            at_alpha=not settled.certain,
        )
    rule = f"budget: {read} of {n} samples looked at"
    verdict = Verdict.INCONCLUSIVE
    if threshold is None:
        rule = f"no threshold given; {rule}"
    elif terms.scope != "set":
        verdict = judge_interval(interval, threshold, at_least=at_least)
        rule = f"population, alpha = {terms.alpha:g} a side; {rule}"
    return Decision(verdict=verdict, rule=rule, estimate=None, interval=interval, at_alpha=terms.scope != "set")


Interval = tuple[float, float]


def anytime_interval(bounds: Callable[[int], Interval], read: int, settled: EarlyVerdict | None) -> Interval:
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


def about(alpha: float) -> str:
    """Return the words for an error that an approximate rule only aims at."""
    return f"about alpha = {alpha:g} a side"


def approximate(decision: Decision, terms: Terms, *, by: str, units: str, instead: str = "") -> Decision:
    """Return the decision of an approximate rule, marked as such, with a pass of a population made inconclusive.

    Args:
        decision: as the approximate interval has it.
        terms: of the claim.
        by: the approximate method, in words.
        units: the units that vary, in words.
        instead: a claim that can be made of the population, in words; empty where there is none.
    """
    decision = replace(decision, approximate=True)
    if terms.scope == "set" or decision.verdict is not Verdict.PASSED:
        return decision
    remedy = f'claim it of these {units} (scope="set")'
    rule = (
        f"not shown of the population: {by} holds only {about(terms.alpha)}, for many {units} and none that are rare; "
        f"{f'{instead}, or ' if instead else ''}{remedy}"
    )
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
