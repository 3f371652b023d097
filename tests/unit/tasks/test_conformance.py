"""The tasks of robustest keep the protocol that users' own tasks are checked against."""

from __future__ import annotations

import inspect

import pytest
import torch
from torch import Tensor

from robustest import tasks
from robustest.tasks import (
    Classification,
    MultiLabel,
    Regression,
    Retrieval,
    Segmentation,
    Task,
    TopK,
    check_answers,
    checked_task,
)

ROWS: dict[str, tuple[Task, Tensor, Tensor]] = {
    "Classification": (Classification(), torch.eye(4)[:2], torch.tensor([0, 3])),
    "MultiLabel": (MultiLabel(), torch.tensor([[2.0, -1.0], [1.0, 3.0]]), torch.tensor([[1, 0], [0, 1]])),
    "Regression": (Regression(0.5), torch.tensor([[0.2], [3.0]]), torch.tensor([[0.0], [1.0]])),
    "Retrieval": (
        Retrieval(torch.eye(4), 1),
        torch.tensor([[0.9, 0.2, 0.1, 0.0], [0.0, 0.1, 0.9, 0.3]]),
        Retrieval(torch.eye(4), 1).targets([0, 3]),
    ),
    "Segmentation": (
        Segmentation(2, floor=0.5),
        torch.eye(2).view(2, 2, 1, 1).expand(2, 2, 3, 3),
        torch.zeros(2, 3, 3, dtype=torch.int64),
    ),
    "TopK": (TopK(3), torch.arange(10.0).view(2, 5), torch.tensor([0, 4])),
}
"""By the name of a task: one, outputs of two samples, and their targets, of which one holds and one does not."""
LEFT_OUT = {
    "Detection": "its outputs are lists of boxes (test_detection.py)",
    "WorstScore": "searches make it of another task (test_graded_tasks.py)",
}


def test_every_task_is_in_the_table() -> None:
    there = {
        name
        for name, value in vars(tasks).items()
        if inspect.isclass(value) and not getattr(value, "_is_protocol", False) and hasattr(value, "holds")
    }
    missing = there - {*ROWS, *LEFT_OUT}
    assert not missing, f"Add to ROWS in tests/unit/tasks/test_conformance.py, or LEFT_OUT: {', '.join(missing)}."


@pytest.mark.parametrize("name", ROWS)
def test_a_task_of_robustest_keeps_the_protocol(name: str) -> None:
    task, output, y = ROWS[name]
    check_answers(checked_task(task), output, y)
    assert sorted(task.holds(output, y).tolist()) == [False, True]
