"""The running test's settings and recorder."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable
from typing import Any

import pytest

from robustest import Linf, Result, Settings, measure_robust_accuracy
from robustest.context import Context, current, running
from robustest.verdicts import FailureBudget


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


def test_a_thread_of_its_own_does_not_see_another_tests_context() -> None:
    seen: list[str] = []
    with running(Context(test="a")):
        thread = threading.Thread(target=lambda: seen.append(current().test))
        thread.start()
        thread.join()
    assert seen == [""]


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
    assert (result.seed, result.method) == (5, "fgsm")


def outcome(toy: Any, verdict: str) -> Result:
    share = {"passed": 0.0, "failed": 1.0}[verdict]
    return measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.3), attack="fgsm", at_least=share)


def test_outside_a_test_a_claim_may_err_as_often_as_alpha_says() -> None:
    assert Context().fail_level(0.02) == 0.02
    assert Context().fail_level(0.02) == 0.02


def test_the_claims_of_a_test_share_the_error_that_the_run_leaves_it() -> None:
    context = Context(test="t", budget=FailureBudget(tests=10))
    fresh = FailureBudget(tests=10)
    assert [context.fail_level(0.02) for _ in range(3)] == [0.02 * fresh.share(number) for number in (1, 2, 3)]


def test_what_a_refuted_claim_had_goes_to_the_next_claim_of_its_test(toy: Any) -> None:
    context, fresh = Context(test="t", budget=FailureBudget(tests=10)), FailureBudget(tests=10)
    passed, failed = outcome(toy, "passed"), outcome(toy, "failed")
    assert context.fail_level(1.0) == fresh.share(1)
    context.record(failed)
    assert context.fail_level(1.0) == pytest.approx(fresh.share(1) + fresh.share(2))
    context.record(passed)
    assert context.fail_level(1.0) == fresh.share(3)


def test_a_result_that_took_nothing_of_the_budget_hands_nothing_on(toy: Any) -> None:
    """Measured outside, by a fixture of the session say, and recorded in a test."""
    failed = outcome(toy, "failed")
    budget, fresh = FailureBudget(tests=10), FailureBudget(tests=10).share(1)
    Context(test="a", budget=budget).record(failed)
    assert Context(test="b", budget=budget).fail_level(1.0) == fresh


def test_measurements_take_their_error_from_the_running_test(toys: Callable[..., Any]) -> None:
    toy = toys(500)
    with running(Context(test="t", budget=FailureBudget(tests=10))):
        first, second = (
            measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.0), attack="fgsm", at_least=share)
            for share in (0.3, 0.3)
        )
        wrong = [
            measure_robust_accuracy(toy.model, (toy.x, (toy.y + 1) % 3), Linf(0.0), attack="fgsm", at_least=0.3)
            for _ in range(2)
        ]
    assert first.rule == second.rule  # passing takes no share
    assert first.rule.startswith("alpha = 0.01 after ")
    levels = [0.01 * FailureBudget(tests=10).share(number) for number in (3, 4)]
    assert [result.rule.split(" after ")[0] for result in wrong] == [f"alpha = {level:.2g}" for level in levels]


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
