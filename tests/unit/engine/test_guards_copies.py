"""Guards of copies of models: what a copy keeps for itself, and what it shares, wherever the state lies."""

from __future__ import annotations

import functools
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import labels_model, rng, scores_model
from robustest.engine import answer_checks
from robustest.engine.answer_checks import _answers, _compare_copies, _held, copied
from robustest.engine.chunks import Chunk
from robustest.engine.evaluator import Evaluator
from robustest.models import as_classifier

HELD: list[int] = []
TABLE: dict[str, Any] = {"inner": [0]}


def by_global(x: Any) -> int:
    HELD.append(1)
    return len(HELD)


def by_inner_code(x: Any) -> int:
    return max(by_global(x) for _ in range(1))


def by_attribute(x: Any) -> int:
    TABLE["inner"][0] += 1
    return int(TABLE["inner"][0])


def by_default(x: Any, held: list[int] = []) -> int:  # noqa: B006 - the mistake itself
    held.append(1)
    return len(held)


def by_keyword(x: Any, *, held: list[int] = []) -> int:  # noqa: B006 - the mistake itself
    held.append(1)
    return len(held)


def by_another(x: Any) -> int:
    return by_global(x)


def closed(held: Any) -> Callable[[Any], int]:
    def ask(x: Any) -> int:
        if isinstance(held, (list, deque)):
            held.append(1)
        elif isinstance(held, set):
            held.add(len(held))
        elif isinstance(held, Tensor):
            held.add_(1)
            return int(held[0])
        else:
            held[len(held)] = 1
        return len(held)

    return ask


class Own:
    """An object of the user's, with a list, and a part that refers back to it."""

    def __init__(self) -> None:
        self.held: list[int] = []
        self.part = SimpleNamespace(whole=self)
        self.next = self

    def __call__(self, x: Any) -> int:
        self.next.held.append(1)
        return len(self.held)

    def method(self, x: Any) -> int:
        return self(x)


def twice(function: Any) -> Any:
    @functools.wraps(function)
    def wrapped(x: Any) -> Any:
        return function(x)

    return wrapped


STATE: dict[str, Callable[[], Any]] = {
    "a global": lambda: by_global,
    "a global, in an inner function": lambda: by_inner_code,
    "inside a global": lambda: by_attribute,
    "a default": lambda: by_default,
    "a keyword's default": lambda: by_keyword,
    "another function": lambda: by_another,
    "a wrapped function": lambda: twice(by_global),
    "a list": lambda: closed([]),
    "a deque": lambda: closed(deque()),
    "a set": lambda: closed(set()),
    "a dict": lambda: closed({}),
    "an ordered dict": lambda: closed(OrderedDict()),
    "a tensor": lambda: closed(torch.zeros(1)),
    "an object": Own,
    "a method": lambda: Own().method,
    "a partial": lambda: partial(lambda held, x: held(x), Own()),
    "a partial's keyword": lambda: partial(lambda x, held: held(x), held=Own()),
    "inside a tuple": lambda: closed_over((Own(), [Own()])),
    "two names": lambda: closed_over((one := Own(), one)),
}


def closed_over(held: Any) -> Callable[[Any], int]:
    def ask(x: Any) -> int:
        first = held[0](x)
        last = held[1][0] if isinstance(held[1], list) else held[1]
        return int(first + last(x))

    return ask


@pytest.mark.parametrize("where", STATE)
def test_a_copy_has_its_own_state(where: str) -> None:
    """Two copies answer as the model would have, at first and later; the model hears of nothing."""
    model = STATE[where]()
    first, second = copied(model), copied(model)
    answers = [first(0), first(0), first(0)]
    assert len(set(answers)) == 3, "the state is kept from one call to the next"
    assert [second(0), second(0)] == answers[:2]
    assert [copied(model)(0)] == answers[:1]
    assert model(0) == answers[0]


def test_a_function_without_the_name_of_a_module_is_copied() -> None:
    """As code that was compiled from text may be."""
    made: dict[str, Any] = {}
    exec("def keeping(held):\n    return lambda x: held.append(x) or len(held)", made)  # noqa: S102 - of this test
    asked = made["keeping"]([])
    asked.__module__ = None
    first, second = (copied(partial(asked)) for _ in range(2))
    assert [first(0), first(0), second(0), asked(0)] == [1, 2, 1, 1]


def test_names_of_the_same_thing_are_names_of_the_same_copy() -> None:
    own = copied(model := Own())
    assert own.next is own
    assert own is not model
    assert isinstance(own, Own)


class Closing(Own):
    def __del__(self) -> None:
        """Free something."""


def test_what_another_package_made_or_that_frees_something_is_shared() -> None:
    logger, closing = logging.getLogger("x"), Closing()
    array, generator = np.zeros(3), torch.Generator()
    for held in (logger, closing, generator, type, np, array, torch.relu, str.lower):
        assert copied(closed_over((held, [held]))).__closure__[0].cell_contents[0] is held
    assert copied(by_global).__globals__["np"] is np


class Module(nn.Module):
    def __init__(self, held: Any) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("buffer", torch.zeros(1))
        self.held = held


def test_a_module_keeps_its_objects_and_copies_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_checks, "_LARGEST", 3)
    trainer, small, large = Own(), torch.zeros(3), torch.zeros(4)
    model = Module(
        {"trainer": trainer, "small": small, "large": large, "own": by_global, "tensor": nn.Parameter(small)}
    )
    own = copied(model)
    assert own.held["trainer"] is trainer, "it may be a trainer with its data"
    assert own.held["own"] is by_global
    assert own.held["small"] is not small
    assert own.held["large"] is large
    assert own.held["tensor"] is model.held["tensor"]
    assert own.buffer is not model.buffer
    assert own.weight is model.weight
    assert own._parameters is not model._parameters
    assert own._compiled_call_impl is None
    other = Module(None)
    model.held = {"bound": other.forward, "function": lambda x: other(x) + 1, "free": trainer.method}
    other.held = model
    own = copied(model)
    assert own.held["bound"].__self__ is not other
    assert own.held["bound"].__self__.held is own
    assert own.held["function"].__closure__[0].cell_contents is own.held["bound"].__self__
    assert own.held["free"].__self__ is trainer


def test_a_variable_that_is_not_set_yet_is_none() -> None:
    def outer() -> Any:
        def inner() -> Any:
            return later

        function: Any = inner
        held = _held(function)
        later = 1
        return held, _held(function)

    before, after = outer()
    assert (before, after) == ([], [1])
    plain: Any = by_global
    assert _held(plain) == []


# Comparison of copies


def evaluator_of(model: Any) -> Evaluator:
    return Evaluator(as_classifier(model), torch.device("cpu"), batch_size=None, suppress=(), notes=[])


@pytest.mark.parametrize("make", [scores_model, partial(labels_model, classes=2)], ids=["scores", "labels"])
def test_a_memory_behind_a_function_of_arrays_is_found(make: Any) -> None:
    """Answers turn with every second call."""

    def model() -> Any:
        held: list[int] = []

        def ask(x: np.ndarray) -> np.ndarray:
            held.append(1)
            labels = (x[:, 0] > 0.5).astype(int) ^ (len(held) % 2)
            return labels if make is not scores_model else np.stack([1.0 - labels, labels], 1).astype(np.float32)

        return make(ask)

    evaluator = evaluator_of(model())
    first, second = torch.rand(4, 3), torch.rand(5, 3)
    _compare_copies(evaluator, evaluator.model.call, first, second)
    assert evaluator.health.counts("history_dependence") == (5, 5)
    assert evaluator.forward == 0, "copies cost the model nothing"


def test_copies_that_cannot_be_made_or_answer_nothing_are_not_compared() -> None:
    class Fails:
        def __call__(self, x: Tensor) -> Tensor:
            raise ValueError("not for this")

    class NotFinite:
        def __call__(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 2), torch.nan)

    x = torch.rand(4, 3)
    for call in (Fails(), NotFinite()):
        evaluator = evaluator_of(call.__call__)
        _compare_copies(evaluator, call, x, x)
        assert evaluator.health.counts("history_dependence") == (0, 0)
        assert _answers(evaluator.model, x) is None


def test_answers_are_made_of_a_copy_of_the_inputs() -> None:
    def writes(x: Tensor) -> Tensor:
        out = torch.stack([x[:, 0], x[:, 1]], 1)
        x.zero_()
        return out

    x, evaluator = torch.rand(4, 3), evaluator_of(writes)
    before = x.clone()
    answers = _answers(evaluator.model, x)
    assert answers is not None
    assert torch.equal(answers, before[:, :2])
    assert torch.equal(x, before)
    assert not answers.requires_grad


def test_modules_of_arrays_or_ids_have_no_nearby_inputs() -> None:
    """Whole numbers, and values that are decoded, are in no box."""
    ids = torch.arange(6)
    chunk = Chunk(ids, torch.rand(6, 3), ids, rng.keys(0, ids), (0.0, 1.0))
    module = nn.Linear(3, 2)
    for name in ("", "whole", "decode"):
        evaluator = evaluator_of(module)
        if name:
            object.__setattr__(evaluator.model, name, True if name == "whole" else list)
        asked = answer_checks.probe_history(evaluator, chunk)
        assert (asked is None) is bool(name)
        assert evaluator.health.counts("history_dependence")[1] == (0 if name else 4)
