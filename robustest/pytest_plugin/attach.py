"""What a test recorded, put on its reports: they alone cross from workers to where a run is told of."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from robustest.context import Context
from robustest.errors import AttemptsFailed, ClaimFailed, RobustestError
from robustest.reports.inert import inert_lines
from robustest.results import LONG, Verdict
from robustest.words import folded

_NARROWEST, _USUAL = 40, 80
"""Columns below which pytest believes no terminal, and what it takes instead."""


def attach(
    report: pytest.TestReport,
    context: Context,
    excinfo: pytest.ExceptionInfo[BaseException] | None,
    *,
    properties: list[tuple[str, object]],
    short_traceback: bool,
) -> None:
    """Put what a test recorded on its report, as plain JSON types: reports cross process borders.

    Results ride on the report of the phase they were recorded in (setup's wait for the call); their number rides on
    the teardown's, so that a lost one is noticed. A claim's or our own error's traceback is cut to the user's frames
    where `short_traceback` is set: tensors printed as arguments explain nothing.

    Args:
        report: of any phase.
        context: the test's.
        excinfo: what the phase raised.
        properties: the item's, which later phases' reports copy; every result becomes one.
        short_traceback: whether to cut.
    """
    plain: Any = report
    plain.robustest_replay = context.replay(context.settings.seed)
    plain.robustest_claimed = excinfo is not None and _is_claims_end(excinfo.value, context)
    plain.robustest_unwritten = list(context.unwritten)
    context.unwritten.clear()
    if report.when == "teardown":
        plain.robustest_recorded = len(context.results)
    if context.attempts:
        plain.robustest_attempts = _attempts(context)
    late = report.when == "teardown" and context.sent < len(context.results)
    if report.when == "call" or report.failed or late:
        rows = [result.to_dict() for result in context.results[context.sent :]]
        plain.robustest_results = rows
        for number, row in enumerate(rows, context.sent + 1):
            short = {k: v for k, v in row.items() if k not in LONG}
            properties.append((f"robustest.{number}", json.dumps(short)))
        report.user_properties = list(properties)
        context.sent = len(context.results)
        if excinfo is not None and _is_unmeasured(excinfo.value, context):
            plain.robustest_unmeasured = f"{type(excinfo.value).__name__}: {excinfo.value}"
        if excinfo is not None and isinstance(excinfo.value, (RobustestError, ClaimFailed)):
            if short_traceback:
                report.longrepr = excinfo.getrepr(style="short", funcargs=False, tbfilter=_users_frames)
            _make_inert(report.longrepr)
            _make_short(report.longrepr, excinfo.value)


def _is_claims_end(raised: BaseException, context: Context) -> bool:
    """Whether a claim ended the phase, or what could not be measured: a failure, or a skip that a setting asks for."""
    if isinstance(raised, pytest.skip.Exception):
        last = context.results[-1] if context.results else None
        let_off = last is not None and last.is_claim and last.verdict is Verdict.INCONCLUSIVE
        return let_off and str(raised).startswith("inconclusive: ")
    return isinstance(raised, (ClaimFailed, AttemptsFailed)) or _is_unmeasured(raised, context)


def _is_unmeasured(raised: BaseException, context: Context) -> bool:
    """Return True if a claim could not be measured: an error of robustest's own, or any other, came out of it.

    Neither says anything of the model, so neither is a failed claim.
    """
    return isinstance(raised, RobustestError) or any(raised is one for one in context.stumbled)


def _attempts(context: Context) -> list[dict[str, Any]]:
    """Every attempt at a test so far: earlier ones with their endings, and this one, whose ending is the reports'.

    Plugins that repeat tests send some attempts' reports, others', or none; so each report has all of them.
    """
    earlier = [
        {
            "results": [result.to_dict() for result in one.results],
            "phase": one.phase,
            "outcome": "rerun" if context.forgiven and one.outcome != "passed" else one.outcome,
            "reason": one.reason,
        }
        for one in context.attempts
    ]
    return [*earlier, {"results": [result.to_dict() for result in context.results]}]


def _users_frames(excinfo: pytest.ExceptionInfo[BaseException]) -> Any:
    own = Path(__file__).parents[1]
    kept = excinfo.traceback.filter(lambda entry: not Path(str(entry.path)).is_relative_to(own))
    return type(kept)(kept[-1:]) if kept else excinfo.traceback


def _make_inert(told: Any) -> None:
    """Our messages quote names and files of anybody's: as pytest prints them, they steer no terminal and no log."""
    alone = (getattr(told, "reprtraceback", None), getattr(told, "reprcrash", None), None)
    for traceback, crash, _ in getattr(told, "chain", None) or [alone]:
        if crash is not None:
            crash.message = inert_lines(crash.message)
        for entry in getattr(traceback, "reprentries", ()):
            entry.lines[:] = [inert_lines(line) for line in entry.lines]
            # Values of arguments (--tb=long) and of local variables (--showlocals) are apart from an entry's lines.
            if (arguments := getattr(entry, "reprfuncargs", None)) is not None:
                arguments.args = [(name, inert_lines(str(value))) for name, value in arguments.args]
            if (local := getattr(entry, "reprlocals", None)) is not None:
                local.lines[:] = [inert_lines(line) for line in local.lines]


def _make_short(told: Any, error: BaseException) -> None:
    """What pytest prints of our errors: its short summary has the first line alone, and no line is cut by a terminal.

    The name of a claim's error goes without its module, which says nothing of the claim.
    """
    crash = getattr(told, "reprcrash", None)
    first = str(error).partition("\n")[0]
    if crash is not None and isinstance(error, ClaimFailed):
        crash.message = inert_lines(first)
    width, name = columns(), type(error)
    for traceback, _, _ in getattr(told, "chain", None) or [(getattr(told, "reprtraceback", None), None, None)]:
        for entry in getattr(traceback, "reprentries", ()):
            lines = entry.lines
            if isinstance(error, ClaimFailed):
                lines = [line.replace(f"E   {name.__module__}.", "E   ", 1) for line in lines]
            entry.lines[:] = [part for line in lines for part in (_folded(line, width) if line[:1] == "E" else [line])]


def _folded(line: str, width: int) -> list[str]:
    return folded(line, width, indent="E" + " " * 15)


def columns() -> int:
    """The terminal's width as pytest takes it."""
    width = shutil.get_terminal_size(fallback=(80, 24)).columns
    return width if width >= _NARROWEST else _USUAL
