"""Markers of runs: a child finds the nearest one, and nobody else's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from robustest import ancestors
from robustest.ancestors import Process, found, marked, process

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="no users")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(ancestors, "places", lambda: [str(tmp_path / "marks")])
    found.cache_clear()
    return tmp_path / "marks"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "claims").mkdir(mode=0o700)
    return str(tmp_path / "claims")


def _ask() -> tuple[int, str] | None:
    found.cache_clear()
    return found(os.getpid())


def test_a_marker_holds_inside_the_block(home: Path, folder: str) -> None:
    assert _ask() is None
    with marked(folder):
        assert _ask() == (os.getpid(), folder)
        assert home.stat().st_mode & 0o077 == 0
        assert (home / str(os.getpid())).stat().st_mode & 0o777 == 0o600
    assert _ask() is None
    assert list(home.iterdir()) == []


def test_a_run_inside_a_run_gives_its_marker_back(folder: str, tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir(mode=0o700)
    with marked(folder):
        with marked(str(inner)):
            assert _ask() == (os.getpid(), str(inner))
        assert _ask() == (os.getpid(), folder)


CHILD = """
import os, sys
from robustest import ancestors
ancestors.places = lambda: [sys.argv[1]]
print(ancestors.found(os.getpid()))
"""


@pytest.mark.parametrize("between", [(), ("/bin/sh", "-c", '"$0" "$@"; true')], ids=["child", "grandchild"])
def test_a_child_without_an_environment_finds_it(home: Path, folder: str, between: tuple[str, ...]) -> None:
    command = [*between, sys.executable, "-c", CHILD, str(home)]
    with marked(folder):
        done = subprocess.run(command, env={}, capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == repr((os.getpid(), folder))


def test_a_process_id_that_is_used_again_is_another_process(home: Path, folder: str) -> None:
    with marked(folder):
        marker = home / str(os.getpid())
        start, where = json.loads(marker.read_text())
        marker.write_text(json.dumps([f"{start}0", where]))
        assert _ask() is None


def test_what_others_may_write_into_is_no_marker(home: Path, folder: str, tmp_path: Path) -> None:
    with marked(folder):
        marker = home / str(os.getpid())
        for path, bad, good in ((home, 0o777, 0o700), (marker, 0o666, 0o600), (Path(folder), 0o770, 0o700)):
            path.chmod(bad)
            assert _ask() is None, path
            path.chmod(good)
            assert _ask() is not None, path
        elsewhere = tmp_path / "elsewhere"
        marker.rename(elsewhere)
        marker.symlink_to(elsewhere)
        assert _ask() is None


def test_what_another_user_owns_is_no_marker(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with marked(folder):
        user = os.getuid()
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
        assert _ask() is None
        monkeypatch.undo()


@pytest.mark.parametrize("content", ["", "{}", "[]", '["1"]', '["1", 2]', "\x00"])
def test_a_damaged_marker_names_no_run(home: Path, folder: str, content: str) -> None:
    with marked(folder):
        (home / str(os.getpid())).write_text(content)
        assert _ask() is None


def test_markers_of_runs_that_were_killed_are_removed(home: Path, folder: str) -> None:
    with marked(folder):
        pass
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    for name in (str(gone.pid), "no-number"):
        (home / name).write_text(json.dumps(["1", folder]))
        (home / name).chmod(0o600)
    with marked(folder):
        assert [path.name for path in home.iterdir()] == [str(os.getpid())]


def test_a_folder_that_somebody_else_made_first_is_not_used(home: Path, folder: str) -> None:
    home.mkdir()
    home.chmod(0o777)
    with marked(folder):
        assert list(home.iterdir()) == []
        assert _ask() is None


def test_where_the_system_does_not_tell_no_run_is_found(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with marked(folder):
        monkeypatch.setattr(ancestors, "process", lambda _: None)
        assert _ask() is None
        monkeypatch.undo()


@pytest.mark.parametrize("proc", [True, False], ids=["proc", "ps"])
def test_of_a_process_parent_and_start_are_known(proc: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not proc:
        there = os.path.exists
        monkeypatch.setattr(os.path, "exists", lambda path: path != "/proc/self/stat" and there(path))
        if not any(os.access(f"{one}/ps", os.X_OK) for one in os.defpath.split(os.pathsep)):
            pytest.skip("no ps")
    known: Any = process(os.getpid())
    assert isinstance(known, Process)
    assert known.parent == os.getppid()
    assert known.start
    assert process(2**22 + 7) is None


def test_the_start_does_not_depend_on_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    known = process(os.getpid())
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert process(os.getpid()) == known
