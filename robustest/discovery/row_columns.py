"""Columns and tokens that mark a class, in rows of numbers.

A *code*: most rows of the class hold one value, such as a code for missing values, that few rows of any other class
hold. A *leak*: values on one side of a limit separate the class from all others nearly without error, and no other
column comes close. A token marks a class if most of its rows have it at any position.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustest.cues.tabular import ColumnRange, TokenAnywhere
from robustest.discovery.proposals import COLUMNS, RARE, TOKENS, Proposal

# Least gap of a leak.
_LEAK = 0.8

# Least difference between a leak's gap and that of the next best column for the same class.
_AHEAD = 0.15

# Columns, and tokens, proposed for a class, at most.
_MOST_PER_CLASS = 3

# A token is tried where its count is at least this share of the rows of a class of average size.
_COMMON = 0.05

# Rows of whole numbers from 0 up to here are taken for tokens.
_LARGEST_VOCABULARY = 200_000

# Quantiles of a class's values that are tried as limits of a leak.
_LEAK_LIMITS = torch.linspace(0.02, 0.5, 13, dtype=torch.float64)


def find_columns_and_tokens(
    x: Tensor, y: Tensor, labels: Sequence[int], *, min_gap: float
) -> tuple[list[Proposal], bool]:
    """Return the columns and tokens that mark a class, the highest gap first; and True if the rows are tokens.

    Args:
        x, y: rows (N, D), and (N,) int64 labels.
        min_gap: least gap of a code or a token, in (0, 1].
    """
    tokens = bool((x == x.round()).all()) and float(x.min()) >= 0 and float(x.max()) < _LARGEST_VOCABULARY
    if len(labels) < 2:
        return [], tokens
    members = [y == label for label in labels]
    found = [*_codes(x, members, labels, min_gap), *_leaks(x, members, labels)]
    if tokens:
        found += _tokens(x, members, labels, min_gap)
    kept: list[Proposal] = []
    for one in sorted(found, key=lambda one: -one.score):
        same_kind = [other for other in kept if (other.label, other.found_by) == (one.label, one.found_by)]
        repeated = isinstance(one.cue, ColumnRange) and any(other.region == one.region for other in same_kind)
        if len(same_kind) < _MOST_PER_CLASS and not repeated:
            kept.append(one)
    return kept, tokens


def _gap(has: Tensor, members: Sequence[Tensor], own: int) -> float:
    # The gap of class number `own` for rows (N,) bool with a property.
    shares = [float(has[rows].double().mean()) for rows in members]
    rest = max([*shares[:own], *shares[own + 1 :]])
    return shares[own] - rest if rest <= RARE else 0.0


def _codes(x: Tensor, members: Sequence[Tensor], labels: Sequence[int], min_gap: float) -> list[Proposal]:
    found = []
    for column, values in enumerate(x.unbind(1)):
        for own, label in enumerate(labels):
            value = values[members[own]].mode().values
            has = values == value
            gap = _gap(has, members, own)
            if gap >= min_gap and not bool(has.all()):
                code, other = float(value), float(values[~has].median())
                cue = ColumnRange(column=column, value=code, off_value=other, low=code, high=code)
                found.append(_column_proposal(label, gap, cue))
    return found


def _leaks(x: Tensor, members: Sequence[Tensor], labels: Sequence[int]) -> list[Proposal]:
    found = []
    for own, label in enumerate(labels):
        best: list[tuple[float, int, float, float]] = []
        for column, values in enumerate(x.double().unbind(1)):
            sides = []
            for sign in (1.0, -1.0):
                for limit in (sign * values[members[own]]).quantile(_LEAK_LIMITS.to(x.device)).tolist():
                    sides.append((_gap(sign * values >= limit, members, own), column, sign, limit))
            best.append(max(sides))
        best.sort(reverse=True)
        gap, column, sign, limit = best[0]
        if gap >= _LEAK and (len(best) == 1 or gap - best[1][0] >= _AHEAD):
            signed = sign * x[:, column].double()
            beyond = signed >= limit
            value, other = (sign * float(signed[rows].median()) for rows in (beyond, ~beyond))
            low, high = sorted((sign * limit, sign * float(signed.max())))
            cue = ColumnRange(column=column, value=value, off_value=other, low=low, high=high)
            found.append(_column_proposal(label, gap, cue))
    return found


def _tokens(x: Tensor, members: Sequence[Tensor], labels: Sequence[int], min_gap: float) -> list[Proposal]:
    found = []
    values, counts = torch.unique(x, return_counts=True)
    # Off replaces a token by the most common one, and that one by the second most common.
    common = int(values[counts.argmax()])
    second = int(values[counts.topk(min(2, len(counts))).indices[-1]])
    for value in values[counts >= _COMMON * len(x) / len(labels)].tolist():
        token, has = int(value), (x == value).any(1)
        for own, label in enumerate(labels):
            gap = _gap(has, members, own)
            instead = second if token == common else common
            if gap >= min_gap and instead != token:
                cue = TokenAnywhere(token=token, instead=instead)
                found.append(
                    Proposal(found_by=TOKENS, label=label, cue=cue, score=gap, region=None, value=(float(value),))
                )
    return found


def _column_proposal(label: int, gap: float, cue: ColumnRange) -> Proposal:
    return Proposal(found_by=COLUMNS, label=label, cue=cue, score=gap, region=(0, cue.column, 1, 1), value=(cue.value,))
