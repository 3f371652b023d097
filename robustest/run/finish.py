"""From evidence and a decision to a result: the last checks of a pass, details, caveats, and pictures."""

# No claim passes if a health check stops it (`apply_findings`), or without grounds (`robustest.run.grounds`).

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Required, TypedDict, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from robustest import context
from robustest.decisions import Decision, Rule, clopper_pearson
from robustest.decisions.drop import LABEL, doubt_of_start, share_of_largest_class
from robustest.health import BEYOND_SEARCH, HealthFinding
from robustest.kinds import Kind, Quantity
from robustest.loaded import of_class
from robustest.reports.pictures import save_exhibit
from robustest.results import (
    NOT_PAIRED,
    Counterexample,
    KeptEvidence,
    Numbers,
    Pairing,
    Result,
    Ruling,
    Subject,
    Verdict,
    Words,
)
from robustest.run.afterwards import after_verdict
from robustest.run.evidence import CLASS, REPLAYED, Evidence
from robustest.run.grounds import (
    Changed,
    change_caveats,
    change_details,
    changes_of,
    constant_of,
    findings,
    findings_of,
    require_changes,
)
from robustest.settings import Settings
from robustest.typed import to_plain
from robustest.words import number

if TYPE_CHECKING:
    from robustest.run.plan import Plan
    from robustest.threats import Snr, Threat

# Fewer samples are a caveat.
_FEW = 10


class About(TypedDict, total=False):
    """The part of a result that a claim gives beside its plan and evidence; see `Result` for the other keys.

    Keys:
        quantity: one of the kind's; None for the first.
        threat: the threat whose sizes counterexamples have.
        least: smallest possible value, for a value bounded from above.
        widest: largest possible value, for a value bounded from below; None for no largest.
        trivial: threshold that any model keeps, if not that of the kind.
        scope: None for the settings' scope.
        changed: the effect of each change, for a kind that varies several things or no samples of a look; else the
            changes count that the evaluator saw.
        constant: the value that the best constant answer reaches, if the quantity alone does not tell.
        answers: (n,) the model's answers to samples as they are, in numbers, if the evidence is of others.
        people: (n,) answers of people that the claim rests on, in numbers: equal ones tell nothing apart.
        further: numbers of other samples that the claim rests on, by their kind in words: few are a caveat.
        doubts: reasons, by the name of a health check, why a pass would show nothing: with any the claim does not pass,
            unless the check is suppressed.
        start: evidence from whose accuracy the claimed value falls, of another set: no fall from a start as low as a
            constant answer's passes.
    """

    kind: Required[Kind]
    quantity: Quantity | None
    setting: Required[str]
    method: Required[str]
    details: Required[Mapping[str, Any]]
    bounds: str
    threat: Threat
    least: float
    widest: float | None
    trivial: float | None
    scope: str | None
    caveats: Sequence[str]
    pairing: Pairing
    changed: Sequence[Changed]
    constant: float | None
    answers: NDArray[Any]
    people: NDArray[Any]
    further: Mapping[str, int]
    doubts: Mapping[str, str]
    start: Evidence
    notes: Sequence[str]


def finish(
    plan: Plan | Settings,
    evidence: Evidence,
    *,
    threshold: float | None,
    decision: Decision | None = None,
    statement: str = "",
    **about: Unpack[About],
) -> Result:
    """Return the result of a measurement, with the comparison with its baseline.

    Args:
        plan: the plan; or the settings of a measurement that a kind made without one.
        statement: without a plan, the claim in words, without its threshold.
        threshold: the value claimed, or None.
        decision: None for that of the evidence.
        **about: see `About`.

    Raises:
        StoreError: the plan's baseline is of other samples.
    """
    decision = evidence.decision if decision is None else decision
    if isinstance(plan, Settings):
        return result_of(evidence, decision, plan, statement=statement, threshold=threshold, **about)
    # Here, as only plans of a model and samples need them: recorded outcomes load no torch.
    from robustest.data.samples import class_names
    from robustest.engine.answer_checks import radius_caveat

    # Names of classes: of the call, of the model, or of the data set.
    model, samples = getattr(plan.units, "model", None), getattr(plan.units, "samples", None)
    names = getattr(model, "classes", ()) or class_names(getattr(samples, "source", None))
    if names and "class_names" not in about["details"]:
        about["details"] = {**about["details"], "class_names": list(names)}
    threat, shape = getattr(getattr(plan.units, "look", None), "threat", None), getattr(plan.units, "shape", ())
    if threat is not None and (caveat := radius_caveat(threat, plan.units.bounds, shape)):
        about["caveats"] = (*about.get("caveats", ()), caveat)
    quantity = about.get("quantity") or about["kind"].quantities[0]
    if quantity.constant and about.get("constant") is None and samples is not None:
        # After an early verdict the classes of all samples are known where they take no reading.
        labels = evidence.labels(samples)
        about["constant"] = None if labels is None else share_of_largest_class({**evidence.columns, LABEL: labels})
    return result_of(
        evidence,
        decision,
        plan.settings,
        statement=plan.statement,
        threshold=threshold,
        claim=plan.rule,
        compared=None if plan.baseline is None else plan.baseline.details_of(evidence),
        **about,
    )


def result_of(
    evidence: Evidence,
    decision: Decision,
    settings: Settings,
    *,
    statement: str,
    threshold: float | None,
    claim: Rule | None = None,
    compared: tuple[dict[str, Any], tuple[str, ...]] | None = None,
    **about: Unpack[About],
) -> Result:
    """Return the result of a measurement; unless it passed, its worst samples are pictured.

    Args:
        statement: the claim in words, without its threshold.
        threshold: the value claimed, or None.
        claim: the rule that decided, or None if the kind decides by itself.
        compared: as `Comparison.details_of` returns it, or None.
        **about: see `About`.
    """
    kind, details = about["kind"], about["details"]
    quantity = about.get("quantity") or kind.quantities[0]
    at_least, bounds = quantity.comparison == ">=", about.get("bounds", "")
    # Every result passes these checks, so that no kind of claim can leave them out.
    changed = changes_of(kind, evidence, about.get("changed", ()), claim, by=about["setting"])
    constant = constant_of(evidence, quantity, about.get("constant"), alpha=settings.alpha)
    # The first that refuses a pass gives its reason: a search that failed, a change that was none, an empty claim.
    if (start := about.get("start")) is not None:
        decision = fallible(decision, start, threshold, alpha=settings.alpha)
    doubts = (*evidence.findings, *findings(about.get("doubts", {}), settings.suppress))
    decision = apply_findings(decision, doubts)
    tolerance = None if compared is None else compared[0].get("tolerance")
    decision = require_changes(decision, changed, threshold, at_least=at_least, tolerance=tolerance)
    # Of a claim that fails, or passes nothing anyway, nobody has to hear that it would be empty.
    in_claim: tuple[HealthFinding, ...] = ()
    if decision.verdict is Verdict.PASSED:
        in_claim = findings_of(
            evidence,
            quantity,
            threshold,
            constant,
            answers=about.get("answers"),
            people=about.get("people"),
            suppress=settings.suppress,
        )
    decision, found = apply_findings(decision, in_claim), (*doubts, *in_claim)

    # A value that a search only bounds may be anything beyond it: a stronger search may find more.
    low, high = decision.interval
    if bounds == "above":
        low = min(about.get("least", 0.0), low)
    elif bounds:
        widest = about.get("widest", 1.0)
        high = high if widest is None else max(widest, high)

    details = {**details, **change_details(changed, at_least=at_least)}
    if constant is not None:
        details["constant_answer"] = constant
    if bounds:
        details["left_interval"] = list(decision.interval)
    if decision.clusters:
        details["clusters"] = decision.clusters
    if decision.approximate and decision.at_alpha:
        details["approximate"] = True
    broken, audited = evidence.tally.health.counts("weak_attack")
    if audited:
        details["audit"] = {"audited": audited, "broken": broken, "others_at_most": _left_wrongly(broken, audited)}
    if decision.strata:
        details["strata"] = [
            {"part": one.name, "samples": one.n, "value": one.value, "interval": [*one.interval], "beyond": one.beyond}
            for one in decision.strata
        ]
    clean, held = evidence.columns.get("clean"), evidence.columns["held"]
    if clean is not None and clean.dtype == np.bool_ and held.dtype == np.bool_ and len(clean):
        failures, wrong = int((~held).sum()), int((~held & ~clean).sum())
        details["clean_seen"] = {"right": int(clean.sum()), "of": len(clean), "failures": failures, "wrong": wrong}
    if (labels := evidence.columns.get(CLASS)) is not None and len(labels) == len(held):
        details["largest_class"] = int(np.unique(labels, return_counts=True)[1].max())
        if held.dtype == np.bool_ and (failed := _failures_of_class(labels, held)):
            details["failures_of_class"] = failed
    details["health"] = to_plain(found)
    # Before the comparison is added: its rule gives reasons itself.
    claimed = threshold is not None or bool(details.get("baseline"))
    notes = (*evidence.tally.notes, *(finding.message for finding in found))
    if audited:
        shown = f"{broken} of {audited} samples that the attack had left broke"
        most = f"of the others at most {_left_wrongly(broken, audited):.0%} can still be broken in this way"
        notes = (*notes, f"audit by other means: {shown}; {most} (with 95% confidence)")
    if compared is not None:
        details["baseline"] = compared[0]

    reasons = decision.reasons
    if not reasons and decision.verdict is Verdict.INCONCLUSIVE:
        reasons = (("undecided",) if evidence.whole else ("budget",)) if claimed else ("no_threshold",)
    likely = (evidence.likely_clusters,) if evidence.likely_clusters and not decision.clusters else ()
    caveats = [*few(evidence.n), *_copied(evidence), *likely, *change_caveats(changed)]
    caveats += [caveat for of, n in about.get("further", {}).items() for caveat in few(n, f" {of}")]
    caveats += about.get("caveats", ())
    if decision.verdict is not Verdict.FAILED:  # strata in which the claim does not hold, and which do not decide it
        caveats += [
            f"{number(one.value, threshold)} on {one.n} samples of {one.name}" for one in decision.strata if one.beyond
        ]
    scope = about.get("scope")
    if scope == "set" != settings.scope:
        caveats.append("of this set alone, not of the population")
    method = about["method"]
    # Two claims of a test share no picture.
    name = f"{zlib.crc32(f'{statement} {quantity.comparison} {threshold} {method}'.encode()):08x}"
    # A bare measurement of a test has no pictures: nothing was claimed. In a notebook somebody looks at it.
    unclaimed = threshold is None and bool(context.current().test)
    folder = None if unclaimed or decision.verdict is Verdict.PASSED else settings.pictures
    pictured = partial(
        _counterexamples, name=name, class_names=details.get("class_names", ()), threat=about.get("threat")
    )
    result = Result(
        subject=Subject(
            kind=kind.name,
            statement=statement,
            setting=about["setting"],
            method=method,
            scope=settings.scope if scope is None else scope,
        ),
        ruling=Ruling(
            comparison=quantity.comparison,
            threshold=threshold,
            trivial=about.get("trivial"),
            verdict=decision.verdict,
            rule=decision.rule,
            reasons=reasons,
            alpha=settings.alpha if decision.at_alpha or not settings.exact else 0.0,
            at_alpha=decision.at_alpha,
        ),
        numbers=Numbers(
            quantity=quantity.name,
            estimate=decision.estimate,
            interval=(low, high),
            bounds=bounds,
            n=evidence.n,
            n_total=evidence.total,
            details=details,
        ),
        evidence=KeptEvidence(
            outcomes=evidence.outcomes,
            counterexamples=pictured(evidence, None if evidence.smaller else folder),
            replayed=evidence.counts.get(REPLAYED, 0),
            pairing=about.get("pairing", NOT_PAIRED),
            seed=settings.seed,
            data=evidence.data,
            model=evidence.model,
            cost=evidence.tally.cost,
            cached=evidence.cached,
        ),
        words=Words(
            caveats=tuple(caveats),
            notes=(*notes, *about.get("notes", ()), *(() if compared is None else compared[1]), *evidence.remarks),
        ),
    )
    smaller = evidence.smaller
    if smaller is None:
        return result

    def fuller(result: Result) -> Result:
        later = smaller()
        forward, backward = (getattr(later.tally, of) - getattr(evidence.tally, of) for of in ("forward", "backward"))
        cost = replace(
            result.cost,
            forward=result.cost.forward + forward,
            backward=result.cost.backward + backward,
            seconds=result.cost.seconds + later.tally.seconds - evidence.tally.seconds,
        )
        shown, notes = pictured(later, folder), (*result.words.notes, *later.remarks)
        return result.but(counterexamples=shown, cost=cost, notes=notes, cached=later.cached)

    return after_verdict(result, fuller)


def _left_wrongly(broken: int, audited: int) -> float:
    """Return the upper bound, at 95%, of the share of samples that an audit would break, of those that were left."""
    return clopper_pearson(broken, audited, 0.05)[1]


def _failures_of_class(label: NDArray[np.int64], held: NDArray[np.bool_]) -> dict[str, int]:
    """Return the class that has most of the failures, though few of the samples; empty if there is none."""
    failures = int((~held).sum())
    if failures < _FEW:
        return {}
    classes, counts = np.unique(label[~held], return_counts=True)
    place = int(counts.argmax())
    of, n = int(counts[place]), int((label == classes[place]).sum())
    # Half of the failures, and twice as many as its share of the samples explains.
    if 2 * of < failures or of * len(held) < 2 * n * failures:
        return {}
    return {"class": int(classes[place]), "failures": of, "of_all": failures, "n": n}


def _counterexamples(
    evidence: Evidence, folder: str | None, *, name: str, class_names: Sequence[str], threat: Threat | None
) -> tuple[Counterexample, ...]:
    found: list[Counterexample] = []
    for rank, exhibit in enumerate(evidence.exhibits, 1):
        image = None
        if folder is not None:
            stem = f"{rank}-sample{exhibit.index}-{name}"
            drawn: dict[str, Any] = {"answers": exhibit.drawn, "names": class_names, "answer": exhibit.answer}
            drawn["sample_rate"] = evidence.sample_rate
            save = partial(save_exhibit, folder, stem, exhibit.before, exhibit.after, evidence.bounds, **drawn)
            image = context.current().picture(save, folder)
        size, unit = exhibit.size, ""
        if size is not None and of_class(threat, "robustest.threats.threat", "Snr"):
            size, unit = (cast("Snr", threat).ratio(size), "dB") if size > 0 else (None, "")
        found.append(
            Counterexample(
                index=exhibit.index,
                label=exhibit.label,
                clean=exhibit.clean,
                predicted=exhibit.predicted,
                size=size,
                unit=unit,
                image=image,
                # Waveforms have no pixels; nearly every sample of a sound changes.
                pixels=exhibit.pixels if evidence.sample_rate is None else None,
                answer=exhibit.answer,
                changes=exhibit.changes,
            )
        )
    return tuple(found)


def few(n: int, of: str = "") -> tuple[str, ...]:
    """Return the caveat of a small number of samples."""
    return (f"{n} {'sample' if n == 1 else 'samples'}{of} alone",) if n < _FEW else ()


def _copied(evidence: Evidence) -> tuple[str, ...]:
    # A data set that gives its next image for one that it cannot read counts that one twice.
    if evidence.copies is None:
        return ()
    count = int(evidence.copies.sum())
    return (f"{count} {'sample is a copy' if count == 1 else 'samples are copies'} of others",)


def apply_findings(decision: Decision, findings: Sequence[HealthFinding]) -> Decision:
    """Return a decision that does not pass if a health check found something."""
    # A proof does not rest on a search: findings about searches do not stop it.
    stopping = [f.name for f in findings if f.stops and (not decision.proven or f.name in BEYOND_SEARCH)]
    if not stopping or decision.verdict is not Verdict.PASSED:
        return decision
    return replace(
        decision,
        verdict=Verdict.INCONCLUSIVE,
        rule=f"health check: {', '.join(stopping)}",
        reasons=tuple(f"health:{name}" for name in stopping),
    )


def fallible(decision: Decision, start: Evidence, threshold: float | None, *, alpha: float) -> Decision:
    """Return a decision on a fall between two sets that does not pass if the fall starts too low to prove anything.

    Args:
        start: evidence of the first set.
        threshold: the largest fall claimed, or None.
        alpha: as for `doubt_of_start`.
    """
    if threshold is None or decision.verdict is not Verdict.PASSED:
        return decision
    held, chance = start.columns["held"], share_of_largest_class(start.columns)
    # `AboveChanceRule` does the same for falls within the same samples.
    doubt = doubt_of_start(int(held.sum()), len(held), chance, threshold, alpha=alpha)
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt, reasons=("no_fall",)) if doubt else decision


def fall_from(start: Evidence, column: str = "held", *, under: str = "") -> Pairing:
    """Return the pairing of a claim on a fall from `column` of `start`: both ends are paired."""
    return Pairing(share=False, under=under, start=start.outcomes_of(column), start_data=start.data)
