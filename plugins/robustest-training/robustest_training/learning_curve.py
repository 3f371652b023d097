"""The samples that an accuracy takes: a learning curve fitted to several sizes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustest import Result
from robustest.errors import ConfigError, expected
from robustest.packs import checked_threshold

# Numbers of samples that reach an accuracy, read from a learning curve between its points and beyond them.
#
# 1. Between two sizes the curve is a straight line in the logarithm of the size.
# 2. Beyond the largest it follows a power law with a limit, A - B n^-c, fitted to the last points by least squares
#    (Hestness et al., "Deep Learning Scaling is Predictable, Empirically", 2017, section 3), from the largest size's
#    value on.
# 3. The interval is that of curves whose points are drawn with their standard errors. It covers other seeds and
#    samples, but no change of the law.


Floats = NDArray[np.float64]

_DRAWS = 2000
_POWERS = np.geomspace(0.05, 3.0, 40)
# Last points that the power law is fitted to: small sizes may follow another.
_FITTED = 4
# Fewer points determine no law of three parameters.
_LEAST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Accuracies by training samples."""

    sizes: Floats  # (k,) rising numbers of samples
    accuracy: Floats  # (k,) in 0..1
    by_seed: Floats  # by_seed, by_sample: (k,) standard errors for other seeds and for other samples, as in `Seeded`
    by_sample: Floats
    seeds: int  # number of seeds, >= 2


def samples_reaching(curve: Curve, target: float, *, limit: float) -> float:
    """Return the fewest samples at which a curve reaches an accuracy, from its smallest size to `limit`; or inf."""
    return float(_reaching(curve.sizes, curve.accuracy[None], target, limit)[0])


def samples_interval(
    curve: Curve, target: float, *, limit: float, alpha: float, random: np.random.Generator
) -> tuple[float, float]:
    """Return an approximate interval of these samples, alpha on each side; an end may be infinite."""
    shape = (_DRAWS, len(curve.sizes))
    # Few seeds: their error has the heavy tails of Student's t.
    noise = curve.by_seed * random.standard_t(curve.seeds - 1, shape) + curve.by_sample * random.normal(size=shape)
    drawn = np.clip(curve.accuracy + noise, 0.0, 1.0)
    reached = np.sort(_reaching(curve.sizes, drawn, target, limit))
    last = _DRAWS - 1
    return float(reached[int(np.floor(alpha * last))]), float(reached[int(np.ceil((1 - alpha) * last))])


def _reaching(sizes: Floats, accuracy: Floats, target: float, limit: float) -> Floats:
    """Return (R,) samples for each of the curves (R, k) over sizes (k,)."""
    logs = np.log(sizes)
    # Accuracy grows with the data; a dip is noise.
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
    """Return (R,) samples at which curves (R, k), continued by a power law, have gained `missing` (R,)."""
    best = np.full(len(accuracy), np.inf)
    out = np.full(len(accuracy), np.inf)
    centred = accuracy - accuracy.mean(1, keepdims=True)
    # For a given power c the fit of A and B is linear: try a grid of powers, keep the least squares.
    for power in _POWERS:
        base = np.exp(-power * (logs - logs[-1]))  # 1 at the largest size
        shape = base - base.mean()
        slope = -(centred @ shape) / (shape @ shape)  # B, in units of the largest size
        top = accuracy.mean(1) + slope * base.mean()
        squares = ((centred + slope[:, None] * shape) ** 2).sum(1)
        # A curve that falls, or a limit above 1, is no learning curve.
        fits = (squares < best) & (slope > 0) & (top <= 1.0)
        left = 1 - missing / np.where(slope > 0, slope, 1.0)
        reached = np.full(len(out), np.inf)
        ok = left > 0
        reached[ok] = np.exp(logs[-1] - np.log(left[ok]) / power)
        best[fits], out[fits] = squares[fits], reached[fits]
    return out


# Numbers of training samples that reach an accuracy, read from a measured learning curve.


# A curve is continued to at most this many times the data.
_BEYOND = 4
_ALPHA = 0.01


class SampleCount(NamedTuple):
    """The number of training samples that reaches an accuracy.

    Attributes:
        samples: the estimate; None above `limit`.
        low: lower end; the smallest measured size means that or fewer.
        high: upper end; None if it may be above `limit`.
        limit: four times the data: larger sizes are not extrapolated.
        extrapolated: True if the estimate is above the largest size, or None.
    """

    samples: float | None
    low: float | None
    high: float | None
    limit: int
    extrapolated: bool

    def __str__(self) -> str:
        at = _words(self.samples, self.limit)
        return f"{at} training samples [{_words(self.low, self.limit)}, {_words(self.high, self.limit)}]"


def samples_for(
    result: Result, target: float, *, of: Literal["robust", "clean"] = "robust", seed: int = 0
) -> SampleCount:
    """Return the number of training samples that reaches an accuracy on test samples.

    Between the measured sizes the curve is read as straight lines in the logarithm of the size, beyond the largest by a
    power law with a limit (three sizes or more), up to four times the data. The interval covers about 98 % for other
    seeds and samples, where the law holds.

    Args:
        result: of `measure_robust_generalization`, with two or more sizes and seeds.
        target: the accuracy, in 0..1.
        of: accuracy under the attack, or without.
        seed: of the curves drawn for the interval.

    Raises:
        ConfigError: the result has no curve, one of a single size or seed, or an argument is out of range; or a control
            of its trainings shows that they learned from something else than their samples.
    """
    target = checked_threshold("target", target, trivial=0)
    if of not in ("robust", "clean"):
        raise ConfigError(expected('of to be "robust" or "clean"', of))
    curve, data = _curve(result, of)
    limit = _BEYOND * data
    estimate = samples_reaching(curve, target, limit=limit)
    random = np.random.default_rng(seed % 2**64)
    low, high = samples_interval(curve, target, limit=limit, alpha=_ALPHA, random=random)
    return SampleCount(
        samples=_finite(estimate),
        low=_finite(min(low, estimate)),
        high=_finite(max(high, estimate)),
        limit=limit,
        extrapolated=estimate > curve.sizes[-1],
    )


def _curve(result: object, of: str) -> tuple[Curve, int]:
    details: Any = getattr(result, "details", {})
    rows = details.get("curve") if isinstance(result, Result) else None
    if not rows or "robust_test_errors" not in rows[0]:
        raise ConfigError(expected("the result of measure_robust_generalization", result))
    if doubt := details.get("taught_nothing"):
        raise ConfigError(f"Expected accuracies that follow from the training samples but {doubt}.")
    if len(rows) < 2 or details["seeds"] < 2:
        raise ConfigError(
            f"Expected a curve of two sizes and two seeds or more but got {len(rows)} and {details['seeds']}. Measure "
            "again with sizes= and seeds=."
        )
    by_seed, by_sample = np.array([row[f"{of}_test_errors"] for row in rows], float).T
    curve = Curve(
        sizes=np.array([row["samples"] for row in rows], float),
        accuracy=np.array([row[f"{of}_test"] for row in rows], float),
        by_seed=by_seed,
        by_sample=by_sample,
        seeds=details["seeds"],
    )
    return curve, int(details["data_size"])


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _words(value: float | None, limit: int) -> str:
    return f"more than {limit:,}" if value is None else f"{value:,.0f}"
