"""docs/cli.md says what the command does: its examples are what it prints."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustest import Settings
from robustest.cli.command import VERBS
from robustest.cli.screen import Exit
from robustest.reports import json_file

Make = Callable[..., Any]
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "cli.md").read_text(encoding="utf-8")
TEST = "test_model.py::test_linf"
BLOCKS = re.findall(r"^```\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def section(command: str) -> str:
    return PAGE.partition(f"\n## {command}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("command", VERBS)
def test_every_option_is_on_the_page_and_no_other(robustest: Make, command: str) -> None:
    nested = {
        "baseline": ("show", "update"),
        "corpus": ("ls", "verify", "prune"),
        "evidence": ("write", "verify", "replay"),
        "history": ("add", "show", "html"),
    }.get(command, ())
    helps = [robustest(command, *part, "--help").out for part in ([], *([name] for name in nested))]
    options = set(re.findall(r"--[a-z][a-z-]+", " ".join(helps))) - {"--help", "--robust-json"}
    usage = section(command).partition("```\n")[2].partition("```")[0]
    assert set(re.findall(r"--[a-z][a-z-]+", usage)) | ({"--output"} & options) == options
    assert all(f"robustest {command} {name}" in usage for name in nested)


def test_every_exit_code_is_on_the_page() -> None:
    assert re.findall(r"^\| (\d) \|", PAGE, re.MULTILINE) == [str(int(code)) for code in Exit]


def test_the_comparison_is_what_is_printed(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    before = [True] * 437 + [True] * 23 + [False] * 4 + [False] * 36
    after = [True] * 437 + [False] * 23 + [True] * 4 + [False] * 36
    files = [run_file(f"{name}.json", [row(TEST, made(held, 0.85))]) for name, held in (("a", before), ("b", after))]
    assert "\n".join(robustest("compare", *files).lines[3:7]) + "\n" in BLOCKS


def test_the_suggestion_is_what_is_printed(
    made: Make, row: Make, account: Make, robustest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [row(TEST, made([True] * 943 + [False] * 57, 0.9))]

    def run(arguments: Sequence[str]) -> int:
        (output,) = (one.partition("=")[2] for one in arguments if one.startswith("--robust-json="))
        json_file.write(output, account(rows), Settings())
        return 0

    monkeypatch.setattr("robustest.cli.warm.WarmPytest.run", lambda _, arguments: run(arguments[1:]))
    assert "\n".join(robustest("suggest").lines[1:5]) + "\n" in BLOCKS
