"""A measurement leaves the user's model and the global random states as it found them."""

# ruff: noqa: ARG005 - hooks have their signature given

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from robustest import Classifier, Linf, ModelError
from robustest.cues import PixelPatch
from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy, measure_shift_accuracy
from robustest.models import frozen
from robustest.models.frozen import is_modal

X = torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(0))
Y = torch.arange(20) % 4


def mixed_net() -> nn.Module:
    """Batch norm and dropout, parts in eval mode, parts frozen, gradients already there."""
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(144, 4)
    )
    net.train()
    net[1].eval()
    net[0].weight.requires_grad_(False)
    net[5].weight.grad = torch.full_like(net[5].weight, 3.0)
    return net


class Breaks(nn.Module):
    """Gives NaN from the given call on."""

    def __init__(self, inner: nn.Module, at: int) -> None:
        super().__init__()
        self.inner, self.at, self.calls = inner, at, 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        out: Tensor = self.inner(x)
        return out * float("nan") if self.calls >= self.at else out


class Draws(nn.Module):
    """Draws from every global generator, without letting it show."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.rand(1).item() + np.random.rand() + random.random()  # noqa: S311
        out: Tensor = self.linear(x.flatten(1)) + 0 * noise
        return out


MEASUREMENTS: dict[str, Callable[[Any], Any]] = {
    "pgd": lambda model: measure_robust_accuracy(model, (X, Y), Linf(0.1)),
    "fgsm": lambda model: measure_robust_accuracy(model, (X, Y), Linf(0.1), attack="fgsm"),
    "shift": lambda model: measure_shift_accuracy(model, (X, Y), "gaussian_noise"),
    "cue": lambda model: measure_no_spurious_feature(model, (X, Y), PixelPatch(top=0, left=0)),
}


@pytest.fixture(autouse=True)
def random_states() -> Iterator[None]:
    """Every test here also holds that the global random states do not move."""
    before = torch.get_rng_state(), np.random.get_state(), random.getstate()
    yield
    after = torch.get_rng_state(), np.random.get_state(), random.getstate()
    assert torch.equal(before[0], after[0])
    assert before[1][2:] == after[1][2:]
    assert np.array_equal(before[1][1], after[1][1])
    assert before[2] == after[2]


@pytest.fixture
def net() -> nn.Module:
    with torch.random.fork_rng():
        torch.random.manual_seed(0)
        return mixed_net()


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
def test_a_measurement_changes_nothing(measure: Callable[[Any], Any], net: nn.Module, snapshot: Any) -> None:
    before = snapshot(net)
    result = measure(net)
    assert snapshot(net) == before
    assert "the model was in train mode; it was measured in eval mode and put back" in result.words.notes


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
@pytest.mark.parametrize("at", [1, 3, 4])
def test_an_error_changes_nothing_either(measure: Callable[[Any], Any], at: int, net: nn.Module, snapshot: Any) -> None:
    model = Breaks(net, at)
    before = snapshot(model)
    with pytest.raises(ModelError, match="NaN"):
        measure(model)
    assert snapshot(model) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_neither_does_an_error_of_the_model_or_an_interrupt(
    error: type[BaseException], net: nn.Module, snapshot: Any
) -> None:
    def strike(module: nn.Module, args: object) -> None:
        raise error("stop")

    net[5].register_forward_pre_hook(strike)
    before = snapshot(net)
    with pytest.raises((error, ModelError), match="stop"):
        MEASUREMENTS["pgd"](net)
    assert snapshot(net) == before


@pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)
def test_what_the_model_draws_is_put_back(measure: Callable[[Any], Any]) -> None:
    with torch.random.fork_rng():
        model = Draws().eval()
    measure(model)


def test_weights_made_in_inference_mode_keep_their_flags(snapshot: Any) -> None:
    """Torch refuses to put them back; the claim, and whoever uses the model after it, got its error."""
    with torch.random.fork_rng(), torch.inference_mode():
        model = mixed_net()
    before = snapshot(model)
    with torch.inference_mode(False), pytest.raises(ModelError, match="Inference tensors"):
        MEASUREMENTS["pgd"](model)
    assert snapshot(model) == before
    assert MEASUREMENTS["shift"](model).estimate is not None


def test_the_model_is_measured_in_eval_mode_with_frozen_weights(net: nn.Module) -> None:
    seen: set[tuple[bool, bool]] = set()
    net[5].register_forward_pre_hook(lambda module, args: seen.add((module.training, module.weight.requires_grad)))
    MEASUREMENTS["pgd"](net)
    assert seen == {(False, False)}


def test_a_model_in_eval_mode_needs_no_note(net: nn.Module) -> None:
    assert MEASUREMENTS["shift"](net.eval()).words.notes == ()


def test_a_classifier_made_by_hand_is_left_alone_too(net: nn.Module, snapshot: Any) -> None:
    before = snapshot(net)
    MEASUREMENTS["shift"](Classifier(call=net))
    assert snapshot(net) == before


def test_a_part_that_switches_another_back_is_put_back_too(net: nn.Module, snapshot: Any) -> None:
    net[3].register_forward_pre_hook(lambda module, args: net[4].train() and None)
    before = snapshot(net)
    with frozen(net):
        net(X)
    assert snapshot(net) == before


def test_modules_shared_between_parts_are_put_back(snapshot: Any) -> None:
    with torch.random.fork_rng():
        shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.Sequential(shared, nn.Dropout()))
    net[1].eval()
    net.training = True
    before = snapshot(net)
    with frozen(net) as notes:
        assert not any(part.training for part in net.modules())
        assert not any(parameter.requires_grad for parameter in net.parameters())
    assert snapshot(net) == before
    assert len(notes) == 1


def test_without_a_module_there_is_nothing_to_note() -> None:
    with frozen(None) as notes:
        torch.rand(1)
        random.random()  # noqa: S311
        np.random.rand()
    assert notes == []


def test_an_exported_program_is_measured_though_it_has_no_modes() -> None:
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 4)).eval()
    batch = torch.export.Dim("batch", min=1, max=256)
    program = torch.export.export(net, (X,), dynamic_shapes=({0: batch},)).module()
    result = MEASUREMENTS["shift"](program)
    assert result.outcomes == MEASUREMENTS["shift"](net).outcomes


class Reads(nn.Module):
    """Answers otherwise in train mode, by code of its own."""

    def forward(self, x: Tensor) -> Tensor:
        return x if self.training else 2 * x


class ReadsInside(nn.Module):
    """The same, from a function inside."""

    def forward(self, x: Tensor) -> Tensor:
        def answer() -> Tensor:
            return x * self.training

        return answer()


class StaysInEval(nn.Module):
    """Touches its mode, and answers alike in both."""

    def train(self, mode: bool = True) -> StaysInEval:
        super().train(mode)
        self.training = False
        return self

    def forward(self, x: Tensor) -> Tensor:
        return x


MODAL = [
    nn.Dropout(0.5),
    nn.AlphaDropout(0.1),
    nn.BatchNorm2d(3),
    nn.InstanceNorm2d(3, track_running_stats=True),
    nn.LSTM(2, 2, num_layers=2, dropout=0.1),
    nn.MultiheadAttention(4, 2, dropout=0.1),
    nn.RReLU(),
    StochasticDepth(0.1, "row"),
    Reads(),
    ReadsInside(),
]
ALIKE = [
    nn.Linear(2, 2),
    nn.Sequential(nn.Dropout(0.5)),  # a part of its own
    nn.Dropout(0.0),
    nn.BatchNorm2d(3, track_running_stats=False),
    nn.InstanceNorm2d(3),
    nn.LayerNorm(3),
    nn.LSTM(2, 2, num_layers=2),
    nn.MultiheadAttention(4, 2),
    nn.TransformerEncoderLayer(4, 2),
    StochasticDepth(0.0, "row"),
    StaysInEval(),
]


@pytest.mark.parametrize("part", MODAL, ids=lambda part: type(part).__name__)
def test_parts_whose_answers_depend_on_the_mode_are_known(part: nn.Module) -> None:
    assert is_modal(part)


@pytest.mark.parametrize("part", ALIKE, ids=lambda part: type(part).__name__)
def test_parts_that_answer_alike_in_both_modes_are_known(part: nn.Module) -> None:
    assert not is_modal(part)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
def test_scripted_parts_are_known_too() -> None:
    with torch.random.fork_rng():
        scripted = torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)))
    assert [is_modal(part) for part in scripted.modules()] == [False, False, True, True]


class Stuck(nn.Module):
    """A dropout that eval mode does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)

    def train(self, mode: bool = True) -> nn.Module:
        self.training = mode
        return self

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(x)
        return out


def test_a_handover_counts_the_parts_that_eval_mode_does_not_reach(net: nn.Module) -> None:
    with frozen(net) as notes:  # batch norm in eval mode, dropout in train mode
        assert (notes.training, notes.modal) == (0, 2)
    with frozen(nn.Sequential(net, Stuck())) as notes:
        assert (notes.training, notes.modal) == (1, 3)
    with frozen(net.eval()) as notes:
        assert notes.training == 0
