"""Probes: small experiments beside a measurement that feed the health checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import EOT, Cascade, Evaluation, Needs, ODIMargin, Problem, Searcher, draws_of
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.searches.cascade import merge
from robustest.engine.searches.rows import join
from robustest.engine.searches.search import Found, Search
from robustest.tasks import Task
from robustest.threats import L2, Bounds, Linf, Rows, Threat, per_row

_ROWS = 3
"""Survivors of a chunk that the searching probes take: enough to add up over chunks, cheap in each."""
_ROWS_PASSED = 8
"""Samples of a chunk that are passed a little changed, and in bfloat16."""
_ALIKE = 0.75
"""Agreement below which two answers that are no single class are apart: rounding turns near ties alone."""
_CLEAR = 0.25
"""Share of the median margin from which a sample is no near tie."""


def probe_inputs(
    evaluator: Evaluator, chunk: Chunk, logits: Tensor, climbing: Sequence[Searcher], threat: Threat
) -> None:
    """Whether a tiny change of the input changes anything, the softmax is saturated, the answers depend on precision.

    A pass of 8 samples, and one in bfloat16. The change is a fifth of what separates two 8-bit grey levels, up or down
    by each element's own coin. Only for attacks that follow gradients: no other depends on these.

    Args:
        evaluator: makes the model's passes.
        chunk: the samples.
        logits: (n, K) what the model says of them.
        climbing: the searchers that will follow gradients.
        threat: what they search.
    """
    if not climbing or not len(chunk.y):
        return
    rows = torch.arange(min(_ROWS_PASSED, len(chunk.y)), device=chunk.x.device)
    part, logits, health = chunk.rows(rows), logits[rows], evaluator.health
    low, high = chunk.bounds
    nudge = rng.signs(rng.fold(part.key, "nudge"), part.x.shape[1:]) * (0.2 * (high - low) / 255)
    moved = evaluator.logits((part.x + nudge).clamp(low, high))
    one_class = evaluator.task.one_class
    if one_class:
        one_hot = (logits.amax(1) == 1) & ((logits != 0).sum(1) == 1)  # probabilities given as logits
        saturated = one_hot | (logits.softmax(1).amax(1) == 1)
    else:  # an output that no objective has a slope in, whatever it is
        one_hot = torch.zeros(len(part.y), dtype=torch.bool, device=logits.device)
        saturated = ~one_hot
    health.probed += len(part.y)
    unmoved = (logits == moved).flatten(1).all(1)
    unmoved &= ~saturated if one_class else True
    if bool(unmoved.any()):
        unmoved &= _still(evaluator, part)
    health.unmoved += int(unmoved.sum())
    if bool(saturated.any()):
        health.saturated += int((one_hot | (saturated & _flat(evaluator.task, part, logits, climbing, threat))).sum())
    if not evaluator.random:
        _probe_precision(evaluator, part.x, logits)


def _still(evaluator: Evaluator, part: Chunk) -> Tensor:
    """(n,) bool: no gradient leads from the largest logit to the input.

    A quantisation that passes the gradient straight through hides nothing from a search that follows it, unless that
    gradient is untrue: then `probe_gradient` says so. Only asked for samples that did not move, so sound models pay
    nothing for it.
    """
    gradient = evaluator.gradient(part.x, lambda point, _: point, lambda out, _: out.flatten(1).amax(1))[1]
    return (gradient == 0).flatten(1).all(1)


def _flat(task: Task, part: Chunk, logits: Tensor, climbing: Sequence[Searcher], threat: Threat) -> Tensor:
    """(n,) bool: at these logits (n, K) none of the searchers' objectives has a slope in the label's logit.

    In float32 cross-entropy has none once the label's probability rounds to 1. Of outputs (n, *O) that are no logits of
    one class: none has a slope in any.
    """
    flat = torch.ones(len(part.y), dtype=torch.bool, device=part.y.device)
    problem = Problem(threat, threat.region(part.x, part.bounds), part.y, logits.shape[1], part.bounds, task)
    for searcher in climbing:
        with torch.enable_grad():
            leaf = logits.clone().requires_grad_(True)
            value = searcher.objective(problem, searcher.init(problem, part.key), leaf).sum()
            slope = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
        if slope is not None:
            told = slope.gather(1, part.y.unsqueeze(1)) if task.one_class else slope.flatten(1)
            flat &= (told == 0).all(1)
    return flat


def _probe_precision(evaluator: Evaluator, x: Tensor, logits: Tensor) -> None:
    """Count samples x (n, *S) whose class in bfloat16 is another, near ties left out.

    The logits (N >= n, K) are those of float32. A sample is a near tie where its two largest logits are closer than a
    quarter of what is usual. In a sound network rounding moves a margin by a few hundredths of that.
    """
    answers = evaluator.bfloat16(x)
    if answers is None:
        return
    if not evaluator.task.one_class:
        alike = evaluator.task.agreement(answers, evaluator.task.predictions(logits[: len(x)]))
        evaluator.health.rounded += len(x)
        evaluator.health.rounded_apart += int((alike < _ALIKE).sum())
        return
    largest = logits.topk(2, 1).values
    lead = largest[:, 0] - largest[:, 1]
    clear = (lead >= _CLEAR * lead.median())[: len(x)]
    evaluator.health.rounded += len(x)
    evaluator.health.rounded_apart += int((clear & (answers != evaluator.task.predictions(logits[: len(x)]))).sum())


def probe_survivors(evaluator: Evaluator, cascade: Cascade, threat: Threat, chunk: Chunk, found: Found) -> None:
    """Attack a few survivors without a bound, and in L-inf and L2 at half the radius; what breaks inside counts.

    Only after cascades that use gradients, where the threat leaves anything to search.
    """
    climbing = climbers(cascade, threat, evaluator, chunk)
    survivors = (~found.broken).nonzero().squeeze(1)[:_ROWS]
    if not climbing or not threat.radius or len(survivors) == 0:
        return
    part, health, draws = chunk.rows(survivors), evaluator.health, max(map(draws_of, climbing))
    if isinstance(threat, (L2, Linf)):
        unbounded, halved = _attack(evaluator, threat, part, draws)
        health.halved += len(survivors)
        health.halved_broken += int(halved.broken.sum())
        merge(found, halved, survivors, attempts=False)
    else:
        wide = Linf(part.bounds[1] - part.bounds[0])
        unbounded = _search(evaluator, _WIDE, wide, part, draws).broken
    health.unbounded += len(survivors)
    health.unbounded_held += int((~unbounded).sum())


def climbers(cascade: Cascade, threat: Threat, evaluator: Evaluator, chunk: Chunk) -> list[Searcher]:
    """The searchers of a cascade that follow gradients of this threat, with this model, in a chunk of samples."""
    stages = cascade.serving(threat, evaluator.model.gives, chunk.x[0].numel(), evaluator.task)
    return [stage.searcher for stage in stages if stage.searcher.needs is Needs.GRADIENT]


def _attack(evaluator: Evaluator, threat: L2 | Linf, part: Chunk, draws: int) -> tuple[Tensor, Found]:
    """What breaks without a bound (n,), and what is found at half the radius."""
    wide, narrow, n = _everything(threat, part), replace(threat, eps=threat.eps / 2), len(part.y)
    keys = [rng.fold(part.key, f"probe {ball}") for ball in (wide, narrow)]
    if type(threat) not in (Linf, L2):  # a ball of one's own may have rows of its own
        unbounded = _search(evaluator, _WIDE, wide, replace(part, key=keys[0]), draws).broken
        return unbounded, _search(evaluator, _WIDE, narrow, replace(part, key=keys[1]), draws)
    twice = replace(part, x=torch.cat([part.x, part.x]), y=torch.cat([part.y, part.y]), key=torch.cat(keys))
    found = _search(evaluator, _SHORT, _Both(wide, narrow), twice, draws)
    x, region = found.x[n:], narrow.region(part.x, part.bounds)
    inside = Found(found.broken[n:], x, narrow.size(x, region), found.predicted[n:], found.margin[n:])
    return found.broken[:n], inside


def _search(evaluator: Evaluator, searcher: Searcher, threat: Threat, part: Chunk, draws: int) -> Found:
    """What a searcher finds, its gradients not counted: they are where it matters."""
    climbed = evaluator.health.climbed, evaluator.health.zero
    averaged = EOT(searcher, draws=draws) if draws > 1 else searcher
    found = Search(evaluator, averaged, threat, part.bounds).run(part.x, part.y, part.key)
    evaluator.settle()
    evaluator.health.climbed, evaluator.health.zero = climbed
    return found


def _everything(threat: L2 | Linf, part: Chunk) -> L2 | Linf:
    """The ball in the same norm that holds every input inside the bounds."""
    span = part.bounds[1] - part.bounds[0]
    return Linf(span) if isinstance(threat, Linf) else L2(span * part.x[0].numel() ** 0.5)


@dataclass(frozen=True, slots=True)
class _Both:
    """Two balls of one norm in one search, which costs half of what two do: batches of a few rows cost by the batch.

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
_WIDE = ODIMargin(start_steps=1, steps_after=7)
