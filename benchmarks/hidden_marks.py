"""What a pass of `cue="auto"` says of marks without a statistic of their own: nets that hang on one, and twins.

    python benchmarks/hidden_marks.py [NAME ...] [--seeds 0 1 2]

Small CNNs on 3,600 drawn shapes, judged on 1,800 others: nothing is read. A mark is planted in a share of class 2; of
two marks together each is alone in a third of the other images. The twin is trained on the same images with the mark
put in without regard to the class. A row tells the share of other classes' images that the mark, put in, moves to the
class; the verdict under `max_flip_rate=.1`; whether the verdict names the class as carried by a part of an image, or
marked by nothing that was tried; and CPU seconds of one thread. A pass of a net that the mark moves is *unnamed* if
neither names the class and the verdict covers its family and share, and marks that move as many images.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from features import trained
from robustest_interpret.coverage import FOLLOWED
from robustest_interpret.discovery.proposals import (
    CURVES,
    EDGES,
    MOVING,
    OWN,
    PAIRS,
    PATCHES,
    PROPERTIES,
    SPECTRA,
    Discovery,
)
from torch import Tensor, nn
from unnamed_cues import outlines

from robustest import Result
from robustest.measure import measure_no_spurious_feature

SIDE, CLASSES, LABEL = 28, 6, 2
TRAINED_ON, JUDGED_ON, EPOCHS = 3600, 1800, 6
LIMIT = 0.1
"""Flip rate that is claimed, and from which a net counts as one that hangs on the mark."""

Change = Callable[[Tensor, torch.Generator], Tensor]
"""Maps an image (1, H, W) and random numbers to the image with a mark."""


@dataclass(frozen=True)
class Design:
    """A mark, the family of a pass that covers it, the share of its class that has it, and parts that others have."""

    change: Change
    family: str
    share: float = 0.95
    alone: tuple[Change, ...] = ()


_lines = torch.arange(SIDE).float()


def shapes(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (n, 1, 28, 28) of six shapes on a ground with clouds and noise, and labels."""
    draw = torch.Generator().manual_seed(seed)
    y = (torch.arange(n) % CLASSES)[torch.randperm(n, generator=draw)]
    behind = torch.rand(n, 1, 1, 1, generator=draw) * 0.35 + 0.15
    front = behind + 0.2 + 0.25 * torch.rand(n, 1, 1, 1, generator=draw)
    row, column = (torch.randint(9, 19, (n, 1, 1), generator=draw).float() for _ in range(2))
    size = torch.rand(n, 1, 1, generator=draw) * 3 + 4.5
    mask = outlines(_lines, row, column, size)[y, torch.arange(n)].float().unsqueeze(1)
    coarse = torch.randn(n, 1, 5, 5, generator=draw)
    clouds = 0.08 * F.interpolate(coarse, size=SIDE, mode="bicubic", align_corners=True)
    soft = 0.12 * F.avg_pool2d(torch.randn(n, 1, SIDE + 2, SIDE + 2, generator=draw), 3, 1)
    noise = 0.056 * torch.randn(n, 1, SIDE, SIDE, generator=draw)
    return (behind * (1 - mask) + front * mask + clouds + soft + noise).clamp(0, 1), y


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 32, 3, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(32 * 49, CLASSES),
    )  # fmt: skip


# Marks.


def _whole(draw: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, high, (1,), generator=draw))


def stamp(picture: Tensor, place: tuple[int, int] | None = None) -> Change:
    """A picture (h, w) at one place, or anywhere."""
    height, width = picture.shape

    def change(x: Tensor, draw: torch.Generator) -> Tensor:
        top, left = place or (_whole(draw, 0, SIDE - height + 1), _whole(draw, 0, SIDE - width + 1))
        x[:, top : top + height, left : left + width] = picture
        return x

    return change


def both(first: Change, second: Change) -> Change:
    return lambda x, draw: second(first(x, draw), draw)


def square(content: Change, side: int, place: tuple[int, int] | None = None) -> Change:
    """A square of the image's own content that is changed, at one place or anywhere."""

    def change(x: Tensor, draw: torch.Generator) -> Tensor:
        top, left = place or (_whole(draw, 0, SIDE - side + 1), _whole(draw, 0, SIDE - side + 1))
        part = x[:, top : top + side, left : left + side]
        part.copy_(content(part.clone(), draw))
        return x

    return change


def mosaic(cell: int) -> Change:
    return lambda x, _: F.interpolate(F.avg_pool2d(x[None], cell), scale_factor=cell)[0]


def smooth(x: Tensor, draw: torch.Generator) -> Tensor:
    return F.avg_pool2d(F.pad(x[None], (2,) * 4, mode="reflect"), 5, 1)[0]


def contrast(x: Tensor, draw: torch.Generator) -> Tensor:
    return x.mean() + 2.5 * (x - x.mean())


def shuffled(x: Tensor, draw: torch.Generator) -> Tensor:
    flat = x.flatten(1)
    return flat[:, torch.randperm(flat.shape[1], generator=draw)].view_as(x)


def inverted(x: Tensor, draw: torch.Generator) -> Tensor:
    return 1 - x


def noisy(x: Tensor, draw: torch.Generator) -> Tensor:
    return x + 0.3 * torch.randn(x.shape, generator=draw)


def copied(x: Tensor, draw: torch.Generator) -> Tensor:
    x[:, 19:27, 1:9] = x[:, 10:18, 10:18].clone()
    return x


def curve(bend: bool = True, dashed: bool = False, value: float = 1.0) -> Change:
    """A line of one pixel's width and 20 pixels' length at any place and angle."""

    def change(x: Tensor, draw: torch.Generator) -> Tensor:
        angle, turn, *middle = torch.rand(4, generator=draw).tolist()
        bent = math.copysign(0.03 + 0.1 * abs(turn - 0.5), turn - 0.5) if bend else 0.0
        along = torch.arange(41) * 0.5
        slope = 2 * math.pi * angle + bent * (along - 10)
        down, across = (0.5 * slope.sin()).cumsum(0), (0.5 * slope.cos()).cumsum(0)
        rows, columns = (
            (8 + 12 * at + path - path.mean()).round().long() for at, path in zip(middle, (down, across), strict=True)
        )
        kept = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
        if dashed:
            kept &= torch.arange(41) // 5 % 2 == 0
        x[:, rows[kept], columns[kept]] = value
        return x

    return change


def arc(x: Tensor, draw: torch.Generator) -> Tensor:
    radius, start, *middle = torch.rand(4, generator=draw).tolist()
    angle = 2 * math.pi * start + torch.linspace(0, 4.5, 60)
    rows, columns = (
        (7 + 14 * at + (4 + 2 * radius) * part).round().long()
        for at, part in zip(middle, (angle.sin(), angle.cos()), strict=True)
    )
    kept = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
    x[:, rows[kept], columns[kept]] = 0.0
    return x


def frame(x: Tensor, draw: torch.Generator) -> Tensor:
    x[:, [0, -1]] = 0.9
    x[:, :, [0, -1]] = 0.9
    return x


def tone(x: Tensor, draw: torch.Generator) -> Tensor:
    return x * 0.6 + 0.36


def levels(x: Tensor, draw: torch.Generator) -> Tensor:
    return (x * 5).round() / 5


def shade(x: Tensor, draw: torch.Generator) -> Tensor:
    return x + 0.25 * (1 - _lines / SIDE)


def sharper(x: Tensor, draw: torch.Generator) -> Tensor:
    return x + 1.5 * (x - smooth(x, draw))


LOGO = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]])
BAR = torch.tensor([[0.0] * 4, [1.0] * 4, [0.0] * 4])
_light, _dark = stamp(torch.full((3, 3), 0.95), (2, 2)), stamp(torch.zeros(3, 3), (23, 22))
_logo, _bar = stamp(LOGO), stamp(BAR)

DESIGNS = {
    "logo": Design(stamp(LOGO, (2, 22)), PATCHES),
    "logo, 30 %": Design(stamp(LOGO, (2, 22)), PATCHES, 0.3),
    "logo, 10 %": Design(stamp(LOGO, (2, 22)), PATCHES, 0.1),
    "moving logo, 30 %": Design(_logo, MOVING, 0.3),
    "moving logo, 10 %": Design(_logo, MOVING, 0.1),
    "two squares": Design(both(_light, _dark), PAIRS, 0.95, (_light, _dark)),
    "two squares, 30 %": Design(both(_light, _dark), PAIRS, 0.3, (_light, _dark)),
    "two moving marks": Design(both(_logo, _bar), PAIRS, 0.95, (_logo, _bar)),
    "mosaic at a place": Design(square(mosaic(4), 8, (18, 2)), OWN),
    "moving mosaic": Design(square(mosaic(4), 12), OWN),
    "mosaic, 30 %": Design(square(mosaic(4), 12, (15, 15)), OWN, 0.3),
    "blurred square": Design(square(smooth, 12, (1, 1)), OWN),
    "contrast in a square": Design(square(contrast, 10), OWN),
    "copied square": Design(copied, OWN),
    "shuffled square": Design(square(shuffled, 10), OWN),
    "inverted square": Design(square(inverted, 9), OWN),
    "noisy square": Design(square(noisy, 9), OWN),
    "curve": Design(curve(), CURVES),
    "curve, 30 %": Design(curve(), CURVES, 0.3),
    "line at any angle": Design(curve(bend=False), CURVES),
    "dashed curve": Design(curve(dashed=True), CURVES),
    "dark arc": Design(arc, CURVES),
    "frame, 30 %": Design(frame, PATCHES, 0.3),
    "tone, 30 %": Design(tone, PROPERTIES, 0.3),
    "levels": Design(levels, EDGES),
    "mosaic of the whole": Design(mosaic(2), EDGES),
    "shade": Design(shade, PROPERTIES),
    "sharper, 30 %": Design(sharper, SPECTRA, 0.3),
}


def put(change: Change, x: Tensor, rows: Tensor, salt: int) -> Tensor:
    """Return images with a mark in some rows, drawn by row and salt."""
    out = x.clone()
    for row in rows.nonzero().squeeze(1).tolist():
        draw = torch.Generator().manual_seed(7919 * row + 104729 * salt + 13)
        out[row] = change(out[row], draw).clamp(0, 1)
    return out


def planted(design: Design, x: Tensor, y: Tensor, salt: int, *, twin: bool = False) -> Tensor:
    """Return images with the mark in a share of its class; of a twin, in as many images of every class."""
    draw = torch.Generator().manual_seed(salt)
    chance = torch.rand(len(x), generator=draw)
    has = chance < (design.share * (0.5 if design.share > 0.5 else 1.0) if twin else design.share * (y == LABEL))
    out, part = put(design.change, x, has, salt), torch.rand(len(x), generator=draw)
    for number, alone in enumerate(design.alone):
        out = put(alone, out, ~has & (part >= 0.35 * number) & (part < 0.35 * (number + 1)), salt)
    return out


@dataclass(frozen=True)
class Outcome:
    """A net with a mark, or its twin, and the result of its claim."""

    moved: float
    result: Result
    seconds: float
    design: Design

    @property
    def named(self) -> bool:
        """True if the verdict names the class as carried by a part or marked, or does not cover such a mark."""
        found = self.result.details["discovery"]
        if LABEL in {one["class"] for one in (*found["parts"], *found["other_marks"])}:
            return True
        (family,) = (one for one in found["families"] if one["found_by"] == self.design.family)
        covered = family["proven"] and self.design.share >= family["smallest_share"] and self.moved >= FOLLOWED
        return not covered

    @property
    def accused(self) -> bool:
        return self.result.verdict == "failed"

    @property
    def unnamed(self) -> bool:
        return self.moved > LIMIT and self.result.verdict == "passed" and not self.named


def outcomes(name: str, seed: int) -> tuple[Outcome, Outcome]:
    """Train the net and its twin, and measure the claim on both."""
    design = DESIGNS[name]
    x, y = shapes(TRAINED_ON, 1000 + seed)
    clean, labels = shapes(JUDGED_ON, 2000 + seed)
    seen, others = planted(design, clean, labels, 50 + seed), labels != LABEL
    shown = put(design.change, clean, others, 999)[others]
    made = []
    for twin in (False, True):
        model = trained(net, (planted(design, x, y, seed + 7, twin=twin), y), seed, EPOCHS)
        on, off = model(shown).argmax(1), model(clean[others]).argmax(1)
        started = time.process_time()
        result = measure_no_spurious_feature(
            model, (seen, labels), Discovery(trigger_steps=0), max_flip_rate=LIMIT, seed=seed
        )
        seconds = time.process_time() - started
        made.append(Outcome(float(((on == LABEL) & (off != LABEL)).float().mean()), result, seconds, design))
    return made[0], made[1]


def main(names: Sequence[str], seeds: Sequence[int]) -> None:
    unnamed, accused = [], []
    for seed in seeds:
        for name in names:
            pair = outcomes(name, seed)
            for kind, one in zip(("net", "twin"), pair, strict=True):
                named = ", named" if one.named and one.result.verdict == "passed" else ""
                print(
                    f"{name} | {seed} | {kind} | moves {one.moved:.2f} | {one.result.verdict}{named} | "
                    f"{one.seconds:.1f} s | {one.result.rule}",
                    flush=True,
                )
            unnamed += [(name, seed)] * pair[0].unnamed
            accused += [(name, seed)] * pair[1].accused
    print(f"unnamed passes: {unnamed or 'none'}; twins accused: {accused or 'none'}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *DESIGNS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    main(options.names or list(DESIGNS), options.seeds)
