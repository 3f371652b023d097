"""FAB: steps by the paper's formulas, the closed form on linear models, targets."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from robustest import L0, L1, L2, ConfigError, Linf
from robustest.attacks import ATTACKS, FAB, Searcher
from robustest.tasks.class_losses import ranked_class
from robustest.threats import Threat

NORMS = [Linf(1e4), L2(1e4), L1(1e4)]


@pytest.mark.parametrize("classes", [2, 3, 4, 100])
@pytest.mark.parametrize("threat", NORMS, ids=str)
@pytest.mark.parametrize("target_rank", [None, 0])
def test_the_closed_form_on_linear_models(
    threat: Threat, classes: int, target_rank: int | None, check_minimum: Callable[[Searcher, Threat, int], None]
) -> None:
    check_minimum(FAB(steps=30, target_rank=target_rank), threat, classes)


@pytest.mark.parametrize("searcher", [FAB(steps=12), FAB(steps=12, target_rank=1)], ids=lambda s: s.name)
@pytest.mark.parametrize("threat", NORMS, ids=str)
def test_one_answer_for_any_batch(searcher: FAB, threat: Threat, check_repeatable: Callable[..., None]) -> None:
    check_repeatable(searcher, threat)


def test_random_starts_are_the_seed_s(check_repeatable: Callable[..., None]) -> None:
    check_repeatable(FAB(steps=4, random_start=True), L2(0.3), random=True)


@pytest.mark.parametrize("threat", NORMS, ids=str)
@pytest.mark.parametrize("rank", [0, 1, 7])
def test_the_first_step_is_the_shortest_to_the_target_s_boundary(
    threat: Threat, rank: int, linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y, weight = linear_problem(3)
    second = walk(FAB(target_rank=rank, overshoot=0.0, bias=0.0), threat, model, x, y, steps=2)[1]
    logits = model(x).detach()
    target = ranked_class(logits, y, rank)
    gap = (logits.gather(1, y.unsqueeze(1)) - logits.gather(1, target.unsqueeze(1))).squeeze(1)
    order = {"Linf": 1, "L2": 2, "L1": math.inf}[type(threat).__name__]
    exact = gap / torch.linalg.vector_norm(weight[target] - weight[y], ord=order, dim=1)
    size = threat.size(second, threat.region(x, (0.0, 1.0)))
    torch.testing.assert_close(size, exact, rtol=1e-3, atol=0)
    left = model(second).detach()
    assert bool((left.gather(1, y.unsqueeze(1)) - left.gather(1, target.unsqueeze(1))).abs().max() < 1e-3 * gap.max())


def test_after_a_point_that_fools_it_goes_back_towards_the_sample(
    linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    model, x, y, _ = linear_problem(3)
    points = walk(FAB(back=0.6), L2(1e4), model, x, y, steps=12)
    backs = 0
    for now, then in pairwise(points):
        fooled = model(now).argmax(1) != y
        torch.testing.assert_close(then[fooled], (x + 0.6 * (now - x))[fooled], rtol=0, atol=1e-6)
        backs += int(fooled.sum())
    assert backs > len(x)


def test_the_bias_draws_the_point_towards_the_sample_s_own_projection(
    linear_problem: Callable[..., Any], walk: Callable[..., list[Tensor]]
) -> None:
    """From a random point, the whole bias lands on the plane's point that is nearest to the sample."""
    model, x, y, _ = problem = linear_problem(2)
    threat = L2(0.15)
    exact = problem.exact(threat)
    sizes = []
    for bias in (0.0, 1.0):
        searcher = FAB(bias=bias, overshoot=0.0, random_start=True)
        start, second = walk(searcher, threat, model, x, y, steps=2)
        outside = model(start).argmax(1) == y
        sizes.append(threat.size(second, threat.region(x, (0.0, 1.0)))[outside] / exact[outside])
    assert len(sizes[0]) > 4
    assert bool((sizes[1] < sizes[0] + 1e-9).all())
    assert float(sizes[1].mean()) < float(sizes[0].mean()) - 0.1


def test_it_is_for_l_inf_l2_and_l1_and_has_two_names() -> None:
    assert all(FAB().supports(threat) for threat in NORMS)
    assert not FAB().supports(L0(1))
    assert (ATTACKS["fab"](), ATTACKS["fab-t"]()) == (FAB(), FAB(target_rank=0))


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"target_rank": -1},
        {"target_rank": 1.0},
        {"overshoot": -0.1},
        {"overshoot": 1.0},
        {"bias": -0.1},
        {"bias": 1.1},
        {"back": 0.0},
        {"back": 1.0},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        FAB(**wrong)
