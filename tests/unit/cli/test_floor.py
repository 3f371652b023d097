"""robustest floor: how much runs of one system differ, and what is no run of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

Make = Callable[..., Any]


@pytest.fixture
def runs() -> list[str]:
    """Files of two runs, in which 20 % of the items are coin flips."""
    random, names = np.random.default_rng(0), []
    for name in ("a", "b"):
        scores = np.where(np.arange(400) % 5 == 0, random.random(400) < 0.5, np.arange(400) % 7 != 0)
        lines = [json.dumps({"item": f"q{i}", "score": bool(one), "run": "1"}) for i, one in enumerate(scores)]
        Path(f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
        names.append(f"{name}.jsonl")
    return names


def test_the_floor_of_two_runs(runs: list[str], robustest: Make) -> None:
    found = robustest("floor", *runs)
    assert found.code == 0
    lines = found.out.splitlines()
    assert "400, 2 runs of each, 2 files" in lines[1]
    assert "10.50% of the pairs" in lines[3]
    assert any('"at most 1 point worse"' in line and "% " not in line for line in lines)
    assert any("paired, by no_worse_than=" in line for line in lines)
    other = robustest("floor", *runs, "--loss", "0.05", "--alpha", "0.05").out
    assert '"at most 5 points worse"' in other
    assert "in 99.9%" in robustest("floor", *runs, "--alpha", "0.001").out


def test_copies_of_one_file_have_no_floor(runs: list[str], robustest: Make) -> None:
    Path("c.jsonl").write_text(Path(runs[0]).read_text(encoding="utf-8"), encoding="utf-8")
    assert "Make sure that the files are no copies" in robustest("floor", runs[0], "c.jsonl").out


def test_what_has_no_second_run_is_refused(runs: list[str], robustest: Make) -> None:
    assert robustest("floor", runs[0]).code == 2
    assert "Give the files of two runs" in robustest("floor", runs[0]).err
    Path("other.jsonl").write_text('{"item": "x", "score": 1}\n', encoding="utf-8")
    assert "no item is in two" in robustest("floor", runs[0], "other.jsonl").err
    assert robustest("floor", "none.jsonl").code == 2
    assert robustest("floor", *runs, "--score", "grade").code == 2


def test_few_items_and_missing_scores_are_said(robustest: Make) -> None:
    rows = [{"item": i % 5, "score": None if i == 3 else i % 2, "run": i // 5} for i in range(20)]
    Path("few.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    text = robustest("floor", "few.jsonl").out
    assert "5 items give rough figures" in text
    assert "1, left out here" in text
