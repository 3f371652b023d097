"""Shifts of sounds, and `Snr`, beside other code: 64 spoken clips of one second at 16 kHz by eSpeak NG.

    python -m benchmarks.audio

Prints the largest error of a signal-to-noise ratio and of a gain, the distance to the encoder's own samples, the
loudness of a codec's error beside ffmpeg's, and how many shifts give other samples alone than in a batch. Needs
espeakng-loader, soundfile and imageio-ffmpeg.
"""

from __future__ import annotations

import io
import subprocess
import tempfile
import wave
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from examples.vendor_files.samples import RATE, spoken
from robustest import Snr, Waveforms, rng
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy
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
)

Wave = NDArray[np.float64]
EVERY: list[Any] = [
    *(Noise(10), Gain(-20), Clipping(20), Reverberation(0.4), Delay(50), LowPass(2000), MuLaw(64), Codec(48)),
    *(Codec(24, "opus"), TimeStretch(1.2), Drift(0.1), Dropout(0.1), Jitter(0.05), TimeWarp(2.0), Missing(0.1)),
]


def decibels(before: Wave, after: Wave) -> Wave:
    return np.asarray(10 * np.log10((before**2).sum(-1) / ((after - before) ** 2).sum(-1)))


def by_ffmpeg(samples: Wave, kbits: int) -> Wave:
    """Return one clip as ffmpeg's LAME and decoder give it, at its old place."""
    with tempfile.TemporaryDirectory() as folder:
        names = [str(Path(folder) / name) for name in ("in.wav", "coded.mp3", "out.wav")]
        soundfile.write(names[0], samples, RATE, subtype="PCM_16")
        start = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-i"]
        subprocess.run([*start, names[0], "-b:a", f"{kbits}k", names[1]], check=True)
        subprocess.run([*start, names[1], names[2]], check=True)
        with wave.open(names[2]) as file:
            made = np.frombuffer(file.readframes(file.getnframes()), "<i2") / 32_768
    best = max(range(1500), key=lambda late: float((made[late : late + 8000] * samples[:8000]).sum()), default=0)
    return np.asarray(np.pad(made[best:], (0, len(samples)))[: len(samples)])


def by_encoder(samples: NDArray[np.float32], kbits: int) -> NDArray[np.float32]:
    """Return one clip as libsndfile gives it, without the delay of LAME and its decoder."""
    file, how = io.BytesIO(), {"format": "MP3", "subtype": "MPEG_LAYER_III", "bitrate_mode": "CONSTANT"}
    soundfile.write(file, samples, RATE, compression_level=(160 - kbits) / (160 - 8), **how)
    file.seek(0)
    made = soundfile.read(file, dtype="float32")[0]
    return np.asarray(made[1105 if len(made) > len(samples) else 0 :][: len(samples)])


def main() -> None:
    x, y = spoken()
    key, clips = rng.keys(0, torch.arange(len(x))), x.double().numpy()

    def shifted(shift: Any, rows: slice = slice(None)) -> Tensor:
        made: Tensor = shift(x[rows], key[rows], RATE)
        return made

    ratios = [30, 20, 10, 5, 0, 12.5]
    apart = [np.abs(decibels(clips, shifted(Noise(db)).double().numpy()) - db).max() for db in ratios]
    print(f"noise: largest error of the ratio {max(apart):.2g} dB")
    gains = [-40, -30, -20, -12, -6, 3]
    off = [np.abs(20 * np.log10(np.abs(shifted(Gain(g)).double().numpy() / clips)) - g).max() for g in gains]
    print(f"gain: largest error of any sample {max(off):.2g} dB")
    for kbits in (64, 48, 32):
        coded = shifted(Codec(kbits)).numpy()
        own = [by_encoder(one.numpy(), kbits) for one in x]
        same = sum(np.array_equal(one[: len(other)], other) for one, other in zip(coded, own, strict=True))
        other = np.stack([by_ffmpeg(one, kbits) for one in clips[:16]])
        print(
            f"codec {kbits} kbit/s: {same} of {len(x)} clips are the encoder's own samples; error "
            f"{np.median(decibels(clips[:16], coded[:16].astype(float))):.1f} dB below the sound, by ffmpeg "
            f"{np.median(decibels(clips[:16], other)):.1f} dB"
        )
    alone = 0
    for shift in EVERY:
        whole = shifted(shift)
        alone += sum(not torch.equal(whole[k], shifted(shift, slice(k, k + 1))[0]) for k in (0, 17, 63))
    print(f"batch: {alone} of {3 * len(EVERY)} clips differ alone from the same clips among 64")
    halves = (y % 2).long()
    net = torch.nn.Sequential(torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 8, 64, 16), torch.nn.ReLU())
    net = torch.nn.Sequential(*net, torch.nn.AdaptiveMaxPool1d(4), torch.nn.Flatten(), torch.nn.Linear(32, 2))
    steps = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(150):
        steps.zero_grad()
        torch.nn.functional.cross_entropy(net(x), halves).backward()
        steps.step()
    net.eval()
    data, differ = Waveforms((x, halves), sample_rate=RATE), 0
    for size in (1, 7, 64):
        found = measure_robust_accuracy(net, data, Snr(40), batch_size=size, exact=True)
        moved = measure_shift_accuracy(net, data, Noise(10), batch_size=size, exact=True)
        if size == 1:
            first = found.outcomes, moved.outcomes
        pairs = zip(first, (found.outcomes, moved.outcomes), strict=True)
        differ += sum(a != b for one, other in pairs for a, b in zip(one, other, strict=True))
    print(f"claims: {differ} outcomes differ between batches of 1, 7 and 64 (Snr(40) leaves {found.estimate:.3f})")


if __name__ == "__main__":
    main()
