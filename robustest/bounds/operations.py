"""Operations that are affine in their input, with one name each for modules, functions and methods."""

# `run_spread` bounds how far an affine operation's output moves: with every weight replaced by its absolute value, the
# output at the inputs' radii less the output at zero.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch._ops import OpOverload


class NoBound(Exception):
    """A network without proofs; the message is a note for a result."""


_STRUCTURE = (
    "flatten reshape view permute transpose contiguous squeeze unsqueeze getitem select narrow expand flip roll "
    "cat concat stack chunk split unflatten pixel_shuffle pixel_unshuffle mean sum avg_pool1d avg_pool2d "
    "avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d pad dropout identity clone detach "
    "unfold fold float double slice"
)
# Elements moved, copied or averaged.
STRUCTURAL = frozenset(_STRUCTURE.split())
SUMS = frozenset({"add", "sub", "neg"})
# Affine in one argument alone, the others being constants.
_PRODUCTS = "mul div conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d linear matmul batch_norm"
PRODUCTS = frozenset(_PRODUCTS.split())
AFFINE = STRUCTURAL | SUMS | PRODUCTS
# Readings of a tensor's shape, which do not depend on its values.
SHAPES = frozenset({"size", "dim", "getattr", "numel", "len", "sym_size"})

# Python operators and aliases. torch names a pooling function after its dispatcher.
_SAME = {
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "itruediv": "div",
    "truediv": "div",
    "true_divide": "div",
    "mm": "matmul",
    "bmm": "matmul",
    "boolean_dispatch": "max_pool2d",
}
# By exact class: a subclass may compute something else under the same name.
_MODULES: dict[type[nn.Module], str] = {
    nn.Conv1d: "conv1d",
    nn.Conv2d: "conv2d",
    nn.Conv3d: "conv3d",
    nn.ConvTranspose1d: "conv_transpose1d",
    nn.ConvTranspose2d: "conv_transpose2d",
    nn.ConvTranspose3d: "conv_transpose3d",
    nn.Linear: "linear",
    nn.BatchNorm1d: "batch_norm",
    nn.BatchNorm2d: "batch_norm",
    nn.BatchNorm3d: "batch_norm",
    nn.AvgPool1d: "avg_pool1d",
    nn.AvgPool2d: "avg_pool2d",
    nn.AvgPool3d: "avg_pool3d",
    nn.AdaptiveAvgPool1d: "adaptive_avg_pool1d",
    nn.AdaptiveAvgPool2d: "adaptive_avg_pool2d",
    nn.AdaptiveAvgPool3d: "adaptive_avg_pool3d",
    nn.Flatten: "flatten",
    nn.Unflatten: "unflatten",
    nn.Identity: "identity",
    nn.Dropout: "dropout",
    nn.Dropout1d: "dropout",
    nn.Dropout2d: "dropout",
    nn.Dropout3d: "dropout",
    nn.ZeroPad2d: "pad",
    nn.ConstantPad2d: "pad",
    nn.ReflectionPad2d: "pad",
    nn.ReplicationPad2d: "pad",
    nn.PixelShuffle: "pixel_shuffle",
    nn.PixelUnshuffle: "pixel_unshuffle",
    nn.ReLU: "relu",
    nn.LeakyReLU: "leaky_relu",
    nn.Sigmoid: "sigmoid",
    nn.Tanh: "tanh",
    nn.MaxPool2d: "max_pool2d",
}


def name_of(node: fx.Node, root: nn.Module) -> str:
    """Return the name of a node's operation, or the class name of an unknown module."""
    if node.op == "call_module":
        kind = type(root.get_submodule(str(node.target)))
        return _MODULES.get(kind, kind.__name__)  # a subclass may compute something else
    if isinstance(node.target, OpOverload):
        name = _overloaded(node.target)
    elif isinstance(node.target, str):
        name = node.target
    else:
        name = str(getattr(node.target, "__name__", node.target))
    name = name.removesuffix("_")  # the same in place; see `run`
    return _SAME.get(name, name)


def _overloaded(target: OpOverload) -> str:
    """Return "add" for `aten.add.Tensor`."""
    return str(target).removeprefix("aten.").split(".", maxsplit=1)[0]


def unlike(node: fx.Node, root: nn.Module) -> str:
    """Return a node's difference from the operation of its name, in words, or ""."""
    values = (*node.args, *node.kwargs.values())
    # alpha scales an argument that `run_spread` adds as it is; rounding modes are not affine.
    if node.kwargs.get("alpha", 1) != 1 or node.kwargs.get("rounding_mode") is not None:
        return "with alpha or rounding_mode"
    # A conversion to another format rounds, or reads other bits.
    if any(isinstance(value, torch.dtype) for value in values):
        return "with a dtype"
    if node.op != "call_module":
        if name_of(node, root) != "batch_norm":
            return ""
        names = ("input", "running_mean", "running_var", "weight", "bias", "training")
        if isinstance(node.target, OpOverload):  # its arguments are in another order than the function's
            names = ("input", "weight", "bias", "running_mean", "running_var", "training")
        given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        known = given.get("running_mean") is not None and given.get("running_var") is not None
        return "" if known and given.get("training", False) is False else "by statistics of the batch"
    module = root.get_submodule(str(node.target))
    # A hook or a replaced forward may compute anything.
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        return "with hooks or a forward of its own"
    if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
        return "by statistics of the batch"
    return ""


def run(node: fx.Node, root: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the output of a node; arguments stay unchanged even where the operation works in place."""
    if node.op == "call_module":
        return root.get_submodule(str(node.target))(*args, **kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target).removesuffix("_"))(*args[1:], **kwargs)
    function: Any = node.target
    if isinstance(function, OpOverload) and (name := _overloaded(function)).endswith("_"):
        function = getattr(torch.ops.aten, name.removesuffix("_"))
    by_name = {"iadd": torch.add, "isub": torch.sub, "imul": torch.mul, "itruediv": torch.div}
    return by_name.get(getattr(function, "__name__", ""), function)(*args, **kwargs)


def run_spread(node: fx.Node, root: nn.Module, radii: Mapping[fx.Node, Any], known: Mapping[fx.Node, Any]) -> Any:
    """Return the largest change of an affine node's output.

    Args:
        radii: for each node that depends on the input, the largest change of its elements, >= 0.
        known: the values of constants and shapes.
    """
    name = name_of(node, root)

    def given(instead: Callable[[Any], Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        def of(argument: fx.Node) -> Any:
            if argument in radii:
                return fx.node.map_aggregate(radii[argument], instead)
            return _absolute(known[argument]) if name in PRODUCTS else known[argument]

        return fx.node.map_arg(node.args, of), fx.node.map_arg(node.kwargs, of)

    # a - b moves by as much as a + b, and constants do not move.
    if name in SUMS:
        arguments: Sequence[Any] = node.args
        moved = [radii[arg] if arg in radii else _still(known.get(arg, arg)) for arg in arguments]
        return sum(moved[1:], moved[0])
    at, zero = given(lambda radius: radius), given(_still)
    if node.op != "call_module":
        # With every weight replaced by its absolute value the output at the radii, minus the bias, is the largest
        # change.
        if name in PRODUCTS:
            at, zero = (fx.node.map_aggregate(part, _absolute) for part in (at, zero))
        largest, constant = run(node, root, *at), run(node, root, *zero)
        if isinstance(largest, Tensor):
            return largest - constant
        return type(largest)(a - b for a, b in zip(largest, constant, strict=True))  # of chunk or split
    module = root.get_submodule(str(node.target))
    # A batch norm's weight may be negative too; its bias and running mean cancel in the difference below.
    weight = getattr(module, "weight", None)
    state = {} if weight is None else {"weight": weight.abs()}
    moved = [torch.func.functional_call(module, state, args, kwargs) for args, kwargs in (at, zero)]
    return moved[0] - moved[1]


def run_magnitude(node: fx.Node, root: nn.Module, sizes: Mapping[fx.Node, Any], known: Mapping[fx.Node, Any]) -> Any:
    """Return the magnitudes that an affine node adds up, its constants included; see `run_spread`."""

    def still(argument: fx.Node) -> Any:
        return fx.node.map_aggregate(sizes[argument], _still) if argument in sizes else known[argument]

    alone = run(node, root, fx.node.map_arg(node.args, still), fx.node.map_arg(node.kwargs, still))
    constant, spread = fx.node.map_aggregate(alone, _absolute), run_spread(node, root, sizes, known)
    if isinstance(spread, Tensor):
        return spread + constant
    return type(spread)(a + b for a, b in zip(spread, constant, strict=True))  # of chunk or split


def _absolute(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.abs()
    return abs(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def _still(value: Any) -> Any:
    return torch.zeros_like(value) if isinstance(value, Tensor) else 0.0
