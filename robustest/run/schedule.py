"""Which chunks are measured: an engine may finish them in any order, and they are read as they were drawn.

The algorithm:

1. Take the next chunk of the order, as soon as a worker is free, and ask the source about it.
2. What it remembers waits until whatever is under way has come in; what it does not remember goes to the engine.
3. A chunk that is measured only to be compared with what is remembered is the last one handed out before a pause.
4. Each result goes to the source as it comes in, and waits until every chunk before it has been read.
5. Before the first chunk is measured, the source may say that none has to be: then what was read is all there is.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from robustest.run.engines.engine import Engine


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


class Placed(Protocol):
    """What became of a chunk."""

    @property
    def place(self) -> int:
        """The chunk's place in the order."""


R = TypeVar("R", bound=Placed)


class Source(Protocol[R]):
    """Knows what was measured before, and takes in what is measured now."""

    def look_up(self, place: int, ids: Tensor) -> R | Work:
        """What is remembered of a chunk and need not be measured, or the work that it is."""

    def job(self, first: Work) -> object | None:
        """The engine's reference to how chunks are measured from this one on; None where none has to be any more."""

    def take(self, result: R) -> R:
        """Called with each result as it comes, in any order."""


class Schedule(Generic[R]):
    """Results of chunks in their order, remembered or measured.

    Chunks are taken from the order only as workers become free, so little is measured beyond the point where the
    reader stops; what arrives early waits. Its size is that of the workers, however many chunks there are.
    """

    def __init__(self, parts: Iterable[Tensor], engine: Engine, source: Source[R]) -> None:
        self._parts = enumerate(parts)
        self._engine = engine
        self._source = source
        self._waiting: dict[int, R] = {}
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
        remembered: list[R] = []
        wanted = self._work_to_do(remembered)
        # The engine wants its job before the work. So the first chunk is looked up before the source is asked for a
        # job: many measurements are remembered whole, and then no model has to be handed over to any worker.
        first = next(wanted, None)
        if first is not None:
            job = self._source.job(first)
            if job is None:
                self._over = True
                return
            results = self._engine.imap_unordered(job, chain([first], wanted))
            try:
                for result in results:
                    yield self._source.take(result)
            finally:  # also where the reader has stopped: what was not begun must not be measured
                close = getattr(results, "close", None)
                if close is not None:
                    close()
                self._engine.cancel()
        yield from remembered

    def _work_to_do(self, remembered: list[R]) -> Iterator[Work]:
        """Chunks to measure, up to one that is remembered, which goes to `remembered`, or one that is compared.

        The engine draws from here as its workers become free; that is what keeps it from running ahead.
        """
        for place, ids in self._parts:
            found = self._source.look_up(place, ids)
            if not isinstance(found, Work):
                remembered.append(found)
                return
            yield found
            if found.compared:  # where it does not agree, nothing after it should have been measured
                return
        self._over = True
