"""Verdicts on the worst of several groups, which is picked after looking."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.decisions.multiplicity import group_level
from robustest.decisions.rule import Columns, Decision, EarlyVerdict, Terms, decide_early, judge_interval
from robustest.decisions.share import ShareRule, anytime_share_interval, clopper_pearson, settle_share
from robustest.decisions.thresholds import count_at_least
from robustest.results import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupShare:
    """A group and the share of its samples that hold.

    Attributes:
        name: the group.
        held: samples that hold.
        n: samples of the group that were looked at.
        interval: bounds that hold for all groups at once (see `simultaneous`).
    """

    name: str
    held: int
    n: int
    interval: tuple[float, float]

    @property
    def share(self) -> float:
        """The share that holds, 0..1; 1 where none was looked at."""
        return self.held / self.n if self.n else 1.0


def simultaneous(
    held: Sequence[int], n: Sequence[int], alpha: float, *, disjoint: bool = True
) -> list[tuple[float, float]]:
    """Exact intervals (Clopper and Pearson, Biometrika 1934) that cover the shares of all groups at once.

    Args:
        held: samples that hold, by group.
        n: samples, by group; an empty one gets (0, 1).
        alpha: the chance that any true share lies below its interval, at most, and as much for above.
        disjoint: as for `group_level`.
    """
    if not n:
        return []
    level = group_level(alpha, len(n), disjoint=disjoint)
    return [_bounds(k, of, level) for k, of in zip(held, n, strict=True)]


def group_shares(
    names: Sequence[str], held: Sequence[int], n: Sequence[int], *, alpha: float, disjoint: bool
) -> list[GroupShare]:
    """The groups with their simultaneous intervals, worst first.

    Args:
        names, held, n: by group, as in `GroupShare`.
        alpha: error of all intervals together, on each side.
        disjoint: as for `group_level`.
    """
    intervals = simultaneous(held, n, alpha, disjoint=disjoint)
    shares = [
        GroupShare(name=name, held=int(k), n=int(of), interval=interval)
        for name, k, of, interval in zip(names, held, n, intervals, strict=True)
    ]
    return sorted(shares, key=lambda group: (group.share, group.n))


def worst_interval(groups: Sequence[GroupShare], alpha: float, *, disjoint: bool) -> tuple[float, float]:
    """An interval of the smallest true share among the groups, alpha on each side.

    It ends above at the smallest of the simultaneous upper bounds. Below, every group may have its bound at alpha on
    its own: the smallest of them is too high only if that of the group with the smallest share is (an
    intersection-union test, Berger, Technometrics 1982).

    Args:
        groups: as `group_shares` gives them, one or more.
        alpha: error on each side.
        disjoint: as for `group_level`.
    """
    level = group_level(alpha, len(groups), disjoint=disjoint)
    low = min(_bounds(group.held, group.n, alpha)[0] for group in groups)
    return low, min(_bounds(group.held, group.n, level)[1] for group in groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstGroupRule:
    """A claim on the smallest share among groups, of any size: what is small is not left out.

    Attributes:
        threshold: the share claimed for every group, in 0..1; None where nothing is claimed.
        names: of the groups.
        members: (n_g,) positions of each group's samples in the data.
        disjoint: whether no sample is in two groups.
        terms: what the verdict may rest on.
    """

    threshold: float | None
    names: tuple[str, ...]
    members: tuple[NDArray[np.int64], ...]
    disjoint: bool
    terms: Terms

    def settle(self, columns: Columns, n: int) -> EarlyVerdict | None:
        """As `Claim.settled`: passed once every group is, failed once one is; claims about a population wait."""
        if self.threshold is None or self.terms.scope != "set":
            return None
        streams = self._streams(columns, n)
        found = []
        for held, at, size in streams:
            one = self._settle(held, size, len(streams))
            place = 0 if one is None or one.after == 0 else int(at[one.after - 1]) + 1
            found.append(None if one is None else replace(one, after=place))
        failed = [one for one in found if one is not None and one.verdict is Verdict.FAILED]
        if failed:
            return min(failed, key=lambda one: one.after)
        passed = [one for one in found if one is not None]
        if len(passed) < len(found):
            return None
        certain = all(one.certain for one in passed)
        return EarlyVerdict(Verdict.PASSED, max(one.after for one in passed), certain, self.terms.alpha)

    def decide(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> Decision:
        """As `Claim.decide`."""
        if (read := len(columns["held"])) < n:
            both = self._partial_interval(columns, n, settled)
            decision = decide_early(self.threshold, both, read, n, settled, at_least=True, terms=self.terms)
            below = self._refuted(columns, n) if decision.verdict is Verdict.FAILED else []
            return replace(decision, rule=f"{decision.rule}: {', '.join(below)}") if below else decision
        groups = self.shares(columns, n)
        both = worst_interval(groups, self.terms.alpha, disjoint=self.disjoint)
        verdict, rule = Verdict.INCONCLUSIVE, "no threshold given"
        if self.threshold is not None and self.terms.scope == "set":
            threshold = self.threshold
            holds = all(group.held >= count_at_least(threshold, group.n) for group in groups)
            verdict, rule = (Verdict.PASSED if holds else Verdict.FAILED), "certain: exact on this set"
        elif self.threshold is not None:
            verdict = judge_interval(both, self.threshold, at_least=True)
            rule = f"population, these {len(groups)} groups at once, alpha = {self.terms.alpha:g} a side"
        at_alpha = self.threshold is not None and self.terms.scope != "set"
        return Decision(verdict=verdict, rule=rule, estimate=groups[0].share, interval=both, at_alpha=at_alpha)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; how many are broken does not say in which group they are."""
        return False

    def for_part(self, terms: Terms) -> ShareRule:
        """Return the claim that a part of the samples, of all groups together, has the share."""
        return ShareRule(threshold=self.threshold, at_least=True, terms=terms)

    def shares(self, columns: Columns, n: int) -> list[GroupShare]:
        """The groups as far as they were looked at, worst first."""
        counts = [(int(held.sum()), len(held)) for held, _, _ in self._streams(columns, n)]
        held, seen = [right for right, _ in counts], [of for _, of in counts]
        return group_shares(self.names, held, seen, alpha=self.terms.alpha, disjoint=self.disjoint)

    def _refuted(self, columns: Columns, n: int) -> list[str]:
        """Names of the groups whose outcomes so far settle that they have not the share claimed."""
        if self.terms.scope != "set":
            return []
        streams = self._streams(columns, n)
        ends = [self._settle(held, size, len(streams)) for held, _, size in streams]
        both = zip(self.names, ends, strict=True)
        return [name for name, one in both if one is not None and one.verdict is Verdict.FAILED]

    def _streams(self, columns: Columns, n: int) -> list[tuple[NDArray[np.bool_], NDArray[np.int64], int]]:
        """By group: outcomes in the order drawn, where they are in the whole stream, and the group's size."""
        place = np.full(n, -1, dtype=np.int64)
        place[columns["id"]] = np.arange(len(columns["id"]))
        held = columns["held"].astype(bool)
        streams = []
        for ids in self.members:
            at = np.sort(place[ids][place[ids] >= 0])
            streams.append((held[at], at, len(ids)))
        return streams

    def _partial_interval(self, columns: Columns, n: int, settled: EarlyVerdict | None) -> tuple[float, float]:
        """Bounds on the smallest share where some samples were not looked at, on the side of the verdict."""
        if self.terms.scope != "set":
            return worst_interval(self.shares(columns, n), self.terms.alpha, disjoint=self.disjoint)
        streams = self._streams(columns, n)
        level = group_level(self.terms.alpha, len(streams), disjoint=self.disjoint)
        ends = [(held, size, self._settle(held, size, len(streams))) for held, _, size in streams]
        low = min(anytime_share_interval(held, size, self.terms.alpha, one)[0] for held, size, one in ends)
        high = min(anytime_share_interval(held, size, level, one)[1] for held, size, one in ends)
        passed = settled is not None and settled.verdict is Verdict.PASSED
        return (low, max(low, high)) if passed else (min(low, high), high)  # their levels differ: they may cross

    def _settle(self, held: NDArray[np.bool_], size: int, groups: int) -> EarlyVerdict | None:
        """Where a group's own outcomes settle whether it has the share claimed; all must pass, any may fail."""
        if self.threshold is None:
            return None
        level = group_level(self.terms.fail_alpha, groups, disjoint=self.disjoint)
        return settle_share(
            held, size, count_at_least(self.threshold, size), pass_alpha=self.terms.alpha, fail_alpha=level
        )


def _bounds(held: int, n: int, alpha: float) -> tuple[float, float]:
    return clopper_pearson(held, n, alpha) if n else (0.0, 1.0)
