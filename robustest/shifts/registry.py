"""Shifts by name and severity, and functions of a user's own."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

import torch
from torch import Tensor

from robustest.errors import ConfigError, ModelError, expected, unknown
from robustest.shifts.corruptions.tables import PARAMETERS
from robustest.shifts.families import SHIFTS

ShiftFunction = Callable[..., Tensor]
"""Maps x (N, C, H, W) in [0, 1] to shifted images of the same shape.

After x it may take a severity 1..5, and keys (N,) int64 from which it draws, in this order or by the names `severity`
and `key`; it gets what it asks for. One that also has an argument `parameters` gets "auto", "224", "64" or "32" there.
"""


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift at a severity.

    Args:
        name: one of `SHIFTS`, a name from the entry-point group `robustest.shifts`, or the name of `function`.
        severity: 1 (mild) to 5 (severe).
        function: a `ShiftFunction` of your own; None looks `name` up.
        parameters: "224", "64" or "32" for one of ImageNet-C's sets of parameters; "auto" chooses by the image's size.

    Raises:
        UnknownNameError: no shift has this name.
        ConfigError: severity is not 1..5, `parameters` is not one of those, or the shift has no such sets.
    """

    name: str
    severity: int = 3
    function: ShiftFunction | None = field(default=None, repr=False)  # it would show where it lies in memory
    parameters: str = "auto"

    def __post_init__(self) -> None:
        if type(self.severity) is not int or not 1 <= self.severity <= 5:
            raise ConfigError(expected("severity to be a whole number 1..5", self.severity))
        if self.function is None:
            object.__setattr__(self, "function", _named(self.name))
        _arguments(self.function, self._offers(None))  # one that asks for more is refused before any work
        if self.parameters not in PARAMETERS:
            raise ConfigError(expected('parameters to be "auto", "224", "64" or "32"', self.parameters))
        if self.parameters != "auto" and "parameters" not in _arguments(self.function, self._offers(None))[1]:
            raise ConfigError(f"Expected no parameters for the shift {self.name!r}, which has no sets to choose from.")

    def __str__(self) -> str:
        return f"{self.name}, severity {self.severity}" if self._has_severities() else self.name

    def apply(self, x: Tensor, key: Tensor, bounds: tuple[float, float]) -> Tensor:
        """Shifted inputs inside the bounds.

        Args:
            x: (N, C, H, W) inside the bounds; (N, *S) where the shift is a function of a user's own.
            key: (N,) keys of the samples' randomness.
            bounds: the input's bounds; the shift itself sees images in [0, 1], and other samples as they are.

        Raises:
            ModelError: the shift changed the shape or gave NaN.
        """
        ours = SHIFTS.get(self.name) is self.function
        images = x.ndim == 4
        if not images and ours:
            mend = "A function of your own may shift samples of any shape."
            raise ConfigError(expected("images of shape (N, C, H, W) for a shift", tuple(x.shape), mend))
        low, high = bounds
        # A function of the user's may write on what it gets.
        plain = x if ours else x.clone()
        unit = plain if not images or (ours and bounds == (0.0, 1.0)) else (x - low) / (high - low)
        args, kwargs = _arguments(self.function, self._offers(key))
        shifted: object = (self.function or _named(self.name))(unit, *args, **kwargs)
        if not isinstance(shifted, Tensor) or shifted.shape != x.shape:
            got = f"shape {tuple(shifted.shape)}" if isinstance(shifted, Tensor) else type(shifted).__name__
        elif not ours and not bool(torch.isfinite(shifted).all()):
            got = "NaN or infinite values"
        elif bounds == (0.0, 1.0) or not images:
            return shifted if ours else shifted.to(x.dtype).clamp(low, high)
        else:
            return (shifted * (high - low) + low).to(x.dtype).clamp_(low, high)
        raise ModelError(
            f"Expected the shift {self.name!r} to give finite images of shape {tuple(x.shape)} but got {got}."
        )

    def _has_severities(self) -> bool:
        asked = object()
        args, kwargs = _arguments(self.function, {**self._offers(None), "severity": asked})
        return any(value is asked for value in (*args, *kwargs.values()))

    def _offers(self, key: Tensor | None) -> dict[str, object]:
        return {"severity": self.severity, "key": key, "parameters": self.parameters}


def as_shift(shift: str | Shift | ShiftFunction, severity: int | None) -> Shift:
    """The shift that a name, a function or a `Shift` stands for.

    Args:
        shift: a name, a `ShiftFunction`, or a `Shift`.
        severity: 1..5; None means the `Shift`'s own, or 3.

    Raises:
        ConfigError: neither a name nor a function, or a severity that is not 1..5.
    """
    if isinstance(shift, Shift):
        return shift if severity is None else Shift(shift.name, severity, shift.function, shift.parameters)
    level = 3 if severity is None else severity
    if isinstance(shift, str):
        return Shift(shift, level)
    if not callable(shift) or isinstance(shift, type):
        raise ConfigError(expected("a shift's name, a Shift, or a function of (x, severity, key)", shift))
    return Shift(getattr(shift, "__name__", type(shift).__name__), level, shift)


def shift_names() -> list[str]:
    """The names of all shifts there are: ours, and those of installed plugins."""
    return [*SHIFTS, *(name for name in _plugins() if name not in SHIFTS)]


def _plugins() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group="robustest.shifts")}


def _named(name: str) -> ShiftFunction:
    if name in SHIFTS:
        return SHIFTS[name]
    plugins = _plugins()
    if name not in plugins:
        raise unknown("shift", name, [*SHIFTS, *plugins])
    function: ShiftFunction = plugins[name].load()
    return function


def _arguments(function: ShiftFunction | None, offers: dict[str, object]) -> tuple[list[object], dict[str, object]]:
    """What a function gets after the images: by position, and by name.

    Arguments named as an offer get it; required ones of other names get the severity and the key, in this order.

    Raises:
        ConfigError: more arguments are required than there are.
    """
    try:
        wanted = _parameters(function)
    except TypeError:  # it cannot be hashed, as data classes that are not frozen
        wanted = _parameters.__wrapped__(function)
    named = offers.keys() & {each.name for each in wanted if each.kind is not each.POSITIONAL_ONLY}
    rest = [offers[name] for name in ("severity", "key") if name not in named]
    args: list[object] = []
    kwargs: dict[str, object] = {}
    for each in wanted:
        if each.name in named:
            kwargs[each.name] = offers[each.name]
        elif each.default is each.empty:
            if not rest:
                names = ", ".join(str(argument) for argument in wanted)
                raise ConfigError(f"Expected a function of (x, severity, key) or fewer but got one of (x, {names}).")
            if each.kind is each.POSITIONAL_ONLY:
                args.append(rest.pop(0))
            else:
                kwargs[each.name] = rest.pop(0)
    return args, kwargs


@functools.lru_cache(maxsize=128)
def _parameters(function: ShiftFunction | None) -> list[inspect.Parameter]:
    # A module is called through its forward, whose arguments its own signature hides.
    target = function.forward if isinstance(function, torch.nn.Module) else function
    try:
        wanted = list(inspect.signature(target).parameters.values()) if target is not None else []
    except (TypeError, ValueError):  # built in C: nothing is known
        return []
    return [each for each in wanted[1:] if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
