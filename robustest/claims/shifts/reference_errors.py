"""The errors of another model that a mean corruption error is relative to: a user's, or published ones."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from robustest.claims.shifts.cells import Cell
from robustest.data import Samples
from robustest.data.benchmarks import CorruptedBenchmark
from robustest.data.benchmarks.corrupted import IMAGENET_CLASSES, PUBLISHED
from robustest.decisions.corruption_error import ErrorRates
from robustest.errors import ConfigError, StoreError, expected
from robustest.shifts import COMMON_CORRUPTIONS
from robustest.shifts.tables import LARGE


def published_of(stored: CorruptedBenchmark | None, cells: Sequence[Cell]) -> ErrorRates | None:
    """The errors that a benchmark's mCE is relative to, where there are some of all of these cells."""
    errors = PUBLISHED.get("" if stored is None else stored.baseline)
    return errors if errors is not None and all(cell.name in errors for cell in cells) else None


def reference_errors(reference: object, cells: Sequence[Cell]) -> ErrorRates | None:
    """The reference's error rates, all that the cells need.

    Raises:
        StoreError: the file cannot be read.
        ConfigError: it lacks a corruption, or a severity's rates are no numbers in 0..1 that sum to more than 0.
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
        if not sum(errors[name][cell.severity - 1] for cell in cells if cell.name == name) > 0:
            raise ConfigError(
                f"Expected a reference that errs under {name!r}: its errors are what ours are divided by."
            )
    if is_published(errors):
        return errors
    return {str(name): [float(rate) for rate in rates] for name, rates in errors.items()}


def _is_rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def is_published(errors: ErrorRates | None) -> bool:
    """Whether errors are those that papers' mCE is relative to."""
    return any(errors is one for one in PUBLISHED.values())


def check_size(samples: Samples) -> None:
    """Refuse to compare small images with AlexNet's errors on large ones.

    Raises:
        ConfigError: they are corrupted with parameters for other sizes.
    """
    x, _ = samples.take(torch.zeros(1, dtype=torch.int64))
    if max(x.shape[-2:]) < LARGE:
        raise ConfigError(
            f"Expected images of {LARGE} pixels or more for AlexNet's errors but got "
            f"{tuple(x.shape[1:])}: smaller ones are corrupted with other parameters. Give the errors of a model on "
            "images like these as reference=."
        )


def check_classes(classes: int) -> None:
    """Refuse to compare a model of other classes with AlexNet's errors.

    Raises:
        ConfigError: it has not ImageNet's 1,000.
    """
    if classes != IMAGENET_CLASSES:
        raise ConfigError(
            f"Expected a model of ImageNet's {IMAGENET_CLASSES} classes for AlexNet's errors but it has {classes}: its "
            "errors are of another task. Give those of a model on these data as reference=."
        )


def not_the_papers(names: Sequence[str], levels: str) -> tuple[str, ...]:
    """What a line must say of an mCE that is not the papers'."""
    if set(names) == set(COMMON_CORRUPTIONS) and levels == "1, 2, 3, 4, 5":
        return ()
    return (f"over {len(names)} corruptions and severities {levels}, where papers' mCE has 15 and 1 to 5",)
