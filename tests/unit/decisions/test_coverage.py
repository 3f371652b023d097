"""Claims about a population: 300 samples of one with a known truth, for each rule that has such a scope.

Each end of an interval misses the truth with probability alpha at most. As seldom does a claim at the very truth pass,
or fail.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom

from robustest import Verdict
from robustest.claims.robustness.min_perturbation import MedianRule
from robustest.decisions import DropRule, MeanRule, Rule, ShareRule, Terms, decide_drop
from robustest.decisions.corruption_error import CellsRule
from robustest.decisions.cues import CueRule
from robustest.decisions.groups import WorstGroupRule
from robustest.decisions.rate import AgreementRule
from robustest.decisions.rule import Decision
from robustest.decisions.two_set_drop import (
    TwoSetDropRule,
    cluster_mean_interval,
    decide_two_set_drop,
    two_set_drop,
)

ALPHA, RUNS, N = 0.05, 200, 80
TERMS = Terms(scope="population", alpha=ALPHA, fail_alpha=1e-4)
ALLOWED = int(binom.ppf(1 - 1e-4, RUNS, ALPHA))

Random = np.random.Generator
Drawn = Callable[[Random], Decision]
Columns = dict[str, NDArray[Any]]


def on(claim: Rule, columns: Callable[[Random], Columns]) -> Drawn:
    def decide(random: Random) -> Decision:
        drawn = {"id": np.arange(N), **columns(random)}
        return claim.decide(drawn, N, claim.settle(drawn, N))

    return decide


def held(random: Random, share: float = 0.9) -> NDArray[np.bool_]:
    return random.random(N) < share


def pairs(random: Random) -> Columns:
    """A tenth is lost and a twentieth gained."""
    draws = random.random(N)
    before = np.where(draws < 0.1, True, np.where(draws < 0.15, False, random.random(N) < 0.8))
    after = np.where(draws < 0.1, False, np.where(draws < 0.15, True, before))
    return {"clean": before, "held": after}


def corrupted(random: Random) -> Columns:
    return {"clean": held(random, 0.95), "fog/1": held(random, 0.8), "fog/2": held(random, 0.6)}


def sizes(random: Random) -> Columns:
    size = random.exponential(1.0, N)
    return {"size": size, "widest": np.full(N, 100.0), "held": size >= np.log(2)}


def cued(random: Random) -> Columns:
    """Two classes; a cue moves a tenth of the predictions, all of class 0, of which a fifth then is lost."""
    label = np.arange(N) % 2
    moved = (label == 0) & (random.random(N) < 0.2)
    return {"on 0": label, "off 0": np.where(moved, 1 - label, label), "label": label, "classes": np.full(N, 2)}


def grouped(random: Random) -> Columns:
    return {"held": random.random(N) < np.where(np.arange(N) % 2, 0.9, 0.8)}


def independent(random: Random) -> Decision:
    first = int(random.binomial(40, 0.95))
    claim = TwoSetDropRule(threshold=0.1, first=first, n_first=40, whole=True, terms=TERMS)
    columns = {"held": random.random(N) < 0.85}
    return claim.decide(columns, N, claim.settle(columns, N))


def clustered(random: Random) -> Decision:
    """Fifteen subclasses a side, of which each has its own accuracy."""
    sides = [random.binomial(20, random.beta(16 * p, 16 * (1 - p), 15)) for p in (0.9, 0.7)]
    interval = cluster_mean_interval(sides[0] / 20, ALPHA, minus=sides[1] / 20)
    size = np.full(15, 20)
    fall = two_set_drop(sides[0], size, sides[1], size)
    return decide_two_set_drop(fall, 0.2, interval=interval, terms=TERMS)


def compared(random: Random) -> Decision:
    columns = pairs(random)
    before, after = columns["clean"], columns["held"]
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    return decide_drop(lost, gained, N, 0.05, scope="population", alpha=TERMS.alpha)


cells = CellsRule.of_cells([("fog", 1), ("fog", 2)], None, TERMS, min_accuracy=0.7, max_drop=None, max_mce=None)
ids = np.arange(N)
groups = WorstGroupRule(threshold=0.8, names=("even", "odd"), members=(ids[::2], ids[1::2]), disjoint=True, terms=TERMS)

RULES: dict[str, tuple[float, Drawn]] = {
    "share at least (robust, shift and transfer accuracy)": (
        0.9,
        on(ShareRule(threshold=0.9, at_least=True, terms=TERMS), lambda r: {"held": held(r)}),
    ),
    "share at most (universal perturbation, consistency)": (
        0.1,
        on(ShareRule(threshold=0.1, at_least=False, terms=TERMS), lambda r: {"held": held(r)}),
    ),
    "drop (shift accuracy, sparse head)": (0.05, on(DropRule(threshold=0.05, terms=TERMS), pairs)),
    "fall against a baseline": (0.05, compared),
    "mean (corruptions)": (0.7, on(cells, corrupted)),
    "mean (gradient alignment)": (
        0.25,
        on(MeanRule(threshold=0.25, terms=TERMS), lambda r: {"value": r.beta(1, 3, N)}),
    ),
    "median (smallest perturbation)": (
        float(np.log(2)),
        on(MedianRule(threshold=float(np.log(2)), terms=TERMS), sizes),
    ),
    "agreement (class evidence)": (
        0.8,
        on(AgreementRule(threshold=0.8, terms=TERMS), lambda r: {"counts": held(r, 0.6), "agreed": held(r, 0.8)}),
    ),
    "flip rate (cues)": (
        0.1,
        on(CueRule(targets=(None,), max_flip_rate=0.1, max_recall_drop=None, terms=TERMS), cued),
    ),
    "recall drop (cues)": (
        0.2,
        on(CueRule(targets=(0,), max_flip_rate=None, max_recall_drop=0.2, terms=TERMS), cued),
    ),
    "worst group": (0.8, on(groups, grouped)),
    "fall between data sets": (0.1, independent),
    "fall between subclasses": (0.2, clustered),
}


@pytest.mark.parametrize("rule", list(RULES))
def test_ends_miss_and_verdicts_at_the_truth_err_no_oftener_than_alpha(rule: str) -> None:
    truth, drawn = RULES[rule]
    random = np.random.default_rng(0)
    decisions = [drawn(random) for _ in range(RUNS)]
    assert sum(decision.interval[0] > truth + 1e-12 for decision in decisions) <= ALLOWED
    assert sum(decision.interval[1] < truth - 1e-12 for decision in decisions) <= ALLOWED
    for verdict in (Verdict.PASSED, Verdict.FAILED):
        assert sum(decision.verdict is verdict for decision in decisions) <= ALLOWED
    assert all(decision.at_alpha for decision in decisions if decision.verdict is not Verdict.INCONCLUSIVE)
    assert max(decision.interval[1] for decision in decisions) < 1.5, "and they say something"
