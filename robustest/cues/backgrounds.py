"""Cues that need masks of the objects: other backgrounds behind the same object, and backgrounds without their object.

Xiao, Engstrom, Ilyas and Madry, "Noise or Signal: The Role of Image Backgrounds in Object Recognition" (ICLR 2021).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images, checked_real
from robustest.cues.cue import sample_keys
from robustest.errors import ConfigError, expected

Masks = Tensor | Callable[[Tensor], Tensor]
"""Masks (N, 1, H, W) in [0, 1], 1 on the object; or a function from images to masks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BackgroundSwap:
    """On shows each object before a background of a pool; off leaves the image unchanged.

    With backgrounds of one class and that class as target, flips are predictions that the background attracts.

    Args:
        masks: 1 on the object.
        backgrounds: (M, C, H, W) the pool, in input units.
        choice: (N,) int64 background of each of the user's samples; None draws it by `seed` and index.
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
        mask = object_masks(self.masks, x, self.ids)
        if self.backgrounds.shape[1:] != x.shape[1:]:
            raise ConfigError(expected(f"backgrounds of shape {tuple(x.shape[1:])}", tuple(self.backgrounds.shape[1:])))
        if self.choice is None:
            keys = rng.fold(sample_keys(self.seed, self.ids, x), "background")
            chosen = rng.integers(keys, (1,), len(self.backgrounds)).flatten()
        else:
            # The choice is in the order of the user's data, of which the chunk is a part.
            chosen = self.choice.cpu()[torch.arange(len(x)) if self.ids is None else self.ids.cpu()]
        behind = self.backgrounds[chosen.to(self.backgrounds.device)].to(x)
        # Masks may be soft: their edges blend.
        return behind + mask * (x - behind)

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForegroundRemoval:
    """On shows the background alone, with the object filled over; off leaves the image unchanged.

    The accuracy with the cue on should be near chance; flips show nothing here.

    Args:
        masks: 1 on the object.
        fill: value of the object's pixels, in input units; None takes the background's mean.
        box: fill the bounding box, so that no outline stays.
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
        mask = object_masks(self.masks, x, self.ids)
        if self.box:
            mask = bounding_boxes(mask)
        if self.fill is not None:
            return x + mask * (self.fill - x)
        # Black where images are never black is a cue itself (Jain et al., ICLR 2022).
        outside = 1 - mask
        share = outside.sum((2, 3), keepdim=True)
        mean = (x * outside).sum((2, 3), keepdim=True) / share.clamp(min=1e-6)
        # An object that fills its image leaves no background: the image's mean then takes its place.
        mean = torch.where(share > 0, mean, x.mean((2, 3), keepdim=True))
        return x + mask * (mean - x)

    def off(self, x: Tensor) -> Tensor:
        return x


def object_masks(masks: Masks, x: Tensor, ids: Tensor | None) -> Tensor:
    """Return the masks (N, 1, H, W) of images x (N, C, H, W), on the device and in the type of x.

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


def bounding_boxes(mask: Tensor) -> Tensor:
    """Return the bounding boxes of masks (N, 1, H, W), as masks of 0 and 1; empty for an empty mask."""
    inked = mask > 0
    spans = []
    for line in (inked.any(3), inked.any(2)):
        # From the first True to the last: reached from both ends.
        spans.append((line.long().cumsum(2) > 0) & (line.flip(2).long().cumsum(2) > 0).flip(2))
    return (spans[0].unsqueeze(3) & spans[1].unsqueeze(2)).to(mask)
