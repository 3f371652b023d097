"""Ruling of a result: the requirement, the verdict on it, and its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from robustest.errors import TruthValueError, expected
from robustest.typed import check_fields


class Verdict(StrEnum):
    """The verdict on a claim; using it as a truth value raises TruthValueError."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"

    # As a string, "failed" would be true.
    def __bool__(self) -> bool:
        raise TruthValueError(
            f"Expected a comparison such as verdict is Verdict.PASSED but got the verdict {str(self)!r} as a truth "
            "value: any verdict would be true."
        )


REASONS: Mapping[str, str] = {
    "no_threshold": "nothing was required",
    "undecided": "the value lies too near the threshold for the samples there are",
    "budget": "not all samples were looked at before samples or time were spent",
    "health": "a health check shows that the search could not do its work",
    "unchanged": "the change changes no sample, or so few that nothing could have failed the claim",
    "no_fall": "what a fall starts from is no better than chance, or less than the fall allowed",
    "copies": "samples are there several times, and too few are left if each counts once",
    "clusters": "samples that were drawn together are too few draws, or the claim cannot count them as such",
    "unaudited": "an attack by other means did not end, or broke so many samples that more must be taken to break",
    "few_runs": "items have too few runs to show their own chance",
    "judge": "the errors of the judge who scored the items are unknown, or it may be no better than chance",
    "unfit": "what was fitted, or the samples to judge it by, cannot settle the claim",
    "control": "the control, which must fail, did not",
    "baseline": "the comparison with the baseline decided",
    "limit": "another limit than the threshold decided",
    "not_searched": "known counterexamples alone were replayed",
}
"""Reasons for a verdict that the value alone does not explain."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that a claim requires.

    Raises:
        TypeError: a field has another type.
    """

    name: str  # its argument, e.g. "max_recall_drop"
    comparison: str  # required relation of the measured value to it, ">=" or "<="
    value: float  # the number

    def __post_init__(self) -> None:
        check_fields(self, "a limit")
        if not math.isfinite(self.value):
            raise TypeError(expected("value of a limit to be a finite number", self.value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """The requirement of a claim, and the verdict on it."""

    comparison: str  # required relation of the estimate to the threshold, ">=" or "<="
    threshold: float | None  # claimed value, or None
    threshold_name: str | None = None  # its argument, e.g. "at_least"; None if nothing is claimed
    limits: tuple[Limit, ...] = ()  # every number that the claim requires, by its argument
    # threshold that any model keeps, which no claim may have; or None
    trivial: float | None = field(default=None, repr=False)
    verdict: Verdict  # passed, failed or inconclusive; inconclusive too without a threshold
    rule: str  # reason for the verdict, e.g. "certain: exact on this set" or "alpha = 0.01 after 212 of 1000"
    # keys of `REASONS`, which a colon and a name may follow, e.g. "health:flat_steps". Empty if value and threshold
    # decide.
    reasons: tuple[str, ...] = ()
    # chance of a wrong verdict that was allowed beforehand, in 0..0.5; 0 if nothing was inferred
    alpha: float = 0.0
    at_alpha: bool = False  # True if the verdict rests on that chance; otherwise it is certain
    gated: bool = (
        True  # True if an assertion took it; False if a test measured against a threshold and asserted nothing
    )

    @property
    def further_limits(self) -> list[Limit]:
        """Limits of a claim beside its threshold."""
        main = (self.threshold_name, self.threshold)
        return [one for one in self.limits if self.threshold is not None and (one.name, one.value) != main]
