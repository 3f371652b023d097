"""A small picture of any outline at a fixed place, and the same place filled in from around it.

Cues drawn onto an image: a border, a logo in a corner, a text.

A small mark at another place in every image: pasted where it was seen, and filled in where it is found.

It is found by its least distance: the mean squared difference of its pixels, and of an image's, over all places where
it may lie. With weights w (its mask) and a pattern p, the differences at all places are w * x^2 - 2 (w p) * x + sum
w p^2, * a correlation: two products of matrices, once the windows at all places are laid out as columns.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustest import rng
from robustest.checks import checked_images, checked_real, checked_whole
from robustest.cues.cue import checked_colour, colour_like
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelPatch:
    """A rectangle of constant value at a fixed place.

    Args:
        top, left: its first row and column, >= 0.
        height, width: its size in pixels, >= 1.
        value: what it holds when on, in input units: one number for all channels, or one a channel.
        off_value: what the place holds when off: what it holds in inputs without the cue (a black border's
            0, say). Replacing is fairer than blacking out what was never black (Jain et al., ICLR 2022).

    Raises:
        ConfigError: a place or size is negative or not whole, or a value is not finite.
    """

    top: int
    left: int
    height: int = 1
    width: int = 1
    value: float | tuple[float, ...] = 1.0
    off_value: float | tuple[float, ...] = 0.0

    def __post_init__(self) -> None:
        for name, low in (("top", 0), ("left", 0), ("height", 1), ("width", 1)):
            checked_whole(name, getattr(self, name), low)
        for name in ("value", "off_value"):
            checked_colour(name, getattr(self, name))

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width} patch at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._filled(x, self.value)

    def off(self, x: Tensor) -> Tensor:
        return self._filled(x, self.off_value)

    def _filled(self, x: Tensor, value: float | tuple[float, ...]) -> Tensor:
        if x.ndim != 4 or self.top + self.height > x.shape[2] or self.left + self.width > x.shape[3]:
            raise ConfigError(
                expected(f"images (N, C, H, W) that hold a {self.name}", tuple(x.shape), "Move or shrink the patch.")
            )
        out = x.clone()
        out[:, :, self.top : self.top + self.height, self.left : self.left + self.width] = colour_like(x, value)
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatternPatch:
    """A small picture at a fixed place.

    Args:
        top, left: its first row and column, >= 0.
        pattern: (C, h, w) what the place holds when on, in input units.
        off_pattern: the same when off; None leaves what each input has there.

    Raises:
        ConfigError: a place is negative or not whole, or a pattern is no finite tensor of the right shape.
    """

    top: int
    left: int
    pattern: Tensor
    off_pattern: Tensor | None = None

    def __post_init__(self) -> None:
        checked_whole("top", self.top, 0)
        checked_whole("left", self.left, 0)
        for name in ("pattern", "off_pattern"):
            given = getattr(self, name)
            if given is None and name == "off_pattern":
                continue
            if not isinstance(given, Tensor) or given.ndim != 3 or not bool(given.isfinite().all()):
                raise ConfigError(expected(f"{name} to be a finite tensor (C, h, w)", given))
        if self.off_pattern is not None and self.off_pattern.shape != self.pattern.shape:
            raise ConfigError(
                expected(f"off_pattern of shape {tuple(self.pattern.shape)}", tuple(self.off_pattern.shape))
            )

    @property
    def name(self) -> str:
        height, width = self.pattern.shape[1:]
        return f"{height}x{width} pattern at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._pasted(x, self.pattern)

    def off(self, x: Tensor) -> Tensor:
        return x if self.off_pattern is None else self._pasted(x, self.off_pattern)

    def _pasted(self, x: Tensor, pattern: Tensor) -> Tensor:
        channels, height, width = pattern.shape
        if x.ndim != 4 or x.shape[1] != channels or self.top + height > x.shape[2] or self.left + width > x.shape[3]:
            raise ConfigError(expected(f"images (N, {channels}, H, W) that hold a {self.name}", tuple(x.shape)))
        out = x.clone()
        out[:, :, self.top : self.top + height, self.left : self.left + width] = pattern.to(x)
        return out


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox:
    """Two bars across the image, as where a film does not fill its screen.

    Args:
        height: of each bar in pixels, >= 1.
        value: what they hold, in input units: one number, or one a channel.
        ends: bars at the top and bottom ("rows"), or at the left and right ("columns").

    Raises:
        ConfigError: height is no whole number >= 1, a value is not finite, or ends is neither.
    """

    height: int = 1
    value: float | tuple[float, ...] = 0.0
    ends: Literal["rows", "columns"] = "rows"

    def __post_init__(self) -> None:
        checked_whole("height", self.height, 1)
        checked_colour("value", self.value)
        if self.ends not in {"rows", "columns"}:
            raise ConfigError(expected("ends to be 'rows' or 'columns'", self.ends))

    @property
    def name(self) -> str:
        return f"letterbox of {self.height} {self.ends if self.height > 1 else self.ends[:-1]} at each end"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a letterbox")
        dim = 2 if self.ends == "rows" else 3
        if 2 * self.height >= x.shape[dim]:
            raise ConfigError(expected(f"images larger than a {self.name}", tuple(x.shape)))
        out = x.clone()
        bar = colour_like(x, self.value)
        for first in (0, x.shape[dim] - self.height):
            place = out.narrow(dim, first, self.height)
            place.copy_(bar.expand_as(place))
        return out

    def off(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transplant:
    """What other images show at a place, pasted there: a logo that turns or varies from image to image.

    Args:
        top, left: first row and column of the place, >= 0.
        pool: (M, C, h, w) what may be pasted, in input units; each sample gets one of them.
        seed: draws which.
        ids: (N,) int64 the samples at hand; set by `at`, and the first rows in order until then.

    Raises:
        ConfigError: a place is negative or not whole, or the pool is no finite tensor as above.
    """

    top: int
    left: int
    pool: Tensor
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        checked_whole("top", self.top, 0)
        checked_whole("left", self.left, 0)
        given = self.pool
        if not isinstance(given, Tensor) or given.ndim != 4 or not len(given) or not bool(given.isfinite().all()):
            raise ConfigError(expected("pool to be a finite tensor (M, C, h, w)", given))

    @property
    def name(self) -> str:
        height, width = self.pool.shape[2:]
        return f"{height}x{width} transplant at row {self.top}, column {self.left}"

    def at(self, ids: Tensor) -> Transplant:
        return replace(self, ids=ids)

    def on(self, x: Tensor) -> Tensor:
        channels, height, width = self.pool.shape[1:]
        if x.ndim != 4 or x.shape[1] != channels or self.top + height > x.shape[2] or self.left + width > x.shape[3]:
            raise ConfigError(expected(f"images (N, {channels}, H, W) that hold a {self.name}", tuple(x.shape)))
        ids = torch.arange(len(x)) if self.ids is None else self.ids.cpu()
        which = rng.integers(rng.fold(rng.keys(self.seed, ids), "transplant"), (), len(self.pool))
        out = x.clone()
        out[:, :, self.top : self.top + height, self.left : self.left + width] = self.pool[which.cpu()].to(x)
        return out

    def off(self, x: Tensor) -> Tensor:
        return x


_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in grey (ITU-R BT.601)."""

Corner = Literal["top left", "top right", "bottom left", "bottom right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """A frame around the image.

    Args:
        width: in pixels, >= 1.
        value: what it holds when on, in input units: one number, or one a channel.
        off_value: what it holds when off; None leaves the image's own border there.

    Raises:
        ConfigError: width is no whole number >= 1, or a value is not finite.
    """

    width: int = 1
    value: float | tuple[float, ...] = 1.0
    off_value: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        checked_whole("width", self.width, 1)
        checked_colour("value", self.value)
        if self.off_value is not None:
            checked_colour("off_value", self.off_value)

    @property
    def name(self) -> str:
        return f"border of {self.width} pixel{'s' * (self.width > 1)}"

    def on(self, x: Tensor) -> Tensor:
        return self._draw_frame(x, self.value)

    def off(self, x: Tensor) -> Tensor:
        return x if self.off_value is None else self._draw_frame(x, self.off_value)

    def _draw_frame(self, x: Tensor, value: float | tuple[float, ...]) -> Tensor:
        checked_images(x, "a border")
        if 2 * self.width >= min(x.shape[2:]):
            raise ConfigError(expected(f"images larger than their {self.name}", tuple(x.shape)))
        inside = slice(self.width, -self.width)
        out = colour_like(x, value).expand_as(x).clone()
        out[:, :, inside, inside] = x[:, :, inside, inside]
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class CornerLogo:
    """A picture with transparency, laid over a corner.

    Args:
        path: an image file that pillow reads, a PNG with alpha at best. It is read once, here.
        corner: which one.
        height: its height in pixels, the width in proportion; None takes the file's size.
        margin: pixels between the logo and the image's edges, >= 0.
        opacity: 0 (unseen) to 1 (as the file has it), > 0.
        bounds: the input values that stand for the file's black and white.

    Raises:
        ConfigError: an argument is out of range, or the file is no image.
    """

    path: str | os.PathLike[str]
    corner: Corner = "bottom right"
    height: int | None = None
    margin: int = 0
    opacity: float = 1.0
    bounds: tuple[float, float] = (0.0, 1.0)
    _picture: Tensor = field(init=False, repr=False, compare=False)  # (4, h, w) red, green, blue and opacity in [0, 1]

    def __post_init__(self) -> None:
        if self.corner not in {"top left", "top right", "bottom left", "bottom right"}:
            raise ConfigError(expected("corner such as 'bottom right'", self.corner))
        checked_whole("margin", self.margin, 0)
        checked_real("opacity", self.opacity, 1e-6, 1.0)
        try:
            with Image.open(self.path) as file:
                picture = file.convert("RGBA")
        except (OSError, ValueError) as error:
            raise ConfigError(f"Expected an image file at {Path(self.path).name} but got: {error}") from error
        if self.height is not None:
            checked_whole("height", self.height, 1)
            width = max(1, round(picture.width * self.height / picture.height))
            picture = picture.resize((width, self.height), Image.Resampling.LANCZOS)
        pixels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
        object.__setattr__(self, "_picture", pixels.permute(2, 0, 1).contiguous())

    @property
    def name(self) -> str:
        return f"logo {Path(self.path).name} at the {self.corner}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a logo")
        if x.shape[1] not in {1, 3}:
            raise ConfigError(expected("images of 1 or 3 channels for a logo", tuple(x.shape)))
        low, high = self.bounds
        picture = self._picture.to(x)
        colour, alpha = picture[:3], picture[3]
        if x.shape[1] == 1:
            colour = torch.einsum("chw,c->hw", colour, colour.new_tensor(_LUMA)).unsqueeze(0)
        colour = low + (high - low) * colour
        rows, columns = (self._span(i, x.shape[2 + i], alpha.shape[i]) for i in (0, 1))
        return overlaid(x, rows, columns, colour, alpha * self.opacity)

    def off(self, x: Tensor) -> Tensor:
        return x

    def _span(self, axis: int, room: int, length: int) -> slice:
        if length + self.margin > room:
            raise ConfigError(expected(f"images that hold a {self.name}", room, "Give a smaller height or margin."))
        near = self.corner.split()[axis] in {"top", "left"}
        first = self.margin if near else room - self.margin - length
        return slice(first, first + length)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOverlay:
    """A word in pillow's default font.

    Args:
        text: what it says; something that is not blank.
        top, left: the first row and column of its ink, >= 0.
        height: rows of the ink, the width in proportion; None takes the font's own size.
        value: the ink's colour in input units: one number, or one a channel.

    Raises:
        ConfigError: the text is blank, or a number is out of range.
    """

    text: str
    top: int = 0
    left: int = 0
    height: int | None = None
    value: float | tuple[float, ...] = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise ConfigError(expected("text that is not blank", self.text))
        checked_whole("top", self.top, 0)
        checked_whole("left", self.left, 0)
        if self.height is not None:
            checked_whole("height", self.height, 1)
        checked_colour("value", self.value)

    @property
    def name(self) -> str:
        return f"text {self.text!r} at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a text")
        ink = self._ink().to(x)
        height, width = ink.shape
        if self.top + height > x.shape[2] or self.left + width > x.shape[3]:
            mend = f"It takes {height}x{width} pixels: move it or give a smaller height."
            raise ConfigError(expected(f"images that hold the {self.name}", tuple(x.shape), mend))
        rows, columns = slice(self.top, self.top + height), slice(self.left, self.left + width)
        return overlaid(x, rows, columns, colour_like(x, self.value)[0], ink)

    def off(self, x: Tensor) -> Tensor:
        return x

    def _ink(self) -> Tensor:
        """(h, w) in [0, 1]: how much of each pixel the letters cover."""
        font = ImageFont.load_default()
        left, top, right, bottom = (int(v) for v in font.getbbox(self.text))
        canvas = Image.new("L", (right - min(0, left) + 4, bottom - min(0, top) + 4))
        ImageDraw.Draw(canvas).text((2, 2), self.text, fill=255, font=font)
        word = canvas.crop(canvas.getbbox())
        if self.height is not None:
            width = max(1, round(word.width * self.height / word.height))
            word = word.resize((width, self.height), Image.Resampling.LANCZOS)
        return torch.from_numpy(np.asarray(word, dtype=np.float32) / 255)


def overlaid(x: Tensor, rows: slice, columns: slice, colour: Tensor, alpha: Tensor) -> Tensor:
    """Images (N, C, H, W) with a colour (C, h, w) or (C, 1, 1) laid over a place, by shares alpha (h, w) in [0, 1]."""
    out = x.clone()
    out[:, :, rows, columns] += alpha * (colour - out[:, :, rows, columns])
    return out


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
