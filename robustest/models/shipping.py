"""Models on their way to other processes and machines."""

from __future__ import annotations

import copy
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from robustest.errors import ConfigError
from robustest.exporting import exported
from robustest.factory import Factory
from robustest.models.classifier import Classifier

_NAME_A_FACTORY = (
    "Give the model as robustest.Factory('package.module:build', ...), or a Classifier with recipe=Factory(...), so "
    "that each worker can build it and load these weights."
)
_OTHERS = ("bounds", "preprocessing", "dtype", "gives", "max_queries", "decode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    """A model that can be serialised: a recipe with weights (safetensors), an exported program, or a function."""

    recipe: Factory | None = None
    weights: bytes | None = None
    program: bytes | None = None
    call: Callable[[Tensor], Any] | None = None
    others: Mapping[str, Any]  # the classifier's other attributes, of `_OTHERS`

    def open(self) -> Classifier:
        """Return the model on the CPU, in eval mode.

        Raises:
            ConfigError: the recipe fails here, or builds another module.
        """
        module = self._module()
        call = module if module is not None else self.call
        assert call is not None  # noqa: S101 - ship() sees to it
        device = None if module is None else torch.device("cpu")
        return Classifier(call=call, module=module, device=device, recipe=self.recipe, **self.others)

    def _module(self) -> nn.Module | None:
        if self.program is not None:
            module: nn.Module = torch.export.load(io.BytesIO(self.program)).module()
            for part in module.modules():  # exported modules refuse eval(); they were exported in it
                part.training = False
            return module
        if self.recipe is None:
            return None
        built = self.recipe.build()
        if not isinstance(built, nn.Module):
            raise ConfigError(f"Expected {self.recipe} to build a torch module but got {type(built).__name__}.")
        try:
            built.load_state_dict(load(self.weights or b""))
        except RuntimeError as error:
            raise ConfigError(f"Expected {self.recipe} to build the module measured but got: {error}") from error
        return built.cpu().eval()


def ship(model: Classifier, example: Callable[[], Tensor]) -> Shipped:
    """Return a model to be sent: its recipe and weights if it has a recipe, else exported.

    Args:
        model: in eval mode; a function without a module must be importable at its destination.
        example: returns a batch (2, *S) of inputs, for the export.

    Raises:
        ConfigError: neither way works, or the exported program has other logits.
    """
    way: dict[str, Any] = {"call": model.call}
    if model.module is not None and model.recipe is not None:
        state = model.module.state_dict()
        strangers = [name for name, value in state.items() if not isinstance(value, Tensor)]
        if strangers:
            raise ConfigError(
                f"Expected a module whose state is made of tensors but {strangers[0]!r} is not one: it cannot be sent."
            )
        # Cloned, since the format refuses tensors that share memory.
        weights = save({name: value.detach().cpu().contiguous().clone() for name, value in state.items()})
        way = {"recipe": model.recipe, "weights": weights}
    elif model.module is not None:
        if model.call is not model.module:
            raise ConfigError(
                "Expected a model that can be sent to workers but its answers come from a function around the module. "
                + _NAME_A_FACTORY
            )
        way = {"program": _program(model, model.module, example())}
    return Shipped(**way, others={name: getattr(model, name) for name in _OTHERS})


def _program(model: Classifier, module: nn.Module, x: Tensor) -> bytes:
    try:
        module = copy.deepcopy(module).cpu()
        point = _preprocessed(model, x.cpu())
        batch = torch.export.Dim("batch", min=1, max=1 << 20)
        program = exported(module, point, batch)
        out = io.BytesIO()
        torch.export.save(program, out)
    except Exception as error:
        raise ConfigError(
            f"Expected a model that torch.export can export, to send it to workers, but got: "
            f"{type(error).__name__}: {str(error)[:300]}. {_NAME_A_FACTORY}"
        ) from error
    with torch.no_grad():
        # Bit for bit: otherwise outcomes would depend on the engine.
        one, other = (getattr(out, "logits", out) for out in (module(point), program.module()(point)))
        apart = one - other
    if bool(apart.any()):
        raise ConfigError(
            f"Expected the exported model to answer alike to the last bit but its logits differ by up to "
            f"{float(apart.abs().max()):.3g}. {_NAME_A_FACTORY}"
        )
    return out.getvalue()


def _preprocessed(model: Classifier, x: Tensor) -> Tensor:
    inputs: list[Tensor] = []

    def spy(point: Tensor) -> Tensor:
        inputs.append(point)
        return torch.zeros(len(point), 2)

    Classifier(call=spy, preprocessing=model.preprocessing, dtype=model.dtype)(x)
    return inputs[0]
