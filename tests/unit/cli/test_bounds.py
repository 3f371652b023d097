"""The threshold that another sample keeps: exact, and no stricter than it says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom, fisher_exact

from robustest import Verdict
from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE
from robustest.claims.robustness.universal import UNIVERSAL_PERTURBATION
from robustest.claims.shifts.shift_accuracy import SHIFT_ACCURACY
from robustest.cli.suggest import fewest, suggestion
from robustest.decisions import clopper_pearson, count_at_least, count_at_most, decide_drop, decide_share

Make = Callable[..., Any]


def broken(n: int, alpha: float) -> float:
    """The probability that a second sample has fewer than the first one's bound, in closed form, at the worst share."""
    counts = np.arange(n + 1)
    bounds = np.array([fewest(k, n, alpha) for k in counts])
    return max(float(binom.pmf(counts, n, p) @ binom.cdf(bounds - 1, n, p)) for p in np.linspace(0, 1, 41))


@pytest.mark.parametrize("n", [1, 7, 40])
@pytest.mark.parametrize("alpha", [0.01, 0.1, 0.4])
def test_another_sample_breaks_the_bound_with_probability_alpha_at_most(n: int, alpha: float) -> None:
    assert broken(n, alpha) <= alpha


def test_the_bound_is_not_wider_than_it_must_be() -> None:
    assert broken(200, 0.05) > 0.035, "discrete, so not quite 0.05"


@pytest.mark.parametrize(("held", "n"), [(0, 5), (3, 5), (20, 20), (37, 40), (11, 40)])
def test_the_bound_is_the_smallest_count_that_fishers_test_does_not_reject(held: int, n: int) -> None:
    kept = [k for k in range(n + 1) if fisher_exact([[k, n - k], [held, n - held]], "less").pvalue > 0.05]
    assert fewest(held, n, 0.05) == min(kept)


def test_the_bound_is_wider_than_that_of_the_populations_share() -> None:
    """A bound on the share itself leaves out the next sample's own chance: at alpha it is broken far more often."""
    low = clopper_pearson(860, 1000, 0.01)[0]
    assert fewest(860, 1000, 0.01) < count_at_least(low, 1000)


@pytest.mark.parametrize("held", [0, 1, 18, 30, 32])
def test_a_suggested_share_is_kept_by_what_it_was_made_of(made: Make, held: int) -> None:
    result = made([True] * held + [False] * (32 - held))
    found = suggestion(result, 0.05)
    if found.threshold is None:
        assert fewest(held, 32, 0.05) == 0
        assert "n=32" in found.why_not
        return
    assert count_at_least(found.threshold, 32) == fewest(held, 32, 0.05)
    assert found.margin == pytest.approx(held / 32 - found.threshold)
    assert not found.of_population


def test_a_population_claim_with_the_suggested_threshold_passes_on_the_next_sample(made: Make) -> None:
    result = made([True] * 180 + [False] * 20, scope="population")
    threshold = suggestion(result, 0.01).threshold
    assert threshold is not None
    worst = fewest(180, 200, 0.01)
    decided = [
        decide_share(held, 200, threshold, at_least=True, scope="population", alpha=0.01).verdict
        for held in (worst, worst - 1)
    ]
    assert decided == ["passed", "inconclusive"]


def test_what_a_claim_is_about_is_not_told_by_the_words_of_its_rule(made: Make) -> None:
    """A certified accuracy says first how many samples are proven; a rule may name the population and not be of it."""
    result = made([True] * 180 + [False] * 20, scope="population")
    proven = result.but(rule=f"proven: 170 of 200 samples cannot be broken; {result.rule}")
    assert suggestion(proven, 0.01) == suggestion(result, 0.01)
    by_set = made([True] * 180 + [False] * 20, rule=result.rule)
    assert suggestion(by_set, 0.01) != suggestion(result, 0.01)


@pytest.mark.parametrize("scope", ["set", "population"])
def test_nothing_is_suggested_where_something_else_stands_in_the_way(made: Make, scope: str) -> None:
    """About the set the number is enough, whatever its interval; about the population the interval keeps it, too."""
    result = made([True] * 180 + [False] * 20, 0.8 if scope == "population" else 0.89, scope=scope)
    open_ = result.but(verdict=Verdict.INCONCLUSIVE, rule="the control does not fail")
    assert "another one would not help" in suggestion(open_, 0.01).why_not
    unsettled = made([True] * 180 + [False] * 20, 0.89, scope="population")
    assert unsettled.verdict is Verdict.INCONCLUSIVE
    assert suggestion(unsettled, 0.01).threshold is not None


def test_a_rate_that_must_be_small_is_bounded_from_above(made: Make) -> None:
    result = made([False] * 6 + [True] * 194, 0.1, scope="set")
    rate = result.but(quantity="fooling rate", comparison="<=", estimate=6 / 200, interval=(0.01, 0.08))
    rate = UNIVERSAL_PERTURBATION.describe(rate)
    found = suggestion(rate, 0.01)
    assert found.threshold is not None
    assert count_at_most(found.threshold, 200) == 200 - fewest(194, 200, 0.01)
    assert found.margin == pytest.approx(found.threshold - 0.03)


def test_flips_towards_a_class_are_counted_among_the_others(made: Make) -> None:
    result = made([False] * 6 + [True] * 194, 0.1)
    details = {"flips": 6, "of": 150}
    rate = result.but(quantity="flip rate", comparison="<=", estimate=6 / 150, details=details)
    rate = rate.but(counts=NO_SPURIOUS_FEATURE.quantity_of("max_flip_rate").counts_of(rate))
    found = suggestion(rate, 0.01)
    assert found.threshold is not None
    assert count_at_most(found.threshold, 150) == 150 - fewest(144, 150, 0.01)


@pytest.mark.parametrize("scope", ["set", "population"])
def test_a_fall_is_bounded_by_what_may_be_lost_and_gained(made: Make, scope: str) -> None:
    n, lost, gained = 500, 30, 6
    decision = decide_drop(lost, gained, n, 0.2, scope=scope, alpha=0.01)
    drop = made([True] * 400 + [False] * 100).but(
        quantity="accuracy drop",
        comparison="<=",
        estimate=decision.estimate,
        interval=decision.interval,
        rule=decision.rule,
        scope=scope,
        details={"lost": lost, "gained": gained},
    )
    drop = SHIFT_ACCURACY.describe(drop)
    threshold = suggestion(drop, 0.01).threshold
    assert threshold is not None
    worst = (n - fewest(n - lost, n, 0.005), fewest(gained, n, 0.005))
    assert decide_drop(*worst, n, threshold, scope=scope, alpha=0.01).verdict == "passed"
    assert decide_drop(*worst, n, threshold - 0.002, scope=scope, alpha=0.01).verdict != "passed"


@pytest.mark.parametrize(("before", "able"), [(0.987, True), (0.03, False)])
def test_a_fall_that_could_not_fail_gets_one_that_can(made: Make, *, before: float, able: bool) -> None:
    """More was allowed than ever held: less settles it, as long as that is less than what held."""
    drop = made([True] * 300, 0.999).but(
        quantity="accuracy drop",
        comparison="<=",
        estimate=0.02,
        interval=(0.0, 0.05),
        verdict=Verdict.INCONCLUSIVE,
        rule="nothing could have failed it",
        details={"lost": 6, "gained": 0, "clean_accuracy": before, "health": []},
    )
    found = suggestion(SHIFT_ACCURACY.describe(drop), 0.01)
    if able:
        assert found.threshold is not None
        assert 0.02 < found.threshold < 0.1
    else:
        assert found.threshold is None
        assert "only 0.030 held before" in found.why_not


def test_a_fall_that_may_be_a_gain_needs_nothing_below_zero(made: Make) -> None:
    result = made([True] * 500).but(
        quantity="accuracy drop", comparison="<=", estimate=-0.1, details={"lost": 0, "gained": 50}
    )
    assert suggestion(SHIFT_ACCURACY.describe(result), 0.01).threshold == 0


@pytest.mark.parametrize(
    ("comparison", "interval", "threshold"), [(">=", (0.12345, 0.3), 0.123), ("<=", (0.1, 0.98765), 0.988)]
)
def test_other_values_get_the_end_of_their_interval_rounded_to_the_safe_side(
    made: Make, comparison: str, interval: tuple[float, float], threshold: float
) -> None:
    result = made([True] * 50).but(
        quantity="median perturbation", comparison=comparison, interval=interval, estimate=0.2
    )
    found = suggestion(result, 0.01)
    assert (found.threshold, found.of_population) == (threshold, True)


def test_sizes_keep_three_digits_whatever_their_unit(made: Make) -> None:
    result = made([True] * 50).but(quantity="median perturbation", interval=(0.0012349, 0.3), estimate=0.002)
    assert suggestion(result, 0.01).threshold == 0.00123


def test_counts_that_do_not_make_up_the_estimate_are_not_used(made: Make) -> None:
    result = made([True] * 30 + [False] * 10).but(estimate=0.5)
    assert suggestion(result, 0.01).of_population


def test_an_early_verdict_gets_no_threshold(early: Make) -> None:
    found = suggestion(early(64, 1000), 0.01)
    assert (found.threshold, found.why_not) == (None, "only 64 of 1000 samples were evaluated")


def test_where_a_health_check_speaks_there_is_no_threshold(made: Make) -> None:
    finding = {"name": "zero_gradient", "message": "zero", "suppressed": False}
    result = made([True] * 50)
    assert "zero_gradient" in suggestion(result.but(details={"health": [finding]}), 0.01).why_not
    suppressed = {**finding, "suppressed": True}
    assert suggestion(result.but(details={"health": [suppressed]}), 0.01).threshold is not None


def test_nothing_is_suggested_where_another_threshold_would_not_settle_it(made: Make) -> None:
    """As where no patch of a search worked: the anomaly is far below the limit, and says nothing."""
    unsettled = {"comparison": "<=", "threshold": 1.5, "estimate": 0.04, "interval": (0.04, 0.04)}
    result = made([True] * 50, **unsettled, quantity="anomaly", verdict=Verdict.INCONCLUSIVE, rule="no patch worked")
    assert suggestion(result, 0.01).threshold is None
    assert "no patch worked" in suggestion(result, 0.01).why_not
    assert suggestion(result.but(verdict=Verdict.PASSED, rule="none stands out"), 0.01).threshold == 0.04
