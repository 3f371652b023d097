"""What becomes of a digit net when images get noisy, blurred, foggy or turned: `pytest --robust examples/shifts`."""

import torch

from robustest import assert_consistency, assert_corruption_robustness, assert_shift_accuracy

NOISE = ["gaussian_noise", "shot_noise", "speckle_noise"]


def test_noise(robust_model, robust_data):
    """Accuracy, averaged over three kinds of noise and five severities."""
    assert_corruption_robustness(robust_model, robust_data, corruptions=NOISE, min_accuracy=0.90)


def test_blur_and_compression(robust_model, robust_data):
    """Mild ones cost little of the accuracy on clean images."""
    mild = ["gaussian_blur", "jpeg_compression"]
    assert_corruption_robustness(robust_model, robust_data, corruptions=mild, severities=[1, 2], max_drop=0.03)


def test_a_small_turn_changes_few_answers(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, "rotation", severity=1, max_flip_rate=0.03)


def test_a_shift_of_our_own(robust_model, robust_data):
    """Any function of a batch will do; this one shifts every digit by a pixel."""

    def one_pixel(x):
        return torch.roll(x, shifts=(1, 1), dims=(2, 3))

    assert_shift_accuracy(robust_model, robust_data, one_pixel, at_least=0.85)
