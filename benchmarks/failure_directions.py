"""Whom the default limit of `assert_no_failure_direction` accuses: clean nets, and nets that fail a planted minority.

    python benchmarks/failure_directions.py clean          # digits: 20 nets, judged on samples of their own kind
    python benchmarks/failure_directions.py planted        # digits: a part of one class inverted, moved or turned
    python benchmarks/failure_directions.py photographs --images DATA      # CIFAR-10; DATA: the folder with models.py

Nets are small and trained for some seconds. Where a minority was planted, found means that the claim fails over its
class; clean nets are accused where it fails at all.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from features import Data, accuracy, cnn, digits, images_of, mlp, say, trained
from robustest_interpret import measure_no_failure_direction
from torch import Tensor, nn

from robustest import Result, Verdict

LIMIT = 0.45
Change = Callable[[Tensor], Tensor]

PLANTED: dict[str, tuple[int, Change]] = {
    "inverted": (20, lambda x: 1 - x),
    "moved": (10, lambda x: torch.roll(x, 5, 3)),
    "turned": (10, lambda x: torch.rot90(x, 1, (2, 3))),
}
"""Of which part of a class, one in so many, what becomes."""


def colour_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 24, 3, 2, 1), nn.BatchNorm2d(24), nn.ReLU(),
        nn.Conv2d(24, 48, 3, 2, 1), nn.BatchNorm2d(48), nn.ReLU(),
        nn.Conv2d(48, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Flatten(), nn.Linear(1024, 10),
    )  # fmt: skip


def pooled_net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 48, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(48, 64, 3, 1, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(256, 10),
    )  # fmt: skip


COLOUR: dict[str, tuple[Callable[[], nn.Module], int, bool]] = {
    "convolutional": (colour_net, 5, True),
    "pooled": (pooled_net, 8, False),
    "fully connected": (lambda: mlp(3072), 5, False),
}
"""Nets on photographs: maker, epochs, whether mirrored images are seen too. The first is the best."""


def halves(data: Data, fit: int, seed: int) -> tuple[Data, Data]:
    """Samples to train on, and others to judge by."""
    order = torch.randperm(len(data[0]), generator=torch.Generator().manual_seed(seed))
    return tuple((data[0][part], data[1][part]) for part in (order[:fit], order[fit:]))  # type: ignore[return-value]


def judged(model: nn.Module, data: Data, seed: int) -> tuple[Result, dict[int, float]]:
    """The claim, and each class's excess."""
    result = measure_no_failure_direction(model, data, max_excess_error=LIMIT, seed=seed)
    return result, {row["class"]: row["excess"] for row in result.details["classes"]}


def digit_net(seed: int) -> tuple[nn.Module, Data]:
    """One trained on 1,500 digits, and 2,500 others."""
    fit, others = halves(digits()[0], 1500, 5000 + seed)
    return trained(mlp if seed % 2 else cnn, fit, seed, 6), others


def counted(name: str, found: Sequence[tuple[Result, dict[int, float]]]) -> None:
    """A line on clean nets."""
    highest = sorted(max(excess.values()) for _, excess in found)
    accused = sum(result.verdict is Verdict.FAILED for result, _ in found)
    middle = highest[len(highest) // 2]
    say(f"{name}: {accused} of {len(found)} accused; highest {highest[0]:.2f}, {middle:.2f}, {highest[-1]:.2f}")


def clean(seeds: Sequence[int], images: Path | None) -> None:
    counted("clean digits", [judged(*digit_net(seed), seed) for seed in seeds])


def planted(seeds: Sequence[int], images: Path | None) -> None:
    for how, (part, change) in PLANTED.items():
        found, excesses = 0, []
        for seed in seeds:
            model, (x, y) = digit_net(seed)
            draw = torch.Generator().manual_seed(2000 + seed)
            target = int(torch.randint(10, (1,), generator=draw))
            members = (y == target).nonzero().squeeze(1)
            few = members[torch.randperm(len(members), generator=draw)[: len(members) // part]]
            x = x.clone()
            x[few] = change(x[few])
            result, excess = judged(model, (x, y), seed)
            found += target in result.details["found"]
            excesses.append(excess.get(target, 0.0))
        low, middle, high = sorted(excesses)[0], sorted(excesses)[len(excesses) // 2], max(excesses)
        say(f"{how}, one in {part}: found in {found} of {len(seeds)}; excess {low:.2f}, {middle:.2f}, {high:.2f}")


def photographs(seeds: Sequence[int], images: Path | None) -> None:
    """Nets trained on 2,500 photographs, and judged on 2,500 others."""
    if images is None:
        raise SystemExit("photographs needs --images")
    data = images_of(images, "cifar10_train5k", 5000)
    for name, (make, epochs, mirrored) in COLOUR.items():
        found, right = [], []
        for seed in seeds:
            (x, y), others = halves(data, 2500, 7000 + seed)
            fit = (torch.cat([x, x.flip(3)]), y.repeat(2)) if mirrored else (x, y)
            model = trained(make, fit, seed, epochs)
            right.append(accuracy(model, others))
            found.append(judged(model, others, seed))
        counted(f"photographs, {name}, right on {min(right):.2f} to {max(right):.2f}", found)


SECTIONS = {"clean": clean, "planted": planted, "photographs": photographs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("section", choices=[*SECTIONS])
    parser.add_argument("--seeds", nargs="+", type=int, default=[*range(20)])
    parser.add_argument("--images", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    SECTIONS[options.section](options.seeds, options.images)


if __name__ == "__main__":
    main()
