"""From evidence and a decision to a result, with the pictures of what spoke against the claim.

Samples that a change left as they were: a claim cannot pass by them.

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
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Required, TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest import context
from robustest.data.samples import class_names
from robustest.decisions import Decision
from robustest.decisions.drop import doubt_of_start, share_of_largest_class
from robustest.health import OF_ANSWERS, HealthFinding
from robustest.kinds import Kind, Quantity
from robustest.reports.pictures import save_exhibit
from robustest.results import NOT_PAIRED, Counterexample, Pairing, Result, Verdict
from robustest.run.evidence import REPLAYED, Evidence
from robustest.run.plan import Plan
from robustest.settings import Settings
from robustest.threats import Threat

_FEW = 10
"""Fewer samples than this are told on every line."""


def few(n: int, of: str = "") -> tuple[str, ...]:
    """What every line must say of so few samples."""
    return (f"{n} {'sample' if n == 1 else 'samples'}{of} alone",) if n < _FEW else ()


def nothing_allowed(threat: Threat) -> tuple[str, ...]:
    """What a line must say of a threat that allows no change."""
    limits = getattr(threat, "limits", (threat.radius,))  # of a pose: its radius is a share of them
    return () if any(limits) else (f"{threat} allows no change",)


def healthy(decision: Decision, findings: Sequence[HealthFinding]) -> Decision:
    """A decision that does not pass where a health check speaks: what was found safe may not be.

    What is proven does not rest on a search, and only what speaks of the model's own answers keeps it from passing.
    """
    speaking = [f.name for f in findings if f.stops and (not decision.proven or f.name in OF_ANSWERS)]
    if not speaking or decision.verdict is not Verdict.PASSED:
        return decision
    return replace(
        decision,
        verdict=Verdict.INCONCLUSIVE,
        rule=f"health check: {', '.join(speaking)}",
        reasons=tuple(f"health:{name}" for name in speaking),
    )


def fallible(decision: Decision, start: Evidence, threshold: float | None, *, alpha: float) -> Decision:
    """Return a decision on a fall that does not pass where the fall starts too low to prove anything.

    Of falls within the same samples `AboveChanceRule` sees to it.

    Args:
        decision: on the fall of a share from one set of samples to another.
        start: the samples that it starts from.
        threshold: the fall claimed at most; None where nothing is claimed.
        alpha: as for `doubt_of_start`.
    """
    if threshold is None or decision.verdict is not Verdict.PASSED:
        return decision
    held, chance = start.columns["held"], share_of_largest_class(start.columns)
    doubt = doubt_of_start(int(held.sum()), len(held), chance, threshold, alpha=alpha)
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt, reasons=("no_fall",)) if doubt else decision


def fall_from(start: Evidence, column: str = "held", *, under: str = "") -> Pairing:
    """Return what of a claim on a fall may be paired: both ends.

    Args:
        start: the samples that the fall starts from.
        column: where their outcomes are.
        under: as `Pairing.under`.
    """
    return Pairing(share=False, under=under, start=start.outcomes_of(column), start_data=start.data)


class About(TypedDict, total=False):
    """What a claim says of itself beyond its plan and its evidence; see `robustest.results.Result` for the other keys.

    Keys:
        kind: of the claim.
        quantity: what was measured, of all that the kind may measure; its first where None.
        least: the smallest value there can be, which a value that is bounded from above may have.
        widest: the largest value there can be, which a value that is bounded from below may have; None for no largest.
        trivial: the threshold that any model keeps, where it is of this measurement and not of its kind.
        scope: None for the settings' scope.
        changed: the samples that each change of the claim changed.
    """

    kind: Required[Kind]
    quantity: Quantity | None
    setting: Required[str]
    method: Required[str]
    details: Required[Mapping[str, Any]]
    bounds: str
    least: float
    widest: float | None
    trivial: float | None
    scope: str | None
    caveats: Sequence[str]
    pairing: Pairing
    changed: Sequence[Changed]


def finish(
    plan: Plan,
    evidence: Evidence,
    *,
    threshold: float | None,
    decision: Decision | None = None,
    notes: Sequence[str] = (),
    **about: Unpack[About],
) -> Result:
    """The result of a plan, compared with its baseline where it has one.

    Args:
        plan: what was to be measured.
        evidence: what was seen.
        threshold: what is claimed; None where nothing is.
        decision: None for the evidence's own.
        notes: what else a reader must know.
        **about: see `About`.

    Raises:
        StoreError: the plan's baseline is of other samples.
    """
    if (names := _class_names(plan)) and "class_names" not in about["details"]:
        about["details"] = {**about["details"], "class_names": list(names)}
    result = result_of(
        evidence,
        evidence.decision if decision is None else decision,
        plan.settings,
        statement=plan.statement,
        threshold=threshold,
        **about,
    )
    result = replace(result, notes=(*result.notes, *notes))
    return result if plan.baseline is None else plan.baseline.told(result, evidence)


def _class_names(plan: Plan) -> tuple[str, ...]:
    """What the classes are called: by the call, by the model, or by the data set."""
    model, samples = getattr(plan.units, "model", None), getattr(plan.units, "samples", None)
    return getattr(model, "classes", ()) or class_names(getattr(samples, "source", None))


def result_of(
    evidence: Evidence,
    decision: Decision,
    settings: Settings,
    *,
    kind: Kind,
    statement: str,
    quantity: Quantity | None = None,
    threshold: float | None,
    setting: str,
    method: str,
    details: Mapping[str, Any],
    bounds: str = "",
    least: float = 0.0,
    widest: float | None = 1.0,
    trivial: float | None = None,
    scope: str | None = None,
    caveats: Sequence[str] = (),
    pairing: Pairing = NOT_PAIRED,
    changed: Sequence[Changed] = (),
) -> Result:
    """The result of a measurement; where a claim did not pass, its worst samples are pictured.

    Every claim comes by here, and so by the health checks. Arguments are as `About` and `Result` say.
    """
    quantity = kind.quantities[0] if quantity is None else quantity
    at_least = quantity.comparison == ">="
    decision = tested(healthy(decision, evidence.findings), changed, threshold, at_least=at_least)
    name = _file_name(statement, quantity.comparison, threshold, method)
    folder = None if threshold is None or decision.verdict is Verdict.PASSED else settings.pictures
    return Result(
        kind=kind.name,
        statement=statement,
        verdict=decision.verdict,
        rule=decision.rule,
        quantity=quantity.name,
        estimate=decision.estimate,
        interval=_open_end(decision.interval, bounds, least, widest),
        threshold=threshold,
        comparison=quantity.comparison,
        n=evidence.n,
        n_total=evidence.total,
        outcomes=evidence.outcomes,
        cost=evidence.tally.cost,
        seed=settings.seed,
        setting=setting,
        method=method,
        counterexamples=tuple(_counterexamples(evidence, folder, name, details.get("class_names", ()))),
        notes=(*evidence.tally.notes, *(finding.message for finding in evidence.findings)),
        details=_details({**details, **counted(changed, at_least=at_least)}, evidence, decision, bounds),
        cached=evidence.cached,
        replayed=evidence.counts.get(REPLAYED, 0),
        alpha=settings.alpha if decision.at_alpha or not settings.exact else 0.0,
        at_alpha=decision.at_alpha,
        data=evidence.data,
        model=evidence.model,
        bounds=bounds,
        scope=settings.scope if scope is None else scope,
        trivial=trivial,
        reasons=_reasons(decision, evidence, claimed=threshold is not None or bool(details.get("baseline"))),
        caveats=(*few(evidence.n), *told(changed), *caveats, *_beyond(decision), *_narrower(scope, settings)),
        pairing=pairing,
    )


def _reasons(decision: Decision, evidence: Evidence, *, claimed: bool) -> tuple[str, ...]:
    """Return why a verdict is not what the value alone would make it, where the decision does not say itself."""
    if decision.reasons or decision.verdict is not Verdict.INCONCLUSIVE:
        return decision.reasons
    if not claimed:
        return ("no_threshold",)
    return ("undecided",) if evidence.whole else ("budget",)


def _narrower(scope: str | None, settings: Settings) -> tuple[str, ...]:
    return ("of this set alone, not of the population",) if scope == "set" != settings.scope else ()


def _beyond(decision: Decision) -> tuple[str, ...]:
    """Return the caveats of strata in which the claim does not hold, where that does not hold it back itself."""
    if decision.verdict is Verdict.FAILED:
        return ()
    return tuple(f"{one.value:.3f} on {one.n} samples of {one.name}" for one in decision.strata if one.beyond)


def _file_name(statement: str, comparison: str, threshold: float | None, method: str) -> str:
    """Part of the names of a claim's pictures: two claims of a test share no file."""
    return f"{zlib.crc32(f'{statement} {comparison} {threshold} {method}'.encode()):08x}"


def _details(details: Mapping[str, Any], evidence: Evidence, decision: Decision, bounds: str) -> dict[str, Any]:
    """A claim's details, with what all claims tell."""
    left = {"left_interval": list(decision.interval)} if bounds else {}
    health = [finding.to_dict() for finding in evidence.findings]
    about: dict[str, Any] = {"approximate": True} if decision.approximate and decision.at_alpha else {}
    broken, audited = evidence.tally.health.counts("weak_attack")
    if audited:
        about["audit"] = {"audited": audited, "broken": broken}
    strata = [
        {"part": one.name, "samples": one.n, "value": one.value, "interval": list(one.interval), "beyond": one.beyond}
        for one in decision.strata
    ]
    if strata:
        about["strata"] = strata
    return {**details, **left, **about, **_clean_seen(evidence), "health": health}


def _clean_seen(evidence: Evidence) -> dict[str, Any]:
    """How many of the samples looked at were right unchanged, and how many of the failures were not."""
    clean, held = evidence.columns.get("clean"), evidence.columns["held"]
    if clean is None or clean.dtype != np.bool_ or held.dtype != np.bool_ or not len(clean):
        return {}
    failures, wrong = int((~held).sum()), int((~held & ~clean).sum())
    return {"clean_seen": {"right": int(clean.sum()), "of": len(clean), "failures": failures, "wrong": wrong}}


def _counterexamples(
    evidence: Evidence, folder: str | None, name: str, names: Sequence[str]
) -> Iterator[Counterexample]:
    """The worst samples, each with its picture where there is a folder for them; `name` is part of their files' names.

    Classes are called by their `names`.
    """
    for rank, exhibit in enumerate(evidence.exhibits, 1):
        image = None
        if folder is not None:
            stem = f"{rank}-sample{exhibit.index}-{name}"
            drawn: dict[str, Any] = {"answers": exhibit.answers, "names": names, "told": exhibit.told}
            save = partial(save_exhibit, folder, stem, exhibit.before, exhibit.after, evidence.bounds, **drawn)
            path = context.current().picture(save, folder)
            image = None if path is None else shown_path(path)
        yield Counterexample(
            index=exhibit.index,
            label=exhibit.label,
            clean=exhibit.clean,
            predicted=exhibit.predicted,
            size=exhibit.size,
            image=image,
            pixels=exhibit.pixels,
            told=exhibit.told,
        )


def _open_end(interval: tuple[float, float], bounds: str, least: float, widest: float | None) -> tuple[float, float]:
    """The interval of a value that a search only bounds: a stronger one may find anything beyond."""
    low, high = interval
    if not bounds:
        return interval
    if bounds == "above":
        return min(least, low), high
    return low, high if widest is None else max(widest, high)


def shown_path(path: str) -> str:
    """The path as a person would type it from here."""
    here = Path(path)
    return str(here.relative_to(Path.cwd())) if here.is_relative_to(Path.cwd()) else path


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
