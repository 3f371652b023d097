"""Units of a plugin's own: games, episodes, pages of annotations. Positions go in, one outcome for each comes out.

This is the seam by which a package measures what is no labelled tensor, with all that a claim of robustest's own has:
the seeded order, early verdicts, what is remembered, shards, workers and reports. What a package writes is `Countable`;
it hands `OwnUnits` of it to a `robustest.run.plan.Plan`.
"""

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

from robustest import rng
from robustest.engine.evaluator import resolve
from robustest.errors import ConfigError, DataError, expected
from robustest.identity.fingerprint import Fingerprint, Unhashable, digest
from robustest.run.evidence import Observation, Tally
from robustest.run.memory import Heard, Memory
from robustest.run.workers import Station, check_versions, versions
from robustest.settings import Settings
from robustest.store.corpus import Kept

_READ_TWICE = 16
"""Units that are read twice, to see that they are the same."""
_ASKED, _WATCHED = 8, 4
"""Units that are looked at twice before anything is recalled, and once more after each chunk that is measured."""


@dataclass(frozen=True, slots=True)
class Part:
    """Some units, ready to be looked at.

    Attributes:
        ids: (n,) int64, their positions.
        units: (n) what was loaded for each.
        keys: (n,) int64, keys of their randomness (`robustest.rng`), each made of the seed and the position alone.
        device: where to compute.
    """

    ids: Tensor
    units: Sequence[Any]
    keys: Tensor
    device: torch.device


class Countable(Protocol):
    """What a package writes to measure units of its own: best a frozen dataclass in a module that can be imported.

    Its class and its fields say what outcomes depend on: what was measured of it is remembered under a digest of both,
    and is forgotten where code or values change. To measure in other processes it is pickled, with its fields. The
    outcome of a unit must be a function of the unit, its key and the fields, never of its neighbours in the part or of
    what was looked at before; draws come from the keys.
    """

    def __len__(self) -> int:
        """How many units there are, >= 1."""

    def load(self, ids: Sequence[int]) -> Sequence[Any]:
        """The units at these positions, in 0..len - 1: one value for each, the same whenever it is read.

        A value is made of numbers, texts, bytes, tensors, arrays, and tuples, lists and dicts of them: its digest tells
        it from others.
        """

    def look(self, part: Part) -> Mapping[str, NDArray[Any]] | Observation:
        """What becomes of some units: arrays (n, ...) of numbers or bools by name, rows as in the part.

        The column "held" (n,) of bools is always there: whether the unit speaks for the claim. Rules read others by
        name. An `Observation` says more: exhibits, and counts that add up over parts.
        """


@runtime_checkable
class Glancing(Protocol):
    """What a countable may have besides, where a look takes long.

    Before anything is recalled, and after each chunk, a few units are looked at again, to see whether they answer as
    they did (`OwnUnits`). Where there is a `glance`, it is taken for that in place of a look.
    """

    def glance(self, part: Part) -> Mapping[str, NDArray[Any]]:
        """What shows, at little cost, that a look would see what it saw: arrays by name, as for `look`.

        A change that moves a look and no glance goes unnoticed, unless the class, its code or its fields show it.
        """


class OwnUnits:
    """Countable things as the units of a plan; see `robustest.run.units.Units`.

    Once what is remembered is asked for, eight of the first units are looked at twice before anything is recalled, and
    four again after each chunk that is measured: what answers otherwise than when it was measured is measured anew.
    These looks are not counted in a result's cost.

    Args:
        countable: what is counted.

    Raises:
        ConfigError: there is nothing to count.
    """

    def __init__(self, countable: Countable) -> None:
        self.countable = countable
        if len(countable) < 1:
            raise ConfigError(expected("one unit or more", len(countable)))

    def __len__(self) -> int:
        return len(self.countable)

    def check(self, ids: Tensor) -> None:
        """As `Units.check`."""
        few = ids[:_READ_TWICE].tolist()
        if _marks(self.countable, few) != _marks(self.countable, few):
            raise DataError(
                "Expected load(ids) to give the same units when they are read twice but some were others. Draw from "
                "the part's keys in look(), not while units are read."
            )

    def device(self, settings: Settings) -> torch.device:
        """As `Units.device`."""
        return resolve(settings.device, None)

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        """As `Units.fingerprint`: of the countable's class, its code, and its fields."""
        try:
            return Fingerprint(digest(self.countable), "class and fields")
        except Unhashable as error:
            return Fingerprint(None, str(error))

    def about(self) -> Mapping[str, object]:
        """As `Units.about`."""
        return {"units": "own"}

    @contextmanager
    def open(self, settings: Settings) -> Iterator[OpenOwnUnits]:
        """As `Units.open`."""
        yield OpenOwnUnits(self, settings)


class OpenOwnUnits:
    """As `robustest.run.units.OpenUnits`; known counterexamples of such units are not kept.

    Attributes:
        bench: measures parts of them.
        counterexamples: None.
        bounds: of what exhibits show.
        notes: none.
    """

    counterexamples = None
    bounds = (0.0, 1.0)
    notes: tuple[str, ...] = ()

    def __init__(self, units: OwnUnits, settings: Settings) -> None:
        self.bench = PartBench(units.countable, settings.seed, units.device(settings))
        self._units = units
        self._settings = settings

    def audit(self, ids: Tensor) -> None:
        """Return None: units of a plugin's own are not attacked here."""
        return

    def tried(self, kept: Kept) -> None:
        """Return None: units of a plugin's own are not attacked here."""
        return

    def ask(self, memory: Memory, chunk: Part, marks: list[bytes]) -> None:
        """As `OpenUnits.ask`."""
        memory.ask(_Asking(self.bench, chunk.ids), marks)

    def spent(self) -> Tally:
        """As `OpenUnits.spent`."""
        return Tally()

    def remote(self) -> PartJob:
        """As `OpenUnits.remote`."""
        told = self._units.fingerprint(self._settings, exported=False).digest or ""
        return PartJob(self._units.countable, told, self._settings, versions())


class PartBench:
    """Looks at parts of what is counted; see `robustest.run.units.Bench`."""

    def __init__(self, countable: Countable, seed: int, device: torch.device) -> None:
        self._countable = countable
        self._seed = seed
        self._device = device

    def load(self, ids: Tensor) -> Part:
        """As `Bench.load`."""
        return Part(ids, _read(self._countable, ids.tolist()), rng.keys(self._seed, ids), self._device)

    def digests(self, chunk: Part) -> list[bytes]:
        """As `Bench.digests`."""
        return [_mark(unit) for unit in chunk.units]

    def measure(self, chunk: Part, *, first: bool) -> tuple[Observation, Tally]:
        """As `Bench.measure`."""
        started = time.perf_counter()
        seen = self._countable.look(chunk)
        observed = seen if isinstance(seen, Observation) else Observation(dict(seen), [])
        _check_columns(observed.columns, len(chunk.ids))
        return observed, Tally(seconds=time.perf_counter() - started)

    def glance(self, chunk: Part) -> Mapping[str, NDArray[Any]]:
        """What tells whether units answer as they did: a glance at them, where the countable has one, else a look."""
        if isinstance(self._countable, Glancing):
            return self._countable.glance(chunk)
        return self.measure(chunk, first=False)[0].columns


@dataclass(frozen=True, slots=True)
class PartJob:
    """A measurement of a plugin's own units, for a worker in another process.

    Attributes:
        countable: what is counted.
        digest: its identity where the measurement was asked for; empty where it has none.
        settings: as measured with.
        versions: of robustest and torch, there.
    """

    countable: Countable
    digest: str
    settings: Settings
    versions: tuple[str, str]

    def start(self, device: str) -> Station:
        """What measures chunks in the worker's process.

        Raises:
            ConfigError: other code is installed here.
        """
        check_versions(self.versions)
        here = OwnUnits(self.countable).fingerprint(self.settings, exported=False).digest
        if self.digest and here is not None and here != self.digest:
            raise ConfigError(
                f"Expected {type(self.countable).__name__} to be on every worker what it is here but its code, or what "
                "it holds, differs. Install the same version of the package everywhere."
            )
        chosen = resolve(device or self.settings.device, None)
        return Station(PartBench(self.countable, self.settings.seed, chosen))


class _Asking:
    """Looks at a few units again and again; see `robustest.run.memory.Asks`."""

    def __init__(self, bench: PartBench, ids: Tensor) -> None:
        self._bench = bench
        self._ids = ids
        self._before: Heard | None = None

    def once(self) -> Heard | None:
        return self._heard(_ASKED)

    def settled(self, first: Heard) -> Heard | None:
        # In this order: a change before what `changed` compares with shows in what follows it.
        self._before = self._heard(_WATCHED)
        return first if self._heard(_ASKED) == first else None

    def changed(self) -> bool:
        return self._before is not None and self._heard(_WATCHED) != self._before

    def _heard(self, most: int) -> Heard | None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # they are given where it is measured
                told = digest(dict(self._bench.glance(self._bench.load(self._ids[:most]))))
        except Exception:  # what is wrong is told where it is measured
            return None
        return Heard((bytes.fromhex(told),), 1)


def _read(countable: Countable, ids: list[int]) -> Sequence[Any]:
    units = countable.load(ids)
    if len(units) != len(ids):
        raise DataError(expected(f"load(ids) to give a unit for each of {len(ids)} positions", len(units)))
    return units


def _mark(unit: object) -> bytes:
    try:
        return bytes.fromhex(digest(unit))
    except Unhashable as error:
        raise DataError(
            f"Expected load(ids) to give plain values, which a digest tells apart, but got: {error}. Give what the "
            "unit is made of (numbers, texts, arrays), and make the rest of it in look()."
        ) from error


def _marks(countable: Countable, ids: list[int]) -> list[bytes]:
    return [_mark(unit) for unit in _read(countable, ids)]


def _check_columns(columns: Mapping[str, Any], n: int) -> None:
    """Refuse columns that no rule could read and no store keep.

    Raises:
        DataError: "held" is missing or not (n,) bools, or a column is no array of a row for each unit.
    """
    held = columns.get("held")
    if not isinstance(held, np.ndarray) or held.dtype != bool or held.shape != (n,):
        raise DataError(expected(f'look(part) to give a column "held" of {n} bools, an array', held))
    for name, column in columns.items():
        if not isinstance(column, np.ndarray) or column.dtype.kind not in "biuf" or len(column) != n:
            raise DataError(expected(f"look(part) to give a column {name!r} of {n} numbers or bools, an array", column))
