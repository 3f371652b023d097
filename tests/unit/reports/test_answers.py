"""Masks and boxes on their images: the colours are where the answers are, and the pictures have a row for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from robustest.reports.pictures import drawn_answers, save_exhibit

GREY = np.full((40, 60, 3), 128, dtype=np.uint8)


def test_masks_are_coloured_by_class_and_differ_where_they_do() -> None:
    masks = np.zeros((4, 20, 30), dtype=np.int64)
    masks[:, :5, :5] = 1
    masks[3, 10:, 15:] = 1
    target, before, after, apart = drawn_answers(GREY, GREY, masks, ("ground", "thing"))
    assert target.shape[1:] == (60, 3)
    assert np.array_equal(target[:40], before[:40])
    changed = (before[:40] != after[:40]).any(2)
    assert changed[20:, 30:].all()
    assert not changed[:20].any()
    pink = (apart[:40] == (230, 30, 120)).all(2)
    assert np.array_equal(pink, changed)


def test_boxes_are_outlined_where_they_are_and_rows_without_one_are_not() -> None:
    boxes = np.zeros((4, 3, 6), dtype=np.float32)
    boxes[..., 4] = -1
    boxes[:3, 0] = (30, 20, 50, 36, 1, 0.75)
    _, before, _, after = drawn_answers(GREY, GREY, boxes, ("cat", "dog"))
    assert not (before[20, 30:51] == 128).all(1).any()
    assert (before[24:34, 34:46] == 128).all()
    assert (after[:40] == 128).all()


def test_what_is_neither_is_not_drawn() -> None:
    assert drawn_answers(GREY, GREY, np.zeros((4, 3), dtype=np.float32)) == []
    assert drawn_answers(GREY, GREY, np.zeros((4, 3, 2), dtype=np.float32)) == []


def test_a_picture_has_a_row_of_answers_below_and_what_is_told(tmp_path: Path) -> None:
    image, masks = np.random.default_rng(0).random((3, 20, 30)), np.zeros((4, 20, 30), dtype=np.int64)
    plain, drawn = (
        save_exhibit(str(tmp_path), name, image, image, (0.0, 1.0), answers=answers, answer="pixel accuracy 1 -> 0")
        for name, answers in (("plain", None), ("drawn", masks))
    )
    assert plain is not None
    assert drawn is not None
    sizes = []
    for path in (plain, drawn):
        with Image.open(path) as sheet:
            sizes.append(sheet.size)
    assert sizes[1][0] > sizes[0][0]
    assert sizes[1][1] > 2 * sizes[0][1]
