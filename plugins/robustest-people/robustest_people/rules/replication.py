"""How much of an accuracy drop between a data set and its replication is left once both are equally hard.

Engstrom, Ilyas, Santurkar, Tsipras, Steinhardt and Madry (ICML 2020, "Identifying Statistical Bias in Dataset
Replication"): a replication is matched to the original on how often annotators select an image for its label. That
frequency is measured with few annotators, and choosing by it picks images whose measurement was lucky. Comparing at
equal *measured* frequency has the same flaw, of the order 1 / annotators, which the jackknife takes away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import hypot

import numpy as np
from scipy.stats import norm

from robustest.packs import Decision, Terms, Verdict, about, approximate, judge_interval
from robustest_people.statistics.beta_mixture import accuracy_by_mixture
from robustest_people.statistics.cells import Cells, Floats, Ints

FEWEST = 10
"""Annotations an item needs: with fewer, the bias of what is selected by them is no longer of the order 1 / n."""

MOST_UNCOVERED = 0.05
"""Share of the original's items at frequencies that the replication lacks, above which no verdict is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """An accuracy on the original minus one on the replication.

    Attributes:
        estimate: the gap, -1..1.
        error: its bootstrap standard error.
    """

    estimate: float
    error: float

    def interval(self, alpha: float) -> tuple[float, float]:
        """By the normal distribution, alpha on each side, inside -1..1."""
        reach = float(norm.ppf(1 - alpha)) * self.error
        return max(-1.0, self.estimate - reach), min(1.0, self.estimate + reach)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gaps:
    """The gap as it is, at equal measured selection frequency, and with that frequency's noise allowed for.

    Attributes:
        raw: the difference in accuracy.
        naive: the same at equal measured selection frequency.
        corrected: by the correction asked for; the naive one where none was.
        annotations: annotations an item that the naive gap rests on.
        uncovered: share of the original's items at frequencies that no item of the replication has, 0..1; there its
            accuracy is read off between, or next to, the frequencies that it has.
    """

    raw: Gap
    naive: Gap
    corrected: Gap
    annotations: int
    uncovered: float


def replication_gaps(v1: Cells, v2: Cells, correction: str | None, *, resamples: int, seed: int) -> Gaps:
    """The gaps between an original and its replication, with the bootstrap over images.

    Args:
        v1, v2: the original's items, and the replication's; at least `FEWEST` annotations each, none of them used
            for matching. Where items have more than others, what a draw of as few says is averaged over all draws.
        correction: "jackknife", "beta-mixture" or None.
        resamples: bootstrap draws, >= 2.
        seed: seeds the draws and the mixture's starting points, any whole number.
    """
    random = np.random.default_rng(seed % 2**64)
    n = int(min(v1.shown.min(), v2.shown.min()))
    draws = v1.resampled(resamples, random), v2.resampled(resamples, random)
    points = v1.count[None], v2.count[None]
    first = _accuracy(v1, points[0]), _accuracy(v1, draws[0])

    def gap(adjusted: Callable[[Ints, Ints], Floats]) -> Gap:
        return _gap(float((first[0] - adjusted(*points))[0]), first[1] - adjusted(*draws), v1.size, v2.size)

    raw = gap(lambda _, w2: _accuracy(v2, w2))
    naive = gap(lambda w1, w2: matched_accuracy(v1, v2, w1, w2, n))
    corrected = naive
    if correction == "jackknife":
        corrected = gap(lambda w1, w2: jackknife_accuracy(v1, v2, w1, w2, n))
    elif correction == "beta-mixture":
        point, again = accuracy_by_mixture(v1, v2, points, draws, n, random=random)
        corrected = _gap(float(first[0][0]) - point, first[1] - again, v1.size, v2.size)
    there = points[1] @ v2.thinned(n) > 0
    mass = points[0] @ v1.thinned(n) / v1.size
    return Gaps(raw=raw, naive=naive, corrected=corrected, annotations=n, uncovered=float(mass[~there].sum()))


def matched_accuracy(v1: Cells, v2: Cells, w1: Ints, w2: Ints, n: int) -> Floats:
    """(b,) accuracies on v2, weighted so that its frequencies at n annotators are distributed as those of v1.

    Args:
        v1, v2: the items; every one has n annotations or more.
        w1, w2: (b, c) counts of their cells.
        n: annotators.
    """
    thin = v2.thinned(n)
    shown, right = w2 @ thin, (w2 * v2.correct) @ thin
    weight = w1 @ v1.thinned(n)
    given = np.divide(right, shown, out=np.zeros_like(right), where=shown > 0)
    for row in np.flatnonzero((shown == 0).any(1)):
        there = shown[row] > 0
        given[row, ~there] = np.interp(np.flatnonzero(~there), np.flatnonzero(there), given[row, there])
    accuracy: Floats = (weight * given).sum(1) / weight.sum(1)
    return accuracy


def jackknife_accuracy(v1: Cells, v2: Cells, w1: Ints, w2: Ints, n: int, *, delete: int | None = None) -> Floats:
    """(b,) accuracies as `matched_accuracy` has them, extrapolated to annotators without number.

    Some annotators are taken away to see how the accuracy depends on their number; the mean over all ways of taking
    them away is computed, not drawn.

    Args:
        v1, v2, w1, w2, n: as for `matched_accuracy`.
        delete: how many are taken away, 1..n-1; None takes a tenth. The authors take one, which multiplies the noise
            of finitely many images by n; a tenth multiplies it by ten and leaves hardly more of the bias.
    """
    delete = max(1, n // 10) if delete is None else delete
    all_of_them = matched_accuracy(v1, v2, w1, w2, n)
    fewer = matched_accuracy(v1, v2, w1, w2, n - delete)
    return (n * all_of_them - (n - delete) * fewer) / delete


def decide_gap(gaps: Gaps, max_gap: float | None, *, terms: Terms) -> Decision:
    """A verdict on the corrected gap; it is inferred from a sample of annotators, so that its interval must decide.

    The bootstrap is approximate: it does not pass a claim about a population (see `robustest.packs.approximate`).

    Args:
        gaps: as `replication_gaps` gives them.
        max_gap: the gap claimed at most, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
    """
    interval, rule = gaps.corrected.interval(terms.alpha), f"image bootstrap, {about(terms.alpha)}"
    verdict = Verdict.INCONCLUSIVE
    if max_gap is None:
        rule = "no threshold given"
    elif gaps.uncovered > MOST_UNCOVERED:
        rule = f"{gaps.uncovered:.0%} of the original is at selection frequencies that the replication lacks"
    else:
        verdict = judge_interval(interval, max_gap, at_least=False)
    estimate, at_alpha = gaps.corrected.estimate, max_gap is not None
    decision = Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=at_alpha)
    instead = 'claim the gap as it is with assert_transfer_accuracy(max_drop=, scope="population")'
    return approximate(decision, terms, by="the image bootstrap", units="items", instead=instead)


def _accuracy(cells: Cells, weights: Ints) -> Floats:
    accuracy: Floats = (weights @ cells.correct) / weights.sum(1)
    return accuracy


def _gap(estimate: float, again: Floats, size_1: int, size_2: int) -> Gap:
    """Where all items agree, the bootstrap sees no error; one or two items in each data set may still be wrong."""
    least = 2 * hypot(1 / size_1, 1 / size_2)
    return Gap(estimate=estimate, error=max(least, float(again.std(ddof=1))))
