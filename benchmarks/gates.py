"""Gates as `robustest floor` states their power, beside simulated runs of a system, item by item.

    python benchmarks/gates.py [--draws 20000] [--table 50]

Every item has a chance of success of its own: a quantile of a beta distribution whose mean is the rate and whose runs
differ as often as stated, which is another distribution than the one that the stated chances assume. A run draws each
item; with a loss, items that it is right on are lost outright with one chance. Rules of ours are asked themselves
(`ShareRule`, `BaselineRule`), others are written out here. Columns: the chances of red and of green as stated and as
simulated, without a loss and for the loss that is noticed nine times in ten. `--table` prints the CPU seconds of a
table of so many gates, of all kinds in turn.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import beta, norm

from robustest import Verdict
from robustest.cli import main as command
from robustest.decisions import ShareRule, Terms
from robustest.decisions.baseline import BaselineRule
from robustest.decisions.gates import (
    EachGroup,
    Gate,
    IntervalAbove,
    ItemSet,
    KOfRuns,
    PairedNoWorse,
    Threshold,
    Tolerance,
    WilsonAbove,
    noticed,
)

ALPHA = 0.01
Runs = NDArray[np.int64]
Judge = Callable[[Runs, Runs], tuple[NDArray[np.bool_], NDArray[np.bool_]]]
"""Function from right answers (draws, n) before and now to two masks (draws,): red and green."""


def chances_of(n: int, rate: float, flips: float | None) -> NDArray[np.float64]:
    """Return chances of items (n,) with this mean, whose runs differ in this share of the items."""
    most = 2 * rate * (1 - rate)
    if flips is None or flips > most * 0.999:
        return np.full(n, rate)
    places = (np.arange(n) + 0.5) / n

    def differing(size: float) -> float:
        chance = beta.ppf(places, size * rate, size * (1 - rate))
        return float((2 * chance * (1 - chance)).mean()) - flips

    size = brentq(differing, 1e-3, 1e4)
    return np.asarray(beta.ppf(places, size * rate, size * (1 - rate)))


def by_share(passes: Callable[[int], Verdict], n: int) -> Judge:
    verdicts = [passes(k) for k in range(n + 1)]
    red, green = (np.array([one is which for one in verdicts]) for which in (Verdict.FAILED, Verdict.PASSED))
    return lambda _, now: (red[now.sum(1)], green[now.sum(1)])


def ours(n: int, least: float, alpha: float) -> Judge:
    rule = ShareRule(threshold=least, at_least=True, terms=Terms(scope="population", alpha=alpha, fail_alpha=alpha))
    return by_share(lambda k: rule.decide({"held": np.arange(n) < k}, n, None).verdict, n)


def wilson(n: int, least: float, confidence: float) -> Judge:
    z = float(norm.ppf(confidence))

    def verdict(k: int) -> Verdict:
        p = k / n
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return Verdict.PASSED if (p + z * z / (2 * n)) / (1 + z * z / n) - half >= least else Verdict.FAILED

    return by_share(verdict, n)


def paired(n: int, tolerance: float) -> Judge:
    terms = Terms(scope="population", alpha=ALPHA, fail_alpha=ALPHA)
    found: dict[tuple[int, int], Verdict] = {}

    def verdict(lost: int, gained: int) -> Verdict:
        if (lost, gained) not in found:
            before = np.arange(n) < lost
            rule = BaselineRule(
                other=ShareRule(threshold=None, at_least=True, terms=terms),
                before=before,
                has_threshold=False,
                tolerance=tolerance,
                terms=terms,
            )
            now = (np.arange(n) >= n - gained) if gained else np.zeros(n, dtype=bool)
            columns = {"held": now, "id": np.arange(n)}
            found[lost, gained] = rule.compare(columns).verdict
        return found[lost, gained]

    def judge(before: Runs, now: Runs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        lost, gained = (before > now).sum(1), (now > before).sum(1)
        verdicts = [verdict(int(a), int(b)) for a, b in zip(lost, gained, strict=True)]
        red, green = (np.array([one is which for one in verdicts]) for which in (Verdict.FAILED, Verdict.PASSED))
        return red, green

    return judge


def sure(red: Callable[[Runs, Runs], NDArray[np.bool_]]) -> Judge:
    def judge(before: Runs, now: Runs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        found = red(before, now)
        return found, ~found

    return judge


def in_groups(sizes: tuple[int, ...], judges: list[Judge]) -> Judge:
    ends = np.cumsum(sizes)

    def judge(before: Runs, now: Runs) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        parts = [
            one(before[:, end - size : end], now[:, end - size : end])
            for one, end, size in zip(judges, ends, sizes, strict=True)
        ]
        return np.any([red for red, _ in parts], axis=0), np.all([green for _, green in parts], axis=0)

    return judge


def cases() -> list[tuple[str, Gate, ItemSet, Judge]]:
    """Return names, gates, items and the gates written out."""
    groups = (150, 150, 100)
    return [
        (
            "value - .03",
            Tolerance(tolerance=0.03),
            ItemSet(n=1319, rate=0.54),
            sure(lambda before, now: now.mean(1) < before.mean(1) - 0.03 - 1e-12),
        ),
        (
            "value - .03, flips known",
            Tolerance(tolerance=0.03),
            ItemSet(n=400, rate=0.88, flips=0.08),
            sure(lambda before, now: now.mean(1) < before.mean(1) - 0.03 - 1e-12),
        ),
        (
            "value +- 8 %",
            Tolerance(tolerance=0.08, relative=True, both_sides=True),
            ItemSet(n=250, rate=0.6),
            sure(lambda before, now: np.abs(now.mean(1) / before.mean(1) - 1) > 0.08 + 1e-12),
        ),
        (
            "mean >= .85",
            Threshold(0.85),
            ItemSet(n=400, rate=0.88, flips=0.08),
            sure(lambda _, now: now.mean(1) < 0.85 - 1e-12),
        ),
        (
            "each of 3 groups >= .8",
            EachGroup(gate=Threshold(0.8), sizes=groups),
            ItemSet(n=400, rate=0.88),
            in_groups(groups, [sure(lambda _, now: now.mean(1) < 0.8 - 1e-12)] * 3),
        ),
        (
            "assert_rate >= .83",
            IntervalAbove(least=0.83, alpha=ALPHA),
            ItemSet(n=400, rate=0.88, flips=0.12),
            ours(400, 0.83, ALPHA),
        ),
        (
            "assert_worst_group_rate >= .75",
            EachGroup(gate=IntervalAbove(least=0.75, alpha=ALPHA / 3), sizes=groups),
            ItemSet(n=400, rate=0.88),
            in_groups(groups, [ours(n, 0.75, ALPHA / 3) for n in groups]),
        ),
        (
            "no_worse_than, .05",
            PairedNoWorse(tolerance=0.05, alpha=ALPHA),
            ItemSet(n=400, rate=0.88, flips=0.08),
            paired(400, 0.05),
        ),
        (
            "no_worse_than, .05 of few",
            PairedNoWorse(tolerance=0.05, alpha=ALPHA),
            ItemSet(n=100, rate=0.8, flips=0.1),
            paired(100, 0.05),
        ),
        (
            "3 of 5 runs",
            KOfRuns(k=3),
            ItemSet(n=1, rate=0.9, runs=5),
            sure(lambda _, now: np.asarray((now < 3).any(1))),
        ),
        (
            "8 of 10 runs of 5 items",
            KOfRuns(k=8),
            ItemSet(n=5, rate=0.97, runs=10),
            sure(lambda _, now: np.asarray((now < 8).any(1))),
        ),
        (
            "Wilson's lower end >= .83",
            WilsonAbove(least=0.83, confidence=0.95),
            ItemSet(n=400, rate=0.88, flips=0.15),
            wilson(400, 0.83, 0.95),
        ),
    ]


def simulated(gate: Gate, items: ItemSet, judge: Judge, *, loss: float, draws: int, seed: int) -> tuple[float, float]:
    """Return the shares of red and of green runs; a loss in groups is in the one that shows it least."""
    rng = np.random.default_rng(seed)
    chance = chances_of(items.n, items.rate, items.flips)
    lost = np.full(items.n, loss / items.rate)
    if isinstance(gate, EachGroup):
        # One group alone loses: of equal rates the smallest, or for other thresholds the one that shows it least.
        found = []
        ends = np.cumsum(gate.sizes)
        for end, size in zip(ends, gate.sizes, strict=True):
            only = np.zeros(items.n)
            only[end - size : end] = loss / items.rate
            found.append(_share(items, gate, judge, chances=(chance, only), draws=draws, rng=rng))
        return min(found)
    return _share(items, gate, judge, chances=(chance, lost), draws=draws, rng=rng)


def _share(
    items: ItemSet,
    gate: Gate,
    judge: Judge,
    *,
    chances: tuple[NDArray[np.float64], NDArray[np.float64]],
    draws: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the shares of red and of green runs, for chances of success and of a loss of each item."""
    (chance, lost), red, green = chances, 0, 0
    for start in range(0, draws, 1000):
        size = (min(1000, draws - start), items.n)
        before = rng.binomial(items.runs, chance, size)
        if isinstance(gate, KOfRuns):
            now = rng.binomial(items.runs, chance * (1 - lost), size)
        else:
            now = rng.binomial(items.runs, chance, size) * (rng.random(size) >= lost)
        masks = judge(before, now)
        red, green = red + int(masks[0].sum()), green + int(masks[1].sum())
    return red / draws, green / draws


def table(gates: int) -> None:
    """Print the CPU seconds of a table of gates of nine kinds in turn."""
    header = "metric,kind,value,tolerance,threshold,at_least,no_worse_than,k,n,runs,flips,groups"
    rows = []
    for place in range(gates):
        n, value = 200 + 37 * place, 0.6 + 0.007 * (place % 50)
        kinds = (
            f"{value},0.03,,,,,{n},,,",
            f"{value},0.03,,,,,{n},,0.06,",
            f"{value},,{value - 0.04},,,,{n},,0.06,",
            f"{value},,{value - 0.08},,,,{n},,,4",
            f"{value},,,{value - 0.05},,,{n},,,",
            f"{value},,,{value - 0.1},,,{n},,,3",
            f"{value},,,,0.03,,{n},,0.06,",
            f"{value},,,,,3,1,5,,",
        )
        rows.append(f"gate {place},,{kinds[place % len(kinds)]}")
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()):
        file = Path(folder) / "gates.csv"
        file.write_text("\n".join([header, *rows]), encoding="utf-8")
        begun = time.process_time()
        command(["floor", str(file)])
        seconds = time.process_time() - begun
    print(f"{gates} gates: {seconds:.1f} CPU s")


def main() -> None:
    """Print a row for each kind of gate and each loss."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=20_000)
    parser.add_argument("--table", type=int)
    given = parser.parse_args()
    if given.table:
        table(given.table)
        return
    print(
        "| gate | items | loss | red: stated | simulated | green: stated | simulated |\n|---|---|---|---|---|---|---|"
    )
    worst = 0.0
    for place, (name, gate, items, judge) in enumerate(cases()):
        seen = noticed(gate, items) or items.rate
        for loss in (0.0, seen / 2, seen):
            stated = gate.chances(items, loss)
            red, green = simulated(gate, items, judge, loss=loss, draws=given.draws, seed=place)
            worst = max(worst, abs(stated.red - red), abs(stated.green - green))
            row = f"| {name} | {items.n} | {loss:.3f} | {stated.red:.4f} | {red:.4f}"
            print(f"{row} | {stated.green:.4f} | {green:.4f} |", flush=True)
    print(f"largest difference: {100 * worst:.2f} points")


if __name__ == "__main__":
    main()
