"""The thresholds that a suite could hold: measured on all samples, with the margin that their number demands."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from robustest.account import Row
from robustest.cli.claims import without_thresholds
from robustest.cli.exits import Exit, Refused, missing
from robustest.cli.pytest_run import meaning, run_pytest
from robustest.cli.runs import Run, read_run
from robustest.cli.screen import Screen
from robustest.reports.text import claimed, measured
from robustest.results import Result


def suggest(arguments: Sequence[str]) -> int:
    """Measure a suite's claims on all samples, and print the thresholds they could hold; nothing is edited.

    Args:
        arguments: for pytest: which tests, and how.

    Returns:
        0 where every claim was measured, whether it passed or not.

    Raises:
        Refused: the tests could not be run, or none makes a claim with a threshold.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "robust.json"
        code = run_pytest(["--robust-exact", f"--robust-json={file}", *arguments])
        if not file.is_file():
            raise Refused(
                f"Expected results but pytest ended with exit code {code} before it wrote any; see above.",
                Exit.MISSING if code in (0, 1) else meaning(code),
            )
        run = read_run(file)
    if code not in (0, 1):
        return meaning(code)
    return _print(run)


def _print(run: Run) -> int:
    rows = [row for row in run.rows if row.result is None or row.result.threshold is not None]
    if not rows:
        raise missing("Expected a claim with a threshold but no test that ran makes one. Name the tests to run.")
    screen = Screen()
    alpha = float(run.settings["alpha"])
    screen.write_sep("=", "thresholds")
    partly = [_suggested(screen, row, alpha) for row in rows]
    screen.write_line(
        f"another sample, of as many from the same population, keeps each of these but for a chance of {alpha:g}; the "
        "margin shrinks as the square root of n grows"
    )
    if any(partly):
        screen.write_line("* the end of the interval: it bounds the population's value, not that of another sample")
    return Exit.MISSING if run.lost or any(row.result is None for row in rows) else Exit.OK


def _suggested(screen: Screen, row: Row, alpha: float) -> bool:
    """Print one claim; whether its threshold bounds the population's value alone."""
    from robustest.cli.bounds import suggestion

    result = row.result
    if result is None:
        screen.write_line(f"{row.test}  could not measure: {row.problem.splitlines()[0]}", red=True)
        return False
    found = suggestion(result, alpha)
    screen.write_line(f"{row.test}  {without_thresholds(result.statement)}")
    screen.write_line(f"    measured    {measured(result)}")
    screen.write_line(f"    now         {claimed(result)}  {result.verdict}")
    if found.threshold is None:
        screen.write_line(f"    could hold  none: {found.why_not}", yellow=True)
        return False
    star = "*" if found.of_population else ""
    change = _change(result, found.threshold)
    bound = f"{result.comparison} {found.threshold:g}{star}"
    screen.write_line(f"    could hold  {bound}  margin {found.margin:.3g}  {change}")
    return found.of_population


def _change(result: Result, threshold: float) -> str:
    if threshold == result.threshold or result.threshold is None:
        return "as it is"
    stricter = threshold > result.threshold if result.comparison == ">=" else threshold < result.threshold
    return "tighter than now" if stricter else "looser than now"
