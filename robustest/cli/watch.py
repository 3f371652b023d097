"""`robustest watch`: run the tests, wait until a file that they depend on changes, and run them again."""

# 1. Files that are watched: those that the last run read, of which Python's audit events tell (`robustest.cli.inside`),
#    and all below the working directory, as libraries in C open files without an event, and tests are added.
# 2. They are compared by time of change and size, twice a second. Between two runs any difference starts the next.
# 3. A file that changed during a run starts another one, since nobody knows which contents the tests used, unless
#    the run wrote it itself. A file that no event names, and that changed during two runs on end, is taken for written.
#
# Claims that a change does not concern are recalled from the store, so that a run measures what it does concern.

from __future__ import annotations

import json
import os
import signal
import sysconfig
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from robustest.cli.screen import Screen, counted, exit_of_pytest, run_pytest

# Exit code of a program that Ctrl-C ended.
_STOPPED = 130
# Seconds between two checks of the files.
_EVERY = 0.5
# Files below the working directory that are watched at most, besides those that the tests read.
_MOST = 5_000
# Most changed files that a line names.
_NAMED = 5
_SKIPPED = frozenset({"__pycache__", "node_modules", "site-packages", ".robustest", ".git", ".pytest_cache"})
# Python and what is installed; folders of the system; temporary files.
_ELSEWHERE = (*map(Path, (sysconfig.get_path("stdlib"), tempfile.gettempdir(), "/dev", "/proc", "/sys")),)

FileStates = Mapping[str, tuple[int, int]]
"""Time of change in nanoseconds, and size, of each file that exists."""


def watch(rest: Sequence[str]) -> int:
    """Run `pytest --robust` with these arguments now and after each change, until Ctrl-C.

    Returns:
        The exit code for the last run; 130 if Ctrl-C ended it, or nobody ran the tests after the last change.
    """
    # A shell without job control starts a background command with Ctrl-C ignored, which pytest's process would inherit.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    screen, root, code = Screen(), Path.cwd(), _STOPPED
    read: set[str] = set()
    moving: set[str] = set()  # files that changed during the last run
    try:
        while True:
            before = _states(read, root)
            status, read, wrote = _run(rest, root)
            code = int(exit_of_pytest(status))
            now = _states(read, root)
            below = set(_below(root))
            # A file elsewhere that was read for the first time has no earlier state to be compared with.
            changed = {name for name in _differences(before, now) if name in before or name in below} - wrote
            again, moving = changed - (moving - read), changed
            if not again:
                screen.write_line(f"watching {counted(len(now), 'file')}; Ctrl-C ends", bold=True)
                if len(below) == _MOST:
                    text = f"more than {_MOST:,} files below {root}: others are watched if a test opens them in Python"
                    screen.write_line(text, yellow=True)
                again, moving = _next_change(read, root, now), set()
            code = _STOPPED  # the last verdicts are about other files
            names = [os.path.relpath(name, root) for name in sorted(again)]
            more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
            screen.write_line(f"changed: {', '.join(names[:_NAMED])}{more}", bold=True)
    except KeyboardInterrupt:
        screen.write_line()
        screen.write_line("stopped watching")
        return code


def _run(arguments: Sequence[str], root: Path) -> tuple[int, set[str], set[str]]:
    """Run the tests; return pytest's exit code, and the files that its processes read and wrote."""
    read: set[str] = set()
    wrote: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        plan = Path(folder) / "plan.json"
        plan.write_text(json.dumps({"parent": os.getpid(), "files": folder}), encoding="utf-8")
        status = run_pytest(["-p", "robustest.cli.inside", f"--robust-plan={plan}", *arguments])
        for file in Path(folder).glob("files-*.json"):
            content = json.loads(file.read_text(encoding="utf-8"))
            read.update(content["read"])
            wrote.update(content["wrote"])
    return status, {name for name in read if _is_watched(Path(name), root)}, wrote


def _is_watched(path: Path, root: Path) -> bool:
    if _SKIPPED.intersection(path.parts):
        return False
    return path.is_relative_to(root) or not any(map(path.is_relative_to, _ELSEWHERE))


def _below(root: Path) -> list[str]:
    """Return files below a folder, without hidden ones, caches and virtual environments; at most `_MOST`."""
    found: list[str] = []
    for folder, folders, files in os.walk(root):
        if "pyvenv.cfg" in files:
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if name not in _SKIPPED and not name.startswith("."))
        found += [os.path.join(folder, name) for name in files if not name.startswith(".") and not name.endswith("~")]
        if len(found) > _MOST:
            break
    return found[:_MOST]


def _states(read: Iterable[str], root: Path) -> FileStates:
    states = {}
    for name in {*read, *_below(root)}:
        try:
            about = os.stat(name)
        except OSError:  # it was removed, or is a broken link
            continue
        states[name] = about.st_mtime_ns, about.st_size
    return states


def _differences(before: FileStates, now: FileStates) -> set[str]:
    return {name for name in before.keys() | now.keys() if before.get(name) != now.get(name)}


def _next_change(read: Iterable[str], root: Path, states: FileStates) -> set[str]:
    """Wait, and return the files that differ, once nothing has changed any more for a moment."""
    changed: set[str] = set()
    while True:
        time.sleep(_EVERY)
        now = _states(read, root)
        moved = _differences(states, now)
        if changed and not moved:
            return changed
        changed, states = changed | moved, now
