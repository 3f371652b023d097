"""Decoded samples: each is read once a claim, and once for all claims of a process where that is safe.

1. Inside a claim (`claim`), samples of a data set are kept as they are first read, up to a number of bytes.
2. A sample outlasts the claim if everything that it depends on has an identity: the data set has a key (`key_of`: its
   state and code, packages, flags of torch), which is the same at the end of the claim, and every file read while the
   sample was decoded has a stamp. Each sample must have opened a file: where it opened none, samples in memory and
   samples that a library in C reads from a file cannot be distinguished.
3. A later claim recalls a sample if the data set has the same key and no stamp is outdated.
4. One sample of each recalled batch is read anew and compared. After a difference nothing outlasts a claim any more.
5. No sample of a data set that draws from a global generator outlasts a claim.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustest.errors import DataError
from robustest.identity.dependencies import Dependencies, outdated, unwatched, watched_here, watches
from robustest.identity.keys import key_of

Read = Callable[[list[int]], tuple[Tensor, Tensor]]
"""Decodes samples by position: inputs (n, *S) and targets (n, *T)."""

# Seconds of decoding a sample from which it is worth a key, which takes tenths of a second.
_SLOW = 0.002
# Bytes of all kept samples: this, or a share of the memory that is free.
_MOST, _SHARE = 1 << 30, 4


@dataclass(frozen=True, slots=True)
class _Sample:
    """A decoded sample, with the stamps of its batch (None if they are not known) and the claim that read it."""

    x: Tensor
    y: Tensor
    stamps: Mapping[str, str] | None
    claim: Claim

    @property
    def bytes(self) -> int:
        return self.x.numel() * self.x.element_size() + self.y.numel() * self.y.element_size()


@dataclass(slots=True, eq=False)
class _Set:
    """The samples of one data set in one claim.

    Attributes:
        data: the data set; referenced, so that its id stays its own.
        key: name under which samples outlast the claim; "" if they do not, None if that was not asked yet.
        lasting: those that were read in this claim and may outlast it.
        elsewhere: True if other processes read the same samples, None if that is not known yet.
    """

    data: Any
    about: Mapping[str, object]
    samples: dict[int, _Sample] = field(default_factory=dict)
    key: str | None = None
    lasting: dict[int, _Sample] = field(default_factory=dict)
    elsewhere: bool | None = None

    @property
    def kind(self) -> tuple[str, str, int]:
        kind = type(self.data)
        return kind.__module__, kind.__qualname__, len(self.data)

    def asked(self) -> str:
        try:
            return key_of("samples", {"data": self.data, **self.about}, None, recheck=False).name
        except Exception:  # it has no identity, or its own code, which is run to read it, fails
            return ""


@dataclass(slots=True, eq=False)
class Claim:
    """The samples of a claim.

    Attributes:
        lasts: True if samples may outlast the claim.
        recalled: number of samples that were taken from earlier claims.
    """

    lasts: bool = True
    recalled: int = 0
    _most: int = 0
    _bytes: int = 0  # of samples read in this claim
    _sets: dict[int, _Set] = field(default_factory=dict)
    _current: dict[int, bool] = field(default_factory=dict)  # stamps that were compared, by id

    def set_of(self, data: object, about: Mapping[str, object]) -> _Set | None:
        """Return the samples of a data set; None if it was read in another way before."""
        one = self._sets.setdefault(id(data), _Set(data, about))
        if one.about != about:
            return None
        # The first claim on a data set asks for its key only once it has read files for some time: most do not.
        if one.key is None and self.lasts and any(one.kind in kept.kinds for kept in _kept.values()):
            one.key = one.asked()
        return one

    def known(self, one: _Set, index: int) -> _Sample | None:
        """Return a sample that was decoded before, in this claim or an earlier one; None if it has to be read."""
        sample = one.samples.get(index)
        if sample is None and one.key and one.key in _kept:
            sample = _kept[one.key].samples.get(index)
            if sample is not None and not self.is_current(sample):
                _kept[one.key].drop(index)
                sample = None
            if sample is not None:
                one.samples[index] = sample
                self.recalled += 1
        # Whoever watches what is read, as a memory of outcomes, has to know of these files as if they were read now.
        if sample is not None:
            watching = watches()
            if watching and sample.stamps is None:
                return None
            for by in watching:
                by.read_again(sample.stamps or {})
        return sample

    def is_current(self, sample: _Sample) -> bool:
        """Return True if no stamp of a sample is outdated, compared once a claim."""
        place = id(sample.stamps)
        if place not in self._current:
            self._current[place] = not outdated(sample.stamps or {})
        return self._current[place]

    def keep(self, one: _Set, index: int, sample: _Sample, *, lasts: bool) -> None:
        """Keep a sample that was read in this claim, as far as there is room."""
        old = one.samples.get(index)
        added = sample.bytes - (old.bytes if old is not None and old.claim is self else 0)
        for key in list(_kept):  # the one that was used last is the last
            if self._bytes + added + sum(kept.bytes for kept in _kept.values()) <= self._most:
                break
            if key != one.key:
                del _kept[key]
        if self._bytes + added + sum(kept.bytes for kept in _kept.values()) > self._most:
            return
        self._bytes += added
        one.samples[index] = sample
        if lasts:
            one.lasting[index] = sample

    def end(self) -> None:
        for one in self._sets.values():
            # A data set that changed during the claim may have given samples of either state.
            if one.key and one.lasting and _safe and one.asked() == one.key:
                kept = _kept.pop(one.key, _Kept())
                for index, sample in one.lasting.items():
                    kept.add(index, sample)
                kept.kinds.add(one.kind)
                _kept[one.key] = kept
        self.clear()

    def clear(self) -> None:
        self._sets.clear()
        self._current.clear()
        self._bytes = self.recalled = 0


@dataclass(slots=True, eq=False)
class _Kept:
    """Samples that outlast their claims; kinds of the data sets that gave them."""

    samples: dict[int, _Sample] = field(default_factory=dict)
    kinds: set[tuple[str, str, int]] = field(default_factory=set)
    bytes: int = 0

    def add(self, index: int, sample: _Sample) -> None:
        self.drop(index)
        self.samples[index] = sample
        self.bytes += sample.bytes

    def drop(self, index: int) -> None:
        if (old := self.samples.pop(index, None)) is not None:
            self.bytes -= old.bytes


_claim: ContextVar[Claim | None] = ContextVar("claim", default=None)
_anew: ContextVar[bool] = ContextVar("anew", default=False)
_lock = threading.RLock()  # never held while a sample is read
if hasattr(os, "register_at_fork"):  # a lock held by a thread of the parent would never be released
    os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.RLock()))
_kept: dict[str, _Kept] = {}  # by the key of the data set
_safe = True  # until a recalled sample is not what it is now


@contextmanager
def claim(*, lasts: bool = True) -> Iterator[Claim]:
    """Decode each sample once inside the block, see the module; `lasts` allows that samples outlast it."""
    with unwatched():  # no outcome depends on it
        # Workers of pytest-xdist share the memory.
        others = os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")
        most = min(_MOST, _free_memory() // (_SHARE * (int(others) if others.isdigit() else 1)))
    held = Claim(lasts=lasts, _most=most)
    token = _claim.set(held)
    try:
        yield held
    finally:
        _claim.reset(token)
        with _lock:
            held.end()


@contextmanager
def anew() -> Iterator[None]:
    """Read samples inside the block, also those that were read before."""
    token = _anew.set(True)
    try:
        yield
    finally:
        _anew.reset(token)


@contextmanager
def outside() -> Iterator[None]:
    """Neither keep nor recall samples inside the block."""
    token = _claim.set(None)
    try:
        yield
    finally:
        _claim.reset(token)


def recalled() -> bool:
    """Return True if the claim under way has taken samples from earlier claims."""
    held = _claim.get()
    return held is not None and held.recalled > 0


def forget() -> None:
    """Drop all samples, and let none outlast a claim from now on."""
    global _safe  # noqa: PLW0603 - of the process
    with _lock:
        _safe = False
        _kept.clear()
        if (held := _claim.get()) is not None:
            held.clear()


def take(data: object, about: Mapping[str, object], ids: Tensor, read: Read) -> tuple[Tensor, Tensor]:
    """Return the samples of a data set at positions ids (n,) int64, decoded now or earlier.

    Args:
        about: everything else that the samples depend on, by name.

    Raises:
        DataError: a sample differs from the one that an earlier claim has read.
    """
    held, wanted = _claim.get(), ids.tolist()
    if held is None or not wanted:
        return read(wanted)
    known: dict[int, _Sample] = {}
    checked = None
    with _lock:
        one = held.set_of(data, about)
        if one is not None and not _anew.get():
            before = held.recalled
            found = {index: held.known(one, index) for index in dict.fromkeys(wanted)}
            known = {index: sample for index, sample in found.items() if sample is not None}
            recalled = [index for index, sample in known.items() if sample.claim is not held]
            checked = recalled[held.recalled % len(recalled)] if held.recalled > before else None
    if one is None or len(set(wanted)) < len(wanted):
        return read(wanted)
    if checked is not None and not _same(known[checked], _decoded(held, one, [checked], read)[0]):
        forget()
        if not before:  # no sample of an earlier claim was used
            return take(data, about, ids, read)
        raise DataError(
            f"Expected sample {checked} to be what it was when an earlier claim read it but it differs, though the "
            "data set and the files that it reads are unchanged: it depends on something that cannot be seen, such as "
            "a clock or a database. Run with --robust-no-cache, or collect the samples into (x, y) first."
        )
    missing = [index for index in wanted if index not in known]
    known |= dict(zip(missing, _decoded(held, one, missing, read) if missing else (), strict=True))
    if len({(sample.x.shape, sample.y.shape) for sample in known.values()}) > 1:
        return read(wanted)  # which says so
    return torch.stack([known[index].x for index in wanted]), torch.stack([known[index].y for index in wanted])


def is_known(data: object, about: Mapping[str, object], ids: Tensor) -> bool:
    """Return True if all samples at positions ids (n,) int64 were decoded before, in this claim or an earlier one."""
    held = _claim.get()
    if held is None or _anew.get():
        return False
    with _lock:
        one = held.set_of(data, about)
        if one is None:
            return False
        kept = _kept[one.key].samples if one.key and one.key in _kept else {}
        return all(index in one.samples or (index in kept and held.is_current(kept[index])) for index in ids.tolist())


@dataclass(frozen=True, slots=True)
class ReadElsewhere:
    """Samples that another process has decoded, and the stamps of what it read; None if they are not known."""

    x: Tensor
    y: Tensor
    stamps: dict[str, str] | None

    @classmethod
    def of(cls, ids: Tensor, read: Callable[[Tensor], tuple[Tensor, Tensor]]) -> ReadElsewhere:
        """Read samples in such a process."""
        seen = Dependencies()
        with outside(), watched_here(seen):
            x, y = read(ids)
        return cls(x, y, None if seen.unknowable else seen.stamps)


def put(data: object, about: Mapping[str, object], ids: Tensor, read: ReadElsewhere, *, lasts: bool) -> None:
    """Keep samples that another process has decoded, inside a claim, once some are those that were read here.

    Args:
        lasts: True if they may outlast the claim.
    """
    held = _claim.get()
    if held is None:
        return
    with _lock:
        one = held.set_of(data, about)
        if one is None:
            return
        stamps = read.stamps if held.lasts else None
        found = {
            index: _Sample(row.clone(), target.clone(), stamps, held)
            for index, row, target in zip(ids.tolist(), read.x, read.y, strict=True)
        }
        both = [index for index in found if index in one.samples]
        if not all(_same(one.samples[index], found[index]) for index in both):
            one.elsewhere = False
        elif both:
            one.elsewhere = one.elsewhere is not False
        lasts = lasts and _files_of_each(stamps, len(ids))
        for index, sample in found.items() if one.elsewhere else ():
            if index not in one.samples:
                held.keep(one, index, sample, lasts=lasts and bool(one.key))


def _files_of_each(stamps: Mapping[str, str] | None, n: int) -> bool:
    return _safe and stamps is not None and sum(label.startswith("file ") for label in stamps) >= n


def states() -> tuple[bytes, object, bytes, int]:
    """Return the states of the generators of torch, Python and NumPy."""
    numpy: Any = np.random.get_state()
    return torch.get_rng_state().numpy().tobytes(), random.getstate(), numpy[1].tobytes(), numpy[2]


def _decoded(held: Claim, one: _Set, ids: list[int], read: Read) -> list[_Sample]:
    """Read samples, and keep them as far as there is room."""
    # In another thread, the draws of the model under way would be taken for those of the data set.
    alone = threading.current_thread() is threading.main_thread()
    seen, before = Dependencies(), states() if alone and held.lasts else None
    started = time.perf_counter()
    if held.lasts:
        with watched_here(seen):
            x, y = read(ids)
    else:
        x, y = read(ids)
    if len(x) != len(ids) or len(y) != len(ids):
        raise DataError(f"Expected {len(ids)} samples and labels but the data gave {len(x)} and {len(y)}.")
    slow = time.perf_counter() - started >= _SLOW * len(ids)
    stamps = seen.stamps if held.lasts and not seen.unknowable else None
    # Inputs were stacked for this batch alone; targets may be memory of the data set. Callers get copies of both.
    x, y = x.detach().cpu(), y.cpu()
    found = [_Sample(row, target.clone(), stamps, held) for row, target in zip(x, y, strict=True)]
    with _lock:
        if before is not None and before != states():
            one.key = ""
            one.lasting.clear()
        lasts = _files_of_each(stamps, len(ids))
        # The batch that asks for the key was read before it, and does not last unless it is read again, as the first
        # samples of a claim are.
        for index, sample in zip(ids, found, strict=True):
            held.keep(one, index, sample, lasts=lasts and bool(one.key))
        if lasts and slow and one.key is None:
            one.key = one.asked()
    return found


def _same(old: _Sample, new: _Sample) -> bool:
    return all(
        a.shape == b.shape and bool(torch.isclose(a, b, rtol=0, atol=0, equal_nan=True).all())
        for a, b in ((old.x, new.x), (old.y, new.y))
    )


def _free_memory() -> int:
    """Return the bytes of memory that are free; a guess where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1])
    return _MOST
