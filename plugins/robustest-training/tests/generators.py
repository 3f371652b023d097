"""Generators of small digits, good and bad, for claims about synthetic data."""

from __future__ import annotations

from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

Labelled = tuple[Tensor, Tensor]

K = 10


class Digits(NamedTuple):
    """MNIST at 7 x 7, disjoint draws."""

    train: Labelled
    fresh: Labelled
    test: Labelled


def digits(networks: ModuleType, seed: int, n: int = 1500, tested: int = 2000) -> Digits:
    """Draws of the training digits; the test digits are those of MNIST's own test set."""
    folder = networks.HERE / "images"
    arrays = [np.load(folder / f"mnist_{name}.npz") for name in ("train", "test")]
    (x, y), (xt, yt) = [(_small(held["x"]), torch.from_numpy(held["y"]).long()) for held in arrays]
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(x), generator=generator)
    judged = torch.randperm(len(xt), generator=generator)[:tested]
    train, fresh = order[:n], order[n : 2 * n]
    return Digits((x[train], y[train]), (x[fresh], y[fresh]), (xt[judged], yt[judged]))


def _small(images: np.ndarray) -> Tensor:
    return F.avg_pool2d(torch.from_numpy(images).float().unsqueeze(1) / 255, 4)


def gaussians(train: Labelled, rank: int, seed: int) -> Labelled:
    """As many samples of a Gaussian of this rank for each class, with the training set's shares on average."""
    x, y = train
    random = torch.Generator().manual_seed(seed)
    labels = y[torch.randint(len(y), (len(y),), generator=random)]
    made = torch.empty(len(y), x[0].numel())
    for k in range(K):
        rows = x[y == k].flatten(1)
        centre = rows.mean(0)
        _, scale, axes = torch.linalg.svd(rows - centre, full_matrices=False)
        of = labels == k
        weights = torch.randn(int(of.sum()), rank, generator=random) * scale[:rank] / (len(rows) - 1) ** 0.5
        made[of] = centre + weights @ axes[:rank]
    return made.view_as(x), labels


def without(fresh: Labelled, *classes: int) -> Labelled:
    """Real samples of the other classes alone, some of them twice, a little jittered, so that there are as many."""
    x, y = fresh
    kept = (~torch.isin(y, torch.tensor(classes))).nonzero().flatten()
    random = torch.Generator().manual_seed(0)
    rows = torch.cat([kept, kept[torch.randint(len(kept), (len(y) - len(kept),), generator=random)]])
    return x[rows] + 0.01 * torch.randn(x[rows].shape, generator=random), y[rows]


def jittered(train: Labelled, seed: int, noise: float = 0.02) -> Labelled:
    """The training samples themselves, a little noisy."""
    x, y = train
    return x + noise * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)), y


def partly_copied(train: Labelled, fresh: Labelled, share: float, seed: int) -> Labelled:
    """Fresh samples, a share of which is replaced by jittered copies."""
    count = round(share * len(train[1]))
    copies = jittered(train, seed)
    return torch.cat([copies[0][:count], fresh[0][count:]]), torch.cat([copies[1][:count], fresh[1][count:]])


def autoencoder(train: Labelled, seed: int, epochs: int = 30) -> Labelled:
    """Samples of a small conditional variational autoencoder, as many of each class as there are."""
    x, y = train[0].flatten(1), F.one_hot(train[1], K).float()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(49 + K, 64), nn.ReLU(), nn.Linear(64, 8))
        decoder = nn.Sequential(nn.Linear(4 + K, 64), nn.ReLU(), nn.Linear(64, 49), nn.Sigmoid())
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=3e-3)
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(50):
                mean, log_variance = encoder(torch.cat([x[rows], y[rows]], 1)).chunk(2, 1)
                code = mean + torch.randn_like(mean) * (log_variance / 2).exp()
                made = decoder(torch.cat([code, y[rows]], 1))
                divergence = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum(1)
                loss = (F.binary_cross_entropy(made, x[rows], reduction="none").sum(1) + divergence).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        with torch.no_grad():
            made = decoder(torch.cat([torch.randn(len(x), 4), y], 1))
    return made.view_as(train[0]), train[1]
