"""Options of all repairs by training."""

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
        recipe: None for the defaults.
        claim: the failed claim, a measurement or assertion of the new model. Its result is in the log, whatever the
            verdict.
        checkpoint: a file, or a `Checkpoint`; an interrupted run goes on from there, to the same weights.
        progress: called with (steps done, steps in all, loss); None shows a line if stderr is a terminal.
        bounds, preprocessing: as for `robustest.as_classifier`.
        held_out: samples that neither model nor repair has seen, in the form of the data, for accuracies of every class
            before and after. None takes the data themselves, and the log says so.
        held_out_groups: groups of these samples, as for `assert_worst_group_accuracy`.
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
    """Options of one repair, as in `TrainingOptions`."""

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
        """Return the options of a call. Raises ConfigError for an unknown one."""
        for name in options:
            if name not in TrainingOptions.__annotations__:
                raise unknown("option", name, TrainingOptions.__annotations__)
        return cls(**options)

    def classifier(self, model: object) -> Classifier:
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
            sets: (N, K) bool, the classes that each sample shows, if the data have sets.
            scores: reading of logits as classes, for sets.
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
