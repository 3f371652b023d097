"""Six claims about a classifier of digits: images (N, 1, 28, 28) in [0, 1], so eps and patches are in those units."""

import pytest

from robustest import L2, Linf, assert_no_spurious_feature, assert_robust_accuracy, assert_shift_accuracy
from robustest.cues import PixelPatch

pytestmark = pytest.mark.robust


def test_linf(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.1), at_least=0.90)


def test_l2(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, L2(1.0), at_least=0.85)


def test_noise(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "gaussian_noise", severity=5, at_least=0.93)


def test_rotation(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "rotation", severity=3, at_least=0.85)


def test_brightness(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "brightness", severity=5, max_drop=0.08)


def test_corner(robust_model, robust_data):
    corner = PixelPatch(top=0, left=24, height=4, width=4)
    assert_no_spurious_feature(robust_model, robust_data, corner, max_flip_rate=0.05, max_recall_drop=0.10)
