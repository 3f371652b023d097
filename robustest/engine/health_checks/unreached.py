"""Parts of the input that a search by gradients could not move.

A search by gradients leaves an element alone whose gradient is zero wherever the search has been: one behind a
rounding or a `detach`, or in a flat part that the search never left. That does not matter where the model does not read
the element. So, for a few samples that the search left:

1. U = the elements that the threat may move and that had no gradient at any point of any stage; R = the others. An
   objective follows the likeliest wrong class, and other classes may read other elements: what has a gradient of a
   random sum of all outputs, at the sample itself, was not hidden from a search by gradients, and belongs to R.
2. Move U alone, then R alone, by random signs as far as the threat allows, `_DRAWS` times each, and take the root mean
   square change of the margin, d(U) and d(R).
3. A linear model that changes by d for random signs on n elements changes by d sqrt(n) for the worst ones. The sample
   was not searched where d(U) sqrt(|U|) is at least `_MATTERS` of d(R) sqrt(|R|).
"""

from __future__ import annotations

import torch
from torch import Tensor

from robustest import rng
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.threats import Rows, Threat

_DRAWS = 4
_MATTERS = 0.1
"""A part that can move the margin by less than a tenth of what the rest can seldom decides; sound networks whose
rectifiers are off for a few pixels have such parts."""
_ROUNDING = 1e-5
"""Changes below this share of the largest output are rounding in float32."""


def count_unreached(evaluator: Evaluator, chunk: Chunk, threat: Threat, alive: Tensor) -> None:
    """Count the samples with a part that the search could not move though the model reads it, and say how large it is.

    Args:
        evaluator: makes the model's passes.
        chunk: samples that a search by gradients left.
        threat: what was searched; its proposals are inputs.
        alive: (n, *S) bool: elements that had a gradient at some point of the search.
    """
    x = chunk.x
    region = threat.region(x, chunk.bounds)
    movable = (region["low"] < region["high"]).expand_as(x)
    unreached = movable & ~alive
    health = evaluator.health
    health.followed += len(x)
    rows = unreached.flatten(1).any(1).nonzero().squeeze(1)
    if not len(rows) or evaluator.random:  # a model's own draws change its margins too
        return
    part = chunk.rows(rows)

    def all_outputs(outputs: Tensor, at: slice) -> Tensor:
        return (outputs * rng.uniform(rng.fold(part.key[at], "outputs"), outputs.shape[1:], 0.5, 1.5)).flatten(1).sum(1)

    slope = evaluator.gradient(part.x, lambda z, _: z, all_outputs)[1]
    unreached, reached = unreached[rows] & (slope == 0), movable[rows] & (alive[rows] | (slope != 0))
    if not unreached.any():
        return
    region = {name: value[rows] for name, value in region.items()}
    outputs = evaluator.logits(part.x)
    start = evaluator.task.margin(outputs, part.y).double()
    worst = []
    for place, moved in enumerate((unreached, reached)):
        change = torch.zeros_like(start)
        for draw in range(_DRAWS):
            z = _moved(threat, region, moved, rng.fold(part.key, f"unreached {place} {draw}"))
            margin = evaluator.task.margin(evaluator.logits(threat.render(z, region)), part.y)
            change += (margin.double() - start).square() / _DRAWS
        worst.append((change * moved.flatten(1).sum(1)).sqrt())
    floor = _ROUNDING * outputs.flatten(1).abs().amax(1).double()
    missed = (worst[0] > floor) & (worst[0] >= _MATTERS * worst[1])
    health.unreached += int(missed.sum())
    if bool(missed.any()):
        share = float(unreached[missed].float().mean())
        note = (
            f"{share:.0%} of the input had no gradient anywhere in the search, though the model reads it: "
            "what a search by gradients leaves says nothing of changes there"
        )
        if not any("had no gradient anywhere in the search" in one for one in evaluator.notes):
            evaluator.notes.append(note)


def _moved(threat: Threat, region: Rows, which: Tensor, key: Tensor) -> Tensor:
    """Return proposals in the region in which the elements `which` (n, *S) bool lie at random corners of the bounds."""
    x = region["x"]
    signs, share = rng.signs(key, x.shape[1:]), rng.uniform(rng.fold(key, "share"), x.shape[1:], 0.5, 1.5)
    # Beyond the bounds, so that a ball of any norm is left, and by shares that differ, so that a count of pixels keeps
    # some of them at random.
    beyond = signs * share * (region["high"] - region["low"]).expand_as(x)
    far = torch.where(signs > 0, region["high"].expand_as(x), region["low"].expand_as(x)) + beyond
    return threat.project(torch.where(which, far, x), region)
