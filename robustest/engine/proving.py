"""Proofs by bounds, of samples that an attack left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustest import rng
from robustest.attacks import Enumeration
from robustest.bounds.graph import Network, read_network
from robustest.bounds.linear import Ball, Bounding, ball_of, cut, margin_rows
from robustest.bounds.operations import NoBound, Relu
from robustest.bounds.tables import prove_columns
from robustest.clock import check as check_clock
from robustest.data.frames import Frames
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import search
from robustest.errors import ModelError
from robustest.models import Classifier
from robustest.models.estimators import Differentiable
from robustest.threats import Columns, Discrete, Threat, is_discrete

# Proofs for a batch: backward linear bounds, then better slopes for samples that they nearly prove.

# Below an undecided ReLU any line a x with a between the function's two slopes is sound. The smaller area is a guess at
# the best a; a few steps of ascent on the bound itself choose it for one margin (Xu et al., ICLR 2021, "Fast and
# Complete: Enabling Complete Verification with Massively Parallel Incomplete Verifiers", section 3.2). Intervals stay.


_STEPS = 12
# Length of the first step, as a share of a slope's range.
_RATE = 0.5
# Margins per pass.
_PAIRS = 64


def tightened(bounding: Bounding, y: Tensor, classes: int, margins: Tensor, tried: Tensor) -> Tensor:
    """Return (B, K - 1) lower bounds of margins, at least those given.

    Args:
        bounding: one that has run.
        y: (B,) int64 labels.
        margins: (B, K - 1) the bounds so far.
        tried: (B,) bool: samples whose margins that are not above zero are tried.
    """
    found = margins.clone()
    relus = {place: bend for place, bend in enumerate(bounding.network.nonlinear) if isinstance(bend, Relu)}
    if not relus:
        return found
    a, _ = margin_rows(y, classes)
    for pairs in cut((tried[:, None] & (margins <= 0)).nonzero(), _PAIRS):
        sample, other = pairs.unbind(1)
        best = _ascended(bounding.pick(sample), relus, a.view(*margins.shape, classes)[sample, other])
        found[sample, other] = torch.maximum(margins[sample, other], best)
    return found


def _ascended(bounding: Bounding, relus: dict[int, Relu], a: Tensor) -> Tensor:
    """Return (R,) the largest of the steps' bounds of a · logits (R, K), for a sample each."""
    sample, depth = torch.arange(len(a), device=a.device), len(bounding.network.segments) - 1
    slopes = {}
    for place, bend in relus.items():  # begin with the slopes that leave the smaller area
        lines = bend.lines(*bounding.intervals[place])
        slopes[place] = (lines.mean - lines.half).detach().clone().requires_grad_(True)
    best = torch.full((len(a),), -torch.inf, device=a.device)
    speeds = {place: torch.zeros_like(slope) for place, slope in slopes.items()}
    for step in range(_STEPS):
        check_clock()
        with torch.enable_grad():
            for place, bend in relus.items():
                low, high = bounding.intervals[place]
                bounding.lines[place] = bend.sloped(low, high, slopes[place])
            bound = bounding.lower(depth, a, sample)
            gradients = torch.autograd.grad(bound.sum(), list(slopes.values()), allow_unused=True)
        # The bound need not rise with every step. Each one is sound, so that the largest holds; NaN and inf are
        # dropped.
        best = torch.maximum(best, torch.where(torch.isfinite(bound), bound, -torch.inf).detach())
        for (place, bend), gradient in zip(relus.items(), gradients, strict=True):
            if gradient is not None:
                rate, speed = _RATE * (1 - step / _STEPS), speeds[place]
                # Rows are scaled, so that small gradients count as well.
                largest = gradient.flatten(1).abs().amax(1).clamp(min=1e-30)
                speed.mul_(0.7).add_(gradient / largest.view(-1, *[1] * (gradient.ndim - 1)))
                # The root of the momentum evens out the elements' sizes: more slopes move in a few steps.
                slopes[place].data.add_(rate * speed.sign() * speed.abs().sqrt()).clamp_(bend.slope, 1.0)
    return best


# Better slopes are tried where the bound lies at most this share of the margin below zero. They raised it by a tenth of
# the margin.
_NEAR = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """Proofs of B samples.

    Attributes:
        proven: (B,) bool: no input of the ball has a margin of zero or less.
        margin: (B,) a lower bound of the least margin, minus the allowance for rounding; -inf where none was found.
    """

    proven: Tensor
    margin: Tensor


def prove(network: Network, ball: Ball, y: Tensor, classes: int) -> Proof:
    """Prove samples whose balls hold no input with another label.

    Args:
        y: (B,) int64 labels.
        classes: the number of logits K.
    """
    with torch.no_grad():
        bounding = Bounding(network, ball)
        if not bounding.run():
            return nothing_shown(y)
        margins = bounding.margins(y, classes)
        worst, logits = margins.amin(1), network(ball.x)
        clean = logits.gather(1, y[:, None]).squeeze(1) - logits.scatter(1, y[:, None], -torch.inf).amax(1)
        tried = ~bounding.given_up & (worst <= 0) & (worst > -_NEAR * clean)
        margin = tightened(bounding, y, classes, margins, tried).amin(1)
    # NaN compares as not greater, but a bound of inf would prove: both mean that nothing is known.
    margin = torch.where(bounding.given_up | ~torch.isfinite(margin), -torch.inf, margin)
    return Proof(proven=margin > 0, margin=margin)


def nothing_shown(y: Tensor) -> Proof:
    """Return a proof of no sample, for labels y (B,)."""
    margin = torch.full(y.shape, -torch.inf, device=y.device)
    return Proof(proven=margin > 0, margin=margin)


# 1. Read the graph behind the model's logits once (`Reading`), preprocessing included.
# 2. Bound the clearest sample alone, then the other 7 of the pilot. Where the clearest sample's bound lies hopelessly
#    far below zero, or none of the pilot is proven, give up: comparing costs more than bounds that cannot help are
#    worth.
# 3. Before the first proof counts: the graph must give the model's logits to the last bit at 64 random inputs (that of
#    an estimator, which computes in float64, nearly so), and must be affine between its nonlinearities, which names
#    of operations only suggest.
# 4. Bound the other survivors, and a few samples that the attack broke: were one of them proven, no proof could be
#    trusted, and a `ModelError` says so.
#
# Under `Columns` linear models and trees have bounds of their own (`robustest.bounds.tables`), and networks those of
# the box around all allowed rows. What no bound proves of a discrete threat is enumerated: every input that the threat
# allows is evaluated.


# Inputs at which the graph must give the model's logits, to the last bit.
_POINTS = 64
# Share of the largest logit by which the graph of an estimator may differ from its scores.
_OFF = 1e-3
# Inputs at which the maps between two nonlinearities must be affine.
_AFFINE_POINTS = 8


class Reading:
    """The network of an evaluator's model; no bound counts before `confirm` returned True.

    Attributes:
        network: the graph; None where it cannot be read, or disagrees with the model.
        why: the reason for None.
    """

    def __init__(self, evaluator: Evaluator, chunk: Chunk) -> None:
        self.network: Network | None = None
        self.why = ""
        self._confirmed = False
        model = evaluator.model
        if not evaluator.task.one_class:
            self.refuse(f"no bound: {evaluator.task.name} is another task than classification")
        elif _behind(model) is None or model.dtype != torch.float32:
            self.refuse("no bound: the model is no torch module that computes in float32")
        elif evaluator.rounds_factors():  # the bounds allow for the rounding of float32
            self.refuse(f"no bound: {evaluator.device} rounds the factors of float32 products")
        else:
            try:
                self.network = read_network(_Whole(model, chunk.x.ndim), chunk.x)
            except NoBound as why:
                self.refuse(str(why))

    def refuse(self, why: str) -> None:
        self.network, self.why = None, why

    def refused(self) -> bool:
        return self.network is None

    def confirm(self, evaluator: Evaluator, chunk: Chunk) -> bool:
        """Return True if the graph gives the model's logits to the last bit, and is affine where it should be."""
        if self.network is not None and not self._confirmed:
            try:
                # An estimator computes in float64, and the graph in float32: the bounds allow for that.
                off = 0.0 if evaluator.model.module is not None else _OFF
                if not _agrees(self.network, evaluator, chunk, off):
                    self.refuse("no bound: the graph read from the model does not answer as the model does")
                elif not _keeps_to_its_lines(self.network, evaluator, chunk):
                    self.refuse("no bound: what the graph computes between its nonlinearities is not affine")
            except NoBound as why:
                self.refuse(str(why))
            self._confirmed = True
        return self.network is not None


def _behind(model: Classifier) -> nn.Module | None:
    """Return the module that a model computes: its own, or the graph of an estimator of scikit-learn in float32."""
    if model.module is None and isinstance(model.call, Differentiable):
        return model.call.network.in_float32()
    return model.module


_READINGS: WeakKeyDictionary[Evaluator, Reading] = WeakKeyDictionary()


def reading_of(evaluator: Evaluator, chunk: Chunk) -> Reading:
    """Return the reading of an evaluator's model, made once for all chunks."""
    if evaluator not in _READINGS:
        _READINGS[evaluator] = Reading(evaluator, chunk)
    return _READINGS[evaluator]


class _Whole(nn.Module):
    def __init__(self, model: Classifier, axes: int) -> None:
        super().__init__()
        self.inner = _behind(model)
        self.preprocessing = model.preprocessing if callable(model.preprocessing) else None
        self.mean: Tensor | None = None
        self.std: Tensor | None = None
        if isinstance(model.preprocessing, tuple):
            shape = (1, -1, *[1] * (axes - 2))
            self.mean, self.std = (
                torch.as_tensor(value, dtype=model.dtype, device=model.device).view(shape)
                for value in model.preprocessing
            )

    def forward(self, x: Tensor) -> Tensor:
        if self.preprocessing is not None:
            x = self.preprocessing(x)
        elif self.mean is not None and self.std is not None:
            x = (x - self.mean) / self.std
        output: Any = self.inner(x)  # type: ignore[misc]
        if isinstance(output, dict):
            output = output["logits"]
        plain = isinstance(output, (Tensor, torch.fx.Proxy))
        logits: Tensor = output if plain else output.logits
        return logits


def _points(evaluator: Evaluator, chunk: Chunk, start: int, stop: int) -> Tensor:
    """Return random inputs in the bounds, the same for every chunk."""
    low, high = chunk.bounds
    ids = torch.arange(start, stop, device=evaluator.device)
    return low + (high - low) * rng.uniform(rng.keys(0, ids), chunk.x.shape[1:]).to(chunk.x)


def _keeps_to_its_lines(network: Network, evaluator: Evaluator, chunk: Chunk) -> bool:
    with torch.no_grad():
        return network.is_affine_between(_points(evaluator, chunk, 0, _AFFINE_POINTS))


def _agrees(network: Network, evaluator: Evaluator, chunk: Chunk, off: float = 0.0) -> bool:
    """Return True if a graph gives the model's logits, but for this share of the largest one."""
    most = min(_POINTS, evaluator.batch_size)
    for start in range(0, _POINTS, most):
        x = _points(evaluator, chunk, start, min(start + most, _POINTS))
        try:
            with torch.no_grad():
                found = network(x)
        except Exception as error:  # anything that operations raise where the graph has the shapes wrong
            raise NoBound(f"no bound: its graph cannot be run ({str(error).splitlines()[0][:120]})") from error
        if found.shape != (len(x), evaluator.classes):
            return False
        logits = evaluator.logits(x)
        if not torch.equal(found, logits) and not bool((found - logits).abs().max() <= off * logits.abs().max()):
            return False
    return True


# Samples of a chunk that are tried first; where none of them is proven, the others are not bounded.
_PILOT = 8
# The others are not tried either where the clearest sample's bound lies this many times its margin below zero. Where 2
# of 20 samples were proven, one bound lay 14 times below.
_HOPELESS = 30.0
_BATCH = 32
# Broken samples of a chunk that are bounded too.
_BROKEN = 4


@dataclass(frozen=True, slots=True)
class Proven:
    """Samples that bounds prove.

    Attributes:
        rows: (B,) bool: no input that the threat allows breaks the sample.
        note: the reason why proofs stopped, or "".
    """

    rows: Tensor
    note: str = ""


def prove_rows(evaluator: Evaluator, chunk: Chunk, threat: Threat, held: Tensor, margin: Tensor) -> Proven:
    """Prove samples of a chunk that the attack left.

    Args:
        chunk: B samples, all of them right when unchanged.
        held: (B,) bool: the attack left the sample.
        margin: (B,) of the unchanged samples; those of large margin are tried first.

    Raises:
        ModelError: a broken sample is proven: the bounds are wrong for this model.
    """
    if is_discrete(threat):
        bounded = Proven(torch.zeros_like(held))
        if isinstance(threat, Columns) and evaluator.model.estimator is not None:
            bounded = _of_columns(evaluator, chunk, threat, held)
            if bounded.note and chunk.coding is None and isinstance(evaluator.model.call, Differentiable):
                bounded = _in_balls(evaluator, chunk, threat, held, margin)  # a perceptron, say
        elif isinstance(threat, Columns) and chunk.coding is None:
            bounded = _in_balls(evaluator, chunk, threat, held, margin)
        every = _enumerated(evaluator, chunk, threat, held & ~bounded.rows)
        return Proven(bounded.rows | every.rows, "; ".join(filter(None, (every.note, every.note and bounded.note))))
    return _in_balls(evaluator, chunk, threat, held, margin)


def _of_columns(evaluator: Evaluator, chunk: Chunk, threat: Columns, held: Tensor) -> Proven:
    """Prove rows of a linear model or an ensemble of trees, and try a few broken ones, which must not be proven."""
    model, coding, nothing = evaluator.model, chunk.coding, torch.zeros_like(held)
    if model.preprocessing is not None:
        return Proven(nothing, "no bound: the model has preprocessing")
    frame = coding if isinstance(coding, Frames) else None
    tried = held.clone()
    tried[(~held).nonzero().squeeze(1)[:_BROKEN]] = True
    part = tried.nonzero().squeeze(1)
    try:
        x, y = chunk.x[part], chunk.y[part]
        found = prove_columns(model.estimator, threat, x, y, bounds=chunk.bounds, frame=frame)
    except NoBound as why:
        return Proven(nothing, str(why))
    proven = nothing.clone()
    proven[part] = found
    if bool((wrong := proven & ~held).any()):
        raise _both(int(chunk.ids[wrong][0]))
    return Proven(proven)


def _both(index: int) -> ModelError:
    return ModelError(
        f"Expected no sample both proven and broken but sample {index} is: the attack's input breaks it, and the "
        "bounds say that none can. Measure without certify=, and report the model with this message."
    )


def _in_balls(evaluator: Evaluator, chunk: Chunk, threat: Threat, held: Tensor, margin: Tensor) -> Proven:
    """Prove samples of a network by linear bounds."""
    ball = ball_of(threat, chunk.x, chunk.bounds)
    rows = torch.zeros(len(chunk.x), dtype=torch.bool, device=chunk.x.device)
    if ball is None:
        return Proven(rows, f"no bound: {type(threat).__name__} is no ball in L-inf, L2 or L1")
    reading = reading_of(evaluator, chunk)
    if reading.refused():
        return Proven(rows, reading.why)
    order = margin.argsort(descending=True, stable=True)
    left, broken = order[held[order]], order[~held[order]][:_BROKEN]
    proof = _Proving(reading, ball, evaluator, chunk)
    # The pilot: the clearest sample first, then the others, unless its bound is hopeless.
    pilot = left[:_PILOT]
    first = _tried(proof, pilot[:1])
    rows[pilot[:1]] = first.proven
    hopeless = torch.isfinite(first.margin) & (first.margin < -_HOPELESS * margin[pilot[:1]].abs())
    tried = 1
    if not bool(hopeless.any()):
        rows[pilot[1:]] = _tried(proof, pilot[1:]).proven
        tried = len(pilot)
    if reading.refused():
        return Proven(torch.zeros_like(rows), reading.why)
    if len(left) and not bool(rows.any()):
        return Proven(rows, f"no bound: given up where none of a chunk's {tried} clearest samples was proven")
    # Groups of fixed size: the result must not depend on the batch size.
    for start in range(_PILOT, len(left), _BATCH):
        part = left[start : start + _BATCH]
        check_clock()
        rows[part] = proof.of(part).proven
    if bool((wrong := proof.of(broken).proven).any()) and proof.confirmed():
        raise _both(int(chunk.ids[broken[wrong][0]]))
    return Proven(rows & (not reading.refused()), reading.why)


def _enumerated(evaluator: Evaluator, chunk: Chunk, threat: Discrete, held: Tensor) -> Proven:
    """Return the samples whose inputs are few enough to be evaluated, every one, and none of which is broken."""
    every = Enumeration()
    rows = (held & (threat.points(threat.region(chunk.x, chunk.bounds)) <= every.queries)).nonzero().squeeze(1)
    proven = torch.zeros_like(held)
    if len(rows):
        key = rng.fold(chunk.key[rows], "proof")
        found = search(evaluator, every, threat, chunk.x[rows], chunk.y[rows], key=key, bounds=chunk.bounds)
        evaluator.require_finite()
        proven[rows] = ~found.broken
    left = int((held & ~proven).sum())
    return Proven(proven, f"no proof for {left} samples: their regions are not finite, or too large" if left else "")


def _tried(proof: _Proving, pilot: Tensor) -> Proof:
    """Return the proof of a pilot's rows; the network is confirmed before the first proof counts."""
    try:
        found = proof.of(pilot)
    except Exception:  # an error of a wrong graph is reported as that; of a confirmed one it is a bug here
        if proof.confirmed():
            raise
    else:
        if not bool(found.proven.any()) or proof.confirmed():
            return found
    return nothing_shown(pilot)


@dataclass(frozen=True, slots=True)
class _Proving:
    reading: Reading
    ball: Ball
    evaluator: Evaluator
    chunk: Chunk

    def confirmed(self) -> bool:
        return self.reading.confirm(self.evaluator, self.chunk)

    def of(self, rows: Tensor) -> Proof:
        if len(rows) and self.reading.network is not None:
            try:
                y, classes = self.chunk.y[rows], self.evaluator.classes
                return prove(self.reading.network, self.ball.pick(rows), y, classes)
            except NoBound as why:
                self.reading.refuse(str(why))
        return nothing_shown(rows)
