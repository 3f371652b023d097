"""The terminal: the header above the tests, and the section `robustness` below them."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

from robustest.account import EXPLAINED, RED, STATES, Account, Row
from robustest.advice import HINT, NOT_REMEMBERED, Advice, advice_on
from robustest.reports.families import FEW, ClaimFamily, families_of
from robustest.reports.inert import Inert
from robustest.reports.text import (
    MARKS,
    Chance,
    answers,
    changed_columns,
    measured,
    row_remark,
    row_without_result,
)
from robustest.results import Changes, shown
from robustest.settings import Settings
from robustest.version import VERSION
from robustest.words import folded

COLOURS = {"passed": "green", "measured": "cyan", **dict.fromkeys(RED - {"inconclusive"}, "red")}
"""Colours of states; all others are yellow."""
_COLOURED: dict[str, dict[str, bool]] = {"=": {}, "-": {"red": True}, "+": {"green": True}}
# Characters of a test's name in its folder name, so that paths of pictures fit on a line.
_READABLE = 16
# Width in columns if no terminal gives one.
_WIDE = 10_000
# Hints that differ from claim to claim, and changed columns of a sample, that are printed.
_HINTS = 5
_COLUMNS = 6


def header(settings: Settings, width: int = _WIDE) -> list[str]:
    """Return the lines above the tests: the settings that decide verdicts and costs."""
    line = (
        f"robustest {VERSION}: profile={settings.profile} seed={settings.seed} "
        f"device={settings.device} attack={settings.attack} scope={settings.scope} alpha={settings.alpha:g} "
        f"{f'service={settings.service} ' if settings.service else ''}"
        f"verdicts={'exact' if settings.exact else 'early'} cache={'on' if settings.cache else 'off'}"
    )
    return folded(line, width, "    ")


def folder_name(test: str) -> str:
    """Return a folder name for a test's pictures: readable, and different for different tests."""
    readable = re.sub(r"[^A-Za-z0-9]+", "-", test.rpartition("::")[2]).strip("-")
    return f"{readable[:_READABLE].strip('-')}-{zlib.crc32(test.encode()):08x}"


def summary(
    reporter: Any,
    account: Account,
    *,
    details: bool,
    left_out: str = "",
    stated: bool = False,
    verbose: bool = False,
) -> None:
    """Print the section `robustness`: claims, expected wrong verdicts, replay commands, losses, and packs.

    A run of many claims is printed by family, one line each, with the worst of its claims that did not pass in full.

    Args:
        reporter: pytest's terminal reporter, or the screen of the command line.
        details: True to print every number of every claim.
        left_out: line about tests that were not run; may be empty.
        stated: True to print on a terminal each claim with what it is about, after its verdict: no run is above it.
        verbose: True to print every claim of a large run too.
    """
    rows = account.rows
    tests = any(row.result is not None or row.ending is None or row.ending.robust for row in rows)
    if not tests and not account.lost and not left_out:  # pytest itself reports other failures
        return
    width = reporter._tw.fullwidth if hasattr(reporter, "_tw") else getattr(reporter, "folding", _WIDE)
    out = Inert(reporter)

    def write(line: str, **markup: bool) -> None:
        for part in folded(line, width, "    "):
            out.write_line(part, **markup)

    out.write_sep("=", "robustness")  # not section(): it leaves a line half open
    whole = details or verbose or len(rows) <= FEW
    families = [ClaimFamily("", rows, rows)] if whole else families_of(rows)
    printed = [row for family in families for row in family.printed]
    longest = max((len(row.test) for row in printed), default=0)
    widest = max((len(_word(row)) for row in printed), default=0)
    advised: set[tuple[str, Advice]] = set()
    # One line for each claim if all lines fit the screen, else two.
    beside = all(longest + len(_line(row)) + len(_word(row)) + 4 <= width for row in printed)

    def write_row(row: Row, advised_once: str) -> None:
        colour = {COLOURS.get(row.state, "yellow"): True}
        if stated and width != _WIDE:  # lines into a pipe or a file stay as the run prints them
            about = "" if row.result is None else f"{row.result.subject.statement}: "
            out.write(_word(row), **colour)
            out.write(" " * (widest - len(_word(row)) + 2))
            out.write_line(row.test)
            write(f"    {about}{_line(row)}")
        elif beside:
            out.write(f"{row.test:<{longest}}  {_line(row)}  ")
            out.write_line(_word(row), **colour)
        else:
            out.write(f"{_word(row)}  ", **colour)
            out.write_line(row.test)
            write(f"  {_line(row)}")
        advice = advice_on(row.result) if row.state in EXPLAINED and row.result is not None else None
        if advice is not None and (advised_once, advice) not in advised:
            advised.add((advised_once, advice))
            write(f"    cause: {advice.cause}")
            write(f"    next: {advice.next}")
        if details and row.result is not None:
            result, cost = row.result, row.result.cost
            if not stated or width == _WIDE:
                out.write_line(f"    {result.subject.statement}")
            out.write_line(f"    {result.rule}; {result.subject.method}; seed {result.evidence.seed}")
            if result.evidence.cached:
                out.write_line(f"    cached: measured {result.evidence.cached}")
            out.write_line(f"    {cost.forward} forward and {cost.backward} backward samples, {cost.seconds:.1f} s")
            for name, value in result.details.items():
                out.write_line(f"    {name}: {json.dumps(value)}")
            for note in result.words.notes:
                out.write_line(f"    note: {note}")
        if row.state in EXPLAINED and row.result is not None and row.result.counterexamples:
            worst = row.result.counterexamples[0]
            if worst.changes is not None:
                most = None if whole else _COLUMNS
                start = f"    worst: sample {worst.index}, {answers(row.result, worst)}: "
                _write_changes(out, start, worst.changes, most)

    for family in families:
        if family.name:
            worst = min((row.state for row in family.rows), key=STATES.index)
            out.write(family.name, **{COLOURS.get(worst, "yellow"): True})
            write(f"  {family.counted}")
        for row in family.printed:
            write_row(row, family.name or row.test)  # once for several attempts, and for the claims of a family
        if family.hidden:
            write(f"    {family.hidden} more did not pass", yellow=True)
    if not whole:
        write(f"{len(rows)} claims by family; -v prints each, and --robust-html a page")
    if left_out:
        write(left_out, yellow=True)
    results = [row.result for row in rows if row.result is not None]
    if chance := str(Chance.of(results)):
        write(f"chance: {chance}")
    if replayed := sum(result.evidence.replayed for result in results):
        write(f"replayed: {replayed} samples were decided by counterexamples of earlier runs")
    # Claims of one model often have the same hint; it is printed once, like the replay command of a test.
    starts = (HINT, NOT_REMEMBERED)
    hints = [note for start in starts for result in results for note in result.words.notes if note.startswith(start)]
    hints = list(dict.fromkeys(hints))
    for note in hints if whole else hints[:_HINTS]:
        write(note, yellow=True)
    if not whole and len(hints) > _HINTS:
        write(f"{len(hints) - _HINTS} more hints", yellow=True)
    for replay in dict.fromkeys(row.replay for row in printed if row.state in EXPLAINED and row.replay):
        write(f"replay: {replay}")
    for problem in account.lost:
        write(f"LOST: {problem}; this run is not green", red=True)
    for section in account.sections:
        out.write_sep("-", section.title)
        for fact in section.facts:
            write(f"{fact.label}: {shown(fact.value)}{fact.unit and f' {fact.unit}'}")


def _write_changes(out: Inert, start: str, changes: Changes, most: int | None) -> None:
    if "table" in changes:
        columns = changed_columns(changes)
        out.write_line(start.rstrip() if columns else start.rstrip(" :"))
        for name, before, after in columns[:most]:
            out.write(f"      {name}: ")
            out.write(before, red=True)
            out.write(" -> ")
            out.write_line(after, green=True)
        if most is not None and len(columns) > most:
            out.write_line(f"      and {len(columns) - most} more columns")
        return
    out.write(start)
    for mark, part in changes["diff"]:
        first, last = MARKS[mark]
        out.write(f"{first}{part}{last}", **_COLOURED[mark])
    out.write_line("")


def _word(row: Row) -> str:
    return row.state.upper() if row.state in RED else row.state


def _line(row: Row) -> str:
    if row.result is None:
        return row_without_result(row)
    parts = (measured(row.result), "cached" if row.result.evidence.cached else "", row_remark(row))
    return "  ".join(part for part in parts if part)
