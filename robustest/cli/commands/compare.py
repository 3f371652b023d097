"""Two runs, claim by claim: what is worse, what is better, and what cannot be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path

from robustest.account import Row
from robustest.cli.claims import claim_of
from robustest.cli.commands.pairs import Change, Compared, changes, compared
from robustest.cli.exits import Exit, missing
from robustest.cli.runs import Run, read_run
from robustest.cli.screen import Screen, counted
from robustest.decisions.drop import drop_bounds
from robustest.errors import ConfigError
from robustest.reports.states import red
from robustest.reports.text import measured
from robustest.settings import Settings

Key = tuple[str, str, int]
"""A claim: its test, its key (`Result.claim`), and its place among those of one key in the test."""


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
    shown = before.account.rows, after.account.rows
    ours, theirs = (keyed([row for row in rows if row.result is not None or red(row)]) for rows in shown)
    levels = _level(before), _level(after)
    problems = {row.test: row for row in shown[1] if row.result is None}
    theirs = {**theirs, **{key: problems[key[0]] for key in ours if key not in theirs and key[0] in problems}}
    both = [compared(ours[key], theirs[key], levels) for key in ours if key in theirs]
    level = levels[1] if alpha is None else alpha
    found = changes(both, level)
    screen = Screen()
    screen.write_sep("=", "comparison")
    screen.write_line(f"A  {first}{_about(before)}")
    screen.write_line(f"B  {second}{_about(after)}")
    for name in _TELLING:
        if before.settings.get(name) != after.settings.get(name):
            screen.write_line(f"other {name}: A {before.settings.get(name)}, B {after.settings.get(name)}", yellow=True)
    for one, change in zip(both, found, strict=True):
        _show(screen, one, change, level)
    gone, new = [key for key in ours if key not in theirs], [key for key in theirs if key not in ours]
    _show_rest(screen, {"A": gone, "B": new}, {first: before, second: after})
    counts = [*((str(change), found.count(change)) for change in Change), ("gone", len(gone))]
    told = ", ".join(f"{number} {name}" for name, number in counts if number)
    screen.write_line(f"{counted(len(both), 'claim')} in both: {told} (alpha = {level:g})" if both else _NOTHING)
    if not fail_on_worse:
        return Exit.OK
    return _ending(both, found, before, after, missed=[key[0] for key in gone], allow_missing=allow_missing)


def _ending(
    both: Sequence[Compared],
    found: Sequence[Change],
    before: Run,
    after: Run,
    *,
    missed: Sequence[str],
    allow_missing: bool,
) -> Exit:
    """The exit code where worse is not let through: what was measured and is worse first, then what cannot be told.

    Args:
        both, found: claims of both runs, and what became of them.
        before, after: the runs.
        missed: the tests of claims that only the first has.
        allow_missing: whether claims may be gone; those of a test that ended before it came to them may not.
    """
    measured = [change for one, change in zip(both, found, strict=True) if one.after.result is not None]
    if Change.WORSE in measured:
        return Exit.NOT_PASSED
    rows = after.account.rows  # beside claims, tests that failed otherwise, and what pytest said of the run
    unmeasured = any(row.result is None and red(row) for row in rows)
    untold = any(one.unexplained or (one.after.result is None and one.before.result is not None) for one in both)
    ended = {row.test for row in rows if row.result is None or red(row)}
    absent = bool(missed) if not allow_missing else not ended.isdisjoint(missed)
    return Exit.MISSING if before.lost or after.lost or unmeasured or untold or absent or not both else Exit.OK


_TELLING = ("seed", "alpha", "scope", "precision", "attack", "profile")
"""Settings whose change may move outcomes or verdicts."""

_NOTHING = "no claim is in both"


def _show_rest(screen: Screen, alone: Mapping[str, Sequence[Key]], runs: Mapping[str, Run]) -> None:
    """Claims that only one run has, and what was lost."""
    for name, keys in alone.items():
        for test, claim, _ in keys:
            screen.write_line(f"only in {name}: {test}  {claim or 'could not measure'}", yellow=True)
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
        claim = (row.test, "") if row.result is None else claim_of(row.test, row.result)
        number = next(n for n in count() if (*claim, n) not in found)
        found[(*claim, number)] = row
    return found


_COLOURS = {Change.WORSE: "red", Change.BETTER: "green", Change.NOT_MEASURED: "red", Change.MOVED: "yellow"}
_LOUD = (Change.WORSE, Change.BETTER, Change.NOT_MEASURED)


def _show(screen: Screen, one: Compared, change: Change, alpha: float) -> None:
    result = one.before.result if one.after.result is None else one.after.result
    words = "" if result is None else f"  {result.statement}"
    screen.write_line(f"{one.after.test}{words}")
    for name, row in (("A", one.before), ("B", one.after)):
        screen.write_line(f"    {name}  {_line(row)}")
    markup = {_COLOURS[change]: True} if change in _COLOURS else {}
    shown = change.upper() if change in _LOUD else str(change)
    screen.write_line(f"    {_paired(one, change, shown, alpha)}", **markup)


def _paired(one: Compared, change: Change, shown: str, alpha: float) -> str:
    """What the pairs say, or why there are none, and what follows."""
    if one.pairs is None:
        if one.before.result is None or one.after.result is None:
            return shown
        untold = "; more is asked, and whether the model is worse cannot be told" if one.unexplained else ""
        told = "" if change is Change.NOT_PAIRED else f"; {shown} by its verdict"
        return f"not paired: {one.why_not}{told}{untold}"
    pairs = one.pairs
    low, high = drop_bounds(pairs.lost, pairs.gained, pairs.n, alpha)
    group = f" in group {pairs.group!r}" if pairs.group else ""
    by_verdict = (
        " by its verdict" if change in (Change.WORSE, Change.BETTER) and one.by_verdict(Change.ALIKE) is change else ""
    )
    return (
        f"paired: {pairs.lost} lost, {pairs.gained} gained of {pairs.n}{group}; fall of the share that holds "
        f"{(pairs.lost - pairs.gained) / pairs.n:.4f} [{low:.4f}, {high:.4f}]; McNemar p = {pairs.worse:.2g} worse, "
        f"{pairs.better:.2g} better; {shown}{by_verdict}"
    )


def _line(row: Row) -> str:
    if row.result is None:
        return f"could not measure: {row.problem.splitlines()[0]}"
    return f"{measured(row.result)}  {row.result.verdict}"


def _about(run: Run) -> str:
    models = {row.result.model for row in run.rows if row.result is not None and row.result.model}
    model = f"  model {next(iter(models))[:12]}" if len(models) == 1 else ""
    return f"  robustest {run.version}{model}"
