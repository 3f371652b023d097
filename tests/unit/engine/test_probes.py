"""Probes of a few samples: what they count."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf, as_classifier, rng, scores_model
from robustest.attacks import PGD, Cascade, Needs, Stage
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import probe_inputs, probe_survivors, two_balls
from robustest.engine.search import SearchOutcome
from robustest.health import Health

CPU = torch.device("cpu")


def probed(model: Any, x: Tensor, **options: Any) -> Health:
    evaluator = Evaluator(as_classifier(model), CPU, batch_size=None, **{"suppress": (), "notes": [], **options})
    ids = torch.arange(len(x))
    chunk = Chunk(ids, x, torch.zeros_like(ids), rng.keys(0, ids), (0.0, 1.0))
    searchers = [PGD()] if evaluator.model.gives is Needs.GRADIENT else []
    probe_inputs(evaluator, chunk, evaluator.logits(x), searchers, Linf(0.1))
    return evaluator.health


def low() -> bool:
    """Whether a model is being passed in bfloat16."""
    return torch.is_autocast_enabled("cpu")


def apart(rows: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """A model of three classes whose two likeliest change places in bfloat16, at the rows marked.

    The first element of a row is the lead of its likeliest class.
    """

    def model(x: Tensor) -> Tensor:
        lead = x[:, 0]
        lead = torch.where(rows(x) & low(), -lead, lead)
        return torch.stack([lead, torch.zeros_like(lead), torch.full_like(lead, -5)], 1) + 0 * x.sum(1, keepdim=True)

    return model


def leads(*values: float) -> Tensor:
    """Rows (N, 2) with these leads."""
    return torch.tensor([[value, 0.5] for value in values])


def test_samples_that_bfloat16_classifies_otherwise_are_counted() -> None:
    health = probed(apart(lambda x: x[:, 0] > 0.8), leads(0.9, 0.9, 0.7, 0.7, 0.7))
    assert health.counts("precision_disagreement") == (2, 5)


def test_near_ties_are_not_counted() -> None:
    """Half the samples change places, all of them closer than a quarter of the usual lead."""
    health = probed(apart(lambda x: x[:, 0] < 0.2), leads(0.1, 0.8, 0.1, 0.8, 0.1, 0.8, 0.8))
    assert health.counts("precision_disagreement") == (0, 7)


@pytest.mark.parametrize(("lead", "counted"), [(0.125, 1), (0.124, 0)])
def test_a_quarter_of_the_usual_lead_is_no_near_tie(lead: float, counted: int) -> None:
    health = probed(apart(lambda x: x[:, 0] < 0.2), leads(lead, 0.5, 0.5, 0.5))
    assert health.counts("precision_disagreement") == (counted, 4)


def test_eight_samples_of_a_chunk_are_passed_so() -> None:
    calls: list[int] = []

    def model(x: Tensor) -> Tensor:
        if low():
            calls.append(len(x))
        return apart(lambda x: x[:, 0] > 2)(x)

    assert probed(model, leads(*[0.5] * 40)).counts("precision_disagreement")[1] == 8
    assert calls == [8]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_in_bfloat16_is_another_answer(value: float) -> None:
    health = probed(lambda x: torch.full((len(x), 3), value) if low() else apart(lambda x: x[:, 0] > 2)(x), leads(0.5))
    assert health.counts("precision_disagreement") == (1, 1)


def test_a_model_that_cannot_run_in_bfloat16_is_not_counted() -> None:
    def model(x: Tensor) -> Tensor:
        if low():
            raise RuntimeError("not implemented for 'BFloat16'")
        return apart(lambda x: x[:, 0] > 2)(x)

    assert probed(model, leads(0.5, 0.5)).counts("precision_disagreement")[1] == 0


def test_models_that_may_answer_at_random_are_not_asked() -> None:
    health = probed(apart(lambda x: x[:, 0] > 0), leads(0.5, 0.5), suppress=("random_forward",))
    assert health.counts("precision_disagreement")[1] == 0
    assert health.counts("quantised_input")[1] == 2


def test_a_function_of_arrays_has_one_precision_alone() -> None:
    assert probed(scores_model(lambda x: x), leads(0.5, 0.5)).counts("precision_disagreement")[1] == 0


def test_sound_networks_agree(shared_networks: Any) -> None:
    """All samples that rounding moves, of 64 in each, are near ties."""
    for name, images in (("resnet_2b", "cifar10_test_exact1000"), ("marabou_small", "cifar10_test_exact1000")):
        network: nn.Module = shared_networks.load(name)
        x, _ = shared_networks.images(images, 64)
        assert sum(probed(network, part).counts("precision_disagreement")[0] for part in x.split(8)) == 0


BALLS = [(Linf(1.0), Linf(0.05)), (L2(3.0), L2(0.2))]


@pytest.mark.parametrize(("first", "second"), BALLS, ids=str)
def test_two_balls_in_one_search_are_each_as_alone(first: Any, second: Any) -> None:
    n, bounds = 5, (0.0, 1.0)
    x = torch.rand(n, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    both, keys = two_balls(first, second), rng.keys(0, torch.arange(2 * n))
    region = both.region(torch.cat([x, x]), bounds)
    far = torch.cat([x, x]) + 10 * rng.normal(keys, x.shape[1:])
    for ball, rows in ((first, slice(n)), (second, slice(n, None))):
        alone = ball.region(x, bounds)
        start, z = ball.start(alone, keys[rows]), ball.project(far[rows], alone)
        assert torch.equal(both.start(region, keys)[rows], start)
        assert torch.equal(both.project(far, region)[rows], z)
        assert torch.equal(both.stride(region)[rows], ball.stride(alone))
        assert torch.allclose(both.size(both.project(far, region), region)[rows] * ball.eps, ball.size(z, alone))
    assert bool((both.size(both.project(far, region), region) <= both.radius * (1 + 1e-6)).all())


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.5)], ids=str)
def test_survivors_are_attacked_without_a_bound_and_at_half_the_radius_in_the_same_passes(
    threat: Any, toys: Any, watched: Any
) -> None:
    """Three survivors in two balls, eight steps and a last look; what is found is predicted once more."""
    toy = toys(8, classes=2)
    model = watched(toy.model)
    evaluator = Evaluator(as_classifier(model), CPU, batch_size=None, suppress=(), notes=[])
    evaluator.logits(toy.x)
    model.calls.clear()
    ids = torch.arange(8)
    chunk, found = Chunk(ids, toy.x, toy.y, rng.keys(0, ids), (0.0, 1.0)), unbroken(toy.x, toy.y)
    probe_survivors(evaluator, Cascade(name="one", stages=(Stage(searcher=PGD()),)), threat, chunk, found)
    health = evaluator.health
    assert (health.counts("unbounded_attack_fails")[1], health.counts("not_monotone")[1]) == (3, 3)
    assert health.counts("unbounded_attack_fails")[0] == 0
    assert health.counts("not_monotone")[0] == int(found.broken.sum())
    assert bool((found.size[found.broken] <= threat.radius / 2 * (1 + 1e-6)).all())
    assert health.counts("zero_gradient")[1] == 0
    assert model.calls[0] == 6
    assert len(model.calls) <= 10


def unbroken(x: Tensor, y: Tensor) -> SearchOutcome:
    """What a cascade that found nothing leaves."""
    none = torch.zeros(len(y))
    return SearchOutcome(none.bool(), x.clone(), none.double(), y.clone(), none + torch.inf)


class Grid(torch.autograd.Function):
    """Sixteen levels, whose gradient is the identity's or nothing."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, through: bool) -> Tensor:
        ctx.through = through
        return torch.round(x * 16) / 16

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.through, None


@pytest.mark.parametrize(("through", "count"), [(True, 0), (False, 5)])
def test_a_grid_hides_something_from_a_search_where_its_gradient_stops(through: bool, count: int) -> None:
    """To the last bit: a rounding in the logits may make it look as though the input had moved them."""
    x = torch.full((5, 4), 0.5) + torch.arange(4) / 16
    health = probed(lambda x: Grid.apply(x, through) @ torch.eye(4)[:, :3], x)
    assert health.counts("quantised_input") == (count, 5)
