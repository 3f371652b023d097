"""Trainings by a user's function: models are trained once, and their measurements cached.

A model is an object that no safe file could hold, so its measurements are stored, by a key (`robustest.identity.keys`)
that covers the arguments, all code that the function reaches, and its surroundings (torch's flags, threads, versions).
A training is watched: its entry holds stamps of all that it read; one that opened a connection or started a process is
not stored. A loaded one is made again now and then (`Settings.recheck`), and must agree.
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
    """Trainings by one function, each measured and cached; `about` is all else that measurements depend on."""

    def __init__(self, train: TrainFn, settings: Settings, about: object) -> None:
        self.trained = 0
        self.dates: list[str] = []
        self._train_fn = train
        self._store = Store.of(settings)
        self._key: Key | None = None
        self._why_not = self._changed = ""
        if self._store is not None:
            try:
                # Before its first call, which may change what the function counts or keeps.
                depends = {"train": train, "device": settings.device, "about": about}
                self._key = key_of("training", depends, settings, asked=False)
            except Unhashable as error:
                self._why_not = f"trainings are not remembered: {error}"

    def measured(
        self, x: Tensor, y: Tensor, seed: int, what: object, measure: Callable[[object], tuple[Observation, Tally]]
    ) -> tuple[Observation, Tally]:
        """Return the measurements of the model that is trained on x (n, *S), y (n,) with a seed.

        Args:
            what: identity of the measurement.

        Raises:
            StoreError: a cached training comes out differently now.
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
        """Return True if a training that is made again agrees with its cached outcomes."""
        with key.watching():
            first = anew()[0]
            if not (differ := _differing(remembered, first)):
                return True
            # Two new trainings that differ show randomness of the function; two that agree show a stale entry.
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
        """Return date and commit of the oldest training if all were cached; else ""."""
        return "" if self.trained or not self.dates else min(self.dates)

    @property
    def notices(self) -> tuple[str, ...]:
        if self._store is None:
            return ()
        lost = self._store.unknowable and f"trainings are not remembered: train {self._store.unknowable}"
        return (*filter(None, [self._why_not, self._changed, lost]), *self._store.notices)

    def _model(self, x: Tensor, y: Tensor, seed: int) -> object:
        # Draws from global generators follow from the seed, and the generators are restored.
        with torch.inference_mode(False), torch.enable_grad(), frozen(None):
            seed_draws(rng.fold(rng.keys(seed, torch.zeros(1, dtype=torch.int64)), "training"))
            return self._train_fn(x.clone(), y.clone(), seed)  # copies: it may write into them


def announced(statement: str, done: int, total: int) -> None:
    """Report the progress of trainings to the running test."""
    tell = context.current().progress
    if tell is not None:
        tell(f"{statement}: trainings", done, total, 0)


def _differing(one: Observation, other: Observation) -> int:
    return sum(
        int((column != other.columns[name]).sum())
        for name, column in one.columns.items()
        if np.asarray(column).dtype == bool
    )
