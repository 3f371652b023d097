"""Where chunks are measured: the contract of an engine, and the one that needs nothing.

Workers map, and decide nothing. Which chunks are measured, in which order their outcomes are read, when the claim is
settled and what is remembered is the driver's business alone, so it is the same on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from robustest import extensions
from robustest.context import when_over
from robustest.errors import UnknownNameError
from robustest.settings import Settings

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
        from robustest.run.engines.processes import Processes

        return Processes.of(settings)
    try:
        engine: Engine = extensions.made("robustest_engines", "engine", settings.engine, ["local"], settings)
    except UnknownNameError as error:
        if settings.engine in _PACKS:
            brings = f"{error} It comes with a pack: pip install {_PACKS[settings.engine]}"
            raise UnknownNameError(brings) from None
        raise
    return engine
