"""Chunks are read in their order, whatever order they finish in, and little is measured beyond where reading stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from robustest.run.schedule import in_order
from robustest.run.workers import Work


@dataclass
class Result:
    place: int
    fresh: bool = True


@dataclass
class Shuffling:
    """An engine with some workers that finish in an order of their own."""

    workers: int
    choices: Any
    kind: str = ""
    remote: bool = True
    taken: int = 0
    cancelled: int = 0

    def put(self, job: Any) -> object:
        return job

    def imap_unordered(self, job: Any, tasks: Iterable[Work]) -> Iterator[Result]:
        queue, running = iter(tasks), []
        while True:
            while len(running) < self.workers and (task := next(queue, None)) is not None:
                running.append(task)
                self.taken += 1
            if not running:
                return
            yield Result(running.pop(self.choices.draw(st.integers(0, len(running) - 1))).place)

    def cancel(self) -> None:
        self.cancelled += 1

    def close(self) -> None:
        """Nothing to close."""


@dataclass
class Remembering:
    """A source that remembers some places, compares others, and may need no measurement at all."""

    known: set[int] = field(default_factory=set)
    compared: set[int] = field(default_factory=set)
    needed: bool = True
    first: list[tuple[int, int]] = field(default_factory=list)
    came: list[int] = field(default_factory=list)

    def steps(self) -> tuple[Any, Any, Any]:
        return self.look_up, self.job, self.take

    def look_up(self, place: int, ids: torch.Tensor) -> Result | Work:
        if place in self.known:
            return Result(place, fresh=False)
        return Work(place, ids, compared=place in self.compared)

    def job(self, first: Work) -> object | None:
        self.first.append((first.place, len(self.came)))
        return self if self.needed else None

    def take(self, result: Result) -> Result:
        self.came.append(result.place)
        return result


def parts(count: int) -> list[torch.Tensor]:
    return [torch.tensor([index]) for index in range(count)]


places = st.sets(st.integers(0, 14))


@given(choices=st.data(), workers=st.integers(1, 6), known=places, compared=places)
def test_every_chunk_is_read_once_and_in_order(choices: Any, workers: int, known: set[int], compared: set[int]) -> None:
    source = Remembering(known, compared - known)
    results = list(in_order(parts(15), Shuffling(workers, choices), *source.steps()))
    assert [result.place for result in results] == list(range(15))
    assert {result.place for result in results if result.fresh} == set(range(15)) - known
    assert sorted(source.came) == sorted(set(range(15)) - known)
    # A job is asked for at the head of every row of chunks that are measured: each as long as nothing is remembered
    # and nothing compared.
    ends = known | {place + 1 for place in source.compared}
    heads = [place for place in range(15) if place not in known and (place == 0 or place in ends or place - 1 in known)]
    assert [place for place, _ in source.first] == heads


@given(choices=st.data(), workers=st.integers(1, 6), compared=places)
def test_nothing_is_measured_beyond_a_chunk_that_is_compared(choices: Any, workers: int, compared: set[int]) -> None:
    source = Remembering(compared=compared)
    list(in_order(parts(15), Shuffling(workers, choices), *source.steps()))
    assert all(place == came for place, came in source.first)  # all before it had come in


@given(choices=st.data(), workers=st.integers(1, 6), stop=st.integers(1, 14))
def test_reading_that_stops_leaves_little_measured(choices: Any, workers: int, stop: int) -> None:
    engine = Shuffling(workers, choices)
    with closing(in_order(parts(1000), engine, *Remembering().steps())) as results:
        for result in results:
            if result.place + 1 == stop:
                break
    assert engine.cancelled == 1
    assert stop <= engine.taken
    waiting = engine.taken - stop
    assert waiting < 1000 - stop  # what a worker that lags lets the others do meanwhile is all that is too much


@given(choices=st.data(), known=st.integers(0, 10))
def test_nothing_is_measured_where_replays_refute_the_claim(choices: Any, known: int) -> None:
    source = Remembering(set(range(known)), needed=False)
    engine = Shuffling(2, choices)
    results = list(in_order(parts(11), engine, *source.steps()))
    assert [result.place for result in results] == list(range(known))
    assert engine.taken == 0
    assert source.first == [(known, 0)]
