"""Model passes: counted, checked, and cut to fit in memory. Tested through the measurements that make them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from robustest import DeviceError, Linf, ModelError
from robustest.attacks import PGD
from robustest.cues import PixelPatch
from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy, measure_shift_accuracy

MEASUREMENTS: dict[str, Callable[..., Any]] = {
    "pgd": lambda m, d, **o: measure_robust_accuracy(m, d, Linf(0.05), **o),
    "fgsm": lambda m, d, **o: measure_robust_accuracy(m, d, Linf(0.05), attack="fgsm", **o),
    "shift": lambda m, d, **o: measure_shift_accuracy(m, d, "gaussian_noise", **o),
    "cue": lambda m, d, **o: measure_no_spurious_feature(m, d, PixelPatch(top=0, left=0), max_flip_rate=0.5, **o),
}
every_measurement = pytest.mark.parametrize("measure", MEASUREMENTS.values(), ids=MEASUREMENTS)


class Small(nn.Module):
    """A memory that holds so many samples, on the way forward or on the way back."""

    def __init__(self, inner: nn.Module, room: int, *, backward: bool = False) -> None:
        super().__init__()
        self.inner, self.room, self.backward = inner, room, backward

    def forward(self, x: Tensor) -> Tensor:
        if not self.backward:
            self.check(x)
        elif x.requires_grad:
            x.register_hook(self.check)
        out: Tensor = self.inner(x)
        return out

    def check(self, x: Tensor) -> None:
        if len(x) > self.room:
            raise RuntimeError(f"CUDA out of memory. Tried to allocate {len(x)} GiB.")


@pytest.mark.thinned
@every_measurement
@pytest.mark.parametrize("batch_size", [7, 256])
def test_the_cost_is_what_the_model_really_saw(
    measure: Callable[..., Any], batch_size: int, toys: Callable[..., Any], watched: Callable[..., Any]
) -> None:
    toy = toys(150)
    model = watched(toy.model)
    result = measure(model, (toy.x, toy.y), batch_size=batch_size)
    assert result.cost.forward == sum(model.calls)
    assert result.cost.backward == model.backward_samples
    assert result.cost.seconds > 0
    assert max(model.calls) <= batch_size


def test_a_model_that_holds_costs_every_step_once(toy: Any, watched: Callable[..., Any]) -> None:
    model = watched(toy.model)
    result = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.0), attack=PGD(steps=7))
    n = len(toy.x)
    assert result.cost.backward == 7 * n
    clean = last = n
    checks = result.cost.forward - (7 * n + clean + last)
    assert 16 <= checks <= 64  # a few samples pass again: does the model answer the same, does its input matter?


@pytest.mark.thinned
@every_measurement
@pytest.mark.parametrize("backward", [False, True])
def test_out_of_memory_halves_the_batch_and_says_so(
    measure: Callable[..., Any], backward: bool, toys: Callable[..., Any], watched: Callable[..., Any]
) -> None:
    toy = toys(100)
    want = measure(toy.model, (toy.x, toy.y))
    inside = watched(toy.model)
    got = measure(Small(inside, 20, backward=backward), (toy.x, toy.y), batch_size=32)
    assert got.outcomes == want.outcomes
    if want.cost.backward or not backward:
        assert [note for note in got.words.notes if "memory" in note] == [
            "out of memory at a batch of 32; went on with 16"
        ]
        assert max(inside.calls[-5:]) <= 16


@every_measurement
def test_memory_for_less_than_one_sample_is_a_device_error(measure: Callable[..., Any], toy: Any) -> None:
    with pytest.raises(DeviceError, match="cpu ran out of memory at a batch of one"):
        measure(Small(toy.model, 0), (toy.x, toy.y))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("boom"), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")],
    ids=["torch", "cpu"],
)
def test_every_kind_of_out_of_memory_is_known(error: Exception, toy: Any) -> None:
    def model(x: Tensor) -> Tensor:
        if len(x) > 3:
            raise error
        return toy.model(x)

    result = measure_shift_accuracy(model, (toy.x, toy.y), "brightness")
    assert any(note.startswith("out of memory") for note in result.words.notes)


def test_another_error_of_the_model_is_not_taken_for_it(toy: Any) -> None:
    def model(x: Tensor) -> Tensor:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        measure_shift_accuracy(model, (toy.x, toy.y), "brightness")


@every_measurement
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [0, 99])
def test_one_logit_that_is_not_finite_spoils_the_measurement(
    measure: Callable[..., Any], value: float, place: int, toys: Callable[..., Any]
) -> None:
    toy = toys(100)
    spoilt = toy.x[place].clone()

    def model(x: Tensor) -> Tensor:
        near = (x - spoilt).flatten(1).abs().mean(1) < 0.1  # other samples are about a third away
        return torch.where(near.view(-1, 1) & (torch.arange(3) == 1), value, toy.model(x))

    with pytest.raises(ModelError, match="NaN or infinite"):
        measure(model, (toy.x, toy.y))


@every_measurement
@pytest.mark.parametrize("place", [0, 99])
def test_a_class_of_minus_infinity_is_masked_and_a_sample_without_a_class_is_refused(
    measure: Callable[..., Any], place: int, toys: Callable[..., Any]
) -> None:
    toy = toys(100)
    spoilt = toy.x[place].clone()

    def masking(classes: Tensor) -> Callable[[Tensor], Tensor]:
        def model(x: Tensor) -> Tensor:
            near = (x - spoilt).flatten(1).abs().mean(1) < 0.1
            return torch.where(near.view(-1, 1) & classes, float("-inf"), toy.model(x))

        return model

    measure(masking(torch.arange(3) == 1), (toy.x, toy.y))
    with pytest.raises(ModelError, match="NaN or infinite"):
        measure(masking(torch.ones(3, dtype=torch.bool)), (toy.x, toy.y))


class RootAtZero(nn.Module):
    """Finite logits whose gradient is 0/0 wherever an element is zero."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x.square().sqrt())
        return out


def test_gradients_that_are_not_finite_are_a_model_error(toy: Any) -> None:
    x = toy.x.clone()
    x[7, 0, 2, 2] = 0.0
    model = RootAtZero(toy.model)
    assert bool(torch.isfinite(model(x)).all())
    with pytest.raises(ModelError, match="NaN or infinite"):
        measure_robust_accuracy(model, (x, toy.y), Linf(0.1), attack="fgsm")
    assert measure_shift_accuracy(model, (x, toy.y), "brightness").numbers.n == 40  # nobody asked for a gradient


@pytest.mark.parametrize(
    "reshape",
    [
        lambda z: z[:, 0],
        lambda z: z[:, :1],
        lambda z: z[:1].expand(len(z) + 1, -1),
        lambda z: z.unsqueeze(2),
        lambda z: z.sum(),
    ],
    ids=["(N,)", "(N, 1)", "(M, K)", "(N, K, 1)", "()"],
)
@every_measurement
def test_logits_of_another_shape_are_a_model_error(
    measure: Callable[..., Any], reshape: Callable[[Tensor], Tensor], toy: Any
) -> None:
    with pytest.raises(ModelError, match=r"logits of shape \(8, K >= 2\) for 8 samples but got"):
        measure(lambda x: reshape(toy.model(x)), (toy.x, toy.y))


def test_the_number_of_classes_must_not_change(toy: Any) -> None:
    def model(x: Tensor) -> Tensor:
        return toy.model(x)[:, : 3 if len(x) == 8 else 2]

    with pytest.raises(ModelError, match=r"\((\d+), 3\).*\(\1, 2\)"):
        measure_shift_accuracy(model, (toy.x, toy.y), "brightness")


class Severed(nn.Module):
    """Gives right logits and lets no gradient through to the input."""

    def __init__(self, inner: nn.Module, cut: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.cut = inner, cut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(self.cut(x))
        return out


CUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "detach": lambda x: x.detach(),
    "numpy": lambda x: torch.from_numpy(x.detach().cpu().numpy()),
    "numpy without detach": lambda x: torch.from_numpy(x.cpu().numpy()),
    "new tensor": lambda x: torch.tensor(x.tolist()),
}


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("attack", ["pgd", "fgsm"])
@pytest.mark.parametrize("known", [True, False], ids=["module", "callable"])
def test_a_model_without_gradients_is_never_called_robust(
    cut: Callable[[Tensor], Tensor], attack: str, known: bool, toy: Any
) -> None:
    """Weights of a module behind a plain callable still ask for gradients; they must not stand for the input's."""
    model = Severed(toy.model, cut)
    with pytest.raises(ModelError, match="gradient"):
        measure_robust_accuracy(model if known else model.forward, (toy.x, toy.y), Linf(0.9), attack=attack)


def test_no_grad_inside_the_model_is_found_too(toy: Any) -> None:
    with pytest.raises(ModelError, match=r"torch\.no_grad"):
        measure_robust_accuracy(torch.no_grad()(toy.model.forward), (toy.x, toy.y), Linf(0.9))


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_users_own_gradient_mode_does_not_matter(mode: Any, toy: Any) -> None:
    want = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05))
    with mode():
        got = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.05))
    assert got.outcomes == want.outcomes
    assert torch.is_grad_enabled()


@every_measurement
def test_a_model_that_writes_on_its_input_does_not_spoil_the_samples(measure: Callable[..., Any], toy: Any) -> None:
    """A first layer that works in place is common; what it writes must reach neither the sample nor the attack."""
    model = toy.model.float()  # of the samples' own type, so that no conversion makes a copy
    want = measure(nn.Sequential(nn.ReLU(), model), (toy.x * 2 - 1, toy.y), bounds=(-1, 1))
    got = measure(nn.Sequential(nn.ReLU(inplace=True), model), (toy.x * 2 - 1, toy.y), bounds=(-1, 1))
    assert got.outcomes == want.outcomes
    assert got.counterexamples == want.counterexamples


def test_preprocessing_that_works_in_place_does_no_harm(toy: Any) -> None:
    def halve(x: Tensor) -> Tensor:
        return x.div_(2)

    model = toy.model.float()
    want = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.05), preprocessing=lambda x: x / 2)
    got = measure_robust_accuracy(model, (toy.x, toy.y), Linf(0.05), preprocessing=halve)
    assert got.outcomes == want.outcomes


@every_measurement
def test_the_users_own_autocast_does_not_matter(measure: Callable[..., Any], toy: Any) -> None:
    """Logits that bfloat16 cannot hold apart are still told apart: no verdict rests on it."""

    def far(x: Tensor) -> Tensor:
        weight, bias = toy.model.weight.float(), toy.model.bias.float()
        out: Tensor = x.flatten(1) @ weight.T + 5000 + bias
        return out

    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(far(toy.x).argmax(1), toy.y)
        got = measure(far, (toy.x, toy.y))
        assert torch.is_autocast_enabled("cpu")
    assert got.outcomes == measure(far, (toy.x, toy.y)).outcomes


def test_nor_does_it_matter_to_shifts_and_data_sets(toys: Any) -> None:
    """A thread that reads ahead has no autocast: first samples would be rounded, and later ones not."""
    toy = toys(80, shape=(3, 8, 8))
    mixed = torch.full((8, 8), 0.01) + 0.92 * torch.eye(8)

    class Turned(torch.utils.data.Dataset[Any]):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return toy.x[index] @ mixed, int(toy.y[index])

        def __len__(self) -> int:
            return len(toy.x)

    want = measure_shift_accuracy(toy.model, Turned(), "zoom_blur")
    with torch.autocast("cpu", torch.bfloat16):
        got = measure_shift_accuracy(toy.model, Turned(), "zoom_blur")
        assert torch.is_autocast_enabled("cpu")
    assert 0.1 < (want.estimate or 0) < 1
    assert (got.evidence.data, got.outcomes) == (want.evidence.data, want.outcomes)
