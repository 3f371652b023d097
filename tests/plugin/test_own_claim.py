"""A kind of claim that a plugin brings, as CONTRIBUTING says: every report has it, and nothing of ours was changed."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from robustest.cli import main
from robustest.decisions import clopper_pearson

TOY = Path(__file__).parents[1] / "toy_claim.py"
TEST = """
    from toy_claim import assert_dusk

    def test_dusk(robust_model, robust_data):
        assert_dusk(robust_model, robust_data, by=0.8, max_flip_rate={most})
"""
LOW, HIGH = clopper_pearson(8, 32, 0.01)  # 0.56 x 0.8 = 0.448 is on the other side: eight of 32
NUMBERS = f"dusk rate 0.250 [{LOW:.3f}, {HIGH:.3f}], required <= "


@pytest.fixture
def dusk(project: pytest.Pytester, write: Callable[..., None]) -> Callable[[str], None]:
    """Write the plugin's module, and a test that claims at most so many flips."""

    def _dusk(most: str) -> None:
        (project.path / "toy_claim.py").write_text(TOY.read_text(encoding="utf-8"), encoding="utf-8")
        write(test_a=TEST.format(most=most))

    return _dusk


def test_it_is_as_short_as_we_say() -> None:
    assert len(TOY.read_text(encoding="utf-8").splitlines()) < 80


def test_the_terminal_tells_it_in_its_own_words(dusk, run, section) -> None:
    dusk("0.1")
    result = run("--robust", "--robust-exact")
    assert section(result)[0].startswith(f"test_a.py::test_dusk  {NUMBERS}0.10; n=32  FAILED")
    result.stdout.fnmatch_lines(
        [
            "E     claim     lost at dusk 0.8",
            "E     setting   light x 0.8",
            "E     flips     8",
            "E     light left 0.8",
            "E     worst 1 *, darkness 0.2*",
        ]
    )


def test_page_junit_and_json_have_it(dusk, run, project, read_json) -> None:
    pytest.importorskip("jinja2", reason="the HTML report is an extra")
    dusk("0.1")
    run("--robust", "--robust-exact", "--robust-html=page", "--robust-junit=out.xml", "--robust-json=out.json")
    page = (project.path / "page" / "index.html").read_text(encoding="utf-8")
    for words in (
        "lost at dusk 0.8",
        "<dt>light left</dt><dd>0.8</dd>",
        "<h4>Lost at dusk",
        "<span>day</span><span>dusk</span>",
        "<span>darkness <b>0.2</b></span>",
    ):
        assert words in page
    (case,) = ET.parse(project.path / "out.xml").getroot().iter("testcase")  # noqa: S314 - our own file
    assert case.get("name") == "lost at dusk 0.8"
    failure = case.find("failure")
    assert failure is not None
    assert "  light left 0.8" in str(failure.text)
    (row,) = read_json()["results"]
    assert row["result"]["kind"] == "dusk"
    assert row["result"]["facts"][0] == {"label": "flips", "value": 8, "unit": "", "leads": True}
    assert row["result"]["counts"] == {"n": 32, "events": 8, "gained": None}


def test_it_is_remembered(dusk, rows_of) -> None:
    dusk("0.5")
    first, second = (rows_of("--robust-exact", "-o", "robust_recheck=0")["test_dusk"]["result"] for _ in range(2))
    assert not first["cached"]
    assert second["cached"]
    assert first["outcomes"] == second["outcomes"]


def test_it_has_a_baseline(dusk, write, run, project) -> None:
    dusk("0.5")
    write(test_a=TEST.replace("max_flip_rate={most}", "no_worse_than='base.json'"))
    run("--robust", "--robust-update-baseline").assert_outcomes(passed=1)
    assert json.loads((project.path / "base.json").read_text())["entries"]
    run("--robust").assert_outcomes(passed=1)


def test_shards_are_merged_and_runs_compared(dusk, write, run, project, capsys) -> None:
    dusk("0.5")
    write(test_b=TEST.format(most="0.6"))
    for k in (1, 2):
        run("--robust", "--robust-exact", f"--robust-shard={k}/2", f"--robust-json={k}.json")
    capsys.readouterr()
    assert main(["merge", "1.json", "2.json", "-o", "whole.json"]) == 0
    shown = capsys.readouterr().out
    assert f"{NUMBERS}0.50; n=32" in shown
    assert f"{NUMBERS}0.60; n=32" in shown
    assert main(["compare", "whole.json", "whole.json", "--fail-on-worse"]) == 0
    told = capsys.readouterr().out
    assert "test_a.py::test_dusk  lost at dusk 0.8" in told
    assert "paired: 0 lost, 0 gained of 32" in told
    assert main(["show", "whole.json"]) == 0
