"""Units of a plugin: games, episodes, pages of annotations. Positions go in, one outcome for each comes out."""

# A `Countable` in `OwnUnits` gets seeded order, early verdicts, memory, shards, workers and reports as robustest's
# claims.

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import devices, rng
from robustest.errors import ConfigError, DataError, expected
from robustest.identity.fingerprint import Fingerprint, Unhashable, digest
from robustest.run.evidence import Observation, Tally
from robustest.run.memory import Memory, Notes
from robustest.run.units import Units
from robustest.run.workers import Station, check_versions, versions
from robustest.settings import Settings

# Units that are read twice, and must be the same.
_READ_TWICE = 16
# Units measured twice before anything is recalled, and once more after each chunk.
_ASKED, _WATCHED = 8, 4


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of units.

    Attributes:
        ids: (n,) int64 positions.
        keys: (n,) int64, keys of their randomness (`robustest.rng`), from seed and position alone.
    """

    ids: Tensor
    units: Sequence[Any]
    keys: Tensor
    device: torch.device


class Countable(Protocol):
    """Units of a plugin: best a frozen dataclass in a module that can be imported.

    Class and fields must hold all that outcomes depend on: outcomes are stored under a digest of both. It is pickled
    for other processes. The outcome of a unit must be a function of the unit, its key and the fields, never of other
    units; draws come from the keys.
    """

    def __len__(self) -> int:
        """Return the number of units, >= 1."""

    def load(self, ids: Sequence[int]) -> Sequence[Any]:
        """Return the units at these positions, in 0..len - 1, the same at every read.

        A value consists of numbers, texts, bytes, tensors, arrays, and tuples, lists and dicts of them.
        """

    def look(self, part: Part) -> Mapping[str, NDArray[Any]] | Observation:
        """Return outcomes of some units: arrays (n, ...) of numbers or bools by name, rows as in the part.

        The column "held" (n,) of bools is required: True for units that support the claim. Rules read others by name.
        An `Observation` may also have exhibits, and counts that add up over parts.
        """


@runtime_checkable
class Glancing(Protocol):
    """An optional method of a countable with a slow look.

    Before anything is recalled, and after each chunk, a few units are measured again and compared, by `glance` if there
    is one.
    """

    def glance(self, part: Part) -> Mapping[str, NDArray[Any]]:
        """Return arrays by name, at little cost, that change whenever the outcomes of a look would."""


class OwnUnits(Units):
    """Countable things as the units of a plan. Their counterexamples are not kept, and nothing attacks them.

    If outcomes are stored, eight of the first units are measured twice before anything is recalled, and four again
    after each measured chunk; if they differ, all are measured again.
    """

    def __init__(self, countable: Countable) -> None:
        self.countable = countable
        self._settings = Settings()
        self._on = torch.device("cpu")
        if len(countable) < 1:
            raise ConfigError(expected("one unit or more", len(countable)))

    def __len__(self) -> int:
        return len(self.countable)

    def check(self, ids: Tensor) -> None:
        few = ids[:_READ_TWICE].tolist()
        first, second = ([_digest(unit) for unit in self._read(few)] for _ in range(2))
        if first != second:
            raise DataError(
                "Expected load(ids) to give the same units when they are read twice but some were others. Draw from "
                "the part's keys in look(), not while units are read."
            )

    def device(self, settings: Settings) -> torch.device:
        return devices.resolve(settings.device, None)

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        try:
            return Fingerprint(digest(self.countable), "class and fields")
        except Unhashable as error:
            return Fingerprint(None, str(error))

    def about(self) -> Mapping[str, object]:
        return {"units": "own"}

    @contextmanager
    def open(self, settings: Settings) -> Iterator[OwnUnits]:
        self.begin(settings, self.device(settings))
        yield self

    def begin(self, settings: Settings, device: torch.device) -> None:
        self._settings, self._on = settings, device

    def load(self, ids: Tensor) -> Part:
        return Part(ids, self._read(ids.tolist()), rng.keys(self._settings.seed, ids), self._on)

    def _read(self, ids: list[int]) -> Sequence[Any]:
        units = self.countable.load(ids)
        if len(units) != len(ids):
            raise DataError(expected(f"load(ids) to give a unit for each of {len(ids)} positions", len(units)))
        return units

    def digests(self, chunk: Part) -> list[bytes]:
        return [_digest(unit) for unit in chunk.units]

    def measure(self, chunk: Part, *, first: bool) -> tuple[Observation, Tally]:
        started, n = time.perf_counter(), len(chunk.ids)
        outcomes = self.countable.look(chunk)
        observation = outcomes if isinstance(outcomes, Observation) else Observation(dict(outcomes), [])
        held = observation.columns.get("held")
        if not isinstance(held, np.ndarray) or held.dtype != bool or held.shape != (n,):
            raise DataError(expected(f'look(part) to give a column "held" of {n} bools, an array', held))
        for name, column in observation.columns.items():
            if not isinstance(column, np.ndarray) or column.dtype.kind not in "biuf" or len(column) != n:
                what = f"look(part) to give a column {name!r} of {n} numbers or bools, an array"
                raise DataError(expected(what, column))
        return observation, Tally(seconds=time.perf_counter() - started)

    def glance(self, chunk: Part) -> Mapping[str, NDArray[Any]]:
        if isinstance(self.countable, Glancing):
            return self.countable.glance(chunk)
        return self.measure(chunk, first=False)[0].columns

    def ask(self, memory: Memory, chunk: Part, marks: list[bytes]) -> None:
        def hear(every: bool) -> Notes | None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the measurement gives them
                    part = self.load(chunk.ids[: _ASKED if every else _WATCHED])
                    return Notes((bytes.fromhex(digest(dict(self.glance(part)))),), 1)
            except Exception:  # the measurement raises it again
                return None

        memory.ask(hear, marks)

    def job(self) -> PartJob:
        identity = self.fingerprint(self._settings, exported=False).digest or ""
        return PartJob(self.countable, identity, self._settings, versions())


@dataclass(frozen=True, slots=True)
class PartJob:
    """A measurement of a plugin's units, for a worker; `digest` and `versions` are those of the sending process."""

    countable: Countable
    digest: str
    settings: Settings
    versions: tuple[str, str]

    def start(self, device: str) -> Station:
        """Return the function that measures chunks in the worker's process.

        Raises:
            ConfigError: other code is installed here.
        """
        check_versions(self.versions)
        units = OwnUnits(self.countable)
        here = units.fingerprint(self.settings, exported=False).digest
        if self.digest and here is not None and here != self.digest:
            raise ConfigError(
                f"Expected {type(self.countable).__name__} to be on every worker what it is here but its code, or what "
                "it holds, differs. Install the same version of the package everywhere."
            )
        units.begin(self.settings, devices.resolve(device or self.settings.device, None))
        return Station(units)


def _digest(unit: object) -> bytes:
    try:
        return bytes.fromhex(digest(unit))
    except Unhashable as error:
        raise DataError(
            f"Expected load(ids) to give plain values, which a digest tells apart, but got: {error}. Give what the "
            "unit is made of (numbers, texts, arrays), and make the rest of it in look()."
        ) from error
