"""What was measured before, and need not be again: chunks by what their outcomes depend on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from robustest.engine.health_checks.health import Health
from robustest.identity.fingerprint import Fingerprint, Unhashable, digest
from robustest.identity.opened_files import opened, stamp
from robustest.identity.packages import own_code
from robustest.run.evidence import Exhibit, Observed, Tally
from robustest.run.remembered.asking import Asks, Heard
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.store.entries import Entry, Store
from robustest.store.provenance import when

_SEPARATE = ("before", "after", "answers")
_FORMAT = "answers are kept beside what was measured"
"""Part of every key: stores written before it hold nothing that could be asked again."""


class Known(Protocol):
    """Tells what is measured from others; `robustest.run.units.Units` do."""

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        """As `Units.fingerprint`."""

    def about(self) -> Mapping[str, object]:
        """As `Units.about`."""


class Memory:
    """Chunks that the store remembers of one model and one way of looking.

    They are kept under a key of two parts: what was read of the model, its code and its settings, and what the model
    answered to the claim's first samples when they were measured (`robustest.run.remembered.asking`). So nothing is
    recalled before the model was asked, and nothing of a model that answers otherwise.

    Attributes:
        when: date and commit of the oldest chunk recalled, while nothing else was measured; else empty.
        why_not: why nothing is remembered, in words; empty where it is, or where nobody asked.
        model: digest of the model; empty where it has none.
        said: whether that rests on what the model says of itself.
        remembers: whether anything is recalled and kept.
    """

    def __init__(
        self,
        store: Store | None,
        prefix: str,
        *,
        read: bool,
        recheck: float,
        why_not: str = "",
        model: str = "",
        said: bool = False,
    ) -> None:
        self.why_not = why_not
        self.model = model
        self.said = said
        self.remembers = store is not None
        self._store = store
        self._prefix = prefix
        self._read = read
        self._recheck = recheck
        self._dates: list[str] = []
        self._fresh = False
        self._random = random.SystemRandom()
        self._asking: Asks | None = None
        self._marks: list[bytes] = []
        self._answers = ""
        self._unwritten: Entry | None = None
        self._changed = ""
        self._heard: Heard | None = None
        self._files: set[str] = set()
        self._stamp = cache(stamp)

    @classmethod
    def of(cls, known: Known, settings: Settings, device: torch.device | str, identity: object) -> Memory:
        """The memory of a measurement, or one that remembers nothing where it cannot be told what to remember it by.

        Args:
            known: tells what is measured from others.
            settings: where the store is, and what else outcomes depend on.
            device: where it is measured: a device here, or what an engine's workers compute on.
            identity: what else outcomes depend on; None remembers nothing.
        """
        if settings.store is None:
            return cls(None, "", read=False, recheck=0)
        # Without a memory the model has a digest all the same, by which two runs are compared.
        modelled = known.fingerprint(settings, exported=identity is not None)
        if identity is None:
            return cls(None, "", read=False, recheck=0, model=modelled.digest or "")
        if modelled.digest is None:
            return cls(None, "", read=False, recheck=0, why_not=f"not remembered: {modelled.reason}")
        try:
            prefix = digest(
                {
                    "format": _FORMAT,
                    "code": own_code(),
                    "torch": torch.__version__,
                    "device": _kind(device),
                    "model": modelled.digest,
                    **known.about(),
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
        recheck, digested = settings.recheck, modelled.digest
        return cls(store, prefix, read=settings.cache, recheck=recheck, model=digested, said=modelled.said)

    def ask(self, asking: Asks, marks: list[bytes]) -> None:
        """Ask the model before anything is recalled or kept; what it answers decides on what is remembered of it.

        Args:
            asking: asks it.
            marks: what tells the samples that it is asked about.
        """
        if not self.remembers:
            return
        self._asking, self._marks = asking, marks
        with self.listening():
            heard = asking.once()
        self._heard, before = heard, self._load(self._last())
        if before is not None and heard is not None:
            self._answers = heard.digest(before.meta["length"])
            if self._answers == before.meta["answers"]:
                return  # settled once something has to be measured
            self._changed = (
                f"the model answers the same samples otherwise than when it was measured ({before.meta['when']}), "
                "though nothing that was read of it changed; something else that it depends on did"
            )
        if heard is None:
            self._forget("the model could not be asked about the claim's first samples")
            return
        settled = self._settle()
        if settled is not None:
            self._answers = settled.digest()
            self._unwritten = Entry({}, {"answers": self._answers, "length": len(settled.notes), "when": when()})

    def recall(self, what: object) -> tuple[Observed, Tally] | None:
        """What was seen of something (a chunk's samples, say); None where nothing was.

        Only once the model was asked.
        """
        entry = self._load(self._key(what)) if self.remembers else None
        files = {} if entry is None else entry.meta["files"]
        other = next((path for path, held in files.items() if self._stamp(path) != held), None)
        if other is not None:
            self._changed = f"{other}, which is read as the model answers, is not what it was"
        if entry is None or other is not None:
            self._fresh = True
            self._settle()
            return None
        self._dates.append(entry.meta["when"])
        return seen_in(entry)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside the block the model answers: the files that it opens belong to what is kept."""
        with opened() as paths:
            yield
        self._files |= paths

    def doubted(self) -> bool:
        """Whether a remembered chunk shall be measured again, to see that it agrees: one now and then, at random."""
        doubted = self._random.random() < self._recheck
        if doubted:
            self._settle()
        return doubted

    def keep(self, what: object, observed: Observed, tally: Tally) -> None:
        """Remember what was seen, unless the model answers otherwise by now than when it was asked."""
        self._fresh = True
        if self._store is None or self._asking is None or not self.remembers:
            return
        if self._asking.changed():
            self._forget("the model's answers to the same samples changed while it was measured")
            return
        if self._unwritten is not None:
            self._store.save(self._last(), self._unwritten)
            self._unwritten = None
        files = {path: stamp(path) for path in sorted(self._files)}
        self._store.save(self._key(what), entry_of(observed, tally, files))

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know: why nothing is remembered, or recalled, and what is wrong with the store."""
        changed = f"measured anew: {self._changed}" if self._changed and self._fresh and not self._dates else ""
        return (*filter(None, [self.why_not, changed]), *(() if self._store is None else self._store.notices))

    @property
    def when(self) -> str:
        """Date and commit of the oldest chunk, where every one was recalled; else empty."""
        return "" if self._fresh or not self._dates else min(self._dates)

    def _settle(self) -> Heard | None:
        """What the model answers twice alike, asked once, before anything is measured; else None."""
        heard, self._heard = self._heard, None
        if heard is None or self._asking is None or not self.remembers:
            return None
        settled = self._asking.settled(heard)
        if settled is None:
            self._forget("the model does not answer the same samples twice alike, to the last bit")
        return settled

    def _forget(self, why: str) -> None:
        self.remembers = False
        self.why_not = f"not remembered: {why}"

    def _load(self, key: str) -> Entry | None:
        return self._store.load(key) if self._store is not None and self._read else None

    def _key(self, what: object) -> str:
        return digest((self._prefix, self._answers, what))

    def _last(self) -> str:
        """Where it is kept what the model answered when it was last measured."""
        return digest((self._prefix, "answers", self._marks))


def entry_of(observed: Observed, tally: Tally, files: Mapping[str, str]) -> Entry:
    """What was seen, and what it took, as the store keeps it; `seen_in` gives it back.

    Args:
        observed, tally: what was seen, and what it took.
        files: stamps of the files that it depends on, by path.
    """
    arrays = {f"column.{name}": torch.from_numpy(np.ascontiguousarray(c)) for name, c in observed.columns.items()}
    shown = []
    for place, exhibit in enumerate(observed.exhibits):
        arrays[f"before.{place}"], arrays[f"after.{place}"] = exhibit.before, exhibit.after
        if exhibit.answers is not None:
            arrays[f"answers.{place}"] = exhibit.answers
        shown.append({name: getattr(exhibit, name) for name in Exhibit.__slots__ if name not in _SEPARATE})
    if observed.kept is not None:
        arrays |= {f"kept.{f.name}": getattr(observed.kept, f.name) for f in fields(Kept)}
    meta = {
        "when": when(),
        "exhibits": shown,
        "counts": list(observed.counts.items()),  # in their order, which keys of a file lose
        "tally": asdict(tally),
        "files": dict(files),
    }
    return Entry(arrays, meta)


def seen_in(entry: Entry) -> tuple[Observed, Tally]:
    """What an entry that `entry_of` made holds."""
    meta: Mapping[str, Any] = entry.meta
    columns = {
        name.removeprefix("column."): array.numpy()
        for name, array in entry.arrays.items()
        if name.startswith("column.")
    }
    exhibits = [
        Exhibit(
            **shown,
            before=entry.arrays[f"before.{place}"],
            after=entry.arrays[f"after.{place}"],
            answers=entry.arrays.get(f"answers.{place}"),
        )
        for place, shown in enumerate(meta["exhibits"])
    ]
    tally = {**meta["tally"], "health": Health(**meta["tally"]["health"]), "notes": tuple(meta["tally"]["notes"])}
    kept = None
    if "kept.ids" in entry.arrays:
        kept = Kept(**{f.name: entry.arrays[f"kept.{f.name}"] for f in fields(Kept)})
    return Observed(columns, exhibits, dict(meta["counts"]), kept), Tally(**tally)


def _kind(device: torch.device | str) -> str:
    if isinstance(device, str):
        return device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
