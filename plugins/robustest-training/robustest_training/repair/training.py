"""Repairs by training: their options, changes of each part of the data, and the claim that follows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import Classifier, Result, as_classifier
from robustest.data import Samples, as_samples
from robustest.errors import ClaimFailed, ConfigError, DataError, expected, unknown
from robustest.packs import (
    Chunk,
    Evaluator,
    Groups,
    LabelSets,
    current,
    paired_change,
    seed_draws,
)
from robustest_training.repair.log import PartChange, Repaired
from robustest_training.repair.trainer import Checkpoint, Method, Progress, Recipe, train
from robustest_training.trainings import Preprocessing, asked_on

# The failed claim, measured again on the repaired model.


Claim = Callable[[Any], Result]
"""Maps a model to the result of a claim: a function around a measurement or an assertion."""


def checked_again(repaired: Repaired, claim: Claim | None) -> Repaired:
    """Return the repair with the result of a claim in its log, whatever the verdict.

    Raises:
        ConfigError: the claim returns no result.
    """
    if claim is None:
        return repaired
    if not callable(claim):
        raise ConfigError(expected("claim to be a function from a model to a result", claim))
    try:
        result: object = claim(repaired.model)
    except ClaimFailed as failed:
        result = failed.result
    if not isinstance(result, Result):
        raise ConfigError(
            expected("claim to return a Result", result, "Return what a measure_ or assert_ function returns.")
        )
    # The result lists changes by class and group, in reports too: a claim that holds again may have its price.
    plain = repaired.log.to_dict()
    rows = {
        "classes_before_and_after_the_repair": plain["by_class"],
        "groups_before_and_after_the_repair": plain["by_group"],
    }
    lost = tuple(f"the repair cost: {note}" for note in repaired.log.losses)
    told = result.but(
        details={**result.details, **{name: part for name, part in rows.items() if part}},
        notes=(*result.words.notes, *lost),
    )
    current().amend(result, told)
    return Repaired(repaired.model, repaired.log.but(claim=told))


# Changes that a repair made in each class and group, which a mean over all samples hides.
#
# Given and new model answer the same samples. For each class are reported:
#
# 1. lost (right before, wrong after) and gained (wrong before, right after);
# 2. the change after - before, with exact bounds at alpha on each side (`paired_change`);
# 3. McNemar's exact one-sided test that losses outnumber gains, at a level that all classes share (Bonferroni, as
#    groups may overlap), and so do all groups.
#
# For samples that show several objects, a class is judged on the samples that show it, and the exact set by the number
# of objects: a model that predicts every class has perfect recall.


# Error of each bound of a change.
_ALPHA = 0.01
# Probability of naming any class that did not lose, and as much for groups; nothing is gated by it.
_NAMED = 0.05

_READ = 512

HELD_OUT, GIVEN = "held-out data", "the data that the repair was given"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """Samples on which a model is compared with its repair."""

    samples: Samples
    groups: Groups | None = None  # None if unknown
    sets: Tensor | None = None  # (N, K) bool, the classes that each sample shows; None for single labels
    scores: Literal["sigmoid", "softmax"] = "sigmoid"  # reading of logits as classes, for sets
    held_out: bool = False  # True if the repair was not given these samples

    @classmethod
    def of(
        cls,
        held_out: object,
        held_out_groups: object,
        *,
        samples: Samples,
        groups: Groups | None = None,
        sets: Tensor | None = None,
        scores: Literal["sigmoid", "softmax"] = "sigmoid",
    ) -> Judged:
        """Return the held-out data of a call, or else the data of the repair.

        Raises:
            ConfigError: groups without held-out data.
            DataError: the data, sets or groups are malformed, or a held-out sample was given to the repair.
        """
        if held_out is None:
            if held_out_groups is not None:
                raise ConfigError("Expected held_out= with held_out_groups=, which are of its samples, but got none.")
            return cls(samples=samples, groups=groups, sets=sets, scores=scores)
        if sets is None:
            others, other_sets = as_samples(held_out), None
        else:
            shown = LabelSets.of(held_out)
            others, other_sets = shown.samples, shown.sets
        named = None if held_out_groups is None else Groups.of(held_out_groups, len(others))
        given = set(_marks(samples))
        if shared := sum(mark in given for mark in _marks(others)):
            raise DataError(
                f"Expected held-out samples that the repair has not seen but {shared} of {len(others)} are among those "
                "that it was given. Take them out of one of the two, or leave held_out= away."
            )
        return cls(samples=others, groups=named, sets=other_sets, scores=scores, held_out=True)

    def finished(
        self,
        given: object,
        repaired: Repaired,
        *,
        claim: Claim | None,
        bounds: tuple[float, float] | None,
        preprocessing: Preprocessing | None,
    ) -> Repaired:
        """Return the repair with its changes in its log, and in the claim that is measured again."""
        first, second = (
            as_classifier(model, bounds=bounds, preprocessing=preprocessing) for model in (given, repaired.model)
        )
        before, label = self._answers(first)
        after, _ = self._answers(second)
        names = first.classes or ()
        classes = [(names[k] if k < len(names) else f"class {k}") for k in range(before.shape[1])]
        members = self.sets.numpy() if self.sets is not None else label[:, None] == np.arange(len(classes))
        by_class = _changes(classes, [(before[:, k], after[:, k], members[:, k]) for k in range(len(classes))])
        by_group = _changes(*self._by_group(np.asarray(before.all(1)), np.asarray(after.all(1))))
        where = HELD_OUT if self.held_out else GIVEN
        log = repaired.log.but(by_class=by_class, by_group=by_group, measured_on=where)
        notes = [*log.notes, *log.losses]
        if not self.held_out:
            notes.append(
                f"classes before and after are measured on {GIVEN}: pass held_out=(x, y) for a fair comparison"
            )
        log = log.but(notes=tuple(notes))
        if sys.stderr.isatty():
            sys.stderr.write(f"{log}\n")
        return checked_again(Repaired(repaired.model, log), claim)

    def _by_group(
        self, before: NDArray[np.bool_], after: NDArray[np.bool_]
    ) -> tuple[list[str], list[tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]]:
        names, rows = [], []
        if self.groups is not None:
            for name, ids in zip(self.groups.names, self.groups.members, strict=True):
                inside = np.zeros(len(before), dtype=bool)
                inside[ids] = True
                names.append(name)
                rows.append((before, after, inside))
        elif self.sets is not None:
            objects = self.sets.sum(1).numpy()
            for number in np.unique(objects).tolist():
                names.append(f"{number} object{'' if number == 1 else 's'}")
                rows.append((before, after, objects == number))
        return names, rows

    def _answers(self, classifier: Classifier) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return (N, K) bool, the answers about each class that are right, and (N,) labels."""
        right, labels = [], []
        with Evaluator.opened(classifier, asked_on(str(classifier.device or "cpu"))) as evaluator:
            for chunk in Chunk.each(self.samples, evaluator, seed=0):
                seed_draws(chunk.key)  # a model that draws is asked with the same draws before and after
                logits = evaluator.logits(chunk.x).cpu()
                evaluator.check_labels(chunk.y)
                if self.sets is None:
                    correct = evaluator.task.holds(logits, chunk.y.cpu())
                    right.append(correct.unsqueeze(1).expand(-1, logits.shape[1]))
                else:
                    right.append(LabelSets.predicted(logits, self.scores) == self.sets[chunk.ids.cpu()])
                labels.append(chunk.y.cpu())
        return torch.cat(right).numpy(), torch.cat(labels).numpy()


def _marks(samples: Samples) -> Iterator[bytes]:
    for ids in torch.split(torch.arange(len(samples)), _READ):
        # Inputs alone, by parts: a sample with another label is the same sample.
        for row in samples.take(ids)[0].cpu().flatten(1).contiguous().numpy():
            yield sha256(row.tobytes()).digest()


def _changes(
    names: Sequence[str], parts: Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]]
) -> tuple[PartChange, ...]:
    """Return the changes of each part that has samples, from outcomes before and after, and members."""
    level = _NAMED / max(1, len(names))
    rows = []
    for name, (before, after, members) in zip(names, parts, strict=True):
        if not members.any():
            continue
        change = paired_change(before[members], after[members], alpha=_ALPHA)
        rows.append(
            PartChange(
                part=name,
                n=change.n,
                before=float(before[members].mean()),
                after=float(after[members].mean()),
                lost=change.lost,
                gained=change.gained,
                interval=change.interval,
                p=change.p,
                worse=change.p <= level,
            )
        )
    return tuple(rows)


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
        scores: Literal["sigmoid", "softmax"] = "sigmoid",
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
