"""One file of tensors and JSON that belongs to one computation: a checkpoint, by a key of all that it depends on.

Beside the key it holds stamps of all reads from outside (`identity.dependencies`), as entries of the store do.
A computation that changes what its key covers (a global in which a shift counts) would go on from another state than
it was left in, as the file does not bring that back: no file of it is written. What is loaded once and then stays, such
as a table behind a global, does no harm.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robustest.errors import ConfigError, StoreError
from robustest.identity.dependencies import outdated, unwatched
from robustest.identity.keys import Unhashable, key_of
from robustest.safe_files import write_atomic
from robustest.store.entries import pack, unpack
from robustest.store.files import Damaged

if TYPE_CHECKING:
    from torch import Tensor

# Key of the meta for the stamps of everything read from outside.
_STAMPS = "outside"


class KeyedFile:
    """A file that is written whole or not at all, and read by the same computation alone.

    Args:
        path: the file; its folder is made if absent.
        kind: name of these files.
        about: everything that the computation depends on, by name.
        restored: names of those parts that the computation changes, and that the saved tensors bring back.

    Raises:
        ConfigError: a part of it has no identity.
    """

    def __init__(self, path: Path, kind: str, about: Mapping[str, object], *, restored: Collection[str] = ()) -> None:
        self.path, self._kind, self._is_watched, self._has_changed = path, kind, False, False
        with self._identified():
            self._key = key_of(kind, about, None, recheck=True)
            fixed = {name: value for name, value in about.items() if name not in restored}
            self._fixed = key_of(kind, fixed, None, recheck=True)

    @contextmanager
    def _identified(self) -> Iterator[None]:
        try:
            yield
        except Unhashable as error:
            raise ConfigError(
                f"Expected a {self._kind} that can be identified, to keep a file of it, but got {error}."
            ) from error

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Stamp everything that the computation reads from outside inside the block."""
        self._is_watched = True
        with self._key.watching():
            yield

    def save(self, arrays: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
        """Write tensors by name, JSON types, and the stamps of all reads from outside.

        Nothing is written where something that is not restored has changed since the last call.

        Raises:
            ConfigError: a thing that was read has no stamp, or something that is not restored changes again and again.
            StoreError: the file cannot be written, or nothing was computed inside `watching()`.
        """
        if not self._is_watched:
            raise StoreError(f"Expected a {self._kind} that was computed inside watching() but nothing was watched.")
        if self._key.unknowable:
            raise ConfigError(
                f"Expected a {self._kind} that can be compared before it goes on, to keep a file of it, but it "
                f"{self._key.unknowable}."
            )
        with self._identified(), unwatched():
            before, self._fixed = self._fixed, self._fixed.now()
        again, self._has_changed = self._has_changed, before.name != self._fixed.name
        if again and self._has_changed:
            raise ConfigError(
                f"Expected a {self._kind} that leaves what it starts from as it is, to keep a file of it, but an "
                "attribute or a global changes again and again, such as a counter, and would not be brought back."
            )
        if self._has_changed:
            return
        meta = {**meta, _STAMPS: dict(self._key.dependencies.stamps)}
        try:
            write_atomic(self.path, pack(self._kind, self._key.name, arrays, meta))
        except OSError as error:
            raise StoreError(f"Expected to write {self.path} but got: {error}.") from error

    def load(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Return the saved tensors, on the CPU, and JSON types; None without a file.

        Raises:
            StoreError: the file is damaged, or of another computation, or what the computation read has changed.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(f"Expected to read {self.path} but got: {error}.") from error
        try:
            found, arrays, meta = unpack(self._kind, None, data)
            stamps = meta.pop(_STAMPS)
        except (Damaged, KeyError) as error:
            raise StoreError(
                f"Expected a file of a {self._kind} in {self.path} but got {error}. Delete it, or name another file."
            ) from error
        if found != self._key.name:
            raise StoreError(
                f"Expected {self.path} to be of this very {self._kind} but it is of another one (other weights or code "
                "to begin with, data, method or settings, or another version of robustest). Delete it, or name another "
                "file."
            )
        if changed := outdated(stamps):
            raise StoreError(
                f"Expected what the {self._kind} in {self.path} has read to be as it was but {changed} has changed. "
                "Restore it, delete the file, or name another one."
            )
        # What goes on from here depends on it, too.
        self._key.dependencies.read_again(stamps)
        return arrays, meta
