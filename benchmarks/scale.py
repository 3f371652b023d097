"""The driver with 1,000 workers that do not exist: its real schedule, on a clock that is simulated.

Workers take a time drawn for each chunk: a constant per sample, a lognormal spread, now and then a straggler that
takes ten times as long; some are lost in the middle of a chunk, which is then done again. What counts: that every chunk
is read once and in order, how near the run comes to the sum of the work over the workers, how many chunks a second the
driver itself can schedule, and whether what it holds grows with the number of chunks.

With `--ray`, wall seconds of one claim of a minute or more (`standard`, the quickstart's robust net, 3,000 digits) on
this process, on one worker of a Ray cluster and on two, in turn; one thread each. Needs robustest-ray, two idle cores.

    python benchmarks/scale.py
    OMP_NUM_THREADS=1 python benchmarks/scale.py --ray [rounds]
"""

from __future__ import annotations

import heapq
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from robustest import Factory, Linf, Result, Settings, context
from robustest.engine.chunks import partition
from robustest.measure import measure_robust_accuracy
from robustest.run.schedule import in_order
from robustest.run.workers import Work

PER_SAMPLE = 0.02
"""Simulated seconds: about what `standard` takes of a small network on one thread."""


@dataclass
class Measured:
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

    def imap_unordered(self, job: Any, tasks: Iterable[Work]) -> Iterator[Measured]:
        queue, running = iter(tasks), []
        while True:
            while len(running) < self._workers and (task := next(queue, None)) is not None:
                heapq.heappush(running, (self.seconds + self._takes(task), task.place, len(task.ids)))
            if not running:
                return
            self.seconds, place, samples = heapq.heappop(running)
            yield Measured(place, samples)

    def _takes(self, task: Work) -> float:
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

    def look_up(self, place: int, ids: torch.Tensor) -> Work:
        return Work(place, ids)

    def job(self, first: Work) -> object:
        return self

    def take(self, result: Measured) -> Measured:
        return result


def run(samples: int, workers: int, *, straggle: float = 0.0, lose: float = 0.0, size: int | None = None) -> None:
    """One run; `size` takes chunks of one size instead of the driver's own."""
    order = torch.arange(samples)
    parts = partition(order) if size is None else iter(order.split(size))
    engine = Simulated(workers, straggle=straggle, lose=lose)
    started, chunks, read = time.perf_counter(), 0, 0
    source = Forgetful()
    for result in in_order(parts, engine, source.look_up, source.job, source.take):
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


def simulate() -> None:
    for samples in (1000, 10_000, 50_000, 100_000):
        run(samples, 8)
    for workers in (8, 64, 1000):
        run(50_000, workers, straggle=0.01, lose=0.01)
    run(1_000_000, 1000, size=64)
    run(1_000_000, 1000, straggle=0.01, lose=0.01, size=64)


def on_ray(rounds: int) -> None:
    """The same claim here and on one and two workers; outcomes must be the same."""
    from ray.cluster_utils import Cluster

    root = str(Path(__file__).resolve().parent.parent)
    sys.path.insert(0, root)
    os.environ["PYTHONPATH"] = root  # workers build the net by name, as a cluster's should
    from examples.quickstart.model import split

    torch.set_num_threads(1)
    (x, y), _ = split()
    model, data = Factory("examples.quickstart.model:load", name="robust"), (x[:3000], y[:3000])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    here = Settings(attack="standard", exact=True, cache=False)
    there = here.but({"engine": "ray", "address": cluster.address})
    where = {"here": here, "one worker": there.but({"workers": 1}), "two workers": there.but({"workers": 2})}

    def timed(settings: Settings) -> tuple[float, Result]:
        started = time.perf_counter()
        with context.running(context.Context(settings=settings, test="scale")):
            result = measure_robust_accuracy(model, data, Linf(0.1))
        context.over()  # workers are ended and started anew: their start is part of the cost
        return time.perf_counter() - started, result

    seconds: dict[str, list[float]] = {name: [] for name in where}
    for _ in range(rounds):
        estimates = set()
        for name, settings in where.items():
            took, result = timed(settings)
            seconds[name].append(took)
            estimates.add((result.estimate, result.cost.forward, result.cost.backward))
            load_now = os.getloadavg()[0]
            print(f"{name:12} {took:6.1f} s, accuracy {result.estimate:.4f}, load {load_now:.1f}", flush=True)
        assert len(estimates) == 1, estimates
    alone, one, two = seconds.values()
    ratio = statistics.median(b / a for a, b in zip(alone, one, strict=True))
    faster = statistics.median(b / c for b, c in zip(one, two, strict=True))
    print(f"one worker / here {ratio:.3f} (bar 1.15); one worker / two workers {faster:.2f} (bar 1.7); {rounds} rounds")
    cluster.shutdown()


if __name__ == "__main__":
    if "--ray" in sys.argv:
        on_ray(int(sys.argv[-1]) if sys.argv[-1].isdigit() else 3)
    else:
        simulate()
