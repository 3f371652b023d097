"""Shifts of series, such as several sensors' readings: drift, dropout, jitter, time warps and missing readings.

Names and units are tsaug's where it has them. Sizes are shares of each channel's range in the sample, so that a channel
in volts and one in degrees change alike; a constant channel has no range, and only gaps could change it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from robustest import devices, rng
from robustest.checks import check_ranges, checked_real, real, require, whole
from robustest.shifts.signals import SignalChange, SignalFamily

_HELD = "ffill"


def _range(x: Tensor) -> Tensor:
    return x.amax(2, keepdim=True) - x.amin(2, keepdim=True)


def _interpolated(values: Tensor, at: Tensor) -> Tensor:
    """Return values (n, C, K) between their whole places 0..K-1, linearly, at places that broadcast to (n, C, T)."""
    at = at.expand(*values.shape[:2], -1)
    left = at.floor().clamp(0, max(0, values.shape[2] - 2))
    low = left.long()
    high = (low + 1).clamp(max=values.shape[2] - 1)
    return torch.lerp(values.gather(2, low), values.gather(2, high), (at - left).to(values.dtype))


@dataclass(frozen=True, slots=True)
class Drift(SignalChange):
    """A slow random walk added to each channel, from 0 at the start (tsaug: Drift).

    The walk goes by normal steps through `n_drift_points` points, in a smooth curve between them.

    Args:
        max_drift: its largest distance from 0, as a share of the channel's range, >= 0.
        n_drift_points: points after the start, >= 1.
    """

    promise: ClassVar[str] = "max_drift"
    added: ClassVar[bool] = True
    measure: ClassVar[Literal["energy", "deviation", "peak"]] = "peak"

    max_drift: float = field(metadata=real(0) | {"unit": "of the range"})
    n_drift_points: int = field(default=3, metadata=whole(1) | {"unit": "points"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        steps = rng.normal(rng.fold(key, "drift"), (x.shape[1], self.n_drift_points))
        walk = torch.nn.functional.pad(devices.running_sum(steps, 2), (1, 0))
        places = torch.linspace(0, self.n_drift_points, x.shape[2], device=x.device)
        # Half a cosine between two points has no corner at either.
        smooth = places.floor() + (1 - torch.cos(torch.pi * (places % 1))) / 2
        drift = _interpolated(walk, smooth.view(1, 1, -1))
        drift = drift / drift.abs().amax(2, keepdim=True).clamp(min=1e-30)
        return torch.addcmul(x, drift, _range(x) * self.max_drift)


@dataclass(frozen=True, slots=True)
class Jitter(SignalChange):
    """White Gaussian noise on every reading (tsaug: AddNoise; Um et al., ICMI 2017: jittering).

    Args:
        scale: standard deviation, as a share of the channel's range, >= 0.
    """

    promise: ClassVar[str] = "scale"
    added: ClassVar[bool] = True
    measure: ClassVar[Literal["energy", "deviation", "peak"]] = "deviation"

    scale: float = field(metadata=real(0) | {"unit": "of the range"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        return torch.addcmul(x, rng.normal(rng.fold(key, "jitter"), x.shape[1:]), _range(x) * self.scale)


@dataclass(frozen=True, slots=True)
class TimeWarp(SignalChange):
    """Time runs faster and slower, the same in all channels (tsaug: TimeWarp).

    Time is cut into equal parts, each with a speed drawn log-uniformly; the length stays.

    Args:
        max_speed_ratio: largest possible ratio of two parts' speeds, >= 1.
        n_speed_change: changes of speed, >= 1.
    """

    max_speed_ratio: float = field(metadata=real(1) | {"unit": "times"})
    n_speed_change: int = field(default=3, metadata=whole(1) | {"unit": "changes"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        last = x.shape[2] - 1
        drawn = rng.uniform(rng.fold(key, "time_warp"), (1, self.n_speed_change + 1)).double()
        speed = torch.exp(drawn * math.log(self.max_speed_ratio))
        gone = torch.nn.functional.pad(devices.running_sum(speed, 2), (1, 0))
        gone = gone / gone[..., -1:] * last
        places = torch.linspace(0, self.n_speed_change + 1, x.shape[2], dtype=torch.float64, device=x.device)
        return _interpolated(x, _interpolated(gone, places.view(1, 1, -1)))


def _filled(x: Tensor, gone: Tensor, fill: float | str) -> Tensor:
    gone = gone.expand_as(x)
    if fill != _HELD:
        return x.masked_fill(gone, float(fill))
    # The place of the last reading that is there; before the first one, of the first.
    places = torch.arange(x.shape[2], device=x.device).expand_as(x)
    there = places.masked_fill(gone, -1).cummax(2).values
    first = (~gone).to(torch.uint8).argmax(2, keepdim=True)
    return x.gather(2, torch.where(there < 0, first, there))


def _checked_fill(fill: object) -> None:
    if fill != _HELD:
        require(not isinstance(fill, str), 'fill to be "ffill" or a number', fill)
        checked_real("fill", fill)


@dataclass(frozen=True, slots=True)
class Dropout(SignalChange):
    """Each channel's sensor fails once, for one stretch of time, at a random place.

    Args:
        share: length of the stretch as a share of the sample's, in 0..1; rounded up to whole readings.
        fill: the reading of a sensor that fails: "ffill" repeats its last one, or a number.
    """

    share: float = field(metadata=real(0, 1) | {"unit": "of the time"})
    fill: float | str = _HELD

    def __post_init__(self) -> None:
        check_ranges(self)
        _checked_fill(self.fill)

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        length = -int(-self.share * x.shape[2] // 1)
        start = rng.integers(rng.fold(key, "dropout"), (x.shape[1], 1), x.shape[2] - length + 1)
        places = torch.arange(x.shape[2], device=x.device)
        return _filled(x, (places >= start) & (places < start + length), self.fill)


@dataclass(frozen=True, slots=True)
class Missing(SignalChange):
    """Single readings are missing, at the same times in all channels (tsaug: Dropout).

    Args:
        p: probability that a reading is missing, in 0..1.
        fill: as for `Dropout`.
    """

    p: float = field(metadata=real(0, 1) | {"unit": "of the readings"})
    fill: float | str = _HELD

    def __post_init__(self) -> None:
        check_ranges(self)
        _checked_fill(self.fill)

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        return _filled(x, rng.uniform(rng.fold(key, "missing"), (1, x.shape[2])) < self.p, self.fill)


SERIES = (
    SignalFamily("drift", (Drift(0.05), Drift(0.1), Drift(0.2), Drift(0.35), Drift(0.5))),
    SignalFamily("dropout", (Dropout(0.05), Dropout(0.1), Dropout(0.2), Dropout(0.35), Dropout(0.5))),
    SignalFamily("jitter", (Jitter(0.01), Jitter(0.02), Jitter(0.05), Jitter(0.1), Jitter(0.2))),
    SignalFamily("time_warp", (TimeWarp(1.2), TimeWarp(1.5), TimeWarp(2.0), TimeWarp(3.0), TimeWarp(4.0))),
    SignalFamily("missing", (Missing(0.02), Missing(0.05), Missing(0.1), Missing(0.2), Missing(0.4))),
)
"""The families of series."""
