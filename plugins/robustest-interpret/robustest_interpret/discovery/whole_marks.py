"""Marks that an image has whole or not at all, as artefacts are; a class's own shape comes in degrees."""

# A logo, a tag or a frame is pasted: an image has all of its pixels, or none but by chance. A stroke that makes a digit
# is drawn anew in each image: some images have all pixels of a usual stroke, and about as many have most of them. So
# with f_i the share of a mark's pixels that image i has, up to a tolerance, at the mark's place or where it fits best:
#
# 1. whole   = P(f >= .85 | own class) - max over other classes of P(f >= .85);
# 2. partial = P(.3 <= f < .85 | own class) - mean over other classes of P(.3 <= f < .85).
#
# A mark is an artefact if `whole` is nearly the gap that it was found with, and `partial` next to nothing beside it.

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from robustest.cues import AddedPattern, Cue, MaskedPatch, MovingMark
from robustest.first_party import nearest_places
from robustest_interpret.discovery.cut_outs import CutOut
from robustest_interpret.discovery.proposals import Proposal

# Shares of a mark's pixels from which an image has it whole, and in part.
_ALL, _SOME = 0.85, 0.3

# Part of a mark's gap that images with all of it make up at least, and the largest ratio of `partial` to `whole`.
_OF_GAP, _DEGREES = 0.6, 0.2

# Least tolerance of a pixel, as a part of the range, and multiple of the median deviation of images with the mark:
# noise of a deviation s has a median of .67 s, less where it is clipped, and 99 % of it lies within 2.7 s.
_EXACT, _DEVIATIONS = 0.04, 4.0

# Cut-outs compared with all images.
_CUTS = 5

# Part of a pattern's largest value that a pixel is compared from, and the tolerance, as a part of the range.
_STRONG, _ROUNDED = 0.5, 0.02

# Share of all pixels from which a value is the images' ground.
_GROUND = 0.25


def is_whole(mark: Proposal, x: Tensor, y: Tensor, *, bounds: tuple[float, float]) -> bool:
    """Return True if images (N, C, H, W) of a mark's class have it whole or not at all, more often than others.

    Marks of one pixel, and of kinds without pixels, are whole.
    """
    cue, span = mark.cue, bounds[1] - bounds[0]
    if isinstance(cue, MaskedPatch):
        height, width = cue.mask.shape
        here = x[:, :, cue.top : cue.top + height, cue.left : cue.left + width]
        apart = (here - cue.pattern.to(x)).abs().amax(1)[:, cue.mask.to(x.device)]
        having = (y == mark.label) & (apart.mean(1) <= (span if cue.tolerance is None else cue.tolerance))
        return apart.shape[1] == 1 or _comes_whole(_present(apart, having, span), y, mark)
    if isinstance(cue, MovingMark):
        # Images reduced by a factor are no longer exact.
        if cue.scale > 1:
            return True
        apart, least = _deviations(x, cue.pool.median(0).values, cue.mask)
        having = (y == mark.label) & (least <= (span**2 if cue.limit is None else cue.limit))
        return _comes_whole(_present(apart, having, span), y, mark)
    if isinstance(cue, CutOut):
        if is_ground(mark, x, bounds=bounds):
            return False
        # Of the cuts a few are spoiled by what stands beside the mark.
        cuts = zip(cue.pool[:_CUTS], cue.masks[:_CUTS], strict=True)
        whole = [_comes_whole(_cut_present(x, cut, mask, span), y, mark) for cut, mask in cuts]
        return sum(whole) > len(whole) / 2
    return True


def _comes_whole(present: Tensor, y: Tensor, mark: Proposal) -> bool:
    # present (N,): the share of the mark's pixels that each image has.
    own, others = present[y == mark.label], [present[y == k] for k in torch.unique(y).tolist() if k != mark.label]

    def share(of: Tensor, least: float, most: float = 2.0) -> float:
        return float(((of >= least) & (of < most)).double().mean())

    whole = share(own, _ALL) - max(share(other, _ALL) for other in others)
    partial = share(own, _SOME, _ALL) - sum(share(other, _SOME, _ALL) for other in others) / len(others)
    return whole >= _OF_GAP * mark.score and partial <= _DEGREES * whole


def _present(apart: Tensor, having: Tensor, span: float) -> Tensor:
    # (N,): the share of pixels that deviate (N, pixels) no more than is usual in the images `having` (N,) the mark.
    usual = float(apart[having].median()) if bool(having.any()) else 0.0
    return (apart <= max(_DEVIATIONS * usual, _EXACT * span)).double().mean(1)


def _deviations(x: Tensor, pattern: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    # (N, pixels): the largest deviation over channels from a pattern (C, h, w), where it fits best; and (N,) the
    # distance there.
    height, width = mask.shape
    pattern, mask = pattern.to(x), mask.to(x.device)
    least, place = nearest_places(x, pattern.unsqueeze(0), mask.unsqueeze(0).to(x))
    columns = x.shape[3] - width + 1
    rows, first = place[:, 0] // columns, place[:, 0] % columns
    down = rows.view(-1, 1, 1) + torch.arange(height, device=x.device).view(-1, 1)
    across = first.view(-1, 1, 1) + torch.arange(width, device=x.device)
    sample = torch.arange(len(x), device=x.device).view(-1, 1, 1)
    windows = x[sample, :, down, across].permute(0, 3, 1, 2)
    return (windows - pattern).abs().amax(1)[:, mask], least[:, 0]


def _cut_present(x: Tensor, cut: Tensor, mask: Tensor, span: float) -> Tensor:
    # (N,): the share of a cut (C, H, W) that images have, of the part of it that they have least of. Parts that do not
    # touch are two marks, each wherever it fits best.
    shares = []
    for part in _parts_of(mask):
        rows, columns = (part.any(1 - axis).nonzero().squeeze(1) for axis in (0, 1))
        box = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
        apart, _ = _deviations(x, cut[:, box[0], box[1]], part[box])
        shares.append((apart <= _EXACT * span).double().mean(1))
    return torch.stack(shares).amin(0)


def _parts_of(mask: Tensor) -> list[Tensor]:
    # The connected parts of a mask (H, W), corners included.
    left, parts = mask.clone(), []
    while bool(left.any()):
        part = torch.zeros_like(left)
        part.view(-1)[int(left.flatten().int().argmax())] = True
        while True:
            grown = torch.nn.functional.max_pool2d(part.float()[None, None], 3, 1, 1)[0, 0].bool() & left
            if torch.equal(grown, part):
                break
            part = grown
        parts.append(part)
        left = left & ~part
    return parts


def is_ground(mark: Proposal, x: Tensor, *, bounds: tuple[float, float]) -> bool:
    """Return True if a patch has the value that much of all images (N, C, H, W) has: others have content there."""
    near = _EXACT * (bounds[1] - bounds[0])
    value = torch.tensor(mark.value).to(x).view(1, -1, 1, 1)
    return float(((x - value).abs() <= near).all(1).double().mean()) >= _GROUND


def may_be_added(cue: Cue, have: Tensor, bounds: tuple[float, float]) -> bool:
    """Return False if images `have` (N, C, H, W) cannot have had a pattern added to them: they lie below or above it.

    Pixels are at least at the lower bound before a pattern p >= 0 is added, and so at p above it afterwards. The mean
    shape of a class that is drawn on an even ground is no such pattern: most images lack a part of it.
    """
    if not isinstance(cue, AddedPattern):
        return True
    low, high = bounds
    pattern, near = cue.pattern.to(have), _ROUNDED * (high - low)
    strong = pattern.abs() >= _STRONG * float(pattern.abs().max())
    lacking = (pattern > 0) & (have < (low + pattern).clamp(max=high) - near)
    lacking |= (pattern < 0) & (have > (high + pattern).clamp(min=low) + near)
    return float(lacking[:, strong].double().mean(1).median()) <= _ROUNDED


def artefacts(
    found: Sequence[Proposal], x: Tensor, y: Tensor, *, bounds: tuple[float, float]
) -> tuple[tuple[Proposal, ...], tuple[Proposal, ...]]:
    """Return the marks that come whole, and those that come in degrees."""
    whole = [is_whole(one, x, y, bounds=bounds) for one in found]
    parted = [tuple(one for one, is_one in zip(found, whole, strict=True) if is_one is kept) for kept in (True, False)]
    return parted[0], parted[1]
