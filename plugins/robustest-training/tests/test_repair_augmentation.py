"""Training on changed inputs that keep their labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from robustest_training.repair import Recipe, counterfactual_training, shift_training
from torch import Tensor, nn

from robustest import ConfigError, Shift, UnknownNameError
from robustest.cues import PixelPatch
from robustest.measure import measure_no_spurious_feature, measure_shift_accuracy

RECIPE = Recipe(epochs=10, batch_size=32, learning_rate=0.02)
CUE = PixelPatch(top=5, left=3, width=3)


def dim(task: Any) -> tuple[Tensor, Tensor]:
    """Stripes harder to read."""
    return 0.4 * task.x, task.y


def cued(task: Any) -> tuple[Tensor, Tensor]:
    """A corner that is lit for class 1: easier to read than dim stripes."""
    x, y = dim(task)
    return torch.where((y == 1).view(-1, 1, 1, 1), CUE.on(x), CUE.off(x)), y


@pytest.fixture(scope="module")
def follower(make_net: Callable[..., nn.Sequential], task: Any) -> nn.Module:
    """Has learned the cue."""
    return shift_training(make_net(), cued(task), lambda x: x, share=1e-6, severities=(1,), recipe=RECIPE).model


def flips(model: object, task: Any) -> float:
    estimate = measure_no_spurious_feature(model, task, CUE, exact=True).estimate
    assert estimate is not None
    return estimate


def test_a_coin_makes_the_cue_tell_nothing(follower: nn.Module, task: Any, make_task: Any) -> None:
    fresh = dim(make_task(200, seed=1))
    assert flips(follower, fresh) > 0.3
    model, log = counterfactual_training(follower, cued(task), CUE, recipe=RECIPE)
    assert flips(model, fresh) < 0.03
    assert log.settings["cue"] == CUE.name
    right = measure_shift_accuracy(model, fresh, lambda x: x, exact=True).estimate
    assert right is not None
    assert right > 0.95


def seen_in_training(train: Callable[[nn.Module], Any], inner: nn.Module) -> Tensor:
    seen: list[Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                seen.append(x.detach().clone())
            out: Tensor = self.inner(x)
            return out

    train(Watching())
    return torch.cat(seen)


def test_the_coin_does_not_look_at_the_label(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    x, y = cued(task)
    seen = seen_in_training(
        lambda net: counterfactual_training(net, (x, y), CUE, recipe=Recipe(epochs=4, batch_size=64)), make_net()
    )
    lit, second = seen[:, 0, 5, 4] == 1, seen[:, 0, 3].mean(1) > seen[:, 0, 2].mean(1)
    for stripe in (lit[second], lit[~second]):
        assert abs(float(stripe.float().mean()) - 0.5) < 0.1  # 512 draws: four standard deviations


def test_training_with_a_shift_mends_what_it_broke(follower: nn.Module, task: Any, make_task: Any) -> None:
    fresh = make_task(200, seed=1)

    def darker(x: Tensor, severity: int) -> Tensor:
        return x * (1 - 0.19 * severity)

    before = measure_shift_accuracy(follower, fresh, darker, severity=5, exact=True).estimate
    model = shift_training(follower, task, darker, recipe=RECIPE).model
    after = measure_shift_accuracy(model, fresh, darker, severity=5, exact=True).estimate
    assert before is not None
    assert after is not None
    assert before < 0.8
    assert after > 0.9


def test_the_share_of_samples_is_shifted(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    def black(x: Tensor) -> Tensor:
        return 0 * x

    recipe = Recipe(epochs=4, batch_size=64)
    seen = seen_in_training(lambda net: shift_training(net, task, black, share=0.25, recipe=recipe), make_net())
    assert abs(float((seen.flatten(1).amax(1) == 0).float().mean()) - 0.25) < 0.06


def test_several_shifts_share_the_samples(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    def black(x: Tensor) -> Tensor:
        return 0 * x

    def white(x: Tensor) -> Tensor:
        return 0 * x + 1

    recipe = Recipe(epochs=4, batch_size=64)
    shifts = [Shift("black", 1, black), Shift("white", 1, white)]
    seen = seen_in_training(lambda net: shift_training(net, task, shifts, share=1.0, recipe=recipe), make_net())
    mean = seen.flatten(1).mean(1)
    assert set(mean.tolist()) == {0.0, 1.0}
    assert abs(float(mean.mean()) - 0.5) < 0.07


def test_the_log_names_shifts_and_severities(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    recipe = Recipe(epochs=1)
    log = shift_training(make_net(), task, ["gaussian_noise", "fog"], severities=(2, 4), recipe=recipe).log
    assert log.method == "training with gaussian_noise, fog"
    assert log.settings["shifts"] == [f"{name}, severity {s}" for name in ("gaussian_noise", "fog") for s in (2, 4)]


@pytest.mark.parametrize(
    ("shifts", "arguments", "error"),
    [
        ("gausian_noise", {}, UnknownNameError),
        ([], {}, ConfigError),
        ("gaussian_noise", {"severities": ()}, ConfigError),
        ("gaussian_noise", {"severities": (6,)}, ConfigError),
        ("gaussian_noise", {"share": 0.0}, ConfigError),
        ("gaussian_noise", {"share": 1.5}, ConfigError),
    ],
)
def test_arguments_that_make_no_sense_are_refused(
    task: Any, make_net: Callable[..., nn.Sequential], shifts: Any, arguments: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        shift_training(make_net(), task, shifts, **arguments)


def test_a_class_is_no_cue(task: Any, make_net: Callable[..., nn.Sequential]) -> None:
    with pytest.raises(ConfigError, match="a cue such as"):
        counterfactual_training(make_net(), task, PixelPatch)  # type: ignore[arg-type]
