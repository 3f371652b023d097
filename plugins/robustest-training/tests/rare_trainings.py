"""Populations whose loss sits in rare trainings, strata and values: cases for the core's table of false passes."""

from __future__ import annotations

from collections.abc import Callable
from math import exp

import numpy as np
from numpy.typing import NDArray
from rare_strata import HAIR, Case, Passes, Random, passed
from robustest_training.landscape import decide_ratio
from robustest_training.synthetic_rule import CoversRule, Trained, total_variation
from robustest_training.trainings import decision_over_seeds, seeded_gap, seeded_gap_interval, seeded_share_interval

from robustest import Verdict
from robustest.packs import Terms

CASES: list[Case] = []


def _case(rule: str, population: str, kind: str, *, about: bool = False) -> Callable[[Passes], Passes]:
    def register(passes: Passes) -> Passes:
        CASES.append(Case(rule, (kind,), population, passes, about))
        return passes

    return register


@_case("seeded share", "one training in twenty fails: 5 % transfer more", "nonrobust_reliance", about=True)
def seeded_share_of(random: Random, n: int, terms: Terms) -> bool:
    transfer = np.where(random.random(3) < 0.05, 0.9, 0.1)
    right = random.random((3, n)) < transfer[:, None]
    interval = seeded_share_interval(right, terms.alpha)
    return passed(decision_over_seeds(float(right.mean()), interval, 0.14 - HAIR, 3, terms))


@_case("seeded gap", "one training in twenty has a gap of .8", "robust_generalization", about=True)
def seeded_gap_of(random: Random, n: int, terms: Terms) -> bool:
    gap = np.where(random.random(3) < 0.05, 0.8, 0.05)
    train, test = np.ones((3, n), bool), random.random((3, n)) >= gap[:, None]
    ids = np.tile(np.arange(n), (3, 1))
    interval, value = seeded_gap_interval(train, ids, test, terms.alpha), seeded_gap(train, ids, test).value
    return passed(decision_over_seeds(value, interval, 0.0875 - HAIR, 3, terms))


def _trained(right: NDArray[np.bool_]) -> Trained:
    return Trained(size=100, right=right.astype(float), variance=1e-5, freedom=7.0, draws=8)


@_case("CoversRule, gap", "2 % of test samples lost by the synthetic set", "synthetic_covers", about=True)
def synthetic_gap(random: Random, n: int, terms: Terms) -> bool:
    lost = random.random(n) < 0.02
    rule = CoversRule(parts=1, terms=terms, seed=0)
    part = rule.boundary(_trained(np.ones(n, bool)), _trained(~lost), 0.02 - HAIR, idle=0.1)
    return part.verdict is Verdict.PASSED


@_case("CoversRule, labels", "five classes of 1 % missing in one set", "synthetic_covers")
def synthetic_labels(random: Random, n: int, terms: Terms) -> bool:
    first = random.multinomial(n, [0.95, *[0.01] * 5])
    second = random.multinomial(n, [1.0, *[0.0] * 5])
    if total_variation(first, second) > 0.05:
        return False  # its upper end lies above what was measured
    rule = CoversRule(parts=1, terms=terms, seed=int(random.integers(1 << 30)))
    return rule.labels(first, second, 0.05 - HAIR).verdict is Verdict.PASSED


@_case("CoversRule, copies", "5 % of samples are copies", "synthetic_covers")
def synthetic_copies(random: Random, n: int, terms: Terms) -> bool:
    ratios = np.where(random.random(n) < 0.05, 0.0, random.random(n))
    rule = CoversRule(parts=1, terms=terms, seed=0)
    part = rule.copies(ratios, random.random(n), 0.05 + 0.95 * 0.01 - HAIR)
    return part.verdict is Verdict.PASSED


@_case("decide_ratio", "one run in twenty has three times the range", "smooth_landscape", about=True)
def ratio(random: Random, n: int, terms: Terms) -> bool:
    logs = np.where(random.random(n) < 0.05, np.log(3), 0.0) + random.normal(0, 0.01, n)
    return passed(decide_ratio(np.exp(logs), exp(0.05 * np.log(3)) - HAIR, terms=terms))
