"""Claims on confidence hold as often as they say, by simulation: 2,000 runs of each."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from robustest.decisions import Terms
from robustest.decisions.bets import MANY, capital
from robustest.decisions.confidence import bin_of, capital_above, capital_below, share_accepted, share_among_first
from robustest.decisions.mean import MeanRule
from robustest.decisions.share import clopper_pearson
from robustest.results import Verdict

RUNS, ALPHA, BINS = 2000, 0.05, 15
Floats = NDArray[np.float64]


def most_wrong(allowed: float = ALPHA) -> float:
    """A share of runs that is above what is allowed by more than chance (one in a thousand) would have it."""
    return allowed + 3.1 * float(np.sqrt(allowed * (1 - allowed) / RUNS))


def confidences(kind: str, n: int, random: np.random.Generator) -> Floats:
    """Spread out, those of a usual network, or nearly always sure."""
    if kind == "spread":
        return random.uniform(0.1, 1, n)
    return np.clip(random.beta(8, 0.6, n), 0.1, 1) if kind == "network" else np.full(n, 0.999)


slow = pytest.mark.slow


@pytest.mark.parametrize("kind", ["network", pytest.param("spread", marks=slow), pytest.param("sure", marks=slow)])
@pytest.mark.parametrize("gap", [0.0, pytest.param(0.01, marks=slow), 0.05, "crossing"])
def test_calibration_error_is_seldom_said_to_be_on_the_wrong_side(kind: str, gap: float | str) -> None:
    """The bound is the true error of the population, as sharply as can be: a pass of less, and a failure of more."""
    random = np.random.default_rng(0)

    def accuracy(sure: Floats) -> Floats:
        shift = 0.1 * np.sin(6 * sure) if gap == "crossing" else gap
        return np.clip(sure - shift, 0, 1)

    many = confidences(kind, 400_000, random)
    mean = np.bincount(bin_of(many, BINS), many - accuracy(many), minlength=BINS) / len(many)
    true, limit, n = float(np.abs(mean).sum()), -np.log(ALPHA), 300
    passed = failed = 0
    for _ in range(RUNS):
        sure = confidences(kind, n, random)
        residual = sure - (random.random(n) < accuracy(sure))
        place = bin_of(sure, BINS)
        passed += capital_below(residual, place, BINS, 0.99 * true) >= limit
        failed += capital_above(residual, place, 1.01 * true) >= limit
    assert passed / RUNS <= most_wrong()
    assert failed / RUNS <= most_wrong()


@pytest.mark.parametrize("temperature", [0.3, pytest.param(1.0, marks=slow), 3.0])
def test_brier_scores_of_populations_are_covered(temperature: float) -> None:
    random, n = np.random.default_rng(1), 150
    terms = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA)
    rule = MeanRule(threshold=1.0, terms=terms, column="brier", scale=2.0)

    def scores(size: int) -> Floats:
        logits = 2 * random.standard_normal((size, 3))
        chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        label = (random.random((size, 1)) > chances.cumsum(1)).sum(1).clip(max=2)
        said = np.exp(logits / temperature) / np.exp(logits / temperature).sum(1, keepdims=True)
        return np.square(said - np.eye(3)[label]).sum(1) / 2

    true, limit = float(scores(1_000_000).mean()), -np.log(ALPHA)
    below = above = 0
    for _ in range(RUNS):
        value = scores(n)
        below += capital(value, MANY, true * MANY, above=True).max() >= limit
        above += capital(value, MANY, true * MANY, above=False).max() >= limit
    assert below / RUNS <= most_wrong()
    assert above / RUNS <= most_wrong()
    low, high = rule.decide({"brier": scores(n)}, n, None).interval
    assert 0 < low < 2 * true < high < 2


@pytest.mark.parametrize("coverage", [0.5, pytest.param(0.1, marks=slow), 0.9, pytest.param(1.0, marks=slow)])
def test_selective_accuracy_of_populations_is_covered(coverage: float) -> None:
    """A sample with confidence c is right with chance c: of the surest share it is 1 - coverage / 4 on average."""
    random, n, true = np.random.default_rng(2), 200, 1 - coverage / 4
    below = above = width = 0.0
    for _ in range(RUNS):
        sure = random.uniform(0.5, 1, n)
        right = random.random(n) < sure
        low, high = share_among_first(right[np.argsort(-sure)], coverage, ALPHA)
        below, above, width = below + (low > true), above + (high < true), width + high - low
    assert below / RUNS <= most_wrong()
    assert above / RUNS <= most_wrong()
    assert width / RUNS < 0.5


@pytest.mark.parametrize("apart", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("n", [40, pytest.param(300, marks=slow)])
def test_the_share_of_other_data_accepted_is_covered(apart: float, n: int) -> None:
    from scipy.stats import norm

    random, true = np.random.default_rng(3), float(norm.sf(norm.ppf(0.05) + apart))
    below = above = 0
    for _ in range(RUNS):
        low, high = share_accepted(random.standard_normal(n), random.standard_normal(n) - apart, 0.95, ALPHA)
        below, above = below + (low > true), above + (high < true)
    assert below / RUNS <= most_wrong()
    assert above / RUNS <= most_wrong()


def test_a_verdict_follows_from_the_interval() -> None:
    terms = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA)
    rule = MeanRule(threshold=0.9, terms=terms, column="brier", scale=2.0)
    assert rule.decide({"brier": np.zeros(400)}, 400, None).verdict is Verdict.PASSED


@pytest.mark.parametrize("accepted", [0, 3, 40])
def test_an_end_of_a_share_takes_half_of_its_error_where_no_quantile_is_in_doubt(accepted: int) -> None:
    """No outside score lies near the threshold, so that the share is one of 40 samples: exact ends at alpha / 2."""
    outside = np.concatenate([np.full(accepted, 10.0), np.full(40 - accepted, -10.0)])
    low, high = share_accepted(np.linspace(-1, 1, 400), outside, 0.95, 0.1)
    assert (low, high) == pytest.approx(clopper_pearson(accepted, 40, 0.05))


@pytest.mark.parametrize("right", [0, 30, 60])
def test_an_end_of_an_accuracy_takes_half_of_its_error_where_all_are_selected(right: int) -> None:
    low, high = share_among_first(np.arange(60) < right, 1.0, 0.1)
    assert (low, high) == pytest.approx(clopper_pearson(right, 60, 0.05))
