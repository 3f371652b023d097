"""--robust-junit: JUnit XML with one suite per test and one case per claim."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Callable

import pytest

CLAIMS = """
    def test_two(robust_model, robust_data):
        claim(robust_model, robust_data, 0.01, at_least=1.0)
        claim(robust_model, robust_data, 0.1, at_least=0.6)

    def test_open(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.5, scope="population")

    def test_breaks(robust_model, robust_data):
        claim(lambda x: robust_model(x) * float("nan"), robust_data, 0.1, at_least=0.5)

    def test_plain(): pass
"""


@pytest.fixture
def junit_of(project, run) -> Callable[..., ET.Element]:
    def _junit(*args: str) -> ET.Element:
        run("--robust", "--robust-junit=out.xml", *args)
        return ET.parse(project.path / "out.xml").getroot()  # noqa: S314 - our own file

    return _junit


def test_there_is_one_suite_per_test_and_one_case_per_claim(write, junit_of):
    write(test_a=CLAIMS)
    root = junit_of()
    assert root.tag == "testsuites"
    cases = {suite.get("name"): [case.get("name") for case in suite.iter("testcase")] for suite in root}
    assert cases == {
        "test_a.py::test_two": [
            "robust accuracy under Linf(eps=0.01), fgsm",
            "robust accuracy under Linf(eps=0.1), fgsm",
        ],
        "test_a.py::test_open": ["robust accuracy under Linf(eps=0.1), fgsm"],
        "test_a.py::test_breaks": ["could not measure"],
    }


def test_the_counts_tell_failures_from_errors(write, junit_of):
    write(test_a=CLAIMS)
    root = junit_of()
    counts = {suite.get("name"): [suite.get(k) for k in ("tests", "failures", "errors", "skipped")] for suite in root}
    assert counts == {
        "test_a.py::test_two": ["2", "1", "0", "0"],
        "test_a.py::test_open": ["1", "1", "0", "0"],
        "test_a.py::test_breaks": ["1", "0", "1", "0"],
    }
    assert [root.get(k) for k in ("tests", "failures", "errors")] == ["4", "2", "1"]


def test_a_failure_carries_claim_value_interval_n_threat_and_replay(write, junit_of):
    write(test_a=CLAIMS)
    root = junit_of()
    held, failed = root.findall("testsuite[@name='test_a.py::test_two']/testcase")
    assert [part.tag for part in held] == ["system-out"]
    assert str(held.findtext("system-out")).endswith(", required >= 1.00; n=32")
    (failure,) = failed
    told = "robust accuracy 0.500 [0.290, 0.710] after attack (true value at most 0.710), required >= 0.60"
    assert (failure.tag, failure.get("type")) == ("failure", "failed")
    assert failure.get("message") == "robust accuracy 0.500 < 0.60 under Linf(eps=0.1), fgsm"
    lines = (failure.text or "").splitlines()
    assert "  claim     robust accuracy under Linf(eps=0.1), fgsm" in lines
    assert f"  measured  {told}; n=32" in lines
    assert "  threat    Linf(eps=0.1)" in lines
    (replay,) = [line for line in lines if line.startswith("  replay    pytest --robust ")]
    assert replay.endswith(" test_a.py::test_two")


def test_an_open_claim_is_a_failure_of_its_own_type_and_a_broken_run_an_error(write, junit_of):
    write(test_a=CLAIMS)
    root = junit_of()
    (failure,) = root.find("testsuite[@name='test_a.py::test_open']/testcase")
    assert (failure.tag, failure.get("type")) == ("failure", "inconclusive")
    (error,) = root.find("testsuite[@name='test_a.py::test_breaks']/testcase")
    assert error.tag == "error"
    assert error.get("message").startswith("ModelError: ")
    assert error.text.startswith("ModelError: ")


@pytest.mark.parametrize(
    "dropped", ["", r"\x00\x08\x0b\x1b\x7f", r"\ud800", r"\ufffe"], ids=["none", "control", "surrogate", "no character"]
)
def test_hostile_characters_are_escaped_or_dropped(write_light, junit_of, dropped):
    write_light(
        test_a=f"""
        from robustest.errors import ClaimFailed

        @pytest.mark.parametrize("x", [1], ids=["<&\\"'>]]>"])
        def test_it(robust, x):
            hostile = "<&>\\"']]> {dropped}\u00e9\u4e2d\U0001f600"
            robust.record(made("failed", statement=hostile, setting=hostile, notes=(hostile,)))
            raise ClaimFailed(hostile, made("failed"))
        """
    )
    kept = "<&>\"']]> \u00e9\u4e2d\U0001f600"
    (suite,) = junit_of()
    assert suite.get("name") == "test_a.py::test_it[<&\"'>]]>]"
    (case,) = suite.iter("testcase")
    assert case.get("name") == kept
    (failure,) = case
    assert f"  claim     {kept}" in failure.text.splitlines()
    assert f"  note      {kept}" in failure.text.splitlines()


def test_without_claims_the_file_is_there_and_empty(write, junit_of):
    write(test_a="def test_plain(): pass")
    assert list(junit_of()) == []
