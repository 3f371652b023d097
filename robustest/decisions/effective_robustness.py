"""Effective robustness: measure a model's accuracy under a shift above the line of other models."""

# On axes of normal quantiles (probits) the accuracies of many models on two data sets lie close to a line (Taori et
# al., NeurIPS 2020; Miller et al., ICML 2021). Effective robustness is a model's accuracy above that line. The interval
# is asymptotic (delta method and Student's t), and no gate rests on it.

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from robustest.checks import require
from robustest.decisions.distributions import norm, student
from robustest.errors import ConfigError, DataError, expected, unknown
from robustest.results import Result

Accuracies = tuple[float, float] | tuple[float, float, int, int]
"""(before the shift, under it) in 0..1, optionally with the number of samples of each."""

# Keys of accuracies and sample numbers in the details of results; None is `Numbers.n`.
_PAIRS = (
    ("source_accuracy", "target_accuracy", "source_n", "target_n"),
    ("clean_accuracy", "shifted_accuracy", None, None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Residual:
    """A model beside the line.

    Attributes:
        before, under: its accuracies, 0..1.
        predicted: the accuracy under the shift by the line, which is fitted without this model.
        effective: under - predicted.
        interval: of `effective`, two-sided at about 1 - 2 alpha.
    """

    before: float
    under: float
    predicted: float
    effective: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveRobustness:
    """A line through several models, and each model's distance from it.

    Attributes:
        intercept, slope: of the line between the probits of all reference models.
        spread: standard deviation of the reference models about it, in probits.
    """

    intercept: float
    slope: float
    spread: float
    models: Mapping[str, Residual]

    def predict(self, before: float) -> float:
        """Return the line's accuracy under the shift, in (0, 1), for an accuracy without it."""
        return float(norm.cdf(self.intercept + self.slope * norm.ppf(before)))


def effective_robustness(
    results: Mapping[str, Result | Accuracies], *, reference: Collection[str] | None = None, alpha: float = 0.01
) -> EffectiveRobustness:
    """Fit a line to the accuracies of several models on probit axes, and return each model's distance from it.

    Args:
        results: by model name: the result of a claim on a shift (`assert_transfer_accuracy`, `assert_shift_accuracy`,
            `assert_consistency` or `assert_subpopulation_shift`; all of the same one), or its accuracies, as (before,
            under) or (before, under, samples before, samples under).
        reference: names of the models that the line is fitted to, three or more besides the one compared; None takes
            all.
        alpha: error on each side of each interval, about, in (0, 0.5).

    Raises:
        ConfigError: alpha is out of range, or too few reference models.
        UnknownNameError: a reference model has no result.
        DataError: a result has no pair of accuracies (early verdicts have none), one is 0 or 1 without a number of
            samples, or the reference models are all as accurate as each other.
    """
    require(0 < alpha < 0.5, "alpha in (0, 0.5)", alpha)
    points = {name: _Point.of(name, result) for name, result in results.items()}
    chosen = list(points) if reference is None else list(dict.fromkeys(reference))
    for name in chosen:
        if name not in points:
            raise unknown("reference model", name, points)
    fewest = min((len(chosen) - (name in chosen) for name in points), default=0)
    if fewest < 3:
        raise ConfigError(f"Expected three reference models or more besides the one compared but got {fewest}.")
    whole = _Line.through([points[name] for name in chosen])
    models = {
        # A reference model is compared with the line through the others, so that it does not draw the line to itself.
        name: _residual(point, _Line.through([points[other] for other in chosen if other != name]), alpha)
        for name, point in points.items()
    }
    return EffectiveRobustness(intercept=whole.intercept, slope=whole.slope, spread=sqrt(whole.variance), models=models)


@dataclass(frozen=True, slots=True)
class _Point:
    before: float
    under: float
    x: float
    y: float
    noise_before: float
    noise_under: float

    @classmethod
    def of(cls, name: str, result: Result | Accuracies) -> _Point:
        before, under, n_before, n_under = _accuracies(name, result)
        (x, noise_before), (y, noise_under) = _probit(name, before, n_before), _probit(name, under, n_under)
        return cls(before, under, x, y, noise_before, noise_under)


@dataclass(frozen=True, slots=True)
class _Line:
    intercept: float
    slope: float
    variance: float
    models: int
    centre: float
    extent: float

    @classmethod
    def through(cls, points: list[_Point]) -> _Line:
        x, y = np.array([p.x for p in points]), np.array([p.y for p in points])
        centre, extent = float(x.mean()), float(((x - x.mean()) ** 2).sum())
        if extent == 0:
            raise DataError("Expected reference models of different accuracies but all are as accurate as each other.")
        slope = float(((x - centre) * y).sum() / extent)
        intercept = float(y.mean()) - slope * centre
        rest: NDArray[np.float64] = y - intercept - slope * x
        # Two degrees of freedom are spent on intercept and slope.
        return cls(intercept, slope, float((rest**2).sum() / (len(points) - 2)), len(points), centre, extent)


def _residual(point: _Point, line: _Line, alpha: float) -> Residual:
    probit = line.intercept + line.slope * point.x
    predicted = float(norm.cdf(probit))
    # Delta method: the variances of x (through the slope) and of the line, in probits, times the normal density.
    from_line = line.variance * (1 / line.models + (point.x - line.centre) ** 2 / line.extent)
    from_before = (line.slope / float(norm.pdf(point.x))) ** 2 * point.noise_before
    variance = point.noise_under + float(norm.pdf(probit)) ** 2 * (from_line + from_before)
    reach = float(student.ppf(1 - alpha, line.models - 2)) * sqrt(variance)
    effective = point.under - predicted
    return Residual(
        before=point.before,
        under=point.under,
        predicted=predicted,
        effective=effective,
        interval=(effective - reach, effective + reach),
    )


def _accuracies(name: str, result: Result | Accuracies) -> tuple[float, float, int | None, int | None]:
    if isinstance(result, Result):
        for before, under, n_before, n_under in _PAIRS:
            if before in result.details and under in result.details:
                if result.details[before] is None or result.details[under] is None:
                    raise DataError(f"Expected whole data sets but those of {name!r} were looked at in part.")
                counts = (result.details[key] if key else result.numbers.n for key in (n_before, n_under))
                return result.details[before], result.details[under], *counts
        kind = result.subject.kind
        raise DataError(f"Expected a result with accuracies before and under a shift but {name!r} is {kind!r}.")
    if not isinstance(result, tuple) or len(result) not in (2, 4):
        raise DataError(expected(f"a result, or (before, under) accuracies, for {name!r}", result))
    return result if len(result) == 4 else (*result, None, None)


def _probit(name: str, accuracy: float, n: int | None) -> tuple[float, float]:
    """Return the probit of an accuracy and the accuracy's variance."""
    require(0 <= accuracy <= 1, f"an accuracy in 0..1 for {name!r}", accuracy, error=DataError)
    if n is None and not 0 < accuracy < 1:
        raise DataError(f"Expected the numbers of samples with an accuracy of {accuracy:g} for {name!r}.")
    if n is None:
        return float(norm.ppf(accuracy)), 0.0
    # Half a sample on each side keeps the probits of 0 and 1 finite.
    inside = (accuracy * n + 0.5) / (n + 1)
    return float(norm.ppf(inside)), inside * (1 - inside) / n
