"""`repair.last_layer_retraining` beside the reference: worst-group accuracy, by samples that have group labels.

    python benchmarks/last_layer.py DATA [--seeds 8]    # DATA: the folder with models.py; needs scikit-learn

Low and high digits before textures that agree with the kind in 95 % of 4,000 training samples, and in 75 % of the
samples that have group labels. The reference is written from the paper (Kirichenko, Izmailov and Wilson, ICLR 2023,
section 4 and appendix B.2): features standardised; L1 logistic regression (liblinear) on half of the samples, balanced,
its C of seven chosen by the worst group of the other half; the mean of the weights of 20 balanced draws. Judged on
6,000 other digits whose textures agree in half.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from features import Data, cnn, images_of, say, textured, trained
from robustest_training.repair import last_layer_retraining
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

SIZES = (600, 1200, 4000)
STRENGTHS = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)


def worst_group(model: nn.Module, data: Data, groups: Tensor) -> float:
    right = model(data[0]).argmax(1) == data[1]
    return min(float(right[groups == k].float().mean()) for k in range(4))


def balanced(groups: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    least = np.bincount(groups).min()
    return np.concatenate([draw.permutation(np.flatnonzero(groups == k))[:least] for k in range(4)])


def reference(model: nn.Module, data: Data, groups: Tensor, seed: int) -> nn.Module:
    """The network with a head of the reference's."""
    draw, body = np.random.default_rng(seed), nn.Sequential(*list(model)[:-1])
    features, y, of = body(data[0]).double().numpy(), data[1].numpy(), groups.numpy()
    mean, spread = features.mean(0), features.std(0) + 1e-12
    scaled = (features - mean) / spread

    def fitted(rows: np.ndarray, strength: float) -> tuple[np.ndarray, float]:
        found = LogisticRegression(penalty="l1", C=strength, solver="liblinear").fit(scaled[rows], y[rows])
        return found.coef_[0], float(found.intercept_[0])

    halves = np.zeros(len(y), dtype=bool)
    halves[draw.permutation(len(y))[: len(y) // 2]] = True
    first, second = np.flatnonzero(halves), np.flatnonzero(~halves)
    rows, scores = first[balanced(of[first], draw)], []
    for strength in STRENGTHS:
        weight, bias = fitted(rows, strength)
        right = (scaled[second] @ weight + bias > 0) == y[second]
        scores.append(min(right[of[second] == k].mean() for k in range(4)))
    best = STRENGTHS[int(np.argmax(scores))]
    heads = [fitted(balanced(of, draw), best) for _ in range(20)]
    weight = np.mean([one for one, _ in heads], 0) / spread
    bias = np.mean([one for _, one in heads]) - weight @ mean
    head = nn.Linear(len(weight), 2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor(np.stack([0 * weight, weight])))
        head.bias.copy_(torch.tensor([0.0, bias]))
    return nn.Sequential(*body, head).eval().requires_grad_(False)


def compare(folder: Path, seeds: int) -> None:
    """Prints a line for each size and seed, and means."""
    x, y = images_of(folder, "mnist_train", 14_000)
    means: dict[int, list[tuple[float, float, float]]] = {size: [] for size in SIZES}
    for seed in range(seeds):
        data, _, _ = textured((x[:4000], y[:4000]), seed, 0.95)
        plain = trained(lambda: nn.Sequential(*list(cnn())[:-1], nn.Linear(64, 2)), data, seed, 6)
        judged, _, behind = textured((x[8000:], y[8000:]), seed + 100, 0.5)
        of_judged = 2 * judged[1] + behind
        for size in SIZES:
            held, _, behind = textured((x[4000 : 4000 + size], y[4000 : 4000 + size]), seed + 200, 0.75)
            groups = 2 * held[1] + behind
            started = time.process_time()
            named = {f"group {k}": (groups == k).nonzero().squeeze(1).numpy() for k in range(4)}
            ours = last_layer_retraining(plain, held, named, seed=seed).model
            seconds = time.process_time() - started
            theirs = reference(plain, held, groups, seed)
            found = [worst_group(model, judged, of_judged) for model in (plain, ours, theirs)]
            means[size].append((found[0], found[1], found[2]))
            say(
                f"{size} | {seed} | plain {found[0]:.3f} | ours {found[1]:.3f}, {seconds:.1f} s | theirs {found[2]:.3f}"
            )
    for size, rows in means.items():
        plain_, ours_, theirs_ = (statistics.fmean(column) for column in zip(*rows, strict=True))
        say(f"{size}: plain {plain_:.3f}, ours {ours_:.3f}, reference {theirs_:.3f}, apart {ours_ - theirs_:+.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    compare(options.data, options.seeds)


if __name__ == "__main__":
    main()
