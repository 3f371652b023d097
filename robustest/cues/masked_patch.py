"""A small picture of any outline at a fixed place, and the same place filled in from around it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.checks import checked_real, checked_whole
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskedPatch:
    """A small picture of any outline at a fixed place; off, the place has the mean of the pixels around it.

    Each input's own surroundings fill the place: replacing is fairer than blacking out what was never black (Jain et
    al., ICLR 2022), and nobody needs to know what inputs without the cue have there.

    Args:
        top, left: first row and column of the picture, >= 0.
        pattern: (C, h, w) what the place holds when on, in input units.
        mask: (h, w) bool, the pixels that belong to it; at least one.
        tolerance: off leaves an input as it is unless its pixels there are this near to the pattern, in the mean over
            pixels and channels and in input units: to fill what was never there is a change of its own. None fills all.

    Raises:
        ConfigError: a place is negative or not whole, the pattern is no finite tensor, or the mask is not as above.
    """

    top: int
    left: int
    pattern: Tensor
    mask: Tensor
    tolerance: float | None = None

    def __post_init__(self) -> None:
        checked_whole("top", self.top, 0)
        checked_whole("left", self.left, 0)
        given, mask = self.pattern, self.mask
        if not isinstance(given, Tensor) or given.ndim != 3 or not bool(given.isfinite().all()):
            raise ConfigError(expected("pattern to be a finite tensor (C, h, w)", given))
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != given.shape[1:]:
            raise ConfigError(expected(f"mask to be a bool tensor {tuple(given.shape[1:])}", mask))
        if not bool(mask.any()):
            raise ConfigError("Expected mask to have a pixel but it has none.")
        if self.tolerance is not None:
            checked_real("tolerance", self.tolerance, 0.0)

    @property
    def name(self) -> str:
        height, width = self.mask.shape
        part = "" if bool(self.mask.all()) else f" ({int(self.mask.sum())} pixels of it)"
        return f"{height}x{width} patch{part} at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._filled(x, self.pattern.to(x).unsqueeze(0))

    def off(self, x: Tensor) -> Tensor:
        whole = self._whole(x)
        around = F.max_pool2d(whole.float().view(1, 1, *whole.shape), 3, 1, 1)[0, 0].bool() & ~whole
        if not bool(around.any()):
            raise ConfigError(expected(f"images with something around a {self.name}", tuple(x.shape)))
        # In float64: a mean of many float32 may leave the bounds by rounding.
        mean = x[:, :, around].double().mean(2).to(x.dtype)
        filled = self._filled(x, mean.view(*mean.shape, 1, 1))
        if self.tolerance is None:
            return filled
        apart = (x[:, :, whole] - self.pattern[:, self.mask].to(x)).abs().mean((1, 2))
        return torch.where((apart <= self.tolerance).view(-1, 1, 1, 1), filled, x)

    def _filled(self, x: Tensor, values: Tensor) -> Tensor:
        self._whole(x)
        height, width = self.mask.shape
        out = x.clone()
        place = out[:, :, self.top : self.top + height, self.left : self.left + width]
        place.copy_(torch.where(self.mask.to(x.device), values, place))
        return out

    def _whole(self, x: Tensor) -> Tensor:
        """(H, W) bool: its pixels in the image."""
        height, width = self.mask.shape
        fits = x.ndim == 4 and self.top + height <= x.shape[2] and self.left + width <= x.shape[3]
        if not fits or x.shape[1] != len(self.pattern):
            raise ConfigError(
                expected(f"images (N, {len(self.pattern)}, H, W) that hold a {self.name}", tuple(x.shape))
            )
        whole = torch.zeros(x.shape[2:], dtype=torch.bool, device=x.device)
        whole[self.top : self.top + height, self.left : self.left + width] = self.mask.to(x.device)
        return whole
