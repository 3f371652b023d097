"""What a person sees in the terminal: header, progress, the section `robustness`."""

from __future__ import annotations

import json
import re
import time
import zlib
from collections.abc import Sequence
from typing import Any

import pytest

from robustest.extensions import Section
from robustest.reports.chance import Chance
from robustest.reports.inert import Inert, inert
from robustest.reports.states import COLOURS, RED, TOLD, Reported, aside, state, without_result
from robustest.reports.text import HINT, measured
from robustest.results import Result, shown
from robustest.settings import Settings
from robustest.version import VERSION
from robustest.words import folded

_READABLE = 16
"""Characters of a test's name in its folder's: paths of pictures are to fit on a line."""
_WIDE = 10_000
"""Columns where nobody says how many there are."""
_LINE_EVERY = 10.0
"""Seconds between progress lines where the output is no terminal."""


def header(settings: Settings, width: int = _WIDE) -> list[str]:
    """What stands above the tests: one line, where it is no longer than the terminal's width."""
    line = (
        f"robustest {VERSION}: profile={settings.profile} seed={settings.seed} "
        f"device={settings.device} attack={settings.attack} scope={settings.scope} alpha={settings.alpha:g} "
        f"verdicts={'exact' if settings.exact else 'early'} cache={'on' if settings.cache else 'off'}"
    )
    return folded(line, width, "    ")


def folder_name(test: str) -> str:
    """A folder name for a test's pictures: readable, and different for different tests."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", test.rpartition("::")[2]).strip("-")
    return f"{readable[:_READABLE].strip('-')}-{zlib.crc32(test.encode()):08x}"


class Progress:
    """Shows how far the running claim is: in place on a terminal, as a line now and then elsewhere."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started: dict[str, float] = {}
        self._last = 0.0

    def __call__(self, statement: str, done: int, total: int, broken: int) -> None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None:
            return
        now = time.monotonic()
        started = self._started.setdefault(statement, now)
        terminal = reporter._tw._file.isatty()  # pytest has no public way to ask
        if not terminal and (now - max(started, self._last) < _LINE_EVERY or done == total):
            return
        self._last = now
        line = inert(f"robustest: {statement}: {done} of {total}, {broken} broken")
        if capture is None:
            self._write(reporter, line, terminal, done == total)
            return
        with capture.global_and_fixture_disabled():
            self._write(reporter, line, terminal, done == total)

    @staticmethod
    def _write(reporter: Any, line: str, terminal: bool, over: bool) -> None:
        if not terminal:
            reporter.write_line(line)
            return
        width = reporter._tw.fullwidth - 1
        reporter.rewrite((" " * width) if over else line[:width].ljust(width), erase=False)
        reporter.rewrite("" if over else line[:width], erase=False)
        if over:
            reporter.currentfspath = -2  # pytest starts a new line with the test's name


def summary(
    reporter: Any,
    rows: Sequence[Reported],
    lost: Sequence[str],
    *,
    details: bool,
    left_out: str = "",
    sections: Sequence[Section] = (),
) -> None:
    """The section `robustness`: a row per claim, how to repeat what did not pass, and which tests were deselected.

    Below it stand the sections of packs.
    """
    tests = any(row.result is not None or row.ending is None or row.ending.robust for row in rows)
    if not tests and not lost and not left_out:  # what else failed is pytest's to tell
        return
    width = reporter._tw.fullwidth if hasattr(reporter, "_tw") else _WIDE  # the command's own screen folds by itself
    reporter = Inert(reporter)
    reporter.write_sep("=", "robustness")  # not section(): it leaves a line half open
    longest = max((len(row.test) for row in rows), default=0)
    beside = all(longest + len(_line(row)) + len(_word(row)) + 4 <= width for row in rows)
    for row in rows:
        colour = {COLOURS.get(state(row), "yellow"): True}
        if beside:
            reporter.write(f"{row.test:<{longest}}  {_line(row)}  ")
            reporter.write_line(_word(row), **colour)
        else:
            reporter.write(f"{_word(row)}  ", **colour)
            reporter.write_line(row.test)
            for part in folded(f"  {_line(row)}", width, "    "):
                reporter.write_line(part)
        if details and row.result is not None:
            _details(reporter, row.result)
    if left_out:
        _write(reporter, left_out, width, yellow=True)
    _write_together(reporter, rows, lost, width)
    for section in sections:
        reporter.write_sep("-", section.title)
        for fact in section.facts:
            _write(reporter, f"{fact.label}: {shown(fact.value)}{fact.unit and f' {fact.unit}'}", width)


def _write_together(reporter: Inert, rows: Sequence[Reported], lost: Sequence[str], width: int) -> None:
    """What is said of the rows together: chance, hints once each, and how to repeat what did not pass."""
    results = [row.result for row in rows if row.result is not None]
    if chance := str(Chance.of(row.result for row in rows)):
        _write(reporter, f"chance: {chance}", width)
    if replayed := sum(result.replayed for result in results):
        _write(reporter, f"replayed: {replayed} samples were decided by counterexamples of earlier runs", width)
    for hint in dict.fromkeys(note for result in results for note in result.notes if note.startswith(HINT)):
        _write(reporter, hint, width, yellow=True)
    for replay in dict.fromkeys(row.replay for row in rows if state(row) in TOLD and row.replay):
        _write(reporter, f"replay: {replay}", width)
    for problem in lost:
        _write(reporter, f"LOST: {problem}; this run is not green", width, red=True)


def _write(reporter: Inert, line: str, width: int, **markup: bool) -> None:
    for part in folded(line, width, "    "):
        reporter.write_line(part, **markup)


def _word(row: Reported) -> str:
    verdict = state(row)
    return verdict.upper() if verdict in RED else verdict


def _line(row: Reported) -> str:
    if row.result is None:
        return without_result(row)
    parts = (measured(row.result), "cached" if row.result.cached else "", aside(row))
    return "  ".join(part for part in parts if part)


def _details(reporter: Any, result: Result) -> None:
    cost = result.cost
    reporter.write_line(f"    {result.statement}")
    reporter.write_line(f"    {result.rule}; {result.method}; seed {result.seed}")
    if result.cached:
        reporter.write_line(f"    cached: measured {result.cached}")
    reporter.write_line(f"    {cost.forward} forward and {cost.backward} backward samples, {cost.seconds:.1f} s")
    for name, value in result.details.items():
        reporter.write_line(f"    {name}: {json.dumps(value)}")
    for note in result.notes:
        reporter.write_line(f"    note: {note}")
