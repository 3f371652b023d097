"""Engines: chunks are measured in this process, in processes of this machine, or on an engine of a pack."""

# Workers map tasks to results and decide nothing: order, verdicts, early stops and the store belong to the driver, so
# they are the same on every engine.
#
# 1. The driver hands a job to the engine once: the model as a factory with its weights or as an exported program, the
#    data, and the look.
# 2. Each worker starts the job once (`Job.start`) and keeps its `Mapper`, here a `Station`.
# 3. A worker takes a task (`Work`, a chunk by its positions) only when it is free, and returns a `ChunkResult`, in any
#    order, with digests of the samples, which must equal the driver's.
# 4. A worker that is lost costs time: another one measures its chunk.

from __future__ import annotations

import multiprocessing
import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from robustest import clock, devices, extensions
from robustest.context import when_over
from robustest.errors import ConfigError, DeviceError, RobustestError
from robustest.identity.packages import own_code
from robustest.run.evidence import Observation, Tally
from robustest.settings import Settings
from robustest.version import VERSION

if TYPE_CHECKING:
    from robustest.run.units import Units

# Lost workers after which a task fails.
RETRIES = 3

Mapper = Callable[[Any], Any]


class Job(Protocol):
    """A job for workers."""

    def start(self, device: str) -> Mapper:
        """Return the function that maps this job's tasks; called once in each worker.

        Args:
            device: of the worker; "" if the job may choose.

        Raises:
            RobustestError: this worker cannot do the job.
        """


class Engine(Protocol):
    """Maps tasks on workers.

    Attributes:
        kind: hardware of the workers ("cpu", or the name of a GPU); "" for that of the driver.
        remote: True if jobs, tasks and results go to other processes.
    """

    kind: str
    remote: bool

    def put(self, job: Job) -> object:
        """Hand a job over and return a reference to it.

        Raises:
            RobustestError: the job cannot be pickled.
        """

    def imap_unordered(self, job: object, tasks: Iterable[Any]) -> Iterator[Any]:
        """Yield each result once, as it comes; take a task only when a worker is free.

        The task of a lost worker is done again. Closing the iterator drops tasks that have not begun.

        Raises:
            RobustestError: a worker could not measure, or too many workers were lost.
        """

    def cancel(self) -> None:
        """Drop tasks that have not begun."""

    def close(self) -> None:
        """Let the workers go."""


class InProcess:
    """Measure in this process, one chunk after the other."""

    kind = ""
    remote = False

    def put(self, job: Job) -> object:
        return job.start("")

    def imap_unordered(self, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        return map(job, tasks)

    def cancel(self) -> None:
        """Do nothing: no task runs ahead."""

    def close(self) -> None:
        """Do nothing: there are no workers."""


_open: dict[tuple[Any, ...], Engine] = {}


def engine_for(settings: Settings) -> Engine:
    """Return the engine of some settings, opened once in a process and closed after the last test.

    Raises:
        UnknownNameError: there is no engine of this name.
        NotInstalledError: a pack that is not installed has it.
        RobustestError: the engine cannot be opened.
    """
    if settings.engine == "local" and settings.workers is None and not settings.device.endswith(":all"):
        return InProcess()
    key = (settings.engine, settings.device, settings.address, settings.workers, settings.gpus_per_task)
    if key not in _open:
        if settings.engine == "local":
            _open[key] = Processes.of(settings)
        else:
            _open[key] = extensions.made("robustest_engines", "engine", settings.engine, ["local"], settings)
        if len(_open) == 1:
            when_over(close_engines)
    return _open[key]


def close_engines() -> None:
    """Close every engine."""
    while _open:
        _open.popitem()[1].close()


@dataclass(frozen=True, slots=True)
class Work:
    """A chunk to measure.

    Attributes:
        place: place in the order of chunks, from 0.
        ids: (n,) int64, positions in the data.
        compared: True for a stored chunk that is measured again for a comparison.
        until: end of the claim's time by the wall clock, or None.
    """

    place: int
    ids: Tensor
    compared: bool = False
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """The result of one chunk; empty if it has an error or its time was over.

    Attributes:
        place: place in the order of chunks.
        marks: digests of the samples.
        warned: category and text of each warning.
    """

    place: int
    observation: Observation = field(default_factory=lambda: Observation({}, []))
    tally: Tally = field(default_factory=Tally)
    marks: list[bytes] = field(default_factory=list)
    warned: tuple[tuple[type[Warning], str], ...] = ()
    error: RobustestError | None = None
    over: bool = False


class Station:
    """Measures chunks in a worker's process; `blocks` stay open: the process measures one model at a time."""

    def __init__(self, units: Units, blocks: ExitStack | None = None) -> None:
        self._units = units
        self._blocks = blocks

    def __call__(self, work: Work) -> ChunkResult:
        try:
            # Warnings would be lost in this process: they travel with the result, and the driver gives them.
            with clock.budget_until(work.until), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                chunk = self._units.load(work.ids)
                observation, tally = self._units.measure(chunk, first=work.place == 0)
        # The driver raises the error as it arrives.
        except RobustestError as error:
            return ChunkResult(place=work.place, error=error)
        except clock.OutOfTime:
            return ChunkResult(place=work.place, over=True)
        warned = tuple((warning.category, str(warning.message)) for warning in caught)
        marks = self._units.digests(chunk)
        return ChunkResult(place=work.place, observation=observation, tally=tally, marks=marks, warned=warned)


def check_versions(expected: tuple[str, str]) -> None:
    """Raise ConfigError for other versions than those of the process that sent the job."""
    here = versions()
    if expected != here:
        raise ConfigError(
            f"Expected robustest {expected[0]} and torch {expected[1]} on every worker, as here, but one has robustest "
            f"{here[0]} and torch {here[1]}."
        )


def versions() -> tuple[str, str]:
    """Return the versions of robustest, with a digest of its code, and of torch, without its build."""
    return f"{VERSION} (code {own_code()[:12]})", torch.__version__.split("+")[0]


class Processes:
    """Maps tasks on worker processes, each with a device."""

    remote = True

    def __init__(self, places: Sequence[tuple[str, str | None]], kind: str, threads: int) -> None:
        """Start no process yet; places has a device, and the value of `devices.VISIBLE` or None, for each worker."""
        self.kind = kind
        self._workers = [_Worker(device, visible, threads) for device, visible in places]
        self._jobs = 0

    @classmethod
    def of(cls, settings: Settings) -> Processes:
        """Return one worker for each accelerator with a device such as cuda:all, else `workers` workers on one device.

        Raises:
            DeviceError: the device is absent.
        """
        device, first = settings.device, devices.resolve(settings.device, None)
        each: list[tuple[str, str | None]] = [(device, None)] * (settings.workers or 1)
        if device.endswith(":all"):
            count = devices.count(first.type)
            # Whatever reads all devices of a process, as random states, would open a context on each: a worker gets
            # one GPU to see. Other kinds have no such variable.
            names = devices.shared_out(first.type)
            places: list[tuple[str, str | None]] = [(f"{first.type}:0", name) for name in names[:count]]
            places = places or [(f"{first.type}:{index}", None) for index in range(count)]
            each = [places[index % len(places)] for index in range(settings.workers or len(places))]
        return cls(each, devices.hardware(first), threads_of(len(each)))

    def put(self, job: Job) -> object:
        self._jobs += 1
        return self._jobs, pickle_job(job)

    def imap_unordered(self, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
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
                # A task is handed out only to an idle worker, so that an early stop leaves little measured in vain.
                done, _ = wait(running, timeout=clock.left(), return_when=FIRST_COMPLETED)
                if not done:
                    raise clock.OutOfTime  # each worker ends by itself, with the model pass that it is in
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
                        worker.close()
                        running[worker.submit(job, task)] = (worker, task, lost + 1)
                        continue
                    idle.append(worker)
                    yield result
        finally:
            for future in running:
                future.cancel()  # a task that has begun ends by itself, and nobody waits for it

    def cancel(self) -> None:
        """Do nothing: a worker has one task at a time."""

    def close(self) -> None:
        for worker in self._workers:
            worker.close()


def threads_of(workers: int) -> int:
    """Return the threads of each worker."""
    # Together at most those of this process, which may be a worker too.
    return max(1, torch.get_num_threads() // workers)


def pickle_job(job: Job) -> bytes:
    """Return a job as bytes for other processes.

    Raises:
        ConfigError: something in it cannot be pickled.
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
    """A process that starts with its first task, and again after it was lost."""

    device: str
    visible: str | None
    threads: int
    pool: ProcessPoolExecutor | None = field(default=None)

    def submit(self, job: tuple[int, bytes], task: Any) -> Future[Any]:
        if self.pool is None:
            # Spawned, not forked: a forked process inherits locks of torch's threads, and cannot use CUDA.
            self.pool = ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(self.visible, self.threads)
            )
        try:
            return self.pool.submit(_run, *job, self.device, task)
        except BrokenProcessPool:  # it died while it was idle
            self.close()
            return self.submit(job, task)

    def close(self) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)
            self.pool = None


def _begin(visible: str | None, threads: int) -> None:
    """Begin a worker process: its one GPU, before CUDA is asked for any, and its threads."""
    if visible is not None:
        os.environ[devices.VISIBLE] = visible
    torch.set_num_threads(threads)


# In a worker: number and mapper of the job. A run has one job at a time: only the newest is kept.
_started: tuple[int, Mapper] | None = None


def _run(number: int, job: bytes, device: str, task: Any) -> Any:
    global _started  # noqa: PLW0603 - the state of a worker process
    if _started is None or _started[0] != number:
        _started = None  # frees the memory of the last job's model before the next one is read
        read: Job = pickle.loads(job)  # noqa: S301 - from the process that started this one, never from disk
        _started = number, read.start(device)
    return _started[1](task)
