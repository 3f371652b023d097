"""The 19 ImageNet-C corruptions beside imagecorruptions 1.1.2: speed, and the accuracy of a network under both.

Needs an environment in which the reference works: Python 3.11, numpy < 2, scikit-image 0.19.3, setuptools < 82,
imagecorruptions 1.1.2, and robustest with torch.

    python benchmarks/corruptions.py                    # speed at 224 and at 32 pixels, severity 3
    python benchmarks/corruptions.py --severity 5 --only fog frost
    python benchmarks/corruptions.py --agreement DATA   # DATA: the folder with models.py
    python benchmarks/corruptions.py --agreement DATA --draws 20 --only snow   # means over draws, where one is too few

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
BATCH, SLOW = 14, {"glass_blur": 1, "zoom_blur": 4}


def modules() -> tuple[Any, Any, Any]:
    """imagecorruptions.corruptions, cv2 and skimage, without the warnings of their age."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import cv2
        import skimage.data
        from imagecorruptions import corruptions
    cv2.setNumThreads(1)
    return corruptions, cv2, skimage


@functools.cache
def reference(name: str, size: int) -> Callable[[np.ndarray, int], np.ndarray]:
    """The reference's corruption of one uint8 HWC image, with the parameters for 224 or 32 pixels."""
    corruptions, cv2, _ = modules()
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
    folder = Path(modules()[2].data.__file__).parent
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
    parser.add_argument("--draws", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(CORRUPTIONS), choices=CORRUPTIONS, metavar="NAME")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.agreement and options.draws > 1:
        repeated(options.agreement, options.only, options.draws)
    elif options.agreement:
        agreement(options.agreement, options.only)
    else:
        for size in options.sizes:
            speed(size, options.severity, options.rounds, options.only)


if __name__ == "__main__":
    main()
