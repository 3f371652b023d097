"""Training with equal weight for every class, common or rare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Unpack

import torch
from torch import Tensor

from robustest import rng
from robustest.data import as_samples
from robustest.errors import ConfigError, expected
from robustest.packs import Chunk
from robustest_training.repair.class_shares import ClassShares
from robustest_training.repair.log import Repaired
from robustest_training.repair.methods import Method, drawn_evenly, shuffled
from robustest_training.repair.trainer import Trainer
from robustest_training.repair.training import Training, TrainingOptions

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
