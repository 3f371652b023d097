"""Resemblyzer, a speaker encoder: who of eight speaks? Needs resemblyzer and espeakng-loader."""

import numpy as np
import pytest

from robustest import (
    Waveforms,
    assert_accuracy,
    assert_consistency,
    assert_robust_to,
    assert_shift_accuracy,
    scores_model,
)
from robustest.shifts import Gain, Noise
from robustest.strategies import changes, compositions

from .samples import spoken

resemblyzer = pytest.importorskip("resemblyzer", reason="pip install resemblyzer")


@pytest.fixture(scope="session")
def robust_model():
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embedded(waves):
        mels = np.stack([resemblyzer.wav_to_mel_spectrogram(one) for one in waves])
        return encoder(encoder.linear.weight.new_tensor(mels))

    enrolled = embedded(spoken()[0][:64:2].numpy()).unflatten(0, (8, 4)).mean(1)  # every second sentence
    return scores_model(lambda waves: 10 * (embedded(waves) @ enrolled.T).detach().numpy())


@pytest.fixture(scope="session")
def robust_data():
    x, y = spoken()
    return Waveforms((x[1::2], y[1::2]), sample_rate=16_000)


def test_clean(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.8)


def test_quieter(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, "gain", severity=1, max_flip_rate=0.4)


def test_late(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "delay", severity=3, max_drop=0.3)


def test_companding(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "mu_law", severity=3, max_drop=0.3)


def test_quieter_and_noisier(robust_model, robust_data):
    chains = compositions(changes(Gain, gain=(0, -20)) | changes(Noise, snr=(40, 20)), max_steps=2)
    assert_robust_to(robust_model, robust_data, chains, at_least=0.5, max_examples=10)
