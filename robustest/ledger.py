"""What the tests of a run recorded, wherever they ran; and whether anything was lost on the way."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from robustest.context import Context
from robustest.errors import ClaimFailed, RobustestError
from robustest.results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One claim of one test, or a test that could not measure.

    Attributes:
        test: the test's node id.
        result: what was measured; None where nothing could be.
        problem: why nothing could be measured; empty otherwise.
        replay: the command that repeats the test.
    """

    test: str
    result: Result | None
    problem: str
    replay: str

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        result = None if self.result is None else self.result.to_dict()
        return {"test": self.test, "result": result, "problem": self.problem, "replay": self.replay}


def attach(
    report: pytest.TestReport,
    context: Context,
    excinfo: pytest.ExceptionInfo[BaseException] | None,
    *,
    properties: list[tuple[str, object]],
    short_traceback: bool,
) -> None:
    """Put what a test recorded on its report, as plain JSON types: reports cross process borders.

    Results ride on the report of the phase they were recorded in (setup's wait for the call); their number rides on
    the teardown's, so that a lost one is noticed. A claim's or our own error's traceback is cut to the user's frames
    where `short_traceback` is set: tensors printed as arguments explain nothing.

    Args:
        report: of any phase.
        context: the test's.
        excinfo: what the phase raised.
        properties: the item's, which later phases' reports copy; every result becomes one.
        short_traceback: whether to cut.
    """
    plain: Any = report
    if report.when == "teardown":
        plain.robustest_recorded = len(context.results)
    late = report.when == "teardown" and context.sent < len(context.results)
    if report.when == "call" or report.failed or late:
        rows = [result.to_dict() for result in context.results[context.sent :]]
        plain.robustest_results = rows
        plain.robustest_replay = context.replay(context.settings.seed)
        for number, row in enumerate(rows, context.sent + 1):
            short = {k: v for k, v in row.items() if k != "outcomes"}
            properties.append((f"robustest.{number}", json.dumps(short)))
        report.user_properties = list(properties)
        context.sent = len(context.results)
        if excinfo is not None and isinstance(excinfo.value, RobustestError):
            plain.robustest_unmeasured = f"{type(excinfo.value).__name__}: {excinfo.value}"
        if excinfo is not None and isinstance(excinfo.value, (RobustestError, ClaimFailed)) and short_traceback:
            report.longrepr = excinfo.getrepr(style="short", funcargs=False, tbfilter=_users_frames)


def _users_frames(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    own = Path(__file__).parent
    kept = excinfo.traceback.filter(lambda entry: not Path(str(entry.path)).is_relative_to(own))
    return type(kept)(kept[-1:]) if kept else excinfo.traceback


class Ledger:
    """Rows as they come in, and the count of what must come."""

    def __init__(self) -> None:
        self._expected: dict[str, None] = {}
        self._phases: dict[str, dict[str, str]] = {}  # of each test, phase to outcome
        self._calls = True
        self._rows: dict[str, list[Row]] = {}
        self._announced: dict[str, int] = {}  # by tests, on their teardown reports
        self._places: dict[str, tuple[str, int]] = {}
        self._sent = self._arrived = 0  # by workers, when they went down; on reports

    def expect(self, tests: list[str], *, calls: bool) -> None:
        """These tests must report; `calls` says whether they will be called, not only set up."""
        self._expected.update(dict.fromkeys(tests))
        self._calls = calls

    def worker_sent(self, count: int) -> None:
        """A worker says how many results its tests recorded."""
        self._sent += count

    def take(self, report: pytest.TestReport) -> None:
        """Read a report of any test."""
        test, phase = report.nodeid, str(report.when)
        if phase == "setup":  # the first report of a test, or of another attempt at it
            self._phases.pop(test, None)
            self._rows.pop(test, None)
        file, line, _ = report.location
        self._places[test] = file, (line or 0) + 1
        self._phases.setdefault(test, {})[phase] = report.outcome
        if hasattr(report, "robustest_recorded"):
            self._announced[test] = report.robustest_recorded
        results = getattr(report, "robustest_results", None)
        problem = getattr(report, "robustest_unmeasured", "")
        if results is None:
            return
        self._arrived += len(results)
        replay = str(getattr(report, "robustest_replay", ""))
        rows = self._rows.setdefault(test, [])
        rows += [Row(test=test, result=Result.from_dict(r), problem="", replay=replay) for r in results]
        if problem:
            rows.append(Row(test=test, result=None, problem=problem, replay=replay))

    def tests(self) -> set[str]:
        """The tests that have reported."""
        return set(self._phases)

    def places(self, root: Path) -> dict[str, tuple[str, int]]:
        """File and line of each test that reported."""
        return {test: (str(root / file), line) for test, (file, line) in self._places.items()}

    def rows(self) -> list[Row]:
        """All rows, tests in the order of collection."""
        order = {test: place for place, test in enumerate(self._expected)}
        tests = sorted(self._rows, key=lambda test: order.get(test, len(order)))
        return [row for test in tests for row in self._rows[test]]

    def lost(self) -> list[str]:
        """What should have come and did not, in sentences; empty where all is complete."""
        problems = [f"no report came from {test}" for test in self._expected if test not in self._phases]
        problems += [
            f"not every report came from {test}"
            for test in self._expected
            if test in self._phases and not self._complete(self._phases[test])
        ]
        here = {test: sum(row.result is not None for row in rows) for test, rows in self._rows.items()}
        short = any(here.get(test, 0) < count for test, count in self._announced.items())
        if short or self._arrived < self._sent:
            recorded = max(sum(self._announced.values()), self._sent)
            problems.append(f"{recorded} results were recorded but {self._arrived} arrived")
        return problems

    def _complete(self, phases: dict[str, str]) -> bool:
        if "failed" in phases.values():
            return True
        called = "call" in phases or phases.get("setup") != "passed" or not self._calls
        return "setup" in phases and "teardown" in phases and called


def update_baselines(rows: Sequence[Row]) -> None:
    """Write the outcomes of every claim that was measured for its baseline.

    Raises:
        StoreError: a file can be neither read nor written.
    """
    from robustest.store.baselines import BaselineEntry, write
    from robustest.store.provenance import commit, today

    entries: dict[str, dict[str, BaselineEntry]] = {}
    for row in rows:
        about = {} if row.result is None else row.result.details.get("baseline") or {}
        if row.result is None or not about.get("update"):
            continue
        result = row.result
        entries.setdefault(about["file"], {})[about["key"]] = BaselineEntry(
            test=row.test,
            statement=result.statement,
            quantity=result.quantity,
            outcomes=tuple(bool(held) for held in result.outcomes),
            data=result.data,
            model=result.model or None,
            seed=result.seed,
            method=result.method,
            setting=result.setting,
            date=today(),
            commit=commit(),
            estimate=result.estimate,
            interval=result.interval,
        )
    for file, made in entries.items():
        write(Path(file), made)
