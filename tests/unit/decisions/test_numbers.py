"""Evidence, capitals and intervals beside slow code that follows the text of each module, with numbers of its own."""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import comb, inf, log, perm

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, binom

from robustest.decisions import bets, confidence, cues, drop, rate, share
from robustest.decisions.mean import MeanRule
from robustest.decisions.rule import EarlyVerdict, Terms
from robustest.results import Verdict

SET = Terms(scope="set", alpha=0.05, fail_alpha=0.02)
POPULATION = Terms(scope="population", alpha=0.05, fail_alpha=0.02)

# Shares: the mixture of likelihood ratios

DISTANCES = [0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.14, 0.2, 0.3]


def slow_evidence(right: int, wrong: int, n: int, null: int, *, above: bool) -> float:
    def likelihood(k: int) -> int:
        return perm(k, right) * perm(n - k, wrong) if right <= k and wrong <= n - k else 0

    base, total = likelihood(null), Fraction(0)
    for distance in DISTANCES:
        step = max(1, round(distance * n))
        total += likelihood(min(n, null + step) if above else max(0, null - step))
    if not base:
        return inf if total else -inf
    return log(total / base / 12) if total else -inf


STATES = [(0, 0, 7, 3), (4, 1, 9, 6), (1, 6, 12, 5), (30, 3, 100, 80), (3, 60, 150, 40), (90, 10, 1000, 700)]


@pytest.mark.parametrize(("right", "wrong", "n", "null"), STATES)
@pytest.mark.parametrize("above", [True, False])
def test_evidence_is_an_exact_mean_of_twelve_likelihood_ratios(
    right: int, wrong: int, n: int, null: int, above: bool
) -> None:
    found = float(share.evidence(right, wrong, n, null, above=above))
    assert found == pytest.approx(slow_evidence(right, wrong, n, null, above=above), abs=1e-8)


@pytest.mark.parametrize(("right", "wrong", "n"), [(0, 0, 5), (9, 1, 30), (2, 14, 40), (30, 0, 60), (0, 12, 12)])
@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_the_interval_of_a_set_holds_the_counts_that_no_evidence_refutes(
    right: int, wrong: int, n: int, alpha: float
) -> None:
    small = [k for k in range(n + 1) if k < right or slow_evidence(right, wrong, n, k, above=True) >= -log(alpha)]
    large = [k for k in range(n + 1) if k > n - wrong or slow_evidence(right, wrong, n, k, above=False) >= -log(alpha)]
    expected = (max(small, default=-1) + 1) / n, (min(large, default=n + 1) - 1) / n
    assert share.set_share_interval(right, wrong, n, alpha) == expected


def random_stream(seed: int, n: int, p: float) -> NDArray[np.bool_]:
    return np.random.default_rng(seed).random(n) < p


@pytest.mark.parametrize(
    ("seed", "n", "need", "p"), [(0, 60, 30, 0.9), (1, 60, 50, 0.4), (2, 40, 32, 0.8), (3, 9, 1, 0.5)]
)
def test_a_stream_settles_where_evidence_or_counting_decides(seed: int, n: int, need: int, p: float) -> None:
    held = random_stream(seed, n, p)
    expected = None
    for t in range(1, n + 1):
        right = int(held[:t].sum())
        wrong = t - right
        sure_pass, sure_fail = right >= need, wrong > n - need
        if sure_pass or slow_evidence(right, wrong, n, need - 1, above=True) >= -log(0.05):
            expected = EarlyVerdict(Verdict.PASSED, t, certain=sure_pass or sure_fail, alpha=0.05)
        elif sure_fail or slow_evidence(right, wrong, n, need, above=False) >= -log(0.02):
            expected = EarlyVerdict(Verdict.FAILED, t, certain=sure_fail or sure_pass, alpha=0.02)
        if expected is not None:
            break
    assert share.settle_share(held, n, need, pass_alpha=0.05, fail_alpha=0.02) == expected


# Bets: a product over draws for each stake

STAKES = [0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9]


def slow_capitals(values: list[float], n: int, null: float, *, above: bool) -> list[float]:
    capital, total, found, refuted = [1.0] * 8, 0.0, [], False
    for t, x in enumerate(values):
        mean = (null - total) / (n - t)
        refuted |= mean < -1 if above else mean > 1
        for i, stake in enumerate(STAKES):
            gain = (x - mean if above else mean - x) / (1 + min(1.0, abs(mean)))
            capital[i] *= max(1 + stake * gain, 1e-12)
        total += x
        found.append(inf if refuted else log(sum(capital) / 8))
    return found


VALUES = [
    [0, 0, 1, 0, -1, 0, 0, 1, 0, 0],
    [1, 1, 1, 1, 1, 0, 1, 1],
    [-1, -1, 0, -1, -1, -1],
    [0.5, -0.25, 0.125, 1.0, 1.0, 0.75],
    [0.0],
]


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize(("n", "null"), [(10, 2), (12, -3.5), (40, 0), (1 << 40, 0.0), (15, 15)])
@pytest.mark.parametrize("above", [True, False])
def test_a_capital_is_the_mean_of_eight_products(values: list[float], n: int, null: float, above: bool) -> None:
    found = bets.capital(np.array(values), n, null, above=above)
    assert found.tolist() == pytest.approx(slow_capitals(values, n, null, above=above), abs=1e-7)


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize(("n", "alpha"), [(10, 0.3), (14, 0.05), (60, 0.2)])
def test_an_interval_of_bets_holds_the_sums_that_none_refutes(values: list[float], n: int, alpha: float) -> None:
    real, total = not all(isinstance(x, int) for x in values), round(float(np.sum(values)))
    left = n - len(values) + real
    sums, limit = range(total - left, total + left + 1), -log(alpha) - 1e-12
    small = [s for s in sums if max(slow_capitals(values, n, s, above=True)) >= limit]
    large = [s for s in sums if max(slow_capitals(values, n, s, above=False)) >= limit]
    ends = max(small, default=sums[0] - 1) + 1 - real, min(large, default=sums[-1] + 1) - 1 + real
    reached = float(np.sum(values)), n - len(values)
    low, high = max(min(ends), reached[0] - reached[1]), min(max(ends), reached[0] + reached[1])
    if low > high:
        low, high = reached[0] - reached[1], reached[0] + reached[1]
    assert bets.betting_interval(np.array(values), n, alpha) == pytest.approx((low / n, high / n), abs=1e-12)


def test_a_bet_wins_at_its_level_until_the_other_one_has() -> None:
    pass_limit, fail_limit = -log(0.05), -log(0.02)
    lower = np.array([0.0, pass_limit - 1e-9, pass_limit, 0.0, 9.0])
    higher = np.array([0.0, 0.0, 0.0, pass_limit, 0.0])
    passes, fails = bets.bets_won(lower, higher, pass_alpha=0.05, fail_alpha=0.02)
    assert (passes.tolist(), fails.tolist()) == ([False, False, True, False, False], [False] * 5)
    higher = np.array([0.0, fail_limit - 1e-9, fail_limit, 0.0, 9.0])
    passes, fails = bets.bets_won(np.zeros(5), higher, pass_alpha=0.05, fail_alpha=0.02)
    assert (passes.any(), fails.tolist()) == (False, [False, False, True, False, True])


@pytest.mark.parametrize(
    ("of_bets", "certain", "left"),
    [
        ((0.2, 0.4), (0.0, 1.0), (0.2, 0.4)),
        ((0.4, 0.2), (0.0, 1.0), (0.2, 0.4)),
        ((0.2, 0.4), (0.3, 0.35), (0.3, 0.35)),
        ((0.2, 0.3), (0.3, 1.0), (0.3, 0.3)),
        ((0.2, 0.25), (0.3, 1.0), (0.3, 1.0)),
    ],
)
def test_bets_leave_a_part_of_what_is_certain(
    of_bets: tuple[float, float], certain: tuple[float, float], left: tuple[float, float]
) -> None:
    assert bets.overlap(of_bets, certain) == left


# Drops


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (1, 0), (0, 1), (5, 2), (2, 5), (9, 0)])
def test_mcnemar_sums_half_chances_of_as_many_losses_or_more(lost: int, gained: int) -> None:
    n = lost + gained
    assert drop.mcnemar(lost, gained) == pytest.approx(sum(comb(n, k) for k in range(lost, n + 1)) / 2**n)


@pytest.mark.parametrize(
    ("changes", "n", "most"),
    [
        ([0] * 40, 60, 6),
        ([1, 0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1], 60, 3),
        ([0, -1, 0, 0, 1], 5, 0),
        ([0, 1, 0, 0, 1], 5, 1),
        ([0, 1, 0, -1, 0], 6, 0),
        ([-1, -1, -1, 0, -1, -1, -1, -1, -1, -1], 50, -1),
        ([0], 1, 0),
    ],
)
def test_a_drop_settles_where_slow_bets_or_counting_decide(changes: list[int], n: int, most: int) -> None:
    lower = slow_capitals(changes, n, most + 1, above=False)
    higher = slow_capitals(changes, n, most, above=True)
    expected = None
    for t in range(1, len(changes) + 1):
        total, left = sum(changes[:t]), n - t
        sure_pass, sure_fail = total + left <= most, total - left > most
        won = max(lower[:t]) >= -log(0.05), max(higher[:t]) >= -log(0.05)
        if sure_pass or (lower[t - 1] >= -log(0.05) and not won[1]):
            expected = EarlyVerdict(Verdict.PASSED, t, certain=sure_pass, alpha=0.05)
        elif sure_fail or (higher[t - 1] >= -log(0.02) and not won[0]):
            expected = EarlyVerdict(Verdict.FAILED, t, certain=sure_fail, alpha=0.02)
        if expected:
            break
    assert drop.settle_drop(np.array(changes), n, most, pass_alpha=0.05, fail_alpha=0.02) == expected


def test_nothing_can_refute_a_drop_of_all() -> None:
    early = drop.settle_drop(np.array([1]), 4, 4, pass_alpha=0.05, fail_alpha=0.02)
    assert early == EarlyVerdict(Verdict.PASSED, 0, certain=True, alpha=0.05)
    early = drop.settle_drop(np.array([1]), 4, 3, pass_alpha=0.05, fail_alpha=0.02)
    assert early is None


@pytest.mark.parametrize(
    ("right", "of", "chance", "threshold", "words"),
    [
        (10, 100, 0.0, 0.1, "nothing could have failed it"),
        (11, 100, 0.0, 0.1, ""),
        (60, 100, 0.52, 0.01, "a model at chance cannot fall"),  # the exact bound of .6 is .5133
        (60, 100, 0.51, 0.01, ""),
        (90, 100, 0.5, 0.4, "a model that stopped looking would keep it"),
        (90, 100, 0.5, 0.39, ""),
        (40, 100, 0.25, 0.15, "a model that stopped looking would keep it"),
    ],
)
def test_a_start_is_doubted_from_its_border_on(
    right: int, of: int, chance: float, threshold: float, words: str
) -> None:
    found = drop.doubt_of_start(right, of, chance, threshold, alpha=0.05)
    assert found.startswith(words)
    assert bool(found) == bool(words)


def test_one_constant_answer_is_right_on_the_largest_class() -> None:
    assert drop.share_of_largest_class({"label": np.array([2, 0, 2, 1])}) == 0.5
    assert drop.share_of_largest_class({"label": np.array([], dtype=int)}) == 0.0
    assert drop.share_of_largest_class({"clean": np.array([1])}) == 0.0


# Rates


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize(
    ("events", "counts", "n"),
    [([0, 1, 0, 0], [1, 1, 0, 1], 12), ([1] * 9, [1] * 9, 10), ([0] * 30, [1, 0, 1] * 10, 40), ([0, 0], [0, 0], 2)],
)
def test_a_rate_is_bounded_where_slow_bets_stop_to_refute(
    events: list[int], counts: list[int], n: int, signed: bool
) -> None:
    alpha, smallest = 0.1, -1.0 if signed else 0.0

    def values(r: float) -> list[float]:
        return [(e - r * c) / (1 + abs(r) if signed else 1) for e, c in zip(events, counts, strict=True)]

    low, high = rate.rate_interval(
        {"event": np.array(events), "counts": np.array(counts, dtype=bool)}, n, alpha, signed=signed
    )
    left, counted, total = n - len(events), sum(counts), sum(events)
    if counted + left:
        fewest = total - left if signed else total
        certain = max(smallest, fewest / (counted + left)), min(1.0, (total + left) / (counted + left))
    else:
        certain = smallest, 1.0
    assert certain[0] - 1e-12 <= low <= high <= certain[1] + 1e-12
    limit, step = -log(alpha), 2.0**-12
    if low > certain[0] + 1e-9:  # a refuted rate, beside one that is not
        assert max(slow_capitals(values(low), n, 0, above=True)) >= limit - 1e-9
        assert max(slow_capitals(values(low + step), n, 0, above=True)) < limit
    else:
        assert max(slow_capitals(values(certain[0] + step), n, 0, above=True)) < limit
    if high < certain[1] - 1e-9:
        assert max(slow_capitals(values(high), n, 0, above=False)) >= limit - 1e-9
        assert max(slow_capitals(values(high - step), n, 0, above=False)) < limit
    else:
        assert max(slow_capitals(values(certain[1] - step), n, 0, above=False)) < limit


# Baselines


# Calibration: the bets of the module's text, sign by sign

SURE = [0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 0.9]


def slow_below(residual: list[float], place: list[int], bins: int, claimed: float) -> float:
    capitals = []
    for stake in SURE:
        worst = inf
        for signs in product((1, -1), repeat=bins):
            capital = 1.0
            for r, b in zip(residual, place, strict=True):
                capital *= 1 + stake / (1 - min(claimed, 0.999)) * (claimed - signs[b] * r)
            worst = min(worst, capital)
        capitals.append(worst)
    return log(sum(capitals) / 9)


def slow_above(residual: list[float], place: list[int], claimed: float) -> float:
    capitals, sums = [1.0] * 9, dict.fromkeys(place, Fraction(0))
    for r, b in zip(residual, place, strict=True):
        sign = (sums[b] > 0) - (sums[b] < 0)
        for i, stake in enumerate(SURE):
            capitals[i] *= 1 + stake / (1 + claimed) * (sign * r - claimed)
        sums[b] += Fraction(repr(r))
    return log(sum(capitals) / 9)


RESIDUALS = [
    ([0.4, 0.3, 0.5, 0.4, -0.2, 0.35], [0, 0, 1, 0, 1, 2]),
    ([0.1, -0.1, 0.2, -0.6, 0.1, 0.1, 0.1], [1, 1, 1, 0, 0, 1, 2]),
    ([0.9] * 12, [2] * 12),
]


@pytest.mark.parametrize(("residual", "place"), RESIDUALS)
@pytest.mark.parametrize("claimed", [0.0, 0.1, 0.45])
def test_capitals_of_a_calibration_error_are_those_of_the_slow_bets(
    residual: list[float], place: list[int], claimed: float
) -> None:
    r, b = np.array(residual), np.array(place)
    assert confidence.capital_below(r, b, 3, claimed) == pytest.approx(slow_below(residual, place, 3, claimed))
    assert confidence.capital_above(r, b, claimed) == pytest.approx(slow_above(residual, place, claimed))


@pytest.mark.parametrize(("residual", "place"), [*RESIDUALS, ([0.5] * 40, [0, 1, 2, 1] * 10)])
@pytest.mark.parametrize("alpha", [0.2, 0.01])
def test_a_calibration_error_is_bounded_where_slow_bets_stop_to_refute(
    residual: list[float], place: list[int], alpha: float
) -> None:
    low, high = confidence.error_interval(np.array(residual), np.array(place), 3, alpha)
    limit, near = -log(alpha), 1e-4
    assert high == 1 or slow_below(residual, place, 3, high) >= limit - 1e-9 or low > high - near
    assert high - near <= 0 or slow_below(residual, place, 3, high - near) < limit
    assert low == 0 or slow_above(residual, place, low - near) >= limit > slow_above(residual, place, low) - 1e-9
    assert low > 0 or slow_above(residual, place, near) < limit


def test_bins_are_equal_parts_and_an_edge_is_in_the_upper_one() -> None:
    assert confidence.bin_of(np.array([0.0, 0.1, 0.25, 0.5, 0.74, 0.75, 1.0]), 4).tolist() == [0, 0, 1, 2, 2, 3, 3]
    residual, place = np.array([0.4, -0.2, 0.3, -0.1]), np.array([0, 0, 2, 2])
    assert confidence.binned_error(residual, place, 3) == pytest.approx((0.2 + 0.2) / 4)


def test_a_calibration_error_is_debiased_by_two_hundred_resamples() -> None:
    residual, place = np.array([0.4, -0.2, 0.3, -0.1, 0.6, 0.5]), np.array([0, 0, 2, 2, 1, 1])
    random, total = np.random.default_rng(7), 0.0
    for _ in range(200):
        ids = random.integers(0, 6, 6)
        total += sum(abs(residual[ids][place[ids] == b].sum()) for b in range(3)) / 6
    measured = (0.2 + 0.2 + 1.1) / 6
    found = confidence.debiased_error(residual, place, 3, 7)
    assert found == pytest.approx(max(0.0, 2 * measured - total / 200))


@pytest.mark.parametrize(
    ("right", "part"), [([1] * 20 + [0] * 10, 0.5), ([1, 0] * 30, 0.2), ([0] * 25, 1.0), ([1] * 3, 0.1)]
)
def test_a_selected_share_is_bounded_over_all_likely_selections(right: list[int], part: float) -> None:
    n, alpha = len(right), 0.05
    ends = []
    # alpha / 4 on each side of the binomial number of selected samples
    fewest = min(k for k in range(n + 1) if binom.cdf(k, n, part) >= alpha / 4)
    most = min(k for k in range(n + 1) if binom.sf(k, n, part) <= alpha / 4)
    for k in range(max(1, fewest), most + 1):
        held = sum(right[:k])
        ends.append(
            (
                beta.ppf(alpha / 2, held, k - held + 1) if held else 0.0,
                beta.isf(alpha / 2, held + 1, k - held) if held < k else 1.0,
            )
        )
    expected = (min(e[0] for e in ends), max(e[1] for e in ends)) if fewest >= 1 else (0.0, 1.0)
    assert confidence.share_among_first(np.array(right, dtype=bool), part, alpha) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [-3.0, -0.5, 0.0, 0.7, 5.0])
@pytest.mark.parametrize(("n", "m"), [(60, 40), (200, 7), (5, 5)])
def test_an_accepted_share_is_bounded_between_two_order_statistics(shift: float, n: int, m: int) -> None:
    random, alpha, tpr = np.random.default_rng(n), 0.05, 0.95
    inside, outside = np.round(random.normal(size=n), 1), np.round(random.normal(shift, size=m), 1)
    fewest = min(k for k in range(n + 1) if binom.cdf(k, n, 1 - tpr) >= alpha / 4)
    most = min(k for k in range(n + 1) if binom.sf(k, n, 1 - tpr) <= alpha / 4)
    ordered = sorted(inside)
    accepted = sum(outside >= ordered[fewest - 1]) if fewest else m
    sure = sum(outside >= ordered[most]) if most < n else 0
    low = beta.ppf(alpha / 2, sure, m - sure + 1) if sure else 0.0
    high = beta.isf(alpha / 2, accepted + 1, m - accepted) if accepted < m else 1.0
    assert confidence.share_accepted(inside, outside, tpr, alpha) == pytest.approx((low, high))


# Cues


@pytest.mark.parametrize("target", [None, 1])
def test_pairs_of_a_cue_are_counted_by_class(target: int | None) -> None:
    on, off = [0, 1, 2, 2, 0, 1, 1, 3, 2], [0, 0, 2, 1, 1, 1, 2, 3, 0]
    label = [0, 0, 2, 2, 1, 1, 2, 3, 2]
    columns = {"on 0": np.array(on), "off 0": np.array(off), "label": np.array(label), "classes": np.full(9, 5)}
    found, rows, classes = cues.CuePairs.count(columns, 0, target), list(zip(on, off, label, strict=True)), range(5)
    assert found.hits.tolist() == [sum(a == y == k for a, _, y in rows) for k in classes]
    assert found.lost.tolist() == [sum(a == y == k != b for a, b, y in rows) for k in classes]
    assert found.gained.tolist() == [sum(b == y == k != a for a, b, y in rows) for k in classes]
    assert found.members.tolist() == [label.count(k) for k in classes]
    assert found.drawn.tolist() == [sum(a == k != b for a, b, _ in rows) for k in classes]
    assert found.driven.tolist() == [sum(b == k != a for a, b, _ in rows) for k in classes]
    assert found.before.tolist() == [off.count(k) for k in classes]
    assert found.accuracy == (6 / 9, 7 / 9)
    assert (found.flips, found.of) == ((5, 9) if target is None else (2, 7))
    assert (found.classes, found.most_drawn) == (([0, 1, 2, 3], 2) if target is None else ([1], 1))
    assert found.flip_rate == found.flips / found.of
    for k in classes:
        n, before = label.count(k), off.count(k)
        lost, gained = sum(a == k == y for a, _, y in rows), sum(b == k == y for _, b, y in rows)
        assert found.recall_drop(k) == (lost - gained) / max(n, 1)
        assert found.recall_on(k) == lost / max(n, 1)
        moved_in, moved_out = sum(a == k != b for a, b, _ in rows), sum(b == k != a for a, b, _ in rows)
        assert found.shares_moved(k) == (moved_in / (9 - before), moved_out / max(before, 1))


# Means


@pytest.mark.parametrize(
    ("values", "n", "threshold"),
    [
        ([-0.5] * 30, 60, 0.1),
        ([0.9, 0.8, 1.0, 1.0, 0.7, 1.0, 1.0, 1.0], 60, 0.05),
        ([0.5, -0.5, 0.1], 3, 0.03),
        ([0.5, -0.5, 0.12], 3, 0.03),
        ([0.1, 0.1, 0.1], 3, 0.1),
        ([0.1, 0.1], 3, 0.1),
    ],
)
def test_a_mean_settles_where_slow_bets_or_counting_decide(values: list[float], n: int, threshold: float) -> None:
    most, slack = threshold * n, 1e-9 * n
    lower, higher = slow_capitals(values, n, most, above=False), slow_capitals(values, n, most, above=True)
    expected = None
    for t in range(1, len(values) + 1):
        total, left = sum(values[:t]), n - t
        sure_pass, sure_fail = total + left <= most - slack, total - left > most + slack
        won = max(lower[:t]) >= -log(0.05), max(higher[:t]) >= -log(0.05)
        if sure_pass or (lower[t - 1] >= -log(0.05) and not won[1]):
            expected = EarlyVerdict(Verdict.PASSED, t, certain=sure_pass, alpha=0.05)
        elif sure_fail or (higher[t - 1] >= -log(0.02) and not won[0]):
            expected = EarlyVerdict(Verdict.FAILED, t, certain=sure_fail, alpha=0.02)
        if expected:
            break
    assert MeanRule(threshold=threshold, terms=SET).settle({"value": np.array(values)}, n) == expected
