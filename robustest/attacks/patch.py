"""Gradient steps on a patch, at several places of the image."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.losses import margin
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.errors import ConfigError, expected
from robustest.threats import Patch, Rows, Threat, per_row

_FIRST_STEP, _LATER_STEP = 0.25, 0.1
"""Lengths of the steps of a try, and of the first step afterwards, in widths of the bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchGradient:
    """A patch of one's own for every image (after Karmon et al., ICML 2018), at the best place of several.

    First a few sign steps on the margin at each of some places, from random content; then steps whose length falls
    with half a cosine, from the best proposal so far. A step changes the content alone, which is all that has a
    gradient. Places are drawn without repetition from a lattice of patches side by side that covers the image, and
    anywhere once that is used up; where the threat fixes the place, it is tried again and again from new content.

    Args:
        places: places tried, >= 1.
        tries: steps at each, >= 1.
        refining: steps afterwards, at the best, >= 0.

    Raises:
        ConfigError: a number is out of range.
    """

    places: int = 16
    tries: int = 5
    refining: int = 60

    name: ClassVar[str] = "patch-gradient"
    needs: ClassVar[Needs] = Needs.GRADIENT

    def __post_init__(self) -> None:
        for name, least in (("places", 1), ("tries", 1), ("refining", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(expected(f"{name} to be a whole number >= {least}", value))

    @property
    def steps(self) -> int:
        return self.places * self.tries + self.refining

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Patch)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        corners = _corners(problem, self.places, key)
        z = _begun(problem, corners[:, 0], rng.fold(key, 0))
        return {
            "z": z,
            "best": z,
            "margin": problem.x.new_full((len(key),), -torch.inf),
            "corners": corners,
            "key": key,
            "step": torch.zeros_like(key),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        return state["z"]

    def objective(self, problem: Problem, state: Rows, logits: Tensor) -> Tensor:
        return margin(logits, problem.y)

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        assert seen.gradient is not None
        step = state["step"] + 1
        now = margin(seen.logits, problem.y)
        better = now > state["margin"]
        best = torch.where(per_row(better, seen.z), seen.z, state["best"])
        place = torch.div(step, self.tries, rounding_mode="floor")
        late = place >= self.places
        share = (step - self.places * self.tries).clamp(min=0).to(seen.z.dtype) / max(1, self.refining)
        length = torch.where(late, _LATER_STEP * 0.5 * (1 + torch.cos(math.pi * share)), _FIRST_STEP)
        stride = length * problem.threat.stride(problem.region)
        z = torch.addcmul(seen.z, problem.threat.ascent(seen.gradient), per_row(stride, seen.z))
        turn = step % self.tries == 0
        corner = state["corners"][torch.arange(len(step), device=step.device), place.clamp(max=self.places - 1)]
        z = torch.where(per_row(turn & ~late, z), _begun(problem, corner, rng.fold(state["key"], place)), z)
        z = torch.where(per_row(step == self.places * self.tries, z), best, z)
        return {**state, "z": z, "best": best, "margin": torch.where(better, now, state["margin"]), "step": step}


def _begun(problem: Problem, corner: Tensor, key: Tensor) -> Tensor:
    """Random content at the corners (N, 2), row and column."""
    z = problem.threat.start(problem.region, key)
    return torch.cat([z[:, :-2], corner], 1)


def _corners(problem: Problem, places: int, key: Tensor) -> Tensor:
    """(N, places, 2) the places to try, row and column of the patch's upper left pixel, in an order of their own."""
    threat, region, shape = problem.threat, problem.region, problem.x.shape
    assert isinstance(threat, Patch)
    low, high = region["low"][:, None, -2:], region["high"][:, None, -2:]
    rows, columns = (
        torch.linspace(0.0, side - patch, math.ceil(side / patch) if patch else 1, device=key.device).round()
        for side, patch in zip(shape[2:], (threat.height, threat.width), strict=True)
    )
    lattice = torch.cartesian_prod(rows, columns).to(low.dtype)
    order = rng.uniform(rng.fold(key, "places"), (len(lattice),)).argsort(dim=1, stable=True)[:, :places]
    anywhere = rng.uniform(rng.fold(key, "anywhere"), (places - order.shape[1], 2)).to(low.dtype)
    anywhere = (low + anywhere * (high - low + 1)).floor()
    return torch.cat([lattice[order], anywhere], 1).clamp(low, high)
