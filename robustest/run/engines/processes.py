"""The engine of one machine: a process for each device, or several on the CPU."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

import torch

from robustest import clock
from robustest.errors import ConfigError, DeviceError
from robustest.run.engines.engine import Job, Mapper
from robustest.settings import Settings

RETRIES = 3
"""How often the workers that run a task may be lost before that is an error."""


class Processes:
    """Maps tasks on worker processes, each with a device of its own.

    Attributes:
        kind: what they compute on.
        remote: True.
    """

    remote = True

    def __init__(self, devices: list[str], kind: str, threads: int) -> None:
        self.kind = kind
        self._workers = [_Worker(device, threads) for device in devices]
        self._jobs = 0

    @classmethod
    def of(cls, settings: Settings) -> Processes:
        """The workers that settings ask for: one for each GPU with the device cuda:all, else `workers` on one device.

        Raises:
            DeviceError: cuda:all without a GPU.
        """
        if settings.device == "cuda:all":
            count = torch.cuda.device_count()
            if not count:
                raise DeviceError(
                    "Expected CUDA devices for 'cuda:all' but this torch sees none. Use --robust-device=cpu or auto."
                )
            each = [f"cuda:{index % count}" for index in range(settings.workers or count)]
        else:
            each = [settings.device] * (settings.workers or 1)
        on_gpu = settings.device.startswith("cuda") or (settings.device == "auto" and torch.cuda.is_available())
        kind = torch.cuda.get_device_name(0) if on_gpu and torch.cuda.is_available() else "cpu"
        return cls(each, kind, threads_of(len(each)))

    def put(self, job: Job) -> object:
        """The job as bytes; it is read in each worker once.

        Raises:
            ConfigError: something in it cannot travel.
        """
        self._jobs += 1
        return self._jobs, packed(job)

    def imap_unordered(self, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        """As `Engine.imap_unordered`, one task at a time for each worker."""
        queue = iter(tasks)
        running: dict[Future[Any], tuple[_Worker, Any, int]] = {}
        idle = list(self._workers)
        try:
            while True:
                while idle and (task := next(queue, None)) is not None:
                    worker = idle.pop()
                    running[worker.submit(job, task)] = (worker, task, 0)
                if not running:
                    return
                done, _ = wait(running, timeout=clock.left(), return_when=FIRST_COMPLETED)
                if not done:
                    raise clock.OutOfTime  # the workers end by themselves, with the pass that each has under way
                for future in done:
                    worker, task, lost = running.pop(future)
                    try:
                        result = future.result()
                    except BrokenProcessPool as error:
                        if lost >= RETRIES:
                            raise DeviceError(
                                f"Expected a chunk to be measured but {lost + 1} worker processes died over it. If the "
                                "machine ran out of memory, use fewer workers or a smaller robust_batch_size."
                            ) from error
                        running[worker.renewed().submit(job, task)] = (worker, task, lost + 1)
                        continue
                    idle.append(worker)
                    yield result
        finally:
            for future in running:
                future.cancel()  # what is under way ends by itself, and is not waited for

    def cancel(self) -> None:
        """Nothing waits: a worker has one task at a time."""

    def close(self) -> None:
        """End the worker processes."""
        for worker in self._workers:
            worker.close()


def threads_of(workers: int) -> int:
    """Threads for each of so many workers: in all no more than this process has, which may itself be one of several."""
    return max(1, torch.get_num_threads() // workers)


def packed(job: Job) -> bytes:
    """A job as bytes for other processes of this machine.

    Raises:
        ConfigError: something in it cannot travel.
    """
    try:
        return pickle.dumps(job)
    except Exception as error:
        raise ConfigError(
            f"Expected a claim whose parts can be sent to worker processes but got: {error}. Define functions and "
            "classes (shifts, cues, transforms, a model's factory) in a module that can be imported, not in the test."
        ) from error


@dataclass(slots=True)
class _Worker:
    """A process that is started when it is first needed, and again when it was lost."""

    device: str
    threads: int
    pool: ProcessPoolExecutor | None = field(default=None)

    def submit(self, job: tuple[int, bytes], task: Any) -> Future[Any]:
        if self.pool is None:
            self.pool = ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), initializer=torch.set_num_threads, initargs=(self.threads,)
            )
        try:
            return self.pool.submit(_run, *job, self.device, task)
        except BrokenProcessPool:  # it died while it had nothing to do
            return self.renewed().submit(job, task)

    def renewed(self) -> _Worker:
        self.close()
        return self

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None


_started: tuple[int, Mapper] | None = None
"""In a worker: the job it has read, and what maps its tasks. Only the newest is kept, as a run has one at a time."""


def _run(number: int, job: bytes, device: str, task: Any) -> Any:
    global _started  # noqa: PLW0603 - a worker process is its own world
    if _started is None or _started[0] != number:
        _started = None  # the last job's model goes before the next one comes
        read: Job = pickle.loads(job)  # noqa: S301 - from the process that started this one, never from disk
        _started = number, read.start(device)
    return _started[1](task)
