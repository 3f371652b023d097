"""Runs of pytest in a process of their own, as the user would start them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from robustest.cli.exits import Exit

_MEANING = {0: Exit.OK, 1: Exit.NOT_PASSED, 3: Exit.MISSING, 5: Exit.MISSING}
"""pytest's exit codes: 3 is an internal error or a lost result, 5 that no test ran; the rest is usage."""


def run_pytest(arguments: Sequence[str]) -> int:
    """Run `pytest --robust` with this Python here; its output goes where ours goes.

    Returns:
        pytest's exit code.
    """
    sys.stdout.flush()
    command = [sys.executable, "-m", "pytest", "--robust", *arguments]
    return subprocess.run(command, check=False).returncode  # noqa: S603 - the user's own arguments, and no shell


def meaning(code: int) -> Exit:
    """What one of pytest's exit codes is among ours."""
    return _MEANING.get(code, Exit.USAGE)
