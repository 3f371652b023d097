"""Histories of claims: the entries that a run adds, their texts, and their drawing in the terminal."""

from __future__ import annotations

import math
import textwrap
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from robustest.account import STATES, Account, first_line
from robustest.history import (
    BAD,
    GOOD,
    ClaimHistory,
    ClaimId,
    CommitPoint,
    ConditionChange,
    FirstBad,
    HistoryEntry,
    Origin,
)
from robustest.reports.terminal import COLOURS
from robustest.results import Result
from robustest.words import end_of, exactly, number, value_in_words

NOT_MEASURED = "not measured"
"""State of a claim that held when last measured, and has no entry at the latest commits."""
RUN = "pytest"
"""Name of the test that stands for a run that lost results."""
# Characters of a digest, or of a commit's name, that are stored.
_DIGEST = 12
# Characters of a commit's name that are shown.
_COMMIT = 9
# Characters of a problem that are stored.
_LONGEST = 200
# Figures of an interval's small ends. An end that needs more decimals is not rounded.
_FIGURES = 3
_MOST_DECIMALS = 17
_INFINITE = 1e100

_BARS = "▁▂▃▄▅▆▇█"
_MARKS = {GOOD: ".", BAD: "x"}
_MOST_POINTS = 60
_MOST_CHANGES = 3
_INDENT = "    "
LEGEND = (
    f"one mark per commit: '{_MARKS[GOOD]}' holds, '{_MARKS[BAD]}' does not hold, '?' undecided; "
    f"'{NOT_MEASURED}': held when last measured"
)


# ---- entries of a run


def entries_of(account: Account, origin: Origin) -> dict[ClaimId, list[HistoryEntry]]:
    """Return the entries of a run by claim; a run that lost results gets an entry in state "error" itself."""
    service = account.service
    entries: dict[ClaimId, list[HistoryEntry]] = {}
    places: Counter[tuple[str, str]] = Counter()
    for row in account.rows:
        if row.result is None:
            claim, entry = ClaimId(row.test, service=service), _unmeasured(origin, row.state, row.problem)
        else:
            key = (row.test, row.result.subject.claim)
            claim, entry = ClaimId(*key, places[key], service), _measured(origin, row.state, row.result)
            # The same claim may be made several times in one test; its place tells the entries apart.
            places[key] += 1
        entries.setdefault(claim, []).append(entry)
    if account.lost:
        # A run that lost results must not leave a history that is green throughout.
        entries.setdefault(ClaimId(RUN, service=service), []).append(_unmeasured(origin, "error", account.lost[0]))
    return entries


def _unmeasured(origin: Origin, state: str, problem: str) -> HistoryEntry:
    return HistoryEntry(
        time=origin.time,
        commit=origin.commit[:_DIGEST],
        committed=origin.committed,
        dirty=origin.dirty,
        state=state,
        versions=origin.versions,
        problem=first_line(problem)[:_LONGEST] if problem else "",
    )


def _measured(origin: Origin, state: str, result: Result) -> HistoryEntry:
    ruling, numbers, evidence = result.ruling, result.numbers, result.evidence
    # Intervals are rounded outwards, so that no slack appears that is not there.
    (low, high), left = (_outwards(one, ruling.threshold) for one in (numbers.interval, numbers.left_interval))
    # The requirement is stored with its exact numbers, so that a change of the threshold is noticed.
    required = [] if ruling.threshold is None else [f"{ruling.comparison} {exactly(ruling.threshold)}"]
    required += [f"{one.name} {one.comparison} {exactly(one.value)}" for one in ruling.further_limits]
    required += [] if result.subject.scope == "set" else [result.subject.scope]
    return _unmeasured(origin, state, "")._replace(
        verdict=str(ruling.verdict),
        # Not rounded: a report that rounds it again would show another number.
        estimate=None if numbers.estimate is None else _finite(numbers.estimate),
        low=low,
        high=high,
        left_low=None if left == (low, high) else left[0],
        left_high=None if left == (low, high) else left[1],
        bounds=numbers.bounds,
        used=numbers.n,
        total=numbers.n_total,
        threshold=ruling.threshold,
        comparison=ruling.comparison,
        required=", ".join(required)[:_LONGEST],
        seconds=float(f"{evidence.cost.seconds:.2g}"),
        seed=evidence.seed,
        cached=bool(evidence.cached),
        model=evidence.model[:_DIGEST],
        data=evidence.data[:_DIGEST],
    )


def _finite(value: float) -> float:
    """Return a number that JSON has, in place of an infinite one."""
    return value if math.isfinite(value) else math.copysign(_INFINITE, value)


def _outwards(interval: tuple[float, float], threshold: float | None) -> tuple[float, float]:
    """Return an interval with the ends that a report shows, and three figures of small ones."""
    low, high = (_end(end, threshold, above=above) for end, above in zip(interval, (False, True), strict=True))
    return low, high


def _end(end: float, threshold: float | None, *, above: bool) -> float:
    if not math.isfinite(end):
        return _finite(end)
    digits = _FIGURES - 1 - math.floor(math.log10(abs(end))) if end else 0
    return end if digits > _MOST_DECIMALS else float(end_of(end, threshold, above=above, digits=max(_FIGURES, digits)))


# ---- texts


def state_of(history: ClaimHistory) -> str:
    """Return the present state of a claim: one of `STATES`, or NOT_MEASURED."""
    if history.state == BAD:
        return "failed"
    if history.state == GOOD:
        # A claim that is no longer measured is not green, whatever its last run said.
        return NOT_MEASURED if history.behind else "passed"
    state = history.last.state
    # A passed run of a changed working tree proves nothing about a commit.
    return state if state in STATES and state != "passed" else "inconclusive"


def value_of(entry: HistoryEntry) -> str:
    """Return the measured value, "0.410 [0.370, 0.450]; n=212 of 1000", or the reason why there is none."""
    interval = entry.interval
    if interval is None:
        return entry.problem or "not measured"
    whole = interval if entry.low is None or entry.high is None else (entry.low, entry.high)
    value = value_in_words(entry.estimate, whole, interval, bounds=entry.bounds, threshold=entry.threshold)
    n = str(entry.total) if entry.used == entry.total else f"{entry.used} of {entry.total}"
    return f"{value}; n={n}{' (remembered)' if entry.cached else ''}"


def slack_of(entry: HistoryEntry) -> str:
    """Return the signed distance from the interval to the threshold; empty without a threshold."""
    return "" if entry.slack is None else f"{'' if entry.slack < 0 else '+'}{number(entry.slack, 0.0)}"


def commit_of(point: CommitPoint | HistoryEntry) -> str:
    """Return a commit with its date: "1a2b3c4d5 (2026-01-31)"."""
    day = (point.place[0] if isinstance(point, CommitPoint) else point.committed or point.time)[:10]
    return f"{point.commit[:_COMMIT]} ({day})" if point.commit else f"an unknown commit ({day})"


def runs_of(history: ClaimHistory) -> str:
    """Return the numbers of runs and commits: "12 runs at 8 commits"."""
    runs = sum(len(point.entries) for point in history.points) + len(history.dirty)
    commits = len({point.place for point in history.points})
    dirty = f", {len(history.dirty)} of changed working trees" if history.dirty else ""
    return f"{_counted(runs, 'run')} at {_counted(commits, 'commit')}{dirty}"


def first_bad_of(bad: FirstBad) -> str:
    """Return a sentence about the first bad commit."""
    here = commit_of(bad.point)
    mixed = "; another run of that commit passed" if bad.point.mixed else ""
    if bad.good is None:
        before = f"; {_counted(bad.between, 'commit')} before it undecided" if bad.between else ""
        return f"bad since its first decided commit, {here}{before}{mixed}"
    others = [name for name in bad.what if name != "commit"]
    names = f"{', '.join(others[:-1])} and {others[-1]}" if len(others) > 1 else "".join(others)
    # Two runs of one commit disagree, so the cause is another change, such as the model file or a package.
    if "commit" not in bad.what:
        return f"bad since another run of {here}: {names} changed, the commit did not{mixed}"
    # Undecided commits between the last good and the first bad one may also be the cause.
    span = f", or one of {_counted(bad.between, 'commit')} before it that are undecided" if bad.between else ""
    changed = f"{names} changed too" if others else "no other change is known"
    return f"first bad commit {here}{span}; last good commit {commit_of(bad.good)}; {changed}{mixed}"


def gap_of(history: ClaimHistory) -> str:
    """Return a sentence about the commits since the claim was last decided; may be empty."""
    if not history.points:
        return "every run was of a changed working tree, which belongs to no commit"
    latest, texts = history.points[-1], []
    decided = [point for point in history.points if point.state in (GOOD, BAD)]
    if latest.state not in (GOOD, BAD) and decided:
        held = "held" if decided[-1].state == GOOD else "did not hold"
        texts.append(f"last decided at {commit_of(decided[-1])}: {held}")
    if history.behind:
        commits = "commit" if history.behind == 1 else f"{history.behind:,} commits"
        texts.append(f"not measured at the {commits} after {commit_of(latest)}")
    return "; ".join(texts)


def change_of(change: ConditionChange) -> str:
    """Return a change and its commit: "1a2b3c4d5 (2026-01-31): threshold >= 0.45 -> >= 0.4, model"."""
    what = [f"threshold {change.before} -> {change.after}" if one == "threshold" else one for one in change.what]
    return f"{commit_of(change.point)}: {', '.join(what)}"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


# ---- the terminal


class Writer(Protocol):
    """A screen; see `robustest.cli.screen.Screen`."""

    width: int

    def write(self, text: str, **markup: bool) -> None: ...
    def write_line(self, text: str = "", **markup: bool) -> None: ...


def draw(screen: Writer, histories: Sequence[ClaimHistory], *, bars: bool) -> None:
    """Print every claim with a strip of its last commits; `bars` is True if the screen can show block characters."""
    for history in histories:
        word = state_of(history)
        screen.write(f"{word:13}", **{COLOURS.get(word, "yellow"): True})
        claim, last = history.claim, history.last
        name = claim.shown + (f"  {claim.key} {last.required}".rstrip() if claim.key else "")
        first, *more = textwrap.wrap(name, max(20, screen.width - 13), break_on_hyphens=False) or [""]
        screen.write_line(first)
        for line in more:
            screen.write_line(" " * 13 + line)
        slack = f"; slack {slack_of(last)}" if slack_of(last) else ""
        texts = [f"{value_of(last)}{slack}; {commit_of(last)}; {runs_of(history)}"]
        width = screen.width - len(_INDENT)
        shown = history.points[-max(1, min(width, _MOST_POINTS)) :]
        if len(shown) > 1:
            texts += [_bars(shown)] if bars and any(point.shown.interval for point in shown) else []
            texts.append("".join(_MARKS.get(point.state, "?") for point in shown))
        if history.first_bad is not None:
            texts.append(first_bad_of(history.first_bad))
        texts += [gap_of(history)] if gap_of(history) else []
        hidden = len(history.changes) - _MOST_CHANGES
        texts += [f"changed at {change_of(change)}" for change in history.changes[-_MOST_CHANGES:]]
        texts += [f"and {hidden} earlier changes of model, data or threshold"] if hidden > 0 else []
        for text in texts:
            for line in textwrap.wrap(text, max(20, width), break_on_hyphens=False):
                screen.write_line(_INDENT + line)


def _bars(points: Sequence[CommitPoint]) -> str:
    """Return values as bars between the lowest and the highest; a dot stands for a missing value."""
    values = []
    for entry in (point.shown for point in points):
        middle = None if entry.interval is None else (entry.interval[0] + entry.interval[1]) / 2
        values.append(middle if entry.estimate is None else entry.estimate)
    numbers = [value for value in values if value is not None]
    low, span = min(numbers), max(numbers) - min(numbers)
    top = len(_BARS) - 1
    heights = [None if value is None else round(top * (value - low) / span) if span else top // 2 for value in values]
    return "".join("·" if height is None else _BARS[height] for height in heights)
