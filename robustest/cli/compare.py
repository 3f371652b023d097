"""Two runs, claim by claim: what is worse, what is better, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from robustest.account import Row
from robustest.cli.claims import claim_of, without_thresholds
from robustest.cli.exits import Exit, missing
from robustest.cli.runs import Run, read_run
from robustest.cli.screen import Screen, counted
from robustest.errors import ConfigError
from robustest.reports.text import claimed, measured
from robustest.results import Result, Verdict
from robustest.settings import Settings
from robustest.verdicts.paired import drop_bounds, mcnemar

Key = tuple[str, str, str, int]
"""A claim: its test, its kind, its words without thresholds, and the how-manieth of these in the test."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The same samples in two runs.

    Attributes:
        lost, gained: samples that held only in the first, and only in the second.
        n: how many were looked at in both.
        worse, better: exact one-sided McNemar p-values, that what was lost, or gained, is chance.
    """

    lost: int
    gained: int
    n: int
    worse: float
    better: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One claim in two runs.

    Attributes:
        before, after: its rows.
        pairs: its samples, where they can be paired.
        why_not: else the reason.
    """

    before: Row
    after: Row
    pairs: Pairs | None
    why_not: str


def compare(first: str, second: str, *, alpha: float | None, fail_on_worse: bool, allow_missing: bool) -> int:
    """Print both runs claim by claim, and what changed.

    Args:
        first, second: files of results, before and after.
        alpha: error allowed for all claims together that nothing changed for; the second run's own where None.
        fail_on_worse: whether the exit code is 1 where a claim is worse, 3 where one was not measured or is gone.
        allow_missing: whether claims may be gone.

    Raises:
        Refused: a file is not there, or damaged.
    """
    before, after = (read_run(Path(path)) for path in (first, second))
    ours, theirs = keyed(before.rows), keyed(after.rows)
    both = [compared(ours[key], theirs[key]) for key in ours if key in theirs]
    level = _level(after) if alpha is None else alpha
    flags = flagged(both, level)
    screen = Screen()
    screen.write_sep("=", "comparison")
    screen.write_line(f"A  {first}{_about(before)}")
    screen.write_line(f"B  {second}{_about(after)}")
    for one, flag in zip(both, flags, strict=True):
        _show(screen, one, flag, level)
    gone, new = [key for key in ours if key not in theirs], [key for key in theirs if key not in ours]
    _show_rest(screen, {"A": gone, "B": new}, {first: before, second: after})
    counts = {name: flags.count(name) for name in ("worse", "better", "alike", "not paired", "not measured")}
    told = ", ".join(f"{number} {name}" for name, number in counts.items() if number)
    screen.write_line(f"{counted(len(both), 'claim')} in both: {told} (alpha = {level:g})" if both else _NOTHING)
    if not fail_on_worse:
        return Exit.OK
    if "worse" in flags:
        return Exit.NOT_PASSED
    unmeasured = any(row.result is None for row in after.rows)
    absent = bool(gone) and not allow_missing
    return Exit.MISSING if before.lost or after.lost or unmeasured or absent or not both else Exit.OK


_NOTHING = "no claim is in both"


def _show_rest(screen: Screen, alone: Mapping[str, Sequence[Key]], runs: Mapping[str, Run]) -> None:
    """Claims that only one run has, and what was lost."""
    for name, keys in alone.items():
        for test, _, words, _ in keys:
            screen.write_line(f"only in {name}: {test}  {words or 'could not measure'}", yellow=True)
    for path, run in runs.items():
        for problem in run.lost:
            screen.write_line(f"LOST: {path} lost results: {problem}", red=True)


def _level(run: Run) -> float:
    try:
        return Settings().but({"alpha": run.settings.get("alpha")}).alpha
    except ConfigError as error:
        raise missing(f"Expected the settings of a run in {run.path} but got: {error}") from error


def keyed(rows: Sequence[Row]) -> dict[Key, Row]:
    """Rows by claim; thresholds may differ between two runs, so they are no part of it."""
    found: dict[Key, Row] = {}
    for row in rows:
        claim = (row.test, "", "") if row.result is None else claim_of(row.test, row.result)
        number = next(n for n in count() if (*claim, n) not in found)
        found[(*claim, number)] = row
    return found


def compared(before: Row, after: Row) -> Compared:
    """Pair a claim's samples, or say why they cannot be."""
    if before.result is None or after.result is None:
        return Compared(before, after, None, "not measured")
    why_not = _why_not(before.result, after.result)
    if why_not:
        return Compared(before, after, None, why_not)
    both = list(zip(before.result.outcomes, after.result.outcomes, strict=True))
    lost, gained = both.count((True, False)), both.count((False, True))
    n = sum(outcome is not None for outcome, _ in both)
    return Compared(
        before,
        after,
        Pairs(lost=lost, gained=gained, n=n, worse=mcnemar(lost, gained), better=mcnemar(gained, lost)),
        "",
    )


def _why_not(before: Result, after: Result) -> str:
    for name, result in (("A", before), ("B", after)):
        if not result.data:
            return f"{name} looked at {result.n_used} of {result.n_total} samples (--robust-exact looks at all)"
    if before.data != after.data:
        return "the samples are others"
    if [o is None for o in before.outcomes] != [o is None for o in after.outcomes]:
        return "others of the samples were looked at"
    if before.claim == "min_perturbation" and before.threshold != after.threshold:
        return "what holds depends on the threshold, which is another"
    return ""


def flagged(both: Sequence[Compared], alpha: float) -> list[str]:
    """What became of each claim: "worse", "better", "alike", "not paired" or "not measured".

    Of all claims whose samples are paired, one or more is called worse by chance with probability alpha at most, and
    so for better (Holm, Scandinavian Journal of Statistics 1979). Without pairs a claim counts as changed only where it
    passed the same threshold before and failed it now, or the other way.
    """
    paired = {place: one.pairs for place, one in enumerate(both) if one.pairs is not None}
    worse = holm({place: pairs.worse for place, pairs in paired.items()}, alpha)
    better = holm({place: pairs.better for place, pairs in paired.items()}, alpha)
    flags = []
    for place, one in enumerate(both):
        if place in paired:
            flags.append("worse" if place in worse else "better" if place in better else "alike")
        elif one.before.result is None or one.after.result is None:
            flags.append("not measured")
        else:
            flags.append(_by_verdict(one.before.result, one.after.result))
    return flags


def holm(p: Mapping[int, float], alpha: float) -> set[int]:
    """The hypotheses that Holm's step-down procedure rejects, with error alpha over all of them."""
    rejected: set[int] = set()
    for place, key in enumerate(sorted(p, key=lambda key: p[key])):
        if p[key] > alpha / (len(p) - place):
            break
        rejected.add(key)
    return rejected


def _by_verdict(before: Result, after: Result) -> str:
    if before.threshold == after.threshold:
        changed = (before.verdict, after.verdict)
        if changed == (Verdict.PASSED, Verdict.FAILED):
            return "worse"
        if changed == (Verdict.FAILED, Verdict.PASSED):
            return "better"
    return "not paired"


_COLOURS = {"worse": "red", "better": "green", "not measured": "red"}


def _show(screen: Screen, one: Compared, flag: str, alpha: float) -> None:
    result = one.before.result if one.after.result is None else one.after.result
    words = "" if result is None else f"  {without_thresholds(result.statement)}"
    screen.write_line(f"{one.after.test}{words}")
    for name, row in (("A", one.before), ("B", one.after)):
        screen.write_line(f"    {name}  {_line(row)}")
    markup = {_COLOURS[flag]: True} if flag in _COLOURS else {}
    shown = flag.upper() if flag in _COLOURS else flag
    if one.pairs is None:
        reason = "" if flag == "not measured" else f": {one.why_not}"
        changed = f"; {shown} by its verdict" if flag in ("worse", "better") else ""
        screen.write_line(f"    {'not paired' if reason else shown}{reason}{changed}", **markup)
        return
    pairs = one.pairs
    low, high = drop_bounds(pairs.lost, pairs.gained, pairs.n, alpha)
    screen.write_line(
        f"    paired: {pairs.lost} lost, {pairs.gained} gained of {pairs.n}; fall of the share that holds "
        f"{(pairs.lost - pairs.gained) / pairs.n:.4f} [{low:.4f}, {high:.4f}]; McNemar p = {pairs.worse:.2g} worse, "
        f"{pairs.better:.2g} better; {shown}",
        **markup,
    )


def _line(row: Row) -> str:
    if row.result is None:
        return f"could not measure: {row.problem.splitlines()[0]}"
    return f"{measured(row.result)}  {claimed(row.result)}  {row.result.verdict}"


def _about(run: Run) -> str:
    models = {row.result.model for row in run.rows if row.result is not None and row.result.model}
    model = f"  model {next(iter(models))[:12]}" if len(models) == 1 else ""
    return f"  robustest {run.version}{model}"
