"""What all repairs by training are asked: how to train, from where to go on, and which claim to measure again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from torch import Tensor

from robustest import Classifier, as_classifier
from robustest.data import Samples
from robustest.errors import unknown
from robustest.packs import Groups, Preprocessing, Scores
from robustest_training.repair.checkpoints import Checkpoint
from robustest_training.repair.claims import Claim
from robustest_training.repair.log import Repaired
from robustest_training.repair.methods import Method
from robustest_training.repair.part_changes import Judged
from robustest_training.repair.progress import Progress
from robustest_training.repair.recipe import Recipe
from robustest_training.repair.trainer import train


class TrainingOptions(TypedDict, total=False):
    """Keyword options of every repair by training.

    Keys:
        recipe: optimiser, schedule and machine; None for the defaults.
        claim: called with the new model: the claim that failed, as a measurement or an assertion. Its result is in the
            log, whatever it is.
        checkpoint: a file, or a `Checkpoint`; a run that was killed goes on from there to the weights that it would
            have come to.
        progress: called with (steps done, steps in all, loss); None shows a line where stderr is a terminal.
        bounds, preprocessing: as for `robustest.as_classifier`.
        held_out: samples that neither model nor repair has seen, in the form of the data: the log has every class's
            accuracy on them before and after. None measures on the data themselves, and the log says so.
        held_out_groups: groups of these samples, as for `assert_worst_group_accuracy`; the log has them too.
    """

    recipe: Recipe | None
    claim: Claim | None
    checkpoint: Checkpoint | str | Path | None
    progress: Progress | None
    bounds: tuple[float, float] | None
    preprocessing: Preprocessing | None
    held_out: object | None
    held_out_groups: object | None


@dataclass(frozen=True, slots=True)
class Training:
    """The options of one repair, each as `TrainingOptions` says."""

    recipe: Recipe | None = None
    claim: Claim | None = None
    checkpoint: Checkpoint | str | Path | None = None
    progress: Progress | None = None
    bounds: tuple[float, float] | None = None
    preprocessing: Preprocessing | None = None
    held_out: object | None = None
    held_out_groups: object | None = None

    @classmethod
    def of(cls, options: TrainingOptions) -> Training:
        """Those of a call.

        Raises:
            ConfigError: there is no such option.
        """
        for name in options:
            if name not in TrainingOptions.__annotations__:
                raise unknown("option", name, TrainingOptions.__annotations__)
        return cls(**options)

    def classifier(self, model: object) -> Classifier:
        """The model that was given, for what a method asks of it before it trains."""
        return as_classifier(model, bounds=self.bounds, preprocessing=self.preprocessing)

    def repair(
        self,
        model: object,
        samples: Samples,
        method: Method,
        *,
        notes: tuple[str, ...] = (),
        groups: Groups | None = None,
        sets: Tensor | None = None,
        scores: Scores = "sigmoid",
    ) -> Repaired:
        """Train a copy of a model, compare both class by class, and measure the claim again on the copy.

        Args:
            model: a torch module, or a `Classifier` of one.
            samples: the data.
            method: what is trained on, and how.
            notes: what a reader must know of the method on these data; the log has them after its own.
            groups: of the data, where the method knows them.
            sets: (N, K) bool, the classes that each sample shows, where the data have sets in the place of labels.
            scores: which classes the new model says, for sets.

        Raises:
            ConfigError: the model is no torch module, or has nothing to train; the claim gives no result.
            DataError, ModelError, DeviceError: a sample, an answer or the machine is not as it must be.
            StoreError: the checkpoint is of another training, or cannot be written.
        """
        judged = Judged.of(
            self.held_out, self.held_out_groups, samples=samples, groups=groups, sets=sets, scores=scores
        )
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
        repaired = Repaired(repaired.model, log)
        return judged.finished(model, repaired, claim=self.claim, bounds=self.bounds, preprocessing=self.preprocessing)
