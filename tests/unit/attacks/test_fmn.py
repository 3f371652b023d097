"""FMN: the radius by its rule, the closed form on linear models in every norm, pixels in L0."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L0, L1, L2, ConfigError, Linf, Spatial
from robustest.attacks import ATTACKS, FMN, Searcher
from robustest.threats import Threat

NORMS = [Linf(1e4), L2(1e4), L1(1e4)]


@pytest.mark.parametrize("classes", [2, 3, 4, 100])
@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_the_closed_form_on_linear_models(
    threat: Threat, classes: int, check_minimum: Callable[[Searcher, Threat, int], None]
) -> None:
    check_minimum(FMN(), threat, classes)


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_the_closed_form_from_a_random_start(
    threat: Threat, check_minimum: Callable[[Searcher, Threat, int], None]
) -> None:
    check_minimum(FMN(gamma=0.2, random_start=True), threat, 2)


@pytest.mark.parametrize("random_start", [False, True])
@pytest.mark.parametrize("threat", [*NORMS, L0(10)], ids=str)
def test_one_answer_for_any_batch(threat: Threat, random_start: bool, check_repeatable: Callable[..., None]) -> None:
    check_repeatable(FMN(steps=12, random_start=random_start), threat, random=random_start)


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_the_first_ball_ends_just_behind_the_boundary_of_a_linear_model(
    threat: Threat, linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y, _ = problem = linear_problem(2)
    first = walk(FMN(gamma=0.1, step_size=100.0), threat, model, x, y, steps=2)[1]
    size = threat.size(first, threat.region(x, (0.0, 1.0)))
    assert bool((size <= problem.exact(threat) * 1.1 * (1 + 1e-5)).all())
    if not isinstance(threat, L1):  # one step may go to many elements, where L1 needs one
        torch.testing.assert_close(size, problem.exact(threat) * 1.1, rtol=1e-4, atol=0)
        assert bool((model(first).argmax(1) != y).all())


def test_the_radius_never_stays_above_the_smallest_size_found(
    linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y, _ = linear_problem(3)
    points = walk(FMN(steps=30, gamma=0.3), NORMS[1], model, x, y, steps=30)
    smallest = torch.full((len(x),), torch.inf, dtype=torch.float64)
    fell = 0
    for now, then in pairwise(points):
        size = (now.double() - x.double()).flatten(1).norm(dim=1)
        fooled = model(now).argmax(1) != y
        smallest = torch.where(fooled, torch.minimum(smallest, size), smallest)
        following = (then.double() - x.double()).flatten(1).norm(dim=1)
        assert bool((following[fooled] <= smallest[fooled] * (1 + 1e-5)).all())
        fell += int(fooled.sum())
    assert fell > len(x)


def test_in_l0_few_pixels_are_found(linear_problem: Callable[..., Any], smallest: Callable[..., Any]) -> None:
    model, x, y, weight = linear_problem(2)
    found = smallest(FMN(gamma=0.3), L0(36), model, x, y)
    assert found.broken.all()
    assert torch.equal(found.size, (found.x != x).flatten(1).sum(1).double())
    # Greedily, each pixel to its bound, the one that gains most first: the exact answer of a linear model.
    slope = weight[1 - y] - weight[y]
    flat = x.flatten(1).double()
    gains = torch.where(slope > 0, slope * (1 - flat), -slope * flat).sort(dim=1, descending=True).values.cumsum(1)
    logits = model(x).double()
    margin = (logits.gather(1, y.unsqueeze(1)) - logits.gather(1, 1 - y.unsqueeze(1))).squeeze(1)
    exact = (gains < margin.unsqueeze(1)).sum(1) + 1
    assert bool((found.size >= exact).all())
    assert bool((found.size <= exact + 1).all())


def test_a_random_start_finds_what_has_no_gradient_near_the_sample(
    numb: tuple[nn.Module, Tensor, Tensor], smallest: Callable[..., Any]
) -> None:
    model, x, y = numb
    assert not smallest(FMN(), Linf(0.3), model, x, y).broken.any()
    assert smallest(FMN(gamma=0.1, random_start=True), Linf(0.3), model, x, y).broken.float().mean() > 0.9


def test_it_is_for_balls_and_has_a_name() -> None:
    assert all(FMN().supports(threat) for threat in (*NORMS, L0(3)))
    assert not FMN().supports(Spatial())
    assert ATTACKS["fmn"]() == FMN()


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"steps": True}, {"gamma": 0.0}, {"gamma": 1.0}, {"step_size": 0.0}, {"step_size": math.inf}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FMN(**wrong)
