"""The smallest L2 perturbations found, beside foolbox's and adv-lib's minimum-norm attacks at 100 steps.

The median, over samples, of the norm at which an attack made the model wrong: infinite where it found nothing, 0 where
the unchanged sample is wrong. Every peer's inputs are predicted again by the bare model, and their norms measured in
float64. Passes are (forward + 2 x backward) samples a sample, counted by a hook. Peers that are not installed are left
out and named.

    python benchmarks/minimum_norm.py DATA   # DATA: the folder with models.py (network fast_mnist_pgd)
"""

from __future__ import annotations

import math
import sys
import time
import warnings
from collections.abc import Callable, Iterator

import torch
from overhead import Counted, shared_models
from torch import Tensor, nn

from robustest.attacks import ALMA, DDN, FMN, Cascade, Searcher
from robustest.measure import measure_min_perturbation

N = 500
Median = Callable[[nn.Module, Tensor, Tensor], float]


def ours(attack: Searcher | Cascade | None) -> Median:
    def median(model: nn.Module, x: Tensor, y: Tensor) -> float:
        found = measure_min_perturbation(model, (x, y), "l2", attack=attack, seed=0)
        assert found.estimate is not None
        return found.estimate

    return median


def of_inputs(attack: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> Median:
    """The median of what a function from samples to inputs found."""

    def median(model: nn.Module, x: Tensor, y: Tensor) -> float:
        adversarial = attack(model, x, y).detach()
        assert isinstance(model, Counted)
        with torch.no_grad():
            broken = model.model(adversarial).argmax(1) != y
            wrong = model.model(x).argmax(1) != y
        size = (adversarial.double() - x.double()).flatten(1).norm(dim=1)
        size = torch.where(wrong, 0.0, torch.where(broken, size, math.inf))
        return float(size.sort().values[len(size) // 2])

    return median


def foolbox_attacks() -> Iterator[tuple[str, Median]]:
    import foolbox

    def run(attack: object) -> Median:
        def attacked(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
            wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
            inputs: Tensor = attack(wrapped, x, y, epsilons=None)[1]  # type: ignore[operator]
            return inputs

        return of_inputs(attacked)

    yield "foolbox DDN-100", run(foolbox.attacks.DDNAttack(steps=100))
    yield "foolbox DDN-100 from 5", run(foolbox.attacks.DDNAttack(steps=100, init_epsilon=5.0))
    yield "foolbox FMN-100", run(foolbox.attacks.L2FMNAttack(steps=100))


def adv_lib_attacks() -> Iterator[tuple[str, Median]]:
    from adv_lib.attacks import alma, ddn, fmn

    yield "adv-lib DDN-100", of_inputs(lambda m, x, y: ddn(m, x, y, steps=100, levels=None))
    yield "adv-lib DDN-100 from 5", of_inputs(lambda m, x, y: ddn(m, x, y, steps=100, levels=None, init_norm=5.0))
    yield "adv-lib FMN-100", of_inputs(lambda m, x, y: fmn(m, x, y, norm=2, steps=100))
    yield "adv-lib ALMA-100", of_inputs(lambda m, x, y: alma(m, x, y, num_steps=100))
    yield "adv-lib ALMA-100, first 0.5", of_inputs(lambda m, x, y: alma(m, x, y, num_steps=100, init_lr_distance=0.5))


def attacks() -> Iterator[tuple[str, Median]]:
    yield "robustest minimum-l2", ours(None)
    yield "robustest DDN-100", ours(DDN(steps=100))
    yield "robustest DDN-100 outside in", ours(DDN.outside_in(steps=100))
    yield "robustest FMN-100", ours(FMN(steps=100))
    yield "robustest ALMA-100", ours(ALMA(steps=100))
    for name, peers in (("foolbox", foolbox_attacks), ("adv_lib", adv_lib_attacks)):
        try:
            yield from peers()
        except ImportError as error:
            print(f"{name}: left out, {error}")


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    shared = shared_models(sys.argv[1])
    x, y = shared.images("mnist_test", N)
    network = shared.load("fast_mnist_pgd").requires_grad_(False)
    print(f"fast_mnist_pgd, first {N}, L2, torch {torch.__version__}, one thread")
    for name, attack in attacks():
        model = Counted(network).eval()
        started = time.process_time()
        median = attack(model, x, y)
        spent = time.process_time() - started
        passes = (model.forward_samples + 2 * model.backward_samples) / N
        print(f"  {name:30} median {median:6.3f}  {passes:7.1f} passes  {spent:6.1f} CPU s", flush=True)


if __name__ == "__main__":
    main()
