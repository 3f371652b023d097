"""The replay command repeats a test as it was: it is parsed and run here, and must find the very same."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from typing import Any

import pytest

STRICT = """
    [tool.robustest.profiles.strict]
    alpha = 0.001
    seed = 4
    examples = 1

    [tool.robustest.profiles.ci]
    alpha = 0.002
"""

NOISE = """
    def test_noise(robust_model):
        from toy import data
        assert_shift_accuracy(robust_model, data(size=1), "gaussian_noise", severity=5, at_least=1.0)
"""


@pytest.fixture
def replays(project, run, section, read_json) -> Callable[..., dict[str, Any]]:
    """Run, replay what did not pass, and hold the two results equal; returns the result."""

    def _timeless(row: dict[str, Any]) -> dict[str, Any]:
        result = {**row["result"], "cost": {**row["result"]["cost"], "seconds": 0.0}}
        return {**row, "result": result, "replay": ""}

    def _replays(*args: str, ci: str | None = None, replay_ci: str | None = None) -> dict[str, Any]:
        json_file = f"--robust-json={project.path / 'out.json'}"
        first = run("--robust", json_file, *args, ci=ci)
        assert first.ret == 1
        (line,) = [line for line in section(first) if line.startswith("replay: ")]
        (row,) = [row for row in read_json()["results"] if row["result"]["verdict"] != "passed"]
        command = line.removeprefix("replay: ")
        assert row["replay"] == command
        assert first.stdout.str().count(command) == 1, "it is told once"
        program, *rest = shlex.split(command)
        assert program == "pytest"
        shutil.rmtree(project.path / ".robustest")  # so that it is measured anew, not recalled
        second = run(*rest, json_file, ci=replay_ci)
        second.assert_outcomes(failed=1)
        (again,) = read_json()["results"]
        assert _timeless(again) == _timeless(row)
        result: dict[str, Any] = row["result"]
        return result

    return _replays


def test_it_repeats_a_failure_and_runs_nothing_else(write, replays):
    write(test_a=NOISE + "\n    def test_other(robust): claimed()\n")
    assert replays()["seed"] == 0


@pytest.mark.parametrize("seed", [3, -3])
def test_it_repeats_the_seed_of_the_command_line(write, replays, seed):
    write(test_a=NOISE)
    assert replays(f"--robust-seed={seed}")["seed"] == seed


def test_it_repeats_the_seed_of_a_marker(write, replays):
    write(test_a="    @pytest.mark.robust(seed=9)" + NOISE)
    assert replays()["seed"] == 9


def test_it_repeats_the_seed_of_an_assertion(write, replays):
    write(test_a=NOISE.replace("at_least", "seed=8, at_least"))
    assert replays()["seed"] == 8


def test_it_quotes_what_a_shell_would_read(write, replays):
    write(
        test_a="""
        @pytest.mark.parametrize("eps", [0.1, 0.2], ids=["tame", "it's a $HOME `b`; c|d \\"e\\" *"])
        def test_it(robust_model, robust_data, eps):
            claim(robust_model, robust_data, eps, at_least=0.5 if eps == 0.1 else 0.9)
        """
    )
    assert replays()["setting"] == "Linf(eps=0.2)"


def test_it_repeats_the_profile(project, write, replays):
    project.makepyprojecttoml(STRICT)
    write(test_a=NOISE)
    assert replays("--robust-profile=strict")["seed"] == 4


def test_it_repeats_on_a_desk_what_ran_in_ci(project, write, replays):
    project.makepyprojecttoml(STRICT)
    write(test_a=NOISE)
    replays(ci="true")


def test_it_repeats_in_ci_what_ran_on_a_desk(project, write, replays):
    project.makepyprojecttoml(STRICT)
    write(test_a=NOISE)
    replays(replay_ci="true")


def test_it_repeats_a_profile_that_overruled_the_one_in_the_ini(project, write, replays):
    project.makepyprojecttoml(STRICT + '\n    [tool.pytest.ini_options]\n    robust_profile = "strict"\n')
    write(test_a=NOISE)
    assert len(replays("--robust-profile=dev")["counterexamples"]) == 3


def test_it_repeats_ini_values_given_on_the_command_line(write, replays):
    write(test_a=NOISE)
    assert len(replays("-o", "robust_examples=1")["counterexamples"]) == 1


def test_it_repeats_from_the_folder_it_was_started_in(project, replays, monkeypatch):
    project.makeini("[pytest]\npythonpath = .\n")
    folder = project.mkdir("sub")
    source = "from robustest import assert_shift_accuracy\n" + NOISE.replace("\n    ", "\n")
    (folder / "test_a.py").write_text(source, encoding="utf-8")
    monkeypatch.chdir(folder)
    replays()


def test_it_repeats_the_device_of_the_command_line(write, replays, section, run):
    write(test_a=NOISE)
    replays("--robust-device=cpu")
    assert "--robust-device=cpu" in section(run("--robust", "--robust-device=cpu"))[-1]
