"""Suites of models that packages ship (examples/vendor_files), and their figures by code of other make."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "vendor_files"
NEEDED = {
    "silero_vad": ("silero_vad", "espeakng_loader"),
    "rapidocr": ("rapidocr_onnxruntime", "onnx2torch", "robustest_onnx"),
    "resemblyzer": ("resemblyzer", "librosa", "espeakng_loader"),
}
Wave = NDArray[np.float64]


def suites() -> list[Any]:
    absent = {name: [one for one in needed if importlib.util.find_spec(one) is None] for name, needed in NEEDED.items()}
    return [
        pytest.param(
            name,
            marks=[pytest.mark.slow, pytest.mark.skipif(bool(gone), reason=f"{', '.join(gone)}: not installed")],
        )
        for name, gone in absent.items()
    ]


@pytest.fixture(scope="module")
def samples() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vendor_samples", FOLDER / "samples.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def quieter(decibels: float) -> Callable[[Wave], Wave]:
    return lambda x: x / 10 ** (decibels / 20)


def telephone(x: Wave) -> Wave:
    """A Butterworth filter of order 4 at 3400 Hz, without its delay."""
    spectrum = np.fft.rfft(x, 2 * x.shape[-1])
    steps = np.fft.rfftfreq(2 * x.shape[-1], 1 / 16_000)
    return np.fft.irfft(spectrum / np.sqrt(1 + (steps / 3400) ** (24 / 10 / np.log10(2))))[..., : x.shape[-1]]


def companded(levels: int) -> Callable[[Wave], Wave]:
    def change(x: Wave) -> Wave:
        size, steps = np.log(1 + (levels - 1) * np.abs(x)) / np.log(levels), levels // 2 - 1
        return np.sign(x) * (levels ** (np.rint(size * steps) / steps) - 1) / (levels - 1)

    return change


def late(x: Wave) -> Wave:
    return np.roll(np.pad(x, ((0, 0), (0, 1600))), 1600, 1)[:, : x.shape[1]]


def faxed(x: Wave) -> Wave:
    pages = []
    for one in x:
        file = io.BytesIO()
        Image.fromarray(np.floor(one.transpose(1, 2, 0) * 255 + 0.5).astype(np.uint8)).save(file, "JPEG", quality=7)
        pages.append(np.asarray(Image.open(file)).transpose(2, 0, 1) / 255)
    return np.stack(pages)


def silero_vad(samples: ModuleType) -> dict[str, float]:
    from silero_vad import load_silero_vad

    (x, y), vad = samples.voices_and_noises(), load_silero_vad()

    def answers(waves: Wave) -> NDArray[np.int64]:
        means = []
        for wave in waves.astype(np.float32):  # clip by clip, window by window
            vad.reset_states()
            windows = [wave[start : start + 512] for start in range(0, len(wave), 512)]
            padded = [np.pad(window, (0, 512 - len(window))) for window in windows]
            means.append(np.mean([float(vad(torch.from_numpy(one), 16_000).detach()) for one in padded]))
        return (np.array(means) > 0.5).astype(np.int64)

    waves, truth = x.double().numpy(), y.numpy()
    clean = answers(waves)
    start = float((clean == truth).mean())
    return {
        "test_clean": start,
        "test_volume[2]": float((answers(quieter(12)(waves)) != clean).mean()),
        "test_volume[3]": float((answers(quieter(20)(waves)) != clean).mean()),
        "test_telephone": start - float((answers(telephone(waves)) == truth).mean()),
        "test_companding": start - float((answers(companded(16)(waves)) == truth).mean()),
    }


def rapidocr(samples: ModuleType) -> dict[str, float]:
    import onnxruntime

    place = importlib.util.find_spec("rapidocr_onnxruntime")
    assert place is not None
    file = Path(str(place.origin)).parent / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"
    session = onnxruntime.InferenceSession(str(file))
    x, y = samples.printed()

    def answers(pages: Wave) -> NDArray[np.int64]:
        return np.asarray(session.run(None, {"x": ((pages - 0.5) / 0.5).astype(np.float32)})[0].argmax(1))

    pages, truth = x.double().numpy(), y.numpy()
    clean = answers(pages)
    start = float((clean == truth).mean())
    return {
        "test_clean": start,
        "test_faxed": start - float((answers(faxed(pages)) == truth).mean()),
        "test_a_darker_page": float((answers(pages * 0.6) != clean).mean()),
    }


def resemblyzer(samples: ModuleType) -> dict[str, float]:
    from resemblyzer import VoiceEncoder
    from resemblyzer.audio import wav_to_mel_spectrogram

    x, y = samples.spoken()
    encoder = VoiceEncoder("cpu", verbose=False)

    def embedded(waves: Wave) -> Wave:
        with torch.no_grad():
            mels = [torch.from_numpy(wav_to_mel_spectrogram(wave.astype(np.float32)))[None] for wave in waves]
            return np.concatenate([encoder(mel).numpy() for mel in mels]).astype(np.float64)

    enrolled = np.stack([embedded(x[8 * k : 8 * k + 8 : 2].double().numpy()).mean(0) for k in range(8)])
    waves, truth = x[1::2].double().numpy(), y[1::2].numpy()

    def answers(waves: Wave) -> NDArray[np.int64]:
        return np.asarray((embedded(waves) @ enrolled.T).argmax(1))

    clean = answers(waves)
    start = float((clean == truth).mean())
    return {
        "test_clean": start,
        "test_quieter": float((answers(quieter(6)(waves)) != clean).mean()),
        "test_late": start - float((answers(late(waves)) == truth).mean()),
        "test_companding": start - float((answers(companded(64)(waves)) == truth).mean()),
    }


@pytest.mark.parametrize("name", suites())
def test_the_figures_of_a_suite_are_those_of_other_code(name: str, samples: ModuleType, tmp_path: Path) -> None:
    file = FOLDER / f"test_{name}.py"
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    assert len(lines) <= 40
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--robust", "-o", "robust_exact=true"]
    command += [f"--robust-json={tmp_path / 'results.json'}", str(file)]
    run = subprocess.run(  # noqa: S603 - our own suites
        command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False
    )
    written = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    found = {row["test"].partition("::")[2]: row["result"] for row in written["results"]}
    assert len({test.partition("[")[0] for test in found}) >= 5, run.stdout
    for test, value in {"silero_vad": silero_vad, "rapidocr": rapidocr, "resemblyzer": resemblyzer}[name](
        samples
    ).items():
        assert found[test]["n"] == found[test]["n_total"], test
        assert found[test]["estimate"] == pytest.approx(value, abs=1e-6), test
