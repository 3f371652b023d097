"""Hooks of the pack: its kind of claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustest.extensions import hookimpl

if TYPE_CHECKING:
    from robustest.packs import Kind


@hookimpl
def robustest_kinds() -> Sequence[Kind]:
    """Return the kind of claim of the pack."""
    from robustest_rl.asking import ROBUST_RETURN

    return (ROBUST_RETURN,)
