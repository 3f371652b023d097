"""Finished pieces of work, one file each, so that workers, shards and branches merge by copying."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from robustest.store.files import Damaged, Folder, checked
from robustest.store.files import StoreWarning as StoreWarning
from robustest.store.packed import pack, unpack

_KIND = "chunk"


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """What a piece of work found.

    Attributes:
        arrays: dense tensors by name.
        meta: JSON types: None, bool, int, finite float, str, lists, dicts with text keys.
    """

    arrays: Mapping[str, Tensor]
    meta: Mapping[str, Any] = field(default_factory=dict)


class Store:
    """Entries under `folder/chunks`, by key; what is wrong with a file or the folder is a `StoreWarning`, no error.

    A file is there whole or not at all, whatever is killed. One that is not as it was written is moved to
    `folder/damaged`. A folder that cannot be written says so once and stays as it is.

    Args:
        folder: where; it is made when something is saved.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Folder(folder)

    @property
    def notices(self) -> tuple[str, ...]:
        """What its warnings said, in order."""
        return tuple(self._folder.notices)

    def load(self, key: str) -> Entry | None:
        """The entry saved under a key, its arrays on the CPU; None where there is none that is whole.

        Raises:
            ConfigError: the key is no text of 16 to 128 hex digits.
        """
        seen = self._folder.read(self._path(key))
        if seen is None:
            return None
        try:
            _, arrays, meta = unpack(_KIND, key, seen.data)
        except Damaged as damage:
            self._folder.set_aside(seen, str(damage))
            return None
        return Entry(arrays, meta)

    def save(self, key: str, entry: Entry) -> bool:
        """Keep an entry under a key, in the place of any that is there; whether it is kept.

        Raises:
            ConfigError: the key is no text of 16 to 128 hex digits, or the entry holds other types than it may.
        """
        return self._folder.write(self._path(key), pack(_KIND, checked(key), entry.arrays, entry.meta))

    def _path(self, key: str) -> Path:
        return self._folder.root / "chunks" / checked(key)[:2] / f"{key}.safetensors"
