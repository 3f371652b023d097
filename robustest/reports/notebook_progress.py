"""How far a running claim is, shown in a notebook's cell as it is in a terminal."""

from __future__ import annotations

import html
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any


def notebook_progress() -> Callable[[str, int, int, int], None] | None:
    """What shows a claim's progress in the running cell; None outside a notebook."""
    shell_of = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if shell_of is None else shell_of()
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return partial(_show, shell.execution_count)


_shown: dict[tuple[int, str], Any] = {}
"""The bar of each cell and claim, to be moved in place."""


def _show(cell: int, statement: str, done: int, total: int, broken: int) -> None:
    """Draw a bar, or move it; it stays where the verdict came, and goes where every sample was looked at."""
    shown = import_module("IPython.display")  # whoever runs a notebook has it
    told = html.escape(f"{statement}: {done} of {total}, {broken} broken")
    over = done >= total
    bar = shown.HTML("" if over else f'<progress value="{done}" max="{total}"></progress> {told}')
    if over and (cell, statement) in _shown:
        _shown.pop((cell, statement)).update(bar)
    elif (cell, statement) in _shown:
        _shown[cell, statement].update(bar)
    elif not over:
        _shown[cell, statement] = shown.display(bar, display_id=True)
