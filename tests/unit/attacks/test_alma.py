"""ALMA: the penalty's slope, the first step, the closed form on linear models, and two classes of any scale."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L1, L2, ConfigError, Linf
from robustest.attacks import ALMA, ATTACKS, Searcher
from robustest.attacks.alma import _slope
from robustest.threats import Threat

NORMS = [L2(1e4), L1(1e4)]


@pytest.mark.thinned
@pytest.mark.parametrize("classes", [2, 3, 4, 100])
@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_the_closed_form_on_linear_models(
    threat: Threat, classes: int, check_minimum: Callable[[Searcher, Threat, int], None]
) -> None:
    check_minimum(ALMA(steps=300, first_step=0.05), threat, classes)


@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_one_answer_for_any_batch(threat: Threat, check_repeatable: Callable[..., None]) -> None:
    check_repeatable(ALMA(steps=30), threat)


@pytest.mark.parametrize(("weight", "multiplier"), [(1.0, 1.0), (3.0, 0.5)])
def test_the_slope_is_that_of_the_penalty(weight: float, multiplier: float) -> None:
    d = torch.linspace(-2, 2, 41, dtype=torch.float64, requires_grad=True)
    above = multiplier * d + multiplier * weight * d**2 + weight**2 * d**3 / 6
    below = multiplier * d / (1 - weight * d.clamp(max=0.0))
    penalty = torch.where(d >= 0, above, below)
    (slope,) = torch.autograd.grad(penalty.sum(), d)
    w, m = torch.full_like(d, weight), torch.full_like(d, multiplier)
    torch.testing.assert_close(_slope(d.detach(), w, m), slope)
    assert bool((slope > 0).all())
    assert bool((slope.diff() > 0).all())


@pytest.mark.parametrize(("threat", "first_step"), [(L2(1e4), 0.1), (L1(1e4), 1.0), (L2(1e4), 0.02)])
def test_the_first_step_has_the_length_asked_for(
    threat: Threat, first_step: float, linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y, _ = linear_problem(3)
    usual = {"L2": 0.1, "L1": 1.0}[type(threat).__name__]
    searcher = ALMA() if first_step == usual else ALMA(first_step=first_step)
    second = walk(searcher, threat, model, x, y, steps=2)[1]
    size = threat.size(second, threat.region(x, (0.0, 1.0)))
    torch.testing.assert_close(size, torch.full_like(size, first_step), rtol=1e-4, atol=0)


@pytest.mark.parametrize("scale", [1e-3, 1e3])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_scale_of_the_logits_plays_no_part(
    scale: float, classes: int, linear_problem: Callable[..., Any], smallest: Callable[..., Any]
) -> None:
    model, x, y, _ = linear_problem(classes)

    class Scaled(nn.Module):
        def forward(self, z: Tensor) -> Tensor:
            return scale * model(z)

    plain, scaled = (smallest(ALMA(), L2(1e4), net, x, y) for net in (model, Scaled()))
    torch.testing.assert_close(scaled.size, plain.size, rtol=0.02, atol=0)


def test_without_a_gradient_it_sets_out_at_random(
    numb: tuple[nn.Module, Tensor, Tensor], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y = numb
    first, second = walk(ALMA(first_step=0.3), L2(1e4), model, x, y, steps=2)
    assert torch.equal(first, x)
    torch.testing.assert_close((second - x).norm(dim=1), torch.full((16,), 0.3), rtol=1e-4, atol=0)
    directions = (second - x) / 0.3
    assert float((directions @ directions.T - torch.eye(16)).abs().max()) < 0.75


def test_it_is_for_l2_and_l1_and_has_a_name() -> None:
    assert all(ALMA().supports(threat) for threat in NORMS)
    assert not ALMA().supports(Linf(1.0))
    assert ATTACKS["alma"]() == ALMA()


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"check": 0},
        {"first_step": 0.0},
        {"tau": 1.0},
        {"growth": 1.0},
        {"growth": math.inf},
        {"smoothing": 1.0},
        {"smoothing": -0.1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ALMA(**wrong)
