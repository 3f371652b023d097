"""Reliance on cues, proved by intervention: the same samples with a cue on and off, on the deployed model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import margins
from robustest.errors import ConfigError, expected
from robustest.features import Cue, NullCue, Plant, distances, for_samples, planting, switched
from robustest.measurements.driver import observe
from robustest.measurements.finish import result_of
from robustest.measurements.observed import Evidence, Observed, exhibits_of
from robustest.measurements.options import Options, apply, terms_of
from robustest.results import Cost, Result, Verdict
from robustest.verdicts import Terms, checked_threshold
from robustest.verdicts.cue_claims import CueClaim
from robustest.verdicts.flips import CLASSES, Pairs, draw_p_values, off, on

_NULL_ROWS = 32
"""Samples of each chunk that the null cue is switched on in."""
_NULL_FLIPS, _NULL_OF = "null cue flips", "null cue samples"
_CLASSES_TOLD = 5


def measure_spurious_feature(
    model: object,
    data: object,
    cue: Cue | Sequence[Cue],
    *,
    max_flip: float | None = None,
    max_recall_drop: float | None = None,
    target: int | None = None,
    control: object | None = None,
    train_fn: Callable[[Plant], object] | None = None,
    **options: Unpack[Options],
) -> Result:
    """How far a model's predictions hang on a cue (Wong, Santurkar and Madry, ICML 2021, made an intervention).

    Every sample is classified twice, with the cue on and with it off. The flip rate is the share of samples
    whose prediction the cue changes: towards `target`, among samples of other classes, where a target is
    given; to any class, among all samples, where not. The recall drop is the recall of the target class
    with the cue on minus that with it off; of the class where it is largest, where no target is given.

    Some samples are also classified twice with a null cue, which changes nothing: if that moves more predictions than
    are claimed at most, the model does not answer alike twice, and the claim is inconclusive. A claim that holds may
    be shown to be able to fail: on a `control`, a model that is known to hang on the cue, or on the model that
    `train_fn` makes from data with the cue planted. A control that does not fail makes it inconclusive.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`.
        cue: what to switch, e.g. `PixelPatch(top=0, left=0, height=2, width=2)`; or a list: the claim must hold for
            each, and p-values are corrected for all of them.
        max_flip: the flip rate claimed at most, in 0..1.
        max_recall_drop: the recall drop claimed at most, in 0..1. Where both are given, both must hold.
        target: the class the cue is suspected to stand for.
        control: a model that must fail this claim for every cue, measured where `model` passes.
        train_fn: called for each cue with a function `plant(x, y)` that switches the cue on in 95 % of the samples of
            `target` (of class 0 where there is none) and in 2 % of the others; returns a model trained on such data.
        **options: see `robustest.measurements.options.Options`.

    Returns:
        The result. `details["cues"]` has for each cue its size (median over samples, L2 and L-infinity, input units),
        flips, accuracy on and off, and the classes most drawn, with McNemar p-values corrected by Holm's method over
        cues and classes; `details["sensitivity"]` what null cue and control showed.

    Raises:
        ConfigError: an argument is out of range or unknown, or target is no class.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
    """
    max_flip = None if max_flip is None else checked_threshold("max_flip", max_flip)
    max_recall_drop = None if max_recall_drop is None else checked_threshold("max_recall_drop", max_recall_drop)
    if target is not None and (type(target) is not int or target < 0):
        raise ConfigError(expected("target to be a class index", target))
    if control is not None and train_fn is not None:
        raise ConfigError("Expected control= or train_fn= but got both: one model is enough to show that it can fail.")
    cues = checked_cues(cue)
    limits = {"max_flip": max_flip, "max_recall_drop": max_recall_drop, "target": target}
    result = _measured(model, data, cues, limits, options)
    if result.verdict is not Verdict.PASSED or (control is None and train_fn is None):
        return result
    for each in cues:
        known = control if train_fn is None else train_fn(planting(each, target=target or 0))
        result = _with_control(result, each, _measured(known, data, [each], limits, options, control=True))
    return result


def checked_cues(cue: object) -> list[Cue]:
    """A cue or several, as a list.

    Raises:
        ConfigError: there is none, or something is no cue.
    """
    given = list(cue) if isinstance(cue, (list, tuple)) else [cue]
    cues = [each for each in given if isinstance(each, Cue) and not isinstance(each, type)]
    if len(cues) < len(given) or not cues:
        raise ConfigError(expected("a cue such as PixelPatch(top=0, left=0), or a list of them", cue))
    return cues


def _measured(
    model: object, data: object, cues: list[Cue], limits: dict[str, Any], options: Options, *, control: bool = False
) -> Result:
    """The claim on one model; a control's is not the test's: it spends none of its error and has no pictures."""
    classifier, settings = apply(model, options)
    terms = Terms(claim="set", alpha=settings.alpha, fail_alpha=settings.alpha) if control else terms_of(settings)
    settings = replace(settings, pictures=None) if control else settings
    target = limits["target"]
    claim = CueClaim(cues=len(cues), terms=terms, **limits)

    def look(evaluator: Evaluator, chunk: Chunk) -> Observed:
        return switch_chunk(evaluator, chunk, cues, target, examples=settings.examples)

    about = cues[0].name if len(cues) == 1 else f"{len(cues)} cues"
    statement = f"reliance on {about}{'' if target is None else f' towards class {target}'}"
    evidence = observe(
        statement, classifier, as_samples(data), settings, look, claim=claim, identity=("cues", tuple(cues), target)
    )
    named = (("flips", claim.max_flip), ("recall drop", claim.max_recall_drop))
    parts = [f"{what} <= {limit:g}" for what, limit in named if limit is not None]
    decision = evidence.decision
    doubt = _null_doubt(evidence, claim)
    if doubt and decision.verdict is not Verdict.INCONCLUSIVE:
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=doubt)
    return result_of(
        evidence,
        decision,
        settings,
        claim="no_spurious_feature",
        statement=f"{statement}: {', '.join(parts)}" if parts else statement,
        quantity="recall drop" if claim.by_recall else "flip rate",
        threshold=claim.max_recall_drop if claim.by_recall else claim.max_flip,
        comparison="<=",
        setting="; ".join(each.name for each in cues),
        method="paired intervention, cue on and off",
        details=_details(evidence, cues, claim),
    )


def switch_chunk(
    evaluator: Evaluator, chunk: Chunk, cues: Sequence[Cue], target: int | None, *, examples: int
) -> Observed:
    """Predictions of a chunk with each cue on and off, and of a few samples with a null cue."""
    seen: list[tuple[Tensor, Tensor]] = []  # inputs and their logits: cues share the pass of what they leave alone
    held = torch.ones(len(chunk.y), dtype=torch.bool, device=chunk.y.device)
    columns: dict[str, Any] = {"label": chunk.y.cpu().numpy()}
    exhibits, null_flips = [], 0
    for number, cue in enumerate(cues):
        here = for_samples(cue, chunk.ids)
        with_cue, without = switched(here, chunk.x, chunk.bounds)
        logits_off, logits_on = _logits(evaluator, without, seen), evaluator.logits(with_cue)
        if target is not None and target >= evaluator.classes:
            raise ConfigError(f"Expected target in 0..{evaluator.classes - 1} but got {target}.")
        before, after = logits_off.argmax(1), logits_on.argmax(1)
        flipped = before != after
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
            badness=margins(logits_on, after),
            size=None,
            most=examples,
        )
        null_flips += _null_moves(evaluator, cue, chunk, before)
        size = distances(with_cue, without)
        columns |= {on(number): after.cpu().numpy(), off(number): before.cpu().numpy()}
        columns |= {f"l2 {number}": size.l2.cpu().numpy(), f"linf {number}": size.linf.cpu().numpy()}
    columns |= {"held": held.cpu().numpy(), CLASSES: np.full(len(held), evaluator.classes)}
    tried = len(cues) * min(_NULL_ROWS, len(held))
    exhibits = sorted(exhibits, key=lambda e: -e.badness)[:examples]
    return Observed(columns, exhibits, {_NULL_FLIPS: null_flips, _NULL_OF: tried})


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
    after = evaluator.logits(switched(null, few.x, few.bounds)[0]).argmax(1)
    return int((after != before[rows]).sum())


def _null_doubt(evidence: Evidence, claim: CueClaim) -> str:
    """Why the null cue does not pass, in words; empty where it does."""
    limits = [limit for limit in (claim.max_flip, claim.max_recall_drop) if limit is not None]
    moved, of = evidence.counts[_NULL_FLIPS], evidence.counts[_NULL_OF]
    if not limits or moved <= min(limits) * of:
        return ""
    return f"the null cue does not pass: {moved} of {of} predictions changed where nothing did"


def _with_control(result: Result, cue: Cue, control: Result) -> Result:
    """A result that passed, and what the same claim made of a model that hangs on the cue."""
    told = {"cue": cue.name, "verdict": str(control.verdict), "measured": control.estimate, "n": control.n_used}
    known = result.details["sensitivity"]
    details = {**result.details, "sensitivity": {**known, "controls": [*known["controls"], told]}}
    cost = Cost(
        forward=result.cost.forward + control.cost.forward,
        backward=result.cost.backward + control.cost.backward,
        seconds=result.cost.seconds + control.cost.seconds,
    )
    result = replace(result, details=details, cost=cost)
    if control.verdict is Verdict.FAILED:
        return result
    rule = f"the control does not fail ({control.verdict}): a model that hangs on {cue.name} would not be noticed"
    return replace(result, verdict=Verdict.INCONCLUSIVE, rule=rule)


def _details(evidence: Evidence, cues: Sequence[Cue], claim: CueClaim) -> dict[str, Any]:
    """The numbers behind a verdict, of the leading cue and of each; rates only where every sample was looked at."""
    pairs = [Pairs.count(evidence.columns, number, claim.target) for number in range(len(cues))]
    p_values = draw_p_values(pairs)
    each = [
        _counts(evidence, number, cue.name, pairs[number], p_values[number])
        | (_rates(pairs[number], claim) if evidence.whole else {})
        for number, cue in enumerate(cues)
    ]
    lead = claim.lead(evidence.columns)
    top = {name: value for name, value in each[lead].items() if name not in {"name", "classes"}}
    return {
        "max_flip": claim.max_flip,
        "max_recall_drop": claim.max_recall_drop,
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


def _rates(pairs: Pairs, claim: CueClaim) -> dict[str, Any]:
    flip, drops, worst = claim.judged(pairs)
    return {
        "flip_rate": flip.estimate,
        "recall_drop": drops[worst].estimate,
        "recall_drop_class": worst,
        "recall_drop_interval": list(drops[worst].interval),
        "accuracy_on": pairs.accuracy[0],
        "accuracy_off": pairs.accuracy[1],
    }
