"""A history in a folder: one file for each claim, one for each month of runs.

The lines of a file are a set, sorted by their bytes: first a header, then the runs by time. No line depends on another
of its file, so two histories are merged by joining lines, in either order, and git's `merge=union` is one way to do
so; the next write sorts them again.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from robustest.errors import StoreError
from robustest.history.claim import Claim
from robustest.history.entry import Entry
from robustest.history.lines import HEAD, Asked, about_of, asked_in, asked_line_of, asked_of, claim_of, head_of
from robustest.history.runs import LISTED, Run, entries_of, lines_of, references_in, run_in
from robustest.safe_files import read_below
from robustest.store.files import alone, write_atomic

LARGEST = 64 * 2**20
"""Bytes of a file, at most."""
_MOST_FILES = 20_000
_ATTRIBUTES = "*.jsonl text eol=lf merge=union\n"
_MEND = "Restore it from version control, or delete it and lose what it holds"
_MONTH = re.compile(r"runs-(\d{4}-\d\d)\.jsonl", re.ASCII).fullmatch

History = dict[Claim, list[Entry]]
_Lines = dict[str, set[bytes]]
"""Of each file, by its name."""


def read(folder: Path) -> History:
    """Return the entries of every claim that has a file, by time.

    Raises:
        StoreError: the folder has no history, or a file of it is damaged.
    """
    found = _names(folder)
    if not found:
        raise StoreError(
            f"Expected a history in {folder} but there is none. Begin one: pytest --robust --robust-history={folder}"
        )
    kept = _Kept(folder)
    for name in found:
        if _MONTH(name) is None:
            kept.read_claim(name)
    for name in found:
        if month := _MONTH(name):
            kept.read_month(name, month[1])
    return kept.history()


def add(folder: Path, entries: Mapping[Claim, Iterable[Entry]]) -> None:
    """Add entries to a folder, which is created if absent; present entries are not added again.

    Raises:
        StoreError: a file is damaged; all files stay as they are.
        OSError: the folder cannot be written.
    """
    lines: _Lines = {}
    runs: dict[tuple[str, str, str, bool, str], list[tuple[Claim, Entry]]] = {}
    for claim, ones in entries.items():
        for one in ones:
            runs.setdefault((one.time, one.commit, one.committed, one.dirty, one.versions), []).append((claim, one))
            lines.setdefault(claim.file, {head_of(claim=claim.to_dict())}).add(asked_line_of(asked_of(one)))
    for (time, *_), found in runs.items():
        lines.setdefault(f"runs-{time[:7]}.jsonl", {head_of(runs=time[:7])}).update(lines_of(found))
    _join(folder, lines)


def add_history(folder: Path, other: Path) -> None:
    """Add all lines of another folder.

    Raises:
        StoreError: a file of either is damaged; the folder stays as it is.
        OSError: the folder cannot be written.
    """
    read(other)  # nothing is taken over that is not believed
    _join(folder, {name: set(_lines(other, name)) for name in _names(other)})


def _join(folder: Path, lines: _Lines) -> None:
    """Merge lines into the files, each of which is written whole and sorted.

    The claims' files come first: a run's line must not name a claim that is not there, should the process be killed.
    """
    with alone(folder):
        before = {name: _looking_right(folder, name, _lines(folder, name)) for name in _names(folder)}
        _write_once(folder / ".gitattributes", _ATTRIBUTES.encode())
        for name in sorted({*before, *lines}, key=lambda name: (_MONTH(name) is not None, name)):
            ordered = sorted({*before.get(name, ()), *lines.get(name, ())})
            if ordered != before.get(name):
                write_atomic(folder / name, b"\n".join(ordered) + b"\n")


@dataclass(slots=True)
class _Kept:
    """The contents of a folder that were read so far.

    Attributes:
        folder: the history's.
        claims: each claim's fields by name, by its digest.
        entries: of each claim.
        times: the number of lines of each time.
        gone: takes the entries of claims without a file.
    """

    folder: Path
    claims: dict[str, tuple[Claim, dict[str, Asked]]] = field(default_factory=dict)
    entries: History = field(default_factory=dict)
    times: Counter[str] = field(default_factory=Counter)
    gone: list[Entry] = field(default_factory=list)

    def read_claim(self, name: str) -> None:
        """Read a claim's fields."""
        head, lines = _lines_of(self.folder, name)
        try:
            claim = claim_of(head)
        except (ValueError, TypeError) as error:
            _damaged(self.folder, name, 1, str(error))
        if claim.file != name:
            raise StoreError(f"Expected the claim of {self.folder / name} but got that of {claim.file}. {_MEND}.")
        asked = {}
        for number, line in lines:
            try:
                one = asked_in(line)
            except (ValueError, TypeError) as error:
                _damaged(self.folder, name, number, str(error))
            asked[one.name] = one
        self.claims[claim.digest] = claim, asked
        self.entries[claim] = []

    def read_month(self, name: str, month: str) -> None:
        """Read the runs of a month; the claims were read before."""
        head, lines = _lines_of(self.folder, name)
        number = 1
        try:
            if about_of(head, "runs") != month:
                raise ValueError(f"Expected the runs of {month}")
            listed: dict[str, list[str]] = {}
            runs: list[tuple[int, Run]] = []
            for number, line in lines:
                if line.startswith(LISTED):
                    key, references = references_in(line)
                    listed[key] = references
                else:
                    runs.append((number, run_in(line)))
            resolved = {key: self._resolve(references) for key, references in listed.items()}
            for at, run in runs:
                number = at
                self._take(run, month, resolved)
        except (ValueError, TypeError) as error:
            _damaged(self.folder, name, number, str(error))

    def _resolve(self, references: list[str]) -> tuple[list[list[Entry]], list[Asked]]:
        """Return the lists that take the entries of some claims, and each claim's fields.

        A claim without a file was deleted on purpose: its entries are left out.
        """
        places, asked = [], []
        for reference in references:
            digest, _, name = reference.partition(".")
            claim, known = self.claims.get(digest, (None, {}))
            if claim is not None and name not in known:
                raise ValueError(f"Expected a line {name} in {claim.file}, which a run names")
            places.append(self.gone if claim is None else self.entries[claim])
            asked.append(known[name] if claim is not None else Asked("", 0, None, ">=", ""))
        return places, asked

    def _take(self, run: Run, month: str, resolved: Mapping[str, tuple[list[list[Entry]], list[Asked]]]) -> None:
        if run.listed not in resolved:
            raise ValueError(f"Expected the list {run.listed[:20]} of claims, which the run names")
        if run.time[:7] != month:
            raise ValueError(f"Expected a run of {month}")
        places, asked = resolved[run.listed]
        for place, entry in zip(places, entries_of(run, asked), strict=True):
            place.append(entry)
        self.times[run.time] += 1

    def history(self) -> History:
        """The entries of each claim: once each, where parts of a run were added on their own."""
        if len(self.times) == self.times.total():
            return self.entries
        return {claim: list(dict.fromkeys(ones)) for claim, ones in self.entries.items()}


def _write_once(path: Path, content: bytes) -> None:
    if not path.exists():
        write_atomic(path, content)


def _names(folder: Path) -> list[str]:
    names = sorted(path.name for path in Path(folder).glob("*.jsonl") if not path.name.startswith("."))
    if len(names) > _MOST_FILES:
        raise StoreError(f"Expected at most {_MOST_FILES} files in {folder} but got {len(names)}.")
    return names


def _lines(folder: Path, name: str) -> list[bytes]:
    try:
        content = read_below(folder, name, most=LARGEST)
    except OSError as error:
        raise StoreError(f"Expected to read {folder / name} but got: {error.strerror or error}. {_MEND}.") from error
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    if lines.pop() != b"":
        _damaged(folder, name, len(lines) + 1, "a line that does not end")
    return lines


def _looking_right(folder: Path, name: str, lines: list[bytes]) -> list[bytes]:
    """Return the same lines; refuse those that git left in conflict."""
    for number, line in enumerate(lines, 1):
        if not (line.startswith(b'["') and line.endswith(b"]")):
            _damaged(folder, name, number, repr(line[:60].decode("utf-8", "replace")))
    return lines


def _lines_of(folder: Path, name: str) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return a file's header and its other lines, unique and sorted, with their line numbers.

    Raises:
        StoreError: there is no header, or more than one.
    """
    numbers: dict[bytes, int] = {}
    for number, line in enumerate(_lines(folder, name), 1):
        numbers.setdefault(line, number)
    heads = [line for line in numbers if line.startswith(HEAD)]
    if len(heads) != 1:
        _damaged(folder, name, 1, f"{len(heads)} lines that say what it is of, instead of one")
    return heads[0], [(numbers[line], line) for line in sorted(numbers) if line != heads[0]]


def _damaged(folder: Path, name: str, number: int, what: str) -> NoReturn:
    raise StoreError(f"Expected a line of a history in {folder / name}, line {number}, but got: {what[:300]}. {_MEND}.")
