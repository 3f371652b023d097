"""Claims about a population, each by its kind's own function: how often it misses what is true of the population.

Each end of an interval lies beyond the truth with probability alpha at most, and as seldom does a claim at the very
truth pass, or fail. What a search leaves open is no matter here: the interval is of what the search finds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest
from table_entries import check_entries

import robustest
from robustest import Result, Verdict
from robustest.claims import kinds

sys.path.insert(0, str(Path(__file__).parent))
import gradient_populations as gradients
import image_populations as images

sys.path.pop(0)

ALPHA = 0.05
Measure = Callable[..., Result]


@dataclass(frozen=True)
class Truth:
    """What is true of a population, and the claim that it just keeps.

    Attributes:
        kind: of claim, by name.
        measure: takes a generator and the claim; draws samples and measures them.
        threshold: the argument's name.
        value: the truth.
        claimed: the threshold, where it is another number than the truth.
        other: further arguments of the claim.
    """

    kind: str
    measure: Measure
    threshold: str
    value: float
    claimed: float | None = None
    other: dict[str, Any] = field(default_factory=dict)

    def results(self, draws: int, alpha: float = ALPHA) -> list[Result]:
        own = crc32(f"{self.measure.__name__} {self.threshold} {self.other}".encode())  # no two share their luck
        random, claimed = np.random.default_rng(own), self.value if self.claimed is None else self.claimed
        asked = {self.threshold: claimed, **self.other}
        how = {"scope": "population", "alpha": alpha, "exact": True, "cache": False, "examples": 0}
        return [self.measure(random, **asked, **how) for _ in range(draws)]


TRUTHS = {
    "accuracy": Truth("accuracy", images.accuracy, "at_least", 0.8),
    "shift": Truth("shift_accuracy", images.shift_accuracy, "at_least", 0.73),
    "drop": Truth("shift_accuracy", images.shift_accuracy, "max_drop", 0.05),
    "consistency": Truth("consistency", images.consistency, "max_flip_rate", 0.5),
    "corruptions": Truth("corruption_robustness", images.corruptions, "min_accuracy", 0.7),
    "corruptions, drop": Truth("corruption_robustness", images.corruptions, "max_drop", 0.25),
    "corruptions, mCE": Truth("corruption_robustness", images.corruptions, "max_mce", 0.6),
    "transfer": Truth("transfer_accuracy", images.transfer, "at_least", 0.85),
    "transfer, drop": Truth("transfer_accuracy", images.transfer, "max_drop", 0.1),
    "rate": Truth("rate", images.rate, "at_least", 0.8),
    "rate of repeated runs": Truth("rate", images.rate_of_runs, "at_least", 0.8),
    "rate, asked": Truth("rate", images.rate_asked, "at_least", 0.8),
    "rate, equal groups": Truth("worst_group_rate", images.rate_in_groups, "at_least", 0.8),
    "flips between runs": Truth("consistent_runs", images.flips_between_runs, "max_flip_rate", 0.32),
    "reliability": Truth("reliable", images.reliability, "at_least", 0.75),
    "rate of the worst item": Truth("worst_item_rate", images.worst_item, "at_least", 0.7),
    "invariance, two changes": Truth("invariant", images.invariance, "at_least", 0.8),
    "expectation": Truth(
        "directional", images.expectation, "at_least", 0.8, other={"expect": "higher", "score": images.as_it_is}
    ),
    "worst of two templates": Truth(
        "worst_change_rate", images.template_rate, "at_least", 0.8, other={"score": images.as_it_is}
    ),
    "fall by the worst of two changes": Truth(
        "worst_change_rate", images.template_fall, "max_fall", 0.1, other={"score": images.as_it_is}
    ),
    "groups, equal": Truth("worst_group_accuracy", images.equal_groups, "at_least", 0.8),
    "groups, one worst": Truth("worst_group_accuracy", images.one_worst_group, "at_least", 0.6),
    "groups that overlap": Truth("worst_group_accuracy", images.groups_that_overlap, "at_least", 0.8),
    "subpopulations": Truth("subpopulation_shift", images.subpopulations, "max_drop", 0.2),
    "cue, flips": Truth("no_spurious_feature", images.cue, "max_flip_rate", 0.1),
    "cue, flips to a class": Truth("no_spurious_feature", images.cue_towards, "max_flip_rate", 0.2),
    "cue, recall": Truth("no_spurious_feature", images.cue, "max_recall_drop", 0.2),
    "cue, recall of a class": Truth(
        "no_spurious_feature", images.cue, "max_recall_drop", 0.2, other={"target_class": 0}
    ),
    "cue, recall of equal classes": Truth("no_spurious_feature", images.cue_in_each_class, "max_recall_drop", 0.2),
    "three equal cues, flips": Truth("no_spurious_feature", images.three_cues, "max_flip_rate", 0.1),
    "three equal cues, recall": Truth("no_spurious_feature", images.three_cues, "max_recall_drop", 0.2),
    "robust accuracy": Truth("robust_accuracy", gradients.robust_accuracy, "at_least", 0.75),
    "certified accuracy": Truth("certified_accuracy", gradients.certified_accuracy, "at_least", 0.75),
    "flips of sequences": Truth("stable_under_perturbations", images.sequences, "max_mfp", 0.2),
    "robust score": Truth("robust_score", gradients.robust_score, "at_least", 0.75),
    "minimum perturbation": Truth("min_perturbation", gradients.min_perturbation, "at_least", 0.11),
    "universal": Truth("no_universal_perturbation", gradients.universal, "max_fooling_rate", 0.2),
}

LEFT_OUT = {
    "calibrated": "tests/unit/decisions/test_calibration_coverage.py has 2,000 runs of both of its figures",
    "selective_accuracy": "the same file has it",
    "ood_rejected": "the same file has it",
    "same_answers": "it is the share of robust accuracy, of copies in place of a label",
    "robust_to": "it is about the set alone: the change was picked by looking at it",
}
"""Kinds that have no interval of a population's one truth, or are simulated elsewhere, and why."""


def test_every_kind_is_here_or_it_is_said_why_not() -> None:
    assertions = {name for name in robustest.__all__ if name.startswith("assert_") and getattr(robustest, name)}
    ours = {kind.name for kind in kinds().values() if kind.assertion in assertions}  # and not those of plugins
    here = {one.kind for one in TRUTHS.values()}
    check_entries([*here, *LEFT_OUT], ours, "TRUTHS in tests/contract/test_population_coverage.py, or LEFT_OUT")


def allowed(draws: int) -> int:
    """So many misses at most: alpha, and three of its standard errors."""
    return int(draws * ALPHA + 3 * sqrt(draws * ALPHA * (1 - ALPHA)))


def misses(results: list[Result], truth: float) -> dict[str, int]:
    """How often the truth lies beyond each end, and a claim at the truth is settled."""
    ends = [result.numbers.left_interval for result in results]
    return {
        "below": sum(low > truth + 1e-9 for low, _ in ends),
        "above": sum(high < truth - 1e-9 for _, high in ends),
        "passed": sum(result.verdict is Verdict.PASSED for result in results),
        "failed": sum(result.verdict is Verdict.FAILED for result in results),
    }


def rows() -> list[Any]:
    """Every third kind 20 times every day, and each 300 times with the slow tests.

    20 draws tell less: more than `allowed(20)` of them miss with a chance of .016 where one in twenty does, so that of
    a hundred counts one or two are expected to. 300 draws of the same kind then say whether it was luck.
    """
    daily = [pytest.param(one, 20, id=f"{name}-20") for name, one in [*TRUTHS.items()][::3]]
    slow = pytest.mark.slow
    return [*daily, *(pytest.param(one, 300, id=f"{name}-300", marks=slow) for name, one in TRUTHS.items())]


@pytest.mark.parametrize(("one", "draws"), rows())
def test_the_truth_is_missed_no_oftener_than_alpha(one: Truth, draws: int) -> None:
    results = one.results(draws)
    assert {(result.subject.kind, result.subject.scope) for result in results} == {(one.kind, "population")}
    assert not any("copies" in result.ruling.reasons for result in results), (
        "else a claim at the truth would seldom pass"
    )
    found = misses(results, one.value)
    assert all(count <= allowed(draws) for count in found.values()), found
    mean = float(np.mean([result.estimate for result in results if result.estimate is not None]))
    width = float(np.mean([np.ptp(result.numbers.left_interval) for result in results]))
    assert abs(mean - one.value) < 0.5 * width < 0.5, "and they say something, about this truth"


@pytest.mark.parametrize("name", ["shift", "consistency"])
def test_intervals_at_another_level_miss_more(name: str) -> None:
    """The counts above would tell: at four times alpha they are beyond what is allowed."""
    found = misses(TRUTHS[name].results(100, alpha=4 * ALPHA), TRUTHS[name].value)
    assert found["below"] + found["above"] > 2 * allowed(100), found
