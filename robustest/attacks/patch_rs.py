"""Patch-RS: random search over a patch's place and content, by scores alone (Croce et al., AAAI 2022, section 5)."""

# A proposal z = (content, corner). Of N queries:
#
# 1. The first N / 5 explore: a new place of a lattice that covers the image, filled with one colour or with stripes.
#    (The paper begins at one random place; on large images most places cannot break the sample.)
# 2. One in five of the others moves the patch by at most (1 - t)^2 of half of the image's room, where t in 0..1 is the
#    progress: far at first, a pixel in the end.
# 3. The other four set a square window of the patch to one of the bounds in every channel. It covers 0.4 of the patch
#    at first, and its area halves five times as t grows.
# 4. A proposal is kept if its margin loss is larger than ever before.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks.patch_gradient import lattice
from robustest.attacks.protocol import Evaluation, Needs, Problem
from robustest.attacks.queries import BestOfRounds, better_of
from robustest.threats import Patch, Rows, Threat

# One in five queries, the first ones, goes to a new place with new content.
_EXPLORING = 5
# One in five of the others moves the patch.
_MOVES = 5
# Share of the patch that a window covers at first, and the number of its halvings.
_FIRST_WINDOW, _HALVINGS = 0.4, 5
# Fewest queries that count as a search (docs/attacks.md).
_ENOUGH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchRS(BestOfRounds):
    """Random search for a patch and its place.

    Args:
        queries: model passes per sample, >= 1.
        at_once: changes tried on the same point, >= 1; the best is kept if it is better than the point.
    """

    queries: int = 1000
    at_once: int = 1

    name = "patch-rs"
    needs = Needs.SCORES

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, Patch)

    def enough_queries(self, threat: Threat, features: int) -> int:
        return _ENOUGH

    @property
    def exploring(self) -> int:
        return max(1, self.queries // _EXPLORING)

    def init(self, problem: Problem, key: Tensor) -> Rows:
        return {
            "z": problem.threat.origin(problem.region),
            "corners": lattice(problem, self.exploring, rng.fold(key, "lattice")),
            "value": torch.full((len(key),), -torch.inf, device=key.device),
            "key": key,
            "age": torch.zeros_like(key),
        }

    def ask(self, problem: Problem, state: Rows) -> Tensor:
        threat, z, age = problem.threat, state["z"].unsqueeze(1), state["age"]
        assert isinstance(threat, Patch)
        shape = (len(age), self.at_once, problem.x.shape[1], threat.height, threat.width)
        query = self.numbers(age)
        key = rng.fold(state["key"], age)
        exploring, moving = query < self.exploring, query % _MOVES == 0
        progress = (query - self.exploring).clamp(min=0) / max(1, self.queries - self.exploring)
        # Every proposal is made in all three ways, and its own is chosen by masks: rows of a batch are at different
        # rounds, and a small tensor costs less than asking the device which rows need which.

        # Content: as it is where the patch moves, else with one window changed; new where a place is explored.
        content = z[:, :, :-2].reshape(len(age), 1, *shape[2:]).expand(shape)
        colour = _colour(problem, rng.fold(key, "colour"), (*shape[1:3], 1, 1))
        changed = torch.where(
            moving.view(*query.shape, 1, 1, 1), content, self._window(problem, key, content, colour, progress)
        )
        striped = _colour(problem, rng.fold(key, "stripes"), (*shape[1:3], 1, threat.width))
        plain = rng.uniform(rng.fold(key, "plain"), (self.at_once, 1, 1, 1)) < 0.5
        fresh = torch.where(plain, colour, striped).expand(shape)
        content = torch.where(exploring.view(*query.shape, 1, 1, 1), fresh, changed)

        # Shifts, (B, A, 2): whole moves of the patch, at least one pixel along one axis. The engine's projection keeps
        # the patch inside the image, and in place along an axis that the threat fixes.
        low, high = (problem.region[name][:, None, -2:] for name in ("low", "high"))
        reach = ((high - low) / 2 * (1 - progress.unsqueeze(2)).square()).clamp(min=1)
        u = rng.uniform(rng.fold(key, "shift"), (self.at_once, 2), -1.0, 1.0)
        shift = (u * (reach + 0.5)).round()  # half a pixel more, so that the outermost moves are as likely as others
        along = rng.fold(key, "along")
        axis = torch.nn.functional.one_hot(rng.integers(along, (self.at_once,), 2), 2)
        one = axis * rng.signs(along, (self.at_once, 1))
        shift = torch.where((shift == 0).all(2, keepdim=True), one, shift)

        # Corner: the next place of the lattice while exploring, else the point's own, shifted where the patch moves.
        last = query.clamp(max=self.exploring - 1).unsqueeze(2).expand(-1, -1, 2)
        corner = z[:, :, -2:] + moving.unsqueeze(2) * shift
        corner = torch.where(exploring.unsqueeze(2), state["corners"].gather(1, last), corner)
        return torch.cat([content.flatten(2), corner], 2)

    def tell(self, problem: Problem, state: Rows, evaluation: Evaluation) -> Rows:
        return better_of(problem, state, evaluation)

    def _window(self, problem: Problem, key: Tensor, content: Tensor, colour: Tensor, progress: Tensor) -> Tensor:
        height, width = content.shape[3:]
        share = _FIRST_WINDOW / 2 ** (progress * _HALVINGS).floor()
        side = (share * height * width).sqrt().round().clamp(min=1)
        u = rng.uniform(rng.fold(key, "window"), (self.at_once, 2))
        axes = []
        for axis, length in enumerate((height, width)):
            first = (u[:, :, axis] * (length + 1 - side.clamp(max=length))).floor().unsqueeze(2)
            at = torch.arange(length, device=side.device)
            axes.append((at >= first) & (at < first + side.unsqueeze(2)))
        inside = (axes[0].unsqueeze(3) & axes[1].unsqueeze(2)).unsqueeze(2)
        # A window that has this colour already would waste a query: it gets the opposite bounds.
        same = ((content == colour) | ~inside).flatten(2).all(2).view(*side.shape, 1, 1, 1)
        return torch.where(inside, torch.where(same, sum(problem.bounds) - colour, colour), content)


def _colour(problem: Problem, key: Tensor, shape: tuple[int, ...]) -> Tensor:
    low, high = problem.bounds
    return torch.where(rng.uniform(key, shape) < 0.5, low, high)
