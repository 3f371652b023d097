"""The thresholds that a suite could hold: measured on all samples, with the margin that their number demands."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from robustest.account import Row
from robustest.cli.commands.bounds import SEEDS, Suggestion, moves, suggestion
from robustest.cli.commands.compare import keyed
from robustest.cli.exits import Exit, Refused, missing
from robustest.cli.first_gates.pytest_run import meaning, run_pytest
from robustest.cli.runs import Run, read_run
from robustest.cli.screen import Screen
from robustest.reports.text import measured, requirement
from robustest.results import Result

QUIET = ("-qq", "--no-header", "--no-summary", "--tb=no")
"""For pytest, where another table than its own tells what was found."""


def suggest(arguments: Sequence[str]) -> int:
    """Measure a suite's claims on all samples, and print the thresholds they could hold; nothing is edited.

    Two seeds are measured, and three more where a value moves with the seed.

    Args:
        arguments: for pytest: which tests, and how.

    Returns:
        0 where every claim was measured, whether it passed or not.

    Raises:
        Refused: the tests could not be run, or none makes a claim with a threshold.
    """
    first, others, code = measured_under_seeds(arguments)
    return _print(first, others) if code in (0, 1) else meaning(code)


def measured_under_seeds(arguments: Sequence[str]) -> tuple[Run, list[Run], int]:
    """The suite's claims on all samples under two seeds, and three more where a value moves with the seed.

    Returns:
        The first run, the others, and pytest's exit code, at the first that is neither 0 nor 1 if there is one.

    Raises:
        Refused: nothing was written.
    """
    first, code = _measured(arguments)
    others: list[Run] = []
    seed = int(first.settings["seed"])
    for number in range(1, SEEDS):
        if code not in (0, 1):
            break
        run, code = _measured([*arguments, *QUIET, f"--robust-seed={seed + number}"])  # the first told all that failed
        others.append(run)
        if not any(_moved(first, other) for other in others):  # then no further seed is needed
            break
    return first, others, code


def _measured(arguments: Sequence[str]) -> tuple[Run, int]:
    """The suite's claims on all samples, and pytest's exit code.

    Raises:
        Refused: nothing was written.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "robust.json"
        code = run_pytest(["--robust-exact", f"--robust-json={file}", *arguments])
        if not file.is_file():
            raise Refused(
                f"Expected results but pytest ended with exit code {code} before it wrote any; see above.",
                Exit.MISSING if code in (0, 1) else meaning(code),
            )
        return read_run(file), code


def _moved(first: Run, second: Run) -> bool:
    there = keyed(second.rows)
    pairs = [(row.result, there[key].result) for key, row in keyed(first.rows).items() if key in there]
    return any(one is not None and other is not None and moves(one, other) for one, other in pairs)


def _print(run: Run, others: Sequence[Run]) -> int:
    rows = {key: row for key, row in keyed(run.rows).items() if row.result is None or row.result.threshold is not None}
    if not rows:
        raise missing("Expected a claim with a threshold but no test that ran makes one. Name the tests to run.")
    screen = Screen()
    alpha = float(run.settings["alpha"])
    screen.write_sep("=", "thresholds")
    elsewhere = [keyed(other.rows) for other in others]
    found = [_suggested(screen, row, [there.get(key) for there in elsewhere], alpha) for key, row in rows.items()]
    screen.write_line(
        f"another sample, of as many from the same population, keeps each of these but for a chance of {alpha:g}; the "
        "margin shrinks as the square root of n grows"
    )
    if any(one.of_population for one in found):
        screen.write_line("* the end of the interval: it bounds the population's value, not that of another sample")
    runs = (run, *others)
    unmeasured = any(row.result is None for row in rows.values())
    return Exit.MISSING if any(one.lost for one in runs) or unmeasured else Exit.OK


def _suggested(screen: Screen, row: Row, others: Sequence[Row | None], alpha: float) -> Suggestion:
    """Print one claim, and what it could hold."""
    result = row.result
    if result is None:
        screen.write_line(f"{row.test}  could not measure: {row.problem.splitlines()[0]}", red=True)
        return Suggestion(threshold=None)
    there = [other.result for other in others if other is not None and other.result is not None]
    found = suggestion(result, alpha, there)
    if len(there) < len(others):
        found = Suggestion(threshold=None, why_not="under another seed it was not measured, as its test ended before")
    screen.write_line(f"{row.test}  {result.statement}")
    screen.write_line(f"    measured    {measured(result)}")
    screen.write_line(f"    now         {requirement(result) or 'nothing required'}  {result.verdict}")
    if found.threshold is None:
        screen.write_line(f"    could hold  none: {found.why_not}", yellow=True)
        return found
    star = "*" if found.of_population else ""
    change = _change(result, found.threshold)
    bound = f"{result.comparison} {found.threshold:g}{star}"
    seeds = f"  ({found.seeds} seeds)" if found.seeds > 1 else ""
    screen.write_line(f"    could hold  {bound}  margin {found.margin:.3g}  {change}{seeds}")
    return found


def _change(result: Result, threshold: float) -> str:
    if threshold == result.threshold or result.threshold is None:
        return "as it is"
    stricter = threshold > result.threshold if result.comparison == ">=" else threshold < result.threshold
    return "tighter than now" if stricter else "looser than now"
