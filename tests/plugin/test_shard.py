"""Shards take every n-th test; together they take all, once."""

from __future__ import annotations

import json

import pytest

TESTS = {f"test_{name}": "def test_claim(robust): robust.record(made())" for name in "abcde"}


def _tests(project, run, *args: str) -> tuple[list[str], dict]:
    run("--robust", "--robust-json=out.json", *args)
    content = json.loads((project.path / "out.json").read_text())
    return [row["test"] for row in content["results"]], content["shard"]


def test_shards_share_the_tests_out(write_light, project, run) -> None:
    write_light(**TESTS)
    whole, shard = _tests(project, run)
    assert (len(whole), shard) == (5, None)
    first, about = _tests(project, run, "--robust-shard=1/2")
    second, _ = _tests(project, run, "--robust-shard=2/2")
    assert (first, second) == (whole[::2], whole[1::2])
    assert about == {"index": 1, "count": 2, "tests": whole, "reported": whole[::2]}


def test_workers_know_the_whole(write_light, project, run_apart) -> None:
    pytest.importorskip("xdist")
    write_light(**TESTS)
    tests, about = _tests(project, run_apart, "--robust-shard=2/3", "-n", "2")
    assert (len(tests), len(about["tests"]), about["index"], about["count"]) == (2, 5, 2, 3)


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_a_shard_that_is_none_is_a_usage_error(write_light, run, wrong: str) -> None:
    write_light(**TESTS)
    result = run("--robust", f"--robust-shard={wrong}")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"*Expected --robust-shard=K/N*{wrong}*"])


def test_tests_that_claim_nothing_run_in_every_shard(write_light, run) -> None:
    write_light(**TESTS, test_other="def test_plain(): pass")
    run("--robust", "--robust-shard=1/5").assert_outcomes(passed=2, deselected=4)
