"""A baseline of several outcomes a sample: corruptions, and what each of them lost."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robustest.decisions import BaselineRule, ShareRule, Terms
from robustest.results import Verdict

TERMS = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
CELLS = ("fog/1", "fog/2", "snow/1", "snow/2")
N = 200


def verdict(before: NDArray[np.bool_], now: NDArray[np.bool_]) -> tuple[Verdict, str]:
    rule = BaselineRule(
        other=ShareRule(threshold=None, at_least=True, terms=TERMS),
        has_threshold=False,
        before=before.ravel(),
        tolerance=0.0,
        terms=TERMS,
        columns=CELLS,
        parts=(("fog", CELLS[:2]), ("snow", CELLS[2:])),
        level=TERMS.alpha / 3,
    )
    order = np.random.default_rng(0).permutation(N)
    columns = {name: now[order, at] for at, name in enumerate(CELLS)}
    columns |= {"id": order, "held": 2 * now[order].sum(1) >= len(CELLS)}
    decision = rule.decide(columns, N, None)
    return decision.verdict, decision.rule


def test_what_most_cells_hide_is_found() -> None:
    """Every sample is still right in half of its cells, which is what counts as its outcome; but one cell is lost."""
    before = np.ones((N, 4), dtype=bool)
    now = before.copy()
    now[:, 1] = False
    assert verdict(before, before)[0] is Verdict.PASSED
    found, rule = verdict(before, now)
    assert found is Verdict.FAILED
    assert "'fog'" in rule
    assert "in 'fog'" in rule


def test_one_corruption_does_not_make_up_for_another() -> None:
    before = np.repeat([[True, True, False, False]], N, 0)
    found, rule = verdict(before, ~before)
    assert found is Verdict.FAILED
    assert "'fog'" in rule
    assert "'snow'" not in rule


def test_as_many_changes_either_way_are_no_fall() -> None:
    before = np.random.default_rng(1).random((N, 4)) < 0.5
    now = before.copy()
    for cell in range(4):  # as many lost as gained in each cell
        lost, gained = np.flatnonzero(before[:, cell])[:5], np.flatnonzero(~before[:, cell])[:5]
        now[lost, cell], now[gained, cell] = False, True
    assert verdict(before, now)[0] is Verdict.PASSED
    now[lost[0], 3] = False
    now[gained[0], 3] = False
    found, rule = verdict(before, now)
    assert found is Verdict.FAILED
    assert "'snow'" in rule
    assert "'fog'" not in rule
