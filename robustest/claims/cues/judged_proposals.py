"""What an intervention on unseen samples says of the cues that a search proposed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from robustest.claims.cues.cue_proposals import Found
from robustest.decisions import Decision
from robustest.decisions.cues import CueRule, draw_p_values
from robustest.discovery.proposals import FAMILIES, Proposal
from robustest.results import Verdict
from robustest.run.evidence import Evidence

_KEEPS = 2.0
"""Times the share driven out of its class that a cue has to draw in."""


class Judged:
    """What an intervention says of the cues proposed.

    Attributes:
        p: each cue's p-value that it draws no predictions to its class, corrected for all of them (Holm).
        sure: the cues whose p-value is alpha or less, that keep their class's own predictions, and that mark it.
        lead: the cue that speaks most against the claim, of those that break it and are sure, of all that break it, or
            of the sure.
    """

    def __init__(
        self, found: Found, evidence: Evidence, rule: CueRule, alpha: float, staying: Collection[int] = ()
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
