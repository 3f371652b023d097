"""A detector of squares and discs that answers as DETR does, trained in seconds, and pictures to find them in."""

from types import SimpleNamespace

import torch
from PIL import Image
from torch import nn
from torch.nn.functional import cross_entropy, l1_loss

SIDE, CLASSES = 32, ["square", "disc"]


def pictures(n, seed):
    """(n, 3, SIDE, SIDE) of a square and a disc on noise, one of them missing in a third, and targets with boxes."""
    generator = torch.Generator().manual_seed(seed)
    middle = torch.rand(n, 2, 2, generator=generator) * (SIDE - 16) + 8
    reach = torch.rand(n, 2, 1, generator=generator) * 3 + 4
    there = torch.rand(n, generator=generator)
    there = torch.stack([there > 1 / 6, there < 5 / 6], 1)
    line = torch.arange(SIDE) + 0.5
    away = torch.stack(torch.meshgrid(line, line, indexing="ij"))[None, None] - middle.flip(2)[..., None, None]
    square = (away[:, 0].abs().amax(1) < reach[:, 0, :, None]) & there[:, 0, None, None]
    disc = (away[:, 1].norm(dim=1) < reach[:, 1, :, None]) & there[:, 1, None, None]
    x = 0.3 + 0.03 * torch.randn(n, 3, SIDE, SIDE, generator=generator)
    x[:, 0] += 0.4 * square
    x[:, 2] += 0.4 * disc
    boxes = torch.cat([middle - reach, middle + reach], 2)
    return x.clamp(0, 1), [{"boxes": boxes[i][there[i]], "labels": there[i].nonzero()[:, 0]} for i in range(n)]


class Detector(nn.Module):
    """A query for each class: logits (N, 2, 3), the last of no object, and boxes (N, 2, 4), shares of the image."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 5, stride=2, padding=2), nn.ReLU()
        )
        self.map = nn.Conv2d(16, 2, 3, padding=1)
        self.score = nn.Linear(4, 2)

    def forward(self, x):
        heat = self.map(self.features(x))
        share = heat.flatten(2).softmax(2).view_as(heat)  # where the object is, if it is anywhere
        at = (torch.arange(heat.shape[2], device=x.device) + 0.5) / heat.shape[2]
        across, down = share.sum(2) @ at, share.sum(3) @ at
        wide = ((share.sum(2) @ at**2 - across**2).clamp(min=1e-6) * 12).sqrt()
        high = ((share.sum(3) @ at**2 - down**2).clamp(min=1e-6) * 12).sqrt()
        seen = self.score(torch.cat([heat.amax((2, 3)), heat.mean((2, 3))], 1))
        never, nothing = torch.full_like(seen[:, :1], -8.0), torch.zeros_like(seen[:, :1])
        square, disc = torch.cat([seen[:, :1], never, nothing], 1), torch.cat([never, seen[:, 1:], nothing], 1)
        logits = torch.stack([square, disc], 1)
        return SimpleNamespace(logits=logits, pred_boxes=torch.stack([across, down, wide, high], 2))


def trained(steps=400, noise=0.0):
    """A detector after some steps; `noise` is that of the pictures it is trained on."""
    torch.manual_seed(0)
    model = Detector()
    x, targets = pictures(512, seed=1)
    there = torch.zeros(len(x), 2, dtype=torch.bool)
    boxes = torch.zeros(len(x), 2, 4)
    for i, target in enumerate(targets):
        there[i, target["labels"]] = True
        boxes[i, target["labels"]] = target["boxes"] / SIDE
    wanted = torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], 2)
    kind = torch.where(there, torch.arange(2), 2)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 0.01, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(x), (48,))
        answer = model((x[rows] + noise * torch.randn_like(x[rows])).clamp(0, 1))
        loss = cross_entropy(answer.logits.flatten(0, 1), kind[rows].flatten())
        loss = loss + 10 * l1_loss(answer.pred_boxes[there[rows]], wanted[rows][there[rows]])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval().requires_grad_(False)


def write_yolo(root, x, targets):
    """Write pictures and boxes as YOLO's folders do, and return the root."""
    for name in ("images/val", "labels/val"):
        (root / name).mkdir(parents=True)
    for i, (image, target) in enumerate(zip(x, targets, strict=True)):
        Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy()).save(root / f"images/val/{i:03}.png")
        left, top, right, bottom = (target["boxes"] / SIDE).T
        rows = torch.stack([target["labels"], (left + right) / 2, (top + bottom) / 2, right - left, bottom - top], 1)
        lines = [" ".join(f"{value:.6g}" for value in row) for row in rows.tolist()]
        (root / f"labels/val/{i:03}.txt").write_text("\n".join(lines))
    (root / "data.yaml").write_text("val: images/val\nnames: [square, disc]\n")
    return root
