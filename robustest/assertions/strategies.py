"""The assertion that needs hypothesis, in a module by itself, so that no other import loads hypothesis."""

from robustest.assertions.assertion import assertion
from robustest.claims.strategies import measure_robust_to


@assertion(measure_robust_to)
def assert_robust_to() -> None:
    """Claim that accuracy is at least `at_least` under every change that a hypothesis strategy draws.

    Hypothesis searches for a change that breaks the claim, and shrinks it to the mildest. A pass is a search without a
    counterexample, not a proof.
    """
