"""How a model is asked before anything that is remembered of it counts: how much, and what is made of the answers."""

# ruff: noqa: ARG004 - functions of autograd are given a context

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import Linf, ModelError, Result, Settings, Verdict, labels_model, scores_model
from robustest.context import Context, running
from robustest.measure import measure_corruption_robustness, measure_robust_accuracy, measure_shift_accuracy

X = torch.rand(200, 1, 4, 4, generator=torch.Generator().manual_seed(0))
Y = (X.flatten(1).mean(1) > 0.5).long()


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
    "attack": lambda model: measure_robust_accuracy(model, (X, Y), Linf(0.001), attack="random-draws", at_least=0.5),
    "shift": lambda model: measure_shift_accuracy(model, (X, Y), "brightness", severity=1, at_least=0.5),
    "corruptions": lambda model: measure_corruption_robustness(
        model, (X, Y), corruptions=["brightness", "contrast"], min_accuracy=0.5
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
    assert again.cached
    assert endpoint.asked() == 8
    assert again.outcomes == first.outcomes
    assert again.cost == first.cost
    endpoint.sign = -1.0  # another model under the same name
    assert not CLAIMS[claim](model).cached


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
        at_least=0.5,
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
    first = measure_shift_accuracy(predict_globals, (X, Y), "brightness", severity=1, at_least=0.5)
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
    return measure_robust_accuracy(model, (X, Y), Linf(0.001), attack="fgsm", at_least=0.5, **how)


def test_what_does_not_answer_twice_alike_is_not_remembered(remembering: Settings) -> None:
    for _ in range(2):
        result = attacked(Ticking())
        assert (result.verdict, result.cached) == (Verdict.PASSED, "")
        assert any(note.startswith("not remembered: the model does not answer") for note in result.notes)


def test_gradients_that_do_not_repeat_to_the_bit_do_not_count(remembering: Settings) -> None:
    assert attacked(OfShakenGradient()).verdict is Verdict.PASSED
    assert attacked(OfShakenGradient()).cached


def test_a_model_that_draws_is_asked_with_the_same_draws(remembering: Settings) -> None:
    first = attacked(Drawing(), suppress=("random_forward",))
    torch.rand(7)
    again = attacked(Drawing(), suppress=("random_forward",))
    assert again.cached
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
            return measure_shift_accuracy(model, (X, Y), "brightness", severity=1, at_least=0.5)

    fresh = shifted(None)
    switch.calls = 0
    shifted(tmp_path / "all")
    calls, told = switch.calls, 0
    assert calls > 15
    for after in range(1, calls):
        switch.calls, switch.after = 0, after
        with suppress(ModelError):  # the check for random models may see it first
            told += any(note.startswith("not remembered") for note in shifted(tmp_path / str(after)).notes)
        switch.calls, switch.after = 0, 10**9
        assert shifted(tmp_path / str(after)).outcomes == fresh.outcomes, after
    assert told > 5


def test_two_states_of_a_model_are_never_mixed(remembering: Settings) -> None:
    """What one state left is not taken for the other's, though each has some chunks of its own."""
    switch = Switch()
    model = Switched(switch)

    def shifted(**how: Any) -> Result:
        return measure_shift_accuracy(model, (X, Y), "brightness", severity=1, at_least=0.5, **how)

    right = shifted()
    switch.after = 0
    shifted(max_samples=64)
    wrong = shifted()
    assert sum(map(bool, wrong.outcomes)) < 100 < sum(map(bool, right.outcomes))
    switch.after = 10**9
    again = shifted()
    assert again.cached
    assert again.outcomes == right.outcomes
