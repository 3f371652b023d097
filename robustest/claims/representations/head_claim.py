"""What is claimed of a sparse head at most, and whether it can be decided by the samples that judge it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from robustest.checks import checked_whole
from robustest.claims.representations.head_fit import FittedHead
from robustest.decisions import Decision, clopper_pearson, count_at_most, optional_threshold
from robustest.errors import ConfigError, expected
from robustest.results import Verdict
from robustest.run.evidence import Evidence

_SLACK = 0.05
"""Validation accuracy given up for fewer features (Wong et al., section 2.2)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadLimits:
    """What is claimed at most, features of a class and accuracy lost; None where nothing is."""

    features: int | None
    drop: float | None

    @classmethod
    def checked(cls, features: int | None, drop: float | None) -> HeadLimits:
        """As given by a user.

        Raises:
            ConfigError: one is out of range, or given alone.
        """
        if (features is None) != (drop is None):
            given = f"max_features_per_class={features}, max_drop={drop}"
            raise ConfigError(
                f"Expected max_features_per_class= and max_drop= together, or neither, but got {given}. Any head is "
                "sparse if it may be wrong, and right if it may be dense."
            )
        if features is not None:
            checked_whole("max_features_per_class", features, 1)
        return cls(features=features, drop=optional_threshold("max_drop", drop, trivial=1))

    @property
    def slack(self) -> float:
        """Validation accuracy given up: a head chosen at the very limit would be beyond it half of the time."""
        return _SLACK if self.drop is None else min(_SLACK, self.drop / 2)

    def check_features(self, there: int) -> None:
        """Refuse a claim that any head keeps.

        Raises:
            ConfigError: there are no more features than are claimed at most.
        """
        if self.features is not None and self.features >= there:
            limit = f"max_features_per_class to be less than the {there} features that there are"
            raise ConfigError(expected(limit, self.features, "No head has more, so that nothing is claimed of them."))


def decided(evidence: Evidence, fitted: FittedHead, limits: HeadLimits, min_per_class: int) -> Decision:
    """Failed where the head has too many features or loses too much, passed where neither; unless in doubt."""
    decision = evidence.decision
    if limits.features is None or limits.drop is None:
        return decision
    counts = fitted.head.counts
    count, largest = int(counts.max()), int(counts.argmax())
    if count > limits.features:
        rule = f"class {largest} has {count} features in the sparsest head that is accurate enough"
        decision = replace(decision, verdict=Verdict.FAILED, rule=rule, reasons=("limit",))
    if decision.verdict is Verdict.INCONCLUSIVE:
        return decision
    doubt = _doubt(evidence, fitted, min_per_class)
    if not doubt and decision.verdict is Verdict.FAILED:
        doubt = _unfair(evidence, fitted, limits.drop)
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt, reasons=("unfit",)) if doubt else decision


def _doubt(evidence: Evidence, fitted: FittedHead, min_per_class: int) -> str:
    """Why these samples can tell nothing of a head; empty where they can."""
    label, classes = evidence.columns["label"], len(fitted.head.bias)
    counts = np.bincount(label, minlength=classes)
    if int(counts.min()) < min_per_class:
        few = int(counts.argmin())
        return f"class {few} has {counts[few]} samples to judge by, fewer than {min_per_class}"
    n, chance = len(label), int(counts.max()) / len(label)
    for who, column in (("the model", "clean"), ("the sparse head", "held")):
        right = int(evidence.columns[column].sum())
        if clopper_pearson(right, n, 0.01)[0] <= chance:
            return f"{who} is no better than chance: right on {right} of {n}, where the largest class has {chance:.3f}"
    return ""


def _unfair(evidence: Evidence, fitted: FittedHead, max_drop: float) -> str:
    """Why a failure may be the fit's and not the model's; empty where it is not."""
    if not fitted.converged:
        return f"the fit did not converge: it may be {fitted.gap:.1e} above the least objective"
    columns = evidence.columns
    lost = int(columns["clean"].sum()) - int(columns["best"].sum())
    if lost > count_at_most(max_drop, evidence.n):
        return (
            f"no head fitted on {fitted.path.n_train} samples comes near: the best one on the path loses "
            f"{lost / evidence.n:.3f}; give more samples"
        )
    return ""
