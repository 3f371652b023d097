"""Training with samples weighted by how often people select them for their label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, Unpack, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.data import as_samples
from robustest.errors import ConfigError, DataError, expected
from robustest.packs import Chunk
from robustest_training.repair.log import Repaired
from robustest_training.repair.methods import Method
from robustest_training.repair.trainer import Trainer
from robustest_training.repair.training import Training, TrainingOptions

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
