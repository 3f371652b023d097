"""Shifts by name and severity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points

import torch
from torch import Tensor

from robustest.errors import ConfigError, ModelError, expected, unknown
from robustest.shifts.basic import brightness, gaussian_blur, gaussian_noise, rotation

ShiftFunction = Callable[[Tensor, int, Tensor], Tensor]
"""Maps x (N, C, H, W) in [0, 1], a severity 1..5 and keys (N,) int64 to shifted images of the same shape."""

SHIFTS: dict[str, ShiftFunction] = {
    "brightness": brightness,
    "gaussian_blur": gaussian_blur,
    "gaussian_noise": gaussian_noise,
    "rotation": rotation,
}
"""The shifts robustest brings, by name."""


@dataclass(frozen=True, slots=True)
class Shift:
    """A shift at a severity.

    Args:
        name: one of `SHIFTS`, a name from the entry-point group `robustest.shifts`, or the name of `function`.
        severity: 1 (mild) to 5 (severe).
        function: a `ShiftFunction` of your own; None looks `name` up.

    Raises:
        UnknownNameError: no shift has this name.
        ConfigError: severity is not 1..5.
    """

    name: str
    severity: int = 3
    function: ShiftFunction | None = None

    def __post_init__(self) -> None:
        if type(self.severity) is not int or not 1 <= self.severity <= 5:
            raise ConfigError(expected("severity to be a whole number 1..5", self.severity))
        if self.function is None:
            object.__setattr__(self, "function", _named(self.name))

    def __str__(self) -> str:
        return f"{self.name}, severity {self.severity}"

    def apply(self, x: Tensor, key: Tensor, bounds: tuple[float, float]) -> Tensor:
        """Shifted inputs inside the bounds.

        Args:
            x: (N, C, H, W) inside the bounds.
            key: (N,) keys of the samples' randomness.
            bounds: the input's bounds; the shift itself sees [0, 1].

        Raises:
            ModelError: the shift changed the shape or gave NaN.
        """
        if x.ndim != 4:
            raise ConfigError(expected("images of shape (N, C, H, W) for a shift", tuple(x.shape)))
        low, high = bounds
        function = self.function or _named(self.name)
        shifted: object = function((x - low) / (high - low), self.severity, key)
        if isinstance(shifted, Tensor) and shifted.shape == x.shape and bool(torch.isfinite(shifted).all()):
            return (shifted * (high - low) + low).to(x.dtype).clamp_(low, high)
        got = type(shifted).__name__
        if isinstance(shifted, Tensor):
            got = f"shape {tuple(shifted.shape)}" if shifted.shape != x.shape else "NaN or infinite values"
        raise ModelError(
            f"Expected the shift {self.name!r} to give finite images of shape {tuple(x.shape)} but got {got}."
        )


def as_shift(shift: str | Shift | ShiftFunction, severity: int | None) -> Shift:
    """The shift that a name, a function or a `Shift` stands for.

    Args:
        shift: a name, a `ShiftFunction`, or a `Shift`.
        severity: 1..5; None means the `Shift`'s own, or 3.

    Raises:
        ConfigError: neither a name nor a function, or a severity that is not 1..5.
    """
    if isinstance(shift, Shift):
        return shift if severity is None else Shift(shift.name, severity, shift.function)
    level = 3 if severity is None else severity
    if isinstance(shift, str):
        return Shift(shift, level)
    if not callable(shift) or isinstance(shift, type):
        raise ConfigError(expected("a shift's name, a Shift, or a function of (x, severity, key)", shift))
    return Shift(getattr(shift, "__name__", "shift"), level, shift)


def _named(name: str) -> ShiftFunction:
    if name in SHIFTS:
        return SHIFTS[name]
    plugins = {point.name: point for point in entry_points(group="robustest.shifts")}
    if name not in plugins:
        raise unknown("shift", name, [*SHIFTS, *plugins])
    function: ShiftFunction = plugins[name].load()
    return function
