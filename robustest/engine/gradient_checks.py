"""Whether gradients tell the truth: what they promise along a short path, against what the model then does.

Along a straight path the change of a model's answer is the integral of its slope, however curved it is. A Gauss rule of
two points has that integral to a few per cent in sound networks. Where part of the answer does not reach the
gradient (a rounding, a `detach`, a wrong backward pass), the two differ by far, and an attack that follows the gradient
looks in the wrong place, however large the gradient is (Athalye, Carlini and Wagner, ICML 2018).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from robustest import rng
from robustest.attacks import EOT, Cascade, Evaluation, Needs, ODIMargin, Problem, Searcher, draws_of
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, seed_draws
from robustest.engine.search import Search, SearchOutcome, join, merge
from robustest.health import unlikely
from robustest.tasks import Task
from robustest.threats import L2, Bounds, Linf, Rows, Threat, per_row

_LENGTH = 0.03
"""Of the way against the gradient's signs, as a share of the width of bounds or samples; longer ones bend too much."""
_TOWARDS = 0.1
"""Share of the way to another sample."""
_FIRST, _MOST = 8, 4
"""Where so many samples are asked for, as in the first chunk, each goes two ways to others; few go more, so many."""
_POINTS = 2
"""Of the Gauss rule."""
_OFF = 0.5
"""A promise is kept where the change is off by this share of the larger of the two, or"""
_OFF_USUAL = 0.1
"""by this share of the usual change, for promises that happen to be small."""
_ROUNDING = 1e-5
"""Changes below this share of the largest score are rounding in float32."""
_TINY = 1e-30


def probe_gradient(evaluator: Evaluator, chunk: Chunk, *, draws: int = 1, searched: bool = True) -> bool:
    """Follow the gradient of a few samples for two short ways, and count where the model does not do as it says.

    One way goes against the gradient's signs, in each element 3 % of the width of the bounds, or of what the samples
    span; the other a tenth of the way to another sample, where an honest gradient must know, too, of what it does not
    lead to: a path beside the mask that is steep enough tells the truth along its own gradient. What is followed is the
    lead of a sample's likeliest class over its second.

    Args:
        evaluator: makes the model's passes; it says how many samples are taken.
        chunk: the samples, of which the first few are taken.
        draws: passes averaged at each point, for models that answer at random; their draws are the same at all of them.
        searched: whether a search counts gradients that are zero; else they are counted here.

    Returns:
        Whether the gradient misleads on these samples alone.
    """
    evaluator.probed = True
    part = chunk.rows(torch.arange(min(evaluator.probe_rows, len(chunk.y)), device=chunk.x.device))
    path, health = _GradientPath(evaluator, part, draws), evaluator.health
    unkept = of = 0
    for step in path.ways():
        promised, change = path.along(step)
        larger = torch.maximum(promised.abs(), change.abs())
        told = larger > path.floor
        kept = (change - promised).abs() <= _OFF * larger + _OFF_USUAL * larger.median()
        of += int(told.sum())
        unkept += int((told & ~kept).sum())
    health.count("gradient_misleads", failed=unkept, tried=of)
    if not searched:
        health.count("zero_gradient", failed=int(path.still.sum()), tried=len(part.y))
    return unlikely(unkept, of)


@dataclass(slots=True)
class _GradientPath:
    """The samples of a chunk, and the way along their gradients.

    Attributes:
        evaluator, part, draws: as for `probe_gradient`.
        still: (n,) bool: the gradient is zero everywhere, and the way is one at random.
        floor: (n,) float64: changes of the lead that are rounding, or the model's own noise.
    """

    evaluator: Evaluator
    part: Chunk
    draws: int
    still: Tensor = field(init=False)
    floor: Tensor = field(init=False)
    _lead: _Pair | _Tangent | _Listed = field(init=False)
    _led: Tensor = field(default_factory=lambda: torch.empty(0), init=False)
    _start: Tensor = field(init=False)
    _way: Tensor = field(init=False)

    def __post_init__(self) -> None:
        x = self.part.x
        task = self.evaluator.task
        self._lead = _lead_of(task)
        logits, gradient = self._slope(x)
        self._led = self._lead.led(logits, self.part.y)
        if isinstance(self._lead, _Tangent):
            self._led = windowed(self._led, self.part.key)
            gradient = self._slope(x)[1]
        self._start = self._lead.value(logits, self._led).double()
        self.floor = self._lead.resolution(logits, self._led)
        if self.evaluator.random:  # a model that draws elsewhere than from the global generators draws anew
            self.floor = self.floor + 4 * (self._start - self._answers(x)).abs()
        self.still = (gradient == 0).flatten(1).all(1)
        at_random = rng.signs(rng.fold(self.part.key, "path"), x.shape[1:])
        self._way = torch.where(per_row(self.still, x), at_random, -gradient.sign())

    def ways(self) -> list[Tensor]:
        """(n, *S) steps inside the bounds: against the gradient, and towards other samples."""
        x, (low, high) = self.part.x, self.part.bounds
        asked = self.evaluator.probe_rows
        ways = min(_MOST, -(-2 * asked // len(x))) if asked >= _FIRST else 1
        others = [x.roll(shift, 0) for shift in range(1, len(x))][:ways] or [low + high - x]
        width = min(high - low, float(x.max() - x.min()) or high - low)  # bounds may be far wider than what is inside
        steps = [_LENGTH * width * self._way, *(_TOWARDS * (other - x) for other in others)]
        return [(x + step).clamp(low, high) - x for step in steps]

    def along(self, step: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) float64 each: the change of the lead that gradients promise along steps (n, *S), and that there is."""
        x = self.part.x
        nodes, weights = np.polynomial.legendre.leggauss(_POINTS)
        places = [x + (float(node) + 1) / 2 * step for node in nodes]
        if self.evaluator.random:
            gradients = [self._slope(place)[1] for place in places]
        else:  # together, which is faster
            gradients = list(self._slope(torch.cat(places))[1].chunk(_POINTS))
        slopes = [(gradient.double() * step.double()).flatten(1).sum(1) for gradient in gradients]
        promised = torch.stack([float(w) / 2 * slope for w, slope in zip(weights, slopes, strict=True)]).sum(0)
        return promised, self._answers(x + step) - self._start

    def _slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Logits at points z (n,) or several times as many, and the gradient of the lead there."""
        led = self._led
        if len(led):
            led = led.repeat(len(z) // len(led), *[1] * (led.ndim - 1))

        def objective(logits: Tensor, part: slice) -> Tensor:
            known = led[part] if len(led) else self._lead.led(logits.detach(), self.part.y[part])
            return self._lead.value(logits, known)

        self._seed()
        return self.evaluator.gradient(z, lambda point, _: point, objective, draws=self.draws)

    def _answers(self, x: Tensor) -> Tensor:
        """(n,) float64 leads at x, without gradients."""
        self._seed()
        logits = torch.stack([self.evaluator.logits(x) for _ in range(self.draws)]).mean(0)
        return self._lead.value(logits, self._led).double()

    def _seed(self) -> None:
        """Let a model that answers at random draw the same at every point."""
        if self.evaluator.random:
            seed_draws(rng.fold(self.part.key, "path"))


class _Pair:
    """The lead of a sample's likeliest class over its second."""

    def led(self, scores: Tensor, y: Tensor) -> Tensor:
        """(n, 2) the two classes of scores (n, K)."""
        return scores.topk(2, 1).indices

    def value(self, scores: Tensor, pair: Tensor) -> Tensor:
        """(n,) how far the first of a pair is before the second: on a log scale where scores are shares."""
        both = on_scale(scores).gather(1, pair)
        return both[:, 0] - both[:, 1]

    def resolution(self, scores: Tensor, pair: Tensor) -> Tensor:
        """(n,) float64: changes that are rounding."""
        return _resolution(scores)


@dataclass(frozen=True, slots=True)
class _Tangent:
    """Of outputs that are no logits of one class: a linear form, along which the task's margin loss falls at first."""

    task: Task

    def led(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(n, *O) its weights: those of each output where the path begins."""
        with torch.enable_grad():
            leaf = outputs.detach().clone().requires_grad_(True)
            return -torch.autograd.grad(self.task.losses["margin"](leaf, y).sum(), leaf)[0]

    def value(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """(n,) the form's value."""
        return (outputs * weights).flatten(1).sum(1)

    def resolution(self, outputs: Tensor, weights: Tensor) -> Tensor:
        """(n,) float64: changes that are rounding, in the format that outputs were computed in."""
        return _unit(outputs) * (outputs * weights).abs().flatten(1).sum(1).double()


def windowed(weights: Tensor, key: Tensor) -> Tensor:
    """Weights (n, *O) of a linear form, kept in a window of half of each side, at a place of each sample's own.

    Gradients that are masked for a part of the outputs keep what they promise of all: half of the change, say, is what
    a curved model may miss too. Of a window inside that part they promise nothing. Windows lie in the places of outputs
    (n, K, *places), in the outputs themselves where there is one axis; where one holds no weight all are kept.
    """
    axes = range(2, weights.ndim) if weights.ndim > 2 else range(1, weights.ndim)
    inside = torch.ones_like(weights, dtype=torch.bool)
    for axis in axes:
        side = weights.shape[axis]
        wide = -(-side // 2)
        start = rng.integers(rng.fold(key, f"window {axis}"), (1,), side - wide + 1)
        place = torch.arange(side, device=weights.device)
        within = (place >= start) & (place < start + wide)  # (n, side)
        inside &= within.view(len(weights), *(side if a == axis else 1 for a in range(1, weights.ndim)))
    kept = torch.where(inside, weights, 0)
    empty = (kept == 0).flatten(1).all(1)
    return torch.where(per_row(empty, weights), weights, kept)


@dataclass(frozen=True, slots=True)
class _Listed:
    """Of outputs that are lists in no fixed order, where places mean nothing: the task's own loss, negated."""

    task: Task

    def led(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(n, *T) the targets."""
        return y

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(n,) how far answers are from wrong."""
        return -self.task.losses["log_odds"](outputs, y)

    def resolution(self, outputs: Tensor, y: Tensor) -> Tensor:
        """(n,) float64: changes that are rounding, in the format that outputs were computed in."""
        return _unit(outputs) * self.value(outputs, y).abs().double()


def _lead_of(task: Task) -> _Pair | _Tangent | _Listed:
    if task.one_class:
        return _Pair()
    return _Listed(task) if getattr(task, "listed", False) else _Tangent(task)


def on_scale(scores: Tensor) -> Tensor:
    """Scores (n, K) on a log scale where they are shares, as they are elsewhere."""
    return scores.clamp(min=_TINY).log() if _shares(scores) else scores


def _shares(scores: Tensor) -> bool:
    """Whether scores (n, K) look like probabilities, in which a lead hides its size."""
    scores = scores.detach()
    return bool((scores >= 0).all() & ((scores.sum(1) - 1).abs() < 1e-3).all())


def _resolution(scores: Tensor) -> Tensor:
    """(n,) float64: changes of a lead that are rounding, in the format that scores (n, K) were computed in."""
    if _shares(scores):  # relative rounding of the smaller share, and absolute of the larger ones
        smallest = scores.topk(2, 1).values[:, 1].double().clamp(min=_TINY)
        return _ROUNDING + 4 * torch.finfo(torch.float32).eps / smallest
    return _unit(scores) * scores.abs().amax(1).double()


def _unit(scores: Tensor) -> float:
    """The relative rounding of the format that scores were computed in."""
    unit = _ROUNDING
    for kind in (torch.float16, torch.bfloat16):
        if torch.equal(scores.to(kind).to(scores.dtype), scores):
            unit = 2 * torch.finfo(kind).eps
    return unit


# Parts of the input that a search by gradients could not move.
#
# A search by gradients leaves an element alone whose gradient is zero wherever the search has been: one behind a
# rounding or a `detach`, or in a flat part that the search never left. That does not matter where the model does not
# read
# the element. So, for a few samples that the search left:
#
# 1. U = the elements that the threat may move and that had no gradient at any point of any stage; R = the others. An
#    objective follows the likeliest wrong class, and other classes may read other elements: what has a gradient of a
#    random sum of all outputs, at the sample itself, was not hidden from a search by gradients, and belongs to R.
# 2. Move U alone, then R alone, by random signs as far as the threat allows, `_DRAWS` times each, and take the root
# mean
#    square change of the margin, d(U) and d(R).
# 3. A linear model that changes by d for random signs on n elements changes by d sqrt(n) for the worst ones. The sample
#    was not searched where d(U) sqrt(|U|) is at least `_MATTERS` of d(R) sqrt(|R|).
#


_DRAWS = 4
_MATTERS = 0.1
"""A part that can move the margin by less than a tenth of what the rest can seldom decides; sound networks whose
rectifiers are off for a few pixels have such parts."""
_NOISE = 1e-5
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
    evaluator.health.count("unreached_input", failed=0, tried=len(x))
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
    floor = _NOISE * outputs.flatten(1).abs().amax(1).double()
    missed = (worst[0] > floor) & (worst[0] >= _MATTERS * worst[1])
    evaluator.health.count("unreached_input", failed=int(missed.sum()), tried=0)
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


# Probes: small experiments beside a measurement that feed the health checks.


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
    unmoved = (logits == moved).flatten(1).all(1)
    unmoved &= ~saturated if one_class else True
    if bool(unmoved.any()):
        unmoved &= _still(evaluator, part)
    if bool(saturated.any()):
        saturated = one_hot | (saturated & _flat(evaluator.task, part, logits, climbing, threat))
    health.count("quantised_input", failed=int(unmoved.sum()), tried=len(part.y))
    health.count("saturated_softmax", failed=int(saturated.sum()), tried=len(part.y))
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
        evaluator.health.count("precision_disagreement", failed=int((alike < _ALIKE).sum()), tried=len(x))
        return
    largest = logits.topk(2, 1).values
    lead = largest[:, 0] - largest[:, 1]
    clear = (lead >= _CLEAR * lead.median())[: len(x)]
    changed = clear & (answers != evaluator.task.predictions(logits[: len(x)]))
    evaluator.health.count("precision_disagreement", failed=int(changed.sum()), tried=len(x))


def probe_survivors(evaluator: Evaluator, cascade: Cascade, threat: Threat, chunk: Chunk, found: SearchOutcome) -> None:
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
        health.count("not_monotone", failed=int(halved.broken.sum()), tried=len(survivors))
        merge(found, halved, survivors, attempts=False)
    else:
        wide = Linf(part.bounds[1] - part.bounds[0])
        unbounded = _search(evaluator, _WIDE, wide, part, draws).broken
    health.count("unbounded_attack_fails", failed=int((~unbounded).sum()), tried=len(survivors))


def climbers(cascade: Cascade, threat: Threat, evaluator: Evaluator, chunk: Chunk) -> list[Searcher]:
    """The searchers of a cascade that follow gradients of this threat, with this model, in a chunk of samples."""
    stages = cascade.serving(threat, evaluator.model.gives, chunk.x[0].numel(), evaluator.task)
    return [stage.searcher for stage in stages if stage.searcher.needs is Needs.GRADIENT]


def _attack(evaluator: Evaluator, threat: L2 | Linf, part: Chunk, draws: int) -> tuple[Tensor, SearchOutcome]:
    """What breaks without a bound (n,), and what is found at half the radius."""
    wide, narrow, n = _everything(threat, part), replace(threat, eps=threat.eps / 2), len(part.y)
    keys = [rng.fold(part.key, f"probe {ball}") for ball in (wide, narrow)]
    if type(threat) not in (Linf, L2):  # a ball of one's own may have rows of its own
        unbounded = _search(evaluator, _WIDE, wide, replace(part, key=keys[0]), draws).broken
        return unbounded, _search(evaluator, _WIDE, narrow, replace(part, key=keys[1]), draws)
    twice = replace(part, x=torch.cat([part.x, part.x]), y=torch.cat([part.y, part.y]), key=torch.cat(keys))
    found = _search(evaluator, _SHORT, _Both(wide, narrow), twice, draws)
    x, region = found.x[n:], narrow.region(part.x, part.bounds)
    inside = SearchOutcome(found.broken[n:], x, narrow.size(x, region), found.predicted[n:], found.margin[n:])
    return found.broken[:n], inside


def _search(evaluator: Evaluator, searcher: Searcher, threat: Threat, part: Chunk, draws: int) -> SearchOutcome:
    """What a searcher finds, its gradients not counted: they are where it matters."""
    averaged = EOT(searcher, draws=draws) if draws > 1 else searcher
    found = Search(evaluator, averaged, threat, part.bounds, probe=True).run(part.x, part.y, part.key)
    evaluator.settle()
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


class _RowRadii(NamedTuple):
    """What a step asks of a threat, with a radius (B,) for each row."""

    radius: Tensor
    ascent: Callable[[Tensor], Tensor]


class _Short(ODIMargin):
    """A short attack whose steps are shares of each row's own radius."""

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, _Both)

    def tell(self, problem: Problem, state: Rows, seen: Evaluation) -> Rows:
        own = cast("Threat", _RowRadii(problem.region["eps"], problem.threat.ascent))
        return ODIMargin.tell(self, replace(problem, threat=own), state, seen)


_SHORT = _Short(start_steps=1, steps_after=7)
_WIDE = ODIMargin(start_steps=1, steps_after=7)
