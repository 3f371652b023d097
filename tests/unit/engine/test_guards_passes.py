"""Guards of model passes on other devices: what is read late, cast, laid out and measured, on stand-ins of a device."""

from __future__ import annotations

import contextlib
import math
import random
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from robustest import (
    DeviceError,
    ModelError,
    MultiLabel,
    Regression,
    as_classifier,
    devices,
    labels_model,
    rng,
    scores_model,
)
from robustest.engine import evaluator as evaluators
from robustest.engine import tuning
from robustest.engine.evaluator import (
    Evaluator,
    Slope,
    majority,
    seed_draws,
)
from robustest.engine.model_errors import out_of_memory, remedy
from robustest.engine.tuning import choose_batch, choose_precision

CPU = torch.device("cpu")
X = torch.rand(11, 3, generator=torch.Generator().manual_seed(0))
Y = torch.arange(11) % 4


class Net(nn.Module):
    """A linear net that notes the batches that it gets."""

    def __init__(self, features: int = 3) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, features, generator=torch.Generator().manual_seed(1)))
        self.given: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.given.append(x.detach())
        return x.flatten(1) @ self.weight.T


def made(model: Any = None, batch_size: int | None = None, **options: Any) -> Evaluator:
    given: dict[str, Any] = {"suppress": (), "notes": []} | options
    return Evaluator(as_classifier(Net() if model is None else model), CPU, batch_size=batch_size, **given)


@pytest.fixture
def far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The host takes its own memory for that of a device that it has to wait for."""
    monkeypatch.setattr(devices, "on_host", lambda _: False)


# What the host reads late


@pytest.mark.usefixtures("far")
def test_numbers_and_counts_of_a_device_are_read_at_once_and_once() -> None:
    evaluator = made()
    assert evaluator.read() == ()
    evaluator.count("zero_gradient", failed=torch.tensor(3), tried=5)
    evaluator.count("unconfirmed_success", failed=torch.tensor(1), tried=7)
    assert evaluator.health.counts("zero_gradient") == (0, 0), "not before the host reads"
    several = torch.tensor([True, False]), torch.tensor([[0.5, 0.25]]), torch.tensor(2**40 + 1)
    found = evaluator.read(*several)
    assert [(one.dtype, one.tolist()) for one in found] == [(one.dtype, one.tolist()) for one in several]
    assert evaluator.health.counts("zero_gradient") == (3, 5)
    assert evaluator.health.counts("unconfirmed_success") == (1, 7)
    evaluator.require_finite()
    assert evaluator.health.counts("zero_gradient") == (3, 5)


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_was_not_finite_in_any_pass_is_refused_when_it_is_read(value: float, place: int) -> None:
    evaluator = made()
    for at in range(3):
        evaluator._suspect(torch.tensor(value if at == place else 5.0))
    evaluator.count("zero_gradient", failed=torch.tensor(3), tried=5)
    with pytest.raises(ModelError, match="nan_values"):
        evaluator.read(torch.tensor(1.0))
    evaluator.require_finite()
    assert [float(one) for one in evaluator.read(torch.tensor(1.0))] == [1.0]


@pytest.mark.usefixtures("far")
def test_finite_sums_are_no_finding() -> None:
    evaluator = made()
    for _ in range(3):
        evaluator._suspect(torch.tensor(-7.0))
    assert evaluator.read(torch.tensor([4, 5]))[0].tolist() == [4, 5]


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_large_sums_of_many_passes_do_not_overflow(sign: float) -> None:
    evaluator = made()
    for _ in range(4):
        evaluator._suspect(torch.tensor(sign * 3e38))
    evaluator.require_finite()


@pytest.mark.usefixtures("far")
@pytest.mark.parametrize("anew", [True, False])
def test_a_claim_that_is_measured_anew_forgets_what_was_not_finite(anew: bool) -> None:
    evaluator = made()
    evaluator._suspect(torch.tensor(math.nan))
    evaluator.count("zero_gradient", failed=torch.tensor(3), tried=5)
    evaluator.low_precision, inside = "first", list[str]()
    with evaluator.in_float32(anew=anew):
        inside.append(evaluator.low_precision)
        if anew:
            evaluator.require_finite()
            assert evaluator.health.counts("zero_gradient") == (0, 0)
        else:
            with pytest.raises(ModelError):
                evaluator.require_finite()
    assert [*inside, evaluator.low_precision] == ["", "first"]


def test_blocks_end_where_an_error_leaves_them() -> None:
    evaluator = made()
    evaluator.low_precision = "alone"
    for block, values in ((evaluator.low(True), (True, "alone")), (evaluator.in_float32(), (False, ""))):
        found: list[Any] = []
        with contextlib.suppress(KeyError), block:
            found += [evaluator.reduced, evaluator.low_precision]
            raise KeyError
        assert found == [*values]
        assert (evaluator.reduced, evaluator.low_precision) == (False, "alone")
    with evaluator.low(False):
        assert not evaluator.reduced


# The precision and the layout of a pass


@pytest.mark.parametrize("casts", [True, False])
@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("low", [True, False])
def test_a_pass_has_its_own_precision_inside_that_of_the_caller(
    low: bool, inside: bool, casts: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "casts", lambda _: casts)
    evaluator = made()
    with torch.autocast("cpu", torch.bfloat16, enabled=inside), evaluator._precision(low=low):
        product = X @ X.T
    expected = low or (inside and not casts)
    assert product.dtype == (torch.bfloat16 if expected else torch.float32)


def test_products_that_bfloat16_leaves_in_float32_are_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[str] = []

    class Block:
        def __enter__(self) -> None:
            entered.append("in")

        def __exit__(self, *_: object) -> None:
            entered.append("out")

    monkeypatch.setattr(evaluators, "tensor_float32", Block)
    for tf32, low, blocks in ((False, True, []), (True, False, []), (True, True, ["in", "out"])):
        monkeypatch.setattr(devices, "has_tf32", lambda _, tf32=tf32: tf32)
        entered.clear()
        with made()._precision(low=low):
            assert entered == blocks[:1]
            assert (X @ X.T).dtype == (torch.bfloat16 if low else torch.float32)
        assert entered == blocks


def test_a_device_is_asked_once_whether_it_rounds_factors(monkeypatch: pytest.MonkeyPatch) -> None:
    for rounds in (True, False):
        asked: list[torch.device] = []
        monkeypatch.setattr(devices, "rounds_factors", lambda device, r=rounds, a=asked: a.append(device) or r)
        evaluator = made()
        assert [evaluator.rounds_factors() for _ in range(3)] == [rounds] * 3
        assert asked == [CPU]


@pytest.mark.parametrize(
    ("shape", "low", "last", "laid_out"),
    [
        ((2, 3, 4, 4), True, True, True),
        ((2, 3, 4, 4), False, True, False),
        ((2, 3, 4, 4), True, False, False),
        ((2, 3, 4), True, True, False),
    ],
)
def test_channels_come_last_in_images_and_in_bfloat16_alone(
    shape: tuple[int, ...], low: bool, last: bool, laid_out: bool
) -> None:
    model = Net(math.prod(shape[1:]))
    evaluator, x = made(model), torch.rand(shape)
    evaluator.channels_last = last
    with evaluator.low(low):
        evaluator.gradient(x, lambda z, _: z, lambda out, _: out[:, 0])
    (given,) = model.given
    assert given.stride() == (x.contiguous(memory_format=torch.channels_last) if laid_out else x).stride()


def test_requests_that_share_a_pass_have_their_own_gradients() -> None:
    model = Net()
    evaluator = made(model)
    checked: list[tuple[int, ...]] = []

    def check(out: Tensor) -> Tensor:
        checked.append(tuple(out.shape))
        return out

    def request(rows: slice, factor: float) -> Slope:
        return Slope(
            X[rows], slice(0, rows.stop - rows.start), lambda z, _: 2 * z, lambda out, part: factor * out[part, 1],
            check, False,
        )  # fmt: skip

    found = evaluator.slopes([request(slice(0, 2), 1.0), request(slice(2, 7), -3.0), request(slice(7, 8), 5.0)])
    assert [len(one) for one in model.given] == [8]
    assert checked == [(2, 4), (5, 4), (1, 4)]
    for (logits, gradient), rows, factor in zip(found, (X[:2], X[2:7], X[7:8]), (1.0, -3.0, 5.0), strict=True):
        assert gradient is not None
        assert torch.allclose(logits, model(2 * rows), atol=1e-6)
        assert torch.allclose(gradient, 2 * factor * model.weight[1].expand(len(rows), -1), atol=1e-6)
        assert not logits.requires_grad
    out = evaluator.outputs(X[:3])
    assert torch.allclose(out, model(X[:3]), atol=1e-6)
    assert not out.requires_grad
    assert evaluator.forward == 0


@pytest.mark.parametrize("several", [1, 2])
def test_one_request_and_two_have_their_own_gradients_too(several: int) -> None:
    model = Net()
    evaluator = made(model)
    parts = [slice(0, 3), slice(3, 5)][:several]
    requests = [
        Slope(X[one], slice(0, 2 + (at == 0)), lambda z, _: z, lambda out, _, at=at: out[:, at], lambda out: out, False)
        for at, one in enumerate(parts)
    ]
    found = evaluator.slopes(requests)
    assert [len(one) for one in model.given] == [3 + 2 * (several - 1)]
    assert len(found) == several
    for at, ((logits, gradient), rows) in enumerate(zip(found, parts, strict=True)):
        assert gradient is not None
        assert torch.allclose(logits, X[rows] @ model.weight.T, atol=1e-6)
        assert torch.allclose(gradient, model.weight[at].expand(len(X[rows]), -1), atol=1e-6)


def test_the_first_eight_outputs_are_kept_of_any_number_of_parts() -> None:
    x = torch.arange(54.0).view(18, 3)
    for size in (3, 4, 5, 8, 9, 18):
        model = Net()
        judged = made(model, size).judge(x, torch.zeros(18, dtype=torch.int64))
        assert torch.allclose(judged.first, x[:8] @ model.weight.T)


def test_a_later_part_that_does_not_fit_is_halved_by_its_own_size() -> None:
    class Small(Net):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 2 and bool((x[:, 0] >= 12).any()):
                raise RuntimeError("out of memory")
            return super().forward(x)

    model, x = Small(), torch.arange(33.0).view(11, 3)
    evaluator = made(model, 4)
    assert torch.allclose(evaluator.logits(x), x @ model.weight.T)
    assert [len(one) for one in model.given] == [4, 2, 2, 2, 1]
    assert evaluator.notes == ["out of memory at a batch of 4; went on with 2"]


@pytest.mark.parametrize(("most", "size"), [(43, 10), (44, 11), (100, 11), (4000, 11)])
def test_small_outputs_leave_the_batch_as_it_is(most: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven samples have 44 outputs; a pass of two tells how many each has."""
    monkeypatch.setattr(evaluators, "_MOST_OUTPUT", most)
    evaluator = made(batch_size=11)
    evaluator.logits(X[:2])
    assert evaluator.batch_size == size


def test_an_evaluator_apart_counts_all_passes_from_zero() -> None:
    evaluator = made()
    evaluator.gradient(X, lambda z, _: z, lambda out, _: out[:, 0])
    assert (evaluator.forward, evaluator.backward) == (11, 11)
    own = evaluator.apart(lambda _: None)
    assert (own.forward, own.backward, own.classes) == (0, 0, 4)
    assert (evaluator.forward, evaluator.backward) == (11, 11)


def test_a_warning_names_the_line_that_gave_the_outputs() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        made().check_first(torch.tensor([[0.5, 0.5]]))
    assert [one.filename for one in caught] == [__file__]


@pytest.mark.parametrize("several", [False, True])
def test_a_pass_for_its_cost_climbs_cross_entropy_where_there_is_one_class(
    several: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Losses(dict[str, Any]):
        def __getitem__(self, name: str) -> Any:
            asked.append(name)
            return super().__getitem__(name)

    evaluator = made(task=MultiLabel()) if several else made()
    kind = type(evaluator.task)
    losses = Losses(evaluator.task.losses)
    monkeypatch.setattr(kind, "losses", property(lambda _: losses))
    y = torch.zeros(11, 4, dtype=torch.int64) if several else Y
    tuning._pass(evaluator, X, y)
    tuning._seconds(evaluator, X, y)
    assert asked == ["margin" if several else "ce"] * 2


def test_draws_are_averaged_and_each_is_counted() -> None:
    class Draws(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * float(len(self.given) + 1)

    model = Draws()
    evaluator = made(model, 6)
    logits, gradient = evaluator.gradient(X, lambda z, _: z, lambda out, _: out[:, 2], draws=3)
    # The first part's passes are 1, 2 and 3, and the other's 4, 5 and 6, each times its number and one more.
    factors = torch.tensor([3.0] * 6 + [6.0] * 5)[:, None]
    assert torch.allclose(logits, factors * (X @ model.weight.T), atol=1e-5)
    assert torch.allclose(gradient, factors * model.weight[2], atol=1e-5)
    assert (evaluator.forward, evaluator.backward) == (33, 33)


def test_answers_in_bfloat16_that_are_not_finite_are_no_class() -> None:
    class Overflows(Net):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            over = torch.is_autocast_enabled("cpu") and bool(len(x) > 1)
            return torch.where((torch.arange(len(x)) == 1)[:, None] & over, torch.nan, out.float())

    evaluator = made(Overflows(), 6)
    answers = evaluator.bfloat16(X)
    assert answers is not None
    plain = made(Net()).bfloat16(X)
    assert plain is not None
    assert answers.tolist() == [-1 if row in (1, 7) else one for row, one in enumerate(plain.tolist())]


def test_a_model_without_bfloat16_has_no_answers_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(Net):
        def forward(self, x: Tensor) -> Tensor:
            if torch.is_autocast_enabled("cpu"):
                raise TypeError("no bfloat16")
            return super().forward(x)

    assert made(Full()).bfloat16(X) is None
    monkeypatch.setattr(devices, "casts", lambda _: False)
    assert made(Net()).bfloat16(X) is None


def test_a_model_is_given_clones_until_it_is_known_to_leave_its_input() -> None:
    class Writes(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.mul_(2) if self.writes else x)

    for writes in (True, False):
        model = Writes()
        model.writes = writes  # type: ignore[assignment]
        x, addresses = X.clone(), []
        evaluator = made(model)
        for _ in range(3):
            evaluator.logits(x)
            addresses.append(model.given[-1].data_ptr() == x.data_ptr())
        assert torch.equal(x, X)
        assert addresses == [False, not writes, not writes]


@pytest.mark.parametrize("size", [1, 4, 5, 6, 7, 12, 13])
def test_each_part_holds_its_own_rows(size: int) -> None:
    """Among others one whose ends add up to the number of rows."""
    x, model = torch.arange(36.0).view(12, 3), Net()
    evaluator = made(model, size)
    assert torch.allclose(evaluator.logits(x), x @ model.weight.T)
    assert torch.equal(torch.cat(model.given), x)
    model.given.clear()
    evaluator.gradient(x, lambda z, _: z, lambda out, part: (out * torch.arange(12.0)[part, None]).sum(1))
    assert torch.equal(torch.cat(model.given), x)
    judged = evaluator.judge(x, torch.arange(12) % 4)
    assert judged.holds.tolist() == ((x @ model.weight.T).argmax(1) == torch.arange(12) % 4).tolist()


def test_a_models_own_draws_are_those_of_the_seed() -> None:
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    try:
        for number in range(4):
            key = rng.keys(number, torch.arange(3))
            seed_draws(key)
            seed = int(rng.fold(key, "model").sum())
            assert float(torch.rand(())) == float(torch.rand((), generator=torch.Generator().manual_seed(seed)))
            assert random.random() == random.Random(seed).random()  # noqa: S311 - the model's own draws
            assert float(np.random.rand()) == float(np.random.RandomState(seed % 4294967296).rand())
    finally:
        torch.set_rng_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def test_estimators_are_asked_many_rows_at_a_time() -> None:
    classifier = as_classifier(Net())
    object.__setattr__(classifier, "estimator", object())
    made_of = {
        size: Evaluator(classifier, CPU, batch_size=size, suppress=(), notes=[]).batch_size for size in (None, 5)
    }
    assert made_of == {None: 8192, 5: 5}


@pytest.mark.parametrize("classes", [2, 5])
def test_the_majority_of_draws_is_that_of_a_slow_count(classes: int) -> None:
    """A label keeps its sample unless more than half of the draws miss it; then the most frequent other class does."""
    draws = 7
    answers = torch.randint(classes, (draws, 60), generator=torch.Generator().manual_seed(classes))
    answers[:, :20] = torch.where(torch.rand(draws, 20) < 0.6, 1, answers[:, :20])
    passes, y = iter(answers), torch.arange(60) % classes
    evaluator = made(lambda _: nn.functional.one_hot(next(passes), classes).float())
    evaluator.classes = classes
    predicted, missed = majority(evaluator, torch.zeros(60, 1), y, draws)
    for row in range(60):
        votes = [int((answers[:, row] == label).sum()) for label in range(classes)]
        label = int(y[row])
        assert int(missed[row]) == draws - votes[label]
        others = [-1 if at == label else one for at, one in enumerate(votes)]
        expected = others.index(max(others)) if draws - votes[label] > draws / 2 else label
        assert int(predicted[row]) == expected


# Outputs, and errors


def test_answers_are_judged_by_all_outputs_and_scored_where_asked() -> None:
    task = Regression(0.1)
    evaluator = made(lambda x: x.sum(1, keepdim=True), 4, task=task)
    target = X.sum(1, keepdim=True) + 0.2 * (torch.arange(11) % 2)[:, None]
    judged = evaluator.judge(X, target, scored=True)
    assert judged.holds.tolist() == [row % 2 == 0 for row in range(11)]
    score = task.score(X.sum(1, keepdim=True), target)
    assert score is not None
    assert judged.score is not None
    assert torch.allclose(judged.score, score)
    assert torch.allclose(judged.first, X[:8].sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("task", "logits", "noted"),
    [
        (MultiLabel(), torch.tensor([[0.5, 0.5]]), False),
        (None, torch.full((1, 2, 3, 3), 0.5), True),
        (None, torch.tensor([[0.5, 0.4995], [0.0, 1.0]]), True),
        (None, torch.tensor([[0.5, 0.498], [0.0, 1.0]]), False),
        (None, torch.tensor([[1.5, -0.5], [0.0, 1.0]]), False),
    ],
)
def test_shares_of_classes_are_warned_of(task: Any, logits: Tensor, noted: bool) -> None:
    evaluator = made() if task is None else made(task=task)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        evaluator.check_first(logits)
    assert [bool(evaluator.notes), bool(caught)] == [noted, noted]


@pytest.mark.parametrize(
    ("error", "known"),
    [
        (torch.OutOfMemoryError("x"), True),
        (RuntimeError("CUDA Out of Memory"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY"), True),
        (RuntimeError("shapes cannot be multiplied"), False),
        (MemoryError("out of memory"), False),
        (ModelError("out of memory"), False),
        (None, False),
    ],
)
def test_errors_of_a_full_memory_are_known(error: BaseException | None, known: bool) -> None:
    assert out_of_memory(error) is known


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_a_batch_is_halved_and_one_sample_is_not(size: int) -> None:
    evaluator = made()
    if size == 1:
        with pytest.raises(DeviceError, match="batch of one"):
            evaluator.halve(1)
        assert evaluator.notes == []
    else:
        evaluator.halve(size)
        assert evaluator.batch_size == size // 2
        assert evaluator.notes == [f"out of memory at a batch of {size}; went on with {size // 2}"]


def test_an_error_is_quoted_in_part_and_told_apart() -> None:
    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("a  b\n" + "c" * 400)

    with pytest.raises(ModelError, match=r"\(2, 3\) but it raised ValueError: a b c{296}\. "):
        made(Fails()).logits(X[:2])


def stands_for(module: str) -> Any:
    """A model whose class says that it is of another package."""
    return type("Model", (), {"__module__": module, "__call__": None})()


@pytest.mark.parametrize(
    ("shape", "error", "given", "words"),
    [
        ((2, 8), ValueError("x"), {"call": stands_for("keras.src.models")}, "use keras_model(model)"),
        ((2, 8), ValueError("x"), {"call": stands_for("flax")}, "use jax_model(f, params)"),
        ((2, 8), ValueError("x"), {"call": stands_for("tensorflow.python")}, "use tf_model(model)"),
        ((2, 8), TypeError("argument of dot as an abstract array"), {}, "use jax_model(f, params)"),
        ((2, 8), ValueError("x"), {"call": stands_for("mykeras")}, "shape that it was trained on"),
        ((2, 8), TypeError("argument must be Tensor, not str"), {"decode": list}, "It takes tensors: wrap it"),
        ((2, 8), TypeError("argument must be Tensor, not str"), {}, "Call it by itself"),
        ((2, 8), TypeError("another"), {"decode": list}, "Call it by itself"),
        ((2, 8), ValueError("Input X contains NaN."), {}, "Fill the missing values"),
        ((2, 8), TypeError("Input X contains NaN."), {}, "Call it by itself"),
        ((2, 8), ValueError("Input X contains inf."), {}, "shape that it was trained on"),
        ((2, 8), TypeError("x"), {"scores": True}, "gets a float32 array of NumPy"),
        ((2, 8), AttributeError("x"), {"scores": True}, "gets a float32 array of NumPy"),
        ((2, 8), ValueError("x"), {"scores": True}, "shape that it was trained on"),
        ((2, 8), TypeError("f() takes 1 positional argument but 2 were given"), {}, "If it is a function that makes"),
        ((2, 8), ValueError("takes 1 positional argument"), {}, "shape that it was trained on"),
        ((2, 3, 8, 8), RuntimeError("Expected all tensors to be on the same device, but"), {}, "The inputs are on cpu"),
        ((2, 3, 8, 8), ValueError("Expected all tensors to be on the same device, but"), {}, "it was trained on"),
        ((2, 8, 8, 3), RuntimeError("x"), {}, "Its channels come last"),
        ((2, 8, 8, 1), KeyError("x"), {}, "Its channels come last"),
        ((2, 8, 8, 4), KeyError("x"), {}, "Its channels come last"),
        ((2, 4, 8, 4), KeyError("x"), {}, "Its channels come last"),
        ((2, 8, 8, 5), KeyError("x"), {}, "Call it by itself, model(torch.rand(2, 8, 8, 5))"),
        ((2, 3, 8, 3), KeyError("x"), {}, "Call it by itself"),
        ((2, 1, 8, 3), KeyError("x"), {}, "If it takes three channels, repeat the grey one"),
        ((2, 1, 8, 8), KeyError("x"), {}, "If it takes three channels, repeat the grey one"),
        ((2, 8, 1), KeyError("x"), {}, "Call it by itself"),
        ((2, 1, 8), KeyError("x"), {}, "Call it by itself"),
        ((2, 8, 8, 3, 3), KeyError("x"), {}, "Call it by itself"),
        ((2, 1, 8, 8, 8), KeyError("x"), {}, "Call it by itself"),
    ],
)
def test_an_error_of_the_model_is_answered_by_what_mends_it(
    shape: tuple[int, ...], error: Exception, given: dict[str, Any], words: str
) -> None:
    model = scores_model(lambda x: x) if given.pop("scores", False) else as_classifier(lambda x: x)
    for name, value in given.items():
        object.__setattr__(model, name, value)
    assert words in remedy(model, torch.zeros(shape), error)


def test_an_error_of_ours_or_of_gradients_keeps_its_words() -> None:
    def model(x: Tensor) -> Tensor:
        raise error

    error: Exception = DeviceError("as it is")
    with pytest.raises(DeviceError, match=r"^as it is$"):
        made(model).logits(X)
    error = RuntimeError("Can't call numpy() on Tensor that requires grad.")
    with pytest.raises(ModelError, match="Expected gradients from the model's input"):
        made(model).logits(X)
    error = RuntimeError("e" * 301 + "...")
    with pytest.raises(ModelError, match=r"RuntimeError: e{300}\. "):
        made(model).logits(X)


# The batch size of an accelerator


def chosen(
    monkeypatch: pytest.MonkeyPatch, bytes_: int, memory: int | None = 1 << 20, n: int = 40, **options: Any
) -> tuple[int, list[int]]:
    """The batch size, and the samples of each measured pass; 1 MiB of memory, of which a quarter is used."""
    measured: list[int] = []

    def peak(_: Any, work: Callable[[], object]) -> int:
        before = len(model.given)
        work()
        measured.extend(len(one) for one in model.given[before:])
        return bytes_

    model = options.pop("model", None) or Net()
    monkeypatch.setattr(devices, "memory", lambda _: memory)
    monkeypatch.setattr(devices, "peak", peak)
    classifier = as_classifier(model)
    for name in ("reset", "module", "max_queries"):
        if name in options:
            object.__setattr__(classifier, name, options.pop(name))
    evaluator = Evaluator(classifier, CPU, **{"batch_size": None, "suppress": (), "notes": [], **options})
    choose_batch(evaluator, torch.rand(n, 3), torch.arange(n) % 4)
    return evaluator.batch_size, measured


@pytest.mark.parametrize(
    ("bytes_", "size"),
    [
        (32 * 4096, 64),  # 64 samples of 4 KiB are a quarter of a MiB
        (32 * 4096 + 32, 32),
        (32 * 2048, 128),
        (32 * 2048 - 1, 128),
        (32 * 64, 4096),
        (32 * 63, 4096),
        (32 * 32, 4096),
        (0, 4096),
        (1 << 20, 32),
        (1 << 40, 32),
    ],
)
def test_a_batch_is_the_largest_power_of_two_in_a_quarter_of_the_memory(
    bytes_: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(monkeypatch, bytes_) == (size, [32, 32])


def test_few_samples_are_measured_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert chosen(monkeypatch, 4 * 4096, n=4) == (64, [4, 4])


@pytest.mark.parametrize(
    "options",
    [
        {"memory": None},
        {"batch_size": 128},
        {"suppress": ("random_forward",)},
        {"n": 0},
        {"reset": lambda: None},
        {"module": None},
        {"max_queries": 100},
    ],
    ids=lambda options: next(iter(options)),
)
def test_where_passes_are_not_to_be_made_the_usual_batch_stays(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert chosen(monkeypatch, 32 * 4096, **options) == (128, [])


def test_what_does_not_fit_as_it_is_is_not_chosen_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    class Small(Net):
        def forward(self, x: Tensor) -> Tensor:
            if len(x) > 20:
                raise RuntimeError("out of memory")
            return super().forward(x)

    size, measured = chosen(monkeypatch, 32 * 64, model=Small())
    assert (size, measured) == (16, [16] * 4)


@pytest.mark.usefixtures("far")
def test_a_measured_pass_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that are not finite there stop no claim; those of before do."""
    model = Net()
    monkeypatch.setattr(devices, "memory", lambda _: 1 << 20)
    monkeypatch.setattr(devices, "peak", lambda _, work: (work(), 32 * 4096)[1])
    evaluator = made(model)
    choose_batch(evaluator, torch.full((40, 3), torch.nan), torch.arange(40) % 4)
    evaluator.require_finite()
    evaluator._suspect(torch.tensor(math.nan))
    choose_batch(evaluator, torch.rand(40, 3), torch.arange(40) % 4)
    with pytest.raises(ModelError):
        evaluator.require_finite()


def test_a_model_without_gradients_is_measured_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cut(Net):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x.detach())

    assert chosen(monkeypatch, 32 * 4096, model=Cut()) == (64, [32] * 4), "with a gradient, then without"
    labels = labels_model(lambda x: x.argmax(1), classes=3)
    evaluator = Evaluator(labels, CPU, batch_size=None, suppress=(), notes=[])
    tuning._pass(evaluator, X, Y)
    assert (evaluator.forward, evaluator.backward) == (11, 0)


# Gradients in bfloat16


def test_the_least_time_of_three_passes_of_32_samples_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0.0, 9.0, 10.0, 11.0, 20.0, 24.0])
    monkeypatch.setattr(tuning, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    model = Net()
    evaluator = made(model)
    reduced: list[bool] = []
    monkeypatch.setattr(devices, "wait", lambda _: reduced.append(evaluator.reduced))
    assert tuning._seconds(evaluator, torch.rand(40, 3), torch.arange(40) % 4) == 1.0
    assert [len(one) for one in model.given] == [32] * 3
    assert (reduced, evaluator.reduced) == ([True] * 3, False)


@pytest.mark.usefixtures("far")
def test_what_overflows_while_the_time_is_taken_decides_nothing() -> None:
    evaluator = made()
    tuning._seconds(evaluator, torch.full((4, 3), torch.nan), Y[:4])
    evaluator.require_finite()


class Conv(nn.Module):
    """A convolution whose forward may need the usual layout."""

    def __init__(self, usual: bool = False) -> None:
        super().__init__()
        self.conv, self.usual = nn.Conv2d(3, 4, 1), usual

    def forward(self, x: Tensor) -> Tensor:
        if self.usual and not x.is_contiguous():
            raise ValueError("view size is not compatible")
        out: Tensor = self.conv(x).mean((2, 3))
        return out


@pytest.mark.parametrize(
    ("model", "images", "last"),
    [(Conv(), True, True), (Conv(usual=True), True, False), (Net(48), True, False), (Net(48), False, False)],
    ids=["convolutions", "the usual layout alone", "no convolution", "no images"],
)
def test_where_a_device_reduces_channels_come_last_if_the_model_can_do_it(
    model: nn.Module, images: bool, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "reduces", lambda _: True)
    evaluator = made(model)
    choose_precision(evaluator, torch.rand(4, 3, 4, 4) if images else torch.rand(4, 48), Y[:4], "auto")
    assert (evaluator.low_precision, evaluator.channels_last) == ("alone", last)


def test_layouts_that_fail_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluator = made(Conv(usual=True))
    choose_precision(evaluator, torch.rand(4, 3, 4, 4), Y[:4], "bf16")
    assert (evaluator.low_precision, evaluator.channels_last) == ("first", False)
    monkeypatch.setattr(devices, "reduces", lambda _: True)
    function = made(lambda x: x.flatten(1)[:, :4])
    choose_precision(function, torch.rand(4, 3, 4, 4), Y[:4], "auto")
    assert (function.low_precision, function.channels_last) == ("alone", False)
