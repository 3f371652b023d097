"""`robustest watch`: a change starts the tests again, a run's own files do not, and no change is overlooked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from robustest.cli import watch as command

Make = Callable[..., Any]
Run = Callable[[], tuple[int, Sequence[str], Sequence[str]]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, robustest: Make) -> Callable[..., list[str]]:
    """Watches with runs and pauses by hand; Ctrl-C comes once either is at its end.

    `watched([run, ...], [pause, ...], code=0)`: a run returns pytest's exit code, and the files that it read and wrote;
    the lines that were printed come back, with the number of runs as the last.
    """

    def of(runs: Sequence[Run], pauses: Sequence[Callable[[], object]], *, code: int = 0) -> list[str]:
        left, waits, ran = iter(runs), iter(pauses), 0

        def run_pytest(arguments: Sequence[str]) -> int:
            nonlocal ran
            run = next(left, None)
            if run is None:
                raise KeyboardInterrupt
            ran += 1
            status, read, wrote = run()
            (plan,) = [part.partition("=")[2] for part in arguments if part.startswith("--robust-plan=")]
            folder = json.loads(Path(plan).read_text(encoding="utf-8"))["files"]
            content = {"read": [str(Path(one).resolve()) for one in read]}
            content["wrote"] = [str(Path(one).resolve()) for one in wrote]
            Path(folder, "files-1.json").write_text(json.dumps(content), encoding="utf-8")
            return status

        def sleep(_: float) -> None:
            pause = next(waits, None)
            if pause is None:
                raise KeyboardInterrupt
            pause()

        monkeypatch.setattr(command, "_ELSEWHERE", ())  # this folder is a temporary one
        monkeypatch.setattr(command, "run_pytest", run_pytest)
        monkeypatch.setattr(command.time, "sleep", sleep)
        done = robustest("watch", "-q", "tests")
        assert done.code == code
        assert done.lines[-1] == "stopped watching"
        return [*filter(None, done.lines[:-1]), str(ran)]

    return of


def nothing() -> None:
    pass


def touched(name: str, text: str = "") -> Callable[[], None]:
    def write() -> None:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}{path.read_text() if path.exists() else ''}x")

    return write


def run(read: Sequence[str] = (), wrote: Sequence[str] = (), *, code: int = 0, changes: Sequence[str] = ()) -> Run:
    def ended() -> tuple[int, Sequence[str], Sequence[str]]:
        for name in changes:
            touched(name)()
        return code, read, wrote

    return ended


@pytest.mark.parametrize("name", ["test_a.py", "weights/model.onnx", "../elsewhere.csv"])
def test_a_change_starts_the_tests_again(watched: Any, name: str) -> None:
    """Of the project, whether an event named it or not, and of a file elsewhere that the tests read."""
    touched("test_a.py")()
    touched(name)()
    read = [] if name.endswith("onnx") else [name]
    lines = watched([run(read), run(read, code=1)], [nothing, nothing, touched(name), nothing], code=1)
    watching = "watching 1 file; Ctrl-C ends" if name == "test_a.py" else "watching 2 files; Ctrl-C ends"
    assert lines == [watching, f"changed: {name}", watching, "2"]


def test_new_and_removed_files_are_changes(watched: Any) -> None:
    touched("a.py")()
    pauses = [touched("b.py"), nothing, Path("a.py").unlink, nothing]
    lines = watched([run(), run(), run()], pauses)
    assert [line for line in lines if line.startswith("changed")] == ["changed: b.py", "changed: a.py"]


def test_a_change_is_waited_for_until_it_is_whole(watched: Any) -> None:
    """An editor writes a file in steps, git many files in a row."""
    pauses = [touched("a.py"), touched("b.py"), touched("a.py"), nothing]
    lines = watched([run(), run()], pauses)
    assert lines[1:] == ["changed: a.py, b.py", "watching 2 files; Ctrl-C ends", "2"]


def test_what_a_run_writes_starts_no_other(watched: Any) -> None:
    written = run(wrote=["report/index.html"], changes=["report/index.html"])
    assert watched([written, written], [nothing])[-1] == "1"
    # Nor does a file that no event names, once it has changed in two runs on end.
    native = run(changes=["mlflow.db"])
    lines = watched([native, native, native, native], [nothing])
    assert [*lines[:1], lines[-1]] == ["changed: mlflow.db", "2"]


def test_a_source_that_changes_during_a_run_always_starts_another(watched: Any) -> None:
    """Nobody knows which of its contents the tests used: the last run must have begun after the last change."""
    touched("model.py")()
    moving = run(read=["model.py"], changes=["model.py"])
    lines = watched([moving, moving, moving, run(read=["model.py"])], [nothing])
    assert lines == [*["changed: model.py"] * 3, "watching 1 file; Ctrl-C ends", "4"]


def test_hidden_files_caches_and_environments_are_left_alone(watched: Any) -> None:
    names = (".git/index", "a/__pycache__/a.pyc", ".robustest/chunks/a", "env/pyvenv.cfg", "env/lib/a.py", "a.py~")
    pauses = [touched(name) for name in names]
    lines = watched([run(read=[".robustest/chunks/a"])], pauses)
    assert lines == ["watching 0 files; Ctrl-C ends", "1"]


def test_many_changes_are_counted(watched: Any) -> None:
    def many() -> None:
        for number in range(8):
            touched(f"{number}.py")()

    assert watched([run(), run()], [many, nothing])[1] == "changed: 0.py, 1.py, 2.py, 3.py, 4.py, and 3 more"


def test_ctrl_c_in_the_first_run_has_no_verdict(watched: Any) -> None:
    assert watched([], [], code=130) == ["0"]


def test_ctrl_c_in_a_later_run_leaves_no_verdict_of_an_earlier_one(watched: Any) -> None:
    """It is green, and about other files."""
    assert watched([run()], [touched("a.py"), nothing], code=130)[-1] == "1"


def test_files_that_are_not_watched_are_no_secret(watched: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        touched(f"{number}.py")()
    monkeypatch.setattr(command, "_MOST", 3)
    lines = watched([run()], [nothing])
    assert lines[0] == "watching 3 files; Ctrl-C ends"
    assert lines[1].startswith("more than 3 files below ")


TEST = """\
from pathlib import Path
from robustest.results import Cost, Result, Verdict

KNOWN = Path("known.txt").read_text()

def test_it(robust):
    Path("out").write_text("written")
    robust.record(Result.of(
        kind="robust_accuracy", statement="made up", verdict=Verdict.PASSED, rule="made up", quantity="accuracy",
        estimate=0.5, interval=(0.25, 0.75), threshold=0.5, comparison=">=", n=4, n_total=4,
        outcomes=(True,) * 4, cost=Cost(), seed=0, setting=KNOWN.strip(), method="none"))
"""


def test_a_project_is_watched_until_ctrl_c(tmp_path: Path) -> None:
    """Also if a shell started it in the background: it says that Ctrl-C ends it, and nothing else would."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "test_a.py").write_text(TEST)
    known = tmp_path / "known.txt"
    known.write_text("one\n")
    (tmp_path / "project" / "known.txt").symlink_to(known)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    watch = (sys.executable, "-u", "-m", "robustest.cli", "watch", "-q", "-s", "-p", "no:cacheprovider")
    process = subprocess.Popen(  # noqa: S603 - our own project
        ["/bin/sh", "-c", 'trap "" INT; exec "$@"', "sh", *watch],
        cwd=tmp_path / "project",
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        told = ""
        for number in (1, 2):
            while "Ctrl-C ends" not in (line := process.stdout.readline()):
                assert line, told
                told += line
            assert told.count("1 passed") == number, told
            if number == 1:
                known.write_text("two\n")
        assert "changed: known.txt\n" in told
        assert "changed: out" not in told
        os.killpg(process.pid, signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert rest.splitlines()[-1] == "stopped watching"
        assert "Traceback" not in rest
    finally:
        process.kill()
        process.wait()
