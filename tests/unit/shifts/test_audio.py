"""Shifts of waveforms and series: their effect, computed another way."""

from __future__ import annotations

import importlib.util
import io
import math

import numpy as np
import pytest
import scipy.signal
import torch
from torch import Tensor

from robustest import ConfigError, Waveforms, rng
from robustest.measure import measure_consistency, measure_robust_to, measure_shift_accuracy
from robustest.shifts import (
    Clipping,
    Codec,
    Delay,
    Drift,
    Dropout,
    Gain,
    Jitter,
    LowPass,
    Missing,
    MuLaw,
    Noise,
    Reverberation,
    TimeStretch,
    TimeWarp,
    corrupt,
)
from robustest.strategies import changes

RATE = 8000
KEY = rng.keys(3, torch.arange(6))


def tones(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(len(shape))
    return torch.randn(*shape, generator=generator) * torch.linspace(0.01, 0.2, shape[0]).view(
        -1, *[1] * (len(shape) - 1)
    )


def decibels(x: Tensor, y: Tensor) -> Tensor:
    return 10 * torch.log10(
        x.double().flatten(1).square().sum(1) / (y.double() - x.double()).flatten(1).square().sum(1)
    )


@pytest.mark.parametrize("shape", [(6, 4000), (6, 2, 999)])
@pytest.mark.parametrize("snr", [40, 12.5, 0, -10])
def test_noise_has_its_ratio_in_every_sample(shape: tuple[int, ...], snr: float) -> None:
    x = tones(*shape)
    assert decibels(x, Noise(snr)(x, KEY)).numpy() == pytest.approx(snr, abs=0.001)


@pytest.mark.parametrize("gain", [-40, -6, 0, 3.5])
def test_gain_is_exact(gain: float) -> None:
    x = tones(6, 500)
    assert Gain(gain)(x, KEY).numpy() == pytest.approx((x.double() * 10 ** (gain / 20)).numpy(), rel=2e-7)


@pytest.mark.parametrize("percentile", [5, 20, 40])
def test_clipping_cuts_its_share(percentile: float) -> None:
    x = tones(6, 1000)
    y = Clipping(percentile)(x, KEY)
    assert ((y != x).float().mean(1)).tolist() == pytest.approx([percentile / 100] * 6)
    level = x.abs().sort(1).values[:, int(1000 * (1 - percentile / 100)) - 1]
    assert torch.equal(y.abs().amax(1), level)
    assert torch.equal(y, torch.minimum(torch.maximum(x, -level[:, None]), level[:, None]))
    assert torch.equal(Clipping(0)(x, KEY), x)


def test_a_room_decays_by_60_db_in_its_time_and_keeps_the_direct_sound() -> None:
    click = torch.zeros(6, 8000)
    click[:, 0] = 1
    response = Reverberation(0.5, drr=3.0)(click, KEY, RATE)
    assert response[:, 0].numpy() == pytest.approx(1, abs=1e-6)
    tail = response[:, 1:4001].double()
    assert (10 * tail.square().sum(1).log10()).numpy() == pytest.approx(-3, abs=1e-3)
    assert float(response[:, 4001:].abs().max()) < 1e-6
    # Schroeder's backward integral falls by 6 dB in each tenth of the time.
    left = tail.square().mean(0).flip(0).cumsum(0).flip(0)
    slope = np.polyfit(np.arange(400, 2000) / RATE, 10 * np.log10(left[400:2000].numpy()), 1)[0]
    assert slope == pytest.approx(-60 / 0.5, rel=0.1)
    # And any sound is convolved with it.
    x = tones(6, 2, 8000)
    wet = Reverberation(0.5, drr=3.0)(x, KEY, RATE)
    other = [
        scipy.signal.fftconvolve(x[k, c].double(), response[k].double())[:8000] for k in range(6) for c in range(2)
    ]
    assert wet.flatten(0, 1).numpy() == pytest.approx(np.stack(other), abs=1e-5)


def test_a_delay_is_of_its_milliseconds() -> None:
    x = tones(6, 400)
    y = Delay(10)(x, KEY, RATE)
    assert torch.equal(y[:, :80], torch.zeros(6, 80))
    assert torch.equal(y[:, 80:], x[:, :320])
    assert torch.equal(Delay(1000)(x, KEY, RATE), torch.zeros_like(x))


@pytest.mark.parametrize(("rolloff", "order"), [(12.0, 2), (24.0, 4)])
def test_a_low_pass_has_the_gain_of_butterworth(rolloff: float, order: int) -> None:
    time = torch.arange(8000) / RATE
    pitch = torch.tensor([100.0, 500.0, 1000.0, 1500.0, 2000.0, 3000.0])
    x = torch.sin(2 * torch.pi * pitch.view(-1, 1) * time)
    y = LowPass(1000, rolloff)(x, KEY, RATE)
    middle = slice(2000, 6000)  # away from the ends
    gain = y[:, middle].double().square().mean(1).sqrt() / x[:, middle].double().square().mean(1).sqrt()
    _, wanted = scipy.signal.freqs(
        *scipy.signal.butter(order, 2 * np.pi * 1000, analog=True), 2 * np.pi * pitch.numpy()
    )
    assert gain.numpy() == pytest.approx(np.abs(wanted), abs=0.002)


def test_mu_law_has_255_levels_and_the_telephones_noise() -> None:
    x = tones(6, 20_000)
    y = MuLaw(256)(x, KEY)
    assert len(y.unique()) <= 255
    assert torch.equal(MuLaw(256)(y, KEY), y)
    code = torch.log1p(255 * y.double().abs()) / math.log(256) * 127
    assert code.numpy() == pytest.approx(code.round().numpy(), abs=1e-3)
    # 37 to 38 dB, at almost any loudness, is what G.711 is made for.
    assert bool(((decibels(x, y)[2:] > 36) & (decibels(x, y)[2:] < 39)).all())
    assert torch.equal(MuLaw(16)(-x, KEY), -MuLaw(16)(x, KEY))


needs_encoder = pytest.mark.skipif(
    importlib.util.find_spec("soundfile") is None, reason="the shift codec needs soundfile: robustest[audio]"
)


@pytest.mark.thinned
@needs_encoder
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(("form", "bitrate"), [("mp3", 64), ("mp3", 24), ("mp3", 16), ("opus", 48), ("opus", 12)])
def test_a_codec_gives_what_the_encoder_gives(form: str, bitrate: int, channels: int) -> None:
    import soundfile

    rate = 16_000
    time = torch.arange(2 * rate) / rate
    noise = torch.randn(3, channels, 2 * rate, generator=torch.Generator().manual_seed(0))
    x = 0.3 * torch.sin(2 * torch.pi * 440 * time) * (time % 0.5 < 0.3) + 0.01 * noise
    y = Codec(bitrate, form)(x, KEY[:3], rate)
    assert y.shape == x.shape
    # In its place: a codec's delay is taken out.
    assert bool((decibels(x, y) > 10).all())
    how = {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    low, high = (8, 160) if form == "mp3" else (6, 256)
    for wave, coded in zip(x, y, strict=True):
        file = io.BytesIO()
        level = (high - bitrate) / (high - low)
        how = how if form == "mp3" else {"format": "OGG", "subtype": "OPUS"}
        soundfile.write(file, wave.T.numpy(), rate, compression_level=level, **how)
        # An Ogg file's first two pages hold no sound: 3.5 kbit/s of two seconds.
        empty = io.BytesIO()
        soundfile.write(empty, wave.T.numpy()[:0], rate, compression_level=level, **how)
        head = len(empty.getvalue()) if form == "opus" else 0
        assert (len(file.getvalue()) - head) * 8 / 2 / 1000 == pytest.approx(
            bitrate * (channels if form == "opus" else 1), rel=0.25
        )
        file.seek(0)
        own = soundfile.read(file, dtype="float32", always_2d=True)[0].T
        own = own[:, own.shape[1] - x.shape[2] and 1105 :][:, : x.shape[2]]
        assert np.array_equal(coded[:, : own.shape[1]].numpy(), own)


@needs_encoder
def test_a_codec_names_what_it_cannot_encode() -> None:
    x = tones(2, 4000)
    with pytest.raises(ConfigError, match=r"bitrate in 8\.\.160 kbit/s at 16000 Hz"):
        Codec(4)(x, KEY[:2], 16_000)
    with pytest.raises(ConfigError, match="libsndfile says"):
        Codec(24, "opus")(x, KEY[:2], 11_025)


@pytest.mark.parametrize("rate", [0.8, 1.1, 1.5])
def test_a_stretched_tone_has_its_pitch_and_another_tempo(rate: float) -> None:
    time = torch.arange(16_000) / RATE
    x = torch.sin(2 * torch.pi * 500 * time).where((time > 0.5) & (time < 1.0), torch.zeros(())).expand(2, -1)
    y = TimeStretch(rate)(x, KEY[:2])
    loud = y[0].abs().unfold(0, 80, 80).amax(1) > 0.5
    first, last = (loud.nonzero()[k].item() * 80 / RATE for k in (0, -1))
    assert first == pytest.approx(0.5 / rate, abs=0.05)
    assert last == pytest.approx(1.0 / rate, abs=0.05)
    spectrum = torch.fft.rfft(y[0]).abs()
    assert float(spectrum.argmax()) * RATE / 16_000 == pytest.approx(500, abs=2)
    assert torch.equal(TimeStretch(1.0)(x, KEY[:2]), x)


# Series


def test_drift_begins_at_zero_and_goes_as_far_as_its_share_of_the_range() -> None:
    x = tones(6, 3, 500) + 7
    drift = (Drift(0.2)(x, KEY) - x).double()
    wide = (x.amax(2) - x.amin(2)).double()
    assert drift[..., 0].abs().max() < 1e-6
    assert (drift.abs().amax(2) / wide).numpy() == pytest.approx(0.2, abs=1e-5)
    assert float((drift.diff().abs().amax(2) / wide).max()) < 0.01  # slow
    assert torch.equal(Drift(0.2)(torch.full((6, 3, 50), 4.0), KEY), torch.full((6, 3, 50), 4.0))


def test_jitter_has_its_share_of_each_channels_range() -> None:
    x = tones(6, 2, 20_000) * torch.tensor([1.0, 50.0]).view(1, 2, 1)
    noise = (Jitter(0.05)(x, KEY) - x).double()
    assert (noise.std(2) / (x.amax(2) - x.amin(2))).numpy() == pytest.approx(0.05, rel=0.03)


def test_a_time_warp_keeps_the_ends_the_order_and_the_ratio_of_speeds() -> None:
    time = torch.linspace(0, 1, 2000).expand(6, 2, -1)
    warped = TimeWarp(3.0)(time, KEY).double()
    assert torch.equal(warped[:, 0], warped[:, 1])
    assert warped[..., 0].abs().max() < 1e-6
    assert (warped[..., -1] - 1).abs().max() < 1e-6
    speed = warped.diff()[..., 2:-2]
    assert float(speed.min()) > 0
    assert 1.2 < float((speed.amax(2) / speed.amin(2)).max()) < 3.1


def test_each_sensor_fails_once_for_its_share_of_the_time() -> None:
    x = torch.arange(1.0, 401).expand(6, 3, -1).contiguous()
    gone = Dropout(0.2, fill=0.0)(x, KEY) == 0
    assert gone.sum(2).unique().tolist() == [80]
    assert (gone.int().diff().abs().sum(2) <= 2).all()
    starts = gone.int().argmax(2)
    assert len(starts.unique()) > 10
    held = Dropout(0.2)(x, KEY)
    for row, channel in ((0, 0), (3, 2)):
        first = int(starts[row, channel])
        assert held[row, channel, first : first + 80].unique().tolist() == [
            x[0, 0, max(0, first - 1)].item() if first else 81.0
        ]
        assert torch.equal(held[row, channel, first + 80 :], x[row, channel, first + 80 :])


def test_missing_readings_are_filled_with_the_last_one_as_pandas_does() -> None:
    import pandas as pd

    x = tones(6, 2, 5000)
    zeros = Missing(0.3, fill=0.0)(x, KEY)
    gone = zeros == 0
    assert torch.equal(gone[:, 0], gone[:, 1])
    assert float(gone.float().mean()) == pytest.approx(0.3, abs=0.01)
    frame = pd.DataFrame(x.masked_fill(gone, math.nan).flatten(0, 1).T.numpy()).ffill().bfill()
    assert torch.equal(Missing(0.3)(x, KEY), torch.from_numpy(frame.to_numpy().T.copy()).view_as(x))


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (Noise, {"snr": math.nan}),
        (Gain, {"gain": "6"}),
        (Clipping, {"percentile": 101}),
        (Reverberation, {"rt60": -1}),
        (Delay, {"delay": -1}),
        (LowPass, {"cutoff": 0}),
        (MuLaw, {"quantization_channels": 255}),
        (Codec, {"bitrate": 64, "format": "aac"}),
        (TimeStretch, {"rate": 0}),
        (Drift, {"max_drift": -0.1}),
        (Dropout, {"share": 1.2}),
        (Missing, {"p": 0.1, "fill": "mean"}),
        (Jitter, {"scale": -1}),
        (TimeWarp, {"max_speed_ratio": 0.5}),
    ],
)
def test_bad_numbers_are_refused(kind: type, given: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given)) if kind not in (Codec, Missing) else "format|fill"):
        kind(**given)


# Claims


def louder_half(x: Tensor) -> Tensor:
    return 10 * x.flatten(1).abs().unflatten(1, (2, -1)).mean(2)


def clips(n: int = 40) -> tuple[Tensor, Tensor]:
    y = torch.arange(n) % 2
    x = 0.05 * torch.randn(n, 800, generator=torch.Generator().manual_seed(2))
    x[y == 1, 400:] *= 4
    x[y == 0, :400] *= 4
    return x.clamp(-1, 1), y


def test_the_sample_rate_comes_with_the_data() -> None:
    x, y = clips()
    late = Delay(6.25)
    result = measure_shift_accuracy(louder_half, Waveforms((x, y), sample_rate=RATE), late, at_least=0.6)
    again = measure_shift_accuracy(louder_half, Waveforms((x, y), sample_rate=2 * RATE), late, at_least=0.6)
    assert result.subject.setting == "Delay (delay 6.25 ms)"
    assert result.verdict == again.verdict == "passed"
    # A rate is part of the samples' identity: the same clips at another rate are other sounds.
    assert result.evidence.data != again.evidence.data
    by_hand = torch.cat([torch.zeros(40, 50), x[:, :750]], 1)
    assert result.estimate == float((louder_half(by_hand).argmax(1) == y).float().mean())
    with pytest.raises(ConfigError, match="sample_rate to be a whole number >= 1"):
        Waveforms((x, y), sample_rate=0)


@pytest.mark.parametrize("name", ["noise", "gain", "clipping", "reverberation", "low_pass", "mu_law", "delay"])
def test_a_shift_that_changes_no_sample_passes_nothing(name: str) -> None:
    x, y = clips()
    result = measure_consistency(louder_half, Waveforms((x * 0, y), RATE), name, max_flip_rate=0.1)
    assert (result.verdict, result.ruling.reasons) == ("inconclusive", ("unchanged",))
    # Nor if all but a few are silent.
    x[4:] = 0
    result = measure_consistency(louder_half, Waveforms((x, y), RATE), name, max_flip_rate=0.1)
    assert result.verdict != "passed"


def test_clipping_of_nothing_and_a_gain_of_0_db_pass_nothing() -> None:
    x, y = clips()
    for still in (Clipping(0), Gain(0), Delay(0), TimeStretch(1), Reverberation(0), Drift(0), Missing(0)):
        result = measure_consistency(louder_half, Waveforms((x, y), RATE), still, max_flip_rate=0.1)
        assert (result.verdict, result.ruling.reasons) == ("inconclusive", ("unchanged",))


def test_a_search_shrinks_the_number_and_reports_its_unit() -> None:
    x, y = clips()
    late = changes(Delay, delay=(0, 60))
    result = measure_robust_to(louder_half, Waveforms((x, y), RATE), late, at_least=0.9)
    assert result.verdict == "failed"
    mildest = result.details["mildest"]
    assert mildest["code"] == f"Delay(delay={mildest['code'].split('=')[1]}"

    def accuracy(delay: int) -> float:
        return float((louder_half(Delay(delay)(x, KEY[:1].expand(40), RATE)).argmax(1) == y).float().mean())

    least = next(delay for delay in range(61) if accuracy(delay) < 0.9)
    assert mildest["change"] == f"Delay (delay {least} ms)"


@pytest.mark.parametrize("shift", [Reverberation(0.4), LowPass(2000)], ids=str)
def test_silence_before_a_sound_is_the_same_in_any_batch(
    shift: LowPass | Reverberation,
) -> None:
    """Rounding of a transform is lost beside a reading, and would be all that is left of silence."""
    x = 0.1 * torch.randn(3, 8000, generator=torch.Generator().manual_seed(3))
    x[:, :50] = 0
    key = rng.keys(0, torch.arange(3))
    among = shift(x, key, 16_000)
    for row in range(3):
        assert torch.equal(shift(x[row : row + 1], key[row : row + 1], 16_000)[0], among[row])


# What arrives after clipping to the bounds


def loud(*shape: int, peak: float = 0.9) -> Tensor:
    """Sounds near their peak for most of the time, as tones are."""
    x = tones(*shape)
    return peak * torch.tanh(x / x.flatten(1).std(1).view(-1, *[1] * (len(shape) - 1)))


UNIT = (-1.0, 1.0)


@pytest.mark.parametrize("shape", [(6, 4000), (6, 2, 999)])
@pytest.mark.parametrize("snr", [10, 0, -3])
def test_noise_has_its_ratio_after_clipping(shape: tuple[int, ...], snr: float) -> None:
    x = loud(*shape)
    x[1] = 0
    unclipped = Noise(snr)(x, KEY).clamp(-1, 1)
    if snr <= 0:
        assert float((decibels(x, unclipped)[[0, 2]] - snr).min()) > 0.05  # the case is one
    y = Noise(snr)(x, KEY, bounds=UNIT)
    assert float(y.abs().max()) <= 1
    assert bool((y[1] == 0).all())
    kept = [0, 2, 3, 4, 5]
    assert decibels(x[kept], y[kept]).numpy() == pytest.approx(snr, abs=0.002)
    for row in kept:  # in any batch
        assert torch.equal(Noise(snr)(x[row : row + 1], KEY[row : row + 1], bounds=UNIT)[0], y[row])


def test_a_change_inside_the_bounds_is_the_same_to_the_bit() -> None:
    x = tones(6, 2, 400) / 20
    for change in (Noise(20), Drift(0.2), Jitter(0.05), Reverberation(0.3), Gain(3)):
        assert torch.equal(change(x, KEY, RATE, UNIT), change(x, KEY, RATE))


def test_drift_and_jitter_go_as_far_as_they_say_after_clipping() -> None:
    x = loud(6, 3, 500, peak=0.95)
    wide = (x.amax(2) - x.amin(2)).double()
    drift = (Drift(0.2)(x, KEY, bounds=UNIT) - x).double()
    assert (drift.abs().amax(2) / wide).numpy() == pytest.approx(0.2, abs=1e-4)
    free, kept = (Jitter(0.2)(x, KEY, bounds=bounds).double() - x for bounds in (None, UNIT))
    assert kept.square().mean(2).numpy() == pytest.approx(free.square().mean(2).numpy(), rel=1e-3)


def square_waves(n: int = 40, level: float = 0.9) -> tuple[Tensor, Waveforms]:
    y = torch.arange(n) % 2
    x = level * torch.sign(torch.sin(torch.arange(800) / 5.0)).repeat(n, 1)
    x[y == 1] *= -1
    return x, Waveforms((x, y), RATE)


def test_a_size_that_does_not_arrive_stands_in_the_result() -> None:
    x, data = square_waves()

    def first(x: Tensor) -> Tensor:
        return torch.stack([x[:, 1:7].sum(1), -x[:, 1:7].sum(1)], 1)

    # Noise may take from a square wave of .9 at most 1.9 at each reading, and add .1: -3.5 dB, but not -20.
    result = measure_shift_accuracy(first, data, Noise(-20), at_least=0.1)
    words = next(line for line in result.words.caveats if "less room" in line)
    reached = float(words.partition(": snr ")[2].partition(" dB")[0])
    key = rng.keys(0, torch.arange(40))
    truth = decibels(x, Noise(-20)(x, key, bounds=UNIT)).median()
    assert reached == pytest.approx(float(truth), abs=0.2)
    assert "in 40 of 40 samples" in words
    quiet = measure_shift_accuracy(first, data, Noise(20), at_least=0.1)
    assert not any("less room" in line for line in quiet.words.caveats)
    louder = measure_consistency(first, data, Gain(6), max_flip_rate=0.5)
    words = next(line for line in louder.words.caveats if "less room" in line)
    assert float(words.partition(": gain ")[2].partition(" dB")[0]) == pytest.approx(20 * math.log10(1 / 0.9), abs=0.01)
    searched = measure_robust_to(first, data, changes(Gain, gain=(0, 12)), at_least=0.1, max_examples=5)
    assert any("examples the bounds leave less room than Gain" in line for line in searched.words.caveats)


def test_the_named_shift_has_its_ratio() -> None:
    x = loud(6, 4000)
    y = corrupt(x, "noise", 5, bounds=UNIT, sample_rate=RATE)
    assert decibels(x, y).numpy() == pytest.approx(0, abs=0.002)
