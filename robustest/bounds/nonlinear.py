"""Nonlinearities, each between two lines over an interval [l, u] of its inputs."""

# - ReLU, undecided (l < 0 < u): above, the chord u (x - l) / (u - l); below, the line a x with a = 1 where u >= -l,
#   else 0: the smaller area (Zhang et al., NeurIPS 2018, table 2 and section 3.3). Any slope in 0..1 below is sound.
# - Sigmoid and tanh, whose slope is least at one of the ends: two lines of that slope through the ends, or a tangent
#   and the chord where the curve bends one way only.
# - Maximum over a window: below, the input of the largest lower end; above, that too where no other input can be
#   larger, else the largest upper end.

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from robustest.bounds.operations import NoBound, name_of


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
        # The quotient of a narrow interval would be rounding; there two lines of the least slope are close enough.
        chord = torch.where(width > 1e-4, (at_high - at_low) / width.clamp(min=1e-4), least)
        tangent, at_middle = self._slope(self.function(middle)), self.function(middle)
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
