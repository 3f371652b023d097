"""Verdicts on a share when every sample was evaluated.

Verdicts on a share as early as they are certain enough: samples drawn without replacement from a finite set.

The claim is about a set of N samples of which K hold, looked at in a random order. A mixture of likelihood
ratios against the nearest false value of K is a non-negative supermartingale of mean at most 1 while the claim
is false, so that it ever reaches 1 / alpha with probability at most alpha (Ville, 1939; for sampling without
replacement see Waudby-Smith and Ramdas, NeurIPS 2020). It may be looked at after every sample.

Intervals of streams of outcomes that may have been read on after they had settled a claim.

Claims as rules on a stream of outcomes: when it is settled, and what to say of it then.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import beta

from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Terms,
    anytime_interval,
    decide_early,
    first_verdict,
    judge_interval,
)
from robustest.decisions.thresholds import count_at_least, count_at_most
from robustest.results import Verdict


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
        holds = events >= count_at_least(threshold, n) if at_least else events <= count_at_most(threshold, n)
        verdict, rule = (Verdict.PASSED if holds else Verdict.FAILED), "certain: exact on this set"
    else:
        wider = interval if fail_alpha is None else clopper_pearson(events, n, fail_alpha)
        verdict = judge_interval(interval, threshold, at_least=at_least, wider=wider)
        rule = f"population, alpha = {alpha:g} a side"
    return Decision(verdict=verdict, rule=rule, estimate=estimate, interval=interval, at_alpha=scope != "set")


OFFSETS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.14, 0.2, 0.3)
"""Alternatives of the mixture: how far beyond the threshold the true share may lie."""


Counts = int | NDArray[np.int64]


Logs = NDArray[np.float64]


def settle_share(
    held: NDArray[np.bool_], n: int, need: int, *, pass_alpha: float, fail_alpha: float
) -> EarlyVerdict | None:
    """The first point at which outcomes in seeded random order settle "at least `need` of n hold".

    Args:
        held: (t,) outcomes in the order drawn, t <= n.
        n: size of the set.
        need: fewest that must hold, 0..n.
        pass_alpha, fail_alpha: chance allowed for a pass, and for a failure, that is wrong.

    Returns:
        None where t outcomes do not settle it.
    """
    if need <= 0:  # nothing can speak against it
        return EarlyVerdict(Verdict.PASSED, 0, certain=True, alpha=pass_alpha)
    right = np.cumsum(held, dtype=np.int64)
    wrong = np.arange(1, len(held) + 1, dtype=np.int64) - right
    sure = (right >= need) | (wrong > n - need)
    passes = (right >= need) | (evidence(right, wrong, n, need - 1, above=True) >= -np.log(pass_alpha))
    fails = (wrong > n - need) | (evidence(right, wrong, n, need, above=False) >= -np.log(fail_alpha))
    return first_verdict(passes, fails, pass_alpha=pass_alpha, fail_alpha=fail_alpha, sure=(sure, sure))


def evidence(right: Counts, wrong: Counts, n: int, null: Counts, *, above: bool) -> Logs:
    """Log of the mixture against K = `null`, for larger K or for smaller; arguments broadcast.

    Args:
        right, wrong: outcomes so far that held and that did not.
        n: size of the set.
        null: how many hold if the null hypothesis is true; it speaks as well against all K beyond, on its side.
        above: whether the alternatives are larger, or smaller.
    """
    ratios = []
    for offset in OFFSETS:
        step = max(1, round(offset * n))
        other = np.minimum(n, np.add(null, step)) if above else np.maximum(0, np.subtract(null, step))
        ratios.append(_log_likelihood(right, wrong, n, other))
    logs = np.logaddexp.reduce(np.stack(ratios), axis=0) - np.log(len(OFFSETS))
    base = _log_likelihood(right, wrong, n, null)
    impossible = np.isneginf(base)
    with np.errstate(invalid="ignore"):
        return np.where(impossible, np.where(np.isneginf(logs), -np.inf, np.inf), logs - base)


def set_share_interval(right: int, wrong: int, n: int, alpha: float) -> tuple[float, float]:
    """Shares of the whole set that the same tests do not rule out, valid at any stopping point.

    The lower end is the first K that no smaller null is ruled out beyond; so a claim that has passed has its
    threshold at or below the lower end, and a claim that has failed has it above the upper one.

    Args:
        right, wrong: outcomes read.
        n: size of the set.
        alpha: error allowed on each side.
    """
    k = np.arange(n + 1)
    limit = -np.log(alpha)
    small = (k < right) | (evidence(right, wrong, n, k, above=True) >= limit)
    large = (k > n - wrong) | (evidence(right, wrong, n, k, above=False) >= limit)
    low = int(k[small][-1]) + 1 if small.any() else 0
    high = int(k[large][0]) - 1 if large.any() else n
    return low / n, high / n


def _log_likelihood(right: Counts, wrong: Counts, n: int, k: Counts) -> Logs:
    """Log of the chance of such an ordered draw from n samples of which k hold, up to a constant."""
    good, bad = np.asarray(k), np.subtract(n, k)
    possible = (right <= good) & (wrong <= bad)
    left_good, left_bad = np.maximum(good - right, 0), np.maximum(bad - wrong, 0)
    logs = _log_factorials(n)
    return np.where(possible, logs[good] - logs[left_good] + logs[bad] - logs[left_bad], -np.inf)


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Logs:
    """(n + 1,) ln k! of k in 0..n: every look needs a dozen times as many of them as there are outcomes."""
    table: Logs = gammaln(np.arange(n + 1) + 1.0)
    table.flags.writeable = False
    return table


def anytime_share_interval(held: NDArray[np.bool_], n: int, alpha: float, settled: EarlyVerdict | None) -> Interval:
    """Shares of a whole set that its outcomes so far do not rule out, alpha on each side; see `running`.

    Args:
        held: (t,) outcomes in the seeded random order, t <= n.
        n: size of the set.
        alpha: error allowed on each side.
        settled: where they settled a claim, if they did.
    """
    right = np.cumsum(held)

    def bounds(read: int) -> Interval:
        return set_share_interval(int(right[read - 1]), read - int(right[read - 1]), n, alpha)

    return anytime_interval(bounds, len(held), settled) if len(held) else set_share_interval(0, 0, n, alpha)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRule:
    """A claim on the share of samples that hold, or on the share that do not.

    Attributes:
        threshold: the share claimed, in 0..1; None where nothing is claimed.
        at_least: whether the share that holds must be at least the threshold; else the share that does not hold
            must be at most the threshold.
        terms: what the verdict may rest on.
        column: where the outcomes are.
    """

    threshold: float | None
    at_least: bool
    terms: Terms
    column: str = "held"

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`; claims about a population wait for every sample."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        alphas = {"pass_alpha": self.terms.alpha, "fail_alpha": self.terms.fail_alpha}
        return settle_share(columns[self.column].astype(bool), n, self._need(n), **alphas)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`."""
        held = columns[self.column].astype(bool)
        read = len(held)
        if read == n:
            events = int(held.sum() if self.at_least else (~held).sum())
            return decide_share(events, n, self.threshold, at_least=self.at_least, **self.terms.of())
        both = self._turned(self._interval(held, n, settled))
        return decide_early(self.threshold, both, read, n, settled, at_least=self.at_least, terms=self.terms)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; a claim about a population is about no certain samples."""
        return self.threshold is not None and self.terms.scope == "set" and broken > n - self._need(n)

    def for_part(self, terms: Terms) -> ShareRule:
        """Return the same claim about a part of the samples."""
        return replace(self, terms=terms)

    def _need(self, n: int) -> int:
        threshold = self.threshold or 0.0
        return count_at_least(threshold, n) if self.at_least else n - count_at_most(threshold, n)

    def _turned(self, interval: tuple[float, float]) -> tuple[float, float]:
        """The interval of what is claimed, from that of the share that holds."""
        low, high = interval
        return interval if self.at_least else (1 - high, 1 - low)

    def _interval(self, held: NDArray[np.bool_], n: int, settled: EarlyVerdict | None) -> tuple[float, float]:
        if self.terms.scope != "set":
            return clopper_pearson(int(held.sum()), len(held), self.terms.alpha)
        return anytime_share_interval(held, n, self.terms.alpha, settled)
