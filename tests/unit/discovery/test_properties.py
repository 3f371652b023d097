"""Properties of whole images: closed forms, and errors that go with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from robustest import ConfigError
from robustest.discovery.image_features import error_associations, image_properties

_draw = torch.Generator().manual_seed(0)
N, CLASSES = 300, 3
Y = torch.arange(N) % CLASSES
X = 0.2 + 0.6 * torch.rand(N, 3, 8, 8, generator=_draw)
BOUNDS = (0.0, 1.0)


def test_closed_forms() -> None:
    x = torch.zeros(1, 3, 5, 5)
    x[0, 0, 0, 4] = 0.9  # red, in the upper right corner
    found = {name: float(value) for name, value in image_properties(x).items()}
    assert found["brightness"] == pytest.approx(0.3 / 25)
    assert found["contrast"] == pytest.approx((0.3**2 / 25 - (0.3 / 25) ** 2) ** 0.5)
    assert found["colour of channel 0"] == pytest.approx(0.9 / 25 - 0.3 / 25)
    assert found["colour of channel 2"] == pytest.approx(-0.3 / 25)
    assert found["border"] == pytest.approx(0.3 / 16)
    assert (found["row of the mass"], found["column of the mass"]) == (0, 1)


def test_an_even_image_has_no_centre_and_no_sharpness() -> None:
    found = image_properties(torch.full((2, 1, 4, 6), 0.5))
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert "colour of channel 0" not in found
    assert float(found["sharpness"].max()) == 0


def test_blur_lowers_sharpness() -> None:
    blurred = torch.nn.functional.avg_pool2d(X, 3, 1, 1)
    assert bool((image_properties(blurred)["sharpness"] < image_properties(X)["sharpness"]).all())


def test_rows_of_a_table_have_no_properties_of_images() -> None:
    with pytest.raises(ConfigError, match="images"):
        image_properties(torch.rand(5, 4))


def wrong_where(score: Tensor) -> Tensor:
    """A tenth of the images of each class, those of the highest score."""
    wrong = torch.zeros(N, dtype=torch.bool)
    for label in range(CLASSES):
        rows = torch.where(label == Y)[0]
        wrong[rows[score[rows].argsort(descending=True)[: len(rows) // 10]]] = True
    return wrong


def test_errors_that_go_with_a_property_are_told() -> None:
    values = image_properties(X)
    first = error_associations(values, Y, wrong_where(-values["brightness"]), permutations=199)[0]
    assert first.name == "brightness"
    assert first.correlation < -0.4
    assert first.p == pytest.approx(1 / 200)


def test_classes_that_differ_are_no_association() -> None:
    """Class 0 is bright and often wrong; inside a class brightness says nothing."""
    x = torch.where(Y.view(-1, 1, 1, 1) == 0, X / 2 + 0.5, X / 2)
    wrong = (torch.rand(N, generator=_draw) < 0.4) & (Y == 0)
    assert min(one.p for one in error_associations(image_properties(x), Y, wrong, permutations=199)) > 0.05


def test_random_errors_go_with_nothing_as_often_as_claimed() -> None:
    """Corrected for all properties: 60 runs at .1 have 6 on average, and 15 or more with probability 6e-4."""
    values = image_properties(X)
    seen = 0
    for run in range(60):
        wrong = torch.rand(N, generator=torch.Generator().manual_seed(run)) < 0.15
        seen += min(one.p for one in error_associations(values, Y, wrong, permutations=99, seed=run)) <= 0.1
    assert seen < 15


def test_without_errors_there_is_nothing_to_tell() -> None:
    assert error_associations(image_properties(X), Y, torch.zeros(N, dtype=torch.bool)) == []
