"""A baseline of episodes that were judged otherwise hides a loss: it is an error, not a comparison."""

from __future__ import annotations

import pytest
import robustest_rl.claim  # noqa: F401 - loaded before runs inside this process, which forget what they load

TEST = """
import pytest
from robustest_rl import ActionNoise, assert_robust_return
from walks import Line, right

class Shorter(Line):
    def __init__(self):
        super().__init__()
        self.steps = 3

@pytest.mark.robust
def test_walk():
    assert_robust_return(right, Line, at_least=4, no_worse_than="base.json", tolerance=0.1, episodes=70)
"""


@pytest.mark.parametrize(
    ("was", "now"),
    [
        ("at_least=4", "at_least=-99"),
        ("Line, at", "Line, ActionNoise(0.1), at"),
        ("Line, at", "Shorter, at"),
        ("at_least", "stochastic=True, at_least"),
    ],
)
def test_an_easier_claim_hides_no_loss(pytester: pytest.Pytester, was: str, now: str) -> None:
    words = ("--robust", "--robust-no-cache", "-p", "no:cacheprovider")
    pytester.makepyfile(TEST)
    pytester.runpytest_inprocess(*words, "--robust-update-baseline").assert_outcomes(passed=1)
    pytester.runpytest_inprocess(*words).assert_outcomes(passed=1)
    pytester.makepyfile(TEST.replace(was, now))
    pytester.runpytest_inprocess(*words).assert_outcomes(errors=1)
