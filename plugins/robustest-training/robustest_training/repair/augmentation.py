"""Training on changed inputs that keep their labels: shifted ones, and ones with a cue switched at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import torch

from robustest import rng
from robustest.cues import Cue, for_samples
from robustest.data import as_samples
from robustest.errors import ConfigError, expected
from robustest.packs import Chunk, checked_real
from robustest.shifts import Shift, ShiftFunction, as_shift
from robustest.threats import per_row
from robustest_training.repair.log import Repaired
from robustest_training.repair.trainer import Method, Trainer
from robustest_training.repair.training import Training, TrainingOptions


def shift_training(
    model: object,
    data: object,
    shifts: str | Shift | ShiftFunction | Sequence[str | Shift | ShiftFunction],
    *,
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    share: float = 0.5,
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train on shifted samples among unshifted ones.

    Claim other shifts separately (Geirhos et al., NeurIPS 2018: training on one noise did not help against another).

    Args:
        model, data, options: as for `adversarial_training`; images (N, C, H, W).
        shifts: one or several, as for `measure_shift_accuracy`; each sample gets one, drawn anew each epoch.
        severities: to draw from, for shifts given by name or function.
        share: of samples that are shifted, in (0, 1].

    Raises:
        As `adversarial_training`, and UnknownNameError: no shift has this name.
    """
    named = [shifts] if isinstance(shifts, (str, Shift)) or not isinstance(shifts, Sequence) else list(shifts)
    chosen = [
        shift
        for each in named
        for shift in ([each] if isinstance(each, Shift) else [as_shift(each, level) for level in severities])
    ]
    if not chosen:
        raise ConfigError("Expected one shift and one severity or more but got none.")
    checked_real("share", share, 1e-6, 1.0)
    training = Training.of(options)
    return training.repair(model, as_samples(data), Shifted(shifts=tuple(chosen), share=float(share)))


def counterfactual_training(
    model: object,
    data: object,
    cue: Cue,
    **options: Unpack[TrainingOptions],
) -> Repaired:
    """Train with a cue switched on or off by a coin, whatever the label.

    Counterfactual augmentation (Kaushik, Hovy and Lipton, ICLR 2020) by a known intervention. A cue whose `off` leaves
    inputs unchanged (a cast, a blur) stays where the data have it: the coin then only weakens the correlation.

    Args:
        model, data, options: as for `adversarial_training`.
        cue: the cue to switch.

    Raises:
        As `adversarial_training`.
    """
    if isinstance(cue, type) or not isinstance(cue, Cue):
        raise ConfigError(expected("a cue such as PixelPatch(top=0, left=0)", cue))
    training = Training.of(options)
    return training.repair(model, as_samples(data), Counterfactual(cue=cue))


@dataclass(frozen=True, slots=True, kw_only=True)
class Shifted(Method):
    """Training on shifted samples; see `shift_training`."""

    shifts: tuple[Shift, ...]
    share: float

    @property
    def name(self) -> str:
        names = list(dict.fromkeys(shift.name for shift in self.shifts))
        return f"training with {', '.join(names)}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"shifts": [str(shift) for shift in self.shifts], "share": self.share}

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        key = rng.fold(batch.key, "augmentation")
        changed = rng.uniform(key, (1,)).flatten() < self.share
        which = rng.integers(rng.fold(key, "shift"), (1,), len(self.shifts)).flatten()
        x = batch.x.clone()
        for number, shift in enumerate(self.shifts):
            rows = (changed & (which == number)).nonzero().squeeze(1)
            if len(rows):
                x[rows] = shift.apply(batch.x[rows], batch.key[rows], batch.bounds, batch.sample_rate)
        trainer.descend(x, batch.y)


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual(Method):
    """Training with a cue switched by a coin; see `counterfactual_training`."""

    cue: Cue

    @property
    def name(self) -> str:
        return f"counterfactual training with {self.cue.name}"

    @property
    def settings(self) -> dict[str, Any]:
        return {"cue": self.cue.name}

    def learn(self, trainer: Trainer, batch: Chunk) -> None:
        heads = rng.uniform(rng.fold(batch.key, "cue"), (1,)).flatten() < 0.5
        cue = for_samples(self.cue, batch.ids)
        x = torch.where(per_row(heads, batch.x), cue.on(batch.x.clone()), cue.off(batch.x.clone()))
        trainer.descend(x.clamp(*batch.bounds), batch.y)
