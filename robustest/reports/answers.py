"""Drawings of answers that are no single class: masks in colours, boxes with names and scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

_LINE = 14
# Colours of classes 0, 1, ...; further classes begin again.
_COLOURS = np.array(
    [[60, 60, 60], [230, 75, 50], [60, 130, 230], [60, 180, 75], [240, 190, 30], [150, 70, 200], [70, 210, 220]],
    dtype=np.uint8,
)
_NOT_COUNTED = (255, 255, 255)
_APART = (230, 30, 120)
_CAPTIONS = ("target", "answer before", "answer after", "where answers differ")

Tile = NDArray[np.uint8]


def drawn_answers(before: Tile, after: Tile, answers: Any, names: Sequence[str] = ()) -> list[Tile]:
    """Return tiles of the target, the answers before and after, and their differences; empty for other answers.

    Args:
        before, after: (H, W, 3) images, enlarged by whole factors.
        answers: (4, h, w) integers: masks of the target, the answer, the target of the changed image, and its answer;
            or (4, M, 6) floats: boxes (left, top, right, bottom, class, score), with class < 0 in unused rows.
        names: names of classes; if empty, numbers are drawn.
    """
    given = np.asarray(answers)
    if given.ndim != 3 or given.shape[0] != 4:
        return []
    if given.dtype.kind in "iu" and before.shape[0] % given.shape[1] == 0 and before.shape[1] % given.shape[2] == 0:
        return _masks(before, after, given, names)
    if given.dtype.kind == "f" and given.shape[2] == 6:
        target, clean, moved, found = given
        return [
            _captioned(_outlined(before, target, names, scored=False), _CAPTIONS[0]),
            _captioned(_outlined(before, clean, names), _CAPTIONS[1]),
            _captioned(_outlined(after, moved, names, scored=False), "target after"),
            _captioned(_outlined(after, found, names), _CAPTIONS[2]),
        ]
    return []


def _masks(before: Tile, after: Tile, answers: NDArray[Any], names: Sequence[str]) -> list[Tile]:
    factor = before.shape[0] // answers.shape[1]
    target, clean, moved, found = (mask.repeat(factor, 0).repeat(factor, 1) for mask in answers)
    # pixels of the target without a class (ignored) count nowhere; after a move those of the moved one
    # Ignored pixels (class < 0) are no answer. The target moves with the image, so the last tile marks two kinds of
    # difference: answers that differ, and targets that differ because the image moved.
    kinds = sorted({int(k) for k in np.unique(answers[[1, 3]]) if k >= 0})
    tiles = []
    for image, mask in ((before, target), (before, clean), (after, found)):
        # A target may have classes that the model never answers: draw them too, and paint ignored pixels white.
        known = np.isin(mask, kinds) | ((mask >= 0) & (mask < len(_COLOURS)))
        colours = np.where(known[..., None], _COLOURS[np.where(known, mask, 0) % len(_COLOURS)], np.array(_NOT_COUNTED))
        tiles.append(np.asarray(0.4 * image + 0.6 * colours, dtype=np.uint8))
    apart = np.where(((clean != found) | (target != moved))[..., None], np.array(_APART, dtype=np.uint8), after // 2)
    words = [*_CAPTIONS[:3], f"{_CAPTIONS[3]}: {float((answers[1] != answers[3]).mean()):.1%}"]
    keys = [(_name_of(k, names), _colour(k)) for k in kinds]
    return [
        _captioned(tile, word, keys if at < 3 else ())
        for at, (tile, word) in enumerate(zip([*tiles, apart], words, strict=True))
    ]


def _outlined(image: Tile, boxes: NDArray[Any], names: Sequence[str], *, scored: bool = True) -> Tile:
    sheet = Image.fromarray(image)
    pen = ImageDraw.Draw(sheet)
    for *corners, kind, score in boxes.tolist():
        # Unused rows of the array, and boxes without an area.
        if kind < 0 or corners[2] <= corners[0] or corners[3] <= corners[1]:
            continue
        colour = _colour(int(kind) + 1)
        pen.rectangle(corners, outline=colour, width=2)
        caption = f"{_name_of(int(kind), names)} {score:.2f}" if scored else _name_of(int(kind), names)
        left = max(0.0, min(corners[0] + 3, image.shape[1] - pen.textlength(caption) - 2))
        # Names stay inside of the image, also for boxes at its upper or right edge.
        place = (left, max(0.0, corners[1] - 11) if corners[1] > 11 else corners[1] + 2)
        pen.text(place, caption, fill=(255, 255, 255), stroke_width=1, stroke_fill=(0, 0, 0))
    return np.asarray(sheet)


def _captioned(tile: Tile, word: str, keys: Sequence[tuple[str, tuple[int, int, int]]] = ()) -> Tile:
    """Return the tile with its caption below, and its classes in their colours."""
    strip = Image.new("RGB", (tile.shape[1], 2 * _LINE), "white")
    pen = ImageDraw.Draw(strip)
    pen.text((2, 1), word, fill=(0, 0, 0))
    at = 2.0
    for name, colour in keys:
        pen.rectangle((at, _LINE + 3, at + 8, _LINE + 11), fill=colour)
        pen.text((at + 11, _LINE + 1), name, fill=(0, 0, 0))
        at += 18 + pen.textlength(name)
    return np.concatenate([tile, np.asarray(strip)], 0)


def _colour(kind: int) -> tuple[int, int, int]:
    red, green, blue = _COLOURS[kind % len(_COLOURS)].tolist()
    return red, green, blue


def _name_of(kind: int, names: Sequence[str]) -> str:
    return names[kind] if 0 <= kind < len(names) else str(kind)
