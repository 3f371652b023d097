"""Reports on GitHub without a token: the summary of a step, and annotations at the lines of tests."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path, PurePath

from robustest.account import EXPLAINED, STATES, Account, Row
from robustest.reports.families import worst_first
from robustest.reports.inert import inert, inert_lines
from robustest.reports.text import failure_text, row_remark, row_without_result
from robustest.results import Result, shown
from robustest.results.sentences import count_of

BUDGET = 900_000
"""Largest size of a step's summary in bytes: GitHub discards all of a summary of more than 1 MiB."""
COMMENT = 60_000
"""Largest size of a comment in bytes: GitHub refuses more than 65,536 characters."""
ANNOTATIONS = 10
"""Largest number of annotations of one kind that GitHub shows."""

_RESERVE = 400  # bytes of the budget for the lines that count the omitted parts
_CELL = 300  # characters of a name in a table cell
_MARK = 100  # characters of the services in a mark
_FOLDED = 8_000  # characters of one failure's text
_TABLE_SHARE = 0.6  # of the budget: the table gives more facts per byte than the details
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
_TAGS = {"=": "", "-": "del", "+": "ins"}
_MARKUP = re.compile(r"[!-/:-@\[-`{-~]")
# ASCII punctuation that begins no markup inside of a line.
_PLAIN = frozenset(".,-/ ()=%+'\"?;^")
# Characters that are invisible, reverse the text around them, or cannot be encoded.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def add_summary(path: str, account: Account) -> None:
    """Append the summary of a run to the file that GITHUB_STEP_SUMMARY names, up to the size that GitHub keeps.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(path)
    before = target.stat().st_size if target.exists() else 0
    with target.open("ab") as file:
        file.write(summary(account, budget=BUDGET - before).encode("utf-8"))


def annotation_commands(
    rows: Sequence[Row],
    lost: Sequence[str],
    *,
    where: Mapping[str, tuple[str, int]],
    workspace: str = "",
    service: str = "",
) -> list[str]:
    """Return workflow commands for the ten worst rows that did not pass, and the number of further ones.

    Each command must be at the start of a line of the step's log.

    Args:
        where: file and line (from 1) of each test id; a file is absolute, or relative to the workspace.
        workspace: folder that paths in annotations are relative to.
        service: part of the repository that the run is of, named in each title: jobs of two services annotate one page.
    """
    run = _short(f"robustest of {service}" if service else "robustest", _CELL // 2)
    commands = [_command("error", {"title": f"{run}: results are missing"}, problem) for problem in lost]
    for row in worst_first(row for row in rows if row.state in EXPLAINED):
        state, result = row.state, row.result
        properties = {}
        # The run as a whole has no place; a claim outside of any test has.
        if row.ending is None or row.ending.phase != "session" or row.test in where:
            name, line = where.get(row.test, (row.test.partition("::")[0], 0))
            file = PurePath(name)
            if workspace and file.is_absolute() and file.is_relative_to(workspace):
                file = file.relative_to(workspace)
            properties = {"file": file.as_posix(), **({"line": str(line)} if line > 0 else {})}
        if result is None:
            title, text = row_without_result(row).partition(": ")[0], _short(row.problem, 2_000)
        else:
            title, text = f"{state}: {result.subject.statement}", failure_text(result, replay=row.replay)[:4_000]
        # An inconclusive claim is red too; a tolerated one failed, but its test passed.
        kind = "warning" if state in ("inconclusive", "tolerated") else "error"
        commands.append(
            _command(
                kind, {**properties, "title": _short(f"{run}: {title}" if service else f"{run} {title}", _CELL)}, text
            )
        )
    more = len(commands) - ANNOTATIONS
    if more <= 0:
        return commands
    rest = f"{more} more did not pass; the step summary and the reports name them."
    return [*commands[:ANNOTATIONS], _command("notice", {"title": run}, rest)]


def _command(kind: str, properties: Mapping[str, str], message: str) -> str:
    def escape(text: str) -> str:
        # A line end would end the command, and the rest of the text could then begin another one.
        line = _UNSEEN.sub("�", text.replace("\r\n", "\n").replace("\r", "\n"))
        return line.replace("%", "%25").replace("\n", "%0A")

    # Colons and commas end a property.
    pairs = (f"{name}={escape(value).replace(':', '%3A').replace(',', '%2C')}" for name, value in properties.items())
    return f"::{kind} {','.join(pairs)}::{escape(message)}"


def mark_of(services: Sequence[str]) -> str:
    """Return the first line of a comment, by which a later run finds it: one for each service or set of services."""
    name = " and ".join(services)
    # Whatever a pull request calls its service, the mark ends no comment of HTML.
    plain = "".join(one if one.isascii() and (one.isalnum() or one in "./_") else "_" for one in name)[:_MARK]
    if plain != name:  # the digest tells services/a-b from services/a_b
        digest = sha256("\n".join(services).encode()).hexdigest()
        plain = f"{plain}_{digest[:8]}"
    return f"<!-- robustest {plain} -->" if name else "<!-- robustest -->"


def summary(account: Account, *, budget: int = BUDGET) -> str:
    """Return the step's summary in GitHub's Markdown: a table, worst first, folded failures, and sections of packs.

    Args:
        budget: largest size in bytes of UTF-8; empty text if not even the headline fits.
    """
    page = _Page(budget)
    rows = account.rows
    counts = Counter(row.state for row in rows)
    headline = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state]) or "no claim was measured"
    of = f" of {escaped(account.service)}" if account.service else ""
    page.add(f"\n## robustness{of}: {headline}\n\n")
    # Losses come first: a run with losses is not green, whatever its rows. A fifth of the budget leaves room for rows.
    losses = [f"> **Results are missing: {escaped(text)}. This run is not green.**\n>\n" for text in account.lost]
    page.add_all(losses, 0.2)
    page.add("\n")
    ordered = worst_first(rows)
    if ordered:
        page.add("| | claim | measured and required | n | test |\n| :-- | :-- | :-- | --: | :-- |\n")
        # The table is cut from its end, where the claims that passed are.
        page.add_all([_table_row(row) for row in ordered], _TABLE_SHARE, "claims are left out of this table")
        page.add("\n")
    page.add_all([_details(row) for row in ordered if row.state in EXPLAINED], 1.0, "failures are not shown here")
    sections = []
    for section in account.sections:
        facts = [f"- {escaped(f'{fact.label}: {shown(fact.value)} {fact.unit}'.strip())}\n" for fact in section.facts]
        sections.append(f"\n### {escaped(section.title)}\n\n{''.join(facts)}")
    page.add_all(sections, 1.0, "sections of packs are left out")
    return "".join(page.parts)


class _Page:
    def __init__(self, budget: int) -> None:
        self._budget = budget - _RESERVE
        self._size = 0
        self.parts: list[str] = []

    def add(self, part: str, share: float = 1.0) -> bool:
        size = len(part.encode("utf-8"))
        if self._size + size > self._budget * share:
            return False
        self.parts.append(part)
        self._size += size
        return True

    def add_all(self, parts: Sequence[str], share: float, cut: str = "lines are left out") -> None:
        """Add parts while they fit, then the number of parts that did not."""
        for count, part in enumerate(parts):
            if not self.add(part, share):
                if self.parts:  # from the reserve
                    self.parts.append(f"\n*{len(parts) - count} {cut}: GitHub limits a summary's size.*\n\n")
                return


def _table_row(row: Row) -> str:
    mark = f"{_MARKS[row.state]} {row.state}"
    test = f"<code>{escaped(_short(row.test, _CELL))}</code>"
    if row.result is None:
        return f"| {mark} | {escaped(_short(row_without_result(row), _CELL))} | | | {test} |\n"
    result = row.result
    claim = "; ".join(part for part in (result.subject.statement, row_remark(row)) if part)
    value = "; ".join((result.sentence, *result.words.caveats))
    cells = " | ".join(escaped(_short(text, _CELL)) for text in (claim, value, count_of(result.numbers)))
    return f"| {mark} | {cells} | {test} |\n"


def _details(row: Row) -> str:
    result = row.result
    title = f"{row.state}: {_short(row_without_result(row) if result is None else result.subject.statement, _CELL)}"
    again = f"\nreplay: {row.replay}" if row.replay else ""
    text = f"{row.problem}{again}" if result is None else failure_text(result, replay=row.replay)
    clipped = text if len(text) <= _FOLDED else f"{text[:_FOLDED]}\n… {len(text) - _FOLDED} characters more"
    body = html.escape(_UNSEEN.sub("�", inert_lines(clipped)))  # `show --markdown` prints these lines into a log
    body += _changes(result)
    head = html.escape(_UNSEEN.sub("�", f"{title} ({_short(row.test, _CELL)})"))
    return f"<details><summary>{head}</summary>\n\n<pre>\n{body}\n</pre>\n\n</details>\n\n"


def _changes(result: Result | None) -> str:
    lines = []
    for worst in () if result is None else result.counterexamples:
        for mark, part in (worst.changes or {}).get("diff", ()):
            tag = _TAGS[mark]
            text = html.escape(_UNSEEN.sub("�", inert(part, at_start=False)))
            lines.append(f"<{tag}>{text}</{tag}>" if tag else text)
        lines.append("\n" if worst.changes else "")
    return f"\n\n{''.join(lines).rstrip()}" if any(lines) else ""


def _short(text: str, most: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def escaped(text: str) -> str:
    """Return text as GitHub's Markdown shows it literally, on one line."""
    # A numeric character reference never stands for structure (CommonMark 0.31, section 2.5), nor for a table's bar. So
    # every character that may begin markup, a link, a mention, an emoji or a formula becomes a reference.
    line = _UNSEEN.sub("�", " ".join(text.split()))
    line = _MARKUP.sub(lambda m: m[0] if m[0] in _PLAIN else f"&#{ord(m[0])};", line)
    line = re.sub(r"&#64;(?=\w)", "&#64;&#8203;", line)  # GitHub looks for mentions after resolving references
    # GitHub links bare addresses that begin with "www.".
    return re.sub(r"(?i)w(?=ww\.)", lambda m: f"&#{ord(m[0])};", line)
