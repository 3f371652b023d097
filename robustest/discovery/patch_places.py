"""Places where most images of one class, and few of any other, have one and the same value.

A logo, a tag, a dead pixel or a frame that goes with a class looks alike in all of its images; what a class is about
seldom does, pixel by pixel. No model is asked here: whether it uses what was found is for an intervention to say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import checked_images
from robustest.cues.patches import MaskedPatch, Transplant
from robustest.discovery.proposals import PATCHES, Proposal

RARE = 0.2
"""A value is unusual where at most this share of any other class's images has it at the place."""

_LEVELS = 8
"""Values are alike within a bin, of this many for the whole range; tried twice, the second time half a bin off."""

_EDGE = 0.7
"""A place belongs to a patch where its gap is at least this part of the patch's highest."""

_WIDEST = 0.5
"""What covers a larger part of the image is no patch, but a property of the whole image."""

_AROUND, _LARGEST, _POOL = 3, 0.15, 64
"""Pixels around a patch that are transplanted with it, the part of an image that may be, and images to take it from."""

_A_CLASS = 3
"""Patches proposed for a class, at most."""


def find_patches(
    x: Tensor, y: Tensor, labels: Sequence[int], *, bounds: tuple[float, float] = (0.0, 1.0), min_gap: float = 0.5
) -> tuple[Proposal, ...]:
    """Patches that mark a class.

    For each class and place the most common value of the class's images is taken. Its gap is the share of the class's
    images that have it there, less the largest share of any other class's; 0 where that exceeds `RARE`. Touching
    places of large gap make a patch, those of the highest gap first.

    Args:
        x, y: images (N, C, H, W) inside the bounds, and (N,) int64 labels.
        labels: the classes to look at and to compare with, each with images among these.
        bounds: smallest and largest input value.
        min_gap: the gap at which a patch begins, in (0, 1].

    Raises:
        ConfigError: there are no images (N, C, H, W).
    """
    checked_images(x, "a search for patches")
    if len(labels) < 2:
        return ()
    found: list[Proposal] = []
    gaps, values = _gaps(x, y.to(x.device), labels, bounds)
    for label, gap, value in zip(labels, gaps, values, strict=True):
        left, taken = gap.clone(), 0
        while taken < _A_CLASS and float(left.max()) >= min_gap:
            peak = float(left.max())
            place = _connected(left >= max(min_gap, _EDGE * peak), int(left.argmax()))
            left = torch.where(_grown(place), torch.zeros_like(left), left)
            if float(place.float().mean()) <= _WIDEST:
                found.append(_proposal(label, place, value, peak, (bounds[1] - bounds[0]) / _LEVELS))
                taken += 1
    return tuple(sorted(found, key=lambda one: -one.score))


def together(patches: Sequence[Proposal]) -> list[Proposal]:
    """For classes of several patches, all of a class as one: the two bars of a letterbox, say.

    Args:
        patches: of `find_patches`.
    """
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
    """For patches of a ragged outline, what their class's images show there and around, as they show it.

    What all images of a class share may be the part that stays when a logo turns: the whole is in the images alone.

    Args:
        x, y: images (N, C, H, W), and (N,) int64 labels.
        patches: of `find_patches`.
    """
    found = []
    for one in patches:
        if not isinstance(one.cue, MaskedPatch) or one.region is None or bool(one.cue.mask.all()):
            continue
        (top, left, height, width), (rows, columns) = one.region, x.shape[2:]
        first, start = max(0, top - _AROUND), max(0, left - _AROUND)
        last, end = min(rows, top + height + _AROUND), min(columns, left + width + _AROUND)
        if (last - first) * (end - start) > _LARGEST * rows * columns:
            continue
        holds = (y == one.label) & (one.cue.off(x) != x).flatten(1).any(1)
        pool = x[holds if bool(holds.any()) else y == one.label][:_POOL, :, first:last, start:end].cpu()
        found.append(replace(one, cue=Transplant(top=first, left=start, pool=pool)))
    return found


def _gaps(x: Tensor, y: Tensor, labels: Sequence[int], bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Gaps (K, H, W) of each class, and the values (K, C, H, W) that they are about."""
    members = [y == label for label in labels]
    (gap, value), (shifted, other) = (_binned(x, members, bounds, shift) for shift in (0.0, 0.5))
    better = shifted > gap
    return torch.where(better, shifted, gap), torch.where(better.unsqueeze(1), other, value)


def _binned(x: Tensor, members: list[Tensor], bounds: tuple[float, float], shift: float) -> tuple[Tensor, Tensor]:
    """As `_gaps`, with bins shifted by a part of their width."""
    low, high = bounds
    code = _coded(x, bounds, shift)
    gaps, values = [], []
    for own, rows in enumerate(members):
        alike = code == code[rows].mode(0).values
        shares = torch.stack([alike[others].float().mean(0) for others in members])
        rest = torch.cat([shares[:own], shares[own + 1 :]]).amax(0)
        gaps.append(torch.where(rest <= RARE, shares[own] - rest, 0.0))
        weight = alike[rows].unsqueeze(1).to(x.dtype)
        values.append(((x[rows] * weight).sum(0) / weight.sum(0)).clamp(low, high))
    return torch.stack(gaps), torch.stack(values)


def _coded(x: Tensor, bounds: tuple[float, float], shift: float) -> Tensor:
    """(N, H, W): one number for the bins of all channels (N, C, H, W)."""
    low, high = bounds
    kind = torch.int32 if (_LEVELS + 1) ** x.shape[1] < 2**31 else torch.int64
    code = torch.zeros_like(x[:, 0], dtype=kind)
    for channel in x.unbind(1):
        code = code * (_LEVELS + 1) + ((channel - low) * (_LEVELS / (high - low)) + shift).to(kind)
    return code


def _grown(place: Tensor) -> Tensor:
    return F.max_pool2d(place.float().view(1, 1, *place.shape), 3, 1, 1)[0, 0].bool()


def _connected(where: Tensor, start: int) -> Tensor:
    """The part of a mask (H, W) that touches a place, corners included."""
    part = torch.zeros_like(where)
    part.view(-1)[start] = True
    while True:
        more = _grown(part) & where
        if torch.equal(more, part):
            return part
        part = more


def _proposal(label: int, place: Tensor, value: Tensor, gap: float, tolerance: float) -> Proposal:
    rows, columns = (place.any(1 - axis).nonzero().squeeze(1) for axis in (0, 1))
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    box = (slice(top, top + height), slice(left, left + width))
    mask, pattern = place[box].cpu(), value[:, box[0], box[1]].cpu()
    return Proposal(
        found_by=PATCHES,
        label=label,
        cue=MaskedPatch(top=top, left=left, pattern=pattern, mask=mask, tolerance=tolerance),
        score=gap,
        region=(top, left, height, width),
        value=tuple(pattern[:, mask].mean(1).tolist()),
    )
