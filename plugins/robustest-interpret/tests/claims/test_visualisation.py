"""Pictures of features and of inversions, outside of any claim."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from robustest_interpret import picture_features, picture_inversions
from torch import Tensor, nn

from robustest import ConfigError, DataError

Y = torch.arange(40) % 2
X = 0.1 + 0.8 * torch.rand(40, 1, 4, 4, generator=torch.Generator().manual_seed(0))


class Pixels(nn.Module):
    """Features are the pixels; the last of them is behind a gate that is shut where it is grey."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 2)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        gated = torch.cat([flat[:, :15], torch.relu(flat[:, 15:] - 0.7)], 1)
        out: Tensor = self.head(gated)
        return out


def tiles(path: str, columns: int) -> np.ndarray[Any, Any]:
    """(rows, columns, 4, 4) pixels of a sheet of images of 4 x 4."""
    with Image.open(path) as picture:
        sheet = np.asarray(picture)[:, :, 0] / 255
    rows = (sheet.shape[0] + 8) // 168
    parts = [[sheet[r * 168 : r * 168 + 160, c * 168 : c * 168 + 160] for c in range(columns)] for r in range(rows)]
    return np.array(parts)[:, :, 20::40, 20::40]


def test_each_feature_has_a_row_with_what_drives_it_up_and_the_samples_that_have_most_of_it(tmp_path: Path) -> None:
    path = picture_features(Pixels().eval(), (X, Y), str(tmp_path), features=[2, 9], top=3, steps=40)
    assert Path(path).parent == tmp_path
    shown = tiles(path, 4)
    assert shown.shape[:2] == (2, 4)
    for row, pixel in enumerate((2, 9)):
        made = shown[row, 0].flatten()
        assert made[pixel] == 1.0
        assert np.abs(np.delete(made, pixel) - 0.5).max() < 0.25
        best = X.flatten(1)[:, pixel].argsort(descending=True)[:3]
        assert np.abs(shown[row, 1:] - X[best, 0].numpy()).max() < 0.01


def test_a_feature_without_slope_at_grey_starts_from_the_sample_that_has_most_of_it(tmp_path: Path) -> None:
    made, top = tiles(picture_features(Pixels().eval(), (X, Y), str(tmp_path), features=[15], top=1, steps=40), 2)[0]
    assert made.flatten()[15] == 1.0
    assert np.abs(made.flatten()[:15] - top.flatten()[:15]).max() < 0.01


def test_inversions_stand_beside_their_samples(tmp_path: Path) -> None:
    path = picture_inversions(Pixels().eval(), (X, Y), str(tmp_path), ids=[3, 17], steps=200)
    shown = tiles(path, 2)
    assert np.abs(shown[:, 0] - X[[3, 17], 0].numpy()).max() < 0.01
    assert np.abs(shown[:, 1] - shown[:, 0]).reshape(2, 16)[:, :15].max() < 0.05


def test_the_model_stays_as_it_was(tmp_path: Path, snapshot: Any) -> None:
    model = Pixels().train()
    before = snapshot(model)
    picture_features(model, (X, Y), str(tmp_path), features=[0], steps=2)
    picture_inversions(model, (X, Y), str(tmp_path), ids=[0], steps=2)
    assert snapshot(model) == before


@pytest.mark.parametrize(
    "options",
    [{"features": []}, {"features": [16]}, {"features": [0], "top": 0}, {"features": [0], "steps": 0}],
    ids=str,
)
def test_settings_are_in_range(options: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        picture_features(Pixels().eval(), (X, Y), str(tmp_path), **options)


@pytest.mark.parametrize("ids", [[], [40], [-1], [0.5]], ids=str)
def test_ids_are_positions(ids: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"positions in 0\.\.39"):
        picture_inversions(Pixels().eval(), (X, Y), str(tmp_path), ids=ids)


def test_what_is_no_image_has_no_picture(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="images"):
        picture_features(Pixels().eval(), (X.flatten(1), Y), str(tmp_path), features=[0], steps=2)
    with pytest.raises(DataError, match="images"):
        picture_inversions(Pixels().eval(), (X.flatten(1), Y), str(tmp_path), ids=[0], steps=2)
    assert list(tmp_path.iterdir()) == []
