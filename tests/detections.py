"""Drawn shapes with their boxes, and a small detector of torchvision's that finds them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator

CLASSES = 2
SIDE = 48
Target = dict[str, Tensor]


def drawn(n: int, seed: int) -> tuple[Tensor, list[Target]]:
    """Images (n, 3, SIDE, SIDE) of a square (class 0) and a disc (class 1) on noise, apart, and their boxes."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator)

    row, column = torch.meshgrid(torch.arange(SIDE) + 0.5, torch.arange(SIDE) + 0.5, indexing="ij")
    reach = uniform(n, 2, low=5, high=9).round()
    across = torch.stack([uniform(n, low=10, high=14), uniform(n, low=34, high=38)], 1).round()
    across = torch.where(uniform(n, 1) < 0.5, across, across.flip(1))
    down = uniform(n, 2, low=10, high=38).round()
    away, aside = ((line - middle[..., None, None]).abs() for line, middle in ((row, down), (column, across)))
    square = torch.maximum(away[:, 0], aside[:, 0]) <= reach[:, 0, None, None]
    disc = away[:, 1] ** 2 + aside[:, 1] ** 2 <= reach[:, 1, None, None] ** 2
    kind = square.long() + 2 * disc.long()
    colours = torch.tensor([[0.45, 0.5, 0.55], [0.68, 0.42, 0.42], [0.42, 0.68, 0.5]])
    shade = colours[kind].movedim(-1, 1) + uniform(n, 3, 1, 1, low=-0.05, high=0.05)
    x = (shade + 0.06 * torch.randn(shade.shape, generator=generator)).clamp(0, 1)
    boxes = torch.stack([across - reach, down - reach, across + reach, down + reach], 2)
    return x, [{"boxes": one, "labels": torch.arange(2)} for one in boxes]


class Backbone(nn.Sequential):
    """(N, 3, H, W) -> (N, 24, H / 4, W / 4)."""

    out_channels = 24

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(3, 12, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(12, 24, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ReLU(),
        )


def detector(seed: int = 0) -> RetinaNet:
    """A detector without weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = RetinaNet(
            Backbone(),
            num_classes=CLASSES,
            anchor_generator=AnchorGenerator(sizes=((14,),), aspect_ratios=((1.0,),)),
            min_size=SIDE,
            max_size=SIDE,
            image_mean=[0.5] * 3,
            image_std=[0.2] * 3,
            detections_per_img=20,
            fg_iou_thresh=0.45,
            bg_iou_thresh=0.35,
        )
        for tower in (model.head.classification_head.conv, model.head.regression_head.conv):
            for part in tower.modules():
                if isinstance(part, nn.Conv2d):  # its own start is for long trainings
                    nn.init.kaiming_normal_(part.weight)
        return model.eval()


def trained(steps: int = 90, seed: int = 0) -> RetinaNet:
    """The detector after some steps on drawn shapes, a few seconds."""
    model = detector(seed).train()
    x, y = drawn(256, seed=1000 + seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.004)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.006, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = torch.randint(len(x), (12,), generator=generator).tolist()
        loss = sum(model([x[i] for i in rows], [y[i] for i in rows]).values())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
    return model.eval().requires_grad_(False)
