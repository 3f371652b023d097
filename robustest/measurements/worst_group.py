"""Accuracy on the group where it is lowest."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

from robustest.data import as_samples
from robustest.data.groups import Groups, as_groups
from robustest.errors import ConfigError, DataError, expected
from robustest.measurements.comparison import Baseline, compared
from robustest.measurements.data_sets import AS_THEY_ARE, accuracy_look
from robustest.measurements.driver import observe
from robustest.measurements.finish import result_of
from robustest.measurements.observed import Evidence
from robustest.measurements.options import Options, apply, terms_of
from robustest.results import Result
from robustest.verdicts import Terms, checked_threshold
from robustest.verdicts.groups import GroupShare, WorstGroupClaim, group_level


def measure_worst_group_accuracy(
    model: object,
    data: object,
    groups: object,
    *,
    at_least: float | None = None,
    min_group: int = 30,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """The accuracy on the group of samples where it is lowest (worst-group accuracy, Sagawa et al., ICLR 2020).

    The worst group is picked after looking, so that bounds hold for all groups at once. Groups of fewer than
    `min_group` samples are named in the result and not judged: what is seen of them says too little.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`.
        groups: (N,) integers, strings or tuples, the group of each sample (None: in no group), or a mapping from
            names to positions or to (N,) bool; see `robustest.data.groups.as_groups`.
        at_least: the accuracy claimed for every judged group, in 0..1.
        min_group: fewest samples of a group that is judged, >= 1.
        no_worse_than, tolerance: as for `measure_robust_accuracy`; each judged group is compared by itself, and all
            comparisons together err with probability alpha.
        **options: see `robustest.measurements.options.Options`.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: the groups do not fit the data, or none is large enough; else as for `measure_robust_accuracy`.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = None if at_least is None else checked_threshold("at_least", at_least)
    if type(min_group) is not int or min_group < 1:
        raise ConfigError(expected("min_group to be a whole number >= 1", min_group))
    classifier, settings = apply(model, options)
    samples = as_samples(data)
    terms = terms_of(settings)
    claim = worst_group_claim(as_groups(groups, len(samples)), at_least, min_group, terms)
    statement = "accuracy of the worst group"
    judged = tuple((name, ids) for name, ids in zip(claim.names, claim.members, strict=True) if len(ids) >= min_group)
    baseline = compared(
        claim,
        settings,
        asked=at_least is not None,
        statement=statement,
        n=len(samples),
        terms=terms,
        no_worse_than=no_worse_than,
        tolerance=tolerance,
        groups=judged,
        level=group_level(terms.alpha, len(judged), disjoint=claim.disjoint),
    )
    settings = baseline.settings
    evidence = observe(
        statement, classifier, samples, settings, accuracy_look(settings), claim=baseline.claim, identity=AS_THEY_ARE
    )
    shares = claim.shares({**evidence.columns, "id": evidence.ids}, evidence.total)
    small = [name for name, ids in zip(claim.names, claim.members, strict=True) if len(ids) < min_group]
    result = result_of(
        evidence,
        evidence.decision,
        settings,
        claim="worst_group_accuracy",
        statement=statement if at_least is None else f"{statement} >= {at_least:g}",
        quantity="worst-group accuracy",
        threshold=at_least,
        comparison=">=",
        setting=f"{len(claim.names) - len(small)} groups of {min_group} samples or more",
        method="accuracy of each group, with bounds for all at once",
        details=_details(evidence, shares, claim),
    )
    result = replace(result, notes=(*result.notes, *_notes(evidence, shares, small, min_group)))
    return baseline.told(result, evidence)


def worst_group_claim(groups: Groups, at_least: float | None, min_group: int, terms: Terms) -> WorstGroupClaim:
    """The claim on the groups that are large enough.

    Raises:
        DataError: none is.
    """
    if max(groups.sizes) < min_group:
        raise DataError(
            f"Expected a group of {min_group} samples or more but the largest has {max(groups.sizes)}. Give more "
            "samples, join groups, or lower min_group=."
        )
    return WorstGroupClaim(
        threshold=at_least,
        names=groups.names,
        members=groups.members,
        min_group=min_group,
        disjoint=groups.disjoint,
        terms=terms,
    )


def _details(evidence: Evidence, shares: list[GroupShare], claim: WorstGroupClaim) -> dict[str, Any]:
    whole = evidence.whole
    return {
        "accuracy": evidence.share(evidence.columns["held"]),
        "worst_group": shares[0].name if whole else None,
        "min_group": claim.min_group,
        "disjoint": claim.disjoint,
        "groups": [
            {
                "group": group.name,
                "n": group.n,
                "held": group.held,
                "accuracy": group.share if whole else None,
                "interval": list(group.interval) if whole and group.interval is not None else None,
                "judged": group.interval is not None,
            }
            for group in shares
        ],
    }


def _notes(evidence: Evidence, shares: list[GroupShare], small: list[str], min_group: int) -> list[str]:
    notes = []
    if evidence.whole:
        worst = shares[0]
        notes.append(f"worst group {worst.name!r}: {worst.held} of {worst.n} samples right")
    if small:
        notes.append(f"not judged, with fewer than {min_group} samples: {', '.join(small)}")
    return notes
