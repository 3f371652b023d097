"""Means over answers clustered by item and by annotator, and verdicts that hold for other annotators."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot, isfinite, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from robustest import Verdict
from robustest.packs import Decision, Terms, clopper_pearson, cluster_mean_interval, decide_by_interval, number

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# With fewer annotators their variance is too uncertain for a verdict about others.
FEWEST_ANNOTATORS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A mean of clustered answers, or a difference of two."""

    value: float  # the estimate, -1..1
    error: float  # standard error; infinite where one cluster has all answers
    items: int  # items, annotators: numbers of each
    annotators: int
    freedom: float  # degrees of freedom of the error, fewer if a few clusters have most of the answers

    @property
    def known_error(self) -> float | None:
        """The standard error for a result, whose numbers are finite; None if it is not known."""
        return self.error if isfinite(self.error) else None

    def interval(self, alpha: float, *, lowest: float = -1.0) -> tuple[float, float]:
        """Return the interval by Student's t, alpha on each side, in lowest..1."""
        if self.freedom < 1:
            return lowest, 1.0
        reach = float(student.ppf(1 - alpha, self.freedom)) * self.error
        return max(lowest, self.value - reach), min(1.0, self.value + reach)


def clustered(value: float, parts: Floats, item: Ints, annotator: Ints) -> Estimate:
    """Return an estimate with its standard error for other items and other annotators.

    Args:
        parts: (R,) parts of the deviation from the truth, of sum 0; (answer - mean) / R for a mean.
        item, annotator: (R,) clusters of each answer.
    """
    pair = item * (int(annotator.max(initial=0)) + 1) + annotator
    # Two-way variance V_i + V_a - V_ia of clusters by item, annotator and pair (Cameron, Gelbach and Miller, Journal of
    # Business and Economic Statistics 2011, section 2). Resampling items alone treats the annotators as all there are:
    # with ten annotators its intervals are three times too narrow.
    by_item, by_annotator, by_both = (_variance(parts, clusters) for clusters in (item, annotator, pair))
    # By chance the two-way variance can be too small or negative, so the larger one-way variance is its lower bound.
    variance = max(by_item + by_annotator - by_both, by_item, by_annotator)
    return _estimate(value, variance, item, annotator, min(_effective(item), _effective(annotator)))


def share_by_annotator(held: NDArray[np.bool_], item: Ints, annotator: Ints) -> Estimate:
    """Return the share of answers that hold, for other annotators and the same items."""
    share = float(held.mean())
    return _by_annotator(share, (held - share) / len(held), item, annotator)


def share_interval(held: NDArray[np.bool_], estimate: Estimate, alpha: float) -> tuple[float, float]:
    """Return an interval of the share that contains the exact interval for independent answers."""
    # Clusters that agree by chance show no variance, yet R answers cannot be more certain than R independent ones.
    low, high = estimate.interval(alpha, lowest=0.0)
    least, most = clopper_pearson(int(held.sum()), len(held), alpha)
    return min(low, least), max(high, most)


def difference_by_annotator(
    first: NDArray[np.bool_], second: NDArray[np.bool_], held: NDArray[np.bool_], item: Ints, annotator: Ints
) -> Estimate:
    """Return the share that holds among `first` minus the share among `second`, for other annotators; all (R,)."""
    n_1, n_2 = int(first.sum()), int(second.sum())
    share_1, share_2 = float(held[first].mean()), float(held[second].mean())
    parts = np.where(first, (held - share_1) / n_1, 0.0) - np.where(second, (held - share_2) / n_2, 0.0)
    there = first | second
    found = _by_annotator(share_1 - share_2, parts[there], item[there], annotator[there])
    # Even with zero variance, the error is at least that of one or two different answers of each kind.
    return replace(found, error=max(found.error, 2 * hypot(1 / n_1, 1 / n_2)))


def _by_annotator(value: float, parts: Floats, item: Ints, annotator: Ints) -> Estimate:
    return _estimate(value, _variance(parts, annotator), item, annotator, _effective(annotator))


def _estimate(value: float, variance: float, item: Ints, annotator: Ints, clusters: float) -> Estimate:
    return Estimate(
        value=value,
        error=sqrt(variance),
        items=len(np.unique(item)),
        annotators=len(np.unique(annotator)),
        freedom=clusters - 1,
    )


def _variance(parts: Floats, clusters: Ints) -> float:
    _, place = np.unique(clusters, return_inverse=True)
    sums = np.bincount(place, weights=parts)
    m = len(sums)
    # The factor m / (m - 1) removes the bias of few clusters; one cluster has no variance to measure.
    return float((sums**2).sum()) * m / (m - 1) if m > 1 else np.inf


def _effective(clusters: Ints) -> float:
    # The number of equal clusters with the same information (Carter, Schnepel and Steigerwald, Review of Economics and
    # Statistics 2017): hardly more than 1 if one annotator gave most of the answers.
    _, sizes = np.unique(clusters, return_counts=True)
    return float(sizes.sum() ** 2 / (sizes.astype(float) ** 2).sum())


# Verdicts. With scope="set" the interval is Student's t over annotators. It is approximate: a small sample often
# misses a few annotators who differ from the rest. With scope="population" it is a betting interval for the mean of
# the annotators' own shares, valid for any number of annotators (`robustest.packs.cluster_mean_interval`).


Bools = NDArray[np.bool_]
Interval = tuple[float, float]

_FEW_RULE = "{} annotators: at least {} are needed to estimate their differences"


def foreseen_interval(held: Bools, annotator: Ints, found: Estimate, terms: Terms) -> Interval:
    """Return the interval of the share of answers that hold, for other annotators and these items."""
    if terms.scope == "set":
        return share_interval(held, found, terms.alpha)
    # Annotators have equal weights here, so the share of all answers can lie outside; the interval covers both.
    low, high = cluster_mean_interval(_shares_of(held, annotator)[1], terms.alpha)
    return min(low, found.value), max(high, found.value)


def noticed_interval(
    kinds: tuple[Bools, Bools], held: Bools, annotator: Ints, found: Estimate, terms: Terms
) -> Interval:
    """Return the interval of the share among the first kind of answers minus the share among the second."""
    if terms.scope == "set":
        return found.interval(terms.alpha)
    (who, first), (whose, second) = (_shares_of(held[rows], annotator[rows]) for rows in kinds)
    # Annotators who answered both kinds are compared with themselves.
    both, at, place = np.intersect1d(who, whose, return_indices=True)
    if len(both):
        # The difference in -1..1 is moved to 0..1, where the betting interval works.
        low, high = (2 * end - 1 for end in cluster_mean_interval((1 + first[at] - second[place]) / 2, terms.alpha))
    else:
        low, high = cluster_mean_interval(first, terms.alpha, minus=second)
    return min(low, found.value), max(high, found.value)


def _shares_of(held: Bools, annotator: Ints) -> tuple[Ints, NDArray[np.float64]]:
    """Return (m,) annotators, and the share of each annotator's answers that hold."""
    who, place = np.unique(annotator, return_inverse=True)
    return who, np.bincount(place, weights=held) / np.bincount(place)


def decide_foreseen(
    interval: Interval, found: Estimate, at_least: float | None, *, idle: float, terms: Terms
) -> Decision:
    """Return the verdict on the share of answers that predict the model's answer.

    Args:
        idle: the share that guessing, or always giving the most frequent answer, reaches.
    """
    doubt = ""
    if at_least is not None and found.annotators < FEWEST_ANNOTATORS:
        doubt = _FEW_RULE.format(found.annotators, FEWEST_ANNOTATORS)
    elif at_least is not None and at_least <= interval[0] <= idle:
        doubt = (
            f"guessing, or always giving the most frequent answer, reaches {number(idle, at_least)}: no foresight "
            "is shown"
        )
    return decide_by_interval(
        found.value,
        interval,
        at_least,
        at_least=True,
        terms=terms,
        how="by annotator",
        by="Student's t over annotators" if terms.scope == "set" else "",
        doubt=doubt,
    )


def decide_noticed(
    cue: tuple[Estimate, Interval] | None,
    planted: tuple[Estimate, Interval] | None,
    at_least: float | None,
    *,
    terms: Terms,
) -> Decision:
    """Return the verdict on the claim that the difference between a cue and the null cue exceeds `at_least`.

    Args:
        cue, planted: the difference and its interval, of the cue and of the planted cue; None if not in the study.
    """
    low, high = (-1.0, 1.0) if cue is None else cue[1]
    verdict, rule = Verdict.INCONCLUSIVE, _how(terms)
    if at_least is None:
        rule = "no threshold given"
    elif cue is None or planted is None:
        rule = (
            "the study lacks the cue or the planted cue: it needs both, and the null cue, to show that cues are noticed"
        )
    elif cue[0].annotators < FEWEST_ANNOTATORS:
        rule = _FEW_RULE.format(cue[0].annotators, FEWEST_ANNOTATORS)
    elif planted[1][0] <= 0:
        rule = f"people do not notice the planted cue either ({planted[0].value:+.3f}): the study can show nothing"
    # Strictly more: at_least=0 claims that the cue is noticed at all.
    elif low > at_least:
        verdict = Verdict.PASSED
    elif high < at_least:
        verdict = Verdict.FAILED
    return Decision(
        verdict=verdict,
        rule=rule,
        estimate=None if cue is None else cue[0].value,
        interval=(low, high),
        at_alpha=at_least is not None,
        approximate=terms.scope == "set",
    )


def _how(terms: Terms) -> str:
    return f"by annotator, {'about ' if terms.scope == 'set' else ''}alpha = {terms.alpha:g} a side"
