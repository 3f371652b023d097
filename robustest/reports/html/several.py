"""Pages over several runs: an index of their pages, and the charts of a history from commit to commit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

from robustest.account import RED, STATES
from robustest.errors import StoreError
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
from robustest.safe_files import read_below, write_atomic
from robustest.version import VERSION

# ---- the index over pages whose folders lie below one folder

# Largest page that is read, in bytes: pages with embedded pictures are large.
_MOST = 64 * 2**20
_TITLE = "index of runs"
_SHOWN = ("date", "commit", "machine", "samples")
_OWN = f"<title>{_TITLE} ".encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """The page of one run, as its header describes it."""

    name: str
    link: str  # link to the page, relative to the index
    state: str  # one of `STATES`, "none" if nothing was claimed, "error" if the page is not whole
    headline: str
    facts: tuple[str, ...]  # date, commit, machine and samples; empty texts if the page has none


@dataclass(slots=True)
class _Header(HTMLParser):
    state: str = ""
    texts: dict[str, list[str]] = field(default_factory=lambda: {"h1": [], "dt": [], "dd": []})
    generator: str = ""
    _inside: str = ""

    def __post_init__(self) -> None:
        HTMLParser.__init__(self, convert_charrefs=True)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        about = dict(attrs)
        if tag == "meta" and about.get("name") == "generator":
            self.generator = about.get("content") or ""
        if tag in self.texts:
            self._inside = tag
            self.texts[tag].append("")
            self.state = (about.get("class") or "") if tag == "h1" else self.state

    def handle_endtag(self, tag: str) -> None:
        self._inside = "" if tag == self._inside else self._inside

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[self._inside][-1] += data


def write_index(folder: Path) -> list[IndexRow]:
    """Write `index.html` over the pages that lie one folder below, the latest first.

    Raises:
        StoreError: no page lies below, a page cannot be read, or another page is in the index's place.
        ConfigError: Jinja2 is not installed.
    """
    place = folder / "index.html"
    # Never overwrite the page of a run, or one of somebody else.
    if place.exists() and _OWN not in _content(folder, "index.html")[:4096]:
        raise StoreError(f"Expected an earlier index at {place} but got another page. Name the folder above the runs'.")
    names = sorted(path.parent.name for path in folder.glob("*/index.html"))
    pages = [page for name in names if (page := _indexed(folder, name)) is not None]
    if not pages:
        raise StoreError(
            f"Expected pages of runs in folders below {folder} but there is none. Write one: "
            f"pytest --robust --robust-html={folder / 'RUN'}"
        )
    pages.sort(key=lambda page: page.facts[0], reverse=True)
    red = sum(page.state in RED for page in pages)
    text = rendered(
        "index.html",
        title=_TITLE,
        headline=f"{red} of {len(pages)} runs did not pass" if red else f"None of {len(pages)} runs is red",
        state="failed" if red else "passed",
        pages=pages,
        names=_SHOWN,
        marks={**MARKS, "none": MARKS["measured"]},
        version=VERSION,
    )
    write_atomic(place, text.encode("utf-8", "backslashreplace"))
    return pages


def _content(folder: Path, name: str) -> bytes:
    try:
        return read_below(folder, name, most=_MOST)
    except OSError as error:
        raise StoreError(
            f"Expected to read {folder / name} but got: {error.strerror or error}. Delete it, or write the page again."
        ) from error


def _indexed(folder: Path, name: str) -> IndexRow | None:
    """Return the row of a page; None if it is no page of a run."""
    content = _content(folder, f"{name}/index.html")
    top, whole, rest = content.partition(b"</header>")
    header = _Header()
    # A header has a few kilobytes; the limit keeps a page of another kind from being parsed whole.
    header.feed(top[: 2**20].decode("utf-8", "replace"))
    if not header.generator.startswith("robustest ") or _OWN in top:
        return None
    link = f"{quote(name)}/index.html"
    # The end of the page is missing: an interrupted copy could have lost its red claims.
    if not (whole and rest.rstrip().endswith(b"</html>") and header.texts["h1"]):
        return IndexRow(
            name=name, link=link, state="error", headline="The page is not whole", facts=("",) * len(_SHOWN)
        )
    facts = dict(zip(header.texts["dt"], header.texts["dd"], strict=False))
    return IndexRow(
        name=name,
        link=link,
        # An unknown state is an error, never a pass.
        state=next((word for word in header.state.split() if word in STATES or word == "none"), "error"),
        headline=" ".join(header.texts["h1"][0].split()),
        facts=tuple(" ".join(facts.get(one, "").split()) for one in _SHOWN),
    )


# ---- the page of a history

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


def write_history(folder: str, histories: Sequence[ClaimHistory]) -> None:
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
                test=one.claim.shown,
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
    write_atomic(Path(folder) / "index.html", text.encode("utf-8", "backslashreplace"))


@dataclass(slots=True)
class _Column:
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
        words=f"{history.claim.key or history.claim.shown}: {state_of(history)}; {runs_of(history)}",
    )
