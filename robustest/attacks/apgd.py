"""Auto-PGD: projected gradient ascent that adapts its step length (Croce and Hein, ICML 2020, Algorithm 1)."""

# L-inf and L2, from a random point of the ball with eta = 2 eps:
#
#     u = project(z_t + eta * ascent(g_t));  z_(t+1) = project(z_t + 0.75 (u - z_t) + 0.25 (z_t - z_(t-1)))
#     at the checkpoints w_j: eta = eta / 2 and z = the best point so far, if
#         fewer than 0.75 of the steps since w_(j-1) raised the objective (condition 1), or
#         neither eta nor the best value has changed since then (condition 2)
#
# L1 (Croce and Hein, ICML 2021, section 3.3): steps along the signs of the largest elements of the gradient, without
# momentum, as long as the ball's radius at first. They begin with a fifth of all elements. At every 0.04 of the steps
# their number becomes that of the best perturbation's non-zeros over 1.5; where those are fewer than 0.95 of the last
# count, the step takes its first length again and the search goes on from the best point, otherwise the step shrinks by
# 1.5, down to a tenth. With `outside_in` the first 0.3 of the steps are made in the ball of 3 eps and the next 0.3 in
# that of 2 eps; a search in the next ball begins at the projection of the best point of the last.
#

# With "targeted_dlr" the first step evaluates the unchanged sample and fixes the target class.

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.checks import checked_whole
from robustest.errors import unknown
from robustest.tasks import Task, class_losses, top_of
from robustest.threats import L1, Euclidean, Linf, Rows, Threat, per_row
from robustest.threats.threat import nearest_in_l1

_NAMES = {
    "add": "apgd-add",
    "ce": "apgd-ce",
    "ce_right": "apgd-ce-right",
    "delete": "apgd-delete",
    "dlr": "apgd-dlr",
    "margin": "apgd-margin",
    "move": "apgd-move",
    "segpgd": "apgd-segpgd",
    "targeted_dlr": "apgd-t",
}

# Weight of the new step; the last move has the rest.
_MOMENTUM = 0.75
# A step length is kept while at least this share of its steps raised the objective.
_RISING = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class APGD:
    """Auto-PGD.

    Args:
        steps: gradients per sample, >= 1.
        loss: "ce", "dlr", "margin" or "targeted_dlr"; of masks "ce_right" (pixels still right) and "segpgd" too;
            of boxes "delete", "add" and "move" too.
        target_rank: place of the target class for "targeted_dlr", >= 0; ranks beyond the last class mean the last.
        outside_in: in L1, begin in balls of three and two times eps.

    Raises:
        ConfigError: a number is out of range, or the loss is unknown.
    """

    steps: int = 100
    loss: Literal["add", "ce", "ce_right", "delete", "dlr", "margin", "move", "segpgd", "targeted_dlr"] = "ce"
    target_rank: int = 0
    outside_in: bool = True

    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        checked_whole("steps", self.steps, 1)
        if self.loss not in _NAMES:
            raise unknown("loss", self.loss, _NAMES)
        checked_whole("target_rank", self.target_rank, 0)

    @property
    def name(self) -> str:
        return _NAMES[self.loss]

    def suits(self, task: Task) -> bool:
        return top_of(task) > 0 if self.loss == "targeted_dlr" else self.loss in task.losses

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, (Linf, Euclidean, L1))

    def confined(self, threat: Threat) -> bool:
        return not (isinstance(threat, L1) and self.outside_in)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        if isinstance(problem.threat, L1):
            z, own = _l1_init(problem, key, self.outside_in)
        else:
            z = problem.threat.start(problem.region, key)
            own = {
                "length": 2 * problem.threat.stride(problem.region),
                "halved": torch.zeros_like(key, dtype=torch.bool),
            }
        lowest = torch.full(key.shape, -torch.inf, device=key.device)
        count = torch.zeros_like(key)
        state = {
            "z": z,
            "last": z,  # where the sample was before z
            "best": z,
            "best_gradient": torch.zeros_like(z),
            "step": count,
            "value": lowest,  # at `last`
            "top": lowest,  # at `best`
            "rises": count,  # steps since the last checkpoint that raised the objective
            "top_then": lowest,  # `top` at the last checkpoint
            **own,
        }
        if self.loss == "targeted_dlr":
            state |= {"step": count - 1, "target": torch.full_like(key, -1)}
        return state

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        if self.loss != "targeted_dlr":
            return state["z"]
        return torch.where(per_row(state["step"] < 0, state["z"]), problem.threat.origin(problem.region), state["z"])

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        if self.loss != "targeted_dlr":
            return problem.task.losses[self.loss](logits, problem.y)
        target = class_losses.ranked_class(logits, problem.y, self._rank(problem.task), state["target"])
        return class_losses.targeted_dlr(logits, problem.y, target)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        after = self._advance(problem, state, evaluation)
        if self.loss != "targeted_dlr":
            return after
        # The unchanged sample fixes the target and is no part of the search, which begins at z as init left it.
        ranking = state["step"] < 0
        if devices.on_host(evaluation.z) and not bool(ranking.any()):
            return after
        after = {name: torch.where(per_row(ranking, now), state[name], now) for name, now in after.items()}
        target = class_losses.ranked_class(evaluation.logits, problem.y, self._rank(problem.task), state["target"])
        return {**after, "step": state["step"] + 1, "target": target}

    def _rank(self, task: Task) -> int:
        """Return the place of the target among the other classes: the k - 1 ahead of it do not break a top-k answer."""
        return self.target_rank + top_of(task) - 1

    def _advance(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        # In float32 a value's last bit depends on the row's place in the batch; in float64, rounded, it does not.
        value = self.objective(problem, state, evaluation.logits.double()).float()
        better = per_row(value > state["top"], evaluation.z)
        state = {
            **state,
            "best": torch.where(better, evaluation.z, state["best"]),
            "best_gradient": torch.where(better, evaluation.gradient, state["best_gradient"]),
            "top": torch.maximum(state["top"], value),
            "rises": state["rises"] + ((value > state["value"]) & (state["step"] > 0)),
        }
        sparse = isinstance(problem.threat, L1)
        # Rows that look back go on from their best point, with the gradient that was taken there: no further pass.
        state, back = (_l1_look_back if sparse else _halve)(self.steps, problem, state)
        z = torch.where(per_row(back, evaluation.z), state["best"], evaluation.z)
        gradient = torch.where(per_row(back, z), state["best_gradient"], evaluation.gradient)
        value = torch.where(back, state["top"], value)
        if sparse:
            state = _l1_move(self, problem, state, z, gradient)
        else:
            # A projected step and momentum; the engine projects the sum.
            threat, region = problem.threat, problem.region
            step = per_row(state["length"], z)
            stepped = threat.project(torch.addcmul(z, threat.ascent(gradient), step), region)
            # The first step has no momentum: there is no move before it.
            weight = per_row(torch.where(state["step"] > 0, _MOMENTUM, 1.0).to(z.dtype), z)
            state = {**state, "z": torch.lerp(z, stepped, weight) + (1 - weight) * (z - state["last"])}
        return {**state, "last": z, "value": value, "step": state["step"] + 1}


def checkpoints(steps: int) -> tuple[int, ...]:
    """Return the rounds at which APGD looks back, 0 among them: w_j = ceil(p_j * steps), without repetition.

    p_0 = 0, p_1 = 0.22, p_(j+1) = p_j + max(p_j - p_(j-1) - 0.03, 0.06) (Croce and Hein, ICML 2020, section 3.1).
    """
    percent, gap, rounds = 22, 22, {0}
    while percent <= 100:
        rounds.add(-(-percent * steps // 100))
        gap = max(gap - 3, 6)
        percent += gap
    return tuple(sorted(rounds))


@lru_cache(maxsize=16)
def _widths(steps: int, device: torch.device) -> Tensor:
    """Return (steps + 1,) int64: at a checkpoint the rounds since the one before it, elsewhere 0."""
    rounds = checkpoints(steps)
    widths = torch.zeros(steps + 1, dtype=torch.int64)
    widths[list(rounds[1:])] = torch.tensor(rounds).diff()
    return widths.to(device)


def _halve(steps: int, problem: Problem, state: Rows) -> tuple[Rows, Tensor]:
    """Return the state, and (B,) bool: rows that go on from their best point."""
    width = _widths(steps, state["step"].device)[state["step"].clamp(min=0)]
    due = width > 0
    # Condition 2: neither the step nor the best value has changed since the last checkpoint.
    stale = ~state["halved"] & (state["top"] <= state["top_then"])
    halve = due & ((state["rises"] < _RISING * width) | stale)
    state = {
        **state,
        "length": torch.where(halve, state["length"] / 2, state["length"]),
        "halved": torch.where(due, halve, state["halved"]),
        "rises": torch.where(due, 0, state["rises"]),
        "top_then": torch.where(due | (state["step"] == 0), state["top"], state["top_then"]),
    }
    return state, halve


# L1

# The ball's radius, in times eps, from a share of the steps on.
_RADII = ((0.0, 3.0), (0.3, 2.0), (0.6, 1.0))
_FIRST_SHARE = 5
_FEWER, _FALL = 0.95, 1.5


def _l1_init(problem: Problem, key: Tensor, outside_in: bool) -> tuple[Tensor, Rows]:
    """Return random points of the first ball, and the L1 part of the state (B,)."""
    factor = _RADII[0][1] if outside_in else 1.0
    region, span = problem.region, per_row(problem.region["span"], problem.x)
    noise = problem.x + span * rng.normal(rng.fold(key, "start"), problem.x.shape[1:])
    z = nearest_in_l1(noise, region, noise.new_full(key.shape, factor * problem.threat.radius, dtype=torch.float64))
    every = problem.x.new_full(key.shape, z[0].numel() if len(z) else 1)
    longest = _longest(problem, torch.full_like(every, factor))
    return z, {"longest": longest, "length": longest, "support": every, "elements": (every / _FIRST_SHARE).ceil()}


def _l1_look_back(steps: int, problem: Problem, state: Rows) -> tuple[Rows, Tensor]:
    """Return the state, and (B,) bool: rows that go on from their best point."""
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


def _l1_move(attack: APGD, problem: Problem, state: Rows, z: Tensor, gradient: Tensor) -> Rows:
    size = gradient.abs().flatten(1)
    last = state["elements"].long().clamp(1, size.shape[1]) - 1
    # The `elements` largest, and others of the same size: a tie is not broken by the place in the input.
    least = size.sort(1, descending=True).values.gather(1, last.unsqueeze(1))
    chosen = gradient.sign() * (size >= least).view_as(gradient)
    count = chosen.abs().flatten(1).sum(1).clamp(min=1)
    stepped = torch.addcmul(z, chosen, per_row(state["length"] / count, z))
    if not attack.outside_in:
        return {**state, "z": stepped}
    now, then = (_factor(attack.steps, state["step"] + ahead) for ahead in (0, 1))
    # At the start of the next ball: project the best point into it, with its longest step, and forget the best value,
    # which was found in the larger ball.
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
    factor = torch.full(step.shape, _RADII[0][1], device=step.device)
    for share, value in _RADII[1:]:
        factor = torch.where(step >= math.floor(share * steps), value, factor)
    return factor


def _longest(problem: Problem, factor: Tensor) -> Tensor:
    # If the bounds leave less room than the radius, a step is no longer than the room.
    across = problem.region["span"] * (problem.x[0].numel() if len(problem.x) else 1)
    return torch.minimum(factor * problem.threat.radius, across)
