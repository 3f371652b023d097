"""Train the two nets of this example on 4,000 digits: one as usual, one on its own adversarial examples.

    python examples/quickstart/train.py

Takes a minute or two on one core and writes standard.safetensors and robust.safetensors next to this file.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from model import HERE, net, split
from safetensors.torch import save_file
from torch import Generator, Tensor, nn

EPOCHS, BATCH, RATE = 20, 50, 2e-3
TRAIN_EPS, TEST_EPS = 0.2, 0.1  # L-infinity


def main() -> None:
    torch.set_num_threads(1)  # more threads add in another order, and the weights come out a little different
    train, test = split()
    for name, eps in (("standard", 0.0), ("robust", TRAIN_EPS)):
        model = trained(name, train, eps)
        save_file(model.state_dict(), HERE / f"{name}.safetensors")
        attacked = pgd(model, *test, TEST_EPS, steps=40, rng=Generator().manual_seed(1))
        clean, robust = accuracy(model, *test), accuracy(model, attacked, test[1])
        print(f"{name}: test accuracy {clean:.3f} clean, {robust:.3f} under PGD-40 at eps {TEST_EPS}", flush=True)


def trained(name: str, data: tuple[Tensor, Tensor], eps: float) -> nn.Module:
    """A net trained by adversarial training (Madry et al., ICLR 2018, section 2); by plain training at eps 0."""
    x, y = data
    rng = Generator().manual_seed(0)
    torch.manual_seed(0)  # the initial weights draw from the global generator
    model = net()
    batches = -(-len(y) // BATCH)
    optimizer = torch.optim.Adam(model.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=EPOCHS * batches)
    for epoch in range(1, EPOCHS + 1):
        radius = eps * min(1.0, 3 * epoch / EPOCHS)  # grows over the first third: easier to learn from
        total = 0.0
        for batch in torch.randperm(len(y), generator=rng).split(BATCH):
            images = pgd(model, x[batch], y[batch], radius, steps=5, rng=rng) if eps else x[batch]
            loss = F.cross_entropy(model(images), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(f"{name}: epoch {epoch} of {EPOCHS}, eps {radius:.2f}, loss {total / batches:.3f}", flush=True)
    return model.eval()


def pgd(model: nn.Module, x: Tensor, y: Tensor, eps: float, *, steps: int, rng: Generator) -> Tensor:
    """Images that raise the loss, each pixel within eps of x (N, 1, 28, 28) and in [0, 1]."""
    low, high = (x - eps).clamp(min=0), (x + eps).clamp(max=1)
    at = low + (high - low) * torch.rand(x.shape, generator=rng)
    for _ in range(steps):
        at.requires_grad_(True)
        (slope,) = torch.autograd.grad(F.cross_entropy(model(at), y), at)
        at = (at.detach() + 2 * eps / steps * slope.sign()).clamp(low, high)
    return at.detach()


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    return (model(x).argmax(1) == y).float().mean().item()


if __name__ == "__main__":
    main()
