"""The rows of a search that step together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from robustest.attacks import Problem
from robustest.engine.searches.rows import join, join_problems, pick, pick_problem
from robustest.threats import Rows


@dataclass(slots=True)
class Batch:
    """Rows that step together.

    What the host wants to know of them in every round it keeps as plain numbers: asking tensors costs as much as a
    small model's pass.
    """

    problem: Problem
    state: Rows
    position: Tensor  # rows of the chunk, on the device
    alive: Tensor  # not broken yet
    margin: Tensor  # smallest seen
    born: Tensor  # the round each was admitted in, on the host
    whole: bool  # the host knows that every row is alive
    changed: bool = True  # a row was broken, or rows came or went, since the batch was last compacted
    oldest: int = 0  # of `born`
    newest: int = 0
    _wide: Rows | None = None

    def __post_init__(self) -> None:
        self.oldest, self.newest = int(self.born.min()), int(self.born.max())

    def region(self, lanes: int) -> Rows:
        """The threat's rows, each as often in a row as it has proposals at once (0 and 1: once)."""
        if lanes <= 1:
            return self.problem.region
        if self._wide is None:
            self._wide = {name: value.repeat_interleave(lanes, 0) for name, value in self.problem.region.items()}
        return self._wide


def join_batches(first: Batch, second: Batch) -> Batch:
    """The rows of both, one after the other."""
    return Batch(
        join_problems(first.problem, second.problem),
        join(first.state, second.state),
        torch.cat([first.position, second.position]),
        torch.cat([first.alive, second.alive]),
        torch.cat([first.margin, second.margin]),
        torch.cat([first.born, second.born]),
        whole=first.whole and second.whole,
    )


def pick_batch(batch: Batch, rows: Tensor) -> Batch:
    """The chosen rows: a mask or an index, on any device."""
    here = rows.to(batch.position.device)
    return Batch(
        pick_problem(batch.problem, here),
        pick(batch.state, here),
        batch.position[here],
        batch.alive[here],
        batch.margin[here],
        batch.born[rows.to(batch.born.device)],
        whole=batch.whole,
    )
