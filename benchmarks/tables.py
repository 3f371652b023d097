"""Twelve models of tables whose robust accuracy is known by enumeration, against `fast` and `standard`.

Needs scikit-learn, LightGBM and XGBoost. Each table has whole numbers 0..20, codes, a one-hot block, or real numbers of
which a forest's own thresholds make cells. For each model the worst feasible row of every sample is found by
enumeration (linear models: by the best k columns), written here once more without robustest.

    python benchmarks/tables.py [NAME ...]
"""

from __future__ import annotations

import itertools
import math
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from torch import nn

from robustest import Columns
from robustest.measure import measure_robust_accuracy
from robustest.threats import AnyOf, Whole, Within

ROWS, TRAIN, TOP = 60, 1500, 20.0
Table = NDArray[np.float32]


@dataclass(frozen=True)
class Case:
    """A model, its rows, the rules, and the choices of each field as seen from a sample."""

    model: Any
    x: Table
    y: NDArray[np.int64]
    rules: dict[Any, Any]
    most: int | None
    choices: Callable[[Table], Sequence[tuple[Sequence[int], list[list[float]]]]]


def make(seed: int, columns: int, *, real: bool = False) -> tuple[Table, NDArray[np.int64]]:
    """Return rows and labels: a few columns together decide the class."""
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 21, (TRAIN + ROWS, columns)).astype(np.float32)
    if real:
        x = (TOP * rng.random(x.shape)).astype(np.float32)
    weight = rng.normal(size=columns)
    score = (x / 10 - 1) @ weight + 2 * (x[:, 0] > 12) * (x[:, 1] < 8) + 0.3 * rng.normal(size=len(x))
    return x, (score > np.median(score)).astype(np.int64)


def steps(columns: Sequence[int], by: int) -> Callable[[Table], Any]:
    """Return the choices of whole columns that may move by at most `by`."""

    def of(row: Table) -> Any:
        return [
            ([at], [[v] for v in row[at] + np.arange(-by, by + 1) if 0 <= v <= TOP and v != row[at]]) for at in columns
        ]

    return of


def whole(seed: int, columns: int, model: Any, by: int, most: int | None) -> Case:
    x, y = make(seed, columns)
    model = model.fit(x[ROWS:], y[ROWS:])
    at = list(range(columns))
    return Case(model, x[:ROWS], y[:ROWS], {one: Whole(by) for one in at}, most, steps(at, by))


def linear(seed: int, columns: int, most: int | None) -> Case:
    x, y = make(seed, columns, real=True)
    model = LogisticRegression(max_iter=500).fit(x[ROWS:], y[ROWS:])

    def ends(row: Table) -> Any:
        return [([at], [[max(0.0, row[at] - 1.5)], [min(TOP, row[at] + 0.5)]]) for at in range(columns)]

    return Case(model, x[:ROWS], y[:ROWS], {at: Within(-1.5, 0.5) for at in range(columns)}, most, ends)


def cells(seed: int) -> Case:
    """A forest of real columns: on either side of each of its thresholds, and at the ends."""
    x, y = make(seed, 3, real=True)
    model = RandomForestClassifier(8, max_depth=5, random_state=0).fit(x[ROWS:], y[ROWS:])
    cuts = [
        np.concatenate([one.tree_.threshold[one.tree_.feature == at] for one in model.estimators_]) for at in range(3)
    ]

    def of(row: Table) -> Any:
        out = []
        for at in range(3):
            low, high = max(0.0, row[at] - 0.5), min(TOP, row[at] + 0.5)
            near = cuts[at][(cuts[at] > low) & (cuts[at] < high)].astype(np.float32)
            values = {float(v) for v in (low, high, *near, *np.nextafter(near, np.float32(np.inf)))}
            out.append(([at], [[v] for v in values if low <= v <= high]))
        return out

    return Case(model, x[:ROWS], y[:ROWS], {at: Within(-0.5, 0.5) for at in range(3)}, None, of)


def network(seed: int, columns: int, most: int | None) -> Case:
    """A net of whole columns, a block of four categories, and a code."""
    rng = np.random.default_rng(seed)
    x, _ = make(seed, columns)
    block = np.eye(4, dtype=np.float32)[rng.integers(0, 4, len(x))]
    code = rng.choice([0.0, 5.0, 9.0], (len(x), 1)).astype(np.float32)
    x = np.concatenate([x, block, code], 1)
    y = ((x[:, 0] / 8 - x[:, 1] / 9 + 1.5 * block[:, 2] - 0.8 * (code[:, 0] == 9) * (x[:, 2] > 9)) > 0.3).astype(int)
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(x.shape[1], 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    scaled = nn.Sequential(Scale(), net)
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    inputs, labels = torch.from_numpy(x[ROWS:]), torch.from_numpy(y[ROWS:])
    for _ in range(150):
        optimiser.zero_grad()
        nn.functional.cross_entropy(scaled(inputs), labels).backward()
        optimiser.step()
    places = tuple(range(columns, columns + 4))
    rules: dict[Any, Any] = {**{at: Whole(2) for at in range(3)}, places: AnyOf(), columns + 4: AnyOf(0, 5, 9)}

    def of(row: Table) -> Any:
        one_hot = [one.tolist() for one in np.eye(4) if not np.array_equal(one, row[list(places)])]
        codes = [[v] for v in (0.0, 5.0, 9.0) if v != row[-1]]
        return [*steps(range(3), 2)(row), (places, one_hot), ([columns + 4], codes)]

    return Case(scaled, x[:ROWS], y[:ROWS].astype(np.int64), rules, most, of)


class Scale(nn.Module):
    """Divides by ten."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x / 10


def boosted(name: str, **settings: Any) -> Any:
    """Return an unfitted classifier of LightGBM or XGBoost."""
    if name == "lightgbm":
        from lightgbm import LGBMClassifier

        return LGBMClassifier(n_estimators=40, num_leaves=15, n_jobs=1, verbose=-1, **settings)
    from xgboost import XGBClassifier

    return XGBClassifier(n_estimators=40, max_depth=4, n_jobs=1, **settings)


CASES: dict[str, Callable[[], Case]] = {
    "linear-2": lambda: linear(1, 2, None),
    "linear-10": lambda: linear(2, 10, 3),
    "linear-30": lambda: linear(3, 30, 5),
    "forest-3-real": lambda: cells(4),
    "forest-10": lambda: whole(5, 10, RandomForestClassifier(50, random_state=0, n_jobs=1), 1, 3),
    "forest-30": lambda: whole(6, 30, RandomForestClassifier(50, random_state=0, n_jobs=1), 2, 2),
    "lightgbm-5": lambda: whole(7, 5, boosted("lightgbm"), 2, None),
    "lightgbm-20": lambda: whole(8, 20, boosted("lightgbm"), 2, 2),
    "xgboost-5": lambda: whole(9, 5, boosted("xgboost"), 2, None),
    "xgboost-12": lambda: whole(10, 12, boosted("xgboost"), 1, 3),
    "mlp-4": lambda: network(11, 3, None),
    "mlp-8": lambda: network(12, 8, 3),
}


def predictions(model: Any, x: Table) -> NDArray[np.int64]:
    if isinstance(model, nn.Module):
        with torch.no_grad():
            return model(torch.from_numpy(x)).argmax(1).numpy()
    return np.asarray(model.predict(x))


def truth(case: Case) -> float:
    """Return the share of samples that no feasible row breaks."""
    held = 0
    if isinstance(case.model, LogisticRegression):
        for row, label in zip(case.x, case.y, strict=True):
            sign = 1 if label == 1 else -1
            weight = case.model.coef_[0] * sign
            margin = float(row @ weight + sign * case.model.intercept_[0])
            gains = sorted(
                (max(0.0, *(weight[at[0]] * (row[at[0]] - v[0]) for v in values)) for at, values in case.choices(row)),
                reverse=True,
            )
            held += margin - sum(gains[: case.most]) > 0
        return held / len(case.x)
    for row, label in zip(case.x, case.y, strict=True):
        fields = case.choices(row)
        rows = [row]
        if case.most is None:
            options = [[None, *values] for _, values in fields]
            for chosen in itertools.product(*options):
                new = row.copy()
                for (at, _), value in zip(fields, chosen, strict=True):
                    if value is not None:
                        new[list(at)] = value
                rows.append(new)
        else:
            for number in range(1, case.most + 1):
                for some in itertools.combinations(fields, number):
                    for chosen in itertools.product(*(values for _, values in some)):
                        new = row.copy()
                        for (at, _), value in zip(some, chosen, strict=True):
                            new[list(at)] = value
                        rows.append(new)
        held += bool((predictions(case.model, np.stack(rows).astype(np.float32)) == label).all())
    return held / len(case.x)


def main(names: Sequence[str]) -> None:
    for name in names or CASES:
        case = CASES[name]()
        true = truth(case)
        threat = Columns(case.rules, max_changed=case.most)
        for attack in ("fast", "standard"):
            before, start = resource.getrusage(resource.RUSAGE_SELF).ru_utime, time.perf_counter()
            options: dict[str, Any] = {"attack": attack, "bounds": (0.0, TOP), "cache": False}
            certify = "auto" if attack == "fast" else None
            result = measure_robust_accuracy(
                case.model, (case.x, case.y), threat, exact=True, certify=certify, **options
            )
            claim = measure_robust_accuracy(case.model, (case.x, case.y), threat, at_least=true + 0.05, **options)
            cpu = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
            print(
                f"{name:14} {attack:9} truth {true:.3f} measured {result.estimate:.3f} "
                f"over {result.estimate - true:+.3f} proven {result.details.get('certified', math.nan):.3f} "
                f"claim of truth + .05: {claim.verdict} "
                f"{result.cost.forward:,} passes {cpu:.1f} CPU s {time.perf_counter() - start:.1f} s "
                f"{result.details['stages']} {result.ruling.reasons}",
                flush=True,
            )


if __name__ == "__main__":
    main(sys.argv[1:])
