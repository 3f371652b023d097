"""Guards of decisions on few counts: mean IoU of classes with a pixel, a fall from a start that is sure, few items."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from robustest.decisions.drop import AboveChanceRule
from robustest.decisions.mean_iou import COUNTS, PIXELS, _reachable, mean_iou
from robustest.decisions.noise_floor import POWER, NoiseFloor
from robustest.decisions.rule import EarlyVerdict, Terms
from robustest.results import Verdict

TERMS = Terms(scope="set", alpha=0.01, fail_alpha=0.01)


@pytest.mark.parametrize(
    ("both", "union", "value"),
    [
        ([1, 0], [1, 0], 1.0),
        ([1, 3], [1, 6], 0.75),  # a class of one pixel is a class
        ([2, 0], [4, 0], 0.5),
        ([0, 0], [1, 0], 0.0),
        ([0, 0], [0, 0], 0.0),
        ([1, 1, 1], [2, 4, 1], 7 / 12),
    ],
)
def test_classes_with_a_pixel_count_alike(both: list[int], union: list[int], value: float) -> None:
    assert float(mean_iou(np.array(both + union))) == pytest.approx(value)


@pytest.mark.parametrize(
    ("both", "union", "n", "reached"),
    [
        # one sample of at most four pixels was seen
        ([1, 0, 0], [1, 2, 0], 1, (0.5, 0.5)),
        ([1, 0, 0], [1, 2, 0], 2, ((1 / 5 + 0) / 3, (1 + 4 / 6 + 1) / 3)),
        ([1, 0, 0], [1, 2, 0], 3, ((1 / 9 + 0) / 3, (1 + 8 / 10 + 1) / 3)),
        ([0, 0, 0], [0, 0, 0], 2, (0.0, 1.0)),
    ],
)
def test_all_pixels_left_may_be_of_one_class(both: list[int], union: list[int], n: int, reached: Any) -> None:
    columns = {COUNTS: np.array([both + union]), PIXELS: np.array([4])}
    assert _reachable(columns, n) == pytest.approx(reached)


# A fall that starts above chance


@pytest.mark.parametrize(
    ("labels", "right", "threshold", "passes"),
    [
        # of ten samples; those of the largest class, and the first right before
        (10, 10, 0.5, True),  # nothing can be above one
        (10, 9, 0.5, False),
        (5, 7, 0.2, True),
        (5, 6, 0.2, False),
        (7, 10, 0.3, True),
        (7, 9, 0.3, False),
        (7, 9, 0.2, True),
    ],
)
def test_an_early_pass_needs_a_start_beyond_chance_by_the_fall_allowed(
    labels: int, right: int, threshold: float, passes: bool
) -> None:
    early = EarlyVerdict(verdict=Verdict.PASSED, after=3, certain=True, alpha=0.0)

    def settled(early: EarlyVerdict | None, limit: float | None = threshold) -> EarlyVerdict | None:
        other: Any = SimpleNamespace(settle=lambda *_: early)
        columns = {
            "label": np.array([0] * labels + [1] * (10 - labels)),
            "clean": np.array([True] * right + [False] * (10 - right)),
        }
        return AboveChanceRule(threshold=limit, terms=TERMS, other=other).settle(columns, 10)

    found = settled(early)
    assert (found is not None) is passes
    if found is not None:
        assert (found.verdict, found.certain) == (Verdict.PASSED, True)
        assert found.after >= round(10 * min(1.0, labels / 10 + threshold))
    failed = EarlyVerdict(verdict=Verdict.FAILED, after=3, certain=True, alpha=0.0)
    assert settled(failed) is failed
    assert settled(None) is None
    assert settled(early, None) is early


# Items


@pytest.mark.parametrize("within", [0.0, 0.01])
@pytest.mark.parametrize("between", [0.0, 0.02])
@pytest.mark.parametrize("runs", [1, 4])
@pytest.mark.parametrize("loss", [0.01, 0.3, 1.0])
def test_the_items_that_show_a_loss_are_two_at_least(within: float, between: float, runs: int, loss: float) -> None:
    floor = NoiseFloor(n=50, rate=0.5, within=within, between=between, step=1.0)
    distance = (norm.isf(0.05) + norm.ppf(POWER)) ** 2

    def needed(variance: float) -> int:
        return max(2, int(np.ceil(distance * variance / loss**2)))

    assert floor.items(loss, 0.05, runs=runs) == needed(2 * within / runs + loss * (1 - loss))
    assert floor.items(loss, 0.05, runs=runs, paired=False) == needed(2 * (between + within / runs))
    assert floor.items_of_claim(loss, 0.05, runs=runs) == needed(between + within / runs)
    left = 50 * loss**2 / distance - loss * (1 - loss)
    expected = max(1, int(np.ceil(2 * within / left))) if left > 0 else None
    assert floor.runs(loss, 0.05) == expected
    assert floor.spread(runs) == pytest.approx((2 * within / (runs * 50)) ** 0.5)
    # A gate on whole items of 50: the next step beyond a tolerance of 2.9 items is that of three, less half a step.
    assert floor.red(0.058) == pytest.approx(norm.sf(2.5 / 50 / floor.spread()) if within else 0.0)
    graded = NoiseFloor(n=50, rate=0.5, within=within, between=between, step=0.0)
    assert graded.red(0.058) == pytest.approx(norm.sf(0.058 / graded.spread()) if within else 0.0)


@pytest.mark.parametrize(
    ("place", "score", "within", "spread", "step"),
    [
        ([0, 0], [0.0, 1.0], 0.5, 0.0, 1.0),
        ([0, 0, 1], [0.0, 1.0, 1.0], 0.5, 0.125, 1.0),
        ([0, 0, 1, 1], [0.0, 0.5, 1.0, 1.0], 0.0625, 0.28125, 0.0),
        ([0, 0, 1, 1], [0.0, 0.0, 1.0, 1.0], 0.0, 0.5, 1.0),
    ],
)
def test_noise_is_read_of_items_with_several_runs(
    place: list[int], score: list[float], within: float, spread: float, step: float
) -> None:
    found = NoiseFloor.of(np.array(place), np.array(score))
    runs = np.bincount(place)
    assert (found.n, found.within, found.step) == (len(runs), within, step)
    assert found.between == pytest.approx(max(0.0, spread - within * (1 / runs).mean()))
    assert found.rate == pytest.approx(np.mean([np.array(score)[np.array(place) == one].mean() for one in set(place)]))
