"""The settings of nonlinearities, whichever way a graph calls them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from robustest.bounds.nonlinear import MaxPool, Nonlinearity, Relu, Sigmoidal
from robustest.bounds.operations import NoBound, name_of


def nonlinear_of(node: fx.Node, root: nn.Module) -> Nonlinearity:
    """The nonlinearity that a node of a name in `NONLINEAR` computes.

    Raises:
        NoBound: it has settings for which there are no lines.
    """
    return NONLINEAR[name_of(node, root)](_arguments(node, root))


def _arguments(node: fx.Node, root: nn.Module) -> dict[str, Any]:
    """The settings of a nonlinearity, by name, whichever way it is called."""
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        return {name: value for name, value in vars(module).items() if not name.startswith("_")}
    names = {
        "leaky_relu": ("negative_slope",),
        "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
    }
    given = dict(zip(names.get(name_of(node, root), ()), node.args[1:], strict=False))
    return {**given, **{name: value for name, value in node.kwargs.items() if name != "input"}}


def _pool(given: Mapping[str, Any]) -> MaxPool:
    if given.get("ceil_mode") or given.get("return_indices"):
        raise NoBound("no bound: unsupported operator max_pool2d with ceil_mode or return_indices")
    pairs = {name: _pair(given.get(name)) for name in ("kernel_size", "stride", "padding", "dilation")}
    kernel = pairs["kernel_size"] or (1, 1)
    return MaxPool(
        kernel=kernel,
        stride=pairs["stride"] or kernel,
        padding=pairs["padding"] or (0, 0),
        dilation=pairs["dilation"] or (1, 1),
    )


def _leaky(given: Mapping[str, Any]) -> Relu:
    slope = float(given.get("negative_slope", 0.01))
    if not 0 <= slope <= 1:
        raise NoBound(f"no bound: unsupported operator leaky_relu of slope {slope:g}")
    return Relu(slope)


def _pair(value: Any) -> tuple[int, int] | None:
    if value is None or value == []:
        return None
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[-1]))


NONLINEAR: dict[str, Callable[[Mapping[str, Any]], Nonlinearity]] = {
    "relu": lambda _: Relu(),
    "leaky_relu": _leaky,
    "sigmoid": lambda _: Sigmoidal(torch.sigmoid),
    "tanh": lambda _: Sigmoidal(torch.tanh),
    "max_pool2d": _pool,
}
