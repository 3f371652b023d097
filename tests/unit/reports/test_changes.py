"""The change of a text or of a table's row in every report: marked, coloured, and inert whatever it holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from accounts import account_of

from robustest import Counterexample, Result
from robustest.reports import terminal
from robustest.reports.github import summary
from robustest.reports.text import failure_text

HOSTILE = "<script>alert(1)</script>]]>\x1b[31m\u202ecod\n::error::x ##[error]y {{ 7 * 7 }} |`*\ud800"
DIFF = {"diff": [["=", "the "], ["-", "cat"], ["+", "dog"], ["=", HOSTILE.replace("\ud800", "")]]}
TABLE = {"table": [["age", "31", "47"], [f"col {HOSTILE[:40]}", HOSTILE[:30], "b"]]}


class Screen:
    """A terminal that notes what is written, with its colour."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []

    def write(self, text: str, **markup: bool) -> None:
        self.written.append((text, " ".join(markup)))

    def write_line(self, text: str = "", **markup: bool) -> None:
        self.write(f"{text}\n", **markup)

    def write_sep(self, sep: str, title: str) -> None:
        self.write_line(title)


def harmless(text: str) -> None:
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)
    assert not re.search(r"^\s*::error::", text, re.MULTILINE)
    assert "##[" not in text


@pytest.mark.parametrize("changes", [DIFF, TABLE], ids=["diff", "table"])
def test_a_change_is_shown_in_every_report_and_steers_none(
    changes: Any, made: Any, row: Any, worst: Any, page_of: Any
) -> None:
    result = made(counterexamples=(worst(changes=changes),))
    account = account_of([row("test_a.py::test_it", result)])
    screen = Screen()
    terminal.summary(screen, account, details=False)
    told = "".join(text for text, _ in screen.written)
    page = page_of(account.rows[0])
    texts = {"terminal": told, "failure": failure_text(result, replay=""), "summary": summary(account)}
    for text in texts.values():
        harmless(text)
    if changes is DIFF:
        assert ("[-cat-]", "red") in screen.written
        assert ("{+dog+}", "green") in screen.written
        assert "the [-cat-]{+dog+}<script>" in texts["failure"]
        assert "<del>cat</del><ins>dog</ins>&lt;script&gt;" in texts["summary"]
        assert not page.missing("the cat dog", "<script>alert(1)</script>]]>")
        assert (len(page.all("del")), len(page.all("ins"))) == (1, 1)
    else:
        assert ("31", "red") in screen.written
        assert ("47\n", "green") in screen.written
        assert "age: 31 -> 47" in texts["failure"]
        assert "age: 31 -&gt; 47" in texts["summary"]
        assert not page.missing("age 31 47")
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", page.text)
    assert "alert(1)" not in "".join(str(script) for script in page.all("script"))


def test_a_claim_that_passed_shows_no_change_in_the_terminal(made: Any, row: Any, worst: Any) -> None:
    screen = Screen()
    passed = made("passed", estimate=0.95, interval=(0.9, 1.0), counterexamples=(worst(changes=DIFF),))
    terminal.summary(screen, account_of([row("t.py::t", passed)]), details=False)
    assert "cat" not in "".join(text for text, _ in screen.written)


@pytest.mark.parametrize(
    "changes", [{}, {"diff": [["="]]}, {"table": [["a", "b", 3]]}, {"x": []}, {"diff": [], "table": []}]
)
def test_malformed_changes_are_refused_with_the_file_that_holds_them(changes: Any, made: Any, worst: Any) -> None:
    data = made(counterexamples=(worst(),)).to_dict()
    data["counterexamples"][0]["changes"] = changes
    with pytest.raises(TypeError, match="changes"):
        Result.from_dict(data)
    assert Counterexample(index=0, label=0, clean=0, predicted=1).changes is None


def test_a_page_with_a_diff_is_one_file(tmp_path: Path, made: Any, row: Any, worst: Any, page_of: Any) -> None:
    page = page_of(row("t.py::t", made(counterexamples=(worst(changes=DIFF), worst(changes=TABLE)))))
    assert len(page.all("p", class_="diff")) == 1
