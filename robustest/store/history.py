"""A history in a folder: a file a claim, a line of JSON a run, in an order of their own.

A file's lines are its set of lines in the order of their bytes: first the claim's, then the runs' by time. So two
histories are joined by joining lines, and it does not matter which comes first; git's own `merge=union` does that too,
in an order that is put right whenever the file is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from robustest.errors import StoreError
from robustest.history.claim import Claim
from robustest.history.entry import Entry
from robustest.history.lines import HEAD, Known, claim_of, entries_of, head_of, line_of
from robustest.regular import read_below
from robustest.store.files import alone, write_atomic

LARGEST = 64 * 2**20
"""Bytes of a file, at most: 100,000 runs and more."""
_MOST_FILES = 20_000
_ATTRIBUTES = "*.jsonl text eol=lf merge=union\n"
_MEND = "Restore it from version control, or delete it and lose its claim's history"

History = dict[Claim, list[Entry]]


def read(folder: Path) -> History:
    """The entries of every claim, in the order of their time.

    Raises:
        StoreError: there is no history in the folder, or a file of it is damaged or none of a history.
    """
    found = _names(folder)
    if not found:
        raise StoreError(
            f"Expected a history in {folder} but there is none. Begin one: pytest --robust --robust-history={folder}"
        )
    known: Known = {}
    return dict(_parsed(folder, name, _lines(folder, name), known) for name in found)


def add(folder: Path, entries: Mapping[Claim, Iterable[Entry]]) -> None:
    """Add entries to a folder, which is made if absent; those that are there already are not added again.

    Every file is written whole or not at all, and put in order where something else, such as git, had joined lines.

    Raises:
        StoreError: a file that is there is damaged; it and the others stay as they are.
        OSError: the folder cannot be written.
    """
    with alone(folder):
        names = _names(folder)
        before = {name: _looking_right(folder, name, _lines(folder, name)) for name in names}
        after = {name: set(lines) for name, lines in before.items()}
        for claim, ones in entries.items():
            after.setdefault(claim.file, {head_of(claim)}).update(map(line_of, ones))
        _put(folder / ".gitattributes", _ATTRIBUTES.encode())
        for name, lines in after.items():
            ordered = sorted(lines)
            if ordered != before.get(name):
                write_atomic(folder / name, b"\n".join(ordered) + b"\n")


def _put(path: Path, content: bytes) -> None:
    if not path.exists():
        write_atomic(path, content)


def _names(folder: Path) -> list[str]:
    names = sorted(path.name for path in Path(folder).glob("*.jsonl") if not path.name.startswith("."))
    if len(names) > _MOST_FILES:
        raise StoreError(f"Expected at most {_MOST_FILES} claims in {folder} but got {len(names)}.")
    return names


def _lines(folder: Path, name: str) -> list[bytes]:
    """The lines of a file, as they are."""
    try:
        content = read_below(folder, name, most=LARGEST)
    except OSError as error:
        raise StoreError(f"Expected to read {folder / name} but got: {error.strerror or error}. {_MEND}.") from error
    lines = content.replace(b"\r\n", b"\n").split(b"\n")
    if lines.pop() != b"":
        _damaged(folder, name, len(lines) + 1, "a line that does not end")
    return lines


def _looking_right(folder: Path, name: str, lines: list[bytes]) -> list[bytes]:
    """The same lines, each of which looks like one of a history: what git left in conflict is not put in order."""
    for number, line in enumerate(lines, 1):
        if not (line.startswith(b'["') and line.endswith(b"]")):
            _damaged(folder, name, number, repr(line[:60].decode("utf-8", "replace")))
    return lines


def _parsed(folder: Path, name: str, lines: list[bytes], known: Known) -> tuple[Claim, list[Entry]]:
    """A file's claim and its entries.

    Raises:
        StoreError: a line is none, or the file is another claim's.
    """
    ordered = sorted(set(lines))
    heads = [line for line in ordered if line.startswith(HEAD)]
    if len(heads) != 1:
        _damaged(folder, name, 1, f"{len(heads)} lines that say which claim it is of, instead of one")
    try:
        claim = claim_of(heads[0])
    except (ValueError, TypeError) as error:
        _damaged(folder, name, 1, str(error))
    if claim.file != name:
        raise StoreError(f"Expected the claim of {folder / name} but got that of {claim.file}. {_MEND}.")
    try:
        return claim, entries_of(ordered[1:], known)
    except (ValueError, TypeError):
        pass  # said below, with its line
    for number, line in enumerate(lines, 1):
        if line != heads[0]:
            try:
                entries_of([line], {})
            except (ValueError, TypeError) as error:
                _damaged(folder, name, number, str(error))
    return _damaged(folder, name, 1, "lines that are none of a history when they are taken together")


def _damaged(folder: Path, name: str, number: int, what: str) -> NoReturn:
    raise StoreError(f"Expected a run of a history in {folder / name}, line {number}, but got: {what[:300]}. {_MEND}.")
