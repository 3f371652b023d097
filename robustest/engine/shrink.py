"""Smaller counterexamples: an input that breaks the model, made as small as it can be while it still does."""

# 1. In L0: put all changes back but the largest, as many as bisection says are needed.
# 2. Search for the smallest perturbation in the threat's norm, a few times.
# 3. Bisect along the way from the sample to the smallest input known.
# 4. Step 1 again: it makes no norm larger.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import suits
from robustest.attacks.cascades import MINIMUM
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import search
from robustest.threats import L0, L1, L2, Linf, Snr, Threat, by_pixel, per_row

_HALVINGS = 12
# A ratio in dB that holds every input around all but the quietest samples.
_LOUDEST = -80.0
_NAMES: dict[type, str] = {L1: "l1", L2: "l2", Linf: "linf", Snr: "l2"}


@dataclass(slots=True)
class Shrunk:
    """Counterexamples made smaller.

    Attributes:
        x: (m, *S) misclassified inputs.
        size: (m,) float64, in the threat's norm.
        predicted: (m, *T).
        pixels: (m,) int64, elements changed; of images (C, H, W), pixels.
    """

    x: Tensor
    size: Tensor
    predicted: Tensor
    pixels: Tensor


def shrinks(threat: Threat) -> bool:
    """Return True for norm balls, whose proposals are inputs."""
    return isinstance(threat, (L0, L1, L2, Linf, Snr))


def shrink(evaluator: Evaluator, threat: Threat, part: Chunk, broken: Tensor) -> Shrunk:
    """Return the smallest inputs found that still break a few samples.

    Args:
        threat: a norm ball, see `shrinks`.
        part: the samples, which the model classifies correctly.
        broken: (m, *S) inputs inside the threat that break them.
    """
    region = threat.region(part.x, part.bounds)
    best = broken.clone()
    size = threat.size(best, region)
    if isinstance(threat, L0):
        best = _fewest(evaluator, part, best)
    # In a ball of the same norm that holds every input: a perturbation that is large on the way may end small.
    reach = (part.bounds[1] - part.bounds[0]) * part.x[0].numel()
    wide = replace(threat, eps=reach) if isinstance(threat, (L1, L2, Linf)) else threat
    if isinstance(threat, Snr):  # sizes are relative to each sample
        wide = Snr(_LOUDEST)
    # The searches for the smallest perturbation that the model can serve, each repeated by its rounds.
    name = _NAMES.get(type(threat))
    stages = MINIMUM[name].stages if name else ()
    gives, task = evaluator.model.gives, evaluator.task
    served = [stage for stage in stages if stage.searcher.needs <= gives and suits(stage.searcher, task)]
    searchers = [stage.searcher for stage in served for _ in range(stage.rounds)]
    for place, searcher in enumerate(searchers):
        key = rng.fold(part.key, f"shrink {place}")
        found = search(evaluator, searcher, wide, part.x, part.y, key=key, bounds=part.bounds, smallest=True)
        evaluator.settle()
        better = found.broken & (found.size < size)
        best[better], size[better] = found.x[better], found.size[better]
    # Bisect the way from the samples to these inputs; the nearest broken point is kept.
    far = best.clone()
    low, high = torch.zeros(len(far), device=far.device), torch.ones(len(far), device=far.device)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        point = torch.lerp(part.x, far, per_row(middle, far))
        breaks = _breaks(evaluator, part, point)
        best = torch.where(per_row(breaks, far), point, best)
        low, high = torch.where(breaks, low, middle), torch.where(breaks, middle, high)
    best = _fewest(evaluator, part, best)
    judgement = evaluator.judge(best, part.y)
    lost, predicted = judgement.holds, judgement.predicted
    best[lost] = broken[lost]  # rounding between batch sizes; the inputs given are known to break
    predicted[lost] = evaluator.judge(broken, part.y).predicted[lost]
    return Shrunk(best, threat.size(best, region), predicted, pixels_changed(part.x, best))


def with_fewer_edits(evaluator: Evaluator, threat: Threat, part: Chunk, broken: Tensor) -> Shrunk:
    """Return texts with fewer edits that still break a few samples: one edit after the other is put back.

    Args:
        threat: of texts, with a method `milder`.
        part: the samples, which the model classifies correctly.
        broken: (m, L) texts inside the threat that break them.
    """
    region = threat.region(part.x, part.bounds)
    best, size = broken.clone(), threat.size(broken, region)
    milder: Any = threat
    progress = True
    while progress:
        progress = False
        for made in milder.milder(best, region):
            less = threat.size(made, region)
            smaller = (less < size) & (less > 0)
            if bool(smaller.any()):
                smaller &= _breaks(evaluator, part, torch.where(per_row(smaller, made), made, best))
            if bool(smaller.any()):
                best, size = torch.where(per_row(smaller, made), made, best), torch.where(smaller, less, size)
                progress = True
    return Shrunk(best, size, evaluator.judge(best, part.y).predicted, pixels_changed(part.x, best))


def pixels_changed(before: Tensor, after: Tensor) -> Tensor:
    """Return (m,) int64: elements that differ, or pixels of images (m, C, H, W)."""
    return by_pixel(before != after).any(1).sum(1)


def _breaks(evaluator: Evaluator, part: Chunk, x: Tensor) -> Tensor:
    return ~evaluator.judge(x, part.y).holds


def _fewest(evaluator: Evaluator, part: Chunk, far: Tensor) -> Tensor:
    """Return the inputs with only the largest changes, as few as bisection needs to break the model."""
    change = (far - part.x).abs()
    weight = by_pixel(change).sum(1)
    place = weight.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    most = (weight > 0).sum(1)
    # The shape of a mask by pixel that broadcasts over the inputs.
    plane = (1, *far.shape[2:]) if far.ndim > 2 else tuple(far.shape[1:])
    # The model need not be monotone in the number of changes: the best point that broke it is kept.
    low, high, best = torch.zeros_like(most), most.clone(), far.clone()
    for _ in range(int(most.max()).bit_length() + 1):
        middle = (low + high) // 2
        kept = (place < middle.unsqueeze(1)).view(len(far), *plane)
        point = torch.where(kept, far, part.x)
        breaks = _breaks(evaluator, part, point) & (middle < high)
        best = torch.where(per_row(breaks, far), point, best)
        high = torch.where(breaks, middle, high)
        low = torch.where(breaks, low, torch.minimum(middle + 1, high))
    return best
