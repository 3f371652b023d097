"""Graphs are made in silence."""

from __future__ import annotations

import logging
import warnings

import pytest
import torch
from torch import Tensor, nn

from robustest.exporting import exported


class Talkative(nn.Module):
    """Warns whenever it is called."""

    def forward(self, x: Tensor) -> Tensor:
        warnings.warn("about the export", DeprecationWarning, stacklevel=1)
        return 2 * x


class Heard(logging.Handler):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(0)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_torch_s_log_of_the_graph_does_not_reach_the_user(heard: Heard) -> None:
    trace = logging.getLogger("torch.__trace")
    trace.addHandler(heard)  # as pytest does with loggers that do not propagate
    try:
        program = exported(Talkative(), torch.ones(2, 3), torch.export.Dim("batch"))
        assert heard.records == []
        trace.debug("of others")
        assert len(heard.records) == 1
    finally:
        trace.removeHandler(heard)
    assert torch.equal(program.module()(torch.ones(5, 3)), torch.full((5, 3), 2.0))


def test_the_log_is_on_again_after_a_failure() -> None:
    with pytest.raises(Exception, match=r"reduction dim|cannot be multiplied"):
        exported(nn.Linear(4, 4), torch.ones(2, 3), torch.export.Dim("batch"))
    assert not logging.getLogger("torch.__trace").disabled
