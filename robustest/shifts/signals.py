"""The frame of shifts of signals: waveforms and series, with time on the last axis.

A change of signals is a frozen dataclass whose fields are numbers with units ("gain by -6 dB"); it is called with a
batch. Five of them, from mild to severe, are a family with a name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from robustest.checks import check_ranges, checked_severity, require
from robustest.errors import ConfigError, expected

# Elements of a piece of a batch: transforms of a piece stay in a processor's cache, and memory does not grow with the
# batch.
_ELEMENTS = 1 << 19


class SignalChange(ABC):
    """A change of signals (n, C, T); a shift for any claim on a shift.

    The metadata of a field are its range and its unit, for reports: `real(0, 100) | {"unit": "%"}`.
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        check_ranges(self)

    def __call__(self, x: Tensor, key: Tensor, sample_rate: int | None = None) -> Tensor:
        """Return changed signals of x's shape and type, computed in float32 without gradients; x is not changed.

        Args:
            x: (N, T) or (N, C, T) floats, on any device.
            key: (N,) keys of the samples' randomness.
            sample_rate: samples per second, for changes with times or frequencies.

        Raises:
            ConfigError: x are no signals, or a change with times or frequencies lacks the sample rate.
        """
        require(x.ndim in (2, 3), f"signals of shape (N, T) or (N, C, T) for {self}", tuple(x.shape))
        signals = x.unsqueeze(1) if x.ndim == 2 else x
        out = torch.empty(signals.shape, dtype=torch.float32, device=x.device)
        step = max(1, _ELEMENTS // max(1, signals[:1].numel()))
        with torch.no_grad():
            for start in range(0, len(x), step) if x.numel() else ():
                piece = signals[start : start + step].to(torch.float32).contiguous()
                out[start : start + step] = self.changed(piece, key[start : start + step], sample_rate)
        return out.view(x.shape).to(x.dtype)

    @abstractmethod
    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        """Return changed signals; x (n, C, T) is float32 and must not be written on."""

    def required(self, sample_rate: int | None) -> int:
        """Return the sample rate; raise ConfigError if there is none."""
        if sample_rate is None:
            mend = "Give the data as Waveforms((x, y), sample_rate=16000)."
            raise ConfigError(expected(f"a sample rate for {self}", sample_rate, mend))
        return sample_rate

    def __str__(self) -> str:
        parts = []
        for each in fields(self):  # type: ignore[arg-type]
            value, unit = getattr(self, each.name), each.metadata.get("unit", "")
            shown = f"{value:g} {unit}".rstrip() if isinstance(value, (int, float)) else value
            parts.append(f"{each.name} {shown}")
        return f"{type(self).__name__} ({', '.join(parts)})"

    @property
    def __name__(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True)
class SignalFamily:
    """The changes of signals behind one name, at severities 1 to 5; a `ShiftFunction`."""

    name: str
    changes: tuple[SignalChange, SignalChange, SignalChange, SignalChange, SignalChange]

    def __call__(self, x: Tensor, severity: int, key: Tensor, sample_rate: int | None = None) -> Tensor:
        checked_severity(severity)
        return self.changes[severity - 1](x, key, sample_rate)

    @property
    def __name__(self) -> str:
        return self.name
