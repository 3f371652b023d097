"""Hints at likely mistakes: each speaks where it should and is silent on sound input; none moves a verdict."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import L2, Linf
from robustest.engine.answer_checks import radius_mistake
from robustest.measure import measure_robust_accuracy


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()


def hints(model: Any, x: Tensor, y: Tensor, **options: Any) -> list[str]:
    found = measure_robust_accuracy(model, (x, y), Linf(0.01), attack="fgsm", **options)
    return [note for note in found.words.notes if note.startswith("hint: ")]


class Constant(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] * 0 + torch.tensor([0.0, 5.0, -5.0])


@pytest.fixture
def samples() -> tuple[Tensor, Tensor]:
    x = torch.rand(40, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return x, torch.arange(40) % 3


def test_sound_input_gives_no_hint(samples: tuple[Tensor, Tensor]) -> None:
    x, y = samples
    assert hints(net(), x, y) == []
    assert hints(net(), x[:8], y[:8] * 0) == [], "few samples of one class are an accident"


MISTAKES: dict[str, tuple[Callable[[Tensor, Tensor], list[str]], str]] = {
    "one class": (lambda x, y: hints(net(), x, y * 0), "have the label 0"),
    "one answer": (lambda x, y: hints(Constant(), x, y), "predicts class 1 for all 40 samples looked at first"),
    "normalised twice": (
        lambda x, y: hints(net(), 2 * x - 1, y, bounds=(-1, 1), preprocessing=([0.5] * 3, [0.5] * 3)),
        "normalises them once more",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_gives_its_one_hint(name: str, samples: tuple[Tensor, Tensor]) -> None:
    make, words = MISTAKES[name]
    (hint,) = make(*samples)
    assert words in hint


@pytest.mark.parametrize(
    ("threat", "bounds", "meant"),
    [
        (Linf(8 / 255), (-1.0, 1.0), "Linf(16 / 255)"),
        (L2(8 / 255), (0.0, 1.0), "Linf(8 / 255), or L2(0.5)"),
        (Linf(8), (0.0, 1.0), "Linf(8 / 255)"),
        (Linf(8 / 255), (0.0, 255.0), "Linf(8)"),
        (L2(0.5), (0.0, 255.0), "L2(127.5)"),
    ],
)
def test_a_radius_in_other_units_is_hinted_at(threat: Any, bounds: tuple[float, float], meant: str) -> None:
    assert f"Did you mean {meant}?" in radius_mistake(threat, bounds, (3, 32, 32))


@pytest.mark.parametrize(
    ("threat", "bounds"),
    [
        (Linf(8 / 255), (0, 1)),
        (L2(3), (0, 1)),
        (Linf(8), (0, 255)),
        (Linf(0.03), (-1, 1)),
        (Linf(100 / 255), (-1, 1)),
        (L2(0.25), (0, 1)),
        (L2(0.25), (-1, 1)),
    ],
)
def test_a_radius_in_input_units_is_not(threat: Any, bounds: tuple[float, float]) -> None:
    assert not radius_mistake(threat, bounds, (3, 32, 32))


@pytest.mark.parametrize(("threat", "bounds"), [(Linf(8 / 255), (-1, 1)), (L2(8 / 255), (0, 1))])
def test_sounds_and_rows_have_no_grey_levels(threat: Any, bounds: tuple[float, float]) -> None:
    assert not radius_mistake(threat, bounds, (16000,))
    assert not radius_mistake(threat, bounds, (1, 16000))


def test_the_eps_of_a_threat_of_ones_own_is_in_its_own_units() -> None:
    for eps in (0.5, (0.1, 0.2, 0.3)):
        own: Any = SimpleNamespace(eps=eps)
        assert not radius_mistake(own, (0, 255), (3, 32, 32))


def test_an_l2_radius_that_a_small_picture_feels_is_none_of_l_inf() -> None:
    assert not radius_mistake(L2(0.05), (0, 1), (1, 6, 6))
