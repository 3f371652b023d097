"""Auto-PGD's steps in L1: few elements at a time, from larger balls into the threat's own.

Croce and Hein (ICML 2021, section 3.3): steps along the signs of the largest elements of the gradient, as long as the
ball's radius at first. They begin with a fifth of all elements. At every 0.04 of the steps the number of elements
becomes that of the best perturbation's non-zeros over 1.5; where those are fewer than 0.95 of what they were, the step
takes its first length again and the search goes on from the best point, otherwise the step shrinks by 1.5, down to a
tenth. With `outside_in` the first 0.3 of the steps are made in the ball of 3 eps and the next 0.3 in that of 2 eps; a
search in the next ball begins at the projection of the best point of the last.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Problem
from robustest.threats import Rows, per_row
from robustest.threats.balls import nearest_in_l1

_RADII = ((0.0, 3.0), (0.3, 2.0), (0.6, 1.0))
"""From which share of the steps on, and how many times eps the ball's radius is then."""
_FIRST_SHARE = 5
_FEWER, _FALL = 0.95, 1.5


class Plan(NamedTuple):
    """How many steps there are, and whether they begin in larger balls."""

    steps: int
    outside_in: bool


def begun(problem: Problem, key: Tensor, outside_in: bool) -> tuple[Tensor, Rows]:
    """Random points of the first ball, and what the state (B,) has besides APGD's.

    These are the longest step of this ball, the non-zeros counted last, and the number of elements that a step takes.
    """
    factor = _RADII[0][1] if outside_in else 1.0
    region, span = problem.region, per_row(problem.region["span"], problem.x)
    noise = problem.x + span * rng.normal(rng.fold(key, "start"), problem.x.shape[1:])
    z = nearest_in_l1(noise, region, noise.new_full(key.shape, factor * problem.threat.radius, dtype=torch.float64))
    every = problem.x.new_full(key.shape, z[0].numel() if len(z) else 1)
    longest = _longest(problem, torch.full_like(every, factor))
    return z, {"longest": longest, "length": longest, "support": every, "elements": (every / _FIRST_SHARE).ceil()}


def look_back(steps: int, problem: Problem, state: Rows) -> tuple[Rows, Tensor]:
    """The state after a look back, and (B,) which rows go on from their best point."""
    due = (state["step"] > 0) & (state["step"] % max(1, steps * 4 // 100) == 0)
    support = (state["best"] != problem.x).flatten(1).sum(1).to(state["support"].dtype)
    fewer = due & (support < _FEWER * state["support"])
    shorter = torch.maximum(state["length"] / _FALL, state["longest"] / 10)
    state = {
        **state,
        "length": torch.where(fewer, state["longest"], torch.where(due, shorter, state["length"])),
        "support": torch.where(due, support, state["support"]),
        "elements": torch.where(due, (support / _FALL).clamp(min=1), state["elements"]),
    }
    return state, fewer


def move(plan: Plan, problem: Problem, state: Rows, z: Tensor, gradient: Tensor) -> Rows:
    """The state after a step from z; where the next ball begins, after the best point was brought into it instead."""
    size = gradient.abs().flatten(1)
    last = state["elements"].long().clamp(1, size.shape[1]) - 1
    least = size.sort(1, descending=True).values.gather(1, last.unsqueeze(1))
    chosen = gradient.sign() * (size >= least).view_as(gradient)
    count = chosen.abs().flatten(1).sum(1).clamp(min=1)
    stepped = torch.addcmul(z, chosen, per_row(state["length"] / count, z))
    if not plan.outside_in:
        return {**state, "z": stepped}
    now, then = (_factor(plan.steps, state["step"] + ahead) for ahead in (0, 1))
    closing = now != then
    longest = _longest(problem, then)
    wanted = torch.where(per_row(closing, z), state["best"], stepped)
    support = (state["best"] != problem.x).flatten(1).sum(1).to(size.dtype)
    return {
        **state,
        "z": nearest_in_l1(wanted, problem.region, then.double() * problem.threat.radius),
        "longest": longest,
        "length": torch.where(closing, longest, state["length"]),
        "support": torch.where(closing, support, state["support"]),
        "elements": torch.where(closing, (support / _FALL).clamp(min=1), state["elements"]),
        "top": torch.where(closing, -torch.inf, state["top"]),
    }


def _factor(steps: int, step: Tensor) -> Tensor:
    """(B,) the radius at a step (B,), in times eps."""
    factor = torch.full(step.shape, _RADII[0][1], device=step.device)
    for share, value in _RADII[1:]:
        factor = torch.where(step >= math.floor(share * steps), value, factor)
    return factor


def _longest(problem: Problem, factor: Tensor) -> Tensor:
    """(B,) the radius, or what the bounds have room for where that is less."""
    across = problem.region["span"] * (problem.x[0].numel() if len(problem.x) else 1)
    return torch.minimum(factor * problem.threat.radius, across)
