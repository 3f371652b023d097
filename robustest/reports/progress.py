"""Progress of the running claim: in the terminal, or in the cell of a notebook."""

# A claim calls its progress with the samples evaluated and their largest number. It ends with both equal: where a
# verdict comes early, or an error, the number evaluated is that of all.

from __future__ import annotations

import html
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from robustest.reports.inert import inert

if TYPE_CHECKING:
    import pytest

# Seconds between progress lines if the output is no terminal.
_LINE_EVERY = 10.0


class TerminalProgress:
    """Print progress: in place on a terminal, as an occasional line elsewhere."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started: dict[str, tuple[float, int]] = {}  # time of the first chunk, and its samples
        self._last = 0.0

    def __call__(self, statement: str, done: int, total: int, broken: int) -> None:
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None:
            return
        now = time.monotonic()
        started, first = self._started.setdefault(statement, (now, done))
        terminal = reporter._tw._file.isatty()  # pytest has no public way to ask
        if not terminal and (now - max(started, self._last) < _LINE_EVERY or done == total):
            return
        self._last = now
        left = ""
        if done > first:
            rest = (now - started) * (total - done) / (done - first)
            left = f"; at most about {rest:.0f} s left"
        line = inert(f"robustest: {statement}: {done} of {total}, {broken} broken{left}")
        if capture is None:
            self._write(reporter, line, terminal, done == total)
            return
        # pytest captures output while a test runs.
        with capture.global_and_fixture_disabled():
            self._write(reporter, line, terminal, done == total)

    def verdict(self, line: str, seconds: float) -> None:
        """Print the verdict of a claim that took long, while its counterexamples are still made smaller."""
        reporter: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        if reporter is None or seconds < _LINE_EVERY:
            return
        with nullcontext() if capture is None else capture.global_and_fixture_disabled():
            reporter.ensure_newline()
            reporter.write_line(inert(f"robustest: {line}; its counterexamples are made smaller"))

    @staticmethod
    def _write(reporter: Any, line: str, terminal: bool, over: bool) -> None:
        if not terminal:
            reporter.write_line(line)
            return
        width = reporter._tw.fullwidth - 1
        # Fill the whole line first, or the end of a longer text would remain.
        reporter.rewrite((" " * width) if over else line[:width].ljust(width), erase=False)
        reporter.rewrite("" if over else line[:width], erase=False)
        if over:
            reporter.currentfspath = -2  # pytest starts a new line with the test's name


def notebook_progress() -> Callable[[str, int, int, int], None] | None:
    """Return a function that shows a claim's progress in the running cell; None outside of a notebook."""
    shell_of = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if shell_of is None else shell_of()
    if shell is None or getattr(shell, "kernel", None) is None:
        return None
    return partial(_show_bar, shell.execution_count)


# Bars by cell and claim, updated in place.
_bars: dict[tuple[int, str], Any] = {}


def _show_bar(cell: int, statement: str, done: int, total: int, broken: int) -> None:
    display = import_module("IPython.display")  # always there in a notebook
    text = html.escape(f"{statement}: {done} of {total}, {broken} broken")
    over = done >= total
    # A bar disappears with its claim's last sample, which may come early: one that is part full looks stopped.
    bar = display.HTML("" if over else f'<progress value="{done}" max="{total}"></progress> {text}')
    if over and (cell, statement) in _bars:
        _bars.pop((cell, statement)).update(bar)
    elif (cell, statement) in _bars:
        _bars[cell, statement].update(bar)
    elif not over:
        _bars[cell, statement] = display.display(bar, display_id=True)
