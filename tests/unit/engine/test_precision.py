"""Gradients in bfloat16: never a verdict of theirs, and everything that is left attacked again in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import Linf
from robustest.attacks import PGD
from robustest.engine import evaluator as evaluators
from robustest.measure import measure_robust_accuracy


def low() -> bool:
    return torch.is_autocast_enabled("cpu")


class Passes(nn.Module):
    """Notes of every pass: in bfloat16 or not, with a gradient or not, channels last or not."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[tuple[bool, bool, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        last = x.ndim == 4 and not x.is_contiguous()
        self.seen.append((low(), x.requires_grad, last))
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


def timed(monkeypatch: pytest.MonkeyPatch, *, full: float, contiguous: float, last: float) -> None:
    """Let gradient passes take so many seconds: in float32, and in bfloat16 in two layouts."""

    def seconds(evaluator: Any, x: Tensor, y: Tensor, *, on: bool) -> float:
        return (last if evaluator.channels_last else contiguous) if on else full

    monkeypatch.setattr(evaluators, "_seconds", seconds)


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
    timed(monkeypatch, full=1.0, contiguous=1.0, last=last)
    x = toy.x.expand(-1, 2, -1, -1).contiguous()  # one channel lies the same either way
    model = Passes(nn.Sequential(nn.AvgPool3d((2, 1, 1)), toy.model))
    measure_robust_accuracy(model, (x, toy.y), Linf(0.1), attack=PGD(steps=2), precision="bf16")
    for kind, gradient, channels_last in model.seen:
        assert channels_last == (kind and gradient and last < 1)
    assert any(kind and gradient for kind, gradient, _ in model.seen)


def test_rows_of_a_table_have_no_channels(monkeypatch: pytest.MonkeyPatch, toys: Any) -> None:
    toy = toys(40, shape=(12,))
    timed(monkeypatch, full=1.0, contiguous=1.0, last=0.1)
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.01), attack=PGD(steps=2), precision="bf16")
    assert result.estimate > 0


@pytest.mark.parametrize(("full", "taken"), [(1.4, "fp32"), (1.6, "bf16 first")])
def test_auto_takes_bfloat16_where_it_is_much_faster(
    toy: Any, monkeypatch: pytest.MonkeyPatch, full: float, taken: str
) -> None:
    timed(monkeypatch, full=full, contiguous=1.5, last=1.0)
    model = Passes(toy.model)
    result = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.1), attack=PGD(steps=2), precision="auto")
    assert [note.rpartition("; ")[2] for note in result.notes if note.startswith("precision auto")] == [taken]
    assert any(kind and gradient for kind, gradient, _ in model.seen) == (taken == "bf16 first")


def test_auto_really_times_both(toy: Any) -> None:
    result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.1), attack=PGD(steps=2), precision="auto")
    assert any(note.startswith("precision auto: a gradient pass takes ") for note in result.notes)


def test_a_model_without_numbers_in_bfloat16_is_attacked_in_float32(toy: Any) -> None:
    class Overflows(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = toy.model(x)
            return out / 0 if low() and x.requires_grad else out

    want = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.1), attack=PGD(steps=2))
    got = measure_robust_accuracy(Overflows(), (toy.x, toy.y), Linf(0.1), attack=PGD(steps=2), precision="auto")
    assert got.outcomes == want.outcomes
    assert not any(note.startswith("precision auto") for note in got.notes)


@pytest.mark.parametrize("setting", ["bf16", "auto"])
def test_a_model_that_takes_no_other_layout_keeps_the_usual_one(toys: Any, setting: str) -> None:
    toy = toys(40, shape=(3, 4, 4))

    class Views(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = toy.model(x.view(len(x), -1))
            return out

    want = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05), attack=PGD(steps=5))
    got = measure_robust_accuracy(Views(), (toy.x, toy.y), Linf(0.05), attack=PGD(steps=5), precision=setting)
    assert got.outcomes == want.outcomes
    assert any("precision auto" in note for note in got.notes) == (setting == "auto")
