"""Cues drawn onto an image: a border, a logo in a corner, a text."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from robustest.checks import checked_images, checked_real, checked_whole
from robustest.cues.cue import checked_colour, colour_like
from robustest.errors import ConfigError, expected

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
