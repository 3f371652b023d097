"""What a task is: all that depends on what a model answers, and on what is right.

A search climbs a loss of the task, and the engine judges by `holds`; neither knows what an answer means. The task
travels as `Evaluator.task`, from where a look, a search and a cascade have it; a searcher has it as `Problem.task`.

Targets and answers are tensors led by the batch axis: targets (B, *T), outputs (B, *O), as the model gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (B, *O) and targets (B, *T) to (B,) values that grow as the answers get worse; has a gradient."""
Describing = dict[str, Any]
"""What a counterexample says of its sample, plain JSON types: classes as `label`, `clean` and `predicted` where an
answer is one; else a line of text as `told`."""


@runtime_checkable
class Task(Protocol):
    """A frozen value of its settings, and these pure functions. They are called in every round: they build nothing.

    Where a row has A answers, outputs (B, A, *O) and targets (B, *T), `holds`, `margin` and the losses give (B, A).
    """

    @property
    def name(self) -> str:
        """The task's, e.g. "classification"."""

    @property
    def one_class(self) -> bool:
        """Whether an answer is one class of K, by logits (B, K): what picks classes to aim at works on those alone."""

    @property
    def placed(self) -> bool:
        """Whether targets are places in the image, so that they move where it is moved."""

    @property
    def losses(self) -> Mapping[str, Loss]:
        """What can be climbed, by the names that searchers say. "margin" is always there: the margin negated, or what a
        search climbs in its place where the margin has steps; so is "log_odds", whose slope never rounds to nothing.
        """

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

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """(B,) how right answers are, from 0 to 1."""

    def agreement(self, said: Tensor, other: Tensor) -> Tensor:
        """(B,) how right predictions (B, *T) are by targets, or by other predictions, from 0 to 1."""

    def right(self, said: Tensor, other: Tensor) -> Tensor:
        """(B,) bool: whether predictions (B, *T) hold by targets, or by other predictions."""

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """Targets (B, *T) of images that were moved; as they were where targets are no places.

        Args:
            y: (B, *T) those of the images as they were.
            source: (B, 2, H, W) the row and the column, from 0 on, where each pixel came from.
            inside: (B, H, W) bool, whether that is inside the image.

        Raises:
            ConfigError: they cannot follow.
        """

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        """What a counterexample says: its target, and the model's answers before and after.

        Args:
            y: (*T) one sample's target.
            clean, predicted: (*T) predictions of the unchanged, and of the changed sample.
            moved: (*T) the target of the changed sample; None where it is the same.
        """


@runtime_checkable
class Counting(Protocol):
    """A task with a metric of the whole set that is no mean over samples, but a function of what they count."""

    def counts(self, said: Tensor, y: Tensor) -> Tensor:
        """(B, 2 S) int64 of predictions (B, *T): S intersections, then S unions, that add up over samples."""


@runtime_checkable
class Sided(Protocol):
    """A task whose answers can turn wrong in several ways, each of which a search has to try by itself."""

    def ways(self, output: Tensor, y: Tensor) -> Tensor:
        """(B, F) how far an answer is from turning wrong in each way: it holds where all are positive."""


@runtime_checkable
class Stratified(Protocol):
    """A task whose samples differ in how much there is to get right, so that a mean over all may hide some of them.

    A task may also have a field `by`: where it is "objects", a claim passes only where no stratum is surely beyond its
    threshold; see `robustest.decisions.strata`.
    """

    @property
    def nouns(self) -> tuple[str, str]:
        """Names of what is counted, of one and of several: ("object", "objects")."""

    def strata(self, y: Tensor) -> Tensor:
        """(B,) int64 counts in targets (B, *T), or float64 values where they are no counts."""
