"""Certificates beside attacks: whether any sample is both proven and broken, and what giving up costs.

    python benchmarks/certificates.py DATA --both=FILE [--most=N]    # DATA: the folder with models.py
    python benchmarks/certificates.py DATA --give-up [SIDE ...] [--images=N]

`--both` takes the rows of `ROWS` in turn, a chunk of samples each, until N samples were judged or nothing is left. Of
each chunk the samples that are right are attacked (`standard`), and every one of them is bounded, the broken ones too.
A line is added to FILE for each chunk as soon as it is done; with a FILE from before it goes on where that ends.

`--give-up` times what bounds take before they are given up on a ResNet-18 that they cannot help.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from overhead import shared_models
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import resnet18

from robustest import Linf, find_adversarial
from robustest.bounds.graph import Network, read_network
from robustest.bounds.linear import ball_of
from robustest.engine import proving
from robustest.engine.proving import prove
from robustest.measure import measure_robust_accuracy

MNIST, CIFAR = "mnist_test", "cifar10_test_exact1000"


@dataclass(frozen=True)
class Row:
    """A network, a radius in L-inf, the images, how many of them, and how many at a time."""

    network: str
    eps: float
    images: str
    n: int
    chunk: int = 100


_TRAINED = ("fast_mnist_pgd", "fast_mnist_fgsm")
ROWS = (
    *(Row(network, eps, MNIST, 1000) for network in _TRAINED for eps in (0.05, 0.1, 0.15)),
    *(Row(network, 0.3, MNIST, 200) for network in _TRAINED),  # nothing is proven there
    *(Row("marabou_small", eps / 255, CIFAR, 1000) for eps in (0.5, 1, 2)),
    *(Row("lenet5_mnist", eps, MNIST, 1000) for eps in (0.01, 0.02)),
    *(Row(network, eps / 255, CIFAR, 60, 20) for network in ("resnet_2b", "resnet_4b") for eps in (1, 2)),
)
"""resnet8_cifar10 is not among them: `torch.export` reads it, but bounds were given up at .05/255 already."""


def judged(model: nn.Module, graph: Network, x: Tensor, y: Tensor, eps: float) -> dict[str, Any]:
    """What became of the samples that are right: attacked, bounded, and the CPU seconds of each."""
    right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    start = time.process_time()
    broken = torch.from_numpy(find_adversarial(model, x, y, Linf(eps), attack="standard").broken)
    middle = time.process_time()
    ball, bounds = ball_of(Linf(eps), x, (0.0, 1.0)), []
    for rows in torch.arange(len(x)).split(32):
        bounds.append(prove(graph, ball.pick(rows), y[rows], 10).proven)
    proven, end = torch.cat(bounds), time.process_time()
    return {
        "looked_at": len(right),
        "right": len(x),
        "broken": int(broken.sum()),
        "proven": int(proven.sum()),
        "both": int((broken & proven).sum()),
        "attack": middle - start,
        "bounds": end - middle,
    }


def chunks() -> Iterator[tuple[Row, int]]:
    """The rows in turn, a chunk of each, so that a run that ends early has seen all of them."""
    for place in range(max(-(-row.n // row.chunk) for row in ROWS)):
        yield from ((row, place * row.chunk) for row in ROWS if place * row.chunk < row.n)


def both(shared: Any, file: Path, most: int) -> None:
    """Judge chunk after chunk, those in the file left out, and say what it comes to so far."""
    done = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    known = {(one["network"], one["eps"], one["start"]) for one in done}
    networks: dict[str, tuple[nn.Module, Network]] = {}
    for row, start in chunks():
        if sum(one["looked_at"] for one in done) >= most:
            break
        if (row.network, row.eps, start) in known:
            continue
        if row.network not in networks:
            model = shared.load(row.network)
            networks[row.network] = model, read_network(model)
        model, graph = networks[row.network]
        x, y = (part[start : start + row.chunk] for part in shared.images(row.images, row.n))
        if not torch.equal(graph(x), model(x)):
            raise SystemExit(f"{row.network}: the graph does not answer as the model does")
        found = {"network": row.network, "eps": row.eps, "start": start, **judged(model, graph, x, y, row.eps)}
        done.append(found)
        with file.open("a") as lines:
            lines.write(json.dumps(found) + "\n")
        total = {name: sum(one[name] for one in done) for name in ("looked_at", "right", "broken", "proven", "both")}
        print(f"{row.network} {row.eps:.4f} {start}: {found}\n  so far {total}", flush=True)
    table(done)


def table(done: list[dict[str, Any]]) -> None:
    """A line for each network and radius."""
    print("| network | L-inf | n | right | broken | proven | both | attack s | bounds s |\n|" + "---|" * 9)
    for network, eps in dict.fromkeys((one["network"], one["eps"]) for one in done):
        rows = [one for one in done if (one["network"], one["eps"]) == (network, eps)]
        counts = [sum(row[name] for row in rows) for name in ("looked_at", "right", "broken", "proven", "both")]
        seconds = [sum(row[name] for row in rows) / max(1, counts[1]) for name in ("attack", "bounds")]
        print(f"| {network} | {eps:.4g} | {' | '.join(map(str, counts))} | {seconds[0]:.3f} | {seconds[1]:.3f} |")


def trained(x: Tensor, y: Tensor, epochs: int = 2) -> nn.Module:
    """A ResNet-18 after a short standard training on images (N, 3, H, W)."""
    torch.manual_seed(0)
    model = resnet18(num_classes=10)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
    return model.eval().requires_grad_(False)


def give_up(shared: Any, side: int, n: int) -> None:
    """CPU seconds of the bounds over those of the attack, on the first n images."""

    def sized(name: str, count: int) -> tuple[Tensor, Tensor]:
        x, y = shared.images(name, count)
        return F.interpolate(x, size=(side, side), mode="bilinear", align_corners=False), y

    model, (x, y) = trained(*sized("cifar10_train5k", 2000)), sized(CIFAR, n)
    spent, prove_rows = [], proving.prove_rows

    def timed(*args: Any) -> proving.Proven:
        start = time.process_time()
        found = prove_rows(*args)
        spent.append(time.process_time() - start)
        return found

    proving.prove_rows = timed
    start = time.process_time()
    result = measure_robust_accuracy(model, (x, y), Linf(8 / 255), attack="standard", certify="linear", exact=True)
    whole = time.process_time() - start
    proving.prove_rows = prove_rows
    about, bounds, attack = result.details, sum(spent), whole - sum(spent)
    print(
        f"resnet18, {side} x {side}, 8/255, {n} images: clean {about['clean_accuracy']:.3f}, left by the attack "
        f"{about['attacked']:.3f}, proven {about['proven']}, bounds {bounds:.2f} CPU s, attack {attack:.2f}: "
        f"{bounds / attack:.1%}. {'; '.join(result.words.notes)}",
        flush=True,
    )


def main() -> None:
    torch.set_num_threads(1)
    shared, given = shared_models(sys.argv[1]), sys.argv[2:]
    options = dict(one.removeprefix("--").split("=") for one in given if "=" in one)
    if "both" in options:
        both(shared, Path(options["both"]), int(options.get("most", 1 << 30)))
    if "--give-up" in given:
        for side in [int(one) for one in given if one.isdigit()] or [32]:
            give_up(shared, side, int(options.get("images", 64)))


if __name__ == "__main__":
    main()
