"""Guards of comparisons with a baseline: several outcomes a sample, its parts and groups, and scores at the border."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import norm

from robustest.decisions import BaselineRule, ShareRule, Terms, baseline
from robustest.decisions.baseline import OutcomeChange, ScoreChange, chance_of_swaps, mcnemar, sign_flip

TERMS = Terms(scope="set", alpha=0.02, fail_alpha=0.01)
CELLS = ("fog/1", "fog/2", "snow/1", "snow/2")
PARTS = (("fog", CELLS[:2]), ("snow", CELLS[2:]))


def flips(change: NDArray[Any]) -> float:
    """The share of all signs of the changes whose sum is as large."""
    signs = np.array(list(product((1, -1), repeat=len(change))))
    return float((signs @ np.abs(change) >= change.sum()).mean())


@pytest.mark.parametrize("largest", [17, 18, 19])
def test_the_sum_of_many_changes_is_about_normal(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    change = np.array([1] * 6 + [-1] * 3 + [3] * 2 + [-3] + [0] * 2)
    monkeypatch.setattr(baseline, "_LARGEST_EXACT", largest)
    # Of 18 in all, 12 are lost. The sum of the signed sizes has the variance 9 * 1 + 3 * 9 = 36.
    expected = norm.sf((2 * 12 - 18 - 1) / 6) if largest < 18 else flips(change[change != 0])
    assert sign_flip(change) == pytest.approx(expected, rel=1e-12)
    assert sign_flip(-change) == pytest.approx(
        norm.sf((2 * 6 - 18 - 1) / 6) if largest < 18 else flips(-change[change != 0]), rel=1e-12
    )


@pytest.mark.parametrize("parts", range(1, 15))
def test_means_of_a_few_runs_take_no_draws(parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, int]] = []

    def draws(_: object, *, alpha: float, seed: int) -> float:
        asked.append((alpha, seed))
        return 2.0

    monkeypatch.setattr(baseline, "sign_flip_by_draws", draws)
    change = np.array([1, 1, -1, 0]) / parts
    found = chance_of_swaps(change, alpha=0.03, seed=4)
    # Of the eight signs of three equal changes, four sum to one or more.
    assert found == pytest.approx(0.5 if parts <= 12 else 2.0, rel=1e-12)
    assert asked == ([] if parts <= 12 else [(0.03, 4)])
    assert chance_of_swaps(change + np.array([3e-10 / parts, 0, 0, 0]), alpha=0.03, seed=4) == found
    assert chance_of_swaps(np.array([0.5 + 1e-6, -0.25]), alpha=0.03, seed=4) == 2.0
    assert chance_of_swaps(np.zeros(0), alpha=0.03, seed=4) == 1.0


def rule(before: NDArray[np.bool_], **fields: Any) -> BaselineRule:
    given: dict[str, Any] = {"columns": CELLS, "parts": PARTS, **fields}
    return BaselineRule(
        other=ShareRule(threshold=None, at_least=True, terms=TERMS),
        has_threshold=False,
        before=before,
        tolerance=0.0,
        terms=TERMS,
        **given,
    )


def of(now: NDArray[np.bool_], order: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    return {"id": order, **{name: now[order, at] for at, name in enumerate(CELLS)}}


@pytest.mark.parametrize("ravelled", [True, False])
@pytest.mark.parametrize("together", [True, False])
def test_parts_are_compared_alone_and_all_together_if_asked(together: bool, ravelled: bool) -> None:
    random = np.random.default_rng(3)
    before, now = random.random((2, 9, 4)) < np.array([0.9, 0.6])[:, None, None]
    order = random.permutation(9)
    one = rule(before.ravel() if ravelled else before, together=together, level=0.005)
    assert one.share_before == pytest.approx(before.mean() if together else before[:, :2].mean())
    found = one.compare_groups(of(now, order))
    named = {"": slice(0, 4), "fog": slice(0, 2), "snow": slice(2, 4)}
    assert [each.name for each in found] == [name for name in named if name or together]
    for each in found:
        was, is_now = before[:, named[each.name]], now[:, named[each.name]]
        assert (each.lost, each.gained, each.n) == ((was & ~is_now).sum(), (is_now & ~was).sum(), was.size)
        drop = was.sum(1).astype(int) - is_now.sum(1)
        assert each.p_lost == pytest.approx(flips(drop))
        assert each.p_gained == pytest.approx(flips(-drop))
        assert (each.held, each.test, each.alpha) == (was.any(1).sum(), "sign-flip", 0.005)
        assert each.interval[0] <= drop.mean() / was.shape[1] <= each.interval[1]
    assert one.compare(of(now, order)) == found[0]


@pytest.mark.parametrize("level", [None, 0.004])
def test_groups_are_compared_alone_and_a_result_shows_all(level: float | None) -> None:
    before = np.array([True, True, True, False, False, True])
    now = np.array([False, True, True, True, False, False])
    groups = (("a", np.array([0, 1, 5])), ("b", np.array([2, 3, 4])))
    one = rule(before, columns=("held",), parts=(), groups=groups, level=level)
    order = np.array([3, 0, 5, 1, 4, 2])
    columns = {"id": order, "held": now[order]}
    first, second = one.compare_groups(columns)
    whole = one.compare(columns)
    counts = [(each.name, each.lost, each.gained, each.n, each.held) for each in (first, second, whole)]
    assert counts == [("a", 2, 0, 3, 3), ("b", 0, 1, 3, 1), ("", 2, 1, 6, 4)]
    for each in (first, second, whole):
        assert (each.p_lost, each.p_gained) == (mcnemar(each.lost, each.gained), mcnemar(each.gained, each.lost))
        assert (each.test, each.alpha) == ("McNemar", 0.02 if level is None else level)


# Borders


@pytest.mark.parametrize(
    ("lost", "gained", "p", "tolerance", "worse"),
    [
        (5, 0, 0.01, 0.0, True),
        (5, 0, 0.02, 0.0, True),  # at alpha
        (5, 0, 0.021, 0.0, False),
        (5, 0, 0.01, 0.25, False),  # at the tolerance
        (5, 0, 0.01, 0.24, True),
        (6, 1, 0.01, 0.25, False),
        (0, 5, 0.01, 0.0, False),
        (0, 0, 0.01, 0.0, False),
    ],
)
def test_a_loss_is_beyond_the_tolerance_and_no_chance(
    lost: int, gained: int, p: float, tolerance: float, worse: bool
) -> None:
    fields: dict[str, Any] = {"n": 20, "tolerance": tolerance, "alpha": 0.02, "interval": (0.0, 1.0)}
    one = OutcomeChange(lost=lost, gained=gained, p_lost=p, p_gained=1.0, **fields)
    other = OutcomeChange(lost=gained, gained=lost, p_lost=1.0, p_gained=p, **fields)
    assert (one.worse, one.better, other.worse, other.better) == (worse, False, False, worse)
    assert (one.details()["drop"], other.details()["drop"]) == ((lost - gained) / 20, (gained - lost) / 20)


@pytest.mark.parametrize("n", [3, 5, 6, 20])
@pytest.mark.parametrize("held", [None, 0, 4, 5, 6])
@pytest.mark.parametrize("lost", [0, 1])
def test_too_few_held_for_any_loss_to_be_shown(lost: int, held: int | None, n: int) -> None:
    one = OutcomeChange(
        lost=lost, gained=0, n=n, p_lost=0.5, p_gained=1.0, tolerance=0.0, alpha=1 / 32, interval=(0.0, 1.0), held=held
    )
    # The chance of five losses out of five is 1 / 32.
    assert one.too_few is (lost > 0 and (n if held is None else held) < 5)


MOVED = 1e-9


@pytest.mark.parametrize(
    ("fall", "tolerance", "p", "chance", "most", "said"),
    [
        # beyond, worse, too_few, unexplained
        (0.5, 0.25, 0.02, 1.0, 0.0, (True, True, False, False)),
        (0.5, 0.25, 0.03, 1.0, 0.0, (True, False, False, False)),
        (0.5, 0.25, 0.03, 0.02, 0.0, (True, False, False, True)),
        (0.5, 0.25, 0.03, 0.03, 0.0, (True, False, False, False)),
        (0.5, 0.25, 0.02, 0.02, 0.0, (True, True, False, False)),
        (0.5, 0.25, 0.03, 1.0, 0.02, (True, False, False, False)),
        (0.5, 0.25, 0.03, 1.0, 0.03, (True, False, True, False)),
        (MOVED, 0.0, 0.0, 0.0, 1.0, (False, False, False, False)),
        (2 * MOVED, 0.0, 0.0, 0.0, 1.0, (True, True, True, False)),
        (0.25 + MOVED, 0.25, 0.0, 0.0, 1.0, (False, False, False, False)),
        (-0.5, 0.25, 0.0, 0.0, 1.0, (False, False, False, False)),
    ],
)
def test_a_fall_of_scores_is_beyond_the_tolerance_and_no_chance(  # noqa: PLR0917
    fall: float, tolerance: float, p: float, chance: float, most: float, said: tuple[bool, ...]
) -> None:
    def change(sign: int) -> ScoreChange:
        return ScoreChange(
            fall=sign * fall,
            lost=1,
            gained=1,
            n=4,
            p_lost=p if sign > 0 else 1.0,
            p_gained=p if sign < 0 else 1.0,
            chance=chance,
            most=most,
            tolerance=tolerance,
            alpha=0.02,
            interval=(0.0, 1.0),
        )

    one = change(1)
    assert (one.beyond, one.worse, one.too_few, one.unexplained) == said
    assert (one.better, change(-1).better) == (False, said[1])
