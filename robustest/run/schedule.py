"""Which chunks are measured: an engine may finish them in any order, and they are read as they were drawn."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from robustest.run.engines.engine import Engine


@dataclass(frozen=True, slots=True)
class Task:
    """A chunk to measure.

    Attributes:
        place: its place in the order of chunks, 0 for the first.
        ids: (n,) int64, positions in the data.
    """

    place: int
    ids: Tensor


class Placed(Protocol):
    """What became of a task."""

    @property
    def place(self) -> int:
        """The task's place."""


R = TypeVar("R", bound=Placed)


class Source(Protocol[R]):
    """Knows what was measured before, and takes in what is measured now."""

    def recalled(self, task: Task) -> R | None:
        """What is remembered of a chunk and need not be measured; None where it has to be."""

    def alone(self, task: Task) -> bool:
        """Whether a chunk about to be measured is measured with nothing else under way."""

    def begin(self) -> bool:
        """Called before the first chunk is measured; False where none has to be any more."""

    def job(self) -> object:
        """The engine's reference to how chunks are measured now."""

    def arrived(self, result: R) -> R:
        """Called with each result as it comes, in any order."""


class Schedule(Generic[R]):
    """Results of chunks in their order, remembered or measured.

    Chunks are taken from the order only as workers become free, so little is measured beyond the point where the
    reader stops; what arrives early waits. Its size is that of the workers, however many chunks there are.
    """

    def __init__(self, parts: Iterable[Tensor], engine: Engine, source: Source[R]) -> None:
        self._tasks = (Task(place, ids) for place, ids in enumerate(parts))
        self._engine = engine
        self._source = source
        self._waiting: dict[int, R] = {}
        self._begun = False
        self._over = False

    def results(self) -> Generator[R]:
        """Every result, in the order of the chunks; closing it ends what is under way."""
        place = 0
        while not self._over:
            for result in self._measured():
                self._waiting[result.place] = result
                while place in self._waiting:
                    yield self._waiting.pop(place)
                    place += 1

    def _measured(self) -> Iterator[R]:
        """Results up to the next chunk that need not be measured, and that one's."""
        known: list[R] = []
        wanted = self._wanted(known)
        first = next(wanted, None)
        if first is not None:
            results = self._engine.imap_unordered(self._source.job(), chain([first], wanted))
            try:
                for result in results:
                    yield self._source.arrived(result)
            finally:
                close = getattr(results, "close", None)
                if close is not None:
                    close()
                self._engine.cancel()
        yield from known

    def _wanted(self, known: list[R]) -> Iterator[Task]:
        """Tasks to measure, up to one that is remembered, which goes to `known`, or one to be measured alone."""
        for task in self._tasks:
            result = self._source.recalled(task)
            if result is not None:
                known.append(result)
                return
            if self._source.alone(task):
                yield task
                return
            if not self._begun:
                self._begun = True
                if not self._source.begin():
                    break
            yield task
        self._over = True
