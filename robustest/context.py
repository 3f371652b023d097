"""The test that is running: its settings, and where its results and progress go.

A context variable, so that assertions need no argument for it and work outside pytest too, where the
default context measures with default settings and keeps nothing.
"""

from __future__ import annotations

import atexit
import shlex
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace

from robustest.errors import ConfigError, NotSearched, expected
from robustest.reports.notebook_progress import notebook_progress
from robustest.results import Result, Verdict
from robustest.settings import Settings

Progress = Callable[[str, int, int, int], None]
"""Called with (claim in words, samples done, samples in all, samples broken)."""


@dataclass(slots=True)
class Context:
    """One test's settings and what it has measured so far.

    Attributes:
        settings: how this test measures.
        test: the test's node id; empty outside pytest.
        owner: who makes the claims, in names of what is kept of them; a fixture of several tests, or the test itself
            where it is empty.
        where: the node id as seen from the folder the run was started in.
        progress: told of each finished chunk; None where nobody watches.
        skip: ends the test as skipped, with a reason; None outside a test.
        rerun: the command that repeats this test, up to the seed and the test's id; empty outside pytest.
        results: every result recorded, in order.
        measured: measurements that ended in this test.
        ungated: results with a threshold, or a baseline, that no assertion has taken.
        sent: how many of them are on a report already.
        unwritten: files that could not be written, in sentences; they turn the run red, and the verdict stands.
        unvouched: claims that a replay did not refute and nothing was searched for, with the reason: the test ends as
            skipped, unless it failed.
    """

    settings: Settings = field(default_factory=Settings)
    test: str = ""
    owner: str = ""
    where: str = ""
    progress: Progress | None = None
    skip: Callable[[str], None] | None = None
    rerun: str = ""
    results: list[Result] = field(default_factory=list)
    measured: int = 0
    ungated: list[Result] = field(default_factory=list)
    sent: int = 0
    unwritten: list[str] = field(default_factory=list)
    unvouched: list[str] = field(default_factory=list)

    def note(self, result: Result | None) -> None:
        """A measurement has ended, with this result where it has one."""
        self.measured += 1
        if result is not None and result.is_claim:
            self.ungated.append(result)

    def gate(self, result: Result) -> None:
        """The test's outcome depends on this result."""
        self.ungated = [one for one in self.ungated if one is not result]

    def forget(self) -> None:
        """Another attempt at the test begins."""
        self.results.clear()
        self.ungated.clear()
        self.unvouched.clear()
        self.sent = self.measured = 0

    @property
    def claimant(self) -> str:
        """Who makes the claims: what is kept of them (a baseline, counterexamples) is kept under this name."""
        return self.owner or self.test

    def not_searched(self, statement: str, reason: str) -> NotSearched:
        """The error that ends a measurement of known counterexamples alone; that it ended so is kept.

        Args:
            statement: the claim in words.
            reason: what the replay came to.

        Raises:
            ConfigError: no test is running that could be skipped.
        """
        if self.skip is None:
            raise ConfigError("Expected replay_only in a test run by pytest --robust: a replay alone passes no claim.")
        error = NotSearched(statement, reason)
        self.unvouched.append(str(error))
        return error

    def record(self, result: Result) -> None:
        """Keep a result for the reports; outside a test there are none, and nothing is kept.

        A run that only replays known counterexamples passes no claim: what passed is kept as inconclusive.

        Raises:
            TypeError: this is no `Result`, or its details are no plain JSON types.
        """
        if not isinstance(result, Result):
            raise TypeError(expected("a robustest result", result))
        result.to_dict()
        if self.settings.replay_only and result.verdict is Verdict.PASSED:
            result = replace(result, verdict=Verdict.INCONCLUSIVE, rule="replayed only: nothing was searched for")
        if self.test:
            self.results.append(result)

    def amend(self, result: Result, told: Result) -> None:
        """Put a result that says more in the place of one that was recorded, or measured and not yet asserted."""
        self.results = [told if one is result else one for one in self.results]
        self.ungated = [told if one is result else one for one in self.ungated]

    def picture(self, save: Callable[[], str | None], folder: str) -> str | None:
        """The path of a picture that was saved; None where it is none, or could not be saved: no verdict depends on it.

        Args:
            save: saves it.
            folder: where to.
        """
        try:
            return save()
        except OSError as error:
            problem = f"a picture could not be written to {folder}: {error.strerror or error}"
            if self.test:
                self.unwritten.append(problem)
            else:
                warnings.warn(problem, RuntimeWarning, stacklevel=2)
            return None

    def replay(self, seed: int) -> str:
        """The command that repeats this test; empty outside pytest."""
        return f"{self.rerun} --robust-seed={seed} {shlex.quote(self.where or self.test)}" if self.test else ""


_endings: list[Callable[[], None]] = []


def when_over(end: Callable[[], None]) -> None:
    """Have something ended with the run of tests, or with the process where there is none."""
    if not _endings:
        atexit.register(over)
    _endings.append(end)


def over() -> None:
    """End what was to be ended with the run, the last begun first."""
    while _endings:
        _endings.pop()()
    atexit.unregister(over)


_current: ContextVar[Context] = ContextVar("robustest_context")


def current() -> Context:
    """The running test's context, or a fresh default one outside a test; a notebook shows how far claims are."""
    return _current.get(None) or Context(progress=notebook_progress())


@contextmanager
def running(context: Context) -> Iterator[Context]:
    """Make `context` the current one inside the block."""
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)
