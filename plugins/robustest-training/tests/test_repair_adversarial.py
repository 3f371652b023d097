"""Adversarial training: that it withstands what it was trained for, whatever the threat and the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from robustest_training.repair import Recipe, adversarial_training, cue_fit
from robustest_training.repair.adversarial import narrowed
from torch import Tensor, nn

from robustest import L0, L1, L2, ConfigError, Linf, Patch, Spatial
from robustest.cues import FunctionCue, PixelPatch
from robustest.measure import measure_robust_accuracy

RECIPE = Recipe(epochs=15, batch_size=32, learning_rate=0.02)


@pytest.fixture(scope="module")
def standard(make_net: Callable[..., nn.Sequential], task: Any) -> nn.Module:
    """Trained plainly: in a ball of radius 0."""
    return adversarial_training(make_net(), task, Linf(0.0), steps=1, widening=0.0, recipe=RECIPE).model


def accuracy(model: nn.Module, data: Any, threat: Any) -> float:
    estimate = measure_robust_accuracy(model, data, threat, exact=True).estimate
    assert estimate is not None
    return estimate


@pytest.mark.parametrize("way", ["pgd", "fast", "free"])
def test_every_way_withstands_the_ball_it_was_trained_for(
    standard: nn.Module, task: Any, make_task: Any, way: Any
) -> None:
    fresh = make_task(100, seed=1)
    model, log = adversarial_training(standard, task, Linf(0.2), method=way, recipe=RECIPE)
    assert accuracy(standard, fresh, Linf(0.2)) + 0.05 < accuracy(model, fresh, Linf(0.2)) > 0.9
    assert log.settings["method"] == way
    assert way in log.method


@pytest.mark.parametrize(
    ("threat", "gain"),
    [(L2(0.85), 0.02), (L1(2.5), 0.05), (L0(4), 0.3), (Patch(1, 4), 0.5), (Spatial(40.0, 0.0, 0.0), 0.5)],
    ids=str,
)
def test_any_threat_can_be_trained_for(
    standard: nn.Module, task: Any, make_task: Any, threat: Any, gain: float
) -> None:
    fresh = make_task(100, seed=1)
    model = adversarial_training(standard, task, threat, steps=4, recipe=RECIPE).model
    assert accuracy(model, fresh, threat) >= accuracy(standard, fresh, threat) + gain


def test_examples_are_inside_the_ball_and_the_bounds(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    """What the model is trained on, seen by the model itself."""
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_net()

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.append(x.detach().clone())
            out: Tensor = self.inner(x)
            return out

    adversarial_training(Watching(), task, Linf(0.1), steps=2, widening=0.0, recipe=Recipe(epochs=1, batch_size=256))
    (batch,) = seen
    apart = (batch.unsqueeze(1) - task.x.unsqueeze(0)).abs().flatten(2).amax(2).amin(1)
    assert float(apart.max()) <= 0.1 + 1e-6
    assert float(apart.min()) > 0.09  # driven to the ball's edge
    assert float(batch.min()) >= 0
    assert float(batch.max()) <= 1


def test_free_learns_from_each_batch_several_times(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    calls = 0

    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_net()

        def forward(self, x: Tensor) -> Tensor:
            nonlocal calls
            calls += self.training
            out: Tensor = self.inner(x)
            return out

    adversarial_training(Counting(), task, Linf(0.1), method="free", steps=3, recipe=Recipe(epochs=2, batch_size=64))
    assert calls == 2 * 4 * 3


def test_the_ball_widens() -> None:
    assert narrowed(Linf(0.4), 0.25) == Linf(0.1)
    assert narrowed(L2(0.4), 2.0) == L2(0.4)
    assert narrowed(Patch(2, 2), 0.5) == Patch(2, 2)


SMALL = PixelPatch(top=0, left=0, height=1, width=1, value=0.1)
LARGE = PixelPatch(top=0, left=0, height=1, width=1, value=1.0)


def test_a_cue_inside_the_ball_may_be_trained_away(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    recipe = Recipe(epochs=1, batch_size=64)
    adversarial_training(make_net(), task, Linf(0.1), cue=SMALL, steps=1, recipe=recipe)
    with pytest.raises(ConfigError, match=r"1x1 patch at row 0, column 0 has size 1 .*rely on it more"):
        adversarial_training(make_net(), task, Linf(0.5), cue=LARGE, steps=1, recipe=recipe)


def test_a_cues_size_is_measured_in_the_threats_norm(task: Any) -> None:
    two = PixelPatch(top=0, left=0, height=1, width=2, value=0.3)
    for threat, size in ((Linf(0.2), 0.3), (L2(0.2), 0.3 * 2**0.5), (L1(0.2), 0.6), (L0(1), 2.0)):
        fit = cue_fit(two, threat, task)
        assert fit.median == pytest.approx(size, rel=1e-5)
        assert fit.radius == threat.radius
        assert not fit.fits
    assert cue_fit(two, Linf(0.3), task).fits
    faint = FunctionCue("half of the light", lambda x: x, lambda x: x / 2)
    fit = cue_fit(faint, Linf(0.38), task)
    assert 0 < fit.inside < 1
    assert fit.largest == pytest.approx(float(task.x.max()) / 2)


@pytest.mark.parametrize("threat", [Patch(2, 2), Spatial()], ids=str)
def test_cues_have_no_size_among_patches_and_poses(task: Any, threat: Any) -> None:
    with pytest.raises(ConfigError, match="a ball of inputs"):
        cue_fit(SMALL, threat, task)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "slow"}, "one of pgd, fast, free"),
        ({"steps": 0}, "whole number >= 1"),
        ({"method": "fast", "steps": 2}, "steps to be 1"),
        ({"widening": 1.0}, "widening in"),
        ({"widening": True}, "widening in"),
        ({"recipe": "long"}, "a Recipe"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    task: Any, make_net: Callable[..., nn.Sequential], arguments: Any, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        adversarial_training(make_net(), task, Linf(0.1), **arguments)


def test_a_class_is_no_threat(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    with pytest.raises(ConfigError, match="a threat such as"):
        adversarial_training(make_net(), task, Linf)  # type: ignore[arg-type]


def test_inputs_outside_zero_to_one(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    """Bounds and preprocessing are the model's: the same problem in grey levels."""
    raw = (task.x * 255, task.y)
    model, _ = adversarial_training(
        make_net(),
        raw,
        Linf(0.1 * 255),
        steps=3,
        recipe=RECIPE,
        bounds=(0.0, 255.0),
        preprocessing=([0.0], [255.0]),
    )
    result = measure_robust_accuracy(
        model, raw, Linf(0.1 * 255), exact=True, bounds=(0.0, 255.0), preprocessing=([0.0], [255.0])
    )
    assert result.estimate is not None
    assert result.estimate > 0.9
    assert torch.equal(raw[0], task.x * 255)
