"""What a task is: all that depends on what a model answers, and on what is right.

A search climbs a loss of the task, and the engine judges by `holds`; neither knows what an answer means. The task
travels as `Evaluator.task`, from where a look, a search and a cascade have it; a searcher has it as `Problem.task`.

Targets and answers are tensors led by the batch axis: targets (B, *T), outputs (B, *O), as the model gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, runtime_checkable

from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (B, *O) and targets (B, *T) to (B,) values that grow as the answers get worse; has a gradient."""


@runtime_checkable
class Task(Protocol):
    """A frozen value of its settings, and these pure functions. They are called in every round: they build nothing.

    Where a row has A answers, outputs (B, A, *O) and targets (B, *T), `holds`, `margin` and the losses give (B, A).
    """

    @property
    def name(self) -> str:
        """The task's, e.g. "classification"."""

    @property
    def losses(self) -> Mapping[str, Loss]:
        """What can be climbed, by the names that searchers say: "margin", the margin negated, is always there."""

    def targets(self, given: object) -> Tensor:
        """Targets (B, *T) on the CPU, read from what the data give for B samples.

        Raises:
            DataError: they are no targets of this task.
        """

    def check_targets(self, y: Tensor, width: int) -> None:
        """Refuse targets (B, *T) that a model cannot reach whose outputs are so wide.

        Raises:
            DataError: a target is out of range.
        """

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        """The width of a model's output: what all its outputs share, e.g. the number of classes.

        Args:
            output: what the model gave.
            rows: samples that it was asked.
            width: of its outputs before; 0 where this is the first.

        Raises:
            ModelError: the output has another shape than this task's, or than before.
        """

    def predictions(self, output: Tensor) -> Tensor:
        """What outputs (B, *O) say, in the form of targets (B, *T)."""

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) bool: whether the answers are right. The engine judges by this alone."""

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) how far answers are from turning wrong: positive where they hold, negative where they do not.

        Zero is a tie, which `holds` decides. It orders what is left for the next attack, and lets a search that sees
        nothing but positive ones spare itself `holds`; it never makes anything count as broken.
        """

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor) -> dict[str, int]:
        """What a counterexample says: its target, and the model's answers before and after, as plain JSON types.

        Args:
            y: (*T) one sample's target.
            clean, predicted: (*T) predictions of the unchanged, and of the changed sample.
        """
