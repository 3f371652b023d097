"""The report on a synthetic set: numbers of all parts, recall by class, the curve, nearest pairs."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robustest import context
from robustest.packs import Exhibit, Settings, save_sheet, shown_path
from robustest_training.covers_rule import UNUSUAL, Part
from robustest_training.held_out_quantile import share_below
from robustest_training.label_shift import chance_variation
from robustest_training.neighbours import Neighbours
from robustest_training.real_and_synthetic import Sets
from robustest_training.subsets import DrawLearners

# Nearest pairs in the picture.
_PAIRS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """Measurements of all parts."""

    sets: Sets  # the samples, as inputs
    learned: DrawLearners
    near: Neighbours  # near, held_out: nearest training samples of synthetic and of test samples
    held_out: Neighbours
    parts: tuple[Part, ...]  # gap, labels, copies, diversity
    alpha: float  # error on each side of intervals

    @property
    def cut(self) -> float:
        return share_below(self.near.ratio, self.held_out.ratio, UNUSUAL)[1]

    @property
    def nearest(self) -> NDArray[np.int64]:
        return np.argsort(self.near.ratio, kind="stable")


def details_of(found: Found) -> dict[str, Any]:
    """Return the numbers of all parts, and their tables."""
    _, labels, copies, factor = found.parts
    real, synthetic = found.learned.real, found.learned.synthetic
    classes = sorted(_by_class(found), key=lambda row: row["synthetic"] - row["real"])
    chance = chance_variation(found.sets.counts(found.sets.synthetic), found.sets.counts(found.sets.train))
    details: dict[str, Any] = {
        "samples": real.size,
        "real_accuracy": real.accuracy,
        "synthetic_accuracy": synthetic.accuracy,
        "label_shift": labels.value,
        "label_shift_interval": list(labels.interval),
        "label_shift_by_chance": chance,
        "copies": copies.value,
        "copies_interval": list(copies.interval),
        "copies_below": found.cut,
        "diversity_factor": factor.value,
        "diversity_factor_interval": list(factor.interval),
        "worst_class": classes[0],
        "parts": [part.told() for part in found.parts],
        "by_class": classes,
        "learning_curve": list(_points(found)),
        "nearest_pairs": list(_pairs(found)),
        "curves": [_curve(found)],
    }
    return details


def notes_of(found: Found, scope: str) -> Iterator[str]:
    """Yield notes for the reader."""
    factor, size = found.parts[3], found.learned.synthetic.size
    if factor.value is None:
        low, high = ("?" if end is None else f"{end:.2g}" for end in factor.interval)
        yield f"diversity factor not resolved: between {low} and {high}"
    else:
        yield f"{size} synthetic samples teach as much as about {size / factor.value:.0f} real ones"
    if scope == "set":
        yield "labels and copies may pass by what this very set holds; the gap is of other draws too"


def exhibits_of_copies(found: Found, most: int) -> list[Exhibit]:
    """Return exhibits of copies, each beside its training sample, the closest first."""
    sets, ratio = found.sets, found.near.ratio
    rows = [int(row) for row in found.nearest[:most] if ratio[row] < found.cut or ratio[row] == 0]
    return [
        Exhibit(
            index=row,
            label=int(sets.synthetic.y[row]),
            clean=int(sets.train.y[at]),
            predicted=int(sets.train.y[at]),
            size=float(ratio[row]),
            before=sets.synthetic.x[row],
            after=sets.train.x[at],
            badness=1 - float(ratio[row]),
        )
        for row, at in ((row, int(found.near.nearest[row])) for row in rows)
    ]


def pictures_of(found: Found, settings: Settings, bounds: tuple[float, float]) -> dict[str, Any]:
    """Return a sheet of the nearest pairs, synthetic above real, if pictures are kept."""
    if settings.pictures is None:
        return {}
    rows = found.nearest[:_PAIRS]
    sheet = [list(found.sets.synthetic.x[rows]), list(found.sets.train.x[found.near.nearest[rows]])]
    name = f"synthetic_covers-{zlib.crc32(found.near.ratio.tobytes()):08x}-nearest"
    save = partial(save_sheet, settings.pictures, name, sheet, bounds)
    path = context.current().picture(save, settings.pictures)
    if path is None:
        return {}
    caption = "the synthetic samples that are closest to one training sample, and below each that sample"
    return {"pictures": [{"caption": caption, "image": shown_path(path)}]}


def _by_class(found: Found) -> Iterator[dict[str, Any]]:
    sets, labels = found.sets, found.sets.test.y.numpy()
    shares = {name: sets.counts(one) / len(one.y) for name, one in (("s", sets.synthetic), ("r", sets.train))}
    for k in np.unique(labels).tolist():
        of = labels == k
        yield {
            "class": k,
            "real": float(found.learned.real.right[of].mean()),
            "synthetic": float(found.learned.synthetic.right[of].mean()),
            "tested": int(of.sum()),
            "real share": float(shares["r"][k]),
            "synthetic share": float(shares["s"][k]),
        }


def _points(found: Found) -> Iterator[dict[str, Any]]:
    for one in found.learned.curve:
        ends = list(one.interval(found.alpha))
        yield {"samples": one.size, "accuracy": one.accuracy, "interval": ends, "learners": one.draws}


def _pairs(found: Found) -> Iterator[dict[str, Any]]:
    for row in found.nearest[:_PAIRS].tolist():
        at = int(found.near.nearest[row])
        labels = int(found.sets.synthetic.y[row]), int(found.sets.train.y[at])
        yield {"synthetic": row, "train": at, "ratio": float(found.near.ratio[row]), "labels": list(labels)}


def _curve(found: Found) -> dict[str, Any]:
    """Return the learning curve, with the synthetic set at the size of real samples that teach as much."""
    factor, synthetic = found.parts[3].value, found.learned.synthetic
    points = [{"x": row["samples"], "y": row["accuracy"], "interval": row["interval"]} for row in _points(found)]
    if factor is not None:
        ends = list(synthetic.interval(found.alpha))
        points.append({"x": synthetic.size / factor, "y": synthetic.accuracy, "interval": ends, "verdict": "other"})
    title = f"real samples; filled: {synthetic.size} synthetic ones, where as many real ones would teach as much"
    return {"title": title, "x": "training samples", "y": "accuracy", "points": points}
