"""One process runs pytest several times, each time with the project's modules as in a new process."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustest.cli.inside import _Planned
from robustest.cli.warm import WarmPytest

STATE = """\
import os, sys
CALLS = []
"""
TEST = """\
import os, state

def test_first():
    state.CALLS.append(1)
    assert len(state.CALLS) == 1
    assert "LEFT_BEHIND" not in os.environ
    os.environ["LEFT_BEHIND"] = "1"
    with open(os.environ["LOG"], "a") as file:
        print(os.getpid(), file=file)
"""


def test_runs_share_a_process_and_begin_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name, text in {"state.py": STATE, "test_it.py": TEST, "conftest.py": ""}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    arguments = ["-q", "-p", "no:cacheprovider", str(tmp_path)]
    with WarmPytest() as warm:
        assert not warm.started
        assert warm.run(arguments) == 0
        assert warm.started
        assert warm.run(arguments, tmp_path / "printed") == 0
        first, second = (tmp_path / "log").read_text(encoding="utf-8").split()
        assert first == second
        assert "1 passed" in (tmp_path / "printed").read_text(encoding="utf-8")
        assert capfd.readouterr().out.count("1 passed") == 1
        warm.renew()
        assert warm.run(arguments) == 0
    assert (tmp_path / "log").read_text(encoding="utf-8").split()[2] != first


def test_a_process_that_ends_gives_its_exit_code(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text("import os\n\ndef test_it():\n    os._exit(7)\n", encoding="utf-8")
    with WarmPytest() as warm:
        assert warm.run(["-q", "-p", "no:cacheprovider", str(tmp_path)]) == 7
        assert not warm.started


@pytest.mark.parametrize(
    ("before", "ended", "seconds", "told"),
    [
        (False, (), 0.0, "2 s spent"),
        # 1 of 21 parts took 1 s: 20 s of this run; the next takes 21 s and its fixtures, and half of one
        (False, ("t.py::plain",), 1.0, "2 s spent, at least 54 s left"),
        # 8 s for what took 6 of 8 s: 2.7 s of this run; then fixtures, and half of 10.7 s
        (True, ("t.py::attack",), 8.0, "2 s spent, at least 9 s left"),
    ],
    ids=["nothing known", "by weights", "by the first run"],
)
def test_the_time_left_counts_all_runs(
    monkeypatch: pytest.MonkeyPatch, before: bool, ended: tuple[str, ...], seconds: float, told: str
) -> None:
    monkeypatch.setattr("robustest.cli.inside.time.time", lambda: 102.0)
    monkeypatch.setattr("robustest.cli.inside.time.monotonic", lambda: 51.0 + seconds)
    plan = {"started": 100.0, "after": 1, "last": 0.5, "weights": {"attack": 20.0}, "at_least": True}
    if before:
        plan["before"] = {"tests": {"t.py::plain": 2.0, "t.py::attack": 6.0}, "whole": 9.0, "fixtures": 1.0}
        plan["after"] = 0
    planned = _Planned(None, plan)  # type: ignore[arg-type]
    planned._tests = ["t.py::plain", "t.py::attack"]
    planned._began, planned._fixtures, planned._ended = 50.0, 1.0, set(ended)
    assert planned._clock() == told
