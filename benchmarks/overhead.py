"""What PGD-40 costs over the bare model passes it spends, beside torchattacks, foolbox and ART.

CPU seconds of one attack, divided by the CPU seconds that its own forward and backward passes take when run
bare right after (the same batch sizes in the same order, weights frozen, gradient to the input of the summed
cross-entropy). Every peer runs its own PGD at the same eps, steps and step size; model passes are counted by a
hook. Peers that are not installed are left out and named.

    python benchmarks/overhead.py DATA   # DATA: the folder with models.py (network fast_mnist_pgd)
"""

from __future__ import annotations

import importlib.util
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustest import PGD, Linf, measure_robust_accuracy

N, EPS, STEPS, STEP, ROUNDS = 500, 0.3, 40, 0.01, 9


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


def ours(model: nn.Module, x: Tensor, y: Tensor) -> float:
    attack = PGD(steps=STEPS, step_size=STEP)
    return measure_robust_accuracy(model, (x, y), Linf(EPS), attack=attack, seed=0).estimate


def torchattacks_pgd(model: nn.Module, x: Tensor, y: Tensor) -> float:
    import torchattacks

    adversarial = torchattacks.PGD(model, eps=EPS, alpha=STEP, steps=STEPS)(x, y)
    return accuracy(model, adversarial, y)


def foolbox_pgd(model: nn.Module, x: Tensor, y: Tensor) -> float:
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    attack = foolbox.attacks.LinfPGD(abs_stepsize=STEP, steps=STEPS)
    _, _, success = attack(wrapped, x, y, epsilons=EPS)
    return 1 - success.float().mean().item()


def art_pgd(model: nn.Module, x: Tensor, y: Tensor) -> float:
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    wrapped = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10, clip_values=(0, 1), device_type="cpu"
    )
    attack = ProjectedGradientDescent(
        wrapped, eps=EPS, eps_step=STEP, max_iter=STEPS, num_random_init=1, batch_size=N, verbose=False
    )
    adversarial = torch.from_numpy(attack.generate(x.numpy(), y.numpy()))
    return accuracy(model, adversarial, y)


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


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    shared = shared_models(sys.argv[1])
    x, y = shared.images("mnist_test", N)
    network = shared.load("fast_mnist_pgd")
    attacks: dict[str, Callable[[nn.Module, Tensor, Tensor], float]] = {"robustest": ours}
    for name, attack in (("torchattacks", torchattacks_pgd), ("foolbox", foolbox_pgd), ("art", art_pgd)):
        if importlib.util.find_spec(name):
            attacks[name] = attack
        else:
            print(f"{name}: not installed, left out")
    ratios: dict[str, list[float]] = {name: [] for name in attacks}
    told: dict[str, tuple[float, float, float, float]] = {}
    for _ in range(ROUNDS):
        for name, attack in attacks.items():
            model = Counted(network).eval()
            started = time.process_time()
            robust = attack(model, x, y)
            spent = time.process_time() - started
            ratios[name].append(spent / bare(network, x, y, model.passes))
            told[name] = (robust, model.forward_samples / N, model.backward_samples / N, spent)
    print(
        f"PGD-{STEPS}, L-inf {EPS}, fast_mnist_pgd, {N} images, one thread, torch {torch.__version__}, {ROUNDS} rounds"
    )
    print(f"{'':14}{'robust acc.':>12}{'forward':>9}{'backward':>9}{'CPU s':>8}  CPU / bare passes: median (min, max)")
    for name, values in ratios.items():
        robust, forward, backward, spent = told[name]
        print(
            f"{name:14}{robust:12.3f}{forward:9.1f}{backward:9.1f}{spent:8.2f}  "
            f"{statistics.median(values):.3f} ({min(values):.3f}, {max(values):.3f})"
        )


if __name__ == "__main__":
    main()
