"""Robust score: the mean of the worst scores that an attack finds inside the threat."""

# A search does not stop at a wrong prediction: it goes on for each sample's lowest score.

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Unpack, cast

import torch
from torch import Tensor

from robustest.attacks import Cascade, Searcher
from robustest.claims.robustness.attacking import (
    SIZE_NAMES,
    attack_of_call,
    audit_of,
    check_threat,
    draws_in,
    sizes_found,
)
from robustest.decisions import checked_threshold
from robustest.decisions.average_precision import ANSWERS
from robustest.decisions.mean import COUNTS
from robustest.engine.cascade import run_cascade
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.gradient_checks import climbers, probe_inputs, probe_survivors
from robustest.engine.search import SearchOutcome
from robustest.errors import ConfigError
from robustest.kinds import Kind, Quantity
from robustest.results import Captions, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Observation, exhibits_of
from robustest.run.finish import finish
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Setup
from robustest.run.replay import counterexamples_at
from robustest.run.scores import (
    HALF,
    Metric,
    check_paired,
    mean_of,
    named_score,
    rule_of,
    scores_of,
    set_columns,
    set_details,
)
from robustest.store.corpus import Kept
from robustest.tasks import Task, WorstScore, top_of
from robustest.threats import Threat

_LOWERED = 1e-9
# Columns of a metric of the set that an attack changes.
_CHANGED = {"mean": (), "miou": (COUNTS,), "map": (ANSWERS,)}

ROBUST_SCORE = Kind(
    name="robust_score",
    varies="inputs",
    quantities=(Quantity.at_least("at_least", "mean worst score", "mean {} under {}, {}", constant=True),),
    further_claims=("no_worse_than",),
    captions=Captions(setting="threat", after="adversarial", searched="after attack", names=SIZE_NAMES),
    brief=True,
)


@measurement(ROBUST_SCORE)
def measure_robust_score(
    model: object,
    data: object,
    threat: Threat,
    *,
    task: Task | str,
    at_least: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    attack: str | Searcher | Cascade | None = None,
    metric: Metric = "mean",
    **options: Unpack[Options],
) -> Result:
    """Measure the mean of the lowest scores that an attack finds inside a threat model, an upper bound.

    Args:
        model, data: as for `measure_robust_accuracy`, with the task's outputs and targets.
        threat: the allowed changes, e.g. `Linf(4 / 255)`.
        task: defines predictions and their scores, e.g. `Segmentation(19)`.
        at_least: mean claimed, in (0, 1].
        no_worse_than: as for `measure_robust_accuracy`: the mean score may not fall by more than `tolerance`, by bets
            about the population (`robustest.decisions.baseline`); not with "miou"; with "map" the
            other model itself, whose mean average precision is compared on sets of 50 images
            (`robustest.decisions.precision_fall`).
        tolerance: allowed fall from the baseline's mean score, in 0..1.
        attack: as for `measure_robust_accuracy`.
        metric: "mean" of the samples' scores, or "miou", for tasks that count intersections and unions: the mean over
            classes of intersection over union, both summed over the set; or "map", for `Detection(score_by="ap")`: the
            mean average precision, as COCO defines it, about a population of sets of 50 images.
        **options: see `robustest.run.options.Options`.

    Raises:
        ConfigError: the metric does not fit the task, or is "miou" in a claim about a population or against a baseline,
            or "map" against the file of one.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    check_threat(threat)
    setup = Setup.of(model, data, options, task)
    task = setup.task
    threat = setup.resolve(threat, no_worse_than)
    check_paired(metric, no_worse_than)
    cascade = attack_of_call(attack, threat)
    # A random score has no worst input.
    if draws_in(cascade) > 1:
        raise ConfigError("Expected a model that answers the same twice but the attack averages over draws.")
    plan = setup.plan(
        ROBUST_SCORE.quantities[0].state(mean_of(task, metric, setup.settings.scope), threat, cascade.name),
        Worsening(cascade=cascade, threat=threat, metric=metric),
        rule_of(metric, at_least, setup),
        identity=("robust score", threat, cascade, metric),
    ).against(no_worse_than, tolerance, has_threshold=at_least is not None, scored=named_score(metric))
    evidence = observe(plan)
    columns = evidence.columns
    lowered = ~columns["held"]
    details: dict[str, Any] = {
        "lowered": int(lowered.sum()),
        **sizes_found(threat, columns["size"][lowered]),
    }
    if evidence.whole:
        details |= {
            "clean_score": float(columns["clean"].mean()),
            "mean_score": float(columns["score"].mean()),
            "lowest_score": float(columns["score"].min()),
        }
        if metric != "mean":
            found = set_details(metric, columns)
            before = set_details(metric, {**columns, **{name: columns[f"clean_{name}"] for name in _CHANGED[metric]}})
            details |= {f"clean_{metric}": before[metric], **found}
            if metric == "miou":
                del details["miou"]
    return finish(
        plan,
        evidence,
        kind=ROBUST_SCORE,
        threshold=at_least,
        setting=str(threat),
        method=cascade.name,
        details=details,
        threat=threat,
        bounds="above",
    )


@assertion(measure_robust_score)
def assert_robust_score() -> None:
    """Claim that the mean of the worst scores inside a threat model is at least `at_least`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Worsening:
    """Scores of a chunk as it is, then the attack on all scores that can fall.

    Attributes:
        metric: "mean", or the metric of the set whose columns are added.
        every: return every input that lowers a score, to be tried on another model.
    """

    cascade: Cascade
    threat: Threat
    metric: str = "mean"
    every: bool = False

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        task = evaluator.task
        if top_of(task):
            return self._worst(evaluator, chunk, task)
        evaluator.task = cast("Task", WorstScore(task))  # under which an answer holds until its score is 0
        try:
            return self._worst(evaluator, chunk, task)
        finally:
            evaluator.task = task

    def _worst(self, evaluator: Evaluator, chunk: Chunk, task: Task) -> Observation:
        cascade, threat = self.cascade, self.threat
        before = evaluator.judge(chunk.x, chunk.y, scored=True)
        after, size = chunk.x.clone(), torch.zeros(len(chunk.x), dtype=torch.float64, device=chunk.x.device)
        stages: dict[str, int] = {}
        probe_inputs(evaluator, chunk, before.first, climbers(cascade, threat, evaluator, chunk), threat)
        left = before.holds.nonzero().squeeze(1)
        if len(left):
            # A score of 0 cannot fall: such samples are not attacked.
            part = chunk.rows(left)
            outcome = run_cascade(evaluator, cascade, threat, part, clean_margin=before.margin[left], attempts=True)
            after[left], size[left] = outcome.found.x, outcome.found.size
            self._probe(evaluator, part, outcome.found)
            stages = outcome.stages
        # The search compared scores of other batches: the inputs that it found are scored once more, together.
        found = evaluator.judge(after, chunk.y, scored=True)
        was, now = cast("Tensor", before.score), cast("Tensor", found.score)
        # Other batches round differently: such a difference is no attack.
        worse = now < was - _LOWERED
        score = torch.where(worse, now, was)
        predicted = before.predicted.clone()
        predicted[worse] = found.predicted[worse]
        exhibits = exhibits_of(
            evaluator,
            chunk,
            worse,
            clean=before.predicted,
            predicted=predicted,
            after=after,
            badness=was - score,
            size=size,
            task=task,
        )
        columns = {"held": ~worse, "score": score, "clean": was, "size": torch.where(worse, size, 0.0)}
        columns |= set_columns(task, self.metric, predicted, chunk.y)
        # The metric before the attack, for comparison.
        clean = set_columns(task, self.metric, before.predicted, chunk.y)
        columns |= {f"clean_{name}": clean[name] for name in _CHANGED[self.metric]}
        lowered = worse.nonzero().squeeze(1)
        kept = counterexamples_at(chunk, lowered, after, size) if self.every and len(lowered) else None
        return Observation(columns, exhibits, stages, kept)

    def auditor(self, evaluator: Evaluator, chunk: Chunk, *, many: bool = False) -> Worsening | None:
        audit = audit_of(self.cascade, self.threat, evaluator, chunk, many=many)
        return None if audit is None else replace(self, cascade=audit, every=False)

    def keeping(self) -> Worsening:
        return replace(self, every=True)

    def transfer(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observation:
        x, size = kept.x.to(chunk.x), kept.sizes.to(chunk.x.device)
        if top_of(evaluator.task):
            before, found = (evaluator.judge(one, chunk.y, scored=True) for one in (chunk.x, x))
        else:  # only scores are compared: a task without a floor holds nowhere
            before, found = (scores_of(evaluator, one, chunk.y, least=HALF) for one in (chunk.x, x))
        was, now = cast("Tensor", before.score), cast("Tensor", found.score)
        lowered = now < was - _LOWERED
        exhibits = exhibits_of(
            evaluator,
            chunk,
            lowered,
            clean=before.predicted,
            predicted=found.predicted,
            after=x,
            badness=was - now,
            size=size,
        )
        columns = {"held": ~lowered, "score": torch.where(lowered, now, was), "size": size}
        # Only rows that are lower now are taken over.
        columns |= set_columns(evaluator.task, self.metric, found.predicted, chunk.y)
        return Observation(columns, exhibits)

    def _probe(self, evaluator: Evaluator, part: Chunk, found: SearchOutcome) -> None:
        task = evaluator.task
        # A sample below half of the median score counts as broken.
        score = evaluator.judge(found.x, part.y, scored=True).score
        if top_of(task) or score is None:
            probe_survivors(evaluator, self.cascade, self.threat, part, found)
            return
        half = 0.5 * float(score.median())
        if half <= 0:
            return
        evaluator.task = cast("Task", replace(cast("WorstScore", task), least=half))
        try:
            probe_survivors(evaluator, self.cascade, self.threat, part, replace(found, broken=score < half))
        finally:
            evaluator.task = task
