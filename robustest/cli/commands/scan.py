"""`robustest init --scan`: put questions to a model, explain the answers, and write tests for those that hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from robustest import extensions
from robustest.account import Row
from robustest.cli.commands.compare import by_claim
from robustest.cli.commands.init import PLACE, Probe, battery, framework_of
from robustest.cli.commands.suggest import QUIET, measure_under_seeds, suggestion
from robustest.cli.results_file import ResultsFile
from robustest.cli.screen import Exit, Screen, exit_of_pytest, missing, wrong
from robustest.reports.text import HINT, measured

FILE = "tests/test_robustness_scan.py"


def scan(folder: str) -> int:
    """Measure all questions, print the answers, and write tests for those that the model holds.

    Args:
        folder: root of the project, with `robust_model` and `robust_data` in a conftest.py.

    Returns:
        0 if at least one test was written and no result was lost; the exit code for pytest's if it could not run.

    Raises:
        Refused: there is no such folder, the file exists already, or the model holds nothing.
    """
    root = Path(folder)
    if not root.is_dir():
        raise wrong(f"Expected the folder of a project but there is none at {root}. Create it, or name another.")
    path = root / FILE
    framework = framework_of(root)
    head, probes = battery(framework)
    taken = {probe.name: "" for probe in probes}
    for pack, probe in extensions.all_of("robustest_probes", Probe, framework=framework):
        extensions.check_new("question", probe.name, pack, taken)
        taken[probe.name] = pack
        probes = (*probes, probe)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        # The questions run from the file of the later tests, so that they find the fixtures of the project.
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(source_of(head, {probe: probe.loosest for probe in probes}))
    except FileExistsError:
        raise wrong(f"Expected no {path} but it exists already. Move or delete it to scan again.") from None
    held: dict[Probe, float] = {}
    try:
        # These tests require almost nothing, so their outcomes say nothing of the model and are not printed.
        first, others, code = measure_under_seeds([*QUIET, str(path)])
        if code not in (0, 1):
            return exit_of_pytest(code)
        screen = Screen()
        screen.write_sep("=", "claims that the model holds")
        rows, elsewhere = _by_test(first), [_by_test(run) for run in others]
        for probe in probes:
            there = [found.get(probe.name) for found in elsewhere]
            threshold = _print_answer(screen, probe, rows.get(probe.name), there, float(first.settings["alpha"]))
            if threshold is not None:
                held[probe] = threshold
    finally:
        if held:
            path.write_text(source_of(head, held), encoding="utf-8", newline="\n")
        else:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # the folder, if it was made for the file
                path.parent.rmdir()
    if not held:
        raise missing(
            "Expected a question that the model answers well enough for a test but there was none, so no test was "
            f"written. Fix the causes above, with robust_model and robust_data in a conftest.py in {root}."
        )
    screen.write_line()
    screen.write_line(f"wrote   {path}: {len(held)} of {len(probes)} questions as tests", green=True)
    return Exit.MISSING if any(run.account.lost for run in (first, *others)) else Exit.OK


def source_of(head: str, thresholds: Mapping[Probe, float]) -> str:
    """Return the source of a file of tests."""
    tests = (probe.source.replace(PLACE, f"{threshold:g}") for probe, threshold in thresholds.items())
    return "\n\n".join([head, *tests])


def _by_test(run: ResultsFile) -> dict[str, Row]:
    """Return the first claim of each test by the name of the test."""
    found: dict[str, Row] = {}
    for row in by_claim(run.account.results).values():
        found.setdefault(row.test.rpartition("::")[2], row)
    return found


def _print_answer(
    screen: Screen, probe: Probe, row: Row | None, others: Sequence[Row | None], alpha: float
) -> float | None:
    """Print the answer to a question, with cause and remedy of a poor one; return the threshold, if any."""
    if row is None or row.result is None:
        why = "its test did not run" if row is None else row.problem.splitlines()[0]
        screen.write_line(f"{probe.name}  could not measure: {why}", red=True)
        return None
    result = row.result
    screen.write_line(f"{probe.name}  {result.statement}")
    screen.write_line(f"    measured  {measured(result)}")
    for note in result.notes:
        screen.write_line(f"    {'hint' if note.startswith(HINT) else 'note'}      {note.removeprefix(HINT)}")
    results = [other.result for other in others if other is not None and other.result is not None]
    found = suggestion(result, alpha, results)
    threshold, why_not = found.threshold, found.why_not
    if len(results) < len(others):
        threshold, why_not = None, "it was not measured under another seed"
    if threshold is None:
        screen.write_line(f"    holds     no threshold: {why_not}", yellow=True)
    else:
        screen.write_line(f"    holds     {result.comparison} {threshold:g}")
    value = result.estimate if found.threshold is None else found.threshold
    if value is not None and (value < probe.weak if result.comparison == ">=" else value > probe.weak):
        screen.write_line(f"    cause     {probe.cause}", yellow=True)
        screen.write_line(f"    next      {probe.step}")
    return threshold
