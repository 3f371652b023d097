"""Probes: small experiments beside a measurement that feed the health checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import Cascade, Evaluation, Needs, ODIMargin, Problem, draws_of
from robustest.engine.cascade import merge
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.rows import join
from robustest.engine.search import Found, Search
from robustest.threats import L2, Bounds, Linf, Rows, Threat, per_row

_ROWS = 4
"""Survivors of a chunk that the searching probes take: enough to add up over chunks, cheap in each."""
_ROUNDED = 8
"""Samples of a chunk that are passed in bfloat16 too."""
_CLEAR = 0.25
"""Share of the median margin from which a sample is no near tie."""


def probe_inputs(evaluator: Evaluator, chunk: Chunk) -> None:
    """Whether a tiny change of the input changes anything, the softmax is saturated, the answers hang on precision.

    Two passes of 16 samples, and one of 8 in bfloat16. The change is a fifth of what separates two 8-bit grey levels,
    up or down by each element's own coin.
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
    if evaluator.model.gives is Needs.GRADIENT and not evaluator.random:
        _probe_precision(evaluator, part.x[:_ROUNDED], logits)


def _probe_precision(evaluator: Evaluator, x: Tensor, logits: Tensor) -> None:
    """Count samples x (n, *S) whose class in bfloat16 is another, near ties left out.

    The logits (N >= n, K) are those of float32. A sample is a near tie where its two largest logits are closer than a
    quarter of what is usual. In a sound network rounding moves a margin by a few hundredths of that.
    """
    answers = evaluator.bfloat16(x)
    if answers is None:
        return
    largest = logits.topk(2, 1).values
    lead = largest[:, 0] - largest[:, 1]
    clear = (lead >= _CLEAR * lead.median())[: len(x)]
    evaluator.health.rounded += len(x)
    evaluator.health.rounded_apart += int((clear & (answers != logits[: len(x)].argmax(1))).sum())


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
    wide, narrow = _everything(threat, part), replace(threat, eps=threat.eps / 2)
    unbounded, halved = _attack(evaluator, wide, narrow, part)
    health.unbounded += len(survivors)
    health.unbounded_held += int((~unbounded).sum())
    health.halved += len(survivors)
    health.halved_broken += int(halved.broken.sum())
    merge(found, halved, survivors, attempts=False)


def _attack(evaluator: Evaluator, wide: L2 | Linf, narrow: L2 | Linf, part: Chunk) -> tuple[Tensor, Found]:
    """What breaks in the wide ball (n,), and what is found in the narrow one."""
    climbed = evaluator.health.climbed, evaluator.health.zero
    search = Search(evaluator, _SHORT, _Both(wide, narrow), part.bounds)
    keys = [rng.fold(part.key, f"probe {threat}") for threat in (wide, narrow)]
    found = search.run(torch.cat([part.x, part.x]), torch.cat([part.y, part.y]), torch.cat(keys))
    evaluator.settle()
    evaluator.health.climbed, evaluator.health.zero = climbed  # counted once, where it matters
    n = len(part.y)
    x, region = found.x[n:], narrow.region(part.x, part.bounds)
    inside = Found(found.broken[n:], x, narrow.size(x, region), found.predicted[n:], found.margin[n:])
    return found.broken[:n], inside


def _everything(threat: L2 | Linf, part: Chunk) -> L2 | Linf:
    """A ball of the same kind that holds every input inside the bounds."""
    span = part.bounds[1] - part.bounds[0]
    n = part.x[0].numel()
    reach = {Linf: span, L2: span * n**0.5}[type(threat)]
    return replace(threat, eps=reach)


@dataclass(frozen=True, slots=True)
class _Both:
    """Two balls of one kind in one search, which costs half of what two do: batches of a few rows cost by the batch.

    The first half of the rows is in the first ball, the second in the second. Sizes are shares of a row's radius.
    """

    first: L2 | Linf
    second: L2 | Linf

    @property
    def radius(self) -> float:
        return 1.0

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        balls, n = (self.first, self.second), len(x) // 2
        first, second = (ball.region(part, bounds) for ball, part in zip(balls, (x[:n], x[n:]), strict=True))
        eps = torch.cat([torch.full((n,), ball.eps, dtype=x.dtype, device=x.device) for ball in balls])
        return {**join(first, second), "eps": eps, "place": torch.arange(2 * n, device=x.device) // n}

    def origin(self, region: Rows) -> Tensor:
        return region["x"]

    def start(self, region: Rows, key: Tensor) -> Tensor:
        here = per_row(region["place"] == 0, region["x"])
        return torch.where(here, self.first.start(region, key), self.second.start(region, key))

    def project(self, z: Tensor, region: Rows) -> Tensor:
        return self.first.project(z, region)  # how far is in the region

    def ascent(self, gradient: Tensor) -> Tensor:
        return self.first.ascent(gradient)

    def stride(self, region: Rows) -> Tensor:
        return torch.where(region["place"] == 0, self.first.stride(region), self.second.stride(region))

    def render(self, z: Tensor, region: Rows) -> Tensor:
        return z

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return self.first.size(z, region) / region["eps"].double()


class _Rowwise(NamedTuple):
    """What a step asks of a threat, with a radius (B,) for each row."""

    radius: Tensor
    ascent: Callable[[Tensor], Tensor]


class _Short(ODIMargin):
    """A short attack whose steps are shares of each row's own radius."""

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, _Both)

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        own = cast("Threat", _Rowwise(problem.region["eps"], problem.threat.ascent))
        return ODIMargin.tell(self, replace(problem, threat=own), state, seen)


_SHORT = _Short(start_steps=1, steps_after=7)
