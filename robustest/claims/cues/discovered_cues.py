"""The claim about unnamed cues: proposed on one half of the samples, decided by an intervention on the other half.

1. `cue_proposals.propose` searches one half.
2. Each proposal is switched on and off in the other half. It is *sure* if it draws predictions to its class beyond
   chance (McNemar's test, p <= alpha after Holm's correction over all proposals; for a cheapest patch also the
   probability that one of as many classes is as cheap), if it draws more than twice the share of other predictions to
   the class that it drives out of it, and if it is not faint.
3. A sure cue that moves more than is claimed fails the claim. Any other proposal that does leaves it inconclusive.
4. A claim that would pass must be able to fail: on positive controls (`controls`) the same search has to find their
   cues. A patch, or a value in a column, is as plain as a cue can be: a search that misses it leaves the claim
   inconclusive.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from robustest.claims.cues.controls import PositiveControl, cues_to_plant, simulated_control, trained_control
from robustest.claims.cues.cue_proposals import SearchFindings, propose
from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE, CueMeasurement, checked_by_null_cue, cue_details
from robustest.cues import Cue, NullCue, Plant, for_samples, switched
from robustest.data import Samples, as_samples
from robustest.decisions import Decision
from robustest.decisions.cues import CueRule, draw_p_values
from robustest.discovery.proposals import COLUMNS, FAMILIES, PATCHES, TRIGGERS, Discovery, Proposal
from robustest.errors import ConfigError, expected
from robustest.results import Cost, Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import finish
from robustest.run.plan import Options, Setup, apply
from robustest.run.split_search import Halves, bench, with_search

# Families whose control has to be found for any claim to pass.
_PLAINEST = frozenset({PATCHES, COLUMNS})

# Least ratio of the share of other predictions that a cue draws to its class to the share that it drives out of it.
_KEEPS = 2.0


@dataclass(frozen=True, slots=True)
class CueLimits:
    """The thresholds and the class of a claim."""

    max_flip_rate: float | None
    max_recall_drop: float | None
    target: int | None


def measure_discovered(
    model: object,
    data: object,
    discovery: Discovery,
    limits: CueLimits,
    options: Options,
    *,
    control: object | None,
    learner: Callable[[Plant], object] | None,
) -> Result:
    """Measure `measure_no_spurious_feature` where no cue is named."""
    samples = as_samples(data)
    result, _ = measure_search(model, samples, discovery, limits, options)
    if result.verdict is not Verdict.PASSED:
        return with_families(result)
    found = result.details["discovery"]
    proven = {TRIGGERS} if found["planted_patch_p"] <= apply(model, options)[1].alpha else set[str]()
    marked = {one["class"] for one in (*found["proposed"], *found["other_marks"])}
    for known in _controls(model, samples, discovery, limits, options, marked=marked, control=control, learner=learner):
        shown, confirmed = measure_search(
            known.model,
            known.samples,
            known.discovery,
            limits,
            known.options,
            control=True,
            # The other families need not be found, and their search would take as long as that of the claim.
            families={cue.family for cue in known.planted},
        )
        proven |= known.proven(confirmed)
        problem = _control_problem(known, shown, confirmed)
        result = with_control(result, shown, cue=known.name, problem=problem, more={"model": known.kind})
    return with_families(result, proven)


def _controls(
    model: object,
    samples: Samples,
    discovery: Discovery,
    limits: CueLimits,
    options: Options,
    *,
    marked: Collection[int],
    control: object | None,
    learner: Callable[[Plant], object] | None,
) -> Iterator[PositiveControl]:
    """Yield the positive controls: the one given, or one for each round of planted cues."""
    if control is not None:
        name = "what the control relies on"
        yield PositiveControl(
            model=control, samples=samples, discovery=discovery, options=options, name=name, kind="given"
        )
        return
    classifier, settings = apply(model, options)
    for planted in cues_to_plant(samples, classifier.bounds, settings.seed, limits.target, marked):
        if learner is None:
            yield simulated_control(classifier, planted, samples, discovery, options, settings=settings)
        else:
            yield trained_control(planted, samples, discovery, options, settings=settings, learner=learner)


def measure_search(
    model: object,
    samples: Samples,
    discovery: Discovery,
    limits: CueLimits,
    options: Options,
    *,
    control: bool = False,
    families: Collection[str] = (),
) -> tuple[Result, list[Proposal]]:
    """Measure the claim on one model; return its result and the sure proposals.

    A positive control, if `control`, spends none of the test's error, and has no pictures.
    """
    setup = Setup.of(model, samples, options)
    if setup.samples.coding is not None:
        mend = "Of frames, name them: ColumnValue, ShuffledColumn."
        raise ConfigError(expected("tensors to search for cues in", "samples in another format", mend))
    terms = replace(setup.alone, scope="set") if control else setup.terms
    # Confirming a proposal is a test beside the claim's own: its number of samples must not depend on the claim.
    setup = setup.but(exact=True)
    setup = setup.unpictured() if control else setup
    halves = Halves.of(samples, setup.settings.seed, discovery.search_samples)
    with bench(setup.model, halves, setup.settings) as ready:
        found = propose(
            ready, discovery, target=limits.target, seed=setup.settings.seed, control=control, families=families
        )
        proposals, chunk = found.proposals, ready.chunk
        # Cues that cannot be removed: switched off, they leave all samples unchanged.
        permanent = frozenset(
            number
            for number, one in enumerate(proposals)
            if torch.equal(switched(for_samples(one.cue, chunk.ids), chunk.x, chunk.bounds)[1], chunk.x)
        )
    cues: tuple[Cue, ...] = tuple(one.cue for one in proposals) or (NullCue(),)
    targets = tuple(one.label for one in proposals) or (None,)
    rule = CueRule(
        targets=targets, max_flip_rate=limits.max_flip_rate, max_recall_drop=limits.max_recall_drop, terms=terms
    )
    look = CueMeasurement(cues=cues, targets=targets, examples=setup.settings.examples, of=halves.unseen)
    towards = "" if limits.target is None else f" towards class {limits.target}"
    quantity = NO_SPURIOUS_FEATURE.quantity_of("max_recall_drop" if rule.by_recall else "max_flip_rate")
    statement = quantity.state("cues that a search finds", towards)
    plan = setup.on(halves.view).plan(statement, look, rule, here=True)
    evidence = with_search(observe(plan), ready.tally, setup.settings)
    verdicts = ProposalVerdicts(found, evidence, rule, setup.settings.alpha, permanent)
    result = finish(
        plan,
        evidence if proposals else replace(evidence, exhibits=[]),
        decision=checked_by_null_cue(verdicts.decision(), evidence, rule),
        kind=NO_SPURIOUS_FEATURE,
        quantity=quantity,
        threshold=rule.max_recall_drop if rule.by_recall else rule.max_flip_rate,
        setting="; ".join(found.looked_at),
        method=f"searched on {len(halves.searched)} samples, switched in the {len(halves.unseen)} others",
        details=cue_details(evidence, cues, rule, lead=verdicts.lead)
        | {"discovery": verdicts.details(len(halves.searched), len(halves.unseen))},
        bounds="below",
    )
    return halves.whole(result), verdicts.confirmed


class ProposalVerdicts:
    """The verdict of the intervention on each proposal, and on the claim.

    Attributes:
        p: p-values that cues draw no predictions to their classes, corrected for all proposals (Holm).
        sure: numbers of the sure proposals.
        lead: the proposal that counts most against the claim.
    """

    def __init__(
        self,
        found: SearchFindings,
        evidence: Evidence,
        rule: CueRule,
        alpha: float,
        permanent: Collection[int] = (),
    ) -> None:
        self._found, self._evidence, self._rule = found, evidence, rule
        self._alpha, self._permanent = alpha, permanent
        self.pairs = rule.pairs(evidence.columns) if found.proposals else []
        tests = draw_p_values(self.pairs, [one.chance for one in found.proposals])
        self.p = [table[one.label] for table, one in zip(tests, found.proposals, strict=True)]
        self.sure = [
            number
            for number, (p, one) in enumerate(zip(self.p, found.proposals, strict=True))
            if p <= alpha and self._keeps(number) and not one.faint
        ]
        whole = evidence.whole and found.proposals
        self._alone = [rule.of_cue(pairs) for pairs in self.pairs] if whole else [evidence.decision] * len(self.pairs)
        broken = [number for number in self.sure if self._alone[number].verdict is Verdict.FAILED]
        moving = [number for number, one in enumerate(self._alone) if one.verdict is not Verdict.PASSED]
        # Sure proposals that break the claim lead, else all that break it, else the sure ones.
        self.lead = rule.lead(evidence.columns, among=broken or (moving if whole else []) or self.sure)

    @property
    def confirmed(self) -> list[Proposal]:
        """The sure proposals."""
        return [self._found.proposals[number] for number in self.sure]

    def _keeps(self, number: int) -> bool:
        # A model that relies on a cue keeps its class when the cue is stronger: networks trained with one lose next to
        # no predictions of the class. A change that the model cannot bear (noise, a channel off, an unusual tone)
        # gathers predictions in some class too, because other predictions are more numerous, but scatters that class's
        # own.
        into, out = self.pairs[number].shares_moved(self._found.proposals[number].label)
        return into > _KEEPS * out

    def decision(self) -> Decision:
        """Return failed if a sure cue moves more than is claimed, passed if no proposal does, else inconclusive."""
        decision, proposals = self._evidence.decision, self._found.proposals
        if decision.verdict is Verdict.INCONCLUSIVE:
            return decision
        if not proposals:
            return replace(decision, rule=f"no cue stands out among {', '.join(self._found.looked_at)}")
        if decision.verdict is Verdict.PASSED and (hidden := self._hidden_recall()):
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=hidden, reasons=("unfit",))
        if decision.verdict is Verdict.PASSED:
            return replace(decision, rule=f"no cue proposed ({len(proposals)}) moves more than is claimed")
        one, lead = proposals[self.lead], self._alone[self.lead]
        if self.lead in self.sure and lead.verdict is Verdict.FAILED:
            p = f"p = {self.p[self.lead]:.2g} on unseen samples"
            return replace(lead, rule=f"the {one.cue.name} draws predictions to class {one.label}, {p}")
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=self._doubt(), reasons=("unfit",))

    def _doubt(self) -> str:
        """Return the reason why a leading cue that moves more than is claimed does not refute the claim."""
        one, p = self._found.proposals[self.lead], self.p[self.lead]
        if p <= self._alpha and not self._keeps(self.lead):
            into, out = self.pairs[self.lead].shares_moved(one.label)
            return (
                f"the {one.cue.name} moves {into:.3f} of other predictions to class {one.label}, and {out:.3f} of the "
                "class's own out of it: it may be a cue, or a change that the model does not bear"
            )
        if one.faint:
            return (
                f"the {one.cue.name} draws predictions to class {one.label}, and some of the class's images, too few "
                "for a search to be sure, look like it: claim it by name"
            )
        if one.chance > self._alpha:
            return (
                f"the {one.cue.name} draws predictions to class {one.label}, as it was made to; a class as cheap "
                f"to reach may come by chance (p = {one.chance:.2g})"
            )
        return (
            "a cue proposed moves more than is claimed, but none is sure to draw predictions to its class "
            f"(p = {p:.2g} on unseen samples)"
        )

    def _hidden_recall(self) -> str:
        """Return the reason why a limit on recall misses a cue that cannot be removed; empty if it does not."""
        # Switching such a cue never costs members of its class any recall. The predictions that it draws from other
        # classes show that something rests on it.
        limit = self._rule.max_recall_drop
        if not self._rule.by_recall or limit is None:
            return ""
        likely = [number for number, one in enumerate(self._found.proposals) if one.faint and self._keeps(number)]
        rates = {number: self.pairs[number].flip_rate for number in {*self.sure, *likely} & {*self._permanent}}
        worst = max(rates, key=lambda number: rates[number], default=None)
        if worst is None or rates[worst] <= limit:
            return ""
        one = self._found.proposals[worst]
        return (
            f"the {one.cue.name} draws {rates[worst]:.3f} of the others' predictions to class {one.label} and cannot "
            "be taken away: what recall rests on it is not known; claim max_flip_rate too"
        )

    def details(self, searched_on: int, judged_on: int) -> dict[str, Any]:
        return {
            "searched_on": searched_on,
            "judged_on": judged_on,
            "looked_at": list(self._found.looked_at),
            "left_out": list(self._found.left_out),
            "few": self._found.few,
            "families": [
                {"found_by": key, "family": words, "not_searched": self._found.not_searched.get(key, "")}
                for key, words in FAMILIES.items()
            ],
            "planted_patch_p": self._found.planted,
            "confirmed": len(self.sure),
            "proposed": [
                {
                    "class": one.label,
                    "cue": one.cue.name,
                    "found_by": one.found_by,
                    "families": list(one.families or (one.found_by,)),
                    "score": one.score,
                    "region": None if one.region is None else list(one.region),
                    "value": list(one.value),
                    "p": self.p[number],
                    "chance": one.chance,
                    "faint": one.faint,
                    "moved_in_and_out": list(self.pairs[number].shares_moved(one.label)),
                    "confirmed": number in self.sure,
                }
                for number, one in enumerate(self._found.proposals)
            ],
            "other_marks": [dict(mark) for mark in self._found.marks],
            "always_tried": [dict(one) for one in self._found.standing],
            "errors_go_with": [
                {"property": one.name, "correlation": one.correlation, "p": one.p} for one in self._found.errors
            ],
        }


def _control_problem(known: PositiveControl, shown: Result, confirmed: Sequence[Proposal]) -> str:
    """Return the reason why a control leaves the claim inconclusive; empty if it does not."""
    plain = next((cue for cue in known.planted if cue.family in _PLAINEST), None)
    if known.planted and plain is None:
        return ""
    name = known.name if plain is None else f"a {plain.cue.name} planted in class {plain.label}"
    missed = f"the search does not find {name} in a model that relies on it: neither might it find another cue"
    if plain is not None and plain.family not in known.proven(confirmed):
        mistaken = [one for one in confirmed if one.label == plain.label]
        if not mistaken:
            return missed
        names = ", ".join(f"{one.cue.name} (class {one.label})" for one in mistaken)
        return f"the search takes {name} for something else: {names}"
    if not confirmed:
        return missed
    # Whether a simulated control fails depends on the claim's own model too; that the cue is found is enough.
    if known.kind != "simulated" and shown.verdict is not Verdict.FAILED:
        return f"the control does not fail ({shown.verdict}): a model that relies on {name} would not be noticed"
    return ""


def with_control(result: Result, control: Result, *, cue: str, problem: str, more: Mapping[str, Any] = {}) -> Result:
    """Return a result that passed with a control's numbers; inconclusive if there is a problem.

    Args:
        control: of the same claim on a model that relies on a cue.
        problem: the reason why the control proves nothing, or empty.
    """
    shown = {"cue": cue, "verdict": str(control.verdict), "measured": control.estimate, "n": control.n, **more}
    sensitivity = result.details["sensitivity"]
    details = {**result.details, "sensitivity": {**sensitivity, "controls": [*sensitivity["controls"], shown]}}
    cost = Cost(
        forward=result.cost.forward + control.cost.forward,
        backward=result.cost.backward + control.cost.backward,
        seconds=result.cost.seconds + control.cost.seconds,
    )
    result = replace(result, details=details, cost=cost)
    return replace(result, verdict=Verdict.INCONCLUSIVE, rule=problem, reasons=("control",)) if problem else result


def with_families(result: Result, proven: Collection[str] = ()) -> Result:
    """Return a result that lists the families searched, and those that a control shows to be findable."""
    found = result.details["discovery"]
    families = [{**one, "proven": one["found_by"] in proven} for one in found["families"]]
    kinds = {
        "found where planted": [one["family"] for one in families if one["proven"]],
        "searched, not proven findable": [
            one["family"] for one in families if not one["proven"] and not one["not_searched"]
        ],
        "not searched": [f"{one['family']} ({one['not_searched']})" for one in families if one["not_searched"]],
        "marked, but by nothing that was tried": [
            f"class {one['class']}, {one['property']} (gap {one['gap']:.2f})" for one in found["other_marks"]
        ],
    }
    caveats = [f"{kind}: {', '.join(names)}" for kind, names in kinds.items() if names]
    if found["few"]:
        classes = "class" if found["few"] == 1 else "classes"
        caveats.append(f"{found['few']} {classes} of too few images to be searched")
    details = {**result.details, "discovery": {**found, "families": families}}
    return replace(result, details=details, caveats=(*result.caveats, *caveats))
