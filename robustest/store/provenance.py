"""When something was measured, and of which commit of the user's project."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache


def today() -> str:
    """The date in UTC, as 2026-01-31."""
    return datetime.now(UTC).date().isoformat()


@cache
def commit() -> str:
    """The short name of the commit that is checked out here; empty outside a git repository."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def machine() -> str:
    """What measured, in a few words: "Linux x86_64, 8 cores"."""
    cores = os.cpu_count() or 1
    return f"{platform.system()} {platform.machine()}, {cores} core{'' if cores == 1 else 's'}"


def when() -> str:
    """Date and commit in words, e.g. "2026-01-31, commit 1a2b3c4"."""
    name = commit()
    return f"{today()}, commit {name}" if name else today()
