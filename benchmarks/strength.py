"""Strength and cost of the cascades beside torchattacks, foolbox and ART, and the published AutoAttack figures.

One thread, one process. Passes are counted by a hook on the model, for everybody alike: forward + 2 x backward
samples, per evaluated sample. Overhead is CPU seconds over those of the same passes run bare. Peers that are
not installed, or do not run on a row, are named and left out. AutoAttack's official figures for these
networks and images (`standard`, version standard, its own code, same seed-free order) are the reference column; the
rows of L0, L1 and patches have bars of their own instead, from what other attacks leave there. Our cascades run with
seeds 0 to 2, and what is shown is the mean; peers run once, on the rows of L-inf and L2.

    python benchmarks/strength.py DATA [--ours] [--recipe] [--row=K ...]

DATA is the folder with models.py; --recipe runs attack="autoattack" too; --row=K measures row K of `ROWS`, from 0, so
that the whole can be run in parts. The median of shares is of the rows that were measured.
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from overhead import Counted, bare, shared_models
from torch import Tensor, nn

from robustest import L0, L1, L2, Linf, Patch
from robustest.measure import measure_robust_accuracy
from robustest.threats import Threat


@dataclass(frozen=True)
class Row:
    """A network, a threat, the first n images, and AutoAttack's figures there: accuracy and weighted passes.

    For L0, L1 and patches they are the bar's.
    """

    network: str
    images: str
    threat: Threat
    n: int
    accuracy: float
    passes: int
    bar: float  # the most of these passes that `standard` may spend
    old: bool = True  # among the rows whose median share is looked at


ROWS = (
    Row("resnet8_cifar10", "cifar10_test_exact1000", Linf(2 / 255), 200, 0.000, 280, 1 / 4),
    Row("fast_mnist_pgd", "mnist_test", Linf(0.3), 500, 0.858, 10138, 1 / 12),
    Row("resnet_2b", "cifar10_test_exact1000", Linf(2 / 255), 200, 0.550, 6480, 1 / 12),
    Row("fast_mnist_pgd", "mnist_test", L2(2.0), 300, 0.040, 3073, 1 / 8),
    Row("resnet_4b", "cifar10_test_exact1000", Linf(2 / 255), 200, 0.640, 7533, 1 / 12),
    Row("resnet_2b", "cifar10_test_exact1000", L2(0.5), 200, 0.170, 2166, 1 / 8),
    Row("resnet_4b", "cifar10_test_exact1000", Linf(8 / 255), 200, 0.110, 1512, 1 / 5, old=False),
    Row("resnet_2b", "cifar10_test_exact1000", Linf(8 / 255), 200, 0.115, 1551, 1 / 5, old=False),
    Row("resnet_4b", "cifar10_test_exact1000", Linf(4 / 255), 200, 0.385, 4632, 1 / 5, old=False),
    Row("resnet8_cifar10", "cifar10_test_exact1000", Linf(1 / 255), 200, 0.060, 961, 1 / 5, old=False),
    Row("fast_mnist_pgd", "mnist_test", L0(12), 60, 0.12, 600, 1.0, old=False),
    Row("fast_mnist_pgd", "mnist_test", L1(10.0), 60, 0.28, 600, 1.0, old=False),
    Row("fast_mnist_pgd", "mnist_test", Patch(5, 5), 32, 0.08, 600, 1.0, old=False),
)
SLACK = 0.0025
"""By so much the mean over seeds may be above AutoAttack's figure."""
SEEDS = range(3)

Attack = Callable[[nn.Module, Tensor, Tensor, Threat], float]


def ours(name: str, seed: int) -> Attack:
    def attack(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> float:
        return measure_robust_accuracy(model, (x, y), threat, attack=name, seed=seed).estimate

    return attack


def torchattacks_auto(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> float:
    import torchattacks

    norm = "Linf" if isinstance(threat, Linf) else "L2"
    attack = torchattacks.AutoAttack(model, norm=norm, eps=threat.radius, n_classes=10, seed=0)
    return accuracy(model, attack(x, y), y)


def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> float:
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    kind = foolbox.attacks.LinfPGD if isinstance(threat, Linf) else foolbox.attacks.L2PGD
    _, _, success = kind(steps=100)(wrapped, x, y, epsilons=threat.radius)
    return 1 - success.float().mean().item()


def art_apgd(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> float:
    from art.attacks.evasion import AutoProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = AutoProjectedGradientDescent(
        wrapped,
        norm=float("inf") if isinstance(threat, Linf) else 2,
        eps=threat.radius,
        eps_step=threat.radius / 10,
        max_iter=100,
        nb_random_init=1,
        batch_size=len(x),
        loss_type="cross_entropy",
        verbose=False,
    )
    return accuracy(model, torch.from_numpy(attack.generate(x.numpy(), y.numpy())), y)


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def attacks(row: Row, arguments: list[str]) -> dict[str, list[Attack]]:
    """By name, what runs on a row: ours with every seed, the recipe of AutoAttack and peers once."""
    chosen = {f"robustest {name}": [ours(name, seed) for seed in SEEDS] for name in ("standard", "fast")}
    balls = isinstance(row.threat, Linf | L2)
    if "--recipe" in arguments and balls:
        chosen["robustest autoattack"] = [ours("autoattack", 0)]
    peers = (
        ("torchattacks", "torchattacks AutoAttack", torchattacks_auto),
        ("foolbox", "foolbox PGD-100", foolbox_pgd),
        ("art", "ART APGD-CE-100", art_apgd),
    )
    for module, name, attack in peers:
        if "--ours" in arguments or not balls:
            continue
        if importlib.util.find_spec(module):
            chosen[name] = [attack]
        else:
            print(f"{module}: not installed, left out")
    return chosen


def measure(row: Row, attack: Attack, shared: Any) -> tuple[float, float, float, float]:
    """Robust accuracy, weighted passes a sample, CPU seconds, overhead over the bare passes."""
    x, y = shared.images(row.images, row.n)
    network = shared.load(row.network)
    model = Counted(network).eval()
    started = time.process_time()
    robust = attack(model, x, y, row.threat)
    spent = time.process_time() - started
    passes = (model.forward_samples + 2 * model.backward_samples) / row.n
    return robust, passes, spent, spent / bare(network, x, y, model.passes)


def judged(row: Row, runs: list[tuple[float, float, float, float]]) -> str:
    """Whether the runs of `standard` keep the row's bar: the mean within the slack, none above by over a sample."""
    robust, share = [run[0] for run in runs], statistics.mean(run[1] for run in runs) / row.passes
    strong = statistics.mean(robust) <= row.accuracy + SLACK + 1e-9 and max(robust) <= row.accuracy + 1 / row.n + 1e-9
    kept = strong and share <= row.bar
    return f"  bar: <= {row.accuracy:.3f} at <= 1/{1 / row.bar:.0f}: {'met' if kept else 'NOT MET'}"


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    shared = shared_models(sys.argv[1])
    print(f"torch {torch.__version__}, one thread; passes = (forward + 2 x backward) samples per evaluated sample")
    shares: list[float] = []
    chosen = [int(one.removeprefix("--row=")) for one in sys.argv if one.startswith("--row=")]
    for row in [ROWS[place] for place in chosen] or ROWS:
        print(f"\n{row.network}, {row.threat}, first {row.n}: {row.accuracy:.3f} at {row.passes} passes")
        for name, seeds in attacks(row, sys.argv).items():
            try:
                runs = [measure(row, attack, shared) for attack in seeds]
            except Exception as error:
                print(f"  {name:26} did not run: {type(error).__name__}: {str(error)[:70]}")
                continue
            robust, passes, spent, overhead = (statistics.mean(column) for column in zip(*runs, strict=True))
            note = judged(row, runs) if name == "robustest standard" else ""
            if note and row.old and isinstance(row.threat, Linf):
                shares.append(passes / row.passes)
            each = ", ".join(f"{run[0]:.3f}" for run in runs)
            print(
                f"  {name:26} {robust:.4f} ({each})  {passes:8.1f} passes (1/{row.passes / passes:.1f})  "
                f"{spent:7.1f} CPU s  overhead {overhead:.2f}{note}",
                flush=True,
            )
    if shares:
        print(
            f"\nmedian share of AutoAttack's passes, first L-inf rows: 1/{1 / statistics.median(shares):.1f}; bar 1/40"
        )


if __name__ == "__main__":
    main()
