"""Early verdicts on a fall: bets that no order of draws lets win while the claim is true, and what they rule out."""

from __future__ import annotations

import math
from collections import defaultdict
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom

from robustest import Verdict
from robustest.decisions.bets import betting_interval, capital
from robustest.decisions.drop import settle_drop
from robustest.decisions.rule import EarlyVerdict

Ints = NDArray[np.int64]

alphas = st.floats(1e-4, 0.4)
short = st.lists(st.sampled_from([-1, 0, 1]), min_size=1, max_size=60).map(np.array)


def population(lost: int, gained: int, n: int) -> Ints:
    return np.repeat([1, -1, 0], [lost, gained, n - lost - gained])


@st.composite
def long(draw: st.DrawFn) -> Ints:
    """Hundreds of changes in random order, enough for bets to be won before all is certain."""
    n = draw(st.integers(100, 300))
    lost = draw(st.integers(0, n))
    gained = draw(st.integers(0, n - lost))
    order = np.random.default_rng(draw(st.integers(0, 2**32))).permutation(n)
    return population(lost, gained, n)[order]


changes = short | long()


def orders(lost: int, gained: int, n: int) -> Any:
    """Every distinct order, all equally likely."""
    for where in combinations(range(n), lost + gained):
        for up in combinations(where, lost):
            change = np.zeros(n, dtype=np.int64)
            change[list(where)] = -1
            change[list(up)] = 1
            yield change


def one_by_one(change: Ints, n: int, most: int, pass_alpha: float, fail_alpha: float) -> EarlyVerdict | None:
    """What `settle_drop` says, by looking after every change."""
    smaller, larger = capital(change, n, most + 1, above=False), capital(change, n, most, above=True)
    total = 0
    for after, one in enumerate(change.tolist(), 1):
        total += one
        left = n - after
        if total + left <= most or smaller[after - 1] >= -math.log(pass_alpha):
            return EarlyVerdict(Verdict.PASSED, after, certain=total + left <= most, alpha=pass_alpha)
        if total - left > most or larger[after - 1] >= -math.log(fail_alpha):
            return EarlyVerdict(Verdict.FAILED, after, certain=total - left > most, alpha=fail_alpha)
    return None


@given(changes, st.integers(0, 300), st.data())
def test_it_settles_where_looking_one_by_one_does(change: Ints, read: int, data: st.DataObject) -> None:
    n, part = len(change), change[:read]
    most = data.draw(st.integers(-n, n - 1))
    pass_alpha, fail_alpha = data.draw(alphas), data.draw(alphas)
    want = one_by_one(part, n, most, pass_alpha, fail_alpha)
    assert settle_drop(part, n, most, pass_alpha=pass_alpha, fail_alpha=fail_alpha) == want


@pytest.mark.parametrize("lost", [10, 90])
def test_likely_verdicts_come_where_looking_one_by_one_says(lost: int) -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        change = generator.permutation(population(lost, 10, 300))
        settled = settle_drop(change, 300, 40, pass_alpha=0.02, fail_alpha=0.01)
        assert settled is not None
        assert settled == one_by_one(change, 300, 40, 0.02, 0.01)


@given(changes, st.integers(0, 300), st.data())
def test_no_bet_knows_what_comes_later(change: Ints, read: int, data: st.DataObject) -> None:
    n = len(change)
    null, above = data.draw(st.integers(-n, n)), data.draw(st.booleans())
    whole, part = (capital(drawn, n, null, above=above) for drawn in (change, change[:read]))
    np.testing.assert_allclose(whole[:read], part)


@given(changes, st.data())
def test_certain_verdicts_are_never_wrong_and_there_is_always_one_at_the_end(change: Ints, data: st.DataObject) -> None:
    n = len(change)
    most = data.draw(st.integers(-n, n))
    truth = Verdict.PASSED if change.sum() <= most else Verdict.FAILED
    settled = settle_drop(change, n, most, pass_alpha=data.draw(alphas), fail_alpha=data.draw(alphas))
    assert settled is not None
    if settled.certain:
        assert settled.verdict is truth
    sure = settle_drop(change, n, most, pass_alpha=1e-300, fail_alpha=1e-300)
    assert sure is not None
    assert (sure.verdict, sure.certain) == (truth, True)


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("above", [True, False])
def test_no_bet_wins_on_average_while_the_claim_against_it_is_true(n: int, above: bool) -> None:
    """Over every order of every small set, after every beginning that there can be: the capital does not rise."""
    for lost in range(n + 1):
        for gained in range(n + 1 - lost):
            every = list(orders(lost, gained, n))
            for null in range(lost - gained, n + 1) if above else range(-n, lost - gained + 1):
                after: dict[tuple[int, ...], list[tuple[float, float]]] = defaultdict(list)
                for change in every:
                    worth = np.exp(np.concatenate([[0.0], capital(change, n, null, above=above)]))
                    for read in range(n):
                        after[tuple(change[:read])].append((worth[read], worth[read + 1]))
                for pairs in after.values():
                    now, then = np.array(pairs).T
                    assert now == pytest.approx(now[0])
                    assert then.mean() <= now[0] * (1 + 1e-9)


@given(changes, st.data())
def test_no_draw_takes_more_than_nine_tenths_of_the_capital_or_breaks_it(change: Ints, data: st.DataObject) -> None:
    """The largest stake is nine tenths of what is surely not lost; a null that is still possible never ruins."""
    n = len(change)
    above = data.draw(st.booleans())
    null = data.draw(st.integers(-n, n))
    logs = capital(change, n, null, above=above)
    assert not np.isnan(logs).any()
    before = np.concatenate([[0], np.cumsum(change)[:-1]])
    left = n - np.arange(n)
    draws = int(np.logical_and.accumulate(np.abs(null - before) <= left).sum())
    assert (np.diff(logs[:draws], prepend=0.0) >= math.log(0.1) - 1e-9).all()


@given(changes, st.data())
def test_the_other_side_is_the_same_seen_from_there(change: Ints, data: st.DataObject) -> None:
    n = len(change)
    null = data.draw(st.integers(-n, n))
    one, other = capital(change, n, null, above=True), capital(-change, n, -null, above=False)
    np.testing.assert_array_equal(one, other)


@given(changes, st.data())
def test_a_null_that_has_become_impossible_is_ruled_out_for_good(change: Ints, data: st.DataObject) -> None:
    n = len(change)
    null = data.draw(st.integers(-n, n))
    before = np.concatenate([[0], np.cumsum(change)[:-1]])
    gone = np.maximum.accumulate(before - (n - np.arange(n)) > null)  # the sum will surely be larger
    assert (capital(change, n, null, above=True)[gone] == math.inf).all()


def simulated(everyone: Ints, most: int, *, runs: int, alpha: float) -> list[EarlyVerdict]:
    generator = np.random.default_rng(1)
    out = []
    for _ in range(runs):
        change = generator.permutation(everyone)
        settled = settle_drop(change, len(change), most, pass_alpha=alpha, fail_alpha=alpha)
        assert settled is not None
        out.append(settled)
    return out


@pytest.mark.parametrize(("lost", "gained"), [(51, 10), (50, 10), (41, 0), (40, 0), (120, 79), (120, 80)])
def test_verdicts_are_wrong_no_oftener_than_they_say_at_the_worst_point(lost: int, gained: int) -> None:
    """A fall of 40 of 400 is claimed at most: 40 must not fail, 41 must not pass."""
    n, most, runs, alpha = 400, 40, 1000, 0.05
    truth = Verdict.PASSED if lost - gained <= most else Verdict.FAILED
    found = simulated(population(lost, gained, n), most, runs=runs, alpha=alpha)
    wrong = sum(settled.verdict is not truth for settled in found)
    assert wrong <= binom.ppf(1 - 1e-4, runs, alpha)


def test_clear_falls_are_settled_early() -> None:
    for lost, verdict in ((0, Verdict.PASSED), (200, Verdict.FAILED)):
        found = simulated(population(lost, 0, 1000), 100, runs=20, alpha=0.01)
        assert {s.verdict for s in found} == {verdict}
        assert np.mean([s.after for s in found]) < 150


@given(short, st.integers(1, 60), alphas)
def test_the_interval_is_what_is_left_when_every_sum_is_tried(change: Ints, read: int, alpha: float) -> None:
    """The search by halves finds the same ends: what is ruled out has no gaps."""
    n, part = len(change), change[:read]
    limit = -math.log(alpha)
    total, left = int(part.sum()), n - len(part)
    possible = range(total - left, total + left + 1)
    low = [k for k in possible if not capital(part, n, k, above=True).max() >= limit]
    high = [k for k in possible if not capital(part, n, k, above=False).max() >= limit]
    ends = (min(low, default=total + left) / n, max(high, default=total - left) / n)
    assert betting_interval(part, n, alpha) == ends


@given(changes, st.data())
def test_the_interval_agrees_with_the_verdict(change: Ints, data: st.DataObject) -> None:
    n = len(change)
    most = data.draw(st.integers(-n, n - 1) | st.integers(-n // 10, n // 4))
    pass_alpha, fail_alpha = data.draw(alphas), data.draw(alphas)
    settled = settle_drop(change, n, most, pass_alpha=pass_alpha, fail_alpha=fail_alpha)
    assert settled is not None
    low, high = betting_interval(change[: settled.after], n, max(pass_alpha, fail_alpha))
    if settled.verdict is Verdict.PASSED:
        assert high <= most / n
    else:
        assert low > most / n


@given(changes, st.data())
def test_what_was_ruled_out_once_stays_so_unless_it_is_certain_after_all(change: Ints, data: st.DataObject) -> None:
    n = len(change)
    first = data.draw(st.integers(1, n))
    second = data.draw(st.integers(first, n))
    before, after = (betting_interval(change[:read], n, 0.2) for read in (first, second))
    total, left = int(change[:second].sum()), n - second
    narrower = after[0] >= min(before[0], (total + left) / n) and after[1] <= max(before[1], (total - left) / n)
    assert narrower or bets_contradict(change[:second], n, 0.2)


def bets_contradict(part: Ints, n: int, alpha: float) -> bool:
    """Return True if the two bets leave no sum: the interval is then what lies between their ends."""
    total, left, limit = int(part.sum()), n - len(part), -np.log(alpha)
    possible = range(total - left, total + left + 1)
    low = [k for k in possible if not capital(part, n, k, above=True).max() >= limit]
    high = [k for k in possible if not capital(part, n, k, above=False).max() >= limit]
    return not low or not high or min(low) > max(high)


@given(changes)
def test_at_the_end_the_interval_is_the_change_itself_unless_the_bets_erred(change: Ints) -> None:
    n = len(change)
    assert betting_interval(change, n, 1e-300) == (change.sum() / n, change.sum() / n)


@pytest.mark.parametrize(("lost", "gained"), [(40, 0), (30, 10), (0, 0), (60, 70)])
def test_neither_end_is_beyond_the_truth_at_any_time_oftener_than_alpha(lost: int, gained: int) -> None:
    """An interval holds what no bet ruled out at any time so far, so that the last one tells of all."""
    n, runs, alpha = 200, 400, 0.1
    generator = np.random.default_rng(2)
    truth, missed = (lost - gained) / n, np.zeros(2, dtype=int)
    for _ in range(runs):
        change = generator.permutation(population(lost, gained, n))[: n - 1]
        low, high = betting_interval(change, n, alpha)
        missed += np.array([low > truth, high < truth])
    assert (missed <= binom.ppf(1 - 1e-4, runs, alpha)).all()
