"""What GitHub shows of a run: a summary of the step, and annotations where the tests are written.

Both are asked for by lines and files alone (workflow commands, and the file that GITHUB_STEP_SUMMARY names), so no
token is needed.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from robustest.extensions import Section
from robustest.reports.inert import inert_lines
from robustest.reports.states import STATES, TOLD, Reported, aside, state, without_result
from robustest.reports.text import count_of, failure_text, sentence
from robustest.results import Result, Verdict, shown

BUDGET = 900_000
"""Bytes of a step's summary, at most; GitHub drops a summary of more than 1 MiB whole."""
ANNOTATIONS = 10
"""Annotations of one kind that GitHub shows of a step."""

_CELL = 300  # characters of a name that a table cell shows
_FOLDED = 8_000  # characters of one failure's text
_TABLE_SHARE = 0.6  # of the budget: the table tells more a byte than the details
_MARKS = {
    "failed": "❌",
    "error": "⚠️",
    "unfinished": "⛔",
    "inconclusive": "❔",
    "tolerated": "❕",
    "xfailed": "☑️",
    "skipped": "⏭️",
    "rerun": "🔁",
    "xpassed": "❕",
    "measured": "📏",
    "passed": "✅",
}
_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")
_PLAIN = frozenset(".,-/ ()=%+'\"?;^")
"""ASCII punctuation that begins no markup inside a line of text."""
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Characters that show nothing, turn the text around them, or cannot be encoded."""


def add_summary(path: str, rows: Sequence[Reported], lost: Sequence[str], sections: Sequence[Section] = ()) -> None:
    """Add the summary to the step's, at most as much as GitHub keeps.

    Args:
        path: the file that GITHUB_STEP_SUMMARY names.
        rows: one per claim and per other ending of a test.
        lost: what did not arrive, in sentences.
        sections: of packs.

    Raises:
        OSError: it cannot be written.
    """
    target = Path(path)
    before = target.stat().st_size if target.exists() else 0
    with target.open("ab") as file:
        file.write(summary(rows, lost, sections, budget=BUDGET - before).encode("utf-8"))


def annotated(
    rows: Sequence[Reported],
    lost: Sequence[str],
    *,
    where: Mapping[str, tuple[str, int]],
    workspace: str = "",
) -> list[str]:
    """Workflow commands: the worst ten of what did not pass, then how many more there are.

    Each line must reach the step's log at the start of a line.

    Args:
        rows, lost: as for `add_summary`.
        where: file and line (from 1) of each test's id; a file is absolute, or relative to the workspace.
        workspace: the folder that absolute files are named from.
    """
    bad = worst_first(row for row in rows if state(row) in TOLD)
    commands = [_command("error", {"title": "robustest: results are missing"}, problem) for problem in lost]
    for row in bad:
        verdict = state(row)
        kind = "warning" if verdict in ("inconclusive", "tolerated") else "error"
        place = _place(row, where, workspace)
        title = without_result(row).partition(": ")[0] if row.result is None else f"{verdict}: {row.result.statement}"
        commands.append(_command(kind, {**place, "title": _short(f"robustest {title}", _CELL)}, _text_of(row)))
    more = len(commands) - ANNOTATIONS
    if more <= 0:
        return commands
    rest = f"{more} more did not pass; the step summary and the reports name them."
    return [*commands[:ANNOTATIONS], _command("notice", {"title": "robustest"}, rest)]


def _place(row: Reported, where: Mapping[str, tuple[str, int]], workspace: str) -> dict[str, str]:
    """File and line of a test; none for what the run as a whole came to."""
    if row.ending is not None and row.ending.phase == "session":
        return {}
    file, line = where.get(row.test, (row.test.partition("::")[0], 0))
    return {"file": _within(file, workspace), **({"line": str(line)} if line > 0 else {})}


def _text_of(row: Reported) -> str:
    return _short(row.problem, 2_000) if row.result is None else failure_text(row.result, replay=row.replay)[:4_000]


def _within(file: str, workspace: str) -> str:
    path = PurePath(file)
    if workspace and path.is_absolute() and path.is_relative_to(workspace):
        path = path.relative_to(workspace)
    return path.as_posix()


def _command(kind: str, properties: Mapping[str, str], message: str) -> str:
    """A workflow command; see `_data` for what must not stand in it as it is."""
    told = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
    return f"::{kind} {told}::{_data(message)}"


def _data(text: str) -> str:
    """Percent, carriage return and line feed would end or change a command."""
    seen = _UNSEEN.sub("�", text.replace("\r\n", "\n").replace("\r", "\n"))
    return seen.replace("%", "%25").replace("\n", "%0A")


def _property(text: str) -> str:
    """In a property, colon and comma end it too."""
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(
    rows: Sequence[Reported], lost: Sequence[str], sections: Sequence[Section] = (), *, budget: int = BUDGET
) -> str:
    """The step's summary in GitHub's Markdown: one table, worst first, and the failures folded beneath it.

    Args:
        rows, lost: as for `add_summary`.
        budget: bytes, at most; what does not fit is counted in a line.

    Returns:
        Text of at most `budget` bytes in UTF-8; empty where not even the headline fits.
    """
    page = _Page(budget)
    counts = Counter(state(row) for row in rows)
    told = ", ".join(f"{counts[verdict]} {verdict}" for verdict in STATES if counts[verdict]) or "no claim was measured"
    page.add(f"\n## robustness: {told}\n\n")
    page.all([f"> **Results are missing: {escaped(problem)}. This run is not green.**\n>\n" for problem in lost], 0.2)
    page.add("\n")
    ordered = worst_first(rows)
    if ordered:
        page.add("| | claim | measured and required | n | test |\n| :-- | :-- | :-- | --: | :-- |\n")
        page.all([_line(row) for row in ordered], _TABLE_SHARE, "claims are left out of this table")
        page.add("\n")
    page.all([_details(row) for row in ordered if state(row) in TOLD], 1.0, "failures are not told here")
    page.all([_section(section) for section in sections], 1.0, "sections of packs are left out")
    return page.text()


def _section(section: Section) -> str:
    facts = [f"- {escaped(f'{fact.label}: {shown(fact.value)} {fact.unit}'.strip())}\n" for fact in section.facts]
    return f"\n### {escaped(section.title)}\n\n{''.join(facts)}"


class _Page:
    """Text that never grows beyond its budget of bytes."""

    _RESERVE = 400  # bytes for the lines that say what was cut

    def __init__(self, budget: int) -> None:
        self._budget = budget - self._RESERVE
        self._parts: list[str] = []
        self._size = 0

    def add(self, part: str, share: float = 1.0) -> bool:
        """Add a part if it fits into a share of the budget."""
        size = len(part.encode("utf-8"))
        if self._size + size > self._budget * share:
            return False
        self._parts.append(part)
        self._size += size
        return True

    def all(self, parts: Sequence[str], share: float, cut: str = "lines are left out") -> None:
        """Add parts while they fit, and say how many did not."""
        for count, part in enumerate(parts):
            if not self.add(part, share):
                if self._parts:  # out of the reserve
                    self._parts.append(f"\n*{len(parts) - count} {cut}: GitHub limits a summary's size.*\n\n")
                return

    def text(self) -> str:
        return "".join(self._parts)


def worst_first(rows: Iterable[Reported]) -> list[Reported]:
    """In the order of `STATES`; what failed farthest from its threshold first."""

    def badness(row: Reported) -> tuple[int, float]:
        return STATES.index(state(row)), -_gap(row.result) if state(row) == "failed" else 0.0

    return sorted(rows, key=badness)


def _gap(result: Result | None) -> float:
    """How far the value of a failed claim is on the wrong side of its threshold."""
    if result is None or result.threshold is None or result.verdict is not Verdict.FAILED:
        return 0.0
    return (result.threshold - result.value) * (1 if result.comparison == ">=" else -1)


def _line(row: Reported) -> str:
    verdict = state(row)
    mark = f"{_MARKS[verdict]} {verdict}"
    test = f"<code>{escaped(_short(row.test, _CELL))}</code>"
    if row.result is None:
        return f"| {mark} | {escaped(_short(without_result(row), _CELL))} | | | {test} |\n"
    result = row.result
    words = "; ".join(part for part in (result.statement, aside(row)) if part)
    cells = (
        escaped(_short(text, _CELL))
        for text in (words, "; ".join((sentence(result), *result.caveats)), count_of(result))
    )
    return f"| {mark} | {' | '.join(cells)} | {test} |\n"


def _details(row: Reported) -> str:
    result = row.result
    words = without_result(row) if result is None else result.statement
    title = f"{state(row)}: {_short(words, _CELL)}"
    again = f"\nreplay: {row.replay}" if row.replay else ""
    text = f"{row.problem}{again}" if result is None else failure_text(result, replay=row.replay)
    told = html.escape(_UNSEEN.sub("�", inert_lines(_clipped(text))))  # lines of a log where it is printed
    head = html.escape(_UNSEEN.sub("�", f"{title} ({_short(row.test, _CELL)})"))
    return f"<details><summary>{head}</summary>\n\n<pre>\n{told}\n</pre>\n\n</details>\n\n"


def _clipped(text: str) -> str:
    return text if len(text) <= _FOLDED else f"{text[:_FOLDED]}\n… {len(text) - _FOLDED} characters more"


def _short(text: str, most: int) -> str:
    """One line of at most so many characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def escaped(text: str) -> str:
    """Text as GitHub's Markdown shows it, on one line, in a table cell or outside.

    A numeric character reference never stands for structure (CommonMark 0.31, section 2.5), and neither does it for a
    table's bar: so all punctuation that may begin markup, a link, a mention, an emoji or a formula becomes one.
    """
    line = _UNSEEN.sub("�", " ".join(text.split()))
    line = _MARKUP.sub(lambda m: m[0] if m[0] in _PLAIN else f"&#{ord(m[0])};", line)
    line = re.sub(r"&#64;(?=\w)", "&#64;&#8203;", line)  # mentions are looked for in what references stand for
    return re.sub(r"(?i)w(?=ww\.)", lambda m: f"&#{ord(m[0])};", line)
