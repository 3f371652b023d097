"""One evaluator, what is done with each chunk, and what that took."""

from __future__ import annotations

import time
from collections.abc import Callable

from robustest.engine.chunks import Chunk, check_forward
from robustest.engine.draws import seed_draws
from robustest.engine.evaluator import Evaluator
from robustest.engine.precision import choose
from robustest.engine.truth import probe_gradient
from robustest.run.evidence import Observed, Tally
from robustest.settings import Settings

_ROWS, _ROWS_LATER = 8, 4
"""Samples of the first chunk, and of later ones, whose gradients are asked for the truth."""

Look = Callable[[Evaluator, Chunk], Observed]


class Bench:
    """Measures with one evaluator, and tells what it took.

    Attributes:
        evaluator: makes the model's passes.
        look: what is done with a chunk.
    """

    def __init__(self, evaluator: Evaluator, settings: Settings, look: Look) -> None:
        self.evaluator = evaluator
        self.look = look
        self._busy = False
        self._settings = settings

    def measure(self, chunk: Chunk, *, first: bool) -> tuple[Observed, Tally]:
        """Look at a chunk.

        What comes before (replayed counterexamples, checks of the model) is counted with the first chunk of the order
        alone, so that a run that was resumed later, or shared by workers, adds up to the same cost.
        """
        started, before = time.perf_counter(), Tally.of(self.evaluator) if self._busy else Tally()
        seed_draws(chunk.key)
        if first or not self._busy:
            check_forward(self.evaluator, chunk, self._settings.suppress)
            choose(self.evaluator, chunk, self._settings.precision)
            self._busy = True
            seed_draws(chunk.key)  # a randomised model drew in these passes too, and how many there are may vary
            if not first:
                before = Tally.of(self.evaluator)
        self.evaluator.check_labels(chunk.y)
        self.evaluator.probed, self.evaluator.probe_rows = False, _ROWS if first else _ROWS_LATER
        backward = self.evaluator.backward
        observed = self.look(self.evaluator, chunk)
        if self.evaluator.backward > backward and not self.evaluator.probed:  # so that no claim forgets it
            probe_gradient(self.evaluator, chunk, searched=False)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)

    def counted(self, make: Callable[[Evaluator], Observed]) -> tuple[Observed, Tally]:
        """Do something else with the model."""
        started, before = time.perf_counter(), Tally.of(self.evaluator)
        observed = make(self.evaluator)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)
