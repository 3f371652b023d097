"""How a model is asked before anything that is remembered of it counts: how much, and what is made of the answers."""

# ruff: noqa: ARG004, ARG005 - functions are given what their interfaces give

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import (
    Calls,
    ConfigError,
    DataError,
    Deployed,
    Linf,
    ModelError,
    Result,
    Settings,
    TryAgain,
    Verdict,
    clock,
    labels_model,
    scores_model,
)
from robustest.context import Context, running
from robustest.data.outcomes import Outcomes, digest_of
from robustest.errors import PackError, StoreError
from robustest.measure import measure_corruption_robustness, measure_robust_accuracy, measure_shift_accuracy
from robustest.run import asking
from robustest.run.asking import (
    _DOWN,
    _Answers,
    _CalledOff,
    _identity,
    _Interview,
    _Reply,
    _Spent,
    ask,
    questions,
)

X = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = (X.flatten(1).mean(1) > 0.5).long()
COMMON = 0.55  # a little above the share of the larger class


@pytest.fixture
def remembering(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(store=str(tmp_path), recheck=0.0, exact=True)
    with running(Context(settings=settings, test="t.py::t")):
        yield settings


class Counted:
    """Scores of brightness by a function that says itself what it is; it counts samples, and may be turned round."""

    def __init__(self) -> None:
        self.samples: list[int] = []
        self.sign = 1.0

    def robustest_fingerprint(self) -> str:
        return "an endpoint, version 1"

    def __call__(self, x: NDArray[np.float32]) -> NDArray[Any]:
        self.samples.append(len(x))
        z = self.sign * (x.reshape(len(x), -1).mean(1) - 0.5)
        return np.stack([-z, z], 1)

    def asked(self) -> int:
        total = sum(self.samples)
        self.samples.clear()
        return total


CLAIMS: dict[str, Callable[[Any], Result]] = {
    "attack": lambda model: measure_robust_accuracy(model, (X, Y), Linf(0.001), attack="random-draws", at_least=COMMON),
    "shift": lambda model: measure_shift_accuracy(model, (X, Y), "brightness", severity=1, at_least=COMMON),
    "corruptions": lambda model: measure_corruption_robustness(
        model, (X, Y), corruptions=["brightness", "contrast"], min_accuracy=COMMON
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("kind", ["said", "budget"])
def test_an_endpoint_is_asked_eight_samples(claim: str, kind: str, remembering: Settings) -> None:
    endpoint = Counted()
    model = scores_model(endpoint, max_queries=200 if kind == "budget" else None)
    first = CLAIMS[claim](model)
    endpoint.asked()
    again = CLAIMS[claim](model)
    assert again.evidence.cached
    assert endpoint.asked() == 8
    assert again.outcomes == first.outcomes
    assert again.cost == first.cost
    endpoint.sign = -1.0  # another model under the same name
    assert not CLAIMS[claim](model).evidence.cached


def test_an_endpoint_s_budget_has_room_for_being_asked(remembering: Settings) -> None:
    """No sample is sent more often than was allowed, what is remembered included."""
    endpoint, sent = Counted(), {}

    def count(x: NDArray[np.float32]) -> NDArray[Any]:
        for row in x:
            near = int(np.abs(X.numpy() - row).reshape(len(X), -1).max(1).argmin())
            sent[near] = sent.get(near, 0) + 1
        return endpoint(x)

    count.robustest_fingerprint = endpoint.robustest_fingerprint  # type: ignore[attr-defined]
    result = measure_robust_accuracy(
        scores_model(count, max_queries=30),
        (X, Y),
        Linf(0.001),
        attack="square",
        at_least=COMMON,
        suppress=["weak_search"],
    )
    assert result.verdict is Verdict.PASSED
    assert max(sent.values()) <= 30


def test_labels_are_asked_about_as_many_samples_as_other_local_functions(remembering: Settings) -> None:
    calls: list[int] = []

    def predict(x: NDArray[np.float32]) -> NDArray[Any]:
        calls.append(len(x))
        return (x.reshape(len(x), -1).mean(1) > 0.5).astype(int)

    # What a function keeps is part of it: a list that grows is another function.
    predict_globals = labels_model(predict, classes=2)
    first = measure_shift_accuracy(predict_globals, (X, Y), "brightness", severity=1, at_least=COMMON)
    assert first.verdict is Verdict.PASSED
    assert calls[0] == 32


class Bright(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(10.0))

    def forward(self, x: Tensor) -> Tensor:
        z = self.scale * (x.flatten(1).mean(1) - 0.5) + self.more(x)
        return torch.stack([-z, z], 1)

    def more(self, x: Tensor) -> Any:
        return 0.0


TICKS = itertools.count()


class Ticking(Bright):
    """Answers a bit otherwise each time, by less than a check for random models minds."""

    def more(self, x: Tensor) -> Any:
        return tick() * 1e-7


def tick() -> int:
    return next(TICKS)


tick.robustest_fingerprint = lambda: "a clock"  # type: ignore[attr-defined]


class Shaken(torch.autograd.Function):
    """Nothing, with a gradient that differs in its last bits each time, as on some devices."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient * (1 + tick() * 1e-6)


class OfShakenGradient(Bright):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(Shaken.apply(x))


class Drawing(Bright):
    def more(self, x: Tensor) -> Any:
        return torch.randn(len(x)) * 0.01


def attacked(model: nn.Module, **how: Any) -> Result:
    return measure_robust_accuracy(model, (X, Y), Linf(0.001), attack="fgsm", at_least=COMMON, **how)


def test_what_does_not_answer_twice_alike_is_not_remembered(remembering: Settings) -> None:
    for _ in range(2):
        result = attacked(Ticking())
        assert (result.verdict, result.evidence.cached) == (Verdict.PASSED, "")
        assert any(note.startswith("not remembered: the model does not answer") for note in result.words.notes)


def test_gradients_that_do_not_repeat_to_the_bit_do_not_count(remembering: Settings) -> None:
    assert attacked(OfShakenGradient()).verdict is Verdict.PASSED
    assert attacked(OfShakenGradient()).evidence.cached


def test_a_model_that_draws_is_asked_with_the_same_draws(remembering: Settings) -> None:
    first = attacked(Drawing(), suppress=("random_forward",))
    torch.rand(7)
    again = attacked(Drawing(), suppress=("random_forward",))
    assert again.evidence.cached
    assert again.outcomes == first.outcomes


class Switched(Bright):
    """Answers otherwise from some call on."""

    def __init__(self, switch: Callable[[], float]) -> None:
        super().__init__()
        self.switch = switch

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * self.switch()


class Switch:
    """Turns answers round once so many calls were made."""

    def __init__(self) -> None:
        self.calls, self.after = 0, 10**9

    def robustest_fingerprint(self) -> str:
        return "a switch"

    def __call__(self) -> float:
        self.calls += 1
        return 1.0 if self.calls <= self.after else -1.0


def test_a_model_that_changes_while_it_is_measured_leaves_nothing_that_another_run_would_recall(tmp_path: Path) -> None:
    """Whichever pass it changes at, chunks measured after it are not kept under what the model answered before."""
    switch = Switch()
    model = Switched(switch)

    def shifted(store: Path | None) -> Result:
        settings = Settings(exact=True, recheck=0.0, store=None if store is None else str(store))
        with running(Context(settings=settings, test="t.py::t")):
            return measure_shift_accuracy(model, (X, Y), "brightness", severity=1, at_least=COMMON)

    fresh = shifted(None)
    switch.calls = 0
    shifted(tmp_path / "all")
    calls, told = switch.calls, 0
    assert calls > 15
    for after in range(1, calls):
        switch.calls, switch.after = 0, after
        with suppress(ModelError):  # the check for random models may see it first
            told += any(note.startswith("not remembered") for note in shifted(tmp_path / str(after)).words.notes)
        switch.calls, switch.after = 0, 10**9
        assert shifted(tmp_path / str(after)).outcomes == fresh.outcomes, after
    assert told > 5


def test_two_states_of_a_model_are_never_mixed(remembering: Settings) -> None:
    """What one state left is not taken for the other's, though each has some chunks of its own."""
    switch = Switch()
    model = Switched(switch)

    def shifted(**how: Any) -> Result:
        return measure_shift_accuracy(model, (X, Y), "brightness", severity=1, at_least=COMMON, **how)

    right = shifted()
    switch.after = 0
    shifted(max_samples=64)
    wrong = shifted()
    assert sum(map(bool, wrong.outcomes)) < 100 < sum(map(bool, right.outcomes))
    switch.after = 10**9
    again = shifted()
    assert again.evidence.cached
    assert again.outcomes == right.outcomes


# Items asked of a function


ITEMS = questions([{"item": f"q{i}", "prompt": f"{i}?", "expected": i, "group": "ab"[i % 2]} for i in range(8)])


@dataclass
class Reads:
    """A judge that needs some items, and knows the verdict after so many."""

    enough: int = 99
    needed: Callable[[int], bool] = lambda _: True
    scores: list[tuple[int, list[Any]]] = field(default_factory=list)
    read_on: bool = False

    def wants(self, place: int) -> bool:
        return self.needed(place)

    def add(self, place: int, scores: Sequence[float | bool | None]) -> bool:
        self.scores.append((place, list(scores)))
        return len(self.scores) >= self.enough and not self.read_on

    def read_all(self) -> None:
        self.read_on = True


def replies_to(
    system: Any, judge: Any = None, *, runs: int = 1, calls: Any = None, score: Any = None, **options: Any
) -> Any:
    """Ask about the items; every answer scores 1 unless `score` says otherwise."""
    settings = Settings(**{"store": None, "recheck": 0.0, **options})
    return ask(
        system,
        ITEMS,
        score=score or (lambda answer, value: 1.0),
        runs=runs,
        calls=calls or Calls(backoff=0.0),
        settings=settings,
        judge=judge or Reads(),
        statement="asked",
    )


def test_an_item_is_what_is_asked_and_its_solution_is_not() -> None:
    items = [
        {"item": "b", "prompt": "2?", "expected": 3, "group": "g", "hint": [1]},
        {"item": "a", "prompt": "1?", "digest": "given"},
        {"item": 7, "prompt": ["no text"], "expected": ""},
        {"prompt": "3?"},
    ]
    first, second, third, fourth = sorted(questions(items), key=lambda one: str(one.request))
    by_name = {one.name: one for one in (first, second, third, fourth)}
    assert [one.name for one in questions(items)] == sorted(by_name)
    assert set(by_name) >= {"a", "b", "7"}
    (unnamed,) = set(by_name) - {"a", "b", "7"}
    b = by_name["b"]
    assert b.request == {"item": "b", "prompt": "2?", "group": "g", "hint": [1]}
    assert b.value is items[0]
    assert b.row == {"group": "g", "digest": digest_of("2?"), "prompt": "2?", "expected": "3"}
    assert by_name["a"].row == {"group": None, "digest": "given", "prompt": "1?", "expected": ""}
    no_text = by_name["7"]
    assert (no_text.row["prompt"], no_text.row["expected"], no_text.row["digest"]) == ("", "", no_text.content[:16])
    assert unnamed == by_name[unnamed].content[:16]
    renamed = questions([{**items[0], "item": "other", "expected": 9}])[0]
    assert (renamed.content, renamed.name) == (b.content, "other")
    assert questions([{**items[0], "hint": [2]}])[0].content != b.content
    assert [(one.value, one.request) for one in questions(["text"])] == [("text", "text")]


@pytest.mark.parametrize(
    ("items", "words"),
    [
        ([], "Expected at least one item to ask but got none"),
        (["a", "b", "a"], r"items of different (names|contents) but items 1 and 3"),
        ([{"item": "x", "prompt": "a"}, {"item": "x", "prompt": "b"}], r"different names but items 1 and 2 \('x'\)"),
        ([{"item": "x", "prompt": "a"}, {"item": "y", "prompt": "a"}], r"different contents but items 1 and 2 \('y'\)"),
        (["a", (letter for letter in "a")], "plain values .* but item 2 is not"),
    ],
)
def test_items_that_say_nothing_new_are_refused(items: list[Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        questions(items)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"concurrency": 1}, True),
        ({"concurrency": 0}, False),
        ({"concurrency": True}, False),
        ({"concurrency": None}, False),
        ({"retries": 0}, True),
        ({"retries": -1}, False),
        ({"retries": 1.0}, False),
        ({"budget": None}, True),
        ({"budget": 1}, True),
        ({"budget": 0}, False),
        ({"backoff": 0}, True),
        ({"backoff": 1e-9}, True),
        ({"backoff": -1e-9}, False),
        ({"backoff": math.inf}, False),
        ({"backoff": math.nan}, False),
        ({"backoff": True}, False),
        ({"backoff": "1"}, False),
        ({"retry_on": ()}, True),
        ({"retry_on": (KeyError, OSError)}, True),
        ({"retry_on": [KeyError]}, False),
        ({"retry_on": (KeyError, "OSError")}, False),
        ({"retry_on": (KeyboardInterrupt,)}, False),
        ({"cost": max, "max_cost": 1e-9}, True),
        ({"cost": max, "max_cost": 0}, False),
        ({"cost": max, "max_cost": -1}, False),
        ({"cost": max, "max_cost": math.inf}, False),
        ({"cost": max}, False),
        ({"max_cost": 1}, False),
        ({"cost": 1, "max_cost": 1}, False),
    ],
    ids=str,
)
def test_settings_of_calls_have_their_ranges(given: dict[str, Any], taken: bool) -> None:
    if taken:
        made = Calls(**given)
        assert {name: getattr(made, name) for name in given} == given
    else:
        with pytest.raises(ConfigError, match=next(reversed(given)) if len(given) == 1 else "cost"):
            Calls(**given)


def test_calls_are_made_one_at_a_time_and_repeated_where_nothing_is_set() -> None:
    assert (Calls().concurrency, Calls().retries, Calls().backoff, Calls().retry_on) == (1, 6, 0.5, (OSError,))


@pytest.mark.parametrize("version", ["", None, 3])
def test_what_is_deployed_has_a_name_and_no_cache(version: Any) -> None:
    with pytest.raises(ConfigError, match="version to be a text"):
        Deployed(max, version)
    with pytest.raises(ConfigError, match="a function without a cache"):
        Deployed(functools.cache(max), "1")
    one = Deployed(max, "1")
    assert (one(1, 2), one.robustest_fingerprint()) == (2, "1")


@pytest.mark.parametrize(
    ("value", "score"),
    [
        (True, True),
        (False, False),
        (np.True_, True),
        (0, 0.0),
        (1, 1.0),
        (0.25, 0.25),
        (np.float32(0.5), 0.5),
        (np.int64(1), 1.0),
        (-1e-9, None),
        (1 + 1e-9, None),
        (2, None),
        (math.nan, None),
        ("1", None),
        (None, None),
    ],
)
def test_a_score_is_taken_as_it_is_or_refused(value: Any, score: float | bool | None) -> None:
    judge = Reads()
    if score is None:
        with pytest.raises(DataError, match=r"a score in 0\.\.1, or True or False"):
            replies_to(lambda item: "", judge, score=lambda *_: value)
        return
    replies_to(lambda item: "", judge, score=lambda *_: value)
    assert [scores for _, scores in judge.scores] == [[score]] * 8
    assert {type(one) for _, (one,) in judge.scores} == {type(score)}


def test_items_are_read_in_the_seeded_order_until_the_verdict_is_known() -> None:
    for seed in (0, 5, -5):
        order = np.random.default_rng(seed % 2**64).permutation(8).tolist()
        for options, n, calls in (({}, 8, 8), ({"max_samples": 3}, 3, 3)):
            judge = Reads()
            found = replies_to(lambda item: item["prompt"], judge, seed=seed, **options)
            assert [place for place, _ in judge.scores] == found.places.tolist() == order[:n]
            assert (found.calls, found.recalled, found.failed, found.stopped) == (calls, 0, 0, "")
            assert (found.changed, found.cached, found.spent) == (False, "", None)
            assert found.names == tuple(f"q{i}" for i in range(8))
        judge = Reads(enough=2)
        assert replies_to(lambda item: "", judge, seed=seed).places.tolist() == order[:2]
        judge = Reads(needed=lambda place: place % 2 == 0)
        found = replies_to(lambda item: "", judge, seed=seed)
        assert found.places.tolist() == [place for place in order if place % 2 == 0]
        assert found.calls == 4, "nothing is asked that no verdict needs"


def test_every_run_of_an_item_is_a_row_and_progress_counts_those_that_are_wrong() -> None:
    heard: list[tuple[Any, ...]] = []
    answers, scores = itertools.count(), {0: 1.0, 1: 0.5, 2: 0.49, 3: 0.0}
    with running(Context(settings=Settings(store=None), progress=lambda *what: heard.append(what))):
        judge = Reads(enough=2)
        system = Deployed(lambda item: next(answers), "1")
        found = replies_to(system, judge, runs=2, score=lambda answer, _: scores[answer])
    assert [row for _, row in judge.scores] == [[1.0, 0.5], [0.49, 0.0]]
    assert heard == [("asked", 1, 8, 0), ("asked", 2, 8, 2)]
    assert (found.calls, len(found.places)) == (4, 2)


class Unsteady:
    """Answers, or raises what is next in its list."""

    def __init__(self, *errors: Any) -> None:
        self.errors, self.times = list(errors), 0

    def __call__(self, item: Any) -> str:
        self.times += 1
        error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        return "answer"


@pytest.mark.parametrize(
    ("retries", "errors", "times", "failure"),
    [
        (2, [], 1, ""),
        (2, [OSError("a")] * 2, 3, ""),
        (2, [OSError("a")] * 3, 3, "OSError: a (try 3 of 3)"),
        (0, [OSError("a")], 1, "OSError: a (try 1 of 1)"),
        (1, [TryAgain("a", after=0.0), OSError("b\n c")], 2, "OSError: b c (try 2 of 2)"),
        (5, [KeyError("a")], 1, "KeyError: 'a'"),
        (5, [OSError("a"), ValueError("x" * 300)], 2, f"ValueError: {'x' * 188}"),
    ],
)
def test_a_call_is_repeated_as_often_as_is_allowed(
    retries: int, errors: list[Exception], times: int, failure: str
) -> None:
    system = Unsteady(*errors)
    answers = _Answers(system, Calls(retries=retries, backoff=0.0), Settings(store=None))
    reply = answers.ask(ITEMS[0], 0)
    assert (system.times, answers.calls, answers._busy, answers.spent) == (times, times, 0, 0.0)
    assert reply.failure == failure
    assert reply.shown == (f"no answer: {failure}" if failure else "answer")
    assert reply.answer == (None if failure else "answer")


@pytest.mark.parametrize(("draw", "share"), [(0.0, 0.5), (0.5, 0.75), (1.0, 1.0)])
def test_between_two_tries_the_wait_is_doubled_up_to_half_a_minute(draw: float, share: float) -> None:
    waits: list[float] = []
    answers = _Answers(Unsteady(*[OSError("a")] * 9), Calls(retries=9, backoff=0.5), Settings(store=None))
    answers._random = SimpleNamespace(random=lambda: draw)  # type: ignore[assignment]
    answers._off = SimpleNamespace(is_set=lambda: False, wait=waits.append)  # type: ignore[assignment]
    assert answers.ask(ITEMS[0], 0).answer == "answer"
    assert waits == [share * one for one in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0)]


@pytest.mark.parametrize(("after", "waited"), [(0.1, 0.5), (0.5, 0.5), (7.0, 7.0), (90.0, 90.0)])
def test_a_server_that_says_when_is_not_asked_before(after: float, waited: float) -> None:
    waits: list[float] = []
    answers = _Answers(Unsteady(TryAgain("a", after=after)), Calls(backoff=0.5), Settings(store=None))
    answers._random = SimpleNamespace(random=lambda: 1.0)  # type: ignore[assignment]
    answers._off = SimpleNamespace(is_set=lambda: False, wait=waits.append)  # type: ignore[assignment]
    answers.ask(ITEMS[0], 0)
    with clock.budget(3.0):
        answers.system.errors = [TryAgain("a", after=after)]  # type: ignore[attr-defined]
        answers.ask(ITEMS[0], 0)
    assert waits[0] == waited
    assert waits[1] == pytest.approx(min(waited, 3.0), abs=0.5)


@pytest.mark.parametrize(
    ("spent", "busy", "dearest", "most", "begins"),
    [
        # True: begins; False: waits for a call under way; None: the budget is spent
        (0.0, 0, 0.0, 1.0, True),
        (0.0, 1, 0.0, 1.0, False),  # nothing cost anything yet
        (0.5, 0, 0.5, 1.0, True),
        (0.5, 1, 0.25, 1.0, True),
        (0.5, 1, 0.5, 1.0, False),
        (0.75, 0, 0.5, 1.0, None),
        (0.75, 1, 0.5, 1.0, False),
        (1.0, 0, 0.0, 1.0, True),
    ],
)
def test_a_call_begins_if_the_dearest_so_far_still_fits(
    spent: float, busy: int, dearest: float, most: float, begins: bool | None
) -> None:
    answers = _Answers(Unsteady(), Calls(cost=lambda *_: 0.0, max_cost=most), Settings(store=None))
    answers.spent, answers._busy, answers._dearest = spent, busy, dearest
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        answers._off.is_set = lambda: True  # type: ignore[method-assign]

    answers._off = SimpleNamespace(is_set=lambda: False, wait=wait)  # type: ignore[assignment]
    if begins:
        answers._begin()
        assert (answers.calls, answers._busy, waits) == (1, busy + 1, [])
        return
    with pytest.raises(_Spent if begins is None else _CalledOff) as error:
        answers._begin()
    assert (answers.calls, answers._busy, len(waits)) == (0, busy, int(begins is not None))
    if begins is None:
        assert str(error.value) == f"budget: {spent:g} of {most:g} was spent"


@pytest.mark.parametrize("budget", [1, 3, 7, 8])
def test_a_budget_of_calls_is_spent_to_the_last_and_not_beyond(budget: int) -> None:
    system = Unsteady(OSError("a"))  # whose repetition counts too
    found = replies_to(system, calls=Calls(backoff=0.0, budget=budget)) if budget > 1 else None
    if found is None:
        with pytest.raises(clock.OutOfTime, match="budget: all 1 calls were made before an item was read"):
            replies_to(system, calls=Calls(backoff=0.0, budget=budget))
        assert system.times == 1
        return
    assert (found.calls, system.times, len(found.places)) == (budget, budget, budget - 1)
    assert found.stopped == f"budget: all {budget} calls were made"


def test_money_is_counted_as_it_is_spent() -> None:
    prices = iter([0.25, 0.5, 0.25, 0.0])
    calls = Calls(backoff=0.0, cost=lambda answer, value: next(prices), max_cost=1.25)
    found = replies_to(lambda item: "", calls=calls)
    assert (found.calls, found.spent) == (3, 1.0), "another one may cost .5"
    assert found.stopped == "budget: 1 of 1.25 was spent"


@pytest.mark.parametrize(("fails", "down"), [(_DOWN - 1, False), (_DOWN, True)])
def test_so_many_failures_in_a_row_are_a_system_that_is_down(fails: int, down: bool) -> None:
    system = Unsteady(None, *[ValueError("no")] * fails, None)
    answers = _Answers(system, Calls(backoff=0.0), Settings(store=None))
    assert answers.ask(ITEMS[0], 0).answer == "answer"
    if down:
        with pytest.raises(ModelError, match=rf"{_DOWN} runs in a row failed, the first with ValueError: no"):
            [answers.ask(ITEMS[0], run) for run in range(fails)]
        return
    assert all(answers.ask(ITEMS[0], run).failure for run in range(fails))
    assert answers.ask(ITEMS[0], fails).answer == "answer"
    assert answers._fails == [], "an answer ends the row"
    answers.close()


def test_a_system_that_never_answered_has_no_outcomes() -> None:
    with pytest.raises(ModelError, match="Expected answers but none came: ValueError: no"):
        replies_to(Unsteady(*[ValueError("no")] * 8))
    judge = Reads()
    found = replies_to(Unsteady(None, *[ValueError("no")] * 7), judge)
    assert (found.failed, [scores for _, scores in judge.scores]) == (7, [[1.0]] + [[None]] * 7)


def test_errors_of_settings_and_of_the_store_are_no_failed_answers() -> None:
    for error in (ConfigError("a"), StoreError("a"), PackError("a")):
        with pytest.raises(type(error), match="a"):
            replies_to(Unsteady(error))


def echo(item: Any) -> Any:
    return {"text": item["prompt"], "parts": (1, 2)}


def test_answers_are_recalled_with_their_dates_and_nothing_else_is_asked(tmp_path: Path) -> None:
    seen: list[Any] = []

    def scored(answer: Any, value: Any) -> float:
        seen.append(answer)
        return 1.0

    first = replies_to(Deployed(echo, "1"), Reads(enough=3), score=scored, store=str(tmp_path))
    assert (first.calls, first.recalled, first.cached) == (3, 0, "")
    more = replies_to(Deployed(echo, "1"), Reads(enough=5), score=scored, store=str(tmp_path))
    assert (more.calls, more.recalled, more.cached) == (2, 3, "")
    again = replies_to(Deployed(echo, "1"), Reads(enough=5), score=scored, store=str(tmp_path))
    assert (again.calls, again.recalled) == (0, 5)
    assert again.cached != ""
    assert all(one == {"text": one["text"], "parts": [1, 2]} for one in seen), "as JSON has them, fresh or not"
    assert len({first.model, more.model}) == 1
    assert replies_to(Deployed(echo, "2"), store=str(tmp_path)).calls == 8
    assert replies_to(Deployed(echo, "1"), store=str(tmp_path), cache=False).calls == 8


class Growing:
    """A function whose state grows with some of its calls."""

    def __init__(self, *at: int) -> None:
        self.at, self.times, self.kept = at, itertools.count(1), 0

    def robustest_fingerprint(self) -> str:
        return f"state {self.kept}"

    def __call__(self, item: Any) -> str:
        self.kept += next(self.times) in self.at
        return "answer"


@pytest.mark.parametrize(
    ("at", "enough", "read", "changed"),
    [((), 2, 2, False), ((1,), 2, 8, True), ((3,), 3, 8, True), ((3,), 2, 2, False)],
)
def test_a_function_that_changes_is_asked_about_all_and_forgotten(
    at: tuple[int, ...], enough: int, read: int, changed: bool, tmp_path: Path
) -> None:
    judge = Reads(enough=enough)
    found = replies_to(Growing(*at), judge, store=str(tmp_path))
    assert (len(found.places), found.changed, judge.read_on) == (read, changed, changed)
    assert ("answers are not remembered: the function's state changes as it is asked" in found.notes) is changed
    assert (len(list(tmp_path.rglob("*.safetensors"))) > 0) is not changed


class Pool:
    """Threads that a test holds back."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, int]] = []

    def submit(self, call: Any, ask: Any, question: Any, run: int) -> Any:
        self.sent.append((ITEMS.index(question), run))
        return Future()


@pytest.mark.parametrize(
    ("threads", "runs", "known", "sent"),
    [
        (1, 1, set(), [(0, 0)]),
        (2, 1, set(), [(0, 0), (1, 0)]),
        (3, 2, set(), [(0, 0), (0, 1), (1, 0)]),
        (2, 2, {0, 1}, [(2, 0), (2, 1)]),  # four replies that are remembered, and two calls
        (2, 1, {0, 1, 2}, [(3, 0), (4, 0)]),
        (2, 1, {0, 1, 2, 3}, [(4, 0)]),  # five replies at most: one run and two for each thread
        (2, 1, {0, 1, 2, 3, 4, 5}, []),
        (1, 1, {0, 1}, [(2, 0)]),
        (1, 1, {0, 1, 2}, []),
    ],
)
def test_few_calls_run_ahead(threads: int, runs: int, known: set[int], sent: list[tuple[int, int]]) -> None:
    answers = SimpleNamespace(
        limits=Calls(concurrency=threads),
        ask=None,
        many_watches=nullcontext,
        recall=lambda question, run: _Reply("known") if ITEMS.index(question) in known else None,
    )
    interview = _Interview(answers, ITEMS, list(range(8)), runs, Reads().wants)  # type: ignore[arg-type]
    pool = Pool()
    for _ in range(3):  # while none of them is done, no other is sent
        interview._send(pool, 0)  # type: ignore[arg-type]
        assert pool.sent == sent
    assert not any(place in known for place, _ in pool.sent)


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        *((kind("odd"), kind) for kind in (ConfigError, StoreError, PackError, KeyboardInterrupt)),
        (KeyError("odd"), None),
        (object(), DataError),
        (ZeroDivisionError("cost"), ConfigError),
        (-1.0, ConfigError),
        ("much", ConfigError),
        (True, ConfigError),
    ],
)
def test_a_call_that_ends_in_any_error_is_over_and_costs_nothing(error: Any, raised: Any) -> None:
    def system(item: Any) -> Any:
        if isinstance(error, BaseException) and error.args == ("odd",):
            raise error
        return "answer" if type(error) is not object else error

    def cost(answer: Any, item: Any) -> Any:
        if isinstance(error, BaseException):
            raise error
        return error

    answers = _Answers(system, Calls(retries=0, cost=cost, max_cost=9.0), Settings(store=None))
    with pytest.raises(raised) if raised else nullcontext():
        answers.ask(ITEMS[0], 0)
    assert (answers.calls, answers._busy, answers.spent, answers._dearest) == (1, 0, 0.0, 0.0)


def test_replies_that_ran_ahead_and_that_nobody_wants_any_more_make_room() -> None:
    """A verdict may settle all items of a group: the calls for the next ones must not wait for their replies."""
    needed = [True]
    judge = Reads(needed=lambda place: needed[0] or place not in (order[1], order[2], order[3]))
    order = np.random.default_rng(0).permutation(8).tolist()
    judge_add = judge.add

    def add(place: int, scores: Any) -> bool:
        needed[0] = False
        return judge_add(place, scores)

    judge.add = add  # type: ignore[method-assign]
    found = replies_to(lambda item: "", judge, calls=Calls(concurrency=2))
    assert found.places.tolist() == [order[0], *order[4:]]
    assert 0 <= found.seconds < 600


def test_a_state_that_cannot_be_read_is_a_reason_and_a_version_declared_is_noted() -> None:
    assert [declared for _, declared in (_identity(Deployed(max, "1")), _identity(Unsteady()))] == [True, False]

    class Odd:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise ZeroDivisionError

        def __call__(self, item: Any) -> str:
            return ""

    class Odder(Odd):
        @property
        def robustest_fingerprint(self) -> Any:
            raise ZeroDivisionError("mine")

    for system in (Odd(), Odder()):
        reason, declared = _identity(system)
        assert reason.startswith("!")
        assert declared is False


@pytest.mark.parametrize(
    ("takes", "compared"),
    [(100.0, [1]), (0.0999, [1, 21, 41]), (0.0499, [1, 2, 12, 22, 32, 42, 52]), (0.0049, list(range(1, 61)))],
)
def test_a_comparison_of_states_takes_a_small_part_of_the_time(
    takes: float, compared: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer takes 0.1 s, or none after a quick comparison: after one that takes as long, 20 answers pass.

    A first comparison that is a little slow tells nothing of the next.
    """
    now, at = [0.0], list[int]()
    for name in ("perf_counter", "thread_time"):
        monkeypatch.setattr(asking.time, name, lambda: now[0])

    def answering(item: Any) -> str:
        now[0] += 0.1 if takes > 0.005 else 0.0
        return "answer"

    answers = _Answers(answering, Calls(), Settings(store=None))

    def looked_at(system: Any) -> tuple[str, bool]:
        at.append(answers._answered)
        now[0] += takes
        return answers._identity, False

    monkeypatch.setattr(asking, "_identity", looked_at)
    for run in range(60):
        answers.ask(ITEMS[0], run)
    assert at == compared


class Growing5(Growing):
    """Changes at its fifth call, and looks at the store at its seventh."""

    def __init__(self, store: Path) -> None:
        super().__init__(5)
        self.store, self.calls, self.left = store, 0, list[int]()

    def __call__(self, item: Any) -> str:
        self.calls += 1
        if self.calls == 7:
            self.left.append(len(list(self.store.rglob("*.safetensors"))))
        return super().__call__(item)


@pytest.mark.parametrize("ends", ["killed", "score"])
def test_no_answer_of_another_state_is_left_behind(ends: str, tmp_path: Path) -> None:
    """The process is killed at the seventh call, or the fifth score raises."""

    def score(answer: Any, item: Any) -> float:
        if next(scored) == 5 and ends == "score":
            raise ZeroDivisionError
        return 1.0

    scored, system = itertools.count(1), Growing5(tmp_path)
    with pytest.raises(ConfigError, match="ZeroDivisionError") if ends == "score" else nullcontext():
        replies_to(system, score=score, calls=Calls(concurrency=1), store=str(tmp_path))
    assert all(one <= 4 for one in system.left)
    assert system.left or ends == "score"
    assert not list(tmp_path.rglob("*.safetensors"))


def test_answers_are_stored_before_an_error_ends_the_claim(tmp_path: Path) -> None:
    def score(answer: Any, item: Any) -> float:
        raise ZeroDivisionError

    with pytest.raises(ConfigError):
        replies_to(Growing(), score=score, store=str(tmp_path))
    assert replies_to(Growing(), store=str(tmp_path)).recalled >= 1


def test_the_wait_is_doubled_thirty_times_at_most() -> None:
    waits: list[float] = []
    answers = _Answers(Unsteady(*[OSError("a")] * 34), Calls(retries=34, backoff=1e-9), Settings(store=None))
    answers._random = SimpleNamespace(random=lambda: 1.0)  # type: ignore[assignment]
    answers._off = SimpleNamespace(is_set=lambda: False, wait=waits.append)  # type: ignore[assignment]
    assert answers.ask(ITEMS[0], 0).answer == "answer"
    assert waits == [1e-9 * 2.0 ** min(tried, 30) for tried in range(34)]


def test_runs_are_numbered_from_one_and_a_failure_has_no_score() -> None:
    def system(item: Any) -> str:
        if item["item"] == "q3":
            raise KeyError("q3")
        return str(item["item"])

    rows: list[Any] = []
    made = Outcomes.of
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asking.Outcomes, "of", lambda given, source: rows.extend(given) or made(given, source=source))
        found = replies_to(system, runs=2, calls=Calls(retries=0))
    assert {row["run"] for row in rows} == {"1", "2"}
    assert [row["run"] for row in rows] == ["1", "2"] * 8
    assert {row["item"] for row in rows if row["score"] is None} == {"q3"}
    assert found.failed == 2
    assert [row["answer"] for row in rows if row["item"] == "q3"] == ["no answer: KeyError: 'q3'"] * 2


@pytest.mark.parametrize("error", [ValueError("odd"), KeyError("odd"), ZeroDivisionError("odd")])
def test_a_score_that_raises_is_an_error_of_the_caller(error: Exception) -> None:
    def score(answer: Any, value: Any) -> float:
        raise error

    with pytest.raises(ConfigError, match=r"Expected score to rate the answer to item 'q\d' but it raised .*odd"):
        replies_to(lambda item: "", score=score)


@pytest.mark.parametrize(("left", "waits"), [(None, True), (5.0, True), (1.0, True), (0.0, False)])
def test_calls_under_way_are_waited_for_while_there_is_time(
    left: float | None, waits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[dict[str, Any]] = []

    class Threads(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            ends.append({"wait": wait, "cancel_futures": cancel_futures})
            super().shutdown(cancel_futures=cancel_futures)

    monkeypatch.setattr(asking, "ThreadPoolExecutor", Threads)
    answers = _Answers(Unsteady(), Calls(), Settings(store=None))
    replies = _Interview(answers, ITEMS, list(range(8)), 1, Reads().wants).replies()
    next(replies)
    monkeypatch.setattr(clock, "left", lambda: left)
    replies.close()
    assert ends == [{"wait": waits, "cancel_futures": True}]
    assert answers._off.is_set()
