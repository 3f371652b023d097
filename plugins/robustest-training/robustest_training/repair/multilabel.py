"""Training on sets of classes, or on distributions over classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Unpack

from torch import Tensor
from torch.nn import functional as F

from robustest.data import Samples, as_samples
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import Chunk, LabelSets, Scores, as_label_sets
from robustest_training.repair.class_shares import labels_of
from robustest_training.repair.log import Repaired
from robustest_training.repair.methods import Method
from robustest_training.repair.selection_frequency import Selections, few_answers, independent_frequency
from robustest_training.repair.trainer import Goal, Trainer
from robustest_training.repair.training import Training, TrainingOptions

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
    given = as_label_sets(data)
    scores: Scores = "sigmoid" if loss == "bce" else "softmax"
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
