"""Items that are asked one after the other: errors where reading stops, and as few items as that allows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest.decisions import ShareRule, Terms
from robustest.decisions.mean import ItemsRule
from robustest.decisions.rule import Decision
from robustest.results import Verdict


def terms(scope: str = "population", alpha: float = 0.05) -> Terms:
    return Terms(scope=scope, alpha=alpha, fail_alpha=alpha)


def read(score: NDArray[np.float64], threshold: float, *, single: bool, scope: str = "population") -> Decision:
    """The decision where reading stops at the first verdict."""
    rule, columns = ItemsRule(threshold=threshold, terms=terms(scope), single=single), columns_of(score)
    early = rule.settle(columns, len(score))
    if early is None:
        return rule.decide(columns, len(score), None)
    return rule.decide({name: one[: early.after] for name, one in columns.items()}, len(score), early)


def columns_of(score: NDArray[np.float64]) -> dict[str, NDArray[np.float64] | NDArray[np.bool_]]:
    return {"score": score, "held": score >= 0.5}


@pytest.mark.parametrize(("single", "runs"), [(True, 1), (False, 3)])
def test_both_verdicts_err_with_alpha_wherever_reading_stops(single: bool, runs: int) -> None:
    random, draws = np.random.default_rng(1), 120
    found = [read((random.random((120, runs)) < 0.8).mean(1), 0.8, single=single).verdict for _ in range(draws)]
    allowed = draws * 0.05 + 3 * (draws * 0.05 * 0.95) ** 0.5
    assert found.count(Verdict.PASSED) <= allowed
    assert found.count(Verdict.FAILED) <= allowed


def test_a_part_of_the_items_has_no_exact_bound() -> None:
    """A budget may end where the answers look best: the bound of a fixed sample would not hold there."""
    score = np.ones(400)
    rule = ItemsRule(threshold=0.95, terms=terms(alpha=0.01), single=True)
    part = {name: one[:95] for name, one in columns_of(score).items()}
    fixed = ShareRule(threshold=0.95, at_least=True, terms=terms(alpha=0.01))
    assert fixed.decide({"held": part["held"]}, 95, None).verdict is Verdict.PASSED
    assert rule.settle(part, 400) is None
    found = rule.decide(part, 400, None)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.estimate is None
    assert "95 of 400 items asked" in found.rule
    assert found.interval[0] < 0.95 < found.interval[1]


def test_the_last_look_has_what_early_looks_leave_of_alpha() -> None:
    rule = ItemsRule(threshold=0.8, terms=terms(alpha=0.04), single=True)
    columns = columns_of(np.arange(200) % 10 != 0)
    exact = ShareRule(threshold=0.8, at_least=True, terms=terms(alpha=0.03)).decide(columns, 200, None)
    assert rule.decide(columns, 200, None).interval == exact.interval
    unclaimed = ItemsRule(threshold=None, terms=terms(alpha=0.04), single=True)
    assert unclaimed.decide(columns, 200, None).interval[0] > exact.interval[0]


@pytest.mark.parametrize("single", [True, False])
def test_a_set_is_decided_by_its_own_rules(single: bool) -> None:
    score = np.ones(100)
    found = read(score, 0.5, single=single, scope="set")
    assert found.verdict is Verdict.PASSED
    assert found.estimate is None
    rule = ItemsRule(threshold=0.9, terms=terms("set"), single=single)
    assert rule.decide(columns_of(np.arange(100) >= 10), 100, None).verdict is Verdict.PASSED
    assert rule.decide(columns_of(np.arange(100) >= 11), 100, None).verdict is Verdict.FAILED
    assert rule.doomed(11, 100) is single
    assert rule.for_part(terms()).terms.scope == "population"
