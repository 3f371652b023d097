"""Balls with a radius for each row, and the way onto a hyperplane: what minimum-norm attacks walk by.

Pure functions of perturbations `delta` (B, *S). Sums over elements are taken in float64, so that what a row gets does
not depend on the batch it is in.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from robustest.threats import L0, L1, Bounds, Linf, Rows, Threat, length, per_row
from robustest.threats.balls import sparse

_NEWTON = 16
"""Rounds of Newton's method at most; more than a few are rare."""
_CLOSE = 1e-5
"""Share of the way to a hyperplane that may be left."""


def cosine(first: float, last: float, step: Tensor, steps: int) -> Tensor:
    """(B,) float32 from `first` at step 0 to `last` at step `steps`, along half a cosine."""
    return last + (first - last) * 0.5 * (1 + torch.cos(math.pi / steps * step.float()))


def dual_length(threat: Threat, gradient: Tensor) -> Tensor:
    """(B,) the dual norm of gradients: how fast a linear function with this gradient grows along the norm.

    L1 for `Linf`, L-inf for `L1`, the Euclidean length otherwise; never below the smallest normal number.
    """
    flat = gradient.flatten(1)
    if isinstance(threat, Linf):
        value = flat.abs().sum(1, dtype=torch.float64).to(gradient.dtype)
    elif isinstance(threat, L1):
        value = flat.abs().amax(1)
    else:
        return length(gradient)
    return value.clamp(min=torch.finfo(gradient.dtype).tiny)


def within(threat: Threat, delta: Tensor, radius: Tensor, region: Rows) -> Tensor:
    """Perturbations brought into balls of the threat's norm with a radius (B,) for each row.

    The nearest point of the ball in the Euclidean sense, and for `L0` of ball and box; the bounds are not looked at
    otherwise. A radius that is infinite leaves a row alone.
    """
    if isinstance(threat, Linf):
        return torch.clamp(delta, -per_row(radius, delta), per_row(radius, delta))
    if isinstance(threat, L0):
        return sparse(region["x"] + delta, region, radius) - region["x"]
    if isinstance(threat, L1):
        return _within_l1(delta, radius)
    return delta * per_row((radius / length(delta)).clamp(max=1.0), delta)


def to_hyperplane(threat: Threat, at: Tensor, normal: Tensor, gain: Tensor, bounds: Bounds) -> Tensor:
    """The shortest step d (B, *S), in the threat's norm, with `normal . d = gain` and `at + d` inside the bounds.

    Where the box ends before the hyperplane, the step that comes nearest to it. Croce and Hein (ICML 2020, section 3)
    solve the same problem by sorting; here the length t of the step is found by Newton's method: what a step of length
    t gains is concave and piecewise linear in t, so the rounds rise towards the root without passing it.

    Args:
        threat: `Linf`, `L2` or `L1`.
        at: (B, *S) where the step starts, inside the bounds.
        normal: (B, *S) gradient of the linear function; where it is zero there is no step.
        gain: (B,) what the function shall grow by; falls where negative.
        bounds: the input's bounds.
    """
    low, high = bounds
    flat, here = normal.flatten(1), at.flatten(1)
    scale = flat.abs().amax(1).clamp(min=torch.finfo(normal.dtype).tiny)
    flat = flat / torch.where(gain < 0, -scale, scale).unsqueeze(1)
    need = gain.double().abs() / scale.double()
    room = torch.where(flat > 0, high - here, here - low)
    move = (_fill if isinstance(threat, L1) else _stretch)(threat, flat.abs(), room, need)
    return (flat.sign() * move).view_as(at)


def _stretch(threat: Threat, weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """(B, D) moves `min(t * rate, room)` with the smallest t that gains what is needed; rate is the norm's ascent."""
    rate = (weight > 0).to(weight.dtype) if isinstance(threat, Linf) else weight
    worth = weight * rate
    t = torch.zeros_like(need)
    for _ in range(_NEWTON):
        move = torch.minimum(t.to(weight.dtype).unsqueeze(1) * rate, room)
        short = need - (weight * move).sum(1, dtype=torch.float64)
        slope = (worth * (move < room)).sum(1, dtype=torch.float64)
        # A row that has arrived is left alone, so that rows still on their way do not move it.
        open_ = (short > _CLOSE * need) & (slope > 0)
        if weight.device.type == "cpu" and not bool(open_.any()):
            break
        t = torch.where(open_, t + short / slope.clamp(min=1e-300), t)
    return torch.minimum(t.to(weight.dtype).unsqueeze(1) * rate, room)


def _fill(threat: Threat, weight: Tensor, room: Tensor, need: Tensor) -> Tensor:
    """(B, D) moves of least sum: the elements of largest weight to their bound, one after the other."""
    largest, order = weight.sort(dim=1, descending=True, stable=True)
    most = room.gather(1, order).double()
    gains = largest.double() * most
    left = need.unsqueeze(1) - (gains.cumsum(1) - gains)
    move = torch.where(largest > 0, left / largest.clamp(min=1e-30), 0.0).clamp(min=0.0)
    return torch.zeros_like(weight).scatter(1, order, torch.minimum(move, most).to(weight.dtype))


def _within_l1(delta: Tensor, radius: Tensor) -> Tensor:
    """Soft thresholding with the threshold at which the absolute values sum to the radius (Duchi et al., ICML 2008)."""
    size = delta.flatten(1).abs().double()
    limit = radius.double().unsqueeze(1)
    ordered = size.sort(dim=1, descending=True).values
    excess = ordered.cumsum(1) - limit
    count = torch.arange(1, size.shape[1] + 1, device=size.device)
    last = (ordered * count > excess).sum(1, keepdim=True).clamp(min=1) - 1
    threshold = (excess.gather(1, last) / (last + 1)).clamp(min=0.0)
    return torch.copysign((size - threshold).clamp(min=0.0).to(delta.dtype), delta.flatten(1)).view_as(delta)
