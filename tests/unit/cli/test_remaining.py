"""The time that is left is told from what tests have cost, and not before that is known."""

from __future__ import annotations

from typing import Any

import pytest

from robustest.cli.questions import ATTACK, SHIFT
from robustest.cli.remaining import Runs, Spent, UnderWay, changed

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


# Processor seconds of the questions to three networks, by what was measured on one machine: the plain accuracy; chunks
# of the attack, and its audit; three shifts.
MEASURED: dict[str, tuple[float, list[tuple[float, int]], int, float, list[float]]] = {
    "a layer": (0.03, [(0.32, 64), (0.23, 64), (0.26, 64), (0.21, 8)], 0, 1.06, [0.02, 0.03, 0.03]),
    "convolutions": (0.05, [(0.55, 64), (0.58, 64), (0.56, 64), (0.59, 64), (0.55, 44)], 0, 2.58, [0.06, 0.06, 0.07]),
    "all broken": (0.04, [(0.08, 64), (0.04, 64), (0.04, 64), (0.04, 64), (0.05, 44)], 1, 0.07, [0.05, 0.05, 0.05]),
}


@pytest.mark.parametrize("name", MEASURED)
def test_from_the_first_quarter_on_the_time_left_is_right_within_a_third(name: str) -> None:
    """A model that takes a hundred times as long: two seeds, then half a run; the clock is the sum of costs."""
    plain, chunks, broken, audit, shifts = MEASURED[name]
    begins, between = 3.0, 0.2
    chunks, total = [(100 * seconds, n) for seconds, n in chunks], sum(n for _, n in chunks)
    costs = {"plain": 100 * plain, "attack": sum(seconds for seconds, _ in chunks) + 100 * audit}
    costs |= {f"shift {number}": 100 * one for number, one in enumerate(shifts)}
    weights = {one: {"plain": 1.0, "attack": ATTACK}.get(one, SHIFT) for one in costs}
    run = sum(costs.values())
    ends = begins + 2.5 * run + 2 * between
    told: list[tuple[float, str]] = []
    for first in (True, False):
        clock, ended = begins + (0.0 if first else run + between), dict[str, Spent]()
        began = clock
        options: dict[str, Any] = {"before": None if first else costs, "after": int(first), "last": 0.5}
        runs = Runs(tests=[*costs], weights=weights, between=between, **options)
        for test, cost in costs.items():
            told.append((clock, runs.left(ended, clock - began)))
            if test == "attack":
                inside = clock
                for number, (seconds, _) in enumerate(chunks, 1):
                    inside += seconds
                    measured = chunks[:number]
                    seen = sum(n for _, n in measured)
                    part = UnderWay.of("attack", measured, total=total, broken=broken * seen, audited=True)
                    told.append((inside, runs.left(ended, inside - began, part)))
            clock += cost
            ended[test] = Spent(cost)
    late = [(moment, text) for moment, text in told if moment >= ends / 4]
    assert len(late) >= 8
    for moment, text in late:
        assert float(text.split()[1]) == pytest.approx(ends - moment, rel=0.3), f"{moment:.0f} of {ends:.0f} s: {text}"


def test_a_recalled_chunk_says_nothing_of_those_to_come() -> None:
    """Half of an attack is stored: each sample that is left costs as much as those of the chunk that was measured."""
    part = UnderWay.of("attack", [(0.01, 64), (0.01, 64), (4.0, 64)], total=256, broken=0, audited=False)
    assert part == UnderWay("attack", 4.02, cost=16.0, left=4.0, recalled=True)
    told = runs(after=0).left({"plain": Spent(0.5)}, 4.52, part)
    assert told == "at most 5 s left", "4 s of the attack, and 16.5 s / 21 for the noise"
    assert runs(before=COSTS, after=0).left({}, 4.02, part) == "at most 6 s left"
