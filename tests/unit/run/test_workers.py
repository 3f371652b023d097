"""Workers take one task each while they are free; a lost one costs time, and a claim that ends leaves none behind."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from robustest import ConfigError, DataError, DeviceError, Settings, clock
from robustest.run import workers
from robustest.run.evidence import Observation, Tally
from robustest.run.workers import RETRIES, InProcess, Processes, Station, Work, engine_for, threads_of, versions


class Known:
    """A worker that does what a test says; `log` has the tasks of all of them, in order."""

    def __init__(self, log: list[Any], answer: Callable[[Any], Any]) -> None:
        self.log, self.answer, self.closed = log, answer, 0

    def submit(self, job: Any, task: Any) -> Future[Any]:
        self.log.append(task)
        done: Future[Any] = Future()
        try:
            found = self.answer(task)
        except BaseException as error:
            done.set_exception(error)
        else:
            if found is not None:
                done.set_result(found)
        return done

    def close(self) -> None:
        self.closed += 1


def processes(*answers: Callable[[Any], Any]) -> tuple[Processes, list[Any], list[Known]]:
    log: list[Any] = []
    made = Processes([("cpu", None)] * len(answers), "cpu", 1)
    known = [Known(log, answer) for answer in answers]
    made._workers = known  # type: ignore[assignment]
    return made, log, known


def twice(task: int) -> int:
    return 2 * task


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_task_is_done_once_and_none_before_a_worker_is_free(count: int) -> None:
    made, log, _ = processes(*[twice] * count)
    results = made.imap_unordered("job", iter(range(7)))
    found = [next(results)]
    assert len(log) == count
    found += results
    assert sorted(found) == [0, 2, 4, 6, 8, 10, 12]
    assert log == list(range(7))
    assert list(made.imap_unordered("job", [])) == []


def test_a_worker_that_is_lost_is_begun_again_so_often_and_no_more() -> None:
    left = RETRIES

    def dies(task: int) -> int:
        nonlocal left
        if task == 1 and left > 0:
            left -= 1
            raise BrokenProcessPool("gone")
        return 2 * task

    made, log, (worker,) = processes(dies)
    assert sorted(made.imap_unordered("job", range(3))) == [0, 2, 4]
    assert log == [0, 1, *[1] * RETRIES, 2]
    assert worker.closed == RETRIES
    left = RETRIES + 1
    made, log, (worker,) = processes(dies)
    with pytest.raises(DeviceError, match=rf"but {RETRIES + 1} worker processes died over it"):
        list(made.imap_unordered("job", range(3)))
    assert log == [0, 1, *[1] * RETRIES]
    assert RETRIES == 3


def test_an_error_of_a_task_is_raised_and_the_others_are_dropped() -> None:
    waiting: list[Future[Any]] = []

    def never(task: int) -> None:
        return None

    def breaks(task: int) -> int:
        raise ZeroDivisionError

    made, log, known = processes(never, breaks)
    submit = known[0].submit
    known[0].submit = lambda job, task: waiting.append(submit(job, task)) or waiting[-1]  # type: ignore[method-assign, func-returns-value]
    with pytest.raises(ZeroDivisionError):
        list(made.imap_unordered("job", range(9)))
    assert len(log) == 2
    assert [one.cancelled() for one in waiting] == [True]


def test_the_clock_ends_the_wait_for_a_worker() -> None:
    made, *_ = processes(lambda _: None)
    with clock.budget(0.01), pytest.raises(clock.OutOfTime):
        list(made.imap_unordered("job", range(2)))


def test_workers_share_threads_and_one_has_one_at_least(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert [threads_of(count) for count in (1, 3, 8, 9, 99)] == [8, 2, 1, 1, 1]


def test_each_job_has_its_number_and_engines_close_their_workers() -> None:
    made, _, known = processes(twice, twice)
    first, second = made.put("job"), made.put("job")  # type: ignore[arg-type]
    assert [one[0] for one in (first, second)] == [1, 2]  # type: ignore[index]
    made.close()
    assert [one.closed for one in known] == [1, 1]
    with pytest.raises(ConfigError, match="Expected a claim whose parts can be sent to worker processes"):
        made.put(lambda: 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "here"),
    [({}, True), ({"workers": 1}, False), ({"device": "cpu"}, True), ({"device": "cpu", "workers": 2}, False)],
)
def test_everything_is_measured_here_unless_workers_are_asked_for(
    settings: dict[str, Any], here: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[Any] = []
    monkeypatch.setattr(workers, "_open", {})
    monkeypatch.setattr(workers, "when_over", ends.append)
    given = Settings(**settings)
    engine = engine_for(given)
    assert isinstance(engine, InProcess) is here
    assert len(ends) == (0 if here else 1)
    if not here:
        assert engine_for(given) is engine
        other = engine_for(given.but({"workers": 5}))
        assert other is not engine
        assert len(ends) == 1
        ends[0]()
        assert workers._open == {}


class Slow:
    """Units that take what a test says."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def load(self, ids: torch.Tensor) -> torch.Tensor:
        return ids

    def measure(self, chunk: Any, *, first: bool) -> tuple[Observation, Tally]:
        warnings.warn("slow", RuntimeWarning, stacklevel=1)
        warnings.warn("slow", RuntimeWarning, stacklevel=1)
        if self.error is not None:
            raise self.error
        return Observation({"held": np.ones(len(chunk), bool)}, []), Tally(forward=int(first))

    def digests(self, chunk: Any) -> list[bytes]:
        return [b"a"] * len(chunk)


def test_a_result_has_its_samples_warnings_and_cost_and_an_error_its_place() -> None:
    station = Station(Slow())  # type: ignore[arg-type]
    for place in (0, 1):
        found = station(Work(place, torch.arange(2)))
        assert (found.place, found.tally.forward, found.marks) == (place, int(place == 0), [b"a", b"a"])
        assert found.warned == ((RuntimeWarning, "slow"),) * 2
        assert (found.error, found.over) == (None, False)
    error = DataError("no")
    broken = Station(Slow(error))(Work(3, torch.arange(2)))  # type: ignore[arg-type]
    assert (broken.place, broken.error, broken.over, broken.marks) == (3, error, False, [])
    late = Station(Slow(clock.OutOfTime()))(Work(4, torch.arange(2)))  # type: ignore[arg-type]
    assert (late.place, late.error, late.over) == (4, None, True)
    with pytest.raises(ZeroDivisionError):
        Station(Slow(ZeroDivisionError()))(Work(0, torch.arange(2)))  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [0, 1])
def test_other_versions_than_here_are_refused(place: int) -> None:
    workers.check_versions(versions())
    other = list(versions())
    other[place] += "1"
    with pytest.raises(ConfigError, match="on every worker, as here, but one has"):
        workers.check_versions((other[0], other[1]))
    assert "+" not in versions()[1]


def test_a_worker_reads_a_job_once_and_begins_again_with_another(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []

    def loads(job: bytes) -> Any:
        def start(device: str) -> Callable[[int], str]:
            begun.append(f"{job.decode()} on {device}")
            return lambda task: f"{job.decode()} {task}"

        return SimpleNamespace(start=start)

    monkeypatch.setattr(workers.pickle, "loads", loads)
    monkeypatch.setattr(workers, "_started", None)
    runs = [(1, b"a", 5), (1, b"a", 6), (2, b"b", 7), (1, b"a", 8)]
    assert [workers._run(number, job, "cpu", task) for number, job, task in runs] == ["a 5", "a 6", "b 7", "a 8"]
    assert begun == ["a on cpu", "b on cpu", "a on cpu"]


@pytest.mark.parametrize(
    ("device", "wanted", "names", "places"),
    [
        ("cpu", None, [], [("cpu", None)]),
        ("cpu", 3, [], [("cpu", None)] * 3),
        ("cuda:1", 2, ["0", "1"], [("cuda:1", None)] * 2),
        ("cuda:all", None, ["4", "5", "6", "7"], [("cuda:0", "4"), ("cuda:0", "5"), ("cuda:0", "6")]),
        ("cuda:all", 2, ["4", "5", "6"], [("cuda:0", "4"), ("cuda:0", "5")]),
        ("cuda:all", 4, ["4", "5", "6"], [("cuda:0", "4"), ("cuda:0", "5"), ("cuda:0", "6"), ("cuda:0", "4")]),
        ("xpu:all", None, [], [("xpu:0", None), ("xpu:1", None), ("xpu:2", None)]),
        ("xpu:all", 4, [], [("xpu:0", None), ("xpu:1", None), ("xpu:2", None), ("xpu:0", None)]),
    ],
)
def test_a_worker_has_its_device_in_turn(
    device: str, wanted: int | None, names: list[str], places: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = device.partition(":")[0]
    monkeypatch.setattr(workers.devices, "resolve", lambda *_: torch.device(kind))
    monkeypatch.setattr(workers.devices, "count", lambda _: 3)
    monkeypatch.setattr(workers.devices, "shared_out", lambda _: names)
    monkeypatch.setattr(workers.devices, "hardware", lambda _: "hardware")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    made = Processes.of(SimpleNamespace(device=device, workers=wanted))  # type: ignore[arg-type]
    assert [(one.device, one.visible) for one in made._workers] == places
    assert {one.threads for one in made._workers} == {8 // len(places)}
    assert (made.kind, made.remote, InProcess.remote, InProcess().kind) == ("hardware", True, False, "")


@pytest.mark.parametrize("visible", [None, "3"])
def test_a_worker_sees_its_device_alone(visible: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setenv(workers.devices.VISIBLE, "before")
    workers._begin(visible, 2)
    assert (os.environ[workers.devices.VISIBLE], threads) == (visible or "before", [2])


def test_a_job_without_parts_is_not_sent() -> None:
    with pytest.raises(ConfigError, match="parts can be sent to worker processes"):
        workers.pickle_job(lambda: None)  # type: ignore[arg-type]
