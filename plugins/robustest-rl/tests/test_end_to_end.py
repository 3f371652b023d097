"""A claim in a test run: remembered, on workers, replayed."""

from __future__ import annotations

import json

import pytest
import robustest_rl

robustest_rl.assert_robust_return  # noqa: B018 - loaded before runs inside this process, which forget what they load

TEST = """
import numpy as np
import pytest
from robustest_rl import ActionNoise, assert_robust_return
from walks import Line, right

@pytest.mark.robust
def test_walk():
    assert_robust_return(right, Line, ActionNoise(0.1), at_least=4, min_share=0.5, episodes=70)
"""


def run(pytester: pytest.Pytester, *words: str) -> tuple[str, dict[str, object]]:
    always = ("--robust", "--robust-json", "out.json", "-p", "no:cacheprovider", "-o", "robust_recheck=0")
    result = pytester.runpytest_inprocess(*always, *words)
    result.assert_outcomes(passed=1)
    row = json.loads((pytester.path / "out.json").read_text())["results"][0]["result"]
    return result.stdout.str(), {name: row[name] for name in ("verdict", "outcomes", "interval", "details")}


def test_a_second_run_remembers_and_workers_find_the_same(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    said, first = run(pytester)
    assert "cached" not in said
    said, second = run(pytester)
    assert "cached" in said
    assert first == second
    said, third = run(pytester, "--robust-no-cache", "--robust-workers", "2")
    assert first == third


BASELINE = """
import pytest
from robustest_rl import assert_robust_return
from walks import Line, POLICY

@pytest.mark.robust
def test_walk():
    assert_robust_return(POLICY, Line, at_least=4, no_worse_than="base.json", tolerance=0.1, episodes=70)
"""


def test_a_baseline_is_compared_by_episode(pytester: pytest.Pytester) -> None:
    words = ("--robust", "--robust-no-cache", "-p", "no:cacheprovider")
    pytester.makepyfile(BASELINE.replace("POLICY", "right"))
    pytester.runpytest_inprocess(*words, "--robust-update-baseline").assert_outcomes(passed=1)
    pytester.runpytest_inprocess(*words).assert_outcomes(passed=1)
    pytester.makepyfile(BASELINE.replace("POLICY", "left"))
    result = pytester.runpytest_inprocess(*words)
    result.assert_outcomes(failed=1)
    # Lines are folded to the terminal's width, and those of an error begin with E.
    told = " ".join(result.stdout.str().replace("\nE ", "\n").split())
    assert "tolerance 0.1 (population; 70 lost, 0 gained of 70)" in told


def test_few_episodes_do_not_show_that_nothing_was_lost(pytester: pytest.Pytester) -> None:
    words = ("--robust", "--robust-no-cache", "-p", "no:cacheprovider")
    pytester.makepyfile(BASELINE.replace("POLICY", "right").replace("tolerance=0.1", "tolerance=0.01"))
    pytester.runpytest_inprocess(*words, "--robust-update-baseline").assert_outcomes(passed=1)
    result = pytester.runpytest_inprocess(*words)
    result.assert_outcomes(failed=1)
    told = " ".join(result.stdout.str().replace("\nE ", "\n").split())
    assert "not decided: fell by 0.0000 [-0.063" in told
    assert "about 390 more samples like these would show that the fall is within the tolerance" in told
