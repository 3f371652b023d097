"""The 19 ImageNet-C corruptions beside imagecorruptions 1.1.2: speed, and the accuracy of a network under both.

Needs an environment in which the reference works: Python 3.11, numpy < 2, scikit-image 0.19.3, setuptools < 82,
imagecorruptions 1.1.2, and robustest with torch.

    python benchmarks/corruptions.py                    # speed at 224 and at 32 pixels, severity 3
    python benchmarks/corruptions.py --severity 5 --only fog frost
    python benchmarks/corruptions.py --peers            # beside albumentations, kornia, OpenCV and torchvision
    python benchmarks/corruptions.py --agreement DATA   # DATA: the folder with models.py
    python benchmarks/corruptions.py --agreement DATA --draws 20 --only snow   # means over draws, where one is too few

`--peers` needs another environment: robustest with torchvision, albumentations, kornia, opencv-python-headless and
scikit-image, whose photographs are the images. Its shifts are those that a peer has as well, set to the same
strength: 16 images of 224 pixels, one thread. albumentations and OpenCV get and return bytes (HWC, one image at a
time), their fastest way; ours, kornia and torchvision a batch of floats, or of bytes for torchvision's JPEG. Bytes
become floats once in either case, before ours or after theirs, and that conversion is not counted. "apart" tells how
equal the work is: the mean difference of the results from ours in grey levels, or, for random changes, the ratio of
their sizes.

Speed: CPU seconds of one thread in one process, on the same natural images (uint8 HWC one by one for the reference,
which knows nothing else; float CHW in one batch for us). A round times both, one after the other, each again and again
for a tenth of a second, and the figure is the median of the rounds' ratios. The reference has parameters for 224 pixels
only; at 32 pixels and in the comparison of accuracies its own code runs with CIFAR-10-C's numbers put in the place of
its constants. Two corruptions differ from the publication in more than constants: frost, whose textures are shrunk
here as CIFAR-10-C does, and the elastic transform, which is another algorithm there and is replaced by a plain one of
the publication's with SciPy and OpenCV.
"""

from __future__ import annotations

import argparse
import ast
import functools
import importlib.util
import inspect
import itertools
import math
import statistics
import sys
import textwrap
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from robustest.shifts import COMMON_CORRUPTIONS, CORRUPTIONS, corrupt, tables

SEVERITIES = (1, 2, 3, 4, 5)
EQUAL = 0.95  # ratios of times that a busy machine does not tell from 1
BATCH, SLOW = 14, {"glass_blur": 1, "zoom_blur": 4}


def modules() -> tuple[Any, Any]:
    """imagecorruptions.corruptions and cv2, without the warnings of their age."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cv2
        from imagecorruptions import corruptions
    cv2.setNumThreads(1)
    return corruptions, cv2


@functools.cache
def reference(name: str, size: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """The reference's corruption of one uint8 HWC image, with the parameters for 224 or 32 pixels."""
    corruptions, cv2 = modules()
    function, names = getattr(corruptions, name), {}
    if size == 32:
        if name == "elastic_transform":
            return functools.partial(elastic_transform, cv2=cv2, table=tables.ELASTIC_TRANSFORM.small)
        if name == "frost":
            shrunk = lambda path: cv2.resize(cv2.imread(path), (0, 0), fx=0.2, fy=0.2)  # noqa: E731
            names = {"cv2": SimpleNamespace(imread=shrunk, resize=lambda x, **_: x, INTER_CUBIC=cv2.INTER_CUBIC)}
        function = with_parameters(corruptions, name, getattr(tables, name.upper()).small, names)
    return lambda image, severity: np.uint8(function(Image.fromarray(image), severity))


def with_parameters(module: Any, name: str, table: Any, names: dict[str, Any]) -> Callable[..., Any]:
    """The module's function with its list of parameters (what it first assigns to `c`) and some names replaced."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(getattr(module, name))))
    values = [list(np.arange(1, 1 + k * step - step / 2, step)) for step, k in table] if name == "zoom_blur" else table
    line = next(node for node in tree.body[0].body if isinstance(node, ast.Assign) and node.targets[0].id == "c")
    line.value = ast.parse(f"{tuple(values)!r}[severity - 1]".replace("np.float64", ""), mode="eval").body
    scope = {**vars(module), **names}
    exec(compile(ast.fix_missing_locations(tree), f"<{name} for 32 pixels>", "exec"), scope)
    return scope[name]


def elastic_transform(image: np.ndarray, severity: int, *, cv2: Any, table: Any) -> np.ndarray:
    """ImageNet-C's elastic transform: a jittered affine map, then displacements along a smooth field."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    size, sigma, jitter = table[severity - 1]
    x = image.astype(np.float32) / 255
    side, shape = x.shape[0], x.shape[:2]
    points = np.float32([[1, 1], [1, -1], [-1, -1]]) * (side // 3) + side // 2
    moved = points + np.random.uniform(-jitter, jitter, size=(3, 2)).astype(np.float32)
    x = cv2.warpAffine(x, cv2.getAffineTransform(points, moved), shape[::-1], borderMode=cv2.BORDER_REFLECT_101)
    field = [
        gaussian_filter(np.random.uniform(-1, 1, shape), sigma, mode="reflect", truncate=3) * size if size else 0.0
        for _ in range(2)
    ]
    rows, columns = np.meshgrid(np.arange(side), np.arange(side), indexing="ij")
    at = (rows + field[0], columns + field[1])
    return np.uint8(255 * np.stack([map_coordinates(x[..., k], at, order=1, mode="reflect") for k in range(3)], -1))


def natural(size: int, n: int) -> np.ndarray:
    """(n, size, size, 3) uint8: squares of scikit-image's photographs."""
    import skimage.data

    folder = Path(skimage.data.__file__).parent
    squares = []
    for name in (
        "astronaut.png",
        "chelsea.png",
        "coffee.png",
        "rocket.jpg",
        "motorcycle_left.png",
        "ihc.png",
        "retina.jpg",
    ):
        picture = Image.open(folder / name).convert("RGB")
        side = min(picture.size)
        for left, top in ((0, 0), (picture.width - side, picture.height - side)):
            box = (left, top, left + side, top + side)
            squares.append(np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box)))
    return np.stack([squares[k % len(squares)] for k in range(n)])


def floats(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float().div(255)


def seconds(work: Callable[[], object], least: float = 0.1) -> float:
    """CPU seconds of one call, from as many as take a tenth of a second; the first is not counted."""
    work()
    calls, start = 0, time.thread_time()
    while time.thread_time() - start < least:
        work()
        calls += 1
    return (time.thread_time() - start) / calls


def one_round(name: str, severity: int, x: Tensor, few: np.ndarray, network: nn.Module) -> tuple[float, ...]:
    """CPU seconds an image of the reference and of ours, our speed-up, and our share of the network's pass."""
    with torch.no_grad():
        forward = seconds(lambda: network(x[:8])) / 8
    theirs = reference(name, x.shape[-1])
    slow = seconds(lambda: [theirs(image, severity) for image in few]) / len(few)
    fast = seconds(lambda: corrupt(x, name, severity)) / len(x)
    return slow, fast, slow / fast, fast / forward


def speed(size: int, severity: int, rounds: int, names: list[str]) -> None:
    """Prints milliseconds an image, speed-ups, and shares of a ResNet-18's forward pass."""
    from torchvision.models import resnet18

    images = natural(size, BATCH if size > 100 else 16 * BATCH)
    x, network, rows = floats(images), resnet18().eval(), {}
    print(
        "| corruption | reference, ms | robustest, ms | speed-up | share of a ResNet-18 pass |\n|---|---|---|---|---|"
    )
    for name in names:
        few = images[: SLOW.get(name, BATCH)]
        times = functools.partial(one_round, name, severity, x, few, network)
        pairs = [times() for _ in range(min(rounds, 3) if name == "glass_blur" and size > 100 else rounds)]
        rows[name] = [statistics.median(column) for column in zip(*pairs, strict=True)]
        slow, fast, ratio, share = rows[name]
        print(f"| {name} | {1e3 * slow:.3f} | {1e3 * fast:.3f} | {ratio:.2f} | {share:.4f} |", flush=True)
    mean = math.exp(statistics.fmean(math.log(row[2]) for row in rows.values()))
    least, most = min(rows, key=lambda name: rows[name][2]), max(rows, key=lambda name: rows[name][3])
    slow, fast = (sum(rows[name][k] for name in COMMON_CORRUPTIONS if name in rows) for k in (0, 1))
    print(f"{size} pixels, severity {severity}: geometric mean of the speed-ups {mean:.2f},")
    print(f"least {rows[least][2]:.2f} ({least}); those of the 15 together {slow / fast:.1f} x;")
    print(f"largest share of a ResNet-18 pass {rows[most][3]:.3f} ({most})")


Images = list[np.ndarray]
"""uint8 HWC images."""


def on_bytes(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Images, Tensor], Tensor]:
    """A change of one uint8 HWC image as a contender: images and their floats in, anything with the images out."""
    return lambda images, _: [change(image) for image in images]


def on_floats(change: Callable[[Tensor], Tensor]) -> Callable[[Images, Tensor], Tensor]:
    return lambda _, x: change(x)


def contenders() -> dict[tuple[str, int], dict[str, Callable[[Images, Tensor], Any]]]:
    """The peers' functions by our shift and severity, each with the parameters of that severity for 224 pixels."""
    import albumentations as A
    import cv2
    import kornia
    import kornia.augmentation as K
    from torchvision.transforms import v2
    from torchvision.transforms.v2 import functional as V

    cv2.setNumThreads(1)

    def album(transform: Any) -> Callable[[Images, Tensor], Any]:
        return on_bytes(lambda image: transform(image=image)["image"])

    def opencv_noise(image: np.ndarray) -> np.ndarray:
        noise = np.empty(image.shape, np.float32)
        cv2.randn(noise, (0, 0, 0), (0.18 * 255,) * 3)
        return cv2.add(image, noise, dtype=cv2.CV_8U)

    def opencv_value(image: np.ndarray) -> np.ndarray:
        hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
        return cv2.cvtColor(cv2.merge([hue, saturation, cv2.add(value, 76.0)]), cv2.COLOR_HSV2RGB)

    def kornia_value(x: Tensor) -> Tensor:
        hue, saturation, value = kornia.color.rgb_to_hsv(x).unbind(1)
        return kornia.color.hsv_to_rgb(torch.stack([hue, saturation, (value + 0.3).clamp(max=1)], 1))

    def opencv_contrast(image: np.ndarray) -> np.ndarray:
        level = np.arange(256)[:, None] * 0.2 + 0.8 * np.array(cv2.mean(image)[:3]) + 0.5
        return cv2.LUT(image, level.astype(np.uint8)[None])

    def disk(radius: int) -> np.ndarray:
        side = np.arange(-8, 9)
        return cv2.GaussianBlur(
            (side**2 + side[:, None] ** 2 <= radius**2).astype(np.float32) / 113, (3, 3), sigmaX=0.5
        )

    def opencv_motion(image: np.ndarray) -> np.ndarray:
        angle, kernel = math.radians(np.random.uniform(-45, 45)), np.zeros((31, 31), np.float32)
        for k in range(16):
            kernel[15 + round(k * math.sin(angle)), 15 + round(k * math.cos(angle))] += math.exp(-0.5 * (k / 8) ** 2)
        return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REPLICATE)

    def opencv_zoom(image: np.ndarray) -> np.ndarray:
        side, total = image.shape[0], image.astype(np.float32) * 2
        for k in range(1, 11):
            kept = math.ceil(side / (1 + 0.02 * k))
            top = (side - kept) // 2
            part = image[top : top + kept, top : top + kept]
            total += cv2.resize(part, (side, side), interpolation=cv2.INTER_LINEAR)
        return (total / 12 + 0.5).astype(np.uint8)

    def opencv_elastic(image: np.ndarray) -> np.ndarray:
        return elastic_transform(image, 3, cv2=cv2, table=tables.ELASTIC_TRANSFORM.large)

    def opencv_pixelate(image: np.ndarray) -> np.ndarray:
        small = cv2.resize(image, (56, 56), interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (224, 224), interpolation=cv2.INTER_NEAREST)

    def opencv_jpeg(image: np.ndarray) -> np.ndarray:
        file = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 15])[1]
        return cv2.imdecode(file, cv2.IMREAD_COLOR_RGB)

    def opencv_rotation(image: np.ndarray) -> np.ndarray:
        matrix = cv2.getRotationMatrix2D((111.5, 111.5), np.random.choice((-15, 15)), 1.0)
        return cv2.warpAffine(image, matrix, (224, 224), flags=cv2.INTER_LINEAR)

    def torch_rotation(x: Tensor) -> Tensor:
        sides = np.random.choice((-15.0, 15.0), len(x))
        bilinear = v2.InterpolationMode.BILINEAR
        return torch.stack([V.rotate(image, side, bilinear) for image, side in zip(x, sides, strict=True)])

    def torch_jpeg(images: Images, x: Tensor) -> Tensor:
        return torch.stack([V.jpeg(torch.from_numpy(image).permute(2, 0, 1), 15) for image in images])

    area, nearest = cv2.INTER_AREA, cv2.INTER_NEAREST
    return {
        ("gaussian_noise", 3): {
            "albumentations": album(A.GaussNoise(std_range=(0.18, 0.18), p=1)),
            "kornia": on_floats(K.RandomGaussianNoise(std=0.18, p=1)),
            "OpenCV": on_bytes(opencv_noise),
            "torchvision": on_floats(v2.GaussianNoise(sigma=0.18)),
        },
        ("shot_noise", 3): {"albumentations": album(A.ShotNoise(scale_range=(1 / 12, 1 / 12), p=1))},
        ("impulse_noise", 3): {
            "albumentations": album(A.SaltAndPepper(amount=(0.09, 0.09), salt_vs_pepper=(0.5, 0.5), p=1)),
            "kornia": on_floats(K.RandomSaltAndPepperNoise(amount=0.09, salt_vs_pepper=0.5, p=1)),
        },
        ("defocus_blur", 3): {
            "albumentations": album(A.Defocus(radius=(6, 6), alias_blur=(0.5, 0.5), p=1)),
            "kornia": on_floats(lambda x: kornia.filters.filter2d(x, torch.from_numpy(disk(6))[None], "reflect")),
            "OpenCV": on_bytes(lambda image: cv2.filter2D(image, -1, disk(6))),
        },
        ("glass_blur", 3): {"albumentations": album(A.GlassBlur(sigma=1.0, max_delta=2, iterations=3, p=1))},
        ("motion_blur", 3): {
            "albumentations": album(A.MotionBlur(blur_limit=(31, 31), p=1)),
            "kornia": on_floats(K.RandomMotionBlur(31, 45.0, (1.0, 1.0), border_type="replicate", p=1)),
            "OpenCV": on_bytes(opencv_motion),
        },
        ("zoom_blur", 3): {
            "albumentations": album(A.ZoomBlur(max_factor=(1.21, 1.21), step_factor=(0.02, 0.02), p=1)),
            "OpenCV": on_bytes(opencv_zoom),
        },
        ("brightness", 3): {
            "albumentations": album(A.HueSaturationValue(0, 0, (76, 76), p=1)),
            "kornia": on_floats(kornia_value),
            "OpenCV": on_bytes(opencv_value),
        },
        ("contrast", 3): {
            "albumentations": album(A.ColorJitter((1, 1), (0.2, 0.2), (1, 1), (0, 0), p=1)),
            "kornia": on_floats(lambda x: kornia.enhance.adjust_contrast_with_mean_subtraction(x, 0.2)),
            "OpenCV": on_bytes(opencv_contrast),
            "torchvision": on_floats(lambda x: V.adjust_contrast(x, 0.2)),
        },
        ("elastic_transform", 3): {
            "albumentations": album(A.ElasticTransform(alpha=12.2, sigma=2.44, p=1)),
            "kornia": on_floats(K.RandomElasticTransform((15, 15), (2.44, 2.44), (12.2, 12.2), p=1)),
            "OpenCV": on_bytes(opencv_elastic),
            "torchvision": on_floats(lambda x: torch.stack([v2.ElasticTransform(12.2, 2.44)(image) for image in x])),
        },
        ("pixelate", 5): {
            "albumentations": album(
                A.Downscale((0.25, 0.25), interpolation_pair={"downscale": area, "upscale": nearest}, p=1)
            ),
            "OpenCV": on_bytes(opencv_pixelate),
        },
        ("jpeg_compression", 3): {
            "albumentations": album(A.ImageCompression(quality_range=(15, 15), p=1)),
            "kornia": on_floats(K.RandomJPEG((15.0, 15.0), p=1)),
            "OpenCV": on_bytes(opencv_jpeg),
            "torchvision": torch_jpeg,
        },
        ("gaussian_blur", 3): {
            "albumentations": album(A.GaussianBlur(blur_limit=(25, 25), sigma_limit=(3, 3), p=1)),
            "kornia": on_floats(K.RandomGaussianBlur((25, 25), (3.0, 3.0), border_type="replicate", p=1)),
            "OpenCV": on_bytes(lambda image: cv2.GaussianBlur(image, (25, 25), 3, borderType=cv2.BORDER_REPLICATE)),
            "torchvision": on_floats(v2.GaussianBlur(25, 3.0)),
        },
        ("rotation", 3): {
            "albumentations": album(A.Rotate((15, 15), p=1)),
            "kornia": on_floats(K.RandomRotation((15.0, 15.0), p=1)),
            "OpenCV": on_bytes(opencv_rotation),
            "torchvision": on_floats(torch_rotation),
        },
    }


RANDOM = {"gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "motion_blur", "elastic_transform", "rotation"}


def apart(name: str, ours: Tensor, theirs: Any, x: Tensor) -> float:
    """Mean difference of two results in grey levels; of a random change, the ratio of its mean size to ours."""
    other = theirs if isinstance(theirs, Tensor) else torch.from_numpy(np.stack(theirs)).permute(0, 3, 1, 2)
    other = other.float() / (255 if other.dtype == torch.uint8 else 1)
    if name in RANDOM:
        return float((other.clamp(0, 1) - x).abs().mean() / (ours - x).abs().mean())
    return 255 * float((other.clamp(0, 1) - ours).abs().mean())


def peers(rounds: int, names: list[str]) -> None:
    """Prints ours beside each peer: milliseconds, and the median and the least of the rounds' ratios."""
    images, found = list(natural(224, 16)), []
    x = floats(np.stack(images))
    print(
        "| shift, severity | robustest, ms | peer | ms | apart | theirs / ours, median | least |\n" + "|---" * 7 + "|"
    )
    for (name, severity), others in contenders().items():
        if name not in names:
            continue
        ours = functools.partial(corrupt, x, name, severity)
        calls = {"": ours, **{peer: functools.partial(call, images, x) for peer, call in others.items()}}
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            times = [{peer: seconds(call) / 16 for peer, call in calls.items()} for _ in range(rounds)]
            results = {peer: apart(name, ours(), calls[peer](), x) for peer in others}
        mine = statistics.median(one[""] for one in times)
        for peer in others:
            ratios = [one[peer] / one[""] for one in times]
            theirs = statistics.median(one[peer] for one in times)
            found.append((peer, name, statistics.median(ratios)))
            print(
                f"| {name}, {severity} | {1e3 * mine:.3f} | {peer} | {1e3 * theirs:.3f} | {results[peer]:.2f} "
                f"| {found[-1][2]:.2f} | {min(ratios):.2f} |",
                flush=True,
            )
    for peer in ("albumentations", "kornia", "OpenCV", "torchvision"):
        ratios = {name: ratio for other, name, ratio in found if other == peer}
        behind = [name for name, ratio in ratios.items() if ratio < EQUAL]
        print(f"{peer}: ahead or equal in {len(ratios) - len(behind)} of {len(ratios)}; behind: {', '.join(behind)}")


@dataclass(frozen=True)
class ModelUnits:
    """A network and images: which of them it gets right, corrupted by ours and by the reference."""

    network: nn.Module
    x: Tensor
    y: Tensor

    @classmethod
    def of(cls, data: Path) -> ModelUnits:
        """resnet8_cifar10 and 1,000 images, from a folder with models.py."""
        spec = importlib.util.spec_from_file_location("shared_networks", data / "models.py")
        shared = importlib.util.module_from_spec(spec)
        sys.dont_write_bytecode = True
        spec.loader.exec_module(shared)
        return cls(shared.load("resnet8_cifar10"), *shared.images("cifar10_test_exact1000", 1000))

    def right(self, x: Tensor) -> np.ndarray:
        with torch.no_grad():
            return (self.network(x).argmax(1) == self.y).numpy()

    def ours(self, name: str, severity: int, seed: int) -> np.ndarray:
        return self.right(corrupt(self.x, name, severity, seed=seed))

    def theirs(self, name: str, severity: int) -> np.ndarray:
        images = self.x.mul(255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        return self.right(floats(np.stack([reference(name, 32)(image, severity) for image in images])))


def agreement(data: Path, names: list[str]) -> None:
    """Prints resnet8_cifar10's accuracy on 1,000 images under both, for every corruption and severity."""
    images = ModelUnits.of(data)
    np.random.seed(0)
    cells = agreed = 0
    print(f"clean accuracy {images.right(images.x).mean():.3f}")
    print("| corruption | severity | ours | reference | difference | 99 % interval | |\n|---|---|---|---|---|---|---|")
    for name, severity in itertools.product(names, SEVERITIES):
        ours, theirs = images.ours(name, severity, 0), images.theirs(name, severity)
        low, high = interval(int((ours & ~theirs).sum()), int((theirs & ~ours).sum()), len(ours))
        cells, agreed = cells + 1, agreed + (low <= 0 <= high)
        mark = "" if low <= 0 <= high else "disagrees"
        print(
            f"| {name} | {severity} | {ours.mean():.3f} | {theirs.mean():.3f} | {ours.mean() - theirs.mean():+.3f} "
            f"| {low:+.3f} to {high:+.3f} | {mark} |",
            flush=True,
        )
    print(f"{agreed} of {cells} cells agree")


def repeated(data: Path, names: list[str], draws: int) -> None:
    """As `agreement`, but the means of so many draws of both, and the standard error of their difference."""
    images = ModelUnits.of(data)
    np.random.seed(0)
    print("| corruption | severity | ours, mean (least, most) | reference | difference | standard error |")
    print("|---|---|---|---|---|---|")
    for name, severity in itertools.product(names, SEVERITIES):
        ours = np.array([images.ours(name, severity, seed).mean() for seed in range(draws)])
        theirs = np.array([images.theirs(name, severity).mean() for _ in range(draws)])
        error = math.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / draws)
        cells = (f"{side.mean():.4f} ({side.min():.3f}, {side.max():.3f})" for side in (ours, theirs))
        print(
            f"| {name} | {severity} | {' | '.join(cells)} | {ours.mean() - theirs.mean():+.4f} | {error:.4f} |",
            flush=True,
        )


def interval(more: int, less: int, n: int) -> tuple[float, float]:
    """99 % interval of a difference between paired shares (Agresti and Min, 2005)."""
    more_, less_, n_ = more + 0.5, less + 0.5, n + 2
    centre = (more_ - less_) / n_
    half = 2.5758 * math.sqrt(more_ + less_ - (more_ - less_) ** 2 / n_) / n_
    return centre - half, centre + half


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--severity", type=int, default=3, choices=SEVERITIES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 32], choices=(224, 32))
    parser.add_argument("--agreement", type=Path, metavar="DATA")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=None, choices=[*CORRUPTIONS, "rotation"], metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.peers:
        peers(options.rounds, options.only or [*CORRUPTIONS, "rotation"])
        return
    options.only = options.only or list(CORRUPTIONS)
    if options.agreement and options.draws > 1:
        repeated(options.agreement, options.only, options.draws)
    elif options.agreement:
        agreement(options.agreement, options.only)
    else:
        for size in options.sizes:
            speed(size, options.severity, options.rounds, options.only)


if __name__ == "__main__":
    main()
