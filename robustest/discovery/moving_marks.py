"""Small marks that most images of one class have somewhere, and few of any other class have anywhere.

A place that is looked at by itself does not show them, nor does the mean of a class. A local statistic does, its best
over all places taken in each image. As in the search for shapelets of time series (Ye and Keogh, KDD 2009):

1. Windows of a class's images are candidates: those around pixels, and around spots, of a colour and contrast that
   most of its images, and few of any other class, have somewhere; and some drawn at random.
2. The distance of an image from a candidate is the least mean squared difference over all places. A candidate's gap is
   the share of its class's images that are nearer than a limit, less the largest share of any other class's.
3. The best candidate is grown: windows of its class's images are laid over each other where they match it. Pixels that
   are alike in all of them belong to the mark, whose median view takes the candidate's place.

No model is asked here: whether it uses what was found is for an intervention to say.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.cues.patches import MovingMark, least_distances, nearest_places
from robustest.discovery.patch_places import RARE
from robustest.discovery.proposals import MOVING, Proposal

SMALLEST = 8
"""Pixels that an image has at least, in height and width, for a mark in it to move."""
_REDUCED = 40
"""Images are reduced, by a whole factor, to about so many pixels of their shorter side."""
_SIDES = (1, 3, 5)
"""Sides of candidates, in pixels of the reduced image."""
_LARGEST = 0.3
"""Side of the largest mark, as a part of the image's shorter side."""
_LEVELS = 8
"""Bins of each channel, for the whole range."""
_CONTRASTS = (0.02, 0.08, 0.2)
"""Ends of the bins of a spot's spread, as parts of the range."""
_CODES, _OF_A_CODE, _RANDOM = 8, 2, 8
"""Codes of a kind that give candidates for a class, candidates of each, and candidates drawn at random."""
_CANDIDATES = 1500
"""Candidates of a side for all classes together, at most."""
_SCREENED_ON = 24
"""Images of each class that candidates are compared with; only the best of them are with all images."""
_GROWN, _PROMISING = 2, 0.4
"""Candidates of a class that are grown, from this part of what is asked for: as they grow to a whole mark they gain."""
_LIMITS = torch.linspace(0.3, 1.0, 29)
"""Quantiles of a class's own distances that are tried as limits."""
_NEAR = 0.02
"""The least limit, a root mean squared difference as a part of the range: views of one mark differ by rounding."""
_ALIKE = 0.35
"""A pixel is of the mark where its spread over views is at most this part of what places in general have."""
_ROUNDS, _SAME = 4, 0.1
"""Rounds of growing, and gaps, on few images, that are about the same."""
_SPREAD = 0.1
"""What matches at a larger part of an image's places is a property of the whole image."""
_ODD = 0.25
"""How far a gap exceeds the median of the other classes': small parts mark every class of what is written or drawn."""
_POOL = 64
"""Views of a mark that a cue pastes."""


@dataclass(frozen=True, slots=True)
class _Template:
    """A candidate, and how it marks its class.

    Attributes:
        pattern, weight: (C, h, w), and (h, w) 1 where a pixel counts.
        limit: distance up to which an image has it.
        gap: share of the class's images that have it, less the largest of another class.
    """

    pattern: Tensor
    weight: Tensor
    limit: float
    gap: float


def find_moving_marks(
    x: Tensor, y: Tensor, labels: Sequence[int], *, bounds: tuple[float, float], min_gap: float, seed: int
) -> tuple[Proposal, ...]:
    """Return the marks that move and that mark a class, at most one a class, those of the largest gap first.

    Args:
        x, y: images (N, C, H, W) inside the bounds, and (N,) int64 labels.
        labels: the classes to look at and to compare with, each with images among these.
        bounds: smallest and largest input value.
        min_gap: the gap at which a mark is proposed, in (0, 1].
        seed: draws candidates and images.
    """
    if len(labels) < 2 or min(x.shape[2:]) < SMALLEST:
        return ()
    search = _Search(x, y, labels, bounds, seed)
    best = [search.best(at, min_gap) for at in range(len(labels))]
    gaps = [first if one is None else one.gap for one, first in zip(best, search.firsts, strict=True)]
    found = []
    for at, one in enumerate(best):
        odd = gaps[at] - statistics.median([*gaps[:at], *gaps[at + 1 :]]) >= _ODD
        if one is not None and odd and gaps[at] >= min_gap and (cue := search.cue(one, at)) is not None:
            value = tuple(one.pattern[:, one.weight > 0].mean(1).tolist())
            found.append(Proposal(found_by=MOVING, label=labels[at], cue=cue, score=gaps[at], region=None, value=value))
    return tuple(sorted(found, key=lambda one: -one.score))


class _Search:
    """Candidates compared with images, reduced where they are large."""

    def __init__(self, x: Tensor, y: Tensor, labels: Sequence[int], bounds: tuple[float, float], seed: int) -> None:
        self._whole, self._bounds, self._seed = x, bounds, seed
        self._scale = max(1, round(min(x.shape[2:]) / _REDUCED))
        self._x = F.avg_pool2d(x, self._scale) if self._scale > 1 else x
        self._members = [(y == label).nonzero().squeeze(1) for label in labels]
        self._least = (_NEAR * (bounds[1] - bounds[0])) ** 2
        order = rng.permutation(seed, len(x)).to(x.device)
        self._drawn = [rows[order[rows].argsort()] for rows in self._members]
        self._few = [rows[:_SCREENED_ON] for rows in self._drawn]
        self._likely = self._screened()

    @property
    def firsts(self) -> list[float]:
        """The largest gap of each class's candidates, on a few images."""
        return [mine[0].gap for mine in self._likely]

    def best(self, at: int, min_gap: float) -> _Template | None:
        """The best candidate of a class, grown; None where none promises to have a gap of `min_gap` and to be odd."""
        usual = statistics.median([*self.firsts[:at], *self.firsts[at + 1 :]])
        worth = max(_PROMISING * min_gap, usual + _PROMISING * _ODD)
        grown = [self._grow(one, at) for one in self._likely[at] if one.gap >= worth]
        if not grown:
            return None
        most = max(one.gap for one in grown) - _SAME
        whole = max((one for one in grown if one.gap >= most), key=lambda one: (float(one.weight.sum()), one.gap))
        return self._judged(whole, at, self._members)

    def cue(self, mark: _Template, at: int) -> MovingMark | None:
        """A mark of a class as something to switch; None where it is all over the images, or never whole in any."""
        least, place = nearest_places(self._x[self._members[at]], mark.pattern.unsqueeze(0), mark.weight.unsqueeze(0))
        has = (least[:, 0] <= mark.limit).nonzero().squeeze(1)
        if not len(has) or self._matches(mark, self._members[at][has]) > _SPREAD:
            return None
        height, width = mark.weight.shape
        columns = self._x.shape[3] - width + 1
        corners = torch.stack([place[has, 0] // columns, place[has, 0] % columns], 1) * self._scale
        height, width = height * self._scale, width * self._scale
        # Of many images: a view that another mark or a false match spoils is one of many.
        rows = self._members[at][has]
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

    def _screened(self) -> list[list[_Template]]:
        """For each class its candidates of the largest gaps, over all images, the largest first."""
        few = self._x[torch.cat(self._few)]
        members, centres = _in_turn(self._few), self._centres()
        found: list[list[_Template]] = [[] for _ in self._few]
        for side in _SIDES:
            patterns = [self._windows(part, side) for part in centres]
            weight = torch.ones(1, side, side, dtype=few.dtype, device=few.device)
            least = least_distances(few, torch.cat(patterns), weight)
            columns = torch.split(least, [len(mine) for mine in patterns], 1)
            for at, (mine, apart) in enumerate(zip(patterns, columns, strict=True)):
                for pattern, gap, limit in zip(mine, *self._gaps(apart, members, at), strict=True):
                    found[at].append(_Template(pattern, weight[0], limit, gap))
        return [sorted(mine, key=lambda one: -one.gap)[:_GROWN] for mine in found]

    def _judged(self, template: _Template, at: int, members: Sequence[Tensor]) -> _Template:
        """A template with its gap on the images of each class, and the limit where the gap is largest."""
        pattern, weight = template.pattern.unsqueeze(0), template.weight.unsqueeze(0)
        least = least_distances(self._x[torch.cat(list(members))], pattern, weight)
        (gap,), (limit,) = self._gaps(least, _in_turn(members), at)
        return replace(template, gap=gap, limit=limit)

    def _gaps(self, least: Tensor, members: Sequence[Tensor], at: int) -> tuple[list[float], list[float]]:
        """The largest gaps that a limit on each of some distances (N, M) gives a class, and the limits.

        A gap is 0 where another class has as much.
        """
        limits = least[members[at]].quantile(_LIMITS.to(least), dim=0).clamp(min=self._least)  # (limits, M)
        shares = torch.stack([(least[rows].unsqueeze(0) <= limits.unsqueeze(1)).double().mean(1) for rows in members])
        rest = torch.cat([shares[:at], shares[at + 1 :]]).amax(0)
        gaps = torch.where(rest <= RARE, shares[at] - rest, 0.0)
        best = gaps.argmax(0, keepdim=True)
        return gaps.gather(0, best)[0].tolist(), limits.gather(0, best)[0].tolist()

    def _centres(self) -> list[Tensor]:
        """For each class, (M, 3) images, rows and columns around which candidates lie."""
        height, width = self._x.shape[2:]
        made: list[list[Tensor]] = [[] for _ in self._members]
        share = min(1.0, _CANDIDATES / (len(made) * (3 * _CODES * _OF_A_CODE + _RANDOM)))
        for codes in self._codes():
            flat = codes.flatten(1)
            count = int(flat.max()) + 1
            present = torch.zeros(len(flat), count, dtype=torch.bool, device=flat.device).scatter_(1, flat, True)
            shares = torch.stack([present[rows].double().mean(0) for rows in self._members])
            for at, rows in enumerate(self._drawn):
                gaps = shares[at] - torch.cat([shares[:at], shares[at + 1 :]]).amax(0)
                for code in gaps.topk(min(count, max(1, round(share * _CODES)))).indices.tolist():
                    for row in rows[present[rows, code]][:_OF_A_CODE].tolist():
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
        """(N, H, W) numbers of what lies around each pixel, three times: its colour; a spot's colour and contrast; and
        its brightness beside that of a ring of five pixels' width, and how even the ring is.
        """
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

        yield binned(*unit[:, :3].unbind(1))
        mean = spot(unit, 3)
        yield with_spread(binned(*mean[:, :3].unbind(1)), mean, spot(unit.square(), 3))
        grey = unit.mean(1, keepdim=True)
        counts = [F.avg_pool2d(torch.ones_like(grey[:1]), side, 1, side // 2) * side**2 for side in (5, 3)]
        ring, ring_of_squares = (
            (spot(x, 5) * counts[0] - spot(x, 3) * counts[1]) / (counts[0] - counts[1]) for x in (grey, grey.square())
        )
        yield with_spread(binned(grey[:, 0], ring[:, 0]), ring, ring_of_squares)

    def _windows(self, centres: Tensor, side: int) -> Tensor:
        """(M, C, side, side) windows around pixels, moved inside the image."""
        height, width = self._x.shape[2:]
        return torch.stack(
            [
                self._x[row, :, top : top + side, left : left + side]
                for row, top, left in zip(
                    centres[:, 0].tolist(),
                    (centres[:, 1] - side // 2).clamp(0, height - side).tolist(),
                    (centres[:, 2] - side // 2).clamp(0, width - side).tolist(),
                    strict=True,
                )
            ]
        )

    def _grow(self, template: _Template, at: int) -> _Template:
        """A template grown to all pixels that are alike in the images that match it."""
        rows = self._members[at]
        mine = self._x[rows]
        height, width = mine.shape[2:]
        reach = max(1, (round(_LARGEST * min(height, width)) - 1) // 2)
        usual = float(mine.std(0).square().mean().sqrt())
        best = template
        for _ in range(_ROUNDS):
            h, w = template.weight.shape
            least, place = nearest_places(mine, template.pattern.unsqueeze(0), template.weight.unsqueeze(0))
            has = (least[:, 0] <= template.limit).nonzero().squeeze(1)
            top = place[has, 0] // (width - w + 1) + h // 2 - reach
            left = place[has, 0] % (width - w + 1) + w // 2 - reach
            views = self._around(mine[has], top, left, 2 * reach + 1)
            seen = views[:, 0].isfinite().double().mean(0)
            pattern = views.nanmedian(0).values
            spread = 1.4826 * (views - pattern).abs().nanmedian(0).values.square().mean(0).sqrt()
            alike = (spread <= max(_ALIKE * usual, self._least**0.5)) & (seen > 0.5)
            mask = _touching(alike, template.weight, reach)
            if not bool(mask.any()):
                break
            inside = [mask.any(1 - axis).nonzero().squeeze(1) for axis in (0, 1)]
            box = tuple(slice(int(lines[0]), int(lines[-1]) + 1) for lines in inside)
            larger = _Template(pattern[:, box[0], box[1]].nan_to_num(), mask[box].to(mine.dtype), 0.0, 0.0)
            template = self._judged(larger, at, self._few)
            # Of two that mark a class about alike, the larger is nearer to the whole mark. A candidate matches the
            # image that it is from, which is one of few.
            if template.gap >= best.gap - _SAME:
                best = template
            if template.gap < 0.5 * best.gap:
                break
        return best

    def _around(self, x: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
        """(N, C, side, side) windows of images that may reach over their edges, where they are NaN."""
        padded = F.pad(x, (side,) * 4, value=float("nan"))
        sample = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        lines = torch.arange(side, device=x.device)
        rows = (top + side).view(-1, 1, 1) + lines.view(-1, 1)
        columns = (left + side).view(-1, 1, 1) + lines
        return padded[sample, :, rows, columns].permute(0, 3, 1, 2)

    def _matches(self, mark: _Template, rows: Tensor) -> float:
        """The part of its places at which an image that has a mark matches it, in the median over images."""
        pattern, weight = mark.pattern.unsqueeze(0), mark.weight.unsqueeze(0)
        total = float(mark.weight.sum()) * len(mark.pattern)
        x = self._x[rows]
        squares = F.conv2d(x.square().sum(1, keepdim=True), weight.unsqueeze(1))
        apart = squares - 2 * F.conv2d(x, pattern * weight.unsqueeze(1)) + (pattern.square() * weight).sum()
        return float((apart / total <= mark.limit).double().mean((1, 2, 3)).median())


def _in_turn(members: Sequence[Tensor]) -> list[Tensor]:
    """The positions of each class's images once they are put one after the other."""
    ends = [0, *itertools.accumulate(len(rows) for rows in members)]
    return [torch.arange(start, end, device=members[0].device) for start, end in itertools.pairwise(ends)]


def _touching(alike: Tensor, weight: Tensor, reach: int) -> Tensor:
    """The pixels (side, side) that are alike and touch, corners included, those that a template has in the middle."""
    h, w = weight.shape
    part = torch.zeros_like(alike)
    top, left = max(0, reach - h // 2), max(0, reach - w // 2)
    here = weight[: alike.shape[0], : alike.shape[1]] > 0
    part[top : top + here.shape[0], left : left + here.shape[1]] = here[: alike.shape[0] - top, : alike.shape[1] - left]
    part &= alike
    while True:
        more = (F.max_pool2d(part.float().view(1, 1, *part.shape), 3, 1, 1)[0, 0] > 0) & alike
        if torch.equal(more, part):
            return part
        part = more
