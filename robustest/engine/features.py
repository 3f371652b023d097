"""Features: the inputs of a network's last linear layer."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from robustest.data import Samples
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator
from robustest.models.last_layer import LastLayer, last_layer

_ROWS = 512


def in_order(samples: Samples, evaluator: Evaluator, *, seed: int, ids: Tensor | None = None) -> Iterator[Chunk]:
    """Yield all samples, or those at ids (M,), in this order, checked and on the evaluator's device."""
    wanted = torch.arange(len(samples)) if ids is None else ids
    for part in torch.split(wanted, _ROWS):
        yield load(samples, part, bounds=evaluator.model.bounds, seed=seed, device=evaluator.device)


def find_last_layer(evaluator: Evaluator, samples: Samples, *, layer: str | None = None, seed: int = 0) -> LastLayer:
    """Return the last linear layer of the evaluator's model, found by passing one sample.

    Raises:
        ConfigError: see `robustest.models.last_layer.last_layer`.
    """
    first = next(in_order(samples, evaluator, seed=seed, ids=torch.zeros(1, dtype=torch.int64)))
    return last_layer(evaluator.model, first.x, layer)


def reader(evaluator: Evaluator, last: LastLayer) -> Evaluator:
    """Return an evaluator that answers with features (B, D) instead of logits."""
    return Evaluator(
        last.features,
        evaluator.device,
        batch_size=evaluator.batch_size,
        suppress=("softmax_outputs",),
        notes=evaluator.notes,
    )


def features_of(evaluator: Evaluator, last: LastLayer, x: Tensor) -> Tensor:
    """Return (B, D) features of inputs (B, *S); their passes are counted.

    Raises:
        ModelError: features are not finite, or not one row per sample.
    """
    read = reader(evaluator, last.of(evaluator.model))
    rows = read.logits(x)
    read.settle()
    evaluator.forward += read.forward
    # A lack of memory in these passes holds for later ones too.
    evaluator.batch_size = read.batch_size
    return rows
