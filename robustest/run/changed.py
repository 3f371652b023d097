"""Samples that a change left as they were: a claim cannot pass by them.

A claim under a change (a shift, a cue, a corruption) is tested only by the samples that changed. Three rules keep a
claim from passing by the others:

1. A change that changes no sample tests nothing: inconclusive. In a list (corruptions, cues) each change counts by
   itself, since one that changes nothing would otherwise stand for robustness.
2. If the claim would hold even though the model were wrong on every sample that changed, nothing could have failed it:
   inconclusive. So a shift of 5 in 100 samples says nothing of an accuracy of at least 0.9.
3. If all that a user's function changed was cut off at the bounds, in every sample that it changed, its values are most
   likely in other units than the inputs: inconclusive.

In all other cases the number of samples that changed is reported wherever it is not all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest.decisions import Decision
from robustest.results import Verdict

_NAMED = 3
"""Changes of a list that a reason names."""
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The samples that one change changed.

    Attributes:
        by: the change in words, e.g. "the shift fog, severity 3".
        moved: (n,) bool of the samples looked at, True where a sample was changed by more than rounding.
        cut: (n,) bool, True where nothing of the change is left inside the bounds; None where units are known.
        worst: the claim's value were the model wrong wherever a sample changed; None where nothing bounds it.
    """

    by: str
    moved: NDArray[np.bool_]
    cut: NDArray[np.bool_] | None = None
    worst: float | None = None

    @property
    def count(self) -> int:
        """The number of samples that changed."""
        return int(self.moved.sum())

    @property
    def lost(self) -> int:
        """The number of samples of whose change nothing is left inside the bounds."""
        return 0 if self.cut is None else int(self.cut.sum())


def tested(decision: Decision, changed: Sequence[Changed], threshold: float | None, *, at_least: bool) -> Decision:
    """Return a decision that does not pass where a change could not have failed the claim.

    Args:
        decision: of the claim.
        changed: what its changes changed.
        threshold: what is claimed; None where nothing is, but for the comparison with a baseline.
        at_least: whether the value must be at least the threshold, or at most.
    """
    if decision.verdict is not Verdict.PASSED:
        return decision
    rule = nothing_tested(changed)
    idle = [one for one in changed if one.worst is not None and keeps(one.worst, threshold, at_least=at_least)]
    if not rule and idle:
        one = idle[0]
        few = f"{one.count} of {len(one.moved)} samples"
        rule = f"nothing could have failed it: {one.by} changes {few}, and the others suffice"
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, reasons=("unchanged",)) if rule else decision


def nothing_tested(changed: Sequence[Changed]) -> str:
    """Return why no threshold, however strict, would be tested by these changes; empty where one would."""
    if still := [one for one in changed if not one.count]:
        few = f"none of {len(still[0].moved)} samples"
        return f"nothing was tested: {_names(still)} changes {few}; leave it out, or check its strength and units"
    if outside := [one for one in changed if one.lost == one.count]:
        return (
            f"nothing was tested: {_names(outside)} leaves {outside[0].count} samples with nothing but values cut off "
            "at the bounds; a function receives and returns input units"
        )
    return ""


def keeps(worst: float, threshold: float | None, *, at_least: bool) -> bool:
    """Return True if a value keeps a threshold; values are sums of fractions, so that rounding decides nothing."""
    if threshold is None:
        return False
    return worst >= threshold - _SLACK if at_least else worst <= threshold + _SLACK


def counted(changed: Sequence[Changed], *, at_least: bool) -> dict[str, Any]:
    """Return a claim's details about its changes: how many samples each changed, and what no change could break.

    `nothing_fails_at` is the strictest threshold that would hold were the model wrong on every sample that changed; it
    is left out where every sample did. `nothing_tested` is the reason that no threshold would be tested, where there is
    one: a strict threshold would be as empty a claim as the one that was made.
    """
    if not changed:
        return {}
    partly = [one for one in changed if one.count < len(one.moved)]
    worst = [one.worst for one in partly if one.worst is not None and math.isfinite(one.worst)]
    limit = {"nothing_fails_at": (max if at_least else min)(worst)} if worst else {}
    empty = {"nothing_tested": reason} if (reason := nothing_tested(changed)) else {}
    return {"changed": {one.by: one.count for one in changed}, **limit, **empty}


def told(changed: Sequence[Changed]) -> tuple[str, ...]:
    """Return what every line must say: how many samples did not change, and how many were cut off at the bounds."""
    still = [one for one in changed if not one.count]
    lines = [f"{_names(still)} changes no sample"] if still else []
    partly = [one for one in changed if 0 < one.count < len(one.moved)]
    if partly:
        least = min(partly, key=lambda one: one.count / len(one.moved))
        lines.append(f"{least.by} changes {least.count} of {len(least.moved)} samples")
    cut = [one for one in changed if one.count and 2 * one.lost >= one.count]
    lines += [f"{one.by} is cut off at the bounds in {one.lost} of {one.count} samples: check its units" for one in cut]
    return tuple(lines)


def _names(changes: Sequence[Changed]) -> str:
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return f"{'; '.join(one.by for one in changes[:_NAMED])}{more}"
