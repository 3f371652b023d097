"""Accuracy on samples as they are: the simplest claim, and the end that a fall starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Unpack, cast

from torch import Tensor

from robustest.claims.datasets.data_sets import accuracy_plan
from robustest.data.benchmarks import Benchmark
from robustest.decisions import ShareRule, optional_threshold
from robustest.decisions.drop import share_of_largest_class
from robustest.decisions.mean_iou import mean_iou
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.kinds import OUTCOMES, Kind, Quantity, no_lines
from robustest.results import NOT_PAIRED, Pairing, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Observation, unchanged_exhibits
from robustest.run.finish import finish
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup, of_task
from robustest.run.scores import Metric, check_paired, iou_by_class, mean_of, pixel_counts, rule_of
from robustest.tasks import Task, WorstScore

_HALF = 0.5
"""The score from which on a sample's outcome is True, where scores are claimed: it is more right than wrong."""

ACCURACY = Kind(
    name="accuracy",
    quantities=(
        Quantity.at_least("at_least", "accuracy", "accuracy", counts=OUTCOMES),
        Quantity.at_least("at_least", "mean score", "mean {}"),
    ),
    further_claims=("no_worse_than",),
    lines=no_lines,
)
"""The share of samples that a model has right, or the mean of their scores."""


@measurement(ACCURACY)
def measure_accuracy(
    model: object,
    data: object,
    *,
    at_least: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    metric: Metric = "mean",
    **options: Unpack[Options],
) -> Result:
    """The share of samples that a model has right, as they are; of a task without a floor, the mean of their scores.

    A claim on a fall says nothing of the accuracy that it falls from: this one does.

    Args:
        model, data: as for `measure_robust_accuracy`.
        at_least: the accuracy, or mean score, claimed, in 0..1; without one the verdict is "inconclusive".
        no_worse_than, tolerance: as for `measure_robust_accuracy`; of scores as for `measure_robust_score`.
        task: what the answers are, and when they are right; classification where None. Of a task with a floor a
            sample is right that keeps it, of one without a floor the mean score is claimed, e.g. `Segmentation(19)`.
        metric: "mean", or "miou", of tasks that count intersections and unions: the mean over classes of intersection
            over union, both summed over the set.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result. Outcomes are whether a sample is right; where scores are claimed, whether its score is .5 or more.

    Raises:
        ConfigError: an argument is out of range or unknown; the task has no such metric; or the metric is no mean, and
            a claim about a population or against a baseline is made of it.
        DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    at_least = optional_threshold("at_least", at_least, trivial=0)
    setup = Setup.of(model, data, options, task)
    check_paired(metric, no_worse_than)
    scored = metric != "mean" or (task is not None and getattr(setup.task, "floor", _HALF) is None)
    asked = ACCURACY.quantities[scored]
    plan = _plan(setup, asked, at_least, metric, scored=scored)
    plan = plan.against(
        no_worse_than, tolerance, has_threshold=at_least is not None, scored="mean score" if scored else ""
    )
    evidence = observe(plan)
    chance = 0.0 if scored else share_of_largest_class(evidence.columns)
    return finish(
        plan,
        evidence,
        kind=ACCURACY,
        quantity=asked,
        threshold=at_least,
        setting=f"{evidence.total} samples as they are",
        method="predictions",
        details=_scores(evidence, metric) if scored else {"without_looking": chance},
        caveats=_caveats(data, at_least, chance),
        pairing=NOT_PAIRED if scored else Pairing(under=of_task(setup.task).strip(", ")),
    )


def _plan(setup: Setup, asked: Quantity, at_least: float | None, metric: Metric, *, scored: bool) -> Plan:
    if not scored:
        rule = ShareRule(threshold=at_least, at_least=True, terms=setup.terms)
        return accuracy_plan(setup, asked.state() + of_task(setup.task), rule)
    return setup.plan(
        asked.state(mean_of(setup.task, metric)),
        Scoring(examples=setup.settings.examples, counting=metric == "miou"),
        rule_of(metric, at_least, setup),
        identity=("scores", metric),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Scoring:
    """Scores of a chunk as it is; samples of the lowest may be shown.

    Attributes:
        examples: how many samples may be shown.
        counting: add the columns of what the set's metric counts.
    """

    whole_inputs: ClassVar[bool] = True

    examples: int
    counting: bool = False

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        """Return the outcomes and scores of the model's answers to a chunk."""
        task = evaluator.task
        evaluator.task = cast(
            "Task", WorstScore(task, least=_HALF)
        )  # one without a floor says of no answer if it holds
        try:
            seen = evaluator.judged(chunk.x, chunk.y, scored=True)
        finally:
            evaluator.task = task
        exhibits = unchanged_exhibits(chunk, ~seen.holds, seen.predicted, seen.margin, most=self.examples, task=task)
        columns = {"held": seen.holds, "score": cast("Tensor", seen.score)}
        if self.counting:
            columns |= pixel_counts(task, seen.predicted, chunk.y)
        return Observation({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def _scores(evidence: Evidence, metric: Metric) -> dict[str, Any]:
    columns = evidence.columns
    if not evidence.whole:
        return {}
    details: dict[str, Any] = {
        "mean_score": float(columns["score"].mean()),
        "lowest_score": float(columns["score"].min()),
    }
    if metric == "miou":
        details |= {"miou": float(mean_iou(columns["counts"].sum(0))), "iou_by_class": iou_by_class(columns)}
    return details


def _caveats(data: object, at_least: float | None, chance: float) -> list[str]:
    """Return the caveats of the data: what they lack, and what a model reaches on them without looking."""
    told = list(data.caveats) if isinstance(data, Benchmark) else []
    if at_least is not None and 0 < at_least <= chance:
        told.append(f"saying one thing of every sample reaches {chance:.3f}")
    return told
