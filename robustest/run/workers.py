"""Where chunks are measured: the contract of an engine, and the one that needs nothing.

Workers map, and decide nothing. Which chunks are measured, in which order their outcomes are read, when the claim is
settled and what is remembered is the driver's business alone, so it is the same on every engine.


The engine of one machine: a process for each device, or several on the CPU.

What a worker is told of a measurement, and what it tells of a chunk.
"""

from __future__ import annotations

import multiprocessing
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor

from robustest import clock, extensions
from robustest.context import when_over
from robustest.errors import ConfigError, DeviceError, RobustestError, UnknownNameError
from robustest.identity.packages import own_code
from robustest.run.evidence import Observation, Tally
from robustest.settings import Settings
from robustest.version import VERSION

Mapper = Callable[[Any], Any]
"""Maps one task to its result."""


class Job(Protocol):
    """What a worker needs to know before its first task."""

    def start(self, device: str) -> Mapper:
        """What maps this job's tasks; called once in each worker.

        Args:
            device: the worker's device; empty where the job may choose.

        Raises:
            RobustestError: this worker cannot do it.
        """


class Engine(Protocol):
    """Maps tasks on workers.

    Attributes:
        kind: what the workers compute on ("cpu", or the name of a GPU), since outcomes may depend on it; empty where
            they compute where the driver does.
        remote: whether jobs, tasks and results travel to other processes.
    """

    kind: str
    remote: bool

    def put(self, job: Job) -> object:
        """Hand a job over, once; a reference to it.

        Raises:
            RobustestError: it cannot travel.
        """

    def imap_unordered(self, job: object, tasks: Iterable[Any]) -> Iterator[Any]:
        """Results as they come, each once; tasks are taken only as workers become free.

        A worker that is lost costs time and no result: its task is done again. When the iterator is closed, tasks not
        yet begun are dropped.

        Raises:
            RobustestError: a worker could not measure, or was lost too often.
        """

    def cancel(self) -> None:
        """Drop what was not begun, and forget what is under way."""

    def close(self) -> None:
        """Let the workers go."""


class InProcess:
    """Measures in this process, one chunk after the other."""

    kind = ""
    remote = False

    def put(self, job: Job) -> object:
        """The job's mapper itself."""
        return job.start("")

    def imap_unordered(self, job: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        """Each task when its result is asked for."""
        return map(job, tasks)

    def cancel(self) -> None:
        """Nothing runs ahead."""

    def close(self) -> None:
        """Nothing is held."""


_PACKS = {"ray": "robustest-ray"}
"""Engines that are known, and what brings them."""

_open: dict[tuple[Any, ...], Engine] = {}


def engine_for(settings: Settings) -> Engine:
    """The engine that settings name, opened once in a process and kept until the run of tests is over.

    Raises:
        UnknownNameError: there is none of this name; the message says what would bring it.
        RobustestError: it cannot be opened.
    """
    if settings.engine == "local" and settings.workers is None and not settings.device.endswith(":all"):
        return InProcess()
    key = (settings.engine, settings.device, settings.address, settings.workers, settings.gpus_per_task)
    if key not in _open:
        _open[key] = _opened(settings)
        if len(_open) == 1:
            when_over(close_engines)
    return _open[key]


def close_engines() -> None:
    """Let every worker go; the next measurement opens its engine anew."""
    while _open:
        _open.popitem()[1].close()


def _opened(settings: Settings) -> Engine:
    if settings.engine == "local":
        return Processes.of(settings)
    try:
        engine: Engine = extensions.made("robustest_engines", "engine", settings.engine, ["local"], settings)
    except UnknownNameError as error:
        if settings.engine in _PACKS:
            brings = f"{error} It comes with a pack: pip install {_PACKS[settings.engine]}"
            raise UnknownNameError(brings) from None
        raise
    return engine


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


@dataclass(frozen=True, slots=True)
class Work:
    """A chunk to measure.

    Attributes:
        place: its place in the order of chunks, 0 for the first.
        ids: (n,) int64, positions in the data.
        compared: whether it is remembered, and measured only to see that both agree.
        until: when the claim's time is up, by the wall clock; None without a limit.
    """

    place: int
    ids: Tensor
    compared: bool = False
    until: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a chunk.

    Attributes:
        place: its place in the order.
        observed, tally: what it showed, and what that took.
        marks: digests of its samples.
        warned: warnings given meanwhile: their categories and texts.
        error: why it could not be measured; the rest is empty then.
        over: whether the claim's time was up before it was measured; the rest is empty then.
    """

    place: int
    observed: Observation = field(default_factory=lambda: Observation({}, []))
    tally: Tally = field(default_factory=Tally)
    marks: list[bytes] = field(default_factory=list)
    warned: tuple[tuple[type[Warning], str], ...] = ()
    error: RobustestError | None = None
    over: bool = False


class Station:
    """Measures chunks in a worker's process.

    Args:
        bench: measures them.
        blocks: left open: the process measures one model at a time.
    """

    def __init__(self, bench: Any, blocks: ExitStack | None = None) -> None:
        self._bench = bench
        self._blocks = blocks

    def __call__(self, work: Work) -> Seen:
        """What became of a chunk; what kept it from being measured is told, not raised."""
        try:
            with clock.budget_until(work.until), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                chunk = self._bench.load(work.ids)
                observed, tally = self._bench.measure(chunk, first=work.place == 0)
        except RobustestError as error:
            return Seen(place=work.place, error=error)
        except clock.OutOfTime:
            return Seen(place=work.place, over=True)
        warned = tuple((warning.category, str(warning.message)) for warning in caught)
        marks = self._bench.digests(chunk)
        return Seen(place=work.place, observed=observed, tally=tally, marks=marks, warned=warned)


def check_versions(asked: tuple[str, str]) -> None:
    """Refuse to measure where other code is installed than where the measurement was asked for.

    Raises:
        ConfigError: robustest or torch differ.
    """
    here = versions()
    if asked != here:
        raise ConfigError(
            f"Expected robustest {asked[0]} and torch {asked[1]} on every worker, as here, but one has robustest "
            f"{here[0]} and torch {here[1]}."
        )


def versions() -> tuple[str, str]:
    """Of robustest, with its code: two checkouts of one version differ; of torch, without what it was built for."""
    return f"{VERSION} (code {own_code()[:12]})", torch.__version__.split("+")[0]
