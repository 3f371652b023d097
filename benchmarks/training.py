"""Claims on training: the curve of adversarial training on MNIST, and what data sets of one kind of feature teach.

python benchmarks/training.py DATA     # DATA: the folder with images/mnist_train.npz

Each part runs twice over one store: the second run trains nothing, and must say the same.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from robustest_training import measure_nonrobust_reliance, measure_robust_generalization, samples_for
from torch import Tensor, nn
from torch.nn import functional as F

from robustest import L2, Linf, Result, context
from robustest.settings import Settings

EPS, SIZES = 0.1, (100, 400, 1600, 6400, 25_600)
STEPS, BATCH = 500, 128
Data = tuple[Tensor, Tensor]


def mnist(folder: Path, name: str, n: int) -> Data:
    """14 x 14 images, by the mean of four pixels."""
    held = np.load(folder / "images" / f"{name}.npz")
    x = torch.from_numpy(held["x"][:n]).float().div_(255).unsqueeze(1)
    return F.avg_pool2d(x, 2), torch.from_numpy(held["y"][:n].astype(np.int64))


def adversarially(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """As many steps for every size, each on one signed gradient from a random start (Wong, Rice and Kolter, 2020)."""
    drawn = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(196, 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(net.parameters(), 2e-3, foreach=True)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1.0, 5 * (1 - step / STEPS))
        rows = torch.randint(len(x), (BATCH,), generator=drawn)
        clean, label, eps = x[rows], y[rows], EPS * min(1.0, 3 * step / STEPS)
        low, high = (clean - eps).clamp(min=0), (clean + eps).clamp(max=1)
        start = clean + eps * (2 * torch.rand(clean.shape, generator=drawn) - 1)
        start = torch.minimum(torch.maximum(start, low), high).requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(net(start), label), start)
        worst = torch.minimum(torch.maximum(start.detach() + 1.25 * eps * slope.sign(), low), high)
        optimizer.zero_grad()
        F.cross_entropy(net(worst), label).backward()
        optimizer.step()
    return net


def plainly(x: Tensor, y: Tensor, seed: int) -> nn.Module:
    """Standard training, 25 epochs."""
    drawn = torch.Generator().manual_seed(seed)
    net = nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 128), nn.ReLU(), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(net.parameters(), 3e-3, foreach=True)
    for _ in range(25):
        for rows in torch.randperm(len(x), generator=drawn).split(64):
            optimizer.zero_grad()
            F.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
    return net


def twice(name: str, measure: Callable[[], Result]) -> Result:
    """Measured, and recalled."""
    with tempfile.TemporaryDirectory() as folder, context.running(context.Context(settings=Settings(store=folder))):
        for again in (False, True):
            started = time.process_time()
            result = measure()
            took = time.process_time() - started
            print(f"{name}{', again' if again else ''}: {took:.1f} CPU s, {result.verdict}: {result.rule}", flush=True)
            print(
                f"  {result.estimate:.3f} [{result.interval[0]:.3f}, {result.interval[1]:.3f}] {result.evidence.cached}"
            )
    return result


def generalization(folder: Path) -> None:
    """The gap, the curve, and samples for .05 less than at the largest size."""
    data, test = mnist(folder, "mnist_train", SIZES[-1]), mnist(folder, "mnist_test", 1000)
    words = {"min_train_accuracy": 0.3, "max_gap": 0.2, "attack": "pgd"}
    result = twice(
        "adversarial training",
        lambda: measure_robust_generalization(
            data, Linf(EPS), train=adversarially, test_data=test, sizes=SIZES, **words
        ),
    )
    for row in result.details["curve"]:
        print("  ", {name: round(value, 3) for name, value in row.items() if isinstance(value, int | float)})
    for of in ("robust", "clean"):
        target = result.details["curve"][-1][f"{of}_test"] - 0.05
        print(f"   {of} {target:.3f}: {samples_for(result, target, of=of)}")
    few = data[0][:1600], data[1][:1600]
    plain = lambda: measure_robust_generalization(few, Linf(EPS), train=plainly, test_data=test, sizes=[1600], **words)  # noqa: E731
    print("  ", twice("standard training", plain).details["curve"])


def reliance() -> None:
    """What learners of relabelled digits say."""
    from sklearn.datasets import load_digits

    x, y = (torch.from_numpy(held) for held in load_digits(return_X_y=True))
    x, order = x.float() / 16, torch.from_numpy(np.random.RandomState(0).permutation(len(y)))
    data, test = (x[order[450:]], y[order[450:]]), (x[order[:450]], y[order[:450]])
    model = plainly(*data, 99).eval()
    for eps in (0.5, 1.0, 2.0):
        relied = lambda eps=eps: measure_nonrobust_reliance(  # noqa: E731
            model, data, L2(eps), train=plainly, test_data=test, max_transfer=0.3
        )
        result = twice(f"digits, L2 {eps}", relied)
        print(f"   reached {result.details['reached']:.3f}")
        for row in result.details["by_set"]:
            print("  ", row)


if __name__ == "__main__":
    torch.set_num_threads(1)
    reliance()
    generalization(Path(sys.argv[1]))
