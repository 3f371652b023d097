"""A model asked for some of its classes alone: those of a benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from robustest.data.benchmarks import ClassMap
from robustest.errors import ConfigError
from robustest.models import Classifier, Needs
from robustest.models.classifier import logits_of


def restricted(model: Classifier, classes: ClassMap) -> Classifier:
    """The classifier that names a benchmark's classes only; the model itself where it has no others.

    Raises:
        ConfigError: the model gives labels alone, and so does not say which of those classes it would name.
    """
    if classes.whole:
        return model
    if model.gives is Needs.LABELS:
        raise ConfigError(
            f"Expected scores to choose among {len(classes)} of {classes.outputs} classes but the model gives labels "
            "alone. Wrap it with scores_model."
        )
    if model.module is None:
        return replace(model, call=_Restricted(model.call, classes))
    module = _RestrictedModule(model.module, classes)
    return replace(model, call=module, module=module, recipe=None)


@dataclass(frozen=True, slots=True)
class _Restricted:
    """A function's logits, of a benchmark's classes alone."""

    call: Callable[[Tensor], Any]
    classes: ClassMap

    def __call__(self, x: Tensor) -> Tensor:
        return self.classes.restrict(logits_of(self.call(x)).float())


class _RestrictedModule(nn.Module):
    """The same of a module."""

    def __init__(self, inner: nn.Module, classes: ClassMap) -> None:
        super().__init__()
        self.inner, self.classes = inner, classes
        self.training = inner.training  # it has no mode of its own

    def forward(self, x: Tensor) -> Tensor:
        """(B, K) logits of the benchmark's classes."""
        return self.classes.restrict(logits_of(self.inner(x)).float())
