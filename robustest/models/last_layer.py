"""A network's last linear layer and its inputs, the features."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from robustest.errors import ConfigError, ModelError, expected
from robustest.models.classifier import Classifier

_NAME_IT = "Name the layer that gives the logits, as in model.named_modules(): layer='fc', say."


@dataclass(frozen=True, slots=True)
class LastLayer:
    """The linear layer, with weight (K, D), that computes a classifier's logits."""

    classifier: Classifier
    name: str
    layer: nn.Linear

    @property
    def features(self) -> Classifier:
        """Return the same model with the layer's inputs (B, D) as output instead of logits."""
        return replace(self.classifier, call=_Inputs(self.classifier.call, self.layer, self.name))

    def of(self, classifier: Classifier) -> LastLayer:
        if classifier.module is None or classifier.module is self.classifier.module:
            return self
        layer = classifier.module.get_submodule(self.name)
        return LastLayer(classifier, self.name, layer)  # type: ignore[arg-type]


def last_layer(classifier: Classifier, x: Tensor, name: str | None = None) -> LastLayer:
    """Return the linear layer with the model's logits as outputs.

    Args:
        classifier: a torch module, in eval mode.
        x: (B >= 1, *S) inputs on its device, to find the layer by its outputs.
        name: of the layer; None finds it.

    Raises:
        ConfigError: there is no such layer.
    """
    if classifier.module is None:
        raise ConfigError(expected("a torch module, whose layers can be seen", classifier.call))
    outputs: list[tuple[str, nn.Linear, Tensor]] = []
    layers = [(n, m) for n, m in classifier.module.named_modules() if isinstance(m, nn.Linear)]
    hooks = [m.register_forward_hook(_noting(outputs, n, m)) for n, m in layers]
    try:
        with torch.no_grad():
            logits = classifier(x)
    finally:
        for hook in hooks:
            hook.remove()
    # From the end: of equal outputs the last layer's.
    for found, layer, given in reversed(outputs):
        if given.shape == logits.shape and torch.equal(given.float(), logits) and name in (None, found):
            return LastLayer(classifier, found, layer)
    names = ", ".join(n for n, _ in layers) or "none"
    if name is None:
        raise ConfigError(f"Expected a linear layer whose outputs are the logits but found none of {names}. {_NAME_IT}")
    raise ConfigError(expected(f"layer to be a linear one that gives the logits, of {names}", name))


def _noting(outputs: list[tuple[str, nn.Linear, Tensor]], name: str, layer: nn.Linear) -> Any:
    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs.append((name, layer, output.detach().clone()))

    return note


@dataclass(frozen=True, slots=True)
class _Inputs:
    call: Any
    layer: nn.Linear
    name: str

    def __call__(self, x: Tensor) -> Tensor:
        caught: list[Tensor] = []
        hook = self.layer.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0]))
        try:
            self.call(x)
        finally:
            hook.remove()
        # A layer on sequences or maps has no single feature vector per sample.
        if not caught or caught[-1].ndim != 2 or len(caught[-1]) != len(x):
            got = tuple(caught[-1].shape) if caught else "no call"
            raise ModelError(expected(f"the layer {self.name!r} to be given ({len(x)}, D)", got))
        return caught[-1]
