"""Date, commit and machine of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from robustest.history import Origin
from robustest.version import VERSION


def today() -> str:
    """Return the date in UTC, as 2026-01-31."""
    return datetime.now(UTC).date().isoformat()


@cache
def commit() -> str:
    """Return the short name of the checked out commit; empty outside a git repository."""
    return _git("rev-parse", "--short", "HEAD")


def origin(apart: str | None = None) -> Origin:
    """Return time, commit and versions of a run that ends now.

    Args:
        apart: a folder that the run writes, so that its files do not count as changes of the commit.
    """
    name, _, seconds = _git("log", "-1", "--format=%H %ct").partition(" ")
    versions = [f"robustest {VERSION}"]
    if torch := _torch_version():
        versions.append(f"torch {torch}")
    # git may be absent, or the folder no repository.
    in_git = bool(name) and seconds.isdecimal()
    return Origin(
        time=_in_utc(datetime.now(UTC), "milliseconds"),
        commit=name if in_git else "",
        committed=_in_utc(datetime.fromtimestamp(int(seconds), UTC), "seconds") if in_git else "",
        dirty=in_git and _changed(apart),
        versions=", ".join((*versions, f"Python {platform.python_version()}")),
    )


def _torch_version() -> str:
    """Return torch's version with its build, without loading torch: metadata of some wheels leave the build out."""
    with suppress(ImportError, ValueError, OSError):
        spec = find_spec("torch")
        if spec is not None and spec.origin is not None:
            text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
            if found := re.search(r"^__version__ = ['\"]([^'\"]+)['\"]", text, re.M):
                return found[1]
    with suppress(PackageNotFoundError):
        return version("torch")
    return ""


def _changed(apart: str | None) -> bool:
    status = ["status", "--porcelain", "--untracked-files=no", "--", ":/"]
    top = _git("rev-parse", "--show-toplevel")
    folder = Path(apart).resolve() if apart is not None else None
    if folder is not None and top and Path(top).resolve() in folder.parents:
        below = folder.relative_to(Path(top).resolve()).as_posix()
        status.append(f":(top,exclude,literal){below}")
    return bool(_git(*status))


def _in_utc(moment: datetime, precision: str) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    try:
        # A hanging git (a network drive) must not hang the tests.
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> str:
    """Return the machine in words: "Linux x86_64, 8 cores"."""
    cores = os.cpu_count() or 1
    return f"{platform.system()} {platform.machine()}, {cores} core{'' if cores == 1 else 's'}"


def when() -> str:
    """Return date and commit in words, e.g. "2026-01-31, commit 1a2b3c4"."""
    name = commit()
    return f"{today()}, commit {name}" if name else today()
