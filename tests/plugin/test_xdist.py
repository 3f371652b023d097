"""Under pytest-xdist the controller tells the same as one process would."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

pytest.importorskip("xdist")

# No two of these tests ask for the same outcomes: whether one remembers what another stored would hang on which worker
# came first.
CLAIMS = """
    @pytest.mark.parametrize("eps", [0.01, 0.1, 0.4])
    def test_linf(robust_model, robust_data, eps):
        claim(robust_model, robust_data, eps, at_least=0.5)

    def test_two(robust_model, robust_data):
        claim(robust_model, robust_data, 0.02, at_least=1.0)
        claim(robust_model, robust_data, 0.2, at_least=0.5, scope="population")

    def test_noise(robust_model):
        from toy import data
        assert_shift_accuracy(robust_model, data(size=1), "gaussian_noise", severity=5, at_least=1.0)

    def test_breaks(robust_model, robust_data):
        claim(lambda x: robust_model(x) * float("nan"), robust_data, 0.1, at_least=0.5)

    def test_plain(): pass
"""


def _timeless(content: dict[str, Any]) -> dict[str, Any]:
    content["origin"]["time"] = ""
    for row in content["results"]:
        if row["result"] is not None:
            row["result"]["cost"]["seconds"] = 0.0
    return content


@pytest.mark.usefixtures("as_in_other_processes")
def test_two_workers_find_and_tell_what_one_process_does(project, write, run, read_json, section):
    write(test_a=CLAIMS)
    alone = run("--robust", "--robust-json=out.json", "--robust-seed=5")
    wanted = _timeless(read_json())
    shutil.rmtree(project.path / ".robustest")
    shared = run("--robust", "--robust-json=out.json", "--robust-seed=5", "-n", "2", "--junitxml=junit.xml")
    assert _timeless(read_json()) == wanted
    assert wanted["lost"] == []
    assert shared.ret == alone.ret == 1
    assert shared.parseoutcomes() == alone.parseoutcomes() == {"passed": 3, "failed": 3, "errors": 1}
    assert section(shared) == section(alone)
    shared.stdout.fnmatch_lines(
        ["robustest *: profile=dev seed=5 *", "E     measured  robust accuracy 0.000 after attack *"]
    )


def test_a_green_run_stays_green(write_light, run, section):
    write_light(
        test_a="""
        @pytest.mark.parametrize("k", range(6))
        def test_it(robust, k): robust.record(made(statement=str(k)))
        """
    )
    result = run("--robust", "-n", "2")
    result.assert_outcomes(passed=6)
    assert result.ret == 0
    assert [row.split()[0] for row in section(result)] == [f"test_a.py::test_it[{k}]" for k in range(6)]


def test_a_wrong_marker_is_never_green(write_light, run):
    write_light(
        test_a="""
        @pytest.mark.robust(sed=3)
        def test_wrong(): pass
        """
    )
    result = run("--robust", "-n", "1")
    assert result.ret not in (0, 5)
    assert "Did you mean 'seed'?" in result.stdout.str() + result.stderr.str()


def test_wrong_options_are_usage_errors_before_a_worker_starts(write, run):
    write(test_a="def test_plain(): pass")
    assert run("--robust", "-n", "1", "--robust-device=gpu").ret == 4


def test_a_test_in_a_group_can_be_replayed(write_light, run, section):
    write_light(
        test_a="""
        @pytest.mark.xdist_group("g")
        def test_it(robust):
            robust.record(made("failed"))
        """
    )
    result = run("--robust", "-n", "1", "--dist", "loadgroup")
    assert result.ret == 0
    *_, replay = section(result)
    again = run(*replay.split()[2:])
    again.assert_outcomes(passed=1)
