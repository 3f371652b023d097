"""RapidOCR's direction classifier, an ONNX file. Needs rapidocr-onnxruntime and robustest-onnx[gradients]."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from robustest import Linf, assert_accuracy, assert_consistency, assert_robust_accuracy, assert_shift_accuracy

from .samples import printed

onnx_model = pytest.importorskip("robustest_onnx", reason="pip install robustest-onnx").onnx_model
PLACE = find_spec("rapidocr_onnxruntime") or pytest.skip("pip install rapidocr-onnxruntime", allow_module_level=True)
pytestmark = pytest.mark.robust(suppress=("softmax_outputs",))  # the file ends in a softmax
FILE = Path(PLACE.origin).parent / "models" / "ch_ppocr_mobile_v2.0_cls_infer.onnx"


@pytest.fixture(scope="session")
def robust_model():
    examples = printed()[0][:8]
    return onnx_model(FILE, gradients=True, examples=examples, preprocessing=((0.5,) * 3, (0.5,) * 3))


@pytest.fixture(scope="session")
def robust_data():
    return printed()


def test_clean(robust_model, robust_data):
    assert_accuracy(robust_model, robust_data, at_least=0.8)


def test_faxed(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "jpeg_compression", severity=5, max_drop=0.2)


def test_a_darker_page(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, lambda x: 0.6 * x, max_flip_rate=0.2)


def test_askew(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "rotation", severity=1, at_least=0.6)


def test_noise_of_an_attacker(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(0.25 / 255), at_least=0.3)
