"""The test that is running: its settings, and where its results and progress go.

A context variable, so that assertions need no argument for it and work outside pytest too, where the
default context measures with default settings and keeps nothing.

Every claim that is made while a test runs is in its record, or the test is not green, wherever the claim is made:

1. In the test's own thread an error ends the test. Claims of other threads are recorded with the test that is running;
   an error there ends nobody's test, so it is kept (`Context.apart`) until the test ends, and ends it then.
2. A task of an event loop runs in the test's own thread, and yet nobody may ever ask for its error: it is kept too,
   until it is known whether somebody did.
3. Other processes, forked or started anew, write what they claim into a folder that the environment names: that a claim
   begins, what was recorded, how it ended. The test reads the folder when it ends.
4. A claim that has begun and not ended by then is an error of the test. What a test claims after its end is no test's:
   the run has lost it, and is not green.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import shlex
import shutil
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from robustest.errors import ClaimFailed, ConfigError, NotSearched, RobustestError, expected
from robustest.reports.inert import inert
from robustest.reports.progress import notebook_progress
from robustest.results import Result, Verdict
from robustest.settings import Settings

Progress = Callable[[str, int, int, int], None]
"""Called with (claim in words, samples done, samples in all, samples broken)."""


@dataclass(slots=True, repr=False)
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
        home: process and thread that the test itself runs in; None where it is not known.
        over: whether the test has ended.
        apart: errors of claims made elsewhere, each with the words for where that was and, of a task, the task.
        under_way: claims that have begun elsewhere and not ended, in words.
        threads: those that the test has started.
        stumbled: what kept claims of this test from being measured, where that is no error of robustest's own.
        attempts: earlier attempts at the test, where another plugin runs it again.
        phases: of this attempt, as far as it has come.
        ended: how this attempt's phases ended, what did not pass; see `Attempt`.
        forgiven: whether the test holds by the rule over all attempts, though one of them failed.
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
    home: tuple[int, int] | None = None
    over: bool = False
    apart: list[Apart] = field(default_factory=list)
    under_way: dict[str, str] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)
    stumbled: list[BaseException] = field(default_factory=list)
    attempts: list[Attempt] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)
    ended: tuple[str, BaseException] | None = None
    forgiven: bool = False

    def __repr__(self) -> str:
        # pytest prints a test's fixtures with its traceback: errors and reasons kept here quote anybody's words.
        return f"<{type(self).__name__} of {inert(self.test) or 'no test'}: {len(self.results)} results>"

    def note(self, result: Result | None) -> None:
        """A measurement has ended, with this result where it has one."""
        self.measured += 1
        if result is not None and result.is_claim:
            self.ungated.append(result)

    def gate(self, result: Result) -> None:
        """The test's outcome depends on this result."""
        self.ungated = [one for one in self.ungated if one is not result]

    def begins(self, phase: str) -> None:
        """A phase begins, in this thread; where it has been before, another plugin runs the test again."""
        self.home, self.over = (os.getpid(), threading.get_ident()), False
        if phase in self.phases or (phase == "setup" and self.phases):
            self.attempts.append(Attempt.of(self))
            self.forget()
        self.phases.append(phase)

    def forget(self) -> None:
        """Another attempt at the test begins."""
        self.phases.clear()
        self.apart.clear()
        self.under_way.clear()
        self.stumbled.clear()
        self.ended, self.forgiven = None, False
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
            result = replace(
                result,
                verdict=Verdict.INCONCLUSIVE,
                rule="replayed only: nothing was searched for",
                reasons=("not_searched",),
            )
        if (folder := _foreign(self)) is not None:
            _send(folder, {"test": self.test, "result": result.to_dict()})
        elif self.test:
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


@dataclass(frozen=True, slots=True)
class Apart:
    """An error of a claim that was made apart from the test's own thread.

    Attributes:
        where: in words.
        error: what it raised; an error of another process is one of its message.
        task: the task that it was raised in, where there was one: somebody may have asked it for the error.
    """

    where: str
    error: BaseException
    task: asyncio.Task[Any] | None = None

    @property
    def unheard(self) -> bool:
        """True if the test cannot have heard of the claim."""
        # Python keeps there whether anybody has asked for a task's error, to complain if nobody has.
        return self.task is None or not self.task.done() or bool(getattr(self.task, "_log_traceback", True))


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a test that another plugin ran again.

    Attributes:
        results: what was recorded in it.
        phase, outcome, reason: what it came to: "passed", "failed" where a claim or an assertion did not hold, else
            "error".
    """

    results: tuple[Result, ...]
    phase: str
    outcome: str
    reason: str

    @classmethod
    def of(cls, context: Context) -> Attempt:
        """The attempt that a context has just seen."""
        refuted = any(one.gated and one.is_claim and one.verdict is not Verdict.PASSED for one in context.results)
        if context.ended is None:
            return cls(tuple(context.results), "call", "passed", "")
        phase, error = context.ended
        # What was asserted does not hold; all else (a connection, a file) kept the test from finding out.
        failed = isinstance(error, AssertionError) or type(error).__name__ == "Failed" or refuted
        return cls(tuple(context.results), phase, "failed" if failed else "error", str(error) or type(error).__name__)


_CLAIMS = "ROBUSTEST_CLAIMS"
"""The environment variable that names the process that runs tests, and the folder for claims of others."""

_numbers = count()
_lost: list[str] = []


@contextmanager
def followed() -> Iterator[None]:
    """Take in what other processes claim while tests run in this one."""
    before, folder = os.environ.get(_CLAIMS), tempfile.mkdtemp(prefix="robustest-claims-")
    os.environ[_CLAIMS] = f"{os.getpid()}:{folder}"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(_CLAIMS, None)
        else:
            os.environ[_CLAIMS] = before
        shutil.rmtree(folder, ignore_errors=True)


def lost_claims() -> list[str]:
    """Take what was claimed when no test was there to record it, in sentences."""
    receive(None)
    found = list(_lost)
    _lost.clear()
    return found


def _foreign(context: Context) -> Path | None:
    """The folder for claims, where this process is not the one that the test runs in."""
    owner, _, folder = os.environ.get(_CLAIMS, "").partition(":")
    home = int(owner or 0) if context.home is None else context.home[0]
    return Path(folder) if owner and home != os.getpid() else None


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder, so that no line is written into a file that is being taken."""
    try:
        import fcntl
    except ImportError:  # Windows, where a line may come too late for its test, and is lost by name
        yield
        return
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _send(folder: Path, line: Mapping[str, object]) -> None:
    if not folder.is_dir():  # the run is over
        return
    with _alone(folder), (folder / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def receive(context: Context | None) -> None:
    """Take what other processes have claimed since: for a test that is running, or for none."""
    owner, _, name = os.environ.get(_CLAIMS, "").partition(":")
    folder = Path(name)
    if not owner or not folder.is_dir():
        return
    lines: list[dict[str, Any]] = []
    with _alone(folder):
        for file in sorted(folder.glob("*.jsonl")):
            whole = file.read_text(encoding="utf-8").rpartition("\n")[0]  # a killed process leaves half a line
            lines += [json.loads(line) for line in whole.split("\n") if line]
            file.unlink()
    for line in lines:
        known = context is not None and line["test"] in ("", context.test)
        if context is None or not known:
            if "begun" not in line and line.get("error") is None and "result" not in line:
                continue
            told = f"of {line['test']}" if line["test"] else "of another process"
            _lost.append(f"a claim {told} came when its test had ended")
        elif "begun" in line:
            context.under_way[line["begun"]] = line["words"]
        elif "result" in line:
            context.results.append(Result.from_dict(line["result"]))
        else:
            words = context.under_way.pop(line["ended"], "a claim in another process")
            if line["error"] is not None:
                context.apart.append(Apart(words, _read(line["error"], context)))


def _told(error: BaseException) -> dict[str, Any]:
    """An error for another process; what failed is a claim or not measured."""
    result = error.result.to_dict() if isinstance(error, ClaimFailed) else None
    return {"name": type(error).__name__, "message": str(error), "result": result}


def _read(told: Mapping[str, Any], context: Context) -> BaseException:
    if told["result"] is not None:
        return ClaimFailed(told["message"], Result.from_dict(told["result"]))
    return RobustestError(f"{told['name']}: {told['message']}")


@contextmanager
def claiming(kind: str) -> Iterator[None]:
    """Follow a claim from its beginning to its end, wherever it is made.

    Args:
        kind: of the claim.
    """
    context = current()
    thread = threading.current_thread()
    if (folder := _foreign(context)) is not None:
        number = f"{os.getpid()}-{next(_numbers)}"
        words = f"{kind} in process {os.getpid()}"
        _send(folder, {"test": context.test, "begun": number, "words": words})
        error: BaseException | None = None
        try:
            yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            told = None if error is None else _told(error)
            _send(folder, {"test": context.test, "ended": number, "error": told})
        return
    here = context.home is None or context.home[1] == threading.get_ident()
    words = f"{kind} in thread {thread.name!r}"
    number = f"{os.getpid()}-{next(_numbers)}"
    if not here:
        context.under_way[number] = words
    try:
        yield
    except BaseException as raised:
        if not isinstance(raised, (ClaimFailed, RobustestError)) and isinstance(raised, Exception):
            context.stumbled.append(raised)
        if context.over or (context.home is None and thread is not threading.main_thread()):
            if _CLAIMS in os.environ:
                of = f"of {context.test}" if context.test else "outside of any robustness test"
                first = str(raised).partition("\n")[0]
                _lost.append(f"a claim {of} ended in {type(raised).__name__} in thread {thread.name!r}: {first}")
        elif not here:
            context.apart.append(Apart(words, raised))
        elif (task := _task()) is not None:
            context.apart.append(Apart(f"{kind} in task {task.get_name()!r}", raised, task))
        raise
    finally:
        context.under_way.pop(number, None)


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return None


def still_claiming(context: Context) -> list[str]:
    """Claims that may yet be made for a test, in words: begun and not ended, or in a thread that can make one.

    A thread that a test has started and that is in no code which knows of robustest (an idle worker of a pool, a
    monitor of a library) will claim nothing.
    """
    frames = sys._current_frames()
    named = [
        f"thread {one.name!r}" for one in context.threads if one.is_alive() and _may_claim(frames.get(one.ident or 0))
    ]
    return list(context.under_way.values()) or named


def _may_claim(frame: FrameType | None) -> bool:
    own = __name__.partition(".")[0]
    while frame is not None:
        values = tuple(frame.f_globals.values())
        for value in values:
            name = value.__name__ if isinstance(value, type(sys)) else getattr(value, "__module__", None)
            if isinstance(name, str) and name.partition(".")[0] == own:
                return True
        frame = frame.f_back
    return False


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
_running: list[Context] = []


def current() -> Context:
    """The running test's context, or a fresh default one outside a test; a notebook shows how far claims are.

    A thread that was not handed the context belongs to the test that began last.
    """
    return _current.get(None) or (_running[-1] if _running else Context(progress=notebook_progress()))


@contextmanager
def running(context: Context) -> Iterator[Context]:
    """Make `context` the current one inside the block."""
    token = _current.set(context)
    _running.append(context)
    try:
        yield context
    finally:
        _running[:] = [one for one in _running if one is not context]
        _current.reset(token)
