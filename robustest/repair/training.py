"""What all repairs by training are asked: how to train, from where to go on, and which claim to measure again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from robustest.data import Samples
from robustest.models import Classifier, as_classifier
from robustest.models.classifier import Preprocessing
from robustest.repair.checkpoints import Checkpoint
from robustest.repair.claims import Claim, checked_again
from robustest.repair.log import Repaired
from robustest.repair.methods import Method
from robustest.repair.progress import Progress
from robustest.repair.recipe import Recipe
from robustest.repair.trainer import train


@dataclass(frozen=True, slots=True)
class Training:
    """The arguments that every repair by training takes; see `adversarial_training` for each."""

    recipe: Recipe | None
    claim: Claim | None
    checkpoint: Checkpoint | str | Path | None
    progress: Progress | None
    bounds: tuple[float, float] | None
    preprocessing: Preprocessing | None

    def classifier(self, model: object) -> Classifier:
        """The model that was given, for what a method asks of it before it trains."""
        return as_classifier(model, bounds=self.bounds, preprocessing=self.preprocessing)

    def repair(self, model: object, samples: Samples, method: Method, *, notes: tuple[str, ...] = ()) -> Repaired:
        """Train a copy of a model, and measure the claim again on it.

        Args:
            model: a torch module, or a `Classifier` of one.
            samples: the data.
            method: what is trained on, and how.
            notes: what a reader must know of the method on these data; the log has them after its own.

        Raises:
            ConfigError: the model is no torch module, or has nothing to train; the claim gives no result.
            DataError, ModelError, DeviceError: a sample, an answer or the machine is not as it must be.
            StoreError: the checkpoint is of another training, or cannot be written.
        """
        repaired = train(
            model,
            samples,
            method,
            Recipe() if self.recipe is None else self.recipe,
            checkpoint=self.checkpoint,
            progress=self.progress,
            bounds=self.bounds,
            preprocessing=self.preprocessing,
        )
        log = repaired.log.but(notes=(*repaired.log.notes, *notes))
        return checked_again(Repaired(repaired.model, log), self.claim)
