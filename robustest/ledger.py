"""What the tests of a run recorded, wherever they ran; and whether anything was lost on the way."""

from __future__ import annotations

import json
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
    short_traceback: bool,
) -> None:
    """Put what a test recorded on its report, as plain JSON types: reports cross process borders.

    Results ride on the report of the phase in which the test ends its work (the call, or a setup that
    failed); their number rides on the teardown's, so that a lost one is noticed. A claim's or our own error's traceback
    is cut to the user's frames where `short_traceback` is set: tensors printed as arguments explain nothing.
    """
    plain: Any = report
    if report.when == "teardown":
        plain.robustest_recorded = len(context.results)
    elif report.when == "call" or (report.when == "setup" and report.failed):
        rows = [result.to_dict() for result in context.results]
        plain.robustest_results = rows
        plain.robustest_replay = context.replay(context.settings.seed)
        for number, row in enumerate(rows, 1):
            short = {k: v for k, v in row.items() if k != "outcomes"}
            report.user_properties.append((f"robustest.{number}", json.dumps(short)))
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
        self._ended: set[str] = set()
        self._rows: dict[str, list[Row]] = {}
        self._announced = 0  # by tests, on their teardown reports
        self._sent = 0  # by workers, when they went down

    def expect(self, tests: list[str]) -> None:
        """These tests must report."""
        self._expected.update(dict.fromkeys(tests))

    def worker_sent(self, count: int) -> None:
        """A worker says how many results its tests recorded."""
        self._sent += count

    def take(self, report: pytest.TestReport) -> None:
        """Read a report of any test."""
        if report.when == "teardown" or report.failed:
            self._ended.add(report.nodeid)
        self._announced += getattr(report, "robustest_recorded", 0)
        results = getattr(report, "robustest_results", None)
        problem = getattr(report, "robustest_unmeasured", "")
        if results is None:
            return
        replay = str(getattr(report, "robustest_replay", ""))
        rows = [Row(test=report.nodeid, result=Result.from_dict(r), problem="", replay=replay) for r in results]
        if problem:
            rows.append(Row(test=report.nodeid, result=None, problem=problem, replay=replay))
        self._rows[report.nodeid] = rows

    def rows(self) -> list[Row]:
        """All rows, tests in the order of collection."""
        order = {test: place for place, test in enumerate(self._expected)}
        tests = sorted(self._rows, key=lambda test: order.get(test, len(order)))
        return [row for test in tests for row in self._rows[test]]

    def lost(self) -> list[str]:
        """What should have come and did not, in sentences; empty where all is complete."""
        missing = [test for test in self._expected if test not in self._ended]
        problems = [f"no report came from {test}" for test in missing]
        arrived = sum(row.result is not None for rows in self._rows.values() for row in rows)
        recorded = max(self._announced, self._sent)
        if arrived < recorded:
            problems.append(f"{recorded} results were recorded but {arrived} arrived")
        return problems
