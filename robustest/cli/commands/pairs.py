"""One claim in two runs: its samples paired, where its kind allows it, and what became of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from robustest.account import Row
from robustest.cli.claims import Bars, bars_of, stricter
from robustest.decisions.drop import mcnemar
from robustest.decisions.multiplicity import holm
from robustest.decisions.two_set_drop import share_difference_interval
from robustest.results import NOT_PAIRED, Pairing, Result, Verdict

Outcomes = tuple[bool | None, ...]

_CHANCE, _ROUNDING = 0.05, 1e-9
"""Of calling the start of a fall lower on other samples; of the end of a fall, which is a difference."""


class Change(StrEnum):
    """What became of a claim."""

    WORSE = "worse"
    BETTER = "better"
    ALIKE = "alike"
    MOVED = "threshold moved"
    NOT_PAIRED = "not paired"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The same samples in two runs.

    Attributes:
        lost, gained: samples that held only in the first, and only in the second.
        n: how many were looked at in both.
        worse, better: exact one-sided McNemar p-values, that what was lost, or gained, is chance; of groups the
            smallest, times their number.
        group: the group that these samples are of, the one that lost, or else gained, most surely; empty for all.
    """

    lost: int
    gained: int
    n: int
    worse: float
    better: float
    group: str = ""


@dataclass(frozen=True, slots=True)
class Compared:
    """One claim in two runs.

    Attributes:
        before, after: its rows.
        pairs: its samples, where they can be paired.
        why_not: else the reason.
        asked: what it asked for, before and after.
    """

    before: Row
    after: Row
    pairs: Pairs | None
    why_not: str
    asked: tuple[Bars, Bars] = ((), ())

    @property
    def fell(self) -> bool:
        """Whether it passed, and does not any more."""
        return _has_passed(self.before) and not _has_passed(self.after)

    @property
    def rose(self) -> bool:
        """Whether it did not pass, and does now."""
        return _has_passed(self.after) and not _has_passed(self.before)

    @property
    def unexplained(self) -> bool:
        """Whether it fell under a stricter threshold, and nothing says that the model is as it was."""
        if not self.fell or self.pairs is not None or self.after.result is None:
            return False
        return stricter(*self.asked) and not self._below_the_old() and not self._as_it_was()

    def by_verdict(self, paired: Change | None) -> Change:
        """What became of it, given what its pairs say; whatever these say, what passed and fails is worse."""
        if self.before.result is None or self.after.result is None:
            return Change.WORSE if self.fell else Change.NOT_MEASURED
        if paired is Change.WORSE or (self.fell and (not stricter(*self.asked) or self._below_the_old())):
            return Change.WORSE
        if self.rose and paired is not Change.BETTER and self._falls_less_from_less():
            return Change.ALIKE if paired is Change.ALIKE else Change.NOT_PAIRED
        if paired is Change.BETTER or (self.rose and not stricter(*reversed(self.asked))):
            return Change.BETTER
        moved = self.asked[0][:-1] != self.asked[1][:-1] or self.fell or self.rose
        if moved and (paired is Change.ALIKE or self._as_it_was()):
            return Change.MOVED
        same = self.before.result.verdict is self.after.result.verdict and self._same_number()
        alike = paired is Change.ALIKE or same
        return Change.ALIKE if alike else Change.NOT_PAIRED

    def _below_the_old(self) -> bool:
        """Whether the value now breaks what was asked before as well."""
        first, second = self.before.result, self.after.result
        if first is None or second is None or first.threshold is None or second.estimate is None:
            return False
        other = [[bar for bar in bars[:-1] if bar != bars[0]] for bars in self.asked]
        return other[0] == other[1] and _breaks(second.estimate, first.comparison, first.threshold)

    def _falls_less_from_less(self) -> bool:
        """Return True if it is a fall that passes only as it starts from less than it did.

        From where it started before to where it ends now, it would be larger than what is claimed. On other samples the
        start is lower only where it is so beyond chance.
        """
        first, second = self.before.result, self.after.result
        if first is None or second is None:
            return False
        start, later = _start_of(first), _start_of(second)
        if start is None or later is None:
            return False
        (before, of_before), (after, of_after) = start, later
        if second.estimate is not None and second.threshold is not None:
            end = after / of_after - second.estimate
            if before / of_before - end <= second.threshold + _ROUNDING:
                return False
        if first.data and first.data == second.data:
            return after / of_after < before / of_before
        return share_difference_interval(before, of_before, after, of_after, _CHANCE)[0] > 0

    def _same_number(self) -> bool:
        """Whether the same samples gave the same value."""
        first, second = self.before.result, self.after.result
        if first is None or second is None or first.estimate is None or second.estimate is None:
            return False
        if first.data != second.data or (not first.data and first.outcomes != second.outcomes):
            return False
        return math.isclose(first.estimate, second.estimate, rel_tol=1e-9, abs_tol=1e-12)

    def _as_it_was(self) -> bool:
        """Whether the same model was measured alike, or what it had before would not do now, or all is as it was."""
        first, second = self.before.result, self.after.result
        if first is None or second is None:
            return False
        if first.model and first.model == second.model and first.seed == second.seed:
            return True
        new = second.threshold
        short = new != first.threshold and new is not None and first.data == second.data and first.estimate is not None
        if short and _breaks(first.estimate or 0.0, second.comparison, new or 0.0):
            return True
        return self._same_number()


def compared(before: Row, after: Row, levels: tuple[float, float] = (0.0, 0.0)) -> Compared:
    """Pair a claim's samples, or say why they cannot be.

    Args:
        before, after: the claim's rows.
        levels: the two runs' alpha.
    """
    if before.result is None or after.result is None:
        return Compared(before, after, None, "not measured")
    asked = (bars_of(before.result, levels[0]), bars_of(after.result, levels[1]))
    why_not = _why_not(before.result, after.result)
    if why_not:
        return Compared(before, after, None, why_not, asked)
    first, second = _pairing(before.result), _pairing(after.result)
    outcomes = before.result.outcomes, after.result.outcomes
    if first.start:
        ends = {"start of the fall": (first.start, second.start), "end of the fall": outcomes}
        found = [_paired(name, *sides) for name, sides in ends.items()]
    else:
        parts: Mapping[str, Sequence[int]] = first.groups or {"": range(len(outcomes[0]))}
        found = [_paired(name, *([side[at] for at in ids] for side in outcomes)) for name, ids in parts.items()]
    return Compared(before, after, _surest([one for one in found if one.n]), "", asked)


def _paired(name: str, first: Sequence[bool | None], second: Sequence[bool | None]) -> Pairs:
    both = list(zip(first, second, strict=True))
    lost, gained = both.count((True, False)), both.count((False, True))
    n = sum(outcome is not None for outcome in first)
    return Pairs(lost=lost, gained=gained, n=n, worse=mcnemar(lost, gained), better=mcnemar(gained, lost), group=name)


def _surest(found: Sequence[Pairs]) -> Pairs:
    """The group that changed most surely, its p-values corrected for their number (Bonferroni)."""
    shown = min(found, key=lambda one: min(one.worse, one.better))
    worse, better = (
        min(1.0, len(found) * min(p)) for p in zip(*((one.worse, one.better) for one in found), strict=True)
    )
    return Pairs(lost=shown.lost, gained=shown.gained, n=shown.n, worse=worse, better=better, group=shown.group)


def _pairing(result: Result) -> Pairing:
    """As its kind says; of a result that does not say, its outcomes count where their share is what was measured."""
    if result.pairing is not None:
        return result.pairing
    known = [outcome for outcome in result.outcomes if outcome is not None]
    share = known.count(result.comparison == ">=") / len(known) if known else None
    same = result.estimate is None or (share is not None and math.isclose(share, result.estimate, abs_tol=1e-9))
    return Pairing() if same else NOT_PAIRED


def _start_of(result: Result) -> tuple[int, int] | None:
    """Return how many samples were right where a fall starts, of those looked at; None where it is no fall."""
    known = [outcome for outcome in _pairing(result).start if outcome is not None]
    if known:
        return known.count(True), len(known)
    start = None if result.start is None else result.start.value
    return (round(start * result.n), result.n) if isinstance(start, float) and result.n else None


def _why_not(before: Result, after: Result) -> str:
    for name, result in (("A", before), ("B", after)):
        if not result.data:
            return f"{name} looked at {result.n} of {result.n_total} samples (--robust-exact looks at all)"
    if before.data != after.data:
        return "the samples are others"
    if [o is None for o in before.outcomes] != [o is None for o in after.outcomes]:
        return "others of the samples were looked at"
    return _another(_pairing(before), _pairing(after))


def _another(first: Pairing, second: Pairing) -> str:
    if first.start and second.start:
        if not first.start_data or not second.start_data:
            return "not all samples were looked at that the fall starts from (--robust-exact looks at all)"
        if first.start_data != second.start_data:
            return "the samples that the fall starts from are others"
    elif not (first.share and second.share):
        return "its verdict follows from no share of the samples"
    if first.under != second.under:
        return f"what holds depends on {first.under or 'nothing else'}, which is another: {second.under or 'none'}"
    return "" if first.groups == second.groups else "the groups are others"


def changes(both: Sequence[Compared], alpha: float) -> list[Change]:
    """What became of each claim.

    Of all claims whose samples are paired, one or more is called worse for its pairs by chance with probability alpha
    at most, and so for better (Holm, Scandinavian Journal of Statistics 1979). Whatever is paired, a claim is worse
    where it passed and does not now, unless it is only that more is asked of a model that is as it was.
    """
    paired = {place: one.pairs for place, one in enumerate(both) if one.pairs is not None}
    worse, better = (
        {place for place, p in zip(paired, holm(values), strict=True) if p <= alpha}
        for values in ([pairs.worse for pairs in paired.values()], [pairs.better for pairs in paired.values()])
    )
    found = []
    for place, one in enumerate(both):
        by_pairs = Change.WORSE if place in worse else Change.BETTER if place in better else Change.ALIKE
        found.append(one.by_verdict(by_pairs if place in paired else None))
    return found


def _breaks(value: float, comparison: str, threshold: float) -> bool:
    return value < threshold if comparison == ">=" else value > threshold


def _has_passed(row: Row) -> bool:
    return row.result is not None and row.result.verdict is Verdict.PASSED
