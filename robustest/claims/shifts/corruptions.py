"""Robustness to common corruptions: accuracy by corruption and severity, and the mean corruption error."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch

from robustest.claims.shifts.cells import Cell, Corrupting, cells_of, stored_cells
from robustest.data.benchmarks import CorruptedBenchmark
from robustest.data.benchmarks.published import IMAGENET_CLASSES, PUBLISHED
from robustest.errors import ConfigError, StoreError, expected
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import Result
from robustest.rules.corruption_error import (
    CellsRule,
    Errors,
    column,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Columns, Evidence
from robustest.run.fresh import ADAPTS, fresh_setup, observed_fresh
from robustest.run.noting import measures
from robustest.run.options import Options
from robustest.run.plan import Plan
from robustest.run.result_building import fallible, finish
from robustest.run.setup import Setup, deciding, of_task
from robustest.shifts import COMMON_CORRUPTIONS
from robustest.shifts.tables import LARGE
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
            trivial=1,
            statement="mean accuracy drop over {}, severities {}",
        ),
        Quantity(
            name="mean corruption error",
            comparison="<=",
            threshold="max_mce",
            statement="mean corruption error over {}, severities {}",
        ),
    ),
    asks_too=("no_worse_than",),
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
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    task: Task | None = None,
    **options: Unpack[Options],
) -> Result:
    """Accuracy under common corruptions (Hendrycks and Dietterich, ICLR 2019), over all corruptions and severities.

    The mean corruption error (mCE, section 4.2) is the mean, over corruptions, of the errors summed over severities,
    as a share of a baseline model's: 1 is as good as the baseline, and less is better. The relative mCE takes each
    model's clean error off first.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`; images (N, C, H, W) to corrupt. Or a benchmark of corrupted images, as
            `robustest.benchmark("imagenet-c", root)` reads it.
        corruptions: "common" (the 15 of ImageNet-C; of a benchmark without them, all), "all" (19; all that a benchmark
            has), or names of shifts or of a benchmark's corruptions.
        severities: of 1..5.
        min_accuracy: the mean accuracy over corruptions and severities claimed at least, in 0..1.
        max_drop: the fall from clean accuracy to that mean claimed at most, in 0..1.
        max_mce: the mCE claimed at most, > 0, as a share: 0.767 is what papers print as 76.7. It needs a baseline. Give
            one of the three.
        baseline: error rates of the model to compare with: "alexnet" for those that papers' mCE is relative to, of
            models of ImageNet's classes (`ALEXNET_ON_IMAGENET_C`), and without being asked for where the data are
            ImageNet-C; else a mapping or the path of a JSON file with one; what `details["errors"]` of another result
            holds. Its "clean" entry serves the relative mCE.
        no_worse_than, tolerance: as for `measure_robust_accuracy`. Samples are compared by the cells in which they are
            right, over all corruptions and for each of them; all comparisons together err with probability alpha.
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
    stored = data if isinstance(data, CorruptedBenchmark) else None
    cells = cells_of(corruptions, severities) if stored is None else stored_cells(stored, corruptions, severities)
    known = _clean_known(stored, max_drop)
    reference = _reference(_published_of(stored, cells) if baseline is None else baseline, cells)
    setup = fresh_setup(Setup.of(model, data if stored is None else stored.samples(), options, deciding(task)))
    published = any(reference is one for one in PUBLISHED.values())
    if stored is None and published:
        _check_size(setup)
    pairs = [(cell.name, cell.severity) for cell in cells]
    rule = CellsRule.of(pairs, reference, setup.terms, min_accuracy=min_accuracy, max_drop=max_drop, max_mce=max_mce)
    names, levels = _named(cells)
    about = names[0] if len(names) == 1 else f"{len(names)} corruptions"
    asked = next(one for one in CORRUPTION_ROBUSTNESS.quantities if one.name == rule.quantity)
    plan = setup.plan(
        asked.says(about if stored is None else f"{about} of {stored.name}", levels) + of_task(setup.task),
        Corrupting(cells=tuple(cells), clean=known, examples=setup.settings.examples),
        rule,
        identity=("corruptions", tuple(cells)) if stored is None else None,  # files may change under their names
        adapts=True,
    ).against(no_worse_than, tolerance, asked=rule.threshold is not None, **_each(cells, setup.terms.alpha))
    evidence = observe(plan) if setup.model.reset is None else _fresh(plan, setup, cells, known=known)
    if published:
        _check_classes(evidence.tally.classes)
    decision = evidence.decision
    if known:
        decision = fallible(decision, evidence.columns["clean"], max_drop and rule.threshold)
    return finish(
        plan,
        evidence,
        decision=decision,
        kind=CORRUPTION_ROBUSTNESS,
        asked=asked,
        threshold=rule.threshold,
        setting=", ".join(names),
        method=f"{len(cells)} cells{', paired with the clean samples' if known else ''}",
        notes=() if setup.model.reset is None else (ADAPTS,),
        details=_details(evidence, cells, reference, setup.settings.alpha),
        trivial=None if max_mce is None else rule.mean.scale,
        caveats=(*(stored.caveats if stored else ()), *(_partial(names, levels) if published and max_mce else ())),
    )


def _clean_known(stored: CorruptedBenchmark | None, max_drop: float | None) -> bool:
    """Whether there are clean images beside the corrupted ones.

    Raises:
        ConfigError: there are none, and a fall from the accuracy on them is claimed.
    """
    known = stored is None or stored.clean is not None
    if max_drop is not None and not known:
        raise ConfigError(
            "Expected clean images for max_drop but the benchmark has none: benchmark(name, root, clean=...)."
        )
    return known


def _named(cells: Sequence[Cell]) -> tuple[list[str], str]:
    """The corruptions of cells, in their order, and the severities in a line."""
    names = list(dict.fromkeys(cell.name for cell in cells))
    return names, ", ".join(str(level) for level in sorted({cell.severity for cell in cells}))


def _fresh(plan: Plan, setup: Setup, cells: Sequence[Cell], *, known: bool) -> Evidence:
    """What a model that adapts does in each cell, and on the clean samples, as it was before any."""
    examples = setup.settings.examples
    looks = [Corrupting(cells=(), clean=True, examples=0)] if known else []
    looks += [Corrupting(cells=(cell,), clean=False, examples=examples) for cell in cells]

    def joined(columns: Columns) -> Columns:
        held = sum(columns[column((cell.name, cell.severity))].astype(int) for cell in cells)
        return {**columns, "held": 2 * np.asarray(held) >= len(cells)}

    return observed_fresh(plan, setup, looks, joined)


def _each(cells: Sequence[Cell], alpha: float) -> dict[str, Any]:
    """How a baseline is compared: by all cells together, and by each corruption's; all comparisons err at alpha."""
    columns = tuple(column((cell.name, cell.severity)) for cell in cells)
    names = tuple(dict.fromkeys(cell.name for cell in cells))
    if len(names) == 1:
        return {"columns": columns}
    parts = tuple((name, tuple(one for one in columns if one.startswith(f"{name}/"))) for name in names)
    return {"columns": columns, "parts": parts, "level": alpha / (len(parts) + 1)}


def _published_of(stored: CorruptedBenchmark | None, cells: Sequence[Cell]) -> Errors | None:
    """The errors that a benchmark's mCE is relative to, where there are some of all of these cells."""
    errors = PUBLISHED.get("" if stored is None else stored.baseline)
    return errors if errors is not None and all(cell.name in errors for cell in cells) else None


def _check_size(setup: Setup) -> None:
    """Refuse to compare small images with AlexNet's errors on large ones.

    Raises:
        ConfigError: they are corrupted with parameters for other sizes.
    """
    x, _ = setup.samples.take(torch.zeros(1, dtype=torch.int64))
    if max(x.shape[-2:]) < LARGE:
        raise ConfigError(
            f"Expected images of {LARGE} pixels or more for AlexNet's errors but got "
            f"{tuple(x.shape[1:])}: smaller ones are "
            "corrupted with other parameters. Give the errors of a model on images like these as baseline=."
        )


def _check_classes(classes: int) -> None:
    """Refuse to compare a model of other classes with AlexNet's errors.

    Raises:
        ConfigError: it has not ImageNet's 1,000.
    """
    if classes != IMAGENET_CLASSES:
        raise ConfigError(
            f"Expected a model of ImageNet's {IMAGENET_CLASSES} classes for AlexNet's errors but it "
            f"has {classes}: its errors "
            "are of another task. Give those of a model on these data as baseline=."
        )


def _partial(names: Sequence[str], levels: str) -> tuple[str, ...]:
    """What a line must say of an mCE that is not the papers'."""
    if set(names) == set(COMMON_CORRUPTIONS) and levels == "1, 2, 3, 4, 5":
        return ()
    return (f"over {len(names)} corruptions and severities {levels}, where papers' mCE has 15 and 1 to 5",)


def _reference(baseline: object, cells: Sequence[Cell]) -> Errors | None:
    """The baseline's error rates, all that the cells need.

    Raises:
        StoreError: the file cannot be read.
        ConfigError: it lacks a corruption, or a severity's rates are no numbers in 0..1 that sum to more than 0.
    """
    errors = PUBLISHED.get(baseline, baseline) if isinstance(baseline, str) else baseline
    if errors is None:
        return None
    if isinstance(errors, (str, os.PathLike)):
        try:
            errors = json.loads(Path(errors).read_text(encoding="utf-8"))
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
    if any(errors is one for one in PUBLISHED.values()):
        return errors
    return {str(name): [float(rate) for rate in rates] for name, rates in errors.items()}


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _details(evidence: Evidence, cells: Sequence[Cell], reference: Errors | None, alpha: float) -> dict[str, Any]:
    """Numbers by corruption and severity; rates only where every sample was looked at."""
    if not evidence.whole:
        return {"cells": len(cells)}
    n, known = evidence.n, evidence.columns.get("clean")
    clean = None if known is None else float(known.mean())
    rates: dict[tuple[str, int], float] = {}
    table: dict[str, dict[str, Any]] = {cell.name: {} for cell in cells}
    for cell in cells:
        right = int(evidence.columns[column((cell.name, cell.severity))].sum())
        interval = clopper_pearson(right, n, alpha / len(cells))
        table[cell.name][str(cell.severity)] = {"accuracy": right / n, "interval": list(interval)}
        rates[cell.name, cell.severity] = 1 - right / n
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
        details["errors"] = errors if clean is None else {"clean": [1 - clean], **errors}
    if reference is not None:
        details["mce"] = mean_corruption_error(rates, reference)
        details["relative_mce"] = None if clean is None else relative_mean_corruption_error(rates, 1 - clean, reference)
    return details
