"""`robustest badge`: the badge that a run writes, from its file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Make = Callable[..., Any]


@pytest.mark.parametrize(("held", "code", "message"), [(True, 0, "1 claim holds"), (False, 1, "1 of 1 failed")])
def test_a_badge_of_a_file(
    made: Make, row: Make, run_file: Make, robustest: Make, *, held: bool, code: int, message: str
) -> None:
    path = run_file("a.json", [row("t.py::test_it", made([held] * 40))])
    done = robustest("badge", path, "-o", "b.json")
    assert done.code == code
    assert done.out == f"wrote b.json: robustness: {message}\n"
    assert json.loads(Path("b.json").read_text())["message"] == message
    assert robustest("badge", path).code == code
    assert Path("robust-badge.svg").is_file()


def test_what_is_no_badge_and_no_run(run_file: Make, robustest: Make) -> None:
    assert robustest("badge", run_file("a.json", []), "-o", "b.png").code == 2
    assert robustest("badge", "none.json").code == 3
    assert robustest("badge", run_file("a.json", []), "-o", "b.json").code == 3
    assert json.loads(Path("b.json").read_text())["message"] == "no claim"
