"""Logits adjusted for the class frequencies of the training data (Menon et al., ICLR 2021).

With the cross-entropy, logits estimate log p(x | y) + log pi_y, where pi_y is the share of class y in training. Without
the second term the largest logit has the best mean recall over classes. It is subtracted afterwards (post hoc), or
added inside the loss, so that the net need not learn it.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from robustest import Classifier, as_classifier
from robustest.data import as_samples
from robustest.errors import ModelError
from robustest.packs import Chunk, Preprocessing, checked_real, logits_of
from robustest.tasks import CLASSIFICATION
from robustest_training.repair.claims import Claim
from robustest_training.repair.class_shares import ClassShares
from robustest_training.repair.log import Repaired, RepairLog
from robustest_training.repair.methods import Method
from robustest_training.repair.part_changes import Judged
from robustest_training.repair.trainer import Goal, Trainer, module_of
from robustest_training.repair.training import Training, TrainingOptions


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
        logits = logits_of(self.inner(x))
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
