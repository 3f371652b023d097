"""One perturbation for all: learned on one half of the samples, measured on the other, against the closed form."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import (
    L2,
    ClaimFailed,
    ConfigError,
    DataError,
    Linf,
    ModelError,
    Verdict,
    assert_no_universal_perturbation,
)
from robustest.measure import measure_no_universal_perturbation
from robustest.threats import L1

WIDE = (-100.0, 100.0)
"""Bounds so far away that clipping to them plays no part."""


@pytest.fixture
def lopsided(linear: Callable[..., nn.Module]) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A model of two classes, 200 samples that it puts into class 0, their margins, and its weights' difference.

    All samples want the same perturbation, so the best one is known: eps times the dual direction.
    """
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(2, 20, generator=generator)
    x = torch.randn(800, 20, generator=generator)
    difference = (weight[1] - weight[0]).double()
    x = x[x.double() @ difference < 0][:200]
    return linear(weight, torch.zeros(2)), x, -(x.double() @ difference), difference


@pytest.mark.parametrize("ball", [Linf, L2])
def test_where_all_want_the_same_it_finds_the_best_perturbation(ball: Any, lopsided: Any) -> None:
    model, x, margin, difference = lopsided
    dual = float(difference.norm(p=1 if ball is Linf else 2))
    eps = float(margin.median()) / dual
    y = torch.zeros(len(x), dtype=torch.int64)
    result = measure_no_universal_perturbation(model, (x, y), ball(eps), iterations=40, bounds=WIDE)
    measured = [at for at, held in enumerate(result.outcomes) if held is not None]
    assert len(measured) == result.numbers.n == 100
    assert result.numbers.n_total == len(result.outcomes) == 200
    clear = [at for at in measured if abs(float(margin[at]) - eps * dual) > 1e-3 * eps * dual]
    assert len(clear) > 95
    assert [result.outcomes[at] for at in clear] == [bool(margin[at] > eps * dual) for at in clear]
    assert result.estimate == sum(result.outcomes[at] is False for at in measured) / 100
    assert 0.3 < result.estimate < 0.7


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_it_fools_nobody_whom_no_perturbation_fools(threat: Any, toys: Callable[..., Any]) -> None:
    toy = toys(200)
    weight, logits = toy.model.weight.detach(), toy.model(toy.x).detach()
    sure = torch.ones(200, dtype=torch.bool)
    for other in range(3):
        gap = logits.gather(1, toy.y.view(-1, 1)).squeeze(1) - logits[:, other]
        slope = (weight[toy.y] - weight[other]).norm(p=1 if isinstance(threat, Linf) else 2, dim=1)
        sure &= (gap > threat.eps * slope * (1 + 1e-5)) | (toy.y == other)
    result = measure_no_universal_perturbation(toy.model, (toy.x, toy.y), threat, iterations=20)
    assert all(held is not False for held, safe in zip(result.outcomes, sure.tolist(), strict=True) if safe)
    assert 0 < result.estimate < 1
    assert all(0 < worst.size <= threat.eps * (1 + 1e-6) for worst in result.counterexamples)


def soft(seed: int, size: int) -> tuple[Tensor, Tensor]:
    """Weights of a linear model of ten classes, and samples in the bounds; its logits are small (times .3)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(10, size, generator=generator), torch.rand(600, size, generator=generator)


def best_known(weight: Tensor, x: Tensor, eps: float) -> float:
    """The fooling rate of the best change known: towards each class in closed form, then smoothed steps on all of x."""

    def fooled(delta: Tensor) -> Tensor:
        z = ((x + delta).clamp(0, 1) - 0.5) @ weight.T
        return (z - z.gather(1, y)).scatter(1, y, -torch.inf).amax(1)

    y, best = ((x - 0.5) @ weight.T).argmax(1, keepdim=True), 0.0
    for towards in weight - weight.mean(0):
        delta = eps * towards.sign()
        for step in range(60):
            best = max(best, float((fooled(delta) > 0).float().mean()))
            leaf = delta.clone().requires_grad_(True)
            (gradient,) = torch.autograd.grad(torch.sigmoid(fooled(leaf) / 2).mean(), leaf)
            delta = (delta + 0.2 * eps * (1 - step / 60) * gradient.sign()).clamp(-eps, eps)
    return best


@pytest.mark.parametrize(("models", "most"), [(6, 5), (30, 27)])
@pytest.mark.slow
def test_on_soft_logits_it_comes_near_the_best_change_known(models: int, most: int) -> None:
    """In 27 of 30 linear models or more, its fooling rate is .8 of the best known."""
    near = 0
    for seed in range(models):
        size, eps = ((20, 0.1), (60, 0.06), (150, 0.04))[seed % 3]
        weight, x = soft(seed, size)
        model = nn.Sequential(nn.Flatten(), nn.Linear(size, len(weight)))
        with torch.no_grad():
            model[1].weight.copy_(0.3 * weight)
            model[1].bias.copy_(-0.15 * weight.sum(1))
        found = measure_no_universal_perturbation(
            model, (x, torch.zeros(600, dtype=torch.int64)), Linf(eps), iterations=100
        )
        near += found.estimate >= 0.8 * best_known(weight, x, eps)
    assert near >= most


class Recorder(nn.Module):
    """Remembers what it was shown."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x.detach().clone())
        out: Tensor = self.inner(x)
        return out


def test_every_sample_gets_the_same_perturbation(lopsided: Any) -> None:
    model, x, _, _ = lopsided
    recorder = Recorder(model)
    y = torch.zeros(len(x), dtype=torch.int64)
    measure_no_universal_perturbation(recorder, (x[:100], y[:100]), Linf(0.3), iterations=5, bounds=WIDE)
    before, after = [batch for batch in recorder.seen if len(batch) == 50][-2:]
    torch.testing.assert_close(after - before, (after - before)[:1].expand_as(after), rtol=0, atol=1e-5)
    assert float((after - before).abs().max()) == pytest.approx(0.3, abs=1e-5)


def test_what_is_measured_was_not_learned_from(lopsided: Any) -> None:
    """Mini-batches, each passed without and with the perturbation, before the first chunk is measured."""
    model, x, _, _ = lopsided
    recorder = Recorder(model)
    y = torch.zeros(len(x), dtype=torch.int64)
    result = measure_no_universal_perturbation(recorder, (x, y), Linf(1e-6), iterations=4, bounds=WIDE, batch_size=512)
    learning = torch.cat([batch for batch in recorder.seen if len(batch) in (64, 36)])[
        : 2 * (64 + 36 + 64 + 36)
    ].float()
    held_out = x[[at for at, held in enumerate(result.outcomes) if held is not None]]
    nearest = torch.cdist(learning, held_out, compute_mode="donot_use_mm_for_euclid_dist").amin()
    assert float(nearest) > 0.1
    assert float(torch.cdist(learning, x).amin(1).max()) < 0.01  # they are samples, though


def test_the_sum_is_clipped_to_the_bounds(toy: Any) -> None:
    recorder = Recorder(toy.model)
    measure_no_universal_perturbation(recorder, (toy.x, toy.y), Linf(0.6), iterations=5)
    assert min(float(x.min()) for x in recorder.seen) == 0.0
    assert max(float(x.max()) for x in recorder.seen) == 1.0


def test_labels_do_not_matter_for_who_is_fooled(toy: Any) -> None:
    right = measure_no_universal_perturbation(toy.model, (toy.x, toy.y), Linf(0.2), iterations=10)
    wrong = measure_no_universal_perturbation(toy.model, (toy.x, (toy.y + 1) % 3), Linf(0.2), iterations=10)
    assert right.outcomes == wrong.outcomes
    assert (right.details["clean_accuracy"], wrong.details["clean_accuracy"]) == (1, 0)
    assert right.details["accuracy_under_perturbation"] == pytest.approx(1 - right.estimate)
    assert right.details["fooled"] == right.estimate * right.numbers.n


def test_a_ball_of_nothing_fools_nobody(toy: Any) -> None:
    def measure(eps: float) -> Any:
        how: dict[str, Any] = {"max_fooling_rate": 0.0, "iterations": 3, "exact": True}
        return measure_no_universal_perturbation(toy.model, (toy.x, toy.y), Linf(eps), **how)

    nothing, little = measure(0.0), measure(1e-5)
    assert nothing.estimate == little.estimate == 0
    assert little.verdict is Verdict.PASSED
    assert (nothing.verdict, nothing.ruling.reasons) == (Verdict.INCONCLUSIVE, ("unchanged",))
    assert nothing.rule.startswith("nothing was tested: Linf(eps=0) changes none of ")


def test_batches_do_not_matter_seeds_do_and_nothing_is_left_behind(
    toys: Callable[..., Any], snapshot: Callable[..., Any]
) -> None:
    toy = toys(150)

    def run(**options: Any) -> tuple[Any, ...]:
        before, state = snapshot(toy.model), torch.get_rng_state()
        result = measure_no_universal_perturbation(toy.model, (toy.x, toy.y), Linf(0.1), iterations=8, **options)
        assert snapshot(toy.model) == before
        assert torch.equal(torch.get_rng_state(), state)
        return result.outcomes, [(c.index, c.predicted) for c in result.counterexamples]

    whole = run()
    assert run() == whole
    assert run(batch_size=7) == whole
    other, _ = run(seed=1)
    assert [held is None for held in other] != [held is None for held in whole[0]]  # the halves are drawn anew


def test_a_counterexample_names_the_users_own_sample(toy: Any) -> None:
    result = measure_no_universal_perturbation(toy.model, (toy.x, toy.y), Linf(0.3), iterations=10)
    assert result.counterexamples
    for worst in result.counterexamples:
        assert result.outcomes[worst.index] is False
        assert worst.label == worst.clean == int(toy.y[worst.index])
        assert worst.predicted != worst.clean


def test_it_takes_the_steps_it_was_given(lopsided: Any, watched: Callable[..., Any]) -> None:
    """Of 100 samples to learn from, a lap is a batch of 64 and one of 36.

    The best start has all three steps; each of 18 starts (nothing, ten at random, two classes, five that no gradient
    found) has one before. Seven for each of eight samples are the question whether gradients tell the truth.
    """
    model, x, _, _ = lopsided
    counted = watched(model)
    y = torch.zeros(len(x), dtype=torch.int64)
    result = measure_no_universal_perturbation(counted, (x, y), Linf(0.1), iterations=3, bounds=WIDE)
    assert counted.backward_samples == result.cost.backward == (64 + 36 + 64) + 18 * 64 + 8 * 7
    assert result.details["learned_on"] == 100


def test_the_result_is_plain_json(toy: Any) -> None:
    result = measure_no_universal_perturbation(toy.model, (toy.x, toy.y), Linf(0.1), iterations=2)
    assert json.loads(json.dumps(result.to_dict()))["kind"] == "no_universal_perturbation"


def test_the_assertion_lets_through_what_holds_and_raises_on_what_does_not(toy: Any) -> None:
    measured = measure_no_universal_perturbation(toy.model, (toy.x, toy.y), Linf(0.2), iterations=10)
    assert 0 < measured.estimate < 1
    at_the_edge = assert_no_universal_perturbation(
        toy.model, (toy.x, toy.y), Linf(0.2), max_fooling_rate=measured.estimate, iterations=10
    )
    assert at_the_edge.verdict is Verdict.PASSED
    with pytest.raises(ClaimFailed, match="fooling rate") as failed:
        assert_no_universal_perturbation(
            toy.model, (toy.x, toy.y), Linf(0.2), max_fooling_rate=measured.estimate - 0.05, iterations=10
        )
    assert failed.value.result.estimate == measured.estimate


@pytest.mark.parametrize(
    "wrong",
    [
        {"iterations": 0},
        {"iterations": 2.0},
        {"max_fooling_rate": 1.5},
        {"max_fooling_rate": 1.0},
        {"threat": L1(1.0)},
        {"threat": Linf},
    ],
    ids=str,
)
def test_arguments_out_of_range_are_refused(wrong: dict[str, Any], toy: Any) -> None:
    arguments = {"threat": Linf(0.1), **wrong}
    with pytest.raises(ConfigError):
        measure_no_universal_perturbation(toy.model, (toy.x, toy.y), arguments.pop("threat"), **arguments)


def test_one_sample_is_not_enough(toy: Any) -> None:
    with pytest.raises(DataError, match="two samples"):
        measure_no_universal_perturbation(toy.model, (toy.x[:1], toy.y[:1]), Linf(0.1))


def test_two_samples_are(toy: Any) -> None:
    result = measure_no_universal_perturbation(toy.model, (toy.x[:2], toy.y[:2]), Linf(0.1), iterations=1)
    assert sorted(str(held is None) for held in result.outcomes) == ["False", "True"]


def test_a_model_without_gradients_is_an_error(toy: Any) -> None:
    with pytest.raises(ModelError, match="gradients"):
        measure_no_universal_perturbation(lambda x: toy.model(x).detach(), (toy.x, toy.y), Linf(0.1), iterations=2)


@pytest.mark.slow
def test_an_undefended_network_falls_to_one_perturbation(shared_networks: Any) -> None:
    """Standard training has no defence; adversarial training within the same ball has one."""
    data = shared_networks.images("mnist_test", 400)
    standard, trained = (shared_networks.load(name) for name in ("lenet5_mnist", "fast_mnist_pgd"))
    threat = Linf(0.2)
    fooled = measure_no_universal_perturbation(standard, data, threat, iterations=120).estimate
    assert fooled > 0.2
    assert measure_no_universal_perturbation(trained, data, threat, iterations=120).estimate < 0.05
