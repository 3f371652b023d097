"""Rules: outcomes in, a decision out."""

# A rule answers a claim from columns of per-sample outcomes, read in a seeded random order:
#
# 1. After each chunk `settle` returns a verdict if the outcomes so far decide the claim: with certainty (no outcome of
#    the rest could change it), or with an error of at most alpha wherever reading stops (anytime-valid: Ville, 1939).
# 2. `decide` then gives the verdict, the estimate and an interval that is two-sided at 1 - 2 alpha.
#
# With `scope="set"` the claim is about these samples: once all are evaluated nothing is left to chance. With
# `scope="population"` it is about the population that they were drawn from: every sample is evaluated, and the
# one-sided bound at alpha must keep the threshold. A rule without a threshold measures, and claims nothing.

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.words import interval_in_words, number

Columns = Mapping[str, NDArray[Any]]
"""Per-sample arrays, rows in the seeded random order of evaluation."""

Interval = tuple[float, float]


def generator(seed: int) -> np.random.Generator:
    """Return NumPy's generator for a seed, which may be any whole number: NumPy takes none below 0."""
    return np.random.default_rng(seed % 2**64)


class _Levels(Protocol):
    """The settings that terms are made of, as `robustest.Settings` has them."""

    @property
    def scope(self) -> str: ...

    @property
    def alpha(self) -> float: ...

    @property
    def family_size(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The scope of a claim and the errors that its verdict may take.

    Attributes:
        scope: "set" (these samples) or "population" (the population they were drawn from).
        alpha: error of a pass, and on each end of an interval.
        fail_alpha: error of a failure before every sample was evaluated; less than alpha, as a run's claims share it
            (see `failure_level`).
    """

    scope: str
    alpha: float
    fail_alpha: float

    @classmethod
    def of(cls, settings: _Levels) -> Terms:
        """Return the terms of a claim with these settings."""
        level = failure_level(settings.alpha, settings.family_size)
        return cls(scope=settings.scope, alpha=settings.alpha, fail_alpha=level)


# A green run needs no correction: the run is wrongly green only if one of its claims is (an intersection-union test;
# Berger, Technometrics 1982). A red run does: if 200 claims lie at their thresholds, most runs refute one of
# them wrongly. So early failures share alpha (Bonferroni): each has the level alpha / `family_size`. A claim too close
# to its threshold to fail at this level is evaluated further until its verdict is certain. Verdicts that more samples
# cannot make certain (on a population, against a baseline) are not corrected: their failures are wrong with probability
# alpha at most, as their passes are.


def failure_level(alpha: float, family_size: int) -> float:
    """Return the level of one claim's early failure that keeps the error of a family of claims at alpha.

    Args:
        alpha: error of the family, in (0, 0.5).
        family_size: claims in the family, >= 1.
    """
    # The size is a setting, not a count: the selection of tests, and claims that ran before in the same process, must
    # not change a verdict.
    return max(alpha / family_size, sys.float_info.min)  # never 0: its logarithm is infinite


@dataclass(frozen=True, slots=True)
class EarlyVerdict:
    """The first point at which a stream of outcomes decides a claim.

    Attributes:
        after: outcomes evaluated, 0..N.
        certain: True if no outcome of the rest could change the verdict; else it errs with alpha.
    """

    verdict: Verdict
    after: int
    certain: bool
    alpha: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stratum:
    """A part of the samples with its own verdict.

    Attributes:
        name: the property that its samples share, as "2 objects".
        n: evaluated samples.
        value: the claimed quantity on these samples.
        interval: bounds of the value that hold for all strata at once.
        beyond: True if the value breaks the threshold at the level that all strata share.
    """

    name: str
    n: int
    value: float
    interval: Interval
    beyond: bool

    def __str__(self) -> str:
        return f"{number(self.value)} {interval_in_words(*self.interval)} on {self.n} samples of {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict and its grounds.

    Attributes:
        rule: the reason, in words.
        estimate: the measured value; None if not all samples were evaluated.
        interval: two-sided at 1 - 2 alpha, so that each end is the one-sided bound of a population claim.
        at_alpha: True if another draw of samples could have led to another verdict.
        proven: True if proofs alone made it pass, so that the strength of a search does not matter.
        approximate: True if the error is only about alpha, without a finite-sample bound.
        clusters: number and sizes of the clusters that it was made by, in words; "" if units were independent.
        reasons: keys of `robustest.results.REASONS`: why the verdict does not follow from the value alone.
    """

    verdict: Verdict
    rule: str
    estimate: float | None
    interval: Interval
    at_alpha: bool = False
    proven: bool = False
    approximate: bool = False
    strata: tuple[Stratum, ...] = ()
    clusters: str = ""
    reasons: tuple[str, ...] = ()


class Rule(ABC):
    """A claim on a stream of outcomes.

    Attributes:
        of_population: True if the claim is about the population for either scope.
    """

    __slots__ = ()
    of_population: ClassVar[bool] = False

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """Return the point at which the outcomes so far decide the claim; None if there is none, or never one.

        Args:
            columns: outcomes so far.
            n: samples in all.
        """
        return None

    @abstractmethod
    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        """Return the verdict on the evaluated samples, of n in all.

        Args:
            early: the point at which they decided the claim before the last sample, if they did.
        """

    def doomed(self, broken: int, n: int) -> bool:
        """Return True if `broken` samples that do not hold, of n, refute the claim for any outcomes of the others."""
        # Few rules can tell: for most, values, groups or scores of the broken samples would have to be known.
        return False

    def for_part(self, terms: Terms) -> Rule | None:
        """Return the rule for a part of the samples, on other terms; None if it needs all of them."""
        return None

    def among(self, kept: NDArray[np.int64]) -> Rule:
        """Return the rule for the samples at these positions, rising, as if there were no others."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdRule(Rule):
    """A claim that a quantity keeps a threshold.

    Attributes:
        threshold: the number claimed; None measures, and claims nothing.
    """

    threshold: float | None
    terms: Terms


def first_verdict(
    passes: NDArray[np.bool_],
    fails: NDArray[np.bool_],
    *,
    pass_alpha: float,
    fail_alpha: float,
    sure: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None = None,
) -> EarlyVerdict | None:
    """Return the first point at which a stream passes or fails, or None; a point of both passes.

    Args:
        passes, fails: (t,) True where the outcomes by then decide the claim.
        pass_alpha, fail_alpha: errors of a wrong pass and a wrong failure.
        sure: two (t,) masks: True where no outcome of the rest could change a pass, and a failure; None for never.
    """
    either = passes | fails
    if not either.any():
        return None
    at = int(either.argmax())
    passed = bool(passes[at])
    certain = sure is not None and bool(sure[0 if passed else 1][at])
    verdict, alpha = (Verdict.PASSED, pass_alpha) if passed else (Verdict.FAILED, fail_alpha)
    return EarlyVerdict(verdict, at + 1, certain=certain, alpha=alpha)


def judge_interval(interval: Interval, threshold: float, *, at_least: bool, wider: Interval | None = None) -> Verdict:
    """Return passed if the whole interval keeps the threshold, failed if it breaks it, else inconclusive.

    Args:
        at_least: True if the value must be at least the threshold, False if at most.
        wider: the interval for failures, if it is another one.
    """
    low, high = interval
    if low >= threshold if at_least else high <= threshold:
        return Verdict.PASSED
    low, high = wider or interval
    if high < threshold if at_least else low > threshold:
        return Verdict.FAILED
    return Verdict.INCONCLUSIVE


def decide_whole(
    estimate: float,
    interval: Interval,
    threshold: float | None,
    *,
    at_least: bool,
    scope: str,
    alpha: float,
    holds: Callable[[float], bool],
    wider: Interval | None = None,
    exact_on: str = "this set",
) -> Decision:
    """Return the decision where every sample was evaluated.

    Args:
        estimate: the measured value.
        interval: its bounds for the population, at alpha on each side.
        at_least, wider: see `judge_interval`.
        scope, alpha: see `Terms`.
        holds: maps the threshold to True if the samples keep it, in exact arithmetic; decides a claim about the set.
        exact_on: the samples of a claim about the set, in words.
    """
    if threshold is None:
        return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=estimate, interval=interval)
    if scope == "set":
        verdict = Verdict.PASSED if holds(threshold) else Verdict.FAILED
        return Decision(verdict=verdict, rule=f"certain: exact on {exact_on}", estimate=estimate, interval=interval)
    verdict = judge_interval(interval, threshold, at_least=at_least, wider=wider)
    rule = f"population, alpha = {alpha:g} a side"
    return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=True)


def decide_early(
    threshold: float | None,
    interval: Interval,
    read: int,
    n: int,
    early: EarlyVerdict | None,
    *,
    at_least: bool,
    terms: Terms,
) -> Decision:
    """Return the decision where only `read` of n samples were evaluated: an interval, no estimate."""
    if early is not None:
        kind = "certain" if early.certain else f"alpha = {early.alpha:.2g}"
        return Decision(
            verdict=early.verdict,
            rule=f"{kind} after {early.after} of {n}",
            estimate=None,
            interval=interval,
            at_alpha=not early.certain,
        )
    rule = f"budget: {read} of {n} samples looked at"
    verdict = Verdict.INCONCLUSIVE
    if threshold is None:
        rule = f"no threshold given; {rule}"
    elif terms.scope != "set":
        # A sample of the population of any size gives a fixed-sample bound; of a set, only `early` may decide it.
        verdict = judge_interval(interval, threshold, at_least=at_least)
        rule = f"population, alpha = {terms.alpha:g} a side; {rule}"
    return Decision(verdict=verdict, rule=rule, estimate=None, interval=interval, at_alpha=terms.scope != "set")


def anytime_interval(bounds: Callable[[int], Interval], read: int, early: EarlyVerdict | None) -> Interval:
    """Return an interval that is valid at any stopping point, and on the side of an early verdict.

    Args:
        bounds: maps t >= 1 to the interval after the first t outcomes.
        read: evaluated outcomes.
        early: the point at which they decided the claim, if they did.
    """
    low, high = bounds(read)
    # A value ruled out when the claim was decided stays ruled out, so that the interval agrees with the verdict where
    # later outcomes blur it. If later outcomes contradict it (probability alpha a side, at most), the verdict's own
    # interval stays.
    if early is not None and 0 < early.after < read:
        then = bounds(early.after)
        low, high = max(low, then[0]), min(high, then[1])
        if low > high:
            low, high = then
    # Bounds may cross for the same reason: the range between the crossed ends is shown.
    return min(low, high), max(low, high)


def decide_by_interval(
    estimate: float | None,
    interval: Interval,
    threshold: float | None,
    *,
    at_least: bool,
    terms: Terms,
    how: str,
    by: str = "",
    units: str = "samples",
    instead: str = "",
    doubt: str = "",
) -> Decision:
    """Return the decision on a value that an interval bounds, two-sided at 1 - 2 alpha.

    Args:
        estimate: the value; None if not all units were evaluated.
        interval: its bounds.
        threshold: the number claimed, or None.
        at_least: True if the value must be at least the threshold, False if at most.
        how: the way to the interval, in words.
        by: the method, in words, by which the interval is only approximate: such a decision is marked, and passes no
            claim about a population. Empty for an interval that holds in finite samples.
        units, instead: see `approximate`.
        doubt: the reason why the value shows nothing, so that nothing is decided; or empty.
    """
    verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    if threshold is not None:
        verdict = judge_interval(interval, threshold, at_least=at_least)
        rule = f"{how}, {about(terms.alpha) if by else f'alpha = {terms.alpha:g} a side'}"
    if doubt:
        verdict, rule = Verdict.INCONCLUSIVE, doubt
    at_alpha = threshold is not None
    decision = Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=at_alpha)
    return approximate(decision, terms, by=by, units=units, instead=instead) if by else decision


def about(alpha: float) -> str:
    """Return the words for an error that an approximate rule only aims at."""
    return f"about alpha = {alpha:g} a side"


def approximate(decision: Decision, terms: Terms, *, by: str, units: str, instead: str = "") -> Decision:
    """Return the decision of an approximate rule, marked; its pass of a population becomes inconclusive.

    Args:
        by: the approximate method, in words.
        units: the units that vary, in words.
        instead: a claim that can be made of the population, in words, or "".
    """
    decision = replace(decision, approximate=True)
    # A bootstrap, a jackknife and Student's t take a sample's spread for the population's. If a loss sits in a few
    # rare units, a sample often holds none of them, shows next to no spread, and a false claim passes far more often
    # than alpha (`benchmarks/rare_strata.py`); more bootstrap draws change nothing. A failure may stand: it is not
    # green.
    if terms.scope == "set" or decision.verdict is not Verdict.PASSED:
        return decision
    remedy = f'claim it of these {units} (scope="set")'
    rule = (
        f"not shown for the population: {by} holds only {about(terms.alpha)}, for many {units} and none that are rare; "
        f"{f'{instead}, or ' if instead else ''}{remedy}"
    )
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
