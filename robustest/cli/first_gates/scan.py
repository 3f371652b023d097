"""A battery of questions put to a model: what it holds is told, and written as the tests that hold it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from robustest import extensions
from robustest.account import Row
from robustest.cli.commands.bounds import suggestion
from robustest.cli.commands.compare import keyed
from robustest.cli.exits import Exit, missing, wrong
from robustest.cli.first_gates.battery import PLACE, Probe, battery
from robustest.cli.first_gates.init import framework_of
from robustest.cli.first_gates.pytest_run import meaning
from robustest.cli.first_gates.suggest import QUIET, measured_under_seeds
from robustest.cli.runs import Run
from robustest.cli.screen import Screen
from robustest.reports.text import HINT, measured
from robustest.results import Result

FILE = "tests/test_robustness_scan.py"


def scan(folder: str) -> int:
    """Measure all that fits, tell what was found, and write the tests that hold it.

    The battery is run from the file that the tests are written to, so that it sees the project's fixtures. Where no
    question had an answer to hold, no file is left.

    Args:
        folder: the project's root, with `robust_model` and `robust_data` in a conftest.py.

    Returns:
        0 where at least one test was written and no result was lost; pytest's meaning where it could not run.

    Raises:
        Refused: there is no such folder, the file is there already, or nothing could be measured.
    """
    root = Path(folder)
    if not root.is_dir():
        raise wrong(f"Expected the folder of a project but there is none at {root}.")
    path = root / FILE
    framework = framework_of(root)
    head, probes = battery(framework)
    taken = {probe.name: "" for probe in probes}
    for pack, probe in extensions.all_of("robustest_probes", Probe, framework=framework):
        extensions.check_new("question", probe.name, pack, taken)
        taken[probe.name] = pack
        probes = (*probes, probe)
    _begin(path, _source(head, {probe: probe.loosest for probe in probes}))
    held: dict[Probe, float] = {}
    try:
        # Its tests ask for next to nothing: how they ended says nothing of the model, and is not shown.
        first, others, code = measured_under_seeds([*QUIET, str(path)])
        if code not in (0, 1):
            return meaning(code)
        screen = Screen()
        screen.write_sep("=", "what the model holds")
        held = _told(screen, probes, first, others)
    finally:
        if held:
            path.write_text(_source(head, held), encoding="utf-8", newline="\n")
        else:
            path.unlink(missing_ok=True)
            with suppress(OSError):  # a folder that was made for it
                path.parent.rmdir()
    if not held:
        raise missing(
            "Expected a question that the model answers well enough to hold it to, but there was none, so that no test "
            f"was written. Mend the above, with robust_model and robust_data of yours in a conftest.py in {root}."
        )
    screen.write_line()
    screen.write_line(f"wrote   {path}: {len(held)} of {len(probes)} questions, as tests", green=True)
    return Exit.MISSING if any(run.lost for run in (first, *others)) else Exit.OK


def _begin(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        raise wrong(f"Expected no {path} yet but it is there already. Move or delete it to scan anew.") from None


def _source(head: str, thresholds: Mapping[Probe, float]) -> str:
    tests = (probe.source.replace(PLACE, f"{threshold:g}") for probe, threshold in thresholds.items())
    return "\n\n".join([head, *tests])


def _told(screen: Screen, probes: Sequence[Probe], first: Run, others: Sequence[Run]) -> dict[Probe, float]:
    """Print every question with its answer; the threshold of each that has one to hold."""
    rows = _by_test(first)
    elsewhere = [_by_test(run) for run in others]
    alpha = float(first.settings["alpha"])
    held = {}
    for probe in probes:
        row = rows.get(probe.name)
        if row is None or row.result is None:
            why = "its test did not run" if row is None else row.problem.splitlines()[0]
            screen.write_line(f"{probe.name}  could not measure: {why}", red=True)
            continue
        threshold = _answered(screen, probe, row.result, [there.get(probe.name) for there in elsewhere], alpha)
        if threshold is not None:
            held[probe] = threshold
    return held


def _by_test(run: Run) -> dict[str, Row]:
    """The first claim of each test, by the test's name: a test of the battery makes one."""
    found: dict[str, Row] = {}
    for row in keyed(run.rows).values():
        found.setdefault(row.test.rpartition("::")[2], row)
    return found


def _answered(screen: Screen, probe: Probe, result: Result, others: Sequence[Row | None], alpha: float) -> float | None:
    """Print what was found, and what a colleague would say of it; the threshold, where there is one to hold."""
    screen.write_line(f"{probe.name}  {result.statement}")
    screen.write_line(f"    measured  {measured(result)}")
    for note in result.notes:
        screen.write_line(f"    {'hint' if note.startswith(HINT) else 'note'}      {note.removeprefix(HINT)}")
    seen = [other.result for other in others if other is not None and other.result is not None]
    found = suggestion(result, alpha, seen)
    whole = len(seen) == len(others)
    little = found.threshold is None or not whole
    if little:
        why = found.why_not if whole else "under another seed it was not measured"
        screen.write_line(f"    holds     nothing that could be written: {why}", yellow=True)
    else:
        screen.write_line(f"    holds     {result.comparison} {found.threshold:g}")
    value = result.estimate if found.threshold is None else found.threshold
    if value is not None and _weak(probe, value, at_least=result.comparison == ">="):
        screen.write_line(f"    likely    {probe.cause}", yellow=True)
        screen.write_line(f"    next      {probe.step}")
    return None if little else found.threshold


def _weak(probe: Probe, value: float, *, at_least: bool) -> bool:
    return value < probe.weak if at_least else value > probe.weak
