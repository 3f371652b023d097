"""The ledger of a run: results and endings as pytest reports them, in this process or through pytest-xdist."""

# A test announces on its teardown report the number of results it recorded, and a worker does so when it ends. The
# ledger counts the results that arrive against both numbers, and the tests that reported against those that must. A
# difference turns the run red.

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from robustest.account import Account, Ending, Row, Session
from robustest.results import Result

Attempt = tuple[str, str]
"""Node id of a test and name of its worker: with `--dist=each` every worker runs every test."""


def ending_of(report: pytest.TestReport) -> Ending | None:
    """Return the ending that a report announces; None for a report without one, such as a setup that passed."""
    phase = _phase(report)
    expected = getattr(report, "wasxfail", None)
    longrepr: Any = report.longrepr
    if isinstance(longrepr, tuple):  # file, line and message of a skip
        why = str(longrepr[-1]).removeprefix("Skipped: ")
    else:  # the message of the exception, without its traceback
        why = str(getattr(getattr(longrepr, "reprcrash", None), "message", longrepr if longrepr else ""))
        why = _missing_fixture(why) if why.startswith("file ") else why
    if report.outcome == "failed":
        # Only a call whose claim was measured can fail; everything else is an error, which says nothing about the
        # model.
        measured = phase == "call" and not getattr(report, "robustest_unmeasured", "")
        outcome, reason = "failed" if measured else "error", why
    elif report.outcome == "skipped":
        outcome, reason = ("skipped", why) if expected is None else ("xfailed", str(expected))
    elif report.outcome == "passed" and phase == "call":
        outcome, reason = ("passed", "") if expected is None else ("xpassed", str(expected))
    else:
        return None
    if outcome == "skipped" and phase == "teardown":  # the test itself has ended by then
        return None
    claimed = bool(getattr(report, "robustest_claimed", False))
    return Ending(
        test=report.nodeid, phase=phase, outcome=outcome, reason=reason, claimed=claimed, replay=_replay(report)
    )


def _missing_fixture(text: str) -> str:
    marked = [line.lstrip("E> ") for line in text.splitlines() if line.startswith(("E  ", ">  "))]
    if not marked:
        return text
    missing, there = marked[0], marked[1].partition(": ")[2].split(", ") if len(marked) > 1 else []
    near = difflib.get_close_matches(missing.partition("'")[2].partition("'")[0], there, n=1)
    return f"{missing}. {f'Did you mean {near[0]!r}?' if near else 'Define it in conftest.py.'}"


def _phase(report: pytest.TestReport) -> str:
    when = str(report.when)
    return "worker" if when == "???" else when  # pytest-xdist's name for a worker that died


def _replay(report: pytest.TestReport) -> str:
    return str(getattr(report, "robustest_replay", ""))


class Ledger:
    """Rows and endings as they arrive, and the counts that they are checked against."""

    def __init__(self) -> None:
        self._expected: dict[str, None] = {}
        self._robust: set[str] | None = None  # None until the collection is known
        self.claiming: dict[str, None] = {}  # tests that reported a claim, declared or not
        self._calls = True
        self._phases: dict[Attempt, dict[str, str]] = {}  # phase to outcome
        self._endings: dict[Attempt, dict[Ending, None]] = {}  # several for a test with subtests
        self._uncollected: dict[Ending, None] = {}
        self._problems: dict[str, None] = {}  # files not written, claims outside of any test
        self._rows: dict[Attempt, list[Row]] = {}
        self._announced: dict[Attempt, int] = {}  # by tests, on their teardown reports
        self._sent = self._arrived = 0  # results: announced by workers, and arrived
        self._places: dict[str, tuple[str, int]] = {}
        self._repeated: dict[Attempt, list[dict[str, Any]]] = {}  # attempts of tests that ran again
        self._calls_ended: dict[Attempt, Ending] = {}

    def expect(self, tests: list[str], *, calls: bool) -> None:
        """Add tests that must report; `calls` is False if they are only set up."""
        self._expected.update(dict.fromkeys(tests))
        self._calls = calls

    def add_robust(self, tests: Iterable[str]) -> None:
        self._robust = (self._robust or set()).union(tests)

    def add_sent(self, count: int) -> None:
        self._sent += count

    def add_problems(self, problems: Iterable[str]) -> None:
        self._problems.update(dict.fromkeys(problems))

    def add_uncollected(self, name: str, reason: str) -> None:
        lines = [line.removeprefix("E").strip() for line in reason.splitlines() if line.strip()]
        # pytest marks lines of the error with "E"; the last one is the error itself.
        last = lines[-1] if lines else ""
        self._uncollected[Ending(test=name, phase="collect", outcome="error", reason=last, robust=False)] = None

    def add_outside(self, place: str, reason: str, file: str, line: int) -> None:
        """Add a claim that was refused as no test made it.

        Args:
            place: "file:line", as reports show it.
            reason: the sentence about it.
            file: absolute path of the caller.
            line: line of the call, from 1.
        """
        ending = Ending(test=place, phase="session", outcome="error", reason=reason)
        self._uncollected[ending] = None
        self._places[place] = file, line

    def add_skipped(self, name: str, reason: str) -> None:
        """Add a file or folder with robustness tests that was skipped whole."""
        self._uncollected[Ending(test=name, phase="collect", outcome="skipped", reason=reason)] = None

    def take(self, report: pytest.TestReport) -> None:
        phase = _phase(report)
        node = getattr(report, "node", None)
        key = report.nodeid, "" if node is None else str(node.gateway.id)
        if phase == "setup":  # the first report of a test, or of another attempt at it
            kept: dict[Attempt, Any]
            for kept in (self._phases, self._rows, self._endings, self._calls_ended):
                kept.pop(key, None)
        file, line, _ = report.location
        self._places[report.nodeid] = file, (line or 0) + 1
        self._phases.setdefault(key, {})[phase] = report.outcome
        if hasattr(report, "robustest_recorded"):
            self._announced[key] = report.robustest_recorded
        if hasattr(report, "robustest_claimed"):
            self.claiming[report.nodeid] = None
        if (attempts := getattr(report, "robustest_attempts", None)) is not None:
            self._repeated[key] = attempts
        ending = ending_of(report)
        if ending is not None:
            self._endings.setdefault(key, {})[ending] = None
            if phase == "call":
                self._calls_ended[key] = ending
        self.add_problems(getattr(report, "robustest_unwritten", ()))
        results = getattr(report, "robustest_results", None)
        if results is None:
            return
        self._arrived += len(results)
        replay = _replay(report)
        within = ending or Ending(test=report.nodeid, phase=phase, outcome="passed")
        rows = self._rows.setdefault(key, [])
        rows += [Row(report.nodeid, Result.from_dict(one), "", replay, within) for one in results]
        if problem := getattr(report, "robustest_unmeasured", ""):
            rows.append(Row(report.nodeid, None, problem, replay, within))

    def account(
        self,
        status: int,
        *,
        stopped: str,
        collected: Sequence[str],
        deselected: Sequence[str],
        selection: str = "",
        files_left_out: int = 0,
    ) -> Account:
        """Return the account of the run, once it is over.

        Args:
            stopped: reason why the run was stopped before its end; else empty.
            collected: ids of all robustness tests, also of other shards.
            selection: arguments of the command line that select tests.
            files_left_out: number of files of tests that these arguments leave out.
        """
        self._expand_attempts()
        ran = self.tests()
        session = Session(
            exit=status,
            stopped=stopped,
            collected=len(collected),
            deselected=tuple(deselected),
            selection=selection,
            files_left_out=files_left_out,
            ran=sum(test in ran for test in collected),
        )
        account = Account(
            results=tuple(self.rows()), endings=tuple(self.endings(stopped=bool(stopped))), session=session
        )
        return account.with_lost((*(() if stopped else self.lost()), *self._problems))

    def _expand_attempts(self) -> None:
        for key, attempts in self._repeated.items():
            test, last = key[0], self._calls_ended.get(key)
            last = None if last is None else replace(last, attempt=len(attempts))
            # Plugins that repeat tests send the reports of some attempts, of others, or of none; the last report of a
            # test has all attempts.
            before = self._rows.get(key, [])
            replay = next((row.replay for row in before if row.replay), "") or (last.replay if last else "")
            endings: dict[Ending, None] = {}
            rows: list[Row] = []
            for number, one in enumerate(attempts, 1):
                if "outcome" in one:  # an earlier attempt; the last one has its ending on pytest's report
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
                rows += [Row(test, Result.from_dict(result), "", replay, ending) for result in one["results"]]
            rows += [replace(row, ending=last or row.ending) for row in before if row.result is None]
            self._rows[key] = rows
            for ending in self._endings.get(key, ()):
                endings[replace(ending, attempt=len(attempts))] = None
            self._endings[key] = endings
        self._repeated.clear()

    def tests(self) -> set[str]:
        return {test for test, _ in self._phases}

    def places(self, root: Path) -> dict[str, tuple[str, int]]:
        return {test: (str(root / file), line) for test, (file, line) in self._places.items()}

    def rows(self) -> list[Row]:
        order = {test: place for place, test in enumerate(self._expected)}
        keys = sorted(self._rows, key=lambda key: order.get(key[0], len(order)))
        return [row for key in keys for row in self._rows[key]]

    def endings(self, *, stopped: bool = False) -> list[Ending]:
        """Return the endings of robustness tests, and of other tests that did not pass, in the order of collection.

        Args:
            stopped: True if the run was stopped: tests without an ending are then unfinished, not lost.
        """
        found: dict[str, list[Ending]] = {test: [] for test in self._expected}
        for (test, _), ended in self._endings.items():
            found.setdefault(test, []).extend(ended)
        robust = {*found} if self._robust is None else self._robust.union(self.claiming)
        if stopped and self._calls:
            phases = self._phases_by_test()
            for test in self._expected:
                if test not in robust or any(map(self._complete, phases.get(test, ()))):
                    continue
                attempts = phases.get(test)
                phase = "setup" if not attempts else "call" if "call" not in attempts[-1] else "teardown"
                reason = "the run was stopped"
                found[test].append(Ending(test=test, phase=phase, outcome="unfinished", reason=reason))
        every = [replace(one, robust=test in robust) for test, ones in found.items() for one in ones]
        return [*self._uncollected, *(one for one in every if one.robust or one.red)]

    def lost(self) -> list[str]:
        """Return the reports and results that did not arrive, in sentences."""
        phases = self._phases_by_test()
        problems = [f"no report came from {test}" for test in self._expected if test not in phases]
        problems += [
            f"not every report came from {test}"
            for test in self._expected
            if not all(map(self._complete, phases.get(test, ())))
        ]
        here = {key: sum(row.result is not None for row in rows) for key, rows in self._rows.items()}
        short = any(here.get(key, 0) < count for key, count in self._announced.items())
        if short or self._arrived < self._sent:
            recorded = max(sum(self._announced.values()), self._sent)
            problems.append(f"{recorded} results were recorded but {self._arrived} arrived")
        return problems

    def _phases_by_test(self) -> dict[str, list[dict[str, str]]]:
        found: dict[str, list[dict[str, str]]] = {}
        for (test, _), phases in self._phases.items():
            found.setdefault(test, []).append(phases)
        return found

    def _complete(self, phases: Mapping[str, str]) -> bool:
        if "failed" in phases.values():
            return True
        called = "call" in phases or phases.get("setup") != "passed" or not self._calls
        return "setup" in phases and "teardown" in phases and called
