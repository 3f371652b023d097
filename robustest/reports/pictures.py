"""Pictures of a counterexample (before, after, difference), sheets of images, and the sound files next to them."""

# PIL is imported with the first picture: most runs draw none.

from __future__ import annotations

import hashlib
import io
import itertools
import wave
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.safe_files import write_atomic

Tile = NDArray[np.uint8]

_TILE = 160
_GAP = 8
LARGEST_CHANGE = "largest change"
"""Key in the PNG file for the largest change, in input units; the page reads it."""
SOUNDS = "sounds"
"""Key in the PNG file for the digests of the two sound files stored next to it, before and after the change."""


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
    sample_rate: int | None = None,
) -> str | None:
    """Save one PNG: before | after | difference (grey is no change, the largest change has full contrast).

    Masks and boxes follow in a second row: target, answers before and after, and their differences. For waveforms
    the PNG shows waves and spectrograms; two WAV files, of the same name with the endings `-clean.wav` and
    `-changed.wav`, are stored next to it.

    Args:
        before, after: (C, H, W) or (H, W) arrays inside of the bounds, C is 1 or 3.
        bounds: values of black and white.
        answers, names: as for `drawn_answers`; None if answers are classes.
        answer: line of text below the answers, such as scores.
        sample_rate: of waveforms (T,) or (C, T), in Hz; None for images.

    Returns:
        The path, or None if the arrays are neither images nor waveforms.
    """
    if sample_rate is not None and np.ndim(before) in (1, 2):
        loudest = max(abs(bounds[0]), abs(bounds[1]))
        waves = [np.atleast_2d(np.asarray(one, dtype=np.float64)) / loudest for one in (before, after)]
        return _save_waveforms(folder, name, waves, loudest, sample_rate)
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
        from PIL import Image, ImageDraw

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


def _stacked(rows: Sequence[Tile]) -> Tile:
    width = max(row.shape[1] for row in rows)
    sheet: list[Tile] = []
    for row in rows:
        white = np.full((row.shape[0], width - row.shape[1], 3), 255, dtype=np.uint8)
        sheet += [np.concatenate([row, white], axis=1), np.full((_GAP, width, 3), 255, dtype=np.uint8)]
    return np.concatenate(sheet[:-1], axis=0)


def _row(tiles: Sequence[Tile]) -> Tile:
    gap = np.full((tiles[0].shape[0], _GAP, 3), 255, dtype=np.uint8)
    parts = [part for tile in tiles for part in (tile, gap)]
    return np.concatenate(parts[:-1], axis=1)


def _saved(folder: str, name: str, sheet: Tile, texts: Mapping[str, str] | None = None) -> str:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    kept = PngInfo()
    for key, text in (texts or {}).items():
        kept.add_text(key, text)
    path, drawn = Path(folder) / f"{name}.png", io.BytesIO()
    Image.fromarray(sheet).save(drawn, format="PNG", pnginfo=kept)
    write_atomic(path, drawn.getvalue())
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


def _tile(image: NDArray[np.float64]) -> Tile:
    grey = (image.clip(0, 1) * 255).round().astype(np.uint8)
    # Whole factors without interpolation keep single changed pixels visible.
    factor = max(1, _TILE // max(grey.shape[:2]))
    return grey.repeat(factor, 0).repeat(factor, 1)


# ---- waveforms


# Pixels of a waveform's picture: width, height of the wave, height of the spectrogram.
_WIDE, _WAVE, _SPECTRUM = 240, 72, 112
# Most seconds of a sound that are saved.
_LONGEST = 30
# Decibels that a spectrogram shows below the loudest power of the sounds before and after.
_DEPTH = 80.0
# Colours of a spectrogram from quiet to loud; brightness rises too, so that prints in grey keep the order.
_HEAT = np.array([(12, 8, 38), (96, 20, 110), (200, 62, 78), (250, 150, 40), (252, 250, 190)], dtype=np.float64)


def sounds_of(picture: str) -> tuple[str, str]:
    """Return the paths of the sounds, before and after, that belong to a picture of waveforms."""
    stem = picture.removesuffix(".png")
    return f"{stem}-clean.wav", f"{stem}-changed.wav"


def _save_waveforms(
    folder: str, name: str, pair: Sequence[NDArray[np.float64]], loudest: float, sample_rate: int
) -> str:
    first, second = pair
    # As in images, the difference has a separate scale: it is often far below the sound.
    delta = second - first
    largest = float(np.abs(delta).max())
    shown = [first.mean(0), second.mean(0), delta[np.abs(delta).max(1).argmax()]]
    powers = [_spectrogram(one) for one in shown]
    top = max(float(power.max()) for power in powers[:2])
    peak = max(float(np.abs(one).max()) for one in shown[:2])
    waves = [_wave(one, peak or 1.0) for one in shown[:2]] + [_wave(shown[2], largest or 1.0)]
    spectra = [_heat(power, top) for power in powers]
    contents = [_wav(one, sample_rate) for one in pair]
    digests = " ".join(hashlib.sha256(content).hexdigest() for content in contents)
    sheet = _stacked([_row(waves), _row(spectra)])
    path = _saved(folder, name, sheet, {LARGEST_CHANGE: f"{largest * loudest:.2g}", SOUNDS: digests})
    for target, content in zip(sounds_of(path), contents, strict=True):
        write_atomic(Path(target), content)
    return path


def _wav(values: NDArray[np.float64], sample_rate: int) -> bytes:
    """Return waves (C, T) in [-1, 1] as a WAV file of 16 bits."""
    held = io.BytesIO()
    levels = np.rint(values[:, : _LONGEST * sample_rate].clip(-1, 1) * 32_767).astype("<i2")
    with wave.open(held, "wb") as file:
        file.setnchannels(len(levels))
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        file.writeframes(np.ascontiguousarray(levels.T).tobytes())
    return held.getvalue()


def _wave(values: NDArray[np.float64], largest: float) -> Tile:
    edges = np.linspace(0, len(values), _WIDE + 1).astype(int)
    tile = np.full((_WAVE, _WIDE, 3), 255, dtype=np.uint8)
    tile[_WAVE // 2] = 200
    for column, (start, end) in enumerate(itertools.pairwise(edges)):
        part = values[start : max(end, start + 1)].clip(-largest, largest)
        top, bottom = ((1 - edge / largest) / 2 * (_WAVE - 1) for edge in (part.max(), part.min()))
        tile[round(top) : round(bottom) + 1, column] = (40, 80, 140)
    return tile


def _spectrogram(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return powers (F, columns) of a wave (T,) in Hann windows, in dB."""
    window = min(512, 1 << max(1, len(values).bit_length() - 3))
    starts = np.linspace(0, max(0, len(values) - window), _WIDE).astype(int)
    padded = np.pad(values, (0, max(0, window - len(values))))
    frames = np.stack([padded[start : start + window] for start in starts]) * np.hanning(window)
    return np.asarray(20 * np.log10(np.abs(np.fft.rfft(frames)).T + 1e-9))


def _heat(power: NDArray[np.float64], top: float) -> Tile:
    place = ((power - top) / _DEPTH + 1).clip(0, 1) * (len(_HEAT) - 1)
    low = np.minimum(place.astype(int), len(_HEAT) - 2)
    share = (place - low)[..., None]
    colours = _HEAT[low] * (1 - share) + _HEAT[low + 1] * share
    rows = np.linspace(len(power) - 1, 0, _SPECTRUM).round().astype(int)
    return np.asarray(colours[rows].round().astype(np.uint8))


# ---- answers that are no single class: masks in colours, boxes with names and scores

_LINE = 14
# Colours of classes 0, 1, ...; further classes begin again.
_COLOURS = np.array(
    [[60, 60, 60], [230, 75, 50], [60, 130, 230], [60, 180, 75], [240, 190, 30], [150, 70, 200], [70, 210, 220]],
    dtype=np.uint8,
)
_NOT_COUNTED = (255, 255, 255)
_APART = (230, 30, 120)
_CAPTIONS = ("target", "answer before", "answer after", "where answers differ")


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
    # Ignored pixels (class < 0) are no answer. The target moves with the image, so the last tile marks two kinds of
    # difference: answers that differ, and targets that differ because the image moved.
    kinds = sorted({int(k) for k in np.unique(answers[[1, 3]]) if k >= 0})
    tiles = []
    for image, mask in ((before, target), (before, clean), (after, found)):
        # A target may have classes that the model never answers: draw them too, and paint ignored pixels white.
        coloured = np.isin(mask, kinds) | ((mask >= 0) & (mask < len(_COLOURS)))
        colours = np.where(
            coloured[..., None], _COLOURS[np.where(coloured, mask, 0) % len(_COLOURS)], np.array(_NOT_COUNTED)
        )
        tiles.append(np.asarray(0.4 * image + 0.6 * colours, dtype=np.uint8))
    apart = np.where(((clean != found) | (target != moved))[..., None], np.array(_APART, dtype=np.uint8), after // 2)
    words = [*_CAPTIONS[:3], f"{_CAPTIONS[3]}: {float((answers[1] != answers[3]).mean()):.1%}"]
    keys = [(_name_of(k, names), _colour(k)) for k in kinds]
    return [
        _captioned(tile, word, keys if at < 3 else ())
        for at, (tile, word) in enumerate(zip([*tiles, apart], words, strict=True))
    ]


def _outlined(image: Tile, boxes: NDArray[Any], names: Sequence[str], *, scored: bool = True) -> Tile:
    from PIL import Image, ImageDraw

    sheet = Image.fromarray(image)
    pen = ImageDraw.Draw(sheet)
    for *corners, kind, score in boxes.tolist():
        # Skip unused rows of the array, and boxes without an area.
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
    from PIL import Image, ImageDraw

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
