"""Pairs of predictions with a cue on and off, counted by class."""

from __future__ import annotations

import numpy as np
import pytest

from robustest.decisions.cues import CLASSES, CuePairs, draw_p_values
from robustest.decisions.drop import mcnemar
from robustest.decisions.multiplicity import holm


def counted(before: list[int], after: list[int], target: int | None = 1) -> CuePairs:
    """Pairs of one cue; every sample is of class 0."""
    columns = {"off 0": np.array(before), "on 0": np.array(after), "label": np.zeros(len(before), dtype=np.int64)}
    return CuePairs.count({**columns, CLASSES: np.full(len(before), 3)}, 0, target)


def test_shares_moved_are_of_those_outside_a_class_and_of_those_inside() -> None:
    pairs = counted([0] * 8 + [1] * 2, [1] * 4 + [0] * 4 + [1, 2])
    assert pairs.before.tolist() == [8, 2, 0]
    assert pairs.shares_moved(1) == (0.5, 0.5)
    assert pairs.shares_moved(2) == (0.1, 0.0)
    assert pairs.shares_moved(0) == (0.0, 0.5)


def test_what_a_search_brings_by_chance_bounds_p_and_is_not_corrected_again() -> None:
    """Six cues that draw 20 of 20: their tests are corrected for six; the chance of one was for all classes already."""
    pairs = [counted([0] * 20, [1] * 20) for _ in range(6)]
    alone = draw_p_values(pairs)
    assert [table[1] for table in alone] == pytest.approx(holm([mcnemar(20, 0)] * 6))
    bounded = draw_p_values(pairs, [0.0, 0.004, 0.0, 0.0, 1e-9, 0.0])
    assert bounded[1][1] == 0.004
    assert [table[1] for table in (bounded[0], *bounded[2:])] == [table[1] for table in (alone[0], *alone[2:])]
