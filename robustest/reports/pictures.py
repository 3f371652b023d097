"""Pictures: a counterexample before, after and their difference; and sheets of images in rows."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from PIL.PngImagePlugin import PngInfo

from robustest.reports.answers import drawn_answers

_TILE = 160
_GAP = 8
LARGEST_CHANGE = "largest change"
"""Key in the PNG file for the largest change, in input units; the page reads it."""


def save_exhibit(
    folder: str,
    name: str,
    before: Any,
    after: Any,
    bounds: tuple[float, float],
    *,
    answers: Any = None,
    names: Sequence[str] = (),
    answer: str = "",
) -> str | None:
    """Save one PNG: before | after | difference (grey is no change, the largest change has full contrast).

    Masks and boxes follow in a second row: target, answers before and after, and their differences.

    Args:
        before, after: (C, H, W) or (H, W) arrays inside of the bounds, C is 1 or 3.
        bounds: values of black and white.
        answers, names: as for `drawn_answers`; None if answers are classes.
        answer: line of text below the answers, such as scores.

    Returns:
        The path, or None if the arrays are no images.
    """
    first, second = _image(before, bounds), _image(after, bounds)
    if first is None or second is None:
        return None
    delta = second - first
    largest = float(np.abs(delta).max()) or 1.0
    # Perturbations are often far below one grey level, so the difference is scaled by its own maximum.
    tiles = [_tile(first), _tile(second), _tile(0.5 + 0.5 * delta / largest)]
    below = []
    if answers is not None:
        drawn = np.asarray(answers)
        # Boxes are in pixels of the image, so they are enlarged as the tiles are; masks are enlarged when drawn.
        if drawn.dtype.kind == "f" and drawn.ndim == 3 and drawn.shape[2] == 6:
            drawn = drawn.copy()  # the evidence keeps its own units
            drawn[..., :4] *= tiles[0].shape[0] / first.shape[0]
        below = drawn_answers(tiles[0], tiles[1], drawn, names)
    sheet = _row(tiles)
    if below:
        width = int(ImageDraw.Draw(Image.new("RGB", (1, 1))).textlength(answer)) + 4
        line = Image.new("RGB", (width, 14), "white")
        ImageDraw.Draw(line).text((2, 1), answer, fill=(0, 0, 0))
        sheet = _stacked([sheet, _row(below), np.asarray(line)])
    change = float(np.abs(delta).max()) * (bounds[1] - bounds[0])
    return _saved(folder, name, sheet, {LARGEST_CHANGE: f"{change:.2g}"})


def save_sheet(folder: str, name: str, rows: Sequence[Sequence[Any]], bounds: tuple[float, float]) -> str | None:
    """Save one PNG of images in rows; shorter rows end in white.

    Args:
        rows: (C, H, W) or (H, W) arrays of one size inside of the bounds, C is 1 or 3.
        bounds: values of black and white.

    Returns:
        The path, or None if there are no images.
    """
    images = [[_image(one, bounds) for one in row] for row in rows if len(row)]
    if not images or any(one is None for row in images for one in row):
        return None
    return _saved(folder, name, _stacked([_row([_tile(one) for one in row if one is not None]) for row in images]))


def _stacked(rows: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    width = max(row.shape[1] for row in rows)
    sheet: list[NDArray[np.uint8]] = []
    for row in rows:
        white = np.full((row.shape[0], width - row.shape[1], 3), 255, dtype=np.uint8)
        sheet += [np.concatenate([row, white], axis=1), np.full((_GAP, width, 3), 255, dtype=np.uint8)]
    return np.concatenate(sheet[:-1], axis=0)


def _row(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    gap = np.full((tiles[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _saved(folder: str, name: str, sheet: NDArray[np.uint8], texts: Mapping[str, str] | None = None) -> str:
    kept = PngInfo()
    for key, text in (texts or {}).items():
        kept.add_text(key, text)
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = Path(folder) / f"{name}.png"
    partial = path.with_suffix(f".{os.getpid()}.tmp")
    Image.fromarray(sheet).save(partial, format="PNG", pnginfo=kept)
    partial.replace(path)
    return str(path)


def _image(x: Any, bounds: tuple[float, float]) -> NDArray[np.float64] | None:
    array = np.asarray(x, dtype=np.float64)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.shape[0] not in (1, 3):
        return None
    array = np.repeat(array, 3, 0) if array.shape[0] == 1 else array
    low, high = bounds
    return np.asarray((array.transpose(1, 2, 0) - low) / (high - low))


def _tile(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    grey = (image.clip(0, 1) * 255).round().astype(np.uint8)
    # Whole factors without interpolation keep single changed pixels visible.
    factor = max(1, _TILE // max(grey.shape[:2]))
    return grey.repeat(factor, 0).repeat(factor, 1)
