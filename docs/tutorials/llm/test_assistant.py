import pytest
from assistant import generate, questions, right

from robustest import assert_rate, assert_worst_group_rate


def in_use(item):
    """Answer with the prompt that the shop uses today."""
    return generate(f"Answer with a number.\n{item['prompt']}")


def explaining(item):
    """Answer with the new prompt, which explains the answer to the customer."""
    return generate(f"Think step by step.\n{item['prompt']}")


@pytest.fixture(scope="module")
def candidate():
    return explaining


def test_rate(candidate):
    assert_rate(candidate, questions(), score=right, at_least=0.5)


def test_no_worse_than_today(candidate):
    assert_rate(candidate, questions(), score=right, no_worse_than=in_use, tolerance=0.05)


def test_each_kind(candidate):
    assert_worst_group_rate(candidate, questions(), score=right, at_least=0.8)
