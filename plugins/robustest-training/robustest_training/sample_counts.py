"""Numbers of training samples that reach an accuracy, read from a measured learning curve."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from robustest.errors import ConfigError, expected
from robustest.packs import Result, checked_threshold
from robustest_training.learning_curve import Curve, samples_interval, samples_reaching

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
        ConfigError: the result has no curve, one of a single size or seed, or an argument is out of range.
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
