"""Hooks of the pack: its kinds of claims."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from robustest.extensions import hookimpl

if TYPE_CHECKING:
    from robustest.packs import Kind


@hookimpl
def robustest_kinds() -> Sequence[Kind]:
    """Return the kinds of claims of the pack."""
    from robustest_training.landscape import LANDSCAPE
    from robustest_training.nonrobust_reliance import NONROBUST_RELIANCE
    from robustest_training.robust_generalization import ROBUST_GENERALIZATION
    from robustest_training.synthetic_covers import SYNTHETIC_COVERS

    return (SYNTHETIC_COVERS, ROBUST_GENERALIZATION, NONROBUST_RELIANCE, LANDSCAPE)
