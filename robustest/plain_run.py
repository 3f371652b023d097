"""The test that a run without --robust is running: its first claim or measurement ends it as skipped."""

# The plugin sets it without loading anything else; `robustest.context` reads it when something is claimed or measured.

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class PlainTest:  # no dataclass: to make one takes as long as to import this module, at the start of every pytest run
    """A running test, which nothing declares to be a robustness test.

    Attributes:
        skip: ends the test as skipped.
        home: process and thread of the test.
        claimed: True once the test has begun a claim or a measurement.
    """

    __slots__ = ("claimed", "home", "skip")

    def __init__(self, skip: Callable[[], object]) -> None:
        self.skip = skip
        self.home = os.getpid(), threading.get_ident()
        self.claimed = False


# Innermost last: a test may run pytest itself. None stands for a test whose claims are not skipped.
_running: list[PlainTest | None] = []


@contextmanager
def running(test: PlainTest | None) -> Iterator[None]:
    """Make a test the running one inside this block; None for a test whose claims are not skipped."""
    _running.append(test)
    try:
        yield
    finally:
        _running.pop()


@contextmanager
def skipped_if_claimed() -> Iterator[None]:
    """Skip the running test at the end of this block if another thread has begun a claim, however the block ends."""
    __tracebackhide__ = True
    test = _running[-1] if _running else None
    try:
        yield
    finally:
        if test is not None and test.claimed:
            test.skip()


def claim() -> None:
    """Skip the running test, or mark it to be skipped at its end, if claims are skipped in this run."""
    __tracebackhide__ = True
    test = _running[-1] if _running else None
    if test is None or test.home[0] != os.getpid():
        return
    test.claimed = True
    # The exception of a skip would kill the worker of a `ThreadPool`, which only expects errors, and the pool would
    # wait for it forever: other threads go on.
    if test.home[1] == threading.get_ident():
        test.skip()
