"""Learners trained on subsets and judged on one test set, each remembered once it was."""

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
    """Samples that learners are trained on.

    Attributes:
        x: (N, *S) float32 on the CPU.
        y: (N,) int64.
    """

    x: Tensor
    y: Tensor


@dataclass(slots=True, kw_only=True)
class Fits:
    """Trains where nothing is remembered.

    A learner that has no key (`robustest.identity.keys`) is trained anew each time. A key covers much, and not all, of
    what a user's function depends on: so the first training that is remembered is made once more, and unless it comes
    out alike nothing that is remembered counts. Robustest's own learner depends on its inputs alone.

    Attributes:
        learner: what is trained.
        own: whether it is one of robustest's own.
        test: the samples that it is judged on.
        classes: how many there are.
        settings: seed, store.
        tell: called after each training.
        trained: how many were trained now, those that are only compared left out.
        seconds: what all trainings took, whenever they were made.
        why_not: why nothing is remembered, or recalled; empty where it is, or nobody asked.
        model: digest of the learner; empty where it has none.
    """

    learner: Learner
    own: bool
    test: Source
    classes: int
    settings: Settings
    tell: Callable[[], None]
    trained: int = 0
    seconds: float = 0.0
    why_not: str = ""
    model: str = ""
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
        """When the oldest was trained, where none had to be now; else empty."""
        return "" if self.trained or not self._dates else min(self._dates)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know of what is remembered."""
        told = (self.why_not,) if self.why_not and self.settings.store is not None else ()
        if self._store is None:
            return told
        lost = (f"not remembered: train {self._store.unknowable}",) if self._store.unknowable else ()
        return (*told, *lost, *self._store.notices)

    def right(self, source: Source, ids: Tensor) -> Bools:
        """(t,) which test samples the learner is right on, once trained on some of the samples.

        Args:
            source: the samples.
            ids: (n,) int64 positions of those that it is trained on.

        Raises:
            ModelError: what is trained cannot be judged.
            StoreError: what is remembered is contradicted.
        """
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
        """What it predicted before, if that is remembered and still counts."""
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
        """Distrust what is remembered where training again says otherwise.

        Raises:
            StoreError: it was trusted so far.
        """
        told = (
            f"a remembered training comes out otherwise now ({differ} of {len(self.test.y)} predictions): train "
            "depends on something that is no part of its code, or draws from a generator of its own"
        )
        if not first:
            raise StoreError(
                f"Expected remembered trainings to come out alike but {told}. Run with --robust-no-cache, or delete "
                "the store."
            )
        self._changed, self.why_not = True, f"measured anew: {told}"
