"""A claim on recorded outcomes, and one on the answers of a function: neither needs torch."""

from robustest import assert_rate
from robustest.data import Outcomes

BEFORE = Outcomes.of([{"item": f"{place}", "score": place % 10 > 0} for place in range(400)])


def test_nine_of_ten_are_right() -> None:
    assert_rate(BEFORE, at_least=0.8)


def test_what_is_asked_is_answered() -> None:
    items = [{"prompt": f"say {number}", "expected": f"SAY {number}"} for number in range(60)]
    assert_rate(
        lambda item: item["prompt"].upper(), items, score=lambda answer, item: answer == item["expected"], at_least=0.9
    )
