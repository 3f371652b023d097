"""What GitHub shows: the step's summary and annotations."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import pytest
from accounts import account_of

from robustest.reports.github import ANNOTATIONS, BUDGET, add_summary, annotation_commands, escaped, mark_of, summary
from robustest.reports.text import failure_text

HOSTILE = "a|b `c` *d* _e_ ~f~ [g](https://x.y) <b>h</b> & &amp; @user #1 :tada: $i$ \\ !j {k}"


@pytest.fixture
def rows(made: Any, early: Any, row: Any) -> list[Any]:
    """One of each kind, in an order that is not by badness."""
    return [
        row("test_a.py::passes", made("passed", estimate=0.95, interval=(0.9, 1.0)), replay="pytest passes"),
        row("test_a.py::open", made("inconclusive", estimate=0.88), replay="pytest open"),
        row("test_a.py::near", made(estimate=0.85), replay="pytest near"),
        row("test_a.py::broken", None, problem="ModelError: NaN\nmore", replay="pytest broken"),
        row("test_a.py::far", early(), replay="pytest far"),
    ]


def shown(markdown: str) -> str:
    """The HTML that GitHub's Markdown makes of a text, as far as CommonMark and its tables go."""
    markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py renders the summary")
    return str(markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown))


def test_comments_of_different_services_have_different_marks() -> None:
    services = ([], ["a"], ["a-b"], ["a_b"], ["a b"], ["a", "b"], ["a", "c"], ["a and b"], ["x" * 200], ["x" * 199])
    marks = [mark_of(one) for one in services]
    assert marks[:2] == ["<!-- robustest -->", "<!-- robustest a -->"]
    assert len({*marks}) == len(marks)
    assert all(re.fullmatch(r"<!-- robustest ([A-Za-z0-9_./]+ )?-->", one) for one in marks)


def test_a_summary_is_added_to_what_the_step_wrote_before(tmp_path: Path, rows: list[Any]) -> None:
    (tmp_path / "summary.md").write_text("before\n", encoding="utf-8")
    add_summary(str(tmp_path / "summary.md"), account_of(rows))
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") == "before\n" + summary(account_of(rows))


def test_a_summary_that_cannot_be_written_is_said(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(OSError, match="directory"):
        add_summary(str(tmp_path), account_of(rows))


def test_annotations_come_worst_first_and_say_all(rows: list[Any]) -> None:
    commands = annotation_commands(rows, [], where={"test_a.py::far": ("tests/test_a.py", 12)})
    kinds = [command.split(" ", 1)[0] for command in commands]
    assert kinds == ["::error", "::error", "::error", "::warning"]
    assert commands[0].startswith(
        "::error file=tests/test_a.py,line=12,title=robustest failed%3A robust accuracy under Linf(eps=0.1)%2C fast::"
    )
    assert "%0A  measured  accuracy in [0.125, 0.375], required >= 0.90; n=5 of 8%0A" in commands[0]
    assert "accuracy 0.850" in commands[1]
    assert commands[2] == ("::error file=test_a.py,title=robustest could not measure::ModelError: NaN more")
    assert "accuracy 0.880" in commands[3]


def test_annotations_name_the_service_of_their_run(made: Any, row: Any) -> None:
    rows = [row(f"t{place}", made()) for place in range(ANNOTATIONS)]
    commands = annotation_commands(rows, ["one is lost"], where={}, service="services/a,b")
    assert len(commands) == ANNOTATIONS + 1
    assert all("title=robustest of services/a%2Cb" in one for one in commands)
    assert "title=robustest of services/a%2Cb%3A failed%3A " in commands[1]


def test_the_worst_ten_are_annotation_commands_and_the_rest_counted(made: Any, row: Any) -> None:
    rows = [row(f"test_a.py::test[{k}]", made(estimate=k / 100)) for k in range(23)]
    commands = annotation_commands(rows, ["one is lost"], where={})
    assert len(commands) == ANNOTATIONS + 1
    assert commands[0] == "::error title=robustest%3A results are missing::one is lost"
    assert [re.search(r"accuracy (0\.\d+)", c)[1] for c in commands[1:10]] == [f"{k / 100:.3f}" for k in range(9)]
    assert commands[10] == (
        "::notice title=robustest::14 more did not pass; the step summary and the reports name them."
    )


def test_ten_are_not_followed_by_a_count(made: Any, row: Any) -> None:
    commands = annotation_commands([row("t", made())] * ANNOTATIONS, [], where={})
    assert [command[:7] for command in commands] == ["::error"] * ANNOTATIONS


def test_annotations_cannot_end_early_or_begin_another(made: Any, row: Any) -> None:
    hostile = "50%, a:b\r\n::error::forged\n%0A\x1b[31m\u202e"
    (command,) = annotation_commands([row(f"{hostile}.py::t", made(statement=hostile, notes=(hostile,)))], [], where={})
    assert not set("\r\n\x1b\u202e") & set(command)
    head, _, message = command.removeprefix("::error ").partition("::")
    assert dict(part.split("=", 1) for part in head.split(",")).keys() == {"file", "title"}
    assert head.startswith("file=50%25%2C a%3Ab%0A,title=robustest failed%3A 50%25%2C a%3Ab %3A%3Aerror%3A%3Aforged")
    assert "note      50%25, a:b%0A::error::forged%0A%250A" in message


@pytest.mark.parametrize(
    ("file", "workspace", "named"),
    [
        ("/home/me/repo/tests/test_a.py", "/home/me/repo", "tests/test_a.py"),
        ("/elsewhere/test_a.py", "/home/me/repo", "/elsewhere/test_a.py"),
        ("tests/test_a.py", "/home/me/repo", "tests/test_a.py"),
        ("/home/me/repo/tests/test_a.py", "", "/home/me/repo/tests/test_a.py"),
    ],
)
def test_files_are_named_from_the_workspace(made: Any, row: Any, file: str, workspace: str, named: str) -> None:
    (command,) = annotation_commands([row("t", made())], [], where={"t": (file, 3)}, workspace=workspace)
    assert command.startswith(f"::error file={named},line=3,")


def test_what_passed_is_not_annotated(made: Any, row: Any) -> None:
    assert annotation_commands([row("t", made("passed"))], [], where={}) == []


def test_a_summary_has_one_table_worst_first_and_the_failures_folded(rows: list[Any]) -> None:
    text = summary(account_of(rows))
    assert text.startswith("\n## robustness: 2 failed, 1 error, 1 inconclusive, 1 passed\n")
    page = shown(text)
    assert page.count("<table>") == 1
    cells = [
        [html.unescape(re.sub("<[^>]+>", "", cell)).strip() for cell in re.findall("<td.*?</td>", line, re.DOTALL)]
        for line in page.split("<tr>")[2:]
    ]
    claim = "robust accuracy under Linf(eps=0.1), fast"
    least = ", required >= 0.90"
    assert cells == [
        ["❌ failed", claim, f"accuracy in [0.125, 0.375]{least}", "5 of 8", "test_a.py::far"],
        ["❌ failed", claim, f"accuracy 0.850 [0.125, 0.375]{least}", "8", "test_a.py::near"],
        ["⚠️ error", "could not measure: ModelError: NaN", "", "", "test_a.py::broken"],
        ["❔ inconclusive", claim, f"accuracy 0.880 [0.125, 0.375]{least}", "8", "test_a.py::open"],
        ["✅ passed", claim, f"accuracy 0.950 [0.900, 1.000]{least}", "8", "test_a.py::passes"],
    ]
    folded = [html.unescape(part) for part in re.findall("<pre>\n(.*?)\n</pre>", page, re.DOTALL)]
    assert folded == [
        failure_text(rows[4].result, replay="pytest far"),
        failure_text(rows[2].result, replay="pytest near"),
        "ModelError: NaN\nmore\nreplay: pytest broken",
        failure_text(rows[1].result, replay="pytest open"),
    ]
    assert page.count("<details>") == page.count("</details>") == page.count("<summary>") == 4


def test_what_was_lost_stands_above_the_table(rows: list[Any]) -> None:
    text = summary(account_of(rows, ["no report came from test_b.py::test_[x]"]))
    assert text.index("Results are missing") < text.index("| claim |")
    assert "no report came from test_b.py::test_[x]. This run is not green." in html.unescape(shown(text))


def test_nothing_measured_is_said() -> None:
    assert "no claim was measured" in summary(account_of([]))


@pytest.mark.parametrize("text", [HOSTILE, "www.x.y", "WWW.x.y", "a\nb", "# a", "- a", "> a", "`" * 40, "|" * 40])
def test_markdown_shows_a_text_as_it_is(text: str) -> None:
    page = shown(f"| a | b |\n| - | - |\n| {escaped(text)} | c |\n")
    (cell, last) = re.findall("<td>(.*?)</td>", page)
    assert last == "c"
    assert "<" not in cell
    assert html.unescape(cell).replace("\u200b", "") == " ".join(text.split())


def test_no_link_mention_emoji_or_formula_begins_in_an_escaped_text() -> None:
    """GitHub looks for these on top of Markdown; mentions even in what character references stand for."""
    text = escaped(HOSTILE + " www.x.y")
    assert not re.search(r"https?:|www\.|[@$]|:tada:|(?<!&)#\d", text)
    assert "@\u200buser" in html.unescape(text)


def test_folded_text_cannot_leave_its_fold(made: Any, row: Any) -> None:
    hostile = "</pre></details>\n\n# big\n<script>x</script> \u202e\x00"
    text = summary(account_of([row(hostile, made(statement=hostile, notes=(hostile,)), replay=hostile)]))
    page = shown(text)
    assert "<script>" not in page
    assert "<h1>" not in page
    assert page.count("</details>") == page.count("</pre>") == 1
    assert not {"\u202e", "\x00"} & set(text)


def test_a_huge_run_stays_under_a_megabyte_and_says_what_is_cut(made: Any, row: Any, worst: Any) -> None:
    """500 claims with ten counterexamples each, 5,000 failures; long names in a language of three bytes a letter."""
    name = "猫" * 200
    shown_worst = tuple(worst(index=k, image=f"{name}/{k}.png") for k in range(10))
    rows = [
        row(f"test_a.py::test[{name}-{k}]", made(statement=f"{name} {k}", counterexamples=shown_worst), replay=name)
        for k in range(500)
    ]
    text = summary(account_of(rows))
    assert 0.5 * BUDGET < len(text.encode("utf-8")) <= BUDGET
    assert re.search(r"\*\d+ failures are not shown here: GitHub limits a summary's size\.\*", text)
    assert text.count("\n| ❌ failed |") + sum(map(int, re.findall(r"\*(\d+) claims are left out", text))) == 500
    told = text.count("<details>")
    assert told + sum(map(int, re.findall(r"\*(\d+) failures are not shown", text))) == 500
    assert shown(text).count("<details>") == told


def test_five_thousand_failed_claims_fit_too(made: Any, row: Any) -> None:
    rows = [row(f"test_a.py::test[{k}]", made(), replay="pytest") for k in range(5000)]
    text = summary(account_of(rows, [f"no report came from test {k}" for k in range(5000)]))
    assert len(text.encode("utf-8")) <= BUDGET
    assert "5000 failed" in text


@pytest.mark.parametrize("budget", [-5, 0, 300, 450, 600, 1000, 3000])
def test_any_budget_is_kept(rows: list[Any], budget: int) -> None:
    """The step may have written almost all it may write before."""
    assert len(summary(account_of(rows, ["lost"] * 50), budget=budget).encode("utf-8")) <= max(0, budget)
