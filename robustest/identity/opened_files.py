"""Which files Python opens to read while something runs, and what they hold."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CODE = (".py", ".pyc", ".pyi", ".so", ".pyd", ".dll")
"""Files that are read as code is loaded, which is told by what it says."""
_SYSTEM = ("/proc/", "/sys/", "/dev/")
_LARGE = 1 << 26
"""Bytes from which a file is told by its size and date."""

_listening: list[set[str]] = []
_hooked = False


@contextmanager
def opened() -> Iterator[set[str]]:
    """The paths of regular files that are opened to read inside the block, by any thread; code is left out.

    Files that are opened behind Python's back, by libraries in C, are not seen.
    """
    global _hooked  # noqa: PLW0603 - an audit hook stays for as long as the process does
    if not _hooked:
        _hooked = True
        sys.addaudithook(_hear)
    seen: set[str] = set()
    _listening.append(seen)
    try:
        yield seen
    finally:
        _listening[:] = [other for other in _listening if other is not seen]
        seen.intersection_update([path for path in seen if _counts(path)])


def stamp(path: str) -> str:
    """What tells a file's contents from others: a hash, or size and date where it is large; "absent" without one."""
    try:
        status = os.stat(path)
        if status.st_size > _LARGE:
            return f"{status.st_size} {status.st_mtime_ns}"
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError:
        return "absent"


def _hear(event: str, args: tuple[Any, ...]) -> None:
    """An audit hook: what it raises would reach whoever opens a file."""
    if event != "open" or not _listening:
        return
    path, _, flags = args
    if isinstance(path, int) or not isinstance(flags, int) or flags & (os.O_WRONLY | os.O_RDWR):
        return
    try:
        found = os.path.abspath(os.fsdecode(path))
    except (OSError, TypeError, ValueError):  # no path, or no folder any more
        return
    for seen in list(_listening):
        seen.add(found)


def _counts(path: str) -> bool:
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False
    return regular and not path.endswith(_CODE) and not path.startswith(_SYSTEM)
