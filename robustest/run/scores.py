"""Claims on scores instead of right predictions: the rule of a metric, its words, and its counts."""

from __future__ import annotations

import os
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from robustest.checks import require
from robustest.decisions import Rule
from robustest.decisions.average_precision import (
    ANSWERS,
    BLOCK,
    TARGETS,
    MeanAveragePrecision,
    figures,
    in_order,
)
from robustest.decisions.mean import CONSTANT_COUNTS, COUNTS, PIXELS, ScoreRule
from robustest.decisions.mean_iou import MeanIoURule, mean_iou
from robustest.engine.evaluator import Evaluator, Judgement
from robustest.errors import ConfigError
from robustest.run.comparison import Baseline
from robustest.run.evidence import Columns
from robustest.run.plan import Setup
from robustest.tasks import Constant, Counting, Detection, Task, WorstScore

Metric = Literal["mean", "miou", "map"]
"""The mean score of a set; its mean IoU: per class, intersections over unions, each summed over the set; or the mean
average precision of its boxes, as COCO defines it.
"""

HALF = 0.5
"""Lowest score of a sample with outcome True, in claims on scores."""


def claims_scores(metric: str, given: object, task: Task) -> bool:
    """Return True if a claim is on scores: with a metric of the set, or a task that was given without a floor.

    Args:
        given: the task of the call, or None.
        task: the same, as it was read.
    """
    return metric != "mean" or (given is not None and getattr(task, "floor", HALF) is None)


def rule_of(metric: str, at_least: float | None, setup: Setup) -> Rule:
    """Return the rule of a claim on a metric; at_least in 0..1, or None.

    Raises:
        ConfigError: the metric is unknown, needs another task, or is claimed of a population.
    """
    if metric == "mean":
        return ScoreRule(threshold=at_least, terms=setup.terms)
    require(metric in ("miou", "map"), 'metric to be "mean", "miou" or "map"', metric)
    if metric == "map":
        if getattr(setup.task, "score_by", "") != "ap" or not isinstance(setup.task, Detection):
            raise ConfigError(f'Expected task=Detection(..., score_by="ap") for metric="map" but got {setup.task}.')
        return MeanAveragePrecision(threshold=at_least, terms=setup.terms)
    if not isinstance(setup.task, Counting):
        raise ConfigError(
            f'Expected a task that counts intersections and unions for metric="miou" but {setup.task.name} does not.'
        )
    if setup.terms.scope != "set":
        raise ConfigError(
            'Expected scope="set" for metric="miou": nothing exact is known of its error in a population.'
        )
    return MeanIoURule(threshold=at_least, terms=setup.terms, seed=setup.settings.seed)


def check_paired(metric: str, no_worse_than: Baseline | None) -> None:
    """Raise ConfigError for a baseline with which a metric cannot be compared."""
    if metric == "miou" and no_worse_than is not None:
        raise ConfigError(
            'Expected metric="mean" with no_worse_than= but got "miou": it is no mean of samples that could be '
            "paired. Compare the mean score, or leave no_worse_than out."
        )
    if metric == "map" and isinstance(no_worse_than, (str, os.PathLike)):
        raise ConfigError(
            f'Expected no_worse_than= to be another model with metric="map" but got the file {no_worse_than}: '
            "baselines hold a score of each sample, and mean average precision is no mean of these. Give the model, or "
            'compare the mean score, with metric="mean".'
        )


def mean_of(task: Task, metric: str, scope: str = "set") -> str:
    """Return the noun of a metric's mean, as it is claimed in a scope."""
    if metric == "map":
        return "average precision over classes" + (f" of sets of {BLOCK}" if scope != "set" else "")
    return "IoU over classes" if metric == "miou" else f"score by {str(task).partition(' of at ')[0]}"


def set_columns(task: Task, metric: str, predictions: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return the columns of a metric of the set, of predictions (B, *P) and targets (B, *T); none of a mean."""
    if metric == "miou":
        return pixel_counts(task, predictions, y)
    return {ANSWERS: predictions, TARGETS: y} if metric == "map" else {}


def named_score(metric: str) -> str:
    """Return the name of a metric in comparisons of two models."""
    return "mean average precision" if metric == "map" else "mean score"


def scores_of(evaluator: Evaluator, x: Tensor, y: Tensor, *, least: float) -> Judgement:
    """Return the judgement of answers to x by their scores; an answer holds from the score `least` on."""
    task = evaluator.task
    # A task without a floor has no criterion of a right answer.
    evaluator.task = cast("Task", WorstScore(task, least=least))
    try:
        return evaluator.judge(x, y, scored=True)
    finally:
        evaluator.task = task


def set_details(metric: str, columns: Columns) -> dict[str, Any]:
    """Return the values of a metric of the set, whole and by part, for a result's details; none of a mean."""
    if metric == "miou":
        return {"miou": float(mean_iou(columns[COUNTS].sum(0))), "iou_by_class": iou_by_class(columns)}
    return figures(in_order(columns)) if metric == "map" else {}


def pixel_counts(task: Task, predictions: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Return intersections and unions by class, and pixels, of predictions and targets (B, *T).

    Of a task that knows the best constant answer, with the intersections and unions of that one.
    """
    counting = cast("Counting", task)
    pixels = torch.full((len(y),), y[0].numel(), dtype=torch.int64, device=y.device)
    columns = {COUNTS: counting.counts(predictions, y), PIXELS: pixels}
    if isinstance(task, Constant):
        columns[CONSTANT_COUNTS] = counting.counts(task.constant(y), y)
    return columns


def iou_by_class(columns: Columns) -> dict[str, Any]:
    """Return the intersection over union of each class from `pixel_counts`; None for a class that does not occur."""
    both, union = np.split(columns[COUNTS].sum(0), 2)
    return {str(k): float(both[k] / union[k]) if union[k] else None for k in range(len(union))}
