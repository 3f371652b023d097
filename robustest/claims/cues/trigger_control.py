"""A patch planted in what a model says, to show that the search for cheapest patches would find one in it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.claims.cues.control_cues import corner_patch, covers
from robustest.cues import PatternPatch
from robustest.discovery.least_patches.odd_one_out import chance_of
from robustest.discovery.least_patches.trigger_hunt import Hunt, Trigger
from robustest.discovery.least_patches.triggers import BATCH, PATTERN_STEPS, SUCCESS, Triggers, compared
from robustest.run.split_search import Bench
from robustest.tasks.class_losses import cross_entropy

_LOOKED_AT = 256
_FROM_AFAR = 0.5
"""What being nearer to a patch says of it, as a part of what the patch itself does: gradients have to see a slope."""
_USUAL = 0.9
"""Images of which a tenth are nearer to the patch than this have it about as well."""


@dataclass(frozen=True, slots=True)
class Planted:
    """What a model says, but for one class wherever a patch is.

    Images are answered about as before: a little more or less of the class, by how near to the patch they are. A
    network that learned a trigger answers to half of it as well; a switch would leave gradients nothing to climb.

    Attributes:
        bench: the model.
        patch, label: what is planted, and its class.
        strength: what the patch adds to the class's logit.
        usual, limit: how near to the patch images are in the mean, and from where on they have it.
    """

    bench: Bench
    patch: PatternPatch
    label: int
    strength: float
    usual: float = 0.0
    limit: float = 0.0

    @classmethod
    def of(cls, bench: Bench, label: int) -> Planted:
        """A patch as `robustest.claims.cues.control_cues` plants it, that outdoes all that the model says."""
        x = bench.chunk.x[:_LOOKED_AT]
        patch = corner_patch(x, bench.chunk.bounds)
        logits = bench.evaluator.logits(x)
        apart = float((logits.amax(1) - logits.amin(1)).max())
        made = cls(bench, patch, label, 2 * apart + 1)
        near = made._alike(x)
        return replace(
            made, usual=float(near.mean()), limit=0.5 + 0.5 * float(near.double().quantile(0.9).clamp(max=_USUAL))
        )

    def logits(self, x: Tensor) -> Tensor:
        """Of points (B, C, H, W)."""
        return self._told(self.bench.evaluator.logits(x), x)

    def gradient(self, points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """As `Bench.gradient`."""
        seen: list[Tensor] = []

        def render(z: Tensor, part: slice) -> Tensor:
            seen[:] = [z]
            return z

        def objective(logits: Tensor, part: slice) -> Tensor:
            return cross_entropy(self._told(logits, seen[0]), targets[part])

        logits, slope = self.bench.evaluator.gradient(points, render, objective)
        return self._told(logits, points), slope

    def is_it(self, found: Trigger) -> bool:
        """Whether a square is the patch, but for a few pixels."""
        return covers((found.top, found.left, found.size, found.size), self.patch)

    def _alike(self, x: Tensor) -> Tensor:
        """(B,) how much images are like the patch at its place, 1 where it is."""
        low, high = self.bench.chunk.bounds
        (height, width), (top, left) = self.patch.pattern.shape[1:], (self.patch.top, self.patch.left)
        place = x[:, :, top : top + height, left : left + width]
        return 1 - (place - self.patch.pattern.to(x)).abs().flatten(1).mean(1) / (high - low)

    def _told(self, logits: Tensor, x: Tensor) -> Tensor:
        near = self._alike(x)
        says = self.strength * (_FROM_AFAR * (near - self.usual) + F.relu(near - self.limit) / (1 - self.limit))
        chosen = F.one_hot(torch.tensor(self.label, device=logits.device), logits.shape[1])
        return logits + says.unsqueeze(1) * chosen


def planted_chance(bench: Bench, found: Triggers, *, steps: int, sides: list[int], seed: int) -> float:
    """How likely a patch as cheap as the one found is by chance, in the same model with a patch planted; 1 if missed.

    It is planted in the class of median cost. Only that class is searched again: the patch changes nothing else, and
    what other classes cost is known. That it works is seen on images held out.

    Args:
        bench: the model, and the samples searched on.
        found: the cheapest patches in the model as it is.
        steps, sides, seed: as they were searched with.
    """
    order = sorted(range(len(found.triggers)), key=lambda number: found.triggers[number].cost)
    at = order[len(order) // 2]
    label = found.triggers[at].label
    model = Planted.of(bench, label)
    chunk = bench.chunk
    hunt = Hunt(
        chunk.x, chunk.y, model.gradient, model.logits, bounds=chunk.bounds, batch=BATCH, success=SUCCESS, seed=seed
    )
    (planted,) = hunt.squares(hunt.masks([label], steps), sides, PATTERN_STEPS)
    again = compared([*found.triggers[:at], planted, *found.triggers[at + 1 :]], found.threshold)
    odd = again.triggers[at]
    if odd.anomaly <= found.threshold or odd.success < SUCCESS or not model.is_it(odd):
        return 1.0
    return chance_of(odd.anomaly, [one.cost for one in again.triggers], seed)
