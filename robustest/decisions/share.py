"""Shares: decide if the share of samples that hold is at least a threshold, or the share that does not at most one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.clusters import clusters_of, decide_by_cluster, one_by_one
from robustest.decisions.distributions import betaincinv, gammaln
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Terms,
    ThresholdRule,
    anytime_interval,
    decide_early,
    decide_whole,
    first_verdict,
)
from robustest.decisions.thresholds import count_at_least, count_at_most
from robustest.results import Verdict

# Every sample evaluated: exact for the set; for the population the Clopper-Pearson bound (Biometrika 1934) at alpha, or
# bets by cluster if samples were drawn in clusters (see `clusters`).
# Before that, for the set of N samples of which K hold, drawn in random order without replacement: let L_t(K) be the
# likelihood of the first t outcomes. Against the nearest false value K0 of "at least `need` hold" the mixture
#
#     M_t = mean over offsets d of L_t(K0 + d N) / L_t(K0)
#
# is a non-negative martingale of mean at most 1 for any K on the null's side. It reaches 1 / alpha with probability at
# most alpha (Ville, 1939; Waudby-Smith and Ramdas, NeurIPS 2020), so that it may be looked at after every sample.


# Alternatives d: distances of the true share from the threshold. The distance is unknown, so that a mixture of them
# is tested.
OFFSETS = (0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.14, 0.2, 0.3)

Counts = int | NDArray[np.int64]
Logs = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShareRule(ThresholdRule):
    """A claim on the share of samples that hold (`at_least`), or on the share that do not (at most)."""

    at_least: bool
    column: str = "held"

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        if self.threshold is None or self.terms.scope != "set":
            return None
        held = columns[self.column].astype(bool)
        return settle_share(held, n, self._need(n), pass_alpha=self.terms.alpha, fail_alpha=self.terms.fail_alpha)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        held, scope, alpha = columns[self.column].astype(bool), self.terms.scope, self.terms.alpha
        read = len(held)
        if (clusters := clusters_of(columns, self.terms)) is not None:
            counted = held if self.at_least else ~held
            return one_by_one(columns, clusters, lambda alone: self.decide(alone, n, early)) or decide_by_cluster(
                counted, clusters, n, self.threshold, at_least=self.at_least, terms=self.terms
            )
        if read == n:
            events = int(held.sum() if self.at_least else (~held).sum())
            return decide_share(events, n, self.threshold, at_least=self.at_least, scope=scope, alpha=alpha)
        if scope == "set":
            low, high = anytime_share_interval(held, n, alpha, early)
        else:
            low, high = clopper_pearson(int(held.sum()), read, alpha)
        interval = (low, high) if self.at_least else (1 - high, 1 - low)
        return decide_early(self.threshold, interval, read, n, early, at_least=self.at_least, terms=self.terms)

    def doomed(self, broken: int, n: int) -> bool:
        # A claim about a population is not about these n samples.
        return self.threshold is not None and self.terms.scope == "set" and broken > n - self._need(n)

    def for_part(self, terms: Terms) -> ShareRule:
        return replace(self, terms=terms)

    def _need(self, n: int) -> int:
        threshold = self.threshold or 0.0
        return count_at_least(threshold, n) if self.at_least else n - count_at_most(threshold, n)


@lru_cache(maxsize=1 << 12)  # scipy's quantile takes 0.1 ms, and groups and simulations repeat their counts
def clopper_pearson(events: int, n: int, alpha: float) -> Interval:
    """Return the exact interval of a share (Clopper and Pearson, Biometrika 1934), alpha on each side.

    Args:
        events: samples that count, of n >= 1.
        alpha: the largest probability that the true share lies beyond one given end.
    """
    low = float(betaincinv(events, n - events + 1, alpha)) if events else 0.0
    high = float(betaincinv(events + 1, n - events, 1 - alpha)) if events < n else 1.0
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
    """Return the decision on a share whose n outcomes are all evaluated.

    Args:
        events: samples that count towards the share.
        threshold: in 0..1, or None.
        at_least: True if the share must be at least the threshold, False if at most.
        scope, alpha: see `Terms`.
        fail_alpha: error of a population claim's failure, if it is one of several that may fail.
    """
    return decide_whole(
        events / n,
        clopper_pearson(events, n, alpha),
        threshold,
        at_least=at_least,
        scope=scope,
        alpha=alpha,
        holds=lambda claimed: events >= count_at_least(claimed, n) if at_least else events <= count_at_most(claimed, n),
        wider=None if fail_alpha is None else clopper_pearson(events, n, fail_alpha),
    )


def settle_share(
    held: NDArray[np.bool_], n: int, need: int, *, pass_alpha: float, fail_alpha: float
) -> EarlyVerdict | None:
    """Return the first point at which outcomes in random order decide "at least `need` of n hold", or None.

    Args:
        held: (t,) outcomes in the order drawn, t <= n.
        need: 0..n.
        pass_alpha, fail_alpha: errors of a wrong pass and a wrong failure.
    """
    if need <= 0:  # no outcome can refute it
        return EarlyVerdict(Verdict.PASSED, 0, certain=True, alpha=pass_alpha)
    right = np.cumsum(held, dtype=np.int64)
    wrong = np.arange(1, len(held) + 1, dtype=np.int64) - right
    sure = (right >= need) | (wrong > n - need)
    # The nearest false value is need - 1 for a pass, and need for a failure.
    passes = (right >= need) | (evidence(right, wrong, n, need - 1, above=True) >= -np.log(pass_alpha))
    fails = (wrong > n - need) | (evidence(right, wrong, n, need, above=False) >= -np.log(fail_alpha))
    return first_verdict(passes, fails, pass_alpha=pass_alpha, fail_alpha=fail_alpha, sure=(sure, sure))


def evidence(right: Counts, wrong: Counts, n: int, null: Counts, *, above: bool) -> Logs:
    """Return log M_t against K = `null`; arguments broadcast.

    Args:
        right, wrong: outcomes so far that held, and that did not.
        n: size of the set.
        null: samples that hold under the null hypothesis; every K beyond it is rejected with it.
        above: True if the alternatives are larger than the null, False if smaller.
    """
    ratios = []
    for offset in OFFSETS:
        step = max(1, round(offset * n))
        other = np.minimum(n, np.add(null, step)) if above else np.maximum(0, np.subtract(null, step))
        ratios.append(_log_likelihood(right, wrong, n, other))
    logs = np.logaddexp.reduce(np.stack(ratios), axis=0) - np.log(len(OFFSETS))
    base = _log_likelihood(right, wrong, n, null)
    # A null that the outcomes exclude is refuted for good (inf), unless they exclude all alternatives as well (-inf).
    impossible = np.isneginf(base)
    with np.errstate(invalid="ignore"):
        return np.where(impossible, np.where(np.isneginf(logs), -np.inf, np.inf), logs - base)


def set_share_interval(right: int, wrong: int, n: int, alpha: float) -> Interval:
    """Return bounds on the share of the whole set, valid at any stopping point, alpha on each side.

    Args:
        right, wrong: outcomes so far that held, and that did not.
        n: size of the set.
    """
    k = np.arange(n + 1)
    limit = -np.log(alpha)
    small = (k < right) | (evidence(right, wrong, n, k, above=True) >= limit)
    large = (k > n - wrong) | (evidence(right, wrong, n, k, above=False) >= limit)
    # The lower end is just above the largest K ruled out from below: a threshold that has passed is at or below it,
    # and one that has failed is above the upper end.
    low = int(k[small][-1]) + 1 if small.any() else 0
    high = int(k[large][0]) - 1 if large.any() else n
    return low / n, high / n


def anytime_share_interval(held: NDArray[np.bool_], n: int, alpha: float, early: EarlyVerdict | None) -> Interval:
    """Return bounds on the share of the whole set, on the side of an early verdict (see `anytime_interval`).

    Args:
        held: (t,) outcomes in the seeded random order, t <= n.
    """
    right = np.cumsum(held)

    def bounds(read: int) -> Interval:
        return set_share_interval(int(right[read - 1]), read - int(right[read - 1]), n, alpha)

    return anytime_interval(bounds, len(held), early) if len(held) else set_share_interval(0, 0, n, alpha)


def _log_likelihood(right: Counts, wrong: Counts, n: int, k: Counts) -> Logs:
    """Return log L_t(k) up to a constant, falling factorials (k)_right (n - k)_wrong; -inf if k is impossible."""
    good, bad = np.asarray(k), np.subtract(n, k)
    logs = _log_factorials(n)
    found: Logs = logs[good] - logs[good - right] + logs[bad] - logs[bad - wrong]
    return found


@lru_cache(maxsize=8)
def _log_factorials(n: int) -> Logs:
    # A table: each look needs a dozen times as many factorials as there are outcomes, and `gammaln` was slow. The
    # second half is read at negative indices: more outcomes than samples of their kind.
    table: Logs = np.concatenate([gammaln(np.arange(n + 1) + 1.0), np.full(n, np.inf)])
    table.flags.writeable = False
    return table


# Certified shares: some samples are proven, some broken by an attack, some open.
#
# The share that nothing can break is at least the share proven and at most the share not broken. So a claim "at least"
# passes by proofs (or, if proofs are not required, by the attack's survivors), and fails by broken samples. Each column
# is a `ShareRule`; the interval joins the proofs' lower bound with the attack's upper bound.


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedRule(ThresholdRule):
    """A claim on the share of samples that nothing can break.

    Attributes:
        proofs_alone: True if only proofs may pass it, False if the attack's survivors may too.
        drawn: True if a proof may be wrong by chance, so that every verdict rests on alpha.
    """

    proofs_alone: bool
    drawn: bool = False

    @property
    def held(self) -> ShareRule:
        return ShareRule(threshold=self.threshold, at_least=True, terms=self.terms)

    @property
    def proven(self) -> ShareRule:
        return ShareRule(threshold=self.threshold, at_least=True, terms=self.terms, column="proven")

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        by_proof, by_attack = self.proven.settle(columns, n), self.held.settle(columns, n)
        if by_proof is not None and by_proof.verdict is Verdict.PASSED:
            return by_proof
        # Survivors bound the share from above only: their pass counts just where the claim accepts it.
        if by_attack is not None and (by_attack.verdict is Verdict.FAILED or not self.proofs_alone):
            return by_attack
        return None

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        def by(rule: ShareRule, only: Verdict | None) -> Decision:
            # A column may decide one verdict only: an early verdict of the other kind is dropped.
            settled = rule.settle(columns, n)
            return rule.decide(columns, n, settled if settled is None or only in (None, settled.verdict) else None)

        by_proof = by(self.proven, Verdict.PASSED)
        by_attack = by(self.held, Verdict.FAILED if self.proofs_alone else None)
        interval = (by_proof.interval[0], by_attack.interval[1])
        if self.terms.scope == "set" and by_proof.estimate is not None and by_attack.estimate is not None:
            interval = (by_proof.estimate, by_attack.estimate)  # every sample was evaluated: nothing is left to chance
        proven, read = int(columns["proven"].sum()), len(columns["held"])
        estimate = by_proof.estimate if self.proofs_alone else by_attack.estimate
        if by_proof.verdict is Verdict.PASSED:
            rule = f"proven: {proven} of {read} samples cannot be broken; {by_proof.rule}"
            decision = replace(by_proof, rule=rule, interval=interval, estimate=estimate, proven=True)
        else:
            decision = replace(by_attack, interval=interval, estimate=estimate)
            if self.proofs_alone and self.threshold is not None and decision.verdict is not Verdict.FAILED:
                # The survivors would pass the claim, but only proofs may: the samples between are open.
                broken = int((~columns["held"].astype(bool)).sum())
                rule = f"open: {proven} of {read} samples are proven, {broken} are wrong or broken"
                decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
        return replace(decision, at_alpha=True) if self.drawn else decision

    def doomed(self, broken: int, n: int) -> bool:
        return self.held.doomed(broken, n)

    def for_part(self, terms: Terms) -> CertifiedRule:
        return replace(self, terms=terms)
