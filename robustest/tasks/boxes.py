"""Boxes in images: overlaps, matching of answers to targets, losses for attacks, and moves by shifts."""

# A box is (left, top, right, bottom) in pixels: pixel (row, column) covers column..column + 1 and row..row + 1. A list
# of boxes is (B, M, 6): the box, its class, its confidence; the class is `NONE` in rows that fill up a list.

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NONE, IGNORED = -1, -2
"""Classes of rows that hold no box, and of targets that need not be found and make no answer on them false."""
# An answer of which at least this share lies on an ignored target is not counted, as on a crowd in COCO.
_COVERED = 0.5
# A target of which less than this share is left inside the image is ignored.
_SEEN = 0.5
# Pixels that a shift may depart from a stretch and a move along the axes before boxes would no longer fit.
_STRAIGHT = 0.5
# Answers further from turning than this number of mean leads weigh little in the margin loss.
_NEAR = 0.2
# The same distance in overlap.
_NEAR_EDGE = 0.1
_TINY = 1e-6


def overlaps(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B, R, M) intersections of boxes (B, R, 4) and (B, M, 4), and their areas (B, R) and (B, M)."""
    low = torch.maximum(one[:, :, None, :2], other[:, None, :, :2])
    high = torch.minimum(one[:, :, None, 2:], other[:, None, :, 2:])
    areas = [(boxes[..., 2:] - boxes[..., :2]).clamp(min=0).prod(-1) for boxes in (one, other)]
    return (high - low).clamp(min=0).prod(-1), areas[0], areas[1]


def iou(one: Tensor, other: Tensor) -> Tensor:
    """Return (B, R, M) intersection over union of boxes (B, R, 4) and (B, M, 4); 0 if both are empty."""
    both, first, second = overlaps(one, other)
    union = first.unsqueeze(2) + second.unsqueeze(1) - both
    return both / union.clamp(min=_TINY)


def matched(answers: Tensor, y: Tensor, least: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return (B,) int64 numbers of found targets, missed targets and false answers.

    Args:
        answers: (B, R, 6) answers, the most confident first.
        y: (B, M, 6) targets.
        least: intersection over union of a match.
    """
    real, there = y[..., 4] >= 0, answers[..., 4] >= 0
    both, area, _ = overlaps(answers[..., :4], y[..., :4])
    meets = iou(answers[..., :4], y[..., :4]) * (answers[:, :, None, 4] == y[:, None, :, 4]) * real.unsqueeze(1)
    meets = torch.where(meets >= least, meets, 0.0)
    excused = ((both >= _COVERED * area.unsqueeze(2)) & (y[:, None, :, 4] == IGNORED)).any(2)
    free, hit = real.clone(), torch.zeros_like(there)
    # As in COCO's evaluation: answers choose in falling order of confidence, each the free target of its class with the
    # largest overlap.
    for row in range(int(there.sum(1).max()) if there.numel() else 0):
        best = (meets[:, row] * free).max(1)
        hit[:, row] = there[:, row] & (best.values > 0)
        free.scatter_(1, best.indices[:, None], free.gather(1, best.indices[:, None]) & ~hit[:, row, None])
    found = hit.sum(1)
    return found, real.sum(1) - found, (there & ~hit & ~excused).sum(1)


def f1(answers: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) float64: twice the found targets over targets and answers; 1 if there are neither."""
    found, missed, false = (count.double() for count in matched(answers, y, least))
    errors = missed + false
    return torch.where(errors == 0, 1.0, 2 * found / (2 * found + errors).clamp(min=1))


class Stand(NamedTuple):
    """Relations of differentiable answers to targets."""

    odds: Tensor  # (B, M) log-odds, for the target's class, of the most confident answer on each target
    overlap: Tensor  # (B, M) intersection over union of that answer and the target
    met: Tensor  # (B, M) bool, True if such an answer exists
    stray: Tensor  # (B, R) log-odds of each answer's likeliest class
    lost: Tensor  # (B, R) bool, True if the answer is on no target of that class


def standing(rows: Tensor, y: Tensor, least: float) -> Stand:
    """Return the relations of answers (B, R, 4 + K), boxes and class scores in [0, 1], to targets (B, M, 6)."""
    place, scores = rows[..., :4], rows[..., 4:]
    kind, real = y[..., 4].long(), y[..., 4] >= 0
    shared = iou(place, y[..., :4].to(rows))
    near = (shared.detach() >= least) & real.unsqueeze(1) & (scores.detach().amax(2) > 0).unsqueeze(2)
    own = scores.gather(2, kind.clamp(min=0).unsqueeze(1).expand(-1, rows.shape[1], -1))
    best = own.detach().masked_fill(~near, -1.0).argmax(1, keepdim=True)
    top = scores.max(2)
    on_own = (near & (top.indices.unsqueeze(2) == kind.unsqueeze(1))).any(2)
    both, area, _ = overlaps(place.detach(), y[..., :4].to(rows))
    excused = ((both >= _COVERED * area.unsqueeze(2)) & (kind == IGNORED).unsqueeze(1)).any(2)
    return Stand(
        odds=_log_odds(own.gather(1, best).squeeze(1)),
        overlap=shared.gather(1, best).squeeze(1),
        met=near.any(1),
        stray=_log_odds(top.values),
        lost=~on_own & ~excused & (top.values.detach() > 0),
    )


def cross_entropy(rows: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) means over targets of -log score, -log overlap, and -log(1 - score) of stray answers."""
    stand = standing(rows, y, least)
    hidden = F.softplus(-stand.odds) - stand.overlap.clamp(min=_TINY).log()
    return _per_target(hidden, F.softplus(stand.stray), stand, y)


def log_odds(rows: Tensor, y: Tensor, least: float) -> Tensor:
    """Return (B,) cross-entropy with the log-odds of targets instead of their softplus, whose slope vanishes."""
    stand = standing(rows, y, least)
    hidden = -stand.odds - stand.overlap.clamp(min=_TINY).log()
    return _per_target(hidden, F.softplus(stand.stray), stand, y)


def turning(rows: Tensor, y: Tensor, least: float, confidence: float) -> Tensor:
    """Return (B,) the softplus of each negated lead: targets that are far from turning weigh little."""
    stand, cut = standing(rows, y, least), _log_odds(torch.tensor(confidence)).item()
    # A target's leads are its odds above the confidence and its overlap above `least`; a stray's is its distance
    # below the
    # confidence.
    sure, quiet = stand.odds - cut, cut - stand.stray
    leads, counts = torch.cat([sure, quiet], 1).detach().abs(), torch.cat([stand.met, stand.lost], 1)
    usual = (leads * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp(min=1)
    # Dividing by the image's mean lead removes the scale of the odds.
    scale = _NEAR * usual.clamp(min=_TINY)
    hidden = F.softplus(-sure / scale) + F.softplus((least - stand.overlap) / _NEAR_EDGE)
    return _per_target(hidden, F.softplus(-quiet / scale), stand, y)


def moved(y: Tensor, source: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Return targets (B, M, 6) of moved images, and (B,) bool, True if boxes fit; arguments as for `Task.moved`.

    Boxes are cut at the image's edge, and ignored if less than half remains.
    """
    height, width = source.shape[-2:]
    lines = [torch.arange(n, dtype=torch.float64, device=y.device) for n in (height, width)]
    grid = torch.stack(torch.meshgrid(*lines, indexing="ij")).expand(len(y), -1, -1, -1)
    # Boxes fit if the image was only stretched and moved along its axes: a box around a turned box is too large for its
    # contents. So fit source = slope * grid + offset for rows and columns by least squares, and reject large residuals.
    weight, position = inside.unsqueeze(1).double(), source.double()
    count = weight.sum((2, 3), keepdim=True).clamp(min=1)
    middle, target = ((weight * v).sum((2, 3), keepdim=True) / count for v in (grid, position))
    spread = (weight * (grid - middle) ** 2).sum((2, 3), keepdim=True)
    slope = (weight * (grid - middle) * (position - target)).sum((2, 3), keepdim=True) / spread.clamp(min=_TINY)
    off = ((position - target - slope * (grid - middle)).abs() * weight).flatten(1).amax(1)
    known = (slope.abs() > _TINY).flatten(1).all(1)
    slope = torch.where(slope.abs() > _TINY, slope, 1.0)
    # a pixel's centre is half a pixel from its edge; rows come before columns, and in boxes after them
    step, at, back = (v.flatten(1).flip(1)[:, None, None] for v in (slope, middle + 0.5, target + 0.5))
    # Inverse of the fitted map; a negative slope (a flip) exchanges the corners, so they are sorted.
    corners = ((y[..., :4].double().view(len(y), -1, 2, 2) - back) / step + at).sort(2).values
    whole = (corners[:, :, 1] - corners[:, :, 0]).prod(-1)
    kept = corners.clamp(min=0).minimum(torch.tensor([width, height], device=y.device, dtype=corners.dtype))
    left = (kept[:, :, 1] - kept[:, :, 0]).prod(-1)
    kind = torch.where((left < _SEEN * whole) & (y[..., 4] >= 0), IGNORED, y[..., 4])
    kind = torch.where((left <= 0) | ~known.unsqueeze(1), NONE, kind)
    after = torch.cat([kept.flatten(2).to(y), kind.unsqueeze(2).to(y), y[..., 5:]], 2)
    return torch.where(kind.unsqueeze(2) == NONE, torch.tensor([0.0, 0, 0, 0, NONE, 0]).to(y), after), off <= _STRAIGHT


def _per_target(hidden: Tensor, shown: Tensor, stand: Stand, y: Tensor) -> Tensor:
    targets = (y[..., 4] >= 0).sum(1).clamp(min=1)
    return ((hidden * stand.met).sum(1) + (shown * stand.lost).sum(1)) / targets


def _log_odds(scores: Tensor) -> Tensor:
    scores = scores.clamp(_TINY, 1 - _TINY)
    return scores.log() - torch.log1p(-scores)
