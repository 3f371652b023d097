"""What a user's training makes of data: models that are trained once, and what was measured of each remembered.

A model comes out of code that nobody here wrote, as an object that no safe file could hold. So what is remembered of a
training is what was measured of its model. A training cannot be asked, as a model is, whether it still answers as it
did. Its key (`robustest.identity.keys`) therefore covers what it was given, all code that the function reaches, and all
that surrounds it: torch's flags, threads, the processor, every installed version, functions that were replaced. Each
training is watched while it runs and is measured; of what it read from outside the entry holds stamps, which must hold
when it is recalled. One that opened a connection or started a process is not kept. One that is recalled is made once
more now and then (`Settings.recheck`), and must come out alike.

Each training is kept as soon as it has been measured: a run that was killed goes on with the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from robustest import clock, context, rng
from robustest.errors import StoreError
from robustest.packs import (
    Key,
    Observation,
    Settings,
    Store,
    Tally,
    TrainFn,
    Unhashable,
    entry_of,
    frozen,
    key_of,
    outcomes_in,
    seed_draws,
)


class Trainings:
    """Trainings by one function, each measured and remembered.

    Attributes:
        trained: models that were trained now.
        dates: when each training was measured that is remembered.

    Args:
        train: as `TrainFn`.
        settings: where the store is, and what else outcomes depend on.
        about: all else that what is measured depends on; plain values, threats, attacks, tensors.
    """

    def __init__(self, train: TrainFn, settings: Settings, about: object) -> None:
        self.trained = 0
        self.dates: list[str] = []
        self._train_fn = train
        self._store = Store.of(settings)
        self._key: Key | None = None
        self._why_not = self._changed = ""
        if self._store is not None:
            try:
                # Before it is called for the first time: what it counts, or keeps, changes then.
                depends = {"train": train, "device": settings.device, "about": about}
                self._key = key_of("training", depends, settings, asked=False)
            except Unhashable as error:
                self._why_not = f"trainings are not remembered: {error}"

    def measured(
        self, x: Tensor, y: Tensor, seed: int, what: object, measure: Callable[[object], tuple[Observation, Tally]]
    ) -> tuple[Observation, Tally]:
        """What is measured of the model that is trained on some samples with a seed.

        Args:
            x: (n, *S) float32 samples.
            y: (n,) int64 labels.
            seed: of the training.
            what: tells what is measured of it, beside what the trainings are all about.
            measure: maps the model to what was seen of it, and what that took.

        Raises:
            StoreError: a training that is remembered comes out otherwise now.
            RobustestError: it cannot be measured. Whatever the training raises comes as it is.
        """

        def anew() -> tuple[Observation, Tally]:
            clock.check()
            started = time.perf_counter()
            model = self._model(x, y, seed)
            took = time.perf_counter() - started
            observed, tally = measure(model)
            return observed, replace(tally, seconds=tally.seconds + took)

        if self._store is None or self._key is None:
            self.trained += 1
            return anew()
        key = self._key.part(x, y, seed, what)
        found = self._store.load(key)
        seen = None if found is None else outcomes_in(found)
        if found is not None and seen is not None and (not self._store.doubted() or self._agrees(seen[0], key, anew)):
            self.dates.append(str(found.meta["when"]))
            return seen
        if self._store.outdated:
            self._changed = f"measured anew: {self._store.outdated}, which was read in training, is not what it was"
        with key.watching():
            seen = anew()
        self.trained += 1
        self._store.save(key, entry_of(*seen))
        return seen

    def _agrees(self, remembered: Observation, key: Key, anew: Callable[[], tuple[Observation, Tally]]) -> bool:
        """Return True if a training that is made again comes out as it is remembered.

        Raises:
            StoreError: it comes out otherwise, and does so each time.
        """
        with key.watching():
            first = anew()[0]
            if not (differ := _differing(remembered, first)):
                return True
            if _differing(first, anew()[0]):
                self._changed = "measured anew: a training that was made again comes out otherwise each time"
                return False
        raise StoreError(
            f"Expected a remembered training to come out alike again but {differ} of its outcomes differ. Something "
            "that train depends on shows neither in its code nor in what it reads: run with --robust-no-cache, or "
            "delete the store."
        )

    @property
    def when(self) -> str:
        """Date and commit of the oldest training, where every one is remembered; else empty."""
        return "" if self.trained or not self.dates else min(self.dates)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know: why nothing is remembered, or recalled, and what is wrong with the store."""
        if self._store is None:
            return ()
        lost = self._store.unknowable and f"trainings are not remembered: train {self._store.unknowable}"
        return (*filter(None, [self._why_not, self._changed, lost]), *self._store.notices)

    def _model(self, x: Tensor, y: Tensor, seed: int) -> object:
        """A model that is trained now; what it draws without a generator follows from the seed, and is put back."""
        with torch.inference_mode(False), torch.enable_grad(), frozen(None):
            seed_draws(rng.fold(rng.keys(seed, torch.zeros(1, dtype=torch.int64)), "training"))
            return self._train_fn(x.clone(), y.clone(), seed)  # copies: it may write into them


def announced(statement: str, done: int, total: int) -> None:
    """Tell the running test how many trainings of how many are done."""
    tell = context.current().progress
    if tell is not None:
        tell(f"{statement}: trainings", done, total, 0)


def _differing(one: Observation, other: Observation) -> int:
    """Return the number of outcomes that differ."""
    return sum(
        int((column != other.columns[name]).sum())
        for name, column in one.columns.items()
        if np.asarray(column).dtype == bool
    )
