"""Repairs for rare classes: balanced training, and adjustment of logits by class shares."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Literal, Unpack

import torch
from torch import Tensor, nn

from robustest import Classifier, as_classifier, rng
from robustest.data import Samples, as_samples
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.packs import Chunk, Evaluator, checked_real
from robustest.tasks import CLASSIFICATION
from robustest_training.repair.log import Repaired, RepairLog
from robustest_training.repair.trainer import Goal, Method, Trainer, drawn_evenly, module_of, shuffled
from robustest_training.repair.training import Claim, Judged, Training, TrainingOptions
from robustest_training.trainings import Preprocessing, asked_on

# Class frequencies of training data.


_READ = 512
_LOOKED_AT = 8


@dataclass(frozen=True, slots=True, eq=False)
class ClassShares:
    """Labels and class frequencies."""

    labels: Tensor  # (N,) int64
    counts: Tensor  # (K,) int64, each >= 1
    outputs: Tensor  # (n, K) float32, the model's outputs for the first few samples

    @property
    def log_priors(self) -> Tensor:
        """Return (K,) float64, the log of each class's share."""
        return (self.counts.double() / self.counts.sum()).log()

    @classmethod
    def of(cls, classifier: Classifier, samples: Samples) -> ClassShares:
        """Return the shares of all classes of a model.

        Raises:
            DataError: a label is no class of the model, or the data have no sample of a class.
        """
        labels = labels_of(samples)
        with Evaluator.opened(classifier, asked_on(str(classifier.device or "cpu"))) as evaluator:
            few = samples.take(torch.arange(min(_LOOKED_AT, len(samples))))[0]
            outputs = evaluator.logits(few.to(evaluator.device)).cpu()
            evaluator.check_labels(labels)
        counts = torch.bincount(labels, minlength=evaluator.classes)
        if bool((counts == 0).any()):
            missing = (counts == 0).nonzero().flatten().tolist()
            raise DataError(
                f"Expected samples of each of the model's {len(counts)} classes but got none of {missing[:5]}. A class "
                "that was never seen has no share to be weighed by: give samples of it, or a model without it."
            )
        return cls(labels, counts, outputs)


def labels_of(samples: Samples) -> Tensor:
    """Return (N,) int64 labels, in the order of the data."""
    # By parts: inputs may not fit into memory.
    return torch.cat([samples.take(ids)[1] for ids in torch.split(torch.arange(len(samples)), _READ)])


# Training with equal weight for every class, common or rare.


By = Literal["weights", "sampling"]
_BYS = ("weights", "sampling")


def balanced_training(
    model: object,
    data: object,
    *,
    by: By = "weights",
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train with all classes of equal weight.

    - "weights": each sample's loss counts N / (K n_y) times, for the n_y samples of its class.
    - "sampling": each draw of an epoch is of a class first, and then of one of its samples, with replacement.

    A net that can fit every sample is changed less by weights than by `logit_adjusted_training` (Byrd and Lipton, ICML
    2019; Menon et al., ICLR 2021).

    Args:
        model, data, options: as for `adversarial_training`.
        by: as above.

    Raises:
        As `adversarial_training`, and DataError: the data have no sample of a class.
    """
    if by not in _BYS:
        raise ConfigError(expected(f"by to be one of {', '.join(_BYS)}", by))
    samples = as_samples(data)
    training = Training.of(options)
    shares = ClassShares.of(training.classifier(model), samples)
    return training.repair(model, samples, Balanced(labels=shares.labels, counts=shares.counts, by=by))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Balanced(Method):
    """Classes of equal weight; see `balanced_training`."""

    labels: Tensor  # (N,) int64
    counts: Tensor  # (K,) int64, samples of each class, >= 1
    by: By

    @property
    def name(self) -> str:
        return f"training balanced by {self.by}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"by": self.by, "counts": self.counts.tolist()}

    @property
    def identity(self) -> object:
        return (self.by, self.labels)

    @property
    def weights(self) -> Tensor:
        """Return (K,) float64 weights of the classes' samples, of mean 1 over the data."""
        return self.counts.sum() / (len(self.counts) * self.counts.double())

    def order(self, epoch: int, n: int, seed: int) -> Tensor:
        if self.by == "weights":
            return shuffled(epoch, n, seed)
        key = rng.fold(rng.fold(rng.keys(seed, torch.arange(n)), "balanced order"), epoch)
        return drawn_evenly(key, "class", self.labels.argsort(stable=True), self.counts)

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        if self.by == "sampling":
            trainer.descend(batch.x, batch.y)
            return
        weights = self.weights[batch.y.cpu()]
        trainer.descend(batch.x, batch.y, weigh=lambda each: (weights.to(each) * each).mean())


# Logits adjusted for the class frequencies of the training data (Menon et al., ICLR 2021).
#
# With the cross-entropy, logits estimate log p(x | y) + log pi_y, where pi_y is the share of class y in training.
# Without the second term the largest logit has the best mean recall over classes. It is subtracted afterwards (post
# hoc), or added inside the loss, so that the net need not learn it.


def logit_adjustment(
    model: object,
    data: object,
    *,
    tau: float = 1.0,
    claim: Claim | None = None,
    bounds: tuple[float, float] | None = None,
    preprocessing: Preprocessing | None = None,
    held_out: object | None = None,
    held_out_groups: object | None = None,
) -> Repaired:
    """Subtract tau times the log of each class's share from a model's logits (Menon et al., ICLR 2021, section 4.1).

    Nothing is trained. It restores rare classes on data like the training data but for the class shares; with the
    training shares it costs accuracy.

    Args:
        model: a torch module that returns logits, or a `Classifier` of one; it stays unchanged.
        data: the training data, or data with the same class shares.
        tau: factor of the log share, >= 0; 1 is right for a calibrated model.
        claim, bounds, preprocessing, held_out, held_out_groups: as for `adversarial_training`.

    Returns:
        The new model and the log; `log.details` has counts and offsets.

    Raises:
        ConfigError: an argument is out of range, or the model is no torch module.
        DataError: the data have no sample of a class, or a label that is none.
        ModelError: the model returns probabilities, or no finite logits.
    """
    checked_real("tau", tau, 0.0)
    classifier, samples = as_classifier(model, bounds=bounds, preprocessing=preprocessing), as_samples(data)
    given = module_of(classifier)
    judged = Judged.of(held_out, held_out_groups, samples=samples)
    shares = _shares(classifier, data)
    module = Adjusted(
        copy.deepcopy(given).eval(), (tau * shares.log_priors).float().to(classifier.device or torch.device("cpu"))
    ).eval()
    log = RepairLog(
        method="logit adjustment, post hoc",
        settings={"tau": tau},
        samples=len(samples),
        device=str(classifier.device or "cpu"),
        notes=_notes(shares),
        details={"counts": shares.counts.tolist(), "offsets": module.offset.tolist()},
    )
    # A recipe that built the network would not build this one.
    new = replace(model, call=module, module=module, recipe=None) if isinstance(model, Classifier) else module
    return judged.finished(model, Repaired(new, log), claim=claim, bounds=bounds, preprocessing=preprocessing)


def logit_adjusted_training(
    model: object,
    data: object,
    *,
    tau: float = 1.0,
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train with tau times the log of each class's share added to the logits inside the cross-entropy.

    The logits by which the model answers are then free of the shares (Menon et al., ICLR 2021, section 4.2).

    Args:
        model, data, options: as for `adversarial_training`.
        tau: as for `logit_adjustment`; 0 is plain training.

    Raises:
        As `adversarial_training`, and those of `logit_adjustment`.
    """
    checked_real("tau", tau, 0.0)
    training = Training.of(options)
    shares = _shares(training.classifier(model), data)
    return training.repair(
        model,
        as_samples(data),
        LogitAdjusted(offset=float(tau) * shares.log_priors, counts=tuple(shares.counts.tolist()), tau=float(tau)),
        notes=_notes(shares),
    )


class Adjusted(nn.Module):
    """A network's logits (B, K) minus an offset (K,) float32 for each class."""

    offset: Tensor

    def __init__(self, inner: nn.Module, offset: Tensor) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("offset", offset)

    def forward(self, x: Tensor) -> Tensor:
        output = self.inner(x)
        logits: Tensor = (
            output if isinstance(output, Tensor) else output["logits"] if isinstance(output, dict) else output.logits
        )
        return logits - self.offset.to(logits)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LogitAdjusted(Method):
    """The cross-entropy of logits with an offset; see `logit_adjusted_training`."""

    offset: Tensor
    counts: tuple[int, ...]
    tau: float

    @property
    def name(self) -> str:
        return "training with logit adjustment"

    @property
    def settings(self) -> dict[str, Any]:
        return {"tau": self.tau, "counts": list(self.counts)}

    @property
    def identity(self) -> object:
        return (self.tau, self.counts)

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        def loss(logits: Tensor, y: Tensor) -> Tensor:
            return CLASSIFICATION.losses["ce"](logits + self.offset.to(logits), y)

        trainer.descend(batch.x, batch.y, goal=Goal(loss=loss, holds=CLASSIFICATION.holds))


def _shares(classifier: Classifier, data: object) -> ClassShares:
    shares = ClassShares.of(classifier, as_samples(data))
    outputs = shares.outputs
    if bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() < 1e-3).all()):
        raise ModelError(
            "Expected logits but the model's outputs look like probabilities, from which the log of a share cannot be "
            "taken off. Remove the final softmax, or take the log of the outputs."
        )
    return shares


def _notes(shares: ClassShares) -> tuple[str, ...]:
    if int(shares.counts.min()) == int(shares.counts.max()):
        return ("all classes occur equally often in these data: the adjustment changes no answer",)
    return ()
