"""Repairs by annotations of people: weights by selection frequency, and several labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, Unpack, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from robustest.data import Samples, as_samples
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import Chunk, LabelSets
from robustest_training.repair.class_balance import labels_of
from robustest_training.repair.log import Repaired
from robustest_training.repair.trainer import Goal, Method, Trainer
from robustest_training.repair.training import Training, TrainingOptions

# Training with samples weighted by how often people select them for their label.


# Fewer annotators per item are noted in the log.
_FEW = 10


@runtime_checkable
class Selections(Protocol):
    """The answers of annotators on each sample: `robustest_people.Annotations`, or an object with its attributes.

    Attributes:
        frequency: (N,) float64 in 0..1, the share of annotators who selected each sample for its label; NaN without
            any.
        shown: (N,) int64, the number of annotators who were shown each sample.
        independent: False if these answers had a part in choosing the samples.
    """

    @property
    def frequency(self) -> NDArray[np.float64]: ...

    @property
    def shown(self) -> NDArray[np.int64]: ...

    @property
    def independent(self) -> bool: ...

    def __len__(self) -> int: ...


def frequency_weighted_training(
    model: object,
    data: object,
    annotations: Selections,
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train with each sample's loss weighted by its selection frequency.

    Frequencies by which the samples were chosen are refused: they overstate the samples that were kept, whose noise was
    selected as well (Engstrom et al., ICML 2020).

    Args:
        model, data, options: as for `adversarial_training`.
        annotations: one item per sample, in their order, `independent` of their choice.

    Raises:
        As `adversarial_training`, and ConfigError: annotations of another type; DataError: they chose the samples, are
            of other items, lack an item, or are all 0.
    """
    samples = as_samples(data)
    frequency = independent_frequency(annotations, len(samples))
    if not bool((frequency > 0).any()):
        raise DataError("Expected samples that somebody selected for their label but nobody selected any.")
    training = Training.of(options)
    return training.repair(
        model,
        samples,
        FrequencyWeighted(frequency=frequency, fewest=int(annotations.shown.min())),
        notes=few_answers(annotations),
    )


def independent_frequency(annotations: object, n: int) -> Tensor:
    """Return (N,) float64 selection frequencies in 0..1 that had no part in choosing the samples.

    Raises:
        ConfigError: annotations of another type.
        DataError: they chose the samples, are of other items, or lack one.
    """
    if not isinstance(annotations, Selections):
        raise ConfigError(expected("annotations such as robustest_people.Annotations.of(...) gives", annotations))
    if not annotations.independent:
        raise DataError(
            "Expected selection frequencies that are independent of how the samples were chosen but these chose them: "
            "they say too much of what was kept. Ask other annotators, or drop the answers that were used "
            "(Annotations.from_responses(..., matching=...))."
        )
    if len(annotations) != n:
        raise DataError(f"Expected annotations of {n} samples but got some of {len(annotations)} items.")
    frequency = annotations.frequency
    if len(unknown := np.flatnonzero(np.isnan(frequency))):
        raise DataError(f"Expected annotators who were shown each sample but nobody was shown sample {unknown[0]}.")
    return torch.from_numpy(frequency)


def few_answers(annotations: Selections) -> tuple[str, ...]:
    """Return a note about frequencies that rest on few answers."""
    fewest = int(annotations.shown.min())
    return (f"as few as {fewest} annotators a sample: such frequencies are mostly noise",) if fewest < _FEW else ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrequencyWeighted(Method):
    """Samples weighted by selection frequency; see `frequency_weighted_training`."""

    frequency: Tensor  # (N,) float64 in 0..1
    fewest: int  # smallest number of annotators of a sample

    @property
    def name(self) -> str:
        return "training weighted by selection frequency"

    @property
    def settings(self) -> dict[str, Any]:
        return {"mean_frequency": float(self.frequency.mean()), "fewest_annotators": self.fewest}

    @property
    def identity(self) -> object:
        return self.frequency

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        weights = (self.frequency / self.frequency.mean())[batch.ids]
        trainer.descend(batch.x, batch.y, weigh=lambda each: (weights.to(each) * each).mean())


# Training on sets of classes, or on distributions over classes.


Loss = Literal["bce", "soft"]
_LOSSES = ("bce", "soft")


def multilabel_training(
    model: object,
    data: object,
    annotations: Selections | None = None,
    *,
    loss: Loss = "bce",
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train on all classes that a sample shows, in place of one label.

    - "bce": a binary cross-entropy for each class, summed over classes; read by `measure_multilabel_accuracy(...,
      scores="sigmoid")`.
    - "soft": the cross-entropy to a distribution over classes: even over the members of a set; with annotations, the
      label has its selection frequency, and all other classes share the rest evenly, since nobody was asked about them.
      Read by `scores="softmax"`.

    Args:
        model, options: as for `adversarial_training`.
        data: `(x, sets)`, as for `measure_multilabel_accuracy`; labelled samples with annotations.
        annotations: selection frequencies of the labels, by people who had no part in choosing the samples; for "soft".
        loss: as above.

    Raises:
        As `adversarial_training`, and ConfigError: annotations of another type, or with "bce"; DataError: sets or
            annotations do not fit data or model, a sample shows nothing ("soft"), or the annotations chose the samples.
    """
    if loss not in _LOSSES:
        raise ConfigError(expected(f"loss to be one of {', '.join(_LOSSES)}", loss))
    training = Training.of(options)
    if annotations is not None:
        samples, method = _of_annotations(data, annotations, loss)
        return training.repair(model, samples, method, notes=few_answers(annotations))
    given = LabelSets.of(data)
    scores: Literal["sigmoid", "softmax"] = "sigmoid" if loss == "bce" else "softmax"
    return training.repair(model, given.samples, _of_sets(given, loss), sets=given.sets, scores=scores)


def _of_sets(given: LabelSets, loss: Loss) -> MultiLabel:
    objects = given.objects
    if loss == "soft" and not bool((objects > 0).all()):
        empty = int((objects == 0).nonzero()[0])
        raise DataError(f'Expected every sample to show a class, for loss="soft", but sample {empty} shows none.')
    table = given.sets.double()
    return MultiLabel(table=table / objects.unsqueeze(1) if loss == "soft" else table, loss=loss)


def _of_annotations(data: object, annotations: Selections, loss: Loss) -> tuple[Samples, MultiLabel]:
    if loss != "soft":
        raise ConfigError(
            f'Expected loss="soft" with annotations but got {loss!r}: of classes other than the label they say '
            "nothing. Give sets, as data=(x, sets), for a binary loss."
        )
    samples = as_samples(data)
    frequency = independent_frequency(annotations, len(samples))
    return samples, MultiLabel(table=frequency.unsqueeze(1), loss="soft", labels=labels_of(samples))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MultiLabel(Method):
    """Targets of several classes; see `multilabel_training`."""

    table: Tensor  # (N, K) float64 in 0..1, the target of each class; (N, 1), that of the label, with labels
    loss: Loss
    labels: Tensor | None = None  # (N,) int64; None if the table has every class

    @property
    def name(self) -> str:
        return "multi-label training" if self.loss == "bce" else "training on soft labels"

    @property
    def settings(self) -> dict[str, Any]:
        return {"loss": self.loss, "of": "sets" if self.labels is None else "selection frequencies"}

    @property
    def identity(self) -> object:
        return (self.loss, self.table, self.labels)

    def targets(self, ids: Tensor, classes: int) -> Tensor:
        """Return (B, K) float64 targets of the samples at ids. Raises DataError for other classes than the model's."""
        rows = self.table[ids]
        if self.labels is not None:
            label = self.labels[ids].unsqueeze(1)
            return ((1 - rows) / (classes - 1)).expand(-1, classes).scatter(1, label, rows)
        if rows.shape[1] != classes:
            raise DataError(f"Expected sets of the model's {classes} classes but got {rows.shape[1]} columns.")
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
    """Return (B,) bool: no class has a larger target than that of the largest logit."""
    most = targets.amax(1)
    return (targets.gather(1, logits.argmax(1, keepdim=True)).squeeze(1) >= most) & (most > 0)
