"""Shifts of waveforms: noise, gain, clipping, rooms, delays, filters, companding, codecs and tempo.

Names and units are those of audiomentations and torch-audiomentations where they agree. Lengths stay as they are, and
channels of one sample are changed in the same way.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from robustest import devices, rng
from robustest.checks import check_ranges, real, require, whole
from robustest.errors import ConfigError, expected, not_installed, unknown
from robustest.shifts.signals import SignalChange, SignalFamily


def _decibels(value: float) -> float:
    return float(10.0 ** (value / 20))


def _power(x: Tensor) -> Tensor:
    return x.double().square().sum((1, 2), keepdim=True)


@dataclass(frozen=True, slots=True)
class Noise(SignalChange):
    """White Gaussian noise at a signal-to-noise ratio (audiomentations: AddGaussianSNR).

    The ratio is 10 log10(sum x^2 / sum n^2) over all of a sample, n what arrives after clipping to the bounds. Silence
    has none, and stays silent.

    Args:
        snr: dB.
    """

    promise: ClassVar[str] = "snr"
    added: ClassVar[bool] = True

    snr: float = field(metadata=real() | {"unit": "dB"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        noise = rng.normal(rng.fold(key, "noise"), x.shape[1:])
        # The draw's own power, not its expectation, so that the ratio is exact for every sample.
        scale = (_power(x) / _power(noise).clamp(min=1e-300)).sqrt() / _decibels(self.snr)
        return torch.addcmul(x, noise, scale.to(x.dtype))


@dataclass(frozen=True, slots=True)
class Gain(SignalChange):
    """All amplitudes multiplied by 10^(gain / 20) (both libraries: Gain).

    Args:
        gain: dB; 0 changes nothing.
    """

    promise: ClassVar[str] = "gain"

    gain: float = field(metadata=real(high=300) | {"unit": "dB"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        return x * _decibels(self.gain)


@dataclass(frozen=True, slots=True)
class Clipping(SignalChange):
    """The largest amplitudes cut off at one level (audiomentations: ClippingDistortion).

    The level is the quantile of the sample's absolute values above which `percentile` percent of them lie.

    Args:
        percentile: percent of the elements that are cut, in 0..100; 0 changes nothing.
    """

    percentile: float = field(metadata=real(0, 100) | {"unit": "%"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        sizes = x.abs().flatten(1).sort(1).values
        kept = round(sizes.shape[1] * (1 - self.percentile / 100))
        level = sizes[:, max(0, kept - 1)].view(-1, 1, 1)
        return torch.minimum(torch.maximum(x, -level), level)


@dataclass(frozen=True, slots=True)
class Reverberation(SignalChange):
    """A room: white noise that decays by 60 dB in `rt60` follows the direct sound (Polack, 1988; Moorer, 1979).

    Each sample has a room of its own. The tail after the direct sound has the energy that the direct-to-reverberant
    ratio leaves it; only the part within the sample's length is heard.

    Args:
        rt60: seconds in which the reverberation decays by 60 dB, > 0.
        drr: direct-to-reverberant ratio in dB.
    """

    promise: ClassVar[str] = "drr"
    added: ClassVar[bool] = True

    rt60: float = field(metadata=real(0) | {"unit": "s"})
    drr: float = field(default=0.0, metadata=real() | {"unit": "dB"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        rate, length = self.required(sample_rate), x.shape[2]
        taps = min(length - 1, int(self.rt60 * rate))
        if taps < 1:
            return x
        decay = torch.exp(torch.arange(1, taps + 1, dtype=torch.float64) * (-3 * math.log(10) / (self.rt60 * rate)))
        tail = rng.normal(rng.fold(key, "reverberation"), (taps,)).double() * decay.to(x.device)
        tail = tail * (_decibels(-self.drr) / tail.square().sum(1, keepdim=True).sqrt())
        response = torch.cat([torch.ones_like(tail[:, :1]), tail], 1).unsqueeze(1)
        return _convolved(x, response)


def _convolved(x: Tensor, response: Tensor) -> Tensor:
    """Return x (n, C, T) convolved with responses (n, 1, L) float64, cut to T."""
    size = x.shape[2] + response.shape[2] - 1
    return _transformed(x, torch.fft.rfft(response, size), size)


def _transformed(x: Tensor, factors: Tensor, size: int) -> Tensor:
    """Return x (n, C, T) with its spectrum of `size` readings times factors, cut to T."""
    made: Tensor = torch.fft.irfft(torch.fft.rfft(x.double(), size) * factors, size)[..., : x.shape[2]]
    # The rounding of a transform depends on the batch. In float64 it is lost in float32, but where a wave is silent:
    # there it is below any step of 2^-32 of the sample's peak.
    step = x.double().abs().amax((1, 2), keepdim=True) * 2.0**-32
    return torch.where(step > 0, (made / step).round() * step, made).to(x.dtype)


@dataclass(frozen=True, slots=True)
class Delay(SignalChange):
    """The signal begins later, after silence; its end is cut off (both libraries: Shift, without rollover).

    Args:
        delay: milliseconds, >= 0; rounded to whole samples.
    """

    delay: float = field(metadata=real(0) | {"unit": "ms"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        late = min(x.shape[2], round(self.delay * self.required(sample_rate) / 1000))
        return torch.cat([torch.zeros_like(x[..., :late]), x[..., : x.shape[2] - late]], 2)


@dataclass(frozen=True, slots=True)
class LowPass(SignalChange):
    """High frequencies weakened: a Butterworth filter's gain, without its delay (both libraries: LowPassFilter).

    The gain at frequency f is (1 + (f / cutoff)^(rolloff / 3.01))^-1/2: -3 dB at the cutoff.

    Args:
        cutoff: Hz, > 0.
        rolloff: dB by which each octave above is weaker, > 0.
    """

    cutoff: float = field(metadata=real(1e-3) | {"unit": "Hz"})
    rolloff: float = field(default=12.0, metadata=real(1e-3, 1000) | {"unit": "dB per octave"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        # Twice the length: the end of the signal must not leak into its beginning.
        rate, size = self.required(sample_rate), 2 * x.shape[2]
        steps = torch.arange(size // 2 + 1, dtype=torch.float64, device=x.device) * (rate / size / self.cutoff)
        # 6.02 dB per octave is one order of the filter.
        gain = (1 + steps.pow(self.rolloff / (10 * math.log10(2)))).rsqrt()
        return _transformed(x, gain, size)


@dataclass(frozen=True, slots=True)
class MuLaw(SignalChange):
    """Telephone companding: amplitudes quantised on the logarithmic scale of G.711, and expanded again.

    With mu = quantization_channels - 1: F(x) = sign(x) log(1 + mu |x|) / log(1 + mu), rounded to a sign and
    quantization_channels / 2 levels of magnitude, of which 0 is one. Amplitudes above 1 are cut off.

    Args:
        quantization_channels: levels, even, >= 4; 256 are the telephone's 8 bits.
    """

    quantization_channels: int = field(default=256, metadata=whole(4) | {"unit": "levels"})

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.quantization_channels % 2:
            raise ConfigError(expected("quantization_channels to be even", self.quantization_channels))

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        mu, steps = self.quantization_channels - 1, self.quantization_channels // 2 - 1
        wide = x.double().clamp(-1, 1)
        companded = torch.log1p(mu * wide.abs()) / math.log1p(mu)
        level = (companded * steps).round() / steps
        return (wide.sign() * torch.expm1(level * math.log1p(mu)) / mu).to(x.dtype)


# Smallest and largest kbit/s of MP3 by sample rate, and of Opus; libsndfile spreads its compression level 0..1 evenly
# between them, the largest first.
_MP3 = ((32_000, 32, 320), (16_000, 8, 160), (0, 8, 64))
_OPUS = (6, 256)
# Samples by which LAME and a decoder delay a file too small for the header that says so.
_MP3_DELAY = 1105


@dataclass(frozen=True, slots=True)
class Codec(SignalChange):
    """The sample encoded and decoded by libsndfile (`pip install 'robustest[audio]'`).

    Args:
        bitrate: kbit/s.
        format: "mp3" (audiomentations: Mp3Compression) or "opus", which takes 8, 12, 16, 24 and 48 kHz.
    """

    bitrate: float = field(metadata=real(1) | {"unit": "kbit/s"})
    format: str = "mp3"

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.format not in ("mp3", "opus"):
            raise unknown("format", self.format, ["mp3", "opus"])

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        rate = self.required(sample_rate)
        coded = [self.coded(one.T.cpu().numpy(), rate) for one in x]
        return torch.from_numpy(np.stack(coded)).transpose(1, 2).to(x.device)

    def coded(self, wave: np.ndarray[Any, np.dtype[np.float32]], rate: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return one waveform (T, C) as the decoder gives it, at its old place and length."""
        try:
            import soundfile
        except ImportError:
            raise not_installed(f"soundfile, which {self} needs,", "audio") from None
        low, high = _OPUS if self.format == "opus" else next(ends for least, *ends in _MP3 if rate >= least)
        require(low <= self.bitrate <= high, f"bitrate in {low}..{high} kbit/s at {rate} Hz", self.bitrate)
        level = min(0.999, (high - self.bitrate) / (high - low))  # LAME refuses the level 1
        how: dict[str, Any] = {"format": "OGG", "subtype": "OPUS"}
        if self.format == "mp3":
            how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
        file = io.BytesIO()
        try:
            soundfile.write(file, wave, rate, compression_level=level, **how)
            file.seek(0)
            decoded, _ = soundfile.read(file, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise ConfigError(
                f"Expected {self} to encode a waveform of {rate} Hz but libsndfile says: {error}"
            ) from None
        if self.format == "mp3" and len(decoded) > len(wave):
            decoded = decoded[_MP3_DELAY:]
        lacking = max(0, len(wave) - len(decoded))
        return np.pad(decoded[: len(wave)], ((0, lacking), (0, 0)))


# Longest window of the phase vocoder, in samples: 64 ms at 16 kHz.
_WINDOW = 1024


@dataclass(frozen=True, slots=True)
class TimeStretch(SignalChange):
    """Faster or slower at the same pitch, by a phase vocoder (Flanagan and Golden, 1966; both libraries: TimeStretch).

    A faster signal ends in silence, a slower one is cut off.

    Args:
        rate: factor of the tempo, in 0.1..10; 1 changes nothing.
    """

    rate: float = field(metadata=real(0.1, 10) | {"unit": "times"})

    def changed(self, x: Tensor, key: Tensor, sample_rate: int | None) -> Tensor:
        # 1. Short-time spectra X_k, a hop apart. 2. Spectrum j of the result is read at time j * rate: its magnitude
        # between those of its two neighbours; 3. its phase is the last one's plus the neighbours' difference, unwrapped
        # around the advance of each bin's centre frequency, so that sinusoids go on where they were. 4. Overlap-add.
        length = x.shape[2]
        if self.rate == 1 or length < 2:
            return x
        window_length = min(_WINDOW, 1 << (length.bit_length() - 1))
        hop = max(1, window_length // 4)
        window = torch.hann_window(window_length, dtype=torch.float64, device=x.device)
        whole = x.double().flatten(0, 1)
        spectra = torch.stft(whole, window_length, hop, window=window, pad_mode="constant", return_complex=True)
        times = torch.arange(0, spectra.shape[2], self.rate, dtype=torch.float64, device=x.device)
        at, share = times.long(), times % 1
        wide = torch.nn.functional.pad(spectra, (0, 1))
        here, there = wide[..., at], wide[..., (at + 1).clamp(max=spectra.shape[2])]
        centre = torch.linspace(0, math.pi * hop, spectra.shape[1], dtype=torch.float64, device=x.device).view(-1, 1)
        ahead = there.angle() - here.angle() - centre
        ahead = ahead - 2 * math.pi * (ahead / (2 * math.pi)).round() + centre
        phase = devices.running_sum(torch.cat([spectra[..., :1].angle(), ahead[..., :-1]], 2), 2)
        made = torch.polar(torch.lerp(here.abs(), there.abs(), share), phase)
        shorter = round(length / self.rate)
        slow = torch.istft(made, window_length, hop, window=window, length=shorter)
        slow = torch.nn.functional.pad(slow, (0, max(0, length - shorter)))[..., :length]
        return slow.view(x.shape).to(x.dtype)


AUDIO = (
    SignalFamily("noise", (Noise(30), Noise(20), Noise(10), Noise(5), Noise(0))),
    SignalFamily("gain", (Gain(-6), Gain(-12), Gain(-20), Gain(-30), Gain(-40))),
    SignalFamily("clipping", (Clipping(5), Clipping(10), Clipping(20), Clipping(30), Clipping(40))),
    SignalFamily(
        "reverberation",
        (Reverberation(0.2), Reverberation(0.4), Reverberation(0.7), Reverberation(1.0), Reverberation(1.5)),
    ),
    SignalFamily("delay", (Delay(10), Delay(50), Delay(100), Delay(250), Delay(500))),
    SignalFamily("low_pass", (LowPass(4000), LowPass(3000), LowPass(2000), LowPass(1000), LowPass(500))),
    SignalFamily("mu_law", (MuLaw(256), MuLaw(128), MuLaw(64), MuLaw(32), MuLaw(16))),
    SignalFamily("codec", (Codec(64), Codec(56), Codec(48), Codec(40), Codec(32))),
    SignalFamily(
        "time_stretch", (TimeStretch(1.05), TimeStretch(1.1), TimeStretch(1.2), TimeStretch(1.35), TimeStretch(1.5))
    ),
)
"""The families of waveforms."""
