"""How well reading overlaps with measuring: a data set and a model that do nothing but sleep, 5 ms a sample each.

Wall-clock seconds of one claim, over the longer of its two parts alone. A chunk is measured once all of it is read, and
is at most a sixth of the samples before it, so that the last one runs alone: 1.14 in the worst case.

Then a `DataLoader` with four workers, beside the loader alone: a model that takes no time, in turn, the median of the
rounds' ratios. And three claims on one folder of JPEGs, with and without samples that outlast their claim.

    python benchmarks/feeding.py
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from robustest.measure import measure_accuracy

SLEEP, BAR = 0.005, 1.15
WORKERS, ROUNDS, BAR_OF_LOADER = 4, 9, 1.1
SIZES = (1000, 4000)
IMAGES = 500


class Sleeping(Dataset[Any]):
    """Samples that take their time to decode."""

    def __init__(self, n: int, seconds: float) -> None:
        self.n, self.seconds = n, seconds

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        time.sleep(self.seconds)
        return torch.full((3,), index / self.n), index % 2


def model(seconds: float, passed: list[int]) -> Any:
    def answer(x: Tensor) -> Tensor:
        passed[0] += len(x)
        time.sleep(seconds * len(x))
        return torch.stack([x[:, 0], 1 - x[:, 0]], 1)

    return answer


def measured(data: Any, seconds: float, **options: Any) -> tuple[float, int]:
    """Seconds of a claim, and samples that the model passed."""
    passed = [0]
    started = time.perf_counter()
    measure_accuracy(model(seconds, passed), data, exact=True, suppress=("softmax_outputs",), **options)
    return time.perf_counter() - started, passed[0]


def beside_a_loader(n: int, workers: int, rounds: int, **options: Any) -> list[float]:
    """Return the seconds of a claim on a loader of n samples over those of the loader alone, in each of some rounds."""
    ratios = []
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in DataLoader(Sleeping(n, SLEEP), batch_size=64, num_workers=workers):
            pass
        alone = time.perf_counter() - started
        loader = DataLoader(Sleeping(n, SLEEP), batch_size=64, num_workers=workers)
        ratios.append(measured(loader, 0, **options)[0] / alone)
    return ratios


def three_claims(folder: str, *, cache: bool) -> str:
    """Return the seconds of three claims on one folder of images, in words."""
    resized = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        measure_accuracy(Pixels(), ImageFolder(folder, resized), exact=True, cache=cache)
        seconds.append(f"{time.perf_counter() - started:.1f} s")
    return ", ".join(seconds)


class Pixels(nn.Module):
    """A model that takes no time."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :2]


def main() -> None:
    torch.set_num_threads(1)
    with TemporaryDirectory() as folder:
        for index in range(IMAGES):
            path = Path(folder) / str(index % 2) / f"{index}.jpg"
            path.parent.mkdir(exist_ok=True)
            noise = np.random.default_rng(index).integers(0, 255, (47, 63, 3), dtype=np.uint8)
            Image.fromarray(noise).resize((500, 375)).save(path)
        print(f"three claims on {IMAGES} images of 500 x 375: {three_claims(folder, cache=True)}")
        print(f"with cache=False: {three_claims(folder, cache=False)}")
    kept = True
    print(f"torch {torch.__version__}, {1000 * SLEEP:g} ms a sample to read, as many to pass")
    measured(Sleeping(64, 0), 0)  # what is loaded with the first claim
    for n in SIZES:
        reading, _ = measured(Sleeping(n, SLEEP), 0)
        both, passed = measured(Sleeping(n, SLEEP), SLEEP)
        passing = SLEEP * passed
        loader, _ = measured(DataLoader(Sleeping(n, SLEEP), num_workers=2), SLEEP)
        longer = max(reading, passing)
        share = both / longer
        print(
            f"{n} samples: reading {reading:.1f} s, passes {passing:.1f} s, both {both:.1f} s, {share:.2f} of this "
            f"({(reading + passing) / longer:.2f} one after the other); two workers of a DataLoader {loader:.1f} s"
        )
        kept = kept and share <= BAR
    print(f"the bar of {BAR} is {'met' if kept else 'NOT met'} ")
    for n in SIZES:
        ratios = sorted(beside_a_loader(n, WORKERS, ROUNDS))
        middle, met = statistics.median(ratios), "met" if statistics.median(ratios) <= BAR_OF_LOADER else "NOT met"
        print(
            f"{n} samples, {WORKERS} workers, over the loader alone: {middle:.3f} "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f}, {ROUNDS} rounds); the bar of {BAR_OF_LOADER} is {met}",
            flush=True,
        )


if __name__ == "__main__":
    main()
