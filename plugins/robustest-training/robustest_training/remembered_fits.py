"""Learners trained on subsets and judged on one test set, cached by all that they depend on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustest import clock, rng
from robustest.errors import StoreError
from robustest.packs import Entry, Key, Settings, Store, Unhashable, digest, key_of
from robustest.packs import when as date_and_commit
from robustest_training.learners import Learner

Bools = NDArray[np.bool_]

_PREDICTED = "predicted"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """Samples: x (N, *S) float32 on the CPU, y (N,) int64."""

    x: Tensor
    y: Tensor


@dataclass(slots=True, kw_only=True)
class Fits:
    """Trains learners, or loads their predictions.

    A key covers most of a function that a user wrote. So the first cached training is made again, and unless it
    agrees nothing cached counts. A learner without a key (`robustest.identity.keys`) is trained each time.
    """

    learner: Learner
    own: bool  # True for robustest's learner, which depends on its inputs alone
    test: Source  # the samples that it is judged on
    classes: int
    settings: Settings
    tell: Callable[[], None]  # called after each training
    trained: int = 0  # trainings made now, without those for comparison
    seconds: float = 0.0  # time of all trainings, cached ones included
    why_not: str = ""  # reason why nothing is cached or loaded, or ""
    model: str = ""  # digest of the learner; empty without one
    _store: Store | None = None
    _key: Key | None = None
    _dates: list[str] = field(default_factory=list)
    _asked: bool = False
    _changed: bool = False

    def __post_init__(self) -> None:
        about = {
            "learner": self.learner,
            "test": (self.test.x, self.test.y),
            "classes": self.classes,
            "device": self.settings.device,
        }
        try:
            self.model = digest(self.learner)
            if self.settings.store is not None:
                self._key = key_of("fit", about, self.settings, asked=False)
                self._store = Store.of(self.settings)
        except Unhashable as error:
            self.why_not = f"not remembered: {error}"

    @property
    def cached(self) -> str:
        """Return the date of the oldest training if all were cached; else ""."""
        return "" if self.trained or not self._dates else min(self._dates)

    @property
    def notices(self) -> tuple[str, ...]:
        told = (self.why_not,) if self.why_not and self.settings.store is not None else ()
        if self._store is None:
            return told
        lost = (f"not remembered: train {self._store.unknowable}",) if self._store.unknowable else ()
        return (*told, *lost, *self._store.notices)

    def right(self, source: Source, ids: Tensor) -> Bools:
        """Train on the samples at ids, and return (t,) bool, the test samples that the learner is right on.

        Raises:
            ModelError: the learner cannot be judged.
            StoreError: a cached training is contradicted.
        """
        # Sorted: the same subset in another order is the same training.
        ids = ids.sort().values
        x, y = source.x[ids], source.y[ids]
        key = None if self._key is None else self._key.part(x, y)
        predicted = None if key is None else self._recalled(key, x, y, ids)
        if predicted is None:
            with nullcontext() if key is None else key.watching():
                predicted, seconds = self._train(x, y, ids)
            self.trained += 1
            if self._store is not None and key is not None:
                meta = {"when": date_and_commit(), "seconds": seconds}
                self._store.save(key, Entry({_PREDICTED: predicted.int()}, meta))
            self.seconds += seconds
        self.tell()
        held: Bools = (predicted == self.test.y).numpy()
        return held

    def _recalled(self, key: Key, x: Tensor, y: Tensor, ids: Tensor) -> Tensor | None:
        entry = None if self._store is None or self._changed else self._store.load(key)
        if self._store is None or entry is None:
            if self._store is not None and self._store.outdated:
                self.why_not = f"measured anew: {self._store.outdated}, which was read in training, is not what it was"
            return None
        remembered = entry.arrays[_PREDICTED].long()
        first, self._asked = not self._asked and not self.own, True
        if first or self._store.doubted():
            with key.watching():
                differ = int((self._train(x, y, ids)[0] != remembered).sum())
            if differ:
                self._distrust(differ, first=first)
                return None
        self._dates.append(entry.meta["when"])
        self.seconds += entry.meta["seconds"]
        return remembered

    def _train(self, x: Tensor, y: Tensor, ids: Tensor) -> tuple[Tensor, float]:
        clock.check()
        started = time.perf_counter()
        key = rng.fold(rng.keys(self.settings.seed, ids), "training").sum().view(1)
        predicted = self.learner.train(x, y, self.classes, key)(self.test.x)
        return predicted, time.perf_counter() - started

    def _distrust(self, differ: int, *, first: bool) -> None:
        told = (
            f"a remembered training comes out otherwise now ({differ} of {len(self.test.y)} predictions): train "
            "depends on something that is no part of its code, or draws from a generator of its own"
        )
        # The first disagreement makes the cache unused; a later one contradicts numbers already used.
        if not first:
            raise StoreError(
                f"Expected remembered trainings to come out alike but {told}. Run with --robust-no-cache, or delete "
                "the store."
            )
        self._changed, self.why_not = True, f"measured anew: {told}"
