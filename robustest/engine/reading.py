"""The graph behind a model's logits, and whether it may be believed."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from robustest import rng
from robustest.bounds import Network, NoBound, read_network
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.models import Classifier

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
