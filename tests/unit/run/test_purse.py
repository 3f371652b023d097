"""One purse for the questions of many claims: its limits hold, and the nearest claim is asked about first."""
# ruff: noqa: ARG005 - functions that are asked, score and price are given what the interface gives

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from robustest import Calls, ClaimFailed, ConfigError, Deployed, Purse, Result, Settings, Verdict, assert_rate
from robustest.context import Context, running
from robustest.measure import measure_rate
from robustest.run.purse import Turns, items_left

ITEMS = [{"item": f"q{i:03d}", "prompt": f"{i}"} for i in range(200)]


class System:
    """Answers of which some share is right; it counts its calls."""

    def __init__(self, share: float) -> None:
        self.share, self.asked = share, Counter[str]()

    def deployed(self) -> Deployed:
        return Deployed(self.answer, version=f"{self.share}")

    def answer(self, item: dict[str, str]) -> str:
        self.asked[item["item"]] += 1
        return item["prompt"] if np.random.default_rng(int(item["prompt"])).random() < self.share else "?"


def right(answer: str, item: dict[str, str]) -> bool:
    return answer == item["prompt"]


def rate(system: System, *, at_least: float = 0.8, **given: Any) -> Result:
    return measure_rate(system.deployed(), ITEMS, score=right, **{"at_least": at_least, **given})


@pytest.fixture(autouse=True)
def stored(tmp_path: Path) -> Iterator[None]:
    with running(Context(settings=Settings(store=str(tmp_path), recheck=0.0), test="t.py::t")):
        yield


def test_claims_share_the_calls_of_a_purse_and_the_next_run_goes_on() -> None:
    first, second, purse = System(0.82), System(0.99), Purse(calls=120)
    calls = Calls(purse=purse, concurrency=4)
    found = [rate(first, calls=calls), rate(second, calls=calls)]
    assert sum(first.asked.values()) + sum(second.asked.values()) == 120 == purse.spent["calls"]
    assert [one.verdict for one in found] == [Verdict.INCONCLUSIVE] * 2
    assert "the purse: all 120 calls were made" in found[0].rule
    # What was answered is stored.
    again = Calls(purse=Purse(calls=280))
    found = [rate(first, calls=again), rate(second, calls=again)]
    assert max(first.asked.values()) == max(second.asked.values()) == 1
    assert found[1].verdict is Verdict.PASSED


def test_the_nearest_claim_is_settled_first() -> None:
    # Asked one after the other, the claim at its threshold leaves nothing for the others.
    open_one, good, wrong, purse = System(0.82), System(1.0), System(0.3), Purse(calls=160)
    calls = Calls(purse=purse)
    found = purse.settle(
        lambda: rate(open_one, calls=calls), lambda: rate(good, calls=calls), lambda: rate(wrong, calls=calls)
    )
    assert [one.verdict for one in found] == [Verdict.INCONCLUSIVE, Verdict.PASSED, Verdict.FAILED]
    assert sum(open_one.asked.values()) == 160 - sum(good.asked.values()) - sum(wrong.asked.values()) > 8
    # The verdicts are those of the claims alone.
    alone = rate(System(0.3))
    assert (alone.numbers.n, alone.verdict) == (found[2].numbers.n, found[2].verdict)


def test_a_failed_claim_is_raised_when_all_have_ended() -> None:
    purse = Purse(calls=1000)
    calls, ended = Calls(purse=purse), []

    def claim(share: float) -> None:
        try:
            assert_rate(System(share).deployed(), ITEMS, score=right, at_least=0.8, calls=calls)
        finally:
            ended.append(share)

    with pytest.raises(ClaimFailed) as raised:
        purse.settle(lambda: claim(0.2), lambda: claim(1.0), lambda: claim(0.1))
    assert sorted(ended) == [0.1, 0.2, 1.0]
    assert any("ClaimFailed" in note for note in raised.value.__notes__)
    with pytest.raises(ConfigError, match="lambda: assert_rate"):
        purse.settle(rate(System(1.0), calls=calls))  # type: ignore[arg-type]


@pytest.mark.parametrize("concurrency", [1, 8])
def test_money_and_tokens_of_a_purse_are_never_exceeded(concurrency: int) -> None:
    purse = Purse(money=0.75, tokens=70)
    calls = Calls(purse=purse, cost=lambda answer, item: 1 / 64, tokens=lambda answer, item: 1, concurrency=concurrency)
    found = [rate(System(share), exact=True, calls=calls) for share in (0.9, 0.95)]
    assert (purse.spent["money"], purse.spent["tokens"]) == (0.75, 48)
    assert all(one.verdict is Verdict.INCONCLUSIVE for one in found)
    few = Purse(tokens=5)
    rate(System(0.5), exact=True, calls=Calls(purse=few, tokens=lambda answer, item: 1, concurrency=concurrency))
    assert few.spent["tokens"] == 5


def test_seconds_of_a_purse_are_counted_while_claims_are_asked_about() -> None:
    slow, purse = System(0.9), Purse(seconds=0.3)

    def answer(item: dict[str, str]) -> str:
        time.sleep(0.01)
        return slow.answer(item)

    calls = Calls(purse=purse)
    found = measure_rate(answer, ITEMS, score=right, at_least=0.8, calls=calls, cache=False)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "the purse" in found.rule
    assert 0 < found.numbers.n < 40
    assert purse.left() == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"Purse\(calls=2000\)"),
        ({"calls": 0}, "whole number >= 1"),
        ({"money": -1.0}, "money to be an amount > 0"),
        ({"tokens": float("nan")}, "tokens to be an amount > 0"),
        ({"seconds": True}, "seconds to be an amount > 0"),
    ],
)
def test_limits_are_checked(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Purse(**given)


def test_a_purse_of_money_needs_a_price() -> None:
    with pytest.raises(ConfigError, match="by cost="):
        Calls(purse=Purse(money=1.0))
    with pytest.raises(ConfigError, match="purse of tokens"):
        Calls(purse=Purse(tokens=10))
    with pytest.raises(ConfigError, match="purse of tokens"):
        Calls(tokens=lambda answer, item: 1)
    with pytest.raises(ConfigError, match="Purse"):
        Calls(purse=3)  # type: ignore[arg-type]


def test_a_claim_near_its_threshold_is_far_from_its_verdict() -> None:
    right = [1.0] * 20
    near, far, lost = (items_left(values, 1000, 0.8, 0.0025) for values in (right, [*right, 0, 0, 0, 0], [0.0] * 20))
    assert lost < near < far <= 976
    assert items_left([1.0] * 7, 1000, 0.8, 0.0025) == 0  # each is tried
    assert items_left(right, 1000, None, 0.0025) == 980
    assert items_left(right, 21, 0.8, 0.0025) == 1


def test_turns_go_to_the_least_of_those_that_wait_and_end_with_their_claims() -> None:
    turns, heard = Turns(3), []

    def claim(place: int, left: list[float]) -> None:
        for one in left:
            turns.take(place, one)
            heard.append((place, one))
        turns.leave(place)

    threads = [
        threading.Thread(target=claim, args=(place, left)) for place, left in enumerate(([5.0, 1.0], [3.0, 9.0], []))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert heard == [(1, 3.0), (0, 5.0), (0, 1.0), (1, 9.0)]
