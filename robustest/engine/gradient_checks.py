"""Experiments beside a search by gradients that show if it could find anything."""

# - `probe_gradient`: does the model change along its gradient as the gradient says?
# - `probe_precision`: do gradients in bfloat16 point where those in float32 do?
# - `count_unreached`: is there a part of the input that the model reads and that never had a gradient?
# - `probe_inputs`: does a tiny change change anything, is the softmax saturated, do answers depend on precision?
# - `probe_survivors`: does the attack succeed where it may change the input at will, and what does it find at half the
#   radius? An attack that fails the first was misled; one that succeeds at the second was not searching well.
#
# Each feeds counts to `Evaluator.health`; `robustest.health` says when they stop a claim.

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from robustest import devices, rng
from robustest.attacks import EOT, Cascade, Needs, ODIMargin, Problem, Searcher, draws_of
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator, seed_draws
from robustest.engine.search import TINY, SearchOutcome, join, search, shares
from robustest.errors import ModelError
from robustest.health import unlikely
from robustest.tasks import Task, as_targets, class_losses, top_of
from robustest.threats import L2, Bounds, Linf, Rows, Snr, Threat, is_discrete, per_row

# Do changes follow the gradient?
#
# Along a straight path from x to x + s the change of a model's answer is the integral of its slope, however curved the
# answer is: f(x + s) - f(x) = integral of grad f(x + t s) . s dt over t in [0, 1]. A Gauss rule of two points has that
# integral to a few per cent in sound networks. Where a part of the answer does not reach the gradient (a rounding, a
# `detach`, a wrong backward pass), the two sides differ by far, and an attack that follows the gradient looks in the
# wrong place, however large the gradient is (Athalye, Carlini and Wagner, ICML 2018).

# Length of the path against the gradient's signs, as a share of the width of bounds or samples; longer ones bend too
# much.
_LENGTH = 0.03
# Share of the way to another sample.
_TOWARDS = 0.1
# With at least `FIRST` samples, as in the first chunk, each goes two ways to others; fewer samples go up to four.
FIRST, _MOST_WAYS = 8, 4
# Points of the Gauss rule, as shares of the path, and their weights.
_POINTS = 2
_RULE = [((float(node) + 1) / 2, float(weight) / 2) for node, weight in zip(*leggauss(_POINTS), strict=True)]
# A prediction may be off by this share of the larger of the two changes, plus `_OFF_USUAL` of the usual change, for
# predictions that happen to be small.
_OFF = 0.5
_OFF_USUAL = 0.1
# Changes below this share of the largest score are rounding in float32.
_ROUNDING = 1e-5


def probe_gradient(evaluator: Evaluator, chunk: Chunk, *, draws: int = 1, searched: bool = True) -> bool:
    """Compare the changes of a task's lead that gradients predict along short paths with those that occur.

    Args:
        chunk: the first `probe_rows` samples are probed.
        draws: passes averaged at each point, for models that answer at random; their draws are the same at all points.
        searched: a search counts gradients that are zero; else they are counted here.

    Returns:
        True if the gradient misleads on these samples alone.
    """
    evaluator.probed = True
    part = chunk.rows(torch.arange(min(evaluator.probe_rows, len(chunk.y)), device=chunk.x.device))
    x, n, (low, high) = part.x, len(part.y), part.bounds
    lead: _Pair | _Tangent | _Listed
    if top := top_of(evaluator.task):
        lead = _Pair(top)
    elif getattr(evaluator.task, "listed", False):
        lead = _Listed(evaluator.task)
    else:
        lead = _Tangent(evaluator.task)
    reference: Tensor | None = None  # the classes, or weights, at the start of the path; the same all along it

    def value(outputs: Tensor, rows: slice) -> Tensor:
        """Return the lead of points that hold every sample once or several times, in the order of the samples."""
        at = torch.arange(rows.start, rows.stop, device=outputs.device) % n
        known = lead.reference(outputs.detach(), part.y[at]) if reference is None else reference[at]
        return lead.value(outputs, known)

    def seed() -> None:
        """Make a model that answers at random draw the same at every point."""
        if evaluator.random:
            seed_draws(rng.fold(part.key, "path"))

    seed()
    outputs, gradient = evaluator.gradient(x, lambda z, _: z, value, draws=draws)
    reference = lead.reference(outputs, part.y)
    if isinstance(lead, _Tangent):
        reference = windowed(reference, part.key)
        seed()
        gradient = evaluator.gradient(x, lambda z, _: z, value, draws=draws)[1]
    start = lead.value(outputs, reference).double()
    floor = lead.resolution(outputs, reference)  # changes that are rounding, or the model's own noise
    if evaluator.random:  # a model that draws elsewhere than from the global generators draws anew
        seed()
        again = torch.stack(list(map(evaluator.logits, [x] * draws))).mean(0)
        # Of all samples together: that of one may be small by chance.
        floor = floor + 4 * (start - lead.value(again, reference).double()).abs().amax()
    still = (gradient == 0).flatten(1).all(1)
    descent = -gradient.sign()
    if not devices.on_host(x) or bool(still.any()):
        descent = torch.where(per_row(still, x), rng.signs(rng.fold(part.key, "path"), x.shape[1:]), descent)

    few = min(_MOST_WAYS, -(-2 * evaluator.probe_rows // n)) if evaluator.probe_rows >= FIRST else 1
    others = [x.roll(shift, 0) for shift in range(1, n)][:few] or [low + high - x]
    width = min(high - low, float(x.max() - x.min()) or high - low)  # bounds may be far wider than the samples
    # A steep way past a mask is predicted well along its own gradient. On the way to another sample an honest gradient
    # must predict the parts behind the mask too.
    aims = [_LENGTH * width * descent, *(_TOWARDS * (other - x) for other in others)]

    # Along every way at once, where (W, P, n, *S) are ways, points of the rule, and samples. In few passes, which is
    # faster, or one by one where the model's draws must be the same at each.
    steps = torch.stack([(x + aim).clamp(low, high) - x for aim in aims])
    points = torch.stack([x + share * steps for share, _ in _RULE], 1).flatten(0, 2)
    gradients, ends = [], []
    for z in torch.split(points, n if evaluator.random else len(points)):
        seed()
        gradients.append(evaluator.gradient(z, lambda z, _: z, value, draws=draws)[1])
    for z in torch.split((x + steps).flatten(0, 1), n if evaluator.random else n * len(aims)):
        seed()
        end = torch.stack(list(map(evaluator.logits, [z] * draws))).mean(0)
        ends.append(value(end, slice(0, len(z))))
    # Gradients and inputs may lie in memory with the channels last, of which `view` has no part.
    each = torch.cat(gradients).flatten(1).view(len(aims), _POINTS, n, -1)
    slopes = each.double() * steps.flatten(2).unsqueeze(1).double()
    rise = slopes.sum(3)
    predicted = torch.stack([weight * rise[:, place] for place, (_, weight) in enumerate(_RULE)]).sum(0)
    change = torch.cat(ends).view(len(aims), n).double() - start
    larger = torch.maximum(predicted.abs(), change.abs())
    counted = larger > floor
    occurred = (change - predicted).abs() <= _OFF * larger + _OFF_USUAL * devices.median(larger, 1, keepdim=True)
    wrong, tried = int((counted & ~occurred).sum()), int(counted.sum())
    evaluator.health.count("gradient_misleads", failed=wrong, tried=tried)
    if not searched:
        evaluator.health.count("zero_gradient", failed=int(still.sum()), tried=n)
    return unlikely(wrong, tried)


# Do gradients in bfloat16 point where those in float32 do?
#
# For a step along the signs of a gradient h, where the true one is g, the loss rises by g . sign(h), of ||g||_1 at
# best; for a step along h itself by g . h / ||h||, of ||g|| at best. Both shares are near 1 in sound networks.

# Least share of the rise.
_ALIGNED = 0.8
# Share of the samples that may fall below it: where a loss is flat, rounding turns its gradient.
_TURNED = 1 / 8


def probe_precision(evaluator: Evaluator, chunk: Chunk) -> bool:
    """Return True if gradients in bfloat16 of the first `probe_rows` samples point where those in float32 do."""
    part = chunk.rows(torch.arange(min(evaluator.probe_rows, len(chunk.y)), device=chunk.x.device))
    loss = evaluator.task.losses["margin"]

    def objective(outputs: Tensor, at: slice) -> Tensor:
        return loss(outputs, part.y[at])

    full = evaluator.gradient(part.x, lambda z, _: z, objective)[1].flatten(1).double()
    evaluator.require_finite()
    try:
        with evaluator.low(True):
            low = evaluator.gradient(part.x, lambda z, _: z, objective)[1].flatten(1).double()
        evaluator.require_finite()
    except ModelError:  # not finite, or an operation that bfloat16 does not have
        return False
    return int(turned(full, low).sum()) <= _TURNED * len(full)


def turned(full: Tensor, other: Tensor) -> Tensor:
    """Return (n,) bool: rows of gradients full (n, D) along which those of other (n, D) do not point."""
    by_signs = (full * other.sign()).sum(1) / full.abs().sum(1)
    by_length = (full * other).sum(1) / (full.norm(dim=1) * other.norm(dim=1))
    # 0/0 is NaN: no gradient in `full` has no direction to agree with, but none in `other` beside one does not agree.
    return (full != 0).any(1) & ~(torch.minimum(by_signs, by_length) >= _ALIGNED)


@dataclass(frozen=True, slots=True)
class _Pair:
    """The lead of a sample's likeliest class over its second: on a log scale where scores are shares.

    If an answer names several classes, the lead of the label over the class that has to overtake it.
    """

    top: int = 1

    def reference(self, scores: Tensor, y: Tensor) -> Tensor:
        """Return (n, 2) the two classes of scores (n, K)."""
        if self.top == 1:
            return scores.topk(2, 1).indices
        return torch.stack([y, class_losses.ranked_class(scores, y, self.top - 1)], 1)

    def value(self, scores: Tensor, pair: Tensor) -> Tensor:
        both = (scores.clamp(min=TINY).log() if shares(scores) else scores).gather(1, pair)
        return both[:, 0] - both[:, 1]

    def resolution(self, scores: Tensor, pair: Tensor) -> Tensor:
        """Return (n,) float64: the size of rounding, in the format that scores were computed in."""
        if shares(scores):  # relative rounding of the smaller share, and absolute of the larger ones
            smallest = scores.topk(2, 1).values[:, 1].double().clamp(min=TINY)
            return _ROUNDING + 4 * torch.finfo(torch.float32).eps / smallest
        return _unit(scores) * scores.abs().amax(1).double()


@dataclass(frozen=True, slots=True)
class _Tangent:
    """A linear form of outputs that are no logits of one class, along which the task's margin loss falls at first."""

    task: Task

    def reference(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return (n, *O) the weights of each output."""
        with torch.enable_grad():
            leaf = outputs.detach().clone().requires_grad_(True)
            return -torch.autograd.grad(self.task.losses["margin"](leaf, y).sum(), leaf)[0]

    def value(self, outputs: Tensor, weights: Tensor) -> Tensor:
        return (outputs * weights).flatten(1).sum(1)

    def resolution(self, outputs: Tensor, weights: Tensor) -> Tensor:
        return _unit(outputs) * (outputs * weights).abs().flatten(1).sum(1).double()


@dataclass(frozen=True, slots=True)
class _Listed:
    """The task's own loss, negated, for outputs that are lists in no fixed order, whose places mean nothing."""

    task: Task

    def reference(self, outputs: Tensor, y: Tensor) -> Tensor:
        return y

    def value(self, outputs: Tensor, y: Tensor) -> Tensor:
        return -self.task.losses["log_odds"](outputs, y)

    def resolution(self, outputs: Tensor, y: Tensor) -> Tensor:
        return _unit(outputs) * self.value(outputs, y).abs().double()


def windowed(weights: Tensor, key: Tensor) -> Tensor:
    """Return weights (n, *O) of a linear form, kept in a random window of half of each side for every sample.

    Windows lie in the places of outputs (n, K, *places), or in outputs (n, O) themselves; a window without any weight
    keeps all.
    """
    # Gradients that are masked for a part of the outputs still predict the rest, and half of the change is an error
    # that a curved model may show too. In a window inside the masked part they predict nothing.
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


def _unit(scores: Tensor) -> float:
    """Return the relative rounding of the format that scores were computed in."""
    unit = _ROUNDING
    for kind in (torch.float16, torch.bfloat16):
        if torch.equal(scores.to(kind).to(scores.dtype), scores):
            unit = 2 * torch.finfo(kind).eps
    return unit


# Parts of the input that a search by gradients could not move
#
# A search by gradients leaves an element alone whose gradient is zero wherever the search has been: one behind a
# rounding or a `detach`, or in a flat part that the search never left. That does not matter where the model does not
# read the element. So, for a few survivors:
#
# 1. U = the elements that the threat may move and that had no gradient at any point of any stage; R = the others. An
#    objective follows the likeliest wrong class, and other classes may read other elements: an element at which a
#    random sum of all outputs has a gradient, at the sample itself, was not hidden from a search by gradients, and
#    belongs to R.
# 2. Move U alone, then R alone, by random signs as far as the threat allows, `_DRAWS` times each, and take the root
#    mean square change of the margin, d(U) and d(R).
# 3. A linear model that changes by d for random signs on n elements changes by d sqrt(n) for the worst ones. The sample
#    was not searched where d(U) sqrt(|U|) is at least `_MATTERS` of d(R) sqrt(|R|).

_DRAWS = 4
# A part that can move the margin by less than this share of the rest's effect rarely decides; sound networks whose
# rectifiers are off for a few pixels have such parts.
_MATTERS = 0.1


def count_unreached(evaluator: Evaluator, chunk: Chunk, threat: Threat, alive: Tensor) -> None:
    """Count samples with a part that the search could not move though the model reads it, and note its size.

    Args:
        chunk: samples that a search by gradients left.
        threat: its proposals are inputs.
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
        return (outputs * rng.uniform(rng.fold(part.key[at], "outputs"), outputs.shape[1:])).flatten(1).sum(1)

    slope = evaluator.gradient(part.x, lambda z, _: z, all_outputs)[1]
    unreached, reached = unreached[rows] & (slope == 0), movable[rows] & (alive[rows] | (slope != 0))
    if not unreached.any():
        return
    region = {name: value[rows] for name, value in region.items()}
    # Far corners: beyond the bounds, so that a ball of any norm is left, and by shares that differ, so that a count of
    # pixels keeps some of them at random.
    room = (region["high"] - region["low"]).expand_as(part.x)
    outputs = evaluator.logits(part.x)
    start = evaluator.task.margin(outputs, part.y).double()
    worst = []
    for place, moved in enumerate((unreached, reached)):
        change = torch.zeros_like(start)
        for draw in range(_DRAWS):
            key = rng.fold(part.key, f"unreached {place} {draw}")
            signs, share = rng.signs(key, x.shape[1:]), rng.uniform(rng.fold(key, "share"), x.shape[1:], 0.5, 1.5)
            far = torch.where(signs > 0, region["high"].expand_as(part.x), region["low"].expand_as(part.x))
            z = threat.project(torch.where(moved, far + signs * share * room, part.x), region)
            margin = evaluator.task.margin(evaluator.logits(threat.render(z, region)), part.y)
            change += (margin.double() - start).square() / _DRAWS
        worst.append((change * moved.flatten(1).sum(1)).sqrt())
    floor = _ROUNDING * outputs.flatten(1).abs().amax(1).double()
    missed = (worst[0] > floor) & (worst[0] >= _MATTERS * worst[1])
    evaluator.health.count("unreached_input", failed=int(missed.sum()), tried=0)
    if bool(missed.any()):
        share_of_input = float(unreached[missed].float().mean())
        note = (
            f"{share_of_input:.0%} of the input had no gradient anywhere in the search, though the model reads it: "
            "the survivors of a search by gradients may break by changes there"
        )
        if not any("had no gradient anywhere in the search" in one for one in evaluator.notes):
            evaluator.notes.append(note)


# Unchanged samples, a little moved and in bfloat16

# Samples of a chunk for this probe.
_ROWS_PASSED = 8
# Below this agreement two answers that are no single class differ: rounding turns near ties alone.
_ALIKE = 0.75
# From this share of the median lead on a sample is no near tie. In a sound network rounding moves a lead by a few
# hundredths of that.
_CLEAR = 0.25


def probe_inputs(
    evaluator: Evaluator, chunk: Chunk, logits: Tensor, climbing: Sequence[Searcher], threat: Threat
) -> None:
    """Count samples that a tiny change leaves as they are, whose softmax is saturated, that bfloat16 changes, or that
    may not change at all.

    Args:
        logits: (n, K) the model's outputs.
        climbing: the searchers that will follow gradients; no other attack depends on these checks.
    """
    if isinstance(threat, Snr):  # a ball by the sample's own energy
        still = threat.region(chunk.x, chunk.bounds)["reach"] == 0
        evaluator.health.count("no_room", failed=int(still.sum()), tried=len(still))
    if is_discrete(threat) and threat.radius > 0:
        still = threat.points(threat.region(chunk.x, chunk.bounds)) <= 1
        evaluator.health.count("no_change", failed=int(still.sum()), tried=len(still))
    if not climbing or not len(chunk.y):
        return
    rows = torch.arange(min(_ROWS_PASSED, len(chunk.y)), device=chunk.x.device)
    part, logits, health, task = chunk.rows(rows), logits[rows], evaluator.health, evaluator.task
    low, high = chunk.bounds
    # A fifth of a step between two 8-bit grey levels.
    nudge = rng.signs(rng.fold(part.key, "nudge"), part.x.shape[1:]) * (0.2 * (high - low) / 255)
    moved = evaluator.logits((part.x + nudge).clamp(low, high))
    if top_of(task):
        one_hot = (logits.amax(1) == 1) & ((logits != 0).sum(1) == 1)  # probabilities given as logits
        saturated = one_hot | (logits.softmax(1).amax(1) == 1)
    else:  # any output that no objective has a slope in
        one_hot = torch.zeros(len(part.y), dtype=torch.bool, device=logits.device)
        saturated = ~one_hot
    unmoved = (logits == moved).flatten(1).all(1)
    unmoved &= ~saturated if top_of(task) else True
    if bool(unmoved.any()):
        # A quantisation that passes the gradient straight through hides nothing from a search that follows it, unless
        # that gradient is untrue, which `probe_gradient` sees. Only samples that did not move need this pass.
        gradient = evaluator.gradient(part.x, lambda z, _: z, lambda out, _: out.flatten(1).amax(1))[1]
        unmoved &= (gradient == 0).flatten(1).all(1)
    if bool(saturated.any()):
        # Saturated where no objective has a slope in the label's logit: in float32 cross-entropy has none once the
        # label's probability rounds to 1, a loss on logits has one all the same.
        flat = torch.ones(len(part.y), dtype=torch.bool, device=part.y.device)
        problem = Problem(threat, threat.region(part.x, part.bounds), part.y, evaluator.classes, part.bounds, task)
        for searcher in climbing:
            with torch.enable_grad():
                leaf = logits.clone().requires_grad_(True)
                value = searcher.objective(problem, searcher.init(problem, part.key), leaf).sum()
                slope = torch.autograd.grad(value, leaf, allow_unused=True)[0] if value.requires_grad else None
            if slope is not None:
                felt = slope.gather(1, part.y.unsqueeze(1)) if top_of(task) else slope.flatten(1)
                flat &= (felt == 0).all(1)
        saturated = one_hot | (saturated & flat)
    health.count("quantised_input", failed=int(unmoved.sum()), tried=len(part.y))
    health.count("saturated_softmax", failed=int(saturated.sum()), tried=len(part.y))

    answers = None if evaluator.random else evaluator.bfloat16(part.x)
    if answers is None:
        return
    if task.one_class:
        largest = logits.topk(2, 1).values
        lead = largest[:, 0] - largest[:, 1]
        changed = (lead >= _CLEAR * lead.median()) & (answers != task.predictions(logits))
    else:
        changed = task.agreement(answers, as_targets(task, task.predictions(logits))) < _ALIKE
    health.count("precision_disagreement", failed=int(changed.sum()), tried=len(part.y))


# Survivors, attacked without a bound and at half the radius

# Loss in decibels when the amplitude is halved.
_HALF = 20 * math.log10(2)
# Survivors of a chunk that are probed: enough to add up over chunks, cheap in each.
_ROWS = 3


def climbers(cascade: Cascade, threat: Threat, evaluator: Evaluator, chunk: Chunk) -> list[Searcher]:
    """Return a cascade's searchers that follow gradients of this threat, with this model, in a chunk.

    None for discrete threats: their claims rest on searches without gradients, and the probes would show the model
    inputs that the threat does not allow.
    """
    if is_discrete(threat):
        return []
    stages = cascade.serving(threat, evaluator.model.gives, chunk.x[0].numel(), evaluator.task)
    return [stage.searcher for stage in stages if stage.searcher.needs is Needs.GRADIENT]


def probe_survivors(evaluator: Evaluator, cascade: Cascade, threat: Threat, chunk: Chunk, found: SearchOutcome) -> None:
    """Attack a few survivors without a bound, and in L-inf and L2 at half the radius; success at half the radius
    counts.
    """
    climbing = climbers(cascade, threat, evaluator, chunk)
    survivors = (~found.broken).nonzero().squeeze(1)[:_ROWS]
    if not climbing or not threat.radius or len(survivors) == 0:
        return
    part, n = chunk.rows(survivors), len(survivors)
    span = part.bounds[1] - part.bounds[0]
    # An attack that fails without a bound was misled; one that succeeds only at half the radius was not searching well.
    jobs: list[tuple[Searcher, Threat, Chunk]]
    narrow: Linf | L2 | Snr | None = None
    if not isinstance(threat, (L2, Linf, Snr)):
        jobs = [(_WIDE, Linf(span), part)]
    else:
        # The ball in the same norm that holds every input inside the bounds.
        wide = Linf(span) if isinstance(threat, Linf) else L2(span * part.x[0].numel() ** 0.5)
        narrow = Snr(threat.db + _HALF) if isinstance(threat, Snr) else replace(threat, eps=threat.eps / 2)
        keys = [rng.fold(part.key, f"probe {ball}") for ball in (wide, narrow)]
        if type(threat) in (Linf, L2) and not isinstance(narrow, Snr):
            # One search costs half of two: a batch of a few rows costs as much as a larger one.
            twice = replace(part, x=torch.cat([part.x, part.x]), y=torch.cat([part.y, part.y]), key=torch.cat(keys))
            jobs = [(_SHORT, two_balls(wide, narrow), twice)]
        else:  # a ball with radii by sample, and a subclass, have their own rows
            jobs = [(_WIDE, wide, replace(part, key=keys[0])), (_WIDE, narrow, replace(part, key=keys[1]))]
    draws = max(map(draws_of, climbing))
    results = []
    for searcher, ball, rows in jobs:
        averaged = EOT(searcher, draws=draws) if draws > 1 else searcher
        result = search(evaluator, averaged, ball, rows.x, rows.y, key=rows.key, bounds=part.bounds, probe=True)
        evaluator.require_finite()
        results.append(result)
    if narrow is not None:
        halved = results[-1]
        if len(results) == 1:  # both balls in one search
            inside = narrow.size(halved.x[n:], narrow.region(part.x, part.bounds))
            halved = SearchOutcome(halved.broken[n:], halved.x[n:], inside, halved.predicted[n:], halved.margin[n:])
        evaluator.health.count("not_monotone", failed=int(halved.broken.sum()), tried=n)
        found.merge(halved, survivors, halved.broken.nonzero().squeeze(1))
    held = int((~results[0].broken[:n]).sum())
    evaluator.health.count("unbounded_attack_fails", failed=held, tried=n)


class _TwoBalls:
    """Two balls of one norm in one search: the first half of the rows in the first ball, the second in the second.

    Sizes are shares of a row's radius.
    """

    __slots__ = ()

    balls: tuple[Linf | L2, Linf | L2]

    @property
    def radius(self) -> float:
        return 1.0

    def region(self, x: Tensor, bounds: Bounds) -> Rows:
        n = len(x) // 2
        first, second = self.balls[0].region(x[:n], bounds), self.balls[1].region(x[n:], bounds)
        eps = torch.cat([torch.full((n,), ball.eps, dtype=x.dtype, device=x.device) for ball in self.balls])
        return {**join(first, second), "eps": eps, "place": torch.arange(2 * n, device=x.device) // n}

    def stride(self, region: Rows) -> Tensor:
        return torch.where(region["place"] == 0, self.balls[0].stride(region), self.balls[1].stride(region))

    def size(self, z: Tensor, region: Rows) -> Tensor:
        return self.balls[0].size(z, region) / region["eps"].double()


@dataclass(frozen=True, slots=True)
class _TwoLinf(_TwoBalls, Linf):
    balls: tuple[Linf | L2, Linf | L2] = (Linf(0.0), Linf(0.0))


@dataclass(frozen=True, slots=True)
class _TwoL2(_TwoBalls, L2):
    balls: tuple[Linf | L2, Linf | L2] = (L2(0.0), L2(0.0))


def two_balls(first: Linf | L2, second: Linf | L2) -> _TwoLinf | _TwoL2:
    """Return two balls of one norm as one threat, for twice the rows."""
    return (_TwoLinf if isinstance(first, Linf) else _TwoL2)(first.eps, (first, second))


class _Short(ODIMargin):
    """A short attack whose steps are shares of each row's radius."""

    def supports(self, threat: Threat) -> bool:
        return isinstance(threat, _TwoBalls)


_SHORT = _Short(start_steps=1, steps_after=7)
_WIDE = ODIMargin(start_steps=1, steps_after=7)
