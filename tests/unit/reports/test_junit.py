"""JUnit XML: one suite per test, one case per claim."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, parse

import pytest

from robustest import Result, measure_shift_accuracy
from robustest.reports.junit import write


@dataclass
class Row:
    test: str
    result: Result | None
    problem: str = ""
    replay: str = ""


@pytest.fixture
def results(toy: Any) -> list[Result]:
    """Passed, failed and inconclusive."""
    return [
        measure_shift_accuracy(toy.model, (toy.x, toy.y), "gaussian_noise", severity=5, at_least=value, claim=claim)
        for value, claim in ((0.0, "set"), (1.0, "set"), (0.8, "population"))
    ]


def written(tmp_path: Path, rows: list[Row]) -> list[Element]:
    path = tmp_path / "deep" / "junit.xml"
    write(str(path), rows)
    assert [file.name for file in path.parent.iterdir()] == ["junit.xml"]
    return parse(path).getroot().findall("testsuite")  # noqa: S314 - our own file


def test_tests_are_suites_and_claims_are_cases(tmp_path: Path, results: list[Result]) -> None:
    rows = [Row("a.py::one", results[0]), Row("a.py::one", results[1]), Row("a.py::two", results[2])]
    suites = written(tmp_path, rows)
    assert [suite.get("name") for suite in suites] == ["a.py::one", "a.py::two"]
    assert [suite.get("tests") for suite in suites] == ["2", "1"]
    assert [suite.get("failures") for suite in suites] == ["1", "1"]
    names = [case.get("name") for suite in suites for case in suite.findall("testcase")]
    assert names == [result.statement for result in results]
    assert all(case.get("classname") == suite.get("name") for suite in suites for case in suite.findall("testcase"))


def test_only_what_passed_is_no_failure(tmp_path: Path, results: list[Result]) -> None:
    assert [str(result.verdict) for result in results] == ["passed", "failed", "inconclusive"]
    (suite,) = written(tmp_path, [Row("t", result, replay="pytest --robust t") for result in results])
    passed, failed, open_ = suite.findall("testcase")
    assert passed.find("failure") is None
    for case, result in ((failed, results[1]), (open_, results[2])):
        failure = case.find("failure")
        assert failure is not None
        assert failure.get("type") == str(result.verdict)
        assert f"{result.estimate:.3f}" in failure.get("message", "")
        assert f">= {result.threshold:g}" in failure.get("message", "")
        assert "pytest --robust t" in (failure.text or "")


def test_what_could_not_be_measured_is_an_error(tmp_path: Path) -> None:
    (suite,) = written(tmp_path, [Row("t", None, problem="ModelError: NaN\nmore")])
    (case,) = suite.findall("testcase")
    error = case.find("error")
    assert error is not None
    assert error.get("message") == "ModelError: NaN"
    assert error.text == "ModelError: NaN\nmore"
    assert suite.get("errors") == "1"


def test_names_may_hold_anything(tmp_path: Path, results: list[Result]) -> None:
    """Parameters of tests come with quotes, markup and control characters."""
    (suite,) = written(tmp_path, [Row('t[<a & "b">-\x01-猫]', results[0])])
    assert suite.get("name", "").startswith('t[<a & "b">-')
    assert suite.get("name", "").endswith("-猫]")


def test_nothing_measured_is_a_file_too(tmp_path: Path) -> None:
    assert written(tmp_path, []) == []
