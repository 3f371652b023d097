"""The task: everything that depends on the kind of a model's answers."""

# A search climbs a loss of the task, and the engine judges by `holds`; neither knows the meaning of an answer. All are
# tensors led by the batch axis: targets (B, *T), outputs (B, *O) as the model returns them, predictions (B, *P).
# Predictions often have the form of targets; where they do not (the k likeliest classes for one label, an embedding for
# the number of an item), `OwnForm` reads one as a target.
#
# Below the protocol are helpers of tasks: reading targets, scores with a floor, several answers a row, `WorstScore`.

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from robustest.checks import checked_real, require
from robustest.errors import ConfigError, DataError, expected

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (B, *O) and targets (B, *T) to (B,) values that grow as the answers get worse; has a gradient."""
Describing = dict[str, Any]
"""Fields of a counterexample, plain JSON types: classes as `label`, `clean` and `predicted` if an answer is a class;
else a line of text as `answer`.
"""


@runtime_checkable
class Task(Protocol):
    """A frozen value of settings, with pure functions that are called in every round and build nothing.

    If a row has A answers, outputs (B, A, *O) and targets (B, *T), `holds`, `margin` and the losses return (B, A).
    """

    @property
    def name(self) -> str:
        """Name of the task, e.g. "classification"."""

    @property
    def one_class(self) -> bool:
        """True if an answer is one class of K, by logits (B, K): target classes can be chosen only then."""

    @property
    def placed(self) -> bool:
        """True if targets are places in the image, which move with it."""

    @property
    def losses(self) -> Mapping[str, Loss]:
        """Losses to climb, by the names that searchers use.

        "margin" is always there: the negated margin, or a smooth loss if the margin has steps; so is "log_odds", whose
        slope never rounds to zero. "NAME_terms" returns (B, *O) terms of the loss NAME: a sum less to differentiate.
        """

    def targets(self, given: object) -> Tensor:
        """Return targets (B, *T) on the CPU, read from the data's targets of B samples.

        Raises:
            DataError: they are no targets of this task.
        """

    def check_targets(self, y: Tensor, width: int) -> None:
        """Raise DataError for targets (B, *T) that a model with outputs of this width cannot reach."""

    def check_output(self, output: Tensor, rows: int, width: int) -> int:
        """Return the width of a model's output, which all its outputs share, e.g. the number of classes.

        Args:
            rows: number of samples in the batch.
            width: width of earlier outputs; 0 for the first.

        Raises:
            ModelError: the output has another shape than this task's, or than before.
        """

    def predictions(self, output: Tensor) -> Tensor:
        """Return the answers (B, *P) in outputs (B, *O): in the form of targets, or see `OwnForm`."""

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B,) bool: the answers are right. The engine judges by this alone."""

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B,) the distance of answers from turning: positive if they hold, negative otherwise, 0 for a tie.

        It orders the samples for the next attack; it never makes a sample count as broken.
        """

    def score(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B,) the quality of answers, from 0 to 1."""

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        """Return (B,) the quality of predictions (B, *P) by targets (B, *T), from 0 to 1."""

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        """Return (B,) bool: predictions (B, *P) hold by targets (B, *T)."""

    def moved(self, y: Tensor, source: Tensor, inside: Tensor) -> Tensor:
        """Return targets (B, *T) of moved images; unchanged if targets are no places.

        Args:
            y: (B, *T) targets of the unmoved images.
            source: (B, 2, H, W) row and column, from 0 on, from which each pixel came.
            inside: (B, H, W) bool, True if that is inside the image.

        Raises:
            ConfigError: targets cannot follow.
        """

    def describe(self, y: Tensor, clean: Tensor, predicted: Tensor, moved: Tensor | None = None) -> Describing:
        """Return a counterexample's target, and the model's answers before and after.

        Args:
            y: (*T) target of one sample.
            clean, predicted: (*P) predictions of the unchanged, and of the changed sample.
            moved: (*T) target of the changed sample; None if unchanged.
        """


@runtime_checkable
class OwnForm(Protocol):
    """A task whose predictions (B, *P) have another form than its targets (B, *T).

    Claims that hold an answer up to another answer (consistency, cues, universal perturbations) read the other one as a
    target.
    """

    def as_targets(self, predictions: Tensor) -> Tensor:
        """Return the targets (B, *T) by which predictions (B, *P) are right, e.g. the likeliest of several classes."""


def as_targets(task: Task, predictions: Tensor) -> Tensor:
    """Return predictions (B, *P) in the form of targets (B, *T)."""
    read = getattr(task, "as_targets", None)
    return predictions if read is None else cast("Tensor", read(predictions))


@runtime_checkable
class Ranked(Protocol):
    """A task whose outputs are logits (B, K), and whose targets (B,) are labels, right among the `top` largest logits.

    Checks of logits, and constant answers, then apply as they do to classification.
    """

    @property
    def top(self) -> int:
        """Number of classes that an answer names, >= 1."""


def top_of(task: Task) -> int:
    """Return the number of classes that an answer names: 0 where outputs are no logits of classes."""
    return 1 if task.one_class else int(getattr(task, "top", 0))


@runtime_checkable
class Counting(Protocol):
    """A task with a metric of the whole set that is a function of summed counts, not a mean over samples."""

    def counts(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Return (B, 2 S) int64 of predictions (B, *P): S intersections, then S unions, which add up over samples."""


@runtime_checkable
class Sided(Protocol):
    """A task whose answers can turn wrong in several ways, each of which a search has to try."""

    def ways(self, output: Tensor, y: Tensor) -> Tensor:
        """Return (B, F) the distance of an answer from turning in each way: it holds if all are positive."""


@runtime_checkable
class Constant(Protocol):
    """A task that knows the best answer that ignores its input: no claim passes that this answer would keep."""

    floor: float | None

    def constant(self, y: Tensor) -> Tensor:
        """Return one answer for all of these targets (B, *T), in their form."""

    def graded(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Return (B,) float64 scores of answers in the form of targets."""


@runtime_checkable
class Stratified(Protocol):
    """A task whose samples differ in the number of things to get right, which a mean over all may hide.

    With the field `by` = "objects", a claim passes only if no stratum is surely beyond its threshold.
    """

    @property
    def nouns(self) -> tuple[str, str]:
        """Names of the counted things, singular and plural: ("object", "objects")."""

    def strata(self, y: Tensor) -> Tensor:
        """Return (B,) int64 counts in targets (B, *T), or float64 values of other kinds."""


def integers(given: object, what: str, shape: str, *, axes: int) -> Tensor:
    """Return (B, ...) int64 on the CPU, from a tensor, an array, or a sequence of them or of images, or raise
    DataError.

    Args:
        what: name of the numbers, for messages.
        shape: required shape in words.
        axes: its number of axes.
    """
    values = _tensor(given, what)
    if values.is_floating_point() or values.is_complex():
        raise DataError(f"Expected {what} as integers but got {values.dtype}. Convert them if they are whole.")
    require(values.ndim == axes, f"{what} of shape {shape}", tuple(values.shape), error=DataError)
    return values.to(torch.int64)


def reals(given: object, what: str, *, within: float | None = None) -> Tensor:
    """Return (B, ...) float32 on the CPU, finite, from a tensor, an array or a sequence, or raise DataError.

    Args:
        what: name of the numbers, for messages.
        within: largest change by rounding to float32; None for any.
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


# A score is a share of two counts; rounding in float64 must not decide.
_ROUNDING = 1e-9
# Largest weight of a loss between nearly equal scores; a smaller one would be rounded off in float32.
_TIE = 5e-4


def checked_floor(floor: object) -> float | None:
    """Return a floor in (0, 1], or None; raise ConfigError for any other value."""
    if floor is None:
        return None
    if isinstance(floor, bool) or not isinstance(floor, (int, float)) or not 0 < floor <= 1:
        raise ConfigError(expected("floor in (0, 1], the least score of an answer that holds", floor))
    return float(floor)


def positive(name: str, value: object) -> float:
    """Return a number > 0, or raise ConfigError."""
    checked_real(name, value, 0.0)
    if not value > 0:  # type: ignore[operator]
        raise ConfigError(expected(f"{name} > 0", value))
    return float(value)  # type: ignore[arg-type]


def kept(score: Tensor, floor: float | None) -> Tensor:
    """Return (...) bool: scores are at their floor or above it; raise ConfigError without a floor."""
    if floor is None:
        raise ConfigError(
            "Expected a task that says from which score on an answer holds but its floor is None. Give it one, e.g. "
            "floor=0.9, or claim the mean score with assert_robust_score."
        )
    return score >= floor - _ROUNDING


def above(score: Tensor, floor: float | None, loss: Tensor) -> Tensor:
    """Return (...) float32: the height of scores above the floor; positive if they keep it, negative otherwise.

    Args:
        score: scores in [0, 1].
        loss: loss of the search, on any scale.
    """
    holds = kept(score, floor)
    # Between nearly equal scores the loss decides, so that a search makes progress while a score, a share of counts,
    # stands still.
    eased = 0.5 * (1 - loss / (1 + loss.abs()))  # in (0, 1), falling as the loss rises
    return (score - (floor or 0.0) + _TIE * torch.where(holds, eased.clamp(min=1e-3), eased - 1)).float()


def by_row(work: Callable[[Tensor, Tensor], Tensor], output: Tensor, y: Tensor, axes: int) -> Tensor:
    """Return `work` of each answer: (B,) of outputs (B, *O), (B, A) of outputs (B, A, *O).

    Args:
        work: function from outputs (b, *O) and targets (b, *T) to (b,).
        y: (B, *T) targets.
        axes: number of axes of *O.
    """
    if output.ndim == axes + 1:
        return work(output, y)
    rows, lanes = output.shape[:2]
    return work(output.flatten(0, 1), y.repeat_interleave(lanes, 0)).view(rows, lanes)


class Scored(ABC):
    """Tasks whose answers hold from a score on, the `floor`."""

    __slots__ = ()

    floor: float | None

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        return kept(self.score(output, y), self.floor)  # type: ignore[attr-defined]

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        """Return the score above the floor, with a little of the log-odds, which orders equal scores."""
        return above(self.score(output, y), self.floor, self.losses["log_odds"](output, y))  # type: ignore[attr-defined]

    def right(self, predictions: Tensor, other: Tensor) -> Tensor:
        return kept(self.agreement(predictions, other), self.floor)

    def agreement(self, predictions: Tensor, other: Tensor) -> Tensor:
        return self.graded(predictions, other)

    @abstractmethod
    def graded(self, predictions: Tensor, y: Tensor) -> Tensor:
        """Return (B,) float64 scores in [0, 1] of predictions (B, *T)."""


# Less than any positive share of counts.
_NOTHING = 1e-7


@dataclass(frozen=True, slots=True)
class WorstScore:
    """The same task, in which an answer holds while its score is above `least`."""

    of: Task
    least: float = _NOTHING

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("of", "least"):  # before it is filled, as by pickle
            raise AttributeError(name)
        return getattr(self.of, name)

    def holds(self, output: Tensor, y: Tensor) -> Tensor:
        # So a search continues below any floor, and for a row that never "breaks" it keeps the lowest score.
        return self.of.score(output, y) >= self.least - _ROUNDING

    def margin(self, output: Tensor, y: Tensor) -> Tensor:
        return above(self.of.score(output, y), self.least, self.of.losses["log_odds"](output, y))
