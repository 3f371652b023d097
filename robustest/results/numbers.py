"""Numbers of a result: the value, its interval, and what they were counted from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from robustest.errors import expected
from robustest.results.words import Fact
from robustest.typed import check_fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The whole numbers behind a value: `events` / `n`, or for a fall (`events` - `gained`) / `n`.

    Raises:
        TypeError: a field is no whole number.
    """

    n: int  # number of samples
    # samples that held, for a share that should be high; that did not, for one that should be low; lost samples, for
    # a fall
    events: int
    gained: int | None = None  # gained samples, for a fall; else None

    def __post_init__(self) -> None:
        check_fields(self, "counts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Numbers:
    """The measured value, with its uncertainty.

    Raises:
        TypeError: the side that a search bounds is unknown.
    """

    quantity: str  # name of the estimate, e.g. "accuracy" or "flip rate"
    estimate: float | None  # measured value; None if not all samples were measured, as after an early verdict
    # confidence interval of the value, two-sided at 1 - 2 alpha, valid wherever the run stopped. If a search only
    # bounds the value, the unproven end is the extreme possible value.
    interval: tuple[float, float]
    # "above" or "below" if a search found the value, which then bounds the true value on that side;
    # `details["left_interval"]` is the interval of the value of this search. Else empty.
    bounds: str = ""
    n: int  # evaluated samples
    n_total: int  # samples in the data
    counts: Counts | None = field(default=None, repr=False)  # whole numbers behind the value, or None
    # start of a fall, e.g. the clean accuracy: a number, or words if not all samples were measured. None if the value
    # is no fall.
    start: Fact | None = None
    details: Mapping[str, Any] = field(default_factory=dict)  # further numbers of this kind of claim, plain JSON types

    def __post_init__(self) -> None:
        if self.bounds not in ("", "above", "below"):
            raise TypeError(expected('bounds of a result to be "", "above" or "below"', self.bounds))

    @property
    def value(self) -> float:
        """The estimate, or else the proven end or the middle of the interval."""
        low, high = self.interval
        ends = {"above": high, "below": low}
        return ends.get(self.bounds, (low + high) / 2) if self.estimate is None else self.estimate

    @property
    def left_interval(self) -> tuple[float, float]:
        """The interval of the value that this search left, if there was one; else the interval."""
        left = self.details.get("left_interval")
        ends = left if isinstance(left, (list, tuple)) and len(left) == 2 else self.interval  # files may hold anything
        low, high = ends if all(type(end) in (int, float) for end in ends) else self.interval
        return low, high
