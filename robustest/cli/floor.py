"""`robustest floor`: by how much identical systems differ in recorded outcomes, and what it takes to show a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import norm

from robustest.claims.outcomes import measure_consistent_runs
from robustest.cli.screen import Exit, Screen, wrong
from robustest.data.outcomes import Outcomes, joined
from robustest.decisions.noise_floor import POWER, NoiseFloor
from robustest.words import end_of, number

_FEW = 50
"""Fewer items give rough figures."""


def floor(
    files: Sequence[str], *, loss: float, alpha: float, reader: str | None = None, score: str | None = None
) -> int:
    """Print the noise floor of runs of one system; each file is one run, or several of the same items."""
    parts = [_read(Path(file), reader, score, alone=len(files) == 1) for file in files]
    found = joined(parts)
    scored = found.rows(np.flatnonzero(~np.isnan(found.score)))
    names, place = np.unique(scored.item, return_inverse=True)
    share = (scored.score - scored.low) / (scored.high - scored.low)
    if len(parts) > 1 and len(names) == sum(len(set(one.item)) for one in parts):
        raise wrong("Expected files with runs of the same items but no item is in two. Name the items alike.")
    noise = NoiseFloor.of(place, share)
    flips = measure_consistent_runs(found, alpha=alpha)
    screen = Screen()
    screen.write_sep("=", "noise floor")

    def line(label: str, text: str) -> None:
        screen.write_line(f"{label:<37}{text}")

    runs = np.bincount(place)
    counts = f"{runs.min()}" if runs.min() == runs.max() else f"{runs.min()} to {runs.max()}"
    line("items", f"{noise.n:,}, {counts} runs of each, {len(parts)} {'file' if len(parts) == 1 else 'files'}")
    rates = [float(np.nanmean(one.items.mean)) for one in parts[len(parts) < 2 :]]
    line(
        "rate",
        f"{number(noise.rate, digits=4)}"
        + (f", by file {number(min(rates), digits=4)} to {number(max(rates), digits=4)}" if rates else ""),
    )
    least, most = (end_of(100 * flips.interval[above], above=above, digits=2) for above in (False, True))
    rate = number(100 * (flips.estimate or 0.0), digits=2)
    line("two runs of an item differ in", f"{rate}% of the pairs (between {least}% and {most}%)")
    if lost := int(np.isnan(found.score).sum()):
        line("rows without a score", f"{lost}, left out here; a claim counts them as 0")
    if not noise.within:
        screen.write_line(
            "No score differs between runs. Make sure that the files are no copies and that no cache answered.",
            yellow=True,
        )
        return Exit.OK
    points = f"{100 * loss:g} {'point' if loss == 0.01 else 'points'}"
    sd = noise.spread()
    line("identical systems differ by up to", f"{100 * sd * norm.isf(alpha / 2):.2f} points in {100 * (1 - alpha):g}%")
    screen.write_line("")
    screen.write_line("a gate on two rates, unpaired, is red for identical systems", bold=True)
    line('  "not worse"', f"{noise.red(0.0):.1%} of the runs")
    line(f'  "at most {points} worse"', f"{noise.red(loss):.1%}")
    line(f"  at most {100 * alpha:g}% needs a tolerance of", f"{100 * sd * norm.isf(alpha):.2f} points")
    screen.write_line("")
    screen.write_line(f"to show a loss of {points} (alpha {alpha:g}, power {POWER:g})", bold=True)
    one, three = noise.items(loss, alpha), noise.items(loss, alpha, runs=3)
    line("  paired, by no_worse_than=", f"{one:,} items with one run, {three:,} with three")
    enough = noise.runs(loss, alpha)
    line(
        f"  with these {noise.n:,} items",
        "no number of runs suffices" if enough is None else f"{enough:,} runs of each",
    )
    line("  unpaired", f"{noise.items(loss, alpha, paired=False):,} items with one run")
    screen.write_line("")
    screen.write_line(
        f"to show that the rate is at least {number(noise.rate - loss, digits=4)}, {points} below", bold=True
    )
    line("  by assert_rate(at_least=)", f"{noise.items_of_claim(loss, alpha):,} items with one run")
    if noise.n < _FEW:
        screen.write_line(f"{noise.n} items give rough figures; {_FEW} or more give better ones.", yellow=True)
    return Exit.OK


def _read(path: Path, reader: str | None, score: str | None, *, alone: bool) -> Outcomes:
    options: dict[str, Any] = {} if score is None else {"score": score}
    found = Outcomes.read(path, reader=reader, **options)
    # Runs of one name in two files are different runs.
    return found if alone else replace(found, run=np.array([f"{path}: {run}" for run in found.run]))
