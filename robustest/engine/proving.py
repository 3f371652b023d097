"""The graph behind a model's logits, and whether it may be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustest import rng
from robustest.bounds import Ball, Network, NoBound, Proof, ball_of, nothing_shown, prove, read_network
from robustest.clock import check as check_clock
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ModelError
from robustest.models import Classifier
from robustest.threats import Threat

_POINTS = 64
"""Inputs at which the graph must answer as the model does, to the last bit."""
_AFFINE_POINTS = 8
"""Inputs at which the maps between two nonlinearities must do what affine maps do."""


class Reading:
    """The network of an evaluator's model. Nothing that it says counts before `confirm` was asked.

    Comparing costs more than a network that bounds cannot help is worth: such a one is never asked.

    Attributes:
        network: what was read; None where nothing was, or once it turned out to be another than the model's.
        why: there is none; empty where there is one.
    """

    def __init__(self, evaluator: Evaluator, chunk: Chunk) -> None:
        self.network: Network | None = None
        self.why = ""
        self._confirmed = False
        model = evaluator.model
        if not evaluator.task.one_class:
            self.refuse(f"no bound: {evaluator.task.name} is another task than classification")
        elif model.module is None or model.dtype != torch.float32:
            self.refuse("no bound: the model is no torch module that computes in float32")
        else:
            try:
                self.network = read_network(_Whole(model, chunk.x.ndim), chunk.x)
            except NoBound as why:
                self.refuse(str(why))

    def refuse(self, why: str) -> None:
        """No bounds of this model from here on."""
        self.network, self.why = None, why

    def refused(self) -> bool:
        """Whether there is nothing to bound."""
        return self.network is None

    def confirm(self, evaluator: Evaluator, chunk: Chunk) -> bool:
        """Whether the graph answers as the model does, to the last bit, and is affine where it should be."""
        if self.network is not None and not self._confirmed:
            try:
                if not _agrees(self.network, evaluator, chunk):
                    self.refuse("no bound: the graph read from the model does not answer as the model does")
                elif not _keeps_to_its_lines(self.network, evaluator, chunk):
                    self.refuse("no bound: what the graph computes between its nonlinearities is not affine")
            except NoBound as why:
                self.refuse(str(why))
            self._confirmed = True
        return self.network is not None


_READINGS: WeakKeyDictionary[Evaluator, Reading] = WeakKeyDictionary()


def reading_of(evaluator: Evaluator, chunk: Chunk) -> Reading:
    """What was read of an evaluator's model, once for all of its chunks."""
    if evaluator not in _READINGS:
        _READINGS[evaluator] = Reading(evaluator, chunk)
    return _READINGS[evaluator]


class _Whole(nn.Module):
    """A classifier's preprocessing and its module, in one graph."""

    def __init__(self, model: Classifier, axes: int) -> None:
        super().__init__()
        self.inner = model.module
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
    """Random inputs in the bounds, the same whatever the chunk is."""
    low, high = chunk.bounds
    ids = torch.arange(start, stop, device=evaluator.device)
    return low + (high - low) * rng.uniform(rng.keys(0, ids), chunk.x.shape[1:]).to(chunk.x)


def _keeps_to_its_lines(network: Network, evaluator: Evaluator, chunk: Chunk) -> bool:
    with torch.no_grad():
        return network.is_affine_between(_points(evaluator, chunk, 0, _AFFINE_POINTS))


def _agrees(network: Network, evaluator: Evaluator, chunk: Chunk) -> bool:
    """Whether graph and model give the same bits at random inputs; they are the same whatever the chunk is."""
    most = min(_POINTS, evaluator.batch_size)
    for start in range(0, _POINTS, most):
        x = _points(evaluator, chunk, start, min(start + most, _POINTS))
        try:
            with torch.no_grad():
                found = network(x)
        except Exception as error:  # whatever the model's operations raise of shapes that the graph has wrong
            raise NoBound(f"no bound: its graph cannot be run ({str(error).splitlines()[0][:120]})") from error
        if found.shape != (len(x), evaluator.classes) or not torch.equal(found, evaluator.logits(x)):
            return False
    return True


# Which samples bounds prove, of those that an attack left; and that nothing was both proven and broken.


_PILOT = 8
"""Of a chunk's samples, how many are tried first; where none of them is proven, bounds are given up for the others."""
_HOPELESS = 30.0
"""Of a chunk's clearest sample, which is bounded on its own first: where its bound lies so many times its margin below
zero, the others are not tried. Where 2 of 20 samples were proven, one was seen at 14 times."""
_BATCH = 32
_BROKEN = 4
"""Of a chunk's broken samples, how many are bounded too: were one proven, no proof could be trusted."""


@dataclass(frozen=True, slots=True)
class Proven:
    """What bounds say of samples.

    Attributes:
        rows: (B,) bool: no input that the threat allows breaks the sample.
        note: why nothing more could be proven; empty where everything was tried.
    """

    rows: Tensor
    note: str = ""


def prove_rows(evaluator: Evaluator, chunk: Chunk, threat: Threat, held: Tensor, margin: Tensor) -> Proven:
    """Which of a chunk's samples that are held no attack can break.

    The same for any batch size: what is bounded together follows from the chunk alone.

    Args:
        evaluator: of the model.
        chunk: B samples, all of them right when unchanged.
        threat: what may be done to them.
        held: (B,) bool: whether the attack left the sample.
        margin: (B,) of the unchanged samples; those of large margin are tried first.

    Raises:
        ModelError: a sample that the attack broke is proven: the bounds are wrong for this model.
    """
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
    pilot = left[:_PILOT]
    tried = _begun(proof, pilot, rows, margin)
    if reading.refused():
        return Proven(torch.zeros_like(rows), reading.why)
    if len(left) and not bool(rows.any()):
        return Proven(rows, f"no bound: given up where none of a chunk's {tried} clearest samples was proven")
    for start in range(_PILOT, len(left), _BATCH):
        part = left[start : start + _BATCH]
        check_clock()
        rows[part] = proof.of(part).proven
    if bool((wrong := proof.of(broken).proven).any()) and proof.confirmed():
        index = int(chunk.ids[broken[wrong][0]])
        raise ModelError(
            f"Expected no sample both proven and broken but sample {index} is: the attack's input breaks it, and the "
            "bounds say that none can. Measure without certify=, and report the model with this message."
        )
    return Proven(rows & (not reading.refused()), reading.why)


def _begun(proof: _Proving, pilot: Tensor, rows: Tensor, margin: Tensor) -> int:
    """How many samples of a pilot were tried, the clearest on its own first; marks in rows (B,) those proven."""
    first = _tried(proof, pilot[:1])
    rows[pilot[:1]] = first.proven
    if bool((torch.isfinite(first.margin) & (first.margin < -_HOPELESS * margin[pilot[:1]].abs())).any()):
        return 1
    rows[pilot[1:]] = _tried(proof, pilot[1:]).proven
    return len(pilot)


def _tried(proof: _Proving, pilot: Tensor) -> Proof:
    """What is shown of a pilot's rows, by a network that was confirmed before the first proof counts."""
    try:
        found = proof.of(pilot)
    except Exception:  # of a graph that is another than the model's, which is to be said; else of ours
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
        """Whether the network is the model's."""
        return self.reading.confirm(self.evaluator, self.chunk)

    def of(self, rows: Tensor) -> Proof:
        """What is shown of rows (R,)."""
        if len(rows) and self.reading.network is not None:
            try:
                y, classes = self.chunk.y[rows], self.evaluator.classes
                return prove(self.reading.network, self.ball.pick(rows), y, classes)
            except NoBound as why:
                self.reading.refuse(str(why))
        return nothing_shown(rows)
