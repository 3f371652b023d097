"""Training on more than one label for each sample: sets of classes, distributions over classes, and weighted samples.

- `multilabel_training`: a sample shows a set of classes. "bce" is a binary cross-entropy for each class, summed over
  classes; "soft" is the cross-entropy to a distribution that is uniform over the set.
- `soft_label_training`: a sample has a distribution over classes, for example of annotators' answers.
- `weighted_training`: a sample has one label, and its loss has a weight, for example the share of annotators who agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from robustest.data import as_samples
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import Chunk, Scores, as_label_sets
from robustest_training.repair.log import Repaired
from robustest_training.repair.methods import Method
from robustest_training.repair.trainer import Goal, Trainer
from robustest_training.repair.training import Training, TrainingOptions

Loss = Literal["bce", "soft"]


def multilabel_training(
    model: object, data: object, *, loss: Loss = "bce", **options: Unpack[TrainingOptions]
) -> Repaired:
    """Train on all classes that a sample shows, in place of one label.

    Args:
        model, options: as for `adversarial_training`.
        data: `(x, sets)`, as for `measure_multilabel_accuracy`.
        loss: "bce", a binary cross-entropy for each class: a class is shown where its logit is positive, as
            `measure_multilabel_accuracy(..., scores="sigmoid")` reads logits. "soft", the cross-entropy to the uniform
            distribution over the set: logits compete, as `scores="softmax"` reads them.

    Raises:
        As `adversarial_training`, and ConfigError: the loss is neither; DataError: sets do not fit the data or the
        model's classes, or a sample shows nothing ("soft").
    """
    if loss not in ("bce", "soft"):
        raise ConfigError(expected("loss to be one of bce, soft", loss))
    training = Training.of(options)
    given = as_label_sets(data)
    table = given.sets.double()
    if loss == "soft":
        objects = given.objects
        if not bool((objects > 0).all()):
            empty = int((objects == 0).nonzero()[0])
            raise DataError(f'Expected every sample to show a class, for loss="soft", but sample {empty} shows none.')
        table = table / objects.unsqueeze(1)
    scores: Scores = "sigmoid" if loss == "bce" else "softmax"
    method = MultiLabel(table=table, loss=loss, of="sets")
    return training.repair(model, given.samples, method, sets=given.sets, scores=scores)


def soft_label_training(model: object, data: object, targets: object, **options: Unpack[TrainingOptions]) -> Repaired:
    """Train on a distribution over classes for each sample, in place of its label.

    The change of each class in the log is still judged by the labels.

    Args:
        model, data, options: as for `adversarial_training`.
        targets: (N, K) floats in 0..1, an array or a tensor: row i is the distribution of sample i, and sums to 1.

    Raises:
        As `adversarial_training`, and DataError: targets are no distributions, or of other samples or classes.
    """
    samples = as_samples(data)
    table = _checked("targets", targets, axes=2, n=len(samples))
    if bool(((table.sum(1) - 1).abs() > 1e-6).any()):
        row = int((table.sum(1) - 1).abs().argmax())
        raise DataError(f"Expected rows of targets that sum to 1 but row {row} sums to {float(table[row].sum()):.6g}.")
    method = MultiLabel(table=table, loss="soft", of="distributions")
    return Training.of(options).repair(model, samples, method)


def weighted_training(model: object, data: object, weights: object, **options: Unpack[TrainingOptions]) -> Repaired:
    """Train with each sample's loss multiplied by its weight; a sample of weight 0 is not learned from.

    Weights by which the samples were chosen say too much of those that were kept: noise that happened to be in their
    favour was selected as well (Engstrom et al., ICML 2020). Take weights from other annotators than those who chose.

    Args:
        model, data, options: as for `adversarial_training`.
        weights: (N,) floats >= 0, an array or a tensor; only their ratios matter.

    Raises:
        As `adversarial_training`, and DataError: weights are not (N,) finite floats >= 0, or all are 0.
    """
    samples = as_samples(data)
    table = _checked("weights", weights, axes=1, n=len(samples))
    if not bool((table > 0).any()):
        raise DataError("Expected a sample with a positive weight but all weights are 0.")
    return Training.of(options).repair(model, samples, Weighted(weights=table))


def _checked(name: str, given: object, *, axes: int, n: int) -> Tensor:
    """Return finite values >= 0 as float64 of shape (N,) or (N, K).

    Raises:
        DataError: they are not.
    """
    try:
        table = torch.as_tensor(given).double().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError(f"Expected {name} to be an array of numbers but got: {error}.") from None
    if table.ndim != axes or len(table) != n:
        shape = f"({n},)" if axes == 1 else f"({n}, K)"
        raise DataError(f"Expected {name} of shape {shape} but got {tuple(table.shape)}.")
    bad = ~(torch.isfinite(table) & (table >= 0))
    if bool(bad.any()):
        row = int(bad.flatten(1).any(1).nonzero()[0]) if axes == 2 else int(bad.nonzero()[0])
        raise DataError(f"Expected finite {name} >= 0 but those of sample {row} are {table[row].tolist()}.")
    return table


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MultiLabel(Method):
    """Targets of several classes.

    Attributes:
        table: (N, K) float64 in 0..1, the targets.
        loss: "bce" or "soft".
        of: origin of the targets, for the log.
    """

    table: Tensor
    loss: Loss
    of: str

    @property
    def name(self) -> str:
        return "multi-label training" if self.loss == "bce" else "training on soft labels"

    @property
    def settings(self) -> dict[str, Any]:
        return {"loss": self.loss, "of": self.of}

    @property
    def identity(self) -> object:
        return (self.loss, self.table)

    def targets(self, ids: Tensor, classes: int) -> Tensor:
        """Return the (B, K) float64 targets of the samples at ids.

        Raises:
            DataError: they are of other classes than the model's.
        """
        rows = self.table[ids]
        if rows.shape[1] != classes:
            raise DataError(f"Expected {self.of} of the model's {classes} classes but got {rows.shape[1]} columns.")
        return rows

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        targets = self.targets(batch.ids, trainer.evaluator.classes).to(batch.x)
        goal = Goal(loss=_binary if self.loss == "bce" else _soft, holds=_most_shown)
        trainer.descend(batch.x, targets, goal=goal)


def _binary(logits: Tensor, targets: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none").sum(1)


def _soft(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(1)).sum(1)


def _most_shown(logits: Tensor, targets: Tensor) -> Tensor:
    """Return (B,) bools: the class of the largest logit has a target > 0, and no class has a larger one."""
    most = targets.amax(1)
    return (targets.gather(1, logits.argmax(1, keepdim=True)).squeeze(1) >= most) & (most > 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weighted(Method):
    """A weight for each sample's loss: (N,) float64 >= 0."""

    weights: Tensor

    @property
    def name(self) -> str:
        return "weighted training"

    @property
    def settings(self) -> dict[str, Any]:
        return {"mean_weight": float(self.weights.mean()), "unused": int((self.weights == 0).sum())}

    @property
    def identity(self) -> object:
        return self.weights

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        # Divided by the mean over all samples, not over the batch: a batch of useless samples must not be blown up.
        weights = (self.weights / self.weights.mean())[batch.ids]
        trainer.descend(batch.x, batch.y, weigh=lambda each: (weights.to(each) * each).mean())
