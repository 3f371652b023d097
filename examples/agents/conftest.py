"""One thread: nets this small gain little from more, and lose much where other programs share the cores."""

import pytest
import torch

collect_ignore = ["failing"]  # run only where it is named: pytest --robust examples/agents/failing


@pytest.fixture(scope="package", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
