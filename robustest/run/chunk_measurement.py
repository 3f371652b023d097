"""One evaluator, what is done with each chunk, and what that took."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from typing import Protocol, runtime_checkable

from torch import Tensor

from robustest.data import Samples
from robustest.decisions.strata import STRATUM
from robustest.engine.answer_checks import EarlyAnswers, ask_again, check_model
from robustest.engine.chunks import Chunk, load
from robustest.engine.evaluator import Evaluator, choose_precision, seed_draws
from robustest.engine.gradient_checks import probe_gradient
from robustest.run.evidence import Observed, Tally
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.tasks import Stratified, Task

_ROWS, _ROWS_LATER = 8, 4
"""Samples of the first chunk, and of later ones, whose gradients are asked for the truth."""


@runtime_checkable
class Searching(Protocol):
    """A look that searches for counterexamples of one model, which can be tried on another."""

    def keeping(self) -> Look:
        """Return the same look, with the input of every sample that it breaks in `Observed.kept`."""

    def tried(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observed:
        """Return what becomes of a chunk's samples at inputs that a search on another model has found, row by row."""


# A look that takes no gradients may have `whole_inputs = True`: its samples may then be whole numbers, such as tokens.
Look = Callable[[Evaluator, Chunk], Observed]


def stratified(observed: Observed, task: Task, chunk: Chunk) -> Observed:
    """Return what a chunk showed with the column of its strata, where the task has some; see `robustest.rules.strata`.

    Every row of a run must have the same columns: those that are measured, and those of replayed counterexamples.
    """
    if not isinstance(task, Stratified):
        return observed
    return replace(observed, columns={**observed.columns, STRATUM: task.strata(chunk.y).cpu().numpy()})


class ModelBench:
    """Measures chunks of samples with one evaluator, and tells what it took.

    Attributes:
        evaluator: makes the model's passes.
        settings: seed, precision, health checks that are switched off.
        look: what is done with a chunk.
        samples: the data.
    """

    def __init__(self, evaluator: Evaluator, settings: Settings, look: Look, samples: Samples) -> None:
        self.evaluator = evaluator
        self.settings = settings
        self.look = look
        self.samples = samples
        self._busy = False
        self._asked: EarlyAnswers | None = None

    def load(self, ids: Tensor) -> Chunk:
        """Read samples by their positions (n,) int64.

        Raises:
            DataError: as `robustest.engine.chunks.load`.
        """
        evaluator = self.evaluator
        bounds = evaluator.model.bounds
        whole = bool(getattr(self.look, "whole_inputs", False))
        chunk = load(self.samples, ids, bounds=bounds, seed=self.settings.seed, device=evaluator.device, whole=whole)
        if chunk.bounds != bounds:  # of whole numbers, such as tokens: the model is to be given such again
            evaluator.model = replace(evaluator.model, whole=True)
        return chunk

    def digests(self, chunk: Chunk) -> list[bytes]:
        """What tells each sample, with its target, from others: its shape, its type and its values."""
        x, y = chunk.x.cpu().contiguous().numpy(), chunk.y.cpu().contiguous().numpy()
        shape = f"{y.shape[1:]} " if y.ndim > 1 else ""
        about = f"{x.dtype.str} {x.shape[1:]} {y.dtype.str} {shape}".encode()
        return [sha256(about + a.tobytes() + b.tobytes()).digest() for a, b in zip(x, y, strict=True)]

    def measure(self, chunk: Chunk, *, first: bool) -> tuple[Observed, Tally]:
        """Look at a chunk.

        What comes before (replayed counterexamples, checks of the model) is counted with the first chunk of the order
        alone, so that a run that was resumed later, or shared by workers, adds up to the same cost.
        """
        started, before = time.perf_counter(), Tally.of(self.evaluator) if self._busy else Tally()
        seed_draws(chunk.key)
        if first or not self._busy:
            self._asked = check_model(self.evaluator, chunk, self.settings.suppress, first_of_all=first)
            choose_precision(self.evaluator, chunk.x, chunk.y, self.settings.precision)
            self._busy = True
            seed_draws(chunk.key)  # a randomised model drew in these passes too, and how many there are may vary
            if not first:
                before = Tally.of(self.evaluator)
        self.evaluator.check_labels(chunk.y)
        self.evaluator.probed, self.evaluator.probe_rows = False, _ROWS if first else _ROWS_LATER
        backward = self.evaluator.backward
        observed = stratified(self.look(self.evaluator, chunk), self.evaluator.task, chunk)
        if self.evaluator.backward > backward and not self.evaluator.probed:  # so that no claim forgets it
            probe_gradient(self.evaluator, chunk, searched=False)
        ask_again(self.evaluator, self._asked)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)

    def counted(self, make: Callable[[Evaluator], Observed]) -> tuple[Observed, Tally]:
        """Do something else with the model."""
        started, before = time.perf_counter(), Tally.of(self.evaluator)
        observed = make(self.evaluator)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)
