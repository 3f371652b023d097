"""The account of a run: the ending of each test, the measurement of each claim, and the results that were lost."""

# pytest decides the outcome of a test, a claim the measured value. A `Row` holds both, and its `state` is the one
# word that the terminal, the page, JUnit, the summary, `show` and `merge` print and count. `Account.rows` adds a row
# for every ending that no claim explains. So a report that shows all rows is red if pytest is, and a run that lost a
# result is never green.

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustest import extensions
from robustest.errors import RobustestError, expected
from robustest.extensions import Section
from robustest.results import Result, Verdict

OUTCOMES = ("failed", "error", "unfinished", "xfailed", "skipped", "rerun", "xpassed", "passed")
"""Outcomes of a phase of a test, worst first.

- error: the failure is outside the test's own call, or robustest could not measure.
- unfinished: the run was stopped before the phase.
- xfailed, xpassed: a marker expected a failure, and it occurred or did not. A strict marker makes xpassed a failure.
- rerun: an attempt that did not pass, of a test that holds by the rule over all its attempts.
"""

PHASES = ("collect", "setup", "call", "teardown", "worker", "session")
"""Phases of a test; "worker" is a process of pytest-xdist that was lost, "session" the whole run."""

STATES = (
    "failed",
    "error",
    "unfinished",
    "inconclusive",
    "tolerated",
    "xfailed",
    "skipped",
    "rerun",
    "xpassed",
    "measured",
    "passed",
)
"""States of a row, worst first: the outcomes and three more.

- inconclusive: the samples do not decide the claim.
- tolerated: the claim failed, and its test caught the failure and passed.
- measured: a value was measured and nothing was claimed.
"""

RED = frozenset({"failed", "error", "unfinished", "inconclusive"})
"""States and outcomes that keep a run from being green."""

EXPLAINED = RED | {"tolerated"}
"""States for which reports print the evidence and the replay command."""

# Characters of a reason that are kept.
_LONGEST = 4_000
# Tests that one line names; the JSON file names all.
_MOST_NAMED = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """The outcome of one phase of a test."""

    test: str  # node id of the test, or of a module that could not be collected
    phase: str  # one of `PHASES`
    outcome: str  # one of `OUTCOMES`
    reason: str = ""  # pytest's explanation; empty for a pass
    robust: bool = True
    claimed: bool = False  # True if a claim, or an error while measuring one, caused the outcome
    replay: str = ""  # command that repeats the test; may be empty
    attempt: int = 0  # number of the attempt, from 1; 0 for a test that ran once

    def __post_init__(self) -> None:
        if self.phase not in PHASES:
            raise ValueError(expected(f"a phase among {', '.join(PHASES)}", self.phase))
        if self.outcome not in OUTCOMES:
            raise ValueError(expected(f"an outcome among {', '.join(OUTCOMES)}", self.outcome))
        if self.attempt < 0:
            raise ValueError(expected("attempt of an ending to be 0 or more", self.attempt))
        if len(self.reason) > _LONGEST:
            object.__setattr__(self, "reason", f"{self.reason[: _LONGEST - 1]}…")

    @property
    def red(self) -> bool:
        return self.outcome in RED


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """pytest's summary of the whole run."""

    exit: int  # pytest's exit status
    stopped: str = ""  # reason why the run was stopped before its end; else empty
    collected: int = 0  # number of robustness tests found
    # ids of the robustness tests that were deselected (-k, -m, --lf, ids on the command line ...)
    deselected: tuple[str, ...] = ()
    ran: int = 0  # number of robustness tests set up, in this run or this shard
    selection: str = ""  # arguments of the command line that select tests, as typed; may be empty
    # number of files of tests that were not collected, as they lie outside of the files and folders that it names
    files_left_out: int = 0

    @property
    def left_out(self) -> str:
        """A line that names the deselected robustness tests; may be empty."""
        count = len(self.deselected)
        if not count:
            return ""
        by = f" by {self.selection}" if self.selection else ""
        more = f", and {count - _MOST_NAMED} more" if count > _MOST_NAMED else ""
        tests = "one robustness test" if count == 1 else f"{count} robustness tests"
        return f"{tests} deselected{by}: {', '.join(self.deselected[:_MOST_NAMED])}{more}"


_EXIT_CODES = {
    1: "something failed that no test is named for",
    2: "the run was interrupted, or a module could not be collected",
    3: "an internal error, or results were lost",
    4: "wrong command-line usage",
    5: "no test ran",
    6: "more warnings than allowed",
}


def exit_reason(status: int) -> str:
    """Return one of pytest's exit codes in words."""
    return _EXIT_CODES.get(status, "a plugin, or pytest.exit(), gave that code")


@dataclass(frozen=True, slots=True)
class Row:
    """One claim of one test, or an ending of a test that no claim explains."""

    test: str  # node id of the test
    result: Result | None  # the measurement, or None
    problem: str = ""  # reason why there is no result; else empty
    replay: str = ""  # command that repeats the test
    ending: Ending | None = None  # ending of the phase that recorded the result; None if unknown

    @property
    def state(self) -> str:
        """One of `STATES`; without an ending it follows from the verdict alone."""
        outcome = None if self.ending is None else self.ending.outcome
        result = self.result
        if result is None:
            return "error" if outcome in (None, "passed") else str(outcome)
        # A measurement without an assertion has no requirement to meet.
        if result.outcome == "measured":
            return "measured"
        if result.verdict is Verdict.PASSED:
            return "xpassed" if outcome == "xpassed" else "passed"
        # pytest's outcome comes before the verdict: a failure that a marker expected is neither a failure nor a pass.
        if outcome in ("xfailed", "skipped", "rerun"):
            return str(outcome)
        return "tolerated" if outcome in ("passed", "xpassed") else str(result.verdict)

    @property
    def red(self) -> bool:
        return self.state in RED


def first_line(text: str) -> str:
    """Return the first line that is not blank, or a placeholder."""
    return next((line for line in text.splitlines() if line.strip()), "no reason was given")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """All that reports show of a run."""

    results: tuple[Row, ...]  # one row for each claim, or test that could not measure, in the order of collection
    endings: tuple[Ending, ...]  # endings of all robustness tests, and of every other test that did not pass
    session: Session | None  # pytest's summary; None if unknown
    # results that did not arrive and files that could not be written, in sentences; the run is then not green
    lost: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()  # sections of packs, shown below the claims
    service: str = ""  # part of the repository that the run is of; "" for the whole

    @property
    def rows(self) -> list[Row]:
        """The rows of results, and a row for each ending that no result explains, in the order of collection."""
        by_test: dict[str, list[Row]] = {}
        for row in self.results:
            by_test.setdefault(row.test, []).append(row)
        further: dict[str, list[Row]] = {}
        others: list[Ending] = []
        for ending in dict.fromkeys(self.endings):
            here = by_test.setdefault(ending.test, [])
            if not ending.robust and not here:
                others += [ending] if ending.red else []
            elif not _explained(ending, here):
                row = Row(ending.test, None, ending.reason, ending.replay, ending)
                further.setdefault(ending.test, []).append(row)
        order = dict.fromkeys(ending.test for ending in self.endings) | dict.fromkeys(by_test)
        rows = [row for test in order for row in (*by_test.get(test, ()), *further.get(test, ()))]
        if others:
            # Failures of tests that are no robustness tests share one row, so that they are red without hiding the
            # claims.
            named = [f"{one.test} ({one.phase}: {first_line(one.reason)})" for one in others]
            more = [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
            count = f"{len(named)} did not pass" if len(named) > 1 else "one did not pass"
            rows.append(_session_row("other tests", f"{count}: {', '.join([*named[:_MOST_NAMED], *more])}"))
        session = self.session
        if session is not None and not self.lost:
            # Exit code 1 only says that a test failed; every other red code says more than any row. That no test ran
            # needs no row where there is none.
            quiet = (0,) if self.results else (0, 5)
            missing = not any(row.red for row in rows) if session.exit == 1 else session.exit not in quiet
            if missing:
                why = session.stopped if session.stopped and session.exit == 2 else exit_reason(session.exit)
                stopped = f" ({session.stopped})" if session.stopped and why != session.stopped else ""
                text = f"pytest ended with exit code {session.exit}: {why}{stopped}"
                rows.append(_session_row("pytest", text))
        return rows

    @property
    def left_out(self) -> str:
        """A line that names the deselected robustness tests; may be empty."""
        return "" if self.session is None else self.session.left_out

    def with_pictures_from(self, start: Callable[[str], Path], to: Path) -> Account:
        """Return the account with its paths of pictures made relative to the folder `to`.

        Args:
            start: maps a test to the folder that its paths are relative to now.
            to: the new folder.
        """
        results = tuple(
            row if row.result is None else replace(row, result=_rebased(row.result, start(row.test), to))
            for row in self.results
        )
        return replace(self, results=results)

    def with_lost(self, problems: Iterable[str]) -> Account:
        """Return the account with further losses; pytest's exit status becomes that of an internal error."""
        lost = tuple(dict.fromkeys((*self.lost, *problems)))
        if lost == self.lost:
            return self
        return replace(self, lost=lost, session=replace(self.session or Session(exit=3), exit=3))

    def with_exit(self, status: int) -> Account:
        return replace(self, session=replace(self.session or Session(exit=status), exit=int(status)))

    def with_sections(self) -> Account:
        """Return the account with the sections of packs; a section that raises counts as lost."""
        results = tuple(row.result for row in self.results if row.result is not None)
        if not results:
            return self
        try:
            made = extensions.all_of("robustest_sections", Section, results=results)
        except RobustestError as error:
            return self.with_lost([f"the sections of packs could not be made: {error}"])
        return replace(self, sections=tuple(section for _, section in made))

    def with_file(self, what: str, path: str, write: Callable[[], object]) -> Account:
        """Write one file of a report, and return the account with the problem if that fails.

        Args:
            what: the file in words.
            path: its place, for the message.
            write: function that writes it.
        """
        try:
            write()
        except OSError as error:
            return self.with_lost([f"{what} could not be written to {path}: {error.strerror or error}"])
        except Exception as error:  # one report that cannot be made must not take the others with it
            return self.with_lost([f"{what} could not be made at {path}: {type(error).__name__}: {error}"])
        return self


def _explained(ending: Ending, rows: Sequence[Row]) -> bool:
    if ending.outcome == "passed":
        return True
    here = [row for row in rows if row.ending == ending]
    if ending.outcome == "xpassed":
        return any(row.result is not None for row in here)
    return ending.claimed and any(row.result is None or row.result.verdict is not Verdict.PASSED for row in here)


def _session_row(test: str, problem: str) -> Row:
    return Row(
        test, None, problem, "", Ending(test=test, phase="session", outcome="error", reason=problem, robust=False)
    )


def _rebased(result: Result, start: Path, to: Path) -> Result:
    """Return a result with its paths of pictures, relative to `start`, made relative to `to`."""
    if os.path.abspath(start) == os.path.abspath(to):
        return result

    def moved(image: str) -> str:
        try:
            return Path(os.path.relpath(start / image, to)).as_posix()
        except ValueError:  # another drive, or a path with a NUL in it
            return image

    worst = tuple(one if one.image is None else replace(one, image=moved(one.image)) for one in result.counterexamples)
    details: Mapping[str, Any] = result.details
    sheets = details.get("pictures")
    if isinstance(sheets, (list, tuple)):
        paths = [
            {**one, "image": moved(one["image"])}
            if isinstance(one, Mapping) and isinstance(one.get("image"), str)
            else one
            for one in sheets
        ]
        details = {**details, "pictures": paths}
    return result.but(counterexamples=worst, details=details)
