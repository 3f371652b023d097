"""Chunks are read in their order, whatever order they finish in, and little is measured beyond where reading stops."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st

from robustest.run.schedule import Schedule, Task


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

    def imap_unordered(self, job: Any, tasks: Iterable[Task]) -> Iterator[Result]:
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
    """A source that remembers some places, doubts others, and may need no measurement at all."""

    known: set[int] = field(default_factory=set)
    doubted: set[int] = field(default_factory=set)
    needed: bool = True
    begun: list[int] = field(default_factory=list)
    came: list[int] = field(default_factory=list)

    def recalled(self, task: Task) -> Result | None:
        return Result(task.place, fresh=False) if task.place in self.known else None

    def alone(self, task: Task) -> bool:
        return task.place in self.doubted

    def begin(self) -> bool:
        self.begun.append(len(self.came))
        return self.needed

    def job(self) -> object:
        return None

    def arrived(self, result: Result) -> Result:
        self.came.append(result.place)
        return result


def parts(count: int) -> list[torch.Tensor]:
    return [torch.tensor([index]) for index in range(count)]


places = st.sets(st.integers(0, 14))


@given(choices=st.data(), workers=st.integers(1, 6), known=places, doubted=places)
def test_every_chunk_is_read_once_and_in_order(choices: Any, workers: int, known: set[int], doubted: set[int]) -> None:
    source = Remembering(known, doubted - known)
    results = list(Schedule(parts(15), Shuffling(workers, choices), source).results())
    assert [result.place for result in results] == list(range(15))
    assert {result.place for result in results if result.fresh} == set(range(15)) - known
    assert sorted(source.came) == sorted(set(range(15)) - known)
    assert len(source.begun) == (len(known | source.doubted) < 15)  # known counterexamples are replayed once, if at all


@given(choices=st.data(), workers=st.integers(1, 6), stop=st.integers(1, 14))
def test_reading_that_stops_leaves_little_measured(choices: Any, workers: int, stop: int) -> None:
    engine = Shuffling(workers, choices)
    with closing(Schedule(parts(1000), engine, Remembering()).results()) as results:
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
    results = list(Schedule(parts(11), engine, source).results())
    assert [result.place for result in results] == list(range(known))
    assert engine.taken == 0
    assert source.begun == [0]
