"""The kinds of this pack on small nets and small data, good and bad, as the core's table has its own."""

from __future__ import annotations

from typing import Any

import torch
from kinds import CLASSES, SIDE, Kind, Net, Templates, patterned, samples
from robustest_interpret import (
    measure_class_evidence,
    measure_gradient_alignment,
    measure_invertible_features,
    measure_no_backdoor_trigger,
    measure_no_failure_direction,
    measure_sparse_head,
)
from torch import Tensor, nn

from robustest import Result


def _sparse(good: bool, draw: int, **more: Any) -> Result:
    """Features that are pixels, or mixtures of all of them, of which a few say little."""
    torch.manual_seed(0)
    net = Net(good=True)
    mixing = nn.Linear(SIDE * SIDE, SIDE * SIDE, bias=False)
    nn.init.orthogonal_(mixing.weight)
    if good:
        mixing.weight.data = torch.eye(SIDE * SIDE)
    net.flat = nn.Sequential(nn.Flatten(), mixing)
    net.head.weight.data = net.head.weight.data @ mixing.weight.data.T
    few = {"max_features_per_class": 5, "n_lambdas": 12, "subsamples": 2, "fit_samples": 90}
    return measure_sparse_head(net, samples(draw), **few, **more)


def _evidence(good: bool, draw: int, **more: Any) -> Result:
    """A judge that looks at other pixels, too; for a bad model more of them."""
    weight = 0.6 if good else 2.0

    def judge(batch: Tensor) -> Tensor:
        return batch[:, 0, 0, :CLASSES] + weight * batch[:, 0, 1, :CLASSES]

    return measure_class_evidence(Net(good=True), samples(draw), judge=judge, eps=0.4, iterations=20, **more)


def _inversion(good: bool, draw: int, **more: Any) -> Result:
    """Features enough for an image, or too few."""
    torch.manual_seed(0)
    width = 32 if good else 4
    narrow = nn.Linear(SIDE * SIDE, width, bias=False)
    nn.init.orthogonal_(narrow.weight)
    model = nn.Sequential(nn.Flatten(), narrow, nn.Linear(width, CLASSES))
    x, y = samples(draw, 60)
    return measure_invertible_features(model, (x, y), **more)


def _failures(good: bool, draw: int, **more: Any) -> Result:
    """Errors that are scattered, or that lie where a corner is bright."""

    def model(batch: Tensor) -> Tensor:
        unlucky = (batch[:, 0, 5, 4] * 1e5) % 1 < 0.3 if good else batch[:, 0, 5, 5] > 0.2
        logits = batch.new_zeros(len(batch), CLASSES).scatter(1, batch[:, 0, 0, :CLASSES].argmax(1, keepdim=True), 3.0)
        return torch.where(unlucky[:, None], logits.roll(1, 1), logits)

    return measure_no_failure_direction(model, samples(draw, 400), **more)


def _backdoor(good: bool, draw: int, **more: Any) -> Result:
    few = {
        "iterations": 60,
        "search_samples": 60,
        "patch_sizes": [2, 6],
    }  # the larger leads anywhere, so that a class can stand out
    return measure_no_backdoor_trigger(Templates(good=good, classes=6), patterned(draw, 6, 180), **few, **more)


def _alignment(good: bool, draw: int, **more: Any) -> Result:
    return measure_gradient_alignment(Net(good=good), samples(draw), **more)


KINDS: dict[str, Kind] = {
    "backdoor": Kind(_backdoor, "max_anomaly", 1.0, 0.01),
    "sparse head": Kind(_sparse, "max_drop", 0.2, 0.001),
    "class evidence": Kind(_evidence, "min_transfer", 0.8, 0.999),
    "gradient alignment": Kind(_alignment, "at_least", 0.8, 0.99),
    "invertible features": Kind(_inversion, "max_image_error", 0.5, 0.01),
    "failure direction": Kind(_failures, "max_excess_error", 0.5, 0.05),
}
