"""The engine: an actor for each worker, with one task at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayActorError

from robustest import Settings, devices
from robustest.errors import ConfigError, DeviceError
from robustest.packs import Job
from robustest_ray.cluster import accelerators, check_nodes, reached, resources
from robustest_ray.pool import Pool, result_of

RETRIES = 3
"""Number of workers that a task may lose before that is an error."""


class RayEngine:
    """Maps tasks on the actors of a Ray cluster.

    A lost worker or node is replaced, and any free worker repeats its task; results are the same, since a chunk's
    outcome depends on the chunk alone.

    Args:
        settings: address, device, workers and gpus_per_task.

    Raises:
        DeviceError: the cluster cannot be reached, or lacks the requested resources.
        ConfigError: a node lacks robustest, this plugin or torch, or has other versions.
    """

    remote = True

    def __init__(self, settings: Settings) -> None:
        self._connected = reached(settings.address)
        try:
            check_nodes()
            gpus = _gpus(settings)
            self.kind = accelerators() if gpus else "cpu"
            self._pool = Pool(settings.workers, gpus, _device(settings.device, gpus))
        except BaseException:
            self._disconnect()
            raise
        self._jobs = 0

    def put(self, job: Job) -> object:
        """Put the job into the cluster's object store, from which each worker fetches it once.

        Raises:
            ConfigError: a part of it cannot be pickled.
        """
        self._jobs += 1
        try:
            return self._jobs, ray.put(job)
        except (TypeError, AttributeError, ValueError) as error:
            raise ConfigError(
                f"Expected a claim whose parts can be sent to workers but got: {error}. Functions and classes (shifts, "
                "cues, transforms, a model's factory) have to be picklable, or importable there."
            ) from error

    def imap_unordered(self, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        number, reference = job
        queue = _Queue(tasks)
        running: dict[Any, tuple[int, _Attempt]] = {}
        try:
            while True:
                while self._pool.idle and (attempt := queue.next()) is not None:
                    place = self._pool.idle.pop()
                    running[self._pool.submit(place, number, reference, attempt.task)] = (place, attempt)
                if not running and queue.empty:
                    return
                done = self._pool.next(running)
                if done not in running:
                    continue  # a worker has come up
                place, attempt = running.pop(done)
                try:
                    result = result_of(done)
                except RayActorError as error:
                    self._pool.replace(place)
                    queue.again(attempt, error)
                    continue
                self._pool.idle.append(place)
                yield result
        finally:
            self._pool.abandon({done: place for done, (place, _) in running.items()})

    def cancel(self) -> None:
        """Do nothing: a worker has one task at a time, and that ends by itself."""

    def close(self) -> None:
        """End the workers, and the connection if it was made here."""
        self._pool.close()
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connected and ray.is_initialized():
            ray.shutdown()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A task, and the number of workers that were lost over it."""

    task: Any
    lost: int = 0


class _Queue:
    """Tasks still to be given to a worker: lost ones first, then new ones."""

    def __init__(self, tasks: Iterable[Any]) -> None:
        self.empty = False
        self._tasks = iter(tasks)
        self._lost: list[_Attempt] = []

    def next(self) -> _Attempt | None:
        if self._lost:
            return self._lost.pop()
        task = next(self._tasks, None)
        self.empty = task is None
        return None if task is None else _Attempt(task)

    def again(self, attempt: _Attempt, error: Exception) -> None:
        """Queue a lost task again; raise DeviceError if it was lost too often."""
        if attempt.lost >= RETRIES:
            raise DeviceError(
                f"Expected a chunk to be measured but {attempt.lost + 1} workers were lost over it: {error}. If they "
                "ran out of memory, lower robust_batch_size, or give each worker more of a GPU."
            ) from error
        # A chunk that needs too much memory would kill one worker after the other, hence the limit above.
        self._lost.append(_Attempt(attempt.task, attempt.lost + 1))
        self.empty = False


def _device(name: str, gpus: float) -> str:
    """Return the device of a worker with a number of GPUs; "" for the one that the job chooses."""
    # Each worker sees its own GPU alone: with cuda:all one process a device, as on one machine.
    if own := devices.of_worker(name):
        return own
    # A worker without a GPU keeps to the CPU, whatever its machine has: outcomes are remembered as those of a CPU.
    return "cpu" if name == "auto" and not gpus else ""


def _gpus(settings: Settings) -> float:
    there = resources().get("GPU", 0)
    if settings.device == "cpu":
        return 0
    if devices.of_worker(settings.device) and not (there and settings.gpus_per_task != 0):
        lacks = "gets none by --robust-gpus-per-task=0" if there else "has none"
        raise DeviceError(
            f"Expected GPUs in the cluster for --robust-device={settings.device} but it {lacks}. Use "
            "--robust-device=cpu or auto."
        )
    if settings.gpus_per_task is None:
        return 1 if there else 0
    if settings.gpus_per_task and not there:
        raise DeviceError(
            f"Expected GPUs in the cluster for --robust-gpus-per-task={settings.gpus_per_task:g} but it has none. "
            "Use 0 to measure on CPUs."
        )
    return settings.gpus_per_task
