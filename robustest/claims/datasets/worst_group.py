"""Accuracy on the group where it is lowest."""

from __future__ import annotations

from typing import Any, Unpack

from robustest.checks import checked_whole
from robustest.claims.datasets.data_sets import accuracy_plan
from robustest.data.groups import Groups, as_groups
from robustest.decisions import optional_threshold
from robustest.decisions.groups import GroupShare, WorstGroupRule
from robustest.decisions.multiplicity import group_level
from robustest.kinds import Kind, Quantity, no_lines
from robustest.results import Pairing, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup, deciding, of_task
from robustest.tasks import Task

WORST_GROUP_ACCURACY = Kind(
    name="worst_group_accuracy",
    quantities=(Quantity.at_least("at_least", "worst-group accuracy", "accuracy of the worst group"),),
    further_claims=("no_worse_than",),
    lines=no_lines,
)
"""The accuracy of the group of samples where it is lowest."""


@measurement(WORST_GROUP_ACCURACY)
def measure_worst_group_accuracy(
    model: object,
    data: object,
    groups: object,
    *,
    at_least: float | None = None,
    min_group_size: int = 30,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """The accuracy on the group of samples where it is lowest (worst-group accuracy, Sagawa et al., ICLR 2020).

    The worst group is picked after looking, so that bounds hold for all groups at once. Every group is judged, however
    small: about this set its share is certain; about the population a claim on a small group seldom passes, as little
    is seen of it. To leave a group out, give its samples no group.

    Args:
        model, data, task: as for `measure_robust_accuracy`.
        groups: (N,) integers, strings or tuples, the group of each sample (None: in no group), or a mapping from
            names to positions or to (N,) bool; see `robustest.data.groups.as_groups`.
        at_least: the accuracy claimed for every group, in 0..1 and more than 0.
        min_group_size: groups of fewer samples are named in the result as small, >= 1; they are judged all the same.
        no_worse_than, tolerance: as for `measure_robust_accuracy`; each group is compared by itself, and all
            comparisons together err with probability alpha.
        **options: see `robustest.run.plan.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: the groups do not fit the data; else as for `measure_robust_accuracy`.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    checked_whole("min_group_size", min_group_size, 1)
    setup = Setup.of(model, data, options, deciding(task))
    known = as_groups(groups, len(setup.samples))
    rule = WorstGroupRule(
        threshold=at_least, names=known.names, members=known.members, disjoint=known.disjoint, terms=setup.terms
    )
    plan = accuracy_plan(setup, WORST_GROUP_ACCURACY.quantities[0].state() + of_task(setup.task), rule)
    plan = _against(plan, rule, no_worse_than, tolerance)
    evidence = observe(plan)
    shares = rule.shares({**evidence.columns, "id": evidence.ids}, evidence.total)
    return finish(
        plan,
        evidence,
        kind=WORST_GROUP_ACCURACY,
        threshold=at_least,
        setting=f"{len(rule.names)} groups of {min(known.sizes)} to {max(known.sizes)} samples",
        method="accuracy of each group, with bounds for all at once",
        details=_details(evidence, shares, known, min_group_size),
        caveats=_left_out(known),
        notes=_notes(evidence, shares, known, min_group_size),
        pairing=Pairing(groups={name: tuple(ids.tolist()) for name, ids in zip(rule.names, rule.members, strict=True)}),
    )


def _against(plan: Plan, rule: WorstGroupRule, no_worse_than: Baseline | None, tolerance: float) -> Plan:
    """The plan, with each group compared by itself where there is a baseline."""
    return plan.against(
        no_worse_than,
        tolerance,
        has_threshold=rule.threshold is not None,
        groups=tuple(zip(rule.names, rule.members, strict=True)),
        level=group_level(rule.terms.alpha, len(rule.names), disjoint=rule.disjoint),
    )


def _details(evidence: Evidence, shares: list[GroupShare], groups: Groups, min_group_size: int) -> dict[str, Any]:
    whole, sizes = evidence.whole, dict(zip(groups.names, groups.sizes, strict=True))
    return {
        "accuracy": evidence.share(evidence.columns["held"]),
        "worst_group": shares[0].name if whole else None,
        "min_group_size": min_group_size,
        "disjoint": groups.disjoint,
        "in_no_group": groups.outside,
        "groups": [
            {
                "group": group.name,
                "n": group.n,
                "held": group.held,
                "accuracy": group.share if whole else None,
                "interval": list(group.interval) if whole else None,
                "small": sizes[group.name] < min_group_size,
            }
            for group in shares
        ],
    }


def _notes(evidence: Evidence, shares: list[GroupShare], groups: Groups, min_group_size: int) -> list[str]:
    notes = []
    if evidence.whole:
        worst = shares[0]
        notes.append(f"worst group {worst.name!r}: {worst.held} of {worst.n} samples right")
    small = [name for name, size in zip(groups.names, groups.sizes, strict=True) if size < min_group_size]
    if small:
        notes.append(f"small, with fewer than {min_group_size} samples, and judged all the same: {', '.join(small)}")
    return notes


def _left_out(groups: Groups) -> list[str]:
    """What nothing is said of, for every line."""
    told = [f"{groups.outside} of {groups.total} in no group"] if groups.outside else []
    return told + [f"no samples in {name!r}" for name in groups.empty]
