"""pytest's own --junitxml carries the numbers, in the failure's text and as properties."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import Any

import pytest

CLAIMS = """
    def test_two(robust_model, robust_data):
        claim(robust_model, robust_data, 0.01, at_least=1.0)
        claim(robust_model, robust_data, 0.1, at_least=0.6)

    def test_plain(): pass
"""


@pytest.fixture
def case_of(project, write, run):
    """The testcase element of a test, from a run in which every warning is an error."""

    def _case(name: str, *args: str) -> ET.Element:
        write(test_a=CLAIMS)
        result = run("--robust", "--junitxml=out.xml", *args)
        result.assert_outcomes(failed=1, passed=1, warnings=0)
        root = ET.parse(project.path / "out.xml").getroot()  # noqa: S314 - our own file
        (case,) = root.findall(f".//testcase[@name='{name}']")
        return case

    return _case


def _properties(case: ET.Element) -> dict[str, dict[str, Any]]:
    return {p.get("name"): json.loads(p.get("value")) for p in case.iter("property")}


def test_the_failures_text_has_claim_value_interval_n_and_threat(case_of):
    text = case_of("test_two").find("failure").text
    assert "claim     robust accuracy under Linf(eps=0.1), fgsm\n" in text
    assert (
        "measured  robust accuracy 0.500 [0.290, 0.710] after attack (true value at most 0.710), required >= 0.60; n=32"
        in text
    )
    assert "threat    Linf(eps=0.1)" in text


def test_every_result_is_a_property(case_of):
    properties = _properties(case_of("test_two"))
    assert list(properties) == ["robustest.1", "robustest.2"]
    assert [p["estimate"] for p in properties.values()] == [1.0, 0.5]
    assert [p["verdict"] for p in properties.values()] == ["passed", "failed"]
    assert properties["robustest.2"]["n"] == 32
    assert "outcomes" not in properties["robustest.2"], "one number per sample would swamp the file"


def test_a_test_without_claims_has_no_property(case_of):
    assert _properties(case_of("test_plain")) == {}


@pytest.mark.parametrize("family", ["xunit1", "xunit2", "legacy"])
def test_no_family_warns(case_of, family):
    case_of("test_two", "-o", f"junit_family={family}")


def test_a_users_own_properties_stay(project, write, run):
    write(
        test_a="""
        def test_it(robust_model, robust_data, record_testsuite_property, request):
            request.node.user_properties.append(("mine", "1"))
            claim(robust_model, robust_data, 0.1, at_least=0.5)
        """
    )
    run("--robust", "--junitxml=out.xml").assert_outcomes(passed=1)
    root = ET.parse(project.path / "out.xml").getroot()  # noqa: S314 - our own file
    assert [p.get("name") for p in root.iter("property")] == ["mine", "robustest.1"]


def test_the_reports_properties_are_there_for_other_plugins(project, write, run):
    project.makeconftest(
        (project.path / "conftest.py").read_text(encoding="utf-8")
        + "\ndef pytest_runtest_logreport(report):\n"
        + "    print(report.when, [name for name, _ in report.user_properties])\n"
    )
    write(test_a=CLAIMS)
    run("--robust", "-s", "-k", "test_two").stdout.fnmatch_lines(["*call*'robustest.1', 'robustest.2'*"])
