"""Outcomes of trainings, which nothing can ask again: made once, and remembered by all that they depend on."""

# A model is an object that no safe file could hold, so the outcomes that were measured on it are stored, by a key
# (`robustest.identity.keys`) that covers the arguments, all code that the training reaches, and its surroundings
# (torch's flags, threads, versions). A training is watched: its entry holds stamps of all that it read; one that opened
# a connection or started a process is not stored. A training that writes what its key covers (a global that it counts
# in, say) is not stored either, as a recall would not write it, and the next training is looked up in the state that it
# left. A key covers most of a function that a user wrote, not all: a remembered training is made again now and then
# (`Settings.recheck`), and must come out alike.

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from robustest.errors import StoreError
from robustest.identity.keys import Key, Unhashable, key_of
from robustest.run.evidence import Observation, Tally
from robustest.run.memory import entry_of, outcomes_in
from robustest.settings import Settings
from robustest.store.entries import Store

Outcomes = tuple[Observation, Tally]


class Remembered:
    """Outcomes of trainings by one function, made now or recalled.

    Args:
        kind: name of these trainings, which have no entry in common with those of another.
        about: all that every outcome depends on beside the settings' seed, by name: the function, its device, ...
        first: True to make the first recalled training again. Nothing has been counted by then, so that one which comes
            out otherwise is no error: nothing is recalled.
        exact: True to compare numbers with a fraction too, bit by bit, and not alone outcomes and whole numbers.

    Attributes:
        made: trainings made now, without those for comparison.
    """

    def __init__(
        self, kind: str, about: Mapping[str, object], settings: Settings, *, first: bool = False, exact: bool = False
    ) -> None:
        self.made = 0
        self._store = Store.of(settings)
        self._key: Key | None = None
        self._first, self._exact = first, exact
        self._dates: list[str] = []
        self._why_not = self._changed = ""
        self._recalls = True
        if self._store is not None:
            try:
                self._key = key_of(kind, about, settings, recheck=False)
            except Unhashable as error:
                self._why_not = f"trainings are not remembered: {error}"

    def outcomes(self, what: tuple[object, ...], make: Callable[[], Outcomes]) -> Outcomes:
        """Return the outcomes of one training.

        Args:
            what: all that distinguishes it from the others: its samples, its seed, the measurement.
            make: trains, and measures.

        Raises:
            StoreError: a remembered training comes out otherwise now, and others have been counted.
        """
        try:
            start = None if self._key is None else self._key.now()
            key = None if start is None else start.part(*what)
        except Unhashable as error:
            start, key, self._why_not = None, None, f"trainings are not remembered: {error}"
        if self._store is None or start is None or key is None:
            self.made += 1
            return make()
        entry = self._store.load(key) if self._recalls else None
        if entry is not None:
            found, (again, self._first) = outcomes_in(entry), (self._first, False)
            if not (again or self._store.doubted()) or self._agrees(found[0], key, make, first=again):
                self._dates.append(str(entry.meta["when"]))
                return found
        if self._store.outdated:
            self._changed = f"measured anew: {self._store.outdated}, which was read in training, is not what it was"
        with key.watching():
            found = make()
        self.made += 1
        try:
            if start.now().name == start.name:
                self._store.save(key, entry_of(*found))
            else:
                self._why_not = (
                    "a training is not remembered where it changes what it starts from: a global or an attribute that "
                    "it writes, or a module that it is the first to import"
                )
        except Unhashable as error:  # a cache that the training has filled, say
            self._why_not = f"trainings are not remembered: {error}"
        return found

    def _agrees(self, remembered: Observation, key: Key, make: Callable[[], Outcomes], *, first: bool) -> bool:
        """Return True if a training that is made again comes out as it is remembered."""
        with key.watching():
            made = make()[0]
            if not (differ := self._differing(remembered, made)):
                return True
            told = f"a remembered training comes out otherwise now ({differ} of its outcomes)"
            if first:
                self._recalls, self._changed = False, f"measured anew: {told}"
                return False
            # Two new trainings that differ show randomness of the function; two that agree show a stale entry.
            if self._differing(made, make()[0]):
                self._changed = "measured anew: a training that was made again comes out otherwise each time"
                return False
        raise StoreError(
            f"Expected a remembered training to come out alike again but {differ} of its outcomes differ. Something "
            "that it depends on shows neither in its code nor in what it reads: run with --robust-no-cache, or delete "
            "the store."
        )

    def _differing(self, one: Observation, other: Observation) -> int:
        return sum(
            int((np.asarray(column) != np.asarray(other.columns[name])).sum())
            for name, column in one.columns.items()
            if self._exact or np.asarray(column).dtype.kind in "biu"
        )

    @property
    def when(self) -> str:
        """Date and commit of the oldest training if all were recalled; else ""."""
        return "" if self.made or not self._dates else min(self._dates)

    @property
    def notices(self) -> tuple[str, ...]:
        """Sentences that say which trainings were not remembered, or not recalled, and why."""
        if self._store is None:
            return ()
        lost = self._store.unknowable and f"trainings are not remembered: train {self._store.unknowable}"
        return (*filter(None, [self._why_not, self._changed, lost]), *self._store.notices)
