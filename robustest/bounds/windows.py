"""Two affine maps with one nonlinearity between them, where each output sees a small window of inputs alone.

The outputs of a convolution that stand at one place, in all channels, read the same few inputs, and so do those behind
a second convolution. What is pulled back from them is zero elsewhere: a small matrix a window does what a transposed
convolution does of rows that are mostly zeros. Nothing is known of convolutions here: windows are what is not zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from robustest.bounds.nonlinear import Slopes
from robustest.bounds.regions import Ball

if TYPE_CHECKING:
    from robustest.bounds.graph import Rows

_MOST = 2**23
"""Elements of all windows' matrices together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """G groups of C outputs at most that see K elements between and J inputs at most; unused places hold zeros.

    Attributes:
        outputs: (G, C) int64, the output's position; beyond the last where there is none.
        between: (G, K) int64, positions of what they see of the nonlinearity's outputs.
        inputs: (G, J) int64, positions of the inputs that those see.
        coefficients: (G, C, K) of the outputs.
        block: (G, K, J + 1) coefficients of the elements between, and in the last column what they are at zero.
        height: (G, C) what the outputs are at zero.
    """

    outputs: Tensor
    between: Tensor
    inputs: Tensor
    coefficients: Tensor
    block: Tensor
    height: Tensor

    def ends(self, lines: Slopes, ball: Ball, sample: int, sizes: tuple[Tensor, Tensor]) -> tuple[Tensor, ...]:
        """Bounds of each output of one sample, before anything is allowed for rounding.

        Args:
            lines: of the nonlinearity.
            ball: of the inputs.
            sample: which one.
            sizes: the magnitudes that the first map adds up, and those of the second, of all samples.

        Returns:
            (E,) lower bounds, (E,) upper bounds, and (E,) the magnitudes of what was added up for either.
        """

        def seen(values: Tensor) -> Tensor:
            return values[sample].flatten()[self.between].unsqueeze(2)  # (G, K, 1)

        a, size, c = self.coefficients, self.coefficients.abs(), self.coefficients.shape[1]
        mean, half = seen(lines.mean), seen(lines.half)
        middle, apart = a * mean.transpose(1, 2), size * half.transpose(1, 2)
        at = self.height + torch.bmm(a, seen(lines.height_mean)).squeeze(2)
        fall = torch.bmm(size, seen(lines.height_half)).squeeze(2)
        added = torch.bmm(size, seen(lines.magnitude) + (mean.abs() + half) * seen(sizes[0])).squeeze(2)
        inner = torch.cat([middle - apart, -(middle + apart)], dim=1)  # for the lower and, negated, the upper bounds
        pulled = torch.bmm(inner, self.block)
        flat = [values[sample].flatten()[self.inputs] for values in (ball.x, ball.low, ball.high)]
        inside = Ball(x=flat[0], low=flat[1], high=flat[2], eps=ball.eps, norm=ball.norm)
        group = torch.arange(len(a), device=a.device).repeat_interleave(2 * c)
        least, reached = inside.least(pulled[..., :-1].flatten(0, 1), group)
        bound = least.view(len(a), 2 * c) + pulled[..., -1]
        magnitude = added + torch.maximum(*reached.view(len(a), 2, c).unbind(1))
        found = (at - fall + bound[:, :c], at + fall - bound[:, c:], magnitude)
        low, high, size = (self._placed(values, sizes[1][sample].numel()) for values in found)
        return low, high, size + sizes[1][sample].flatten()

    def _placed(self, values: Tensor, count: int) -> Tensor:
        """(E,) in the outputs' order, of values (G, C)."""
        room = values.new_zeros(count + 1)
        room[self.outputs.flatten()] = values.flatten()
        return room[:count]


def windows_of(first: Rows, second: Rows, place: int) -> Windows | None:
    """The windows of two maps; None where outputs have little in common, or see most of what there is.

    Args:
        first: of the inputs (place 0).
        second: of the nonlinearity's outputs, at a place.
        place: where they stand.
    """
    a, inner = second.coefficients[place].flatten(1), first.coefficients[0].flatten(1)
    sees = a != 0
    draw = torch.rand(a.shape[1], dtype=torch.float64, generator=torch.Generator().manual_seed(0)).to(a.device)
    marks: Any = sees.double() @ draw  # two that meet by chance share a larger window
    group = marks.unique(return_inverse=True)[1]
    groups = int(group.max()) + 1
    most = int(group.bincount().max())
    between = torch.zeros(groups, a.shape[1], dtype=torch.bool, device=a.device)
    between = between.double().index_add_(0, group, sees.double()) > 0
    inputs = (between.to(inner) @ (inner != 0).to(inner)) > 0
    k, j = max(1, int(between.sum(1).max())), max(1, int(inputs.sum(1).max()))
    if 4 * j > 3 * inputs.shape[1] or groups * (most * k + k * j) > _MOST or groups * most > 2 * len(a):
        return None
    outputs = torch.full((groups, most), len(a), device=a.device)
    order = group.argsort(stable=True)
    starts = group.bincount().cumsum(0) - group.bincount()
    outputs[group[order], torch.arange(len(a), device=a.device) - starts[group[order]]] = order
    between_at, inputs_at = (mask.int().argsort(dim=1, descending=True, stable=True) for mask in (between, inputs))
    between_at, inputs_at = between_at[:, :k], inputs_at[:, :j]
    padded, heights = torch.cat([a, a[:1] * 0]), torch.cat([second.height, second.height[:1] * 0])
    return Windows(
        outputs=outputs,
        between=between_at,
        inputs=inputs_at,
        coefficients=padded[outputs[:, :, None], between_at[:, None, :]],
        block=torch.cat([inner[between_at[:, :, None], inputs_at[:, None, :]], first.height[between_at, None]], 2),
        height=heights[outputs],
    )
