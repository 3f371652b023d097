"""Entries of finished work, one safetensors file each, with a checksum over its tensors and JSON.

`Store` takes only keys of `robustest.identity.keys`, and loads an entry only while everything that was read from
outside is unchanged. Workers, shards and branches merge by copying.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import safetensors
import safetensors.numpy

from robustest.errors import ConfigError, expected
from robustest.identity.dependencies import outdated
from robustest.identity.fingerprint import digest
from robustest.identity.keys import Key
from robustest.settings import Settings
from robustest.store.files import Damaged, Folder, StoreError, to_json
from robustest.store.files import StoreWarning as StoreWarning

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    from robustest.loaded import torch

SCHEMA = 1
_HEAD = "robustest"


def pack(kind: str, key: str, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> bytes:
    """Return the bytes of a file.

    Args:
        kind, key: checked by `unpack`.
        arrays: dense tensors by name, on any device; strides and gradients are lost.
        meta: JSON types.

    Raises:
        ConfigError: meta or arrays have other types.
    """
    for name in arrays:
        if not isinstance(name, str) or name == "__metadata__":
            raise ConfigError(expected("names of arrays to be texts other than '__metadata__'", name))
    # Cloned: safetensors refuses tensors that share memory.
    whole = {name: held.detach().cpu().clone(memory_format=torch.contiguous_format) for name, held in arrays.items()}
    head = {"kind": kind, "schema": SCHEMA, "key": key, "meta": json.loads(to_json(dict(meta)))}
    # Over tensors and JSON, so that a flipped bit in either is found.
    head["checksum"] = _checksum(head, whole)
    try:
        data: bytes = _format(bool(whole)).save(whole, {_HEAD: to_json(head)})
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise ConfigError(f"Expected dense tensors of common types to store but got: {error}") from error
    return data


def unpack(kind: str, key: str | None, data: bytes) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Return key, arrays on the CPU and meta of a file made by `pack`; a key of None accepts any.

    Raises:
        Damaged: the file is of another kind or key, or was changed.
    """
    # The safetensors format: eight bytes of length, then the header in JSON.
    end = 8 + int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8:end])
        head = json.loads(header["__metadata__"][_HEAD])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged("bytes that are no file of robustest's") from error
    if not isinstance(head, dict):
        raise Damaged("bytes that are no file of robustest's")
    if head.get("kind") != kind:
        raise Damaged(f"a file of another kind ({head.get('kind')!r})")
    if head.get("schema") != SCHEMA:
        raise Damaged(f"schema {head.get('schema')!r} instead of {SCHEMA}")
    try:
        arrays = _format(len(header) > 1).load(data)
        intact = head.pop("checksum") == _checksum(head, arrays)
        found, meta = head["key"], head["meta"]
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError, safetensors.SafetensorError) as error:
        raise Damaged(f"bytes that cannot be read ({error})") from error
    if not intact:
        raise Damaged("contents that differ from their checksum")
    if key is not None and found != key:
        raise Damaged(f"what belongs under the name {found}")
    return found, arrays, meta


def _format(tensors: bool) -> Any:
    # The bytes are the same; entries without tensors, as answers are, need no torch.
    if not tensors:
        return safetensors.numpy
    from safetensors import torch as of_torch

    return of_torch


def _checksum(head: Mapping[str, Any], arrays: Mapping[str, Tensor]) -> str:
    return digest((to_json(dict(head)), dict(arrays)))


_KIND = "chunk"
# Key of an entry's meta for the stamps of everything read from outside.
_STAMPS = "outside"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """The result of a piece of work.

    Attributes:
        arrays: dense tensors by name.
        meta: JSON types: None, bool, int, finite float, str, lists, dicts with text keys.
    """

    arrays: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """Entries under `folder/chunks`, by key; a damaged file or folder is a `StoreWarning`, not an error.

    Args:
        folder: created by the first save.
        read: False to compute everything again, and save it.
        recheck: share of loaded entries, in 0..1, for which `doubted` asks to compute again.

    Attributes:
        outdated: the thing that changed since an entry was stored, in words; empty if none was found.
        unknowable: the reason why an entry was not saved, in words.
    """

    def __init__(self, folder: Path, *, read: bool = True, recheck: float = 0.0) -> None:
        self._folder = Folder(folder)
        self._read = read
        self._recheck = recheck
        # Not seeded: reruns should doubt different entries.
        self._random = random.SystemRandom()
        self.outdated = ""
        self.unknowable = ""

    @classmethod
    def of(cls, settings: Settings) -> Store | None:
        if settings.store is None:
            return None
        return cls(Path(settings.store), read=settings.cache, recheck=settings.recheck)

    @property
    def notices(self) -> tuple[str, ...]:
        return tuple(self._folder.notices)

    def load(self, key: Key) -> Entry | None:
        """Return the entry under a key, its arrays on the CPU; None if there is none whole and up to date.

        Raises:
            TypeError: the key was not made by `key_of`.
        """
        path = self._path(key)
        content = self._folder.read(path) if self._read else None
        if content is None:
            return None
        try:
            _, arrays, meta = unpack(_KIND, key.name, content.data)
            stamps = meta.pop(_STAMPS)
        except (Damaged, KeyError) as damage:
            self._folder.set_aside(content, str(damage))
            return None
        # A dependency changed: the entry is computed again, and replaced.
        if changed := outdated(stamps):
            self.outdated = changed
            return None
        return Entry(arrays, meta)

    def save(self, key: Key, entry: Entry) -> bool:
        """Keep an entry with its stamps, if everything read from outside has one; return True if it is kept.

        Raises:
            TypeError: the key was not made by `key_of`.
            ConfigError: the entry holds other types.
            StoreError: nothing was computed inside `key.watching()`.
        """
        path = self._path(key)
        if not key.dependencies.computed:
            raise StoreError("Expected an entry that was computed inside key.watching() but nothing was watched.")
        if key.unknowable:
            self.unknowable = key.unknowable
            return False
        meta = {**entry.meta, _STAMPS: dict(key.dependencies.stamps)}
        return self._folder.write(path, pack(_KIND, key.name, entry.arrays, meta))

    def remove(self, key: Key) -> None:
        """Remove the entry under a key, if there is one.

        Raises:
            TypeError: the key was not made by `key_of`.
        """
        self._folder.remove(self._path(key))

    def doubted(self) -> bool:
        """Return True, at random, if a loaded entry is to be computed again and compared."""
        return self._random.random() < self._recheck

    def _path(self, key: Key) -> Path:
        if not isinstance(key, Key):
            raise TypeError(expected("a key that robustest.identity.keys.key_of made", key))
        return self._folder.root / "chunks" / key.name[:2] / f"{key.name}.safetensors"
