"""Probes: small experiments beside a measurement that feed the health checks."""

from __future__ import annotations

from dataclasses import replace

import torch

from robustest import rng
from robustest.attacks import Cascade, Needs, ODIMargin, draws_of
from robustest.engine.cascade import merge
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import Found, Search
from robustest.threats import L2, Linf, Threat

_SHORT = ODIMargin(start_steps=1, steps_after=7)
_ROWS = 4
"""Survivors of a chunk that the searching probes take: enough to add up over chunks, cheap in each."""


def probe_inputs(evaluator: Evaluator, chunk: Chunk) -> None:
    """Does a tiny change of the input change anything? Is the softmax saturated? Two passes of 16 samples.

    The change is a fifth of what separates two 8-bit grey levels, up or down by each element's own coin.
    """
    if evaluator.model.gives is Needs.LABELS:
        return
    part = chunk.rows(torch.arange(min(16, len(chunk.y)), device=chunk.x.device))
    low, high = chunk.bounds
    logits = evaluator.logits(part.x)
    nudge = rng.signs(rng.fold(part.key, "nudge"), part.x.shape[1:]) * (0.2 * (high - low) / 255)
    moved = evaluator.logits((part.x + nudge).clamp(low, high))
    largest = logits.amax(1)
    one_hot = (largest == 1) & ((logits != 0).sum(1) == 1)  # probabilities given as logits
    saturated = one_hot | (logits.softmax(1).amax(1) == 1)
    health = evaluator.health
    health.probed += len(part.y)
    health.unmoved += int(((logits == moved).all(1) & ~saturated).sum())
    health.saturated += int(saturated.sum())


def probe_survivors(evaluator: Evaluator, cascade: Cascade, threat: Threat, chunk: Chunk, found: Found) -> None:
    """Attack a few survivors without a bound, and at half the radius; what breaks inside the threat counts.

    Only for norm balls of a positive radius, after cascades that use gradients of a model that repeats itself.
    """
    used = [stage.searcher for stage in cascade.serving(threat, evaluator.model.gives, chunk.x[0].numel())]
    climbs = any(searcher.needs is Needs.GRADIENT for searcher in used) and all(draws_of(s) == 1 for s in used)
    survivors = (~found.broken).nonzero().squeeze(1)[:_ROWS]
    if not climbs or not isinstance(threat, (L2, Linf)) or not threat.eps or len(survivors) == 0:
        return
    part, health = chunk.rows(survivors), evaluator.health
    health.unbounded += len(survivors)
    health.unbounded_held += int((~_attack(evaluator, _everything(threat, part), part).broken).sum())
    halved = _attack(evaluator, replace(threat, eps=threat.eps / 2), part)
    health.halved += len(survivors)
    health.halved_broken += int(halved.broken.sum())
    merge(found, halved, survivors, attempts=False)


def _attack(evaluator: Evaluator, threat: Threat, part: Chunk) -> Found:
    climbed = evaluator.health.climbed, evaluator.health.zero
    search = Search(evaluator, _SHORT, threat, part.bounds)
    found = search.run(part.x, part.y, rng.fold(part.key, f"probe {threat}"))
    evaluator.settle()
    evaluator.health.climbed, evaluator.health.zero = climbed  # counted once, where it matters
    return found


def _everything(threat: L2 | Linf, part: Chunk) -> Threat:
    """A ball of the same kind that holds every input inside the bounds."""
    span = part.bounds[1] - part.bounds[0]
    n = part.x[0].numel()
    reach = {Linf: span, L2: span * n**0.5}[type(threat)]
    return replace(threat, eps=reach)
