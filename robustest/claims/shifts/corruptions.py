"""Robustness to common corruptions: accuracy by corruption and severity, and the mean corruption error."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor

from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, StoreError, expected
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import Result
from robustest.rules.corruption_error import (
    Cell,
    CellsRule,
    Errors,
    column,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from robustest.run.driver import observe
from robustest.run.evidence import Evidence, Exhibit, Observed, exhibits_of
from robustest.run.noting import measures
from robustest.run.options import Options
from robustest.run.result_building import fallible, finish
from robustest.run.setup import Setup, deciding, of_task
from robustest.shifts import COMMON_CORRUPTIONS, CORRUPTIONS, Shift, as_shift, followed
from robustest.statistics import clopper_pearson
from robustest.tasks import Task

SEVERITIES = (1, 2, 3, 4, 5)


CORRUPTION_ROBUSTNESS = Kind(
    name="corruption_robustness",
    quantities=(
        Quantity(
            name="mean accuracy",
            comparison=">=",
            threshold="min_accuracy",
            statement="mean accuracy over {}, severities {}",
        ),
        Quantity(
            name="mean accuracy drop",
            comparison="<=",
            threshold="max_drop",
            statement="mean accuracy drop over {}, severities {}",
        ),
        Quantity(
            name="mean corruption error",
            comparison="<=",
            threshold="max_mce",
            statement="mean corruption error over {}, severities {}",
        ),
    ),
    lines=clean_accuracy,
    told=frozenset({"clean_accuracy"}),
)
"""Mean accuracy under corruptions, its fall, or the mean corruption error."""


@measures(CORRUPTION_ROBUSTNESS)
def measure_corruption_robustness(
    model: object,
    data: object,
    *,
    corruptions: str | Sequence[str] = "common",
    severities: Sequence[int] = SEVERITIES,
    min_accuracy: float | None = None,
    max_drop: float | None = None,
    max_mce: float | None = None,
    baseline: Errors | str | os.PathLike[str] | None = None,
    task: Task | None = None,
    **options: Unpack[Options],
) -> Result:
    """Accuracy under common corruptions (Hendrycks and Dietterich, ICLR 2019), over all corruptions and severities.

    The mean corruption error (mCE, section 4.2) is the mean, over corruptions, of the errors summed over severities,
    as a share of a baseline model's: 1 is as good as the baseline, and less is better. The relative mCE takes each
    model's clean error off first.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`; images (N, C, H, W).
        corruptions: "common" (the 15 of the benchmark), "all" (19), or names of shifts.
        severities: of 1..5.
        min_accuracy: the mean accuracy over corruptions and severities claimed at least, in 0..1.
        max_drop: the fall from clean accuracy to that mean claimed at most, in 0..1.
        max_mce: the mCE claimed at most, > 0; it needs a baseline. Give one of the three.
        baseline: error rates of the model to compare with, as a mapping or the path of a JSON file with one; what
            `details["errors"]` of another result holds. Its "clean" entry serves the relative mCE.
        task: what the answers are, and when they are right, as for `measure_robust_accuracy`; its targets follow
            where a shift moves things.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. A sample's outcome is True where it is right in at least half of the cells. Where every sample was
        looked at, `details["by_severity"]` has each cell's accuracy with an interval; all of them hold together.

    Raises:
        ConfigError: an argument is out of range or unknown, or thresholds do not go together.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
        StoreError: the baseline cannot be read.
    """
    cells = _cells(corruptions, severities)
    reference = None if baseline is None else _reference(baseline, cells)
    setup = Setup.of(model, data, options, deciding(task))
    rule = CellsRule.of(
        [_cell(cell) for cell in cells],
        reference,
        setup.terms,
        min_accuracy=min_accuracy,
        max_drop=max_drop,
        max_mce=max_mce,
    )
    names = list(dict.fromkeys(cell.name for cell in cells))
    about = names[0] if len(names) == 1 else f"{len(names)} corruptions"
    levels = ", ".join(str(level) for level in sorted({cell.severity for cell in cells}))
    asked = next(one for one in CORRUPTION_ROBUSTNESS.quantities if one.name == rule.quantity)
    plan = setup.plan(
        asked.says(about, levels) + of_task(setup.task),
        Corrupting(cells=tuple(cells), examples=setup.settings.examples),
        rule,
        identity=("corruptions", tuple(cells)),
    )
    evidence = observe(plan)
    return finish(
        plan,
        evidence,
        decision=fallible(evidence.decision, evidence.columns["clean"], max_drop and rule.threshold),
        kind=CORRUPTION_ROBUSTNESS,
        asked=asked,
        threshold=rule.threshold,
        setting=", ".join(names),
        method=f"{len(cells)} cells, paired with the clean samples",
        details=_details(evidence, cells, reference, setup.settings.alpha),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupting:
    """Predictions of a chunk, clean and in every cell; each right sample's most confident error may be shown.

    Attributes:
        cells: corruptions with their severities.
        examples: how many samples may be shown.
    """

    cells: tuple[Shift, ...]
    examples: int

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observed:
        """What became of a chunk."""
        task, before = evaluator.task, evaluator.judged(chunk.x, chunk.y)
        clean, right = before.said, before.holds
        columns: dict[str, Tensor] = {"clean": right}
        count = torch.zeros(len(clean), device=clean.device)
        exhibits: list[Exhibit] = []
        for cell in self.cells:
            after = cell.apply(chunk.x, chunk.key, chunk.bounds)
            moved = followed(task, cell, chunk.x, chunk.y, chunk.key)
            seen = evaluator.judged(after, moved)
            held = seen.holds
            columns[column(_cell(cell))] = held
            count += held
            exhibits += exhibits_of(
                chunk,
                right & ~held,
                clean=clean,
                predicted=seen.said,
                before=chunk.x,
                after=after,
                badness=-seen.margin,
                size=float(cell.severity),
                most=self.examples,
                task=task,
                moved=moved,
            )
            exhibits = _one_a_sample(exhibits)[: self.examples]
        columns["held"] = 2 * count >= len(self.cells)
        return Observed({name: outcome.cpu().numpy() for name, outcome in columns.items()}, exhibits)


def _one_a_sample(exhibits: list[Exhibit]) -> list[Exhibit]:
    """Worst first, each sample once."""
    kept: dict[int, Exhibit] = {}
    for exhibit in sorted(exhibits, key=lambda e: -e.badness):
        kept.setdefault(exhibit.index, exhibit)
    return list(kept.values())


def _cell(shift: Shift) -> Cell:
    return shift.name, shift.severity


def _cells(corruptions: str | Sequence[str], severities: Sequence[int]) -> list[Shift]:
    sets = {"common": COMMON_CORRUPTIONS, "all": CORRUPTIONS}
    names = sets.get(corruptions, [corruptions]) if isinstance(corruptions, str) else list(corruptions)
    cells = [as_shift(name, severity) for name in dict.fromkeys(names) for severity in dict.fromkeys(severities)]
    if not cells:
        raise ConfigError("Expected one corruption and one severity or more but got none.")
    twice = [name for (name, _), count in Counter(map(_cell, cells)).items() if count > 1]
    if twice:
        raise ConfigError(f"Expected each corruption once but got {twice[0]!r} twice. Write an assertion for each.")
    return cells


def _reference(baseline: object, cells: Sequence[Shift]) -> dict[str, list[float]]:
    """The baseline's error rates, all that the cells need.

    Raises:
        StoreError: the file cannot be read.
        ConfigError: it lacks a corruption, or a severity's rates are no numbers in 0..1 that sum to more than 0.
    """
    errors = baseline
    if isinstance(baseline, (str, os.PathLike)):
        try:
            errors = json.loads(Path(baseline).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"Expected error rates as JSON in {baseline} but got: {error}") from error
    if not isinstance(errors, Mapping):
        raise ConfigError(expected("baseline to map corruptions to error rates", errors))
    for cell in cells:
        rates = errors.get(cell.name)
        if not isinstance(rates, Sequence) or len(rates) != 5 or not all(map(_is_rate, rates)):
            raise ConfigError(expected(f"baseline to hold five error rates in 0..1 for {cell.name!r}", rates))
    for name in {cell.name for cell in cells}:
        if not sum(errors[name][cell.severity - 1] for cell in cells if cell.name == name) > 0:
            raise ConfigError(f"Expected a baseline that errs under {name!r}: its errors are what ours are divided by.")
    return {str(name): [float(rate) for rate in rates] for name, rates in errors.items()}


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _details(evidence: Evidence, cells: Sequence[Shift], reference: Errors | None, alpha: float) -> dict[str, Any]:
    """Numbers by corruption and severity; rates only where every sample was looked at."""
    if not evidence.whole:
        return {"cells": len(cells)}
    clean, n = float(evidence.columns["clean"].mean()), evidence.n
    rates: dict[Cell, float] = {}
    table: dict[str, dict[str, Any]] = {cell.name: {} for cell in cells}
    for cell in map(_cell, cells):
        right = int(evidence.columns[column(cell)].sum())
        interval = clopper_pearson(right, n, alpha / len(cells))
        table[cell[0]][str(cell[1])] = {"accuracy": right / n, "interval": list(interval)}
        rates[cell] = 1 - right / n
    means = {name: float(np.mean([entry["accuracy"] for entry in table[name].values()])) for name in table}
    details: dict[str, Any] = {
        "clean_accuracy": clean,
        "by_severity": table,
        "by_corruption": means,
        "worst_corruption": min(means, key=lambda name: means[name]),
        "cells": len(cells),
    }
    if {cell.severity for cell in cells} == set(SEVERITIES):
        errors = {name: [rates[name, severity] for severity in SEVERITIES] for name in table}
        details["errors"] = {"clean": [1 - clean], **errors}
    if reference is not None:
        details["mce"] = mean_corruption_error(rates, reference)
        details["relative_mce"] = relative_mean_corruption_error(rates, 1 - clean, reference)
    return details
