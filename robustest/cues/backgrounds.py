"""Cues that need masks: other backgrounds behind the same object, and backgrounds without their object.

Xiao, Engstrom, Ilyas and Madry, "Noise or Signal: The Role of Image Backgrounds in Object Recognition" (ICLR 2021),
swap and keep backgrounds to see how far a model relies on them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images, checked_real
from robustest.errors import ConfigError, expected

Masks = Tensor | Callable[[Tensor], Tensor]
"""Where the object is: (N, 1, H, W) in [0, 1], a row for each of the user's samples; or a function that gives them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BackgroundSwap:
    """On shows each object before a background of a pool; off leaves the image as given.

    With backgrounds of one class and that class as target, flips are predictions that its background draws;
    with backgrounds of all classes, flips show that any change behind the object tells.

    Args:
        masks: where the objects are, 1 on the object.
        backgrounds: (M, C, H, W) the pool, in input units.
        choice: (N,) int64, which background each of the user's samples gets; None draws them by `seed` and index.
        seed: of that draw.
        ids: (N,) int64 the samples at hand; set by `at`, and the first rows in order until then.

    Raises:
        ConfigError: backgrounds are no images.
    """

    masks: Masks
    backgrounds: Tensor
    choice: Tensor | None = None
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.backgrounds, Tensor) or self.backgrounds.ndim != 4 or not len(self.backgrounds):
            raise ConfigError(expected("backgrounds to be images (M, C, H, W)", self.backgrounds))

    @property
    def name(self) -> str:
        return "background swap"

    def at(self, ids: Tensor) -> BackgroundSwap:
        return replace(self, ids=ids)

    def on(self, x: Tensor) -> Tensor:
        mask = mask_of(self.masks, x, self.ids)
        if self.backgrounds.shape[1:] != x.shape[1:]:
            raise ConfigError(expected(f"backgrounds of shape {tuple(x.shape[1:])}", tuple(self.backgrounds.shape[1:])))
        ids = torch.arange(len(x)) if self.ids is None else self.ids.cpu()
        if self.choice is None:
            draw = rng.integers(rng.fold(rng.keys(self.seed, ids), "background"), (1,), len(self.backgrounds))
            which = draw.flatten()
        else:
            which = self.choice.cpu()[ids]
        behind = self.backgrounds[which.to(self.backgrounds.device)].to(x)
        return behind + mask * (x - behind)

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForegroundRemoval:
    """On shows the background alone, the object filled over; off leaves the image as given.

    Here a model that does not flip is the one at fault: it recognises classes by what is behind them. So read the
    accuracy with the cue on, which should be near chance.

    Args:
        masks: where the objects are, 1 on the object.
        fill: what takes the object's place: a number in input units, or None for the mean colour of the image's
            own background. Black where nothing was black is a cue of its own (Jain et al., ICLR 2022).
        box: fill the mask's bounding box, so that no outline of the object stays.
        ids: (N,) int64 the samples at hand; set by `at`.

    Raises:
        ConfigError: fill is not finite.
    """

    masks: Masks
    fill: float | None = None
    box: bool = True
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        if self.fill is not None:
            checked_real("fill", self.fill)

    @property
    def name(self) -> str:
        return "foreground removed"

    def at(self, ids: Tensor) -> ForegroundRemoval:
        return replace(self, ids=ids)

    def on(self, x: Tensor) -> Tensor:
        mask = mask_of(self.masks, x, self.ids)
        if self.box:
            mask = boxes(mask)
        if self.fill is not None:
            return x + mask * (self.fill - x)
        outside = 1 - mask
        share = outside.sum((2, 3), keepdim=True)
        mean = (x * outside).sum((2, 3), keepdim=True) / share.clamp(min=1e-6)
        mean = torch.where(share > 0, mean, x.mean((2, 3), keepdim=True))  # an object that fills its image
        return x + mask * (mean - x)

    def off(self, x: Tensor) -> Tensor:
        return x


def mask_of(masks: Masks, x: Tensor, ids: Tensor | None) -> Tensor:
    """The masks (N, 1, H, W) of images x (N, C, H, W), on its device and in its type.

    Raises:
        ConfigError: shapes do not match, or a value is outside [0, 1].
    """
    checked_images(x, "masks")
    if callable(masks):
        mask = masks(x)
    elif ids is None and len(masks) != len(x):
        raise ConfigError(f"Expected {len(x)} masks but got {len(masks)}: say which samples these are with at(ids).")
    else:
        mask = masks if ids is None else masks[ids.to(masks.device)]
    if mask.shape != (len(x), 1, *x.shape[2:]):
        raise ConfigError(expected(f"masks of shape {(len(x), 1, *x.shape[2:])}", tuple(mask.shape)))
    mask = mask.to(x)
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ConfigError(expected("masks in [0, 1]", (float(mask.min()), float(mask.max()))))
    return mask


def boxes(mask: Tensor) -> Tensor:
    """Bounding boxes of masks (N, 1, H, W), as masks of 0 and 1; empty where a mask is."""
    inked = mask > 0
    rows, columns = inked.any(3), inked.any(2)
    spans = [_between(line) for line in (rows, columns)]
    return (spans[0].unsqueeze(3) & spans[1].unsqueeze(2)).to(mask)


def _between(line: Tensor) -> Tensor:
    """Everything from the first to the last True of (N, 1, L)."""
    seen = line.long().cumsum(2) > 0
    return seen & (line.flip(2).long().cumsum(2) > 0).flip(2)
