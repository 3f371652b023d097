"""Models of several sizes and seeds, trained, and attacked on their training samples and on test samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustest import context, rng
from robustest.attacks import Cascade
from robustest.packs import Attacking, Evidence, Observation, Options, Settings, Tally, TrainFn, draws_in
from robustest.threats import Threat
from robustest_training.seeded import seeded_share, seeded_share_interval
from robustest_training.trained import seen_whole, total
from robustest_training.training_sets import TrainingSets
from robustest_training.trainings import Trainings, announced


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Study:
    """Settings of a training study; see `measure_robust_generalization`."""

    train: TrainFn
    sets: TrainingSets
    threat: Threat
    cascade: Cascade
    options: Options
    settings: Settings
    sizes: tuple[int, ...]
    seeds: int
    statement: str

    def measured(self) -> tuple[list[Size], Trainings]:
        settings, sets = self.settings, self.sets
        if settings.replay_only:
            raise context.current().not_searched(self.statement, "replayed only: nothing was trained")
        judged = self.judged
        model = {name: self.options.get(name) for name in ("bounds", "preprocessing")}
        about = (self.threat, self.cascade, model, sets.test_x[judged], sets.test_y[judged])
        trainings = Trainings(self.train, settings, about)
        found = []
        for place, size in enumerate(self.sizes):
            models: list[tuple[Observation, Tally]] = []
            for seed in range(settings.seed, settings.seed + self.seeds):
                announced(self.statement, place * self.seeds + len(models), len(self.sizes) * self.seeds)
                models.append(self._one(trainings, size, seed))
            found.append(Size.of(size, models))
        return found, trainings

    def _one(self, trainings: Trainings, size: int, seed: int) -> tuple[Observation, Tally]:
        sets = self.sets
        # A prefix of one permutation: the samples of a smaller size are among those of a larger one.
        chosen = rng.permutation(seed, len(sets.y))[:size]
        # As many training samples as test samples, so that both accuracies are equally precise.
        own = chosen[: len(self.judged)]

        def measure(model: object) -> tuple[Observation, Tally]:
            first = self._attacked(model, sets.x[own], sets.y[own])
            second = self._attacked(model, sets.test_x[self.judged], sets.test_y[self.judged])
            columns = {f"train {name}": first.columns[name] for name in ("held", "clean")}
            columns |= {f"test {name}": second.columns[name] for name in ("held", "clean")}
            return Observation(columns, []), first.tally.plus(second.tally)

        seen, tally = trainings.measured(sets.x[chosen], sets.y[chosen], seed, ("attacked", len(own)), measure)
        return replace(seen, columns={**seen.columns, "train id": own.numpy()}), tally

    @property
    def judged(self) -> Tensor:
        return self.sets.judged(self.settings.seed, self.settings.max_samples)

    def _attacked(self, model: object, x: Tensor, y: Tensor) -> Evidence:
        look = Attacking(cascade=self.cascade, threat=self.threat, examples=0)
        # An attack that averages draws is meant for random models: their noise is no finding.
        suppress = ("random_forward",) if draws_in(self.cascade) > 1 else ()
        return seen_whole(model, x, y, look, statement=self.statement, options=self.options, suppress=suppress)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Size:
    """Outcomes of the models of one size."""

    samples: int  # number of training samples
    ids: NDArray[np.int64]  # (S, n) int64, training samples on which the model of each seed was attacked
    train_held: NDArray[np.bool_]  # train_held, train_clean: (S, n) bool, right under attack and without, on these
    train_clean: NDArray[np.bool_]
    test_held: NDArray[np.bool_]  # test_held, test_clean: (S, m) bool, the same on the test samples
    test_clean: NDArray[np.bool_]
    tally: Tally

    @classmethod
    def of(cls, samples: int, models: Sequence[tuple[Observation, Tally]]) -> Size:
        tally = total(one for _, one in models)
        rows = {name: np.stack([seen.columns[name] for seen, _ in models]) for name in models[0][0].columns}
        ids = rows.pop("train id")
        return cls(
            samples=samples, ids=ids, tally=tally, **{name.replace(" ", "_"): held for name, held in rows.items()}
        )

    @property
    def alike(self) -> bool:
        """Return True if the models of all seeds answer every test sample equally, attacked or not."""
        both = np.concatenate([self.test_held, self.test_clean], 1)
        return len(both) > 1 and bool((both == both[:1]).all())

    def row(self, alpha: float) -> dict[str, Any]:
        row: dict[str, Any] = {"samples": self.samples}
        for name, train, test in (
            ("robust", self.train_held, self.test_held),
            ("clean", self.train_clean, self.test_clean),
        ):
            on_test = seeded_share(test)
            row |= {
                f"{name}_training": float(train.mean()),
                f"{name}_test": on_test.value,
                f"{name}_test_interval": list(seeded_share_interval(test, alpha)),
                f"{name}_test_errors": [on_test.by_seed if len(test) > 1 else None, on_test.by_sample],
                f"{name}_gap": float(train.mean() - test.mean()),
            }
        return row
