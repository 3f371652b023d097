"""Robust accuracy: the closed form on linear models, and the same answer whatever the batches."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from robustest import L2, Linf, Result, Verdict
from robustest.attacks import FGSM, PGD
from robustest.measure import measure_robust_accuracy

WIDE = (-100.0, 100.0)
"""Bounds so far away that clipping to them plays no part."""
CLEAR = 1e-3
"""Samples closer to the border than this share of eps are left out: float32 decides them."""
BALLS = [Linf, L2]


class Problem(NamedTuple):
    """A random linear classifier and samples, right and wrong, near its borders and far from them."""

    weight: Tensor
    bias: Tensor
    x: Tensor
    y: Tensor


def problem(seed: int, classes: int, dims: int, n: int = 40) -> Problem:
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(classes, dims, generator=generator)
    x = 3 * torch.randn(n, dims, generator=generator)
    y = (x @ weight.T).argmax(1)
    wrong = torch.rand(n, generator=generator) < 0.1
    return Problem(weight, torch.randn(classes, generator=generator), x, torch.where(wrong, (y + 1) % classes, y))


def gentle(case: Problem, largest: float = 5.0) -> Problem:
    """The same classifier with logits of moderate size."""
    scale = largest / float((case.x @ case.weight.T + case.bias).abs().max())
    return case._replace(weight=case.weight * scale, bias=case.bias * scale)


def slack(case: Problem, threat: Any) -> Tensor:
    """(N,) float64: how far the nearest border is, in the threat's norm, minus eps; the closed form.

    For every other class j the border is (w_y - w_j) x + b_y - b_j = 0, at that value over the dual norm.
    """
    x, weight, bias = case.x.double(), case.weight.double(), case.bias.double()
    dual = 1 if isinstance(threat, Linf) else 2
    logits = x @ weight.T + bias
    nearest = torch.full((len(x),), torch.inf, dtype=torch.float64)
    for j in range(len(weight)):
        distance = (logits.gather(1, case.y.view(-1, 1)).squeeze(1) - logits[:, j]) / (weight[case.y] - weight[j]).norm(
            p=dual, dim=1
        )
        nearest = torch.where(case.y == j, nearest, torch.minimum(nearest, distance))
    return nearest - threat.eps


def middle_radius(case: Problem, ball: type) -> float:
    """A radius that breaks about half of the samples."""
    distances = slack(case, ball(0.0))
    return float(distances[distances > 0].median())


def measured(model: nn.Module, case: Problem, threat: Any, attack: Any, **options: Any) -> Tensor:
    result = measure_robust_accuracy(model, (case.x, case.y), threat, attack=attack, bounds=WIDE, **options)
    return torch.tensor(result.outcomes)


@pytest.mark.parametrize("ball", BALLS)
@given(st.integers(0, 10**6), st.sampled_from([1, 5, 30]), st.floats(0.2, 3))
@settings(max_examples=8)
def test_two_classes_are_broken_exactly_where_the_closed_form_says(
    ball: type, linear: Any, seed: int, dims: int, scale: float
) -> None:
    """One step of length eps from the sample is the worst point there is, so that every attack must find it."""
    case = gentle(problem(seed, 2, dims))
    threat = ball(scale * middle_radius(case, ball))
    clear = slack(case, threat).abs() > CLEAR * threat.eps
    held = slack(case, threat) > 0
    model = linear(case.weight, case.bias)
    for attack in (FGSM(), PGD(steps=40, step_size=threat.eps / 4), PGD(steps=10, random_start=False)):
        assert torch.equal(measured(model, case, threat, attack)[clear], held[clear])


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 100.0, 1e6])
@pytest.mark.parametrize("attack", ["fgsm", "pgd"])
def test_the_size_of_the_logits_hides_nothing(ball: type, scale: float, attack: str, linear: Any) -> None:
    """Multiplied by any number a model predicts the same, and is as easily broken: gradients must not drown in it."""
    case = gentle(problem(0, 2, 10))
    threat = ball(middle_radius(case, ball))
    broken = slack(case, threat) < -0.1 * threat.eps  # far enough for the default step of PGD
    assert int(broken.sum()) > 10
    model = linear(case.weight * scale, case.bias * scale)
    assert not bool(measured(model, case, threat, attack)[broken].any())


@pytest.mark.parametrize("ball", BALLS)
@given(st.integers(0, 10**6), st.sampled_from([3, 4, 10]), st.sampled_from([2, 10, 30]))
@settings(max_examples=8)
def test_many_classes_are_never_broken_beyond_the_closed_form(
    ball: type, linear: Any, seed: int, classes: int, dims: int
) -> None:
    case = problem(seed, classes, dims)
    threat = ball(middle_radius(case, ball))
    sure = slack(case, threat) > CLEAR * threat.eps
    model = linear(case.weight, case.bias)
    for attack in (PGD(steps=10), FGSM()):
        assert bool(measured(model, case, threat, attack)[sure].all())


@pytest.mark.thinned
@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize(("classes", "dims"), [(3, 10), (5, 10), (10, 30)])
def test_many_classes_are_broken_nearly_everywhere_the_closed_form_says(
    ball: type, classes: int, dims: int, linear: Any
) -> None:
    """The cross-entropy of a linear model is convex, so that its ascent can end at the corner of a wrong class.

    Many steps miss few of the samples that can be broken, fewer than one in twenty, where the logits are large enough
    that the cross-entropy tells the nearest class from the others.
    """
    breakable = missed = 0
    for seed in range(5):
        case = gentle(problem(seed, classes, dims), 15.0)
        threat = ball(middle_radius(case, ball))
        truth = slack(case, threat)
        held = measured(linear(case.weight, case.bias), case, threat, PGD(steps=50, step_size=threat.eps / 10))
        breakable += int((truth < -CLEAR * threat.eps).sum())
        missed += int((held & (truth < -CLEAR * threat.eps)).sum())
    assert breakable > 75
    assert missed < breakable / 20


@pytest.mark.parametrize("ball", BALLS)
def test_clipping_to_the_bounds_is_part_of_the_threat(ball: type, linear: Any) -> None:
    """At x = 1, the upper bound, nothing can be added: a border that lies above is never reached."""
    model = linear(torch.tensor([[0.0], [1.0]]), torch.tensor([1.1, 0.0]))  # class 1 from x = 1.1 on
    x, y = torch.ones(4, 1), torch.zeros(4, dtype=torch.int64)
    assert measure_robust_accuracy(model, (x, y), ball(0.5)).estimate == 1
    assert measure_robust_accuracy(model, (x, y), ball(0.5), bounds=(0, 2)).estimate == 0


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("attack", ["pgd", "fgsm"])
def test_a_radius_of_zero_is_clean_accuracy(ball: type, attack: str, toys: Callable[..., Any]) -> None:
    toy = toys(100)
    y = torch.where(torch.arange(100) < 30, (toy.y + 1) % 3, toy.y)
    result = measure_robust_accuracy(toy.model, (toy.x, y), ball(0.0), attack=attack)
    assert result.outcomes == (False,) * 30 + (True,) * 70
    assert result.estimate == result.details["clean_accuracy"] == 0.7
    assert result.counterexamples == ()


@pytest.mark.parametrize("ball", BALLS)
def test_accuracy_falls_as_the_ball_grows(ball: type, toys: Callable[..., Any]) -> None:
    toy = toys(100)
    scale = 1 if ball is Linf else 6
    results = [measure_robust_accuracy(toy.model, (toy.x, toy.y), ball(e * scale)) for e in (0.0, 0.02, 0.05, 0.1, 1.0)]
    held = [{i for i, ok in enumerate(result.outcomes) if ok} for result in results]
    assert all(smaller >= larger for smaller, larger in pairwise(held))
    assert len(held[0]) == 100
    assert len(held[-1]) == 0


@pytest.mark.parametrize("ball", BALLS)
@pytest.mark.parametrize("eps", [1e3, 1e10, 1e20, 1e30, 1e39, float("inf")])
def test_no_radius_is_so_large_that_a_model_holds(ball: type, eps: float, toys: Callable[..., Any]) -> None:
    """A ball that covers the whole box breaks every model of more than one class; or its radius is refused."""
    toy = toys(20)
    try:
        threat = ball(eps)
    except ValueError:
        return
    assert measure_robust_accuracy(toy.model, (toy.x, toy.y), threat).estimate == 0


@pytest.mark.thinned
@pytest.mark.parametrize("threat", [Linf(0.04), L2(0.25)], ids=str)
@pytest.mark.parametrize("attack", [PGD(steps=10), FGSM()])
def test_batches_do_not_change_outcomes(threat: Any, attack: Any, toys: Callable[..., Any]) -> None:
    """The model computes in float64, so that the shape of a batch cannot move an answer by its rounding."""
    toy = toys(80)
    results = [
        measure_robust_accuracy(toy.model, (toy.x, toy.y), threat, attack=attack, batch_size=size, seed=3)
        for size in (1, 7, 256)
    ]
    assert 0.1 < results[0].estimate < 0.9
    assert results[0].outcomes == results[1].outcomes == results[2].outcomes


@pytest.mark.parametrize("attack", [PGD(steps=10), FGSM()])
def test_batches_do_not_change_counterexamples(attack: Any, toys: Callable[..., Any]) -> None:
    toy = toys(80)
    results = [
        measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.04), attack=attack, batch_size=size)
        for size in (1, 7, 256)
    ]
    shown = [[(c.index, c.predicted) for c in result.counterexamples] for result in results]
    assert shown[0] == shown[1] == shown[2]


def same(first: Result, second: Result) -> bool:
    drop = ("cost",)
    one, two = ({k: v for k, v in r.to_dict().items() if k not in drop} for r in (first, second))
    return one == two and first.cost.forward == second.cost.forward and first.cost.backward == second.cost.backward


def test_the_same_seed_gives_the_same_result_and_another_seed_another(toys: Callable[..., Any]) -> None:
    toy = toys(150)

    def run(seed: int) -> Result:
        attack = PGD(steps=1, step_size=1e-6)  # hardly more than its random start
        return measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.3), attack=attack, seed=seed)

    assert same(run(1), run(1))
    assert run(1).outcomes != run(2).outcomes


def test_without_randomness_the_order_of_the_data_does_not_matter(toys: Callable[..., Any]) -> None:
    toy = toys(150)
    order = torch.randperm(150, generator=torch.Generator().manual_seed(0))
    first = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.04), attack="fgsm").outcomes
    other = measure_robust_accuracy(toy.model, (toy.x[order], toy.y[order]), Linf(0.04), attack="fgsm").outcomes
    assert other == tuple(first[i] for i in order.tolist())


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 4, 4), (1, 2, 2, 2, 2)], ids=str)
def test_inputs_may_have_any_shape(shape: tuple[int, ...], toys: Callable[..., Any]) -> None:
    toy = toys(30, shape=shape)
    for threat in (Linf(0.0), L2(100.0)):
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), threat)
        assert result.estimate == (1 if threat.eps == 0 else 0)
        assert all(worst.image is None for worst in result.counterexamples)


def test_one_sample_is_enough(toys: Callable[..., Any]) -> None:
    """For a measurement; a claim about it needs one of another class, or to say that it is meant."""

    def measure(n: int, eps: float = 1e-5, **options: Any) -> Result:
        toy = toys(n)
        return measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(eps), at_least=1.0, **options)

    one = measure(1)
    assert (one.estimate, one.verdict, one.rule) == (1.0, Verdict.INCONCLUSIVE, "health check: constant_answer")
    assert measure(1, suppress=("constant_answer",)).verdict is Verdict.PASSED
    assert measure(4).verdict is Verdict.PASSED
    for n in (1, 4):
        nothing = measure(n, eps=0.0, suppress=("constant_answer",))
        assert (nothing.verdict, nothing.ruling.reasons) == (Verdict.INCONCLUSIVE, ("unchanged",))


def test_a_result_says_everything(toys: Callable[..., Any]) -> None:
    toy = toys(100, classes=8)
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.03), at_least=0.25, attack="fgsm", seed=4)
    held = result.outcomes.count(True)
    subject, ruling = result.subject, result.ruling
    assert (subject.kind, subject.method, subject.setting) == ("robust_accuracy", "fgsm", "Linf(eps=0.03)")
    assert subject.statement == "robust accuracy under Linf(eps=0.03), fgsm"
    assert (result.numbers.quantity, ruling.comparison, ruling.threshold) == ("robust accuracy", ">=", 0.25)
    assert (result.evidence.seed, result.numbers.n, result.numbers.n_total) == (4, 100, 100)
    assert result.estimate == held / 100
    assert (result.numbers.bounds, result.interval[0]) == ("above", 0.0)
    assert result.numbers.left_interval[0] < result.estimate < result.interval[1] == result.numbers.left_interval[1]
    assert result.verdict is (Verdict.PASSED if held >= 25 else Verdict.FAILED)
    assert result.details["broken_by_attack"] == 100 - held
    assert 0 < result.details["largest_size"] <= result.details["radius"] == 0.03


def test_without_a_threshold_nothing_is_decided(toy: Any) -> None:
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert result.ruling.threshold is None
