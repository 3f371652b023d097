"""What the tests of a run recorded, and how they ended, wherever they ran; and whether anything was lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustest.account import Account, Row
from robustest.endings import Ending, Session
from robustest.results import Result


def ending_of(report: pytest.TestReport) -> Ending | None:
    """What a report says that its phase came to; None where that is nothing yet, as with a setup that passed."""
    phase = _phase(report)
    expected = getattr(report, "wasxfail", None)
    claimed = bool(getattr(report, "robustest_claimed", False))
    if report.outcome == "failed":
        measured = phase == "call" and not getattr(report, "robustest_unmeasured", "")
        outcome, reason = "failed" if measured else "error", _why(report)
    elif report.outcome == "skipped":
        outcome, reason = ("skipped", _why(report)) if expected is None else ("xfailed", str(expected))
    elif report.outcome == "passed" and phase == "call":
        outcome, reason = ("passed", "") if expected is None else ("xpassed", str(expected))
    else:
        return None
    if outcome == "skipped" and phase == "teardown":  # the test itself has ended by then
        return None
    return Ending(
        test=report.nodeid, phase=phase, outcome=outcome, reason=reason, claimed=claimed, replay=_replay(report)
    )


def _phase(report: pytest.TestReport) -> str:
    when = str(report.when)
    return "worker" if when == "???" else when  # pytest-xdist's word for a worker that died


def _why(report: pytest.TestReport) -> str:
    """The message of what was raised, without its traceback."""
    told: Any = report.longrepr
    if isinstance(told, tuple):  # file, line and message of a skip
        return str(told[-1]).removeprefix("Skipped: ")
    crash = getattr(told, "reprcrash", None)
    return str(getattr(crash, "message", told if told else ""))


def _replay(report: pytest.TestReport) -> str:
    return str(getattr(report, "robustest_replay", ""))


def _worker(report: pytest.TestReport) -> str:
    """The name of the worker that sent a report; empty where there are none."""
    node = getattr(report, "node", None)
    return "" if node is None else str(node.gateway.id)


class Ledger:
    """Rows and endings as they come in, and the count of what must come.

    A test is known by its id and the worker that ran it: with `--dist=each`, every worker runs every test.
    """

    def __init__(self) -> None:
        self._expected: dict[str, None] = {}
        self._robust: set[str] | None = None  # None while nobody has said which tests are
        self._phases: dict[tuple[str, str], dict[str, str]] = {}  # of each attempt, phase to outcome
        self._endings: dict[tuple[str, str], dict[Ending, None]] = {}  # of each attempt; subtests have one each
        self._uncollected: dict[Ending, None] = {}
        self._unwritten: dict[str, None] = {}  # files of tests, in sentences
        self._calls = True
        self._rows: dict[tuple[str, str], list[Row]] = {}
        self._announced: dict[tuple[str, str], int] = {}  # by tests, on their teardown reports
        self._places: dict[str, tuple[str, int]] = {}
        self._sent = self._arrived = 0  # by workers, when they went down; on reports
        self._repeated: dict[tuple[str, str], list[dict[str, Any]]] = {}  # of tests that were run again
        self._last: dict[tuple[str, str], Ending] = {}  # how each test's own call ended

    def expect(self, tests: list[str], *, calls: bool) -> None:
        """These tests must report; `calls` says whether they will be called, not only set up."""
        self._expected.update(dict.fromkeys(tests))
        self._calls = calls

    def worker_sent(self, count: int) -> None:
        """A worker says how many results its tests recorded."""
        self._sent += count

    def lost_claims(self, problems: Iterable[str]) -> None:
        """These claims were made where no test could record them, in sentences."""
        self._unwritten.update(dict.fromkeys(problems))

    def robust(self, tests: Iterable[str]) -> None:
        """These are robustness tests."""
        self._robust = (self._robust or set()).union(tests)

    def uncollected(self, name: str, reason: str) -> None:
        """A module or folder could not be collected; of pytest's text, the error at its end is kept."""
        lines = [line.removeprefix("E").strip() for line in reason.splitlines() if line.strip()]
        last = lines[-1] if lines else ""
        self._uncollected[Ending(test=name, phase="collect", outcome="error", reason=last, robust=False)] = None

    def take(self, report: pytest.TestReport) -> None:
        """Read a report of any test."""
        phase = _phase(report)
        key = report.nodeid, _worker(report)
        if phase == "setup":  # the first report of a test, or of another attempt at it
            self._phases.pop(key, None)
            for kept in (self._rows, self._endings, self._last):
                kept.pop(key, None)
        file, line, _ = report.location
        self._places[report.nodeid] = file, (line or 0) + 1
        self._phases.setdefault(key, {})[phase] = report.outcome
        if hasattr(report, "robustest_recorded"):
            self._announced[key] = report.robustest_recorded
        ending = ending_of(report)
        attempts = getattr(report, "robustest_attempts", None)
        if attempts is not None:
            self._repeated[key] = attempts
        if ending is not None and phase == "call":
            self._last[key] = ending
        if ending is not None:
            self._endings.setdefault(key, {})[ending] = None
        self._unwritten.update(dict.fromkeys(getattr(report, "robustest_unwritten", ())))
        results = getattr(report, "robustest_results", None)
        problem = getattr(report, "robustest_unmeasured", "")
        if results is None:
            return
        self._arrived += len(results)
        replay = _replay(report)
        rows = self._rows.setdefault(key, [])
        within = ending or Ending(test=report.nodeid, phase=phase, outcome="passed")
        rows += [
            Row(test=report.nodeid, result=Result.from_dict(r), problem="", replay=replay, ending=within)
            for r in results
        ]
        if problem:
            rows.append(Row(test=report.nodeid, result=None, problem=problem, replay=replay, ending=within))

    def _again(self) -> None:
        """Give each attempt at a test that was run again its rows and its ending, whatever reports of it came."""
        for key, attempts in self._repeated.items():
            test, last = key[0], self._last.get(key)
            last = None if last is None else last.but(attempt=len(attempts))
            replay = next((row.replay for row in self._rows.get(key, ()) if row.replay), "") or (
                last.replay if last else ""
            )
            unmeasured = [row for row in self._rows.get(key, ()) if row.result is None]
            endings: dict[Ending, None] = {}
            rows: list[Row] = []
            for number, one in enumerate(attempts, 1):
                if "outcome" in one:
                    ending = Ending(
                        test=test,
                        phase=one["phase"],
                        outcome=one["outcome"],
                        reason=one["reason"],
                        claimed=one["outcome"] != "passed",
                        replay=replay,
                        attempt=number,
                    )
                    endings[ending] = None
                else:
                    ending = last or Ending(test=test, phase="call", outcome="passed", attempt=number)
                rows += [
                    Row(test=test, result=Result.from_dict(result), problem="", replay=replay, ending=ending)
                    for result in one["results"]
                ]
            self._rows[key] = [*rows, *(replace(row, ending=last or row.ending) for row in unmeasured)]
            self._endings[key] = endings | {one.but(attempt=len(attempts)): None for one in self._endings.get(key, ())}
        self._repeated.clear()

    def account(
        self, status: int, *, stopped: str, collected: Sequence[str], deselected: Sequence[str], selection: str = ""
    ) -> Account:
        """What there is to tell, once the run is over.

        Args:
            status: pytest's exit status so far.
            stopped: why the run was stopped before its end; empty where it was not.
            collected: ids of all robustness tests, of other shards too.
            deselected: ids of those that were found and deselected.
            selection: what the command line selects by; empty where that is everything.
        """
        self._again()
        ran = self.tests()
        session = Session(
            exit=status,
            stopped=stopped,
            collected=len(collected),
            deselected=tuple(deselected),
            selection=selection,
            ran=sum(test in ran for test in collected),
        )
        account = Account(
            results=tuple(self.rows()), endings=tuple(self.endings(stopped=bool(stopped))), session=session
        )
        return account.lost_too((*(() if stopped else self.lost()), *self._unwritten))

    def tests(self) -> set[str]:
        """The tests that have reported."""
        return {test for test, _ in self._phases}

    def places(self, root: Path) -> dict[str, tuple[str, int]]:
        """File and line of each test that reported."""
        return {test: (str(root / file), line) for test, (file, line) in self._places.items()}

    def rows(self) -> list[Row]:
        """All rows of results, tests in the order of collection."""
        return [row for key in self._in_order(self._rows) for row in self._rows[key]]

    def endings(self, *, stopped: bool = False) -> list[Ending]:
        """How every robustness test ended, and every other that did not pass; in the order of collection.

        Args:
            stopped: whether the run was, so that what did not end is unfinished; it is lost otherwise.
        """
        found: dict[str, list[Ending]] = {test: [] for test in self._expected}
        for (test, _), ended in self._endings.items():
            found.setdefault(test, []).extend(ended)
        robust = found if self._robust is None else self._robust
        if stopped:
            attempts = self._attempts()
            for test in self._expected:
                if test not in robust:  # it is named only where it failed
                    continue
                phase = self._missing(attempts.get(test, ()))
                if phase and self._calls:
                    found[test].append(
                        Ending(test=test, phase=phase, outcome="unfinished", reason="the run was stopped")
                    )
        every = [one.but(robust=test in robust) for test, ones in found.items() for one in ones]
        return [*self._uncollected, *(one for one in every if one.robust or one.red)]

    def _attempts(self) -> dict[str, list[dict[str, str]]]:
        """The phases of each test that reported, by worker."""
        found: dict[str, list[dict[str, str]]] = {}
        for (test, _), phases in self._phases.items():
            found.setdefault(test, []).append(phases)
        return found

    def _missing(self, attempts: Sequence[Mapping[str, str]]) -> str:
        """The first phase of a test that did not report; empty where none is missing."""
        if not attempts:
            return "setup"
        if any(map(self._complete, attempts)):
            return ""
        return "call" if "call" not in attempts[-1] else "teardown"

    def _in_order(self, keys: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        order = {test: place for place, test in enumerate(self._expected)}
        return sorted(keys, key=lambda key: order.get(key[0], len(order)))

    def lost(self) -> list[str]:
        """What should have come and did not, in sentences; empty where all is complete."""
        attempts = self._attempts()
        problems = [f"no report came from {test}" for test in self._expected if test not in attempts]
        problems += [
            f"not every report came from {test}"
            for test in self._expected
            if not all(map(self._complete, attempts.get(test, ())))
        ]
        here = {key: sum(row.result is not None for row in rows) for key, rows in self._rows.items()}
        short = any(here.get(key, 0) < count for key, count in self._announced.items())
        if short or self._arrived < self._sent:
            recorded = max(sum(self._announced.values()), self._sent)
            problems.append(f"{recorded} results were recorded but {self._arrived} arrived")
        return problems

    def _complete(self, phases: Mapping[str, str]) -> bool:
        if "failed" in phases.values():
            return True
        called = "call" in phases or phases.get("setup") != "passed" or not self._calls
        return "setup" in phases and "teardown" in phases and called
