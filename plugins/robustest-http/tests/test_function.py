"""An endpoint is asked about items: no more often than the verdict and its failures need, and nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from robustest_http import HeaderFromEnv, json_function

from robustest import Calls, ConfigError, ModelError, Result, Settings, TryAgain, Verdict, context
from robustest.context import Context
from robustest.measure import measure_rate

WEIGHT = np.random.default_rng(0).normal(size=(16, 3))  # of the server
ROWS = np.random.default_rng(1).normal(size=(200, 16)).round(3)
ITEMS = [
    {"item": f"q{i:03d}", "row": row.tolist(), "expected": int((row @ WEIGHT).argmax())} for i, row in enumerate(ROWS)
]
FAULTS = [(500, "oops", {}), (429, "slow down", {"Retry-After": "0"}), (200, '{"scores": [[', {}), "drop"]


def encode(item: dict[str, Any]) -> Any:
    return {"rows": [item["row"]]}


def decode(reply: Any) -> Any:
    return reply["scores"][0]


def right(answer: list[float], item: dict[str, Any]) -> bool:
    return int(np.argmax(answer)) == item["expected"]


def function(server: Any, **more: Any) -> Any:
    return json_function(f"{server.url}/plain", encode=encode, decode=decode, version="1", **more)


def claim(server: Any, store: Path, **calls: Any) -> Result:
    settings = Settings(store=str(store), recheck=0.0)
    with context.running(Context(settings=settings, test="test_a.py::test_a")):
        return measure_rate(
            function(server, rate=400.0),
            ITEMS,
            score=right,
            at_least=0.999,
            calls=Calls(concurrency=8, backoff=0.001, **calls),
        )


def misbehave(server: Any) -> None:
    """A fifth of the requests fail, and every reply takes a while."""
    drawn = random.Random(0)  # noqa: S311
    server.faults = [drawn.choice(FAULTS) if drawn.random() < 0.2 else None for _ in range(2000)]
    server.delay = 0.005


def test_an_unreliable_endpoint_is_asked_once_for_each_answer(server: Any, tmp_path: Path) -> None:
    misbehave(server)
    begun = time.monotonic()
    found = claim(server, tmp_path)
    assert (found.numbers.n, found.estimate, found.details["failed"]) == (200, 1.0, 0)
    sent = len(server.requests)
    assert found.details["calls"] == sent < 300
    assert time.monotonic() - begun > (sent - 1) / 400
    assert server.most <= 8
    assert claim(server, tmp_path).details["calls"] == 0
    assert len(server.requests) == sent


def test_a_budget_is_never_exceeded_and_the_next_run_goes_on(server: Any, tmp_path: Path) -> None:
    misbehave(server)
    read = []
    for _ in range(4):
        before = len(server.requests)
        read.append(claim(server, tmp_path, budget=90))
        assert len(server.requests) - before <= 90
    assert read[0].ruling.reasons == ("budget",)
    assert read[0].verdict is Verdict.INCONCLUSIVE
    assert [one.numbers.n for one in read] == sorted(one.numbers.n for one in read)
    assert read[-1].numbers.n == 200


def test_a_killed_run_loses_the_calls_under_way_alone(server: Any, tmp_path: Path) -> None:
    misbehave(server)
    process = multiprocessing.get_context("fork").Process(target=claim, args=(server, tmp_path))
    process.start()
    while len(server.requests) < 120:
        time.sleep(0.002)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    time.sleep(0.05)
    server.faults, before = [], len(server.requests)
    found = claim(server, tmp_path)
    assert found.numbers.n == 200
    rows = Counter(str(body["rows"]) for _, _, body, _ in server.requests[before:])
    assert max(rows.values()) == 1
    stored = 200 - len(rows)
    assert found.details["recalled"] == stored >= 0.8 * before - 8 - 25  # but for failures, and calls under way


def test_a_refusal_is_no_answer_and_no_retry(server: Any) -> None:
    server.always = (400, "no such field", {})
    with pytest.raises(ModelError, match="status 400: no such field"):
        function(server)(ITEMS[0])
    server.always = (429, "later", {"Retry-After": "3"})
    with pytest.raises(TryAgain) as caught:
        function(server)(ITEMS[0])
    assert caught.value.after == 3
    server.always = (200, '{"other": 1}', {})
    with pytest.raises(ModelError, match="decode"):
        function(server)(ITEMS[0])


def test_wrong_arguments_and_a_missing_secret_are_named(server: Any) -> None:
    with pytest.raises(ConfigError, match="decode"):
        json_function(server.url, encode=encode, decode="scores")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="NO_SUCH_KEY"):
        measure_rate(function(server, auth=HeaderFromEnv("NO_SUCH_KEY")), ITEMS, score=right, at_least=0.5)
    with pytest.raises(ConfigError, match="encode"):
        json_function(server.url, encode=lambda item: {1, 2}, decode=decode)(ITEMS[0])  # noqa: ARG005


def test_another_version_or_template_is_asked_anew(server: Any, tmp_path: Path) -> None:
    parts: dict[str, Any] = {"encode": encode, "decode": decode, "version": "1"}
    other: dict[str, Any] = {
        "version": "2",
        "encode": lambda item: {"rows": [[-value for value in item["row"]]]},
        "decode": lambda reply: [-value for value in reply["scores"][0]],
    }
    with context.running(Context(settings=Settings(store=str(tmp_path), recheck=0.0), test="a.py::a")):
        for changed in ({}, *({name: one} for name, one in other.items()), {"version": None}, {"version": None}):
            asked = json_function(f"{server.url}/plain", **{**parts, **changed})
            assert measure_rate(asked, ITEMS[:3], score=right).details["recalled"] == 0
        again = json_function(f"{server.url}/plain", **parts)
        assert measure_rate(again, ITEMS[:3], score=right).details["recalled"] == 3
