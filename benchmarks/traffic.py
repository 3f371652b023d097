"""How often the host waits for an accelerator, and what it copies, by gradient step, stage, chunk and sample.

On the simulated second device of the tests, which computes on the host and counts (`tests/second_device.py`): no
seconds, and no card. Each row is the difference between two claims, of which one has more steps, stages or samples.

    python benchmarks/traffic.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from robustest import Linf, devices
from robustest.attacks import PGD, Cascade, Stage
from robustest.cues import PixelPatch
from robustest.measure import measure_no_spurious_feature, measure_robust_accuracy, measure_shift_accuracy
from robustest.shifts import CORRUPTIONS

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from second_device import FAR, Counts, far_device

SIDE = 32
FEATURES = 3 * SIDE * SIDE
CHUNK = 64


def claims() -> Callable[..., Counts]:
    torch.manual_seed(0)
    x = torch.rand(2 * CHUNK, 3, SIDE, SIDE)
    model = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 4))
    y = model(x).argmax(1)

    def count(measure: Callable[..., object], n: int, *arguments: Any, **options: Any) -> Counts:
        with far_device() as counter:
            measure(model, (x[:n], y[:n]), *arguments, exact=True, **options)
        return counter.counts

    return count


def row(what: str, more: Counts, parts: int) -> None:
    print(
        f"{what:44} {more.waits / parts:8.2f} {more.uploads / parts:8.2f} {more.downloads / parts:8.2f} "
        f"{more.up_bytes / parts:10.0f} {more.down_bytes / parts:10.0f} {more.operations / parts:10.0f}"
    )


def main() -> None:
    devices.default = lambda: FAR
    count, ball = claims(), Linf(1e-4)  # at this radius nothing breaks, so that no batch is cut

    def stages(number: int) -> Cascade:
        return Cascade(name="stages", stages=(Stage(searcher=PGD(steps=4)),) * number)

    print(f"torch {torch.__version__}, images of 3 x {SIDE} x {SIDE}, chunks of {CHUNK}")
    print(f"{'':44} {'waits':>8} {'up':>8} {'down':>8} {'bytes up':>10} {'bytes down':>10} {'operations':>10}")
    short, long = (count(measure_robust_accuracy, CHUNK, ball, attack=PGD(steps=steps)) for steps in (20, 40))
    row("a gradient step of PGD, with its looks", long.since(short), 20)
    two, four = (count(measure_robust_accuracy, CHUNK, ball, attack=stages(number)) for number in (2, 4))
    row("a stage of 4 steps", four.since(two), 2)

    def chunk(*arguments: Any, **options: Any) -> Counts:
        measure, *rest = arguments
        small, large = (count(measure, n, *rest, **options) for n in (CHUNK, 2 * CHUNK))
        return large.since(small)

    found = {
        "a chunk of PGD-40": chunk(measure_robust_accuracy, ball, attack="pgd"),
        "a chunk of fast": chunk(measure_robust_accuracy, ball, attack="fast"),
        "a chunk under a rotation": chunk(measure_shift_accuracy, "rotation"),
        "a chunk with a cue": chunk(measure_no_spurious_feature, PixelPatch(top=1, left=1)),
        **{f"a chunk under {name}": chunk(measure_shift_accuracy, name) for name in CORRUPTIONS},
    }
    for what, more in found.items():
        row(what, more, 1)
    row("a sample of PGD-40", found["a chunk of PGD-40"], CHUNK)
    print(f"a sample itself: {4 * FEATURES} bytes, 8 of its label, 8 of its key")
    fill()


class Counted(nn.Module):
    """Notes the rows of each pass of a model of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.inner = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 16), nn.ReLU(), nn.Linear(16, 4))
        self.rows: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.rows.append(len(x))
        out: torch.Tensor = self.inner(x)
        return out


def fill() -> None:
    """Print passes, and rows of a pass, of chunks alone and together; the host stands in for an accelerator."""
    gathers, batch, n = devices.gathers, 512, 2048
    x = torch.rand(n, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    print(f"{n} samples, batches of at most {batch}: passes, rows of a pass, passes of fewer than 64 rows")
    for attack, eps in (("pgd", 4e-4), ("fast", 4e-4), ("standard", 4e-4)):
        outcomes = []
        for what, may in (("alone", False), ("together", True)):
            devices.gathers = lambda _, may=may: may
            model = Counted()
            y = model(x).argmax(1)
            model.rows.clear()
            options: dict[str, Any] = {"attack": attack, "exact": True, "device": "cpu", "batch_size": batch}
            result = measure_robust_accuracy(model, (x, y), Linf(eps), **options)
            outcomes.append(result.outcomes)
            rows, small = model.rows, sum(one < 64 for one in model.rows)
            share = f"{result.estimate:.3f}"
            print(f"{attack:10} {what:10} {len(rows):6} {sum(rows) / len(rows):6.0f} {small:6}   accuracy {share}")
        print(f"{attack:10} samples that differ: {sum(a != b for a, b in zip(*outcomes, strict=True))}")
    devices.gathers = gathers


if __name__ == "__main__":
    main()
