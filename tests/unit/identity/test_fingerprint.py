"""What changes the identity of a model, and what does not: state, settings, hooks, preprocessing."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from robustest.identity.fingerprint import fingerprint


class Net(nn.Module):
    """A small net with something of everything."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.act: nn.Module = nn.ReLU()
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)
        self.scale: Any = 2.0
        self.register_buffer("shift", torch.zeros(3))
        self.register_buffer("hidden", torch.ones(3), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        z = self.drop(self.act(self.norm(self.conv(x)))).mean((2, 3))
        out: Tensor = self.head(z) * self.scale + self.shift * self.hidden
        return out


def net() -> Net:
    torch_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    model = Net().eval()
    torch.random.set_rng_state(torch_state)
    return model


def of(model: Any, preprocessing: Any = None, **more: Any) -> str:
    found = fingerprint(model, model if isinstance(model, nn.Module) else None, preprocessing, **more)
    assert found.digest is not None, found.reason
    assert len(found.digest) == 64
    return found.digest


def test_equal_models_are_equal() -> None:
    assert of(net()) == of(net()) == of(copy.deepcopy(net()))


def weight(model: Net) -> None:
    with torch.no_grad():
        model.head.weight[0, 0] += 1e-6


def hook(module: nn.Module, given: Any, out: Tensor) -> Tensor:
    return out + 1


def replace(name: str, value: Any) -> Callable[[Net], None]:
    def change(model: Net) -> None:
        owner, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(owner), attribute, value)

    return change


CHANGES: dict[str, Callable[[Net], Any]] = {
    "one weight": weight,
    "a buffer": lambda model: model.shift.fill_(1e-6),
    "a buffer that is not saved": lambda model: model.hidden.fill_(2),
    "train mode": lambda model: model.train(),
    "train mode of one part": lambda model: model.drop.train(),
    "eps": replace("norm.eps", 1e-4),
    "momentum": replace("norm.momentum", 0.2),
    "share dropped": replace("drop.p", 0.4),
    "padding": replace("conv.padding", (1, 1)),
    "activation": replace("act", nn.GELU()),
    "a setting of one's own": replace("scale", 2.5),
    "a setting of another type": replace("scale", 2),
    "a setting that the code does not read": replace("unread", 1),
    "another part": replace("extra", nn.Linear(2, 2)),
    "no bias": replace("head.bias", None),
    "precision": lambda model: model.double(),
    "a forward hook": lambda model: model.act.register_forward_hook(hook),
    "a pre-hook": lambda model: model.act.register_forward_pre_hook(lambda _, given: given),
    "a gradient hook": lambda model: model.act.register_full_backward_hook(lambda _, into, __: into),
    "a forward of its own": replace("act.forward", torch.sigmoid),
    "a class of its own": lambda model: setattr(model.act, "__class__", nn.Tanh),
    "weight norm": lambda model: parametrizations.weight_norm(model.head),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_outputs_changes_the_identity(change: str) -> None:
    model = net()
    before = of(model)
    CHANGES[change](model)
    assert of(model) != before


def test_all_changes_are_different_ones() -> None:
    digests = {}
    for name, change in CHANGES.items():
        model = net()
        change(model)
        digests[name] = of(model)
    assert len(set(digests.values())) == len(CHANGES)


def test_gradients_make_no_difference() -> None:
    model = net()
    before = of(model)
    model(torch.rand(2, 1, 5, 5)).sum().backward()
    assert of(model) == before
    model.requires_grad_(False)
    assert of(model) == before
    model.norm.to(memory_format=torch.channels_last)
    assert of(model) == before


def test_looking_leaves_the_model_and_random_numbers_alone(snapshot: Callable[[nn.Module], Any]) -> None:
    model = net().train()
    before, state = snapshot(model), torch.random.get_rng_state()
    of(model)
    assert snapshot(model) == before
    assert torch.equal(torch.random.get_rng_state(), state)


def test_hooks_count_in_order_and_by_how_they_are_called() -> None:
    def hooked(*hooks: Any, **how: bool) -> str:
        model = net()
        for one in hooks:
            model.register_forward_hook(one, **how)
        return of(model)

    def double(module: nn.Module, given: Any, out: Tensor) -> Tensor:
        return out * 2

    def three(module: nn.Module, given: Any, named: Any, out: Tensor) -> Tensor:
        return out

    digests = [hooked(hook, double), hooked(double, hook), hooked(hook), hooked(three, with_kwargs=True)]
    digests += [hooked(hook, always_call=True), hooked()]
    assert len(set(digests)) == 6
    net().register_forward_hook(hook)  # numbers of hooks go on counting
    assert hooked(hook) == digests[2]


def test_hooks_on_every_module_count() -> None:
    before = of(net())
    handle = nn.modules.module.register_module_forward_hook(hook)
    try:
        assert of(net()) != before
    finally:
        handle.remove()
    assert of(net()) == before


def test_the_default_dtype_counts() -> None:
    before = of(net())
    torch.set_default_dtype(torch.float64)
    try:
        after = of(net().float())
    finally:
        torch.set_default_dtype(torch.float32)
    assert after != before


PREPROCESSINGS: list[Any] = [
    None,
    ([0.5], [0.5]),
    ([0.5], [0.25]),
    ([0.25], [0.5]),
    lambda x: x * 2 - 1,
    lambda x: x * 2 - 0.5,
    torch.sigmoid,
    nn.BatchNorm2d(1).eval(),
]


def test_preprocessing_counts() -> None:
    model = net()
    assert len({of(model, preprocessing) for preprocessing in PREPROCESSINGS}) == len(PREPROCESSINGS)
    assert of(model, lambda x: x * 2 - 1) == of(model, PREPROCESSINGS[4])


def test_what_the_code_does_not_read_need_not_have_an_identity() -> None:
    model = net()
    before = of(model)
    model.trainer = (i for i in range(3))
    assert of(model) == before
