"""Contrast, elastic transform, pixelation and JPEG against Pillow, torchvision, SciPy and their definitions."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from robustest import rng
from robustest.shifts import corrupt, pixels

SEVERITIES = [1, 2, 3, 4, 5]
# As published, for 224 and for 32 pixels.
CONTRAST = {"224": (0.4, 0.3, 0.2, 0.1, 0.05), "32": (0.75, 0.5, 0.4, 0.3, 0.15)}
PIXELATE = {"224": (0.6, 0.5, 0.4, 0.3, 0.25), "32": (0.95, 0.9, 0.85, 0.75, 0.65)}
JPEG = {"224": (25, 18, 15, 10, 7), "32": (80, 65, 58, 50, 40)}
ELASTIC = {
    "224": ((488, 170.8, 24.4), (488, 19.52, 48.8), (12.2, 2.44, 4.88), (17.08, 2.44, 4.88), (29.28, 2.44, 4.88)),
    "32": ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96)),
}

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
sets = pytest.mark.parametrize("parameters", ["224", "32"])


def images(*shape: int) -> Tensor:
    noise = torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape)))
    return noise.mul(255).round().div(255)


@sets
@every_severity
def test_contrast_moves_towards_each_channels_mean(parameters: str, severity: int) -> None:
    x = images(2, 3, 9, 12)
    mean = x.mean((2, 3), keepdim=True)
    want = (x - mean) * CONTRAST[parameters][severity - 1] + mean
    assert torch.allclose(corrupt(x, "contrast", severity, parameters=parameters), want, atol=1e-6)


@sets
@every_severity
@pytest.mark.parametrize("size", [(32, 32), (64, 48), (8, 16)], ids=str)
def test_pixelation_is_pillows_box(parameters: str, severity: int, size: tuple[int, int]) -> None:
    """At sizes at which no pixel's centre is on the border of two boxes, where Pillow's rounding would decide."""
    x = images(1, 2, *size)
    scale = PIXELATE[parameters][severity - 1]
    small = (int(size[1] * scale), int(size[0] * scale))
    got = corrupt(x, "pixelate", severity, parameters=parameters)
    for channel, mine in zip(x[0], got[0], strict=True):
        picture = Image.fromarray(channel.numpy()).resize(small, Image.Resampling.BOX)
        want = np.asarray(picture.resize(size[::-1], Image.Resampling.BOX))
        assert np.abs(mine.numpy() - want).max() < 1e-5


def test_pixelation_leaves_no_more_values_than_boxes() -> None:
    x = images(1, 1, 37, 41)
    y = corrupt(x, "pixelate", 5, parameters="224")
    assert len(y.unique()) <= int(37 * 0.25) * int(41 * 0.25)
    assert float(y.mean()) == pytest.approx(float(x.mean()), abs=0.02)


@sets
@every_severity
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_jpeg_is_torchvisions(parameters: str, severity: int, channels: int) -> None:
    """Another way to a libjpeg, with the picture's layout and the rounding written out."""
    x = images(2, channels, 32, 24)
    x = torch.nn.functional.avg_pool2d(x, 3, 1, 1)  # noise is not what the codec is for
    got = corrupt(x, "jpeg_compression", severity, parameters=parameters).mul(255).round()
    pictures = x if channels == 3 else x.view(2 * channels, 1, 32, 24)
    coded = [codec(picture.mul(255).add(0.5).to(torch.uint8), JPEG[parameters][severity - 1]) for picture in pictures]
    apart = (got - torch.stack(coded).view(x.shape)).abs()
    # Both bring a libjpeg; builds may round a few values differently.
    assert apart.max() <= 3
    assert apart.mean() < 0.1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(33, 21), (8, 8), (1, 1), (3, 17)], ids=str)
def test_a_picture_is_coded_alike_alone_and_among_others(
    size: tuple[int, int], channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pixels, "_MOST_ROWS", 100)
    x = images(7, channels, *size)
    together = corrupt(x, "jpeg_compression", 4, parameters="32")
    for picture, mine in zip(x, together, strict=True):
        file = io.BytesIO()
        levels = picture.mul(255).add(0.5).to(torch.uint8).numpy()
        Image.fromarray(levels[0] if channels == 1 else levels.transpose(1, 2, 0)).save(file, "JPEG", quality=50)
        want = np.asarray(Image.open(file)).reshape(*size, channels).transpose(2, 0, 1)
        assert np.array_equal(mine.mul(255).round().numpy(), want)


def codec(picture: Tensor, quality: int) -> Tensor:
    codecs = pytest.importorskip("torchvision.io", reason="this torchvision has no codec any more")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return codecs.decode_jpeg(codecs.encode_jpeg(picture, quality))
        except (AttributeError, DeprecationWarning) as gone:
            pytest.skip(f"torchvision's codec is on its way out: {gone}")


@sets
@every_severity
@pytest.mark.parametrize("size", [(40, 40), (32, 47)], ids=str)
def test_the_elastic_transform_is_an_affine_map_and_a_smooth_field(
    parameters: str, severity: int, size: tuple[int, int]
) -> None:
    """Written out with SciPy, on the draws that ours makes. Read twice, mirrored at pixels, then at edges."""
    height, width = size
    x = ndimage.gaussian_filter(images(2, 1, *size).double().numpy(), (0, 0, 1, 1))
    key = rng.fold(rng.keys(0, torch.arange(2)), "elastic_transform")
    shrink = min(1.0, min(size) / (224 if parameters == "224" else 32))
    strength, sigma, jitter = (value * shrink for value in ELASTIC[parameters][severity - 1])
    jitters = rng.uniform(rng.fold(key, "affine"), (3, 2), -jitter, jitter).double().numpy()
    fields = rng.uniform(rng.fold(key, "field"), (2, *size), -strength, strength).double().numpy()
    got = corrupt(torch.from_numpy(x).float(), "elastic_transform", severity, parameters=parameters)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    for k in range(2):
        reach = min(size) // 3
        points = np.array([[1, 1], [1, -1], [-1, -1]]) * reach + np.array([width // 2, height // 2])
        forward = np.linalg.solve(np.c_[points, np.ones(3)], points + jitters[k]).T  # (2, 3): x, y of moved points
        back = np.linalg.inv(np.vstack([forward, [0, 0, 1]]))
        source = np.tensordot(back, np.stack([columns, rows, np.ones_like(rows)]), 1)
        moved = ndimage.map_coordinates(x[k, 0], [source[1], source[0]], order=1, mode="mirror")
        if strength:
            smooth = [ndimage.gaussian_filter(f, sigma, mode="reflect", truncate=3) for f in fields[k]]
            moved = ndimage.map_coordinates(moved, [rows + smooth[0], columns + smooth[1]], order=1, mode="reflect")
        assert np.abs(got[k, 0].double().numpy() - moved).max() < 1e-4


def test_the_elastic_transform_does_not_fold_small_images() -> None:
    x = torch.linspace(0, 1, 8).expand(40, 1, 8, 8)
    for severity in SEVERITIES:
        y = corrupt(x, "elastic_transform", severity)
        assert float(y[..., -1].mean() - y[..., 0].mean()) > 0.3
