"""Claims on common corruptions: accuracy by corruption and severity, its drop, and the mean corruption error."""

# (Hendrycks and Dietterich, ICLR 2019; the mCE is in `decisions.corruption_error`.)
#
# 1. The cells, a corruption at a severity each, are made from the samples or read from a benchmark's files.
# 2. Each sample is evaluated clean, if there are clean images, and in every cell; each cell is a column of outcomes.
# 3. The rule decides on the mean over samples and cells. An adaptive model is reset before each cell.
# 4. The mCE is relative to error rates of a reference.

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, Unpack

import numpy as np
import torch

from robustest.checks import moved_rows
from robustest.data import Samples
from robustest.data.benchmarks import CorruptedBenchmark
from robustest.data.benchmarks.corrupted import IMAGENET_CLASSES, PUBLISHED
from robustest.decisions import ShareRule, clopper_pearson
from robustest.decisions.corruption_error import (
    CellsRule,
    ErrorRates,
    cell_column,
    mean_corruption_error,
    relative_mean_corruption_error,
)
from robustest.decisions.drop import AboveChanceRule, share_of_largest_class
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.errors import ConfigError, DataError, StoreError, expected, unknown
from robustest.kinds import Kind, Quantity, clean_accuracy
from robustest.results import NOT_PAIRED, Result
from robustest.run.comparison import Baseline
from robustest.run.driver import observe
from robustest.run.evidence import Columns, Evidence, Exhibit, Look, Observation, exhibits_of
from robustest.run.finish import fall_from, finish
from robustest.run.grounds import Changed
from robustest.run.measurement import assertion, measurement
from robustest.run.options import Options
from robustest.run.plan import Plan, Setup, deciding, of_task
from robustest.shifts import (
    COMMON_CORRUPTIONS,
    CORRUPTIONS,
    Shift,
    ShiftedInputs,
    ShiftFunction,
    as_shift,
    follow_targets,
)
from robustest.shifts.tables import LARGE
from robustest.tasks import Task, top_of

# An adaptive model, reset before each of several conditions.


ADAPTS = "the model adapts to what it is shown; it was reset before each condition"


def fresh_setup(setup: Setup) -> Setup:
    """Return the setup of a claim for an adaptive model: about this set, and all of it.

    Raises:
        ConfigError: the claim is about a population.
    """
    if setup.model.reset is None:
        return setup
    if setup.settings.scope != "set":
        raise ConfigError(
            'Expected scope="set" for a model that adapts: its answers hang together, so that intervals for a '
            "population do not hold."
        )
    return setup.but(exact=True, max_samples=None, time_budget=None)


def observe_fresh(plan: Plan, setup: Setup, looks: Sequence[Look], joined: Callable[[Columns], Columns]) -> Evidence:
    """Measure a plan's samples under several looks, each with the model reset, and decide on all columns together.

    Args:
        looks: one per condition; their columns have different names, except "held".
        joined: computes "held" of all columns.
    """
    rule = ShareRule(threshold=None, at_least=True, terms=setup.alone)
    # The check before the first chunk of each look resets the model (`robustest.engine.answer_checks`).
    parts = [observe(setup.plan(plan.statement, look, rule, adapts=True)) for look in looks]
    columns = joined({name: column for part in parts for name, column in part.columns.items()})
    whole = replace(parts[-1].including(*parts[:-1]), columns=columns)
    if setup.model.reset is not None:
        setup.model.reset()
    decision = plan.rule.decide({**columns, "id": whole.ids}, whole.total, None)
    return replace(whole, decision=decision)


SEVERITIES = (1, 2, 3, 4, 5)


CORRUPTION_ROBUSTNESS = Kind(
    name="corruption_robustness",
    varies="inputs",
    parameters=("severities",),
    quantities=(
        Quantity.at_least("min_accuracy", "mean accuracy", "mean accuracy over {}{}", constant=True),
        Quantity.at_most(
            "max_drop", "mean accuracy drop", "mean accuracy drop over {}{}", trivial=1, start="clean_accuracy"
        ),
        Quantity.at_most("max_mce", "mean corruption error", "mean corruption error over {}{}"),
    ),
    further_claims=("no_worse_than",),
    lines=clean_accuracy,
    hidden=frozenset({"clean_accuracy"}),
)


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
    """Measure accuracy under common corruptions (Hendrycks and Dietterich, ICLR 2019), over corruptions and severities.

    The mean corruption error (mCE) is relative to a reference model: 1 is equal, less is better.

    Args:
        model: as for `measure_robust_accuracy`.
        data: as for `measure_robust_accuracy`; images (N, C, H, W) to corrupt. Or a benchmark of corrupted images, as
            `robustest.benchmark("imagenet-c", root)` reads it.
        corruptions: "common" (the 15 of ImageNet-C; for a benchmark without them, all), "all" (19; all of a benchmark),
            or a list of names, functions and `Shift`s as for `measure_shift_accuracy`. The claim is inconclusive if a
            cell changes no sample.
        severities: of 1..5.
        min_accuracy: lowest mean accuracy over corruptions and severities claimed, in 0..1.
        max_drop: largest drop from clean accuracy to that mean claimed, in 0..1.
        max_mce: largest mCE claimed, > 0: 0.767 is 76.7 in papers. Give one of the three.
        reference: error rates for the mCE: a mapping, or the path of a JSON file, like `details["errors"]` of another
            result. Or "alexnet", the published rates for ImageNet's classes (`ALEXNET_ON_IMAGENET_C`); None takes them
            for ImageNet-C.
        no_worse_than, tolerance: as for `measure_robust_accuracy`, by the cells in which samples are right, over all
            corruptions and for each, with max_drop on clean samples as well; alpha covers all comparisons.
        task: as for `measure_shift_accuracy`.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. A sample's outcome is True if it is right in at least half of the cells. If every sample was
        evaluated, `details["by_severity"]` has each cell's accuracy with a simultaneous interval.

    Raises:
        StoreError: the reference cannot be read.
        ConfigError, DataError, ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    grid = Grid.of(data, corruptions, severities, reference=reference, max_drop=max_drop)
    images = data if grid.stored is None else grid.stored.samples()
    setup = fresh_setup(Setup.of(model, images, options, deciding(task)))
    grid.check_images(setup.samples)
    rule = CellsRule.of_cells(
        grid.pairs, grid.reference, setup.terms, min_accuracy=min_accuracy, max_drop=max_drop, max_mce=max_mce
    )
    quantity = CORRUPTION_ROBUSTNESS.quantity_of(rule.argument)
    plan = setup.plan(
        quantity.state(grid.about, f", severities {grid.levels}" if grid.levels else "") + of_task(setup.task),
        Corrupting(cells=grid.cells, clean=grid.clean, beside_clean=grid.clean),
        rule if max_drop is None else AboveChanceRule(other=rule, threshold=rule.threshold, terms=setup.terms),
        identity=grid.identity,
        measure=("corruptions", grid.cells if grid.stored is None else grid.pairs),
        adapts=True,
    )
    each = grid.each(setup.terms.alpha, clean=max_drop is not None)
    plan = plan.against(no_worse_than, tolerance, has_threshold=rule.threshold is not None, **each)
    evidence = observe(plan) if setup.model.reset is None else _fresh(plan, setup, grid)
    grid.check_classes(evidence.tally.classes)
    columns, changed = evidence.columns, list[Changed]()
    if grid.clean:
        moved = {cell_column((cell.name, cell.severity)): columns[moved_column(cell)] for cell in grid.cells}
        # The mean of a model that is wrong on every sample that a cell changed.
        worst = rule.mean_of({**columns, **{name: columns[name] & ~one for name, one in moved.items()}})
        changed = [
            Changed(by=str(cell), moved=columns[moved_column(cell)], cut=columns[cut_column(cell)], worst=worst)
            for cell in grid.cells
        ]
    else:
        # Without the clean images nothing tells what a corruption changed: its files are taken at their word.
        changed = [Changed(by=", ".join(grid.names), moved=np.ones(evidence.n, dtype=bool))]
    return finish(
        plan,
        evidence,
        kind=CORRUPTION_ROBUSTNESS,
        quantity=quantity,
        threshold=rule.threshold,
        setting=", ".join(grid.names),
        method=f"{len(grid.cells)} cells{', paired with the clean samples' if grid.clean else ''}",
        notes=() if setup.model.reset is None else (ADAPTS,),
        details=_details(evidence, grid.cells, grid.reference, plan.settings.alpha),
        trivial=rule.mean.scale if quantity.threshold == "max_mce" else None,
        caveats=grid.caveats(mce=quantity.threshold == "max_mce"),
        changed=changed,
        pairing=fall_from(evidence, "clean") if quantity.threshold == "max_drop" else NOT_PAIRED,
    )


@assertion(measure_corruption_robustness)
def assert_corruption_robustness() -> None:
    """Claim that mean accuracy under common corruptions is high, falls little, or that the mCE is low."""


def _fresh(plan: Plan, setup: Setup, grid: Grid) -> Evidence:
    looks = [Corrupting(cells=(), clean=True, beside_clean=True)] if grid.clean else []
    looks += [Corrupting(cells=(cell,), clean=False, beside_clean=grid.clean) for cell in grid.cells]

    def joined(columns: Columns) -> Columns:
        # As `Corrupting` decides for all cells at once: right in at least half of them.
        held = sum(columns[cell_column(pair)].astype(int) for pair in grid.pairs)
        return {**columns, "held": 2 * np.asarray(held) >= len(grid.cells)}

    return observe_fresh(plan, setup, looks, joined)


def _details(evidence: Evidence, cells: Sequence[Cell], reference: ErrorRates | None, alpha: float) -> dict[str, Any]:
    if not evidence.whole:
        return {"cells": len(cells), "without_looking": share_of_largest_class(evidence.columns)}
    n, known = evidence.n, evidence.columns.get("clean")
    clean = None if known is None else float(known.mean())
    rates: dict[tuple[str, int], float] = {}
    table: dict[str, dict[str, Any]] = {cell.name: {} for cell in cells if cell.level is not None}
    by_name: dict[str, list[float]] = {}
    for cell in cells:
        right = int(evidence.columns[cell_column((cell.name, cell.severity))].sum())
        # Bonferroni: the intervals of all cells hold together.
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
        # A corruption without severities has the same error rate at each of them.
        own = {cell.name: cell.severity for cell in cells if cell.level is None}
        errors = {name: [rates[name, own.get(name, severity)] for severity in SEVERITIES] for name in by_name}
        details["errors"] = errors if clean is None else {"clean": [1 - clean], **errors}
    if reference is not None:
        details["mce"] = mean_corruption_error(rates, reference)
        details["relative_mce"] = None if clean is None else relative_mean_corruption_error(rates, 1 - clean, reference)
    return details


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Corruptions at severities; `stored` is a benchmark with their images, `clean` True if it has clean images too."""

    cells: tuple[Cell, ...]
    stored: CorruptedBenchmark | None
    reference: ErrorRates | None
    clean: bool

    @classmethod
    def of(
        cls,
        data: object,
        corruptions: Corruptions,
        severities: Sequence[int],
        *,
        reference: object,
        max_drop: float | None,
    ) -> Grid:
        stored = data if isinstance(data, CorruptedBenchmark) else None
        cells = cells_of(corruptions, severities) if stored is None else stored_cells(stored, corruptions, severities)
        clean = stored is None or stored.clean is not None
        # A drop needs the accuracy before it.
        if max_drop is not None and not clean:
            raise ConfigError(
                "Expected clean images for max_drop but the benchmark has none: benchmark(name, root, clean=...)."
            )
        if reference is None:  # the published error rates of a benchmark that has all cells
            errors = PUBLISHED.get("" if stored is None else stored.baseline)
            reference = errors if errors is not None and all(cell.name in errors for cell in cells) else None
        reference = reference_errors(reference, cells)
        return cls(cells=tuple(cells), stored=stored, reference=reference, clean=clean)

    @property
    def pairs(self) -> list[tuple[str, int]]:
        return [(cell.name, cell.severity) for cell in self.cells]

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(cell.name for cell in self.cells))

    @property
    def levels(self) -> str:
        return ", ".join(str(level) for level in sorted({cell.level for cell in self.cells if cell.level is not None}))

    @property
    def about(self) -> str:
        about = self.names[0] if len(self.names) == 1 else f"{len(self.names)} corruptions"
        return about if self.stored is None else f"{about} of {self.stored.name}"

    @property
    def published(self) -> bool:
        return is_published(self.reference)

    @property
    def identity(self) -> object:
        """Return the key of stored outcomes; None for files, which may change under their names."""
        return ("corruptions", self.cells) if self.stored is None else None

    def check_images(self, samples: Samples) -> None:
        if self.stored is not None or not self.published:
            return
        # One image shows the size of all.
        x, _ = samples.take(torch.zeros(1, dtype=torch.int64))
        if max(x.shape[-2:]) < LARGE:
            raise ConfigError(
                f"Expected images of {LARGE} pixels or more for AlexNet's errors but got {tuple(x.shape[1:])}: smaller "
                "ones are corrupted with other parameters. Give the errors of a model on images like these as "
                "reference=."
            )

    def check_classes(self, classes: int) -> None:
        if self.published and classes != IMAGENET_CLASSES:
            raise ConfigError(
                f"Expected a model of ImageNet's {IMAGENET_CLASSES} classes for AlexNet's errors but it has {classes}: "
                "its errors are of another task. Give those of a model on these data as reference=."
            )

    def each(self, alpha: float, *, clean: bool) -> dict[str, Any]:
        """Return the columns and parts to compare with a baseline."""
        cells = tuple(cell_column(pair) for pair in self.pairs)
        # Also per corruption: a loss under one must not hide behind gains under others.
        parts = tuple((name, tuple(one for one in cells if one.startswith(f"{name}/"))) for name in self.names)
        if clean:
            every = (("all corruptions", cells),) if len(parts) > 1 else ()
            parts = (*every, *parts, ("clean samples", ("clean",)))
            return {"columns": (*cells, "clean"), "parts": parts, "together": False, "level": alpha / len(parts)}
        if len(self.names) == 1:
            return {"columns": cells}
        return {"columns": cells, "parts": parts, "level": alpha / (len(parts) + 1)}

    def caveats(self, *, mce: bool) -> tuple[str, ...]:
        own = self.stored.caveats if self.stored else ()
        as_papers = set(self.names) == set(COMMON_CORRUPTIONS) and self.levels == "1, 2, 3, 4, 5"
        if not self.published or not mce or as_papers:
            return own
        cells = f"{len(self.names)} corruptions and severities {self.levels}"
        return (*own, f"over {cells}, where papers' mCE has 15 and 1 to 5")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A cell of a benchmark's files; `samples` in the order of the data, `severity` in 1..5."""

    name: str
    severity: int
    samples: Samples

    @property
    def level(self) -> int:
        return self.severity

    def __str__(self) -> str:
        return f"{self.name}, severity {self.severity}"

    def shifted(self, chunk: Chunk) -> ShiftedInputs:
        x, y = self.samples.take(chunk.ids)
        low, high = chunk.bounds
        # Files are in 0..1, the model's inputs in its bounds.
        x = (x * (high - low) + low).to(chunk.x.device)
        if x.shape != chunk.x.shape or not torch.equal(y, chunk.y.cpu()):
            raise DataError(
                f"Expected images of {self.name} at severity {self.severity} to be those of the data, "
                f"{tuple(chunk.x.shape)} with their labels, but got {tuple(x.shape)} or other labels."
            )
        if not bool(((x >= low) & (x <= high)).all()):
            raise DataError(
                f"Expected images of {self.name} in [0, 1] but view= gives others. Leave "
                "normalisation to preprocessing=."
            )
        return ShiftedInputs(x, moved_rows(chunk.x, x), torch.zeros_like(chunk.key, dtype=torch.bool))


Cell = Shift | Stored
Corruptions = str | Shift | ShiftFunction | Sequence[str | Shift | ShiftFunction]
T = TypeVar("T", Shift, Stored)


def moved_column(cell: Cell) -> str:
    """Return the name of the column of samples that a cell changes."""
    return f"moved {cell_column((cell.name, cell.severity))}"


def cut_column(cell: Cell) -> str:
    """Return the name of the column of `ShiftedInputs.cut`."""
    return f"cut {cell_column((cell.name, cell.severity))}"


def cells_of(corruptions: Corruptions, severities: Sequence[int]) -> list[Shift]:
    """Return shifts at severities; "common" stands for 15 corruptions, "all" for ImageNet-C's 19."""
    sets = {"common": COMMON_CORRUPTIONS, "all": CORRUPTIONS}
    if isinstance(corruptions, str):
        chosen: Sequence[str | Shift | ShiftFunction] = sets.get(corruptions, [corruptions])
    else:
        chosen = [corruptions] if isinstance(corruptions, Shift) or callable(corruptions) else list(corruptions)
    cells = []
    for one in dict.fromkeys(chosen):
        at = [as_shift(one, severity) for severity in dict.fromkeys(severities)]
        # A function without a severity argument is one cell: five would be identical.
        cells += at if all(cell.level is not None for cell in at) else at[:1]
    return _checked_once(cells)


def stored_cells(stored: CorruptedBenchmark, corruptions: Corruptions, severities: Sequence[int]) -> list[Stored]:
    """Return the cells of a benchmark; "common" stands for its common corruptions, or else for all."""
    if corruptions == "common":
        corruptions = [name for name in stored.corruptions if name in COMMON_CORRUPTIONS] or stored.corruptions
    given = stored.corruptions if corruptions == "all" else corruptions
    names = []
    for name in given if isinstance(given, Sequence) and not isinstance(given, str) else [given]:
        if name not in stored.corruptions:
            raise unknown(f"corruption of {stored.name}", str(name), stored.corruptions)
        names.append(str(name))
    for severity in severities:
        if severity not in {level for _, level in stored.cells}:
            raise ConfigError(f"Expected severities of 1..5 but got {severity!r}.")
    return _checked_once(
        [
            Stored(name=name, severity=severity, samples=stored.cells[name, severity])
            for name in dict.fromkeys(names)
            for severity in dict.fromkeys(severities)
        ]
    )


def _checked_once(cells: list[T]) -> list[T]:
    if not cells:
        raise ConfigError("Expected one corruption and one severity or more but got none.")
    # The same corruption twice would count double in every mean.
    twice = [name for (name, _), count in Counter((one.name, one.severity) for one in cells).items() if count > 1]
    if twice:
        raise ConfigError(f"Expected each corruption once but got {twice[0]!r} twice. Write an assertion for each.")
    return cells


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupting:
    """Predictions of a chunk, clean and in every cell; each right sample's most confident error may be shown.

    Attributes:
        clean: True to evaluate the chunk's images too.
        beside_clean: True if the chunk's images are clean, so that an equal cell changes nothing.
    """

    cells: tuple[Cell, ...]
    clean: bool
    beside_clean: bool

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        task, columns = evaluator.task, {}
        clean, right = None, torch.ones(len(chunk.y), dtype=torch.bool, device=chunk.y.device)
        if self.clean:
            before = evaluator.judge(chunk.x, chunk.y)
            clean, right = before.predicted, before.holds
            columns["clean"] = right
            if top_of(task):
                columns["label"] = chunk.y
        count = torch.zeros(len(chunk.y), device=chunk.y.device)
        exhibits: list[Exhibit] = []
        for cell in self.cells:
            # Shifts move targets that are places; a benchmark's files have the labels of the data.
            if isinstance(cell, Shift):
                changed = cell.shifted(chunk.x, chunk.key, chunk.bounds, chunk.coding, chunk.sample_rate)
                moved = follow_targets(task, cell, chunk.x, chunk.y, chunk.key, bounds=chunk.bounds)
            else:
                changed, moved = cell.shifted(chunk), chunk.y
            after = changed.x
            if not self.beside_clean and torch.equal(after, chunk.x):
                after = chunk.x  # the data are one of the cells
            if self.beside_clean:
                columns |= {moved_column(cell): changed.moved, cut_column(cell): changed.cut}
            judgement = evaluator.judge(after, moved)
            held, predicted = judgement.holds, judgement.predicted
            columns[cell_column((cell.name, cell.severity))] = held
            count += held
            exhibits += exhibits_of(
                evaluator,
                chunk,
                right & ~held,
                clean=predicted if clean is None else clean,
                predicted=predicted,
                before=after if clean is None else chunk.x,
                after=after,
                badness=-judgement.margin,
                size=cell.level,
                moved=moved,
            )
            # One exhibit a sample, and cut after every cell, so that memory does not grow with the cells.
            kept: dict[int, Exhibit] = {}
            for exhibit in sorted(exhibits, key=lambda e: -e.badness):
                kept.setdefault(exhibit.index, exhibit)
            exhibits = list(kept.values())[: evaluator.examples]
        columns["held"] = 2 * count >= len(self.cells)
        return Observation(columns, exhibits)


def reference_errors(reference: object, cells: Sequence[Cell]) -> ErrorRates | None:
    """Return the reference's error rates for all cells.

    Raises:
        StoreError: the file cannot be read.
        ConfigError: a corruption is missing, or its rates are invalid.
    """
    errors = PUBLISHED.get(reference, reference) if isinstance(reference, str) else reference
    if errors is None:
        return None
    if isinstance(errors, (str, os.PathLike)):
        try:
            errors = json.loads(Path(errors).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise StoreError(f"Expected error rates as JSON in {reference} but got: {error}") from error
    if not isinstance(errors, Mapping):
        raise ConfigError(expected("reference to map corruptions to error rates", errors))
    for cell in cells:
        rates = errors.get(cell.name)
        if not isinstance(rates, Sequence) or len(rates) != 5 or not all(map(_is_rate, rates)):
            raise ConfigError(expected(f"reference to hold five error rates in 0..1 for {cell.name!r}", rates))
    for name in {cell.name for cell in cells}:
        # The mCE divides by this sum.
        if not sum(errors[name][cell.severity - 1] for cell in cells if cell.name == name) > 0:
            raise ConfigError(
                f"Expected a reference that errs under {name!r}: its errors are what ours are divided by."
            )
    # The same object, so that `is_published` still recognises it.
    if is_published(errors):
        return errors
    return {str(name): [float(rate) for rate in rates] for name, rates in errors.items()}


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def is_published(errors: ErrorRates | None) -> bool:
    """Return True for published error rates."""
    return any(errors is one for one in PUBLISHED.values())
