"""Cues that nobody named: proposed on one half of the samples, and switched on and off in the other.

What an intervention on unseen samples says of the cues that a search proposed.

Results that passed, held against what the same claim makes of a model that relies on a cue.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from robustest.claims.cues.controls import PositiveControl, given, probe_rounds, simulated, trained
from robustest.claims.cues.cue_proposals import SearchFindings, propose
from robustest.claims.cues.interventions import NO_SPURIOUS_FEATURE, CueMeasurement, details_of, undoubted
from robustest.cues import Cue, NullCue, Plant, for_samples, switched
from robustest.data import Samples, as_samples
from robustest.decisions import Decision
from robustest.decisions.cues import CueRule, draw_p_values
from robustest.discovery.proposals import COLUMNS, FAMILIES, PATCHES, TRIGGERS, Discovery, Proposal
from robustest.engine.chunks import Chunk
from robustest.results import Cost, Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Evidence
from robustest.run.finish import finish
from robustest.run.plan import Options, Setup, apply
from robustest.run.split_search import Halves, bench, with_search

_PLAINEST = frozenset({PATCHES, COLUMNS})
"""Families whose control has to be found for any claim to pass."""


@dataclass(frozen=True, slots=True)
class CueLimits:
    """The thresholds and the class of a claim; see `measure_no_spurious_feature`."""

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
    """`measure_no_spurious_feature` where no cue is named.

    A claim that passes is shown to be able to fail: on the model given for it, on one trained on data with a cue
    planted, or else on a simulated one.
    """
    samples = as_samples(data)
    result, _ = searched(model, samples, discovery, limits, options)
    if result.verdict is not Verdict.PASSED:
        return with_families(result)
    alpha = apply(model, options)[1].alpha
    proven = {TRIGGERS} if result.details["discovery"]["planted_patch_p"] <= alpha else set[str]()
    found = result.details["discovery"]
    marked = {one["class"] for one in (*found["proposed"], *found["other_marks"])}
    how: dict[str, Any] = {"marked": marked, "control": control, "learner": learner}
    for known in _controls(model, samples, discovery, limits, options, **how):
        shown, confirmed = searched(
            known.model,
            known.samples,
            known.discovery,
            limits,
            known.options,
            proof=True,
            # What is not planted need not be found, and its search takes as long as that of the claim itself.
            families={probe.family for probe in known.probes},
        )
        proven |= known.proven(confirmed)
        problem = _problem(known, shown, confirmed)
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
    """Models that rely on something: the one given, or as many as it takes to plant a cue of each family."""
    if control is not None:
        yield given(control, samples, discovery, options)
        return
    classifier, settings = apply(model, options)
    for probes in probe_rounds(samples, classifier.bounds, settings.seed, limits.target, marked):
        if learner is None:
            yield simulated(classifier, probes, samples, discovery, options, settings=settings)
        else:
            yield trained(probes, samples, discovery, options, settings=settings, learner=learner)


def with_families(result: Result, proven: Collection[str] = ()) -> Result:
    """A result whose every line says which cues were searched for, and which of these a control shows to be findable.

    Args:
        result: of a search for cues.
        proven: what found the control's cue; see `robustest.discovery.proposals.FAMILIES`.
    """
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
    told = [f"{what}: {', '.join(names)}" for what, names in kinds.items() if names]
    if found["few"]:
        told.append(f"{found['few']} {'class' if found['few'] == 1 else 'classes'} of too few images to be searched")
    details = {**result.details, "discovery": {**found, "families": families}}
    return replace(result, details=details, caveats=(*result.caveats, *told))


def _problem(known: PositiveControl, shown: Result, confirmed: list[Proposal]) -> str:
    """Why a control leaves the claim open; empty where it does not.

    A patch, or a value in a column, is as plain as a cue can be: a search that misses it vouches for nothing. One that
    misses a cue of another family does not vouch for that family, which every line says.
    """
    plain = next((probe for probe in known.probes if probe.family in _PLAINEST), None)
    if known.probes and plain is None:
        return ""
    name = known.name if plain is None else f"a {plain.cue.name} planted in class {plain.label}"
    if plain is not None and plain.family not in known.proven(confirmed):
        mistaken = [one for one in confirmed if one.label == plain.label]
        if not mistaken:
            return f"the search does not find {name} in a model that relies on it: neither might it find another cue"
        names = ", ".join(f"{one.cue.name} (class {one.label})" for one in mistaken)
        return f"the search takes {name} for something else: {names}"
    if not confirmed:
        return f"the search does not find {name} in a model that relies on it: neither might it find another cue"
    if known.kind != "simulated" and shown.verdict is not Verdict.FAILED:
        return f"the control does not fail ({shown.verdict}): a model that relies on {name} would not be noticed"
    return ""


def searched(
    model: object,
    samples: Samples,
    discovery: Discovery,
    limits: CueLimits,
    options: Options,
    *,
    proof: bool = False,
    families: Collection[str] = (),
) -> tuple[Result, list[Proposal]]:
    """The claim on one model, and the cues that an intervention confirmed.

    A control's claim (`proof`) is not the test's: it spends none of its error and has no pictures. The search is for
    cues of some `families` alone, or of all where none is given.
    """
    setup = Setup.of(model, samples, options)
    terms = replace(setup.alone, scope="set") if proof else setup.terms
    # Confirmation is a test of its own beside the claim: it has to see a number of samples that does not depend on it.
    setup = setup.but(exact=True)
    setup = setup.unpictured() if proof else setup
    halves = Halves.of(samples, setup.settings.seed, discovery.search_samples)
    with bench(setup.model, halves, setup.settings) as ready:
        found = propose(
            ready, discovery, target=limits.target, seed=setup.settings.seed, control=proof, families=families
        )
        staying = _staying(found.proposals, ready.chunk)
    proposals = found.proposals
    cues: tuple[Cue, ...] = tuple(one.cue for one in proposals) or (NullCue(),)
    targets = tuple(one.label for one in proposals) or (None,)
    rule = CueRule(
        targets=targets, max_flip_rate=limits.max_flip_rate, max_recall_drop=limits.max_recall_drop, terms=terms
    )
    look = CueMeasurement(cues=cues, targets=targets, examples=setup.settings.examples, of=halves.unseen)
    towards = "" if limits.target is None else f" towards class {limits.target}"
    asked = NO_SPURIOUS_FEATURE.quantity_of("max_recall_drop" if rule.by_recall else "max_flip_rate")
    statement = asked.state("cues that a search finds", towards)
    plan = setup.on(halves.view).plan(statement, look, rule, here=True)
    evidence = with_search(observe(plan), ready.tally, setup.settings)
    judged = ProposalVerdicts(found, evidence, rule, setup.settings.alpha, staying)
    result = finish(
        plan,
        evidence if proposals else replace(evidence, exhibits=[]),
        decision=undoubted(judged.decision(), evidence, rule),
        kind=NO_SPURIOUS_FEATURE,
        quantity=asked,
        threshold=rule.max_recall_drop if rule.by_recall else rule.max_flip_rate,
        setting="; ".join(found.looked_at),
        method=f"searched on {len(halves.searched)} samples, switched in the {len(halves.unseen)} others",
        details=details_of(evidence, cues, rule, lead=judged.lead)
        | {"discovery": judged.told(len(halves.searched), len(halves.unseen))},
        bounds="below",
    )
    return halves.whole(result), judged.confirmed


def _staying(proposals: Sequence[Proposal], chunk: Chunk) -> frozenset[int]:
    """The numbers of cues that cannot be taken from samples: switched off, they leave all of them as they are."""
    return frozenset(
        number
        for number, one in enumerate(proposals)
        if torch.equal(switched(for_samples(one.cue, chunk.ids), chunk.x, chunk.bounds)[1], chunk.x)
    )


_KEEPS = 2.0
"""Times the share driven out of its class that a cue has to draw in."""


class ProposalVerdicts:
    """What an intervention says of the cues proposed.

    Attributes:
        p: each cue's p-value that it draws no predictions to its class, corrected for all of them (Holm).
        sure: the cues whose p-value is alpha or less, that keep their class's own predictions, and that mark it.
        lead: the cue that speaks most against the claim, of those that break it and are sure, of all that break it, or
            of the sure.
    """

    def __init__(
        self, found: SearchFindings, evidence: Evidence, rule: CueRule, alpha: float, staying: Collection[int] = ()
    ) -> None:
        self._found, self._evidence, self._rule = found, evidence, rule
        self._alpha, self._staying = alpha, staying
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
        self.lead = rule.lead(evidence.columns, among=broken or (moving if whole else []) or self.sure)

    @property
    def confirmed(self) -> list[Proposal]:
        """Proposals whose cue is sure to draw predictions to its class."""
        return [self._found.proposals[number] for number in self.sure]

    def _keeps(self, number: int) -> bool:
        """Return True if a cue draws a far larger share of other predictions to its class than it drives out of it.

        A model that relies on a cue stays with its class when there is more of it: nets that were trained with one lose
        next to none. A change that it does not bear (noise, a channel taken away, a tone far from any it knows) gathers
        predictions in some class as well, for the others are more, but scatters that class's own.
        """
        into, out = self.pairs[number].shares_moved(self._found.proposals[number].label)
        return into > _KEEPS * out

    def decision(self) -> Decision:
        """Failed where a sure cue moves more than is claimed; passed where no cue proposed does."""
        decision, proposals = self._evidence.decision, self._found.proposals
        if decision.verdict is Verdict.INCONCLUSIVE:
            return decision
        if not proposals:
            return replace(decision, rule=f"no cue stands out among {', '.join(self._found.looked_at)}")
        if decision.verdict is Verdict.PASSED and (hidden := self._hidden()):
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=hidden, reasons=("unfit",))
        if decision.verdict is Verdict.PASSED:
            return replace(decision, rule=f"no cue proposed ({len(proposals)}) moves more than is claimed")
        one, lead = proposals[self.lead], self._alone[self.lead]
        if self.lead in self.sure and lead.verdict is Verdict.FAILED:
            p = f"p = {self.p[self.lead]:.2g} on unseen samples"
            return replace(lead, rule=f"the {one.cue.name} draws predictions to class {one.label}, {p}")
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=self._unsure(), reasons=("unfit",))

    def _unsure(self) -> str:
        """Why the cue that speaks most against the claim, though it moves more than is claimed, does not refute it."""
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
                f"the {one.cue.name} draws predictions to class {one.label}, as it was made to; one as cheap to one "
                f"of so many classes may come by chance (p = {one.chance:.2g})"
            )
        return (
            "a cue proposed moves more than is claimed, but none is sure to draw predictions to its class "
            f"(p = {p:.2g} on unseen samples)"
        )

    def _hidden(self) -> str:
        """Why a limit on recall alone says nothing of a cue; empty where it does.

        Members of a class keep a cue that cannot be taken from them, so that switching it never costs recall. What it
        draws from other classes shows that something rests on it.
        """
        limit = self._rule.max_recall_drop
        if not self._rule.by_recall or limit is None:
            return ""
        likely = [number for number, one in enumerate(self._found.proposals) if one.faint and self._keeps(number)]
        rates = {number: self.pairs[number].flip_rate for number in {*self.sure, *likely} & {*self._staying}}
        worst = max(rates, key=lambda number: rates[number], default=None)
        if worst is None or rates[worst] <= limit:
            return ""
        one = self._found.proposals[worst]
        return (
            f"the {one.cue.name} draws {rates[worst]:.3f} of the others' predictions to class {one.label} and cannot "
            "be taken away: what recall rests on it is not known; claim max_flip_rate too"
        )

    def told(self, searched_on: int, judged_on: int) -> dict[str, Any]:
        """What was looked at, proposed and confirmed, in plain types."""
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


def with_control(result: Result, control: Result, *, cue: str, problem: str, more: Mapping[str, Any] = {}) -> Result:
    """A result that passed, with a control's.

    Args:
        result: the claim's.
        control: the same claim's on a model that relies on a cue.
        cue: what it relies on.
        problem: why the control shows nothing; empty where it shows that the claim can fail.
        more: what else is to be told of it.
    """
    told = {"cue": cue, "verdict": str(control.verdict), "measured": control.estimate, "n": control.n, **more}
    known = result.details["sensitivity"]
    details = {**result.details, "sensitivity": {**known, "controls": [*known["controls"], told]}}
    cost = Cost(
        forward=result.cost.forward + control.cost.forward,
        backward=result.cost.backward + control.cost.backward,
        seconds=result.cost.seconds + control.cost.seconds,
    )
    result = replace(result, details=details, cost=cost)
    return replace(result, verdict=Verdict.INCONCLUSIVE, rule=problem, reasons=("control",)) if problem else result
