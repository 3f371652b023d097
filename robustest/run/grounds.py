"""Grounds of a pass: changes that were made, models that differ, and values beyond those of a constant answer."""

# A claim may be green only if the data decided it, and only if something could have made it red. This is the one place
# that knows, for every kind of claim; it refuses a pass, and never turns a verdict red. A pass is refused if
#
# 1. nothing was varied. The kind says what it varies (`Kind.varies`); its effect the evaluator saw in the look's
#    own passes (`robustest.engine.shown`), or, for changes that come in lists, the look returned it for each. A change
#    that leaves every sample as it was, or so many that the others suffice for the threshold, tests nothing; nor does a
#    second set without samples of its own. In a list each change counts separately, since an idle one would stand for
#    robustness. Of a user's own function nothing counts that was cut off at the bounds, most likely because of other
#    units.
# 2. the two models of a comparison are one (`same_model`).
# 3. a constant answer would have passed (`constant_answer`): the model, or the people that a claim rests on, give one
#    to every sample, or one class said of every sample reaches the threshold.
#
# The first has no suppression: nothing was measured. The others are findings of health checks, which a user who means
# it may suppress by name.

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robustest.columns import AGAIN, ALONE, ANSWER, APART, CHANGED, LEAD, PAST, SHOWN
from robustest.decisions import Decision, Rule, ShareRule, clopper_pearson
from robustest.decisions.baseline import NoWorse
from robustest.decisions.drop import LABEL, share_of_largest_class
from robustest.decisions.mean import CONSTANT_COUNTS
from robustest.decisions.mean_iou import mean_iou
from robustest.decisions.strata import StrataRule
from robustest.errors import ConfigError
from robustest.health import HealthFinding
from robustest.kinds import Kind, Quantity
from robustest.results import Verdict
from robustest.run.evidence import CLASS, CONSTANT, Evidence
from robustest.words import number

if TYPE_CHECKING:
    from robustest.shifts import Shift
    from robustest.threats import Threat

MOVED = "moved"
"""Column of a look that says itself which samples it changed, (n,) bool."""

# Most changes that a reason names.
_NAMED = 3
_SLACK = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """The effect of one change on the samples, or of a second set of samples.

    Attributes:
        by: the change in words, e.g. "the shift fog, severity 3".
        moved: (n,) bool, True for samples changed by more than rounding; of a second set, for those that are new.
        cut: (n,) bool, True if nothing of the change is left inside the bounds; None if units are known.
        worst: the claim's value for a model that is wrong on every changed sample; None if nothing bounds it.
        verb: its effect on a sample, in words.
    """

    by: str
    moved: NDArray[np.bool_]
    cut: NDArray[np.bool_] | None = None
    worst: float | None = None
    verb: str = "changes"

    @classmethod
    def within(cls, threat: Threat, n: int) -> Changed:
        """Return the effect of a threat on n samples where nothing but its radius is known, as in trainings."""
        return cls(by=str(threat), moved=np.full(n, threat.radius > 0))

    @classmethod
    def brought(cls, by: str, first: Evidence, second: Evidence) -> Changed:
        """Return the effect of a second set: the samples that the first has not."""
        return cls(by=by, moved=new_samples(first, second), verb="brings")

    @property
    def count(self) -> int:
        return int(self.moved.sum())

    @property
    def lost(self) -> int:
        return 0 if self.cut is None else int(self.cut.sum())


def changes_of(
    kind: Kind, evidence: Evidence, given: Sequence[Changed], rule: Rule | None, *, by: str
) -> tuple[Changed, ...]:
    """Return the changes that a measurement made.

    Args:
        given: the changes that the kind reports itself; empty to take those that the evaluator saw.
        rule: decides the claim; None if it is not known.
        by: the change in words.

    Raises:
        ConfigError: the kind varies something, and neither said nor showed what; or it varies nothing, and showed the
            model other inputs than the samples; or its look made no pass of the model.
    """
    shown, own = evidence.columns.get(SHOWN), evidence.columns.get(MOVED)
    if shown is not None and bool((shown == PAST).any()):
        raise ConfigError(
            f"Expected the look of the kind {kind.name!r} to ask the model by its evaluator but it made no pass: what "
            "it showed the model is not known. Call evaluator.logits(x), evaluator.judge(x, y) or "
            "evaluator.gradient(...)."
        )
    if given:
        if len(given) == 1 and shown is not None and len(given[0].moved) == len(shown):
            return (replace(given[0], moved=given[0].moved & (shown != AGAIN)),)
        return tuple(given)
    if kind.varies == "nothing":
        if shown is not None and bool((shown != ALONE).any()):
            raise ConfigError(
                f"Expected the look of the kind {kind.name!r} to ask once about each sample as it is, as "
                'varies="nothing" says, but it asked about other inputs, or twice. Say varies="inputs": a change that '
                "changes nothing must not pass."
            )
        return ()
    if own is None and (shown is None or bool((shown == APART).any())):
        raise ConfigError(
            f"Expected the kind {kind.name!r} to say which samples it varied but its look returned no column "
            f"{MOVED!r}, finish() got no changed=, and the passes are not aligned with the samples. Return the column: "
            "(n,) bool, True where a sample was changed by more than rounding."
        )
    moved = np.asarray(shown == CHANGED if own is None else own, dtype=bool)
    if shown is not None:  # a sample that the evaluator saw unchanged did not move, whatever the look says
        moved = moved & (shown != AGAIN)
    return (Changed(by=by, moved=moved, worst=_worst(evidence, rule, moved)),)


def _worst(evidence: Evidence, rule: Rule | None, moved: NDArray[np.bool_]) -> float | None:
    """Return the share that a rule claims, for a model that is wrong on every changed sample; None for other rules."""
    while isinstance(rule, (NoWorse, StrataRule)):
        rule = rule.other if isinstance(rule, NoWorse) else rule.whole
    if not isinstance(rule, ShareRule) or not len(moved):
        return None
    held = evidence.columns[rule.column].astype(bool)
    return float((held & ~moved).mean() if rule.at_least else (~held | moved).mean())


def new_samples(first: Evidence, second: Evidence) -> NDArray[np.bool_]:
    """Return (n,) bool, True for samples of the second set that the first has not.

    Rows of a table and short texts may be equal by chance: these are new unless the two sets are the same.
    """
    if not first.inputs or not second.inputs:
        return np.ones(second.n, dtype=bool)
    if second.may_repeat:
        return np.full(second.n, sorted(first.inputs) != sorted(second.inputs))
    known = set(first.inputs)
    return np.array([one not in known for one in second.inputs], dtype=bool)


def require_changes(
    decision: Decision,
    changed: Sequence[Changed],
    threshold: float | None,
    *,
    at_least: bool,
    tolerance: float | None = None,
) -> Decision:
    """Return a decision that does not pass if a change could not have failed the claim.

    Args:
        changed: effects of its changes.
        threshold: the value claimed; None if only a baseline is compared.
        at_least: True if the value must be at least the threshold, False if at most.
        tolerance: the fall that a comparison with a baseline allows; None without one.
    """
    if decision.verdict is not Verdict.PASSED:
        return decision
    rule = _nothing_tested(changed)
    idle = [one for one in changed if one.worst is not None and keeps(one.worst, threshold, at_least=at_least)]
    if not rule and idle:
        one = idle[0]
        changes = f"{one.count} of {len(one.moved)} samples"
        rule = f"nothing could have failed it: {one.by} {one.verb} {changes}, and the others suffice"
    few = [] if tolerance is None else [one for one in changed if one.count <= tolerance * len(one.moved) + _SLACK]
    if not rule and few:
        one = few[0]
        changes = f"{one.count} of {len(one.moved)} samples"
        rule = f"nothing could have failed it: {one.by} {one.verb} {changes}, and a fall of {tolerance:g} is allowed"
    if not rule:
        return decision
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, proven=False, reasons=("unchanged",))


def keeps(worst: float, threshold: float | None, *, at_least: bool) -> bool:
    """Return True if a value keeps a threshold."""
    if threshold is None:
        return False
    # Values are sums of fractions: rounding must decide nothing.
    return worst >= threshold - _SLACK if at_least else worst <= threshold + _SLACK


def _nothing_tested(changed: Sequence[Changed]) -> str:
    # Reasons why these changes test no threshold, however strict.
    if still := [one for one in changed if not one.count]:
        none = f"none of {len(still[0].moved)} samples"
        return (
            f"nothing was tested: {_names(still)} {still[0].verb} {none}; leave it out, or check its strength and units"
        )
    if outside := [one for one in changed if one.lost == one.count]:
        return (
            f"nothing was tested: {_names(outside)} leaves {outside[0].count} samples with nothing but values cut off "
            "at the bounds; a function receives and returns input units"
        )
    return ""


def change_details(changed: Sequence[Changed], *, at_least: bool) -> dict[str, Any]:
    """Return the details of a result about its changes: counts, and the threshold that nothing could fail."""
    if not changed:
        return {}
    partly = [one for one in changed if one.count < len(one.moved)]
    worst = [one.worst for one in partly if one.worst is not None and math.isfinite(one.worst)]
    # The strictest threshold that holds even if the model is wrong on every changed sample.
    limit = {"nothing_fails_at": (max if at_least else min)(worst)} if worst else {}
    empty = {"nothing_tested": reason} if (reason := _nothing_tested(changed)) else {}
    return {"changed": {one.by: one.count for one in changed}, **limit, **empty}


def change_caveats(changed: Sequence[Changed]) -> list[str]:
    """Return the caveats of a result about its changes."""
    still = [one for one in changed if not one.count]
    lines = [f"{_names(still)} {still[0].verb} no sample"] if still else []
    partly = [one for one in changed if 0 < one.count < len(one.moved)]
    if partly:
        least = min(partly, key=lambda one: one.count / len(one.moved))
        lines.append(f"{least.by} {least.verb} {least.count} of {len(least.moved)} samples")
    cut = [one for one in changed if one.count and 2 * one.lost >= one.count]
    lines += [f"{one.by} is cut off at the bounds in {one.lost} of {one.count} samples: check its units" for one in cut]
    return lines


def shortfall(shift: Shift | None, evidence: Evidence) -> list[str]:
    """Return the caveat of a change of signals whose promised size did not arrive inside the bounds."""
    sizes = evidence.columns.get("size that arrives")
    change = None if shift is None else shift.signal_change
    words = "" if sizes is None or change is None else change.shortfall(sizes)
    return [words] if words else []


def _names(changes: Sequence[Changed]) -> str:
    more = f" and {len(changes) - _NAMED} more" if len(changes) > _NAMED else ""
    return f"{'; '.join(one.by for one in changes[:_NAMED])}{more}"


# Findings


def constant_of(evidence: Evidence, quantity: Quantity, constant: float | None, *, alpha: float) -> float | None:
    """Return the value that the best constant answer reaches; None if it is not known.

    Args:
        constant: as the kind knows it; None to take it from the evidence, for a share of right answers.
        alpha: error of finding a class as large, where not every sample was evaluated.
    """
    n = len(evidence.columns["held"])
    if constant is not None or not quantity.constant or not n:
        return constant
    said, counts = (evidence.columns.get(name) for name in (CONSTANT, CONSTANT_COUNTS))
    if counts is not None:  # its mean IoU is far below its share of right pixels
        constant = float(mean_iou(counts.sum(0)))
    else:
        labels = evidence.columns.get(CLASS)
        classes = evidence.columns if labels is None else {**evidence.columns, LABEL: labels}
        constant = share_of_largest_class(classes) if said is None else float(said.mean())
    if evidence.whole:
        return constant
    return clopper_pearson(math.floor(constant * n), n, alpha)[0]  # the share among all samples may be less


def findings_of(
    evidence: Evidence,
    quantity: Quantity,
    threshold: float | None,
    constant: float | None,
    *,
    answers: NDArray[Any] | None,
    people: NDArray[Any] | None = None,
    suppress: Collection[str],
) -> tuple[HealthFinding, ...]:
    """Return the findings against a pass that lie in the claim itself.

    Args:
        threshold: the value claimed; None if only a baseline is compared.
        constant: the value that the best constant answer reaches; None if it is not known.
        answers: (n,) the model's answers to samples as they are, in numbers; None for those of the evidence.
        people: (n,) answers of people that the claim rests on, in numbers; None without any.
    """
    said = [] if people is None else list(_said_of_all(people))
    found = dict(said or _constant(evidence, quantity, threshold, constant, answers))
    if evidence.beside is not None and evidence.beside.same:
        found["same_model"] = evidence.beside.same
    return findings(found, suppress)


def findings(doubts: Mapping[str, str], suppress: Collection[str]) -> tuple[HealthFinding, ...]:
    """Return the findings of health checks, from a message for each by its name."""
    return tuple(
        HealthFinding(
            name=name,
            message=f'{name}: {message}. If this is known and meant: suppress=("{name}",).',
            suppressed=name in suppress,
        )
        for name, message in doubts.items()
    )


def _said_of_all(people: NDArray[Any]) -> Iterator[tuple[str, str]]:
    if len(people) > 1 and bool((people == people[0]).all()):
        yield (
            "constant_answer",
            f"people give one answer to all of {len(people)} questions: people who ignore the question would, too. Ask "
            "also about samples and classes of which the answer is another one",
        )


def _constant(
    evidence: Evidence,
    quantity: Quantity,
    threshold: float | None,
    constant: float | None,
    answers: NDArray[Any] | None,
) -> Iterator[tuple[str, str]]:
    answers = evidence.columns.get(ANSWER) if answers is None else answers
    if answers is not None and len(answers) > 1 and bool((answers == answers[0]).all()):
        labels = evidence.columns.get(CLASS)
        several = labels is None or len(np.unique(labels)) > 1
        yield (
            "constant_answer",
            f"the model gives one answer to all of {len(answers)} samples: a model that ignores its input would pass. "
            + ("Look at its output, its preprocessing and its mode" if several else "Give samples of all classes"),
        )
        return
    at_least = quantity.comparison == ">="
    if threshold is not None and constant is not None and keeps(constant, threshold, at_least=at_least):
        yield (
            "constant_answer",
            f"a model that ignores its input would pass: one answer for every sample reaches "
            f"{number(max(constant, threshold) if at_least else min(constant, threshold), threshold)}, and "
            f"{quantity.threshold}={threshold:g} is claimed. Claim more, or give samples of all classes alike",
        )


def one_model(own: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]]) -> bool:
    """Return True if two models give equal scores on every sample, to the bit; columns are in the order of the data."""
    for name in (ANSWER, LEAD):
        one, two = own.get(name), other.get(name)
        if one is None or two is None or np.isnan(one).any() or not np.array_equal(one, two):
            return False
    return True
