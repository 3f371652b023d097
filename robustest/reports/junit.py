"""JUnit XML through junit-xml: one suite per test, one case per claim.

The file keeps to what Jenkins' xunit plugin admits (its junit-10.xsd), which GitLab and the test reporters on GitHub
read too: cases have no properties there, so the numbers are in each failure's text, and in properties of the suite.
"""

from __future__ import annotations

import json
import os
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from junit_xml import TestCase, TestSuite

from robustest.reports.states import RED, Reported, aside, state, without_result
from robustest.reports.text import failure_text, headline, measured
from robustest.results import LONG
from robustest.version import VERSION

_NO_XML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write, not even escaped, or advises against (section 2.2)."""


def write(path: str, rows: Sequence[Reported], lost: Sequence[str] = ()) -> None:
    """Write the file whole or not at all.

    Each suite's properties have the version, the command that repeats the test, and each claim's result as JSON under
    "robustest.1", "robustest.2" ... in the order of its cases, as `--junitxml` has them.

    Args:
        path: where to; folders are made.
        rows: one per claim and per other ending of a test, those of a test one after the other.
        lost: what did not arrive, in sentences; each becomes an error, so that the file is not green.
    """
    tests: dict[str, list[Reported]] = {}
    for row in rows:
        tests.setdefault(row.test, []).append(row)
    suites = [_suite(test, its) for test, its in tests.items()]
    if lost:
        suites.append(TestSuite("robustest: lost", [_case_of_lost(problem) for problem in lost]))
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    partial.write_bytes(_document(suites))
    partial.replace(target)


def _document(suites: Sequence[TestSuite]) -> bytes:
    root = ET.Element("testsuites", name="robustest")
    for suite in suites:
        element = suite.build_xml_doc()
        element.attrib.pop("disabled", None)  # junit-xml's own; the schema has no such attribute
        element.set("time", f"{float(element.get('time', 0)):.3f}")  # it knows no exponents either
        root.append(element)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(element.get(count, 0)) for element in root)))
    root.set("time", f"{sum(float(element.get('time', 0)) for element in root):.3f}")
    ET.indent(root, " ")
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def _xml(text: str) -> str:
    return _NO_XML.sub("", text)


def _suite(test: str, rows: Sequence[Reported]) -> TestSuite:
    properties = {"robustest.version": VERSION}
    if rows[0].replay:
        properties["robustest.replay"] = _xml(rows[0].replay)
    for number, row in enumerate((row for row in rows if row.result is not None), 1):
        if row.result is not None:
            short = {key: value for key, value in row.result.to_dict().items() if key not in LONG}
            properties[f"robustest.{number}"] = _xml(json.dumps(short))
    names: Counter[str] = Counter()
    cases = []
    for row in rows:
        case = _case(row)
        names[case.name] += 1
        if names[case.name] > 1:  # readers tell cases apart by class and name
            case.name = f"{case.name} ({names[case.name]})"
        cases.append(case)
    return TestSuite(_xml(test), cases, properties=properties)


def _case_of_lost(problem: str) -> TestCase:
    case = TestCase(_xml(problem), classname="robustest")
    case.add_error_info(message=_xml(problem), error_type="lost")
    return case


def _case(row: Reported) -> TestCase:
    verdict, result = state(row), row.result
    if result is None:
        case = TestCase(_case_name(row), classname=_classname(row.test))
        if verdict in RED:
            again = f"\nreplay: {row.replay}" if row.replay else ""
            _mark_red(case, verdict, next(iter(row.problem.splitlines()), "no reason was given"), row.problem + again)
    else:
        # A claim that passed has no message, and its name not what was measured and required: its output does.
        words = None if verdict in RED else _xml(measured(result))
        where = {"classname": _classname(row.test), "elapsed_sec": result.cost.seconds}
        case = TestCase(_xml(result.statement), **where, stdout=words)
        if verdict in RED:
            _mark_red(case, verdict, headline(result), failure_text(result, replay=row.replay))
    case.name = f"{case.name}{f' (attempt {row.ending.attempt})' if row.ending and row.ending.attempt else ''}"
    if verdict in ("xfailed", "skipped", "rerun", "tolerated"):  # what is no failure, and no pass either
        case.add_skipped_info(message=_xml(aside(row) or without_result(row)))
    return case


def _case_name(row: Reported) -> str:
    ending = row.ending
    if ending is None or (ending.claimed and ending.outcome == "error"):
        return "could not measure"
    return f"the test's {ending.phase}"


def _mark_red(case: TestCase, verdict: str, message: str, output: str) -> None:
    add = case.add_error_info if verdict in ("error", "unfinished") else case.add_failure_info
    kind = "error_type" if verdict in ("error", "unfinished") else "failure_type"
    add(message=_xml(message), output=_xml(output), **{kind: verdict})


def _classname(test: str) -> str:
    """A test's id with dots, as pytest's own file has it: readers cut the package off at the last one.

    Dots of parameters become underscores, or the cut would go through them.
    """
    name, bracket, parameters = test.partition("[")
    dotted = name.replace(".py::", ".").replace("::", ".").replace("/", ".")
    return _xml(dotted + bracket + parameters.replace(".", "_"))
