"""`robustest estimate`: the cost of a suite's claims, from three measured batches of each."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from robustest import devices
from robustest.cli.compare import by_claim
from robustest.cli.results_file import ResultsFile, read_written
from robustest.cli.screen import Exit, Screen, exit_of_pytest, missing, run_pytest
from robustest.cli.suggest import QUIET
from robustest.results import Result

MEASURED = 192
"""Samples of each claim that are measured: three batches of 64."""


def estimate(rest: Sequence[str]) -> int:
    """Measure the first samples of each claim, on the CPU and on an accelerator if there is one; print what all cost.

    Args:
        rest: arguments of pytest, e.g. the tests to run; with --robust-device=NAME, only that device is measured.

    Returns:
        0 if every claim was measured, passed or not.
    """
    given = next((one.partition("=")[2] for one in reversed(rest) if one.startswith("--robust-device=")), None)
    accelerator = devices.default() if given is None else None
    names = [given or "cpu", *([] if accelerator is None else [str(accelerator)])]
    runs: dict[str, ResultsFile] = {}
    for name in names:
        found, code = _measure(rest, name)
        if code not in (0, 1):
            return exit_of_pytest(code)
        runs[name] = found
    screen, unmeasured = Screen(), False
    rows = by_claim(runs[names[0]].account.results)
    if not rows:
        raise missing("Expected a claim but no test that ran makes one. Name the tests to run.")
    screen.write_sep("=", "estimated cost of all samples")
    total = dict.fromkeys(names, 0.0)
    for key, row in rows.items():
        result = row.result
        if result is None:
            unmeasured = True
            screen.write_line(f"{row.test}  could not measure: {row.problem.splitlines()[0]}", red=True)
            continue
        screen.write_line(f"{row.test}  {result.subject.statement}")
        n, n_total = result.numbers.n, result.numbers.n_total
        forward, backward = (count / max(1, n) for count in (result.cost.forward, result.cost.backward))
        screen.write_line(
            f"    {n_total:,} samples, {forward:,.1f} passes forward and {backward:,.1f} backward of each"
        )
        for name in names:
            there = by_claim(runs[name].account.results).get(key)
            if there is None or there.result is None:
                unmeasured = True
                screen.write_line(f"    {name:<8} not measured", red=True)
                continue
            seconds = seconds_of(there.result)
            total[name] += seconds
            screen.write_line(f"    {name:<8} {words(seconds)}")
    for name in names:
        screen.write_line(f"all claims on {name}: {words(total[name])}", bold=True)
    if given is None and accelerator is None:
        screen.write_line("no accelerator was found")
    screen.write_line(
        f"from at most {MEASURED} samples of each claim, all evaluated; without --robust-exact a claim ends as soon as "
        "its verdict is certain"
    )
    lost = any(run.account.lost for run in runs.values())
    return Exit.MISSING if unmeasured or lost else Exit.OK


def seconds_of(result: Result) -> float:
    """Return the seconds that all samples of a claim take, by those of the measured ones."""
    return result.cost.seconds * result.numbers.n_total / max(1, result.numbers.n)


def words(seconds: float) -> str:
    """Return a time in the unit that a reader would choose: "12 s", "3.4 min", "5.1 h"."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def _measure(arguments: Sequence[str], device: str) -> tuple[ResultsFile, int]:
    with tempfile.TemporaryDirectory() as folder:
        file, plan = Path(folder) / "robust.json", Path(folder) / "plan.json"
        # Few samples decide few claims: the outcomes of the tests mean nothing, and are not shown.
        about = {"parent": os.getpid(), "title": f"on {device}", "started": time.time(), "after": 0, "quiet": True}
        plan.write_text(json.dumps({**about, "run": time.time()}), encoding="utf-8")
        limits = ["--robust-exact", f"--robust-max-samples={MEASURED}", "--robust-no-cache", f"--robust-json={file}"]
        planned = ["-p", "robustest.cli.inside", f"--robust-plan={plan}"]
        code = run_pytest([*planned, *arguments, *QUIET, f"--robust-device={device}", *limits])
        return read_written(file, code), code
