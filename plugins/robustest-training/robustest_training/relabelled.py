"""Samples moved towards other classes and labelled so, and their learners' answers on unchanged samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.packs import (
    Chunk,
    Evaluator,
    Evidence,
    Observation,
    Options,
    Settings,
    Setup,
    Tally,
    exhibits_of,
    observe,
)
from robustest.threats import Threat
from robustest_training.constructed import moved_to_others
from robustest_training.seeded import seeded_share_interval
from robustest_training.trained import look_only_rule, seen_whole, total
from robustest_training.training_sets import TrainingSets
from robustest_training.trainings import Trainings, announced

SETS = ("next class", "random class", "labels permuted", "unchanged")
"""Names of D_det, D_rand, the null and the control in reports."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moving:
    """Moves a chunk towards other classes, and labels it so; see `measure_nonrobust_reliance`."""

    threat: Threat
    labels: Literal["next", "random"]
    steps: int
    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        logits = evaluator.logits(chunk.x)
        made = moved_to_others(evaluator, self.threat, chunk, labels=self.labels, steps=self.steps)
        reached = made.reached == 1
        exhibits = exhibits_of(
            chunk,
            reached,
            clean=evaluator.task.predictions(logits),
            predicted=made.y,
            before=chunk.x,
            after=made.x,
            badness=evaluator.task.margin(logits, chunk.y),
            size=self.threat.size(made.x, self.threat.region(chunk.x, chunk.bounds)),
            most=self.examples,
        )
        columns = {"held": ~reached, "reached": reached, "x": made.x, "y": made.y}
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


@dataclass(frozen=True, slots=True)
class Answering:
    """Records a learner's predictions on a chunk."""

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        logits = evaluator.logits(chunk.x)
        columns = {"held": evaluator.task.holds(logits, chunk.y), "predicted": evaluator.task.predictions(logits)}
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, [])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learners:
    """Learners, and the samples that they are judged on."""

    trainings: Trainings
    sets: TrainingSets
    options: Options
    settings: Settings
    statement: str

    @property
    def judged(self) -> Tensor:
        return self.sets.judged(self.settings.seed, self.settings.max_samples)

    def learned(self, made: Mapping[str, Evidence], seeds: int) -> LearnerAnswers:
        """Train learners of each set and seed on the moved samples, and return their answers on test samples."""
        first = self.settings.seed
        found: dict[str, list[tuple[Observation, Tally]]] = {name: [] for name in SETS}
        for seed in range(first, first + seeds):
            for place, (name, (x, y)) in enumerate(self._training_sets(made, seed).items()):
                announced(self.statement, (seed - first) * len(SETS) + place, len(SETS) * seeds)
                found[name].append(self._one(x, y, seed))
        label, reached = self.sets.test_y[self.judged].numpy(), made["next"].columns["reached"]
        own = self.sets.y.numpy()
        by_class = {int(k): float(reached[own == k].mean()) for k in np.unique(own)}
        return LearnerAnswers(found, label, made["next"].tally.classes, float(reached.mean()), by_class)

    def _training_sets(self, made: Mapping[str, Evidence], seed: int) -> dict[str, tuple[Tensor, Tensor]]:
        moved = {name: [torch.from_numpy(one.columns[key]) for key in ("x", "y")] for name, one in made.items()}
        (x, y), (random_x, random_y) = moved["next"], moved["random"]
        # Another permutation for every seed: a single one may agree with the classes by chance.
        keys = rng.fold(rng.keys(seed, torch.arange(len(y))), "permutation null")
        pairs = ((x, y), (random_x, random_y), (x, y[keys.argsort(stable=True)]), (self.sets.x, self.sets.y))
        return dict(zip(SETS, pairs, strict=True))

    def _one(self, x: Tensor, y: Tensor, seed: int) -> tuple[Observation, Tally]:
        judged = self.judged
        own = rng.permutation(seed, len(y))[: len(judged)]
        test_x, test_y = self.sets.test_x[judged], self.sets.test_y[judged]

        def measure(learner: object) -> tuple[Observation, Tally]:
            on_test, fitted = self._answers(learner, test_x, test_y), self._answers(learner, x[own], y[own])
            columns = {"predicted": on_test.columns["predicted"], "fitted": fitted.columns["held"]}
            return Observation(columns, []), on_test.tally.plus(fitted.tally)

        return self.trainings.measured(x, y, seed, ("answers", own, test_x), measure)

    def _answers(self, learner: object, x: Tensor, y: Tensor) -> Evidence:
        # A learner may return labels, scores or probabilities: no gradient is needed.
        suppress = ("softmax_outputs",)
        return seen_whole(learner, x, y, Answering(), statement=self.statement, options=self.options, suppress=suppress)


def moved(setup: Setup, statement: str, threat: Threat, labels: Literal["next", "random"], steps: int) -> Evidence:
    """Move every sample towards another class."""
    setup = setup.but(exact=True, max_samples=None, time_budget=None)
    look = Moving(threat=threat, labels=labels, steps=steps, examples=setup.settings.examples)
    identity = ("moved to other classes", threat, labels, steps)
    return observe(setup.plan(statement, look, look_only_rule(setup.settings), identity=identity, here=True))


class LearnerAnswers:
    """Learners' answers on unchanged test samples; right, next, fitted by set and seed."""

    def __init__(
        self,
        learned: Mapping[str, list[tuple[Observation, Tally]]],
        label: NDArray[np.int64],
        classes: int,
        reached: float,
        reached_by_class: Mapping[int, float],
    ) -> None:
        said = {name: np.stack([seen.columns["predicted"] for seen, _ in ones]) for name, ones in learned.items()}
        self.classes, self.reached, self.reached_by_class = classes, reached, reached_by_class
        # By set: (S, m) bool, the learner of each seed recognises the test sample, or predicts the class after its own;
        # (S, n) bool, it answers its training samples as labelled.
        self.right = {name: one == label for name, one in said.items()}
        self.next = {name: one == (label + 1) % classes for name, one in said.items()}
        self.fitted = {name: np.stack([seen.columns["fitted"] for seen, _ in ones]) for name, ones in learned.items()}
        # Share of the commonest class of test samples.
        self.chance = float(np.bincount(label).max() / len(label))
        self.tally = total(tally for ones in learned.values() for _, tally in ones)

    def rows(self, alpha: float) -> list[dict[str, Any]]:
        return [
            {
                "trained_on": name,
                "transfer": float(right.mean()),
                "transfer_interval": list(seeded_share_interval(right, alpha)),
                "next_class": float(self.next[name].mean()),
                "fitted": float(self.fitted[name].mean()),
            }
            for name, right in self.right.items()
        ]
