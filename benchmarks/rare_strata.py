"""How often rules on a population pass a claim that is false, where the loss sits in what a sample often misses.

For each rule, a population with a known truth, whose loss is in a rare stratum, cluster, annotator, seed or value; n
draws of it; and the claim that it is a hair better than it is. A rule that states an error must pass in at most alpha
of the runs (and three standard errors of so many). A rule that says "about" must pass none with `scope="population"`;
beside it stands how often it would pass with `scope="set"`, which is why. At the end: how often the rule for
subpopulations passes a model that is clearly good enough, by the number of subclasses, beside Student's t on the same
subclasses.

    python benchmarks/rare_strata.py                # 2,000 runs of each: some minutes on one core
    python benchmarks/rare_strata.py --runs 200
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import product
from math import sqrt
from typing import Any
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from robustest import Verdict
from robustest.claims.robustness.min_perturbation import MedianRule
from robustest.decisions import BaselineRule, DrawsRule, DropRule, ScoreBaselineRule, ShareRule, Terms
from robustest.decisions.bets import MANY, capital
from robustest.decisions.confidence import CalibrationErrorRule, SelectiveRule, bin_of, capital_below, decide_accepted
from robustest.decisions.corruption_error import CellsRule, WeightedRule
from robustest.decisions.cues import CLASSES, CueRule, off_column, on_column
from robustest.decisions.groups import WorstGroupRule
from robustest.decisions.mean import ItemsRule, ScoreRule, WholeScoreRule
from robustest.decisions.rate import AgreementRule
from robustest.decisions.reliability import chances_of_draws, decide_worst_item, item_rates
from robustest.decisions.rule import Decision
from robustest.decisions.two_set_drop import TwoSetDropRule, cluster_mean_interval, exceeds

Random = np.random.Generator
Passes = Callable[[Random, int, Terms], bool]

SIZES = (20, 60, 500)
ALPHA = 0.01
HAIR = 1e-6
"""By so much the claim is better than the truth."""


@dataclass(frozen=True)
class Case:
    """A rule, a population of it, and one run.

    Attributes:
        rule: by its class or function.
        kinds: of claims that are decided by it, by name.
        population: in words.
        passes: draws n of the population, and tells whether the false claim passes.
        about: whether the rule is approximate.
        costly: whether a run takes so long that a tenth of them must do: only for rules whose bar is none.
    """

    rule: str
    kinds: tuple[str, ...]
    population: str
    passes: Passes
    about: bool = False
    costly: bool = False


CASES: list[Case] = []


def case(
    rule: str, population: str, *kinds: str, about: bool = False, costly: bool = False
) -> Callable[[Passes], Passes]:
    """Register a run of a rule."""

    def register(passes: Passes) -> Passes:
        CASES.append(Case(rule, kinds, population, passes, about, costly))
        return passes

    return register


def terms(scope: str = "population") -> Terms:
    return Terms(scope=scope, alpha=ALPHA, fail_alpha=ALPHA)


def passed(decision: Decision) -> bool:
    return decision.verdict is Verdict.PASSED


def all_but(lost: int, n: int) -> NDArray[np.bool_]:
    return np.arange(n) >= lost


# Shares of samples: what is decided depends on counts alone, so that equal counts are decided once.


@cache
def _share(lost: int, n: int, at_least: float, terms: Terms) -> bool:
    return passed(ShareRule(threshold=at_least, at_least=True, terms=terms).decide({"held": all_but(lost, n)}, n, None))


@case(
    "ShareRule",
    "1 % of samples lost",
    "robust_accuracy",
    "same_answers",
    "certified_accuracy",
    "shift_accuracy",
    "consistency",
    "no_universal_perturbation",
    "worst_group_rate",
    "accuracy",
)
def share_1(random: Random, n: int, terms: Terms) -> bool:
    return _share(int(random.binomial(n, 0.01)), n, 0.99 + HAIR, terms)


@case("ShareRule", "5 % of samples lost")
def share_5(random: Random, n: int, terms: Terms) -> bool:
    return _share(int(random.binomial(n, 0.05)), n, 0.95 + HAIR, terms)


@cache
def _drop(lost: int, gained: int, n: int, at_most: float, terms: Terms) -> bool:
    held, clean = all_but(lost, n), np.arange(n) < n - gained
    return passed(DropRule(threshold=at_most, terms=terms).decide({"clean": clean, "held": held}, n, None))


@case("DropRule", "5 % lost, 1 % gained")
def drop(random: Random, n: int, terms: Terms) -> bool:
    lost, gained, _ = random.multinomial(n, [0.05, 0.01, 0.94]).tolist()
    return _drop(lost, gained, n, 0.04 - HAIR, terms)


@cache
def _fall(first: int, second: int, n: int, at_most: float, terms: Terms) -> bool:
    # The interval's end lies where this test no longer rejects; it is not searched for where it does not here.
    if not exceeds(second, n, first, n, -at_most, alpha=terms.alpha):
        return False
    rule = TwoSetDropRule(threshold=at_most, first=first, n_first=n, whole=True, terms=terms)
    return passed(rule.decide({"held": all_but(n - second, n)}, n, None))


@case("FallRule", "5 % lost in the second set alone", "transfer_accuracy")
def fall(random: Random, n: int, terms: Terms) -> bool:
    first, second = (int(random.binomial(n, share)) for share in (0.98, 0.98 * 0.95))
    return _fall(first, second, n, 0.98 * 0.05 - HAIR, terms)


@case("MedianRule", "51 % of samples within reach", "min_perturbation")
def median(random: Random, n: int, terms: Terms) -> bool:
    size = np.where(random.random(n) < 0.51, 0.1, 1.0)
    columns = {"size": size, "held": size >= 1, "widest": np.full(n, 10.0)}
    return passed(MedianRule(threshold=1.0, terms=terms).decide(columns, n, None))


@cache
def _agreed(agreed: int, counts: int, n: int, at_least: float, terms: Terms) -> bool:
    columns = {"counts": np.arange(n) < counts, "agreed": np.arange(n) < agreed}
    return passed(AgreementRule(threshold=at_least, terms=terms).decide(columns, n, None))


@case("AgreementRule", "5 % of the samples that count disagree")
def agreement(random: Random, n: int, terms: Terms) -> bool:
    counts = int(random.binomial(n, 0.5))
    return _agreed(int(random.binomial(counts, 0.95)), counts, n, 0.95 + HAIR, terms)


def _no_worse(lost: NDArray[np.bool_], terms: Terms) -> BaselineRule:
    other = ShareRule(threshold=None, at_least=True, terms=terms)
    before = np.ones(len(lost), bool)
    return BaselineRule(other=other, has_threshold=False, before=before, tolerance=0.02 - HAIR, terms=terms)


@case("BaselineRule", "2 % of what held in the baseline lost")
def baseline(random: Random, n: int, terms: Terms) -> bool:
    lost = random.random(n) < 0.02
    return passed(_no_worse(lost, terms).decide({"held": ~lost, "id": np.arange(n)}, n, None))


@case("ScoreBaselineRule", "2 % of scores of .9 lost")
def score_baseline(random: Random, n: int, terms: Terms) -> bool:
    lost = random.random(n) < 0.02
    rule = ScoreBaselineRule(
        other=ScoreRule(threshold=None, terms=terms),
        has_threshold=False,
        before=np.full(n, 0.9),
        tolerance=0.018 - HAIR,
        terms=terms,
        seed=0,
    )
    if not _bets_are_near(0.9 * lost, rule.tolerance, terms):
        return False
    columns = {"score": np.where(lost, 0.0, 0.9), "held": ~lost, "id": np.arange(n)}
    return passed(rule.decide(columns, n, None))


@case("WorstGroupRule", "5 % lost in one group of four", "worst_group_accuracy")
def worst_group(random: Random, n: int, terms: Terms) -> bool:
    group = np.arange(n) % 4
    held = random.random(n) < np.where(group == 0, 0.95, 0.99)
    members = tuple(np.flatnonzero(group == k) for k in range(4))
    rule = WorstGroupRule(threshold=0.95 + HAIR, names=tuple("abcd"), members=members, disjoint=True, terms=terms)
    return passed(rule.decide({"held": held, "id": np.arange(n)}, n, None))


def _cued(random: Random, n: int, moved: Callable[[NDArray[Any]], NDArray[Any]], shares: list[float]) -> Any:
    """Columns of one cue: the label is answered with it, and what is moved is answered as another class without it."""
    label = random.choice(len(shares), size=n, p=shares)
    without = np.where(moved(label), (label + 1) % len(shares), label)
    return {on_column(0): label, off_column(0): without, "label": label, CLASSES: np.full(n, len(shares))}


@case("CueRule, flips", "5 % of samples flip", "no_spurious_feature")
def cue_flips(random: Random, n: int, terms: Terms) -> bool:
    columns = _cued(random, n, lambda _: random.random(n) < 0.05, [0.25] * 4)
    rule = CueRule(targets=(None,), max_flip_rate=0.05 - HAIR, max_recall_drop=None, terms=terms)
    return passed(rule.decide(columns, n, None))


@case("CueRule, recall", "a class of 2 % loses all of its recall", "no_spurious_feature")
def cue_recall_of_a_rare_class(random: Random, n: int, terms: Terms) -> bool:
    columns = _cued(random, n, lambda label: label == 2, [0.49, 0.49, 0.02])
    rule = CueRule(targets=(None,), max_flip_rate=None, max_recall_drop=0.5, terms=terms)
    return passed(rule.decide(columns, n, None))


# Means of bounded values, by bets. Where the bets at the very threshold are not half won, the whole interval is not
# searched for: the claim does not pass.


def _bets_are_near(value: NDArray[np.float64], threshold: float, terms: Terms) -> bool:
    return bool(capital(value, MANY, threshold * MANY, above=False).max() >= -0.5 * np.log(terms.alpha))


def _score(score: NDArray[np.float64], at_least: float, terms: Terms) -> bool:
    if not _bets_are_near(1 - 2 * score, 1 - 2 * at_least, terms):
        return False
    return passed(ScoreRule(threshold=at_least, terms=terms).decide({"score": score}, len(score), None))


@case(
    "ScoreRule",
    "scores of 0.9, and 2 % of 0",
    "robust_score",
    "calibrated",
    "accuracy",
    "rate",
    "consistent_runs",
)
def scores_2(random: Random, n: int, terms: Terms) -> bool:
    return _score(np.where(random.random(n) < 0.02, 0.0, 0.9), 0.9 * 0.98 + HAIR, terms)


@case("ScoreRule", "scores near 1, and 5 % of 0")
def scores_5(random: Random, n: int, terms: Terms) -> bool:
    score = np.where(random.random(n) < 0.05, 0.0, 1 - 0.1 * random.random(n))
    return _score(score, 0.95 * 0.95 + HAIR, terms)


@case("WholeScoreRule", "scores of 0.9, and 2 % of 0", "rate", "consistent_runs")
def whole_scores_2(random: Random, n: int, terms: Terms) -> bool:
    score = np.where(random.random(n) < 0.02, 0.0, 0.9)
    return passed(WholeScoreRule(threshold=0.9 * 0.98 + HAIR, terms=terms).decide({"score": score}, n, None))


@case("WholeScoreRule", "chances of items to succeed twice in two of three runs, 5 % of which never do", "reliable")
def reliable_5(random: Random, n: int, terms: Terms) -> bool:
    right = random.binomial(3, np.where(random.random(n) < 0.05, 0.0, 0.99))
    score = chances_of_draws(right, np.full(n, 3), 2, 2)
    return passed(WholeScoreRule(threshold=0.95 * 0.99**2 + HAIR, terms=terms).decide({"score": score}, n, None))


@case("decide_worst_item", "one item of n fails in 5 % of 90 runs", "worst_item_rate")
def worst_item(random: Random, n: int, terms: Terms) -> bool:
    scores = [(random.random(90) >= 0.05).astype(float), *[np.ones(90)] * (min(n, 5) - 1)]
    return passed(decide_worst_item(item_rates(scores, 0.95 + HAIR, terms, 0), 0.95 + HAIR, terms))


@case("ItemsRule", "items asked one by one, scores of 0.9, and 5 % of 0", "worst_change_rate")
def asked(random: Random, n: int, terms: Terms) -> bool:
    score = np.where(random.random(n) < 0.05, 0.0, 0.9)
    columns = {"score": score, "held": score >= 0.5}
    rule = ItemsRule(threshold=0.9 * 0.95 + HAIR, terms=terms, single=False)
    early = rule.settle(columns, n)
    if early is None and not _bets_are_near(1 - 2 * score, 1 - 2 * (0.9 * 0.95 + HAIR), terms):
        return False
    return passed(rule.decide(columns, n, early))


@case("ItemsRule", "items asked one by one, 5 % wrong", "invariant", "directional")
def asked_once(random: Random, n: int, terms: Terms) -> bool:
    held = random.random(n) >= 0.05
    columns = {"score": held.astype(float), "held": held}
    rule = ItemsRule(threshold=0.95 + HAIR, terms=terms, single=True)
    return passed(rule.decide(columns, n, rule.settle(columns, n)))


@case("DrawsRule", "episodes of reward 1, and 2 % of 0")
def draws(random: Random, n: int, terms: Terms) -> bool:
    held = (random.random(n) >= 0.02).astype(float)
    if not _bets_are_near(1 - 2 * held, 1 - 2 * (0.98 + HAIR), terms):
        return False
    return passed(DrawsRule(threshold=0.98 + HAIR, at_least=True, terms=terms).decide({"held": held}, n, None))


_CELLS = [(name, 1) for name in ("fog", "snow", "blur")]


def _corrupted(random: Random, n: int, lost: float) -> dict[str, NDArray[np.bool_]]:
    """A stratum is lost to the last corruption, which the baseline hardly ever fails on; 2 % to another."""
    columns = {"clean": np.ones(n, bool), "fog/1": random.random(n) >= 0.02, "snow/1": np.ones(n, bool)}
    return {**columns, "blur/1": random.random(n) >= lost}


@case("CellsRule, drop", "5 % lost to one of three corruptions", "corruption_robustness")
def corruption_drop(random: Random, n: int, terms: Terms) -> bool:
    most = 0.07 / 3 - HAIR
    rule = CellsRule.of_cells(_CELLS, None, terms, min_accuracy=None, max_drop=most, max_mce=None)
    columns = _corrupted(random, n, 0.05)
    near = _bets_are_near(np.asarray(rule._value(columns)["value"]), most, terms)
    return near and passed(rule.decide(columns, n, None))


@case("CellsRule, mCE", "2 % lost to a corruption that the baseline hardly fails on", "corruption_robustness")
def corruption_error(random: Random, n: int, terms: Terms) -> bool:
    reference = {"fog": [0.5] * 5, "snow": [0.5] * 5, "blur": [0.05] * 5, "clean": [0.1]}
    most = (0.02 / 0.5 + 0 + 0.02 / 0.05) / 3 - HAIR
    rule = CellsRule.of_cells(_CELLS, reference, terms, min_accuracy=None, max_drop=None, max_mce=most)
    columns = _corrupted(random, n, 0.02)
    near = _bets_are_near(np.asarray(rule._value(columns)["value"]), most / rule.mean.scale, terms)
    return near and passed(rule.decide(columns, n, None))


@case("WeightedRule", "2 % of sequences flip throughout", "stable_under_perturbations")
def sequences(random: Random, n: int, terms: Terms) -> bool:
    rule = WeightedRule.of("max_mfp", 0.02 * 4 - HAIR, {"pan": 1.0, "tilt": 3.0}, terms)
    flips = (random.random(n) < 0.02).astype(float)
    near = _bets_are_near(flips, 0.02, terms)
    return near and passed(rule.decide({"pan": flips, "tilt": flips}, n, None))


# Confidence.


@case("CalibrationErrorRule", "sure of all by .99, 5 % wrong", "calibrated")
def calibration(random: Random, n: int, terms: Terms) -> bool:
    sure, held = np.full(n, 0.99), random.random(n) >= 0.05
    most, residual = 0.04 - HAIR, sure - held
    if capital_below(residual, bin_of(sure, 15), 15, most) < -0.5 * np.log(terms.alpha):
        return False
    rule = CalibrationErrorRule(threshold=most, terms=terms, bins=15, seed=0)
    return passed(rule.decide({"confidence": sure, "held": held}, n, None))


@case("SelectiveRule", "2 % of the surest half wrong", "selective_accuracy")
def selective(random: Random, n: int, terms: Terms) -> bool:
    columns = {"msp": random.random(n), "held": random.random(n) >= 0.02}
    return passed(SelectiveRule(threshold=0.98 + HAIR, coverage=0.5, terms=terms).decide(columns, n, None))


@case("decide_accepted", "6 % of the inside data score below all of the outside", "ood_rejected")
def accepted(random: Random, n: int, terms: Terms) -> bool:
    inside = np.where(random.random(n) < 0.06, -10.0, random.normal(size=n))
    return passed(decide_accepted(inside, np.full(n, -5.0), 0.99, terms)[0])


# Clusters, annotators, items.


@case("subpopulations: bets on subclass means", "5 % of subclasses lost", "subpopulation_shift")
def subclasses_5(random: Random, n: int, terms: Terms) -> bool:
    first, second = _subclasses(random, n, 0.0), _subclasses(random, n, 0.05)
    return cluster_mean_interval(first, terms.alpha, minus=second)[1] <= 0.05 * 0.97 - HAIR


@case("subpopulations: bets on subclass means", "1 % of subclasses lost", "subpopulation_shift")
def subclasses_1(random: Random, n: int, terms: Terms) -> bool:
    first, second = _subclasses(random, n, 0.0), _subclasses(random, n, 0.01)
    return cluster_mean_interval(first, terms.alpha, minus=second)[1] <= 0.01 * 0.97 - HAIR


def _subclasses(random: Random, n: int, lost: float) -> NDArray[np.float64]:
    return np.where(random.random(n) < lost, 0.0, random.binomial(25, 0.97, n) / 25)


NO_BOUND = {
    "robust_to": "of these samples alone, whatever the scope",
}
"""Kinds of claims that are never about a population."""


@dataclass(frozen=True)
class Row:
    """What became of the runs of a case at one n.

    Attributes:
        case: of the table.
        n: draws a run.
        runs: how many.
        passes: of the false claim about the population.
        as_set: of an approximate rule, the same with `scope="set"`; None where the rule is exact.
    """

    case: Case
    n: int
    runs: int
    passes: int
    as_set: int | None

    @property
    def bar(self) -> float:
        """The largest share of false passes."""
        return 0.0 if self.case.about else ALPHA + 3 * sqrt(ALPHA * (1 - ALPHA) / self.runs)

    @property
    def met(self) -> bool:
        return self.passes / self.runs <= self.bar


def measured(one: Case, n: int, runs: int) -> Row:
    """Run a case so many times, or a tenth of it where it is costly; no case shares its draws with another."""
    seed = crc32(f"{one.rule} {one.population}".encode()), n
    often = max(1, runs // 10) if one.costly else runs
    random = np.random.default_rng(seed)
    passes = sum(one.passes(random, n, terms()) for _ in range(often))
    if not one.about:
        return Row(one, n, often, passes, None)
    random = np.random.default_rng(seed)
    return Row(one, n, often, passes, sum(one.passes(random, n, terms("set")) for _ in range(often)))


def power(subclasses: int, max_drop: float, runs: int) -> tuple[float, float]:
    """How often a fall of .07 in the mean passes: by the bets, and by Student's t on the same subclasses."""
    random, by_bets, by_t = np.random.default_rng([subclasses, round(1000 * max_drop)]), 0, 0
    for _ in range(runs):
        first = random.binomial(25, 0.97, subclasses) / 25
        second = random.binomial(25, random.beta(18, 2, subclasses)) / 25
        by_bets += cluster_mean_interval(first, ALPHA, minus=second)[1] <= max_drop
        error = sqrt((first.var(ddof=1) + second.var(ddof=1)) / subclasses)
        by_t += first.mean() - second.mean() + student.ppf(1 - ALPHA, subclasses - 1) * error <= max_drop
    return by_bets / runs, by_t / runs


def main() -> None:
    runs = int(sys.argv[sys.argv.index("--runs") + 1]) if "--runs" in sys.argv else 2000
    print(f"false claims passed about a population, alpha = {ALPHA}, {runs} runs (a tenth where marked *)")
    print(f"  {'rule':42} {'population':66}   n  passed     bar")
    kept = True
    for one, n in product(CASES, SIZES):
        row = measured(one, n, runs)
        kept &= row.met
        bar = "  about" if row.case.about else f"{row.bar:7.2%}"
        beside = "" if row.as_set is None else f"  (scope set: {row.as_set / row.runs:.1%})"
        note = "" if row.met else "  NOT MET"
        star = "*" if row.case.costly else " "
        print(
            f"  {row.case.rule:42} {row.case.population:66} {row.n:3d} {row.passes / row.runs:7.2%} {bar}"
            f"{star}{beside}{note}",
            flush=True,
        )
    print("\na fall of .07 in the mean, 25 samples a subclass: how often each bound passes it")
    print("  subclasses  max_drop   by bets   by Student's t")
    for subclasses in (4, 10, 30, 100):
        for most in (0.15, 0.2, 0.3, 0.5, 0.8):
            by_bets, by_t = power(subclasses, most, max(50, runs // 10))
            print(f"  {subclasses:10d}  {most:8.2f}  {by_bets:7.1%}   {by_t:7.1%}", flush=True)
    print(f"\n{'every bar is met' if kept else 'NOT every bar is met'}")


if __name__ == "__main__":
    main()
