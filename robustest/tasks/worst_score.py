"""A task whose answers are to be made as bad as can be, rather than wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from robustest.tasks.grading import above
from robustest.tasks.protocol import Task

_ROUNDING = 1e-9
_NOTHING = 1e-7
"""Less than any share of counts: what is at it is at 0."""


@dataclass(frozen=True, slots=True)
class WorstScore:
    """The same task, of which an answer holds as long as its score can still fall: while it is above 0.

    So a search goes on below any floor, and what it keeps of a row that it never "breaks" is the lowest score.

    Attributes:
        of: the task.
        least: the score down to which an answer holds, itself with it.
    """

    of: Task
    least: float = _NOTHING

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("of", "least"):  # before it is filled, as by pickle
            raise AttributeError(name)
        return getattr(self.of, name)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) bool: whether the score is above the least."""
        return self.of.score(output, y) >= self.least - _ROUNDING

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) the score, and a little of the log-odds, which orders equal ones."""
        return above(self.of.score(output, y), self.least, self.of.losses["log_odds"](output, y))
