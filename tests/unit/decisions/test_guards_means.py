"""Guards of rules on means: borders of exact sets, populations, signs and scales, and what is left unread."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest import ConfigError, DataError, Verdict
from robustest.decisions import DrawsRule, MeanRule, Terms
from robustest.decisions.bets import MANY, betting_interval
from robustest.decisions.corruption_error import WeightedRule
from robustest.decisions.mean import ScoreRule
from robustest.decisions.mean_iou import MeanIoURule
from robustest.decisions.rate import rate_interval

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.05)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.05)

P, F, Q = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE


def values(*parts: tuple[float, int]) -> NDArray[np.float64]:
    return np.concatenate([np.full(n, value) for value, n in parts])


@pytest.mark.parametrize(("threshold", "verdict"), [(0.25, P), (0.2499, F), (0.0, F), (None, Q)])
def test_a_set_is_judged_by_its_mean(threshold: float | None, verdict: Verdict) -> None:
    found = MeanRule(threshold=threshold, terms=SET).decide({"value": values((0.5, 5), (0.0, 5))}, 10, None)
    assert (found.verdict, found.estimate, found.at_alpha) == (verdict, 0.25, False)
    assert found.rule == ("no threshold given" if threshold is None else "certain: exact on this set")


@pytest.mark.parametrize(("threshold", "verdict"), [(0.7, P), (0.5, Q), (0.3, F), (None, Q)])
def test_a_population_is_judged_by_the_interval(threshold: float | None, verdict: Verdict) -> None:
    value = values((1.0, 100), (0.0, 100))[np.random.default_rng(0).permutation(200)]
    found = MeanRule(threshold=threshold, terms=POPULATION).decide({"value": value}, 200, None)
    assert (found.verdict, found.estimate) == (verdict, 0.5)
    assert found.at_alpha is (threshold is not None)
    assert found.interval == pytest.approx(betting_interval(value, MANY, 0.05))
    assert MeanRule(threshold=0.9, terms=POPULATION).settle({"value": value[:199]}, 200) is None


@pytest.mark.parametrize(
    ("value", "threshold", "n", "after", "verdict"),
    [
        (values((0.0, 9)), 0.21, 10, 8, P),
        (values((1.0, 9)), 0.19, 10, 6, F),
        (values((0.5, 9)), 0.5, 10, None, None),
        (values((0.5, 10)), 0.51, 10, 10, P),
    ],
)
def test_what_is_certain_settles_at_the_first_sample_that_makes_it_so(
    value: Any, threshold: float, n: int, after: int | None, verdict: Verdict | None
) -> None:
    """What is left may be -1 or 1: of ten zeros the mean is at most .21 once two are left."""
    certain = Terms(scope="set", alpha=1e-12, fail_alpha=1e-12)
    settled = MeanRule(threshold=threshold, terms=certain).settle({"value": value}, n)
    if after is None:
        assert settled is None
    else:
        assert settled is not None
        assert (settled.verdict, settled.after, settled.certain) == (verdict, after, True)
    assert MeanRule(threshold=None, terms=certain).settle({"value": value}, n) is None
    assert not MeanRule(threshold=threshold, terms=certain).doomed(n, n)


def test_a_pass_and_a_failure_have_their_own_alpha() -> None:
    low = values((-0.5, 60))
    rule = {"threshold": 0.0}
    sure = MeanRule(**rule, terms=Terms(scope="set", alpha=0.05, fail_alpha=1e-9)).settle({"value": low}, 2000)
    careful = MeanRule(**rule, terms=Terms(scope="set", alpha=1e-9, fail_alpha=0.05)).settle({"value": low}, 2000)
    assert sure is not None
    assert (sure.verdict, sure.certain, sure.alpha) == (P, False, 0.05)
    assert careful is None or careful.after > sure.after
    failed = MeanRule(**rule, terms=Terms(scope="set", alpha=1e-9, fail_alpha=0.05)).settle({"value": -low}, 2000)
    assert failed is not None
    assert (failed.verdict, failed.alpha, failed.after) == (F, 0.05, sure.after)


@pytest.mark.parametrize(("sign", "scale"), [(1, 1.0), (-1, 1.0), (1, 3.0), (-1, 4.0)])
def test_what_is_shown_is_turned_and_scaled_back(sign: int, scale: float) -> None:
    value = sign * values((0.5, 30), (0.25, 30))[np.random.default_rng(1).permutation(60)]
    rule = MeanRule(threshold=sign * 0.4, terms=SET, sign=sign, scale=scale)
    found = rule.decide({"value": value}, 60, None)
    low, high = betting_interval(value, MANY, 0.05)
    ends = sorted((sign * scale * max(-1.0, low), sign * scale * min(1.0, high)))
    assert found.estimate == pytest.approx(scale * 0.375)
    assert found.interval == pytest.approx(tuple(ends))
    assert found.verdict is (P if sign > 0 else F)
    part = rule.decide({"value": value[:30]}, 60, None)
    assert part.estimate is None
    assert part.interval != found.interval
    drawn = MeanRule(threshold=sign * 0.1, terms=POPULATION, sign=sign, scale=scale)
    assert drawn.decide({"value": value[:55]}, 60, None).verdict is (F if sign > 0 else P)


def test_an_interval_stays_between_minus_one_and_one() -> None:
    for value in (values((1.0, 3)), values((-1.0, 3))):
        low, high = MeanRule(threshold=None, terms=SET).decide({"value": value}, 3, None).interval
        assert -1 <= low < high <= 1


# Scores


@pytest.mark.parametrize(("threshold", "verdict"), [(0.6, P), (0.601, F), (None, Q)])
def test_scores_are_at_least_their_threshold(threshold: float | None, verdict: Verdict) -> None:
    seen = {"score": values((0.8, 10), (0.4, 10))}
    rule = ScoreRule(threshold=threshold, terms=SET)
    found = rule.decide(seen, 20, None)
    assert found.verdict is verdict
    assert found.estimate == pytest.approx(0.6)
    low, high = betting_interval(1 - 2 * seen["score"], MANY, 0.05)
    assert found.interval == pytest.approx(((1 - high) / 2, (1 - low) / 2))
    assert rule.decide({"score": seen["score"][:15]}, 20, None).estimate is None
    assert not rule.doomed(20, 20)


def counts(*rows: tuple[int, ...]) -> dict[str, NDArray[Any]]:
    """Intersections, then unions, and pixels of each image."""
    table = np.array(rows)
    return {"counts": table, "pixels": np.full(len(table), 10)}


def rule_of(threshold: float | None) -> MeanIoURule:
    return MeanIoURule(threshold=threshold, terms=SET, seed=0)


@pytest.mark.parametrize(("threshold", "verdict"), [(0.5, P), (0.5001, F), (None, Q)])
def test_the_mean_iou_of_a_set_is_exact(threshold: float | None, verdict: Verdict) -> None:
    seen = counts((4, 2, 8, 4), (2, 1, 4, 2))  # 6 of 12, 3 of 6
    found = rule_of(threshold).decide(seen, 2, None)
    assert (found.verdict, found.estimate) == (verdict, 0.5)
    assert found.rule.endswith("; the interval is a bootstrap")
    assert found.interval[0] <= 0.5 <= found.interval[1]
    settled = rule_of(threshold).settle(seen, 2)
    assert (None if settled is None else settled.verdict) is (F if verdict is F else None), "a tie is left to the end"


def test_what_is_left_may_be_all_wrong_or_all_right() -> None:
    """Two classes, 90 of 100 pixels right in each, one image of ten pixels left: .9 becomes 90/110 or 100/110."""
    seen = counts((90, 90, 100, 100))
    for threshold, verdict in ((0.8181, P), (0.8182, None), (0.909, None), (0.9091, F)):
        settled = rule_of(threshold).settle(seen, 2)
        assert (None if settled is None else settled.verdict) is verdict
        if settled is not None:
            assert (settled.after, settled.certain) == (1, True)
    budget = rule_of(0.9).decide(seen, 2, None)
    assert budget.interval == pytest.approx((90 / 110, 100 / 110))
    assert (budget.verdict, budget.estimate) == (Q, None)
    absent = counts((90, 0, 100, 0))
    low, high = rule_of(0.9).decide(absent, 2, None).interval
    assert (low, high) == pytest.approx((90 / 110 / 2, (100 / 110 + 1) / 2))
    assert not rule_of(0.9).doomed(2, 2)


# Weighted sums


def test_a_weighted_sum_is_claimed_in_its_own_scale() -> None:
    weights = {"a": 2.0, "b": 6.0}
    seen = {"a": values((1.0, 10)), "b": values((0.5, 10))}
    for threshold, verdict in ((5.0, P), (4.999, F), (None, Q)):
        rule = WeightedRule.of("max_cost", threshold, weights, SET)
        found = rule.decide(seen, 10, None)
        assert (found.verdict, found.estimate) == (verdict, pytest.approx(5.0))
        assert not rule.doomed(10, 10)
    assert sum(rule.weights.values()) == pytest.approx(1.0)
    settled = WeightedRule.of("max_cost", 7.9, weights, SET).settle({"a": values((0.0, 9)), "b": values((0.0, 9))}, 10)
    assert settled is not None
    assert settled.verdict is P
    for wrong in (8.0, 9.0, 0.0, -1.0):
        with pytest.raises(ConfigError, match="max_cost"):
            WeightedRule.of("max_cost", wrong, weights, SET)


# Draws, which have no set


def draws(threshold: float | None, *, at_least: bool = True, low: float = -2.0, high: float = 6.0) -> DrawsRule:
    return DrawsRule(threshold=threshold, at_least=at_least, terms=POPULATION, column="x", low=low, high=high)


def test_draws_are_judged_in_their_own_range() -> None:
    """A mean of 4 between -2 and 6: at least 2 and at most 5 are clear, and so are their opposites."""
    seen = {"x": np.tile([3.0, 5.0], 200)}
    for at_least, threshold, verdict in ((True, 2.0, P), (True, 5.0, F), (False, 5.0, P), (False, 2.0, F)):
        rule = draws(threshold, at_least=at_least)
        settled = rule.settle(seen, 400)
        assert settled is not None
        assert (settled.verdict, settled.certain) == (verdict, False)
        found = rule.decide(seen, 400, None)
        assert (found.verdict, found.estimate, found.at_alpha) == (verdict, 4.0, True)
        assert 3.0 < found.interval[0] < 4.0 < found.interval[1] < 5.0
        assert found.rule == f"alpha = 0.05 after {settled.after} of 400"
    assert rule.decide({"x": seen["x"][:300]}, 400, None).estimate is None
    assert not rule.doomed(400, 400)


def test_draws_near_the_threshold_settle_nothing() -> None:
    seen = {"x": np.tile([3.0, 5.0], 20)}
    for at_least in (True, False):
        found = draws(4.0, at_least=at_least).decide(seen, 100, None)
        assert (found.verdict, found.estimate, found.at_alpha) == (Q, None, True)
        assert found.rule == "alpha = 0.05 a side, 40 of 100 drawn"
    nothing = draws(None).decide(seen, 40, None)
    assert (nothing.verdict, nothing.estimate, nothing.rule, nothing.at_alpha) == (Q, 4.0, "no threshold given", False)
    assert draws(None).settle(seen, 40) is None


@pytest.mark.parametrize("value", [-2.001, 6.001, float("nan"), float("inf")])
def test_a_draw_outside_the_range_is_an_error_and_one_at_its_edge_is_none(value: float) -> None:
    with pytest.raises(DataError, match=r"draws in the range -2\.\.6"):
        draws(2.0).decide({"x": np.array([1.0, value])}, 2, None)
    assert draws(None).decide({"x": np.array([-2.0, 6.0])}, 2, None).estimate == 2.0


def test_a_range_and_a_threshold_inside_it_are_needed() -> None:
    for low, high in ((1.0, 1.0), (2.0, 1.0)):
        with pytest.raises(ConfigError, match="low < high"):
            draws(None, low=low, high=high)
    for threshold in (-2.1, 6.1):
        with pytest.raises(ConfigError, match="a threshold in the range"):
            draws(threshold)
    assert draws(-2.0).threshold == -2.0
    assert draws(6.0).threshold == 6.0


# Rates


def test_a_rate_turned_round_has_its_interval_turned_round() -> None:
    """Of twenty samples one more or less would show."""
    random = np.random.default_rng(0)
    counts = random.random(20) < 0.8
    event = random.integers(-1, 2, 20) * counts
    for n in (40, 200):
        low, high = rate_interval({"event": event, "counts": counts}, n, 0.2)
        turned = rate_interval({"event": -event, "counts": counts}, n, 0.2)
        assert turned == pytest.approx((-high, -low), abs=1e-3)
        assert -1 < low < high < 1


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("threshold", "verdict"), [(0.2, P), (-0.2, Q), (-0.6, F), (None, Q)])
def test_a_part_of_a_population_is_judged_on_the_side_of_the_claim(
    sign: int, threshold: float | None, verdict: Verdict
) -> None:
    """A mean of -.2 in the column is shown as .2 where the column is negated; the claim is the same."""
    value = values((-0.3, 150), (-0.1, 150))[np.random.default_rng(0).permutation(300)]
    found = MeanRule(threshold=threshold, terms=POPULATION, sign=sign).decide({"value": value}, 1000, None)
    assert found.verdict is verdict
    assert found.interval[0] < sign * -0.2 < found.interval[1]
    assert found.estimate is None
