"""One file of tensors and JSON that belongs to one computation: a checkpoint, by a key of all that it depends on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustest.errors import ConfigError, StoreError
from robustest.identity.keys import Unhashable, key_of
from robustest.safe_files import write_atomic
from robustest.store.entries import pack, unpack
from robustest.store.files import Damaged

if TYPE_CHECKING:
    from torch import Tensor


class KeyedFile:
    """A file that is written whole or not at all, and read by the same computation alone.

    Args:
        path: the file; its folder is made if absent.
        kind: name of these files.
        about: everything that the computation depends on, by name.

    Raises:
        ConfigError: a part of it has no identity.
    """

    def __init__(self, path: Path, kind: str, about: Mapping[str, object]) -> None:
        self.path, self._kind = path, kind
        try:
            self._key = key_of(kind, about, None, recheck=True)
        except Unhashable as error:
            raise ConfigError(
                f"Expected a {kind} that can be identified, to keep a file of it, but got {error}."
            ) from error

    def save(self, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write tensors by name, and JSON types.

        Raises:
            StoreError: the file cannot be written.
        """
        try:
            write_atomic(self.path, pack(self._kind, self._key.name, arrays, meta))
        except OSError as error:
            raise StoreError(f"Expected to write {self.path} but got: {error}.") from error

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the saved tensors, on the CPU, and JSON types; None without a file.

        Raises:
            StoreError: the file is damaged, or of another computation.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"Expected to read {self.path} but got: {error}.") from error
        try:
            found, arrays, meta = unpack(self._kind, None, data)
        except Damaged as error:
            raise StoreError(
                f"Expected a file of a {self._kind} in {self.path} but got {error}. Delete it, or name another file."
            ) from error
        if found != self._key.name:
            raise StoreError(
                f"Expected {self.path} to be of this very {self._kind} but it is of another one (other weights or code "
                "to begin with, data, method or settings, or another version of robustest). Delete it, or name another "
                "file."
            )
        return arrays, meta
