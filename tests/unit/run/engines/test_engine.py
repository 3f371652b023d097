"""Engines by name, opened once, closed with the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

from robustest import Settings, UnknownNameError
from robustest.context import over
from robustest.errors import NotInstalledError, PackError
from robustest.extensions import hookimpl
from robustest.run.workers import InProcess, engine_for


class Counting:
    """An engine of a plugin that counts what is done to it."""

    kind, remote = "cpu", True
    opened: ClassVar[list[Settings]] = []
    closed = 0

    def __init__(self, settings: Settings) -> None:
        self.opened.append(settings)

    def close(self) -> None:
        type(self).closed += 1


class Pack:
    """A pack with two engines."""

    @hookimpl
    def robustest_engines(self) -> dict[str, Any]:
        return {"counting": Counting, "broken": broken}


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch, packs: Callable[..., None]) -> None:
    over()
    monkeypatch.setattr(Counting, "opened", [])
    monkeypatch.setattr(Counting, "closed", 0)
    packs(clusters=Pack())


def broken(settings: Settings) -> Any:
    raise OSError("no route to host")


def test_without_a_word_everything_is_measured_in_this_process() -> None:
    assert isinstance(engine_for(Settings()), InProcess)


def test_in_this_process_a_task_is_done_when_its_result_is_asked_for() -> None:
    done: list[int] = []

    class Job:
        def start(self, device: str) -> Any:
            return lambda task: done.append(task) or task

    engine = InProcess()
    results = engine.imap_unordered(engine.put(Job()), iter([1, 2, 3]))
    assert next(results) == 1
    assert done == [1]


def test_a_plugins_engine_is_opened_once_and_closed_when_the_run_is_over() -> None:
    settings = Settings(engine="counting", workers=3)
    assert engine_for(settings) is engine_for(settings.but({"seed": 4}))
    assert [opened.workers for opened in Counting.opened] == [3]
    over()
    assert Counting.closed == 1
    engine_for(settings)
    assert len(Counting.opened) == 2
    over()
    assert Counting.closed == 2


def test_an_engine_that_does_not_start_says_why() -> None:
    expected = "Expected the pack 'clusters' to make the engine 'broken' but it raised OSError: no route to host"
    with pytest.raises(PackError, match=expected):
        engine_for(Settings(engine="broken"))


def test_an_unknown_engine_is_named_with_those_that_are_known() -> None:
    words = r"Unknown engine 'rya'\. Did you mean 'ray'\? Known: broken, counting, local, ray\."
    with pytest.raises(UnknownNameError, match=words):
        engine_for(Settings(engine="rya"))


def test_a_plugin_that_is_not_there_is_named() -> None:
    with pytest.raises(NotInstalledError, match=r"pip install 'robustest\[ray\]'"):
        engine_for(Settings(engine="ray"))
