"""Smaller counterexamples: an input that breaks the model, made as small as a budget allows while it still does."""

# 1. In L0: put all changes back but the largest, as many as bisection says are needed.
# 2. Search for the smallest perturbation in the threat's norm, a few times.
# 3. Bisect along the way from the sample to the smallest input known.
# 4. Step 1 again: it makes no norm larger.
#
# The verdict does not wait for it, and it costs at most a share of the verdict's work. Work is counted twice, in calls
# of the model and in rows passed: a small model costs by the call, a large one by the row, and what is at most a share
# of both is at most that share of the time of either. Steps 1, 3 and 4 need few passes and are kept room for. What is
# left goes to the searches: all of them where it is enough, else FAB, cut to the steps that there are. Cut short it is
# the best by far (5 steps end at 1.02 to 1.16 of what all searches reach); the schedules of the others need their end.

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Needs, Searcher, suits
from robustest.attacks.cascades import MINIMUM
from robustest.attacks.fab import FAB
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import BACKWARD, Evaluator
from robustest.engine.search import search
from robustest.threats import L0, L1, L2, Linf, Snr, Threat, by_pixel, per_row

_HALVINGS = 12
# Passes of the last judgement: of what was found, and of what was given where rounding undid it.
_JUDGED = 2
# Passes of a search besides its steps: its last proposal, and its judgement.
_ENDING = 2
# FAB with fewer steps finds little.
_FEWEST_STEPS = 3
# A ratio in dB that holds every input around all but the quietest samples.
_LOUDEST = -80.0
_NAMES: dict[type, str] = {L1: "l1", L2: "l2", Linf: "linf", Snr: "l2"}


@dataclass(slots=True)
class Shrunk:
    """Counterexamples made smaller: the first of those given, as many as the budget has room for.

    Attributes:
        x: (k, *S) misclassified inputs.
        size: (k,) float64, in the threat's norm.
        predicted: (k, *T).
        pixels: (k,) int64, elements changed; of images (C, H, W), pixels.
    """

    x: Tensor
    size: Tensor
    predicted: Tensor
    pixels: Tensor


class Budget:
    """The work that may still be done.

    Args:
        evaluator: counts it.
        calls: most passes, one backward counting as `BACKWARD`.
        rows: most samples in them, counted alike.

    Attributes:
        spent: True once something was left out for want of it.
    """

    def __init__(self, evaluator: Evaluator, *, calls: float = math.inf, rows: float = math.inf) -> None:
        self._evaluator, self.spent = evaluator, False
        self._calls, self._rows = evaluator.calls + calls, _rows_passed(evaluator) + rows

    def passes(self, rows: int) -> float:
        """Return the number of passes forward that are left, of so many rows each."""
        return min(self._calls - self._evaluator.calls, (self._rows - _rows_passed(self._evaluator)) / rows)

    def affords(self, passes: int, rows: int) -> bool:
        """Return True if so many passes are left, of so many rows each; note it if they are not."""
        enough = self.passes(rows) >= passes
        self.spent |= not enough
        return enough

    def first(self, passes: int, rows: int) -> int:
        """Return the number of rows, in 1..rows, that can have so many passes each; note it if some cannot."""
        # However many rows there are, the calls are the same.
        left = self._rows - _rows_passed(self._evaluator)
        fit = rows if left >= passes * rows else max(1, int(left // passes))
        self.spent |= fit < rows
        return fit


def _rows_passed(evaluator: Evaluator) -> int:
    return evaluator.forward + BACKWARD * evaluator.backward


def shrinks(threat: Threat) -> bool:
    """Return True for norm balls, whose proposals are inputs."""
    return isinstance(threat, (L0, L1, L2, Linf, Snr))


def shrink(evaluator: Evaluator, threat: Threat, part: Chunk, broken: Tensor, budget: Budget | None = None) -> Shrunk:
    """Return the smallest inputs found that still break a few samples.

    Args:
        threat: a norm ball, see `shrinks`.
        part: the samples, which the model classifies correctly, the most promising first.
        broken: (m, *S) inputs inside the threat that break them.
        budget: None for no limit.
    """
    budget = budget or Budget(evaluator)
    ending = _HALVINGS + _most_trims(broken) + _JUDGED
    m = budget.first(ending, len(broken))
    if not budget.affords(1 + _JUDGED, m):
        m = 0
    part, broken = part.rows(torch.arange(m, device=part.x.device)), broken[:m]
    region = threat.region(part.x, part.bounds)
    best = broken.clone()
    size = threat.size(best, region)
    if m == 0:
        return Shrunk(best, size, evaluator.unanswered(part.y), pixels_changed(part.x, best))
    if isinstance(threat, L0):
        best = _fewest(evaluator, part, best, budget)
    # In a ball of the same norm that holds every input: a perturbation that is large on the way may end small.
    reach = (part.bounds[1] - part.bounds[0]) * part.x[0].numel()
    wide = replace(threat, eps=reach) if isinstance(threat, (L1, L2, Linf)) else threat
    if isinstance(threat, Snr):  # sizes are relative to each sample
        wide = Snr(_LOUDEST)
    searchers = [*enumerate(_searchers(evaluator, threat))]
    if sum(map(_price, (one for _, one in searchers))) > budget.passes(m) - ending:
        searchers.reverse()  # FAB is the last of each list
    for place, searcher in searchers:
        left = budget.passes(m) - ending
        if _price(searcher) > left:
            budget.spent = True
            steps = max(0, int((left - _ENDING) // _step(searcher)))
            if not isinstance(searcher, FAB) or steps < _FEWEST_STEPS:
                continue
            cut: Searcher = replace(searcher, steps=steps)
        else:
            cut = searcher
        key = rng.fold(part.key, f"shrink {place}")
        found = search(evaluator, cut, wide, part.x, part.y, key=key, bounds=part.bounds, smallest=True)
        evaluator.require_finite()
        better = found.broken & (found.size < size)
        best[better], size[better] = found.x[better], found.size[better]
    # Bisect the way from the samples to these inputs; the nearest broken point is kept.
    far = best.clone()
    low, high = torch.zeros(len(far), device=far.device), torch.ones(len(far), device=far.device)
    for _ in range(_HALVINGS):
        if not budget.affords(1 + _JUDGED, m):
            break
        middle = (low + high) / 2
        point = torch.lerp(part.x, far, per_row(middle, far))
        breaks = _breaks(evaluator, part, point)
        best = torch.where(per_row(breaks, far), point, best)
        low, high = torch.where(breaks, low, middle), torch.where(breaks, middle, high)
    best = _fewest(evaluator, part, best, budget)
    judgement = evaluator.judge(best, part.y)
    lost, predicted = judgement.holds, judgement.predicted
    best[lost] = broken[lost]  # rounding between batch sizes; the inputs given are known to break
    predicted[lost] = evaluator.judge(broken, part.y).predicted[lost]
    return Shrunk(best, threat.size(best, region), predicted, pixels_changed(part.x, best))


def _searchers(evaluator: Evaluator, threat: Threat) -> list[Any]:
    """Return the searches for the smallest perturbation that the model can serve, each repeated by its rounds."""
    name = _NAMES.get(type(threat))
    stages = MINIMUM[name].stages if name else ()
    gives, task = evaluator.model.gives, evaluator.task
    served = [stage for stage in stages if stage.searcher.needs <= gives and suits(stage.searcher, task)]
    return [stage.searcher for stage in served for _ in range(stage.rounds)]


def _step(searcher: Searcher) -> int:
    """Return the cost of one step of a search, in passes forward."""
    return 1 + BACKWARD if searcher.needs is Needs.GRADIENT else 1


def _price(searcher: Searcher) -> int:
    """Return the cost of a search, in passes forward."""
    return searcher.steps * _step(searcher) + _ENDING


def with_fewer_edits(
    evaluator: Evaluator, threat: Threat, part: Chunk, broken: Tensor, budget: Budget | None = None
) -> Shrunk:
    """Return texts with fewer edits that still break a few samples: one edit after the other is put back.

    Args:
        threat: of texts, with a method `milder`.
        part: the samples, which the model classifies correctly, the most promising first.
        broken: (m, L) texts inside the threat that break them.
        budget: None for no limit.
    """
    budget = budget or Budget(evaluator)
    # Each text has at least one edit to put back, and is judged at the end.
    m = budget.first(2, len(broken))
    if not budget.affords(2, m):
        m = 0
    part, broken = part.rows(torch.arange(m, device=part.x.device)), broken[:m]
    region = threat.region(part.x, part.bounds)
    best, size = broken.clone(), threat.size(broken, region)
    if m == 0:
        return Shrunk(best, size, evaluator.unanswered(part.y), pixels_changed(part.x, best))
    milder: Any = threat
    progress = True
    while progress:
        progress = False
        for made in milder.milder(best, region):
            less = threat.size(made, region)
            smaller = (less < size) & (less > 0)
            if not bool(smaller.any()):
                continue
            if not budget.affords(2, m):
                progress = False
                break
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


def _most_trims(x: Tensor) -> int:
    """Return the most passes that `_fewest` takes for inputs x (m, *S)."""
    return int(by_pixel(x).shape[-1]).bit_length() + 1


def _fewest(evaluator: Evaluator, part: Chunk, far: Tensor, budget: Budget | None = None) -> Tensor:
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
        if budget is not None and not budget.affords(1 + _JUDGED, len(far)):
            break
        middle = (low + high) // 2
        kept = (place < middle.unsqueeze(1)).view(len(far), *plane)
        point = torch.where(kept, far, part.x)
        breaks = _breaks(evaluator, part, point) & (middle < high)
        best = torch.where(per_row(breaks, far), point, best)
        high = torch.where(breaks, middle, high)
        low = torch.where(breaks, low, torch.minimum(middle + 1, high))
    return best
