"""Samples for models that packages ship: spoken sentences, sounds without a voice, and printed lines."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import scipy.signal
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

RATE, LENGTH = 16_000, 15_872  # 31 windows of silero-vad
VOICES = tuple(f"en-us+{voice}" for voice in ("m1", "m3", "m5", "m7", "f1", "f2", "f3", "f5"))
SENTENCES = (
    "The quick brown fox jumps over the lazy dog",
    "Please hold the line while we connect your call",
    "Tomorrow will be cloudy with some rain in the north",
    "She sells sea shells by the shore",
    "Open the window and let some air in",
    "Your parcel was delivered this morning",
    "Count from one to seven as slowly as you can",
    "We will meet again at the old station",
)
WORDS = (
    "Invoice",
    "Total",
    "Account",
    "Number",
    "Date",
    "Amount",
    "Customer",
    "Street",
    "Order",
    "Delivery",
    "Payment",
)


def _said(library: ctypes.CDLL, heard: list[NDArray[np.int16]], voice: str, text: str) -> NDArray[np.float64]:
    """One second of a sentence from its first eighth of a second on, at 16 kHz, with its loudest sample at 1."""
    heard.clear()
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # of its breath
    library.espeak_SetVoiceByName(voice.encode())
    content = text.encode() + b"\0"
    library.espeak_Synth(ctypes.cast(ctypes.c_char_p(content), ctypes.c_void_p), len(content), 0, 1, 0, 1, None, None)
    library.espeak_Synchronize()
    wave = scipy.signal.resample_poly(np.concatenate(heard).astype(np.float64), 320, 441)[2000 : 2000 + LENGTH]
    return np.pad(wave, (0, LENGTH - len(wave))) / np.abs(wave).max()


@cache
def spoken() -> tuple[Tensor, Tensor]:
    """Eight sentences of eight voices by eSpeak NG in a quiet room, (64, 15872), and the voices 0 to 7."""
    espeakng_loader = pytest.importorskip("espeakng_loader", reason="pip install espeakng-loader")

    library, heard = ctypes.CDLL(espeakng_loader.get_library_path()), list[NDArray[np.int16]]()

    def hear(wave: ctypes._Pointer[ctypes.c_short], count: int, _: int) -> int:
        if wave and count > 0:
            heard.append(np.ctypeslib.as_array(wave, (count,)).copy())
        return 0

    told = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)(hear)
    library.espeak_Synth.argtypes = (
        *(ctypes.c_void_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
        *(ctypes.c_void_p, ctypes.c_void_p),
    )
    library.espeak_Initialize(2, 0, espeakng_loader.get_data_path().encode(), 0)
    library.espeak_SetSynthCallback(told)
    draws = np.random.default_rng(0)
    waves = [_said(library, heard, voice, text) * draws.uniform(0.2, 0.8) for voice in VOICES for text in SENTENCES]
    room = 0.001 * draws.normal(size=(64, LENGTH))
    return torch.from_numpy(np.stack(waves) + room).float(), torch.arange(64) // 8


@cache
def voices_and_noises() -> tuple[Tensor, Tensor]:
    """The 64 spoken clips (class 1), and 56 of noise, rumble, chords and bursts (class 0)."""
    draws, time = np.random.default_rng(1), np.arange(LENGTH) / RATE
    waves = []
    for k in range(14):
        noise = draws.normal(size=(4, LENGTH))
        pitch = draws.uniform(100, 800, (3, 1))
        beat = np.sin(2 * np.pi * (1 + k % 6) * time) > 0.6
        waves += [noise[0], scipy.signal.lfilter([1], [1, -0.97], noise[1]), np.sin(2 * np.pi * pitch * time).sum(0)]
        waves += [noise[2] * beat + 0.02 * noise[3]]
    loud = [wave / np.abs(wave).max() * draws.uniform(0.2, 0.8) for wave in waves]
    x, _ = spoken()
    return torch.cat([x, torch.from_numpy(np.stack(loud)).float()]), (torch.arange(120) < 64).long()


@cache
def printed(n: int = 80) -> tuple[Tensor, Tensor]:
    """Printed lines (n, 3, 48, 192) in [0, 1]; every second one stands on its head (class 1)."""
    draws = np.random.default_rng(0)
    fonts = sorted((Path(matplotlib.get_data_path()) / "fonts" / "ttf").glob("DejaVuS*.ttf"))
    fonts = [font for font in fonts if "Display" not in font.name]
    lines = []
    for k in range(n):
        first, second = draws.choice(WORDS, 2)
        text = f"{first} {second}" if k % 3 else f"{first} {draws.integers(1000, 99999)}"
        picture = Image.new("RGB", (192, 48), "white")
        pen, font = ImageDraw.Draw(picture), ImageFont.truetype(fonts[k % len(fonts)], 22)
        size = int(min(22, 22 * 184 / pen.textlength(text, font=font)))
        pen.text((4, 10), text, font=ImageFont.truetype(fonts[k % len(fonts)], size), fill="black")
        lines.append(np.asarray(picture.rotate(180) if k % 2 else picture) / 255)
    return torch.from_numpy(np.stack(lines)).permute(0, 3, 1, 2).float(), torch.arange(n) % 2
