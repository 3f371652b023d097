"""The clock of a claim: the nearest end holds, and blocks that end give the time before back."""

from __future__ import annotations

import math
import threading
import time

import pytest

from robustest import clock

NOW = 1000.0


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time that both clocks show, which a test may set."""
    shown = [NOW]
    monkeypatch.setattr(time, "monotonic", lambda: shown[0])
    monkeypatch.setattr(time, "time", lambda: shown[0] + 5e8)
    return shown


def over() -> bool:
    try:
        clock.check()
    except clock.OutOfTime:
        return True
    return False


def test_without_a_budget_there_is_no_end(at: list[float]) -> None:
    assert (clock.left(), clock.until(), over()) == (None, None, False)
    with clock.budget(None):
        at[0] += 1e9
        assert (clock.left(), over()) == (None, False)


def test_a_budget_ends_after_its_seconds(at: list[float]) -> None:
    with clock.budget(10):
        for passed, left, ended in ((0, 10, False), (9, 1, False), (10, 0, False), (10.5, 0, True), (99, 0, True)):
            at[0] = NOW + passed
            assert (clock.left(), over()) == (left, ended)
    assert (clock.left(), over()) == (None, False)


@pytest.mark.parametrize(("outer", "inner", "left"), [(10, 5, 5), (5, 10, 5), (5, None, 5), (None, 5, 5)])
def test_of_two_budgets_the_nearer_end_holds(
    outer: float | None, inner: float | None, left: float, at: list[float]
) -> None:
    with clock.budget(outer):
        with clock.budget(inner):
            assert clock.left() == left
        assert clock.left() == outer
        with clock.unlimited():
            at[0] += 100
            assert (clock.left(), over()) == (None, False)
            with clock.budget(3):
                assert clock.left() == 3
        assert clock.left() == (None if outer is None else 0)


def test_an_end_is_given_to_other_processes_by_the_wall_clock(at: list[float]) -> None:
    with clock.budget(10):
        end = clock.until()
    assert end == NOW + 10 + 5e8
    with clock.budget_until(end):
        assert clock.left() == pytest.approx(10)
        at[0] += 4
        assert clock.left() == pytest.approx(6)
    with clock.budget_until(None):
        assert clock.left() is None
    with clock.budget_until(NOW + 5e8 - 3):
        assert clock.left() == 0
        assert over()


def test_what_is_stopped_is_out_of_time_and_only_inside(at: list[float]) -> None:
    stop = threading.Event()
    with clock.until_set(stop):
        assert not over()
        stop.set()
        assert over()
    assert not over()
    with clock.budget(5), clock.until_set(threading.Event()):
        at[0] += 6
        assert over(), "the budget holds too"


def test_a_block_that_raises_gives_the_time_before_back(at: list[float]) -> None:
    with pytest.raises(ZeroDivisionError), clock.budget(1):
        raise ZeroDivisionError
    assert clock.left() is None
    assert not isinstance(clock.OutOfTime(), Exception), "code around the model must not catch it"
    assert math.isfinite(at[0])
