import pytest
from assistant import generate
from test_assistant import test_each_kind, test_no_worse_than_today, test_rate  # noqa: F401


def explaining_with_an_answer(item):
    """Answer with the new prompt, which says where the answer stands."""
    return generate(f"Think step by step, and end with 'Answer:' and the number.\n{item['prompt']}")


@pytest.fixture(scope="module")
def candidate():
    return explaining_with_an_answer
