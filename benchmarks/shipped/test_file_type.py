"""Magika 1.0 (ONNX on bytes, Apache 2.0): the type of a file. pip install magika"""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from magika import Magika
from magika.types.seekable import Seekable

from robustest import Append, assert_accuracy, assert_consistency, assert_robust_accuracy, assert_shift_accuracy
from robustest.attacks import GreedyMoves

MAGIKA = Magika()
CONFIG, NAMES = MAGIKA._model_config, [str(name) for name in MAGIKA._target_labels_space]
SIZES = (CONFIG.beg_size, CONFIG.mid_size, CONFIG.end_size, CONFIG.padding_token, CONFIG.block_size, False)
ENDS = {"python": "py", "json": "json", "css": "css", "png": "png", "svg": "svg", "html": "html"}
PATHS = {kind: sorted(Path(np.__path__[0]).parent.rglob(f"*.{end}")) for kind, end in ENDS.items()}
KEPT = [(path, kind) for kind, paths in PATHS.items() for path in [p for p in paths if 99 < p.stat().st_size < 5e3][:4]]
DATA = ([path.read_bytes() for path, _ in KEPT], [NAMES.index(kind) for _, kind in KEPT])
QUICK = GreedyMoves(queries=300)  # each of them 4 ms
pytestmark = pytest.mark.robust


def model(files):
    features = [(Path("-"), MAGIKA._extract_features_from_seekable(Seekable(BytesIO(one)), *SIZES)) for one in files]
    return np.log(np.clip(MAGIKA._get_raw_predictions(features), 1e-12, None))


def test_accuracy():
    assert_accuracy(model, DATA, at_least=0.9)


def test_a_newline_at_the_end():
    assert_shift_accuracy(model, DATA, lambda files: [one + b"\n" for one in files], max_drop=0.02)


def test_the_head_of_a_gif():
    assert_shift_accuracy(model, DATA, lambda files: [b"GIF89a" + one for one in files], at_least=0.8)


def test_appended_bytes():
    assert_robust_accuracy(model, DATA, Append(8, bytes(range(256))), attack=QUICK, at_least=0.9)


def test_lines_end_as_on_windows():
    assert_consistency(model, DATA, lambda files: [one.replace(b"\n", b"\r\n") for one in files], max_flip_rate=0.2)
