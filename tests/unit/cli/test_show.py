"""robustest show: the last results, as pytest's section has them."""

from __future__ import annotations

import io
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from accounts import account_of

from robustest.cli import main
from robustest.cli.runs import show
from robustest.reports import github
from robustest.reports.terminal import summary
from robustest.results import Result
from robustest.store.files import save_record

Make = Callable[..., Any]


class Lines:
    """A reporter that keeps lines."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str, **_: bool) -> None:
        self.text += text

    def write_line(self, text: str = "", **_: bool) -> None:
        self.text += f"{text}\n"

    def write_sep(self, sep: str, title: str) -> None:
        self.text += f" {title} ".center(120, sep) + "\n"


def remember(result: Result, test: str = "t::a", when: str = "2026-01-31", store: str = ".robustest") -> None:
    claim = result.subject.claim
    record = {"test": test, "claim": claim, "when": when, "result": result.to_dict()}
    assert save_record(Path(store), sha256(f"{test} {claim} {result.ruling.threshold}".encode()).hexdigest(), record)


@pytest.mark.parametrize("details", [False, True])
def test_a_file_is_shown_as_the_run_showed_it(
    made: Make, row: Make, account: Make, run_file: Make, robustest: Make, *, details: bool
) -> None:
    rows = [row("t::passes", made([True] * 9)), row("t::fails", made([False] * 9)), row("t::breaks")]
    rows = account(rows).rows
    run_file("a.json", rows)
    reporter = Lines()
    summary(reporter, account_of(rows), details=details)
    done = robustest("show", "a.json", *["--details"] * details)
    assert done.out == reporter.text + "3 results: 1 passed, 1 not measured, 1 failed\n"
    assert ("clean_accuracy" in done.out) == details


def test_markdown_is_the_mark_of_a_comment_and_the_summary_of_a_step(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    rows = [row("t::a|b", made([True] * 9)), row("t::fails", made([False] * 9))]
    run_file("a.json", rows, shard=(1, 2, ["t::a|b", "t::fails", "t::other"]))
    done = robustest("show", "--markdown", "a.json")
    assert (done.code, done.out) == (1, f"<!-- robustest -->\n{github.summary(account_of(rows))}")


def test_markdown_of_a_large_run_fits_into_a_comment(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    rows = [row(f"t::{'long' * 40}[{n}]", made([False] * 9)) for n in range(500)]
    run_file("a.json", rows)
    assert 30_000 < len(robustest("show", "--markdown", "a.json").out) < 65_536


@pytest.mark.parametrize(
    ("outcomes", "ended", "code"),
    [([True] * 4, 0, 0), ([False] * 4, 1, 1), *(([True] * 4, red, 1) for red in (1, 5, 6)), ([True] * 4, 2, 3)],
)
def test_the_exit_code_says_what_is_shown(
    made: Make, row: Make, run_file: Make, robustest: Make, *, outcomes: list[bool], ended: int, code: int
) -> None:
    """A plugin may have given any exit code to pytest."""
    run_file("robust.json", [row("t::a", made(outcomes))], code=ended)
    assert robustest("show").code == code


def test_lost_results_are_shown_and_not_green(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row("t::a", made([True]))], lost=["no report came from t::b"])
    done = robustest("show", "a.json")
    assert done.code == 3
    assert "LOST: no report came from t::b" in done.out


def test_a_run_without_results_is_not_green(run_file: Make, robustest: Make) -> None:
    run_file("a.json", [])
    done = robustest("show", "a.json")
    assert (done.code, done.out) == (3, "no results\n")


def test_a_shard_says_that_it_is_one(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row("t::a", made([True]))], shard=(2, 3, ["t::a"]))
    assert robustest("show", "a.json").lines[0].startswith("shard 2 of 3")


def test_an_early_verdict_shows_no_bare_number(early: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row("t::a", early(64, 1000))])
    (line,) = [line for line in robustest("show", "a.json").lines if line.startswith("t::a")]
    assert line.split("  ")[1].startswith("accuracy in [")
    assert "n=64 of 1000" in line


@pytest.mark.parametrize("path", [None, ".", ".robustest", ".robustest/results"])
def test_remembered_results_are_found(made: Make, robustest: Make, path: str | None) -> None:
    remember(made([True] * 7))
    done = robustest("show", *([] if path is None else [path]))
    assert done.code == 0
    assert done.lines[0].endswith("the latest result of each claim, measured 2026-01-31")
    assert any(line.startswith("t::a  accuracy 1.000") and line.endswith("cached  passed") for line in done.lines)


def test_remembered_results_have_a_replay_line(made: Make, robustest: Make) -> None:
    remember(made([False] * 7, seed=5), test="t::a[x y]")
    done = robustest("show")
    assert done.code == 1
    assert "replay: pytest --robust --robust-seed=5 't::a[x y]'" in done.lines


@pytest.mark.parametrize(("old", "new"), [(0.9, 0.8), (0.8, 0.9)])
def test_of_a_claim_whose_threshold_changed_the_latest_is_shown(
    made: Make, robustest: Make, old: float, new: float
) -> None:
    remember(made([True] * 7, old), when="2026-01-30, commit 1234567")
    remember(made([True] * 7, new), when="2026-01-31, commit 89abcde")
    remember(made([True] * 7, 0.8, statement="another", threshold=0.7), when="2026-01-29")
    done = robustest("show", "--details")
    assert done.lines[-1] == "2 results: 2 passed"
    assert "measured 2026-01-29 to 2026-01-31, commit 89abcde" in done.lines[0]
    assert "cached: measured 2026-01-31, commit 89abcde" in done.out
    assert f">= {old:.2f}; " not in done.out
    assert f">= {new:.2f}; " in done.out


def test_a_damaged_record_is_named_and_not_green(made: Make, robustest: Make) -> None:
    remember(made([True] * 7))
    remember(made([True] * 7), test="t::b")
    damaged = sorted(Path(".robustest/results").rglob("*.json"))[0]
    damaged.write_text("{", encoding="utf-8")
    done = robustest("show")
    assert done.code == 3
    assert damaged.name in done.out + done.err
    assert "1 result: 1 passed" in done.lines


def test_a_record_of_another_version_is_refused(made: Make, robustest: Make) -> None:
    record = {"test": "t::a", "claim": "s", "when": "2026-01-31", "result": {"kind": "robust_accuracy"}}
    assert save_record(Path(".robustest"), "0" * 64, record)
    done = robustest("show")
    assert done.code == 3
    assert "t::a" in done.err
    assert "no field" in done.err


@pytest.mark.parametrize("path", [None, ".", "robust.json", "absent"])
def test_where_nothing_is_it_says_how_to_get_it(robustest: Make, path: str | None) -> None:
    done = robustest("show", *([] if path is None else [path]))
    assert (done.code, done.out) == (3, "")
    assert "pytest --robust" in done.err


def test_an_empty_store_is_no_result(robustest: Make) -> None:
    Path(".robustest/results").mkdir(parents=True)
    done = robustest("show")
    assert done.code == 3
    assert "none are remembered" in done.err


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_colours(made: Make, row: Make, run_file: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run_file("a.json", [row("t::a", made([True])), row("t::b", made([False]))])
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    assert main(["show", "a.json"]) == 1
    assert "\x1b[32mpassed\x1b[0m" in terminal.getvalue()
    assert "\x1b[31mFAILED\x1b[0m" in terminal.getvalue()


def test_a_hostile_test_id_steers_no_terminal(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row("t::a[\x1b]0;owned\x07\nt::b  passed]", made([True]))])
    done = robustest("show", "a.json")
    assert "\x1b" not in done.out
    assert len([line for line in done.lines if line.startswith("t::")]) == 1


def test_it_can_be_called_without_the_command(made: Make, row: Make, run_file: Make) -> None:
    path = run_file("a.json", [row("t::a", made([True]))])
    assert show([str(path)], details=False, markdown=False) == 0


def test_on_a_terminal_the_verdict_comes_first_and_lines_are_folded(
    made: Make, row: Make, account: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    reporter: Any = Lines()
    reporter.folding = 60
    result = made([False] * 9, statement="robust accuracy under Linf(eps=8/255), fast")
    summary(reporter, account([row("t::a", result)]), details=False, stated=True)
    lines = reporter.text.splitlines()[1:]
    assert lines[0] == "FAILED  t::a"
    assert lines[1].startswith("    robust accuracy under Linf(eps=8/255), fast: ")
    assert max(map(len, lines)) <= 60
    assert any(line.startswith("    cause: ") for line in lines)


def test_why_a_claim_is_not_remembered_is_shown_though_it_passed(made: Make, row: Make, account: Make) -> None:
    why = "not remembered: the model holds a session of ONNX Runtime"
    rows = [row(f"t::{name}", made([True] * 9, notes=(why, "another note"))) for name in "ab"]
    reporter = Lines()
    summary(reporter, account(rows), details=False)
    assert reporter.text.count(why) == 1
    assert "another note" not in reporter.text
