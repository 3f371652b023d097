"""A task whose answers are to be made as bad as can be, rather than wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robustest.tasks.grading import above
from robustest.tasks.protocol import Task

_NOTHING = 1e-7
"""Less than any share of counts: what is at it is at 0."""


@dataclass(frozen=True, slots=True)
class WorstScore:
    """The same task, of which an answer holds as long as its score can still fall: while it is above 0.

    So a search goes on below any floor, and what it keeps of a row that it never "breaks" is the lowest score.
    """

    of: Task

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "of":  # before it is filled, as by pickle
            raise AttributeError(name)
        return getattr(self.of, name)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) bool: whether the score is above 0."""
        return self.of.score(output, y) > _NOTHING

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) the score, and a little of the cross-entropy, which orders equal ones."""
        return above(self.of.score(output, y), _NOTHING, self.of.losses["ce"](output, y))
