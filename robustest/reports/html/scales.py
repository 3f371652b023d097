"""A claim on a scale: interval, estimate and threshold as positions, for a drawing of any width."""

from __future__ import annotations

import math
from dataclasses import dataclass

from robustest.reports.text import requirement
from robustest.results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Positions in percent of the drawing's width; what lies outside the scale is drawn at its end.

    Attributes:
        low, high: ends of the interval.
        estimate: the measured value; None where only an interval is known.
        threshold: the value claimed, or None.
        broken: the part of the scale where the claim does not hold, from and to; None without a threshold.
        before: the baseline's value, or None.
        top: the value at the right end; the left end is 0.
        words: all of it for those who do not see it.
    """

    low: float
    high: float
    estimate: float | None
    threshold: float | None
    broken: tuple[float, float] | None
    before: float | None
    top: float
    words: str


def scale_of(result: Result) -> Scale:
    """A result's scale: 0..1, and longer where the value is no share (a size in input units)."""
    about = result.details.get("baseline") or {}
    before = about.get("accuracy") if result.quantity.endswith("accuracy") or "of" in about else None
    return scale(
        result.interval,
        result.estimate,
        threshold=result.threshold,
        comparison=result.comparison,
        before=before,
        quantity=result.quantity,
        bounds=result.bounds,
        claim=requirement(result),
    )


def scale(
    interval: tuple[float, float],
    estimate: float | None,
    *,
    threshold: float | None = None,
    comparison: str = ">=",
    before: float | None = None,
    quantity: str = "accuracy",
    bounds: str = "",
    claim: str = "",
) -> Scale:
    """A scale of plain numbers.

    Args:
        interval: lower and upper end.
        estimate: the value, or None where it was not measured.
        threshold: the value claimed.
        comparison: ">=" or "<=": on which side of the threshold the claim holds.
        before: the value of a baseline.
        quantity: what is measured, in words.
        bounds: as in `Result`.
        claim: the claim in words; empty where there is none.
    """
    low, high = interval
    top = _top([v for v in (high, estimate, threshold, before) if v is not None])
    words = f"{quantity} {'not measured,' if estimate is None else f'{estimate:.3f},'} between {low:.3f} and {high:.3f}"
    if bounds == "above":
        words = f"{quantity} at most {high if estimate is None else estimate:.3f}, up to {high:.3f}"
    elif bounds:
        words = f"{quantity} at least {low if estimate is None else estimate:.3f}, from {low:.3f}"
    at = None if threshold is None else _percent(threshold, top)
    broken = None if at is None else ((0.0, at) if comparison == ">=" else (at, 100.0))
    return Scale(
        low=_percent(low, top),
        high=_percent(high, top),
        estimate=None if estimate is None else _percent(estimate, top),
        threshold=at,
        broken=broken,
        before=None if before is None else _percent(before, top),
        top=top,
        words="; ".join(part for part in (words, claim and f"required {claim}") if part),
    )


def _percent(value: float, top: float) -> float:
    return round(100 * min(max(value / top, 0.0), 1.0), 2)


def _top(values: list[float]) -> float:
    """1, or the next of 2, 5, 10, 20, 50 ... that all fit under."""
    largest = max((v for v in values if math.isfinite(v)), default=1.0)
    return 1.0 if largest <= 1 else above(largest)


def above(value: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is no smaller than a value > 0."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))
