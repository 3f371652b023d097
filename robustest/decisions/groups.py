"""Worst groups: decide if every group, of any size, has at least a share of its samples that hold."""

# The smallest share is selected by the outcomes, so that its bounds must hold for all G groups at once. Alpha on each
# side:
#
# - above: each group's exact bound (Clopper and Pearson, Biometrika 1934) at Sidak's level 1 - (1 - alpha)^(1/G) if
#   groups are disjoint, at Bonferroni's alpha / G else; the smallest of them;
# - below: each group's bound at alpha, the smallest of them. It is too high only if the truly worst group's is (an
#   intersection-union test; Berger, Technometrics 1982).
#
# If samples were drawn in clusters, each group's bound is that of its clusters (see `clusters`), at Bonferroni's level:
# groups that share a cluster depend on each other.

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.clusters import CLUSTER, cluster_interval, clusters_of, count_clusters, one_by_one
from robustest.decisions.multiplicity import group_level
from robustest.decisions.rule import (
    Columns,
    Decision,
    EarlyVerdict,
    Interval,
    Terms,
    ThresholdRule,
    decide_early,
    decide_whole,
)
from robustest.decisions.share import ShareRule, anytime_share_interval, clopper_pearson, settle_share
from robustest.decisions.thresholds import count_at_least
from robustest.results import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShare:
    """A group and the share of its samples that hold.

    Attributes:
        held, n: samples that hold, of those evaluated.
        interval: bounds that hold for all groups at once.
    """

    name: str
    held: int
    n: int
    interval: Interval

    @property
    def share(self) -> float:
        """The share that holds, 0..1; 1 for an empty group."""
        return self.held / self.n if self.n else 1.0


def simultaneous(held: Sequence[int], n: Sequence[int], alpha: float, *, disjoint: bool) -> list[Interval]:
    """Return exact intervals that cover the shares of all groups at once.

    Args:
        held, n: samples that hold, and all, by group; an empty group gets (0, 1).
        alpha: the largest probability that any true share lies below its interval, and as much for above.
    """
    if not n:
        return []
    level = group_level(alpha, len(n), disjoint=disjoint)
    return [_bounds(k, of, level) for k, of in zip(held, n, strict=True)]


def group_shares(
    names: Sequence[str], held: Sequence[int], n: Sequence[int], *, alpha: float, disjoint: bool
) -> list[GroupShare]:
    """Return the groups with their simultaneous intervals, worst first; arguments as for `simultaneous`."""
    intervals = simultaneous(held, n, alpha, disjoint=disjoint)
    shares = [
        GroupShare(name=name, held=int(k), n=int(of), interval=interval)
        for name, k, of, interval in zip(names, held, n, intervals, strict=True)
    ]
    return sorted(shares, key=lambda group: (group.share, group.n))


def places_among(kept: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the places in `kept`, rising, of those positions that are in it."""
    return np.searchsorted(kept, ids[np.isin(ids, kept)])


def worst_interval(groups: Sequence[GroupShare], alpha: float, *, disjoint: bool) -> Interval:
    """Return bounds on the smallest true share among one or more groups, alpha on each side."""
    level = group_level(alpha, len(groups), disjoint=disjoint)
    low = min(_bounds(group.held, group.n, alpha)[0] for group in groups)
    return low, min(_bounds(group.held, group.n, level)[1] for group in groups)


def _bounds(held: int, n: int, alpha: float) -> Interval:
    return clopper_pearson(held, n, alpha) if n else (0.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstGroupRule(ThresholdRule):
    """A claim on the smallest share among groups of any size.

    Attributes:
        members: (n_g,) positions of each group's samples in the data.
        disjoint: True if no sample is in two groups.
    """

    names: tuple[str, ...]
    members: tuple[NDArray[np.int64], ...]
    disjoint: bool

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """Decide each group's stream of outcomes: all must pass, one failure is enough."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        streams = self._streams(columns, n)
        found = []
        for held, at, size in streams:
            early = self._settle_group(held, size)
            # The stream of all samples has read up to the group's deciding sample.
            place = 0 if early is None or early.after == 0 else int(at[early.after - 1]) + 1
            found.append(None if early is None else replace(early, after=place))
        failed = [early for early in found if early is not None and early.verdict is Verdict.FAILED]
        if failed:
            return min(failed, key=lambda early: early.after)
        passed = [early for early in found if early is not None]
        if len(passed) < len(found):
            return None
        certain = all(early.certain for early in passed)
        return EarlyVerdict(Verdict.PASSED, max(early.after for early in passed), certain, self.terms.alpha)

    def decide(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Decision:
        scope, alpha = self.terms.scope, self.terms.alpha
        if (clusters := clusters_of(columns, self.terms)) is not None:
            alone = one_by_one(columns, clusters, lambda columns: self.decide(columns, n, early))
            return alone or self._decide_by_cluster(columns, n)
        if (read := len(columns["held"])) < n:
            interval = self._partial_interval(columns, n, early)
            decision = decide_early(self.threshold, interval, read, n, early, at_least=True, terms=self.terms)
            if decision.verdict is not Verdict.FAILED or scope != "set":
                return decision
            streams = zip(self.names, self._streams(columns, n), strict=True)
            verdicts = [(name, self._settle_group(held, size)) for name, (held, _, size) in streams]
            refuted = [name for name, one in verdicts if one is not None and one.verdict is Verdict.FAILED]
            return replace(decision, rule=f"{decision.rule}: {', '.join(refuted)}") if refuted else decision
        groups = self.shares(columns, n)
        decision = decide_whole(
            groups[0].share,
            worst_interval(groups, alpha, disjoint=self.disjoint),
            self.threshold,
            at_least=True,
            scope=scope,
            alpha=alpha,
            holds=lambda claimed: all(group.held >= count_at_least(claimed, group.n) for group in groups),
        )
        if not decision.at_alpha:
            return decision
        return replace(decision, rule=f"population, these {len(groups)} groups at once, alpha = {alpha:g} a side")

    def for_part(self, terms: Terms) -> ShareRule:
        """Return a rule on a part of the samples, all groups together."""
        return ShareRule(threshold=self.threshold, at_least=True, terms=terms)

    def among(self, kept: NDArray[np.int64]) -> WorstGroupRule:
        return replace(self, members=tuple(places_among(kept, ids) for ids in self.members))

    def shares(self, columns: Columns, n: int) -> list[GroupShare]:
        """Return the groups' shares among the evaluated samples, worst first."""
        counts = [(int(held.sum()), len(held)) for held, _, _ in self._streams(columns, n)]
        held, of = [k for k, _ in counts], [m for _, m in counts]
        if self._clustered(columns):
            ends = self._intervals_by_cluster(columns, n, self.terms.alpha / len(counts))
            groups = [
                GroupShare(name=name, held=k, n=m, interval=interval)
                for name, (k, m), interval in zip(self.names, counts, ends, strict=True)
            ]
            return sorted(groups, key=lambda group: (group.share, group.n))
        return group_shares(self.names, held, of, alpha=self.terms.alpha, disjoint=self.disjoint)

    def _clustered(self, columns: Columns) -> bool:
        clusters = clusters_of(columns, self.terms)
        return clusters is not None and len(np.unique(clusters)) < len(clusters)

    def _intervals_by_cluster(self, columns: Columns, n: int, level: float) -> list[Interval]:
        how: dict[str, Any] = {"beside": self.threshold, "anytime": len(columns["held"]) < n}
        return [
            cluster_interval(held, columns[CLUSTER][at], 0.0, 1.0, level, **how) if len(held) else (0.0, 1.0)
            for held, at, _ in self._streams(columns, n)
        ]

    def _decide_by_cluster(self, columns: Columns, n: int) -> Decision:
        read, alpha, groups = len(columns["held"]), self.terms.alpha, self.shares(columns, n)
        low = min(low for low, _ in self._intervals_by_cluster(columns, n, alpha))
        interval = low, min(group.interval[1] for group in groups)
        if read < n:
            decision = decide_early(self.threshold, interval, read, n, None, at_least=True, terms=self.terms)
        else:
            share, scope = groups[0].share, self.terms.scope
            how: dict[str, Any] = {"at_least": True, "scope": scope, "alpha": alpha, "holds": lambda _: False}
            decision = decide_whole(share, interval, self.threshold, **how)
        members = [columns[CLUSTER][at] for _, at, _ in self._streams(columns, n) if len(at)]
        return count_clusters(decision, min(members, key=lambda one: len(np.unique(one))), "in the smallest group")

    def _streams(self, columns: Columns, n: int) -> list[tuple[NDArray[np.bool_], NDArray[np.int64], int]]:
        """Return by group: outcomes in the order drawn, their places in the whole stream, and the group's size."""
        place = np.full(n, -1, dtype=np.int64)
        place[columns["id"]] = np.arange(len(columns["id"]))
        held = columns["held"].astype(bool)
        streams = []
        for ids in self.members:
            at = np.sort(place[ids][place[ids] >= 0])
            streams.append((held[at], at, len(ids)))
        return streams

    def _partial_interval(self, columns: Columns, n: int, early: EarlyVerdict | None) -> Interval:
        if self.terms.scope != "set":
            return worst_interval(self.shares(columns, n), self.terms.alpha, disjoint=self.disjoint)
        streams = self._streams(columns, n)
        # As in the text above: alpha for each lower end, a share of it for each upper one.
        level = group_level(self.terms.alpha, len(streams), disjoint=self.disjoint)
        ends = [(held, size, self._settle_group(held, size)) for held, _, size in streams]
        low = min(anytime_share_interval(held, size, self.terms.alpha, one)[0] for held, size, one in ends)
        high = min(anytime_share_interval(held, size, level, one)[1] for held, size, one in ends)
        passed = early is not None and early.verdict is Verdict.PASSED
        return (low, max(low, high)) if passed else (min(low, high), high)  # their levels differ: they may cross

    def _settle_group(self, held: NDArray[np.bool_], size: int) -> EarlyVerdict | None:
        # All groups must pass, so that each may take alpha; any may fail, so that they share fail_alpha.
        if self.threshold is None:
            return None
        level = group_level(self.terms.fail_alpha, len(self.members), disjoint=self.disjoint)
        need = count_at_least(self.threshold, size)
        return settle_share(held, size, need, pass_alpha=self.terms.alpha, fail_alpha=level)
