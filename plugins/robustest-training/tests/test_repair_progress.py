"""The line that tells how far a training is."""

from __future__ import annotations

import io
from types import SimpleNamespace
from typing import Any

import pytest
from robustest_training.repair import trainer
from robustest_training.repair.trainer import screen


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(trainer, "time", made)
    return made


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    made = Terminal()
    monkeypatch.setattr(trainer, "sys", SimpleNamespace(stderr=made))
    return made


def lines(terminal: Terminal) -> list[str]:
    return [line.strip() for line in terminal.getvalue().split("\r") if line.strip()]


def test_ones_own_callback_is_told_every_step(terminal: Terminal) -> None:
    told: list[Any] = []
    with screen(lambda *step: told.append(step), "training") as tell:
        tell(1, 3, 0.5)
        tell(2, 3, 0.25)
    assert told == [(1, 3, 0.5), (2, 3, 0.25)]
    assert terminal.getvalue() == ""


def test_nothing_is_written_where_nobody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    log = io.StringIO()
    monkeypatch.setattr(trainer, "sys", SimpleNamespace(stderr=log))
    with screen(None, "training") as tell:
        tell(1, 1, 0.5)
    assert log.getvalue() == ""


def test_a_terminal_has_one_line_with_what_is_left(terminal: Terminal, clock: Clock) -> None:
    with screen(None, "training") as tell:
        for done in range(1, 11):
            clock.now += 2.0
            tell(done, 40, 1 / done)
    assert lines(terminal)[0] == "training: 1 of 40 steps, loss 1.000, 78 s left"
    assert lines(terminal)[-1] == "training: 10 of 40 steps, loss 0.100, 60 s left"
    assert terminal.getvalue().endswith("\n")
    assert terminal.getvalue().count("\n") == 1


def test_steps_that_follow_at_once_are_not_all_written_but_the_last_is(terminal: Terminal, clock: Clock) -> None:
    with screen(None, "training") as tell:
        for done in range(1, 101):
            clock.now += 0.01
            tell(done, 100, 0.5)
    shown = lines(terminal)
    assert 3 <= len(shown) <= 8
    assert shown[-1].startswith("training: 100 of 100 steps")
    assert "0 s left" in shown[-1]


def test_a_run_that_was_resumed_reckons_with_its_own_steps_alone(terminal: Terminal, clock: Clock) -> None:
    with screen(None, "training") as tell:
        for done in (901, 902):
            clock.now += 1.0
            tell(done, 1000, 0.5)
    assert lines(terminal)[-1] == "training: 902 of 1000 steps, loss 0.500, 98 s left"


def test_a_shorter_line_covers_a_longer_one(terminal: Terminal, clock: Clock) -> None:
    with screen(None, "training") as tell:
        for done, loss in ((1, 123456.0), (2, 0.5)):
            clock.now += 1.0
            tell(done, 10, loss)
    first, second = terminal.getvalue().rstrip("\n").split("\r")[1:]
    assert len(first) == len(second)


def broken_off() -> None:
    with screen(None, "training") as tell:
        tell(1, 10, 0.5)
        raise ValueError("diverged")


def test_the_line_ends_where_training_fails(terminal: Terminal, clock: Clock) -> None:
    with pytest.raises(ValueError, match="diverged"):
        broken_off()
    assert terminal.getvalue().endswith("\n")
