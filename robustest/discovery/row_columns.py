"""Columns and tokens that mark a class, in rows of numbers.

A column marks a class where most of its rows hold one value, as a code for what is missing, that few rows of any other
class hold; or where it alone tells the class from all others nearly without fail and no other column comes close, as
one does that leaks the label. A token marks a class where most of its rows have it, wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustest.cues.tabular import ColumnRange, TokenAnywhere
from robustest.discovery.patch_places import RARE
from robustest.discovery.proposals import COLUMNS, TOKENS, Proposal

_LEAK = 0.8
"""The gap from which a column tells a class too well."""
_AHEAD = 0.15
"""By how much such a column's gap has to exceed that of the next best for the same class."""
_A_CLASS = 3
"""Columns, and tokens, proposed for a class, at most."""
_ATOM = 0.05
"""Share of all rows that hold the same value for it to be a value of its own."""
_LARGEST_VOCABULARY = 200_000
_SHARES = torch.linspace(0.02, 0.5, 13, dtype=torch.float64)


def columns_and_tokens(x: Tensor, y: Tensor, labels: Sequence[int], *, min_gap: float) -> tuple[list[Proposal], bool]:
    """Columns and tokens that mark a class, those of the highest gap first; and whether there are tokens.

    Args:
        x, y: rows (N, D), and (N,) int64 labels.
        labels: the classes to look at and to compare with.
        min_gap: share of a class's rows that must hold the same value or token, less the next class's, in (0, 1].
    """
    tokens = bool((x == x.round()).all()) and float(x.min()) >= 0 and float(x.max()) < _LARGEST_VOCABULARY
    if len(labels) < 2:
        return [], tokens
    found = [*_codes(x, y, labels, min_gap), *_leaks(x, y, labels)]
    if tokens:
        found += _tokens(x, y, labels, min_gap)
    kept: list[Proposal] = []
    for one in sorted(found, key=lambda one: -one.score):
        alike = [other for other in kept if (other.label, other.found_by) == (one.label, one.found_by)]
        same = isinstance(one.cue, ColumnRange) and any(other.region == one.region for other in alike)
        if len(alike) < _A_CLASS and not same:
            kept.append(one)
    return kept, tokens


def _gap(has: Tensor, members: list[Tensor], own: int) -> float:
    """Share of a class's rows (N,) bool that have something, less the largest of another; 0 where that is not rare."""
    shares = [float(has[rows].double().mean()) for rows in members]
    rest = max([*shares[:own], *shares[own + 1 :]])
    return shares[own] - rest if rest <= RARE else 0.0


def _codes(x: Tensor, y: Tensor, labels: Sequence[int], min_gap: float) -> list[Proposal]:
    members, found = [y == label for label in labels], []
    for column, values in enumerate(x.unbind(1)):
        for own, label in enumerate(labels):
            value = values[members[own]].mode().values
            has = values == value
            gap = _gap(has, members, own)
            if gap >= min_gap and not bool(has.all()):
                other = float(values[~has].median())
                found.append(_column(label, gap, _range(column, float(value), other, (float(value), float(value)))))
    return found


def _leaks(x: Tensor, y: Tensor, labels: Sequence[int]) -> list[Proposal]:
    members, found = [y == label for label in labels], []
    for own, label in enumerate(labels):
        best: list[tuple[float, int, float, float]] = []
        for column, values in enumerate(x.double().unbind(1)):
            sides = []
            for sign in (1.0, -1.0):
                for limit in (sign * values[members[own]]).quantile(_SHARES.to(x.device)).tolist():
                    sides.append((_gap(sign * values >= limit, members, own), column, sign, limit))
            best.append(max(sides))
        best.sort(reverse=True)
        gap, column, sign, limit = best[0]
        if gap >= _LEAK and (len(best) == 1 or gap - best[1][0] >= _AHEAD):
            signed = sign * x[:, column].double()
            beyond = signed >= limit
            value, other = (sign * float(signed[rows].median()) for rows in (beyond, ~beyond))
            ends = sorted((sign * limit, sign * float(signed.max())))
            found.append(_column(label, gap, _range(column, value, other, (ends[0], ends[1]))))
    return found


def _tokens(x: Tensor, y: Tensor, labels: Sequence[int], min_gap: float) -> list[Proposal]:
    members, found = [y == label for label in labels], []
    values, counts = torch.unique(x, return_counts=True)
    common = int(values[counts.argmax()])
    second = int(values[counts.topk(min(2, len(counts))).indices[-1]])
    for value in values[counts >= _ATOM * len(x) / len(labels)].tolist():
        has = (x == value).any(1)
        for own, label in enumerate(labels):
            gap = _gap(has, members, own)
            instead = second if int(value) == common else common
            if gap >= min_gap and instead != int(value):
                cue = TokenAnywhere(token=int(value), instead=instead)
                found.append(
                    Proposal(found_by=TOKENS, label=label, cue=cue, score=gap, region=None, value=(float(value),))
                )
    return found


def _range(column: int, value: float, other: float, ends: tuple[float, float]) -> ColumnRange:
    return ColumnRange(column=column, value=value, off_value=other, low=ends[0], high=ends[1])


def _column(label: int, gap: float, cue: ColumnRange) -> Proposal:
    return Proposal(found_by=COLUMNS, label=label, cue=cue, score=gap, region=(0, cue.column, 1, 1), value=(cue.value,))
