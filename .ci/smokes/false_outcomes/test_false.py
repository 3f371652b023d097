"""A false claim on recorded outcomes, which must fail."""

from robustest import assert_rate
from robustest.data import Outcomes


def test_not_all_are_right() -> None:
    scores = Outcomes.of([{"item": f"{place}", "score": place % 10 > 0} for place in range(400)])
    assert_rate(scores, at_least=0.95)
