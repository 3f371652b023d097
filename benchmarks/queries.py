"""Attacks without gradients beside peers at equal queries, and beside what gradients leave.

One thread, one process. Samples that the network gets right are attacked; what is shown is the robust accuracy on
them and the mean queries of a sample, counted by a hook on the model for everybody alike (a peer may stop early where
it breaks a sample, or spend more than it was given). "Gradients" is `standard` with gradients: how far above it a
search without them ends is what `enough_queries` rests on. Peers that are not installed are named and left out.

    python benchmarks/queries.py DATA [--only scores|labels|sparse] [--n 100] [--queries 1000]

DATA is the folder with models.py.
"""

from __future__ import annotations

import argparse
import importlib.util
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from overhead import Counted, shared_models
from torch import Tensor, nn

from robustest import L0, L1, L2, Linf, find_adversarial
from robustest.attacks import HopSkipJump, SparseRS, Square
from robustest.threats import Threat

Attack = Callable[[nn.Module, Tensor, Tensor, Threat, int], Tensor]
"""Model, samples, labels, threat and queries in; inputs out."""

KINDS: dict[str, tuple[Threat, ...]] = {
    "scores": (Linf(0.1), L2(2.0)),
    "labels": (Linf(0.15), L2(2.0)),
    "sparse": (L0(8), L1(10.0)),
}


def ours(kind: str) -> Attack:
    def attack(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, queries: int) -> Tensor:
        searchers = {"scores": Square, "labels": HopSkipJump, "sparse": SparseRS}
        return torch.as_tensor(find_adversarial(model, x, y, threat, attack=searchers[kind](queries=queries)).x)

    return attack


def torchattacks_square(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, queries: int) -> Tensor:
    import torchattacks

    norm = "Linf" if isinstance(threat, Linf) else "L2"
    attack = torchattacks.Square(model, norm=norm, eps=threat.radius, n_queries=queries, n_restarts=1, seed=0)
    found: Tensor = attack(x, y)
    return found


def torchattacks_pixels(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, queries: int) -> Tensor:
    import torchattacks

    size = 100  # of the population; each step asks about all of it
    attack = torchattacks.OnePixel(model, pixels=int(threat.radius), steps=queries // size, popsize=size)
    found: Tensor = attack(x, y)
    return found


class Single(nn.Module):
    """ART asks in float64."""

    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def art_classifier(model: nn.Module, x: Tensor) -> Any:
    from art.estimators.classification import PyTorchClassifier

    return PyTorchClassifier(
        nn.Sequential(Single(), model),
        nn.CrossEntropyLoss(),
        tuple(x.shape[1:]),
        10,
        clip_values=(0, 1),
        device_type="cpu",
    )


def art_square(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, queries: int) -> Tensor:
    from art.attacks.evasion import SquareAttack

    norm = float("inf") if isinstance(threat, Linf) else 2
    attack = SquareAttack(
        art_classifier(model, x), norm=norm, eps=threat.radius, max_iter=queries, batch_size=len(x), verbose=False
    )
    return torch.from_numpy(attack.generate(x.numpy(), y.numpy()))


def foolbox_walk(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, queries: int) -> Tensor:
    import foolbox

    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1))
    constraint = "linf" if isinstance(threat, Linf) else "l2"
    # A round asks some 100 sqrt(round) queries and 20 to 40 beside: as many rounds as the budget pays for.
    rounds = max(1, round((queries / 100) ** (2 / 3)))
    attack = foolbox.attacks.HopSkipJumpAttack(steps=rounds, constraint=constraint)
    found: Tensor = attack.run(wrapped, x, foolbox.criteria.Misclassification(y))
    return found


def art_walk(model: nn.Module, x: Tensor, y: Tensor, threat: Threat, queries: int) -> Tensor:
    from art.attacks.evasion import HopSkipJump as Walk

    rounds = max(1, round((queries / 100) ** (2 / 3)))
    norm = float("inf") if isinstance(threat, Linf) else 2
    attack = Walk(art_classifier(model, x), norm=norm, max_iter=rounds, max_eval=1000, init_eval=100, verbose=False)
    return torch.from_numpy(attack.generate(x.numpy()))


PEERS: dict[str, tuple[tuple[str, str, Attack], ...]] = {
    "scores": (
        ("torchattacks", "torchattacks Square", torchattacks_square),
        ("art", "ART Square", art_square),
    ),
    "labels": (("foolbox", "foolbox HopSkipJump", foolbox_walk), ("art", "ART HopSkipJump", art_walk)),
    "sparse": (("torchattacks", "torchattacks OnePixel", torchattacks_pixels),),
}


def held(network: nn.Module, x: Tensor, found: Tensor, y: Tensor, threat: Threat) -> float:
    """Share of samples whose input found is outside the threat or classified rightly: nobody counts what is too far."""
    inside = threat.size(found, threat.region(x, (0, 1))) <= threat.radius * (1 + 1e-5)
    with torch.no_grad():
        broken = (network(found).argmax(1) != y) & inside
    return 1 - broken.float().mean().item()


def compare(kind: str, threat: Threat, shared: Any, n: int, queries: int) -> None:
    """Print a table: gradients, ours and peers."""
    network = shared.load("lenet5_mnist")
    x, y = shared.images("mnist_test", n)
    with torch.no_grad():
        right = network(x).argmax(1) == y
    x, y = x[right], y[right]
    left = 1 - torch.as_tensor(find_adversarial(network, x, y, threat, attack="standard").broken).float().mean().item()
    print(f"\nlenet5_mnist, {threat}, {len(y)} samples, {queries} queries; gradients leave {left:.3f}")
    runs: list[tuple[str, Attack]] = [("robustest", ours(kind))]
    for module, name, attack in PEERS[kind]:
        if isinstance(threat, L1):  # no peer has one without gradients
            continue
        if importlib.util.find_spec(module):
            runs.append((name, attack))
        else:
            print(f"  {module}: not installed, left out")
    for name, attack in runs:
        model = Counted(network).eval()
        started = time.process_time()
        try:
            found = attack(model, x, y, threat, queries)
        except Exception as error:
            print(f"  {name:22} did not run: {type(error).__name__}: {str(error)[:80]}")
            continue
        share, asked = held(network, x, found.float(), y, threat), model.forward_samples / len(y)
        spent = time.process_time() - started
        print(f"  {name:22} {share:.3f} at {asked:7.0f} queries  {spent:6.1f} CPU s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--only", choices=KINDS)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--queries", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    warnings.simplefilter("ignore")
    shared = shared_models(options.data)
    for kind, threats in KINDS.items():
        for threat in threats if options.only in (None, kind) else ():
            compare(kind, threat, shared, options.n, options.queries)


if __name__ == "__main__":
    main()
