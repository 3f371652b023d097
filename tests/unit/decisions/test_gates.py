"""Chances of gates: by enumeration, by simulation, and by the rules themselves."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest

from robustest.decisions.gates import (
    Chances,
    EachGroup,
    Gate,
    IntervalAbove,
    ItemSet,
    KOfRuns,
    PairedNoWorse,
    Threshold,
    Tolerance,
    WilsonAbove,
    items_needed,
    noticed,
    quiet_tolerance,
    runs_needed,
)
from robustest.decisions.noise_floor import POWER
from robustest.decisions.paired import fall_is_within, paired_interval
from robustest.decisions.share import clopper_pearson
from robustest.errors import ConfigError

ALPHA = 0.05
FEW = ItemSet(n=6, rate=0.75, flips=0.2)


def answers(items: ItemSet, loss: float) -> dict[tuple[int, ...], float]:
    """Return the chance of every tuple of right answers of the items over their runs, one item after the other."""
    settled, unsettled, chance = items.parts
    stays = 1 - items.lost(loss)

    def of_item(p: float) -> list[float]:
        kept = [math.comb(items.runs, k) * p**k * (1 - p) ** (items.runs - k) for k in range(items.runs + 1)]
        return [stays * one + (1 - stays) * (k == 0) for k, one in enumerate(kept)]

    each = [of_item(1.0)] * settled + [of_item(chance)] * unsettled
    each += [of_item(0.0)] * (items.n - settled - unsettled)
    found = {}
    for counts in itertools.product(range(items.runs + 1), repeat=items.n):
        found[counts] = math.prod(each[place][k] for place, k in enumerate(counts))
    return found


@pytest.mark.parametrize("loss", [0.0, 0.2])
@pytest.mark.parametrize("runs", [1, 2])
def test_right_answers_are_those_of_every_outcome(runs: int, loss: float) -> None:
    items = replace(FEW, runs=runs)
    by_hand = np.zeros(items.n * runs + 1)
    for counts, chance in answers(items, loss).items():
        by_hand[sum(counts)] += chance
    assert items.right(loss) == pytest.approx(by_hand, abs=1e-12)
    mean, variance = items.moments(loss)
    k = np.arange(len(by_hand))
    assert mean == pytest.approx(by_hand @ k)
    assert variance == pytest.approx(by_hand @ (k - mean) ** 2)
    assert mean / (items.n * runs) == pytest.approx(items.rate - loss)


def test_two_runs_of_a_system_differ_as_often_as_stated() -> None:
    for rate, flips in ((0.75, 0.2), (0.9, 0.15), (0.3, 0.41), (0.6, None), (0.88, 0.0)):
        settled, unsettled, chance = ItemSet(n=1000, rate=rate, flips=flips).parts
        assert (settled + unsettled * chance) / 1000 == pytest.approx(rate)
        differ = unsettled * 2 * chance * (1 - chance) / 1000
        assert differ == pytest.approx(2 * rate * (1 - rate) if flips is None else flips, abs=2e-3)
    settled, unsettled, chance = ItemSet(n=7, rate=0.5, flips=0.0).parts  # no whole number of items
    assert settled + unsettled * chance == pytest.approx(3.5)


def test_a_tolerance_is_red_as_often_as_in_every_pair_of_runs() -> None:
    gate = Tolerance(tolerance=0.3)
    for loss in (0.0, 0.3):
        by_hand = sum(
            p * q
            for before, p in answers(FEW, 0.0).items()
            for now, q in answers(FEW, loss).items()
            if sum(now) / 6 < sum(before) / 6 - 0.3 - 1e-9
        )
        assert gate.chances(FEW, loss).red == pytest.approx(by_hand, abs=1e-12)
        assert gate.chances(FEW, loss).green == pytest.approx(1 - by_hand, abs=1e-12)
    # A fall of exactly the tolerance is green: 2 of 6 items.
    assert Tolerance(tolerance=1 / 3).chances(FEW).red < Tolerance(tolerance=0.33).chances(FEW).red


def test_a_stored_score_without_noise_is_a_threshold() -> None:
    exact = Tolerance(tolerance=0.1, stored_runs=None)
    items = ItemSet(n=200, rate=0.8, flips=0.1)
    assert exact.chances(items, 0.05).red == pytest.approx(Threshold(0.7).chances(items, 0.05).red)
    both = replace(exact, both_sides=True)
    assert both.chances(items).red == pytest.approx(exact.chances(items).red + float(items.right()[181:].sum()))
    share = Tolerance(tolerance=0.125, relative=True, stored_runs=None)
    assert share.chances(items, 0.05).red == pytest.approx(exact.chances(items, 0.05).red)


@pytest.mark.parametrize("loss", [0.0, 0.1, 0.3])
def test_our_interval_is_asked_for_every_number_of_right_answers(loss: float) -> None:
    items = ItemSet(n=40, rate=0.9, flips=0.1)
    found, right = IntervalAbove(least=0.75, alpha=ALPHA).chances(items, loss), items.right(loss)
    ends = [clopper_pearson(k, 40, ALPHA) for k in range(41)]
    assert found.green == pytest.approx(sum(right[k] for k, (low, _) in enumerate(ends) if low >= 0.75), abs=1e-12)
    assert found.red == pytest.approx(sum(right[k] for k, (_, high) in enumerate(ends) if high < 0.75), abs=1e-12)


def test_a_claim_that_no_number_of_right_answers_passes_is_never_green() -> None:
    found = IntervalAbove(least=0.99, alpha=0.01).chances(ItemSet(n=20, rate=1.0))
    assert found.red == pytest.approx(0.0, abs=1e-12)
    assert found.green == 0.0


@pytest.mark.parametrize("loss", [0.0, 0.25])
def test_the_paired_rule_is_asked_for_every_pair_of_counts(loss: float) -> None:
    items, tolerance = ItemSet(n=24, rate=0.75, flips=0.3), 0.1
    settled, unsettled, chance = items.parts
    stays = 1 - items.lost(loss)
    # Of an item that is right with chance c before: both, lost, gained, neither.
    red = green = 0.0
    one = {(1, 0): chance * (1 - chance * stays), (0, 1): (1 - chance) * chance * stays}
    one[0, 0] = 1 - sum(one.values())
    pairs = {(0, 0): 1.0}
    for of_item in [one] * unsettled + [{(1, 0): 1 - stays, (0, 0): stays}] * settled:
        more: dict[tuple[int, int], float] = {}
        for (lost, gained), p in pairs.items():
            for (a, b), q in of_item.items():
                key = (lost + a, gained + b)
                more[key] = more.get(key, 0.0) + p * q
        pairs = more
    for (lost, gained), p in pairs.items():
        if p > 1e-9:
            low, high = paired_interval(lost, gained, 24, ALPHA)
            red, green = red + p * (low > tolerance), green + p * (high <= tolerance)
    found = PairedNoWorse(tolerance=tolerance, alpha=ALPHA).chances(items, loss)
    assert found.red == pytest.approx(red, abs=1e-4)
    assert found.green == pytest.approx(green, abs=1e-4)


@pytest.mark.parametrize(("lost", "gained", "n"), [(3, 5, 60), (9, 2, 60), (0, 0, 300), (40, 35, 900), (60, 60, 60)])
def test_a_fall_is_within_what_the_interval_reaches(lost: int, gained: int, n: int) -> None:
    gained = min(gained, n - lost)
    _, high = paired_interval(lost, gained, n, 0.01)
    assert fall_is_within(lost, gained, n, min(1.0, high + 1e-6), 0.01) is (lost < n)
    assert not fall_is_within(lost, gained, n, high - 1e-6, 0.01)


def test_groups_are_red_if_one_is() -> None:
    items = ItemSet(n=60, rate=0.9)
    gate, one = EachGroup(gate=Threshold(0.8), sizes=(20, 40)), Threshold(0.8)
    small, large = (one.chances(ItemSet(n=n, rate=0.9)).red for n in (20, 40))
    assert gate.chances(items).red == pytest.approx(1 - (1 - small) * (1 - large))
    # A loss is in one group, the one that shows it least.
    lost = [one.chances(ItemSet(n=n, rate=0.9), 0.15).red for n in (20, 40)]
    worst = min(1 - (1 - lost[0]) * (1 - large), 1 - (1 - small) * (1 - lost[1]))
    assert gate.chances(items, 0.15).red == pytest.approx(worst)
    assert gate.grown(items, 600)[0] == EachGroup(gate=Threshold(0.8), sizes=(200, 400))


def test_k_of_runs_are_binomial() -> None:
    three_of_five = KOfRuns(k=3)
    assert three_of_five.chances(ItemSet(n=1, rate=0.9, runs=5)).red == pytest.approx(0.00856)
    assert three_of_five.chances(ItemSet(n=1, rate=0.9, runs=5), 0.4).red == pytest.approx(0.5)
    assert three_of_five.chances(ItemSet(n=4, rate=0.9, runs=5)).red == pytest.approx(1 - (1 - 0.00856) ** 4)
    assert three_of_five.chances(ItemSet(n=10, rate=0.9, flips=0.0, runs=5)).red == 1.0  # one is always wrong


def test_wilson_is_red_where_its_lower_end_is_below() -> None:
    items, z = ItemSet(n=100, rate=0.9), 1.6448536269514722
    right = items.right()
    ends = [
        (k / 100 + z * z / 200 - z * math.sqrt(k / 100 * (1 - k / 100) / 100 + z * z / 40000)) / (1 + z * z / 100)
        for k in range(101)
    ]
    by_hand = sum(right[k] for k, end in enumerate(ends) if end < 0.83)
    assert WilsonAbove(least=0.83, confidence=0.95).chances(items).red == pytest.approx(by_hand)


GATES: list[tuple[Gate, ItemSet]] = [
    (Tolerance(tolerance=0.03), ItemSet(n=300, rate=0.8, flips=0.1)),
    (Tolerance(tolerance=0.05, relative=True), ItemSet(n=300, rate=0.8)),
    (Threshold(0.75), ItemSet(n=300, rate=0.8, flips=0.1)),
    (EachGroup(gate=Threshold(0.7), sizes=(100, 200)), ItemSet(n=300, rate=0.8)),
    (IntervalAbove(least=0.7, alpha=0.01), ItemSet(n=300, rate=0.8)),
    (PairedNoWorse(tolerance=0.05, alpha=0.01), ItemSet(n=300, rate=0.8, flips=0.05)),
    (WilsonAbove(least=0.7, confidence=0.95), ItemSet(n=300, rate=0.8)),
    (KOfRuns(k=3), ItemSet(n=1, rate=0.9, runs=5)),
]


@pytest.mark.parametrize(("gate", "items"), GATES, ids=lambda one: type(one).__name__)
def test_the_loss_that_is_noticed_is_the_smallest(gate: Gate, items: ItemSet) -> None:
    seen, blocked = noticed(gate, items), noticed(gate, items, open_too=True)
    assert seen is not None
    assert blocked is not None
    assert blocked <= seen
    assert gate.chances(items, seen).red >= POWER > gate.chances(items, seen - 2e-3).red
    assert 1 - gate.chances(items, blocked).green >= POWER


@pytest.mark.parametrize(("gate", "items"), GATES, ids=lambda one: type(one).__name__)
def test_the_items_that_are_needed_are_enough(gate: Gate, items: ItemSet) -> None:
    loss = 0.6 if isinstance(gate, KOfRuns) else 0.2
    found = items_needed(gate, items, loss, 0.01)
    assert found is not None

    def enough(n: int) -> bool:
        of, grown = gate.grown(items, n)
        alike = of.chances(grown)
        return of.chances(grown, loss).red >= POWER and alike.red <= 0.01 and alike.green >= POWER

    assert enough(found)
    assert not enough(max(1, round(found * 0.8)))


def test_a_loss_that_is_tolerated_is_noticed_by_no_number_of_items() -> None:
    items = ItemSet(n=300, rate=0.8)
    assert items_needed(Tolerance(tolerance=0.05), items, 0.05, 0.01) is None
    assert items_needed(Threshold(0.7), items, 0.05, 0.01) is None
    assert noticed(Threshold(0.0), items) is None
    assert runs_needed(PairedNoWorse(tolerance=0.05, alpha=0.01), items, 0.2, 0.01) is None  # of single answers


def test_more_runs_and_a_larger_tolerance_keep_a_gate_quiet() -> None:
    gate, items = Tolerance(tolerance=0.03), ItemSet(n=400, rate=0.88, flips=0.1)
    runs = runs_needed(gate, items, 0.1, 0.01)
    assert runs is not None
    assert runs > 1
    more = gate.repeated(items, runs)
    assert more is not None
    assert more[0].chances(more[1]).red <= 0.01 < gate.chances(items).red
    quiet = quiet_tolerance(gate, items, 0.01)
    assert Tolerance(tolerance=quiet).chances(items).red <= 0.01 < Tolerance(tolerance=quiet - 3e-3).chances(items).red


@pytest.mark.parametrize(("gate", "items"), GATES[:6], ids=lambda one: type(one).__name__)
def test_large_numbers_of_items_go_on_where_small_ones_end(
    gate: Gate, items: ItemSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = [gate.grown(items, 4000)[0].chances(gate.grown(items, 4000)[1], loss) for loss in (0.0, 0.03, 0.06)]
    monkeypatch.setattr("robustest.decisions.gates._EXACT", 1000)
    normal = [gate.grown(items, 4000)[0].chances(gate.grown(items, 4000)[1], loss) for loss in (0.0, 0.03, 0.06)]
    for one, other in zip(exact, normal, strict=True):
        assert one.red == pytest.approx(other.red, abs=0.02)
        assert one.green == pytest.approx(other.green, abs=0.02)


def test_stated_chances_are_those_of_other_items_of_the_same_flips() -> None:
    # Chances of items between 0 and 1 of every size, where the stated ones assume coins beside sure items.
    random, n, draws = np.random.default_rng(0), 300, 4000
    chance = random.permutation(np.concatenate([np.linspace(0.2, 1, 60), np.ones(200), np.zeros(40)]))
    items = ItemSet(n=n, rate=float(chance.mean()), flips=float((2 * chance * (1 - chance)).mean()))
    before = random.random((draws, n)) < chance
    now = (random.random((draws, n)) < chance) & (random.random((draws, n)) >= 0.05 / items.rate)
    red = float((now.mean(1) < before.mean(1) - 0.03 - 1e-9).mean())
    assert Tolerance(tolerance=0.03).chances(items, 0.05).red == pytest.approx(red, abs=0.025)


def test_means_of_graded_scores_are_normal() -> None:
    random, n, draws = np.random.default_rng(5), 250, 4000
    mean, spread = random.beta(5, 2, n), 0.06
    items = ItemSet(n=n, rate=float(mean.mean()), within=spread**2, between=float(mean.var()))
    before, now = (mean + spread * random.standard_normal((draws, n)) for _ in range(2))
    now = now * (random.random((draws, n)) >= 0.04 / items.rate)
    red = float((now.mean(1) < before.mean(1) - 0.03).mean())
    assert Tolerance(tolerance=0.03).chances(items, 0.04).red == pytest.approx(red, abs=0.025)
    red = float((now.mean(1) < items.rate - 0.05).mean())
    assert Threshold(items.rate - 0.05).chances(items, 0.04).red == pytest.approx(red, abs=0.025)
    exact = Tolerance(tolerance=0.05, stored_runs=None)
    assert exact.chances(items, 0.04).red == pytest.approx(Threshold(items.rate - 0.05).chances(items, 0.04).red)
    total, variance = replace(items, runs=3).moments(0.04)
    assert total == pytest.approx(3 * n * (items.rate - 0.04))
    assert variance < 9 * items.moments(0.04)[1]


def test_items_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="differ in at most"):
        ItemSet(n=10, rate=0.9, flips=0.3)
    for n, rate, runs in ((0, 0.5, 1), (10, 1.2, 1), (10, 0.5, 0)):
        with pytest.raises(ConfigError):
            ItemSet(n=n, rate=rate, runs=runs)


def test_a_gate_that_is_never_open_is_red_or_green() -> None:
    assert Chances.of_red(0.3).green == pytest.approx(0.7)
