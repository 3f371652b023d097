"""The pytest run that has started this process, directly or through others, where no environment names it."""

# A run under --robust writes a marker: a file, named by its process id, with the start of the process and the folder
# for claims of its children. A child whose environment was emptied looks for a marker of its parent, of the parent's
# parent, and so on.
#
# - Process ids are used again: a marker counts only if its process started when the marker says so.
# - Anybody may write into /tmp: the folder of markers, each marker and the folder that it names must belong to this
#   user, and nobody else may write into them. A link is no marker.
# - Where neither /proc nor `ps` tells of processes, or the user is another, no run is found.

from __future__ import annotations

import json
import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

# Parents that are asked at most; a chain of processes has no cycles, but one may be reported while it changes.
_MOST = 64


class Process(NamedTuple):
    """A process, by its parent and the time of its start."""

    parent: int
    start: str  # time of its start, in the system's own unit


def process(number: int) -> Process | None:
    """Return parent and start of a process, or None if there is no such process, or the system does not tell."""
    if os.path.exists("/proc/self/stat"):
        try:
            # The name of the program, in parentheses, may contain anything, also parentheses.
            fields = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
            _, parent, *further = fields.split()
            return Process(int(parent), further[17])
        except (OSError, ValueError, IndexError):
            return None
    try:
        command = ["ps", "-o", "ppid=,lstart=", "-p", str(number)]
        fixed = {"LC_ALL": "C", "TZ": "UTC", "PATH": os.defpath}  # else the same start could be written otherwise
        done = subprocess.run(command, env=fixed, capture_output=True, text=True, timeout=5, check=True)  # noqa: S603
        first, *start = done.stdout.split()
        return Process(int(first), " ".join(start))
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def places() -> list[str]:
    """Return paths for the folder of markers, in order of preference; they depend on the user alone."""
    # Neither TMPDIR nor HOME: the environment may be empty.
    user = os.getuid()
    return [f"{place}/robustest-{user}" for place in (f"/run/user/{user}", "/tmp", "/var/tmp")]  # noqa: S108 - checked


@contextmanager
def marked(folder: str) -> Iterator[None]:
    """Mark this process, inside the block, as one that receives claims of its children in `folder`."""
    here = process(os.getpid()) if hasattr(os, "getuid") else None
    home = None if here is None else next((one for one in places() if _made(one)), None)
    if here is None or home is None:
        yield
        return
    _sweep(Path(home))
    marker = Path(home, str(os.getpid()))
    before = _read(str(marker))  # of a run that runs this one in the same process
    _write(marker, [here.start, folder])
    try:
        yield
    finally:
        with suppress(OSError):
            if before is None:
                marker.unlink()
            else:
                _write(marker, before)


@cache
def found(number: int) -> tuple[int, str] | None:
    """Return process id and folder of the nearest run that is the process `number` or one of its parents, or None."""
    if not hasattr(os, "getuid"):
        return None
    homes = [one for one in places() if _is_private(one, stat.S_ISDIR)]
    for _ in range(_MOST if homes else 0):
        known = process(number)
        if known is None:
            return None
        for home in homes:
            marker = _read(f"{home}/{number}")
            if marker is not None and marker[0] == known.start and _is_private(marker[1], stat.S_ISDIR):
                return number, marker[1]
        number = known.parent
    return None


def _made(folder: str) -> bool:
    with suppress(OSError):
        os.mkdir(folder, 0o700)
    return _is_private(folder, stat.S_ISDIR) and os.access(folder, os.W_OK)


def _is_private(path: str, kind: object) -> bool:
    try:
        about = os.lstat(path)
    except (OSError, ValueError):
        return False
    return callable(kind) and kind(about.st_mode) and about.st_uid == os.getuid() and not about.st_mode & 0o022


def _read(path: str) -> list[str] | None:
    if not _is_private(path, stat.S_ISREG):
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    right = isinstance(content, list) and len(content) == 2 and all(isinstance(one, str) for one in content)
    return content if right else None


def _write(marker: Path, content: list[str]) -> None:
    new = marker.with_name(f"{marker.name}.new")
    with suppress(OSError):
        new.write_text(json.dumps(content), encoding="utf-8")
        new.chmod(0o600)
        new.replace(marker)


def _sweep(home: Path) -> None:
    """Remove the markers of processes that have ended: a run that is killed leaves one."""
    with suppress(OSError):
        for path in home.iterdir():
            number, marker = path.stem, _read(str(path))
            known = process(int(number)) if number.isdigit() else None
            if marker is None or known is None or known.start != marker[0]:
                with suppress(OSError):
                    path.unlink()
