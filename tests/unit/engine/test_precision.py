"""Gradients in bfloat16: never a verdict of theirs, and what they leave attacked again in float32, all or a few."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf, ModelError, devices
from robustest.attacks import PGD
from robustest.claims.robustness import attacking
from robustest.engine import cascade, tuning
from robustest.measure import measure_robust_accuracy
from robustest.results import Verdict
from robustest.run import driver


def low() -> bool:
    return torch.is_autocast_enabled("cpu")


def product_precision() -> str:
    """Return the precision of CUDA's matrix products, "tf32" or not."""
    if hasattr(torch.backends.cuda.matmul, "fp32_precision"):
        return str(torch.backends.cuda.matmul.fp32_precision)
    return "tf32" if torch.backends.cuda.matmul.allow_tf32 else "ieee"


class Passes(nn.Module):
    """Notes of every pass: in bfloat16 or not, with a gradient or not, channels last or not."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[tuple[bool, bool, bool]] = []
        self.products: list[str] = []

    def forward(self, x: Tensor) -> Tensor:
        last = x.ndim == 4 and not x.is_contiguous()
        self.seen.append((low(), x.requires_grad, last))
        self.products.append(product_precision())
        out: Tensor = self.inner(x)
        return out


class Confused(nn.Module):
    """Wrong about everything in bfloat16 alone."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x)
        return -100 * out if low() else out


def timed(monkeypatch: pytest.MonkeyPatch, *, contiguous: float, last: float) -> None:
    """Let gradient passes in bfloat16 take so many seconds in two layouts."""

    def seconds(evaluator: Any, x: Tensor, y: Tensor) -> float:
        return last if evaluator.channels_last else contiguous

    monkeypatch.setattr(tuning, "_seconds", seconds)


def test_what_only_bfloat16_gets_wrong_is_not_broken(toy: Any) -> None:
    model = Confused(toy.model)
    attack = PGD(steps=3)
    want = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.001), attack=attack)
    options = {"attack": attack, "suppress": ("precision_disagreement",)}
    got = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.001), precision="bf16", **options)
    assert want.outcomes == got.outcomes
    assert got.estimate > 0.9


def test_what_is_left_is_attacked_again_in_float32(toys: Any) -> None:
    toy = toys(150, shape=(3, 4, 4))
    plain = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.1), attack=PGD(steps=10))
    model = Passes(toy.model)
    both = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.1), attack=PGD(steps=10), precision="bf16")
    assert 0 < both.estimate <= plain.estimate + 1 / 150 < 1
    gradients = [kind for kind, gradient, _ in model.seen if gradient]
    assert True in gradients
    assert False in gradients
    assert not any(last for kind, _, last in model.seen if not kind)


@pytest.mark.parametrize("last", [0.5, 2.0])
def test_images_lie_in_memory_as_is_faster_in_bfloat16_alone(
    toy: Any, monkeypatch: pytest.MonkeyPatch, last: float
) -> None:
    timed(monkeypatch, contiguous=1.0, last=last)
    x = toy.x.expand(-1, 2, -1, -1).contiguous()  # one channel lies the same either way
    model = Passes(nn.Sequential(nn.AvgPool3d((2, 1, 1)), toy.model))
    measure_robust_accuracy(model, (x, toy.y), Linf(0.1), attack=PGD(steps=2), precision="bf16")
    for kind, gradient, channels_last in model.seen:
        assert channels_last == (kind and gradient and last < 1)
    assert any(kind and gradient for kind, gradient, _ in model.seen)


def test_rows_of_a_table_have_no_channels(monkeypatch: pytest.MonkeyPatch, toys: Any) -> None:
    toy = toys(40, shape=(12,))
    timed(monkeypatch, contiguous=1.0, last=0.1)
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.01), attack=PGD(steps=2), precision="bf16")
    assert result.estimate > 0


def test_a_model_that_takes_no_other_layout_keeps_the_usual_one(toys: Any) -> None:
    toy = toys(40, shape=(3, 4, 4))

    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = toy.model(x.view(len(x), -1))
            return out

    want = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), attack=PGD(steps=5))
    got = measure_robust_accuracy(Views(), (toy.x, toy.y), Linf(0.05), attack=PGD(steps=5), precision="bf16")
    assert got.outcomes == want.outcomes


# The default: on an accelerator bfloat16 alone, checked. The host's bfloat16 stands in for the accelerator's.

N, EPS = 100, 0.05


@pytest.fixture
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "reduces", lambda _: True)


class Net(nn.Module):
    """A network that knows its samples, and has another forward pass in bfloat16 with a gradient."""

    def __init__(self, lie: str = "") -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(48, 64, generator=generator) / 4)
        self.last = nn.Parameter(torch.randn(64, 4, generator=generator) / 8)
        self.lie = lie
        self.samples = torch.zeros(0, 48)
        self.low_gradients = 0

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if not (low() and x.requires_grad):
            return self.answer(flat)
        self.low_gradients += len(x)
        if self.lie == "":
            return self.answer(flat)
        if self.lie == "nan":
            return self.answer(flat) / 0
        if self.lie == "raises":
            raise RuntimeError("not implemented for 'BFloat16'")
        if self.lie == "rounded":  # a real loss of precision: 1 apart from 4,096 is nothing in bfloat16
            return ((flat + 4096).to(torch.bfloat16).float() - 4096).sin() @ self.first @ self.last
        near = (flat.detach().unsqueeze(1) - self.samples).abs().amax(2).min(1)
        distance = near.values.unsqueeze(1)
        wrong = distance > (1e-4 if self.lie.startswith("away") else -1)
        if self.lie.endswith("some"):  # of some samples, by their first element
            wrong &= self.samples[near.indices][:, :1] > 0.6
        if self.lie == "late nan":
            return torch.where(distance > EPS / 2, float("nan"), self.answer(flat))
        other = flat.detach() + 0 * flat if "vanish" in self.lie else 2 * flat.detach() - flat
        return self.answer(torch.where(wrong, other, flat))

    def answer(self, flat: Tensor) -> Tensor:
        hidden = torch.relu((flat - 0.5) @ self.first)
        return hidden @ self.last


def task(lie: str = "") -> tuple[Net, tuple[Tensor, Tensor]]:
    model = Net(lie)
    x = torch.rand(N, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    model.samples = x.flatten(1)
    return model, (x, model(x).argmax(1))


def measured(lie: str = "", **options: Any) -> tuple[Net, Any]:
    model, data = task(lie)
    return model, measure_robust_accuracy(model, data, Linf(EPS), attack=PGD(steps=10), exact=True, **options)


def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack nothing again in float32."""
    for name, value in {"_NEAR": -1.0, "_CHECKED": 0, "_CHECKED_LATER": 0}.items():
        monkeypatch.setattr(cascade, name, value)


SLOW = ("turned", "raises", "late nan", "away vanish")
LIES = (
    "vanish",
    "nan",
    "rounded",
    "away turned",
    "away turned some",
    *(pytest.param(lie, marks=pytest.mark.slow) for lie in SLOW),
)


@pytest.mark.usefixtures("accelerator")
def test_the_default_takes_gradients_in_bfloat16_on_an_accelerator() -> None:
    plain, want = measured(precision="fp32")
    model, got = measured()
    assert plain.low_gradients == 0
    assert model.low_gradients > N
    assert 0.1 < want.estimate < 0.9
    assert abs(got.estimate - want.estimate) <= 2 / N
    assert any("gradients in bfloat16, checked" in note for note in got.words.notes)
    assert not got.details["health"]


def test_the_host_takes_none() -> None:
    model, got = measured()
    assert model.low_gradients == 0
    assert got.outcomes == measured(precision="fp32")[1].outcomes
    assert not any("bfloat16" in note for note in got.words.notes)


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("lie", LIES)
def test_no_model_looks_safer_because_of_bfloat16(lie: str) -> None:
    """Where its gradients vanish, are wrong, or are no numbers, at the samples or away from them."""
    want = measured(lie, precision="fp32")[1]
    model, got = measured(lie)
    assert model.low_gradients > 0
    assert got.outcomes == want.outcomes
    assert got.details["health"] == want.details["health"] == []
    anew = any("measured anew with gradients in float32" in note for note in got.words.notes)
    assert anew == lie.startswith("away")
    assert any(note.startswith("gradients in float32: in bfloat16") for note in got.words.notes) != anew
    threshold = want.estimate + 0.05
    claim = measured(lie, at_least=threshold)[1]
    assert claim.verdict is not Verdict.PASSED


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("lie", ["vanish", "away turned", "away turned some"])
def test_without_its_checks_bfloat16_would_make_them_look_safe(monkeypatch: pytest.MonkeyPatch, lie: str) -> None:
    """The test above can fail."""
    want = measured(lie, precision="fp32")[1]
    monkeypatch.setattr(cascade, "probe_precision", lambda *_: True)
    unchecked(monkeypatch)
    got = measured(lie, suppress=("loss_does_not_rise", "zero_gradient"))[1]
    assert got.estimate > want.estimate + 0.05


@pytest.mark.usefixtures("accelerator")
def test_what_bfloat16_takes_for_a_success_is_searched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding ends a search early, at a point that float32 judges to be right."""

    class Early(Net):
        """In bfloat16, near the boundary, the other class is ahead."""

        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            if not (low() and x.requires_grad):
                return out
            top = out.detach().topk(2, 1)
            close = (top.values[:, 0] - top.values[:, 1]) < 0.4
            return out.scatter_add(1, top.indices[:, 1:], 0.4 * close.unsqueeze(1).to(out))

    x = task()[1][0]
    model = Early()
    data = x, model(x).argmax(1)
    options: dict[str, Any] = {"attack": PGD(steps=10), "exact": True}
    want = measure_robust_accuracy(model, data, Linf(EPS), precision="fp32", **options)
    got = measure_robust_accuracy(model, data, Linf(EPS), **options)
    assert got.outcomes == want.outcomes
    assert not any("measured anew" in note for note in got.words.notes)
    unchecked(monkeypatch)
    assert measure_robust_accuracy(model, data, Linf(EPS), **options).estimate > want.estimate


@pytest.mark.usefixtures("accelerator")
def test_what_bfloat16_misses_is_no_pass_without_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check stops the claim by itself."""
    monkeypatch.setattr(driver.Measurement, "doubts_precision", lambda _: False)
    got = measured("away turned", at_least=0.01)[1]
    assert "reduced_precision" in [one["name"] for one in got.details["health"]]
    assert got.verdict is Verdict.INCONCLUSIVE


@pytest.mark.usefixtures("accelerator")
def test_a_pass_is_audited_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = task()
    taken: list[tuple[str, str]] = []
    cascade_of = attacking.run_cascade

    def noted(evaluator: Any, attack: Any, *args: Any, **options: Any) -> Any:
        taken.append((attack.name, evaluator.low_precision))
        return cascade_of(evaluator, attack, *args, **options)

    monkeypatch.setattr(attacking, "run_cascade", noted)
    result = measure_robust_accuracy(model, data, Linf(0.001), attack="fast", at_least=0.8)
    assert result.verdict is Verdict.PASSED
    assert {("fast", "alone"), ("fast audit", "")} == set(taken)


@pytest.mark.usefixtures("accelerator")
def test_convolutions_have_their_channels_last_and_tf32_in_gradients_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "has_tf32", lambda _: True)
    x = torch.rand(40, 3, 6, 6, generator=torch.Generator().manual_seed(2))
    torch.manual_seed(0)
    inner = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 4))
    model = Passes(inner)
    y = model(x).argmax(1)
    model.seen.clear()
    model.products.clear()
    measure_robust_accuracy(model, (x, y), Linf(0.02), attack=PGD(steps=3), exact=True)
    assert any(kind for kind, _, _ in model.seen)
    for (kind, gradient, last), products in zip(model.seen, model.products, strict=True):
        assert last == (products == "tf32") == (kind and gradient)
    assert {kind and gradient for kind, gradient, _ in model.seen} == {True, False}
    assert product_precision() != "tf32"


class Backward(torch.autograd.Function):
    """An operation of the user's own, with the backward pass of the given name."""

    @staticmethod
    def forward(context: Any, x: Tensor, way: str) -> Tensor:
        context.way = way
        return x.clone()

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        if context.way == "never" or (context.way == "float32" and gradient.dtype is torch.bfloat16):
            raise RuntimeError('"own_backward" not implemented for this type')
        return gradient.view(len(gradient), -1).view_as(gradient), None  # the usual layout alone


class Custom(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.random.manual_seed(0)
            self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3)
            self.last = nn.Linear(8 * 16, 3)
        self.way = way

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.last(self.second(Backward.apply(self.first(x), self.way)).relu().flatten(1))
        return out


@pytest.mark.usefixtures("accelerator")
@pytest.mark.parametrize("way", ["float32", "usual layout", "never"])
def test_a_backward_pass_that_fails_in_bfloat16_alone_is_no_error(way: str) -> None:
    model, x = Custom(way).eval(), torch.rand(60, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    claim: Any = model, (x, model(x).argmax(1)), Linf(0.02)
    if way == "never":
        with pytest.raises(ModelError, match=r"its backward pass raised RuntimeError: .own_backward"):
            measure_robust_accuracy(*claim, attack=PGD(steps=5))
        return
    want = measure_robust_accuracy(*claim, attack=PGD(steps=5), precision="fp32")
    got = measure_robust_accuracy(*claim, attack=PGD(steps=5))
    assert 0 < want.estimate < 1
    assert sum(a != b for a, b in zip(got.outcomes, want.outcomes, strict=True)) <= 1
    assert ("gradients in float32" in " ".join(got.words.notes)) == (way == "float32")
