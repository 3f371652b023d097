"""What a task is: all that depends on what a model answers, and on what is right.

A search climbs a loss of the task, and the engine judges by `holds`; neither knows what an answer means. The task
travels as `Evaluator.task`, from where a look, a search and a cascade have it; a searcher has it as `Problem.task`.

Targets and answers are tensors led by the batch axis: targets (B, *T), outputs (B, *O), as the model gives them.

Targets as tensors, from what data give.

Answers that are right in part: from a score and a floor to what holds, and by how much.

Answers of which a row has several: folded into the batch, and out of it again.

A task whose answers are to be made as bad as can be, rather than wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from robustest.checks import checked_real
from robustest.errors import ConfigError, DataError, expected

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


def integers(given: object, what: str, shape: str, *, axes: int) -> Tensor:
    """(B, ...) int64 on the CPU.

    Args:
        given: integers in a tensor, an array, or a sequence of them or of images.
        what: they are, in words.
        shape: that they have, in words.
        axes: of that shape.

    Raises:
        DataError: no integers, or of another shape.
    """
    values = _tensor(given, what)
    if values.is_floating_point() or values.is_complex():
        raise DataError(f"Expected {what} as integers but got {values.dtype}. Convert them if they are whole.")
    if values.ndim != axes:
        raise DataError(expected(f"{what} of shape {shape}", tuple(values.shape)))
    return values.to(torch.int64)


def reals(given: object, what: str, *, within: float | None = None) -> Tensor:
    """(B, ...) float32 on the CPU, finite.

    Args:
        given: numbers in a tensor, an array, or a sequence of them.
        what: they are, in words.
        within: how far float32 may move a number; None where it may round as it does.

    Raises:
        DataError: no numbers, or some that are NaN or infinite, or that float32 cannot tell so finely.
    """
    values = _tensor(given, what)
    if values.is_complex() or values.dtype == torch.bool:
        raise DataError(f"Expected {what} as real numbers but got {values.dtype}.")
    exact, values = values, values.to(torch.float32)
    moved = float((exact.double() - values.double()).abs().max()) if within is not None and values.numel() else 0.0
    if within is not None and moved > within:
        raise DataError(
            f"Expected {what} that float32 tells to within {within:g} but it moves one by {moved:g}: a model would be "
            "right on numbers that are not yours. Take off their mean, or scale them."
        )
    if not bool(torch.isfinite(values).all()):
        raise DataError(f"Expected finite {what} but some are NaN or infinite.")
    return values


def _tensor(given: object, what: str) -> Tensor:
    try:
        if isinstance(given, Tensor):
            return given.detach().cpu()
        if isinstance(given, Sequence) and not isinstance(given, str):
            each = [one.detach().cpu() if isinstance(one, Tensor) else torch.as_tensor(np.array(one)) for one in given]
            return torch.stack(each)
        return torch.as_tensor(np.array(given))
    except (TypeError, ValueError, RuntimeError):
        raise DataError(expected(f"{what}, all of one shape", given)) from None


_ROUNDING = 1e-9
"""A score is a share of two counts: what float64 rounds off it decides nothing."""
_TIE = 5e-4
"""What a loss may say between scores that are nearly equal, at most; less would be rounded off in float32."""


def checked_floor(floor: object) -> float | None:
    """A floor in (0, 1], or None.

    Raises:
        ConfigError: it is no such number. A floor of 0 is kept by every answer.
    """
    if floor is None:
        return None
    if isinstance(floor, bool) or not isinstance(floor, (int, float)) or not 0 < floor <= 1:
        raise ConfigError(expected("floor in (0, 1], the least score of an answer that holds", floor))
    return float(floor)


def positive(name: str, value: object) -> float:
    """A number > 0.

    Raises:
        ConfigError: it is none.
    """
    checked_real(name, value, 0.0)
    if not value > 0:  # type: ignore[operator]
        raise ConfigError(expected(f"{name} > 0", value))
    return float(value)  # type: ignore[arg-type]


def kept(score: Tensor, floor: float | None) -> Tensor:
    """(...) bool: whether scores are at their floor or above it.

    Raises:
        ConfigError: there is no floor to hold them against.
    """
    if floor is None:
        raise ConfigError(
            "Expected a task that says from which score on an answer holds but its floor is None. Give it one, e.g. "
            "floor=0.9, or claim the mean score with assert_robust_score."
        )
    return score >= floor - _ROUNDING


def above(score: Tensor, floor: float | None, loss: Tensor) -> Tensor:
    """(...) float32: how far scores are above the floor; positive where they keep it, negative where they do not.

    Between scores that are nearly equal the loss decides, so that a search sees that it gets on where a score, a share
    of counts, stands still.

    Args:
        score: in [0, 1].
        floor: as for `kept`.
        loss: what the answers' search climbs, of any scale.
    """
    holds = kept(score, floor)
    eased = 0.5 * (1 - loss / (1 + loss.abs()))  # in (0, 1), falling as the loss rises
    return (score - (floor or 0.0) + _TIE * torch.where(holds, eased.clamp(min=1e-3), eased - 1)).float()


def by_row(work: Callable[[Tensor, Tensor], Tensor], output: Tensor, y: Tensor, axes: int) -> Tensor:
    """What `work` says of each answer: (B,) of outputs (B, *O), (B, A) of outputs (B, A, *O).

    Args:
        work: maps outputs (b, *O) and targets (b, *T) to (b,).
        output: what a model gave.
        y: (B, *T) targets.
        axes: how many *O has.
    """
    if output.ndim == axes + 1:
        return work(output, y)
    rows, lanes = output.shape[:2]
    return work(output.flatten(0, 1), y.repeat_interleave(lanes, 0)).view(rows, lanes)


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
