"""JUnit XML through junit-xml: one suite for each test, one case for each claim."""

# The schema is that of Jenkins' xunit plugin (junit-10.xsd), which GitLab and GitHub's test reporters read too.

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from junit_xml import TestCase, TestSuite

from robustest.account import RED, Row, first_line
from robustest.reports.text import failure_text, measured, row_remark, row_without_result
from robustest.results import LONG
from robustest.safe_files import write_atomic
from robustest.version import VERSION

# Characters that XML 1.0 cannot write, even escaped, or advises against (section 2.2).
_NO_XML = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufdcf\ufdf0-\ufffd\U00010000-\U0010ffff]")


def write(path: str, rows: Sequence[Row], lost: Sequence[str] = ()) -> None:
    """Write the file whole or not at all; folders are made.

    Args:
        rows: rows of the account; rows of one test are adjacent.
        lost: losses in sentences; each becomes an error, so that the file is not green.
    """
    tests: dict[str, list[Row]] = {}
    for row in rows:
        tests.setdefault(row.test, []).append(row)
    suites = [_suite(test, its) for test, its in tests.items()]
    if lost:
        cases = [TestCase(_xml(problem), classname="robustest") for problem in lost]
        for case, problem in zip(cases, lost, strict=True):
            case.add_error_info(message=_xml(problem), error_type="lost")
        suites.append(TestSuite("robustest: lost", cases))
    root = ET.Element("testsuites", name="robustest")
    for suite in suites:
        element = suite.build_xml_doc()
        element.attrib.pop("disabled", None)  # junit-xml's own; the schema has no such attribute
        element.set("time", f"{float(element.get('time', 0)):.3f}")  # nor has it exponents
        root.append(element)
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(element.get(count, 0)) for element in root)))
    root.set("time", f"{sum(float(element.get('time', 0)) for element in root):.3f}")
    ET.indent(root, " ")
    write_atomic(Path(path), bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True)))


def _xml(text: str) -> str:
    return _NO_XML.sub("", text)


def _suite(test: str, rows: Sequence[Row]) -> TestSuite:
    # Cases have no properties in the schema, so those of the suite hold each result, in the order of the cases, as in
    # pytest's `--junitxml`.
    properties = {"robustest.version": VERSION}
    if rows[0].replay:
        properties["robustest.replay"] = _xml(rows[0].replay)
    results = [row.result for row in rows if row.result is not None]
    for number, result in enumerate(results, 1):
        short = {key: value for key, value in result.to_dict().items() if key not in LONG}
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


def _case(row: Row) -> TestCase:
    state, result, ending = row.state, row.result, row.ending
    # A test's id with dots, as in pytest's own file: readers cut the package off at the last dot, so dots of
    # parameters become underscores.
    name, bracket, parameters = row.test.partition("[")
    dotted = name.replace(".py::", ".").replace("::", ".").replace("/", ".")
    classname = _xml(dotted + bracket + parameters.replace(".", "_"))
    if result is None:
        name = "could not measure"
        if ending is not None and not (ending.claimed and ending.outcome == "error"):
            name = f"the test's {ending.phase}"
        # A test that failed by itself is no claim: its case is named by the phase that failed.
        case = TestCase(name, classname=classname)
        again = f"\nreplay: {row.replay}" if row.replay else ""
        message, output = first_line(row.problem), row.problem + again
    else:
        # The name of a claim has neither value nor requirement. A claim that passed has no message, so its output has.
        words = None if state in RED else _xml(measured(result))
        name = _xml(result.subject.statement)
        case = TestCase(name, classname=classname, elapsed_sec=result.cost.seconds, stdout=words)
        message, output = result.headline, failure_text(result, replay=row.replay)
    # An "error" is a missing measurement, a "failure" a claim that does not hold or is undecided. Both make the suite
    # red.
    if state in ("error", "unfinished"):
        case.add_error_info(message=_xml(message), output=_xml(output), error_type=state)
    elif state in RED:
        case.add_failure_info(message=_xml(message), output=_xml(output), failure_type=state)
    elif state in ("xfailed", "skipped", "rerun", "tolerated"):  # neither a failure nor a pass
        case.add_skipped_info(message=_xml(row_remark(row) or row_without_result(row)))
    if ending is not None and ending.attempt:
        # Each attempt of a flaky test is another case; the same name would hide all but one.
        case.name = f"{case.name} (attempt {ending.attempt})"
    return case
