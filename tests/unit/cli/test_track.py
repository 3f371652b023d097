"""`robustest track`: a run's file is sent as the run itself would be, and no failure looks like a success."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from robustest.reports import trackers

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("held", "to", "code"),
    [(True, "here:place", 0), (False, "here:place", 1), (True, "gone", 3), (False, "gone,here:place", 3)],
)
def test_a_file_is_sent(
    made: Make,
    row: Make,
    run_file: Make,
    robustest: Make,
    monkeypatch: pytest.MonkeyPatch,
    *,
    held: bool,
    to: str,
    code: int,
) -> None:
    def fail(run: trackers.TrackedRun, place: str) -> str:
        raise TimeoutError("no answer")

    here = ("json", lambda run, place: f"{[line['state'] for line in run.table]} {run.about['robustest.seed']} {place}")
    monkeypatch.setattr(trackers, "TRACKERS", {"here": here, "gone": ("json", fail)})
    path = run_file("a.json", [row("t.py::test_it", made([held] * 40))])
    done = robustest("track", path, "--to", to)
    assert done.code == code
    said = [f"tracked: here: ['{'passed' if held else 'failed'}'] 0 place"] if "here" in to else []
    said = [*(["NOT TRACKED: gone: TimeoutError: no answer; the verdicts stand"] if "gone" in to else []), *said]
    assert done.lines == said


def test_an_unknown_tracker_is_wrong_usage(run_file: Make, robustest: Make) -> None:
    done = robustest("track", run_file("a.json", []), "--to", "mlfow")
    assert done.code == 2
    assert "Did you mean 'mlflow'" in done.err
    assert robustest("track", run_file("a.json", [])).code == 2
