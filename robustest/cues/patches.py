"""Cues at a place in an image: patches, marks that move, borders, bars, logos and texts."""

# When a cue that replaces pixels is off, these pixels need plausible values: black where images are never black is a
# cue itself (Jain et al., "Missingness Bias in Model Debugging", ICLR 2022).

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustest import rng
from robustest.checks import check_ranges, checked_images, checked_real, checked_whole, real, require, whole
from robustest.cues.cue import Colour, Drawn, Irreversible, checked_colour, checked_pattern, colour_like, sample_keys
from robustest.errors import ConfigError, expected


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelPatch:
    """A rectangle of constant value at a fixed place.

    Args:
        top, left: first row and column, >= 0.
        height, width: size in pixels, >= 1.
        value, off_value: the values when on and off; `off_value` as in inputs without the cue.
    """

    top: int = field(metadata=whole(0))
    left: int = field(metadata=whole(0))
    height: int = field(default=1, metadata=whole(1))
    width: int = field(default=1, metadata=whole(1))
    value: Colour = 1.0
    off_value: Colour = 0.0

    def __post_init__(self) -> None:
        check_ranges(self)
        for name in ("value", "off_value"):
            checked_colour(name, getattr(self, name))

    @property
    def name(self) -> str:
        return f"{self.height}x{self.width} patch at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._filled(x, self.value)

    def off(self, x: Tensor) -> Tensor:
        return self._filled(x, self.off_value)

    def _filled(self, x: Tensor, value: Colour) -> Tensor:
        if x.ndim != 4 or self.top + self.height > x.shape[2] or self.left + self.width > x.shape[3]:
            raise ConfigError(
                expected(f"images (N, C, H, W) that hold a {self.name}", tuple(x.shape), "Move or shrink the patch.")
            )
        out = x.clone()
        out[:, :, self.top : self.top + self.height, self.left : self.left + self.width] = colour_like(x, value)
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatternPatch(Irreversible):
    """A small picture at a fixed place.

    Args:
        top, left: first row and column, >= 0.
        pattern: (C, h, w), in input units.
    """

    top: int = field(metadata=whole(0))
    left: int = field(metadata=whole(0))
    pattern: Tensor

    def __post_init__(self) -> None:
        check_ranges(self)
        checked_pattern("pattern", self.pattern, "(C, h, w)")

    @property
    def name(self) -> str:
        height, width = self.pattern.shape[1:]
        return f"{height}x{width} pattern at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        channels, height, width = self.pattern.shape
        _check_room(x, self.name, channels, self.top + height, self.left + width)
        out = x.clone()
        out[:, :, self.top : self.top + height, self.left : self.left + width] = self.pattern.to(x)
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaskedPatch:
    """A small picture of any outline at a fixed place; off fills the place with the mean of the pixels around it.

    Args:
        top, left: first row and column of the picture, >= 0.
        pattern: (C, h, w) when on, in input units.
        mask: (h, w) bool, True at the picture's pixels; at least one.
        tolerance: off changes only inputs that differ there from the pattern by at most this (mean over pixels and
            channels); None changes all.
    """

    top: int = field(metadata=whole(0))
    left: int = field(metadata=whole(0))
    pattern: Tensor
    mask: Tensor
    tolerance: float | None = field(default=None, metadata=real(0))

    def __post_init__(self) -> None:
        check_ranges(self)
        checked_pattern("pattern", self.pattern, "(C, h, w)")
        _check_mask(self.mask, self.pattern)

    @property
    def name(self) -> str:
        return f"{_outline(self.mask, 'patch')} at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        return self._filled(x, self.pattern.to(x).unsqueeze(0))

    def off(self, x: Tensor) -> Tensor:
        height, width = self.mask.shape
        _check_room(x, self.name, len(self.pattern), self.top + height, self.left + width)
        # The mask in the size of the image, (H, W).
        whole = torch.zeros(x.shape[2:], dtype=torch.bool, device=x.device)
        whole[self.top : self.top + height, self.left : self.left + width] = self.mask.to(x.device)
        around = F.max_pool2d(whole.float().view(1, 1, *whole.shape), 3, 1, 1)[0, 0].bool() & ~whole
        require(bool(around.any()), f"images with something around a {self.name}", tuple(x.shape))
        # In float64: a mean of many float32 may leave the bounds by rounding.
        mean = x[:, :, around].double().mean(2).to(x.dtype)
        filled = self._filled(x, mean.view(*mean.shape, 1, 1))
        if self.tolerance is None:
            return filled
        # Filling a place that never had the cue would be a change too.
        apart = (x[:, :, whole] - self.pattern[:, self.mask].to(x)).abs().mean((1, 2))
        return torch.where((apart <= self.tolerance).view(-1, 1, 1, 1), filled, x)

    def _filled(self, x: Tensor, values: Tensor) -> Tensor:
        height, width = self.mask.shape
        _check_room(x, self.name, len(self.pattern), self.top + height, self.left + width)
        out = x.clone()
        place = out[:, :, self.top : self.top + height, self.left : self.left + width]
        place.copy_(torch.where(self.mask.to(x.device), values, place))
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transplant(Irreversible, Drawn):
    """A patch cut from other images, pasted at a fixed place: a logo that turns or varies from image to image.

    Args:
        top, left: first row and column of the place, >= 0.
        pool: (M, C, h, w) patches, of which each sample gets one.
    """

    top: int = field(metadata=whole(0))
    left: int = field(metadata=whole(0))
    pool: Tensor
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        checked_pattern("pool", self.pool, "(M, C, h, w)")

    @property
    def name(self) -> str:
        height, width = self.pool.shape[2:]
        return f"{height}x{width} transplant at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        channels, height, width = self.pool.shape[1:]
        _check_room(x, self.name, channels, self.top + height, self.left + width)
        keys = sample_keys(self.seed, self.ids, x)
        chosen = rng.integers(rng.fold(keys, "transplant"), (), len(self.pool))
        out = x.clone()
        out[:, :, self.top : self.top + height, self.left : self.left + width] = self.pool[chosen.cpu()].to(x)
        return out


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MovingMark(Drawn):
    """A small mark of any outline at another place in every image: a stamp, a logo, a speck.

    Args:
        pool: (M, C, h, w) views of the mark, of which each sample gets one.
        mask: (h, w) bool, True at the mark's pixels; at least one.
        places: (P, 2) int64 rows and columns of the upper left corner, of which each sample gets one.
        limit: off fills the mark where its distance (`least_distances`) from the pool's mean is at most this.
        scale: distances are measured on images reduced by this factor.
    """

    pool: Tensor
    mask: Tensor
    places: Tensor
    limit: float | None = field(default=None, metadata=real(0))
    scale: int = field(default=1, metadata=whole(1))
    seed: int = 0
    ids: Tensor | None = None

    def __post_init__(self) -> None:
        check_ranges(self)
        checked_pattern("pool", self.pool, "(M, C, h, w)")
        _check_mask(self.mask, self.pool)
        places = self.places
        if not isinstance(places, Tensor) or places.dtype != torch.int64 or places.shape != (len(places), 2):
            raise ConfigError(expected("places to be an int64 tensor (P, 2)", places))
        require(len(places) and not bool((places < 0).any()), "places >= 0, at least one", places)

    @property
    def name(self) -> str:
        return f"{_outline(self.mask, 'mark')} that moves"

    def on(self, x: Tensor) -> Tensor:
        height, width = self.mask.shape
        bottom, right = (self.places.amax(0) + torch.tensor([height, width])).tolist()
        _check_room(x, self.name, self.pool.shape[1], bottom, right)
        keys = sample_keys(self.seed, self.ids, x)
        # View and place are drawn independently; both depend on the sample's index alone.
        view = rng.integers(rng.fold(keys, "view of a mark"), (), len(self.pool))
        corner = self.places[rng.integers(rng.fold(keys, "place of a mark"), (), len(self.places))]
        shown = self.pool[view].to(x).permute(0, 2, 3, 1)
        rows = (corner[:, 0].view(-1, 1, 1) + torch.arange(height).view(-1, 1)).to(x.device)
        columns = (corner[:, 1].view(-1, 1, 1) + torch.arange(width)).to(x.device)
        # One indexed write pastes all marks, each at its own place.
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
        (height, width), marked, at = self.mask.shape, x[has], corner[has]
        # A 1 at each image's place; a transposed convolution spreads it to the mark's pixels.
        spots = torch.zeros(len(has), 1, x.shape[2] - height + 1, x.shape[3] - width + 1, device=x.device)
        spots.view(len(has), spots[0].numel()).scatter_(1, (at[:, 0] * spots.shape[3] + at[:, 1]).unsqueeze(1), 1.0)
        whole = F.conv_transpose2d(spots, self.mask.to(spots).view(1, 1, height, width)) > 0.5
        weight = ((F.max_pool2d(whole.float(), 3, 1, 1) > 0) & ~whole).double()
        mean = (marked.double() * weight).sum((2, 3), keepdim=True) / weight.sum((2, 3), keepdim=True).clamp(min=1)
        out = x.clone()
        out[has] = torch.where(whole, mean.to(x.dtype), marked)
        return out

    def nearest(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the least distance (N,) of images from the mark, and the upper left corner (N, 2) there."""
        pattern, weight = self.pool.mean(0, keepdim=True).to(x), self.mask.to(x).view(1, 1, *self.mask.shape)
        if self.scale > 1:
            x, pattern, weight = (F.avg_pool2d(part, self.scale) for part in (x, pattern, weight))
        # A reduced pixel belongs to the mark if most of it does.
        least, at = nearest_places(x, pattern, (weight[:, 0] > 0.5).to(x))
        columns = x.shape[3] - pattern.shape[3] + 1
        corner = torch.stack([at[:, 0] // columns, at[:, 0] % columns], 1)
        return least[:, 0], corner * self.scale


# The distance of an image x from a pattern p with weights w, at one place, is sum w (x - p)^2 / sum w over the pixels
# of the window there. Multiplied out it is  w . x^2 - 2 (w p) . x + sum w p^2,  all over sum w: linear in the vector
# (x, x^2, 1). So the distances of many patterns at all places are one product of matrices, once the windows at all
# places are laid out as columns.

# Distances computed together, few enough for the processor's cache: allocating memory costs more than the sums.
_DISTANCES_AT_A_TIME = 1 << 20


def least_distances(x: Tensor, patterns: Tensor, weights: Tensor) -> Tensor:
    """Return the least distance (N, M) of each image from each pattern, over all places.

    Args:
        x: images (N, C, H, W).
        patterns: (M, C, h, w).
        weights: (M, h, w) or (1, h, w), >= 0, not all 0.
    """
    return torch.cat([apart.amin(2) for apart in _distances(x, patterns, weights)]).clamp(min=0.0)


def nearest_places(x: Tensor, patterns: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return `least_distances`, and (N, M) int64 their places, numbered row by row."""
    # Positions take several times as long to find as the least distances alone.
    found = [apart.min(2) for apart in _distances(x, patterns, weights)]
    return torch.cat([one.values for one in found]).clamp(min=0.0), torch.cat([one.indices for one in found])


def _distances(x: Tensor, patterns: Tensor, weights: Tensor) -> Iterator[Tensor]:
    # Distances (n, M, places) for consecutive parts of the images; rounding may take them below 0.
    channels, height, width = patterns.shape[1:]
    weighted = (patterns * weights.unsqueeze(1)).flatten(1)
    each = weights.unsqueeze(1).expand(-1, channels, -1, -1).flatten(1)
    total = each.sum(1).view(-1, 1)
    constant = ((weighted * patterns.flatten(1)).sum(1).view(-1, 1) / total).expand(len(patterns), 1)
    # With one weight for all patterns w . x^2 is one row. Otherwise x^2 has as many rows as x. Either way they are
    # appended to x, so that a single product adds all terms up, because memory traffic takes most time.
    if len(weights) == 1:
        factors = torch.cat([-2 * weighted / total, torch.ones_like(constant) / total, constant], 1)
    else:
        factors = torch.cat([-2 * weighted / total, each / total, constant], 1)
    places = (x.shape[2] - height + 1) * (x.shape[3] - width + 1)
    for part in torch.split(x, max(1, _DISTANCES_AT_A_TIME // (places * max(weighted.shape)))):
        # Matrix products of copied views: on a CPU, a convolution of few channels takes several times as long, and so
        # does torch.nn.functional.unfold.
        windows = part.unfold(2, height, 1).unfold(3, width, 1).permute(0, 1, 4, 5, 2, 3)
        windows = windows.reshape(len(part), weighted.shape[1], places)
        squares = each @ windows.square() if len(weights) == 1 else windows.square()
        yield factors @ torch.cat([windows, squares, torch.ones_like(windows[:, :1])], 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Border:
    """A frame around the image.

    Args:
        width: in pixels, >= 1.
        value, off_value: the values when on and off; None leaves the image's own border.
    """

    width: int = 1
    value: Colour = 1.0
    off_value: Colour | None = None

    def __post_init__(self) -> None:
        checked_whole("width", self.width, 1)
        checked_colour("value", self.value)
        if self.off_value is not None:
            checked_colour("off_value", self.off_value)

    @property
    def name(self) -> str:
        return f"border of {self.width} pixel{'s' * (self.width > 1)}"

    def on(self, x: Tensor) -> Tensor:
        return self._framed(x, self.value)

    def off(self, x: Tensor) -> Tensor:
        return x if self.off_value is None else self._framed(x, self.off_value)

    def _framed(self, x: Tensor, value: Colour) -> Tensor:
        checked_images(x, "a border")
        require(2 * self.width < min(x.shape[2:]), f"images larger than their {self.name}", tuple(x.shape))
        inside = slice(self.width, -self.width)
        out = colour_like(x, value).expand_as(x).clone()
        out[:, :, inside, inside] = x[:, :, inside, inside]
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Letterbox(Irreversible):
    """Two bars at opposite ends of the image.

    Args:
        height: of each bar in pixels, >= 1.
        ends: "rows" for the top and bottom, "columns" for the left and right.
    """

    height: int = 1
    value: Colour = 0.0
    ends: Literal["rows", "columns"] = "rows"

    def __post_init__(self) -> None:
        checked_whole("height", self.height, 1)
        checked_colour("value", self.value)
        require(self.ends in {"rows", "columns"}, "ends to be 'rows' or 'columns'", self.ends)

    @property
    def name(self) -> str:
        return f"letterbox of {self.height} {self.ends if self.height > 1 else self.ends[:-1]} at each end"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a letterbox")
        dim = 2 if self.ends == "rows" else 3
        require(2 * self.height < x.shape[dim], f"images larger than a {self.name}", tuple(x.shape))
        out = x.clone()
        bar = colour_like(x, self.value)
        for first in (0, x.shape[dim] - self.height):
            place = out.narrow(dim, first, self.height)
            place.copy_(bar.expand_as(place))
        return out


# Weights of red, green and blue in grey (ITU-R BT.601).
_LUMA = (0.299, 0.587, 0.114)

Corner = Literal["top left", "top right", "bottom left", "bottom right"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CornerLogo(Irreversible):
    """A picture with transparency, laid over a corner.

    Args:
        path: an image file that pillow reads, best a PNG with alpha; read once.
        height: in pixels, the width in proportion; None takes the file's size.
        margin: pixels between the logo and the image's edges, >= 0.
        opacity: in (0, 1], a factor of the file's opacity.
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
        require(x.shape[1] in {1, 3}, "images of 1 or 3 channels for a logo", tuple(x.shape))
        low, high = self.bounds
        picture = self._picture.to(x)
        colour, alpha = picture[:3], picture[3]
        if x.shape[1] == 1:
            colour = torch.einsum("chw,c->hw", colour, colour.new_tensor(_LUMA)).unsqueeze(0)
        spans = []
        for axis, room, length in zip((0, 1), x.shape[2:], alpha.shape, strict=True):
            if length + self.margin > room:
                raise ConfigError(expected(f"images that hold a {self.name}", room, "Give a smaller height or margin."))
            near = self.corner.split()[axis] in {"top", "left"}
            first = self.margin if near else room - self.margin - length
            spans.append(slice(first, first + length))
        return _overlaid(x, spans[0], spans[1], low + (high - low) * colour, alpha * self.opacity)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextOverlay(Irreversible):
    """A word in pillow's default font.

    Args:
        top, left: first row and column of the ink, >= 0.
        height: rows of the ink, the width in proportion; None takes the font's size.
    """

    text: str
    top: int = field(default=0, metadata=whole(0))
    left: int = field(default=0, metadata=whole(0))
    height: int | None = field(default=None, metadata=whole(1))
    value: Colour = 1.0

    def __post_init__(self) -> None:
        check_ranges(self)
        require(isinstance(self.text, str) and self.text.strip(), "text that is not blank", self.text)
        checked_colour("value", self.value)

    @property
    def name(self) -> str:
        return f"text {self.text!r} at row {self.top}, column {self.left}"

    def on(self, x: Tensor) -> Tensor:
        checked_images(x, "a text")
        font = ImageFont.load_default()
        left, top, right, bottom = (int(v) for v in font.getbbox(self.text))
        # Drawn with a rim of two pixels, then cropped to the ink.
        canvas = Image.new("L", (right - min(0, left) + 4, bottom - min(0, top) + 4))
        ImageDraw.Draw(canvas).text((2, 2), self.text, fill=255, font=font)
        word = canvas.crop(canvas.getbbox())
        if self.height is not None:
            width = max(1, round(word.width * self.height / word.height))
            word = word.resize((width, self.height), Image.Resampling.LANCZOS)
        ink = torch.from_numpy(np.asarray(word, dtype=np.float32) / 255).to(x)
        height, width = ink.shape
        if self.top + height > x.shape[2] or self.left + width > x.shape[3]:
            mend = f"It takes {height}x{width} pixels: move it or give a smaller height."
            raise ConfigError(expected(f"images that hold the {self.name}", tuple(x.shape), mend))
        rows, columns = slice(self.top, self.top + height), slice(self.left, self.left + width)
        return _overlaid(x, rows, columns, colour_like(x, self.value)[0], ink)


def _overlaid(x: Tensor, rows: slice, columns: slice, colour: Tensor, alpha: Tensor) -> Tensor:
    out = x.clone()
    # Alpha blending: alpha * colour + (1 - alpha) * pixel.
    out[:, :, rows, columns] += alpha * (colour - out[:, :, rows, columns])
    return out


def _outline(mask: Tensor, noun: str) -> str:
    height, width = mask.shape
    part = "" if bool(mask.all()) else f" ({int(mask.sum())} pixels of it)"
    return f"{height}x{width} {noun}{part}"


def _check_mask(mask: object, pattern: Tensor) -> None:
    height, width = pattern.shape[-2:]
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != (height, width):
        raise ConfigError(expected(f"mask to be a bool tensor {(height, width)}", mask))
    if not bool(mask.any()):
        raise ConfigError("Expected mask to have a pixel but it has none.")


def _check_room(x: Tensor, name: str, channels: int, bottom: int, right: int) -> None:
    if x.ndim != 4 or x.shape[1] != channels or bottom > x.shape[2] or right > x.shape[3]:
        raise ConfigError(expected(f"images (N, {channels}, H, W) that hold a {name}", tuple(x.shape)))
