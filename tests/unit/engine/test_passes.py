"""Model passes beside slow code: parts, counts, judgements, votes of draws, and words of errors."""

from __future__ import annotations

import random
import re
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import DataError, DeviceError, ModelError, devices, rng
from robustest.engine import evaluator as evaluators
from robustest.engine import tuning
from robustest.engine.evaluator import Evaluator, majority, seed_draws
from robustest.engine.model_errors import remedy
from robustest.engine.tuning import choose_precision
from robustest.health import HealthWarning
from robustest.models import as_classifier, scores_model
from robustest.tasks import CLASSIFICATION

CPU = torch.device("cpu")


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 4)
        self.calls: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        out: Tensor = self.inner(x)
        return out


def made(model: Any = None, batch_size: int | None = 4, **options: Any) -> Evaluator:
    given = {"suppress": (), "notes": []} | options
    return Evaluator(as_classifier(Plain() if model is None else model), CPU, batch_size=batch_size, **given)


X = torch.rand(11, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(11) % 4


def parts_of(n: int, size: int) -> list[int]:
    return [min(size, n - start) for start in range(0, n, size)]


@pytest.mark.parametrize("size", [1, 4, 10, 11, 12])
def test_passes_are_cut_counted_and_put_together(size: int) -> None:
    model = Plain()
    evaluator = made(model, size)
    with torch.no_grad():
        expected = model.inner(X)
    model.calls.clear()
    assert torch.allclose(evaluator.logits(X), expected, atol=1e-6)
    assert (model.calls, evaluator.forward, evaluator.backward, evaluator.classes) == (parts_of(11, size), 11, 0, 4)
    judgement = evaluator.judge(X, Y)
    assert judgement.holds.tolist() == (expected.argmax(1) == Y).tolist()
    assert judgement.predicted.tolist() == expected.argmax(1).tolist()
    own = expected.gather(1, Y[:, None])[:, 0]
    other = expected.scatter(1, Y[:, None], -torch.inf).amax(1)
    assert torch.allclose(judgement.margin, own - other, atol=1e-6)
    assert torch.allclose(judgement.first, expected[:8], atol=1e-6)
    assert judgement.score is None
    model.calls.clear()
    logits, gradient = evaluator.gradient(X, lambda z, _: 2 * z, lambda out, part: out[:, 0] * torch.arange(11)[part])
    assert torch.allclose(logits, model.inner(2 * X), atol=1e-6)
    assert torch.allclose(gradient, 2 * torch.arange(11)[:, None] * model.inner.weight[0], atol=1e-5)
    assert (model.calls, evaluator.forward, evaluator.backward) == (parts_of(11, size), 33, 11)
    drawn = evaluator.gradient(X, lambda z, _: z, lambda out, _: out[:, 1], draws=2)
    assert drawn[0].shape == (11, 4)
    assert torch.allclose(drawn[1], model.inner.weight[1].expand(11, 3), atol=1e-6)
    assert (evaluator.forward, evaluator.backward) == (55, 33)
    answers = evaluator.bfloat16(X)
    assert answers is not None
    assert answers.shape == (11,)
    assert evaluator.forward == 66


def test_a_part_that_does_not_fit_is_halved_down_to_one() -> None:
    class Small(Plain):
        room = 3

        def forward(self, x: Tensor) -> Tensor:
            if len(x) > self.room:
                raise RuntimeError("can't allocate memory")
            return super().forward(x)

    model = Small()
    evaluator = made(model, 11)
    assert len(evaluator.logits(X)) == 11
    assert model.calls == [2, 2, 2, 2, 2, 1]
    assert evaluator.batch_size == 2
    assert evaluator.notes == [
        "out of memory at a batch of 11; went on with 5", "out of memory at a batch of 5; went on with 2",
    ]  # fmt: skip
    assert evaluator.forward == 11
    model.room = 0
    with pytest.raises(DeviceError, match="one sample to fit"):
        evaluator.logits(X)


def test_large_outputs_make_smaller_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, size in ((40, 10), (39, 9), (3, 1)):
        monkeypatch.setattr(evaluators, "_MOST_OUTPUT", most)
        evaluator = made(batch_size=11)
        evaluator.logits(X[:2])
        assert evaluator.batch_size == size


@pytest.mark.parametrize(
    ("logits", "warned"),
    [
        ([[0.5, 0.5], [1.0, 0.0]], True),
        ([[0.5, 0.5009], [1.0, 0.0]], True),
        ([[0.5, 0.502], [1.0, 0.0]], False),
        ([[1.1, -0.1], [1.0, 0.0]], False),
        ([[0.5, 0.4]], False),
    ],
)
def test_probabilities_are_noticed(logits: list[list[float]], warned: bool) -> None:
    evaluator = made()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            evaluator.check_first(torch.tensor(logits))
    assert [one.category for one in caught] == [HealthWarning] * warned
    assert len(evaluator.notes) == warned
    quiet = made(suppress=("softmax_outputs",))
    quiet.check_first(torch.tensor(logits))
    assert quiet.notes == []
    scores = made(scores_model(lambda x: x))
    scores.check_first(torch.tensor(logits))
    assert scores.notes == []


def test_labels_must_be_classes() -> None:
    evaluator = made()
    evaluator.logits(X)
    evaluator.check_labels(Y)
    with pytest.raises(DataError):
        evaluator.check_labels(torch.tensor([4]))


def test_what_is_not_finite_is_refused_wherever_it_comes() -> None:
    evaluator = made()
    with pytest.raises(ModelError, match="nan_values"):
        evaluator.logits(torch.full((1, 3), torch.nan))
    with pytest.raises(ModelError, match="nan_values"):
        evaluator.gradient(X, lambda z, _: z, lambda out, _: (out[:, 0] * 0).sqrt())
    with pytest.raises(ModelError, match="none"):
        evaluator.gradient(X, lambda z, _: z, lambda out, _: out.detach()[:, 0])
    with pytest.raises(ModelError, match="none"):
        evaluator.gradient(X, lambda z, _: z.detach(), lambda out, _: out[:, 0])


def test_an_evaluator_apart_counts_for_itself() -> None:
    evaluator = made()
    evaluator.logits(X)
    evaluator.note("a")
    evaluator.note("a")
    assert evaluator.notes == ["a"]
    evaluator.health.count("zero_gradient", failed=1, tried=2)
    own = evaluator.apart(None)  # type: ignore[arg-type]
    own.logits(X)
    own.note("b")
    assert (own.forward, evaluator.forward, own.classes) == (11, 11, 4)
    assert (own.notes, evaluator.notes) == (["a", "b"], ["a"])
    assert (own.health.counts("zero_gradient"), evaluator.health.counts("zero_gradient")) == ((0, 0), (1, 2))


def test_blocks_of_precision_end() -> None:
    evaluator = made()
    with evaluator.low(True):
        _, low = evaluator.gradient(X, lambda z, _: z, lambda out, _: out.float().square().sum(1))
    _, full = evaluator.gradient(X, lambda z, _: z, lambda out, _: out.float().square().sum(1))
    assert not torch.equal(low, full)
    assert torch.allclose(low, full, atol=0.1)
    evaluator.low_precision, found = "alone", []
    with evaluator.in_float32():
        found.append(evaluator.low_precision)
    assert [*found, evaluator.low_precision] == ["", "alone"]


@pytest.mark.parametrize(("setting", "conv", "expected"), [
    ("fp32", True, ("", False)), ("bf16", True, ("first", True)), ("bf16", False, ("first", False)),
    ("auto", True, ("", False)),
])  # fmt: skip
def test_a_precision_is_chosen_by_its_setting(
    setting: str, conv: bool, expected: tuple[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2)) if conv else nn.Linear(3, 2)
    evaluator = made(model)
    times = iter([2.0, 1.0])
    monkeypatch.setattr(tuning, "_seconds", lambda *_: next(times))
    x = torch.rand(4, 1, 2, 2) if conv else X[:4]
    choose_precision(evaluator, x, Y[:4], setting)
    assert (evaluator.low_precision, evaluator.channels_last) == expected
    times = iter([2.0, 2.0])
    choose_precision(evaluator, x, Y[:4], setting)
    assert not evaluator.channels_last


def test_on_devices_that_reduce_the_default_is_a_check_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "reduces", lambda _: True)
    for model, x, last in (
        (nn.Sequential(nn.Conv2d(1, 2, 1), nn.Flatten(), nn.Linear(8, 2)), torch.rand(4, 1, 2, 2), True),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), torch.rand(4, 1, 2, 2), False),
        (nn.Linear(3, 2), X[:4], False),
    ):
        evaluator = made(model)
        choose_precision(evaluator, x, Y[:4] % 2, "auto")
        assert (evaluator.low_precision, evaluator.channels_last) == ("alone", last)
        evaluator = made(model, suppress=("random_forward",))
        choose_precision(evaluator, x, Y[:4] % 2, "auto")
        assert (evaluator.random, evaluator.low_precision) == (True, "")


def test_the_majority_of_draws_decides_and_ties_are_in_its_favour() -> None:
    answers = iter([[0, 1, 2, 2], [0, 1, 1, 2], [0, 0, 1, 1], [0, 0, 3, 1]])

    class Drawn(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.one_hot(torch.tensor(next(answers)), 4).float()

    evaluator = made(Drawn())
    evaluator.classes = 4
    predicted, missed = majority(evaluator, torch.zeros(4, 1), torch.tensor([0, 0, 0, 2]), 4)
    assert predicted.tolist() == [0, 0, 1, 2]
    assert missed.tolist() == [0, 2, 4, 2]


def test_a_models_own_draws_can_be_repeated() -> None:
    def draw(key: Tensor) -> tuple[Any, ...]:
        seed_draws(key)
        return float(torch.rand(())), random.random(), float(np.random.rand())  # noqa: S311 - the model's own draws

    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        key = rng.keys(0, torch.arange(3))
        assert draw(key) == draw(key)
        assert all(a != b for a, b in zip(draw(key), draw(key[:2]), strict=True))
        seed = int(rng.fold(key, "model").sum())
        assert draw(key)[0] == float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


@pytest.mark.parametrize(
    ("shape", "error", "words"),
    [
        ((2, 8, 8, 3), RuntimeError("x"), "channels come last"),
        ((2, 8, 8, 1), RuntimeError("x"), "channels come last"),
        ((2, 3, 8, 3), RuntimeError("x"), "shape that it was trained on"),
        ((2, 1, 8, 8), RuntimeError("x"), "three channels"),
        ((2, 4, 8, 3), RuntimeError("x"), "channels come last"),
        ((2, 8, 8, 5), ValueError("x"), "shape that it was trained on"),
        ((2, 8), IndexError("x"), "shape that it was trained on"),
        ((2, 8), KeyError("x"), r"model\(torch.rand\(2, 8\)\)"),
        ((2, 8), TypeError("takes 1 positional argument"), "function that makes the model"),
        ((2, 8), TypeError("other"), r"Call it by itself"),
    ],
)
def test_an_error_of_the_model_gets_a_remedy(shape: tuple[int, ...], error: Exception, words: str) -> None:
    class Broken(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise error

    with pytest.raises(ModelError, match=words):
        made(Broken()).logits(torch.zeros(shape))
    assert re.search(words, remedy(as_classifier(Broken()), torch.zeros(shape), error))


def test_the_usual_batch_is_that_of_the_device_and_estimators_get_larger_ones() -> None:
    assert made(batch_size=None).batch_size == devices.default_batch(CPU)
    assert made(batch_size=3).task is CLASSIFICATION
    assert (made().examples, made(examples=5).examples, made().probe_rows, made().probed) == (0, 5, 8, False)
