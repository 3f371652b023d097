"""All claims by the module that has them, and their kinds."""

# A claim NAME is three things in one module: its `Kind`, `measure_NAME`, which returns a result, and `assert_NAME`,
# which raises unless it passed. `robustest` and `robustest.measure` take their names from the table below, and load
# none of the modules before they are used.

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from robustest.kinds import Kind

CLAIMS: dict[str, tuple[str, ...]] = {
    "claims.changes": ("directional", "invariant", "worst_change_rate"),
    "claims.confidence": ("calibrated", "ood_rejected", "selective_accuracy"),
    "claims.cues.spurious_feature": ("no_spurious_feature",),
    "claims.datasets": ("accuracy", "subpopulation_shift", "transfer_accuracy", "worst_group_accuracy"),
    "claims.outcomes": ("consistent_runs", "rate", "worst_group_rate"),
    "claims.reliability": ("reliable", "worst_item_rate"),
    "claims.robustness.certified_accuracy": ("certified_accuracy",),
    "claims.robustness.min_perturbation": ("min_perturbation",),
    "claims.robustness.robust_accuracy": ("robust_accuracy",),
    "claims.robustness.robust_score": ("robust_score",),
    "claims.robustness.same_answers": ("same_answers",),
    "claims.robustness.universal": ("no_universal_perturbation",),
    "claims.shifts.corruptions": ("corruption_robustness",),
    "claims.shifts.perturbations": ("stable_under_perturbations",),
    "claims.shifts.shift_accuracy": ("consistency", "shift_accuracy"),
    "claims.strategies": ("robust_to",),
}


def named(prefix: str) -> dict[str, tuple[str, ...]]:
    """Return the table with a prefix before each name, "assert_" or "measure_"."""
    return {home: tuple(f"{prefix}{name}" for name in names) for home, names in CLAIMS.items()}


def kinds() -> dict[str, Kind]:
    """Return every kind of claim by name: robustest's, then those of packs.

    Raises:
        PackError: a pack is broken, or two kinds have the same name.
    """
    # Here, as the table is read at pytest's start.
    from robustest import extensions
    from robustest.kinds import Kind
    from robustest.run.measurement import kind_of

    found = {}
    for home, measures in named("measure_").items():
        module = import_module(f"robustest.{home}")
        found.update({kind.name: kind for kind in (kind_of(getattr(module, one)) for one in measures)})
    owners = dict.fromkeys(found, "")
    for pack, kind in extensions.all_of("robustest_kinds", Kind):
        extensions.check_new("kind of claim", kind.name, pack, owners)
        found[kind.name], owners[kind.name] = kind, pack
    return found
