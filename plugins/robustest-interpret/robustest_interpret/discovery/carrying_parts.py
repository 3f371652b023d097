"""Small parts of a class's images that draw the model's answers to the class wherever they are pasted."""

# Marks that few images of a class have, that change shape from image to image, that are made of the image's own pixels,
# or that count only together, have no statistic of their own. The model knows them: it follows a part of one image into
# any other. As in the randomised masks of Petsiuk, Das and Saenko ("RISE", BMVC 2018), with other images for the rest:
#
# 1. For a donor d of class k, receivers r of other classes and random masks m, the score of z = m d + (1 - m) r is
#    s = (p_k(z) + [f(z) = k]) / 2. The saliency of a pixel is the covariance of s with m there, over the variance of m.
# 2. The donor's part is the `_START` of the pixels with the highest saliency. While three of eight fresh receivers go
#    to k, new masks inside the part give a new saliency, and the part shrinks by `_SHRINK`.
# 3. The smallest parts of each class are measured on fresh receivers, beside the same pixels of images of other
#    classes: an edge of the mask alone may draw answers too.
#
# A part that carries its class may be the class's content, the hole of a ring for example: no data tell it from a cue.
# So parts are only named. What recurs pixel by pixel in images of the class, and not in others, is an artefact:
#
# 4. Windows of 3 x 3 pixels of a class's parts are looked up in all images. A window, or two windows in one image, that
#    several of the class's images have, and few of any other class, is a mark, or two marks together: proposed.

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import devices, rng
from robustest.first_party import least_distances, nearest_places
from robustest_interpret.discovery.cut_outs import CutOut
from robustest_interpret.discovery.proposals import PAIRS, PARTS, Proposal
from robustest_interpret.discovery.whole_marks import is_whole

Answers = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Maps images (B, C, H, W) to predictions (B,) int64 and logits (B, K)."""

SMALLEST_PARTS = 8
"""Least height and width in pixels of images to search."""

# Donors of a class, at most and at least, and masked images of all donors together, at most.
_DONORS, _FEWEST, _MASKED = 40, 16, 6_000

# Masks of a donor, first and when its part shrinks; receivers of a trial; cells along the shorter side of a mask.
_MASKS, _LATER_MASKS, _TRIALS, _CELLS = 24, 20, 8, 4

# Share of a mask's cells that show the donor: half, so that two marks stand in a quarter of the masks together.
_SHOWN, _SHOWN_INSIDE = 0.5, 0.6

# Part of an image's pixels at first, factor at each step, and the smallest that is tried.
_START, _SHRINK, _LEAST = 0.24, 1.6, 0.008

# Share of the receivers that a part has to draw to shrink further: 3 of 8.
_DRAWS = 0.375

LARGEST_PART = 0.1
"""Part of an image's pixels up to which a carrying part is named: larger ones carry most classes of sound models."""

# Parts of a class that are measured, and receivers of each.
_MEASURED, _RECEIVERS = 3, 48

# Masked images evaluated together, on an accelerator and on the host, where layers of a small network on more of them
# take half as long again; and numbers in the masks of donors that are averaged together.
_AT_A_TIME, _ON_HOST, _NUMBERS = 512, 128, 1 << 23


@dataclass(frozen=True, slots=True)
class CarryingPart:
    """A part of one image of a class.

    Attributes:
        row: position of the image among those searched.
        region: (H, W) bool, True at the part's pixels.
        drawn: share of other classes' images, answered otherwise, that go to the class with the part, in 0..1.
        placebo: the same share with these pixels of images of other classes.
    """

    label: int
    row: int
    region: Tensor
    drawn: float
    placebo: float

    @property
    def area(self) -> float:
        """The part's share of the image's pixels."""
        return float(self.region.double().mean())


def find_carrying_parts(
    x: Tensor,
    y: Tensor,
    predictions: Tensor,
    answers: Answers,
    labels: Sequence[int],
    *,
    classes: int,
    seed: int,
    most: int = _DONORS,
) -> dict[int, tuple[CarryingPart, ...]]:
    """Return the smallest parts found of each class's images, the smallest first.

    Args:
        x, y: images (N, C, H, W) and labels (N,) int64.
        predictions: (N,) int64, the model's answers to x.
        labels: the classes to search.
        classes: number of classes that are searched in all: they share the images evaluated.
        most: donors of a class, at most.
    """
    donors = min(most, max(_FEWEST, min(_DONORS, _MASKED // (_MASKS * max(1, classes)))))
    found = {}
    for label in labels:
        key = rng.fold(rng.keys(seed, torch.arange(len(x))), f"parts of class {label}")
        order = key.argsort().to(x.device)
        own, other = (y == label) & (predictions == label), (y != label) & (predictions != label)
        rows = order[own[order]][:donors]
        search = _PartSearch(
            x=x, answers=answers, label=label, donors=rows, others=order[other[order]], key=key[rows.cpu()]
        )
        found[label] = search.parts()
    return found


@dataclass(slots=True, kw_only=True)
class _PartSearch:
    """The search for parts of one class's images; all its donors are evaluated together.

    Attributes:
        donors, others: (D,) and (R,) int64 rows of x: images of the class, and of other classes answered otherwise.
        key: (D,) int64.
        uses: numbers the random draws.
    """

    x: Tensor
    answers: Answers
    label: int
    donors: Tensor
    others: Tensor
    key: Tensor
    uses: Iterator[int] = field(default_factory=itertools.count)

    def parts(self) -> tuple[CarryingPart, ...]:
        if not len(self.donors) or not len(self.others):
            return ()
        height, width = self.x.shape[2:]
        pixels, alive = height * width, torch.arange(len(self.donors), device=self.x.device)
        everything = torch.ones(len(alive), height, width, dtype=torch.bool, device=self.x.device)
        cell = max(1.0, min(height, width) / _CELLS)
        best: dict[int, Tensor] = {}
        share = _START
        regions = _strongest(
            self._saliency(alive, everything, cell, _MASKS, _SHOWN), everything, max(1, round(share * pixels))
        )
        while True:
            drawn = self._scores(alive, regions.unsqueeze(1).expand(-1, _TRIALS, -1, -1))[1].mean(1)
            kept = drawn >= _DRAWS
            alive, regions = alive[kept], regions[kept]
            for at, region in zip(alive.tolist(), regions, strict=True):
                best[at] = region
            share /= _SHRINK
            if not len(alive) or share < _LEAST or share * pixels < 1:
                break
            finer = max(1.0, cell * (share / _SHOWN) ** 0.5)
            saliency = self._saliency(alive, regions, finer, _LATER_MASKS, _SHOWN_INSIDE)
            regions = _strongest(saliency, regions, max(1, round(share * pixels)))
        smallest = sorted(best, key=lambda at: (int(best[at].sum()), at))
        measured = (self._measured(at, best[at]) for at in smallest[:_MEASURED])
        rest = (
            CarryingPart(self.label, int(self.donors[at]), best[at], float("nan"), float("nan"))
            for at in smallest[_MEASURED:]
        )
        return (*measured, *rest)

    def _saliency(self, rows: Tensor, inside: Tensor, cell: float, masks: int, shown: float) -> Tensor:
        # (n, H, W): the slope of the score on each pixel's presence.
        drawn = self._masks(rows, masks, cell, shown) & inside.unsqueeze(1)
        score = self._scores(rows, drawn).mean(0)
        score = score - score.mean(1, keepdim=True)
        # A few donors at a time: masks of large images as numbers take much memory.
        few = max(1, _NUMBERS // drawn[0].numel())
        slopes = []
        for part, mask in zip(torch.split(score, few), torch.split(drawn, few), strict=True):
            apart = mask.to(score.dtype)
            apart = apart - apart.mean(1, keepdim=True)
            slopes.append(torch.einsum("nm,nmhw->nhw", part, apart) / (apart.square().sum(1) + 1e-3))
        return F.avg_pool2d(torch.cat(slopes).unsqueeze(1), 3, 1, 1)[:, 0]

    def _masks(self, rows: Tensor, masks: int, cell: float, shown: float) -> Tensor:
        # (n, masks, H, W) bool: cells at random, on a grid shifted at random.
        height, width = self.x.shape[2:]
        key = rng.fold(self.key[rows.cpu()], f"masks {next(self.uses)}")
        down, across = int(height / cell) + 2, int(width / cell) + 2
        on = rng.uniform(key, (masks, down, across)) < shown
        shift = rng.uniform(rng.fold(key, "shift"), (masks, 2, 1))
        at = [((torch.arange(length) / cell) + shift[:, :, axis]).long() for axis, length in ((0, height), (1, width))]
        flat = (at[0].unsqueeze(3) * across + at[1].unsqueeze(2)).flatten(2)
        return on.flatten(2).gather(2, flat).view(len(key), masks, height, width).to(self.x.device)

    def _scores(self, rows: Tensor, masks: Tensor, donors: Tensor | None = None) -> Tensor:
        # (2, n, m): the probability of the class, and 1 where it is the answer, for masks (n, m, H, W) of donors.
        n, m = masks.shape[:2]
        key = rng.fold(self.key[rows.cpu()], f"receivers {next(self.uses)}")
        receivers = self.others[rng.integers(key, (m,), len(self.others)).to(self.others.device)]
        donors = self.donors[rows].unsqueeze(1).expand(-1, m) if donors is None else donors
        found = []
        most = _ON_HOST if devices.on_host(self.x) else _AT_A_TIME
        for part in torch.split(torch.arange(n * m, device=self.x.device), most):
            row, column = part // m, part % m
            mask = masks[row, column].unsqueeze(1)
            mixed = torch.where(mask, self.x[donors[row, column]], self.x[receivers[row, column]])
            predictions, logits = self.answers(mixed)
            probability = logits.float().softmax(1)[:, self.label]
            found.append(torch.stack([probability, (predictions == self.label).to(probability.dtype)]))
        return torch.cat(found, 1).view(2, n, m)

    def _measured(self, at: int, region: Tensor) -> CarryingPart:
        rows = torch.tensor([at], device=self.x.device)
        masks = region.expand(1, _RECEIVERS, -1, -1)
        drawn = float(self._scores(rows, masks)[1].mean())
        key = rng.fold(self.key[rows.cpu()], f"placebo {next(self.uses)}")
        others = self.others[rng.integers(key, (_RECEIVERS,), len(self.others)).to(self.others.device)]
        placebo = float(self._scores(rows, masks, others)[1].mean())
        return CarryingPart(self.label, int(self.donors[at]), region, drawn, placebo)


def _strongest(values: Tensor, inside: Tensor, count: int) -> Tensor:
    # (n, H, W) bool: the `count` pixels inside a region with the highest values.
    ranked = torch.where(inside, values, torch.full_like(values, -torch.inf)).flatten(1)
    chosen = torch.zeros_like(ranked, dtype=torch.bool)
    chosen.scatter_(1, ranked.topk(count, dim=1).indices, True)
    return chosen.view_as(inside) & inside


# Least share of the class's images, and least number of them, that a recurring mark is in; the largest part of its
# share that any other class's images may have.
_RECURS, _FEWEST_IMAGES, _ELSEWHERE = 0.06, 4, 0.25

# Heights and widths of windows, and how many of each are looked up per part: a line of one pixel has no square. And the
# largest part of an image's shorter side that a window spans: of an image of 8 x 8 pixels, 5 in a row are its content.
_WINDOWS = {(3, 3): 10, (1, 5): 4, (5, 1): 4}
_SPANNED = 1 / 3

# The root mean squared difference of two copies, as a part of the range.
_EQUAL = 0.02

# Parts whose windows are looked up, images of each other class that they are looked up in, and images cut from.
_LOOKED_UP, _OTHERS, _POOL = 8, 48, 32

# Part of the best window's images that another one shares to belong to the same mark.
_TOGETHER = 0.8


def recurring_marks(
    x: Tensor,
    y: Tensor,
    labels: Sequence[int],
    parts: dict[int, tuple[CarryingPart, ...]],
    *,
    bounds: tuple[float, float],
    seed: int,
) -> list[Proposal]:
    """Return marks, or two marks together, that recur in images of a class and not in others, from its parts."""
    found = (
        _recurring(x, y, labels, mine[:_LOOKED_UP], bounds=bounds, seed=seed)
        for label, mine in parts.items()
        if label in labels and mine
    )
    return [one for one in found if one is not None]


def _windows(x: Tensor, parts: Sequence[CarryingPart], shape: tuple[int, int], most: int) -> Tensor:
    # (M, C, h, w): the windows about the parts' pixels that stand out most, by contrast and brightness.
    chosen = []
    for part in parts:
        cut = x[part.row].unfold(1, shape[0], 1).unfold(2, shape[1], 1).permute(1, 2, 0, 3, 4)
        cut = cut[F.max_pool2d(part.region.float()[None, None], shape, 1)[0, 0] > 0]
        apart = (cut - x[part.row].mean((1, 2)).view(1, -1, 1, 1)).flatten(1)
        chosen.append(cut[apart.square().mean(1).topk(min(most, len(cut))).indices])
    return torch.cat(chosen)


def _recurring(
    x: Tensor,
    y: Tensor,
    labels: Sequence[int],
    parts: Sequence[CarryingPart],
    *,
    bounds: tuple[float, float],
    seed: int,
) -> Proposal | None:
    label = parts[0].label
    # All images of the class, and some of each other one.
    number = torch.zeros_like(y)
    for k in labels:
        mine = y == k
        number[mine] = torch.arange(int(mine.sum()), device=y.device)
    kept = (y == label) | (number < _OTHERS)
    equal = (_EQUAL * (bounds[1] - bounds[0])) ** 2
    shapes = [shape for shape in _WINDOWS if max(shape) <= _SPANNED * min(x.shape[2:])]
    if not shapes:
        return None
    groups = [_windows(x, parts, shape, _WINDOWS[shape]) for shape in shapes]
    x, y = x[kept], y[kept]
    weights = [torch.ones(1, *shape, dtype=x.dtype, device=x.device) for shape in shapes]
    apart = [least_distances(x, some, weight) for some, weight in zip(groups, weights, strict=True)]
    present = (torch.cat(apart, 1) <= equal).double()
    # (K, M, M): the share of each class's images that have both of two windows; one window alone on the diagonal.
    shares = torch.stack([present[y == k].T @ present[y == k] / max(1, int((y == k).sum())) for k in labels])
    own, members = labels.index(label), int((y == label).sum())
    rest = torch.cat([shares[:own], shares[own + 1 :]]).amax(0)
    enough = shares[own] >= max(_RECURS, _FEWEST_IMAGES / max(1, members))
    gap = torch.where(enough & (rest <= _ELSEWHERE * shares[own]), shares[own] - rest, 0.0)
    if float(gap.max()) <= 0:
        return None
    # One window before two, where it marks the class as well.
    alone = gap.diagonal()
    first = second = int(alone.argmax())
    if float(alone.max()) < _TOGETHER * float(gap.max()):
        first, second = divmod(int(gap.argmax()), len(gap))
    has = (y == label) & (present[:, first] * present[:, second] > 0)
    rows = has.nonzero().squeeze(1)[:_POOL]
    # The other windows that these images share are further pixels of the mark.
    same = torch.split(present[has].mean(0) >= _TOGETHER, [len(some) for some in groups])
    masks = torch.zeros(len(rows), *x.shape[2:], dtype=torch.bool, device=x.device)
    for (height, width), some, weight, kept in zip(shapes, groups, weights, same, strict=True):
        if not bool(kept.any()):
            continue
        least, place = nearest_places(x[rows], some[kept], weight)
        columns = x.shape[3] - width + 1
        for down, across in itertools.product(range(height), range(width)):
            at = (place // columns + down) * x.shape[3] + place % columns + across
            copied = least <= equal
            for window in range(place.shape[1]):
                here = copied[:, window].nonzero().squeeze(1)
                masks.flatten(1)[here, at[here, window]] = True
    # So are pixels that have one value at one place in these images, and in few others: the rest of a frame or a logo.
    # Others of the class lack them too: they are not its content.
    middle = x[has].median(0).values
    near = ((x - middle).abs() <= _EQUAL * (bounds[1] - bounds[0])).all(1).double()
    rest_of_class = (y == label) & ~has
    if int(rest_of_class.sum()) >= _FEWEST_IMAGES:
        rare = (near[y != label].mean(0) <= _ELSEWHERE) & (near[rest_of_class].mean(0) <= _ELSEWHERE)
        masks |= (near[has].mean(0) >= _TOGETHER) & rare
    shown = x[rows[0]][:, masks[0]]
    mark = Proposal(
        found_by=PARTS if first == second else PAIRS,
        label=label,
        cue=CutOut(pool=x[rows].cpu(), masks=masks.cpu(), seed=seed),
        score=float(gap[first, second]),
        region=None,
        value=tuple(shown.mean(1).tolist()),
        families=(PARTS, PAIRS),
    )
    # Windows of a few pixels recur by nature where images have few values: what recurs as a whole is an artefact.
    return mark if is_whole(mark, x, y, bounds=bounds) else None
