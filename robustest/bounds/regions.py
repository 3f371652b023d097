"""The balls over which a linear function's least value has a closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.bounds.nonlinear import dots
from robustest.threats import L1, L2, Bounds, Linf, Threat


@dataclass(frozen=True, slots=True, kw_only=True)
class Ball:
    """What B inputs may become: a box around them and, in L1 and L2, what of it lies within `eps`.

    Attributes:
        x: (B, *S) the inputs.
        low, high: (B, *S) the ends of the box.
        eps: the radius in L1 or L2; None in L-inf, where the box is all.
        norm: 1 or 2; no matter in L-inf.
    """

    x: Tensor
    low: Tensor
    high: Tensor
    eps: float | None = None
    norm: int = 2

    def pick(self, rows: Tensor) -> Ball:
        """The balls of some rows."""
        return Ball(x=self.x[rows], low=self.low[rows], high=self.high[rows], eps=self.eps, norm=self.norm)

    def least(self, a: Tensor, sample: Tensor) -> tuple[Tensor, Tensor]:
        """(R,) the least a · input over each row's ball, and the magnitudes of what was added up.

        In L1 and L2 the larger of the least over the ball and the least over the box, as the inputs lie in both.

        Args:
            a: (R, *S) coefficients, one row a bound.
            sample: (R,) int64, the sample of each row; (1,) where it is one for all.
        """
        size, low, high = a.abs(), self.low[sample], self.high[sample]
        middle, reach = (low + high) / 2, (high - low) / 2
        at, fall, magnitude = dots(a, middle), dots(size, reach), dots(size, middle.abs() + reach)
        if self.eps is None:
            return at - fall, magnitude
        x, flat = self.x[sample], size.flatten(1)
        dual = self.eps * (flat.amax(1) if self.norm == 1 else flat.norm(dim=1))
        return torch.maximum(at - fall, dots(a, x) - dual), magnitude + dots(size, x.abs()) + dual


def ball_of(threat: Threat, x: Tensor, bounds: Bounds) -> Ball | None:
    """What inputs x (B, *S) may become under a threat; None where a linear function has no closed form over it."""
    if type(threat) is Linf:
        region = threat.region(x, bounds)
        return Ball(x=x, low=region["low"].expand_as(x), high=region["high"].expand_as(x))
    if type(threat) in (L1, L2):
        low, high = ((x + side * threat.radius).clamp(*bounds) for side in (-1.0, 1.0))
        return Ball(x=x, low=low, high=high, eps=threat.radius, norm=1 if type(threat) is L1 else 2)
    return None
