"""From a claim to its observations: the samples in seeded order, chunk by chunk, through the engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import context, rng
from robustest.data import Samples
from robustest.engine.chunks import Chunk, check_forward, load, partition
from robustest.engine.device import resolve
from robustest.engine.draws import seed_draws
from robustest.engine.evaluator import Evaluator
from robustest.engine.health import Finding
from robustest.engine.precision import choose
from robustest.models import Classifier, frozen
from robustest.results import Cost
from robustest.settings import Settings

Columns = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One sample that may be shown: what it was, what it became.

    Attributes:
        index: position in the user's data.
        label, clean, predicted: classes: given, of the unchanged, of the changed sample.
        size: how far it was moved, or None.
        before, after: (*S) arrays, unchanged and changed.
        badness: larger is worse; the worst are shown.
    """

    index: int
    label: int
    clean: int
    predicted: int
    size: float | None
    before: Tensor
    after: Tensor
    badness: float


@dataclass(frozen=True, slots=True)
class Observed:
    """What one chunk showed.

    Attributes:
        columns: per-sample arrays, rows as in the chunk; "held" (bool) is always there.
        exhibits: samples that speak against the claim.
    """

    columns: Columns
    exhibits: list[Exhibit]


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything a verdict and a result are made of.

    Attributes:
        columns: per-sample arrays in the order of the data.
        exhibits: the worst samples, worst first.
        cost: what it took.
        notes: what a reader must know.
        classes: number of classes.
        bounds: the input's bounds.
        health: the health checks that spoke.
    """

    columns: Columns
    exhibits: list[Exhibit]
    cost: Cost
    notes: tuple[str, ...]
    classes: int
    bounds: tuple[float, float]
    health: tuple[Finding, ...] = ()

    @property
    def n(self) -> int:
        """Number of samples evaluated."""
        return len(self.columns["held"])

    @property
    def outcomes(self) -> tuple[bool | None, ...]:
        """True held, False broken, in the data's order."""
        return tuple(bool(held) for held in self.columns["held"])


def exhibits_of(
    chunk: Chunk,
    which: Tensor,
    *,
    clean: Tensor,
    predicted: Tensor,
    before: Tensor,
    after: Tensor,
    badness: Tensor,
    size: Tensor | float | None,
    most: int = 16,
) -> list[Exhibit]:
    """The worst of a chunk's rows that `which` (n,) marks; other tensors are rows of the chunk too."""
    rows = which.nonzero().squeeze(1)
    rows = rows[badness[rows].argsort(descending=True)][:most]
    return [
        Exhibit(
            index=int(chunk.ids[row]),
            label=int(chunk.y[row]),
            clean=int(clean[row]),
            predicted=int(predicted[row]),
            size=float(size[row]) if isinstance(size, Tensor) else size,
            before=before[row].cpu(),
            after=after[row].cpu(),
            badness=float(badness[row]),
        )
        for row in rows.tolist()
    ]


Observe = Callable[[Evaluator, Chunk], Observed]


def observe(statement: str, model: Classifier, samples: Samples, settings: Settings, look: Observe) -> Evidence:
    """Run `look` on every chunk of the samples, with the model frozen, and gather what it saw.

    Args:
        statement: the claim in words, for the progress display.
        model: the classifier.
        samples: the data.
        settings: device, seed, batch size, examples.
        look: what to do with a chunk.

    Raises:
        RobustestError: something could not be measured; the model is as it was.
    """
    started = time.perf_counter()
    device = resolve(settings.device, model.device)
    order = rng.permutation(settings.seed, len(samples))
    parts: list[Columns] = []
    exhibits: list[Exhibit] = []
    with torch.inference_mode(False), frozen(model.module) as notes:
        evaluator = Evaluator(model, device, batch_size=settings.batch_size, suppress=settings.suppress, notes=notes)
        for chunk in _chunks(samples, order, model.bounds, settings.seed, device):
            seed_draws(chunk.key)
            if not parts:
                check_forward(evaluator, chunk, settings.suppress)
                choose(evaluator, chunk, settings.precision)
                seed_draws(chunk.key)  # a randomised model drew in these passes too, and how many there are may vary
            evaluator.check_labels(chunk.y)
            seen = look(evaluator, chunk)
            evaluator.settle()
            parts.append(seen.columns)
            exhibits = sorted([*exhibits, *seen.exhibits], key=lambda e: -e.badness)[: settings.examples]
            _tell_progress(statement, parts, len(samples))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    back = np.argsort(order.numpy())
    cost = Cost(forward=evaluator.forward, backward=evaluator.backward, seconds=time.perf_counter() - started)
    return Evidence(
        {name: column[back] for name, column in columns.items()},
        exhibits,
        cost,
        tuple(notes),
        evaluator.classes,
        model.bounds,
        evaluator.health.findings(settings.suppress),
    )


def _chunks(
    samples: Samples, order: Tensor, bounds: tuple[float, float], seed: int, device: torch.device
) -> Iterator[Chunk]:
    for ids in partition(order):
        yield load(samples, ids, bounds=bounds, seed=seed, device=device)


def _tell_progress(statement: str, parts: list[Columns], total: int) -> None:
    tell = context.current().progress
    if tell is not None:
        done = sum(len(part["held"]) for part in parts)
        tell(statement, done, total, done - sum(int(part["held"].sum()) for part in parts))
