"""What was measured before, and need not be again: chunks by what their outcomes depend on."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustest.engine.health import Health
from robustest.measurements.observed import Exhibit, Observed, Tally
from robustest.models import Classifier
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.store.entries import Entry, Store
from robustest.store.fingerprint import Unhashable, digest, fingerprint
from robustest.store.provenance import when

_SEPARATE = ("before", "after")


class Memory:
    """Chunks that the store remembers of one model and one way of looking.

    Attributes:
        when: date and commit of the oldest chunk recalled, while nothing else was measured; else empty.
        why_not: why nothing is remembered, in words; empty where it is, or where nobody asked.
        model: digest of the model; empty where it has none.
    """

    def __init__(
        self, store: Store | None, prefix: str, *, read: bool, recheck: float, why_not: str = "", model: str = ""
    ) -> None:
        self.why_not = why_not
        self.model = model
        self._store = store
        self._prefix = prefix
        self._read = read
        self._recheck = recheck
        self._dates: list[str] = []
        self._fresh = False
        self._random = random.SystemRandom()

    @classmethod
    def of(
        cls,
        model: Classifier,
        settings: Settings,
        device: torch.device | str,
        identity: object,
        example: Callable[[], Tensor],
    ) -> Memory:
        """The memory of a measurement, or one that remembers nothing where it cannot be told what to remember it by.

        Args:
            model: what is measured.
            settings: where the store is, and what else outcomes depend on.
            device: where it is measured: a device here, or what an engine's workers compute on.
            identity: what else outcomes depend on; None remembers nothing.
            example: gives a sample (1, *S), for models whose code cannot be told but by exporting it.
        """
        if settings.store is None or identity is None:
            return cls(None, "", read=False, recheck=0)
        modelled = fingerprint(model.call, model.module, model.preprocessing)
        if modelled.digest is None and model.module is not None and model.call is model.module:
            modelled = fingerprint(model.call, model.module, model.preprocessing, example=example())
        if modelled.digest is None:
            return cls(None, "", read=False, recheck=0, why_not=f"not remembered: {modelled.reason}")
        try:
            prefix = digest(
                {
                    "code": _own_code(),
                    "torch": torch.__version__,
                    "device": _kind(device),
                    "model": modelled.digest,
                    "gives": model.gives.name,
                    "max_queries": model.max_queries,
                    "bounds": model.bounds,
                    "seed": settings.seed,
                    "precision": settings.precision,
                    "examples": settings.examples,
                    "corpus": None if settings.corpus is None else settings.corpus_max_mb,
                    "random": "random_forward" in settings.suppress,
                    "identity": identity,
                }
            )
        except Unhashable as error:
            return cls(None, "", read=False, recheck=0, why_not=f"not remembered: {error}")
        store = Store(Path(settings.store))
        return cls(store, prefix, read=settings.cache, recheck=settings.recheck, model=modelled.digest)

    def recall(self, what: object) -> tuple[Observed, Tally] | None:
        """What was seen of something (a chunk's samples, say); None where nothing was."""
        entry = self._store.load(self._key(what)) if self._store is not None and self._read else None
        if entry is None:
            self._fresh = True
            return None
        self._dates.append(entry.meta["when"])
        return _thawed(entry)

    def doubted(self) -> bool:
        """Whether a remembered chunk shall be measured again, to see that it agrees: one now and then, at random."""
        return self._random.random() < self._recheck

    def keep(self, what: object, observed: Observed, tally: Tally) -> None:
        """Remember what was seen."""
        self._fresh = True
        if self._store is not None:
            self._store.save(self._key(what), _frozen(observed, tally))

    @property
    def remembers(self) -> bool:
        """Whether anything is remembered."""
        return self._store is not None

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know: why nothing is remembered, what is wrong with the store."""
        return (*filter(None, [self.why_not]), *(() if self._store is None else self._store.notices))

    @property
    def when(self) -> str:
        """Date and commit of the oldest chunk, where every one was recalled; else empty."""
        return "" if self._fresh or not self._dates else min(self._dates)

    def _key(self, what: object) -> str:
        return digest((self._prefix, what))


def _frozen(observed: Observed, tally: Tally) -> Entry:
    arrays = {f"column.{name}": torch.from_numpy(np.ascontiguousarray(c)) for name, c in observed.columns.items()}
    shown = []
    for place, exhibit in enumerate(observed.exhibits):
        arrays[f"before.{place}"], arrays[f"after.{place}"] = exhibit.before, exhibit.after
        shown.append({name: getattr(exhibit, name) for name in Exhibit.__slots__ if name not in _SEPARATE})
    if observed.kept is not None:
        arrays |= {f"kept.{f.name}": getattr(observed.kept, f.name) for f in fields(Kept)}
    meta = {
        "when": when(),
        "exhibits": shown,
        "counts": dict(observed.counts),
        "tally": asdict(tally),
    }
    return Entry(arrays, meta)


def _thawed(entry: Entry) -> tuple[Observed, Tally]:
    meta: Mapping[str, Any] = entry.meta
    columns = {
        name.removeprefix("column."): array.numpy()
        for name, array in entry.arrays.items()
        if name.startswith("column.")
    }
    exhibits = [
        Exhibit(**shown, before=entry.arrays[f"before.{place}"], after=entry.arrays[f"after.{place}"])
        for place, shown in enumerate(meta["exhibits"])
    ]
    tally = {**meta["tally"], "health": Health(**meta["tally"]["health"]), "notes": tuple(meta["tally"]["notes"])}
    kept = None
    if "kept.ids" in entry.arrays:
        kept = Kept(**{f.name: entry.arrays[f"kept.{f.name}"] for f in fields(Kept)})
    return Observed(columns, exhibits, meta["counts"], kept), Tally(**tally)


def _kind(device: torch.device | str) -> str:
    if isinstance(device, str):
        return device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@cache
def _own_code() -> str:
    """What measures: every source file of this package, so that no other version of it is taken at its word."""
    home = Path(__file__).parent.parent
    return digest({path.relative_to(home).as_posix(): path.read_bytes() for path in sorted(home.rglob("*.py"))})
