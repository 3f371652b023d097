"""Robustness to common corruptions: accuracy by corruption and severity, and the mean corruption error."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.data import as_samples
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.engine.search import margins
from robustest.errors import ConfigError, StoreError, expected
from robustest.measurements.driver import observe
from robustest.measurements.finish import result_of
from robustest.measurements.observed import Evidence, Exhibit, Observed, exhibits_of
from robustest.measurements.options import Options, apply, terms_of
from robustest.results import Result
from robustest.shifts import COMMON_CORRUPTIONS, CORRUPTIONS, Shift, as_shift
from robustest.verdicts import Decision, MeanClaim, Settled, Terms, checked_threshold, clopper_pearson
from robustest.verdicts.claims import Columns

SEVERITIES = (1, 2, 3, 4, 5)
Errors = Mapping[str, Sequence[float]]
"""Error rates of another model: by corruption, one for each severity 1..5, in 0..1."""


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
        **options: see `robustest.measurements.options.Options`.

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
    classifier, settings = apply(model, options)
    claim = CellsClaim.of(
        cells, reference, terms_of(settings), min_accuracy=min_accuracy, max_drop=max_drop, max_mce=max_mce
    )

    look = partial(corrupt_chunk, cells=cells, examples=settings.examples)
    names = list(dict.fromkeys(cell.name for cell in cells))
    about = names[0] if len(names) == 1 else f"{len(names)} corruptions"
    levels = ", ".join(str(level) for level in sorted({cell.severity for cell in cells}))
    statement = f"{claim.quantity} over {about}, severities {levels}"
    identity = ("corruptions", tuple(cells))
    evidence = observe(statement, classifier, as_samples(data), settings, look, claim=claim, identity=identity)
    return result_of(
        evidence,
        evidence.decision,
        settings,
        claim="corruption_robustness",
        statement=statement if claim.threshold is None else f"{statement} {claim.comparison} {claim.threshold:g}",
        quantity=claim.quantity,
        threshold=claim.threshold,
        comparison=claim.comparison,
        setting=", ".join(names),
        method=f"{len(cells)} cells, paired with the clean samples",
        details=_details(evidence, cells, reference, settings.alpha),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CellsClaim:
    """A claim on a weighted mean over samples and cells (a corruption at a severity).

    Attributes:
        quantity, threshold, comparison: as in `Result`.
        cells: columns of outcomes.
        weights: of each cell's errors in a sample's value; they sum to 1.
        paired: whether the clean sample's outcome counts against them.
        mean: the claim on the values.
    """

    quantity: str
    threshold: float | None
    comparison: str
    cells: tuple[str, ...]
    weights: tuple[float, ...]
    paired: bool
    mean: MeanClaim

    @classmethod
    def of(
        cls,
        cells: Sequence[Shift],
        reference: Errors | None,
        terms: Terms,
        *,
        min_accuracy: float | None,
        max_drop: float | None,
        max_mce: float | None,
    ) -> CellsClaim:
        """The claim that the thresholds make.

        Raises:
            ConfigError: a threshold is out of range, there is more than one, or the mCE lacks a baseline.
        """
        given = [name for name, value in _thresholds(min_accuracy, max_drop, max_mce).items() if value is not None]
        if len(given) > 1:
            raise ConfigError(f"Expected one threshold but got {' and '.join(given)}. Write an assertion for each.")
        columns, equal = tuple(map(_column, cells)), tuple(1 / len(cells) for _ in cells)
        if max_mce is not None:
            if isinstance(max_mce, bool) or not isinstance(max_mce, (int, float)) or not 0 < max_mce < math.inf:
                raise ConfigError(expected("max_mce to be a number > 0", max_mce, "1 is as good as the baseline."))
            if reference is None:
                raise ConfigError("Expected baseline= for max_mce: it is a share of another model's errors.")
            raw = _mce_weights(cells, reference)
            scale = math.fsum(raw)
            mean = MeanClaim(threshold=max_mce / scale, terms=terms, scale=scale)
            weights = tuple(weight / scale for weight in raw)
            return cls(
                quantity="mean corruption error",
                threshold=max_mce,
                comparison="<=",
                cells=columns,
                weights=weights,
                paired=False,
                mean=mean,
            )
        if max_drop is not None:
            limit = checked_threshold("max_drop", max_drop)
            mean = MeanClaim(threshold=limit, terms=terms)
            return cls(
                quantity="mean accuracy drop",
                threshold=limit,
                comparison="<=",
                cells=columns,
                weights=equal,
                paired=True,
                mean=mean,
            )
        least = None if min_accuracy is None else checked_threshold("min_accuracy", min_accuracy)
        mean = MeanClaim(threshold=None if least is None else -least, terms=terms, sign=-1)
        return cls(
            quantity="mean accuracy",
            threshold=least,
            comparison=">=",
            cells=columns,
            weights=equal,
            paired=False,
            mean=mean,
        )

    def settled(self, columns: Columns, n: int) -> Settled | None:
        """As `Claim.settled`."""
        return self.mean.settled({"value": self._value(columns)}, n)

    def decide(self, columns: Columns, n: int, settled: Settled | None) -> Decision:
        """As `Claim.decide`."""
        return self.mean.decide({"value": self._value(columns)}, n, settled)

    def doomed(self, broken: int, n: int) -> bool:
        """As `Claim.doomed`; no corruption is known before it is applied."""
        return False

    def _value(self, columns: Columns) -> NDArray[np.float64]:
        """(t,) what a claim on the mean is about: errors; the fall from clean; accuracy, negated."""
        error = sum(w * ~columns[name] for w, name in zip(self.weights, self.cells, strict=True))
        value = np.asarray(error, dtype=np.float64)
        if self.paired:
            return value - (~columns["clean"]).astype(np.float64)
        return value - 1 if self.mean.sign < 0 else value


def corrupt_chunk(evaluator: Evaluator, chunk: Chunk, cells: Sequence[Shift], *, examples: int) -> Observed:
    """Predictions of a chunk, clean and in every cell; each right sample's most confident error may be shown."""
    clean = evaluator.logits(chunk.x).argmax(1)
    columns: dict[str, Tensor] = {"clean": clean == chunk.y}
    count = torch.zeros(len(clean), device=clean.device)
    exhibits: list[Exhibit] = []
    for cell in cells:
        after = cell.apply(chunk.x, chunk.key, chunk.bounds)
        logits = evaluator.logits(after)
        predicted = logits.argmax(1)
        columns[_column(cell)] = predicted == chunk.y
        count += predicted == chunk.y
        exhibits += exhibits_of(
            chunk,
            (predicted != chunk.y) & (clean == chunk.y),
            clean=clean,
            predicted=predicted,
            before=chunk.x,
            after=after,
            badness=-margins(logits, chunk.y),
            size=float(cell.severity),
            most=examples,
        )
        exhibits = _one_a_sample(exhibits)[:examples]
    columns["held"] = 2 * count >= len(cells)
    return Observed({name: column.cpu().numpy() for name, column in columns.items()}, exhibits)


def _one_a_sample(exhibits: list[Exhibit]) -> list[Exhibit]:
    """Worst first, each sample once."""
    kept: dict[int, Exhibit] = {}
    for exhibit in sorted(exhibits, key=lambda e: -e.badness):
        kept.setdefault(exhibit.index, exhibit)
    return list(kept.values())


def _column(cell: Shift) -> str:
    return f"{cell.name}/{cell.severity}"


def _cells(corruptions: str | Sequence[str], severities: Sequence[int]) -> list[Shift]:
    sets = {"common": COMMON_CORRUPTIONS, "all": CORRUPTIONS}
    names = sets.get(corruptions, [corruptions]) if isinstance(corruptions, str) else list(corruptions)
    cells = [as_shift(name, severity) for name in dict.fromkeys(names) for severity in dict.fromkeys(severities)]
    if not cells:
        raise ConfigError("Expected one corruption and one severity or more but got none.")
    return cells


def _thresholds(min_accuracy: float | None, max_drop: float | None, max_mce: float | None) -> dict[str, float | None]:
    return {"min_accuracy": min_accuracy, "max_drop": max_drop, "max_mce": max_mce}


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
        if not isinstance(rates, Sequence) or len(rates) != 5 or not all(0 <= rate <= 1 for rate in rates):
            raise ConfigError(expected(f"baseline to hold five error rates in 0..1 for {cell.name!r}", rates))
    for name in {cell.name for cell in cells}:
        if not sum(errors[name][cell.severity - 1] for cell in cells if cell.name == name) > 0:
            raise ConfigError(f"Expected a baseline that errs under {name!r}: its errors are what ours are divided by.")
    return {str(name): [float(rate) for rate in rates] for name, rates in errors.items()}


def _mce_weights(cells: Sequence[Shift], reference: Errors) -> list[float]:
    """Of each cell's error rate in the mCE."""
    names = {cell.name for cell in cells}
    total = {n: math.fsum(reference[n][cell.severity - 1] for cell in cells if cell.name == n) for n in names}
    return [1 / (len(names) * total[cell.name]) for cell in cells]


def _details(evidence: Evidence, cells: Sequence[Shift], reference: Errors | None, alpha: float) -> dict[str, Any]:
    """Numbers by corruption and severity; rates only where every sample was looked at."""
    if not evidence.whole:
        return {"cells": len(cells)}
    right = {_column(cell): int(evidence.columns[_column(cell)].sum()) for cell in cells}
    clean, n = float(evidence.columns["clean"].mean()), evidence.n
    names = list(dict.fromkeys(cell.name for cell in cells))
    table: dict[str, dict[str, Any]] = {name: {} for name in names}
    for cell in cells:
        count = right[_column(cell)]
        interval = clopper_pearson(count, n, alpha / len(cells))
        table[cell.name][str(cell.severity)] = {"accuracy": count / n, "interval": list(interval)}
    means = {name: float(np.mean([entry["accuracy"] for entry in table[name].values()])) for name in names}
    worst = min(names, key=lambda name: means[name])
    details: dict[str, Any] = {
        "clean_accuracy": clean,
        "by_severity": table,
        "by_corruption": means,
        "worst_corruption": worst,
        "cells": len(cells),
    }
    if {cell.severity for cell in cells} == set(SEVERITIES):
        rates = {name: [1 - entry["accuracy"] for entry in table[name].values()] for name in names}
        details["errors"] = {"clean": [1 - clean], **rates}
    if reference is not None:
        weights = _mce_weights(cells, reference)
        details["mce"] = math.fsum(w * (1 - right[_column(c)] / n) for w, c in zip(weights, cells, strict=True))
        details["relative_mce"] = _relative(cells, right, n, clean, reference)
    return details


def _relative(
    cells: Sequence[Shift], right: Mapping[str, int], n: int, clean: float, reference: Errors
) -> float | None:
    """The relative mCE; None where the baseline's clean error is not known, or it loses nothing to a corruption."""
    if "clean" not in reference:
        return None
    ratios = []
    for name in {cell.name for cell in cells}:
        own = [cell for cell in cells if cell.name == name]
        lost = math.fsum(clean - right[_column(cell)] / n for cell in own)
        base = math.fsum(reference[name][cell.severity - 1] - reference["clean"][0] for cell in own)
        if base <= 0:
            return None
        ratios.append(lost / base)
    return math.fsum(ratios) / len(ratios)
