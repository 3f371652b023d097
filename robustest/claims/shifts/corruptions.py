"""Robustness to common corruptions: accuracy by corruption and severity, and the mean corruption error.

The mean corruption error (mCE: Hendrycks and Dietterich, ICLR 2019, section 4.2) is the mean, over corruptions, of the
errors summed over severities, as a share of another model's. The relative mCE takes each model's clean error off first.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from robustest.claims.shifts.cells import Cell, Corrupting, Corruptions, cut_column, moved_column
from robustest.claims.shifts.grid import Grid
from robustest.decisions import clopper_pearson
from robustest.decisions.corruption_error import (
    CellsRule,
    ErrorRates,
    cell_column,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from robustest.decisions.drop import AboveChanceRule, share_of_largest_class
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import NOT_PAIRED, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Columns, Evidence
from robustest.run.finish import Changed, fall_from, finish
from robustest.run.fresh import ADAPTS, fresh_setup, observed_fresh
from robustest.run.measurement import measurement
from robustest.run.plan import Options, Plan, Setup, deciding, of_task
from robustest.tasks import Task

SEVERITIES = (1, 2, 3, 4, 5)


CORRUPTION_ROBUSTNESS = Kind(
    name="corruption_robustness",
    parameters=("severities",),
    quantities=(
        Quantity.at_least("min_accuracy", "mean accuracy", "mean accuracy over {}{}"),
        Quantity.at_most(
            "max_drop", "mean accuracy drop", "mean accuracy drop over {}{}", trivial=1, start="clean_accuracy"
        ),
        Quantity.at_most("max_mce", "mean corruption error", "mean corruption error over {}{}"),
    ),
    further_claims=("no_worse_than",),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)
"""Mean accuracy under corruptions, its fall, or the mean corruption error."""


@measurement(CORRUPTION_ROBUSTNESS)
def measure_corruption_robustness(
    model: object,
    data: object,
    *,
    corruptions: Corruptions = "common",
    severities: Sequence[int] = SEVERITIES,
    min_accuracy: float | None = None,
    max_drop: float | None = None,
    max_mce: float | None = None,
    reference: ErrorRates | str | os.PathLike[str] | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | str | None = None,
    **options: Unpack[Options],
) -> Result:
    """Accuracy under common corruptions (Hendrycks and Dietterich, ICLR 2019), over all corruptions and severities.

    The mean corruption error (mCE) is relative to a reference model's: 1 is as good as that, and less is better.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`; images (N, C, H, W) to corrupt. Or a benchmark of corrupted images, as
            `robustest.benchmark("imagenet-c", root)` reads it.
        corruptions: "common" (the 15 of ImageNet-C; of a benchmark without them, all), "all" (19; all that a benchmark
            has), or a list: names of shifts, functions and `Shift`s as for `measure_shift_accuracy`, or names of a
            benchmark's corruptions. A function that does not ask for a severity counts once. Where one changes no
            sample, at one of its severities, the claim is inconclusive.
        severities: of 1..5.
        min_accuracy: the mean accuracy over corruptions and severities claimed at least, in 0..1.
        max_drop: the fall from clean accuracy to that mean claimed at most, in 0..1. As for `measure_shift_accuracy` it
            bounds the fall alone.
        max_mce: the mCE claimed at most, > 0, as a share: 0.767 is what papers print as 76.7. It needs a reference.
            Give one of the three.
        reference: error rates of the model to compare with: a mapping, or the path of a JSON file with one, of what
            `details["errors"]` of another result holds ("clean" serves the relative mCE). Or "alexnet", for those of
            papers (`ALEXNET_ON_IMAGENET_C`), of models of ImageNet's classes; None takes them for ImageNet-C.
        no_worse_than, tolerance: as for `measure_robust_accuracy`. Samples are compared by the cells in which they are
            right, over all corruptions and for each of them, with max_drop on clean samples as well; all comparisons
            together err with probability alpha.
        task: as for `measure_shift_accuracy`.
        **options: see `robustest.run.plan.Options`.

    Returns:
        The result. A sample's outcome is True where it is right in at least half of the cells. Where every sample was
        looked at, `details["by_severity"]` has each cell's accuracy with an interval; all of them hold together.

    Raises:
        ConfigError: an argument is out of range or unknown, or thresholds do not go together.
        DataError, ModelError, DeviceError: as for `measure_robust_accuracy`.
        StoreError: the reference or the baseline cannot be read.
    """
    grid = Grid.of(data, corruptions, severities, reference=reference, max_drop=max_drop)
    images = data if grid.stored is None else grid.stored.samples()
    setup = fresh_setup(Setup.of(model, images, options, deciding(task)))
    grid.check_images(setup.samples)
    rule = CellsRule.of(
        grid.pairs, grid.reference, setup.terms, min_accuracy=min_accuracy, max_drop=max_drop, max_mce=max_mce
    )
    asked = next(one for one in CORRUPTION_ROBUSTNESS.quantities if one.name == rule.quantity)
    plan = _plan(setup, grid, rule, asked)
    each = grid.each(setup.terms.alpha, clean=max_drop is not None)
    plan = plan.against(no_worse_than, tolerance, has_threshold=rule.threshold is not None, **each)
    evidence = observe(plan) if setup.model.reset is None else _fresh(plan, setup, grid)
    return _result(plan, evidence, grid, asked, rule, adapts=setup.model.reset is not None)


def _plan(setup: Setup, grid: Grid, rule: CellsRule, asked: Quantity) -> Plan:
    return setup.plan(
        asked.state(grid.about, f", severities {grid.levels}" if grid.levels else "") + of_task(setup.task),
        Corrupting(cells=grid.cells, clean=grid.clean, beside_clean=grid.clean, examples=setup.settings.examples),
        AboveChanceRule(other=rule, threshold=rule.threshold, terms=setup.terms) if rule.paired else rule,
        identity=grid.identity,
        adapts=True,
    )


def _result(plan: Plan, evidence: Evidence, grid: Grid, asked: Quantity, rule: CellsRule, *, adapts: bool) -> Result:
    """The result, where the model's classes are those of the errors that it is compared with.

    Raises:
        ConfigError: they are not.
    """
    grid.check_classes(evidence.tally.classes)
    return finish(
        plan,
        evidence,
        kind=CORRUPTION_ROBUSTNESS,
        quantity=asked,
        threshold=rule.threshold,
        setting=", ".join(grid.names),
        method=f"{len(grid.cells)} cells{', paired with the clean samples' if grid.clean else ''}",
        notes=(ADAPTS,) if adapts else (),
        details=_details(evidence, grid.cells, grid.reference, plan.settings.alpha),
        trivial=rule.mean.scale if asked.threshold == "max_mce" else None,
        caveats=grid.caveats(mce=asked.threshold == "max_mce"),
        changed=_changed(evidence.columns, grid.cells, rule) if grid.clean else (),
        pairing=fall_from(evidence, "clean") if asked.threshold == "max_drop" else NOT_PAIRED,
    )


def _changed(columns: Columns, cells: Sequence[Cell], rule: CellsRule) -> list[Changed]:
    """The samples that each cell changed, and the mean were the model wrong on all of them."""
    moved = {cell_column((cell.name, cell.severity)): columns[moved_column(cell)] for cell in cells}
    worst = rule.mean_of({**columns, **{name: columns[name] & ~one for name, one in moved.items()}})
    return [
        Changed(by=str(cell), moved=columns[moved_column(cell)], cut=columns[cut_column(cell)], worst=worst)
        for cell in cells
    ]


def _fresh(plan: Plan, setup: Setup, grid: Grid) -> Evidence:
    """What a model that adapts does in each cell, and on the clean samples, as it was before any."""
    examples = setup.settings.examples
    looks = [Corrupting(cells=(), clean=True, beside_clean=True, examples=0)] if grid.clean else []
    looks += [Corrupting(cells=(cell,), clean=False, beside_clean=grid.clean, examples=examples) for cell in grid.cells]

    def joined(columns: Columns) -> Columns:
        held = sum(columns[cell_column(pair)].astype(int) for pair in grid.pairs)
        return {**columns, "held": 2 * np.asarray(held) >= len(grid.cells)}

    return observed_fresh(plan, setup, looks, joined)


def _details(evidence: Evidence, cells: Sequence[Cell], reference: ErrorRates | None, alpha: float) -> dict[str, Any]:
    """Numbers by corruption and severity; rates only where every sample was looked at."""
    if not evidence.whole:
        return {"cells": len(cells), "without_looking": share_of_largest_class(evidence.columns)}
    n, known = evidence.n, evidence.columns.get("clean")
    clean = None if known is None else float(known.mean())
    rates: dict[tuple[str, int], float] = {}
    table: dict[str, dict[str, Any]] = {cell.name: {} for cell in cells if cell.level is not None}
    by_name: dict[str, list[float]] = {}
    for cell in cells:
        right = int(evidence.columns[cell_column((cell.name, cell.severity))].sum())
        interval = clopper_pearson(right, n, alpha / len(cells))
        if cell.level is not None:
            table[cell.name][str(cell.level)] = {"accuracy": right / n, "interval": list(interval)}
        by_name.setdefault(cell.name, []).append(right / n)
        rates[cell.name, cell.severity] = 1 - right / n
    means = {name: float(np.mean(accuracies)) for name, accuracies in by_name.items()}
    details: dict[str, Any] = {
        "clean_accuracy": clean,
        "without_looking": share_of_largest_class(evidence.columns),
        "by_severity": table,
        "by_corruption": means,
        "worst_corruption": min(means, key=lambda name: means[name]),
        "cells": len(cells),
    }
    levels = {cell.level for cell in cells} - {None}
    if levels == set(SEVERITIES) or not levels:
        # One without severities errs alike at each of them.
        own = {cell.name: cell.severity for cell in cells if cell.level is None}
        errors = {name: [rates[name, own.get(name, severity)] for severity in SEVERITIES] for name in by_name}
        details["errors"] = errors if clean is None else {"clean": [1 - clean], **errors}
    if reference is not None:
        details["mce"] = mean_corruption_error(rates, reference)
        details["relative_mce"] = None if clean is None else relative_mean_corruption_error(rates, 1 - clean, reference)
    return details
