"""The median of smallest perturbations: verdicts by count, intervals by order statistics, closed forms, exhibits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import binom, hypergeom
from torch import Tensor, nn

from robustest import L1, L2, ClaimFailed, ConfigError, Linf, UnknownNameError, Verdict, assert_min_perturbation
from robustest.attacks import PGD
from robustest.attacks.cascades import MINIMUM
from robustest.claims.robustness.min_perturbation import MedianRule, median_interval, reached
from robustest.decisions import Terms
from robustest.decisions.rule import Decision
from robustest.decisions.share import OFFSETS
from robustest.measure import measure_min_perturbation, measure_robust_accuracy

Toys = Callable[..., Any]

NORMS: dict[str, tuple[type[Linf] | type[L2] | type[L1], float]] = {
    "linf": (Linf, 1),
    "l2": (L2, 2),
    "l1": (L1, math.inf),
}
"""Name, class and the order of the dual norm."""


def exact(toy: Any, dual: float) -> Tensor:
    """(N,) the smallest perturbation of a linear model's sample; a lower bound where the bounds are in the way."""
    with torch.no_grad():
        logits = toy.model(toy.x).double()
    weight = toy.model.weight.detach()
    gap = logits.gather(1, toy.y.unsqueeze(1)) - logits
    slope = weight.unsqueeze(0) - weight[toy.y].unsqueeze(1)
    order = 1 if dual == 1 else 2 if dual == 2 else math.inf
    distance = gap / torch.linalg.vector_norm(slope, ord=order, dim=2)
    return distance.scatter(1, toy.y.unsqueeze(1), torch.inf).amin(1)


@pytest.mark.thinned
@pytest.mark.parametrize("shape", [(1, 6, 6), (20,)])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("norm", list(NORMS))
def test_the_closed_form_on_linear_models(norm: str, classes: int, shape: tuple[int, ...], toys: Toys) -> None:
    toy = toys(21, classes=classes, shape=shape)
    result = measure_min_perturbation(toy.model, (toy.x, toy.y), norm, examples=21)
    least = exact(toy, NORMS[norm][1])
    found = torch.tensor([c.size for c in sorted(result.counterexamples, key=lambda c: c.index)], dtype=torch.float64)
    assert [c.index for c in sorted(result.counterexamples, key=lambda c: c.index)] == list(range(21))
    assert bool((found >= least * (1 - 1e-6)).all())
    assert result.estimate == found.sort().values[10]
    assert result.details["not_found"] == 0
    if norm != "l1":  # a pixel that would gain most may not have the room
        assert float((found / least).median()) <= 1.03


@pytest.mark.parametrize("norm", list(NORMS))
def test_counterexamples_are_misclassified_and_gradient_descent_finds_none_that_is_nearer(
    norm: str, toys: Toys
) -> None:
    toy = toys(12)
    result = measure_min_perturbation(toy.model, (toy.x, toy.y), norm, examples=12)
    assert len(result.counterexamples) == 12
    assert all(c.predicted != c.label == c.clean for c in result.counterexamples)
    smallest = min(c.size or 0.0 for c in result.counterexamples)
    threat = NORMS[norm][0](0.95 * smallest)
    assert measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=PGD(steps=20)).estimate == 1.0


@pytest.mark.parametrize("norm", [pytest.param(norm, marks=() if norm == "l2" else pytest.mark.slow) for norm in NORMS])
def test_one_result_for_name_and_class_any_batch_and_one_seed(norm: str, toys: Toys) -> None:
    toy = toys(9)
    data = (toy.x, toy.y)
    first = measure_min_perturbation(toy.model, data, norm, batch_size=64, examples=20)
    for other in (
        measure_min_perturbation(toy.model, data, NORMS[norm][0], batch_size=64, examples=20),
        measure_min_perturbation(toy.model, data, norm, batch_size=7, examples=20),
    ):
        assert other.counterexamples == first.counterexamples
        assert (other.estimate, other.interval, other.outcomes) == (first.estimate, first.interval, first.outcomes)


def test_the_verdict_counts_samples_that_need_the_threshold(toys: Toys) -> None:
    toy = toys(10)
    data = (toy.x, toy.y)
    free = measure_min_perturbation(toy.model, data, "l2", examples=10)
    assert free.verdict is Verdict.INCONCLUSIVE
    assert free.outcomes == (True,) * 10
    sizes = sorted(c.size or 0.0 for c in free.counterexamples)
    assert free.estimate == sizes[5]  # five of ten reach it
    at = measure_min_perturbation(toy.model, data, "l2", at_least=sizes[5], examples=10)
    above = measure_min_perturbation(toy.model, data, "l2", at_least=sizes[5] * 1.0001, examples=10)
    assert (at.verdict, sum(map(bool, at.outcomes))) == (Verdict.PASSED, 5)
    assert (above.verdict, sum(map(bool, above.outcomes))) == (Verdict.FAILED, 4)
    assert [c.size for c in above.counterexamples] == sizes[:6]  # the smallest first, and no others
    assert above.subject.statement == "median L2 perturbation, minimum-l2"


def test_samples_wrong_unchanged_need_nothing(toys: Toys) -> None:
    toy = toys(9)
    y = toy.y.clone()
    y[:6] = (y[:6] + 1) % 3
    result = measure_min_perturbation(toy.model, (toy.x, y), "l2", at_least=1e-6, examples=9)
    assert result.outcomes == (False,) * 6 + (True,) * 3
    assert result.estimate == 0.0
    assert result.verdict is Verdict.FAILED
    assert result.counterexamples == ()
    assert result.details["clean_accuracy"] == pytest.approx(1 / 3)
    with pytest.raises(ConfigError, match=r"at_least to be more than 0"):
        measure_min_perturbation(toy.model, (toy.x, y), "l2", at_least=0.0)


@pytest.mark.parametrize(("norm", "widest"), [("linf", 3.0), ("l2", 3.0 * 6), ("l1", 3.0 * 36)])
def test_where_nothing_is_found_the_width_of_the_bounds_stands(norm: str, widest: float, linear: Any) -> None:
    model = linear(torch.zeros(2, 36) + torch.tensor([[1e-3], [-1e-3]]), torch.tensor([1.0, 0.0]))
    x = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0)) * 3 - 1
    result = measure_min_perturbation(model, (x, torch.zeros(4, dtype=torch.int64)), norm, bounds=(-1.0, 2.0))
    assert result.details["not_found"] == 4
    assert result.estimate == pytest.approx(widest)
    assert result.counterexamples == ()


@pytest.mark.parametrize("alpha", [0.01, 0.1])
@pytest.mark.parametrize("n", [1, 5, 7, 20, 101, 1000])
def test_the_interval_s_ends_are_the_innermost_that_hold(n: int, alpha: float) -> None:
    low, high = median_interval(np.arange(1.0, n + 1), alpha, widest=1e6)  # the k-th smallest is k

    def too_high(k: int) -> float:
        """The chance that the k-th smallest is above the median: fewer than k of n are below it."""
        return sum(math.comb(n, i) for i in range(k)) / 2**n

    if too_high(1) > alpha:
        assert (low, high) == (0.0, 1e6)
    else:
        k = round(low)
        assert too_high(k) <= alpha < too_high(k + 1)
        assert high == n - k + 1


def test_the_interval_covers_the_median_of_the_population_as_often_as_it_says() -> None:
    generator = np.random.default_rng(0)
    alpha, missed = 0.1, 0
    for _ in range(400):
        sizes = generator.exponential(size=60)
        low, high = median_interval(np.sort(sizes), alpha, widest=1e6)
        missed += not low <= math.log(2) <= high
    assert missed <= binom.ppf(0.9999, 400, 2 * alpha)
    assert missed >= binom.ppf(0.0001, 400, alpha)  # and it is not wider than it need be


def decided(
    sizes: NDArray[np.float64], n: int, threshold: float | None, *, terms: Terms, widest: float = 10.0
) -> Decision:
    """The verdict on these sizes of n samples, read in this order; the point where they settle it is looked for."""
    held = sizes > 0 if threshold is None else sizes >= threshold
    columns = {"size": sizes, "held": held, "widest": np.full(len(sizes), widest)}
    claim = MedianRule(threshold=threshold, terms=terms)
    return claim.decide(columns, n, claim.settle(columns, n))


SET = Terms(scope="set", alpha=0.01, fail_alpha=0.01)
POPULATION = Terms(scope="population", alpha=0.01, fail_alpha=0.01)


@pytest.mark.parametrize(
    ("threshold", "verdict"), [(0.5, Verdict.PASSED), (1.0, Verdict.INCONCLUSIVE), (3.0, Verdict.FAILED)]
)
def test_a_population_claim_needs_the_whole_interval(threshold: float, verdict: Verdict) -> None:
    sizes = np.random.default_rng(0).permutation(np.linspace(0.0, 2.0, 41))
    whole = decided(sizes, 41, threshold, terms=POPULATION)
    assert whole.verdict is verdict
    assert whole.estimate == 1.0
    assert whole.interval == median_interval(np.sort(sizes), 0.01, 10.0)
    assert decided(sizes, 41, 1.0, terms=SET).verdict is Verdict.PASSED
    part = decided(sizes, 1000, threshold, terms=POPULATION)  # the same samples of more: a smaller sample
    assert (part.verdict, part.interval, part.estimate) == (verdict, whole.interval, None)


def test_a_failure_about_a_population_errs_with_alpha_however_many_were_read() -> None:
    terms = Terms(scope="population", alpha=0.05, fail_alpha=1e-6)
    sizes = np.linspace(0.0, 2.0, 41)
    threshold = median_interval(sizes, 0.05, 10.0)[1] + 0.01
    assert median_interval(sizes, 1e-6, 10.0)[1] > threshold
    for n in (41, 1000):
        assert decided(sizes, n, threshold, terms=terms).verdict is Verdict.FAILED


@pytest.mark.parametrize(("threshold", "verdict"), [(0.5, Verdict.PASSED), (1.5, Verdict.FAILED)])
def test_a_median_that_is_clear_is_settled_early_and_not_measured(threshold: float, verdict: Verdict) -> None:
    sizes = np.random.default_rng(0).permutation(np.linspace(0.0, 2.0, 1000))[:128]
    early = decided(sizes, 1000, threshold, terms=SET)
    assert early.verdict is verdict
    assert early.estimate is None
    assert early.rule.startswith("alpha = 0.01 after ")
    low, high = early.interval
    assert low <= 1.0 <= high
    assert low >= threshold if verdict is Verdict.PASSED else high <= threshold


def test_a_median_cut_short_is_left_open_between_two_sizes_that_were_found() -> None:
    sizes = np.random.default_rng(0).permutation(np.linspace(0.0, 2.0, 1000))[:128]
    cut = decided(sizes, 1000, 1.0, terms=SET)
    assert (cut.verdict, cut.estimate) == (Verdict.INCONCLUSIVE, None)
    assert cut.rule == "budget: 128 of 1000 samples looked at"
    low, high = cut.interval
    assert low < 1.0 < high
    assert {low, high} <= set(sizes)
    assert decided(sizes, 1000, None, terms=SET).interval == (low, high)


@pytest.mark.parametrize("n", [1, 2, 3, 10, 11, 40])
def test_the_quantile_of_one_half_is_the_estimate_and_each_is_reached_by_the_rest(n: int) -> None:
    sizes = np.arange(1.0, n + 1)
    assert reached(sizes, 0.5) == decided(sizes, n, None, terms=SET).estimate
    for share in (0.0, 0.1, 0.25, 0.5, 0.75, 0.9):
        at = reached(sizes, share)
        assert (sizes >= at).sum() >= (1 - share) * n - 1e-9
        larger = sizes[sizes > at]
        assert not len(larger) or (sizes >= larger[0]).sum() < (1 - share) * n
    assert (reached(sizes, 0.0), reached(sizes, 1.0)) == (1.0, n)


def test_a_few_sizes_say_nothing_of_the_median_of_many() -> None:
    assert decided(np.array([0.3, 0.4]), 1000, None, terms=SET).interval == (0.0, 10.0)


@pytest.mark.parametrize("read", [20, 60, 150])
def test_the_interval_of_a_run_that_stopped_holds_the_set_s_median_as_often_as_it_says(read: int) -> None:
    n, runs, terms = 200, 400, Terms(scope="set", alpha=0.1, fail_alpha=0.1)
    generator = np.random.default_rng(0)
    sizes = generator.exponential(size=n)
    median, missed = np.sort(sizes)[n // 2], np.zeros(2, dtype=int)
    for _ in range(runs):
        low, high = decided(generator.permutation(sizes)[:read], n, None, terms=terms).interval
        missed += np.array([low > median, high < median])
    assert (missed <= binom.ppf(1 - 1e-4, runs, terms.alpha)).all()


def test_half_of_the_samples_broken_for_good_doom_a_median() -> None:
    claim = MedianRule(threshold=1.0, terms=SET)
    assert claim.doomed(6, 11)
    assert not claim.doomed(5, 11)
    assert not claim.doomed(5, 10)
    assert not MedianRule(threshold=None, terms=SET).doomed(11, 11)


def test_a_claim_on_many_samples_stops_early_and_agrees_with_the_whole(toys: Toys) -> None:
    toy = toys(400)
    data = (toy.x, toy.y)
    whole = measure_min_perturbation(toy.model, data, "linf", attack="fgsm")
    for factor, verdict in ((0.5, Verdict.PASSED), (2.0, Verdict.FAILED)):
        threshold = factor * (whole.estimate or 0)
        early = measure_min_perturbation(toy.model, data, "linf", attack="fgsm", at_least=threshold)
        exact = measure_min_perturbation(toy.model, data, "linf", attack="fgsm", at_least=threshold, exact=True)
        assert early.verdict is exact.verdict is verdict
        assert early.numbers.n < exact.numbers.n == 400
        assert (early.estimate, exact.estimate) == (None, whole.estimate)
        assert early.details["clean_accuracy"] is None
        known = [(a, b) for a, b in zip(early.outcomes, exact.outcomes, strict=True) if a is not None]
        assert len(known) == early.numbers.n
        assert all(a == b for a, b in known)


def test_an_own_attack_is_searched_with(toys: Toys) -> None:
    toy = toys(8)
    result = measure_min_perturbation(toy.model, (toy.x, toy.y), "l2", attack="ddn")
    assert result.subject.method == "ddn"
    assert result.cost.backward == 8 * 100 + 8 * 7  # and seven gradients each: do they tell the truth?
    with pytest.raises(ConfigError, match="works on L1"):
        measure_min_perturbation(toy.model, (toy.x, toy.y), "l1", attack="ddn")


def test_the_model_and_its_gradients_are_left_alone(toys: Toys, snapshot: Callable[[nn.Module], Any]) -> None:
    toy = toys(6)
    toy.model.train()
    before, random = snapshot(toy.model), torch.get_rng_state()
    measure_min_perturbation(toy.model, (toy.x, toy.y), "linf")
    assert snapshot(toy.model) == before
    assert torch.equal(torch.get_rng_state(), random)


def test_the_assertion_raises_with_the_smallest_perturbations_found(toys: Toys) -> None:
    toy = toys(10)
    with pytest.raises(ClaimFailed, match=r"median L2 perturbation") as failure:
        assert_min_perturbation(toy.model, (toy.x, toy.y), L2, at_least=5.0)
    shown = [c.size for c in failure.value.result.counterexamples]
    assert len(shown) == 3
    assert shown == sorted(shown)  # type: ignore[type-var]
    assert assert_min_perturbation(toy.model, (toy.x, toy.y), L2, at_least=1e-4).verdict is Verdict.PASSED
    with pytest.raises(ConfigError, match="nothing to claim"):
        assert_min_perturbation(toy.model, (toy.x, toy.y), L2, at_least=None)


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf, True, "1"])
def test_thresholds_out_of_range_are_refused(wrong: Any, toys: Toys) -> None:
    toy = toys(2)
    with pytest.raises(ConfigError, match="at_least"):
        measure_min_perturbation(toy.model, (toy.x, toy.y), "l2", at_least=wrong)


def test_norms_that_are_none_are_refused(toys: Toys) -> None:
    toy = toys(2)
    with pytest.raises(UnknownNameError, match="Did you mean 'l2'"):
        measure_min_perturbation(toy.model, (toy.x, toy.y), "L2")
    with pytest.raises(ConfigError, match="norm"):
        measure_min_perturbation(toy.model, (toy.x, toy.y), L2(1.0))  # type: ignore[arg-type]


def test_on_a_robust_network_the_median_is_below_that_of_ddn_alone(shared_networks: Any) -> None:
    model, data = shared_networks.load("fast_mnist_pgd"), shared_networks.images("mnist_test", 30)
    whole = measure_min_perturbation(model, data, "l2")
    alone = measure_min_perturbation(model, data, "l2", attack="ddn")
    assert whole.subject.method == MINIMUM["l2"].name
    assert whole.estimate < alone.estimate


@pytest.mark.parametrize(("read", "n", "alpha"), [(12, 24, 0.05), (13, 25, 0.05), (30, 41, 0.01), (9, 40, 0.05)])
def test_the_ends_of_a_median_cut_short_are_those_that_chances_leave_open(read: int, n: int, alpha: float) -> None:
    """By the chances of what was read, as SciPy has them, if this many of the set reach a size."""
    sizes, half = np.arange(1.0, read + 1), -(-n // 2)

    def odds(reach: int, null: int, sign: int) -> float:
        steps = [max(1, round(offset * n)) for offset in OFFSETS]
        others = [min(n, max(0, null + sign * step)) for step in steps]
        base = hypergeom.pmf(reach, n, null, read)
        mean = float(np.mean([hypergeom.pmf(reach, n, other, read) for other in others]))
        return mean / base if base else math.inf if mean else 0.0

    reach = [int((sizes >= size).sum()) for size in sizes]
    low = [size for size, more in zip(sizes, reach, strict=True) if odds(more, half - 1, 1) >= 1 / alpha]
    high = [size for size, more in zip(sizes, reach, strict=True) if odds(more, half, -1) >= 1 / alpha]
    terms = Terms(scope="set", alpha=alpha, fail_alpha=alpha)
    found = decided(sizes, n, None, terms=terms, widest=99.0).interval
    assert found == (low[-1] if low else 0.0, high[0] if high else 99.0)
