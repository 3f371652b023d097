"""Claims on recorded outcomes in a run: they gate, and text from items is inert in every report."""

from __future__ import annotations

import json
import re
import unicodedata
from xml.etree import ElementTree

import pytest

from robustest.cli import main

HOSTILE = "<script>alert(1)</script>\x1b[31m]]>\u202e"
TESTS = """
import pytest
from robustest import assert_rate

pytestmark = pytest.mark.robust


def test_rate():
    assert_rate("main.jsonl", at_least=0.7)


def test_worse():
    assert_rate("candidate.jsonl", no_worse_than="main.jsonl", tolerance=0.01)
"""


def test_a_loss_fails_and_hostile_items_are_text(pytester: pytest.Pytester) -> None:
    for name, wrong in (("main", 10), ("candidate", 4)):
        rows = [
            {
                "item": f"q{i}{HOSTILE}",
                "score": i % wrong != 0,
                "prompt": f"{HOSTILE} {i}",
                "answer": f"::error::no {i}",
            }
            for i in range(300)
        ]
        (pytester.path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pytester.makepyfile(TESTS)
    result = pytester.runpytest("--robust", "--robust-html=page", "--robust-junit=junit.xml", "--robust-json=run.json")
    result.assert_outcomes(passed=1, failed=1)
    told = " ".join(result.stdout.str().split())  # lines are folded to the terminal's width
    assert (
        "no worse than the baseline's 0.900 (fell by 0.1500 [0.0859, 0.2162] of the population, tolerance 0.01)" in told
    )
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


TEXTS = {
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "terminal": "\x1b[31m\x1b]0;title\x07\x9b31m\b\x7f",
    "bidi": "\u202e\u2066gpj.exe\u200f\u00ad\ufeff",
    "cdata": "]]>]]&gt;<![CDATA[&x;",
    "nul": "a\0b",
    "surrogate": "\ud800 \udfff",
    "no character": "\ufffe\uffff",
    "commands": "\n::error::no\n##[error]no ##vso[task.complete]no",
    "template": "{{ 7 * 7 }} {0} %s ${{ secrets.X }}",
    "markdown": "| a | `b` </pre></details> ![x](//x/y.png) [x](//x)",
    "lines": "a\u2028b\u2029c\rd\x0be\x85f\r\ng",
    "long": "long " * 20_000,
}
FAILING = """
import pytest
from robustest import assert_consistent_runs, assert_rate, assert_worst_group_rate

pytestmark = pytest.mark.robust


def test_rate():
    assert_rate("hostile.jsonl", at_least=0.95, examples=20)


def test_groups():
    assert_worst_group_rate("hostile.jsonl", at_least=0.9, examples=20)


def test_runs():
    assert_consistent_runs("hostile.jsonl", max_flip_rate=0.001, examples=20)
"""


def test_no_text_of_an_item_steers_a_report(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each text as name, group, prompt, answer and expected answer of an item, in every file that a run writes."""
    rows = [
        {"item": f"good {i}", "score": 1, "run": run, "group": "good"} for i in range(20 * len(TEXTS)) for run in "12"
    ]
    for text in TEXTS.values():
        name = text.replace("\0", "")
        texts = {"prompt": text, "answer": text, "expected": text}
        rows += [{"item": name, "score": score, "run": name * score, "group": name, **texts} for score in (0, 1)]
        rows += [{"item": f"{i} {name}", "score": 0, "run": "1", "group": name, **texts} for i in range(10)]
    (pytester.path / "hostile.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    pytester.makepyfile(FAILING)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(pytester.path / "summary.md"))
    files = {"html": "page", "junit": "junit.xml", "json": "run.json", "history": "history"}
    run = pytester.runpytest("--robust", *(f"--robust-{name}={file}" for name, file in files.items()))
    run.assert_outcomes(failed=3)
    capsys.readouterr()
    main(["show", "run.json"])
    main(["evidence", "write", "run.json"])
    read = {
        str(path.relative_to(pytester.path)): path.read_text(encoding="utf-8")
        for path in pytester.path.rglob("*")
        if path.suffix in (".html", ".xml", ".json", ".jsonl", ".md", ".sarif") and path.name != "hostile.jsonl"
    }
    read |= {"terminal": run.stdout.str(), "show": capsys.readouterr().out}
    assert len(read) > 10
    for name, text in read.items():
        odd = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp")} - {"\n", "\t"}
        assert not odd, (name, odd)
        assert len(text) < 400_000, name
        if name in ("terminal", "show"):  # the log of a CI service
            # GitHub reads a line that begins with a command as that one alone.
            lines = [line for line in text.split("\n") if not re.match(r"::(error|warning) file=", line)]
            assert not re.search(r"^\s*::|##\[|##vso", "\n".join(lines), re.MULTILINE), name
        if name.endswith((".html", ".md")):
            assert not re.search(r"<script>alert|<img src=x|onmouseover=\"alert|<!\[CDATA", text), name
        if name.endswith(".md"):  # a <pre> at the start of a line is HTML up to its end, where Markdown reads nothing
            assert "](//x" not in re.sub(r"^<pre>.*?^</pre>$", "", text, flags=re.DOTALL | re.MULTILINE), name
    shown = "".join(ElementTree.fromstring(read["junit.xml"]).itertext())  # noqa: S314
    for text in ("<script>alert(1)</script>", "]]>", "{{ 7 * 7 }}", "\\u202e"):
        assert text in shown
