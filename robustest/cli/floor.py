"""`robustest floor`: by how much identical systems differ, and what loss each gate of a repository would notice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robustest.claims.outcomes import measure_consistent_runs
from robustest.cli.gate_tables import NamedGate, is_table, named_gate, read_gates, read_run, runs_of, said
from robustest.cli.screen import Exit, Screen, wrong
from robustest.data.outcomes import Outcomes
from robustest.decisions.distributions import norm
from robustest.decisions.gates import Chances, KOfRuns, Tolerance, items_needed, noticed, quiet_tolerance, runs_needed
from robustest.decisions.noise_floor import POWER, NoiseFloor
from robustest.words import end_of, number

_FEW = 50
"""Fewer items give rough figures."""
_LOSS, _LOSS_OF_GATES = 0.01, 0.05
# A gate that notices a loss in fewer of the runs is blind to it.
_BLIND = 0.05
# Longest names and rules in a table.
_NAME, _RULE = 32, 30


def floor(
    files: Sequence[str],
    *,
    loss: float | None,
    alpha: float,
    reader: str | None = None,
    score: str | None = None,
    gates: Sequence[str] = (),
    defaults: Sequence[str] = (),
    as_json: bool = False,
) -> int:
    """Print the noise floor of runs of one system, and the power of gates on it, or of the gates in tables.

    Args:
        files: tables of gates; or outcomes, each file of one run, or of several of the same items; or none.
        loss: to show, in 0..1.
        alpha: chance of a red gate without a loss.
        gates, defaults: as `KEY=VALUE,...`, see `robustest.cli.gate_tables`.
        as_json: True to print JSON.
    """
    paths, common = [Path(file) for file in files], {}
    for one in defaults:
        common.update(said(one))
    tables = [path for path in paths if reader is None and score is None and is_table(path)]
    if tables and len(tables) < len(paths):
        other = next(path for path in paths if path not in tables)
        raise wrong(f"Expected tables of gates or outcomes of one system but got both: {tables[0]} and {other}.")
    if tables and gates:
        raise wrong("Expected a table of gates or --gate but got both. Say what a table lacks by --set KEY=VALUE.")
    if not paths and not gates:
        example = "robustest floor --gate tolerance=0.03 --set value=0.54,n=1319"
        raise wrong(f"Expected outcomes, a table of gates or --gate but got none. For example: {example}")
    found, noise = None, None
    if tables:
        named = [one for path in tables for one in read_gates(path, common, alpha)]
    else:
        if paths:
            options = {"reader": reader, **({} if score is None else {"score": score})}
            found = runs_of([read_run(path, options, alone=len(paths) == 1) for path in paths])
        asked = [{"metric": text, **common, **said(text)} for text in gates]
        named = [named_gate(one, text, None, alpha, found) for text, one in zip(gates, asked, strict=True)]
        if found is not None:
            several = bool((found.items.runs >= 2).any())
            if not several and not gates:
                raise wrong(
                    "Expected several runs of the items but every item has one. Give the files of two runs, or ask "
                    f"what a gate on this one would notice: robustest floor {paths[0]} --gate tolerance=0.02"
                )
            noise = _noise_of(found) if several else None
    powers = [Power.of(one, _LOSS_OF_GATES if loss is None else loss, alpha) for one in named]
    screen, shown = Screen(), _LOSS if loss is None else loss
    if as_json:
        _print_json(screen, powers, noise, shown, alpha)
        return Exit.OK
    if found is not None and noise is not None:
        _print_noise(screen, noise, found, paths, loss=shown, alpha=alpha)
    if powers:
        _print_gates(screen, powers, alpha)
    return Exit.OK


@dataclass(frozen=True, kw_only=True)
class Power:
    """The chances and the reach of a gate.

    Attributes:
        alike: chances for a system that lost nothing.
        loss, lost: a loss of the rate, and the chances for a system with it.
        noticed, blocked: smallest loss for which it is red nine times in ten, and not green; None if there is none.
        needed: items (runs, of a gate of k runs) with which it tells the loss from none; None if no number does.
        runs: runs of each of its items with which it does; None if no number does.
        quiet: smallest tolerance that keeps it from being red without a loss; None for other rules.
    """

    named: NamedGate
    alike: Chances
    loss: float
    lost: Chances
    noticed: float | None
    blocked: float | None
    needed: int | None
    runs: int | None
    quiet: float | None

    @classmethod
    def of(cls, named: NamedGate, loss: float, alpha: float) -> Power:
        gate, items = named.gate, named.items
        loss = min(loss, items.rate)
        return cls(
            named=named,
            alike=gate.chances(items),
            loss=loss,
            lost=gate.chances(items, loss),
            noticed=noticed(gate, items),
            blocked=noticed(gate, items, open_too=True),
            needed=items_needed(gate, items, loss, alpha),
            runs=runs_needed(gate, items, loss, alpha),
            quiet=quiet_tolerance(gate, items, alpha) if isinstance(gate, Tolerance) else None,
        )

    def to_dict(self) -> dict[str, Any]:
        named, items = self.named, self.named.items
        chances = {"alike": self.alike, "lost": self.lost}
        return {
            "gate": named.name,
            "kind": named.kind,
            "rule": named.rule,
            "items": items.n,
            "runs": items.runs,
            "rate": items.rate,
            "flips": items.flips,
            "assumed": list(named.assumed),
            "loss": self.loss,
            **{
                f"{name}_{colour}": getattr(one, colour) for name, one in chances.items() for colour in ("red", "green")
            },
            "noticed_loss": self.noticed,
            "blocked_loss": self.blocked,
            ("needed_runs" if isinstance(named.gate, KOfRuns) else "needed_items"): self.needed,
            **({} if isinstance(named.gate, KOfRuns) else {"needed_runs": self.runs}),
            "quiet_tolerance": self.quiet,
        }


def _noise_of(found: Outcomes) -> NoiseFloor:
    scored = found.rows(np.flatnonzero(~np.isnan(found.score)))
    _, place = np.unique(scored.item, return_inverse=True)
    return NoiseFloor.of(place, (scored.score - scored.low) / (scored.high - scored.low))


def _print_noise(
    screen: Screen, noise: NoiseFloor, found: Outcomes, paths: Sequence[Path], *, loss: float, alpha: float
) -> None:
    flips = measure_consistent_runs(found, alpha=alpha)
    screen.write_sep("=", "noise floor")

    def line(label: str, text: str) -> None:
        screen.write_line(f"{label:<37}{text}")

    of_items = found.items
    runs = of_items.runs[of_items.runs > 0]
    counts = f"{runs.min()}" if runs.min() == runs.max() else f"{runs.min()} to {runs.max()}"
    line("items", f"{noise.n:,}, {counts} runs of each, {len(paths)} {'file' if len(paths) == 1 else 'files'}")
    rates = [] if len(paths) < 2 else _rates_by_file(found, paths)
    by_file = f", by file {number(min(rates), digits=4)} to {number(max(rates), digits=4)}" if rates else ""
    line("rate", f"{number(noise.rate, digits=4)}{by_file}")
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
        return
    points, sd = _points(loss), noise.spread()
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
    below = number(noise.rate - loss, digits=4)
    screen.write_line(f"to show that the rate is at least {below}, {points} below", bold=True)
    line("  by assert_rate(at_least=)", f"{noise.items_of_claim(loss, alpha):,} items with one run")
    if noise.n < _FEW:
        screen.write_line(f"{noise.n} items give rough figures; {_FEW} or more give better ones.", yellow=True)


def _rates_by_file(found: Outcomes, paths: Sequence[Path]) -> list[float]:
    # Runs have the names of their files.
    of_file = [np.char.startswith(found.run, f"{path}: ") for path in paths]
    return [float(np.nanmean(found.rows(np.flatnonzero(rows)).items.mean)) for rows in of_file]


def _print_gates(screen: Screen, powers: Sequence[Power], alpha: float) -> None:
    """Print a line for each gate, the assumptions, and how many gates see the loss."""
    points, number_of = _points(max(one.loss for one in powers)), len(powers)
    screen.write_sep("=", f"what gates notice of a loss of {points}")
    name = min(_NAME, max(len("gate"), *(len(one.named.name) for one in powers)))
    rule = min(_RULE, max(len("rule"), *(len(one.named.rule) for one in powers)))
    seen = [_seen(one) for one in powers]
    wide = max(len("red 9 in 10 from"), *map(len, seen))
    before = f"{'':<{name}}  {'':<{rule}}  {'':>7}   {'without a loss':^14}  {'':>{wide}}   {'with it':^14}"
    screen.write_line(before.rstrip(), bold=True)
    head = f"{'gate':<{name}}  {'rule':<{rule}}  {'items':>7}   {'red':>6}  {'green':>6}  {'red 9 in 10 from':>{wide}}"
    screen.write_line(f"{head}   {'red':>6}  {'green':>6}  needed", bold=True)
    for one, words in zip(powers, seen, strict=True):
        text = (
            f"{_cut(one.named.name, name):<{name}}  {_cut(one.named.rule, rule):<{rule}}  {one.named.items.n:>7,}   "
            f"{_percent(one.alike.red)}  {_percent(one.alike.green)}  {words:>{wide}}   "
            f"{_percent(one.lost.red)}  {_percent(one.lost.green)}  {_needed(one)}"
        )
        screen.write_line(text, red=one.lost.red < _BLIND, yellow=_BLIND <= one.lost.red < POWER)
    screen.write_line("")
    blind, noisy = (
        sum(what) for what in ([one.lost.red < _BLIND for one in powers], [one.alike.red > alpha for one in powers])
    )
    sharp = sum(one.lost.red >= POWER for one in powers)
    screen.write_line(f"red for a loss of {points} nine times in ten: {sharp} of {number_of}; in less than 5%: {blind}")
    screen.write_line(
        f"red in more than {100 * alpha:g}% of the runs of a system that lost nothing: {noisy} of {number_of}"
    )
    for one in powers:
        if one.quiet is not None and one.alike.red > alpha:
            relative = isinstance(one.named.gate, Tolerance) and one.named.gate.relative
            enough = f"{100 * one.quiet:.2f}{'% of the stored score' if relative else ' points'}"
            screen.write_line(f"  {one.named.name}: not with a tolerance of {enough}")
    for assumed in dict.fromkeys(what for one in powers for what in one.named.assumed):
        which = [one.named.name for one in powers if assumed in one.named.assumed]
        whose = "" if len(which) == number_of else f" of {', '.join(which[:3])}{', ...' if len(which) > 3 else ''}"
        screen.write_line(f"assumed{whose}: {assumed}")


def _seen(power: Power) -> str:
    """Return the loss for which a gate is red nine times in ten, and that for which it is not green, if another."""
    red, blocked = ("none" if one is None else f"{100 * one:.1f}" for one in (power.noticed, power.blocked))
    return f"{red} points" if red == blocked else f"{red} points (not green: {blocked})"


def _needed(power: Power) -> str:
    if isinstance(power.named.gate, KOfRuns):
        return "no number" if power.needed is None else f"{power.needed:,} runs"
    items = "no number" if power.needed is None else f"{power.needed:,} items"
    if power.runs is None or power.runs <= power.named.items.runs:
        return items
    return f"{items}, or {power.runs:,} runs"


def _print_json(screen: Screen, powers: Sequence[Power], noise: NoiseFloor | None, loss: float, alpha: float) -> None:
    found: dict[str, Any] = {"alpha": alpha, "power": POWER, "gates": [one.to_dict() for one in powers]}
    if noise is not None:
        found["noise"] = {
            "items": noise.n,
            "rate": noise.rate,
            "within": noise.within,
            "between": noise.between,
            "loss": loss,
            "needed_items_paired": noise.items(loss, alpha),
            "needed_items_unpaired": noise.items(loss, alpha, paired=False),
            "needed_runs": noise.runs(loss, alpha),
        }
    for line in json.dumps(found, indent=1, allow_nan=False).splitlines():
        screen.write_line(line)


def _points(loss: float) -> str:
    return f"{100 * loss:g} {'point' if loss == 0.01 else 'points'}"


def _percent(chance: float) -> str:
    return f"{100 * min(1.0, max(0.0, chance)):5.1f}%"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
