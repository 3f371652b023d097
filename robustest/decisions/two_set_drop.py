"""Verdicts on the difference of two shares measured on different samples.

How far apart two shares are that were measured on different samples: an exact interval.

Newcombe's interval (Statistics in Medicine 1998, method 10, with exact bounds of each share) squares and adds the
distances of the two shares' own bounds. It is short, and for sizes that are unequal it lets nearly twice alpha through.
Here it only orders outcomes, by how far apart it calls the shares. How probable an outcome like the observed one or
further is, is then summed exactly, over binomial counts (Buehler, JASA 1957). That depends on both true shares, not on
their difference alone: the worst of all pairs counts that differ as is supposed and whose second share lies in an
interval of its own, and the chance that it lies outside is added (Berger and Boos, JASA 1994). The worst pair is
bounded, not searched for: outcomes far apart become likelier the larger the first share and the smaller the second, so
over a cell of pairs none is worse than the cell's largest first with its smallest second share.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaincinv
from scipy.stats import binom

from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Terms, decide_early, judge_interval
from robustest.decisions.share import anytime_share_interval, clopper_pearson, settle_share
from robustest.decisions.thresholds import fraction_at_most
from robustest.results import Verdict

Counts = int | NDArray[np.int64]


def two_set_drop(first: Counts, n_first: Counts, second: Counts, n_second: Counts) -> Fraction:
    """The first share minus the second, exact; counts may be given in parts, as arrays."""
    a, b = (Fraction(int(np.sum(held)), int(np.sum(n))) for held, n in ((first, n_first), (second, n_second)))
    return a - b


def decide_two_set_drop(
    fall: Fraction,
    most: float | None,
    *,
    interval: tuple[float, float],
    terms: Terms,
) -> Decision:
    """A verdict on how much less a share is on one set of samples than on another, all of them looked at.

    Args:
        fall: the first share minus the second.
        most: the fall claimed at most, in 0..1; None where nothing is claimed.
        interval: of the fall, for the populations that the sets were drawn from, at `terms.alpha`.
        terms: what the verdict may rest on; "set" is exact on these two sets.
    """
    if most is None:
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
    elif terms.scope == "set":
        verdict = Verdict.PASSED if fraction_at_most(fall, most) else Verdict.FAILED
        rule = "certain: exact on these sets"
    else:
        verdict = judge_interval(interval, most, at_least=False)
        rule = f"population, alpha = {terms.alpha:g} a side"
    at_alpha = most is not None and terms.scope != "set"
    return Decision(verdict=verdict, rule=rule, estimate=float(fall), interval=interval, at_alpha=at_alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoSetDropRule:
    """A claim, on a stream of outcomes, that a share is at most so much less than it was on other samples.

    Attributes:
        threshold: the fall claimed at most, in 0..1; None where nothing is claimed.
        first, n_first: how many of how many held among the other samples.
        whole: whether those were all the samples of their set.
        terms: what the verdict may rest on.
    """

    threshold: float | None
    first: int
    n_first: int
    whole: bool
    terms: Terms

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`; claims about populations wait, as do claims on a first set that is not all known."""
        if self.threshold is None or self.terms.scope != "set" or not self.whole:
            return None
        before = Fraction(self.first, self.n_first)
        least = ceil((before - Fraction(repr(self.threshold))) * n)
        least -= fraction_at_most(before - Fraction(least - 1, n), self.threshold)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle_share(columns["held"].astype(bool), n, least, **alphas)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`."""
        held, read = int(columns["held"].sum()), len(columns["held"])
        if read < n and self.terms.scope == "set" and self.whole:
            low, high = anytime_share_interval(columns["held"].astype(bool), n, self.terms.alpha, settled)
            both = self.first / self.n_first - high, self.first / self.n_first - low
        else:
            both = share_difference_interval(self.first, self.n_first, held, read, self.terms.alpha)
        if read == n and self.whole:
            fall = two_set_drop(self.first, self.n_first, held, n)
            return decide_two_set_drop(fall, self.threshold, interval=both, terms=self.terms)
        decision = decide_early(self.threshold, both, read, n, settled, at_least=False, terms=self.terms)
        return decision if self.whole else replace(decision, rule=f"{decision.rule}; the first set in part too")

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`."""
        if self.threshold is None or self.terms.scope != "set" or not self.whole:
            return False
        return not fraction_at_most(Fraction(self.first, self.n_first) - Fraction(n - broken, n), self.threshold)


_OUTSIDE, _TAIL = 0.02, 0.001
"""Shares of alpha for a second share outside its interval, and for counts that are not summed over."""


_CELLS, _SPLIT, _ROUNDS = 8, 4, 3
"""Cells of the second share's interval; into how many a cell is split that is not rejected yet, and how many times all
are looked at: the smallest are 128 to the interval."""


_PRECISION = 1e-3
"""How much further out than need be an end may lie, as a share of its distance from the observed difference."""


Floats = NDArray[np.float64]


Ints = NDArray[np.int64]


@lru_cache(maxsize=1024)
def share_difference_interval(
    first: int, n_first: int, second: int, n_second: int, alpha: float
) -> tuple[float, float]:
    """An interval of the first share minus the second, in -1..1; each end errs with probability alpha at most.

    Args:
        first, n_first: how many of how many count towards the first share, n_first >= 1.
        second, n_second: the same of the second share; its samples are others.
        alpha: error on each side, in (0, 0.5).
    """
    return (
        _Below.of(first, n_first, second, n_second, alpha).end(),
        -_Below.of(second, n_second, first, n_first, alpha).end(),
    )


def exceeds(first: int, n_first: int, second: int, n_second: int, difference: float, *, alpha: float) -> bool:
    """Whether the first share is more than `difference` larger than the second, but for a chance of alpha.

    Args:
        first, n_first, second, n_second, alpha: as for `difference_interval`, whose lower end is the largest difference
            that is exceeded, or a little less.
        difference: -1..1.
    """
    return _Below.of(first, n_first, second, n_second, alpha).rejects(difference)


class _Below:
    """The test that the first share exceeds the second by some difference at most."""

    def __init__(self, first: int, n_first: int, second: int, n_second: int, alpha: float) -> None:
        self._n_first, self._n_second, self._alpha = n_first, n_second, alpha
        self._observed = first / n_first - second / n_second
        self._ends = clopper_pearson(second, n_second, _OUTSIDE * alpha / 2)
        self._score = float(_score(np.array(first), n_first, np.array(second), n_second, alpha))

    @classmethod
    def of(cls, first: int, n_first: int, second: int, n_second: int, alpha: float) -> _Below:
        """The test; the smaller set comes first, as the interval is of the larger one's share."""
        if n_first > n_second:  # of the samples that do not count the difference is the same
            return cls(n_second - second, n_second, n_first - first, n_first, alpha)
        return cls(first, n_first, second, n_second, alpha)

    def end(self) -> float:
        """The largest difference that is rejected, or one a little smaller; -1 where none is."""
        out, kept = max(-1.0, self._score), self._observed  # the score is an end that is nearly right
        while out > -1 and not self.rejects(out):
            out, kept = max(-1.0, self._observed - 1.1 * (self._observed - out)), out
        if out == -1.0:
            return out
        step = (self._observed - out) / 50
        while out + step < kept and self.rejects(out + step):
            out, step = out + step, 2 * step
        kept = min(kept, out + step)
        while kept - out > _PRECISION * (self._observed - out):
            middle = (out + kept) / 2
            out, kept = (middle, kept) if self.rejects(middle) else (out, middle)
        return out

    def rejects(self, difference: float) -> bool:
        """Whether the shares are further apart than such a difference makes probable."""
        low, width = self._ends[0], (self._ends[1] - self._ends[0]) / _CELLS
        cells: Floats = low + width * np.arange(_CELLS, dtype=np.float64)
        for _ in range(_ROUNDS):
            cells = cells[cells + width + difference >= 0]  # where there is a first share
            if len(cells):
                further = self._further(np.clip(cells + width + difference, 0, 1), cells)
                cells = cells[further > (1 - _OUTSIDE - _TAIL) * self._alpha]
            if not len(cells):
                return True
            width /= _SPLIT
            cells = (cells[:, None] + width * np.arange(_SPLIT)).ravel()
        return False

    def _further(self, p_first: Floats, p_second: Floats) -> Floats:
        """The chances of outcomes as far apart as observed or further, by pair of shares."""
        counts = self._counts(self._n_first, p_first)
        others = self._others(counts, self._counts(self._n_second, p_second))
        chance = binom.pmf(counts, self._n_first, p_first[:, None])
        further: Floats = (chance * _at_most(others, self._n_second, p_second[:, None])).sum(1)
        return further

    def _counts(self, n: int, shares: Floats) -> Ints:
        """All counts but such as are too improbable for any of these shares, rising."""
        tail = _TAIL * self._alpha / 4
        least, most = binom.ppf(tail, n, shares.min()), binom.isf(tail, n, shares.max())
        return np.arange(max(0, int(least)), min(n, int(most)) + 1)

    def _others(self, counts: Ints, among: Ints) -> Ints:
        """For each count of the first set the largest of the second that is as far apart as observed, or further.

        The score rises with the first count and falls with the second, so that halving finds it.
        """
        low = np.full(len(counts), among[0] - 1)
        high = np.full(len(counts), among[-1])
        own = _Bounds.of(counts, self._n_first, self._alpha)
        theirs = _Bounds.of(among, self._n_second, self._alpha)
        while (low < high).any():
            middle = (low + high + 1) // 2
            far = own.above(theirs.at(middle - among[0])) >= self._score - 1e-12
            low, high = np.where(far, middle, low), np.where(far, high, middle - 1)
        return low


class _Bounds:
    """Shares with the distances of their own exact bounds."""

    def __init__(self, share: Floats, down: Floats, up: Floats) -> None:
        self.share, self.down, self.up = share, down, up

    @classmethod
    def of(cls, counts: NDArray[Any], n: int, alpha: float) -> _Bounds:
        share = counts / n
        inside = np.clip(counts, 1, n)
        low = np.where(counts > 0, betaincinv(inside, n - inside + 1, alpha), 0.0)
        inside = np.clip(counts, 0, n - 1)
        high = np.where(counts < n, 1 - betaincinv(n - inside, inside + 1, alpha), 1.0)
        return cls(share, share - low, high - share)

    def at(self, rows: Ints) -> _Bounds:
        rows = np.maximum(rows, 0)
        return _Bounds(self.share[rows], self.down[rows], self.up[rows])

    def above(self, other: _Bounds) -> Floats:
        """Newcombe's lower end of these shares minus others."""
        lower: Floats = self.share - other.share - np.hypot(self.down, other.up)
        return lower


def _score(first: Ints, n_first: int, second: Ints, n_second: int, alpha: float) -> Floats:
    return _Bounds.of(first, n_first, alpha).above(_Bounds.of(second, n_second, alpha))


def _at_most(k: Ints, n: int, p: Floats) -> Floats:
    """P(X <= k), X binomial."""
    inside = np.clip(k, 0, n - 1)
    chance: Floats = np.where(k < 0, 0.0, np.where(k >= n, 1.0, betainc(n - inside, inside + 1, 1 - p)))
    return chance
