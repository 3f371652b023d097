"""Date, commit and machine of a measurement."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterable
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


def origin(
    apart: str | None = None, used: Iterable[str] = (), tests: Iterable[str] = (), *, known: bool = True
) -> Origin:
    """Return time, commit and versions of a run that ends now.

    Args:
        apart: a folder that the run writes, so that its files do not count as changes of the commit.
        used: files with the code of the run. The commit has changed if one lies in the repository and was not added,
            unless git ignores it, as it ignores the version that a build writes.
        tests: files of tests, each conftest.py and pytest's settings, for which git's ignoring is no excuse.
        known: False if other code may have been used as well: then the commit counts as changed.
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
        dirty=in_git and (not known or _changed(apart, used, tests)),
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


def _changed(apart: str | None, used: Iterable[str], tests: Iterable[str]) -> bool:
    """Return False if git knows that the tracked files, and the code that was used, are those of the commit."""
    status = ["status", "--porcelain", "--untracked-files=no", "--", ":/"]
    top = Path(_git("rev-parse", "--show-toplevel")).resolve()
    folder = Path(apart).resolve() if apart is not None else None
    if folder is not None and top in folder.parents:
        status.append(f":(top,exclude,literal){folder.relative_to(top).as_posix()}")
    if _ask_git(*status) != "":
        return True
    # `status` would look through every folder for files that were not added. Data and weights need not be: results have
    # their digests.
    tracked = _ask_git("-C", str(top), "ls-files", "-z", "--recurse-submodules")
    if tracked is None:
        return True
    prefix = Path(sys.prefix).resolve()  # an environment may lie in the repository, or the repository in it
    installed = prefix if top in prefix.parents else None
    not_added = [
        {
            path.relative_to(top).as_posix()
            for path in {Path(one).resolve() for one in files}
            if path.is_relative_to(top) and path.is_file() and not (installed and path.is_relative_to(installed))
        }
        - {*tracked.split("\0")}
        for files in (tests, used)
    ]
    below = not_added[1]
    if not_added[0] or len(below) > _MOST_NOT_ADDED:
        return True
    others = ("--literal-pathspecs", "-C", str(top), "ls-files", "--others", "--exclude-standard", "--")
    return bool(below) and _ask_git(*others, *sorted(below)) != ""


# Files that one command line names at most.
_MOST_NOT_ADDED = 1_000


def _in_utc(moment: datetime, precision: str) -> str:
    return moment.replace(tzinfo=None).isoformat(timespec=precision) + "Z"


def _git(*arguments: str) -> str:
    return _ask_git(*arguments) or ""


def _ask_git(*arguments: str) -> str | None:
    """Return the output of git without spaces around it; None if git is absent or fails."""
    command = ["git", *arguments]
    try:
        # A hanging git (a network drive) must not hang the tests.
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, encoding="utf-8", errors="surrogateescape", timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine() -> str:
    """Return the machine in words: "Linux x86_64, 8 cores"."""
    cores = os.cpu_count() or 1
    return f"{platform.system()} {platform.machine()}, {cores} core{'' if cores == 1 else 's'}"


def when() -> str:
    """Return date and commit in words, e.g. "2026-01-31, commit 1a2b3c4"."""
    name = commit()
    return f"{today()}, commit {name}" if name else today()
