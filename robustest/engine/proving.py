"""Which samples bounds prove, of those that an attack left; and that nothing was both proven and broken."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustest import rng
from robustest.bounds import Ball, Network, NoBound, ball_of, prove, read_network
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ModelError
from robustest.models import Classifier
from robustest.threats import Threat

_POINTS = 64
"""Inputs at which the graph must answer as the model does, to the last bit."""
_AFFINE_POINTS = 8
"""Inputs at which the maps between two nonlinearities must do what affine maps do."""
_PILOT = 8
"""Of a chunk's samples, how many are tried first; where none of them is proven, bounds are given up for the others."""
_BATCH = 32
_BROKEN = 4
"""Of a chunk's broken samples, how many are bounded too: were one proven, no proof could be trusted."""

_NETWORKS: WeakKeyDictionary[Evaluator, Network | NoBound] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Proven:
    """What bounds say of samples.

    Attributes:
        rows: (B,) bool: no input that the threat allows breaks the sample.
        note: why nothing more could be proven; empty where everything was tried.
    """

    rows: Tensor
    note: str = ""


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
    network = network_of(evaluator, chunk)
    if isinstance(network, NoBound):
        return Proven(rows, str(network))
    order = margin.argsort(descending=True, stable=True)
    left, broken = order[held[order]], order[~held[order]][:_BROKEN]
    proof = _Proving(network, ball, chunk.y, evaluator.classes)
    pilot = left[:_PILOT]
    rows[pilot] = proof.of(pilot)
    if len(left) and not bool(rows.any()):
        return Proven(rows, f"no bound: given up where none of a chunk's {len(pilot)} clearest samples was proven")
    for start in range(_PILOT, len(left), _BATCH):
        part = left[start : start + _BATCH]
        rows[part] = proof.of(part)
    if bool((wrong := proof.of(broken)).any()):
        index = int(chunk.ids[broken[wrong][0]])
        raise ModelError(
            f"Expected no sample both proven and broken but sample {index} is: the attack's input breaks it, and the "
            "bounds say that none can. Measure without certify=, and report the model with this message."
        )
    return Proven(rows)


@dataclass(frozen=True, slots=True)
class _Proving:
    network: Network
    ball: Ball
    y: Tensor
    classes: int

    def of(self, rows: Tensor) -> Tensor:
        """(R,) bool: whether rows (R,) are proven."""
        if not len(rows):
            return torch.zeros(0, dtype=torch.bool, device=rows.device)
        return prove(self.network, self.ball.pick(rows), self.y[rows], self.classes).proven


def network_of(evaluator: Evaluator, chunk: Chunk) -> Network | NoBound:
    """The network behind an evaluator's logits; or why there is none whose answers are the same to the last bit."""
    if evaluator not in _NETWORKS:
        _NETWORKS[evaluator] = _read(evaluator, chunk)
    return _NETWORKS[evaluator]


def _read(evaluator: Evaluator, chunk: Chunk) -> Network | NoBound:
    model = evaluator.model
    if not evaluator.task.one_class:
        return NoBound(f"no bound: {evaluator.task.name} is another task than classification")
    if model.module is None or model.dtype != torch.float32:
        return NoBound("no bound: the model is no torch module that computes in float32")
    try:
        network = read_network(_Whole(model, chunk.x.ndim))
        if not _agrees(network, evaluator, chunk):
            return NoBound("no bound: the graph read from the model does not answer as the model does")
        if not _keeps_to_its_lines(network, evaluator, chunk):
            return NoBound("no bound: what the graph computes between its nonlinearities is not affine")
    except NoBound as why:
        return why
    return network


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
