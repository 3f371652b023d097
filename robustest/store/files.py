"""Files written whole or not at all, in folders with failures that cost no verdict; results as one JSON file each."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustest.errors import ConfigError, expected
from robustest.errors import StoreError as StoreError
from robustest.safe_files import UNFINISHED, write_atomic

_KEY = re.compile("[0-9a-f]{16,128}")
# Seconds after which an unfinished file has no living writer.
_OLD = 3600.0

_MENDS = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.EROFS: "Make the folder writable",
    errno.EACCES: "Make the folder writable",
    errno.EPERM: "Make the folder writable",
    errno.ENOTDIR: "Move the file that is where a folder should be",
    errno.EEXIST: "Move the file that is where a folder should be",
}
_IN_THE_WAY = frozenset({errno.ENOTDIR, errno.EEXIST, errno.EISDIR})


class StoreWarning(UserWarning):
    """The store could not keep or read something; verdicts do not depend on it."""


@dataclass(frozen=True, slots=True)
class FileContent:
    """The contents of a file, with device and inode."""

    path: Path
    data: bytes
    number: tuple[int, int]


class Damaged(Exception):
    """A file is damaged; the message describes its contents."""


class Folder:
    """A folder of files that are written atomically, by one process or several.

    The first failure to write closes it, with one warning: later writes return False. `notices` are the texts of all
    warnings.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        self.notices: list[str] = []
        self._closed = self._has_warned = False
        self._tidied: set[Path] = set()

    def write(self, path: Path, data: bytes) -> bool:
        if self._closed:
            return False
        try:
            write_atomic(path, data)
        except OSError as error:
            # A full disk stays full: one warning instead of one per chunk.
            self._closed = True
            self._warn("write to", error, "Nothing more is stored in this run; its verdicts are the same")
            return False
        if path.parent not in self._tidied:
            self._tidied.add(path.parent)
            tidy(path.parent)
        return True

    def read(self, path: Path) -> FileContent | None:
        try:
            # By descriptor: the inode must be that of the bytes read, for `set_aside`.
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                return FileContent(path, file.read(), (status.st_dev, status.st_ino))
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn("read", error, "What it holds is computed again")
            return None

    def find(self, pattern: str) -> list[Path]:
        try:
            found = sorted(p for p in self.root.glob(pattern) if p.is_file())
        except OSError as error:
            self._warn("read", error, "What it holds is computed again")
            return []
        return [p for p in found if not p.name.startswith(".") and p.relative_to(self.root).parts[0] != "damaged"]

    def size(self, path: Path) -> int:
        try:
            return path.stat().st_size
        except OSError:
            return 0

    def age(self, path: Path) -> float:
        try:
            return path.stat().st_mtime
        except OSError:
            return 0.0

    def remove(self, path: Path) -> bool:
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            self._warn("delete files of", error, "They stay")
            return False
        return True

    def set_aside(self, file_content: FileContent, why: str) -> None:
        # Unless another process has replaced the file by a new one.
        kept = self.root / "damaged" / ".".join(file_content.path.relative_to(self.root).parts)
        try:
            status = file_content.path.stat()
            # Another process has written a new file by now: not the damaged one.
            if (status.st_dev, status.st_ino) != file_content.number:
                return
            kept.parent.mkdir(parents=True, exist_ok=True)
            file_content.path.replace(kept)
            moved = kept.stat()
            if (moved.st_dev, moved.st_ino) != file_content.number:  # a new one came in between
                kept.replace(file_content.path)
                return
            done = f"It was moved to {kept}"
        except FileNotFoundError:
            return  # another process was faster
        except OSError as error:
            done = f"It could not be moved away ({error.strerror})"
        self.say(f"Expected {file_content.path} to be whole but got {why}. {done}; what it held is computed again.")

    def say(self, message: str) -> None:
        # No raise even if warnings are errors: a failing store must not cost the verdict.
        self.notices.append(message)
        with suppress(StoreWarning):
            warnings.warn(message, StoreWarning, stacklevel=4)

    def _warn(self, what: str, error: OSError, then: str) -> None:
        if not self._has_warned:
            self._has_warned = True
            mend = _MENDS.get(error.errno or 0, "Look at the folder")
            got = f"{error.strerror}, {error.filename}" if error.errno in _IN_THE_WAY else error.strerror
            self.say(f"Expected to {what} {self.root} but got: {got}. {mend}, or name another folder. {then}.")


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Exclude other processes from writing in this folder; the lock ends with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    if sys.platform == "win32":
        yield
        return
    import fcntl

    number = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every network drive has locks
            fcntl.flock(number, fcntl.LOCK_EX)
        yield
    finally:
        os.close(number)


def tidy(folder: Path) -> None:
    """Remove unfinished files of killed writers."""
    with suppress(OSError):
        for path in folder.glob(f".*{UNFINISHED}"):
            if time.time() - path.stat().st_mtime > _OLD:
                path.unlink()


def checked(key: object) -> str:
    """Return a key that may name a file.

    Raises:
        ConfigError: not a text of 16 to 128 hex digits.
    """
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ConfigError(expected("a key of 16 to 128 hex digits in lower case", key))
    return key


def to_json(value: Any) -> str:
    """Return JSON types as text, equal for equal values.

    Raises:
        ConfigError: another type, an infinite number, or a key that is not a text.
    """
    _check_json(value)
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _check_json(value: Any) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(expected("keys of JSON objects to be texts", key))
            _check_json(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_json(item)
    elif not (value is None or type(value) in (str, int, bool) or (type(value) is float and math.isfinite(value))):
        raise ConfigError(expected("JSON types", value))


SCHEMA = 2


def save_record(folder: Path, key: str, record: Mapping[str, Any]) -> bool:
    """Keep a record as `folder/results/<first two digits>/<key>.json`; return True if it is kept.

    Args:
        folder: the store's; created if absent.
        key: 16 to 128 hex digits.
        record: JSON types, with the texts "test" and "claim".

    Raises:
        ConfigError: key or record have other types.
    """
    text = to_json(dict(record))
    path = Path(folder) / "results" / checked(key)[:2] / f"{key}.json"
    # Its text is part of the file's as it is: a record of thousands of outcomes is not parsed again.
    whole = f'{{"key":"{key}","record":{text},"schema":{SCHEMA},"sha256":"{_sum(key, text)}"}}\n'
    return Folder(folder).write(path, whole.encode())


def load_records(folder: Path) -> list[dict[str, Any]]:
    """Return all whole records, by test and claim; move the others to `folder/damaged`, with a warning."""
    place = Folder(folder)
    found: list[dict[str, Any]] = []
    for path in place.find("results/*/*.json"):
        file_content = place.read(path)
        if file_content is None:
            continue
        try:
            found.append(_record(file_content))
        except Damaged as damage:
            place.set_aside(file_content, str(damage))
    # Those of one test and claim stay in the order of their files.
    return sorted(found, key=lambda record: (str(record.get("test", "")), str(record.get("claim", ""))))


def _record(file_content: FileContent) -> dict[str, Any]:
    try:
        content = json.loads(file_content.data)
        schema, key, record = content["schema"], content["key"], content["record"]
        whole = content["sha256"] == _sum(key, to_json(record))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Damaged("bytes that are no record of robustest's") from error
    if schema != SCHEMA:
        raise Damaged(f"schema {schema!r} instead of {SCHEMA}")
    if not whole or not isinstance(record, dict):
        raise Damaged("contents that differ from their checksum")
    if key != file_content.path.stem:
        raise Damaged(f"what belongs under the name {key}")
    return record


def _sum(key: str, text: str) -> str:
    return hashlib.sha256(f"{SCHEMA} {key} {text}".encode()).hexdigest()
