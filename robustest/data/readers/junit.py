"""JUnit XML of pytest and other runners: a test case passed, failed, or was skipped."""

# A case that is there several times, and the reruns that Surefire writes into it (`rerunFailure`, `flakyFailure`), are
# runs of one item. The metric is "passed"; numbers that a test records as properties (pytest's `record_property`) are
# further metrics.

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from robustest.data.readers.document import Document
from robustest.data.readers.remedies import Mendable
from robustest.data.readers.table import Format, Scores, Table, columns_of
from robustest.errors import DataError

_COMMAND = "pytest --junitxml={path}"
_RERUNS = ("rerunFailure", "rerunError", "flakyFailure", "flakyError")


def _recognises(document: Document) -> bool:
    return document.kind == "xml" and "<testsuite" in document.text


def _read(document: Document, _: Mapping[str, Any]) -> Table:
    command = _COMMAND.format(path=document.path)
    # An XML file may declare another encoding than UTF-8 in its first line; its text is decoded by the parser.
    text = document.text
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        # Entities may expand to gigabytes, and no test runner writes any.
        raise Mendable(
            DataError(f"Expected JUnit XML without a document type in {document.path} but it has one."), command=command
        )
    rows: list[dict[str, Any]] = []
    scores = Scores()
    for suite in _suites(document, text):
        cases = suite.findall("testcase")
        announced = suite.get("tests") or ""
        if announced.isdigit() and int(announced) > len(cases) and not suite.findall("testsuite"):
            document.damage = document.damage or (
                f"Expected {announced} test cases in a suite of {document.path}, as it says, but got {len(cases)}: "
                "not whole."
            )
        for case in cases:
            _add(case, rows, scores)
    if not rows:
        raise Mendable(
            DataError(f"{document.damage or f'Expected test cases in {document.path} but there are none.'}"),
            command=command,
        )
    return Table(columns=columns_of(rows), scores=scores.by_metric, metric="passed")


class _Builder(ElementTree.TreeBuilder):
    """Builds a document and keeps the test cases that have ended, should it be cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.cases: list[ElementTree.Element] = []

    def end(self, tag: str) -> ElementTree.Element:
        element = super().end(tag)
        if tag == "testcase":
            self.cases.append(element)
        return element


def _suites(document: Document, text: str) -> list[ElementTree.Element]:
    """Return the suites of a document; for one that is cut off, a suite of the cases that are whole."""
    builder = _Builder()
    parser = ElementTree.XMLParser(target=builder)  # noqa: S314 - entities are refused above
    try:
        # The declaration of an encoding is of the bytes, and this is text.
        parser.feed(re.sub(r"^\s*<\?xml[^>]*\?>", "", text))
        root = parser.close()
    except ElementTree.ParseError as error:
        document.damage = f"Expected whole JUnit XML in {document.path} but it is damaged or cut off: {error}."
        cases = ElementTree.Element("testsuite")
        cases.extend(builder.cases)
        return [cases]
    return list(root.iter("testsuite"))


def _add(case: ElementTree.Element, rows: list[dict[str, Any]], scores: Scores) -> None:
    bad = next((child for child in case if child.tag in ("failure", "error")), None)
    skipped = case.find("skipped") is not None
    values: dict[str, Any] = {"passed": None if skipped else float(bad is None)}
    for one in case.iter("property"):
        try:
            values[str(one.get("name"))] = float(one.get("value", ""))
        except ValueError:
            continue
    item = {"item": f"{case.get('classname', '')}::{case.get('name', '')}"}
    reruns = [child for child in case if child.tag in _RERUNS]
    for rerun in reruns:
        rows.append({**item, "answer": rerun.get("message") or ""})
        scores.add({"passed": 0.0})
    rows.append({**item, "answer": (bad.get("message") or "") if bad is not None else ""})
    scores.add(values)


JUNIT = Format(_recognises, _read, "JUnit XML", command=_COMMAND)
