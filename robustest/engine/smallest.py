"""The smallest perturbation of each sample of a chunk."""

# 1. Every stage of a cascade searches every sample in a ball as wide as the bounds; the smallest misclassified input of
#    all is kept. Where gradients mislead, HopSkipJump searches as well.
# 2. Where nothing was found, the way to the nearest sample of another answer leaves the class somewhere: bisection
#    gives an upper bound of the size, marked `bounded`.

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Cascade, HopSkipJump, Stage
from robustest.engine.cascade import PASSES, Coverage, labels_alone, serving, suspected
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import climbers, count_unreached, probe_gradient, probe_inputs
from robustest.engine.search import search
from robustest.threats import L1, L2, Linf, Threat, per_row

# A further stage where gradients mislead.
_BLIND = Stage(searcher=HopSkipJump(queries=1000))
# The way to a neighbour is cut to this power of one half.
_HALVINGS = 12


@dataclass(slots=True)
class Smallest:
    """The smallest perturbations of a chunk's n samples.

    Attributes:
        clean: (n,) predictions of the unchanged samples.
        right: (n,) bool: these hold.
        x: (n, *S) the inputs found; the sample itself where it is wrong unchanged or nothing was found.
        size: (n,) float64; 0 where it is wrong unchanged, infinite where nothing was found.
        predicted: (n,) predictions of `x`.
        bounded: (n,) bool: no search found anything, and `x` lies on the way to a sample of another answer.
    """

    clean: Tensor
    right: Tensor
    x: Tensor
    size: Tensor
    predicted: Tensor
    bounded: Tensor


def search_smallest(evaluator: Evaluator, chunk: Chunk, cascade: Cascade, threat: Threat) -> Smallest:
    """Return the smallest misclassified inputs that any stage finds for each sample, in a ball as wide as the bounds.

    Raises:
        ConfigError: no stage works on this threat with the outputs that the model gives.
    """
    logits = evaluator.logits(chunk.x)
    clean, holds = evaluator.task.predictions(logits), evaluator.task.holds(logits, chunk.y)
    size = torch.where(holds, torch.inf, 0.0).double()
    best = Smallest(clean, holds, chunk.x.clone(), size, clean.clone(), torch.zeros_like(holds))
    right = holds.nonzero().squeeze(1)
    part = chunk.rows(right)
    suspect = suspected(evaluator, evaluator.task.margin(logits[right], part.y), part.y)
    stages = serving(evaluator, cascade, threat, chunk.x[0].numel(), beside=PASSES if suspect else 0)
    climbing = climbers(cascade, threat, evaluator, chunk)
    probe_inputs(evaluator, chunk, logits, climbing, threat)
    if climbing and len(right) and probe_gradient(evaluator, part) and isinstance(threat, (L2, Linf)):
        stages = (*stages, _BLIND)
    coverage = Coverage(part.x, threat, labels_alone=suspect and labels_alone(evaluator, part))
    rows = torch.arange(len(right))
    followed = min(evaluator.probe_rows, len(right))
    alive, any_gradient = torch.zeros_like(part.x[:followed], dtype=torch.bool), False
    for place, stage in enumerate(stages):
        for number in range(stage.rounds if len(right) else 0):
            key = rng.fold(part.key, f"{stage.searcher.name}/{place}/{number}")
            found = search(
                evaluator,
                stage.searcher,
                threat,
                part.x,
                part.y,
                key=key,
                bounds=chunk.bounds,
                smallest=True,
                followed=followed,
            )
            if found.alive is not None:
                alive, any_gradient = alive | found.alive, True
            (won,) = evaluator.read(found.broken & (found.size < best.size[right]))
            better = won.nonzero().squeeze(1).to(right.device)
            at = right[better]
            best.x[at], best.size[at], best.predicted[at] = found.x[better], found.size[better], found.predicted[better]
            coverage.add(stage, rows, won)
    coverage.count(evaluator, torch.ones_like(rows, dtype=torch.bool), stages)
    if any_gradient and followed:
        count_unreached(evaluator, part.rows(rows[:followed].to(right.device)), threat, alive)
    lost = right[best.size[right].isinf()]
    if climbing:  # a search in a ball as wide as the bounds is one without a bound
        evaluator.health.count("unbounded_attack_fails", failed=len(lost), tried=len(right))
    _bound(evaluator, chunk, threat, best, lost)
    return best


def _bound(evaluator: Evaluator, chunk: Chunk, threat: Threat, best: Smallest, lost: Tensor) -> None:
    """Bound the size of rows (m,) without a finding: the way to the nearest sample of another answer leaves their
    class.
    """
    norm = {L1: 1.0, L2: 2.0, Linf: torch.inf}
    p = next((p for kind, p in norm.items() if isinstance(threat, kind)), None)
    if p is None or not len(lost):
        return
    x, y = chunk.x[lost], chunk.y[lost]
    apart = torch.cdist(x.flatten(1), chunk.x.flatten(1), p=p)
    task = evaluator.task
    # Exclude samples whose answer would be right for the row as well: the way to them need not leave its class.
    apart[torch.stack([task.right(best.clean, one.expand_as(best.clean)) for one in y])] = torch.inf
    near, at = apart.min(1)
    some = near.isfinite()
    lost, x, y, far = lost[some], x[some], y[some], chunk.x[at[some]]
    if not len(lost):
        return
    inside, outside = torch.zeros_like(near[some]), torch.ones_like(near[some])
    for _ in range(_HALVINGS):
        middle = (inside + outside) / 2
        holds = evaluator.task.holds(evaluator.logits(torch.lerp(x, far, per_row(middle, x))), y)
        inside, outside = torch.where(holds, middle, inside), torch.where(holds, outside, middle)
    found = torch.where(per_row(outside == 1, x), far, torch.lerp(x, far, per_row(outside, x)))
    found = found.clamp(*chunk.bounds)
    logits = evaluator.logits(found)
    size = threat.size(found, threat.region(x, chunk.bounds))
    wrong, predicted = ~evaluator.task.holds(logits, y), evaluator.task.predictions(logits)
    at = lost[wrong]
    best.x[at], best.size[at], best.predicted[at] = found[wrong], size[wrong], predicted[wrong]
    best.bounded[at] = True
