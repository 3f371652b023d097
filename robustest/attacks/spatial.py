"""Rotated, translated and scaled images: a grid of poses, and gradient steps (Engstrom et al., ICML 2019)."""

# `SpatialGrid` evaluates every pose of a grid, from the largest to the pose that changes nothing. `SpatialGradient`:
#
#     for each of `starts` poses p_0 (0, then random ones):
#         p_(t+1) = project(p_t + limits * `step_size` * (1 + cos(pi t / T)) / 2 * sign(gradient of the margin loss))

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem
from robustest.attacks.queries import ByQueries
from robustest.checks import POSITIVE, check_ranges, whole
from robustest.threats import Rows, Spatial, Threat, per_row


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialGrid(ByQueries):
    """Every pose of a grid.

    The grid has an odd number of values for each element of a pose that the threat lets vary, so that 0 is one of them:
    5 values of each of four elements by default. The rest of the budget repeats the grid.

    Args:
        poses: the budget, >= 1; the grid is the largest that has no more poses than this.
    """

    poses: int = field(default=625, metadata=whole(1))

    name = "spatial-grid"
    needs = Needs.LABELS

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def steps(self) -> int:
        return self.poses - 1  # the engine asks once more at the end

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Spatial)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"step": torch.zeros_like(key)}

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        assert isinstance(problem.threat, Spatial)
        # The number of the step in a mixed base: one digit for each element of the pose.
        rest, columns = state["step"], []
        for values, limit in zip(self.values(problem.threat), problem.region["high"].unbind(1), strict=True):
            columns.append(limit * _share(rest % values, values).to(limit.dtype))
            rest = torch.div(rest, values, rounding_mode="floor")
        return torch.stack(columns, 1)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return {"step": state["step"] + 1}

    def values(self, threat: Spatial) -> tuple[int, ...]:
        """Return the number of values of each element of a pose."""
        values = [1] * 4
        free = [i for i, limit in enumerate(threat.limits) if limit > 0]
        while free:
            # Grow the coarsest element by two values, so that 0 stays among them and the budget is spread evenly.
            least = min(free, key=lambda i: values[i])
            if math.prod(values) // values[least] * (values[least] + 2) > self.poses:
                break
            values[least] += 2
        return tuple(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpatialGradient(Climbing):
    """Projected gradient steps on the pose that raise the margin loss, from several starts.

    Args:
        starts: poses to start from, >= 1.
        climbing: steps from each start, >= 1.
        step_size: length of the first step, as a share of the limits, > 0.
    """

    starts: int = field(default=5, metadata=whole(1))
    climbing: int = field(default=20, metadata=whole(1))
    step_size: float = field(default=0.5, metadata=POSITIVE)

    name = "spatial-gradient"
    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def steps(self) -> int:
        return self.starts * self.climbing

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Spatial)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {"z": problem.threat.origin(problem.region), "key": key, "step": torch.zeros_like(key)}

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        threat, region = problem.threat, problem.region
        share = (state["step"] % self.climbing).to(evaluation.z.dtype) / self.climbing
        length = self.step_size * 0.5 * (1 + torch.cos(math.pi * share)) * threat.stride(region)
        climbed = torch.addcmul(evaluation.z, threat.ascent(evaluation.gradient), per_row(length, evaluation.z))
        step = state["step"] + 1
        turn = (step % self.climbing == 0) & (step < self.steps)
        fresh = threat.start(region, rng.fold(state["key"], step))
        return {**state, "z": torch.where(per_row(turn, climbed), fresh, climbed), "step": step}


def _share(place: Tensor, values: int) -> Tensor:
    """Return the value at a place (N,) of `values` evenly spaced ones in -1..1, counted from the ends inwards."""
    if values == 1:
        return torch.zeros_like(place, dtype=torch.float64)
    inwards = 1 - 2 * torch.div(place, 2, rounding_mode="floor").double() / (values - 1)
    return torch.where(place % 2 == 0, inwards, -inwards)
