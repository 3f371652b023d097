"""`-n` under --robust: as many workers as there are cores or GPUs, and a share of them for each."""

from __future__ import annotations

import os

import pytest

from robustest import devices
from robustest.pytest_plugin import xdist

pytest.importorskip("xdist")

TEST = """
    import os
    from pathlib import Path

    def seen():
        return [os.environ.get(name, "unset") for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")]

    @pytest.mark.parametrize("k", range(6))
    def test_it(robust, k):
        Path(f"{os.environ['PYTEST_XDIST_WORKER']}.txt").write_text(" ".join([*seen(), *early.seen]))
        robust.record(made(statement=str(k)))
"""


@pytest.fixture(autouse=True)
def machine(project, monkeypatch):
    """Six cores; what a worker's environment was when conftest.py came is remembered."""
    for name in ("OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES", "PYTEST_XDIST_AUTO_NUM_WORKERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(xdist, "cores", lambda: 6)
    monkeypatch.setattr(devices, "_DRIVERS", ())


def seen(project):
    return {path.stem: path.read_text().split() for path in project.path.glob("gw*.txt")}


def test_workers_share_cores_and_gpus(project, write_light, run, monkeypatch):
    project.makepyfile(early="import os; seen = [os.environ.get('CUDA_VISIBLE_DEVICES', 'unset')]")
    project.makeconftest("import early")
    write_light(test_a="import early\n" + TEST.replace("\n    ", "\n"))
    monkeypatch.setattr(devices, "_DRIVERS", (os.devnull,))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    result = run("--robust", "-n", "auto")
    result.assert_outcomes(passed=6)
    result.stdout.fnmatch_lines(["*2 workers*"])
    assert seen(project) == {"gw0": ["3", "3", "3"], "gw1": ["3", "1", "1"]}
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,1"


def test_without_gpus_there_is_a_worker_for_each_core(project, write_light, run, monkeypatch):
    monkeypatch.setattr(xdist, "cores", lambda: 2)
    project.makepyfile(early="seen = []")
    write_light(test_a="import early\n" + TEST.replace("\n    ", "\n"))
    run("--robust", "-n", "auto").assert_outcomes(passed=6)
    assert seen(project) == {"gw0": ["1", "unset"], "gw1": ["1", "unset"]}


def test_other_runs_and_the_users_own_number_are_left_to_xdist(write_light, run, monkeypatch):
    monkeypatch.setenv("PYTEST_XDIST_AUTO_NUM_WORKERS", "1")
    write_light(test_a="def test_it(robust): robust.record(made())")
    run("--robust", "-n", "auto").stdout.fnmatch_lines(["*1 worker*"])
    monkeypatch.setattr(xdist, "process_count", None)
    run("-n", "auto").stdout.fnmatch_lines(["*1 worker*"])


def test_a_wrong_option_is_a_usage_error_with_auto_too(write_light, run):
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", "-n", "auto", "--robust-device=gpu").ret == pytest.ExitCode.USAGE_ERROR
