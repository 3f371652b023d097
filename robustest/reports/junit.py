"""JUnit XML through junit-xml: one suite per test, one case per claim."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from junit_xml import TestCase, TestSuite, to_xml_report_string

from robustest.reports.terminal import Reported
from robustest.reports.text import claimed, failure_text, measured
from robustest.results import Verdict


def write(path: str, rows: Sequence[Reported]) -> None:
    """Write the file whole or not at all.

    Args:
        path: where to; folders are made.
        rows: one per claim, those of a test one after the other.
    """
    suites: dict[str, list[TestCase]] = {}
    for row in rows:
        suites.setdefault(row.test, []).append(_case(row))
    text = to_xml_report_string([TestSuite(test, cases) for test, cases in suites.items()])
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def _case(row: Reported) -> TestCase:
    if row.result is None:
        case = TestCase("could not measure", classname=row.test)
        case.add_error_info(message=row.problem.splitlines()[0], output=row.problem)
        return case
    result = row.result
    case = TestCase(result.statement, classname=row.test, elapsed_sec=result.cost.seconds)
    if result.verdict is not Verdict.PASSED:
        message = f"{result.verdict}: {measured(result)}, claimed {claimed(result)}"
        case.add_failure_info(
            message=message, output=failure_text(result, replay=row.replay), failure_type=str(result.verdict)
        )
    return case
