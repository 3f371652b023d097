"""Small marks that most images of one class have somewhere, and few images of any other class have anywhere."""

# Neither a fixed place nor the mean of a class shows them. The best match over all places of an image does, as in the
# search for shapelets of time series (Ye and Keogh, KDD 2009):
#
# 1. Candidates c are small windows of a class's images: around pixels and spots of a colour and contrast that most of
#    the class's images, and few of any other class, have somewhere; and some drawn at random.
# 2. The distance of an image x from c is d(x, c) = min over places of the mean squared difference. The gap of c is the
#    share of its class's images with d <= limit, less the largest such share of another class, at the best limit.
# 3. The best candidates are grown: windows of the class's images are laid over each other at their best matches. Pixels
#    that are nearly the same in all of them belong to the mark, and their median becomes the new candidate; repeat.

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.cues import MovingMark
from robustest.first_party import least_distances, nearest_places
from robustest_interpret.discovery.proposals import MOVING, RARE, Proposal

SMALLEST_MOVING = 8
"""Least height and width in pixels of images to search."""

# Images are reduced, by a whole factor, to about this many pixels of their shorter side.
_REDUCED = 40

# Sides of candidates, in pixels of the reduced image.
_SIDES = (1, 3, 5)

# Side of the largest mark, as a part of the image's shorter side.
_LARGEST = 0.3

# Bins of each channel, for the whole range.
_LEVELS = 8

# Ends of the bins of a spot's standard deviation, as parts of the range.
_CONTRASTS = (0.02, 0.08, 0.2)

# For each class: codes of each kind that give candidates, candidates of each code, and candidates drawn at random.
_CODES, _PER_CODE, _RANDOM = 8, 2, 8

# Candidates of one side for all classes together, at most.
_CANDIDATES = 1500

# Images of each class that candidates are compared with. Only the best candidates are compared with all images.
_SCREENED_ON = 24

# Candidates of a class that are grown, and the part of the required gap that they must have: growing raises gaps.
_GROWN, _PROMISING = 2, 0.4

# Quantiles of a class's own distances that are tried as limits.
_LIMITS = torch.linspace(0.3, 1.0, 29)

# Least limit, a root mean squared difference as a part of the range: views of one mark differ by rounding.
_NEAR = 0.02

# A pixel belongs to the mark if its spread over the views is at most this part of the usual spread of a pixel.
_CONSTANT = 0.35

# Rounds of growing, and the largest difference of gaps, on few images, that counts as none.
_ROUNDS, _SAME = 4, 0.1

# A candidate that matches at a larger part of an image's places is a property of the whole image.
_SPREAD = 0.1

# Least difference between a gap and the median gap of the other classes: small parts mark every class of drawings.
_ODD = 0.25

# Views of a mark that a cue pastes.
_POOL = 64


@dataclass(frozen=True, slots=True)
class _Template:
    """A candidate (C, h, w) with weights (h, w), 1 where a pixel counts; `limit` is the largest distance of a match."""

    pattern: Tensor
    weight: Tensor
    limit: float
    gap: float


def find_moving_marks(
    x: Tensor, y: Tensor, labels: Sequence[int], *, bounds: tuple[float, float], min_gap: float, seed: int
) -> tuple[Proposal, ...]:
    """Return the moving marks, at most one per class, the largest gap first.

    Args:
        x, y: images (N, C, H, W) inside the bounds, and (N,) int64 labels.
        labels: the classes, each with images among these.
        min_gap: gap from which a mark is proposed, in (0, 1].
    """
    if len(labels) < 2 or min(x.shape[2:]) < SMALLEST_MOVING:
        return ()
    search = _MarkSearch(x, y, labels, bounds, seed)
    best = [search.best(at, min_gap) for at in range(len(labels))]
    gaps = [first if one is None else one.gap for one, first in zip(best, search.screened_gaps, strict=True)]
    found = []
    for at, one in enumerate(best):
        odd = gaps[at] - statistics.median([*gaps[:at], *gaps[at + 1 :]]) >= _ODD
        if one is not None and odd and gaps[at] >= min_gap and (cue := search.cue(one, at)) is not None:
            value = tuple(one.pattern[:, one.weight > 0].mean(1).tolist())
            found.append(Proposal(found_by=MOVING, label=labels[at], cue=cue, score=gaps[at], region=None, value=value))
    return tuple(sorted(found, key=lambda one: -one.score))


class _MarkSearch:
    """Candidates of all classes, compared with images that are reduced where they are large."""

    def __init__(self, x: Tensor, y: Tensor, labels: Sequence[int], bounds: tuple[float, float], seed: int) -> None:
        self._whole, self._bounds, self._seed = x, bounds, seed
        self._scale = max(1, round(min(x.shape[2:]) / _REDUCED))
        self._x = F.avg_pool2d(x, self._scale) if self._scale > 1 else x
        self._members = [(y == label).nonzero().squeeze(1) for label in labels]
        self._least = (_NEAR * (bounds[1] - bounds[0])) ** 2
        order = rng.permutation(seed, len(x)).to(x.device)
        self._drawn = [rows[order[rows].argsort()] for rows in self._members]
        self._few = [rows[:_SCREENED_ON] for rows in self._drawn]

        # Screen all candidates on few images; keep those of the largest gaps of each class, the largest first.
        few = self._x[torch.cat(self._few)]
        members, centres = _consecutive(self._few), self._centres()
        found: list[list[_Template]] = [[] for _ in self._few]
        for side in _SIDES:
            patterns = []
            for part in centres:
                # Windows over the edge are moved inside the image.
                tops = (part[:, 1] - side // 2).clamp(0, few.shape[2] - side).tolist()
                lefts = (part[:, 2] - side // 2).clamp(0, few.shape[3] - side).tolist()
                corners = zip(part[:, 0].tolist(), tops, lefts, strict=True)
                patterns.append(
                    torch.stack([self._x[n, :, top : top + side, left : left + side] for n, top, left in corners])
                )
            weight = torch.ones(1, side, side, dtype=few.dtype, device=few.device)
            least = least_distances(few, torch.cat(patterns), weight)
            columns = torch.split(least, [len(mine) for mine in patterns], 1)
            for at, (mine, apart) in enumerate(zip(patterns, columns, strict=True)):
                for pattern, gap, limit in zip(mine, *self._gaps(apart, members, at), strict=True):
                    found[at].append(_Template(pattern, weight[0], limit, gap))
        self._likely = [sorted(mine, key=lambda one: -one.gap)[:_GROWN] for mine in found]

    @property
    def screened_gaps(self) -> list[float]:
        """The largest gap of each class's candidates, on few images."""
        return [mine[0].gap for mine in self._likely]

    def best(self, at: int, min_gap: float) -> _Template | None:
        usual = statistics.median([*self.screened_gaps[:at], *self.screened_gaps[at + 1 :]])
        worth = max(_PROMISING * min_gap, usual + _PROMISING * _ODD)
        grown = [self._grow(one, at) for one in self._likely[at] if one.gap >= worth]
        if not grown:
            return None
        # Of candidates with about the same gap the largest is nearest to the whole mark.
        most = max(one.gap for one in grown) - _SAME
        whole = max((one for one in grown if one.gap >= most), key=lambda one: (float(one.weight.sum()), one.gap))
        return self._measured(whole, at, self._members)

    def cue(self, mark: _Template, at: int) -> MovingMark | None:
        """Return a mark of a class as a cue; None if it is all over the images, or in none of them."""
        pattern, weight = mark.pattern.unsqueeze(0), mark.weight.unsqueeze(0)
        least, place = nearest_places(self._x[self._members[at]], pattern, weight)
        has = (least[:, 0] <= mark.limit).nonzero().squeeze(1)
        if not len(has):
            return None
        rows = self._members[at][has]
        # The part of its places at which an image matches the mark, in the median over images.
        x = self._x[rows]
        squares = F.conv2d(x.square().sum(1, keepdim=True), weight.unsqueeze(1))
        apart = squares - 2 * F.conv2d(x, pattern * weight.unsqueeze(1)) + (pattern.square() * weight).sum()
        apart = apart / (float(mark.weight.sum()) * len(mark.pattern))
        if float((apart <= mark.limit).double().mean((1, 2, 3)).median()) > _SPREAD:
            return None
        height, width = mark.weight.shape
        columns = self._x.shape[3] - width + 1
        corners = torch.stack([place[has, 0] // columns, place[has, 0] % columns], 1) * self._scale
        height, width = height * self._scale, width * self._scale
        # Views of many images: some are spoiled by another mark or a false match.
        views = torch.stack(
            [
                self._whole[row, :, top : top + height, left : left + width]
                for row, (top, left) in zip(rows[:_POOL].tolist(), corners[:_POOL].tolist(), strict=True)
            ]
        )
        mask = (mark.weight > 0).repeat_interleave(self._scale, 0).repeat_interleave(self._scale, 1)
        return MovingMark(
            pool=views.cpu(),
            mask=mask.cpu(),
            places=corners.cpu(),
            limit=mark.limit,
            scale=self._scale,
            seed=self._seed,
        )

    def _measured(self, template: _Template, at: int, members: Sequence[Tensor]) -> _Template:
        pattern, weight = template.pattern.unsqueeze(0), template.weight.unsqueeze(0)
        least = least_distances(self._x[torch.cat(list(members))], pattern, weight)
        (gap,), (limit,) = self._gaps(least, _consecutive(members), at)
        return replace(template, gap=gap, limit=limit)

    def _gaps(self, least: Tensor, members: Sequence[Tensor], at: int) -> tuple[list[float], list[float]]:
        """Return the largest gap of each candidate over limits on distances (N, M), and this limit."""
        limits = least[members[at]].quantile(_LIMITS.to(least), dim=0).clamp(min=self._least)  # (limits, M)
        shares = torch.stack([(least[rows].unsqueeze(0) <= limits.unsqueeze(1)).double().mean(1) for rows in members])
        rest = torch.cat([shares[:at], shares[at + 1 :]]).amax(0)
        # A pattern that another class often has marks no class.
        gaps = torch.where(rest <= RARE, shares[at] - rest, 0.0)
        best = gaps.argmax(0, keepdim=True)
        return gaps.gather(0, best)[0].tolist(), limits.gather(0, best)[0].tolist()

    def _centres(self) -> list[Tensor]:
        # For each class (M, 3): images, rows and columns around which candidates lie.
        height, width = self._x.shape[2:]
        made: list[list[Tensor]] = [[] for _ in self._members]
        share = min(1.0, _CANDIDATES / (len(made) * (3 * _CODES * _PER_CODE + _RANDOM)))
        for codes in self._codes():
            flat = codes.flatten(1)
            count = int(flat.max()) + 1
            present = torch.zeros(len(flat), count, dtype=torch.bool, device=flat.device).scatter_(1, flat, True)
            shares = torch.stack([present[rows].double().mean(0) for rows in self._members])
            for at, rows in enumerate(self._drawn):
                gaps = shares[at] - torch.cat([shares[:at], shares[at + 1 :]]).amax(0)
                for code in gaps.topk(min(count, max(1, round(share * _CODES)))).indices.tolist():
                    for row in rows[present[rows, code]][:_PER_CODE].tolist():
                        # The middle one of its places: the first is at an edge of the mark.
                        where = (flat[row] == code).nonzero().squeeze(1)
                        spot = int(where[len(where) // 2])
                        made[at].append(torch.tensor([row, spot // width, spot % width]))
        for at, rows in enumerate(self._drawn):
            ids = torch.arange(max(1, round(share * _RANDOM)))
            draw = rng.integers(rng.fold(rng.keys(self._seed, ids), f"candidates {at}"), (2,), height * width)
            spots = draw[:, 0]
            images = rows.cpu()[draw[:, 1] % len(rows)]
            made[at].append(torch.stack([images, spots // width, spots % width], 1))
        return [torch.cat([part.view(-1, 3) for part in parts]) for parts in made]

    def _codes(self) -> Iterator[Tensor]:
        """Yield three descriptions of each pixel's surroundings, (N, H, W) numbers of bins."""
        low, high = self._bounds
        unit = (self._x - low) / (high - low)

        def binned(*parts: Tensor) -> Tensor:
            code = torch.zeros_like(parts[0], dtype=torch.int64)
            for part in parts:
                code = code * _LEVELS + (part * _LEVELS).long().clamp(0, _LEVELS - 1)
            return code

        def with_spread(code: Tensor, mean: Tensor, squares: Tensor) -> Tensor:
            spread = (squares - mean.square()).clamp(min=0).mean(1).sqrt()
            ends = torch.tensor(_CONTRASTS).to(spread)
            return code * (len(ends) + 1) + torch.bucketize(spread, ends)

        def spot(x: Tensor, side: int) -> Tensor:
            return F.avg_pool2d(x, side, 1, side // 2, count_include_pad=False)

        yield binned(*unit[:, :3].unbind(1))  # the pixel's colour
        mean = spot(unit, 3)  # the colour and contrast of a spot of 3 x 3 pixels
        yield with_spread(binned(*mean[:, :3].unbind(1)), mean, spot(unit.square(), 3))
        # The pixel's brightness, and the brightness and contrast of the ring between 3 x 3 and 5 x 5 pixels.
        grey = unit.mean(1, keepdim=True)
        counts = [F.avg_pool2d(torch.ones_like(grey[:1]), side, 1, side // 2) * side**2 for side in (5, 3)]
        ring, ring_of_squares = (
            (spot(x, 5) * counts[0] - spot(x, 3) * counts[1]) / (counts[0] - counts[1]) for x in (grey, grey.square())
        )
        yield with_spread(binned(grey[:, 0], ring[:, 0]), ring, ring_of_squares)

    def _grow(self, template: _Template, at: int) -> _Template:
        """Return a template grown to all pixels that are nearly the same in the images that match it."""
        mine = self._x[self._members[at]]
        height, width = mine.shape[2:]
        reach = max(1, (round(_LARGEST * min(height, width)) - 1) // 2)
        side = 2 * reach + 1
        usual = float(mine.std(0).square().mean().sqrt())
        best = template
        for _ in range(_ROUNDS):
            h, w = template.weight.shape
            least, place = nearest_places(mine, template.pattern.unsqueeze(0), template.weight.unsqueeze(0))
            has = (least[:, 0] <= template.limit).nonzero().squeeze(1)
            top = place[has, 0] // (width - w + 1) + h // 2 - reach
            left = place[has, 0] % (width - w + 1) + w // 2 - reach
            # Windows around the matches; NaN where they reach over the edge of the image.
            padded = F.pad(mine[has], (side,) * 4, value=float("nan"))
            lines = torch.arange(side, device=mine.device)
            rows = (top + side).view(-1, 1, 1) + lines.view(-1, 1)
            columns = (left + side).view(-1, 1, 1) + lines
            sample = torch.arange(len(has), device=mine.device).view(-1, 1, 1)
            views = padded[sample, :, rows, columns].permute(0, 3, 1, 2)
            inside = views[:, 0].isfinite().double().mean(0)
            pattern = views.nanmedian(0).values
            # A robust standard deviation: some of the matches are false.
            spread = 1.4826 * (views - pattern).abs().nanmedian(0).values.square().mean(0).sqrt()
            constant = (spread <= max(_CONSTANT * usual, self._least**0.5)) & (inside > 0.5)
            mask = _connected_to_middle(constant, template.weight, reach)
            if not bool(mask.any()):
                break
            spans = [mask.any(1 - axis).nonzero().squeeze(1) for axis in (0, 1)]
            box = tuple(slice(int(span[0]), int(span[-1]) + 1) for span in spans)
            larger = _Template(pattern[:, box[0], box[1]].nan_to_num(), mask[box].to(mine.dtype), 0.0, 0.0)
            template = self._measured(larger, at, self._few)
            # Of two with about the same gap the larger is nearer to the whole mark. A candidate also matches the image
            # that it was cut from, which is one of few.
            if template.gap >= best.gap - _SAME:
                best = template
            if template.gap < 0.5 * best.gap:
                break
        return best


def _consecutive(members: Sequence[Tensor]) -> list[Tensor]:
    # Positions of each class's images after the classes' images are concatenated.
    ends = [0, *itertools.accumulate(len(rows) for rows in members)]
    return [torch.arange(start, end, device=members[0].device) for start, end in itertools.pairwise(ends)]


def _connected_to_middle(constant: Tensor, weight: Tensor, reach: int) -> Tensor:
    # The constant pixels (side, side) connected to a template's pixels in the middle, corners included.
    h, w = weight.shape
    part = torch.zeros_like(constant)
    top, left = max(0, reach - h // 2), max(0, reach - w // 2)
    here = weight[: constant.shape[0], : constant.shape[1]] > 0
    rows, columns = constant.shape[0] - top, constant.shape[1] - left
    part[top : top + here.shape[0], left : left + here.shape[1]] = here[:rows, :columns]
    part &= constant
    while True:
        more = (F.max_pool2d(part.float().view(1, 1, *part.shape), 3, 1, 1)[0, 0] > 0) & constant
        if torch.equal(more, part):
            return part
        part = more
