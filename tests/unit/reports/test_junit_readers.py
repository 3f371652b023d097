"""JUnit XML as others see it: a schema after Jenkins' own, and a reader."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import junit_xml
import pytest

from robustest import Cost
from robustest.reports.junit import write

SCHEMA = Path(__file__).with_name("junit.xsd")


@pytest.fixture
def path(tmp_path: Path, made: Any, early: Any, row: Any) -> Path:
    """A file with all there can be: every verdict, an error, a lost result, hostile names, times that are almost 0."""
    hostile = 'test_a.py::test[<&"]]>\x00\x1b\ud800-猫]'
    rows = [
        row(
            "test_a.py::test_one", made("passed", cost=Cost(seconds=1e-9)), replay="pytest --robust test_a.py::test_one"
        ),
        row("test_a.py::test_one", early()),
        row("test_a.py::test_two", made("inconclusive")),
        row("test_a.py::test_three", made("inconclusive", threshold=None)),
        row(hostile, made(statement=hostile, notes=(hostile,)), replay=hostile),
        row("test_a.py::test_broken", None, problem="ModelError: NaN\nmore"),
    ]
    write(str(tmp_path / "junit.xml"), rows, ["no report came from test_b.py::test_x"])
    return tmp_path / "junit.xml"


def valid(document: bytes) -> bool:
    etree = pytest.importorskip("lxml.etree", reason="lxml checks the schema")
    return bool(etree.XMLSchema(etree.parse(str(SCHEMA))).validate(etree.fromstring(document)))


def test_the_file_keeps_to_the_schema(path: Path, tmp_path: Path) -> None:
    assert valid(path.read_bytes())
    write(str(tmp_path / "empty.xml"), [])
    assert valid((tmp_path / "empty.xml").read_bytes())


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda root: root.set("disabled", "0"), "an attribute that junit-xml writes"),
        (lambda root: root[0].set("time", "1e-05"), "a time with an exponent"),
        (lambda root: root[0].attrib.pop("errors"), "a suite without its count"),
        (lambda root: root[0][-1].append(root[0][0]), "properties of a case"),
        (lambda root: root[0].set("tests", "two"), "a count in words"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_schema_refuses_what_readers_stumble_over(path: Path, change: Any, what: str) -> None:
    root = ET.parse(path).getroot()  # noqa: S314 - our own file
    change(root)
    assert not valid(ET.tostring(root)), what


def test_what_junit_xml_writes_by_itself_would_not_do() -> None:
    """The reason why the document is put together here."""
    suite = junit_xml.TestSuite("t", [junit_xml.TestCase("c", elapsed_sec=1e-5)])
    assert not valid(junit_xml.to_xml_report_string([suite], prettyprint=False).encode())


def test_a_reader_sees_the_same_counts_and_texts(path: Path) -> None:
    junitparser = pytest.importorskip("junitparser", reason="junitparser is the reader")
    suites = list(junitparser.JUnitXml.fromfile(str(path)))
    assert [(suite.name.partition("[")[0], suite.tests, suite.failures, suite.errors) for suite in suites] == [
        ("test_a.py::test_one", 2, 1, 0),
        ("test_a.py::test_two", 1, 1, 0),
        ("test_a.py::test_three", 1, 0, 0),
        ("test_a.py::test", 1, 1, 0),
        ("test_a.py::test_broken", 1, 0, 1),
        ("robustest: lost", 1, 0, 1),
    ]
    first, second = suites[0]
    assert first.is_passed
    (failure,) = second.result
    assert failure.type == "failed"
    assert "measured  accuracy in [0.125, 0.375], required >= 0.90; n=5 of 8" in failure.text
    (error,) = next(iter(suites[4])).result
    assert isinstance(error, junitparser.Error)
    assert error.message == "ModelError: NaN"
