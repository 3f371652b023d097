"""ODI-margin: short restarts from output-diversified starts (Tashiro, Song and Ermon, NeurIPS 2020, section 4)."""

#     z_0 = a random point of the ball
#     start, `start_steps` times:   z = project(z + eps * ascent(gradient of w . f(z))),  w uniform in [-1, 1]^K
#     then, t = 0 .. T - 1:         z = project(z + eps * s * (1 + cos(pi t / T)) / 2 * ascent(gradient of m(z)))
#
# with the margin loss m = max_(k != y) f_k - f_y and T = `steps_after`; the schedule is that of Liu et al. (CVPR 2022,
# section 3.2). The margin and not the cross-entropy: its gradient neither dies where the label is certain nor depends
# on the scale of the logits. Cheap and made to be repeated on the survivors: every round starts elsewhere.
#
# `leave_flats` is for models that are flat in part of the ball (a clamp, a threshold, a window, a rectifier in front of
# the network). There sign(0) = 0 leaves an element at its random start for the rest of the attack. With it such an
# element goes halfway to where it last had a gradient, so that it finds the edge of the flat part by bisection and
# stays within reach of the gradient; one that never had any goes to the corners of the ball in turn. Where a maximum
# over neighbours makes all but one of them flat, that leads astray: take a round without it too.
#
# `coherent` starts at a move of all elements together (`coherent.py`) in place of a random point, which has the
# sample's mean: a gate that reads the mean is passed at no cost. Half of these starts stay random, as in a model
# without gates they cover the ball better.

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.coherent import moved
from robustest.attacks.protocol import AtPoint, Evaluation, Needs, Problem
from robustest.checks import POSITIVE, check_ranges, real, whole
from robustest.tasks import Sided, Task, class_losses, top_of
from robustest.threats import Euclidean, Linf, Rows, Threat, length, per_row

# Moves among which `coherent` draws: up, down, flat, rising and falling.
_MOVES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class ODIMargin(AtPoint):
    """A few steps towards random output directions, then a few on the margin with a falling step length.

    Args:
        start_steps: steps of the output-diversified start, >= 0.
        steps_after: steps on the margin, >= 1.
        step_scale: length of the first step on the margin, as a share of eps.
        target_rank: place of the class whose margin is climbed, among the others at each step, the likeliest at 0.
        euclidean: in an L-inf ball, steps along the gradient itself, scaled to the ball's diagonal: they follow the
            ball's faces, where signs only know its corners.
        leave_flats: in an L-inf ball, move elements whose gradient is zero back to where it was not.
        coherent: share of the samples that start at a coherent move, in 0..1; the others start at a random point.
    """

    start_steps: int = field(default=2, metadata=whole(0))
    steps_after: int = field(default=10, metadata=whole(1))
    step_scale: float = field(default=1.0, metadata=POSITIVE)
    target_rank: int = field(default=0, metadata=whole(0))
    euclidean: bool = False
    leave_flats: bool = False
    coherent: float = field(default=0.0, metadata=real(0, 1))

    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def name(self) -> str:
        return "odi-margin" + ("-euclidean" if self.euclidean else "") + ("-t" if self.target_rank else "")

    def suits(self, task: Task) -> bool:
        return self.target_rank == 0 or top_of(task) > 0 or isinstance(task, Sided)

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Linf) or (isinstance(threat, Euclidean) and not self.euclidean)

    @property
    def steps(self) -> int:
        return self.start_steps + self.steps_after

    def init(self, problem: Problem, key: Tensor) -> Rows:
        z = problem.threat.start(problem.region, rng.fold(key, "start"))
        if self.coherent:
            u = rng.uniform(rng.fold(key, "coherent"), (2,))
            number = (u[:, 1] * _MOVES).long()
            z = torch.where(per_row(u[:, 0] < self.coherent, z), moved(problem, number, key), z)
        leaving = self.leave_flats and isinstance(problem.threat, Linf)
        return {
            "z": z,
            **({"steep": torch.full_like(z, math.nan)} if leaving else {}),
            "direction": rng.uniform(rng.fold(key, "direction"), (problem.classes,), -1.0, 1.0),
            "step": torch.zeros_like(key),
        }

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        top = top_of(problem.task)
        if not top:
            # Outputs (B, K, ...): the margin loss, or the distance of one way.
            if self.target_rank and isinstance(problem.task, Sided):
                ways = problem.task.ways(logits, problem.y)
                value = -ways.sort(1).values[:, min(self.target_rank, ways.shape[1] - 1)]
            else:
                value = problem.task.losses["margin"](logits, problem.y)
            if not self.start_steps:
                return value
            direction = state["direction"].view(*state["direction"].shape, *[1] * (logits.ndim - 2))
            return torch.where(state["step"] < self.start_steps, (direction * logits).flatten(1).mean(1), value)
        # Margin loss and random form are both linear in the logits, so one set of weights a row gives either gradient.
        other = class_losses.ranked_class(logits, problem.y, self.target_rank + top - 1)
        weights = class_losses.lead(other, problem.y, logits)
        if self.start_steps:
            starting = (state["step"] < self.start_steps).unsqueeze(1)
            weights = torch.where(starting, state["direction"], weights)
        return weights * logits

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        # Steps of the start have the full length (done = 0), those on the margin follow half a cosine.
        done = (state["step"] - self.start_steps).clamp(min=0).to(evaluation.z.dtype)
        share = self.step_scale * 0.5 * (1 + torch.cos(math.pi * done / self.steps_after))
        ascent = problem.threat.ascent(evaluation.gradient)
        if self.euclidean:
            # As long as the step to a corner of the ball, whose D signs have the Euclidean length sqrt(D).
            ascent = (
                evaluation.gradient
                / per_row(length(evaluation.gradient), evaluation.z)
                * evaluation.z[0].numel() ** 0.5
            )
        z = torch.addcmul(evaluation.z, ascent, per_row(problem.threat.stride(problem.region) * share, evaluation.z))
        after = {"z": z, "direction": state["direction"], "step": state["step"] + 1}
        if "steep" in state:
            # `steep` is the last place with a gradient of each element, NaN for none; flat elements go halfway back to
            # it. Of an element that never had a gradient both corners are tried, in turn: the slope may lie on the
            # other side of the sample (a white pixel under a window is flat above and steep below). At first the side
            # of the start: at a bound of the inputs that is the only one with room.
            flat, steep = evaluation.gradient == 0, state["steep"]
            above = (evaluation.z > problem.x) != per_row(state["step"] == 0, evaluation.z)
            corner = torch.where(above, problem.region["low"], problem.region["high"])
            back = torch.where(steep.isnan(), corner, (evaluation.z + steep) / 2)
            after |= {"z": torch.where(flat, back, z), "steep": torch.where(flat, steep, evaluation.z)}
        return after
