"""Shifts by name, by function, and inside bounds."""

# ruff: noqa: ARG005 - a shift has its signature given

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from robustest import ConfigError, ModelError, Shift, UnknownNameError
from robustest.extensions import hookimpl
from robustest.shifts import SHIFTS, as_shift, corrupt, requested_shift, shift_names

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


@pytest.mark.parametrize("shape", [(16,), (4, 4), (1, 4, 4), (1, 1, 4, 4)], ids=len)
def test_a_function_sees_the_users_units_whatever_the_bounds_and_the_axes(shape: tuple[int, ...]) -> None:
    seen: list[Tensor] = []
    x = X.view(3, *shape) * 4 - 2

    def look(x: Tensor, severity: int, key: Tensor) -> Tensor:
        seen.append(x)
        return x * 0.5

    got = Shift("look", 3, look).apply(x, KEY, (-2.0, 2.0))
    assert torch.equal(seen[0], x)
    assert torch.equal(got, x * 0.5)


def test_a_function_may_ask_for_the_bounds() -> None:
    def dimmed(x: Tensor, bounds: tuple[float, float]) -> Tensor:
        return (x + bounds[0]) / 2

    assert torch.equal(as_shift(dimmed, None).apply(X * 4 - 2, KEY, (-2.0, 2.0)), X * 2 - 2)


def test_shifts_of_ours_rescale_also_with_arguments_fixed() -> None:
    """What they are defined on is [0, 1], however they are handed over."""
    wide = X.expand(3, 3, 4, 4) * 80 - 80
    for name in ("brightness", "gaussian_noise", "rotation"):
        expected = Shift(name, 2, parameters="32").apply(wide, KEY, (-80.0, 0.0))
        fixed = as_shift(partial(SHIFTS[name], parameters="32"), 2)
        assert torch.equal(fixed.apply(wide, KEY, (-80.0, 0.0)), expected)
        assert float(expected.std()) > 1


@pytest.mark.parametrize("bounds", [(-80.0, 0.0), (0.0, 255.0)], ids=str)
def test_a_shift_of_ours_inside_a_function_refuses_other_units(bounds: tuple[float, float]) -> None:
    """It would clamp every value, and leave nothing of the images."""
    low, high = bounds
    x = X.expand(3, 3, 4, 4) * (high - low) + low

    def misty(x: Tensor, severity: int, key: Tensor) -> Tensor:
        return SHIFTS["fog"](x, severity, key).lerp(x, 0.5)

    for function in (misty, lambda x: corrupt(x, "fog", 3)):
        with pytest.raises(ConfigError, match=r"images in \[0, 1\] for fog"):
            as_shift(function, None).apply(x, KEY, bounds)


def test_what_partial_fixes_stays() -> None:
    fixed = as_shift(partial(darker, severity=5), None)
    assert torch.equal(fixed.apply(X, KEY, (0.0, 1.0)), darker(X, 5, KEY))
    assert str(fixed) == "darker(severity=5)"


def test_rescaling_there_and_back_is_no_change() -> None:
    """A shift of colours leaves one channel as it is, but for the last bits of decibels that were in [0, 1]."""
    decibels = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0)) * 71.3 - 77.7
    same = Shift("channel_swap", 3).shifted(decibels, KEY, (-80.0, 0.0))
    assert not torch.equal(same.x, decibels)
    assert not same.moved.any()
    assert Shift("brightness", 1).shifted(decibels, KEY, (-80.0, 0.0)).moved.all()


def test_a_severity_is_named_where_there_is_one() -> None:
    assert str(as_shift(lambda x: x, None)) == "<lambda>"
    assert as_shift(lambda x: x, None).level is None
    assert requested_shift(darker, 2).level == 2
    with pytest.raises(ConfigError, match="no severity for the shift 'fliplr'"):
        requested_shift(torch.fliplr, 2)


def test_what_was_changed_and_what_was_cut_off_is_counted() -> None:
    """Samples at rest, moved, pushed beyond the bounds, and left at one of them by a function made for [0, 1]."""
    x = torch.full((4, 1, 2, 2), -40.0)
    x[:, 0, 0, 0] = -30

    def four(x: Tensor) -> Tensor:
        return torch.cat([x[:1], x[1:2] - 1, x[2:3] - 500, x[3:].clamp(0, 1)])

    found = as_shift(four, None).shifted(x, torch.arange(4), (-80.0, 0.0))
    assert found.moved.tolist() == [False, True, True, True]
    assert found.cut.tolist() == [False, False, True, True]
    noisy = Shift("impulse_noise", 5).shifted(X.round(), KEY, (0.0, 1.0))
    assert not noisy.cut.any()


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


class Pack:
    @hookimpl
    def robustest_shifts(self) -> dict[str, Callable[..., Tensor]]:
        return {"half": darker}


def test_a_packs_shift_is_found_by_name(packs: Callable[..., None]) -> None:
    packs(dark=Pack())
    assert as_shift("half", 2).function is darker
    loud = X * 80 - 80  # a name does not change what a function gets
    assert torch.equal(as_shift("half", 2).apply(loud, KEY, (-80.0, 0.0)), darker(loud, 2, KEY))
    assert shift_names()[-1] == "half"
    with pytest.raises(UnknownNameError, match="'half'"):
        as_shift("halve", 2)


def test_shifts_are_for_images() -> None:
    with pytest.raises(ConfigError, match=r"\(N, C, H, W\).*\(3, 16\)"):
        Shift("rotation", 3).apply(X.view(3, 16), KEY, (0.0, 1.0))
