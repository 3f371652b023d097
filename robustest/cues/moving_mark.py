"""A small mark at another place in every image: pasted where it was seen, and filled in where it is found.

It is found by its least distance: the mean squared difference of its pixels, and of an image's, over all places where
it may lie. With weights w (its mask) and a pattern p, the differences at all places are w * x^2 - 2 (w p) * x + sum
w p^2, * a correlation: two products of matrices, once the windows at all places are laid out as columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest import rng
from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, expected

_AT_A_TIME = 1 << 20
"""Distances held at a time: few enough for a cache, as fresh memory costs more than the sums."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MovingMark:
    """A small mark of any outline that lies elsewhere in every image: a stamp, a logo, a speck.

    Args:
        pool: (M, C, h, w) views of the mark, in input units; each sample gets one of them.
        mask: (h, w) bool, the pixels that belong to it; at least one.
        places: (P, 2) int64 rows and columns of the mark's upper left corner; each sample gets one of them.
        limit: an image has the mark where its least distance (mean squared difference over the mask) from the mean of
            the pool is at most this. Off fills the mark's pixels there with the mean of those around. None leaves
            images as they are.
        scale: distances are measured on images reduced by this factor, in height and width.
        seed: draws view and place.
        ids: (N,) int64 the samples at hand; set by `at`, and the first rows in order until then.

    Raises:
        ConfigError: the pool, mask or places are not as above, or a number is out of range.
    """

    pool: Tensor
    mask: Tensor
    places: Tensor
    limit: float | None = None
    scale: int = 1
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        pool, mask, places = self.pool, self.mask, self.places
        if not isinstance(pool, Tensor) or pool.ndim != 4 or not len(pool) or not bool(pool.isfinite().all()):
            raise ConfigError(expected("pool to be a finite tensor (M, C, h, w)", pool))
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != pool.shape[2:]:
            raise ConfigError(expected(f"mask to be a bool tensor {tuple(pool.shape[2:])}", mask))
        if not bool(mask.any()):
            raise ConfigError("Expected mask to have a pixel but it has none.")
        if not isinstance(places, Tensor) or places.dtype != torch.int64 or places.shape != (len(places), 2):
            raise ConfigError(expected("places to be an int64 tensor (P, 2)", places))
        if not len(places) or bool((places < 0).any()):
            raise ConfigError(expected("places >= 0, at least one", places))
        if self.limit is not None:
            checked_real("limit", self.limit, 0.0)
        checked_whole("scale", self.scale, 1)

    @property
    def name(self) -> str:
        height, width = self.mask.shape
        part = "" if bool(self.mask.all()) else f" ({int(self.mask.sum())} pixels of it)"
        return f"{height}x{width} mark{part} that moves"

    def at(self, ids: Tensor) -> MovingMark:
        return replace(self, ids=ids)

    def on(self, x: Tensor) -> Tensor:
        height, width = self.mask.shape
        ends = self.places.amax(0) + torch.tensor([height, width])
        if x.ndim != 4 or x.shape[1] != self.pool.shape[1] or bool((ends > torch.tensor(x.shape[2:])).any()):
            raise ConfigError(expected(f"images (N, {self.pool.shape[1]}, H, W) that hold a {self.name}", x.shape))
        keys = rng.keys(self.seed, torch.arange(len(x)) if self.ids is None else self.ids.cpu())
        view = rng.integers(rng.fold(keys, "view of a mark"), (), len(self.pool))
        corner = self.places[rng.integers(rng.fold(keys, "place of a mark"), (), len(self.places))]
        shown = self.pool[view].to(x).permute(0, 2, 3, 1)
        rows = (corner[:, 0].view(-1, 1, 1) + torch.arange(height).view(-1, 1)).to(x.device)
        columns = (corner[:, 1].view(-1, 1, 1) + torch.arange(width)).to(x.device)
        sample = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        out = x.clone()
        mask = self.mask.to(x.device).unsqueeze(2)
        out[sample, :, rows, columns] = torch.where(mask, shown, out[sample, :, rows, columns])
        return out

    def off(self, x: Tensor) -> Tensor:
        if self.limit is None:
            return x
        nearest, corner = self.nearest(x)
        has = (nearest <= self.limit).nonzero().squeeze(1)
        if not len(has):
            return x
        (height, width), held, at = self.mask.shape, x[has], corner[has]
        # One at each image's place, spread to the mark's pixels by a transposed convolution.
        spots = torch.zeros(len(has), 1, x.shape[2] - height + 1, x.shape[3] - width + 1, device=x.device)
        spots.view(len(has), spots[0].numel()).scatter_(1, (at[:, 0] * spots.shape[3] + at[:, 1]).unsqueeze(1), 1.0)
        whole = F.conv_transpose2d(spots, self.mask.to(spots).view(1, 1, height, width)) > 0.5
        around = (F.max_pool2d(whole.float(), 3, 1, 1) > 0) & ~whole
        weight = around.double()
        mean = (held.double() * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp(min=1)
        out = x.clone()
        out[has] = torch.where(whole, mean.to(x.dtype), held)
        return out

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The least distance (N,) of images from the mark, and the upper left corner (N, 2) of where it is."""
        pattern, weight = self.pool.mean(0, keepdim=True).to(x), self.mask.to(x).view(1, 1, *self.mask.shape)
        if self.scale > 1:
            x, pattern, weight = (F.avg_pool2d(part, self.scale) for part in (x, pattern, weight))
        least, at = nearest_places(x, pattern, (weight[:, 0] > 0.5).to(x))
        columns = x.shape[3] - pattern.shape[3] + 1
        corner = torch.stack([at[:, 0] // columns, at[:, 0] % columns], 1)
        return least[:, 0], corner * self.scale


def least_distances(x: Tensor, patterns: Tensor, weights: Tensor) -> Tensor:
    """The least distance of each image from each of some patterns, over all places.

    Args:
        x: images (N, C, H, W).
        patterns: (M, C, h, w).
        weights: (M, h, w) or (1, h, w), >= 0: how much each pixel counts; not all 0.

    Returns:
        (N, M) weighted means of squared differences.
    """
    return torch.cat([apart.amin(2) for apart in _distances(x, patterns, weights)]).clamp(min=0.0)


def nearest_places(x: Tensor, patterns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """As `least_distances`, and (N, M) int64 where they are: places, numbered row by row."""
    # Positions take several times as long to find as the least distances themselves.
    found = [apart.min(2) for apart in _distances(x, patterns, weights)]
    return torch.cat([one.values for one in found]).clamp(min=0.0), torch.cat([one.indices for one in found])


def _distances(x: Tensor, patterns: Tensor, weights: Tensor) -> Iterator[Tensor]:
    """The distances (n, M, places) of some images after others, rounding below 0 included."""
    channels, height, width = patterns.shape[1:]
    weighted = (patterns * weights.unsqueeze(1)).flatten(1)
    each = weights.unsqueeze(1).expand(-1, channels, -1, -1).flatten(1)
    total = each.sum(1).view(-1, 1)
    own = ((weighted * patterns.flatten(1)).sum(1).view(-1, 1) / total).expand(len(patterns), 1)
    # The squares are rows of their own, so that one product adds them up: memory is what takes the time.
    if len(weights) == 1:
        factors = torch.cat([-2 * weighted / total, torch.ones_like(own) / total, own], 1)
    else:
        factors = torch.cat([-2 * weighted / total, each / total, own], 1)
    places = (x.shape[2] - height + 1) * (x.shape[3] - width + 1)
    for part in torch.split(x, max(1, _AT_A_TIME // (places * max(weighted.shape)))):
        # Products of matrices: a convolution of few channels takes several times as long on a CPU, and so does
        # `unfold` of torch.nn.functional beside a view that is copied.
        windows = part.unfold(2, height, 1).unfold(3, width, 1).permute(0, 1, 4, 5, 2, 3)
        windows = windows.reshape(len(part), weighted.shape[1], places)
        squares = each @ windows.square() if len(weights) == 1 else windows.square()
        yield factors @ torch.cat([windows, squares, torch.ones_like(windows[:, :1])], 1)
