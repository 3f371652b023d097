"""A controller that falls with the longest pole: what fails names the mildest one that fails it."""

import pytest

pytest.importorskip("robustest_rl", reason="robustest-rl, in plugins/, brings claims on agents")

from robustest_rl import Dynamics, assert_robust_return

from ..policies import hasty  # noqa: TID252 - an example is no installed package

pytestmark = pytest.mark.robust


def test_the_pole_may_be_half_as_long_or_thrice():
    assert_robust_return(hasty, "CartPole-v1", Dynamics({"length": (0.25, 1.5)}), at_least=475, min_share=0.9)
