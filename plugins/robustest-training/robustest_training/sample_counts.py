"""How many training samples an accuracy takes, read from a measured learning curve."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np

from robustest.errors import ConfigError, expected
from robustest.packs import Result, checked_threshold
from robustest_training.learning_curve import Curve, samples_interval, samples_reaching

_BEYOND = 4
"""A curve is continued to so many times the data, at most."""
_ALPHA = 0.01


class SampleCount(NamedTuple):
    """How many training samples an accuracy takes.

    Attributes:
        samples: the estimate; None where it is more than `limit`.
        low: at least so many. The smallest size that was measured means that many or fewer.
        high: at most so many; None where it may be more than `limit`.
        limit: four times the data: what lies beyond is not guessed.
        extrapolated: whether the estimate is more than the largest size, or there is none.
    """

    samples: float | None
    low: float | None
    high: float | None
    limit: int
    extrapolated: bool

    def __str__(self) -> str:
        """In words."""
        at = _words(self.samples, self.limit)
        return f"{at} training samples [{_words(self.low, self.limit)}, {_words(self.high, self.limit)}]"


def samples_for(
    result: Result, target: float, *, of: Literal["robust", "clean"] = "robust", seed: int = 0
) -> SampleCount:
    """How many training samples it takes for an accuracy on test samples.

    Between the sizes measured the curve is read as straight lines in the logarithm of the size. Beyond the largest a
    power law with a limit is fitted to its last points (three sizes or more), never beyond four times the data.

    Args:
        result: of `measure_robust_generalization`, with two sizes and two seeds or more.
        target: the accuracy, in 0..1.
        of: accuracy under the attack, or without.
        seed: of the curves that are drawn for the interval: about 98 % for other seeds and samples, by the curve's
            standard errors, where the law holds. Nothing is gated by it.

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
