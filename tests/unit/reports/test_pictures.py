"""Before, after and difference as one PNG."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io.wavfile
import torch
from numpy.typing import NDArray
from PIL import Image

from robustest.reports.pictures import LARGEST_CHANGE, SOUNDS, save_exhibit, save_sheet, sounds_of


def saved(tmp_path: Path, before: object, after: object, bounds: tuple[float, float] = (0, 1)) -> NDArray[np.uint8]:
    path = save_exhibit(str(tmp_path / "deep" / "folder"), "name", before, after, bounds)
    assert path == str(tmp_path / "deep" / "folder" / "name.png")
    assert [file.name for file in (tmp_path / "deep" / "folder").iterdir()] == ["name.png"]  # no half-written file
    with Image.open(path) as picture:
        assert picture.mode == "RGB"
        return np.asarray(picture)


def tiles(sheet: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Three pictures with white in between."""
    width = (sheet.shape[1] - 16) // 3
    first, second = sheet[:, width : width + 8], sheet[:, 2 * width + 8 : 2 * width + 16]
    assert (first == 255).all()
    assert (second == 255).all()
    return [sheet[:, :width], sheet[:, width + 8 : 2 * width + 8], sheet[:, 2 * width + 16 :]]


def test_colours_are_kept_and_the_difference_is_amplified(tmp_path: Path) -> None:
    before = np.full((3, 2, 2), 0.2)
    after = before.copy()
    after[0, 0, 0] += 0.004  # invisible as it is
    after[2, 1, 1] -= 0.002
    left, middle, right = tiles(saved(tmp_path, before, after))
    assert (left == round(0.2 * 255)).all()
    assert middle[0, 0].tolist() == [round(0.204 * 255), 51, 51]
    assert right[0, 0].tolist() == [255, 128, 128]
    assert right[-1, -1].tolist() == [128, 128, round(255 * 0.25)]
    assert right[0, -1].tolist() == [128, 128, 128]


@pytest.mark.parametrize("shape", [(1, 4, 4), (4, 4)], ids=str)
def test_grey_images_are_drawn_grey(tmp_path: Path, shape: tuple[int, ...]) -> None:
    left, middle, right = tiles(saved(tmp_path, np.zeros(shape), np.ones(shape)))
    assert (left == 0).all()
    assert (middle == 255).all()
    assert (right == 255).all()


@pytest.mark.parametrize(("bounds", "told"), [((0, 1), "0.031"), ((0, 255), "0.031"), ((-1, 1), "0.031")])
def test_a_picture_keeps_the_scale_of_its_difference(tmp_path: Path, bounds: tuple[float, float], told: str) -> None:
    before = np.full((3, 2, 2), 0.25)
    after = before.copy()
    after[0, 0, 0] -= 1 / 32
    path = save_exhibit(str(tmp_path), "name", before, after, bounds)
    with Image.open(str(path)) as picture:
        assert picture.text == {LARGEST_CHANGE: told}  # type: ignore[attr-defined]


def test_bounds_are_black_and_white(tmp_path: Path) -> None:
    left, middle, _ = tiles(saved(tmp_path, np.full((1, 2, 2), -2.0), np.full((1, 2, 2), 2.0), (-2, 2)))
    assert (left == 0).all()
    assert (middle == 255).all()


def test_no_difference_is_grey(tmp_path: Path) -> None:
    _, _, right = tiles(saved(tmp_path, np.ones((1, 3, 3)), np.ones((1, 3, 3))))
    assert (right == 128).all()


@pytest.mark.parametrize(("size", "drawn"), [(8, 160), (28, 140), (160, 160), (200, 200)])
def test_small_images_are_enlarged_by_whole_factors(tmp_path: Path, size: int, drawn: int) -> None:
    before = np.random.default_rng(0).random((1, size, size))
    left, _, _ = tiles(saved(tmp_path, before, before))
    assert left.shape == (drawn, drawn, 3)
    factor = drawn // size
    blocks = left[:, :, 0].reshape(size, factor, size, factor)
    assert (blocks == blocks[:, :1, :, :1]).all()


@pytest.mark.parametrize("shape", [(5,), (2, 4, 4), (4, 4, 4), (1, 1, 4, 4), ()], ids=str)
def test_what_is_no_image_is_not_drawn(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert save_exhibit(str(tmp_path / "pictures"), "name", np.zeros(shape), np.zeros(shape), (0, 1)) is None
    assert not (tmp_path / "pictures").exists()


def test_a_picture_is_replaced_by_a_newer_one(tmp_path: Path) -> None:
    first = saved(tmp_path, np.zeros((1, 2, 2)), np.zeros((1, 2, 2)))
    second = saved(tmp_path, np.ones((1, 2, 2)), np.zeros((1, 2, 2)))
    assert not np.array_equal(first, second)


def test_a_sheet_has_its_images_in_rows_and_white_where_a_row_ends(tmp_path: Path) -> None:
    dark, light = np.full((1, 4, 4), -1.0), np.full((1, 4, 4), 1.0)
    path = save_sheet(str(tmp_path), "sheet", [[dark, light], [], [light * 0]], (-1.0, 1.0))
    assert path == str(tmp_path / "sheet.png")
    with Image.open(path) as picture:
        sheet = np.asarray(picture)[:, :, 0]
    assert sheet.shape == (160 + 8 + 160, 160 + 8 + 160)
    assert (sheet[:160, :160] == 0).all()
    assert (sheet[:160, 160:] == 255).all()
    assert (sheet[160:168] == 255).all()
    assert (sheet[168:, :160] == 128).all()
    assert (sheet[168:, 160:] == 255).all()


def test_what_is_no_image_makes_no_sheet(tmp_path: Path) -> None:
    assert save_sheet(str(tmp_path), "sheet", [[np.zeros(7)]], (0, 1)) is None
    assert save_sheet(str(tmp_path), "sheet", [[], []], (0, 1)) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("error")
def test_drawing_boxes_leaves_the_answers_as_they_are(tmp_path: Path) -> None:
    image, answers = torch.zeros(3, 8, 8), torch.full((4, 1, 6), 0.5)
    assert save_exhibit(str(tmp_path), "name", image, image + 0.5, (0, 1), answers=answers)
    assert (answers == 0.5).all()


def bursts() -> NDArray[np.float64]:
    time = np.arange(8000) / 8000
    return 0.5 * np.sin(2 * np.pi * 1000 * time) * (time % 0.25 < 0.125)


@pytest.mark.parametrize(("channels", "loudest"), [(1, 1.0), (2, 1.0), (1, 32_768.0)])
def test_waveforms_are_drawn_and_saved_as_sounds(tmp_path: Path, channels: int, loudest: float) -> None:
    before = np.stack([bursts()] * channels)
    noise = np.random.default_rng(0).normal(size=before.shape)
    after = before + noise * 10 ** (-20 / 20) * np.linalg.norm(before) / np.linalg.norm(noise)
    given = (before[0], after[0]) if channels == 1 else (before, after)
    bounds = (-loudest, loudest)
    path = save_exhibit(str(tmp_path), "one", *(part * loudest for part in given), bounds, sample_rate=8000)
    assert path == str(tmp_path / "one.png")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["one-changed.wav", "one-clean.wav", "one.png"]
    heard = [scipy.io.wavfile.read(sound) for sound in sounds_of(path)]
    assert [rate for rate, _ in heard] == [8000, 8000]
    clean, changed = (np.atleast_2d(wave.T) / 32_767 for _, wave in heard)
    assert np.abs(clean - before).max() < 2e-5
    ratio = 20 * np.log10(np.linalg.norm(clean) / np.linalg.norm(changed - clean))
    assert ratio == pytest.approx(20, abs=0.1)
    with Image.open(path) as picture:
        sheet, told = np.asarray(picture).astype(int), picture.text  # type: ignore[attr-defined]
    assert float(told[LARGEST_CHANGE]) == pytest.approx(loudest * np.abs(after - before).max(), rel=0.05)
    digests = [hashlib.sha256(Path(sound).read_bytes()).hexdigest() for sound in sounds_of(path)]
    assert told[SOUNDS] == " ".join(digests)
    # The wave is drawn where it swings, and the tone at its height: 1000 of 4000 Hz, a quarter from the bottom.
    wave, spectrum = sheet[:72, :240], sheet[80:, :240]
    dark = (wave[:2, :, 0] < 100).any(0), (wave[12:20, :, 0] < 100).any(0)
    assert not dark[0].any()
    assert dark[1][5:25].all()
    assert not dark[1][40:55].any()
    assert abs(int(spectrum[:, 15].sum(1).argmax()) - 0.75 * len(spectrum)) < 3
    pitch = spectrum[:, 15].sum(1).argmax()
    assert spectrum[pitch, 15].sum() > 1.5 * spectrum[pitch, 45].sum()


def test_a_long_sound_is_cut_and_a_short_one_is_not(tmp_path: Path) -> None:
    for seconds, name in ((40, "long"), (0.001, "short")):
        path = save_exhibit(
            str(tmp_path), name, np.zeros(int(seconds * 8000)), np.ones(int(seconds * 8000)), (-1, 1), sample_rate=8000
        )
        rate, wave = scipy.io.wavfile.read(sounds_of(str(path))[1])
        assert len(wave) == min(30 * rate, int(seconds * 8000))
        assert wave.min() == 32_767
