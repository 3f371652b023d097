"""What `robustest init --scan` asks of a model: a test each, and what a colleague would say where it holds little."""

from __future__ import annotations

from dataclasses import dataclass

PLACE = "THRESHOLD"
"""Where the number stands in a test's source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One question.

    Attributes:
        name: of its test.
        source: of the test, a function with `PLACE` where the threshold is.
        loosest: a threshold that asks for next to nothing, to measure by.
        weak: a threshold that is no better than this is little.
        cause: why a model holds little here, most often.
        step: what to do then.
    """

    name: str
    source: str
    loosest: float
    weak: float
    cause: str
    step: str


def _probe(body: str, loosest: float, weak: float, cause: str, step: str) -> Probe:
    name = body.partition("def ")[2].partition("(")[0]
    return Probe(name=name, source=body, loosest=loosest, weak=weak, cause=cause, step=step)


IMAGES_HEAD = '''\
"""What the model keeps, as it was measured. Run: pytest --robust"""

from robustest import Linf, assert_consistency, assert_robust_accuracy, assert_shift_accuracy
'''

ROWS_HEAD = '''\
"""What the model keeps, as it was measured. Run: pytest --robust"""

import numpy
import pytest
from robustest import assert_shift_accuracy


@pytest.fixture
def bounds(robust_data):
    rows = numpy.asarray(robust_data[0])
    reached = 0.0, 1.01 * rows.min(), 1.01 * rows.max()  # what the shifts below make of them, too
    return float(min(reached)), float(max(reached))


def a_little_more(x):
    return x * 1.01


def first_column_lost(x):
    x[:, 0] = 0
    return x


def last_column_lost(x):
    x[:, -1] = 0
    return x
'''

IMAGES = (
    _probe(
        """\
def test_attack(robust_model, robust_data):
    assert_robust_accuracy(robust_model, robust_data, Linf(1 / 255), at_least=THRESHOLD)
""",
        0.001,
        0.5,
        "changes of one grey level decide many images: nothing in training kept the scores flat around them",
        "train on attacked images (docs: repair), or say in the gate that this model meets no attacker",
    ),
    _probe(
        """\
def test_noise(robust_model, robust_data):
    assert_shift_accuracy(robust_model, robust_data, "gaussian_noise", severity=1, max_drop=THRESHOLD)
""",
        0.999,
        0.1,
        "it leans on fine texture, which noise drowns, and saw none in training",
        "add noise of this strength to the training's augmentation, and scan again",
    ),
    _probe(
        """\
def test_brightness(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, "brightness", severity=1, max_flip_rate=THRESHOLD)
""",
        0.999,
        0.15,
        "exposure was always the same in training, or images are normalised in another way than they were there",
        "check the normalisation first; then vary brightness in training",
    ),
    _probe(
        """\
def test_jpeg(robust_model, robust_data):
    assert_consistency(robust_model, robust_data, "jpeg_compression", severity=1, max_flip_rate=THRESHOLD)
""",
        0.999,
        0.15,
        "it reads detail that a camera's own compression removes",
        "train on images as the camera stores them, compressed",
    ),
)
"""For images."""

ROWS = (
    _probe(
        """\
def test_rounding(robust_model, robust_data, bounds):
    assert_shift_accuracy(robust_model, robust_data, a_little_more, at_least=THRESHOLD, bounds=bounds)
""",
        0.001,
        0.5,
        "it is often wrong as it is, or many rows lie next to a split or a steep place of the scores",
        "see how often it is right unshifted; then smooth it (fewer splits, more regularisation)",
    ),
    _probe(
        """\
def test_first_column_missing(robust_model, robust_data, bounds):
    assert_shift_accuracy(robust_model, robust_data, first_column_lost, max_drop=THRESHOLD, bounds=bounds)
""",
        0.999,
        0.2,
        "it rests on the first column",
        "see whether that column gives the label away, and say what a missing value shall be replaced by",
    ),
    _probe(
        """\
def test_last_column_missing(robust_model, robust_data, bounds):
    assert_shift_accuracy(robust_model, robust_data, last_column_lost, max_drop=THRESHOLD, bounds=bounds)
""",
        0.999,
        0.2,
        "it rests on the last column",
        "see whether that column gives the label away, and say what a missing value shall be replaced by",
    ),
)
"""For rows of numbers, as scikit-learn has them. The first holds accuracy itself: who is never right loses nothing."""

SOURCES = (IMAGES_HEAD, ROWS_HEAD, *(probe.source for probe in (*IMAGES, *ROWS)))
"""All that is written of tests."""


def battery(framework: str) -> tuple[str, tuple[Probe, ...]]:
    """How the file begins, and the questions, for a model of this framework."""
    return (ROWS_HEAD, ROWS) if framework == "sklearn" else (IMAGES_HEAD, IMAGES)
