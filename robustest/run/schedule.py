"""The order of chunks: each is recalled or handed to an engine, and all are yielded one after the other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from itertools import chain

from torch import Tensor

from robustest.run.workers import ChunkResult, Engine, Work


def in_order(
    chunks: Iterable[Tensor],
    engine: Engine,
    look_up: Callable[[int, Tensor], ChunkResult | Work],
    begin: Callable[[Work], object | None],
    take: Callable[[ChunkResult], ChunkResult],
) -> Generator[ChunkResult]:
    """Yield the result of every chunk in the order of the chunks; closing the generator ends its chunks.

    1. Take the next chunk as soon as a worker is free, and look it up.
    2. A stored result waits until everything under way has come in; other chunks go to the engine.
    3. After a chunk that is measured only to be compared with its stored outcomes, wait for its result.
    4. A result that comes in is taken, and waits until every chunk before it was yielded.

    Args:
        chunks: (n,) int64 positions of each chunk.
        engine: measures them.
        look_up: returns the stored result of a chunk, by place and positions, or the work to measure it.
        begin: returns the engine's reference to the job; None ends the generator.
        take: checks each measured result as it comes in, in any order.
    """
    places = enumerate(chunks)
    waiting: dict[int, ChunkResult] = {}
    next_place = 0
    while True:
        remembered: list[ChunkResult] = []

        def work_until_remembered(remembered: list[ChunkResult] = remembered) -> Iterator[Work]:
            # The engine draws from here as its workers become free; that keeps it from running ahead.
            for place, ids in places:
                found = look_up(place, ids)
                if not isinstance(found, Work):
                    remembered.append(found)
                    return
                yield found
                if found.compared:  # if it does not agree, nothing after it should have been measured
                    return

        work = work_until_remembered()
        # The engine wants its job before the work. The first chunk is looked up before the job is made: where all is
        # remembered, no model has to be sent to any worker.
        first = next(work, None)
        if first is not None:
            job = begin(first)
            if job is None:
                return
            results = engine.imap_unordered(job, chain([first], work))
            try:
                for result in results:
                    waiting[result.place] = take(result)
                    while next_place in waiting:
                        yield waiting.pop(next_place)
                        next_place += 1
            finally:  # also if the reader has stopped: no further chunk may be measured
                if hasattr(results, "close"):
                    results.close()
                engine.cancel()
        elif not remembered:
            return
        for result in remembered:
            waiting[result.place] = result
            while next_place in waiting:
                yield waiting.pop(next_place)
                next_place += 1
