"""Magika 1.0 (an ONNX file of whole numbers, Apache 2.0): the type of a file. pip install magika robustest-onnx"""

import json
from pathlib import Path

import magika
import numpy as np
import pytest
import torch
from robustest_onnx import onnx_model

from robustest import Append, assert_accuracy, assert_consistency, assert_robust_accuracy, assert_shift_accuracy
from robustest.attacks import GreedyMoves

PLACE = Path(magika.__file__).parent / "models" / "standard_v3_3"
NAMES = json.loads((PLACE / "config.min.json").read_text())["target_labels_space"]
NET = onnx_model(PLACE / "model.onnx", bounds=(0.0, 256.0))  # the first and the last 1,024 bytes; 256 is padding
ENDS = {"python": "py", "json": "json", "css": "css", "png": "png", "svg": "svg", "html": "html"}
PATHS = {kind: sorted(Path(np.__path__[0]).parent.rglob(f"*.{end}")) for kind, end in ENDS.items()}
KEPT = [(path, kind) for kind, paths in PATHS.items() for path in [p for p in paths if 99 < p.stat().st_size < 5e3][:4]]
DATA = ([path.read_bytes() for path, _ in KEPT], [NAMES.index(kind) for _, kind in KEPT])
pytestmark = pytest.mark.robust


def tokens(files):
    ends = [(one[:4096].lstrip()[:1024], one[-4096:].rstrip()[-1024:]) for one in files]
    return torch.tensor([[*first, *[256] * (2048 - len(first) - len(last)), *last] for first, last in ends])


def model(files):
    return NET(tokens(files).float()).clamp(min=1e-12).log()


def test_accuracy_of_the_file_itself():
    assert_accuracy(NET, (tokens(DATA[0]), DATA[1]), at_least=0.85)


def test_a_newline_at_the_end():
    assert_shift_accuracy(model, DATA, lambda files: [one + b"\n" for one in files], max_drop=0.02)


def test_the_head_of_a_gif():
    assert_shift_accuracy(model, DATA, lambda files: [b"GIF89a" + one for one in files], at_least=0.7)


def test_appended_bytes():
    assert_robust_accuracy(model, DATA, Append(8, bytes(range(256))), attack=GreedyMoves(queries=300), at_least=0.2)


def test_lines_end_as_on_windows():
    assert_consistency(model, DATA, lambda files: [one.replace(b"\n", b"\r\n") for one in files], max_flip_rate=0.2)
