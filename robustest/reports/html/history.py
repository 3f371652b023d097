"""The page of a history: for each claim a chart of its intervals and thresholds from commit to commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from robustest.history import BAD, GOOD, OPEN, ClaimHistory
from robustest.reports.history import (
    NOT_MEASURED,
    change_of,
    commit_of,
    first_bad_of,
    gap_of,
    runs_of,
    slack_of,
    state_of,
    value_of,
)
from robustest.reports.html.figures import round_above
from robustest.reports.html.page import MARKS, rendered
from robustest.reports.json_file import write_whole
from robustest.version import VERSION

_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 348, 16, 116
# Largest number of columns of a chart; 1,000 commits share them.
_COLUMNS = 76
# Width of a letter and the room beside it.
_LETTER = 10
_RECENT = 8
_MOST_CHANGES = 20
_WORDS = {BAD: "failed", OPEN: "inconclusive", GOOD: "passed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A claim's history as SVG paths."""

    intervals: dict[str, str]  # for each verdict a path of vertical lines from end to end of the intervals
    crosses: str  # a path of crosses under the columns that do not hold
    threshold: str
    changes: str  # a path of vertical lines at changes of model, data or threshold
    letters: list[tuple[float, str]]  # initials of the changes, each with its x
    ticks: list[tuple[float, str]]  # y and value of marks on the axis
    words: str  # description for screen readers
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM
    width: int = 360
    height: int = 136


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryCard:
    """A claim on the page."""

    number: int
    test: str
    name: str
    word: str  # state of the claim
    value: str
    slack: str
    when: str
    runs: str
    chart: Chart | None  # None if no commit has a measurement
    remarks: list[str]
    changes: list[str]  # changes of model, data or threshold, the latest first
    hidden: int  # number of further changes
    recent: list[tuple[str, str, str, str]]  # the last commits, the latest first: commit, value, requirements, verdict


def write(folder: str, histories: Sequence[ClaimHistory]) -> None:
    """Write `index.html` whole or not at all; other files of the folder stay.

    Raises:
        ConfigError: Jinja2 is not installed.
    """
    cards = []
    for number, one in enumerate(histories, 1):
        last, key = one.last, one.claim.key
        bad = [first_bad_of(one.first_bad)] if one.first_bad is not None else []
        points = [(point, point.shown) for point in reversed(one.points[-_RECENT:])]
        cards.append(
            HistoryCard(
                number=number,
                test=one.claim.test,
                name=f"{key} {last.required}".strip() if key else "the test itself, beside its claims",
                word=state_of(one),
                value=value_of(last),
                slack=slack_of(last),
                when=commit_of(last),
                runs=runs_of(one),
                chart=_chart(one),
                remarks=[*bad, *filter(None, [gap_of(one)])],
                changes=[change_of(change) for change in reversed(one.changes[-_MOST_CHANGES:])],
                hidden=max(0, len(one.changes) - _MOST_CHANGES),
                recent=[(commit_of(p), value_of(e), e.required or "-", e.verdict or e.state) for p, e in points],
            )
        )
    counts = Counter(card.word for card in cards)
    bad_count = len(cards) - counts["passed"] - counts["measured"]
    worst = next((word for word in ("failed", "error", "inconclusive") if counts[word]), "none")
    text = rendered(
        "history.html",
        headline=f"{bad_count} of {len(cards)} claims did not pass at the latest commit"
        if bad_count
        else f"All {len(cards)} claims passed at the latest commit",
        state=worst if bad_count else "passed",
        claims=cards,
        counts=counts,
        marks={**MARKS, NOT_MEASURED: MARKS["skipped"]},
        version=VERSION,
    )
    write_whole(Path(folder) / "index.html", text.encode("utf-8", "backslashreplace"))


@dataclass(slots=True)
class _Column:
    """Neighbouring commits that share a place: worst state, widest interval, last threshold."""

    state: str
    low: float | None
    high: float | None
    threshold: float | None


def _chart(history: ClaimHistory) -> Chart | None:
    points = history.points
    count = min(len(points), _COLUMNS)
    # Commits are spread evenly over the columns, each with at least one.
    starts = [-(-at * len(points) // count) for at in range(count + 1)] if count else []
    columns = []
    for start, end in pairwise(starts):
        part = points[start:end]
        entries = [point.entries[0] if len(point.entries) == 1 else point.shown for point in part]
        states = {point.state for point in part}
        lows = [one.low if one.left_low is None else one.left_low for one in entries if one.low is not None]
        highs = [one.high if one.left_high is None else one.left_high for one in entries if one.high is not None]
        columns.append(
            _Column(
                # The worst state of the commits that share the column: a red commit must never disappear in a green
                # column.
                state=next(state for state in (BAD, OPEN, GOOD) if state in states),
                low=min(lows, default=None),
                high=max((high for high in highs if high is not None), default=None),
                threshold=next((one.threshold for one in reversed(entries) if one.threshold is not None), None),
            )
        )
    if not any(one.low is not None for one in columns):
        return None
    # 1e100 stands for infinity in a history; it must not set the scale.
    tops = [value for one in columns for value in (one.high, one.threshold) if value is not None and value < 1e99]
    bottoms = [value for one in columns for value in (one.low, one.threshold) if value is not None]
    top = max(1.0, round_above(max(tops))) if tops and max(tops) > 1 else 1.0
    bottom = -round_above(-min(bottoms)) if min(bottoms) < 0 else 0.0

    def x(at: int) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * (at + 0.5) / count, 1)

    def y(value: float) -> float:
        share = min(max((value - bottom) / (top - bottom), 0.0), 1.0)
        return round(_BOTTOM - (_BOTTOM - _TOP) * share, 1)

    intervals: dict[str, str] = {}
    crosses = thresholds = ""
    half = (_RIGHT - _LEFT) / count / 2
    for at, one in enumerate(columns):
        if one.low is not None and one.high is not None:
            word, lower, upper = _WORDS[one.state], y(one.low), y(one.high)
            # An interval without a length would be invisible, so it gets one of at least 1.
            intervals[word] = intervals.get(word, "") + f"M{x(at):g} {max(lower, upper + 1):g}V{upper:g}"
        if one.state == BAD:
            crosses += f"M{x(at) - 2:g} {_BOTTOM + 6}l4 4m0 -4l-4 4"
        if one.threshold is not None:
            thresholds += f"M{x(at) - half:.1f} {y(one.threshold):g}H{x(at) + half:.1f}"

    places = {id(point): at for at, point in enumerate(points)} if history.changes else {}
    changed: dict[int, set[str]] = {}
    for change in history.changes:
        at = places[id(change.point)] * count // len(places)
        changed.setdefault(at, set()).update(what[0].upper() for what in change.what)
    lines, edge = "", float("-inf")
    letters: list[tuple[float, str]] = []
    for at in sorted(changed):
        lines += f"M{x(at):g} {_TOP - 4}V{_BOTTOM}"
        text, reach = "".join(sorted(changed[at])), _LETTER * len(changed[at]) / 2
        if x(at) - reach >= edge:  # letters that would overlap those before are left out
            letters.append((x(at), text))
            edge = x(at) + reach
    return Chart(
        intervals=intervals,
        crosses=crosses,
        threshold=thresholds,
        changes=lines,
        letters=letters,
        ticks=[(y(value), f"{value:.3g}") for value in (bottom, (bottom + top) / 2, top)],
        words=f"{history.claim.key or history.claim.test}: {state_of(history)}; {runs_of(history)}",
    )
