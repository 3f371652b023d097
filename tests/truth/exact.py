"""Small networks whose distance to the decision boundary is known exactly, many of them in one model.

A sample is (u, v, id): the id, far enough from its neighbours that no attack reaches another, says which net
answers. Every net is rescaled about its own sample so that all exact radii are RADIUS.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

RADIUS = 0.5
SPACING = 4.0
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Net:
    """logits = second @ relu(first @ x + shift) + bias, for x in the plane; no hidden layer where first is None."""

    first: Array | None
    shift: Array | None
    second: Array
    bias: Array

    def logits(self, x: Array) -> Array:
        hidden = x if self.first is None else np.maximum(x @ self.first.T + self.shift, 0)
        return np.asarray(hidden @ self.second.T + self.bias)


def random_net(rng: np.random.Generator, hidden: int, classes: int) -> Net:
    """A net with `hidden` ReLU units (0: linear) and its decision boundaries near the origin."""
    if hidden == 0:
        return Net(None, None, rng.normal(size=(classes, 2)), 0.3 * rng.normal(size=classes))
    return Net(
        rng.normal(size=(hidden, 2)),
        0.5 * rng.normal(size=hidden),
        rng.normal(size=(classes, hidden)),
        0.3 * rng.normal(size=classes),
    )


def exact_radius(net: Net, x: Array, norm: str) -> float:
    """Distance from x to the nearest point of another class, by enumeration of the linear pieces.

    On each activation pattern every margin is linear; where it vanishes is a line, cut to the pattern's cell
    by half-planes: a segment, whose distance from x has a closed form. The least over all is exact.
    """
    label = int(net.logits(x[None])[0].argmax())
    least = np.inf
    for normal, offset, cells in _pieces(net, label):
        least = min(least, _distance(x, normal, offset, cells, norm))
    return float(least)


def _pieces(net: Net, label: int) -> list[tuple[Array, float, list[tuple[Array, float]]]]:
    hidden = 0 if net.first is None else len(net.first)
    pieces = []
    for pattern in itertools.product((0.0, 1.0), repeat=hidden):
        on = np.array(pattern)
        if net.first is None or net.shift is None:
            weight, bias, cells = net.second, net.bias, []
        else:
            weight = (net.second * on) @ net.first
            bias = (net.second * on) @ net.shift + net.bias
            sign = 2 * on - 1  # inside the cell: sign * (first @ x + shift) >= 0
            cells = [(s * w, float(s * b)) for s, w, b in zip(sign, net.first, net.shift, strict=True)]
        for other in range(len(weight)):
            if other != label:
                pieces.append((weight[label] - weight[other], float(bias[label] - bias[other]), cells))
    return pieces


def _distance(x: Array, normal: Array, offset: float, cells: list[tuple[Array, float]], norm: str) -> float:
    length = float(np.hypot(*normal))
    if length < 1e-12:
        return np.inf
    along = np.array([-normal[1], normal[0]]) / length
    foot = x - normal * (normal @ x + offset) / length**2
    low, high = -np.inf, np.inf
    for w, b in cells:  # w @ (foot + t * along) + b >= 0
        slope, level = float(w @ along), float(w @ foot + b)
        if abs(slope) < 1e-12:
            if level < 0:
                return np.inf
        elif slope > 0:
            low = max(low, -level / slope)
        else:
            high = min(high, -level / slope)
    if low > high:
        return np.inf
    a = foot - x
    candidates = [0.0]
    if norm == "linf":  # |a + t along| has its least maximum where the two parts are equal, or at an end
        for s in (1.0, -1.0):
            slope = along[0] - s * along[1]
            if abs(slope) > 1e-12:
                candidates.append(float(-(a[0] - s * a[1]) / slope))
    points = [min(max(t, low), high) for t in candidates] + [t for t in (low, high) if np.isfinite(t)]
    order = np.inf if norm == "linf" else 2
    return min(float(np.linalg.norm(a + t * along, order)) for t in points)


class Many(nn.Module):
    """All nets in one: the third feature of a sample says which of them answers."""

    def __init__(self, nets: list[Net], centres: Array, stretch: Array) -> None:
        super().__init__()
        hidden = max(2 if net.first is None else len(net.first) for net in nets)
        classes = max(len(net.bias) for net in nets)
        first, shift = np.zeros((len(nets), hidden, 2)), np.zeros((len(nets), hidden))
        second, bias = np.zeros((len(nets), classes, hidden)), np.full((len(nets), classes), -1e4)
        linear = np.zeros(len(nets))
        for i, net in enumerate(nets):
            rows = np.eye(2) if net.first is None or net.shift is None else net.first
            first[i, : len(rows)] = rows
            shift[i, : len(rows)] = 0 if net.shift is None else net.shift
            second[i, : len(net.bias), : len(rows)] = net.second
            bias[i, : len(net.bias)] = net.bias
            linear[i] = net.first is None
        for name, value in (
            ("first", first),
            ("shift", shift),
            ("second", second),
            ("bias", bias),
            ("linear", linear),
            ("centre", centres),
            ("stretch", stretch),
        ):
            self.register_buffer(name, torch.from_numpy(np.asarray(value, dtype=np.float64)))

    def forward(self, x: Tensor) -> Tensor:
        which = (x[:, 2] / SPACING).round().long().clamp(0, len(self.centre) - 1)  # an unbounded probe may leave
        centre, stretch = self.centre[which], self.stretch[which]
        point = centre + (x[:, :2].double() - centre) * stretch.unsqueeze(1)
        before = torch.einsum("bhi,bi->bh", self.first[which], point) + self.shift[which]
        hidden = torch.where(self.linear[which].unsqueeze(1) > 0, before, before.relu())
        return torch.einsum("bkh,bh->bk", self.second[which], hidden) + self.bias[which]


def many(seed: int, count: int, norm: str) -> tuple[Many, Tensor, Tensor]:
    """A model of `count` nets, linear and ReLU with up to 8 units, 2 to 5 classes, and one sample of each."""
    rng = np.random.default_rng(seed)
    nets: list[Net] = []
    centres, stretches, labels = [], [], []
    while len(nets) < count:
        net = random_net(rng, hidden=int(rng.integers(0, 9)), classes=int(rng.integers(2, 6)))
        x = rng.normal(size=2).astype(np.float32).astype(np.float64)
        radius = exact_radius(net, x, norm)
        if not 1e-2 < radius < 1e2:  # no boundary anywhere, or so near that rounding decides
            continue
        nets.append(net)
        centres.append(x)
        stretches.append(radius / RADIUS)
        labels.append(int(net.logits(x[None])[0].argmax()))
    model = Many(nets, np.array(centres), np.array(stretches))
    ids = SPACING * np.arange(count)
    x = torch.from_numpy(np.column_stack([centres, ids])).float()
    return model, x, torch.tensor(labels)
