"""The pictures of what spoke against a claim."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from robustest import Linf, Settings
from robustest.context import Context, running
from robustest.measure import measure_robust_accuracy, measure_shift_accuracy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pictures"


def in_test(folder: Path) -> Any:
    return running(Context(settings=Settings(pictures=str(folder), attack="fgsm"), test="t"))


def test_a_failed_claim_has_a_picture_of_each_counterexample(folder: Path, toy: Any) -> None:
    with in_test(folder):
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.3), at_least=1.0)
    assert len(result.counterexamples) == 3
    for worst in result.counterexamples:
        path = Path(worst.image)
        assert path.parent == folder
        assert f"sample{worst.index}" in path.name
        with Image.open(path) as picture:
            before = np.asarray(picture)[:150, :150, 0].reshape(6, 25, 6, 25)[:, 12, :, 12]
        assert np.abs(before / 255 - toy.x[worst.index, 0].numpy()).max() <= 0.5 / 255 + 1e-6
    assert len(list(folder.iterdir())) == 3


def test_a_claim_that_passes_has_none(folder: Path, toy: Any) -> None:
    with in_test(folder):
        result = measure_shift_accuracy(toy.model, (toy.x, toy.y), "gaussian_noise", severity=3, at_least=0.5)
    assert result.verdict == "passed"
    assert result.counterexamples
    assert all(worst.image is None for worst in result.counterexamples)
    assert not folder.exists()


def test_what_is_no_image_has_none(folder: Path, toys: Any) -> None:
    toy = toys(20, shape=(7,))
    with in_test(folder):
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(1.0), at_least=1.0)
    assert result.counterexamples
    assert all(worst.image is None for worst in result.counterexamples)
    assert not folder.exists()


def test_a_path_below_here_is_shown_as_one_would_type_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, folder: Path, toy: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with in_test(folder):
        result = measure_robust_accuracy(toy.model, (toy.x, toy.y), Linf(0.3), at_least=1.0)
    assert all(worst.image.startswith(f"pictures{os.sep}") for worst in result.counterexamples)
