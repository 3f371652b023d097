"""Claims on the mean of independent draws, as a simulation makes them: settled as early as they are certain enough.

There is no set of which all could be looked at: another seed draws others. So a claim that passes is true but for a
chance of alpha, wherever reading stopped, and a mean exactly at the threshold passes as seldom (Waudby-Smith and
Ramdas, JRSS B 2024, section 4; Ville, 1939). Shares are means of zeros and ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robustest.errors import ConfigError, DataError, expected
from robustest.results import Verdict
from robustest.rules.rule import Columns, Terms
from robustest.statistics.betting import capital, drop_interval, won
from robustest.statistics.fixed import Decision, beyond
from robustest.statistics.sequential import Settled, first_settled
from robustest.statistics.streams import running

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

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Rule.settled`."""
        if self.threshold is None:
            return None
        value, null = self._turned(columns), self._claimed * _MANY
        lower, higher = capital(value, _MANY, null, above=False), capital(value, _MANY, null, above=True)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        passes, fails = won(lower, higher, **alphas)
        return first_settled(passes, fails, **alphas, sure=None)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Rule.decide`; the estimate is the mean of all draws, where all were made."""
        value = self._turned(columns)
        interval = self._as_shown(
            *running(lambda t: drop_interval(value[:t], _MANY, self.terms.alpha), len(value), settled)
        )
        mean = float(columns[self.column].astype(np.float64).mean()) if len(value) == n else None
        if self.threshold is None:
            return Decision(verdict=Verdict.INCONCLUSIVE, rule="no threshold given", estimate=mean, interval=interval)
        if settled is None:
            settled = self.settled(columns, n)
        if settled is not None:
            verdict, rule = settled.verdict, f"alpha = {settled.alpha:.2g} after {settled.after} of {n}"
        else:
            verdict = beyond(interval, self.threshold, at_least=self.at_least)
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
