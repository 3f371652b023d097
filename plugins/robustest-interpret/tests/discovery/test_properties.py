"""Properties of whole images: closed forms."""

from __future__ import annotations

import pytest
import torch
from robustest_interpret.discovery.image_features import property_features
from torch import Tensor

_NAMES = ("brightness", "contrast", "colour 0", "colour 1", "colour 2", "sharpness", "border", "row", "column")


def properties(x: Tensor) -> dict[str, Tensor]:
    """The first features of images, by name; grey ones have no colours."""
    names = [name for name in _NAMES if x.shape[1] > 1 or "colour" not in name]
    return dict(zip(names, property_features(x, (0.0, 1.0)).unbind(1), strict=False))


def test_closed_forms() -> None:
    x = torch.zeros(1, 3, 5, 5)
    x[0, 0, 0, 4] = 0.9  # red, in the upper right corner
    found = {name: float(value) for name, value in properties(x).items()}
    assert found["brightness"] == pytest.approx(0.3 / 25)
    assert found["contrast"] == pytest.approx((0.3**2 / 25 - (0.3 / 25) ** 2) ** 0.5)
    assert found["colour 0"] == pytest.approx(0.9 / 25 - 0.3 / 25)
    assert found["colour 2"] == pytest.approx(-0.3 / 25)
    assert found["border"] == pytest.approx(0.3 / 16)
    assert (found["row"], found["column"]) == (0, 1)


def test_an_even_image_has_no_centre_and_no_sharpness() -> None:
    found = properties(torch.full((2, 1, 4, 6), 0.5))
    assert all(bool(value.isfinite().all()) for value in found.values())
    assert float(found["sharpness"].max()) == 0


def test_blur_lowers_sharpness() -> None:
    x = 0.2 + 0.6 * torch.rand(60, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    assert bool((properties(blurred)["sharpness"] < properties(x)["sharpness"]).all())
