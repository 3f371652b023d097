"""Hooks of the pack: its kinds of claims, and the search for cues that `cue="auto"` stands for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from robustest.extensions import hookimpl

if TYPE_CHECKING:
    from robustest.packs import CueSearch, Kind


@hookimpl
def robustest_kinds() -> Sequence[Kind]:
    """Return the kinds of claims of the pack."""
    from robustest_interpret.backdoor_trigger import NO_BACKDOOR_TRIGGER
    from robustest_interpret.class_evidence import CLASS_EVIDENCE
    from robustest_interpret.failure_direction import NO_FAILURE_DIRECTION
    from robustest_interpret.gradient_alignment import GRADIENT_ALIGNMENT
    from robustest_interpret.invertible_features import INVERTIBLE_FEATURES
    from robustest_interpret.sparse_head import SPARSE_HEAD

    return (
        NO_BACKDOOR_TRIGGER,
        NO_FAILURE_DIRECTION,
        CLASS_EVIDENCE,
        GRADIENT_ALIGNMENT,
        INVERTIBLE_FEATURES,
        SPARSE_HEAD,
    )


@hookimpl
def robustest_cue_searches() -> Mapping[str, Callable[[], CueSearch]]:
    """Return the search of `cue="auto"`."""
    from robustest_interpret.discovery.proposals import Discovery

    return {"auto": Discovery}
