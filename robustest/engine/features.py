"""Features: the inputs of a network's last linear layer, and inputs that are made by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from robustest.engine.ascent import inverted, maximised, relative_distance
from robustest.engine.evaluator import Evaluator
from robustest.models.last_layer import LastLayer, last_layer
from robustest.threats import Bounds


@dataclass(frozen=True, slots=True)
class Features:
    """The features of a network's samples, the inputs of its last linear layer, and inputs that are made by them.

    All passes are passes of the evaluator's model, and count as its cost.
    """

    evaluator: Evaluator
    last: LastLayer

    @classmethod
    def of(cls, evaluator: Evaluator, like: Tensor, *, layer: str | None = None) -> Features:
        """Return the features of the evaluator's model.

        Args:
            like: (n, *S) samples on its device; the first one is passed to find the layer by its outputs.
            layer: the linear layer that gives the logits, as in `model.named_modules()`; None finds it.

        Raises:
            ConfigError: there is no such layer, or the model is no torch module.
        """
        return cls(evaluator, last_layer(evaluator.model, like[:1], layer))

    def on(self, evaluator: Evaluator) -> Features:
        """Return the features of another evaluator's model, a copy of this one."""
        return Features(evaluator, self.last.of(evaluator.model))

    @property
    def layer(self) -> nn.Linear:
        """The layer, with weight (K, D)."""
        return self.last.layer

    @property
    def name(self) -> str:
        return self.last.name

    def __call__(self, x: Tensor) -> Tensor:
        """Return (B, D) features of inputs (B, *S).

        Raises:
            ModelError: features are not finite, or not one row per sample.
        """
        with self._reading() as read:
            return read.logits(x)

    def maximised(self, start: Tensor, index: Tensor, *, bounds: Bounds, steps: int) -> Tensor:
        """Return inputs (N, *S) that drive one feature each, index (N,) int64, as high as gradient steps take it.

        Args:
            start: (N, *S) inside the bounds.
            steps: >= 1.

        Raises:
            ModelError: the features have no gradient, or one that is not finite.
        """
        with self._reading() as read:
            return maximised(read, start, index, bounds=bounds, steps=steps)

    def inverted(
        self, start: Tensor, aim: Tensor, *, bounds: Bounds, steps: int, step_size: float | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return inputs (N, *S) whose features come close to an aim (N, D), and how close they come.

        Args:
            start, steps: see `maximised`.
            step_size: Euclidean length of the first step, in input units; None lets the steps span the bounds.

        Returns:
            The inputs, and (N,) the distance of their features from the aim, relative to its length.
        """
        with self._reading() as read:
            made = inverted(read, start, aim, bounds=bounds, steps=steps, step_size=step_size)
            return made, relative_distance(read.logits(made), aim)

    @contextmanager
    def _reading(self) -> Iterator[Evaluator]:
        read, own = reader(self.evaluator, self.last), self.evaluator
        try:
            yield read
            read.require_finite()
        finally:
            own.forward += read.forward
            own.backward += read.backward
        # A lack of memory in these passes holds for later ones too.
        own.batch_size = read.batch_size


def reader(evaluator: Evaluator, last: LastLayer) -> Evaluator:
    """Return an evaluator that answers with features (B, D) instead of logits."""
    return Evaluator(
        last.features,
        evaluator.device,
        batch_size=evaluator.batch_size,
        suppress=("softmax_outputs",),
        notes=evaluator.notes,
    )
