"""The chunks of a measurement: each is recalled from the store, or measured here or by an engine, and stored."""

# 1. `look_up`: read a chunk, and recall its outcomes. The model is asked first, before the first chunk. Some recalled
#    chunks are measured again to be compared.
# 2. `begin`: before the first chunk that has to be measured, replay known counterexamples; they may refute the claim.
# 3. `measure_each`: measure chunks in this process, several at a time where one does not fill the device.
# 4. `take`: check what was measured, here or by a worker, and store it.

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from robustest import clock
from robustest.data import decoded
from robustest.engine.gathering import Member
from robustest.errors import DataError, StoreError
from robustest.run.evidence import REPLAYED, Observation, Stream, Tally
from robustest.run.known import KnownCounterexamples
from robustest.run.memory import Memory
from robustest.run.reading import Reader
from robustest.run.units import Units
from robustest.run.workers import ChunkResult, Engine, InProcess, Mapper, Work
from robustest.settings import Settings

# Samples that count as measured before the first ones that share their passes.
AT_START = 128


@dataclass(slots=True)
class _Begun:
    """A chunk without a result yet.

    Attributes:
        marks: digests of its units; None if they were not read here.
        loaded: its units, until they are measured here; None if workers read them.
        remembered: stored outcomes that the new ones must equal, or None.
    """

    ids: Tensor
    marks: list[bytes] | None = None
    loaded: Any = None
    remembered: Observation | None = None


@dataclass(slots=True)
class MeasuredChunks:
    """The chunks of one measurement.

    Attributes:
        stream: the outcomes so far, which are only counted here.
        reader: of the chunks, in their order.
        likely_clusters: signs of clusters that nobody named, in words, once the first chunk was read; "" for none.
    """

    units: Units
    settings: Settings
    memory: Memory
    engine: Engine
    known: KnownCounterexamples
    stream: Stream
    reader: Reader
    likely_clusters: str = ""
    _begun: dict[int, _Begun] = field(default_factory=dict)
    _sent: object = None

    @property
    def measuring(self) -> Engine:
        """The engine that measures: workers, or this process."""
        return self.engine if self.engine.remote else _Here(self)

    @property
    def read_here(self) -> bool:
        """True if this process reads the units; without a memory remote workers alone do: twice would be a waste."""
        return not self.engine.remote or self.memory.remembers

    def look_up(self, place: int, ids: Tensor) -> ChunkResult | Work:
        """Return the stored result of the chunk at a place with units at positions (n,) int64, or the work to do."""
        units, chunk = self.units, _Begun(ids)
        if self.read_here:
            loaded = self.reader.take(place)
            chunk.marks = units.digests(loaded)
            if place == 0 and self.stream.clusters is None and self.settings.scope != "set":
                self.likely_clusters = units.likely_clusters(loaded)
            if place == 0:  # stored chunks count only after the model was asked
                units.ask(self.memory, loaded, chunk.marks)
            if not self.engine.remote:
                chunk.loaded = loaded
        found = self.memory.recall(("chunk", ids, chunk.marks or []))
        if found is not None:
            # Known counterexamples replace attacks: measured again, such a chunk would differ.
            if found[0].counts.get(REPLAYED) or self.known.broken or not self.memory.doubted():
                return ChunkResult(place=place, observation=found[0], tally=found[1], marks=chunk.marks or [])
            chunk.remembered = found[0]
            self._check_read_anew(chunk)
        self._begun[place] = chunk
        return Work(place, ids, compared=chunk.remembered is not None, until=clock.until())

    def _check_read_anew(self, chunk: _Begun) -> None:
        # The comparison is of what the data set gives now.
        if not decoded.recalled():
            return
        with decoded.anew():
            again = self.units.digests(self.units.load(chunk.ids))
        if again != chunk.marks:
            raise DataError(
                "Expected the samples of a remembered chunk to be what they were when an earlier claim read "
                "them but some differ, though the data set and its files are unchanged. Run with "
                "--robust-no-cache, or collect the samples into (x, y) first."
            )

    def begin(self, first: Work) -> object | None:
        """Return the engine's reference to this measurement; None if known counterexamples refute the claim."""
        # Replay once, and only if something has to be measured: without that, no model is needed. A chunk that is only
        # compared is measured without counterexamples, as when it was stored.
        if not self.known.replayed and not first.compared:
            if self.known.replay() is not None:
                return None
            if self.known.broken:
                self._sent = None  # a job that was sent earlier knows of no counterexamples
        if self._sent is None:
            self._sent = self.engine.put(self.units.job() if self.engine.remote else self)
        return self._sent

    def start(self, device: str) -> Mapper:
        """Return the function that measures one chunk in this process."""
        return lambda work: next(self.measure_each([work]))

    def measure_each(self, tasks: Iterable[Work]) -> Iterator[ChunkResult]:
        """Yield the results of chunks in their order; where a chunk does not fill the device, several at a time."""
        works = iter(tasks)
        while not self.units.gathers:  # the first chunk is measured before the model is known
            work = next(works, None)
            if work is None:
                return
            loaded = self._loaded(work)
            with self.memory.listening():
                observation, tally = self.units.measure(loaded, first=work.place == 0)
            yield self._came(work, observation, tally)
        yield from self._gathered(works)

    def _gathered(self, works: Iterator[Work]) -> Iterator[ChunkResult]:
        units, gathering, begun, more = self.units, self.units.gathering(), deque[tuple[Work, Member]](), True

        def room() -> bool:
            # What a verdict does not need is measured in vain: chunks under way have at most half of the samples before
            # them, or two chunks' at the start.
            ahead = sum(len(work.ids) for work, _ in begun)
            few = self.settings.exact or 2 * ahead <= max(AT_START, self.stream.n)
            return more and few and gathering.room

        try:
            while True:
                while room():
                    if (work := next(works, None)) is None:
                        more = False
                        break
                    measure = partial(units.measure_among, chunk=self._loaded(work))
                    with self.memory.listening():
                        begun.append((work, gathering.begin(measure)))
                if not begun:
                    return
                with self.memory.listening():
                    while not begun[0][1].over and not room():
                        gathering.step()
                while begun and begun[0][1].over:
                    work, member = begun.popleft()
                    observation, tally = member.result()
                    yield self._came(work, observation, replace(tally, seconds=member.seconds))
        finally:
            gathering.close()

    def _loaded(self, work: Work) -> Any:
        """Return the units of a chunk, once: their memory is free as soon as they are measured."""
        chunk = self._begun[work.place]
        loaded, chunk.loaded = chunk.loaded, None
        if loaded is None:
            raise LookupError(f"chunk {work.place} was measured before")
        return loaded

    def _came(self, work: Work, observation: Observation, tally: Tally) -> ChunkResult:
        marks = self._begun[work.place].marks or []
        return ChunkResult(place=work.place, observation=observation, tally=tally, marks=marks)

    def take(self, result: ChunkResult) -> ChunkResult:
        """Check and store a measured chunk.

        Raises:
            RobustestError: it could not be measured, or differs from the samples read or the outcomes stored here.
        """
        if result.over:
            raise clock.OutOfTime
        if result.error is not None:
            raise result.error
        for category, text in result.warned:
            warnings.warn(text, category, stacklevel=2)
        chunk = self._begun.pop(result.place)
        if chunk.marks is not None and chunk.marks != result.marks:
            raise DataError(
                "Expected workers to read the samples that are read here but some differ. Random transforms, or other "
                "files of the same name on their machines, make every sample another one."
            )
        if self.engine.remote and result.place == 0:  # the cost of what came before belongs to the first chunk
            result = replace(result, tally=self.units.cost().plus(result.tally))
        if chunk.remembered is not None:
            _check_alike(chunk.remembered, result.observation)
        with suppress(clock.OutOfTime):  # it was measured in time, even if the model cannot be asked once more
            self.memory.keep(("chunk", chunk.ids, result.marks), result.observation, result.tally)
        return result


def _check_alike(remembered: Observation, fresh: Observation) -> None:
    # Scores may differ in their last bits, outcomes may not.
    for name, column in remembered.columns.items():
        now = fresh.columns[name]
        if column.dtype == bool and not np.array_equal(column, now):
            raise StoreError(
                f"Expected a remembered chunk to be measured alike again but {int((column != now).sum())} of "
                f"{len(column)} outcomes ({name}) differ. Something that the model depends on is not part of it, "
                "or its forward is not repeatable: run with --robust-no-cache, or delete the store."
            )


class _Here(InProcess):
    """Measures the chunks of a measurement in this process."""

    def __init__(self, chunks: MeasuredChunks) -> None:
        self._chunks = chunks

    def imap_unordered(self, job: object, tasks: Iterable[Any]) -> Iterator[Any]:
        return self._chunks.measure_each(tasks)
