"""Early verdicts on a share: the same as looking one by one, wrong no oftener than they say, certain when they say."""

from __future__ import annotations

import math
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.stats import binom

from robustest import Verdict
from robustest.decisions.rule import EarlyVerdict
from robustest.decisions.share import OFFSETS, evidence, settle_share

sys.path.insert(0, str(Path(__file__).parent))
from orders import Bools, alphas, streams, wrong_rate


def mixture(right: int, wrong: int, n: int, null: int, *, above: bool) -> Fraction | None:
    """The mean likelihood ratio, in exact fractions; None where only the null is impossible."""

    def chance(k: int) -> int:
        return math.perm(k, right) * math.perm(n - k, wrong)

    steps = [max(1, round(offset * n)) for offset in OFFSETS]
    others = [min(n, null + step) if above else max(0, null - step) for step in steps]
    total = sum(chance(k) for k in others)
    if chance(null) == 0:
        return None if total else Fraction(0)
    return Fraction(total, chance(null) * len(OFFSETS))


def one_by_one(held: Bools, n: int, need: int, pass_alpha: float, fail_alpha: float) -> EarlyVerdict | None:
    """What `settle` says, by looking after every outcome, in exact fractions."""
    right = wrong = 0
    for after, outcome in enumerate(held.tolist(), 1):
        right, wrong = right + outcome, wrong + (not outcome)
        if right >= need:
            return EarlyVerdict(Verdict.PASSED, after, certain=True, alpha=pass_alpha)
        if wrong > n - need:
            return EarlyVerdict(Verdict.FAILED, after, certain=True, alpha=fail_alpha)
        sides = ((Verdict.PASSED, need - 1, True, pass_alpha), (Verdict.FAILED, need, False, fail_alpha))
        for verdict, null, above, alpha in sides:
            value = mixture(right, wrong, n, null, above=above)
            assert value is not None  # a null is impossible only where its opposite is certain
            assume(abs(value * Fraction(alpha) - 1) > 1e-9)  # rounding may decide what is as near as that
            if value >= 1 / Fraction(alpha):
                return EarlyVerdict(verdict, after, certain=False, alpha=alpha)
    return None


@given(streams(), st.integers(0, 60), alphas, alphas)
def test_it_settles_where_looking_one_by_one_does(
    stream: tuple[Bools, int, int], read: int, pass_alpha: float, fail_alpha: float
) -> None:
    held, n, need = stream
    options = {"pass_alpha": pass_alpha, "fail_alpha": fail_alpha}
    assert settle_share(held[:read], n, need, **options) == one_by_one(held[:read], n, need, **options)


@given(streams(), alphas, alphas)
def test_certain_verdicts_are_never_wrong_and_there_is_always_one_at_the_end(
    stream: tuple[Bools, int, int], pass_alpha: float, fail_alpha: float
) -> None:
    held, n, need = stream
    truth = Verdict.PASSED if held.sum() >= need else Verdict.FAILED
    settled = settle_share(held, n, need, pass_alpha=pass_alpha, fail_alpha=fail_alpha)
    assert settled is not None
    if settled.certain:
        assert settled.verdict is truth
    sure = settle_share(held, n, need, pass_alpha=1e-300, fail_alpha=1e-300)
    assert sure is not None
    assert (sure.verdict, sure.certain) == (truth, True)


@given(streams(), alphas, alphas)
def test_what_is_read_later_does_not_move_the_point(
    stream: tuple[Bools, int, int], pass_alpha: float, fail_alpha: float
) -> None:
    held, n, need = stream
    options = {"pass_alpha": pass_alpha, "fail_alpha": fail_alpha}
    settled = settle_share(held, n, need, **options)
    assert settled is not None
    assert settle_share(held[: settled.after], n, need, **options) == settled
    assert settle_share(held[: settled.after - 1], n, need, **options) is None


def test_a_claim_of_nothing_holds_unseen() -> None:
    settled = settle_share(np.zeros(0, dtype=bool), 10, 0, pass_alpha=0.01, fail_alpha=0.02)
    assert settled == EarlyVerdict(Verdict.PASSED, 0, certain=True, alpha=0.01)


@pytest.mark.parametrize("n", [1, 2, 10, 1000])
def test_a_claim_of_all_fails_with_the_first_that_does_not_hold(n: int) -> None:
    held = np.ones(n, dtype=bool)
    held[n // 2] = False
    settled = settle_share(held, n, n, pass_alpha=1e-9, fail_alpha=1e-9)
    assert settled == EarlyVerdict(Verdict.FAILED, n // 2 + 1, certain=True, alpha=1e-9)


def test_a_smaller_error_waits_longer_on_its_own_side_alone() -> None:
    held = np.random.default_rng(0).permutation(np.arange(1000) < 600)

    def after(outcomes: Bools, pass_alpha: float, fail_alpha: float) -> int:
        settled = settle_share(outcomes, 1000, 500, pass_alpha=pass_alpha, fail_alpha=fail_alpha)
        assert settled is not None
        return settled.after

    assert after(held, 0.01, 0.01) == after(held, 0.01, 1e-9) < after(held, 1e-4, 0.01) < after(held, 1e-9, 0.01)
    assert after(~held, 0.01, 0.01) == after(~held, 1e-9, 0.01) < after(~held, 0.01, 1e-9)


@given(st.integers(1, 200), st.data())
def test_the_evidence_is_the_mean_likelihood_ratio(n: int, data: st.DataObject) -> None:
    null, read = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    right = data.draw(st.integers(0, read))
    for above in (True, False):
        want = mixture(right, read - right, n, null, above=above)
        got = float(evidence(right, read - right, n, null, above=above))
        if want is None:
            assert got == math.inf
        else:
            assert got == pytest.approx(math.log(want) if want else -math.inf, abs=1e-9)


@given(st.integers(1, 200), st.data())
def test_the_other_side_is_the_same_seen_from_there(n: int, data: st.DataObject) -> None:
    null, read = data.draw(st.integers(0, n)), data.draw(st.integers(0, n))
    right = data.draw(st.integers(0, read))
    one = float(evidence(right, read - right, n, null, above=True))
    other = float(evidence(read - right, right, n, n - null, above=False))
    assert one == pytest.approx(other, abs=1e-9)


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("n", [1, 2, 7, 18])
def test_no_stopping_rule_makes_more_than_one_of_it_while_the_claim_is_false(n: int, above: bool) -> None:
    """Whoever stops when it pays most, knowing K and all to come but the order, has 1 on average at most.

    The value of the best rule, by recursion from the last sample to the first, over every null and every K that is
    as false or falser.
    """
    for null in range(n + 1):
        with np.errstate(over="raise"):
            looks = [
                np.exp(evidence(np.arange(read + 1), read - np.arange(read + 1), n, null, above=above))
                for read in range(n + 1)
            ]
        for k in range(null + 1) if above else range(null, n + 1):
            worth = np.zeros(n + 2)
            for read in range(n, -1, -1):
                right = np.arange(read + 1)
                wrong = read - right
                real = (right <= k) & (wrong <= n - k)
                now = np.where(real, looks[read], 0.0)
                if read < n:
                    chance = np.where(real, (k - right) / (n - read), 0.0)
                    later = chance * worth[1 : read + 2] + (1 - chance) * worth[: read + 1]
                    now = np.maximum(now, later)
                worth = np.concatenate([np.where(real, now, 0.0), [0.0]])
            assert worth[0] <= 1 + 1e-9


@pytest.mark.thinned
@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("threshold", [0.02, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("n", [20, 200, 1000])
def test_verdicts_are_wrong_no_oftener_than_they_say_at_the_worst_point(n: int, threshold: float, passes: bool) -> None:
    assert wrong_rate(n, math.ceil(threshold * n), passes=passes) <= 0.01


def test_the_error_allowed_is_made_use_of() -> None:
    """A rule that never errs would say as little as one that errs too often."""
    assert wrong_rate(1000, 500, passes=True) > 0.005
    assert wrong_rate(1000, 500, passes=False) > 0.005


@pytest.mark.parametrize("level", [0.1, 0.01, 1e-3])
def test_each_side_keeps_to_its_own_error(level: float) -> None:
    for passes in (True, False):
        assert wrong_rate(100, 60, passes=passes, alpha=0.2, level=level) <= level


@pytest.mark.parametrize(("threshold", "passes"), [(0.5, True), (0.9, False)])
def test_simulated_runs_err_as_often_as_the_exact_chance_says(threshold: float, passes: bool) -> None:
    """Runs of `settle` itself, at the worst points."""
    n, runs, need = 1000, 1000, round(threshold * 1000)
    wrong = Verdict.PASSED if passes else Verdict.FAILED
    outcomes = np.arange(n) < (need - 1 if passes else need)
    generator = np.random.default_rng(0)
    count = 0
    for _ in range(runs):
        settled = settle_share(generator.permutation(outcomes), n, need, pass_alpha=0.01, fail_alpha=0.01)
        assert settled is not None
        count += settled.verdict is wrong
    low, high = binom.ppf([1e-4, 1 - 1e-4], runs, wrong_rate(n, need, passes=passes))
    assert low <= count <= high


@pytest.mark.parametrize("n", [999, 1000])
def test_the_logarithms_of_factorials_are_those_of_the_set_asked_about(n: int) -> None:
    """They are kept between calls: two sets of different sizes must not get in each other's way."""
    for size in (n, n + 7, n):
        want = math.log(mixture(3, 2, size, size // 2, above=True) or 0)
        assert float(evidence(3, 2, size, size // 2, above=True)) == pytest.approx(want, abs=1e-9)
