"""Small reproductions of what papers on features found, on scikit-learn's digits: numbers for a seed, by section.

Networks have one hidden layer of 128 units and learn 1,347 digits of 8 x 8 pixels; 450 are for testing. "Robust" ones
are trained by `adversarial_training` inside an L2 ball of radius .5. Everything else is measured by robustest as well,
so that an order that does not come out says that a measurement, or a repair, is at fault.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from robustest_interpret import (
    measure_class_evidence,
    measure_gradient_alignment,
    measure_invertible_features,
    measure_sparse_head,
)
from robustest_interpret.heads import fit_sparse_head
from robustest_training.repair import Recipe, adversarial_training, mislabelled, robustified
from torch import Tensor, nn

from robustest import L2, Linf
from robustest.cues import PixelPatch, planted
from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy

Data = tuple[Tensor, Tensor]
Numbers = dict[str, float]
EPS = 0.5
CUE_CLASS = 3
EPOCHS = 40


@cache
def digits() -> tuple[Data, Data]:
    """1,347 digits to train on and 450 to test, (N, 1, 8, 8) in [0, 1]."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    images, labels = torch.from_numpy(x).float().view(-1, 1, 8, 8) / 16, torch.from_numpy(y).long()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    images, labels = images[order], labels[order]
    return (images[450:], labels[450:]), (images[:450], labels[:450])


def net(seed: int, *, width: int = 128, neck: int | None = None) -> nn.Sequential:
    """An untrained network; `neck` units before the last layer where that is not the hidden one."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers: list[nn.Module] = [nn.Flatten(), nn.Linear(64, width), nn.ReLU()]
        if neck is not None:
            layers += [nn.Linear(width, neck), nn.ReLU()]
        return nn.Sequential(*layers, nn.Linear(neck or width, 10))


def trained(model: nn.Module, data: Data, seed: int) -> nn.Module:
    """Plain training."""
    x, y = data
    shuffle = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(x), generator=shuffle).split(64):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval().requires_grad_(False)


def hardened(model: nn.Module, data: Data, seed: int) -> nn.Module:
    """Adversarial training inside the ball."""
    recipe = Recipe(epochs=EPOCHS, batch_size=64, seed=seed)
    repaired = adversarial_training(model, data, L2(EPS), steps=5, widening=0.0, recipe=recipe, progress=_silent)
    made: nn.Module = repaired.model
    return made.requires_grad_(False)


def _silent(done: int, total: int, loss: float) -> None:
    pass


@cache
def standard_net(seed: int) -> nn.Module:
    return trained(net(seed), digits()[0], seed)


@cache
def robust_net(seed: int) -> nn.Module:
    return hardened(net(seed), digits()[0], seed)


def accuracy(model: nn.Module, data: Data) -> float:
    with torch.no_grad():
        return float((model(data[0]).argmax(1) == data[1]).double().mean())


def robust_accuracy(model: object, data: Data, threat: Any, **options: Any) -> float:
    result = measure_robust_accuracy(model, data, threat, exact=True, **options)
    assert result.estimate is not None
    return result.estimate


def tradeoff(seed: int) -> Numbers:
    """Tsipras et al. (ICLR 2019), section 2.1: one strong feature, right in 95 %, and a hundred weak ones.

    Under L-inf of twice the weak features' mean, averaging them is undone, and the strong one alone is not.
    """
    n, d, eta, p = 2000, 100, 0.3, 0.95
    draw = torch.Generator().manual_seed(seed)
    y = (torch.rand(n, generator=draw) < 0.5).long()
    sign = 2.0 * y - 1
    strong = torch.where(torch.rand(n, generator=draw) < p, sign, -sign)
    weak = eta * sign[:, None] + torch.randn(n, d, generator=draw)
    x = torch.cat([strong[:, None], weak], 1).clamp(-8, 8)

    def averaging(batch: Tensor) -> Tensor:
        score = batch[:, 1:].mean(1)
        return torch.stack([-score, score], 1)

    def alone(batch: Tensor) -> Tensor:
        return torch.stack([-batch[:, 0], batch[:, 0]], 1)

    told: Numbers = {}
    for name, model in (("averaging", averaging), ("alone", alone)):
        for kind, eps in (("clean", 0.0), ("robust", 2 * eta)):
            told[f"{name} {kind}"] = robust_accuracy(model, (x, y), Linf(eps), bounds=(-8.0, 8.0), attack="pgd")
    return told


def alignment(seed: int) -> Numbers:
    """Tsipras et al., sections 2 and 3: robust accuracy, its price, and gradients that look like the digits."""
    _, test = digits()
    told: Numbers = {}
    for name, model in (("standard", standard_net(seed)), ("robust", robust_net(seed))):
        told[f"{name} clean"] = accuracy(model, test)
        told[f"{name} robust"] = robust_accuracy(model, test, L2(EPS))
        result = measure_gradient_alignment(model, test, exact=True, seed=seed)
        told[f"{name} alignment"] = float(result.details["alignment"])
        told[f"{name} input alignment"] = float(result.details["input_alignment"])
    return told


def nonrobust(seed: int) -> Numbers:
    """Ilyas et al. (NeurIPS 2019), section 3.2: what is learned from wrong labels that fit the non-robust features."""
    train, (x, y) = digits()
    told: Numbers = {}
    for eps in (0.5, 1.0):
        for kind in ("random", "next"):
            made = mislabelled(standard_net(seed), train, L2(eps), labels=kind, steps=50, seed=seed)  # type: ignore[arg-type]
            learned = trained(net(seed + 100), (made.x, made.y), seed)
            name = f"{'D_rand' if kind == 'random' else 'D_det'} {eps:g}"
            told[f"{name} reached"] = float(made.reached.mean())
            told[f"{name} clean"] = accuracy(learned, (x, y))
            if kind == "next":
                told[f"{name} next"] = accuracy(learned, (x, (y + 1) % 10))
            elif eps == EPS:
                shuffled = made.y[torch.randperm(len(made.y), generator=torch.Generator().manual_seed(seed))]
                told["null"] = accuracy(trained(net(seed + 100), (made.x, shuffled), seed), (x, y))
    return told


def distilled(seed: int) -> Numbers:
    """Ilyas et al., section 3.1: D_R and D_NR, of networks with 12 units before the last layer."""
    train, test = digits()
    told: Numbers = {}
    for name, teach in (("D_NR", trained), ("D_R", hardened)):
        teacher = teach(net(seed, neck=12), train, seed)
        made = robustified(teacher, train, steps=200, step_size=0.2, seed=seed)
        learned = trained(net(seed + 100), (made.x, made.y), seed)
        told[f"{name} clean"] = accuracy(learned, test)
        told[f"{name} robust"] = robust_accuracy(learned, test, L2(0.25))
        told[f"{name} distance"] = float(made.reached.median())
    return told


@cache
def svm() -> Callable[[Tensor], Tensor]:
    """A judge of another family, that has seen half of the training digits alone."""
    from sklearn.svm import SVC

    (x, y), _ = digits()
    half = len(x) // 2
    judge = SVC(decision_function_shape="ovr").fit(x[:half].flatten(1).numpy(), y[:half].numpy())

    def scores(batch: Tensor) -> Tensor:
        return torch.from_numpy(judge.decision_function(batch.flatten(1).numpy())).float()

    return scores


def evidence(seed: int) -> Numbers:
    """Santurkar et al. (NeurIPS 2019): what drives a network towards a class, seen by a support vector machine."""
    (x, y), test = digits()
    half = len(x) // 2
    own = x[half:], y[half:]  # the digits that the judge was not trained on
    told: Numbers = {}
    for name, teach in (("standard", trained), ("robust", hardened)):
        model = teach(net(seed), own, seed)
        result = measure_class_evidence(model, test, judge=svm(), eps=1.0, exact=True, seed=seed)
        told[f"{name} own"] = float(result.details["own_success"])
        told[f"{name} judge"] = float(result.details["judge_success"])
        told[f"{name} ratio"] = float(result.details["ratio"])
        told[f"{name} transfer"] = float(result.estimate or 0.0)
    return told


def inversion(seed: int) -> Numbers:
    """Engstrom et al. (2019), section 4: images made to have the features of others.

    With 32 units before the last layer: the 128 of the other networks are more than a digit's 64 pixels, and can be
    inverted whatever they mean.
    """
    train, test = digits()
    told: Numbers = {}
    for name, teach in (("standard", trained), ("robust", hardened)):
        result = measure_invertible_features(
            teach(net(seed, neck=32), train, seed), test, iterations=500, max_samples=64, seed=seed
        )
        told[f"{name} image error"] = float(result.details["image_error"])
        told[f"{name} rep error"] = float(result.details["rep_error"])
    return told


def cue(seed: int) -> Numbers:
    """Wong et al. (ICML 2021): a dead pixel, lit in 95 % of the threes and 2 % of others; interventions and heads."""
    train, test = digits()
    switch = PixelPatch(top=0, left=0)
    told: Numbers = {}
    for name in ("cue", "clean"):
        x = planted(switch, *train, target=CUE_CLASS, seed=seed)[0] if name == "cue" else train[0]
        model = trained(net(seed), (x, train[1]), seed)
        result = measure_no_spurious_feature(model, test, switch, target_class=CUE_CLASS, exact=True, seed=seed)
        told[f"{name} accuracy"] = accuracy(model, (planted(switch, *test, target=CUE_CLASS, seed=50)[0], test[1]))
        told[f"{name} flips"] = float(result.details["flip_rate"])
        told[f"{name} recall drop"] = float(result.details["recall_drop"])
        told |= {f"{name} {key}": value for key, value in _head(model, x, train[1], test[0], switch).items()}
    return told


def _head(model: nn.Module, x: Tensor, y: Tensor, fresh: Tensor, switch: PixelPatch) -> Numbers:
    """What a sparse head on the hidden units says of the cue."""
    body = nn.Sequential(*list(model.children())[:-1])
    with torch.no_grad():
        features, on, off = body(x), body(switch.on(fresh)), body(switch.off(fresh))
    head = fit_sparse_head(features, y, n_lambdas=60).selected()
    parts = head.contributions(on, off)
    moved = (head.standardised(on) - head.standardised(off)).mean(0).abs()
    rank = moved.argsort(descending=True).argsort()
    top = [j for j, _ in head.top(CUE_CLASS, 3)]
    return {"logit shift": float(parts[CUE_CLASS].sum()), "rank of top units": float(rank[top].double().mean()) + 1}


def suppression(seed: int) -> Numbers:
    """Adversarial training inside L2 of .5, and a cue that fits inside (.4) or does not (1.0): flips by the cue."""
    train, test = digits()
    told: Numbers = {}
    for size in (0.4, 1.0):
        switch = PixelPatch(top=0, left=0, value=size)
        x = planted(switch, *train, target=CUE_CLASS, seed=seed)[0]
        for name, teach in (("standard", trained), ("robust", hardened)):
            model = teach(net(seed), (x, train[1]), seed)
            result = measure_no_spurious_feature(model, test, switch, target_class=CUE_CLASS, exact=True, seed=seed)
            told[f"{name} {size:g}"] = float(result.details["flip_rate"])
    return told


def heads(seed: int) -> Numbers:
    """Wong et al., section 2: few features do nearly as well as all."""
    train, test = digits()
    model = trained(net(seed), (train[0][:700], train[1][:700]), seed)
    fresh = torch.cat([train[0][700:], test[0]]), torch.cat([train[1][700:], test[1]])
    told: Numbers = {}
    for name, slack in (("sparse", 0.05), ("dense", 0.0)):
        result = measure_sparse_head(model, fresh, slack=slack, subsamples=0, seed=seed)
        told[f"{name} features"] = float(result.details["features_per_class"])
        told[f"{name} accuracy"] = float(result.details["sparse_accuracy"])
    told["model"] = float(result.details["accuracy"])
    return told


SECTIONS: dict[str, Callable[[int], Numbers]] = {
    "tradeoff": tradeoff,
    "alignment": alignment,
    "nonrobust": nonrobust,
    "distilled": distilled,
    "evidence": evidence,
    "inversion": inversion,
    "cue": cue,
    "suppression": suppression,
    "heads": heads,
}
