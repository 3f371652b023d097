"""pytest's sessions and running tests in this process: the owner of a claim, and a plain run's skips."""

# The plugin keeps this record in every pytest run, so it loads nothing else; `robustest.context` reads it when
# something is claimed or measured. In a run without --robust the first claim of a test ends it as skipped. A claim
# while no test runs belongs to none, and is refused.

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class RunningTest:  # no dataclass: to make one takes as long as to import this module, at the start of every pytest run
    """A running test.

    Attributes:
        skip: ends the test as skipped at its first claim; None if its claims are measured.
        home: process and thread of the test.
        claimed: True once the test has begun a claim or a measurement that is skipped.
        over: True once the report of its teardown is made: nothing that it claims now would be in a report.
    """

    __slots__ = ("claimed", "home", "over", "skip")

    def __init__(self, skip: Callable[[], object] | None = None) -> None:
        self.skip = skip
        self.home = os.getpid(), threading.get_ident()
        self.claimed = self.over = False


class PytestSession:
    """A pytest session with the plugin, from before its first conftest.py to the end of its clean-up.

    Attributes:
        home: process that runs it.
        folder: working folder at its beginning; places in messages are relative to it.
        refused: refusals (`robustest.outside.RefusedClaim`) of claims outside of its tests, on no report yet.
        worker: True in a worker of pytest-xdist, whose controller reports.
        written: True once its reports are written.
        late: True if a claim was refused after that.
        before: threads that were alive before it.
        left: threads that it has left behind.
    """

    __slots__ = ("before", "folder", "home", "late", "left", "refused", "worker", "written")

    def __init__(self) -> None:
        self.home, self.folder = os.getpid(), os.getcwd()
        self.refused: list[Any] = []
        self.worker = self.written = self.late = False
        self.before, self.left = threading.enumerate(), frozenset[threading.Thread]()


# Innermost last: a test may run pytest itself.
_running: list[RunningTest | PytestSession] = []
# The session that ended last.
_ended: PytestSession | None = None


def begin_session() -> PytestSession:
    """Begin a session of pytest in this process: claims that no test of it makes are refused."""
    session = PytestSession()
    _running.append(session)
    return session


def end_session(session: PytestSession) -> None:
    """End a session: claims at the exit of the process, or of threads that it left behind, are refused."""
    global _ended  # noqa: PLW0603 - the state of the process
    _running[:] = [one for one in _running if one is not session]
    # Only these threads: a script or a notebook may go on and claim after `pytest.main()`.
    session.left = frozenset(threading.enumerate()).difference(session.before)
    session.before = []
    _ended = session


def current_session() -> PytestSession | None:
    """Return the innermost session of this process, or None."""
    return next((one for one in reversed(_running) if isinstance(one, PytestSession)), None)


def session_outside() -> PytestSession | None:
    """Return the session in which code here runs outside of any test; None in a test or a script."""
    if _running:
        last = _running[-1]
        return current_session() if isinstance(last, PytestSession) or last.over else None
    if _ended is None or _ended.home != os.getpid():
        return None
    # At the exit of the process the main thread counts as ended: `atexit` runs functions after that.
    at_exit = not threading.main_thread().is_alive()
    return _ended if at_exit or threading.current_thread() in _ended.left else None


@contextmanager
def running(test: RunningTest) -> Iterator[None]:
    """Make a test the running one inside this block."""
    _running.append(test)
    try:
        yield
    finally:
        _running.pop()


def reported(*, over: bool) -> None:
    """Note that the running test's last report is made, or that another attempt at the test begins."""
    if _running and isinstance(test := _running[-1], RunningTest):
        test.over = over


@contextmanager
def skipped_if_claimed() -> Iterator[None]:
    """Skip the running test at the end of this block if another thread has begun a claim, however the block ends."""
    __tracebackhide__ = True
    test = _skipping()
    try:
        yield
    finally:
        if test is not None and test.claimed and test.skip is not None:
            test.skip()


def claim() -> None:
    """Skip the running test, or mark it to be skipped at its end, if claims are skipped in this run."""
    __tracebackhide__ = True
    test = _skipping()
    if test is None or test.skip is None or test.home[0] != os.getpid():
        return
    test.claimed = True
    # The exception of a skip would kill the worker of a `ThreadPool`, which only expects errors, and the pool would
    # wait for it forever: other threads go on.
    if test.home[1] == threading.get_ident():
        test.skip()


def _skipping() -> RunningTest | None:
    last = _running[-1] if _running else None
    return last if isinstance(last, RunningTest) and last.skip is not None else None
