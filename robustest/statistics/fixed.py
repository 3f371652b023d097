"""Verdicts on a share when every sample was evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import beta

from robustest.results import Verdict
from robustest.statistics.thresholds import most, need


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


def clopper_pearson(events: int, n: int, alpha: float) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson, Biometrika 1934), alpha on each side.

    Args:
        events: how many of n.
        n: number of samples, >= 1.
        alpha: the chance that the true share lies beyond one given end, at most.
    """
    low = float(beta.ppf(alpha, events, n - events + 1)) if events else 0.0
    high = float(beta.ppf(1 - alpha, events + 1, n - events)) if events < n else 1.0
    return low, high


def decide_share(
    events: int,
    n: int,
    threshold: float | None,
    *,
    at_least: bool,
    scope: str,
    alpha: float,
    fail_alpha: float | None = None,
) -> Decision:
    """A verdict on a share of which all n outcomes are known.

    Args:
        events: how many of n samples count towards the share.
        n: number of samples, all evaluated.
        threshold: the share claimed in 0..1; None where nothing is claimed.
        at_least: whether the share must be at least the threshold, or at most.
        scope: "set" is certain at n of n; "population" needs the one-sided bound beyond the threshold.
        alpha: error allowed on each side.
        fail_alpha: error allowed for a population claim's failure, where it is one of several that may fail.
    """
    estimate, interval = events / n, clopper_pearson(events, n, alpha)
    if threshold is None:
        return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=estimate, interval=interval)
    if scope == "set":
        holds = events >= need(threshold, n) if at_least else events <= most(threshold, n)
        verdict, rule = (Verdict.PASSED if holds else Verdict.FAILED), "certain: exact on this set"
    else:
        wider = interval if fail_alpha is None else clopper_pearson(events, n, fail_alpha)
        verdict = beyond(interval, threshold, at_least=at_least, wider=wider)
        rule = f"population, alpha = {alpha:g} a side"
    return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=scope != "set")


def beyond(
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
