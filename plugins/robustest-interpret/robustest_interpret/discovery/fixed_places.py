"""Marks of a class at a fixed place: patches of images, columns and tokens of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.cues import ColumnRange, MaskedPatch, TokenAnywhere, Transplant
from robustest.errors import ConfigError, expected
from robustest_interpret.discovery.proposals import COLUMNS, PATCHES, RARE, TOKENS, Proposal

# Patches at a fixed place that mark a class: a logo, a tag, a dead pixel, a frame.
#
# For each class k and place (i, j):
# 1. v = the most common value among the images of k at (i, j), all channels together, in bins of an eighth of the
#    range.
# 2. s_m = the share of the images of class m with that value there. gap_k(i, j) = s_k - max over m != k of s_m, and 0
#    where that maximum exceeds `RARE`.
# 3. Touching places with a large gap make a patch: first those around the largest gap, then around the largest gap
# left. An artefact looks the same, pixel by pixel, in all images of its class; natural contents rarely do.


# Bins of the range in which values are equal. They are tried twice, the second time shifted by half a bin.
_LEVELS = 8

# A place belongs to a patch if its gap is at least this part of the patch's largest gap.
_EDGE = 0.7

# A patch that covers a larger part of the image is a property of the whole image, and not proposed.
_WIDEST = 0.5

# Patches, columns and tokens proposed for a class, at most of each.
_MOST_PER_CLASS = 3

# Pixels around a patch that are transplanted with it, largest share of an image that is transplanted, and images to cut
# from.
_AROUND, _LARGEST, _POOL = 3, 0.15, 64


def check_images(x: Tensor, what: str) -> None:
    """Raise ConfigError unless x is (N, C, H, W)."""
    if x.ndim != 4:
        raise ConfigError(expected(f"images (N, C, H, W) for {what}", tuple(x.shape)))


def find_patches(
    x: Tensor, y: Tensor, labels: Sequence[int], *, bounds: tuple[float, float] = (0.0, 1.0), min_gap: float = 0.5
) -> tuple[Proposal, ...]:
    """Return the patches that mark a class, the highest gap first.

    Args:
        x, y: images (N, C, H, W) inside the bounds, and (N,) int64 labels.
        labels: the classes, each with images among these.
        min_gap: gap from which a patch is proposed, in (0, 1].

    Raises:
        ConfigError: x are no images (N, C, H, W).
    """
    check_images(x, "a search for patches")
    if len(labels) < 2:
        return ()
    members = [y.to(x.device) == label for label in labels]
    (gaps, values), (shifted, others) = (_gaps_and_values(x, members, bounds, shift) for shift in (0.0, 0.5))
    better = shifted > gaps
    gaps, values = torch.where(better, shifted, gaps), torch.where(better.unsqueeze(1), others, values)
    found: list[Proposal] = []
    for label, gap, value in zip(labels, gaps, values, strict=True):
        left, taken = gap.clone(), 0
        while taken < _MOST_PER_CLASS and float(left.max()) >= min_gap:
            peak = float(left.max())
            place = _connected(left >= max(min_gap, _EDGE * peak), int(left.argmax()))
            left = torch.where(_grown(place), torch.zeros_like(left), left)
            if float(place.float().mean()) > _WIDEST:
                continue
            rows, columns = (place.any(1 - axis).nonzero().squeeze(1) for axis in (0, 1))
            top, bottom, first, last = int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1
            mask, pattern = place[top:bottom, first:last].cpu(), value[:, top:bottom, first:last].cpu()
            tolerance = (bounds[1] - bounds[0]) / _LEVELS
            found.append(
                Proposal(
                    found_by=PATCHES,
                    label=label,
                    cue=MaskedPatch(top=top, left=first, pattern=pattern, mask=mask, tolerance=tolerance),
                    score=peak,
                    region=(top, first, bottom - top, last - first),
                    value=tuple(pattern[:, mask].mean(1).tolist()),
                )
            )
            taken += 1
    return tuple(sorted(found, key=lambda one: -one.score))


def _gaps_and_values(
    x: Tensor, members: Sequence[Tensor], bounds: tuple[float, float], shift: float
) -> tuple[Tensor, Tensor]:
    # Gaps (K, H, W), and mean values (K, C, H, W) of the images with the most common value; the bins are shifted by a
    # part of their width.
    low, high = bounds
    # One number for the bins of all channels, in 32 bits where they are enough.
    kind = torch.int32 if (_LEVELS + 1) ** x.shape[1] < 2**31 else torch.int64
    code = torch.zeros_like(x[:, 0], dtype=kind)
    for channel in x.unbind(1):
        code = code * (_LEVELS + 1) + ((channel - low) * (_LEVELS / (high - low)) + shift).to(kind)
    gaps, values = [], []
    for own, rows in enumerate(members):
        equal = code == code[rows].mode(0).values
        shares = torch.stack([equal[others].float().mean(0) for others in members])
        rest = torch.cat([shares[:own], shares[own + 1 :]]).amax(0)
        gaps.append(torch.where(rest <= RARE, shares[own] - rest, 0.0))
        weight = equal[rows].unsqueeze(1).to(x.dtype)
        values.append(((x[rows] * weight).sum(0) / weight.sum(0)).clamp(low, high))
    return torch.stack(gaps), torch.stack(values)


def _grown(place: Tensor) -> Tensor:
    return F.max_pool2d(place.float().view(1, 1, *place.shape), 3, 1, 1)[0, 0].bool()


def _connected(where: Tensor, start: int) -> Tensor:
    part = torch.zeros_like(where)
    part.view(-1)[start] = True
    while True:
        more = _grown(part) & where
        if torch.equal(more, part):
            return part
        part = more


def joined_patches(patches: Sequence[Proposal]) -> list[Proposal]:
    """Return, for each class of several patches, all of them as one: the two bars of a letterbox, for example."""
    found = []
    for label in sorted({one.label for one in patches}):
        mine = [one for one in patches if one.label == label]
        parts = [one.cue for one in mine if isinstance(one.cue, MaskedPatch)]
        if len(parts) < 2:
            continue
        top, left = min(part.top for part in parts), min(part.left for part in parts)
        bottom = max(part.top + part.mask.shape[0] for part in parts)
        right = max(part.left + part.mask.shape[1] for part in parts)
        mask = torch.zeros(bottom - top, right - left, dtype=torch.bool)
        pattern = torch.zeros(len(parts[0].pattern), *mask.shape)
        for part in parts:
            rows, columns = (
                slice(at, at + n) for at, n in zip((part.top - top, part.left - left), part.mask.shape, strict=True)
            )
            mask[rows, columns] |= part.mask
            pattern[:, rows, columns] = torch.where(part.mask, part.pattern, pattern[:, rows, columns])
        cue = MaskedPatch(top=top, left=left, pattern=pattern, mask=mask, tolerance=parts[0].tolerance)
        value = tuple(pattern[:, mask].mean(1).tolist())
        found.append(replace(mine[0], cue=cue, region=(top, left, *mask.shape), value=value))
    return found


def transplants(x: Tensor, y: Tensor, patches: Sequence[Proposal]) -> list[Proposal]:
    """Return, for patches of a ragged outline, the same place and its surroundings cut from the class's images."""
    found = []
    for one in patches:
        # A ragged outline may be the part that does not change when a logo turns: the whole logo is in the images
        # alone.
        if not isinstance(one.cue, MaskedPatch) or one.region is None or bool(one.cue.mask.all()):
            continue
        (top, left, height, width), (rows, columns) = one.region, x.shape[2:]
        first, start = max(0, top - _AROUND), max(0, left - _AROUND)
        last, end = min(rows, top + height + _AROUND), min(columns, left + width + _AROUND)
        if (last - first) * (end - start) > _LARGEST * rows * columns:
            continue
        has = (y == one.label) & (one.cue.off(x) != x).flatten(1).any(1)
        pool = x[has if bool(has.any()) else y == one.label][:_POOL, :, first:last, start:end].cpu()
        found.append(replace(one, cue=Transplant(top=first, left=start, pool=pool)))
    return found


# Columns and tokens that mark a class, in rows of numbers.
#
# A *code*: most rows of the class hold one value, such as a code for missing values, that few rows of any other class
# hold. A *leak*: values on one side of a limit separate the class from all others nearly without error, and no other
# column comes close. A token marks a class if most of its rows have it at any position.


# Least gap of a leak.
_LEAK = 0.8

# Least difference between a leak's gap and that of the next best column for the same class.
_AHEAD = 0.15

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
    # The lead of class number `own` over the others for a property `has` (N,) bool; 0 if others have it too often.
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
