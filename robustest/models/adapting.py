"""Models that adapt to what they are shown: told of, so that they are measured fresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from robustest.errors import ConfigError, expected
from robustest.models.classifier import Classifier
from robustest.models.needs import Needs


def adapting(
    model: Callable[[Tensor], Any],
    reset: Callable[[], object] | None = None,
    *,
    bounds: tuple[float, float] = (0.0, 1.0),
) -> Classifier:
    """A model that adapts to the batches that it is shown, as in test-time adaptation (Wang et al., ICLR 2021).

    It is reset before each cell of a corruption claim, and before the clean samples. In between it sees all samples in
    the seeded order, in batches of `batch_size` at most. Only `assert_corruption_robustness` takes such a model (any
    shift is a cell of it), and the claim is about the set: the answers hang together. The model is called as it stands,
    in the mode that it is in, and may take gradients.

    Args:
        model: maps a batch to logits, and may change itself.
        reset: puts it back to where it was; None calls `model.reset()`.
        bounds: smallest and largest input value.

    Raises:
        ConfigError: the model or its reset cannot be called.
    """
    back = getattr(model, "reset", None) if reset is None else reset
    if not callable(model) or not callable(back):
        raise ConfigError(expected("a model that can be called, and reset= or a method reset() of it", model))
    return Classifier(call=_Adapting(model), bounds=bounds, gives=Needs.SCORES, reset=back)


@dataclass(frozen=True, slots=True)
class _Adapting:
    """A model's answers, with gradients inside where it takes them."""

    model: Callable[[Tensor], Any]

    def __call__(self, x: Tensor) -> Any:
        with torch.enable_grad():
            output = self.model(x.clone())
        logits = getattr(output, "logits", output)
        return logits.detach() if isinstance(logits, Tensor) else logits
