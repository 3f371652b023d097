"""The time that a claim has left: `time_budget` ends it within the pass of the model that is under way.

Whatever takes long asks the clock before each step: every pass of a model, every sample that is read, every request to
an endpoint, every forward call of a training. Where the time is up it raises `OutOfTime`; whoever can decide on what
was seen by then catches it, and else the claim is inconclusive.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_deadline: ContextVar[float] = ContextVar("robustest_deadline", default=math.inf)


class OutOfTime(BaseException):
    """A claim's time is up. No `Exception`: no code of a user's may take it for an error of the model."""


@contextmanager
def budget(seconds: float | None) -> Iterator[None]:
    """Give the block so many seconds, and never more than the block around it has; None sets no limit of its own."""
    token = _deadline.set(min(_deadline.get(), math.inf if seconds is None else time.monotonic() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


@contextmanager
def unlimited() -> Iterator[None]:
    """Let the block end, whatever the time: for the last look at what is certain already."""
    token = _deadline.set(math.inf)
    try:
        yield
    finally:
        _deadline.reset(token)


def left() -> float | None:
    """Return the seconds that are left, 0 or more; None without a limit."""
    deadline = _deadline.get()
    return None if math.isinf(deadline) else max(0.0, deadline - time.monotonic())


def check(reason: str = "") -> None:
    """Raise where the time is up.

    Args:
        reason: what had been reached, for the result of the claim.

    Raises:
        OutOfTime: it is.
    """
    if time.monotonic() > _deadline.get():
        raise OutOfTime(reason)


def until() -> float | None:
    """Return the end of the time by the wall clock, which other processes read too; None without a limit."""
    seconds = left()
    return None if seconds is None else time.time() + seconds


@contextmanager
def budget_until(end: float | None) -> Iterator[None]:
    """Give the block the time up to an end that another process has told; None sets no limit."""
    with budget(None if end is None else end - time.time()):
        yield
