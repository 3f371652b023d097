"""JUnit XML: one suite per test, one case per claim."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, parse

import pytest

from robustest import Cost, Result, __version__
from robustest.reports.junit import write
from robustest.reports.text import failure_text
from robustest.results import LONG


@pytest.fixture
def results(made: Any) -> list[Result]:
    """Passed, failed and inconclusive."""
    return [
        made("passed", estimate=0.95, interval=(0.9, 1.0)),
        made("failed"),
        made("inconclusive", estimate=0.9, interval=(0.8, 0.95), rule="population, alpha = 0.01 a side"),
    ]


def written(tmp_path: Path, rows: list[Any], lost: tuple[str, ...] = ()) -> list[Element]:
    path = tmp_path / "deep" / "junit.xml"
    write(str(path), rows, lost)
    assert [file.name for file in path.parent.iterdir()] == ["junit.xml"]
    return parse(path).getroot().findall("testsuite")  # noqa: S314 - our own file


def test_tests_are_suites_and_claims_are_cases(tmp_path: Path, results: list[Result], row: Any) -> None:
    rows = [row("a.py::one", results[0]), row("a.py::one", results[1]), row("a.py::two", results[2])]
    suites = written(tmp_path, rows)
    assert [suite.get("name") for suite in suites] == ["a.py::one", "a.py::two"]
    assert [suite.get("tests") for suite in suites] == ["2", "1"]
    assert [suite.get("failures") for suite in suites] == ["1", "1"]
    names = [case.get("name") for suite in suites for case in suite.findall("testcase")]
    assert names == [results[0].subject.statement, f"{results[1].subject.statement} (2)", results[2].subject.statement]


def test_only_what_passed_is_no_failure(tmp_path: Path, results: list[Result], row: Any) -> None:
    (suite,) = written(tmp_path, [row("t", result, replay="pytest --robust t") for result in results])
    passed, failed, open_ = suite.findall("testcase")
    assert passed.find("failure") is None
    for case, result in ((failed, results[1]), (open_, results[2])):
        failure = case.find("failure")
        assert failure is not None
        assert failure.get("type") == str(result.verdict)
        assert f"{result.estimate:.3f}" in failure.get("message", "")
        assert f"{result.ruling.threshold:.2f}" in failure.get("message", "")
        assert failure.text == failure_text(result, replay="pytest --robust t")


def test_a_failures_text_alone_tells_claim_value_interval_n_and_threat(tmp_path: Path, early: Any, row: Any) -> None:
    (suite,) = written(tmp_path, [row("t", early(), replay="pytest --robust t")])
    failure = suite.find("testcase/failure")
    assert failure is not None
    lines = (failure.text or "").splitlines()
    assert "  claim     robust accuracy under Linf(eps=0.1), fast" in lines
    assert "  measured  accuracy in [0.125, 0.375], required >= 0.90; n=5 of 8" in lines
    assert "  threat    Linf(eps=0.1)" in lines
    assert "  verdict   failed (alpha = 0.01 after 5 of 8)" in lines
    assert "  replay    pytest --robust t" in lines


def test_what_could_not_be_measured_is_an_error(tmp_path: Path, row: Any) -> None:
    (suite,) = written(tmp_path, [row("t", None, problem="ModelError: NaN\nmore"), row("t", None)])
    first, second = suite.findall("testcase")
    error = first.find("error")
    assert error is not None
    assert error.get("message") == "ModelError: NaN"
    assert error.text == "ModelError: NaN\nmore"
    assert second.find("error") is not None
    assert suite.get("errors") == "2"


def test_what_was_lost_is_an_error_too(tmp_path: Path, results: list[Result], row: Any) -> None:
    suites = written(tmp_path, [row("t", results[0])], ("no report came from test_b.py::test_x",))
    (case,) = suites[1].findall("testcase")
    error = case.find("error")
    assert error is not None
    assert error.get("message") == "no report came from test_b.py::test_x"
    assert [suite.get("errors") for suite in suites] == ["0", "1"]


def test_properties_of_a_suite_carry_every_number_of_its_claims(
    tmp_path: Path, results: list[Result], row: Any
) -> None:
    (suite,) = written(tmp_path, [row("t", result, replay="pytest --robust t") for result in results])
    properties = {p.get("name"): p.get("value", "") for p in suite.findall("properties/property")}
    assert properties["robustest.version"] == __version__
    assert properties["robustest.replay"] == "pytest --robust t"
    told = [json.loads(properties[f"robustest.{number}"]) for number in (1, 2, 3)]
    assert [
        {**one, **{name: result.to_dict()[name] for name in LONG}} for one, result in zip(told, results, strict=True)
    ] == [result.to_dict() for result in results]


@pytest.mark.parametrize(
    ("test", "classname"),
    [
        ("tests/unit/test_a.py::test_it", "tests.unit.test_a.test_it"),
        ("test_a.py::TestK::test_it", "test_a.TestK.test_it"),
        ("test_a.py::test_it[Linf-0.5/255]", "test_a.test_it[Linf-0_5/255]"),
    ],
)
def test_classes_are_named_as_pytest_names_them(
    tmp_path: Path, results: list[Result], row: Any, test: str, classname: str
) -> None:
    (suite,) = written(tmp_path, [row(test, results[0])])
    (case,) = suite.findall("testcase")
    assert case.get("classname") == classname


def test_names_may_hold_anything(tmp_path: Path, made: Any, row: Any) -> None:
    """Parameters of tests come with quotes, markup and control characters; claims may too."""
    hostile = 't[<a & "b">]]>-\x01\ud800\ufffe-猫]'
    (suite,) = written(tmp_path, [row(hostile, made(statement=hostile, setting=hostile), replay=hostile)])
    kept = 't[<a & "b">]]>--猫]'
    assert suite.get("name") == kept
    assert suite.findall("testcase")[0].get("name") == kept
    failure = suite.find("testcase/failure")
    assert failure is not None
    assert f"  claim     {kept}" in (failure.text or "").splitlines()


def test_nothing_measured_is_a_file_too(tmp_path: Path) -> None:
    assert written(tmp_path, []) == []


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 0.25, 123456.789], ids=str)
def test_times_have_no_exponent(tmp_path: Path, made: Any, row: Any, seconds: float) -> None:
    (suite,) = written(tmp_path, [row("t", made(cost=Cost(seconds=seconds)))] * 2)
    assert suite.get("time") == f"{2 * seconds:.3f}"


def test_the_whole_adds_up(tmp_path: Path, results: list[Result], row: Any) -> None:
    rows = [row("a", result) for result in results] + [row("b", None, problem="ModelError: NaN")]
    write(str(tmp_path / "j.xml"), rows, ["one is lost"])
    root = parse(tmp_path / "j.xml").getroot()  # noqa: S314 - our own file
    assert {k: root.get(k) for k in ("tests", "failures", "errors", "time")} == {
        "tests": "5",
        "failures": "2",
        "errors": "2",
        "time": "4.500",
    }
