"""The time that is left is told from what tests have cost, and not before that is known."""

from __future__ import annotations

from typing import Any

import pytest

from robustest.cli.remaining import Runs, Spent, changed

WEIGHTS = {"plain": 1.0, "attack": 20.0, "noise": 1.0}
COSTS = {"plain": 1.0, "attack": 8.0, "noise": 1.0}


def runs(**options: Any) -> Runs:
    return Runs(**{"tests": [*WEIGHTS], "weights": WEIGHTS, "between": 2.0, "after": 1, **options})


def left(told: Runs, **ended: Spent) -> str:
    return told.left(ended, sum(one.seconds for one in ended.values()))


def test_nothing_is_said_from_a_small_part_of_the_first_run() -> None:
    assert left(runs()) == ""
    assert left(runs(), plain=Spent(1.0)) == "", "1 of 22 parts says nothing of an attack"
    # 21 parts took 8.4 s: 0.4 s of this run, then 2 + 8.8 s
    assert left(runs(), plain=Spent(1.0), attack=Spent(7.4)) == "about 11 s left"


def test_further_seeds_and_the_last_run_are_counted() -> None:
    # 4 seeds and half a run follow, or 1 seed: 10 s and 2 s each
    told = runs(before=COSTS, after=1, further=3, last=0.5)
    assert left(told) == "about 29 s left, 65 s if values change with the seed"
    assert left(runs(before=COSTS, after=0, share=0.5)) == "about 5 s left"


def test_a_later_run_learns_its_pace_from_what_it_measured() -> None:
    assert left(runs(before=COSTS, after=0), plain=Spent(9.0)) == "about 9 s left", "a tenth of the costs"
    assert left(runs(before=COSTS, after=0), attack=Spent(16.0)) == "about 4 s left"
    assert left(runs(before=COSTS, after=1), attack=Spent(16.0)) == "about 26 s left"


def test_what_is_recalled_counts_by_what_it_took_to_measure() -> None:
    """A resumed scan recalls its first claims in no time, and has the others to measure."""
    recalled = Spent(0.1, measured=8.0, recalled=True)
    assert left(runs(after=0), plain=Spent(0.1, measured=1.0, recalled=True), attack=recalled) == "at most 0 s left"
    assert left(runs(after=1), plain=Spent(0.1, measured=1.0, recalled=True), attack=recalled) == "at most 12 s left"
    assert left(runs(before=COSTS, after=1), attack=recalled) == "at most 14 s left"
    assert left(runs(before=COSTS, after=0, resumed=True)) == "at most 10 s left"


def test_workers_at_the_same_time() -> None:
    assert runs(before=COSTS, after=0).left({"attack": Spent(8.0)}, 4.0) == "about 1 s left"


@pytest.mark.parametrize(
    ("first", "second", "moves"),
    [
        ([0.9, 0.8, 1.0], [0.9, 0.8, 1.0 + 1e-13], False),
        ([0.9, 0.8, 1.0], [0.9, 0.8, 0.99], True),
        ([None, 0.8], [None, 0.8], True),
        (None, [0.9], True),
        ([], [], False),
    ],
)
def test_a_value_that_changes_with_the_seed(first: Any, second: Any, moves: bool) -> None:
    assert changed(first, second) is moves
