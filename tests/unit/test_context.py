"""The running test's settings and recorder."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from robustest import Linf, Settings, scores_model
from robustest.context import Context, current, running
from robustest.errors import RobustestError
from robustest.measure import measure_robust_accuracy


def test_outside_a_test_there_are_the_default_settings_and_nothing_is_kept(toy: Any) -> None:
    assert current().settings == Settings()
    current().record(measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.0), attack="fgsm"))
    assert current().results == []


def test_the_context_is_current_inside_the_block_alone() -> None:
    outer, inner = Context(test="outer"), Context(test="inner")
    with running(outer) as given:
        assert given is outer is current()
        with running(inner):
            assert current() is inner
        assert current() is outer
    assert current().test == ""


def test_the_context_goes_when_the_block_is_left_by_an_error() -> None:
    with pytest.raises(KeyError), running(Context(test="a")):
        raise KeyError
    assert current().test == ""


def test_a_thread_that_was_handed_no_context_belongs_to_the_test_that_is_running() -> None:
    seen: list[str] = []
    with running(Context(test="a")):
        thread = threading.Thread(target=lambda: seen.append(current().test))
        thread.start()
        thread.join()
    assert seen == ["a"]
    assert current().test == ""


def test_results_are_kept_in_the_order_they_come(toy: Any) -> None:
    first, second = (measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(e), attack="fgsm") for e in (0.0, 0.1))
    context = Context(test="t.py::test")
    context.record(first)
    context.record(second)
    assert context.results == [first, second]


def test_the_replay_command_has_seed_and_test_and_survives_a_shell() -> None:
    context = Context(test="t.py::test[a b; rm]", rerun="pytest --robust")
    assert shlex.split(context.replay(7)) == ["pytest", "--robust", "--robust-seed=7", "t.py::test[a b; rm]"]
    assert Context().replay(7) == ""


def test_measurements_take_their_settings_from_the_running_test(toy: Any) -> None:
    with running(Context(settings=Settings(seed=5, attack="fgsm"), test="t")):
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.01))
    assert (result.evidence.seed, result.subject.method) == (5, "fgsm")


def test_a_claims_error_is_its_own_in_a_test_and_outside_first_or_last(toys: Callable[..., Any]) -> None:
    """What failing early may spend is alpha / family_size, whoever asks, and however often."""
    toy, wrong = toys(500), (toys(500).y + 1) % 3

    def ask() -> Any:
        return measure_robust_accuracy(toy.model, (toy.x, wrong), Linf(0.0), attack="fgsm", at_least=0.3)

    alone = ask()
    with running(Context(test="t")):
        beside = [ask() for _ in range(3)]
    with running(Context(settings=Settings(family_size=10), test="t")):
        less = ask()
    assert alone.rule.startswith("alpha = 0.0001 after ")
    assert {result.rule for result in beside} == {alone.rule}
    assert less.rule.startswith("alpha = 0.001 after ")


def test_passing_takes_no_part_of_what_is_shared(toys: Callable[..., Any]) -> None:
    toy = toys(500)
    rules = set()
    for size in (1, 10_000):
        with running(Context(settings=Settings(family_size=size), test="t")):
            result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(1e-5), attack="fgsm", at_least=0.5)
        rules.add(result.rule)
    (rule,) = rules
    assert rule.startswith("alpha = 0.01 after ")


def test_progress_counts_up_to_all_samples(toys: Callable[..., Any]) -> None:
    toy = toys(200)
    told: list[tuple[str, int, int, int]] = []
    with running(Context(test="t", progress=lambda *values: told.append(values))):
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), attack="fgsm")
    done = [values[1] for values in told]
    assert done == sorted(done)
    assert len(done) > 1
    assert {values[2] for values in told} == {200}
    assert told[-1][1] == 200
    assert told[-1][3] == result.outcomes.count(False)
    assert all("robust accuracy under Linf(eps=0.05)" in values[0] for values in told)


def test_progress_ends_with_an_early_verdict_and_with_an_error(toys: Callable[..., Any]) -> None:
    """Or a bar would stay part full, as if something had hung."""
    toy = toys(500)
    told: list[tuple[str, int, int, int]] = []
    with running(Context(test="t", progress=lambda *values: told.append(values))):
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.0), attack="fgsm", at_least=0.3)
        assert told[0][2] == 500
        assert told[-1][1:3] == (result.numbers.n, result.numbers.n)
        assert result.numbers.n < 500
        told.clear()

        def breaks_down(x: Any) -> Any:
            if told:
                raise RuntimeError
            return toy.model(torch.from_numpy(x)).detach()

        with pytest.raises(RobustestError):
            measure_robust_accuracy(scores_model(breaks_down), (toy.x, toy.y), Linf(0.0), attack="square")
    assert told[0][1] < told[0][2]
    assert told[-1][1] == told[-1][2]


def test_pytest_shows_no_words_of_others_where_it_shows_the_context() -> None:
    """Pytest prints a fixture's repr with every traceback, also with one that is no error of robustest's."""
    hostile = "##[error]owned \x1b]0;"
    shown = repr(
        Context(
            test=f"t.py::test[{hostile}]",
            ended=("call", OSError(hostile)),
            stumbled=[OSError(hostile)],
            unvouched=[hostile],
            unwritten=[hostile],
        )
    )
    assert shown == r"<Context of t.py::test[\x23#[error]owned \x1b]0;]: 0 results>"
    assert repr(Context()) == "<Context of no test: 0 results>"


def test_a_picture_that_cannot_be_written_is_named_and_keeps_no_verdict_from_being_reached() -> None:
    def save(error: Exception | None = None) -> str:
        if error is not None:
            raise error
        return "there.png"

    context = Context(test="t.py::test")
    assert (context.picture(save, "pictures"), context.unwritten) == ("there.png", [])
    assert context.picture(lambda: save(OSError(28, "No space left")), "pictures") is None
    assert context.picture(lambda: save(OSError("no number")), "pictures") is None
    assert context.unwritten == [
        "a picture could not be written to pictures: No space left",
        "a picture could not be written to pictures: no number",
    ]
    with pytest.raises(ZeroDivisionError):  # no error of writing
        context.picture(lambda: save(ZeroDivisionError()), "pictures")
    outside = Context()
    with pytest.warns(RuntimeWarning, match="a picture could not be written to pictures: No space left"):
        assert outside.picture(lambda: save(OSError(28, "No space left")), "pictures") is None
    assert outside.unwritten == []
