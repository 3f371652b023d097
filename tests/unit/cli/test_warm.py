"""One process runs pytest several times, each time with the project's modules as in a new process."""

from __future__ import annotations

from pathlib import Path

import pytest

from robustest.cli.warm import WarmPytest

STATE = """\
import os, sys
CALLS = []
"""
TEST = """\
import gc, os, state

def test_first():
    assert gc.isenabled()
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
