"""robustest baseline: what is in the file, and how it is made again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustest.cli.screen import exit_of_pytest
from robustest.store.baselines import BaselineEntry, write

Make = Callable[..., Any]


@pytest.fixture
def entries() -> dict[str, BaselineEntry]:
    common: dict[str, Any] = {
        "quantity": "accuracy",
        "data": "d" * 64,
        "seed": 3,
        "method": "fast",
        "date": "2026-01-31",
        "estimate": 0.75,
        "interval": (0.1, 0.9),
    }
    return {
        "b": BaselineEntry(
            test="t::b", claim="one", outcomes=(True, True, True, False), model="m" * 64, commit="1234567", **common
        ),
        "a": BaselineEntry(test="t::a", claim="two", outcomes=(False,) * 4, model=None, commit="", **common),
    }


def test_the_entries_are_shown_by_test(entries: dict[str, BaselineEntry], robustest: Make) -> None:
    write(Path("robust-baseline.json"), entries)
    done = robustest("baseline", "show")
    assert done.code == 0
    assert done.lines == [
        "t::a  two",
        "    0.000 (0 of 4 hold)  2026-01-31  seed 3  data dddddddddddd",
        "t::b  one",
        "    0.750 (3 of 4 hold)  2026-01-31, commit 1234567  seed 3  data dddddddddddd  model mmmmmmmmmmmm",
        "2 claims in robust-baseline.json",
    ]


def test_another_file_may_be_named(entries: dict[str, BaselineEntry], robustest: Make) -> None:
    write(Path("other.json"), {"a": entries["a"]})
    assert robustest("baseline", "show", "other.json").lines[-1] == "1 claim in other.json"


def test_an_absent_baseline_is_named_with_the_command_that_makes_it(robustest: Make) -> None:
    done = robustest("baseline", "show")
    assert (done.code, done.out) == (3, "")
    assert "robust-baseline.json" in done.err
    assert "robustest baseline update" in done.err


def test_a_damaged_baseline_is_named(robustest: Make) -> None:
    Path("robust-baseline.json").write_text("{}", encoding="utf-8")
    done = robustest("baseline", "show")
    assert done.code == 3
    assert "robust-baseline.json" in done.err


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The arguments that pytest would have been run with; it ends with 1."""
    calls: list[Sequence[str]] = []

    def run(arguments: Sequence[str]) -> int:
        calls.append(list(arguments))
        return 1

    monkeypatch.setattr("robustest.cli.kept.run_pytest", run)
    return calls


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ([], []),
        (["-m", "robust", "tests/test_a.py::test_x[1-a b]", "-k", "not slow"], None),
        (["--", "-q", "tests"], ["-q", "tests"]),
        (["-x", "--robust-seed=3", "--", "a"], None),
    ],
)
def test_update_hands_its_arguments_to_pytest(
    robustest: Make, started: list[Sequence[str]], given: list[str], passed: list[str] | None
) -> None:
    done = robustest("baseline", "update", *given)
    assert done.code == 1
    assert started == [["--robust-update-baseline", *(given if passed is None else passed)]]


@pytest.mark.parametrize("value", ["true", "1"])
def test_ci_updates_no_baseline(
    robustest: Make, started: list[Sequence[str]], monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("CI", value)
    done = robustest("baseline", "update")
    assert (done.code, done.out, started) == (2, "", [])
    assert "CI is set" in done.err


@pytest.mark.parametrize(("code", "ours"), [(0, 0), (1, 1), (2, 2), (3, 3), (4, 2), (5, 3), (-9, 2)])
def test_pytests_exit_codes_have_a_meaning(code: int, ours: int) -> None:
    assert exit_of_pytest(code) == ours
