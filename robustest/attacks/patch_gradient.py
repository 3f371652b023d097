"""Gradient steps on a patch's content, at many places (after Karmon et al., ICML 2018, with a patch for each image)."""

#     for each of `places` corners c:  z = (random content, c);  `tries` times z = z + a * sign(gradient of margin loss)
#     for the `kept` best proposals, of different places:  `refining` steps, a falling along half a cosine
#
# A step changes the content alone: the corner has no gradient, so places have to be tried. They are drawn without
# repetition from a lattice that covers the image with patches that overlap by half, and anywhere once that is used up;
# where the threat fixes the place, it is tried again and again from new content.

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.protocol import Climbing, Evaluation, Needs, Problem
from robustest.checks import check_ranges, require, whole
from robustest.threats import Patch, Rows, Threat, per_row

# Lengths of the steps of a try, and of the first step afterwards, in widths of the bounds.
_FIRST_STEP, _LATER_STEP = 0.25, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchGradient(Climbing):
    """A patch for every image, at the best of many places.

    Args:
        places: places tried, >= 1.
        tries: steps at each, >= 1.
        kept: places refined, in 1..places.
        refining: steps at each of those, >= 0.
    """

    places: int = field(default=64, metadata=whole(1))
    tries: int = field(default=2, metadata=whole(1))
    kept: int = field(default=4, metadata=whole(1))
    refining: int = field(default=20, metadata=whole(0))

    name = "patch-gradient"
    needs = Needs.GRADIENT

    def __post_init__(self) -> None:
        check_ranges(self)
        require(self.kept <= self.places, f"kept to be at most the {self.places} places", self.kept)

    @property
    def steps(self) -> int:
        return self.places * self.tries + self.kept * self.refining

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Patch)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        corners = lattice(problem, self.places, key)
        z = _begun(problem, corners[:, 0], rng.fold(key, 0))
        lowest = problem.x.new_full((len(key),), -torch.inf)
        return {
            "z": z,
            "best": z.unsqueeze(1).repeat(1, self.kept, 1),  # of the best places, the best first
            "margins": lowest.unsqueeze(1).repeat(1, self.kept),
            "here": z,  # the best at this place
            "margin": lowest,
            "corners": corners,
            "key": key,
            "step": torch.zeros_like(key),
        }

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        assert evaluation.gradient is not None
        step, now = state["step"] + 1, problem.task.losses["margin"](evaluation.logits, problem.y)
        better = now > state["margin"]
        state = {
            **state,
            "here": torch.where(per_row(better, evaluation.z), evaluation.z, state["here"]),
            "margin": torch.where(better, now, state["margin"]),
            "step": step,
        }
        # The rounds: first `tries` at each place, then `refining` at each proposal that was kept.
        trying = self.places * self.tries
        turn = (step % self.tries == 0) & (step <= trying)
        # At the end of a place's turn its best is ranked among those of the other places.
        margins = torch.cat([state["margins"], state["margin"].unsqueeze(1)], 1)
        order = margins.argsort(dim=1, descending=True, stable=True)[:, :-1]
        best = torch.cat([state["best"], state["here"].unsqueeze(1)], 1)
        best = best.gather(1, order.unsqueeze(2).expand(-1, -1, best.shape[2]))
        state |= {
            "best": torch.where(per_row(turn, best), best, state["best"]),
            "margins": torch.where(turn.unsqueeze(1), margins.gather(1, order), state["margins"]),
            "margin": torch.where(turn, -torch.inf, state["margin"]),
        }
        late = step >= trying
        since = (step - trying).clamp(min=0)
        share = (since % max(1, self.refining)).to(evaluation.z.dtype) / max(1, self.refining)
        length = torch.where(late, _LATER_STEP * 0.5 * (1 + torch.cos(math.pi * share)), _FIRST_STEP)
        stride = length * problem.threat.stride(problem.region)
        z = torch.addcmul(evaluation.z, problem.threat.ascent(evaluation.gradient), per_row(stride, evaluation.z))
        # A new place begins with random content; a refinement with the next of the kept proposals.
        rows = torch.arange(len(step), device=step.device)
        place = torch.div(step, self.tries, rounding_mode="floor")
        corner = state["corners"][rows, place.clamp(max=self.places - 1)]
        z = torch.where(per_row(turn & ~late, z), _begun(problem, corner, rng.fold(state["key"], place)), z)
        again = late & (since % max(1, self.refining) == 0)
        kept = torch.div(since, max(1, self.refining), rounding_mode="floor").clamp(max=self.kept - 1)
        return {**state, "z": torch.where(per_row(again, z), state["best"][rows, kept], z)}


def _begun(problem: Problem, corner: Tensor, key: Tensor) -> Tensor:
    z = problem.threat.start(problem.region, key)
    return torch.cat([z[:, :-2], corner], 1)


def lattice(problem: Problem, places: int, key: Tensor) -> Tensor:
    """Return (N, places, 2) places to try: row and column of the patch's upper left pixel, in random order."""
    threat, region, shape = problem.threat, problem.region, problem.x.shape
    assert isinstance(threat, Patch)
    low, high = region["low"][:, None, -2:], region["high"][:, None, -2:]
    rows, columns = (
        torch.linspace(0.0, side - patch, math.ceil((side - patch) / max(1, (patch + 1) // 2)) + 1, device=key.device)
        for side, patch in zip(shape[2:], (threat.height, threat.width), strict=True)
    )
    every = torch.cartesian_prod(rows.round(), columns.round()).to(low.dtype)
    order = rng.uniform(rng.fold(key, "places"), (len(every),)).argsort(dim=1, stable=True)[:, :places]
    anywhere = rng.uniform(rng.fold(key, "anywhere"), (places - order.shape[1], 2)).to(low.dtype)
    anywhere = (low + anywhere * (high - low + 1)).floor()
    return torch.cat([every[order], anywhere], 1).clamp(low, high)
