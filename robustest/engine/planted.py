"""Positive controls of searches by moves: an input planted in a sample's own region, which they must find."""

# For a few samples of a chunk:
#
# 1. Draw `_DRAWS` random inputs of the region. A random linear form of their elements is the planted model's score.
# 2. The hole is the part of the region that scores as high as the best draw: about 1 / `_DRAWS` of the region.
# 3. Run the searches of the claim, with the access that the claim's model gives. One of them must enter the hole.
#
# A search that cannot move, because relations refuse every row or a threat's moves change nothing, fails; the claim is
# then inconclusive (`missed_control`).

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Needs, Searcher
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import search
from robustest.models import Classifier
from robustest.threats import Discrete, Threat, rendered

# Samples of a chunk with a control, and random inputs of each.
_ROWS = 3
_DRAWS = 48
# The planted hole begins this share of the way from the best draw down to the sample: sums of elements are rounded.
_EASE = 1e-6


def draws(threat: Threat, part: Chunk, count: int) -> Tensor:
    """Return (n, count, *S) random inputs of the regions of samples."""
    each = part.x.repeat_interleave(count, 0)
    key = rng.fold(part.key.repeat_interleave(count), torch.arange(len(each), device=each.device) % count)
    region = threat.region(each, part.bounds)
    shown = rendered(threat, threat.project(threat.start(region, rng.fold(key, "planted")), region), region)
    return shown.view(len(part.x), count, *part.x.shape[1:])


@dataclass(frozen=True, slots=True)
class _Planted:
    """Two classes: the hole, where a linear form (D,) of elements reaches `least`, and the rest."""

    weights: Tensor
    middle: Tensor
    least: float

    def score(self, x: Tensor) -> Tensor:
        return ((x.flatten(1).double() - self.middle) * self.weights).sum(1)

    def __call__(self, x: Tensor) -> Tensor:
        lead = (self.score(x) - self.least).float()
        lead = torch.where(lead == 0, 1e-6, lead)
        return torch.stack([-lead, lead], 1)


def plant(evaluator: Evaluator, searchers: Sequence[Searcher], threat: Discrete, chunk: Chunk) -> None:
    """Count the controls that searches of a claim miss; arguments as for `run_cascade`."""
    part = chunk.rows(torch.arange(min(_ROWS, len(chunk.x)), device=chunk.x.device))
    shown = draws(threat, part, _DRAWS).flatten(2).double()
    # At least one input besides the sample: where a region holds the sample alone there is nothing to find.
    free = threat.points(threat.region(part.x, part.bounds)) > 1
    blind = [one for one in searchers if one.needs < Needs.GRADIENT]
    for row in free.nonzero().squeeze(1).tolist():
        at = torch.tensor([row], device=chunk.x.device)
        # With the sample itself: all draws may be the same input.
        one, inputs = part.rows(at), torch.cat([part.x[at].flatten(1).double(), shown[row]])
        spread = inputs.std(0)
        signs = rng.normal(rng.fold(one.key, "form"), inputs.shape[1:])[0].double()
        weights = torch.where(spread > 0, signs / spread.clamp(min=1e-30), 0.0)
        planted = _Planted(weights, inputs.mean(0), 0.0)
        own, best = float(planted.score(one.x)), float(planted.score(inputs.to(one.x)).max())
        if best <= own:  # the sample is the best of all: look the other way
            planted = _Planted(-weights, inputs.mean(0), 0.0)
            own, best = float(planted.score(one.x)), float(planted.score(inputs.to(one.x)).max())
        found = False
        if best > own:
            planted = _Planted(planted.weights, planted.middle, best - _EASE * (best - own))
            gives = min(evaluator.model.gives, Needs.SCORES)
            model = Classifier(call=planted, gives=gives, bounds=part.bounds)
            judge = Evaluator(model, chunk.x.device, batch_size=evaluator.batch_size, suppress=(), notes=[])
            judge.logits(one.x)  # two classes, known to every search
            label = torch.zeros(1, dtype=torch.int64, device=chunk.x.device)
            for place, searcher in enumerate(blind):
                key = rng.fold(one.key, f"planted {place}")
                outcome = search(judge, searcher, threat, one.x, label, key=key, bounds=part.bounds)
                if found := bool(outcome.broken[0]):
                    break
        evaluator.health.count("missed_control", failed=int(not found), tried=1)
