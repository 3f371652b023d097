"""What PGD-40 costs over the bare model passes it spends, beside torchattacks, foolbox and ART.

On two networks: one so small that a step takes a few milliseconds, and one that is still small by today's measure.
CPU seconds of one attack, divided by the CPU seconds that its own forward and backward passes take when run
bare right after (the same batch sizes in the same order, weights frozen, gradient to the input of the summed
cross-entropy). Every peer runs its own PGD at the same eps, steps and step size; model passes are counted by a
hook. Peers that are not installed are left out and named.

    python benchmarks/overhead.py DATA   # DATA: the folder with models.py (its networks and images)
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest import Linf
from robustest.attacks import PGD
from robustest.measure import measure_robust_accuracy

STEPS = 40


class Setting(NamedTuple):
    """A network, its images, and the attack's radius and step length."""

    network: str
    images: str
    n: int
    eps: float
    step: float
    rounds: int


SETTINGS = (
    Setting("fast_mnist_pgd", "mnist_test", 500, 0.3, 0.01, 15),
    Setting("resnet8_cifar10", "cifar10_test_exact1000", 100, 0.25 / 255, 0.025 / 255, 5),
)


class Counted(nn.Module):
    """Counts samples passed forward and backward."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forward_samples = self.backward_samples = 0
        self.passes: list[tuple[int, bool]] = []

    def forward(self, x: Tensor) -> Tensor:
        back = torch.is_grad_enabled() and x.requires_grad
        self.forward_samples += len(x)
        self.backward_samples += len(x) * back
        self.passes.append((len(x), back))
        return self.model(x)


def ours(model: nn.Module, x: Tensor, y: Tensor, at: Setting) -> float:
    attack = PGD(steps=STEPS, step_size=at.step)
    return measure_robust_accuracy(model, (x, y), Linf(at.eps), attack=attack, seed=0).estimate


def torchattacks_pgd(model: nn.Module, x: Tensor, y: Tensor, at: Setting) -> float:
    import torchattacks

    adversarial = torchattacks.PGD(model, eps=at.eps, alpha=at.step, steps=STEPS)(x, y)
    return accuracy(model, adversarial, y)


def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor, at: Setting) -> float:
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=at.step, steps=STEPS)
    _, _, success = attack(wrapped, x, y, epsilons=at.eps)
    return 1 - success.float().mean().item()


def art_pgd(model: nn.Module, x: Tensor, y: Tensor, at: Setting) -> float:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = ProjectedGradientDescent(
        wrapped, eps=at.eps, eps_step=at.step, max_iter=STEPS, num_random_init=1, batch_size=at.n, verbose=False
    )
    adversarial = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
    return accuracy(model, adversarial, y)


Attack = Callable[[nn.Module, Tensor, Tensor, Setting], float]


def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    with torch.no_grad():
        return (model(x).argmax(1) == y).float().mean().item()


def bare(model: nn.Module, x: Tensor, y: Tensor, passes: list[tuple[int, bool]]) -> float:
    """CPU seconds of the same passes and nothing else."""
    started = time.process_time()
    for size, back in passes:
        if back:
            point = x[:size].detach().requires_grad_(True)
            torch.autograd.grad(F.cross_entropy(model(point), y[:size], reduction="sum"), point)
        else:
            with torch.no_grad():
                model(x[:size])
    return time.process_time() - started


def shared_models(folder: str) -> Any:
    """The module models.py of a folder with trained networks: `load(name)` and `images(name, n)`."""
    spec = importlib.util.spec_from_file_location("models", Path(folder, "models.py"))
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def attacks() -> dict[str, Attack]:
    chosen: dict[str, Attack] = {"robustest": ours}
    for name, attack in (("torchattacks", torchattacks_pgd), ("foolbox", foolbox_pgd), ("art", art_pgd)):
        if importlib.util.find_spec(name):
            chosen[name] = attack
        else:
            print(f"{name}: not installed, left out")
    return chosen


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    shared = shared_models(sys.argv[1])
    chosen = attacks()
    for at in SETTINGS:
        x, y = shared.images(at.images, at.n)
        network = shared.load(at.network)
        ratios: dict[str, list[float]] = {name: [] for name in chosen}
        told: dict[str, tuple[float, float, float, float]] = {}
        for _ in range(at.rounds):
            for name, attack in chosen.items():
                model = Counted(network).eval()
                started = time.process_time()
                robust = attack(model, x, y, at)
                spent = time.process_time() - started
                ratios[name].append(spent / bare(network, x, y, model.passes))
                told[name] = (robust, model.forward_samples / at.n, model.backward_samples / at.n, spent)
        print(
            f"PGD-{STEPS}, L-inf {at.eps:.4g}, {at.network}, {at.n} images, one thread, torch {torch.__version__}, "
            f"{at.rounds} rounds"
        )
        print(
            f"{'':14}{'robust acc.':>12}{'forward':>9}{'backward':>9}{'CPU s':>8}  CPU / bare passes: median (min, max)"
        )
        for name, values in ratios.items():
            robust, forward, backward, spent = told[name]
            print(
                f"{name:14}{robust:12.3f}{forward:9.1f}{backward:9.1f}{spent:8.2f}  "
                f"{statistics.median(values):.3f} ({min(values):.3f}, {max(values):.3f})"
            )


if __name__ == "__main__":
    main()
