"""Samples that are near training samples: copies, which cannot judge a model, and neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.decisions.distributions import beta, binom, hypergeom

# Near: within this share of the distance to the fourth nearest. Of rows spread along one line, one in a thousand is.
_NEAR = 2.5e-4
# Share of the compared samples, and two at least, that must be near before it is no chance.
_SHARE = 0.01
_LOOKED_AT = 512
# Candidates measured again: the fast distances lose their last digits where samples are close.
_KEPT = 4
# Part of the table of distances that is in memory.
_ROWS, _COLUMNS = 128, 4096


def copied_from(x: Tensor, train: Tensor) -> tuple[list[tuple[int, int]], str]:
    """Return samples that are copies of training samples, exactly, but for rounding, or changed a little.

    Args:
        x: (M, *S) samples that are to be judged by; some of many are looked at.
        train: (N, *S) samples that were trained on.

    Returns:
        Their places in x and in train, none if they may be alike by chance; and how they were changed, in words.
    """
    if found := near_copies(x, train):
        return found, "but for rounding"
    return leaked_copies(x, train), "changed a little (8 bits, JPEG, noise, a shift by a pixel, a flip)"


def near_copies(x: Tensor, train: Tensor) -> list[tuple[int, int]]:
    """Return the places in x and in train of samples that agree but for rounding; none if they may agree by chance."""
    rows, among = x.flatten(1), train.flatten(1)
    if len(among) < _KEPT or not len(rows):
        return []
    places = torch.arange(0, len(rows), -(-len(rows) // _LOOKED_AT))
    found: list[tuple[int, int]] = []
    for part in torch.split(places, _ROWS):
        close = _closest(rows[part], among)
        # The fast distances are too coarse for near copies: measure the closest ones again.
        apart = (rows[part].double()[:, None] - among[close].double()).square().sum(2).sqrt()
        apart, order = apart.sort(dim=1, stable=True)
        near = apart[:, 0] < _NEAR * apart[:, -1]
        nearest = close.gather(1, order)[:, 0]
        found += list(zip(part[near].tolist(), nearest[near].tolist(), strict=True))
    return found if len(found) >= max(2, _SHARE * len(places)) else []


# Copies that more than rounding separates: 8 bits, JPEG, noise, other brightness, a shift by a pixel, a flip.
#
# For a sample u and a view T of it (shifts by up to a pixel, mirrored or not), with t_1, t_2, ... the training samples
# in the order of d_j = min_T |T(u) - t_j|, samples being centred and of norm 1 if they are images,
#
#     r(u) = d_1 / d_4
#
# is near 0 for a copy. Honest test samples have the r that training samples have among the others: a set is found out
# by more small ratios than training samples have. Below the least ratio of these, P(r < c) falls at least as c does.

# Ratios up to which copies are counted.
_CUTS = (0.0025, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)
# Chances, for test samples of the training samples' population, of so many small ratios: by the ratios' law, and by the
# counts alone.
_BY_LAW, _BY_COUNTS = 1e-6, 0.005
# Confidence of the upper end of a share of small ratios.
_SURE = 1e-3
# Images are averaged to sides of at most this before they are compared, and candidates are found at a coarser size.
_SIDE, _COARSE = 32, 8
# Below this side a shift by a pixel moves the coarse image as well.
_SMALL = 16
# Least share of the images' differences that must be more than brightness.
_SHAPE = 0.3
_MIRRORED: tuple[tuple[int, ...], ...] = ((), (3,), (2,))


def leaked_copies(x: Tensor, train: Tensor, *, seed: int = 0) -> list[tuple[int, int]]:
    """Return the places in x and in train of samples that are copies but for small changes; none if it may be chance.

    Args:
        x: (M, *S) samples that are to be judged by; up to 512 are looked at, drawn with the seed.
        train: (N, *S) samples that were trained on.
    """
    # Samples that are there twice would look like copies among the training samples themselves.
    first = {mark: row for row, mark in reversed(list(enumerate(_marks(train))))}
    kept = torch.tensor(sorted(first.values()), dtype=torch.int64)
    if len(kept) <= _KEPT or not len(x) or not x[0].numel():
        return []
    probes, among = _comparable(x, train[kept])
    looked, own = (rng.permutation(seed, len(one))[:_LOOKED_AT].sort().values for one in (probes, among))
    ratio, nearest = _ratios(probes[looked], among, None)
    null, _ = _ratios(among[own], among, own)
    limit = _limit(ratio.numpy(), null.numpy())
    found = (ratio < limit).nonzero().squeeze(1)
    return list(zip(looked[found].tolist(), kept[nearest[found]].tolist(), strict=True))


def _marks(x: Tensor) -> list[bytes]:
    return [row.tobytes() for row in x.flatten(1).numpy()]


def _limit(ratio: NDArray[np.float32], null: NDArray[np.float32]) -> float:
    """Return the largest cut below which too many of the ratios (m,) are for the null (n,); 0 if none is."""
    cuts = np.array(_CUTS)
    many, usual = ((values[:, None] < cuts).sum(0) for values in (ratio, null))
    m, n = len(ratio), len(null)
    upper = np.where(usual < n, beta.ppf(1 - _SURE, usual + 1, np.maximum(n - usual, 1)), 1.0)
    limit = 0.0
    for at, cut in enumerate(_CUTS):
        # Where the null has no ratio at all, its law from larger cuts is sharper than the count of none.
        share = upper[at] if usual[at] else min(upper[at:] * cut / cuts[at:])
        by_law = binom.sf(many[at] - 1, m, share) if many[at] else 1.0
        by_counts = hypergeom.sf(many[at] - 1, m + n, many[at] + usual[at], m)
        if by_law < _BY_LAW and by_counts < _BY_COUNTS:
            limit = cut
    return limit


def _comparable(x: Tensor, train: Tensor) -> tuple[Tensor, Tensor]:
    """Return both sets as images (N, C, H, W), centred and of norm 1, or as rows (N, D) in standard deviations."""
    x, train = x.float(), train.float()
    if x.ndim == 3:  # signals (N, C, T), which may be shifted along time
        x, train = x.unsqueeze(2), train.unsqueeze(2)
    if x.ndim != 4 or x.shape[3] < 3:
        rows, among = x.flatten(1).double(), train.flatten(1).double()
        spread = among.std(0)
        spread = torch.where(spread > 0, spread, 1.0)
        return ((rows - among.mean(0)) / spread).float(), ((among - among.mean(0)) / spread).float()
    step = -(-max(x.shape[2:]) // _SIDE) if x.shape[2] > 1 else 1
    small = [F.avg_pool2d(images, step, ceil_mode=True) if step > 1 else images for images in (x, train)]
    centred = [images - images.mean((1, 2, 3), keepdim=True) for images in small]
    norms = [images.flatten(1).norm(dim=1) for images in centred]
    # Images that differ by little else than their brightness are compared as they are: rounding would be scaled up.
    apart = (small[1] - small[1].mean(0)).flatten(1).norm(dim=1).median()
    if float(norms[1].median()) < _SHAPE * float(apart) or not float(apart) > 0:
        return small[0], small[1]
    floor = _SHAPE * float(norms[1].median())
    first, second = (one / norm.clamp(min=floor).view(-1, 1, 1, 1) for one, norm in zip(centred, norms, strict=True))
    return first, second


def _ratios(probes: Tensor, among: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return r (m,) of probes, and the place (m,) of the nearest sample.

    Args:
        own: (m,) places of the probes in `among`, which are no copies of themselves; None if they are others.
    """
    ratio, nearest = [], []
    # Candidates are found among coarse images, for which shifts by a pixel matter in small images alone.
    high, wide = probes.shape[2:] if probes.ndim == 4 else (1, 1)
    rows_too = 1 if high >= 3 else 0
    steps = [(a, b) for a in range(-rows_too, rows_too + 1) for b in (-1, 0, 1)] if probes.ndim == 4 else [(0, 0)]
    mirrored = _MIRRORED if high > 1 else _MIRRORED[:1]
    coarse_steps = steps if wide < _SMALL else [(0, 0)]
    coarse = _coarse(among)
    for start in range(0, len(probes), _ROWS):
        part = probes[start : start + _ROWS]
        held = None if own is None else own[start : start + _ROWS]
        kept = _KEPT + 2 if len(coarse_steps) == 1 else 2
        turned = [part.flip(axes) if axes else part for axes in mirrored]
        views = [one.roll(step, (2, 3)) if step != (0, 0) else one for one in turned for step in coarse_steps]
        places = torch.cat(
            [_closest(_coarse(view), coarse, kept + (held is not None), torch.float32) for view in views], 1
        )
        apart = _apart(turned, among[places], steps if len(steps) > 1 else None, rows_too)
        # Each training sample counts once, and the probe itself not at all.
        order = places.sort(dim=1, stable=True)
        apart = apart.gather(1, order.indices)
        least = torch.full_like(apart, torch.inf)
        group = torch.cat([torch.zeros_like(places[:, :1]), (order.values.diff(dim=1) != 0).long().cumsum(1)], 1)
        least.scatter_reduce_(1, group, apart, "amin")
        which = torch.zeros_like(places).scatter_(1, group, order.values)
        if held is not None:
            least = torch.where(which == held.unsqueeze(1), torch.inf, least)
        least, at = least.sort(1)
        fourth = least[:, : min(_KEPT, least.shape[1])]
        fourth = torch.where(fourth.isfinite(), fourth, 0.0).amax(1)
        ratio.append(torch.where(fourth > 0, least[:, 0] / fourth.clamp(min=1e-12), 1.0))
        nearest.append(which.gather(1, at[:, :1])[:, 0])
    return torch.cat(ratio), torch.cat(nearest)


def _coarse(x: Tensor) -> Tensor:
    if x.ndim == 4 and max(x.shape[2:]) > _COARSE:
        x = F.adaptive_avg_pool2d(x, (min(_COARSE, x.shape[2]), _COARSE))
    return x.flatten(1)


def _apart(turned: list[Tensor], close: Tensor, steps: list[tuple[int, int]] | None, rows_too: int) -> Tensor:
    """Return the least distance (m, k) of the views of m samples to k candidates (m, k, *S) each."""
    if steps is None:
        return (turned[0].flatten(1)[:, None] - close.flatten(2)).square().sum(2).sqrt()
    height, width = close.shape[3:]
    # Inside a margin of one pixel, where all shifts have pixels.
    inner = close[:, :, :, rows_too : height - rows_too, 1 : width - 1].flatten(2)
    lengths = inner.square().sum(2)
    least = torch.full(close.shape[:2], torch.inf)
    for one in turned:
        for down, right in steps:
            view = one[:, :, rows_too + down : height - rows_too + down, 1 + right : width - 1 + right].flatten(1)
            products = torch.bmm(inner, view.unsqueeze(2)).squeeze(2)
            squares = lengths - 2 * products + view.square().sum(1, keepdim=True)
            least = torch.minimum(least, squares.clamp(min=0.0))
    return least.sqrt()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Neighbours:
    """Nearest training samples of m samples."""

    nearest: NDArray[np.int64]  # (m,) int64 positions
    # (m,) distance to the nearest over that to the second nearest, 0..1; 0 for an exact copy.
    ratio: NDArray[np.float64]

    @classmethod
    def of(cls, x: Tensor, train: Tensor) -> Neighbours:
        """Return the nearest training samples by Euclidean distance; equal training samples count once."""
        # Twins in the training set would make the two nearest distances equal, and hide every copy of them.
        _, first = np.unique(train.numpy(), axis=0, return_index=True)
        places = torch.from_numpy(np.sort(first))
        among = train[places].double()
        nearest, ratio = [], []
        for rows in torch.split(x.double(), _ROWS):
            close = _closest(rows, among)
            apart = (rows[:, None] - among[close]).square().sum(2).sqrt()
            apart, order = apart.sort(dim=1, stable=True)
            nearest.append(places[close.gather(1, order[:, :1])[:, 0]])
            ratio.append(torch.where(apart[:, 0] == 0, 0.0, apart[:, 0] / apart[:, 1].clamp(min=1e-300)))
        return cls(nearest=torch.cat(nearest).numpy(), ratio=torch.cat(ratio).numpy())


def _closest(rows: Tensor, among: Tensor, most: int = _KEPT, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return (r, k) int64 places of the nearest, by fast distances whose last digits are lost."""
    # |a - b|^2 = |a|^2 - 2 ab + |b|^2 cancels digits; less so around the middle of the data.
    middle = among[:_COLUMNS].mean(0)
    best, at = [], []
    for start in range(0, len(among), _COLUMNS):
        part = (among[start : start + _COLUMNS] - middle).to(dtype)
        apart = part.square().sum(1) - 2 * (rows - middle).to(dtype) @ part.T
        found = apart.topk(min(most, len(part)), dim=1, largest=False)
        best.append(found.values)
        at.append(found.indices + start)
    kept = torch.cat(best, 1).topk(min(most, len(among)), dim=1, largest=False).indices
    return torch.cat(at, 1).gather(1, kept)
