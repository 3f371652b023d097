"""The driver with 1,000 workers that do not exist: its real schedule, on a clock that is simulated.

Workers take a time drawn for each chunk: a constant per sample, a lognormal spread, now and then a straggler that
takes ten times as long; some are lost in the middle of a chunk, which is then done again. What counts: that every chunk
is read once and in order, how near the run comes to the sum of the work over the workers, how many chunks a second the
driver itself can schedule, and whether what it holds grows with the number of chunks.

    python benchmarks/scale.py
"""

from __future__ import annotations

import heapq
import random
import resource
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from robustest.engine.chunks import partition
from robustest.measurements.schedule import Schedule, Task

PER_SAMPLE = 0.02
"""Simulated seconds: about what `standard` takes of a small network on one thread."""


@dataclass
class Result:
    """A chunk that was measured."""

    place: int
    samples: int


class Simulated:
    """An engine of workers on a simulated clock; `seconds` is where it has come to."""

    kind, remote = "cpu", True

    def __init__(self, workers: int, *, straggle: float, lose: float) -> None:
        self.seconds = self.work = 0.0
        self.lost = 0
        self._workers = workers
        self._straggle, self._lose = straggle, lose
        self._random = random.Random(0)

    def put(self, job: Any) -> object:
        return job

    def imap_unordered(self, job: Any, tasks: Iterable[Task]) -> Iterator[Result]:
        queue, running = iter(tasks), []
        while True:
            while len(running) < self._workers and (task := next(queue, None)) is not None:
                heapq.heappush(running, (self.seconds + self._takes(task), task.place, len(task.ids)))
            if not running:
                return
            self.seconds, place, samples = heapq.heappop(running)
            yield Result(place, samples)

    def _takes(self, task: Task) -> float:
        """Seconds until a chunk is there, with the attempts that were lost."""
        took = PER_SAMPLE * len(task.ids) * self._random.lognormvariate(0, 0.2)
        self.work += took
        if self._random.random() < self._straggle:
            took *= 10
        while self._random.random() < self._lose:
            self.lost += 1
            took += took * self._random.random() + 10  # what was done, and a new worker
        return took

    def cancel(self) -> None:
        """Nothing to drop."""

    def close(self) -> None:
        """Nothing to end."""


class Forgetful:
    """Remembers nothing, measures everything."""

    def recalled(self, task: Task) -> Result | None:
        return None

    def alone(self, task: Task) -> bool:
        return False

    def begin(self) -> bool:
        return True

    def job(self) -> object:
        return None

    def arrived(self, result: Result) -> Result:
        return result


def run(samples: int, workers: int, *, straggle: float = 0.0, lose: float = 0.0, size: int | None = None) -> None:
    """One run; `size` takes chunks of one size instead of the driver's own."""
    order = torch.arange(samples)
    parts = partition(order) if size is None else iter(order.split(size))
    engine = Simulated(workers, straggle=straggle, lose=lose)
    started, chunks, read = time.perf_counter(), 0, 0
    for result in Schedule(parts, engine, Forgetful()).results():
        assert result.place == chunks
        chunks, read = chunks + 1, read + result.samples
    spent = time.perf_counter() - started
    assert read == samples
    print(
        f"{samples:8d} samples {workers:5d} workers, stragglers {straggle:4.0%}, lost {lose:4.0%}: {chunks:6d} chunks, "
        f"{engine.seconds:8.0f} s simulated ({engine.work / min(workers, chunks):8.0f} s of work each), "
        f"{engine.lost:4d} lost; driver {chunks / spent:8.0f} chunks/s, peak {peak():4.0f} MiB",
        flush=True,
    )


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    for samples in (1000, 10_000, 50_000, 100_000):
        run(samples, 8)
    for workers in (8, 64, 1000):
        run(50_000, workers, straggle=0.01, lose=0.01)
    run(1_000_000, 1000, size=64)
    run(1_000_000, 1000, straggle=0.01, lose=0.01, size=64)
