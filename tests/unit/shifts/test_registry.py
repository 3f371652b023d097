"""Shifts by name, by function, and inside bounds."""

# ruff: noqa: ARG005 - a shift has its signature given

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from robustest import SHIFTS, ConfigError, ModelError, Shift, UnknownNameError
from robustest.shifts import as_shift, shift_names

X = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
KEY = torch.arange(3)


def darker(x: Tensor, severity: int, key: Tensor) -> Tensor:
    return x * (1 - severity / 10)


def test_a_name_a_function_and_a_shift_stand_for_themselves() -> None:
    assert as_shift("rotation", None) == Shift("rotation", 3)
    assert as_shift("rotation", 5).function is SHIFTS["rotation"]
    assert as_shift(darker, 2) == Shift("darker", 2, darker)
    assert as_shift(Shift("rotation", 5), None).severity == 5
    assert as_shift(Shift("rotation", 5), 1).severity == 1
    assert str(as_shift("rotation", 4)) == "rotation, severity 4"


def test_a_shift_looks_the_same_in_every_process() -> None:
    assert repr(Shift("fog", 2)) == "Shift(name='fog', severity=2, parameters='auto')"


def test_a_function_sees_the_unit_interval_whatever_the_bounds() -> None:
    seen: list[Tensor] = []

    def look(x: Tensor, severity: int, key: Tensor) -> Tensor:
        seen.append(x)
        return x * 0.5

    got = Shift("look", 3, look).apply(X * 4 - 2, KEY, (-2.0, 2.0))
    assert torch.allclose(seen[0], X, atol=1e-6)
    assert torch.allclose(got, X * 2 - 2, atol=1e-6)


@pytest.mark.parametrize("value", [-1.0, 2.0])
def test_what_leaves_the_bounds_is_clipped(value: float) -> None:
    got = Shift("far", 3, lambda x, severity, key: x * 0 + value).apply(X, KEY, (0.0, 0.5))
    assert torch.equal(got, torch.full_like(X, 0.0 if value < 0 else 0.5))


def test_a_function_that_works_in_place_leaves_the_samples() -> None:
    x = X.clone()
    Shift("in place", 3, lambda z, severity, key: z.mul_(0)).apply(x, KEY, (0.0, 1.0))
    assert torch.equal(x, X)


def test_what_the_model_sees_keeps_the_samples_type() -> None:
    got = Shift("double", 3, lambda x, severity, key: x.double() * 0.5).apply(X, KEY, (0.0, 1.0))
    assert got.dtype == torch.float32


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x, severity, key: x[:, :, :2], "(3, 1, 2, 4)"),
        (lambda x, severity, key: x[:2], "(2, 1, 4, 4)"),
        (lambda x, severity, key: x / 0, "NaN or infinite"),
        (lambda x, severity, key: x.numpy(), "ndarray"),
        (lambda x, severity, key: None, "None"),
    ],
    ids=["smaller", "fewer", "infinite", "array", "nothing"],
)
def test_a_function_that_gives_something_else_is_an_error_with_its_name(function: Any, words: str) -> None:
    with pytest.raises(ModelError, match="broken") as caught:
        Shift("broken", 3, function).apply(X, KEY, (0.0, 1.0))
    assert words in str(caught.value)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match=r"Unknown shift 'gausian_noise'\. Did you mean 'gaussian_noise'"):
        as_shift("gausian_noise", 3)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, "3", True])
def test_severities_are_whole_numbers_from_one_to_five(severity: Any) -> None:
    with pytest.raises(ConfigError, match=r"severity to be a whole number 1\.\.5") as caught:
        as_shift("rotation", severity)
    assert repr(severity) in str(caught.value)


@pytest.mark.parametrize("shift", [None, 5, ["rotation"], Shift], ids=repr)
def test_what_is_no_shift_is_refused(shift: Any) -> None:
    with pytest.raises(ConfigError, match="a shift's name"):
        as_shift(shift, 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 0.5,
        lambda x, severity: x * (severity / 8),
        lambda x, key: x * 0.5 + 0 * key.view(-1, 1, 1, 1),
        lambda x, severity, key: x * (severity / 8) + 0 * key.view(-1, 1, 1, 1),
        lambda z, s, k: z * (s / 8) + 0 * k.view(-1, 1, 1, 1),
        lambda z, s: z * (s / 8),
        lambda x, key, severity: x * (severity / 8) + 0 * key.view(-1, 1, 1, 1),
        lambda x, severity, k: x * (severity / 8) + 0 * k.view(-1, 1, 1, 1),
        lambda x, *, severity: x * (severity / 8),
        lambda x, s, /, k: x * (s / 8) + 0 * k.view(-1, 1, 1, 1),
        lambda x, strength=0.5: x * strength,
        lambda *images: images[0] * 0.5,
        torch.nn.Sequential(torch.nn.Identity(), torch.nn.AvgPool2d(1)).requires_grad_(False),
    ],
    ids=range(13),
)
def test_functions_get_what_they_ask_for(function: Any) -> None:
    half = 1.0 if isinstance(function, torch.nn.Module) else 0.5
    assert torch.allclose(as_shift(function, 4).apply(X, KEY, (0.0, 1.0)), X * half)


def test_transforms_of_torchvision_are_functions() -> None:
    flip = v2.RandomHorizontalFlip(1.0)
    shift = as_shift(flip, None)
    assert shift.name == "RandomHorizontalFlip"
    assert torch.equal(shift.apply(X, KEY, (0.0, 1.0)), X.flip(-1))
    assert torch.equal(Shift("flip", 3, torch.fliplr).apply(X, KEY, (0.0, 1.0)), X.flip(1))


def test_a_function_that_asks_for_more_is_refused_before_it_runs() -> None:
    with pytest.raises(ConfigError, match=r"fewer but got one of \(x, a, b, c\)"):
        as_shift(lambda x, a, b, c: x, 3)


def test_a_function_may_have_sets_of_parameters_too() -> None:
    def sized(x: Tensor, *, parameters: str) -> Tensor:
        return x * {"auto": 0.1, "224": 0.2, "32": 0.3}[parameters]

    for parameters, factor in (("auto", 0.1), ("224", 0.2), ("32", 0.3)):
        got = Shift("sized", 3, sized, parameters=parameters).apply(X, KEY, (0.0, 1.0))
        assert torch.allclose(got, X * factor)
    assert as_shift(Shift("sized", 3, sized, parameters="32"), 1).parameters == "32"
    with pytest.raises(ConfigError, match="no sets to choose from"):
        Shift("darker", 3, darker, parameters="32")
    with pytest.raises(ConfigError, match="auto"):
        Shift("fog", 3, parameters="128")


def test_plugins_are_found_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("half", f"{__name__}:darker", "robustest.shifts")
    monkeypatch.setattr(EntryPoint, "load", lambda self: darker)
    monkeypatch.setattr("robustest.shifts.registry.entry_points", lambda group: EntryPoints([point]))
    assert as_shift("half", 2).function is darker
    assert shift_names()[-1] == "half"
    with pytest.raises(UnknownNameError, match="'half'"):
        as_shift("halve", 2)


def test_shifts_are_for_images() -> None:
    with pytest.raises(ConfigError, match=r"\(N, C, H, W\).*\(3, 16\)"):
        Shift("rotation", 3).apply(X.view(3, 16), KEY, (0.0, 1.0))
