"""Whether gradients tell the truth: what they promise along a short path, against what the model then does.

Along a straight path the change of a model's answer is the integral of its slope, however curved it is. A Gauss rule of
two points has that integral to a few per cent in sound networks. Where part of the answer does not reach the
gradient (a rounding, a `detach`, a wrong backward pass), the two differ by far, and an attack that follows the gradient
looks in the wrong place, however large the gradient is (Athalye, Carlini and Wagner, ICML 2018).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from robustest import rng
from robustest.engine.chunks import Chunk
from robustest.engine.draws import seed_draws
from robustest.engine.evaluator import Evaluator
from robustest.engine.health_checks.health import misleads
from robustest.tasks import Task
from robustest.threats import per_row

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
    path, health = _Path(evaluator, part, draws), evaluator.health
    unkept = of = 0
    for step in path.ways():
        promised, change = path.along(step)
        larger = torch.maximum(promised.abs(), change.abs())
        told = larger > path.floor
        kept = (change - promised).abs() <= _OFF * larger + _OFF_USUAL * larger.median()
        of += int(told.sum())
        unkept += int((told & ~kept).sum())
    health.promises += of
    health.unkept += unkept
    if not searched:
        health.climbed += len(part.y)
        health.zero += int(path.still.sum())
    return misleads(unkept, of)


@dataclass(slots=True)
class _Path:
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
