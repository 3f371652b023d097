"""DDN: the radius by its rule, the closed form on linear models, and a start outside where gradients are dead."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L1, L2, ConfigError, Linf
from robustest.attacks import ATTACKS, DDN, PGD, Cascade, Searcher, Stage
from robustest.errors import UnknownNameError
from robustest.measure import measure_robust_accuracy
from robustest.threats import Threat

WIDE = L2(1e4)

# The cross-entropy of many classes does not lead straight to the nearest one; the margin does.
EXACT = [DDN(loss="margin"), DDN.outside_in(steps=60)]


@pytest.mark.parametrize("classes", [2, 3, 4, 100])
@pytest.mark.parametrize("searcher", EXACT, ids=lambda s: s.name)
def test_the_closed_form_on_linear_models(
    searcher: DDN, classes: int, check_minimum: Callable[[Searcher, Threat, int], None]
) -> None:
    check_minimum(searcher, WIDE, classes)


def test_the_paper_s_loss_meets_the_only_boundary_of_two_classes(
    check_minimum: Callable[[Searcher, Threat, int], None],
) -> None:
    check_minimum(DDN(), WIDE, 2)


@pytest.mark.parametrize("searcher", [DDN(steps=12), DDN.outside_in(steps=12)], ids=lambda s: s.name)
def test_one_answer_for_any_batch(searcher: DDN, check_repeatable: Callable[..., None]) -> None:
    check_repeatable(searcher, WIDE, random=searcher.random_start)


@pytest.mark.parametrize("gamma_last", [None, 0.02])
def test_the_radius_shrinks_after_points_that_fool_and_grows_after_others(
    gamma_last: float | None, linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y, _ = linear_problem(3)
    searcher = DDN(steps=8, gamma=0.2, gamma_last=gamma_last, start=0.3)
    points = walk(searcher, L2(0.5), model, x, y, steps=8)
    radius = torch.full((len(x),), 0.3 * 0.5, dtype=torch.float64)
    for k, (now, then) in enumerate(pairwise(points)):
        gamma = 0.2 if gamma_last is None else 0.02 + 0.18 * 0.5 * (1 + math.cos(math.pi * k / 8))
        with torch.no_grad():
            fooled = model(now).argmax(1) != y
        radius = radius * torch.where(fooled, 1 - gamma, 1 + gamma)
        assert bool(((then > 0) & (then < 1)).all())  # the bounds have cut nothing off
        size = (then.double() - x.double()).flatten(1).norm(dim=1)
        torch.testing.assert_close(size, radius, rtol=1e-4, atol=0)


def test_outside_in_starts_at_five_times_eps_in_every_direction(
    linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y, _ = linear_problem(3)
    (start,) = walk(DDN.outside_in(), L2(0.1), model, x, y, steps=1)
    size = (start.double() - x.double()).flatten(1).norm(dim=1)
    torch.testing.assert_close(size, torch.full_like(size, 0.5), rtol=1e-4, atol=0)
    directions = (start - x).flatten(1) / size.float().unsqueeze(1)
    assert float((directions @ directions.T - torch.eye(len(x))).abs().max()) < 0.75


def test_a_random_start_outside_finds_what_has_no_gradient_near_the_sample(
    numb: tuple[nn.Module, Tensor, Tensor], smallest: Callable[..., Any]
) -> None:
    model, x, y = numb
    threat = L2(0.6)
    assert not smallest(DDN(), threat, model, x, y).broken.any()
    rounds = [smallest(DDN.outside_in(steps=40), threat, model, x, y, seed=seed).broken for seed in range(4)]
    assert torch.stack(rounds).any(0).all()


def test_a_network_that_hides_its_gradients_falls_to_starts_outside(shared_networks: Any) -> None:
    model, data = shared_networks.load("fast_mnist_pgd"), shared_networks.images("mnist_test", 60)
    rounds = Cascade(name="outside", stages=(Stage(searcher=DDN.outside_in(), rounds=4),))
    outside = measure_robust_accuracy(model, data, L2(2.0), attack=rounds)
    inside = measure_robust_accuracy(model, data, L2(2.0), attack=PGD(steps=40))
    assert outside.estimate < 0.2
    assert inside.estimate > 0.5
    assert outside.cost.backward < inside.cost.backward


def test_a_radius_of_zero_is_no_trouble(linear_problem: Callable[..., Any], smallest: Callable[..., Any]) -> None:
    model, x, y, _ = linear_problem(3)
    found = smallest(DDN.outside_in(steps=4), L2(0.0), model, x, y)
    assert not found.broken.any()
    assert torch.equal(found.x, x)


def test_it_is_for_l2_alone_and_has_two_names() -> None:
    assert DDN().supports(L2(1.0))
    assert not DDN().supports(Linf(1.0))
    assert not DDN().supports(L1(1.0))
    assert (ATTACKS["ddn"](), ATTACKS["ddn-outside-in"]()) == (DDN(), DDN.outside_in())


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"steps": 2.0},
        {"gamma": 0.0},
        {"gamma": 1.0},
        {"gamma_last": 0.0},
        {"start": 0.0},
        {"start": math.inf},
        {"step_size": -1.0},
        {"step_size": math.nan},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        DDN(**wrong)


def test_an_unknown_loss_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="loss"):
        DDN(loss="dlr")  # type: ignore[arg-type]
