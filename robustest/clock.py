"""The clock of a claim: `time_budget` ends it within the pass of the model that is under way."""

# Every pass of a model, read of a sample, request to an endpoint and forward call of a training checks the clock first,
# and raises `OutOfTime` after the time is up. The driver catches it and decides on the outcomes so far; elsewhere the
# claim is inconclusive.

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

_deadline: ContextVar[float] = ContextVar("robustest_deadline", default=math.inf)
_stop: ContextVar[Event | None] = ContextVar("robustest_stop", default=None)


class OutOfTime(BaseException):
    """The time of a claim is up. Not an `Exception`: code around the model must not catch it."""


@contextmanager
def budget(seconds: float | None) -> Iterator[None]:
    """Limit the block to some seconds, or to the limit of the block around it; None adds no limit."""
    token = _deadline.set(min(_deadline.get(), math.inf if seconds is None else time.monotonic() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def unlimited() -> Iterator[None]:
    """Lift the limit inside the block."""
    token = _deadline.set(math.inf)
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def until_set(stop: Event) -> Iterator[None]:
    """End the time of the block once an event is set, by another thread."""
    token = _stop.set(stop)
    try:
        yield
    finally:
        _stop.reset(token)


def left() -> float | None:
    """Return the seconds left, >= 0; None without a limit."""
    deadline = _deadline.get()
    return None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())


def check(reason: str = "") -> None:
    """Raise OutOfTime if the time is up; `reason` describes the progress of the claim, for its result."""
    stop = _stop.get()
    if time.monotonic() > _deadline.get() or (stop is not None and stop.is_set()):
        raise OutOfTime(reason)


def until() -> float | None:
    """Return the end of the time by the wall clock, for other processes; None without a limit."""
    seconds = left()
    # The monotonic clock of another process has another origin.
    return None if seconds is None else time.time() + seconds


@contextmanager
def budget_until(end: float | None) -> Iterator[None]:
    """Limit the block to an end that `until` returned in another process; None adds no limit."""
    with budget(None if end is None else end - time.time()):
        yield
