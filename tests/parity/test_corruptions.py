# ruff: noqa: ARG005 - patches have the signatures of what they stand in for
"""The ImageNet-C corruptions against imagecorruptions 1.1.2, on scikit-image's photographs.

The reference runs with numpy < 2 and scikit-image 0.19.3 only (`tox -e parity`); elsewhere all is skipped.

Where nothing is random, results differ by at most one grey level in the mean. Where something is, the same holds once
the reference is made to use our draws; and without that, images agree in mean, variance and spectrum of the change.
The reference has another elastic transform than ImageNet-C, and photographs of frost: the first is held to SciPy by
the unit tests, the second is compared in its statistics. Its parameters are those for 224 pixels; for 32, the list of
numbers that each function assigns first is replaced by CIFAR-10-C's.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import itertools
import os
import textwrap
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from robustest import rng
from robustest.shifts import corrupt, tables
from robustest.shifts.sampling import middle
from robustest.shifts.weather import ice

SEVERITIES = [1, 2, 3, 4, 5]
DETERMINISTIC = [
    *("brightness", "contrast", "saturate", "pixelate", "jpeg_compression"),
    *("defocus_blur", "gaussian_blur", "zoom_blur"),
]
Reference = Callable[[str, int, str], Callable[[np.ndarray], np.ndarray]]

every_severity = pytest.mark.parametrize("severity", SEVERITIES)
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")  # of the reference's calls of scikit-image


@pytest.fixture(scope="module")
def corruptions() -> Any:
    """The reference's module; where there is none, tests are skipped, or fail if ROBUSTEST_PARITY=required."""
    absent = pytest.fail if os.environ.get("ROBUSTEST_PARITY") == "required" else pytest.skip
    try:
        found = version("imagecorruptions"), version("scikit-image"), version("numpy").split(".")[0]
    except PackageNotFoundError as missing:
        absent(f"the reference, imagecorruptions 1.1.2, is not here ({missing.name} is missing): tox -e parity")
    if found != ("1.1.2", "0.19.3", "1"):
        absent(
            f"imagecorruptions {found[0]} does not run with scikit-image {found[1]}, numpy {found[2]}: tox -e parity"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("imagecorruptions.corruptions")


@pytest.fixture(scope="module")
def reference(corruptions: Any) -> Reference:
    """A corruption of the reference's: `reference(name, severity, parameters)` maps one uint8 HWC image to another."""

    def make(name: str, severity: int, parameters: str = "224") -> Callable[[np.ndarray], np.ndarray]:
        function = getattr(corruptions, name)
        if parameters == "32":
            function = with_parameters(corruptions, name, getattr(tables, name.upper()).small)
        return lambda image: np.uint8(function(Image.fromarray(image), severity))

    return make


def with_parameters(module: Any, name: str, table: Any) -> Callable[..., Any]:
    """The module's function with the list that it first assigns to `c` replaced.

    It keeps the upper left of an enlarged image that is a few pixels too large, ImageNet-C its middle: so does this.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(module, name))))
    values = [[1 + k * step for k in range(n)] for step, n in table] if name == "zoom_blur" else list(table)
    line = next(node for node in tree.body[0].body if isinstance(node, ast.Assign) and node.targets[0].id == "c")
    line.value = ast.parse(f"{values!r}[severity - 1]", mode="eval").body

    def clipped_zoom(image: np.ndarray, factor: float) -> np.ndarray:
        large = module.clipped_zoom(image, factor)
        top, left = ((after - before) // 2 for after, before in zip(large.shape[:2], image.shape[:2], strict=True))
        return large[top : top + image.shape[0], left : left + image.shape[1]]

    scope = vars(module) | {"clipped_zoom": clipped_zoom}
    exec(compile(ast.fix_missing_locations(tree), name, "exec"), scope)  # noqa: S102
    return scope[name]


@pytest.fixture(scope="module")
def photographs(corruptions: Any) -> Callable[[int], np.ndarray]:
    """(20, size, size, 3) uint8: squares of scikit-image's photographs."""
    folder = Path(importlib.import_module("skimage.data").__file__).parent

    def cut(size: int) -> np.ndarray:
        squares = []
        for name in ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png"):
            picture = Image.open(folder / name).convert("RGB")
            width, height = picture.size
            side = min(picture.size) * 4 // 5
            for left in (0, width - side):
                for top in (0, height - side):
                    box = (left, top, left + side, top + side)
                    squares.append(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box)))
        return np.stack(squares)

    return cut


def floats(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div(255)


def levels(x: Tensor) -> np.ndarray:
    """As the reference quantises: cut off, not rounded (but for float32's last bits)."""
    return np.floor(x.permute(0, 2, 3, 1).double().numpy() * 255 + 1e-3)


def assert_within_a_level(ours: Tensor, theirs: list[np.ndarray]) -> None:
    apart = np.abs(levels(ours) - np.stack(theirs)).mean((1, 2, 3))
    assert apart.max() <= 1.0


@pytest.mark.parametrize("name", DETERMINISTIC)
@every_severity
@pytest.mark.parametrize("size", [224, 32])
def test_what_is_not_random_is_the_same(
    name: str, severity: int, size: int, reference: Reference, photographs: Callable[[int], np.ndarray]
) -> None:
    images = photographs(size)
    theirs = [reference(name, severity, str(size))(image) for image in images]
    assert_within_a_level(corrupt(floats(images), name, severity), theirs)


def normal(draws: np.ndarray) -> Callable[..., np.ndarray]:
    return lambda size, scale, loc=0.0: draws.astype(float) * scale + loc


class Draws:
    """For one image, what the reference shall draw: patches for numpy.random's functions."""

    def __init__(self, key: Tensor, severity: int, parameters: str, size: int) -> None:
        self.key, self.size, self.severity, self.parameters = key, size, severity, parameters

    def gaussian_noise(self, name: str = "gaussian_noise") -> dict[str, Any]:
        draws = rng.normal(rng.fold(self.key, name), (3, self.size, self.size))[0]
        return {"normal": normal(draws.permute(1, 2, 0).numpy())}

    def speckle_noise(self) -> dict[str, Any]:
        return self.gaussian_noise("speckle_noise")

    def spatter(self) -> dict[str, Any]:
        return {"normal": normal(rng.normal(rng.fold(self.key, "spatter"), (1, self.size, self.size))[0, 0].numpy())}

    def motion_blur(self) -> dict[str, Any]:
        angle = float(rng.uniform(rng.fold(self.key, "motion_blur"), (), -45.0, 45.0))
        return {"uniform": lambda low, high: angle}

    def snow(self) -> dict[str, Any]:
        key = rng.fold(self.key, "snow")
        start, n = middle(self.size, self.table("snow")[2])
        draws = np.zeros((self.size, self.size))  # the zoom looks at the middle only
        draws[start : start + n, start : start + n] = rng.normal(rng.fold(key, "flakes"), (1, n, n))[0, 0].numpy()
        angle = float(rng.uniform(rng.fold(key, "angle"), (), -135.0, -45.0))
        return {"normal": normal(draws), "uniform": lambda low, high: angle}

    def fog(self) -> dict[str, Any]:
        side = 1 << (self.size - 1).bit_length()
        draws = rng.uniform(rng.fold(self.key, "fog"), (side * side - 1,), -1.0, 1.0)[0].double().numpy()

        def parts() -> Iterator[np.ndarray]:
            used, n = 0, 1
            while used < len(draws):
                for _ in range(3):
                    yield draws[used : used + n * n].reshape(n, n)
                    used += n * n
                n *= 2

        part = parts()
        return {"uniform": lambda low, high, shape: next(part) * high}

    def glass_blur(self) -> dict[str, Any]:
        _, most, rounds = self.table("glass_blur")
        key, side = rng.fold(self.key, "glass_blur"), self.size - 2 * most

        def pairs() -> Iterator[tuple[int, int]]:
            for k in range(rounds):
                for bits in reversed((rng.bits(rng.fold(key, k), (side * side,))[0].long() & 0xFFFFFFFF).tolist()):
                    yield ((bits >> 16) * 2 * most >> 16) - most, ((bits & 0xFFFF) * 2 * most >> 16) - most

        pair = pairs()
        return {"randint": lambda low, high, size: next(pair)}

    def table(self, name: str) -> Any:
        table = getattr(tables, name.upper())
        return (table.large if self.parameters == "224" else table.small)[self.severity - 1]


@pytest.mark.parametrize(
    "name", ["gaussian_noise", "speckle_noise", "spatter", "motion_blur", "snow", "fog", "glass_blur"]
)
@every_severity
@pytest.mark.parametrize("size", [224, 32])
def test_what_is_random_is_the_same_on_the_same_draws(
    name: str, severity: int, size: int, reference: Reference, photographs: Callable[[int], np.ndarray]
) -> None:
    images = photographs(size)[:: 20 if name == "glass_blur" and size == 224 else 4]
    ours = corrupt(floats(images), name, severity, seed=5)
    theirs = []
    for image, key in zip(images, rng.keys(5, torch.arange(len(images))).split(1), strict=True):
        draws = Draws(key, severity, str(size), size)
        with mock.patch.multiple("numpy.random", **getattr(draws, name)()):
            theirs.append(reference(name, severity, str(size))(image))
    assert_within_a_level(ours, theirs)


def spectrum(change: np.ndarray) -> np.ndarray:
    """Log power (n, 5) of changes (n, H, W, 3), greyed, in octaves of frequency."""
    grey = change.mean(3)
    grey = grey - grey.mean((1, 2), keepdims=True)
    power = np.abs(np.fft.rfft2(grey)) ** 2
    rows, columns = np.fft.fftfreq(grey.shape[1]), np.fft.rfftfreq(grey.shape[2])
    radius = np.hypot(rows[:, None], columns)
    bounds = [0, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]
    bands = [(radius > low) & (radius <= high) for low, high in itertools.pairwise(bounds)]
    return np.log(np.stack([power[:, band].mean(1) for band in bands], 1) + 1e-3)


def figures(images: np.ndarray, corrupted: np.ndarray) -> np.ndarray:
    """(n, 7): mean and log variance of each image's change, and its spectrum."""
    change = corrupted.astype(float) - images
    flat = change.reshape(len(images), -1)
    return np.c_[flat.mean(1), np.log(flat.var(1) + 1e-3), spectrum(change)]


def assert_alike(apart: np.ndarray, errors: tuple[float, float]) -> None:
    """Differences of figures (n, 7) whose means are within five standard errors of none; and small ones, these being at
    most so many grey levels in the mean, and so much in the logarithms of variance and power."""
    error = apart.std(0) / np.sqrt(len(apart))
    assert (np.abs(apart.mean(0)) < 5 * error + 0.01).all()
    assert error[0] < errors[0]
    assert error[1:].max() < errors[1]


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
@every_severity
def test_noise_agrees_in_mean_variance_and_spectrum(
    name: str, severity: int, reference: Reference, photographs: Callable[[int], np.ndarray]
) -> None:
    images = photographs(224)
    np.random.seed(severity)
    theirs = np.stack([reference(name, severity, "224")(image) for image in images])
    ours = levels(corrupt(floats(images), name, severity))
    assert_alike(figures(images, ours) - figures(images, theirs), errors=(0.1, 0.06))


@pytest.mark.parametrize("name", ["motion_blur", "snow", "fog", "spatter"])
@every_severity
def test_what_differs_by_image_agrees_in_mean_variance_and_spectrum(
    name: str, severity: int, reference: Reference, photographs: Callable[[int], np.ndarray]
) -> None:
    images = photographs(224)
    np.random.seed(severity)
    pairs = []
    for seed in (0, 1):
        theirs = np.stack([reference(name, severity, "224")(image) for image in images])
        ours = levels(corrupt(floats(images), name, severity, seed=seed))
        pairs.append(figures(images, ours) - figures(images, theirs))
    assert_alike(np.concatenate(pairs), errors=(8.0, 0.5))


@pytest.mark.parametrize(("parameters", "size"), [("224", 224), ("32", 32)])
def test_frost_has_the_statistics_of_the_photographs(corruptions: Any, parameters: str, size: int) -> None:
    """Deliberately drawn and not photographed. Over 200 crops: mean colour within 8 grey levels, deviations of the
    crops' mean and of the pixels within 30 %, power in five octaves within a factor of 2.2.
    """
    import cv2

    folder = Path(corruptions.__file__).parent / "frost"
    scale = 1.1 if parameters == "224" else 0.2
    random = np.random.default_rng(0)
    crops = []
    for k in range(200):
        file = sorted(folder.glob("frost*"))[k % 5]
        texture = cv2.imread(str(file))[..., ::-1]
        texture = cv2.resize(texture, (0, 0), fx=scale, fy=scale)
        top, left = (random.integers(0, side - size) for side in texture.shape[:2])
        crops.append(texture[top : top + size, left : left + size])
    theirs = np.stack(crops).astype(float)
    ours = ice(rng.keys(0, torch.arange(200)), 3, size, size, close=parameters == "224").clamp(0, 1)
    ours = ours.permute(0, 2, 3, 1).double().numpy() * 255
    assert np.abs(ours.mean((0, 1, 2)) - theirs.mean((0, 1, 2))).max() < 8
    for spread in (lambda x: x.mean((1, 2, 3)).std(), lambda x: np.sqrt(x.mean(3).var((1, 2)).mean())):
        assert 1 / 1.3 < spread(ours) / spread(theirs) < 1.3
    power = [np.exp(spectrum(x)).mean(0) for x in (ours, theirs)]
    kept = slice(None) if parameters == "224" else slice(1, None)  # 32 pixels have no lower octave
    assert np.abs(np.log(power[0] / power[1]))[kept].max() < np.log(2.2)
