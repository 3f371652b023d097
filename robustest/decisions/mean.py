"""Claims on the mean of a bounded value of each sample.

Claims on the mean of scores in 0..1, and on the mean IoU of a whole set.

Claims on the mean of independent draws, as a simulation makes them: settled as early as they are certain enough.

There is no set of which all could be looked at: another seed draws others. So a claim that passes is true but for a
chance of alpha, wherever reading stopped, and a mean exactly at the threshold passes as seldom (Waudby-Smith and
Ramdas, JRSS B 2024, section 4; Ville, 1939). Shares are means of zeros and ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.bets import MANY, bets_won, betting_interval, capital
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Terms,
    anytime_interval,
    decide_early,
    first_verdict,
    judge_interval,
)
from robustest.errors import ConfigError, DataError, expected
from robustest.results import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MeanRule:
    """A claim that the mean of a column of values in -1..1 is at most a threshold.

    A mean that must be at least something is claimed by the negated column; `sign` turns what is shown back.

    Attributes:
        threshold: the mean claimed at most, of the column as it stands; None where nothing is claimed.
        terms: what the verdict may rest on.
        column: where the values are.
        sign: 1, or -1 where the column holds the negated values.
        scale: what a value of 1 stands for.
    """

    threshold: float | None
    terms: Terms
    column: str = "value"
    sign: int = 1
    scale: float = 1.0

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`; claims about a population wait for every sample."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        value, most = columns[self.column], self._most(n)
        total, left = np.cumsum(value), n - np.arange(1, len(value) + 1)
        slack = 1e-9 * n  # values are sums of fractions: what rounding decides is not decided early
        sure_pass, sure_fail = total + left <= most - slack, total - left > most + slack
        lower, higher = capital(value, n, most, above=False), capital(value, n, most, above=True)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        passes, fails = bets_won(lower, higher, **alphas)
        return first_verdict(sure_pass | passes, sure_fail | fails, **alphas, sure=(sure_pass, sure_fail))

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`; the interval is that of the population where every sample was looked at."""
        value = columns[self.column]
        whole = len(value) == n
        of = MANY if whole or self.terms.scope != "set" else n
        low, high = anytime_interval(lambda t: _interval(value[:t], of, self.terms.alpha), len(value), settled)
        shown = self._as_shown(low, high)
        if not whole:
            at_least = self.sign < 0
            threshold = None if self.threshold is None else self.sign * self.scale * self.threshold
            return decide_early(threshold, shown, len(value), n, settled, at_least=at_least, terms=self.terms)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None and self.terms.scope == "set":
            verdict = Verdict.PASSED if float(value.sum()) <= self._most(n) + 1e-9 * n else Verdict.FAILED
            rule = "certain: exact on this set"
        elif self.threshold is not None:
            verdict = judge_interval((low, high), self.threshold, at_least=False)
            rule = f"population, alpha = {self.terms.alpha:g} a side"
        estimate = self.mean_of(columns)
        at_alpha = self.threshold is not None and self.terms.scope != "set"
        return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=shown, at_alpha=at_alpha)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how much a sample weighs is not known before."""
        return False

    def for_part(self, terms: Terms) -> MeanRule:
        """Return the same claim about a part of the samples."""
        return replace(self, terms=terms)

    def mean_of(self, columns: Columns) -> float:
        """The mean over these samples, as it is shown."""
        return self.sign * self.scale * float(columns[self.column].mean())

    def _most(self, n: int) -> float:
        return float(Fraction(repr(float(self.threshold or 0.0))) * n)

    def _as_shown(self, low: float, high: float) -> tuple[float, float]:
        ends = sorted((self.sign * self.scale * low, self.sign * self.scale * high))
        return ends[0], ends[1]


def _interval(value: NDArray[np.float64], n: int, alpha: float) -> tuple[float, float]:
    low, high = betting_interval(value, n, alpha)
    return max(-1.0, low), min(1.0, high)


SCORE, COUNTS, PIXELS = "score", "counts", "pixels"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRule:
    """A claim that the mean of a column of scores in 0..1 is at least a threshold.

    Attributes:
        threshold: the mean claimed, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
    """

    threshold: float | None
    terms: Terms

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`."""
        return self._bets.settle(_spread(columns), n)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Rule.decide`."""
        found = self._bets.decide(_spread(columns), n, settled)
        low, high = ((1 - end) / 2 for end in found.interval[::-1])
        estimate = None if found.estimate is None else float(np.mean(columns[SCORE]))
        return replace(found, estimate=estimate, interval=(low, high))

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`; how far a score falls is not known before."""
        return False

    def for_part(self, terms: Terms) -> ScoreRule:
        """Return the same claim about a part of the samples."""
        return replace(self, terms=terms)

    @property
    def _bets(self) -> MeanRule:
        """The same claim about 1 - 2 score, which spans the -1..1 that bets are made on."""
        return MeanRule(threshold=None if self.threshold is None else 1 - 2 * self.threshold, terms=self.terms)


def _spread(columns: Columns) -> Columns:
    return {"value": 1 - 2 * columns[SCORE]}


_MANY = 1 << 40
"""A set so large that draws from it are as good as draws from a population."""


_ROUNDED = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawsRule:
    """A claim that the mean of a column of independent draws is at least, or at most, a threshold.

    The scope of its terms is not read: draws have no set, only a population.

    Attributes:
        threshold: the mean claimed, inside the range; None where nothing is claimed.
        at_least: whether the mean must be at least the threshold, or at most.
        terms: what the verdict may rest on.
        column: where the draws are.
        low, high: the range of every draw, whatever was seen: a draw outside is an error, and is never clipped.

    Raises:
        ConfigError: the range is empty, or the threshold outside.
    """

    threshold: float | None
    at_least: bool
    terms: Terms
    column: str = "held"
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(expected("a range (low, high) with low < high", (self.low, self.high)))
        if self.threshold is not None and not self.low <= self.threshold <= self.high:
            raise ConfigError(expected(f"a threshold in the range {self.low:g}..{self.high:g}", self.threshold))

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Rule.settled`."""
        if self.threshold is None:
            return None
        value, null = self._turned(columns), self._claimed * _MANY
        lower, higher = capital(value, _MANY, null, above=False), capital(value, _MANY, null, above=True)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        passes, fails = bets_won(lower, higher, **alphas)
        return first_verdict(passes, fails, **alphas, sure=None)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Rule.decide`; the estimate is the mean of all draws, where all were made."""
        value = self._turned(columns)
        interval = self._as_shown(
            *anytime_interval(lambda t: betting_interval(value[:t], _MANY, self.terms.alpha), len(value), settled)
        )
        mean = float(columns[self.column].astype(np.float64).mean()) if len(value) == n else None
        if self.threshold is None:
            return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=mean, interval=interval)
        if settled is None:
            settled = self.settle(columns, n)
        if settled is not None:
            verdict, rule = settled.verdict, f"alpha = {settled.alpha:.2g} after {settled.after} of {n}"
        else:
            verdict = judge_interval(interval, self.threshold, at_least=self.at_least)
            rule = f"alpha = {self.terms.alpha:g} a side, {len(value)} of {n} drawn"
        return Decision(verdict=verdict, rule=rule, estimate=mean, interval=interval, at_alpha=True)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Rule.doomed`: draws are of no certain set."""
        return False

    @property
    def _claimed(self) -> float:
        """The mean claimed at most, of the draws turned."""
        share = ((self.threshold or 0.0) - self.low) / (self.high - self.low)
        return (1 - 2 * share) * self._sign

    @property
    def _sign(self) -> int:
        return 1 if self.at_least else -1

    def _turned(self, columns: Columns) -> NDArray[np.float64]:
        """The draws in -1..1, turned so that the claim is that their mean is small.

        Raises:
            DataError: one is outside the range, or no number.
        """
        share = (columns[self.column].astype(np.float64) - self.low) / (self.high - self.low)
        outside = ~((share >= -_ROUNDED) & (share <= 1 + _ROUNDED))
        if outside.any():
            got = float(columns[self.column][outside.argmax()])
            mend = "A draw is never clipped: declare the range of all that can come."
            raise DataError(expected(f"draws in the range {self.low:g}..{self.high:g}", got, mend))
        return self._sign * (1 - 2 * np.clip(share, 0, 1))

    def _as_shown(self, low: float, high: float) -> tuple[float, float]:
        ends = [self.low + (self.high - self.low) * (1 - self._sign * end) / 2 for end in (max(low, -1), min(high, 1))]
        return min(ends), max(ends)
