"""The frame of shifts of signals: waveforms and series, with time on the last axis.

A change of signals is a frozen dataclass whose fields are numbers with units ("gain by -6 dB"); it is called with a
batch. Five of them, from mild to severe, are a family with a name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest.checks import check_ranges, checked_severity, require
from robustest.errors import ConfigError, expected

# Elements of a piece of a batch: transforms of a piece stay in a processor's cache, and memory does not grow with the
# batch.
_ELEMENTS = 1 << 19


# A change that promises a size and leaves the bounds arrives smaller, because it is clipped. One that is added to the
# signal is therefore scaled by the factor at which the clipped change has the size that was drawn:
#
#     s = min { s >= 1 : |clip(x + s d) - x| >= |d| }, by bisection, as the left side never falls in s.
#
# Where the bounds leave no room for it, s is the largest factor, and the size that was reached is reported.

_LARGEST_FACTOR = 2.0**12
_HALVINGS = 40
# Factors are whole multiples of this, so that the last bits of sums, which depend on the batch, change no sample.
_STEP = 2.0**-16
# Share of the promised size that is as good as all of it: 0.04 dB.
_REACHED = 0.995


class SignalsAfter(NamedTuple):
    """Signals after a change, before they are clipped.

    Attributes:
        x: of the shape of the signals.
        size: (N,) float64 sizes that arrive inside the bounds, in the unit of the promise; None if there is none.
    """

    x: Tensor
    size: Tensor | None


class SignalChange(ABC):
    """A change of signals (n, C, T); a shift for any claim on a shift.

    The metadata of a field are its range and its unit, for reports: `real(0, 100) | {"unit": "%"}`.

    Attributes:
        promise: the field that promises a size; "" if none does.
        added: True if the change is added to the signal, and may be scaled to arrive in its size.
        measure: the size of the change, "energy" over the sample or each channel's "deviation" or "peak".
    """

    __slots__ = ()

    promise: ClassVar[str] = ""
    added: ClassVar[bool] = False
    measure: ClassVar[Literal["energy", "deviation", "peak"]] = "energy"

    def __post_init__(self) -> None:
        check_ranges(self)

    def __call__(
        self,
        x: Tensor,
        key: Tensor,
        sample_rate: int | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> Tensor:
        """Return changed signals of x's shape and type, computed in float32 without gradients; x is not changed.

        Args:
            x: (N, T) or (N, C, T) floats, on any device.
            key: (N,) keys of the samples' randomness.
            sample_rate: samples per second, for changes with times or frequencies.
            bounds: least and largest value, inside which a promised size is to arrive; None clips nothing.

        Raises:
            ConfigError: x are no signals, or a change with times or frequencies lacks the sample rate.
        """
        made = self.after(x, key, sample_rate, bounds).x
        return made if bounds is None else made.clamp(*bounds)

    def after(
        self, x: Tensor, key: Tensor, sample_rate: int | None = None, bounds: tuple[float, float] | None = None
    ) -> SignalsAfter:
        """Return changed signals that have the promised size once they are clipped, and the size; see `__call__`."""
        require(x.ndim in (2, 3), f"signals of shape (N, T) or (N, C, T) for {self}", tuple(x.shape))
        signals = x.unsqueeze(1) if x.ndim == 2 else x
        out = torch.empty(signals.shape, dtype=torch.float32, device=x.device)
        ratio = torch.ones(len(x), dtype=torch.float64, device=x.device)
        step = max(1, _ELEMENTS // max(1, signals[:1].numel()))
        with torch.no_grad():
            for start in range(0, len(x), step) if x.numel() else ():
                part = slice(start, start + step)
                piece = signals[part].to(torch.float32).contiguous()
                out[part] = self.changed(piece, key[part], sample_rate)
                if bounds is not None and self.promise:
                    out[part], ratio[part] = self._inside(piece, out[part], bounds)
        size = self._size(ratio) if bounds is not None and self.promise else None
        return SignalsAfter(out.view(x.shape).to(x.dtype), size)

    def _inside(self, x: Tensor, made: Tensor, bounds: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Return signals (n, C, T) whose change arrives in its size, and (n,) the share of the size that arrives."""
        ratio = torch.ones(len(x), dtype=torch.float64, device=x.device)
        rows = ((made < bounds[0]) | (made > bounds[1])).flatten(1).any(1).nonzero().squeeze(1)
        if not len(rows):
            return made, ratio
        start, wanted = x[rows].double(), made[rows].double()
        change = wanted - start
        if not self.added:
            # The level of the whole signal is promised, and its loudest parts are cut: no factor restores them.
            ratio[rows] = (_sized(wanted.clamp(*bounds), "energy") / _sized(wanted, "energy")).flatten()
            return made, ratio
        target = _sized(change, self.measure)

        def arrived(factor: Tensor) -> Tensor:
            return _sized(torch.addcmul(start, change, factor).clamp(*bounds) - start, self.measure)

        low, high = torch.ones_like(target), torch.full_like(target, _LARGEST_FACTOR)
        for _ in range(_HALVINGS):
            middle = (low * high).sqrt()
            enough = arrived(middle) >= target
            low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
        factor = torch.where(arrived(torch.ones_like(high)) >= target, 1.0, (high / _STEP).round() * _STEP)
        made = made.clone()
        made[rows] = torch.addcmul(start, change, factor).to(made.dtype)
        # The least of the channels; one without any change has no size to arrive.
        shares = torch.where(target > 0, arrived(factor) / target.clamp(min=1e-300), 1.0)
        ratio[rows] = shares.flatten(1).amin(1)
        return made, ratio

    def _size(self, ratio: Tensor) -> Tensor:
        """Return the promised size (N,) after a share `ratio` of it has arrived; the promise itself for all of it."""
        promised = float(getattr(self, self.promise))
        unit = next(each.metadata.get("unit") for each in fields(self) if each.name == self.promise)  # type: ignore[arg-type]
        # Exactly the promise where it arrived, so that other sizes can be told.
        whole = ratio >= _REACHED
        if unit != "dB":
            return torch.where(whole, promised, promised * ratio)
        # A quieter change has a higher ratio of the signal to it; a quieter signal a lower gain.
        sign = -1 if self.added else 1
        return torch.where(whole, promised, promised + sign * 20 * ratio.clamp(min=1e-15).log10())

    def shortfall(self, sizes: NDArray[np.float64]) -> str:
        """Return in words how far sizes (N,) that arrived are from the promise; "" if all arrived."""
        if not self.promise:
            return ""
        short = sizes[sizes != float(getattr(self, self.promise))]
        if not len(short):
            return ""
        unit = next(each.metadata.get("unit") for each in fields(self) if each.name == self.promise)  # type: ignore[arg-type]
        reached = f"{self.promise} {float(np.median(short)):.3g} {unit}"
        return f"the bounds leave less room than {self} takes in {len(short)} of {len(sizes)} samples: {reached} there"

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


def _sized(change: Tensor, measure: str) -> Tensor:
    """Return the size of changes (n, C, T), (n, 1, 1) over a sample or (n, C, 1) by channel."""
    if measure == "peak":
        return change.abs().amax(2, keepdim=True)
    return change.square().sum((1, 2) if measure == "energy" else 2, keepdim=True).sqrt()


@dataclass(frozen=True, slots=True)
class SignalFamily:
    """The changes of signals behind one name, at severities 1 to 5; a `ShiftFunction`."""

    name: str
    changes: tuple[SignalChange, SignalChange, SignalChange, SignalChange, SignalChange]

    def __call__(
        self,
        x: Tensor,
        severity: int,
        key: Tensor,
        sample_rate: int | None = None,
        bounds: tuple[float, float] | None = None,
    ) -> Tensor:
        return self.at(severity)(x, key, sample_rate, bounds)

    def at(self, severity: int) -> SignalChange:
        checked_severity(severity)
        return self.changes[severity - 1]

    @property
    def __name__(self) -> str:
        return self.name
