"""`robustest init --scan`: put questions to a model, explain the answers, and write tests for those that hold.

1. Look at the model and the samples (`robustest.cli.project`), and choose the questions (`robustest.cli.questions`).
2. Measure them from a temporary file, under two seeds or more, with thresholds that require almost nothing.
3. Choose the thresholds that neither another sample of the same size nor a guess would keep by chance.
4. Run the tests with these thresholds, still from the temporary file: a test may stop early, and audits other samples
   than a measurement of all. Write those that pass: one file, put in its place whole. What they measured is kept.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from robustest import extensions
from robustest.account import Row, first_line
from robustest.advice import HINT
from robustest.cli.compare import by_claim
from robustest.cli.installation import Project
from robustest.cli.project import Fixtures, fixtures_of, look_at, plan_of
from robustest.cli.questions import Battery, Facts, Probe, battery
from robustest.cli.results_file import ResultsFile
from robustest.cli.screen import Exit, Screen, exit_of_pytest, missing, write_new, wrong
from robustest.cli.suggest import QUIET, goes_on_later, measure, measure_under_seeds, suggestion
from robustest.cli.warm import WarmPytest
from robustest.decisions.distributions import binomial_quantile
from robustest.reports.text import measured
from robustest.repository import repository_of
from robustest.words import number

LAST = 0.5
"""Part of a whole measurement that the tests take as they will be written: what they recall is not measured again."""


def write_scan(folder: str) -> int:
    """Measure all questions, print the answers, and write tests for those that the model holds.

    Returns:
        0 if at least one test was written and no result was lost; the exit code for pytest's if it could not run.
    """
    root = Path(folder)
    if not root.is_dir():
        raise wrong(f"Expected the folder of a project but there is none at {root}. Create it, or name another.")
    name = Project(root, repository_of(root)).tests_file("robustness_scan")
    path = root / name
    if path.exists():
        raise wrong(f"Expected no {path} but it exists already. Move or delete it to scan again.")
    screen, began = Screen(), time.time()
    screen.write_line("inspecting model and samples")
    with WarmPytest() as pytest, tempfile.TemporaryDirectory() as temporary:
        facts = look_at(root, fixtures_of(root) or Fixtures(), pytest)
        if isinstance(facts, str):
            raise missing(f"Expected a model and samples from fixtures in a conftest.py in {root} but got: {facts}")
        questions = questions_for(facts)
        file = Path(temporary) / path.name
        file.write_text(questions.source({probe.name: probe.loosest for probe in questions.probes}), encoding="utf-8")
        # These tests require almost nothing, so their outcomes say nothing of the model and are not printed.
        plan = {**plan_of(root, file, name), "quiet": True, "started": began}
        plan |= {"weights": {probe.name: probe.weight for probe in questions.probes}}
        plan |= {"audited": [probe.name for probe in questions.probes if probe.audited]}
        arguments = [*QUIET, str(root)]
        first, others, code = measure_under_seeds(pytest, arguments, {**plan, "last": LAST})
        if code not in (0, 1):
            return exit_of_pytest(code)
        screen.write_sep("=", "claims that the model holds")
        rows, elsewhere = _by_test(first), [_by_test(run) for run in others]
        held: dict[str, float] = {}
        for probe in questions.probes:
            there = [found.get(probe.name) for found in elsewhere]
            alpha = float(first.settings["alpha"])
            threshold = _print_answer(screen, probe, rows.get(probe.name), there, alpha=alpha, guess=facts.guess)
            if threshold is not None:
                held[probe.name] = threshold
        runs = [first, *others]
        if held:
            screen.write_line()
            file.write_text(questions.source(held), encoding="utf-8")
            _forget_compiled(file)
            with goes_on_later():
                about = {"title": "as it will be written", "after": 0, "before": first.timing, "share": LAST}
                tried, code = measure(pytest, arguments, {**plan, **about})
            if code not in (0, 1):
                return exit_of_pytest(code)
            runs.append(tried)
            held = _passed(screen, held, _by_test(tried))
    if not held:
        raise missing(
            "Expected a question that the model answers well enough for a test but there was none, so no test was "
            "written. Fix the causes above, and scan again."
        )
    write_new(path, questions.source(held))
    screen.write_line(f"wrote   {path}: {len(held)} of {len(questions.probes)} questions as tests", green=True)
    return Exit.MISSING if any(run.account.lost for run in runs) else Exit.OK


def _forget_compiled(file: Path) -> None:
    """Remove what pytest has compiled: by date and size the file may look as before."""
    for path in (file.parent / "__pycache__").glob("*.pyc"):
        path.unlink()


def _passed(screen: Screen, held: Mapping[str, float], rows: Mapping[str, Row]) -> dict[str, float]:
    """Return the thresholds of the tests that passed as they will be written; print the others."""
    passed: dict[str, float] = {}
    for name, threshold in held.items():
        row = rows.get(name)
        if row is not None and row.state == "passed":
            passed[name] = threshold
            continue
        why = "its test did not run"
        if row is not None:
            why = first_line(row.problem) if row.result is None else f"{row.state}, {row.result.rule}"
        screen.write_line(f"{name}  not written: at {threshold:g} its test did not pass: {why}", red=True)
    return passed


def questions_for(facts: Facts) -> Battery:
    """Return the questions for these facts, with those of packs.

    Raises:
        PackError: a pack is broken, or asks a question that is there.
    """
    questions = battery(facts)
    taken = {probe.name: "" for probe in questions.probes}
    for pack, probe in extensions.all_of("robustest_probes", Probe, facts=facts):
        extensions.check_new("question", probe.name, pack, taken)
        taken[probe.name] = pack
        questions = questions.with_probe(probe)
    return questions


def _by_test(run: ResultsFile) -> Mapping[str, Row]:
    found: dict[str, Row] = {}
    for row in by_claim(run.account.results).values():
        found.setdefault(row.test.rpartition("::")[2], row)
    return found


def _print_answer(
    screen: Screen, probe: Probe, row: Row | None, others: Sequence[Row | None], *, alpha: float, guess: float
) -> float | None:
    if row is None or row.result is None:
        why = "its test did not run" if row is None else row.problem.splitlines()[0]
        screen.write_line(f"{probe.name}  could not measure: {why}", red=True)
        return None
    result = row.result
    screen.write_line(f"{probe.name}  {result.subject.statement}")
    screen.write_line(f"    measured  {measured(result.but(threshold=None))}")
    # A question requires almost nothing, which any model keeps: a claim of the user's would be told to claim more.
    loose = {one["message"] for one in result.details.get("health") or [] if one["name"] == "constant_answer"}
    if loose:
        reached = number(result.details["constant_answer"])
        screen.write_line(
            f"    note      a model that ignores its input reaches {reached}; a threshold lies above that"
        )
    for note in (one for one in result.words.notes if one not in loose):
        screen.write_line(f"    {'hint' if note.startswith(HINT) else 'note'}      {note.removeprefix(HINT)}")
    results = [other.result for other in others if other is not None and other.result is not None]
    found = suggestion(result, alpha, results)
    threshold, why_not = found.threshold, found.why_not
    if len(results) < len(others):
        threshold, why_not = None, "it was not measured under another seed"
    # An untrained model is right about as often as a guess; by chance more often, on few samples. The guess is the most
    # frequent label of the samples that were looked at, or of those that were measured.
    n, comparison = result.numbers.n_total, result.ruling.comparison
    guess = max(guess, result.details.get("largest_class", 0) / n)
    guessed = binomial_quantile(1 - alpha, n, guess) / n
    if threshold is not None and comparison == ">=" and threshold <= guessed:
        why_not = (
            f"{threshold:g} is no better than a guess, which is right on up to {number(guessed, threshold)} of {n}"
        )
        threshold = None
    if threshold is None:
        screen.write_line(f"    holds     no threshold: {why_not}", yellow=True)
    else:
        screen.write_line(f"    holds     {comparison} {threshold:g}")
    value = result.estimate if found.threshold is None else found.threshold
    if value is not None and (value < probe.weak if comparison == ">=" else value > probe.weak):
        screen.write_line(f"    cause     {probe.cause}", yellow=True)
        screen.write_line(f"    next      {probe.step}")
    return threshold
