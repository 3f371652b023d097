"""Claims on scores instead of right predictions: the rule of a metric, its words, and its counts."""

from __future__ import annotations

from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from robustest.checks import require
from robustest.decisions import Rule
from robustest.decisions.mean import CONSTANT_COUNTS, COUNTS, PIXELS, ScoreRule
from robustest.decisions.mean_iou import MeanIoURule
from robustest.errors import ConfigError
from robustest.run.comparison import Baseline
from robustest.run.evidence import Columns
from robustest.run.plan import Setup
from robustest.tasks import Constant, Counting, Task

Metric = Literal["mean", "miou"]
"""The mean score of a set, or its mean IoU: per class, intersections over unions, each summed over the set."""


def rule_of(metric: str, at_least: float | None, setup: Setup) -> Rule:
    """Return the rule of a claim on a metric; at_least in 0..1, or None.

    Raises:
        ConfigError: the metric is unknown, needs another task, or is claimed of a population.
    """
    if metric == "mean":
        return ScoreRule(threshold=at_least, terms=setup.terms)
    require(metric == "miou", 'metric to be "mean" or "miou"', metric)
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
    """Raise ConfigError for a baseline of a metric that is no mean over samples."""
    if metric == "miou" and no_worse_than is not None:
        raise ConfigError(
            'Expected metric="mean" with no_worse_than= but got "miou": it is no mean of samples that could be paired. '
            "Compare the mean score, or leave no_worse_than out."
        )


def mean_of(task: Task, metric: str) -> str:
    """Return the noun of a metric's mean."""
    return "IoU over classes" if metric == "miou" else f"score by {str(task).partition(' of at ')[0]}"


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
