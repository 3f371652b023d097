"""Claims on recorded outcomes in a run: they gate, and text from items is inert in every report."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

HOSTILE = "<script>alert(1)</script>\x1b[31m]]>\u202e"
TESTS = """
import pytest
from robustest import assert_rate

pytestmark = pytest.mark.robust


def test_rate():
    assert_rate("main.jsonl", at_least=0.7)


def test_worse():
    assert_rate("candidate.jsonl", no_worse_than="main.jsonl")
"""


def test_a_loss_fails_and_hostile_items_are_text(pytester: pytest.Pytester) -> None:
    for name, wrong in (("main", 10), ("candidate", 4)):
        rows = [
            {"item": f"q{i}{HOSTILE}", "score": i % wrong != 0, "prompt": HOSTILE, "answer": "::error::no"}
            for i in range(300)
        ]
        (pytester.path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("--robust", "--robust-html=page", "--robust-junit=junit.xml", "--robust-json=run.json")
    result.assert_outcomes(passed=1, failed=1)
    told = " ".join(result.stdout.str().split())  # lines are folded to the terminal's width
    assert "no worse than the baseline's 0.900 (fell by 0.1500)" in told
    assert "item 'q0<script>alert(1)</script>" in told
    assert "\x1b[31m]" not in result.stdout.str()
    page = (pytester.path / "page" / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    for file in ("page/index.html", "junit.xml", "run.json"):
        text = (pytester.path / file).read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "::error::no" in "".join(ElementTree.parse(pytester.path / "junit.xml").getroot().itertext())  # noqa: S314
