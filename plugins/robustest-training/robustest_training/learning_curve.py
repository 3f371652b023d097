"""How many samples reach an accuracy, from a learning curve: read between its points, and carefully beyond them.

Between two sizes the curve is a straight line in the logarithm of the size. Beyond the largest it goes on as the last
points do by a power law with a limit, A - B n^-c (Hestness et al., "Deep Learning Scaling is Predictable, Empirically",
2017, section 3), fitted by least squares, from the largest size's own value on. The interval is that of curves whose
points are drawn with their standard errors: it covers other seeds and samples, not a law that holds no longer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_DRAWS = 2000
_POWERS = np.geomspace(0.05, 3.0, 40)
_FITTED = 4
"""Points that the power law is fitted to, the last ones: small sizes may follow another."""
_LEAST = 3
"""Points below which there is no law to be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Accuracies by training samples.

    Attributes:
        sizes: (k,) rising numbers of samples.
        accuracy: (k,) in 0..1.
        by_seed, by_sample: (k,) their standard errors for other seeds and for other samples, as in `Seeded`.
        seeds: how many the first were computed by, >= 2.
    """

    sizes: Floats
    accuracy: Floats
    by_seed: Floats
    by_sample: Floats
    seeds: int


def samples_reaching(curve: Curve, target: float, *, limit: float) -> float:
    """The fewest samples at which a curve reaches an accuracy; infinite where it does so within no `limit`.

    The smallest size where that reaches it already: what lies below is not known.
    """
    return float(_reaching(curve.sizes, curve.accuracy[None], target, limit)[0])


def samples_interval(
    curve: Curve, target: float, *, limit: float, alpha: float, random: np.random.Generator
) -> tuple[float, float]:
    """An interval of the samples that reach an accuracy, about alpha on each side; an end may be infinite."""
    shape = (_DRAWS, len(curve.sizes))
    noise = curve.by_seed * random.standard_t(curve.seeds - 1, shape) + curve.by_sample * random.normal(size=shape)
    drawn = np.clip(curve.accuracy + noise, 0.0, 1.0)
    reached = np.sort(_reaching(curve.sizes, drawn, target, limit))
    last = _DRAWS - 1
    return float(reached[int(np.floor(alpha * last))]), float(reached[int(np.ceil((1 - alpha) * last))])


def _reaching(sizes: Floats, accuracy: Floats, target: float, limit: float) -> Floats:
    """(R,) samples for each of the curves (R, k) over sizes (k,)."""
    logs = np.log(sizes)
    rising = np.maximum.accumulate(accuracy, axis=1)
    there = rising >= target
    first = np.where(there.any(1), there.argmax(1), -1)
    out = np.full(len(rising), np.inf)
    out[first == 0] = sizes[0]
    rows = np.flatnonzero(first > 0)
    at = first[rows]
    low, high = rising[rows, at - 1], rising[rows, at]
    share = (target - low) / (high - low)
    out[rows] = np.exp(logs[at - 1] + share * (logs[at] - logs[at - 1]))
    beyond = np.flatnonzero(first < 0)
    if len(logs) >= _LEAST and len(beyond):
        out[beyond] = _continued(logs[-_FITTED:], accuracy[beyond, -_FITTED:], target - rising[beyond, -1])
    out[out > limit] = np.inf
    return out


def _continued(logs: Floats, accuracy: Floats, missing: Floats) -> Floats:
    """(R,) samples at which curves (R, k), continued by a power law, have gained what is missing (R,)."""
    best = np.full(len(accuracy), np.inf)
    out = np.full(len(accuracy), np.inf)
    centred = accuracy - accuracy.mean(1, keepdims=True)
    for power in _POWERS:
        base = np.exp(-power * (logs - logs[-1]))  # 1 at the largest size
        shape = base - base.mean()
        slope = -(centred @ shape) / (shape @ shape)  # B, in units of the largest size
        top = accuracy.mean(1) + slope * base.mean()
        squares = ((centred + slope[:, None] * shape) ** 2).sum(1)
        fits = (squares < best) & (slope > 0) & (top <= 1.0)
        left = 1 - missing / np.where(slope > 0, slope, 1.0)
        reached = np.full(len(out), np.inf)
        ok = left > 0
        reached[ok] = np.exp(logs[-1] - np.log(left[ok]) / power)
        best[fits], out[fits] = squares[fits], reached[fits]
    return out
