"""The context of the running test: its settings, and the record of its results."""

# It is a context variable, so that assertions need no argument for it. Every claim that is made while a test runs is in
# its record, or the test is not green:
#
# 1. In the test's own thread an error ends the test. Claims of other threads are recorded with the running test; an
#    error there is kept (`Context.apart`) and ends the test at its end.
# 2. A task of an event loop runs in the test's own thread, but perhaps nobody awaits its error: it is kept too, unless
#    somebody did. The error of a callback reaches nobody.
# 3. Other processes, forked or spawned, write beginning, result and end of their claims into a folder that the
#    environment names. The test reads the folder when it ends.
#    A child without that environment finds its run by the run's marker (`robustest.ancestors`).
# 4. A claim that has not ended by then is an error of the test. A claim after the test's end belongs to no test: the
#    run reports it as lost, and is not green.
# 5. A claim that begins while no test runs is refused before anything is measured, and the run is red, also where
#    the error is caught. After the reports are written it is printed, and the exit code is not 0.

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
from functools import cache
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from robustest import ancestors, plain_run
from robustest.errors import ClaimFailed, ConfigError, NotSearched, OutsideTestError, RobustestError, expected
from robustest.outside import RefusedClaim, exit_in_error, refusal
from robustest.reports.inert import inert
from robustest.reports.progress import notebook_progress
from robustest.results import Result, Verdict
from robustest.settings import Settings

Progress = Callable[[str, int, int, int], None]
"""Called with (claim in words, samples done, samples in all, samples broken)."""


# Checked once, and shared by all contexts outside pytest.
_DEFAULT = Settings()


@dataclass(slots=True, repr=False)
class Context:
    """One test's settings, and its measurements so far; the default records nothing."""

    settings: Settings = _DEFAULT
    test: str = ""  # node id of the test; empty outside of pytest
    owner: str = ""  # name under which a shared fixture keeps counterexamples and baselines; empty for the test itself
    where: str = ""  # node id relative to the folder in which the run was started
    declared: bool = False  # True if marker, fixtures or text of the test say that it is a robustness test
    claims: bool = False  # True once the test has begun a claim or a measurement
    progress: Progress | None = None  # called after each chunk, or None
    skip: Callable[[str], None] | None = None  # ends the test as skipped, with a reason; None outside of a test
    rerun: str = ""  # command that repeats this test, without seed and test id
    results: list[Result] = field(default_factory=list)  # every result recorded, in order
    measured: int = 0  # number of measurements that ended in this test
    ungated: list[Result] = field(default_factory=list)  # measured results that no assertion has taken
    sent: int = 0  # number of results that are on a report already
    # sentences about files that could not be written; they turn the run red and change no verdict
    unwritten: list[str] = field(default_factory=list)
    # claims of a replay-only run that no replay refuted: the test ends as skipped unless it failed
    unvouched: list[str] = field(default_factory=list)
    home: tuple[int, int] | None = None  # process and thread in which the test runs, or None
    over: bool = False  # True after the end of the test
    apart: list[Apart] = field(default_factory=list)  # errors of claims in other threads, tasks and processes
    under_way: dict[str, str] = field(default_factory=dict)  # claims there that have not ended, in words
    threads: list[threading.Thread] = field(default_factory=list)  # threads that the test has started
    # errors, other than robustest's own, that ended claims of this test
    stumbled: list[BaseException] = field(default_factory=list)
    # earlier attempts at the test, if another plugin runs it again
    attempts: list[Attempt] = field(default_factory=list)
    phases: list[str] = field(default_factory=list)  # phases of this attempt so far
    ended: tuple[str, BaseException] | None = None  # phase and error that ended this attempt, or None
    forgiven: bool = False  # True if the test passes by the rule over all attempts, though one of them failed

    def __repr__(self) -> str:
        # pytest prints a test's fixtures with its traceback: errors and reasons kept here quote anybody's words.
        return f"<{type(self).__name__} of {inert(self.test) or 'no test'}: {len(self.results)} results>"

    def note(self, result: Result | None) -> None:
        """Count a measurement that has ended, and list its result until an assertion takes it."""
        self.measured += 1
        if result is not None:
            self.ungated.append(result)

    def gate(self, result: Result) -> None:
        """Remove a result from the ungated ones: the test's outcome now depends on it."""
        self.ungated = [one for one in self.ungated if one is not result]

    def begins(self, phase: str) -> None:
        self.home, self.over = (os.getpid(), threading.get_ident()), False
        # A phase that comes again means that another plugin runs the test again.
        if phase in self.phases or (phase == "setup" and self.phases):
            self.attempts.append(Attempt.of(self))
            self.forget()
        self.phases.append(phase)

    def forget(self) -> None:
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
    def robust(self) -> bool:
        return self.declared or self.claims

    @property
    def claimant(self) -> str:
        return self.owner or self.test

    def not_searched(self, statement: str, reason: str) -> NotSearched:
        """Return the error that ends a replay-only measurement, and record it.

        Raises:
            ConfigError: no test is running that could be skipped.
        """
        if self.skip is None:
            raise ConfigError("Expected replay_only in a test run by pytest --robust: a replay alone passes no claim.")
        error = NotSearched(statement, reason)
        self.unvouched.append(str(error))
        return error

    def announce(self, result: Result) -> None:
        """Record a result whose counterexamples are still to be made smaller; `record` replaces it."""
        if self.test and _foreign(self) is None:
            self.claims = True
            self.results.append(result)

    def record(self, result: Result, *, announced: Result | None = None) -> None:
        """Record a result for the reports; outside of a test nothing is recorded.

        Args:
            announced: the result that it replaces, as it was announced; or None.

        Raises:
            TypeError: this is no `Result`, or its details are no plain JSON types.
        """
        if not isinstance(result, Result):
            raise TypeError(expected("a robustest result", result))
        # Fail here, at the call of the user, and not when the reports are written.
        result.to_dict()
        # Known counterexamples that no longer break prove nothing about new ones.
        if self.settings.replay_only and result.verdict is Verdict.PASSED:
            result = result.but(
                verdict=Verdict.INCONCLUSIVE,
                rule="replayed only: nothing was searched for",
                reasons=("not_searched",),
            )
        if (folder := _foreign(self)) is not None:
            _send(folder, {"test": self.test, "result": result.to_dict()})
        elif self.test:
            self.claims = True
            # In place: the record of a fixture holds this list.
            self.results[:] = [one for one in self.results if one is not announced]
            self.results.append(result)

    def amend(self, result: Result, fuller: Result) -> None:
        """Replace a result that was recorded, or measured and not yet asserted, by a fuller one."""
        self.results = [fuller if one is result else one for one in self.results]
        self.ungated = [fuller if one is result else one for one in self.ungated]

    def picture(self, save: Callable[[], str | None], folder: str) -> str | None:
        """Save a picture and return its path, relative to the working folder if it lies below.

        Args:
            save: writes the picture and returns its path, or None for no picture.
            folder: of the picture; None is returned if it cannot be written.
        """
        try:
            path = save()
            here = None if path is None else Path(path)
            return str(here.relative_to(Path.cwd())) if here and here.is_relative_to(Path.cwd()) else path
        except OSError as error:
            problem = f"a picture could not be written to {folder}: {error.strerror or error}"
            if self.test:
                self.unwritten.append(problem)
            else:
                warnings.warn(problem, RuntimeWarning, stacklevel=2)
            return None

    def replay(self, seed: int) -> str:
        return f"{self.rerun} --robust-seed={seed} {shlex.quote(self.where or self.test)}" if self.test else ""


@dataclass(frozen=True, slots=True)
class Apart:
    """An error of a claim outside of the test's own thread."""

    where: str  # thread, task or process in words
    error: BaseException  # the error; that of another process is rebuilt from its message
    task: asyncio.Task[Any] | None = None  # the task in which it was raised, or None

    @property
    def unheard(self) -> bool:
        """True if the test cannot have noticed the error."""
        # Python clears this flag when the error is retrieved, and otherwise logs the error.
        return self.task is None or not self.task.done() or bool(getattr(self.task, "_log_traceback", True))


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt at a test that another plugin ran again."""

    results: tuple[Result, ...]  # results as recorded
    phase: str  # the phase that ended it
    outcome: str  # "passed", "failed" if a claim or an assertion did not hold, else "error"
    reason: str  # message of the error

    @classmethod
    def of(cls, context: Context) -> Attempt:
        """Return the attempt that a context has just recorded."""
        refuted = any(
            one.ruling.gated and one.is_claim and one.verdict is not Verdict.PASSED for one in context.results
        )
        if context.ended is None:
            return cls(tuple(context.results), "call", "passed", "")
        phase, error = context.ended
        # An assertion that does not hold; any other error (a connection, a file) kept the test from finding out.
        failed = isinstance(error, AssertionError) or type(error).__name__ == "Failed" or refuted
        reason = str(error) or type(error).__name__
        if type(error).__name__ == "FixtureLookupError":  # of pytest; its text is the tuple of its arguments
            reason = f"fixture {getattr(error, 'argname', '')!r} not found"
        return cls(tuple(context.results), phase, "failed" if failed else "error", reason)


# Environment variable with the process that runs the tests, and the folder for claims of other processes.
_CLAIMS = "ROBUSTEST_CLAIMS"
# Beginning of the name of that folder, and the file in it with the id of the running test.
_FOLDER, _TEST = "robustest-claims-", "test"

_numbers = count()
_lost: list[str] = []


@contextmanager
def followed() -> Iterator[None]:
    """Receive claims of other processes while tests run in this one."""
    before = os.environ.get(_CLAIMS)
    # Inside the folder of the process that started this one, such as pytest-xdist's, which outlives a killed worker.
    outer = (before or "").partition(":")[2]
    folder = tempfile.mkdtemp(prefix=_FOLDER, dir=outer if Path(outer).is_dir() and outer else None)
    os.environ[_CLAIMS] = f"{os.getpid()}:{folder}"
    try:
        with ancestors.marked(folder):
            yield
    finally:
        if before is None:
            os.environ.pop(_CLAIMS, None)
        else:
            os.environ[_CLAIMS] = before
        shutil.rmtree(folder, ignore_errors=True)


def lost_claims() -> list[str]:
    """Return sentences about claims that no test recorded, and forget them."""
    receive(None)
    found = list(_lost)
    _lost.clear()
    return found


def _run() -> tuple[int, Path] | None:
    """Return process and folder for claims of the run to which this process belongs; None if there is none."""
    owner, _, folder = os.environ.get(_CLAIMS, "").partition(":")
    if owner:
        return int(owner), Path(folder)
    found = ancestors.found(os.getpid())
    return None if found is None else (found[0], Path(found[1]))


def _foreign(context: Context) -> Path | None:
    """Return the folder for claims if the test runs in another process than this one, else None."""
    run = _run()
    if run is None:
        return None
    owner, folder = run
    home = owner if context.home is None else context.home[0]
    return folder if home != os.getpid() else None


@contextmanager
def announced(test: str) -> Iterator[None]:
    """Tell other processes, inside the block, that a test runs in this one."""
    run = _run()
    if run is None or run[0] != os.getpid() or not run[1].is_dir():
        yield
        return
    file = run[1] / _TEST
    file.write_text(test, encoding="utf-8", errors="replace")
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows: a line that comes too late for its test is reported as lost
        yield
        return
    # Otherwise a line could be written into a file that is being read and removed.
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _send(folder: Path, line: Mapping[str, object]) -> None:
    if not folder.is_dir():  # the run is over
        return
    with _alone(folder), (folder / f"{os.getpid()}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def receive(context: Context | None) -> None:
    """Read the new claims of other processes, for the running test or for none."""
    run = _run()
    if run is None or not run[1].is_dir():
        return
    folder = run[1]
    lines: list[dict[str, Any]] = []
    with _alone(folder):
        for file in sorted(folder.glob("*.jsonl")):
            whole = file.read_text(encoding="utf-8").rpartition("\n")[0]  # a killed process leaves half a line
            lines += [json.loads(line) for line in whole.split("\n") if line]
            file.unlink()
    for line in lines:
        if "refused" in line:
            if (session := plain_run.current_session()) is not None:
                session.refused.append(RefusedClaim(*line["refused"]))
            continue
        known = context is not None and line["test"] in ("", context.test)
        if context is None or not known:
            # The end of a claim that passed changes nothing.
            if "begun" not in line and line.get("error") is None and "result" not in line:
                continue
            of = f"of {line['test']}" if line["test"] else "of another process"
            _lost.append(f"a claim {of} came when its test had ended")
        elif "begun" in line:
            context.claims = True
            context.under_way[line["begun"]] = line["words"]
        elif "result" in line:
            context.claims = True
            context.results.append(Result.from_dict(line["result"]))
        else:
            words = context.under_way.pop(line["ended"], "a claim in another process")
            if (sent := line["error"]) is not None:
                raised: BaseException = RobustestError(f"{sent['name']}: {sent['message']}")
                if sent["result"] is not None:
                    raised = ClaimFailed(sent["message"], Result.from_dict(sent["result"]))
                context.apart.append(Apart(words, raised))


def begin(name: str) -> None:
    """Count the running test as a robustness test; in a run without --robust, end it as skipped.

    Args:
        name: function that claims or measures.

    Raises:
        OutsideTestError: pytest runs in this process, or in one that started it, and no test does.
    """
    __tracebackhide__ = True
    session = plain_run.session_outside()
    if session is not None and session.home == os.getpid():
        _refuse(name, session, None if session.written else session.refused.append)
    plain_run.claim()
    context = current()
    if (folder := _foreign(context)) is not None:
        # A process that was forked while a test ran claims for that test, which reports what comes too late.
        if not folder.is_dir():
            _refuse(name, None, None)
        elif context.home is None and not (folder / _TEST).exists():
            _refuse(name, None, lambda refused: _send(folder, {"refused": refused}))
    context.claims = True


def _refuse(
    name: str, session: plain_run.PytestSession | None, report: Callable[[RefusedClaim], object] | None
) -> NoReturn:
    """Refuse a claim outside of any test.

    Args:
        name: function that claims or measures.
        session: of this process; None in a process that a run has started.
        report: puts the refusal on the reports of the run; None if they are written.

    Raises:
        OutsideTestError: always.
    """
    __tracebackhide__ = True
    refused = refusal(name)
    text = refused.sentence(os.getcwd() if session is None else session.folder)
    outer = _outer_folder() if report is None and session is not None and session.worker else None
    if report is not None:
        report(refused)
        raise OutsideTestError(text)
    if outer is not None:  # the run of this worker goes on
        _send(outer, {"refused": refused})
        raise OutsideTestError(text)
    text = f"{text} pytest's reports were written before: this claim is in no report."
    sys.stderr.write(f"robustest: {inert(text)}\n")
    sys.stderr.flush()
    if session is not None and session.written and session is plain_run.current_session():
        session.late = True  # pytest still returns its exit code
    else:
        exit_in_error()
    raise OutsideTestError(text)


def _outer_folder() -> Path | None:
    """Return the folder for claims of the run that has started this run, or None."""
    run = _run()
    if run is None:
        return None
    folder = run[1].parent if run[0] == os.getpid() else run[1]
    return folder if folder.name.startswith(_FOLDER) and folder.is_dir() else None


@contextmanager
def claiming(kind: str) -> Iterator[None]:
    """Record the beginning and the end of a claim of this kind, in any thread, task or process."""
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
            plain = None
            if error is not None:
                result = error.result.to_dict() if isinstance(error, ClaimFailed) else None
                plain = {"name": type(error).__name__, "message": str(error), "result": result}
            _send(folder, {"test": context.test, "ended": number, "error": plain})
        return
    here = context.home is None or context.home[1] == threading.get_ident()
    words = f"{kind} in thread {thread.name!r}"
    number = f"{os.getpid()}-{next(_numbers)}"
    if not here:
        context.under_way[number] = words
    try:
        yield
    except BaseException as raised:
        # An error of the model or of the data: the claim could not be measured, so the test has not failed.
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
        elif _in_callback():
            context.apart.append(Apart(f"{kind} in a callback of an event loop", raised))
        raise
    finally:
        context.under_way.pop(number, None)


def _task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:  # no event loop runs here
        return None


def _in_callback() -> bool:
    """Return True inside a callback of a running loop, which logs its errors and raises them nowhere."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def still_claiming(context: Context) -> list[str]:
    """Return claims of a test that may still come: those that have not ended, or threads that can make one."""
    # A thread in no code that imports robustest (an idle worker of a pool, a monitor of a library) claims nothing.
    frames = sys._current_frames()
    named = [
        f"thread {one.name!r}"
        for one in context.threads
        if context.robust and one.is_alive() and _may_claim(frames.get(one.ident or 0))
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
    """Register a function that is called after the last test, or at the end of the process."""
    if not _endings:
        atexit.register(over)
    _endings.append(end)


def over() -> None:
    """Call the registered functions, the last one first."""
    while _endings:
        _endings.pop()()
    atexit.unregister(over)


_current: ContextVar[Context] = ContextVar("robustest_context")
_running: list[Context] = []


def current() -> Context:
    """Return the running test's context, or a fresh default one outside of a test."""
    # A thread without the context variable belongs to the test that began last.
    found = _current.get(None) or (_running[-1] if _running else None)
    if found is None and "IPython" in sys.modules and (progress := notebook_progress()) is not None:
        return Context(settings=replace(_DEFAULT, pictures=_notebook_pictures()), progress=progress)
    return found or Context()


@cache
def _notebook_pictures() -> str:
    """Return a folder for the pictures of results in a notebook, which embeds them; removed with the process."""
    folder = tempfile.mkdtemp(prefix="robustest-pictures-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


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
