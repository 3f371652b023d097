"""A function that is asked: as few calls as the verdict needs, each kept, and nothing green that was not answered."""
# ruff: noqa: ARG005 - functions that are asked, score and price are given what the interface gives

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from robustest import (
    Calls,
    ConfigError,
    DataError,
    Deployed,
    ModelError,
    Result,
    Settings,
    TryAgain,
    Verdict,
    clock,
    context,
)
from robustest.context import Context
from robustest.data import Outcomes
from robustest.measure import measure_consistent_runs, measure_rate, measure_worst_group_rate

ITEMS = [{"item": f"q{i:03d}", "prompt": f"{i} + 1?", "expected": str(i + 1), "group": "ab"[i % 2]} for i in range(200)]
SENT: Counter[str] = Counter()
FAST = Calls(backoff=0.0)


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    SENT.clear()


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[Path]:
    with context.running(Context(settings=Settings(store=str(tmp_path), recheck=0.0), test="test_a.py::test_a")):
        yield tmp_path


def send(prompt: str, wrong: int = 20) -> str:
    """What is deployed: adds one, but for every twentieth number."""
    SENT[prompt] += 1
    number = int(prompt.split(maxsplit=1)[0])
    return str(number + (number % wrong != 0))


DEPLOYED = Deployed(send, "adder 1")
WORSE = Deployed(functools.partial(send, wrong=4), "adder 2")


def solved(item: dict[str, str]) -> str:
    return str(int(item["prompt"].split(maxsplit=1)[0]) + 1)


def adder(item: dict[str, str]) -> object:
    return DEPLOYED(item["prompt"])


def worse(item: dict[str, str]) -> object:
    return WORSE(item["prompt"])


def right(answer: Any, item: dict[str, str]) -> bool:
    return bool(answer == item["expected"])


def rate(system: Any = adder, items: Any = ITEMS, score: Any = right, **claim: Any) -> Result:
    return measure_rate(system, items, score=score, **{"at_least": 0.8, **claim})


def test_reading_stops_once_the_verdict_is_known() -> None:
    found = rate()
    assert found.verdict is Verdict.PASSED
    assert found.numbers.n == found.details["calls"] == sum(SENT.values()) < 150
    assert found.numbers.n_total == 200
    assert found.estimate is None
    assert found.outcomes.count(None) == 200 - found.numbers.n
    SENT.clear()
    failed = rate(at_least=0.99, scope="set")
    assert failed.verdict is Verdict.FAILED
    assert sum(SENT.values()) < 150


def test_a_claim_that_nothing_settles_early_reads_every_item() -> None:
    for more in ({"at_least": 0.95}, {"exact": True}, {"at_least": None}):
        SENT.clear()
        found = rate(**more)
        assert found.numbers.n == sum(SENT.values()) == 200
        assert found.estimate == 0.95
    assert rate(at_least=None).interval == measure_rate(recorded()).interval
    least = 0.75 * Settings().alpha  # a quarter is for early verdicts
    assert rate(exact=True).interval == measure_rate(recorded(), at_least=0.8, alpha=least).interval


def recorded(system: Callable[[Any], object] = adder, items: list[dict[str, str]] = ITEMS) -> Outcomes:
    return Outcomes.of([{**item, "score": right(system(item), item)} for item in items])


@pytest.mark.parametrize("threads", [1, 7])
def test_the_verdict_depends_on_no_thread(threads: int) -> None:
    """Items are read in the seeded order, also where right answers come first."""

    def slow_if_wrong(item: dict[str, str]) -> object:
        answer = adder(item)
        time.sleep(0.0 if answer == solved(item) else 0.01)
        return answer

    found = rate(slow_if_wrong, calls=Calls(concurrency=threads))
    plain = rate()
    assert (found.numbers.n, found.rule, found.outcomes, found.interval) == (
        plain.numbers.n,
        plain.rule,
        plain.outcomes,
        plain.interval,
    )
    assert found.details["calls"] <= plain.numbers.n + 2 * threads


def test_answers_are_remembered_and_asked_once(stored: Path) -> None:
    few = ITEMS[:60]
    first = rate(items=few, at_least=0.7)
    assert rate(items=few, at_least=0.5).details["calls"] == 0
    again = rate(items=few, at_least=0.7)
    assert again.evidence.cached
    assert (again.outcomes, again.rule) == (first.outcomes, first.rule)
    measure_worst_group_rate(adder, few, score=right, at_least=0.4)
    measure_consistent_runs(adder, few, score=right, max_flip_rate=0.5)
    assert set(SENT.values()) <= {1, 2}  # two runs, for the flips
    exact = rate(items=few, at_least=0.95, runs=2, exact=True)
    assert exact.details["calls"] + exact.details["recalled"] == 120
    assert set(SENT.values()) == {2}


def test_another_version_template_item_or_run_is_asked_anew(stored: Path) -> None:
    def templated(text: str, version: str) -> Callable[[Any], object]:
        inner = Deployed(send, version)
        return lambda item: inner(item["prompt"] + text)

    few = ITEMS[:12]
    assert rate(templated("", "1"), few).details["calls"] > 0
    assert rate(templated("", "1"), few).details["calls"] == 0
    assert rate(templated("", "2"), few).details["calls"] > 0
    assert rate(templated(" Think.", "1"), few).details["recalled"] == 0
    changed = [{**item, "prompt": f"{item['prompt']} Now!"} for item in few]
    assert rate(templated("", "1"), changed).details["recalled"] == 0


class Assistant:
    """Declares its version; its code has the template."""

    def robustest_fingerprint(self) -> str:
        return "1"

    def __call__(self, item: dict[str, str]) -> object:
        return DEPLOYED(item["prompt"])


def test_a_declared_version_does_not_stand_for_the_code_around_it(stored: Path) -> None:
    few = ITEMS[:12]
    assert rate(Assistant(), few).details["calls"] > 0
    assert rate(Assistant(), few).details["calls"] == 0

    class Other(Assistant):
        def __call__(self, item: dict[str, str]) -> object:
            return DEPLOYED(item["prompt"] + " Think.")

    assert rate(Other(), few).details["recalled"] == 0


def test_what_may_have_changed_behind_a_network_is_not_remembered(stored: Path) -> None:
    import socket

    def reached(item: dict[str, str]) -> str:
        with socket.socket() as one:
            one.settimeout(0.01)
            one.connect_ex(("127.0.0.1", 9))
        return solved(item)

    first = rate(reached)
    assert "reaches outside this process" in " ".join(first.words.notes)
    assert rate(reached).details["recalled"] == 0


def test_a_score_is_applied_to_remembered_answers(stored: Path) -> None:
    assert rate().verdict is Verdict.PASSED
    found = rate(score=lambda answer, item: answer == "never")
    assert found.details["recalled"] > 0
    assert found.verdict is Verdict.FAILED


def test_a_call_without_an_answer_is_repeated_and_one_with_an_answer_never() -> None:
    tried: Counter[str] = Counter()

    def flaky(item: dict[str, str]) -> object:
        tried[item["item"]] += 1
        if tried[item["item"]] == 1:
            raise TryAgain("busy", after=0.0) if item["group"] == "a" else TimeoutError("late")
        return adder(item)

    found = rate(flaky, calls=Calls(backoff=0.0, concurrency=3))
    assert found.verdict is Verdict.PASSED
    assert found.details["failed"] == 0
    assert set(SENT.values()) == {1}


def test_an_answer_that_is_no_answer_is_a_failure_at_once() -> None:
    """A system whose answer cannot be parsed gets no second chance: it would be measured as the best of seven."""
    asked: Counter[str] = Counter()

    def sloppy(item: dict[str, str]) -> str:
        asked[item["item"]] += 1
        if (int(item["item"][1:]) + asked[item["item"]]) % 3 == 0:
            raise ValueError("no JSON in the answer")
        return solved(item)

    found = rate(sloppy, calls=FAST, at_least=0.95)
    assert found.verdict is Verdict.FAILED
    assert set(asked.values()) == {1}
    assert found.details["failed"] > 0
    assert "failed and counted as 0" in " ".join(found.words.caveats)
    assert "ValueError: no JSON" in found.counterexamples[0].answer


def test_failures_are_outcomes_when_the_test_runs_again(stored: Path) -> None:
    """Otherwise running a test again would keep what came and ask for the rest, until it is green."""

    def failing(item: dict[str, str]) -> str:
        if int(item["item"][1:]) % 3 == 0:
            raise TimeoutError("late")
        return solved(item)

    system = Deployed(failing, "1")
    first = rate(system, calls=Calls(retries=1, backoff=0.0), at_least=0.9, scope="set")
    assert first.verdict is Verdict.FAILED
    again = rate(system, calls=Calls(retries=1, backoff=0.0), at_least=0.9, scope="set")
    assert again.details["calls"] == 0
    assert again.verdict is Verdict.FAILED
    assert "have no answer: --robust-no-cache asks again" in " ".join(again.words.notes)


def test_a_system_that_is_down_is_no_outcome(stored: Path) -> None:
    def down(item: dict[str, str]) -> str:
        raise ConnectionRefusedError("nobody is there")

    system = Deployed(down, "1")
    for items in (ITEMS, ITEMS[:3]):
        with pytest.raises(ModelError, match="nobody is there"):
            rate(system, items, calls=Calls(retries=1, backoff=0.0))
    assert not list(stored.rglob("*.safetensors"))


def test_a_missing_secret_is_an_error_not_an_answer() -> None:
    def unset(item: dict[str, str]) -> str:
        raise ConfigError("Expected the variable KEY")

    with pytest.raises(ConfigError, match="KEY"):
        rate(unset)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_budget_of_calls_is_kept_and_decides_nothing(stored: Path, threads: int) -> None:
    calls = Calls(budget=30, concurrency=threads, backoff=0.0)
    tried = [rate(calls=calls) for _ in range(5)]
    assert [one.verdict for one in tried[:2]] == [Verdict.INCONCLUSIVE] * 2
    assert "budget: all 30 calls were made" in tried[0].rule
    assert tried[0].ruling.reasons == ("budget",)
    assert all(one.details["calls"] <= 30 for one in tried)
    assert tried[-1].verdict is Verdict.PASSED
    assert set(SENT.values()) == {1}
    assert tried[-1].rule == rate().rule


def test_a_budget_that_ends_further_ahead_is_spent_on_what_comes_first() -> None:
    """The calls in the budget are slow: those behind it, which are refused at once, must not stop the reading."""

    def slow(item: dict[str, str]) -> object:
        time.sleep(0.05)
        return solved(item)

    found = rate(slow, at_least=0.9999, calls=Calls(budget=6, concurrency=8, backoff=0.0))
    assert (found.verdict, found.numbers.n) == (Verdict.INCONCLUSIVE, 6)


def test_retries_count_in_the_budget() -> None:
    def flaky(item: dict[str, str]) -> object:
        SENT["all"] += 1
        if SENT["all"] % 2:
            raise TryAgain("busy")
        return solved(item)

    found = rate(flaky, calls=Calls(budget=25, backoff=0.0, concurrency=3))
    assert SENT["all"] <= 25
    assert found.verdict is Verdict.INCONCLUSIVE


def test_a_budget_of_money_is_kept() -> None:
    found = rate(calls=Calls(cost=lambda answer, item: 0.1, max_cost=2.05, concurrency=4))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.details["spent"] == pytest.approx(2.0)
    assert "2 of 2.05 was spent" in found.rule


def test_an_answer_that_was_free_is_no_price() -> None:
    """Else all threads begin at once after it, each at a price that nobody knows."""
    prices = iter([0.0])

    def slow(item: dict[str, str]) -> object:
        time.sleep(0.01)
        return adder(item)

    calls = Calls(cost=lambda answer, item: next(prices, 1.0), max_cost=2.0, concurrency=8)
    found = rate(slow, calls=calls)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.details["spent"] == 2.0


@pytest.mark.parametrize(
    ("cost", "message"), [(lambda answer, item: 1 / 0, "ZeroDivisionError"), (lambda answer, item: -1.0, ">= 0")]
)
def test_a_cost_that_cannot_be_known_ends_the_claim(stored: Path, cost: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        rate(calls=Calls(cost=cost, max_cost=5.0))
    assert sum(SENT.values()) == 1
    rate()
    assert max(SENT.values()) == 1, "the answer that was paid for is kept"


@pytest.mark.parametrize("value", [1.01, -0.1, float("nan"), "yes", None, 100])
def test_a_score_outside_its_range_is_an_error(value: Any) -> None:
    with pytest.raises(DataError, match=r"a score in 0\.\.1"):
        rate(score=lambda answer, item: value)


@pytest.mark.parametrize("value", [0, 1, 0.5, 1.0, np.float32(0.25), np.int64(1), True])
def test_a_score_in_its_range_counts_as_it_is(value: Any) -> None:
    assert rate(score=lambda answer, item: value, at_least=None, exact=True).estimate == float(value)


def test_a_score_or_an_answer_that_breaks_is_an_error() -> None:
    with pytest.raises(ConfigError, match="KeyError"):
        rate(score=lambda answer, item: item["solution"])
    with pytest.raises(DataError, match="JSON types"):
        rate(lambda item: threading.Lock())


def test_a_system_sees_no_solution_and_changes_no_score() -> None:
    def cheating(item: dict[str, str]) -> str:
        assert "expected" not in item
        item["expected"] = "cheat"
        return "cheat"

    assert rate(cheating).verdict is Verdict.FAILED
    peeking = rate(str, score=lambda answer, item: f"'{item['expected']}'" in answer)
    assert peeking.verdict is Verdict.FAILED


def test_a_corrected_solution_needs_no_new_answer(stored: Path) -> None:
    few = ITEMS[:20]
    assert rate(adder, [{**item, "expected": "?"} for item in few]).verdict is Verdict.FAILED
    assert rate(adder, few, exact=True).details["recalled"] > 0


def test_a_function_that_reads_a_file_is_remembered_with_the_file(stored: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.txt"
    template.write_text("{}")

    def filled(item: dict[str, str]) -> object:
        return DEPLOYED(template.read_text().format(item["prompt"]))

    assert rate(filled, ITEMS[:20]).details["recalled"] == 0
    assert rate(filled, ITEMS[:20]).details["recalled"] == 20
    template.write_text("{} Think.")
    assert rate(filled, ITEMS[:20]).details["recalled"] == 0


def test_a_function_with_a_state_is_asked_about_all_and_not_remembered(stored: Path) -> None:
    """Right until its credit is used up: the first items are no random part of all."""
    credit = {"left": 60}

    def paid(item: dict[str, str]) -> str:
        credit["left"] -= 1
        return solved(item) if credit["left"] >= 0 else ""

    found = rate(paid, ITEMS[:100])
    assert found.verdict is Verdict.FAILED
    assert found.estimate == 0.6
    assert "the function's state changed as it was asked" in found.words.caveats
    assert not list(stored.rglob("chunks/*/*"))


def test_a_cache_is_not_consistent() -> None:
    import random

    with pytest.raises(ConfigError, match="without a cache"):
        Deployed(functools.lru_cache(send), "1")

    @functools.lru_cache
    def cached(prompt: str) -> str:
        return str(random.random() < 0.5)  # noqa: S311

    found = measure_consistent_runs(
        lambda item: cached(item["prompt"]), ITEMS, score=lambda answer, item: answer == "True", max_flip_rate=0.3
    )
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "without a cache" in found.rule


def test_flips_between_runs_of_a_function() -> None:
    seen: Counter[str] = Counter()

    def shaky(item: dict[str, str]) -> str:
        seen[item["item"]] += 1
        return solved(item) if seen[item["item"]] == 1 or item["group"] == "a" else ""

    system = Deployed(shaky, "1")
    assert measure_consistent_runs(system, ITEMS, score=right, max_flip_rate=0.2).verdict is Verdict.FAILED
    seen.clear()
    assert measure_consistent_runs(system, ITEMS, score=right, exact=True).estimate == 0.5
    steady = measure_consistent_runs(adder, ITEMS, score=right, max_flip_rate=0.1)
    assert steady.verdict is Verdict.PASSED
    assert steady.numbers.n < 200


def test_consistency_needs_two_runs() -> None:
    with pytest.raises(ConfigError, match=">= 2"):
        measure_consistent_runs(adder, ITEMS, score=right, runs=1)


def test_a_failed_run_agrees_with_no_other() -> None:
    def failing(item: dict[str, str]) -> str:
        if item["group"] == "a":
            raise ValueError("no answer")
        return solved(item)

    found = measure_consistent_runs(Deployed(failing, "1"), ITEMS, score=right, runs=3, exact=True)
    assert found.estimate == 0.5


def test_each_group_is_asked_until_it_is_settled() -> None:
    found = measure_worst_group_rate(adder, ITEMS, score=right, at_least=0.6)
    assert found.verdict is Verdict.PASSED
    assert found.numbers.n == sum(SENT.values()) < 160

    def bad(item: dict[str, str]) -> object:
        return "" if item["group"] == "b" else adder(item)

    failed = measure_worst_group_rate(bad, [*ITEMS, {"prompt": "no group"}], score=right, at_least=0.6)
    assert failed.verdict is Verdict.FAILED
    assert failed.numbers.n < 100
    assert {"worst group 'b'", "1 item in no group"} <= set(failed.words.caveats)


def test_two_functions_are_compared_on_the_same_items() -> None:
    common: dict[str, Any] = {"at_least": None, "tolerance": 0.05}
    found = rate(worse, no_worse_than=adder, **common)
    assert found.details["baseline"]["model"] == "adder"  # reports write "the model" before it
    assert found.verdict is Verdict.FAILED
    assert found.subject.scope == "population"
    assert found.details["baseline"]["pairs"] == found.numbers.n < 200
    assert "after" in found.rule
    assert rate(worse, no_worse_than=adder, exact=True, **common).details["baseline"]["pairs"] == 200
    assert rate(adder, no_worse_than=worse, **common).verdict is Verdict.PASSED
    assert rate(worse, no_worse_than=recorded(), **common).verdict is Verdict.FAILED
    assert rate(adder, no_worse_than=recorded(worse), **common).verdict is Verdict.PASSED
    few = rate(worse, no_worse_than=adder, calls=Calls(budget=50), **common)
    assert few.verdict is Verdict.INCONCLUSIVE
    assert "the comparison needs every item" in few.rule
    part = rate(adder, at_least=0.8, no_worse_than=worse, max_samples=60, tolerance=0.05)
    assert part.verdict is Verdict.INCONCLUSIVE


MANY = [{"item": f"m{i:04d}", "prompt": f"{i} + 1?", "expected": str(i + 1)} for i in range(1500)]


def test_a_comparison_is_settled_before_the_last_item() -> None:
    def later(item: dict[str, str]) -> object:  # as good, of other code
        return solved(item)

    common: dict[str, Any] = {"items": MANY, "at_least": None, "tolerance": 0.05}
    found = rate(later, no_worse_than=recorded(adder, MANY), **common)
    assert found.verdict is Verdict.PASSED
    assert found.numbers.n < 400
    low, high = found.details["baseline"]["drop_interval"]
    assert low < 0 < high <= 0.05
    assert "no worse: fell by" in found.rule
    assert not any("new" in one or "missing" in one for one in found.words.caveats)
    failed = rate(worse, no_worse_than=adder, **common)
    assert failed.verdict is Verdict.FAILED
    assert failed.numbers.n < 200
    # A rate is known before the other function is asked, which then catches up.
    both = rate(adder, no_worse_than=worse, **{**common, "at_least": 0.8})
    assert both.verdict is Verdict.PASSED
    assert both.details["baseline"]["pairs"] <= both.numbers.n < 400


def test_a_comparison_reads_all_where_items_could_hide_a_loss() -> None:
    lost = [*MANY, {"item": "only theirs", "prompt": "9000 + 1?", "expected": "9001"}]
    common: dict[str, Any] = {"items": MANY, "at_least": None, "tolerance": 0.05}
    assert rate(adder, no_worse_than=recorded(worse, lost), **common).numbers.n == len(MANY)
    other = [{**item, "prompt": f"{item['prompt']} Think."} if item["item"] == "m0003" else item for item in MANY]
    assert rate(adder, no_worse_than=recorded(worse, other), **common).numbers.n == len(MANY)
    few = rate(adder, no_worse_than=recorded(worse), at_least=None, tolerance=0.05, scope="set")
    assert few.numbers.n == len(ITEMS)


def test_a_rate_that_cannot_fall_too_far_passes_nothing_early() -> None:
    def poor(item: dict[str, str]) -> object:
        return adder(item) if int(item["item"][1:]) % 25 == 0 else ""

    found = rate(solved, items=MANY, no_worse_than=poor, at_least=None, tolerance=0.05)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "no loss could exceed the tolerance" in found.rule


def test_no_function_is_better_than_itself() -> None:
    found = rate(adder, items=MANY, no_worse_than=adder, at_least=0.5, tolerance=0.05)
    assert found.verdict is not Verdict.PASSED
    assert "same_model" in found.rule


def test_a_tolerance_that_cannot_be_shown_is_refused_before_anything_is_spent() -> None:
    asked = []

    def system(item: dict[str, str]) -> object:
        asked.append(item)
        return solved(item)

    with pytest.raises(ConfigError, match=r"200 items can show tolerance=0\.0\d+, and about"):
        rate(system, at_least=None, no_worse_than=adder)
    assert not asked
    assert rate(system, at_least=None, no_worse_than=worse, scope="set").verdict is Verdict.PASSED
    assert len(asked) == len(ITEMS)


def test_a_function_that_has_failed_is_compared_with_no_other() -> None:
    asked = []

    def other(item: dict[str, str]) -> object:
        asked.append(item)
        return solved(item)

    found = rate(worse, at_least=0.95, no_worse_than=other, tolerance=0.01)
    assert found.verdict is Verdict.FAILED
    assert not asked
    assert rate(adder, no_worse_than=other, tolerance=0.01).verdict is Verdict.FAILED
    assert len(asked) == len(ITEMS)


def test_a_claim_out_of_time_decides_on_what_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes with each call, and at no other time."""
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=SENT.total))
    found = rate(time_budget=20.0)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert 0 < found.numbers.n <= SENT.total() < 30
    assert "the clock" in found.rule


@pytest.mark.parametrize(
    ("items", "error", "message"),
    [
        ([], DataError, "at least one item"),
        ("prompt", ConfigError, "items to be a sequence"),
        (["a", "b", "a"], DataError, "items 1 and 3"),
        ([{"item": 1, "prompt": "a"}, {"item": 1, "prompt": "b"}], DataError, "different names"),
        ([{"item": 1, "prompt": "a"}, {"item": 2, "prompt": "a"}], DataError, "different contents"),
        ([threading.Lock()], DataError, "plain values"),
    ],
)
def test_items_that_cannot_be_told_apart_are_named(items: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        rate(items=items)


@pytest.mark.parametrize(
    "wrong",
    [
        {"items": None},
        {"score": None},
        {"runs": 0},
        {"calls": 3},
        {"missing": "drop"},
        {"system": Outcomes.of([{"item": "a", "score": 1}])},
        {"system": Outcomes.of([{"item": "a", "score": 1}]), "items": None, "score": None, "runs": 3},
    ],
)
def test_a_wrong_argument_of_a_function_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Expected"):
        rate(**wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"retries": -1},
        {"budget": 0},
        {"backoff": -1.0},
        {"cost": len},
        {"max_cost": 1.0},
        {"cost": len, "max_cost": 0.0},
        {"cost": 1, "max_cost": 1.0},
        {"retry_on": [OSError]},
    ],
)
def test_wrong_settings_of_calls_are_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Expected"):
        Calls(**wrong)


def test_items_of_a_frame_and_texts_are_asked() -> None:
    columns = {"item": ["a", "b"], "prompt": ["1 + 1?", "2 + 1?"], "expected": ["2", "3"]}
    assert rate(items=columns, scope="set").verdict is Verdict.PASSED
    assert rate(lambda text: text, ["a", "b"], lambda answer, text: answer == text, scope="set").estimate == 1


def _claim(folder: Path, sent: Path, killed_at: int | None = None) -> None:
    calls = itertools.count(1)

    def write(prompt: str) -> str:
        with sent.open("a") as file:
            file.write(f"{prompt}\n")
        if next(calls) == killed_at:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.002)
        return send(prompt)

    inner = Deployed(write, "1")
    with context.running(Context(settings=Settings(store=str(folder), recheck=0.0), test="test_a.py::test_a")):
        rate(lambda item: inner(item["prompt"]), at_least=0.95, calls=Calls(concurrency=4))


def test_nothing_is_lost_in_a_killed_run(tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    process = multiprocessing.get_context("fork").Process(target=_claim, args=(tmp_path / "store", sent, 60))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    _claim(tmp_path / "store", sent)
    counts = Counter(sent.read_text().splitlines())
    assert len(counts) == 200
    assert sum(counts.values()) <= 200 + 4, "only the calls under way are made again"


@pytest.mark.parametrize("exact", [False, True])
def test_asked_items_of_one_input_are_one_draw_of_the_population(exact: bool) -> None:
    """A running number makes each another content, and no other input."""

    def rate(inputs: int, times: int, at_least: float, **more: Any) -> Result:
        items = [{"nr": k, "prompt": f"p{k % inputs}"} for k in range(inputs * times)]
        how: dict[str, Any] = {"score": lambda *_: True, "at_least": at_least, "exact": exact, "cache": False, **more}
        return measure_rate(lambda item: item["prompt"].upper(), items, **how)

    few = rate(20, 20, 0.9)
    assert (few.verdict, few.ruling.reasons) == (Verdict.INCONCLUSIVE, ("copies",))
    assert "380 of 400 items have the input of another" in few.rule
    assert rate(20, 20, 0.5).verdict is Verdict.PASSED
    assert rate(20, 20, 0.9, scope="set").verdict is Verdict.PASSED
    assert rate(400, 1, 0.9).verdict is Verdict.PASSED
    assert rate(300, 2, 0.9).verdict is Verdict.PASSED, "reading goes on until enough inputs were asked"
