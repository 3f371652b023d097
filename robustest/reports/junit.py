"""JUnit XML through junit-xml: one suite per test, one case per claim."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from junit_xml import TestCase, TestSuite, to_xml_report_string

from robustest.reports.terminal import Reported
from robustest.reports.text import claimed, failure_text, measured
from robustest.results import Verdict

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write, not even escaped (section 2.2)."""


def write(path: str, rows: Sequence[Reported], lost: Sequence[str] = ()) -> None:
    """Write the file whole or not at all.

    Args:
        path: where to; folders are made.
        rows: one per claim, those of a test one after the other.
        lost: what did not arrive, in sentences; each becomes an error, so that the file is not green.
    """
    suites: dict[str, list[TestCase]] = {}
    for row in rows:
        suites.setdefault(row.test, []).append(_case(row))
    if lost:
        suites["robustest: lost"] = [_lost(problem) for problem in lost]
    text = to_xml_report_string([TestSuite(_xml(test), cases) for test, cases in suites.items()])
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    partial.write_text(text, encoding="utf-8")
    partial.replace(target)


def _xml(text: str) -> str:
    return _NO_XML.sub("", text)


def _lost(problem: str) -> TestCase:
    case = TestCase(_xml(problem), classname="robustest")
    case.add_error_info(message=_xml(problem), error_type="lost")
    return case


def _case(row: Reported) -> TestCase:
    if row.result is None:
        case = TestCase("could not measure", classname=_xml(row.test))
        case.add_error_info(message=_xml(row.problem.splitlines()[0]), output=_xml(row.problem))
        return case
    result = row.result
    case = TestCase(_xml(result.statement), classname=_xml(row.test), elapsed_sec=result.cost.seconds)
    if result.verdict is not Verdict.PASSED:
        message = f"{result.verdict}: {measured(result)}, claimed {claimed(result)}"
        case.add_failure_info(
            message=message, output=_xml(failure_text(result, replay=row.replay)), failure_type=str(result.verdict)
        )
    return case
