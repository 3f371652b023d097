"""The operations of a network: affine ones and nonlinear ones, with the lines that bound them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch._ops import OpOverload

# Operations that are affine in their input, with one name each for modules, functions and methods.

# `run_spread` bounds how far an affine operation's output moves: with every weight replaced by its absolute value, the
# output at the inputs' radii less the output at zero.


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
            return known[argument]

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


# Nonlinearities, each between two lines over an interval [l, u] of its inputs.

# - ReLU, undecided (l < 0 < u): above, the chord u (x - l) / (u - l); below, the line a x with a = 1 where u >= -l,
#   else 0: the smaller area (Zhang et al., NeurIPS 2018, table 2 and section 3.3). Any slope in 0..1 below is sound.
# - Sigmoid and tanh, whose slope is least at one of the ends: two lines of that slope through the ends, or a tangent
#   and the chord where the curve bends one way only.
# - Maximum over a window: below, the input of the largest lower end; above, that too where no other input can be
#   larger, else the largest upper end.


class Lines(Protocol):
    """Lines below and above a nonlinearity's outputs, over intervals of its inputs, of B samples."""

    def through(self, a: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return a lower bound of a · outputs as an affine function of the inputs.

        Args:
            a: (R, *O) coefficients of the outputs.
            sample: (R,) int64, the sample of each row; (1,) for one sample.

        Returns:
            (R, *S) coefficients of the inputs, (R,) the constant, and (R,) the magnitudes that were added up.
        """


class Nonlinearity(Protocol):
    """A function that rises with each of its inputs."""

    def value(self, x: Tensor) -> Tensor:
        """Return the outputs (B, *O) of inputs (B, *S)."""

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        """Return (B, *S) bool: inputs whose lines a smaller interval would bring closer together."""

    def lines(self, low: Tensor, high: Tensor) -> Lines:
        """Return lines that hold for inputs between low and high (B, *S)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slopes:
    """Lines of elementwise functions: slopes and heights at zero, as half of the sum and of the difference of the line
    below and the line above, each (B, *S); `magnitude` is the largest that is added up for either.
    """

    # For a positive coefficient the line below is the worse one, for a negative coefficient the line above: so a
    # coefficient meets `mean` as it is, and `half` by its magnitude.
    mean: Tensor
    half: Tensor
    height_mean: Tensor
    height_half: Tensor
    magnitude: Tensor

    @staticmethod
    def of(below: Tensor, above: Tensor, start_below: Tensor, start_above: Tensor, reach: Tensor) -> Slopes:
        steepest = torch.maximum(below.abs(), above.abs())
        return Slopes(
            magnitude=torch.maximum(start_below.abs(), start_above.abs()) + steepest * reach,
            mean=(below + above) / 2,
            half=(above - below) / 2,
            height_mean=(start_below + start_above) / 2,
            height_half=(start_above - start_below) / 2,
        )

    def through(self, a: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        size = a.abs()
        mean, half = self.height_mean[sample], self.height_half[sample]
        added = dots(a, mean) - dots(size, half)
        inner = (a * self.mean[sample]).addcmul_(size, self.half[sample], value=-1)
        return inner, added, dots(size, self.magnitude[sample])


def dots(a: Tensor, v: Tensor) -> Tensor:
    """Return (R,) inner products of rows (R, *S) with as many others, or with one."""
    a, v = a.flatten(1), v.flatten(1)
    return a @ v[0] if len(v) == 1 else (a * v).sum(1)


@dataclass(frozen=True, slots=True)
class Relu:
    """Zero, or `slope` times the input, below zero; the input above."""

    slope: float = 0.0

    def value(self, x: Tensor) -> Tensor:
        return F.relu(x) if self.slope == 0 else F.leaky_relu(x, self.slope)

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        return (low < 0) & (high > 0)

    def lines(self, low: Tensor, high: Tensor) -> Slopes:
        # The line that leaves the smaller area.
        slope = (high >= -low).to(low) * (1 - self.slope) + self.slope
        return self.sloped(low, high, slope)

    def sloped(self, low: Tensor, high: Tensor, below: Tensor) -> Slopes:
        """Return lines with these slopes below (B, *S) where undecided: any between `slope` and 1 is sound."""
        both = self.undecided(low, high)
        width = (high - low).clamp(min=torch.finfo(low.dtype).tiny)
        chord = (high - self.slope * low) / width
        above = torch.where(both, chord, self._decided(low))
        height = torch.where(both, (self.slope - chord) * low, 0.0)
        below = torch.where(both, below, self._decided(low))
        return Slopes.of(below, above, torch.zeros_like(low), height, torch.maximum(-low, high))

    def _decided(self, low: Tensor) -> Tensor:
        return torch.where(low >= 0, 1.0, self.slope)


@dataclass(frozen=True, slots=True)
class Sigmoidal:
    """Sigmoid or tanh: a slope that grows up to zero and falls beyond."""

    function: Callable[[Tensor], Tensor]

    def value(self, x: Tensor) -> Tensor:
        return self.function(x)

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        return high - low > 1e-3

    def lines(self, low: Tensor, high: Tensor) -> Slopes:
        at_low, at_high, middle = self.function(low), self.function(high), (low + high) / 2
        least = torch.minimum(self._slope(at_low), self._slope(at_high))
        width = high - low
        chord = (at_high - at_low) / width.clamp(min=1e-4)
        tangent, at_middle = self._slope(self.function(middle)), self.function(middle)
        # The chord of a narrow interval would be rounding; there two lines of the least slope are close enough.
        convex, concave = (high <= 0) & (width > 1e-4), (low >= 0) & (width > 1e-4)
        below = torch.where(convex, tangent, torch.where(concave, chord, least))
        above = torch.where(convex, chord, torch.where(concave, tangent, least))
        return Slopes.of(
            below,
            above,
            torch.where(convex, at_middle - tangent * middle, at_low - below * low),
            torch.where(concave, at_middle - tangent * middle, at_high - above * high),
            torch.maximum(-low, high),
        )

    def _slope(self, value: Tensor) -> Tensor:
        return 1 - value * value if self.function is torch.tanh else value * (1 - value)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """The largest of each window of images (B, C, H, W); pairs are of height and width."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def value(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, self.kernel, self.stride, self.padding, self.dilation)

    def undecided(self, low: Tensor, high: Tensor) -> Tensor:
        return low < high

    def lines(self, low: Tensor, high: Tensor) -> Chosen:
        lows, highs = self._windows(low, -torch.inf), self._windows(high, -torch.inf)
        place = torch.arange(low[0].numel(), device=low.device, dtype=torch.float64).view(1, *low.shape[1:])
        best = lows.argmax(2, keepdim=True)
        others = highs.scatter(2, best, -torch.inf).amax(2)
        index = self._windows(place, -1.0).expand(len(low), -1, -1, -1).gather(2, best).squeeze(2)
        shape = (len(low), *self.value(low[:1]).shape[1:])
        largest, highest = lows.amax(2), highs.amax(2)
        return Chosen(
            index=index.long().view(len(low), -1),
            alone=(largest >= others).view(shape),
            highest=highest.view(shape),
            magnitude=torch.maximum(-largest, highest).view(shape),
            inputs=tuple(low.shape[1:]),
        )

    def _windows(self, x: Tensor, beyond: float) -> Tensor:
        """Return windows of images, (B, C, elements of a window, windows)."""
        rows, columns = self.padding
        padded = F.pad(x, (columns, columns, rows, rows), value=beyond)
        unfolded = padded
        for axis in (2, 3):
            reach = (self.kernel[axis - 2] - 1) * self.dilation[axis - 2] + 1
            unfolded = unfolded.unfold(axis, reach, self.stride[axis - 2])
        picked = unfolded[..., :: self.dilation[0], :: self.dilation[1]]
        return picked.flatten(4).flatten(2, 3).transpose(2, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """Lines of a maximum over windows: the input at `index` below; above it too where it is `alone`, else `highest`.

    Attributes:
        index: (B, outputs) int64, positions in the flattened inputs.
        alone: (B, *O) bool: no other input of the window can be larger.
        highest: (B, *O) the largest upper end of each window.
        magnitude: (B, *O) the largest magnitude of either line.
        inputs: the shape of a sample's inputs.
    """

    index: Tensor
    alone: Tensor
    highest: Tensor
    magnitude: Tensor
    inputs: tuple[int, ...]

    def through(self, a: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        alone = self.alone[sample]
        kept = torch.where(alone, a, a.clamp(min=0))
        added = torch.where(alone, 0.0, a.clamp(max=0))
        inputs = a.new_zeros(len(a), torch.Size(self.inputs).numel())
        inputs = inputs.scatter_add(1, self.index[sample].expand(len(a), -1), kept.flatten(1))
        size = dots(a.abs(), self.magnitude[sample])
        return inputs.view(len(a), *self.inputs), dots(added, self.highest[sample]), size


# From a node of a graph to its nonlinearity


def nonlinear_of(node: fx.Node, root: nn.Module) -> Nonlinearity:
    """Return the nonlinearity of a node whose name is in `NONLINEAR`; raise NoBound for unsupported settings."""
    kind = name_of(node, root)
    # The settings by name, for modules and functions.
    if node.op == "call_module":
        module = root.get_submodule(str(node.target))
        given = {name: value for name, value in vars(module).items() if not name.startswith("_")}
    else:
        names = {
            "leaky_relu": ("negative_slope",),
            "max_pool2d": ("kernel_size", "stride", "padding", "dilation", "ceil_mode"),
        }
        given = dict(zip(names.get(kind, ()), node.args[1:], strict=False))
        given |= {name: value for name, value in node.kwargs.items() if name != "input"}
    return NONLINEAR[kind](given)


def _pool(given: Mapping[str, Any]) -> MaxPool:
    if given.get("ceil_mode") or given.get("return_indices"):
        raise NoBound("no bound: unsupported operator max_pool2d with ceil_mode or return_indices")
    pairs = {name: _pair(given.get(name)) for name in ("kernel_size", "stride", "padding", "dilation")}
    kernel = cast("tuple[int, int]", pairs["kernel_size"])
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
