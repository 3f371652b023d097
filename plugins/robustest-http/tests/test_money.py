"""A purse holds for the requests of all models and functions: a claim that it does not settle is undecided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from robustest_http import Delivery, json_function, json_model

from robustest import Calls, ConfigError, Linf, ModelError, Purse, Result, Verdict
from robustest.attacks import Square
from robustest.measure import measure_accuracy, measure_rate, measure_robust_accuracy, measure_shift_accuracy

WEIGHT = np.random.default_rng(0).normal(size=(16, 3))  # of the server
X = torch.rand(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = torch.tensor(((X.double().reshape(60, 16).numpy() - 0.5) @ WEIGHT).argmax(1))


def plain(server: Any, delivery: Delivery) -> Any:
    return json_model(
        f"{server.url}/plain",
        encode=lambda x: {"rows": (x.reshape(len(x), -1) - 0.5).tolist()},
        decode=lambda reply: reply["scores"],
        delivery=delivery,
        max_queries=200,
    )


def priced(purse: Purse, **options: Any) -> Delivery:
    """Return a delivery whose requests cost a cent a sample."""
    given = {"batch_size": 4, "concurrency": 3, "retries": 1, "backoff": 0.001, **options}
    return Delivery(purse=purse, cost=lambda _, samples: 0.01 * samples, **given)


def accuracy(model: Any, **options: Any) -> Result:
    return measure_accuracy(model, (X, Y), at_least=0.9, **options)


def shift(model: Any, **options: Any) -> Result:
    return measure_shift_accuracy(model, (X, Y), "gaussian_noise", severity=1, at_least=0.6, **options)


def attack(model: Any, **options: Any) -> Result:
    square = {"attack": Square(queries=20), "suppress": ("weak_search",)}
    return measure_robust_accuracy(model, (X[:20], Y[:20]), Linf(1e-4), at_least=0.5, **square, **options)


@pytest.mark.parametrize("time_budget", [None, 100.0])
@pytest.mark.parametrize("claim", [accuracy, shift, attack])
def test_a_claim_that_runs_out_of_money_is_undecided(server: Any, claim: Any, time_budget: float | None) -> None:
    whole = Purse(money=1000.0)
    assert claim(plain(server, priced(whole))).verdict is Verdict.PASSED
    needed = whole.spent["money"]
    for part in (0.02, 0.2, 0.5, 0.8, 0.95, 0.99):
        purse = Purse(money=part * needed)
        result = claim(plain(server, priced(purse)), time_budget=time_budget)
        assert result.verdict is Verdict.INCONCLUSIVE
        assert "the purse: " in result.rule
        assert "money was spent" in result.rule
        assert purse.spent["money"] <= max(part * needed, 0.04)  # the cost of the first request is unknown
    enough = Purse(money=needed + 0.05)
    assert claim(plain(server, priced(enough)), time_budget=time_budget).verdict is Verdict.PASSED


def test_a_false_claim_is_not_green_either(server: Any) -> None:
    for money in (0.03, 0.1, 0.3, 0.6, 1000.0):
        model = plain(server, priced(Purse(money=money)))
        result = measure_accuracy(model, (X, (Y + 1) % 3), at_least=0.5)
        assert result.verdict is (Verdict.FAILED if money == 1000.0 else Verdict.INCONCLUSIVE)


def test_one_purse_is_shared_by_models_and_functions(server: Any) -> None:
    purse = Purse(money=1.2)
    ask = json_function(
        f"{server.url}/plain", encode=lambda item: {"rows": [item["row"]]}, decode=lambda reply: reply["scores"]
    )
    items = [{"item": str(k), "row": X[k].flatten().tolist()} for k in range(40)]
    calls = Calls(purse=purse, cost=lambda *_: 0.02)
    assert measure_rate(ask, items, score=lambda *_: True, at_least=0.8, calls=calls).verdict is Verdict.PASSED
    spent = purse.spent["money"]
    assert 0.3 < spent < 1.0
    assert accuracy(plain(server, priced(purse))).verdict is Verdict.INCONCLUSIVE  # which needs 0.86
    assert spent < purse.spent["money"] <= 1.2
    assert accuracy(plain(server, priced(Purse(money=1.2)))).verdict is Verdict.PASSED


def test_calls_and_seconds_are_limits_too(server: Any) -> None:
    purse = Purse(calls=5)
    result = accuracy(plain(server, Delivery(batch_size=4, purse=purse)))
    assert (result.verdict, len(server.requests)) == (Verdict.INCONCLUSIVE, 5)
    server.delay = 0.1
    result = accuracy(plain(server, Delivery(batch_size=4, concurrency=1, purse=Purse(seconds=0.25))))
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "seconds were used" in result.rule


def test_requests_without_a_reply_are_calls_and_cost_nothing(server: Any) -> None:
    purse = Purse(calls=100, money=10.0)
    model = plain(server, priced(purse, batch_size=60))
    server.faults = [(503, "", {})]
    model(X)
    assert purse.spent["calls"] == 2
    assert purse.spent["money"] == pytest.approx(0.6)
    server.always = (500, "", {})
    with pytest.raises(ModelError, match="status 500"):
        model(X)
    server.always = None
    model(X)  # no request is under way for ever
    assert purse.spent["money"] == pytest.approx(1.2)


@pytest.mark.parametrize("cost", [lambda *_: -1, lambda *_: float("nan"), lambda *_: "1", lambda *_: 1 / 0])
def test_a_cost_that_is_no_amount_is_an_error(server: Any, cost: Any) -> None:
    purse = Purse(money=1.0)
    for _ in range(2):
        with pytest.raises(ConfigError, match="cost to"):
            plain(server, Delivery(purse=purse, cost=cost))(X[:4])


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"purse": 3}, "purse to be a Purse"),
        ({"purse": Purse(money=1.0)}, "cost together with a purse of money"),
        ({"cost": lambda *_: 1.0}, "cost together with a purse of money"),
        ({"purse": Purse(calls=1), "cost": lambda *_: 1.0}, "cost together"),
        ({"purse": Purse(tokens=1)}, "without tokens"),
        ({"purse": Purse(money=1.0), "cost": 1.0}, "cost to be a function"),
    ],
)
def test_wrong_purses_are_named(wrong: Any, match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        Delivery(**wrong)
