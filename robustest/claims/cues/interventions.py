"""Samples with cues on and off: what a chunk shows, and the numbers behind a verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robustest.checks import moved_rows
from robustest.cues import Cue, NullCue, distances, for_samples, switched
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError
from robustest.results import Verdict
from robustest.rules.cues import CueRule
from robustest.run.evidence import Evidence, Observation, exhibits_of
from robustest.statistics import Decision
from robustest.statistics.differences.flips import CLASSES, Pairs, draw_p_values, off, on

_NULL_ROWS = 32
"""Samples of each chunk that the null cue is switched on in."""
_NULL_FLIPS, _NULL_OF = "null cue flips", "null cue samples"
_CLASSES_TOLD = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Switching:
    """Predictions of a chunk with each cue on and off, and of a few samples with a null cue.

    Attributes:
        cues: what to switch.
        targets: for each cue the class it is suspected to stand for, or None.
        examples: most samples to be shown.
        of: (N,) int64 positions in the user's data of all samples of a view of them; None where it is no view.
    """

    whole_inputs: ClassVar[bool] = True

    cues: tuple[Cue, ...]
    targets: tuple[int | None, ...]
    examples: int
    of: Tensor | None = None

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """What became of a chunk.

        Raises:
            ConfigError: a target is no class of the model, or a cue leaves the inputs' shape or bounds.
        """
        if self.of is not None:
            chunk = replace(chunk, ids=self.of[chunk.ids])
        seen: list[tuple[Tensor, Tensor]] = []  # inputs and their logits: cues share the pass of what they leave alone
        held = torch.ones(len(chunk.y), dtype=torch.bool, device=chunk.y.device)
        exhibits, null_flips, task = [], 0, evaluator.task
        # An answer that is no class is told by two numbers: 0 with the cue off, and 1 with it on where it is another.
        label = chunk.y if task.one_class else torch.zeros_like(held, dtype=torch.int64)
        columns: dict[str, Any] = {"label": label.cpu().numpy()}
        for number, (cue, target) in enumerate(zip(self.cues, self.targets, strict=True)):
            here = for_samples(cue, chunk.ids)
            with_cue, without = switched(here, chunk.x, chunk.bounds)
            logits_off, logits_on = _logits(evaluator, without, seen), evaluator.logits(with_cue)
            if target is not None and target >= evaluator.classes:
                raise ConfigError(f"Expected target in 0..{evaluator.classes - 1} but got {target}.")
            before, after = task.predictions(logits_off), task.predictions(logits_on)
            flipped = ~task.right(after, before)
            if target is not None:
                flipped = flipped & (after == target) & (chunk.y != target)
            held &= ~flipped
            exhibits += exhibits_of(
                chunk,
                flipped,
                clean=before,
                predicted=after,
                before=without,
                after=with_cue,
                badness=task.margin(logits_on, after if task.one_class else before).abs(),
                size=None,
                most=self.examples,
                task=task,
            )
            null_flips += _null_moves(evaluator, cue, chunk, before)
            size = distances(with_cue, without)
            said = (after, before) if task.one_class else (flipped.long(), label)
            columns |= {on(number): said[0].cpu().numpy(), off(number): said[1].cpu().numpy()}
            if not task.one_class:
                right = (task.holds(logits, chunk.y) for logits in (logits_on, logits_off))
                columns |= {
                    f"right {at} {number}": one.cpu().numpy() for at, one in zip(("on", "off"), right, strict=True)
                }
            columns[f"moved {number}"] = moved_rows(without, with_cue).cpu().numpy()
            columns |= {f"l2 {number}": size.l2.cpu().numpy(), f"linf {number}": size.linf.cpu().numpy()}
        columns |= {"held": held.cpu().numpy(), CLASSES: np.full(len(held), evaluator.classes if task.one_class else 2)}
        tried = len(self.cues) * min(_NULL_ROWS, len(held))
        exhibits = sorted(exhibits, key=lambda e: -e.badness)[: self.examples]
        return Observation(columns, exhibits, {_NULL_FLIPS: null_flips, _NULL_OF: tried})


def _logits(evaluator: Evaluator, x: Tensor, seen: list[tuple[Tensor, Tensor]]) -> Tensor:
    for inputs, logits in seen:
        if inputs is x or torch.equal(inputs, x):
            return logits
    logits = evaluator.logits(x)
    seen.append((x, logits))
    return logits


def _null_moves(evaluator: Evaluator, cue: Cue, chunk: Chunk, before: Tensor) -> int:
    """How many predictions a null cue moves; samples stand in reverse, so that no batch may answer for a sample."""
    rows = torch.arange(min(_NULL_ROWS, len(chunk.y)) - 1, -1, -1, device=chunk.y.device)
    few = chunk.rows(rows)
    null = NullCue(like=cue).at(few.ids)
    after = evaluator.task.predictions(evaluator.logits(switched(null, few.x, few.bounds)[0]))
    return int((~evaluator.task.right(after, before[rows])).sum())


def undoubted(decision: Decision, evidence: Evidence, rule: CueRule, tolerance: float | None = None) -> Decision:
    """A decision that settles nothing where the null cue moves more predictions than are claimed at most.

    Args:
        decision: on the cues.
        evidence: of the model, and of the one that it is compared with.
        rule: the claim.
        tolerance: by how much more than in a baseline predictions may flip; None where there is no baseline.
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


def details_of(evidence: Evidence, cues: Sequence[Cue], rule: CueRule, lead: int | None = None) -> dict[str, Any]:
    """The numbers behind a verdict, of the leading cue and of each; rates only where every sample was looked at."""
    lead = rule.lead(evidence.columns) if lead is None else lead
    pairs = rule.pairs(evidence.columns)
    p_values = draw_p_values(pairs)
    each = [
        _counts(evidence, number, cue.name, pairs[number], p_values[number])
        | (_rates(pairs[number], rule) if evidence.whole else _seen(pairs[number]))
        for number, cue in enumerate(cues)
    ]
    if "right on 0" in evidence.columns:  # answers that are no classes
        each = [_without_classes(evidence, number, one) for number, one in enumerate(each)]
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


def _counts(evidence: Evidence, column: int, name: str, pairs: Pairs, p_values: dict[int, float]) -> dict[str, Any]:
    drawn = pairs.most_drawn
    return {
        "name": name,
        "size_l2": float(np.median(evidence.columns[f"l2 {column}"])),
        "size_linf": float(np.median(evidence.columns[f"linf {column}"])),
        "flips": pairs.flips,
        "of": pairs.of,
        "most_drawn_class": drawn,
        "drawn": int(pairs.drawn[drawn]),
        "driven_away": int(pairs.driven[drawn]),
        "mcnemar_p": p_values[drawn],
        "classes": [
            {"class": k, "drawn": int(pairs.drawn[k]), "driven_away": int(pairs.driven[k]), "p": p_values[k]}
            for k in sorted(p_values, key=lambda k: (p_values[k], k))[:_CLASSES_TOLD]
        ],
    }


def _without_classes(evidence: Evidence, column: int, counts: dict[str, Any]) -> dict[str, Any]:
    """Return what there is to say of a cue where answers are no classes: flips, and which answers hold."""
    kept: dict[str, Any] = {
        name: counts[name] for name in ("name", "size_l2", "size_linf", "flips", "of", "flip_rate") if name in counts
    }
    if evidence.whole:
        right = {f"accuracy_{at}": float(evidence.columns[f"right {at} {column}"].mean()) for at in ("on", "off")}
        return kept | right
    return kept


def _seen(pairs: Pairs) -> dict[str, Any]:
    """The recall that the largest drop starts from, of the samples looked at: no rate is measured of some of them."""
    worst = max(pairs.classes, key=pairs.recall_drop, default=None)
    if worst is None or not pairs.members[worst]:
        return {}
    return {"recall_on": f"{pairs.recall_on(worst):.3f} of the {pairs.members[worst]} of class {worst} seen"}


def _rates(pairs: Pairs, rule: CueRule) -> dict[str, Any]:
    flip, drops, worst = rule.judged(pairs)
    return {
        "flip_rate": flip.estimate,
        "recall_drop": drops[worst].estimate,
        "recall_drop_class": worst,
        "recall_drop_interval": list(drops[worst].interval),
        "recall_on": pairs.recall_on(worst),
        "accuracy_on": pairs.accuracy[0],
        "accuracy_off": pairs.accuracy[1],
    }
