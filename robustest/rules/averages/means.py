"""Claims on the mean of a bounded value of each sample."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from robustest.results import Verdict
from robustest.rules.rule import Columns, Terms, partial
from robustest.statistics.betting import MANY, capital, drop_interval, won
from robustest.statistics.fixed import Decision, beyond
from robustest.statistics.sequential import Settled, first_settled
from robustest.statistics.streams import running


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

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`; claims about a population wait for every sample."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        value, most = columns[self.column], self._most(n)
        total, left = np.cumsum(value), n - np.arange(1, len(value) + 1)
        slack = 1e-9 * n  # values are sums of fractions: what rounding decides is not decided early
        sure_pass, sure_fail = total + left <= most - slack, total - left > most + slack
        lower, higher = capital(value, n, most, above=False), capital(value, n, most, above=True)
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        passes, fails = won(lower, higher, **alphas)
        return first_settled(sure_pass | passes, sure_fail | fails, **alphas, sure=(sure_pass, sure_fail))

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`; the interval is that of the population where every sample was looked at."""
        value = columns[self.column]
        whole = len(value) == n
        of = MANY if whole or self.terms.scope != "set" else n
        low, high = running(lambda t: _interval(value[:t], of, self.terms.alpha), len(value), settled)
        shown = self._as_shown(low, high)
        if not whole:
            at_least = self.sign < 0
            threshold = None if self.threshold is None else self.sign * self.scale * self.threshold
            return partial(threshold, shown, len(value), n, settled, at_least=at_least, terms=self.terms)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None and self.terms.scope == "set":
            verdict = Verdict.PASSED if float(value.sum()) <= self._most(n) + 1e-9 * n else Verdict.FAILED
            rule = "certain: exact on this set"
        elif self.threshold is not None:
            verdict = beyond((low, high), self.threshold, at_least=False)
            rule = f"population, alpha = {self.terms.alpha:g} a side"
        estimate = self.mean_of(columns)
        at_alpha = self.threshold is not None and self.terms.scope != "set"
        return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=shown, at_alpha=at_alpha)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how much a sample weighs is not known before."""
        return False

    def mean_of(self, columns: Columns) -> float:
        """The mean over these samples, as it is shown."""
        return self.sign * self.scale * float(columns[self.column].mean())

    def _most(self, n: int) -> float:
        return float(Fraction(repr(float(self.threshold or 0.0))) * n)

    def _as_shown(self, low: float, high: float) -> tuple[float, float]:
        ends = sorted((self.sign * self.scale * low, self.sign * self.scale * high))
        return ends[0], ends[1]


def _interval(value: NDArray[np.float64], n: int, alpha: float) -> tuple[float, float]:
    low, high = drop_interval(value, n, alpha)
    return max(-1.0, low), min(1.0, high)
