"""What there is to tell of a run: results, how the tests ended, what was lost; and the rows that reports show of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robustest import extensions
from robustest.endings import Ending, Session, meaning
from robustest.errors import RobustestError
from robustest.extensions import Section
from robustest.reports.picture_paths import rebased
from robustest.reports.states import red
from robustest.results import Result, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One claim of one test, or what else became of a test.

    Attributes:
        test: the test's node id.
        result: what was measured; None where nothing was.
        problem: why nothing was; empty otherwise.
        replay: the command that repeats the test.
        ending: what the phase came to that this was recorded in; None where that is not known.
    """

    test: str
    result: Result | None
    problem: str
    replay: str
    ending: Ending | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        result = None if self.result is None else self.result.to_dict()
        ending = None if self.ending is None else self.ending.to_dict()
        return {"test": self.test, "result": result, "problem": self.problem, "replay": self.replay, "ending": ending}


_OTHERS = "other tests"
"""Where rows say the name of a test: what failed beside the robustness tests."""

_MOST_NAMED = 10


def told(rows: Sequence[Row], endings: Sequence[Ending], session: Session | None, lost: Sequence[str]) -> list[Row]:
    """All that a report has to tell: the rows of results, and what they do not tell of how the tests ended.

    So a report that shows these rows, each with its `state`, is red where pytest is.

    Args:
        rows: of results, in the order of collection.
        endings: of all tests, in the order of collection.
        session: what pytest said of the run; None where that is not known.
        lost: what did not arrive, in sentences.
    """
    of: dict[str, list[Row]] = {}
    for row in rows:
        of.setdefault(row.test, []).append(row)
    untold: dict[str, list[Row]] = {}
    others: list[Ending] = []
    for ending in dict.fromkeys(endings):
        here = of.setdefault(ending.test, [])
        if not ending.robust and not here:
            others += [ending] if ending.red else []
        elif not _told_by(ending, here):
            row = Row(test=ending.test, result=None, problem=ending.reason, replay=ending.replay, ending=ending)
            untold.setdefault(ending.test, []).append(row)
    order = dict.fromkeys(ending.test for ending in endings) | dict.fromkeys(of)
    every = [row for test in order for row in (*of.get(test, ()), *untold.get(test, ()))]
    every += [_of_others(others)] if others else []
    if session is not None and not lost and _unexplained(session, every):
        every.append(_of_session(session))
    return every


def _told_by(ending: Ending, rows: Sequence[Row]) -> bool:
    """Whether rows of results tell a test's ending already."""
    here = [row for row in rows if row.ending == ending]
    if ending.outcome == "passed":
        return True
    if ending.outcome == "xpassed":
        return any(row.result is not None for row in here)
    broken = (row.result is None or row.result.verdict is not Verdict.PASSED for row in here)
    return ending.claimed and any(broken)


def _of_others(endings: Sequence[Ending]) -> Row:
    named = [f"{ending.test} ({ending.phase}: {_first(ending.reason)})" for ending in endings]
    more = [f"and {len(named) - _MOST_NAMED} more"] if len(named) > _MOST_NAMED else []
    count = f"{len(named)} did not pass" if len(named) > 1 else "one did not pass"
    problem = f"{count}: {', '.join([*named[:_MOST_NAMED], *more])}"
    ending = Ending(test=_OTHERS, phase="session", outcome="error", reason=problem, robust=False)
    return Row(test=_OTHERS, result=None, problem=problem, replay="", ending=ending)


def _first(text: str) -> str:
    return next((line for line in text.splitlines() if line.strip()), "no reason was given")


def _unexplained(session: Session, rows: Iterable[Row]) -> bool:
    """Whether pytest's exit status is red, and no row is; one that says more than "a test failed" is always told."""
    if session.exit == 1:
        return not any(map(red, rows))
    return session.exit not in (0, 5)


def _of_session(session: Session) -> Row:
    why = f" ({session.stopped})" if session.stopped else ""
    problem = f"pytest ended with exit code {session.exit}: {meaning(session.exit)}{why}"
    ending = Ending(test="pytest", phase="session", outcome="error", reason=problem, robust=False)
    return Row(test="pytest", result=None, problem=problem, replay="", ending=ending)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What there is to tell of a run.

    Attributes:
        results: one row a claim, or a test that could not measure, in the order of collection.
        endings: how every robustness test ended, and every other that did not pass.
        session: what pytest said of the run; None where that is not known.
        lost: what did not arrive or could not be written, in sentences; with any the run is not green.
        sections: what packs say below the claims.
    """

    results: tuple[Row, ...]
    endings: tuple[Ending, ...]
    session: Session | None
    lost: tuple[str, ...] = ()
    sections: tuple[Section, ...] = ()

    @property
    def rows(self) -> list[Row]:
        """All that a report shows: see `told`."""
        return told(self.results, self.endings, self.session, self.lost)

    @property
    def left_out(self) -> dict[str, str]:
        """Return the robustness tests that were found and deselected, in a line; empty where none was."""
        text = "" if self.session is None else self.session.left_out
        return {"deselected": text} if text else {}

    def pictured(self, start: Callable[[str], Path], to: Path) -> Account:
        """The account with its pictures named from another folder.

        Args:
            start: the folder that the pictures' paths of a test begin at.
            to: the folder that they are to begin at.
        """
        results = tuple(
            row if row.result is None else replace(row, result=rebased(row.result, start(row.test), to))
            for row in self.results
        )
        return replace(self, results=results)

    def lost_too(self, problems: Iterable[str]) -> Account:
        """The account of a run that lost something more: pytest ends as after an internal error."""
        lost = tuple(dict.fromkeys((*self.lost, *problems)))
        if lost == self.lost:
            return self
        session = replace(self.session or Session(exit=3), exit=3)
        return replace(self, lost=lost, session=session)

    def sectioned(self) -> Account:
        """The account with the sections of packs; one that cannot be made is lost, and the run is not green."""
        results = tuple(row.result for row in self.results if row.result is not None)
        if not results:
            return self
        try:
            made = extensions.all_of("robustest_sections", Section, results=results)
        except RobustestError as error:
            return self.lost_too([f"the sections of packs could not be made: {error}"])
        return replace(self, sections=tuple(section for _, section in made))

    def ended(self, status: int) -> Account:
        """The account of a run that pytest ended with another exit status."""
        return replace(self, session=replace(self.session or Session(exit=status), exit=int(status)))


def put(account: Account, what: str, path: str, write: Callable[[], object]) -> Account:
    """Write a file of a report; where that fails, no verdict is lost: the account says so, and is not green.

    Args:
        account: the run's.
        what: the file in words.
        path: where it goes.
        write: writes it.
    """
    try:
        write()
    except OSError as error:
        return account.lost_too([f"{what} could not be written to {path}: {error.strerror or error}"])
    except Exception as error:  # a report that cannot be made must not take the others with it
        return account.lost_too([f"{what} could not be made at {path}: {type(error).__name__}: {error}"])
    return account
