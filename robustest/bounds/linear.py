"""Backward linear bounds, from the margins to the input, one nonlinearity at a time (Zhang et al., NeurIPS 2018)."""

# For coefficients a and a network f = A_L s(A_(L-1) ... s(A_1 x)), a lower bound of a . f(x) over all x of a ball:
#
# 1. Pull a back through the affine map A_L: a' = A_L^T a, plus a constant.
# 2. s lies between two lines over the interval of its inputs. Where a' > 0 replace it by the line below, where a' < 0
#    by the line above: that leaves an affine function of the inputs of s.
# 3. Repeat down to the input. The least value of an affine function over a ball is a . x - eps |a|_* (`Ball.least`).
#
# The intervals of the inputs of s come from the same bounds with a = +-e_i. Two things keep this cheap: an input of s
# is bounded backwards only where the interval that follows from the layer before leaves it undecided; and a row is one
# bound of one sample, so that samples with few undecided inputs cost little beside others.
#
# Rounding: every sum is of float32 numbers, so each bound is held to be wrong by `_ROUNDING` = 2^-17 (128 units in the
# last place) times the magnitudes that were added up, including those inside each affine map, whose pulled back
# coefficients may be noise where they cancel. The network itself rounds too, and less: the same allowance is larger
# than the difference of its logits from exact ones. (At margins of 10, bounds in float32 and float64 differed by 4e-6.)

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from robustest.bounds.graph import Matrix, Network, Segment
from robustest.bounds.operations import Lines, Slopes, dots
from robustest.threats import L1, L2, Bounds, Columns, Linf, Threat


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """The balls of B inputs: a box around each and, in L1 and L2, the part of it within `eps`.

    Attributes:
        x: (B, *S) the inputs.
        low, high: (B, *S) the ends of the box.
        eps: the radius in L1 or L2; None in L-inf, where the ball is the box.
        norm: 1 or 2; unused in L-inf.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    eps: float | None = None
    norm: int = 2

    def pick(self, rows: Tensor) -> Ball:
        return Ball(x=self.x[rows], low=self.low[rows], high=self.high[rows], eps=self.eps, norm=self.norm)

    def least(self, a: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """Return (R,) the least a · input over each row's ball, and the magnitudes that were added up.

        Args:
            a: (R, *S) coefficients.
            sample: (R,) int64, the sample of each row; (1,) for one sample.
        """
        size, low, high = a.abs(), self.low[sample], self.high[sample]
        middle, reach = (low + high) / 2, (high - low) / 2
        at, fall, magnitude = dots(a, middle), dots(size, reach), dots(size, middle.abs() + reach)
        if self.eps is None:
            return at - fall, magnitude
        x, flat = self.x[sample], size.flatten(1)
        dual = self.eps * (flat.amax(1) if self.norm == 1 else flat.norm(dim=1))
        # Inputs lie in the ball and in the box: the larger of the two least values holds.
        return torch.maximum(at - fall, dots(a, x) - dual), magnitude + dots(size, x.abs()) + dual


def ball_of(threat: Threat, x: Tensor, bounds: Bounds) -> Ball | None:
    """Return the balls of inputs x (B, *S) under a threat; None where a linear function has no closed form over it."""
    if type(threat) is Linf:
        region = threat.region(x, bounds)
        return Ball(x=x, low=region["low"].expand_as(x), high=region["high"].expand_as(x))
    if type(threat) in (L1, L2):
        low, high = ((x + side * threat.radius).clamp(*bounds) for side in (-1.0, 1.0))
        return Ball(x=x, low=low, high=high, eps=threat.radius, norm=1 if type(threat) is L1 else 2)
    if isinstance(threat, Columns):  # the box around all that the rules allow
        region = threat.region(x, bounds)
        return Ball(x=x, low=region["low"], high=region["high"])
    return None


# Windows: two affine maps with one nonlinearity between them, where each output reads few inputs
#
# The outputs of a convolution at one place, in all channels, read the same few inputs, and so do those behind a second
# convolution. Coefficients pulled back from them are zero elsewhere: a small matrix a window replaces a transposed
# convolution of rows that are mostly zeros. This finds windows by their non-zeros, and needs no knowledge of
# convolutions.

# Elements of all windows' matrices together.
_LARGEST_WINDOWS = 2**23


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """G groups of at most C outputs that read at most K elements between and J inputs; unused places hold zeros.

    Attributes:
        outputs: (G, C) int64, positions of the outputs; beyond the last where there is none.
        between: (G, K) int64, positions of the nonlinearity's outputs that they read.
        inputs: (G, J) int64, positions of the inputs of those.
        coefficients: (G, C, K) of the outputs.
        block: (G, K, J + 1) coefficients of the elements between, and in the last column their value at zero.
        height: (G, C) the outputs at zero.
    """

    outputs: Tensor
    between: Tensor
    inputs: Tensor
    coefficients: Tensor
    block: Tensor
    height: Tensor

    def ends(self, lines: Slopes, ball: Ball, sample: int, sizes: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Return lower bounds, upper bounds and magnitudes (E,) of one sample's outputs, without the allowance for
        rounding.

        Args:
            sample: its row.
            sizes: magnitudes that the first and the second map add up, of all samples.
        """

        def entries(values: Tensor) -> Tensor:
            return values[sample].flatten()[self.between].unsqueeze(2)  # (G, K, 1)

        a, size, c = self.coefficients, self.coefficients.abs(), self.coefficients.shape[1]
        mean, half = entries(lines.mean), entries(lines.half)
        middle, apart = a * mean.transpose(1, 2), size * half.transpose(1, 2)
        at = self.height + torch.bmm(a, entries(lines.height_mean)).squeeze(2)
        fall = torch.bmm(size, entries(lines.height_half)).squeeze(2)
        added = torch.bmm(size, entries(lines.magnitude) + (mean.abs() + half) * entries(sizes[0])).squeeze(2)
        inner = torch.cat([middle - apart, -(middle + apart)], dim=1)  # for the lower and, negated, the upper bounds
        pulled = torch.bmm(inner, self.block)
        flat = [values[sample].flatten()[self.inputs] for values in (ball.x, ball.low, ball.high)]
        inside = Ball(x=flat[0], low=flat[1], high=flat[2], eps=ball.eps, norm=ball.norm)
        group = torch.arange(len(a), device=a.device).repeat_interleave(2 * c)
        least, reached = inside.least(pulled[..., :-1].flatten(0, 1), group)
        bound = least.view(len(a), 2 * c) + pulled[..., -1]
        magnitude = added + torch.maximum(*reached.view(len(a), 2, c).unbind(1))
        count, placed = sizes[1][sample].numel(), []
        for values in (at - fall + bound[:, :c], at + fall - bound[:, c:], magnitude):
            room = values.new_zeros(count + 1)  # the last place takes the positions beyond the outputs
            room[self.outputs.flatten()] = values.flatten()
            placed.append(room[:count])
        low, high, size = placed
        return low, high, size + sizes[1][sample].flatten()


def windows_of(first: Matrix, second: Matrix, place: int) -> Windows | None:
    """Return the windows of the maps around a nonlinearity; None where outputs share few inputs, or read most of them.

    Args:
        place: of the nonlinearity's outputs.
    """
    a, inner = second.coefficients[place].flatten(1), first.coefficients[0].flatten(1)
    sees = a != 0
    # Outputs that read the same elements get the same sum of random numbers, and one group.
    draw = torch.rand(a.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(a.device)
    marks: Any = sees.double() @ draw  # two that meet by chance share a larger window
    group = marks.unique(return_inverse=True)[1]
    groups = int(group.max()) + 1
    most = int(group.bincount().max())
    between = torch.zeros(groups, a.shape[1], dtype=torch.bool, device=a.device)
    between = between.double().index_add_(0, group, sees.double()) > 0
    inputs = (between.to(inner) @ (inner != 0).to(inner)) > 0
    k, j = max(1, int(between.sum(1).max())), max(1, int(inputs.sum(1).max()))
    if 4 * j > 3 * inputs.shape[1] or groups * (most * k + k * j) > _LARGEST_WINDOWS or groups * most > 2 * len(a):
        return None
    outputs = torch.full((groups, most), len(a), device=a.device)
    order = group.argsort(stable=True)
    starts = group.bincount().cumsum(0) - group.bincount()
    outputs[group[order], torch.arange(len(a), device=a.device) - starts[group[order]]] = order
    between_at, inputs_at = (mask.int().argsort(dim=1, descending=True, stable=True) for mask in (between, inputs))
    between_at, inputs_at = between_at[:, :k], inputs_at[:, :j]
    padded, heights = F.pad(a, (0, 0, 0, 1)), F.pad(second.height, (0, 1))
    return Windows(
        outputs=outputs,
        between=between_at,
        inputs=inputs_at,
        coefficients=padded[outputs[:, :, None], between_at[:, None, :]],
        block=torch.cat([inner[between_at[:, :, None], inputs_at[:, None, :]], first.height[between_at, None]], 2),
        height=heights[outputs],
    )


# The bounds

_ROUNDING = 2.0**-17
# Coefficients of the largest layer that one sample may need for its bounds in one layer: minutes, where layers are
# large. A sample that needs more is given up: so large a network, every second neuron undecided, proves nothing.
_WORK = 2**26
# Coefficients that are held at once in the largest layer.
_ELEMENTS = 2**22

# Elements of an affine map's matrix, which is made once for all samples; of larger maps rows are made as needed.
_MATRIX = 2**24


class Bounding:
    """One batch of balls on its way through a network; `given_up` (B,) bool are samples that would need too many
    bounds.
    """

    def __init__(self, network: Network, ball: Ball) -> None:
        self.network = network
        self.ball = ball
        self.given_up = torch.zeros(len(ball.x), dtype=torch.bool, device=ball.x.device)
        self.intervals: list[tuple[Tensor, Tensor]] = []
        self.lines: list[Lines] = []
        self._magnitudes: list[Tensor] = []  # that segments add up
        self._outputs = [(ball.low, ball.high)]  # the intervals of segments' arguments, by place
        self._sizes = [ball.x[0].numel()]

    def run(self) -> bool:
        # Bound the inputs of each nonlinearity in order: its lines depend on them.
        for depth, (segment, bend) in enumerate(zip(self.network.segments, self.network.nonlinear, strict=False)):
            low, high = self._interval(segment)
            self._sizes.append(low[0].numel())
            if depth or self.ball.eps is not None:  # the interval of one affine map of a box is exact
                flat = bend.undecided(low, high).flatten(1)
                # Two bounds for each undecided element.
                self.given_up |= 2 * flat.sum(1) > _WORK // max(self._sizes)
                lows, highs = low.flatten(1).clone(), high.flatten(1).clone()
                most = self._at_once()
                windows = self._windows(depth, low.shape[1:])
                for number in (flat.any(1) & ~self.given_up).nonzero().squeeze(1).tolist():
                    if windows is not None:
                        lines: Any = self.lines[depth - 1]
                        sizes = self._magnitudes[depth - 1], self._magnitudes[depth]
                        least, largest, magnitude = windows.ends(lines, self.ball, number, sizes)
                        lows[number] = torch.maximum(lows[number], least - _ROUNDING * magnitude)
                        highs[number] = torch.minimum(highs[number], largest + _ROUNDING * magnitude)
                        continue
                    sample = torch.tensor([number], device=low.device)
                    for places in cut(flat[number].nonzero().squeeze(1), most):
                        rows = self._picked(depth, low.shape[1:], places)
                        magnitude, ends = self._magnitudes[depth][number].flatten()[places], []
                        for sign in (1, -1):
                            pending = {place: sign * a for place, a in rows.coefficients.items()}
                            ends.append(sign * self._backward(depth, sign * rows.height, magnitude, pending, sample))
                        least, largest = ends
                        lows[number, places] = torch.maximum(lows[number, places], least)
                        highs[number, places] = torch.minimum(highs[number, places], largest)
                low, high = lows.view_as(low), torch.maximum(highs, lows).view_as(high)
            if bool(self.given_up.all()):
                return False
            self.intervals.append((low, high))
            self.given_up |= ~(torch.isfinite(low) & torch.isfinite(high)).flatten(1).all(1)
            self.lines.append(bend.lines(low, high))
            self._outputs.append((bend.value(low), bend.value(high)))
        return True

    def margins(self, y: Tensor, classes: int) -> Tensor:
        """Return (B, K - 1) lower bounds of a label's logit minus each other one, for labels y (B,)."""
        a, sample = margin_rows(y, classes)
        self._interval(self.network.segments[-1])
        return self.lower(len(self.network.segments) - 1, a, sample).view(len(y), -1)

    def pick(self, rows: Tensor) -> Bounding:
        """Return this bounding of some rows, with repetitions, after `margins`."""
        part = Bounding(self.network, self.ball.pick(rows))
        part.given_up, part._sizes = self.given_up[rows], self._sizes
        part.intervals = [(low[rows], high[rows]) for low, high in self.intervals]
        part.lines = [bend.lines(*ends) for bend, ends in zip(self.network.nonlinear, part.intervals, strict=True)]
        part._outputs = [(low[rows], high[rows]) for low, high in self._outputs]
        part._magnitudes = [sizes[rows] for sizes in self._magnitudes]
        return part

    def lower(self, depth: int, a: Tensor, sample: Tensor) -> Tensor:
        """Return (R,) lower bounds of a · the outputs of a segment, for coefficients (R, *O) of samples (R,)."""
        most = self._at_once(a[0].numel())
        parts = zip(cut(a, most), cut(sample, most), strict=True)
        found = []
        for part, of in parts:
            bound, magnitude, pending = self._started(depth, part, of)
            found.append(self._backward(depth, bound, magnitude, dict(pending), of))
        return torch.cat(found)

    def _at_once(self, elements: int = 0) -> int:
        """Return the most rows of coefficients to hold at once, of so many elements and of each layer's."""
        return max(1, _ELEMENTS // max(*self._sizes, elements))

    def _started(self, depth: int, a: Tensor, sample: Tensor) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
        """Return bounds (R,), magnitudes (R,), and coefficients by place, after passing a segment."""
        height, pulled = self._transposed(self.network.segments[depth], a)
        return dots(a, height), dots(a.abs(), self._magnitudes[depth][sample]), pulled

    def _backward(
        self, depth: int, bound: Tensor, magnitude: Tensor, pending: dict[int, Tensor], sample: Tensor
    ) -> Tensor:
        for place in range(depth, 0, -1):
            if place not in pending:
                continue
            inner, added, size = self.lines[place - 1].through(pending.pop(place), sample)
            more, larger, pulled = self._started(place - 1, inner, sample)
            bound, magnitude = bound + added + more, magnitude + size + larger
            for before, part in pulled.items():
                pending[before] = pending[before] + part if before in pending else part
        if 0 in pending:
            least, size = self.ball.least(pending[0], sample)
            bound, magnitude = bound + least, magnitude + size
        return bound - _ROUNDING * magnitude

    def _transposed(self, segment: Segment, a: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Return a segment's output at zero (1, *O), and coefficients (R, *O) pulled back to its arguments."""
        zeros = tuple(torch.zeros_like(self._outputs[place][0][:1]) for place in segment.places)
        with warnings.catch_warnings():  # torch warns of operations that `vmap` runs one by one
            warnings.simplefilter("ignore")
            at_zero: Any = torch.func.vjp(segment, *zeros)
            height, pull = at_zero
            pulled = torch.func.vmap(pull)(a.unsqueeze(1))
        return height, {place: part.squeeze(1) for place, part in zip(segment.places, pulled, strict=True)}

    def _picked(self, depth: int, shape: torch.Size, places: Tensor) -> Matrix:
        """Return the rows of a segment's matrix for some elements (P,) of its output."""
        if shape.numel() * max(self._sizes[place] for place in self.network.segments[depth].places) <= _MATRIX:
            rows = self._rows(depth, shape)
            kept = {place: a[places] for place, a in rows.coefficients.items()}
            return Matrix(height=rows.height[places], coefficients=kept)
        a = torch.zeros(len(places), shape.numel(), device=places.device).scatter_(1, places[:, None], 1.0)
        height, pulled = self._transposed(self.network.segments[depth], a.view(-1, *shape))
        return Matrix(height=height.flatten()[places], coefficients=pulled)

    def _rows(self, depth: int, shape: torch.Size) -> Matrix:
        if depth not in self.network.rows:
            elements = shape.numel()
            most, device = self._at_once(), self.ball.x.device
            height, parts = torch.zeros(()), []
            for some in cut(torch.arange(elements, device=device), most):
                a = torch.zeros(len(some), elements, device=device).scatter_(1, some[:, None], 1.0)
                height, pulled = self._transposed(self.network.segments[depth], a.view(-1, *shape))
                parts.append(pulled)
            coefficients = {place: torch.cat([part[place] for part in parts]) for place in parts[0]}
            self.network.rows[depth] = Matrix(height=height.flatten(), coefficients=coefficients)
        return self.network.rows[depth]

    def _windows(self, depth: int, shape: torch.Size) -> Windows | None:
        if depth not in self.network.windows:
            segments, found = self.network.segments, None
            most = max(self._sizes[0], shape.numel())
            behind = depth and segments[depth].places == (depth,) and segments[depth - 1].places == (0,)
            if behind and isinstance(self.lines[depth - 1], Slopes) and self._sizes[depth] * most <= _MATRIX:
                before = self._rows(depth - 1, self.intervals[depth - 1][0].shape[1:])
                found = windows_of(before, self._rows(depth, shape), depth)
            self.network.windows[depth] = found
        return self.network.windows[depth]

    def _interval(self, segment: Segment) -> tuple[Tensor, Tensor]:
        """Return (B, *O) the ends of a segment's output by interval arithmetic, and keep its magnitudes."""
        ends = [self._outputs[place] for place in segment.places]
        middles, radii = [(low + high) / 2 for low, high in ends], [(high - low) / 2 for low, high in ends]
        middle, radius = segment(*middles), segment.spread(middles, radii)
        self._magnitudes.append(segment.magnitude(middles, [torch.maximum(-low, high) for low, high in ends]))
        radius = radius + _ROUNDING * self._magnitudes[-1]
        return middle - radius, middle + radius


def margin_rows(y: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return (B * (K - 1), K) coefficients of the margins of labels y (B,), and the sample of each."""
    rows = len(y)
    others = torch.arange(classes - 1, device=y.device).expand(rows, -1)
    others = others + (others >= y[:, None]).long()
    a = torch.zeros(rows, classes - 1, classes, device=y.device)
    a.scatter_(2, others[:, :, None], -1.0)
    a.scatter_add_(2, y[:, None, None].expand(-1, classes - 1, 1), torch.ones_like(a[:, :, :1]))
    return a.flatten(0, 1), torch.arange(rows, device=y.device).repeat_interleave(classes - 1)


def cut(rows: Tensor, most: int) -> Sequence[Tensor]:
    """Return rows in parts of at most `most`."""
    return [rows[start : start + most] for start in range(0, len(rows), most)]
