"""silero-vad, a TorchScript file: does it hear a voice? Needs silero-vad and espeakng-loader."""

import pytest
import torch

from robustest import Snr, Waveforms, assert_accuracy, assert_consistency, assert_robust_accuracy, assert_shift_accuracy
from robustest.shifts import LowPass

from .samples import voices_and_noises

silero_vad = pytest.importorskip("silero_vad", reason="pip install silero-vad")


class Voice(torch.nn.Module):
    """Log-odds of a voice: the mean probability over windows of 32 ms."""

    def __init__(self):
        super().__init__()
        self.vad = silero_vad.load_silero_vad()

    def forward(self, waves):
        self.vad.reset_states()
        heard = torch.cat([self.vad(window, 16_000) for window in waves.split(512, 1)], 1).mean(1)
        odds = heard.clamp(1e-6, 1 - 1e-6).logit()
        return torch.stack([-odds, odds], 1)


@pytest.fixture(scope="session")
def robust_model():
    return Voice().eval()


@pytest.fixture(scope="session")
def robust_data():
    return Waveforms(voices_and_noises(), sample_rate=16_000)


def test_clean(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.9)


@pytest.mark.parametrize("severity", [2, 3])
def test_volume(robust_model, robust_data, severity):
    assert_consistency(robust_model, robust_data, "gain", severity=severity, max_flip_rate=0.35)


def test_telephone(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, LowPass(3400, rolloff=24), max_drop=0.1)


def test_companding(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "mu_law", severity=5, max_drop=0.2)


def test_noise_of_an_attacker(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Snr(60), at_least=0.5)
