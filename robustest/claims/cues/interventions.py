"""Interventions: predictions of the same samples with cues on and off, the kind of claim, and the numbers behind it."""

# A *null cue* changes nothing. A model whose predictions it moves answers by chance, by the batch or by the position,
# so that no flip can be put down to a cue.

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from robustest.checks import moved_rows, require
from robustest.cues import Cue, FrameCue, FunctionCue, NullCue, Phrase, Plant, distances, for_samples, switched
from robustest.data.coding import Coding
from robustest.data.frames import Frames
from robustest.data.strings import Strings
from robustest.decisions import Decision, Terms
from robustest.decisions.cues import CLASSES, CuePairs, CueRule, draw_p_values, off_column, on_column
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.kinds import Kind, Quantity
from robustest.results import Captions, Cost, Fact, Result, Verdict
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, Tally, exhibits_of
from robustest.run.options import Options
from robustest.run.plan import Plan, Setup
from robustest.run.split_search import Halves
from robustest.tasks import as_targets
from robustest.words import number

CUE_NAMES = {
    "accuracy_off": "accuracy, cue off",
    "accuracy_on": "accuracy, cue on",
    "drawn": "drawn to it",
    "driven_away": "driven away",
    "mcnemar_p": "McNemar p",
    "most_drawn_class": "most drawn to class",
    "of": "out of",
    "recall_drop": "largest recall drop",
    "recall_drop_class": "in class",
    "recall_on": "recall with the cue on",
}


def _lines(details: Mapping[str, Any]) -> list[Fact]:
    lines = [("flips", _flips(details))]
    cues = details["cues"]
    if len(cues) > 1:
        lines.insert(0, ("cue", details["lead"]))
        lines += [("also", f"{cue['name']}: {_flips(cue)}") for cue in cues if cue["name"] != details["lead"]]
    if "size_l2" in details:  # codes of frames have no distance
        lines.append(("size", f"L2 {details['size_l2']:.4g}, Linf {details['size_linf']:.4g} (medians of on - off)"))
    if "recall_drop" in details:
        drop, of = details["recall_drop"], details["recall_drop_class"]
        lines.append(("recall", f"falls by {number(drop)} in class {of} with the cue off"))
    if "accuracy_on" in details:
        lines.append(
            ("accuracy", f"{number(details['accuracy_on'])} with the cue on, {number(details['accuracy_off'])} off")
        )
    if "discovery" in details:
        found = details["discovery"]
        lines += [
            (
                "found" if one["confirmed"] else "proposed",
                f"class {one['class']}, {one['cue']}, value {', '.join(f'{part:.2g}' for part in one['value'])}: "
                f"{one['found_by']}, score {one['score']:.2f}; {'confirmed' if one['confirmed'] else 'not confirmed'}, "
                f"p = {one['p']:.2g}",
            )
            for one in found["proposed"]
        ] or [("proposed", "no cue")]
        lines += [("left out", why) for why in found["left_out"]]
    sensitivity, models = details["sensitivity"], {"simulated": "simulated control", "trained": "trained control"}
    controls = [
        f"{models.get(one.get('model'), 'control')} {one['verdict']} ({one['cue']})" for one in sensitivity["controls"]
    ]
    null = f"null cue moved {sensitivity['null_flips']} of {sensitivity['null_samples']}"
    lines.append(("proof", ", ".join([null, *(controls or ["no control"])])))
    return [Fact(label, words) for label, words in lines]


def _flips(cue: Mapping[str, Any]) -> str:
    if "most_drawn_class" not in cue:
        return f"{cue['flips']} of {cue['of']}"
    drawn = f"{cue['drawn']} in, {cue['driven_away']} out, McNemar p = {cue['mcnemar_p']:.2g}"
    return f"{cue['flips']} of {cue['of']}; most drawn to class {cue['most_drawn_class']}: {drawn}"


NO_SPURIOUS_FEATURE = Kind(
    name="no_spurious_feature",
    varies="inputs",
    parameters=("target_class",),
    quantities=(
        Quantity.at_most("max_flip_rate", "flip rate", "reliance on {}{}", trivial=1, counts=("flips", "of")),
        Quantity.at_most("max_recall_drop", "recall drop", "reliance on {}{}", trivial=1, start="recall_on"),
    ),
    further_claims=("no_worse_than",),
    captions=Captions(before="cue off", after="cue on", worst="Pairs that differ most", names=CUE_NAMES),
    lines=_lines,
    hidden=frozenset(
        {
            *("max_flip_rate", "max_recall_drop", "flips", "of", "most_drawn_class", "drawn", "driven_away"),
            *("mcnemar_p", "recall_on", "recall_drop_class", "size_l2", "size_linf", "accuracy_on", "accuracy_off"),
            *("sensitivity", "lead"),
        }
    ),
)


@runtime_checkable
class CueSearch(Protocol):
    """A search for cues that nobody named, to be given as `cue=`."""

    def measure_cues(
        self,
        model: object,
        data: object,
        options: Options,
        *,
        max_flip_rate: float | None,
        max_recall_drop: float | None,
        target: int | None,
        control: object | None,
        learner: Callable[[Plant], object] | None,
    ) -> Result:
        """Measure `no_spurious_feature` on the cues that are found.

        Args:
            model, data, options: of the claim.
            max_flip_rate, max_recall_drop, target: limits claimed of each cue, and the class that they are about.
            control: a model that relies on a cue, in which the search must find one before a claim passes; or None.
            learner: function that trains such a model, with the cues that the plant puts into the training data; or
                None.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A cue that maps frames to frames, or lists of texts to lists of texts."""

    cue: Cue
    coding: Coding

    @property
    def name(self) -> str:
        return self.cue.name

    def at(self, ids: Tensor) -> _Decoded:
        return _Decoded(for_samples(self.cue, ids), self.coding)

    def on(self, x: Tensor) -> Tensor:
        return self._made(self.cue.on, x)

    def off(self, x: Tensor) -> Tensor:
        return self._made(self.cue.off, x)

    def _made(self, switch: Callable[[Any], Any], x: Tensor) -> Tensor:
        what = "lists" if isinstance(self.coding, Strings) else "frames"
        try:
            made = self.coding.encode(switch(self.coding.decode(x))).to(x)
        except DataError as error:
            raise ModelError(f"Expected the cue {self.name!r} to return {what} as it receives them. {error}") from error
        if len(made) != len(x):
            raise ModelError(f"Expected the cue {self.name!r} to return {len(x)} samples but got {len(made)}.")
        return made


def in_tensors(cue: Cue | FrameCue, coding: Coding | None) -> Cue:
    """Return a cue for tensors of samples, which are the codes of a frame or of texts if they have a coding.

    Raises:
        ConfigError: a cue of frames or texts and other samples, or the other way round.
    """
    if coding is None:
        if isinstance(cue, FrameCue):
            raise ConfigError(
                expected(f"a frame for the cue {cue.name}", "an array", "Use ConstantToken, ColumnRange.")
            )
        require(not isinstance(cue, Phrase), f"texts or bytes for the cue {cue.name}", "an array", "Use TokenAnywhere.")
        return cue
    if isinstance(cue, FrameCue) and isinstance(coding, Frames):
        return cue.coded(coding)
    own = isinstance(cue, FunctionCue) or not type(cue).__module__.startswith("robustest.")
    if isinstance(coding, Strings):
        if not own and not isinstance(cue, Phrase):
            mend = "Use Phrase, or a FunctionCue whose functions map lists to lists."
            raise ConfigError(expected("a cue of texts", cue.name, mend))
    elif not own:
        mend = "Use ColumnValue, ShuffledColumn, or a FunctionCue whose functions map frames to frames."
        raise ConfigError(expected("a cue of frames", cue.name, mend))
    return _Decoded(cast("Cue", cue), coding)


def _pair(cue: Cue, chunk: Chunk) -> tuple[Tensor, Tensor]:
    """Return a chunk's inputs with the cue on, and off; texts in rows of one length."""
    here = for_samples(cue, chunk.ids)
    if not isinstance(chunk.coding, Strings):
        return switched(here, chunk.x, chunk.bounds)
    pair = here.on(chunk.x), here.off(chunk.x)
    width = max(made.shape[1] for made in pair)
    return chunk.coding.fitted(pair[0], width), chunk.coding.fitted(pair[1], width)


# Samples of each chunk that the null cue is switched on in.
_NULL_ROWS = 32

_NULL_FLIPS, _NULL_OF = "null cue flips", "null cue samples"

_CLASSES_LISTED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class CueMeasurement:
    """Predictions of a chunk with each cue on and off, and of a few samples with a null cue.

    Attributes:
        targets: for each cue the class that it is suspected to draw predictions to, or None.
        of: (N,) int64 positions in the user's data of the samples of a view.
    """

    whole_inputs: ClassVar[bool] = True

    cues: tuple[Cue | FrameCue, ...]
    targets: tuple[int | None, ...]
    of: Tensor | None = None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        cues = [in_tensors(cue, chunk.coding) for cue in self.cues]
        if self.of is not None:
            # Cues draw by positions in the user's data, not in the view.
            chunk = replace(chunk, ids=self.of[chunk.ids])
        evaluated: list[tuple[Tensor, Tensor]] = []  # inputs and their logits: cues with the same off state share them

        def logits_of(x: Tensor) -> Tensor:
            for inputs, logits in evaluated:
                if inputs is x or torch.equal(inputs, x):
                    return logits
            evaluated.append((x, evaluator.logits(x)))
            return evaluated[-1][1]

        held = torch.ones(len(chunk.y), dtype=torch.bool, device=chunk.y.device)
        exhibits, null_flips, task = [], 0, evaluator.task
        # Answers that are no classes become two: 0 with the cue off, and 1 with it on where the answer changes.
        label = chunk.y if task.one_class else torch.zeros_like(held, dtype=torch.int64)
        columns: dict[str, Any] = {"label": label}
        for place, (cue, target) in enumerate(zip(cues, self.targets, strict=True)):
            with_cue, without = _pair(cue, chunk)
            logits_off, logits_on = logits_of(without), evaluator.logits(with_cue)
            if target is not None and target >= evaluator.classes:
                raise ConfigError(f"Expected target in 0..{evaluator.classes - 1} but got {target}.")
            before, after = task.predictions(logits_off), task.predictions(logits_on)
            was = as_targets(task, before)
            flipped = ~task.right(after, was)
            if target is not None:
                flipped = flipped & (after == target) & (chunk.y != target)
            # A sample holds if no cue flips it.
            held &= ~flipped
            exhibits += exhibits_of(
                evaluator,
                chunk,
                flipped,
                clean=before,
                predicted=after,
                before=without,
                after=with_cue,
                badness=task.margin(logits_on, after if task.one_class else was).abs(),
            )
            # The null cue. Its samples stand in reverse, so that no model can answer by the position in the batch.
            rows = torch.arange(min(_NULL_ROWS, len(chunk.y)) - 1, -1, -1, device=chunk.y.device)
            few = chunk.rows(rows)
            unchanged = task.predictions(evaluator.logits(_pair(NullCue(like=cue), few)[0]))
            null_flips += int((~task.right(unchanged, was[rows])).sum())
            answers = (after, before) if task.one_class else (flipped.long(), label)
            columns |= {on_column(place): answers[0], off_column(place): answers[1]}
            if not task.one_class:
                for state, logits in (("on", logits_on), ("off", logits_off)):
                    columns[f"right {state} {place}"] = task.holds(logits, chunk.y)
            if isinstance(chunk.coding, Strings):
                columns[f"moved {place}"] = (without != with_cue).any(1)
            else:
                columns[f"moved {place}"] = moved_rows(without, with_cue)
            if chunk.coding is None:
                size = distances(with_cue, without)
                columns |= {f"l2 {place}": size.l2, f"linf {place}": size.linf}
        columns |= {"held": held, CLASSES: np.full(len(held), evaluator.classes if task.one_class else 2)}
        tried = len(self.cues) * min(_NULL_ROWS, len(held))
        exhibits = sorted(exhibits, key=lambda e: -e.badness)[: evaluator.examples]
        return Observation(columns, exhibits, {_NULL_FLIPS: null_flips, _NULL_OF: tried})


def checked_by_null_cue(
    decision: Decision, evidence: Evidence, rule: CueRule, tolerance: float | None = None
) -> Decision:
    """Return a decision; inconclusive if the null cue moves more predictions than are claimed at most.

    `tolerance` is the allowed increase of the flip rate over a baseline.
    """
    limits = [limit for limit in (rule.max_flip_rate, rule.max_recall_drop, tolerance) if limit is not None]
    if not limits or decision.verdict is Verdict.INCONCLUSIVE:
        return decision
    for whose, counts in (("", evidence.counts), (" of the other model", evidence.beside and evidence.beside.counts)):
        if counts and counts[_NULL_FLIPS] > min(limits) * counts[_NULL_OF]:
            moved, of = counts[_NULL_FLIPS], counts[_NULL_OF]
            why = f"the null cue does not pass: {moved} of {of} predictions{whose} changed where nothing did"
            return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("control",))
    return decision


def cue_details(
    evidence: Evidence, cues: Sequence[Cue | FrameCue], rule: CueRule, lead: int | None = None
) -> dict[str, Any]:
    """Return the numbers of the leading cue and of each cue; rates only if every sample was evaluated."""
    lead = rule.lead(evidence.columns) if lead is None else lead
    pairs = rule.pairs(evidence.columns)
    p_values = draw_p_values(pairs)
    each = []
    for place, cue in enumerate(cues):
        found, by_class = pairs[place], p_values[place]
        drawn = found.most_drawn
        numbers: dict[str, Any] = {
            "name": cue.name,
            **{
                f"size_{norm}": float(np.median(evidence.columns[f"{norm} {place}"]))
                for norm in ("l2", "linf")
                if f"{norm} {place}" in evidence.columns
            },
            "flips": found.flips,
            "of": found.of,
            "most_drawn_class": drawn,
            "drawn": int(found.drawn[drawn]),
            "driven_away": int(found.driven[drawn]),
            "mcnemar_p": by_class[drawn],
            "classes": [
                {"class": k, "drawn": int(found.drawn[k]), "driven_away": int(found.driven[k]), "p": by_class[k]}
                for k in sorted(by_class, key=lambda k: (by_class[k], k))[:_CLASSES_LISTED]
            ],
        }
        if evidence.whole:
            flip, drops, worst = rule.judge(found)
            numbers |= {
                "flip_rate": flip.estimate,
                "recall_drop": drops[worst].estimate,
                "recall_drop_class": worst,
                "recall_drop_interval": list(drops[worst].interval),
                "recall_on": found.recall_on(worst),
                "accuracy_on": found.accuracy[0],
                "accuracy_off": found.accuracy[1],
            }
        else:
            # No rate is measured on a part of the samples: only the recall that the largest drop starts from.
            most = max(found.classes, key=found.recall_drop, default=None)
            if most is not None and found.members[most]:
                of = f"of the {found.members[most]} of class {most} seen"
                numbers["recall_on"] = f"{number(found.recall_on(most))} {of}"
        if "right on 0" in evidence.columns:  # answers that are no classes: flips, and the answers that hold
            kept = ("name", "size_l2", "size_linf", "flips", "of", "flip_rate")
            numbers = {name: numbers[name] for name in kept if name in numbers}
            if evidence.whole:
                for state in ("on", "off"):
                    numbers[f"accuracy_{state}"] = float(evidence.columns[f"right {state} {place}"].mean())
        each.append(numbers)
    top = {name: value for name, value in each[lead].items() if name not in {"name", "classes"}}
    return {
        "max_flip_rate": rule.max_flip_rate,
        "max_recall_drop": rule.max_recall_drop,
        "lead": cues[lead].name,
        **top,
        "cues": each,
        "sensitivity": {
            "null_flips": evidence.counts[_NULL_FLIPS],
            "null_samples": evidence.counts[_NULL_OF],
            "controls": [],
        },
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class CueOutcomes:
    """The outcomes of cues that a search found, switched in samples that it has not seen.

    Attributes:
        cues: those that were switched.
        plan, evidence: the measurement, with the search in its cost.
        rule: the limits claimed, and the class that each cue is suspected to draw predictions to.
    """

    cues: tuple[Cue, ...]
    plan: Plan
    evidence: Evidence
    rule: CueRule

    @classmethod
    def measured(
        cls,
        setup: Setup,
        halves: Halves,
        cues: Sequence[tuple[Cue, int | None]],
        *,
        statement: str,
        max_flip_rate: float | None,
        max_recall_drop: float | None,
        terms: Terms,
        tally: Tally,
    ) -> CueOutcomes:
        """Switch cues on and off in the samples that a search left.

        Args:
            halves: the samples searched on, and the others.
            cues: each cue with the class that it is suspected to draw predictions to, or None.
            tally: cost of the search.
        """
        each, targets = tuple(cue for cue, _ in cues), tuple(target for _, target in cues)
        rule = CueRule(targets=targets, max_flip_rate=max_flip_rate, max_recall_drop=max_recall_drop, terms=terms)
        look = CueMeasurement(cues=each, targets=targets, of=halves.unseen)
        plan = setup.on(halves.view).plan(statement, look, rule, here=True)
        return cls(cues=each, plan=plan, evidence=observe(plan).with_search(tally, setup.settings), rule=rule)

    @property
    def pairs(self) -> list[CuePairs]:
        """The counts of each cue."""
        return self.rule.pairs(self.evidence.columns)

    def lead(self, among: Sequence[int] = ()) -> int:
        """Return the cue furthest beyond the claim, among some or all."""
        return self.rule.lead(self.evidence.columns, among)

    def alone(self, pairs: CuePairs) -> Decision:
        """Return the decision on one cue, if every sample was evaluated."""
        return self.rule.of_cue(pairs)

    def checked(self, decision: Decision) -> Decision:
        """Return a decision; inconclusive if the null cue moves more predictions than are claimed at most."""
        return checked_by_null_cue(decision, self.evidence, self.rule)

    def details(self, lead: int | None = None) -> dict[str, Any]:
        """Return the numbers of the leading cue and of each cue; rates only if every sample was evaluated."""
        return cue_details(self.evidence, self.cues, self.rule, lead)


def with_control(
    result: Result,
    *,
    cue: str,
    verdict: Verdict,
    row: Mapping[str, Any],
    problem: str,
    cost: Cost | None = None,
) -> Result:
    """Return a result that passed with a positive control beside it; inconclusive if there is a problem.

    Args:
        cue: the cue that the control relies on, in words.
        verdict: of the same claim on the control.
        row: further numbers of the control.
        problem: the reason why the control proves nothing, or empty.
        cost: of the control's measurement, which is added.
    """
    sensitivity = result.details["sensitivity"]
    shown = {"cue": cue, "verdict": str(verdict), **row}
    details = {**result.details, "sensitivity": {**sensitivity, "controls": [*sensitivity["controls"], shown]}}
    result = result.but(details=details)
    if cost is not None:
        total = Cost(
            forward=result.cost.forward + cost.forward,
            backward=result.cost.backward + cost.backward,
            seconds=result.cost.seconds + cost.seconds,
        )
        result = result.but(cost=total)
    return result.but(verdict=Verdict.INCONCLUSIVE, rule=problem, reasons=("control",)) if problem else result
