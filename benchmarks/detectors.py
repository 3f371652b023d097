"""Attacks on a small trained detector: mean average precision after APGD on our losses, and after published ones.

    PYTHONPATH=. python benchmarks/detectors.py [--images 24] [--steps 20] [--seeds 2]

The detector is the RetinaNet of `tests/detections.py`, trained on drawn shapes. Published losses climb by signed
gradient steps from a random start in L-inf, as in their papers, each with two sizes of a step, of which the better
counts:

- TOG, untargeted (Chow et al., 2020; the task's loss of Zhang and Wang, ICCV 2019): the detector's training loss.
- TOG, vanishing: the training loss of no objects, which falls.
- DAG (Xie et al., ICCV 2017): logits of anchors on a target, of its class less another, while they name that class.

All have the same gradient passes. The value is COCO's, of robustest, on the inputs that they end with.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import box_iou

from robustest import Detection, Linf
from robustest.attacks import APGD
from robustest.measure import measure_accuracy, measure_robust_score
from robustest.tasks import TorchvisionDetector

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import detections

TASK = Detection(TorchvisionDetector(detections.CLASSES), score_by="ap")
OURS = ("ce", "margin", "move", "delete", "add")
Targets = list[dict[str, Tensor]]
Loss = Callable[[Any, Tensor, Targets], Tensor]


def training_loss(model: Any, x: Tensor, y: Targets) -> Tensor:
    model.train()
    try:
        return torch.stack(list(model(list(x), y).values())).sum()
    finally:
        model.eval()


def vanishing(model: Any, x: Tensor, y: Targets) -> Tensor:
    none = [{"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)} for _ in y]
    return -training_loss(model, x, none)


def dag(model: Any, x: Tensor, y: Targets) -> Tensor:
    images, targets = model.transform(list(x), [dict(one) for one in y])
    features = [model.backbone(images.tensors)]
    logits = model.head(features)["cls_logits"]
    total = logits.sum() * 0
    for own, anchors, target in zip(logits, model.anchor_generator(images, features), targets, strict=True):
        overlap, place = box_iou(anchors, target["boxes"]).max(1)
        label = target["labels"][place]
        active = (overlap >= 0.5) & (own.argmax(1) == label)
        true = own.gather(1, label[:, None])[:, 0]
        other = own.scatter(1, label[:, None], -torch.inf).amax(1)
        total = total - (true - other)[active].sum()
    return total


PUBLISHED: dict[str, Loss] = {"TOG, untargeted": training_loss, "TOG, vanishing": vanishing, "DAG": dag}


def climbed(model: Any, x: Tensor, y: Targets, loss: Loss, *, radius: float, steps: int, size: float) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    z = (x + radius * (2 * torch.rand(x.shape, generator=generator) - 1)).clamp(0, 1)
    for _ in range(steps):
        z.requires_grad_(True)
        (slope,) = torch.autograd.grad(loss(model, z, y), z)
        z = (z.detach() + size * slope.sign()).clamp(x - radius, x + radius).clamp(0, 1)
    return z.detach()


def value(model: Any, x: Tensor, y: Targets) -> float:
    return float(measure_accuracy(model, (x, y), task=TASK, metric="map", cache=False).estimate or 0)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--images", type=int, default=24)
    options.add_argument("--steps", type=int, default=20)
    options.add_argument("--seeds", type=int, default=2)
    given = options.parse_args()
    for seed in range(given.seeds):
        model = detections.trained(seed=seed)
        x, y = detections.drawn(given.images, seed=77)
        print(
            f"| detector {seed}, {given.images} images, {given.steps} steps | mAP {value(model, x, y):.3f} |",
            flush=True,
        )
        for radius in (2 / 255, 4 / 255):
            row: dict[str, float] = {}
            started = time.process_time()
            for name in OURS:
                attack = APGD(steps=given.steps, loss=name)
                found = measure_robust_score(
                    model, (x, y), Linf(radius), task=TASK, metric="map", attack=attack, at_least=0.01, cache=False
                )
                row[f"APGD, {name}"] = float(found.estimate or 0)
            middle = time.process_time()
            for name, loss in PUBLISHED.items():
                sizes = (radius / 4, 2.5 * radius / given.steps)
                ends = [climbed(model, x, y, loss, radius=radius, steps=given.steps, size=size) for size in sizes]
                row[name] = min(value(model, z, y) for z in ends)
            words = "; ".join(f"{name} {one:.3f}" for name, one in row.items())
            seconds = f"{middle - started:.0f} and {time.process_time() - middle:.0f} CPU s"
            print(f"| L-inf {radius * 255:.0f}/255 | {words} | {seconds} |", flush=True)


if __name__ == "__main__":
    main()
