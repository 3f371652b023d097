"""Progress in the terminal: a verdict that took long is printed before its counterexamples are made smaller."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from robustest.reports.progress import TerminalProgress

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("captures", [True, False])
@pytest.mark.parametrize(("seconds", "printed"), [(9.9, False), (10.0, True)])
def test_a_verdict_that_took_long_is_printed_at_once(captures: bool, seconds: float, printed: bool) -> None:
    lines: list[str] = []
    shown = [not captures]

    @contextmanager
    def disabled() -> Iterator[None]:
        shown[0] = True
        yield
        shown[0] = False

    def write_line(line: str) -> None:
        assert shown[0], "pytest captures what is written meanwhile"
        lines.append(line)

    plugins: dict[str, Any] = {
        "terminalreporter": SimpleNamespace(ensure_newline=lambda: lines.append(""), write_line=write_line),
        "capturemanager": SimpleNamespace(global_and_fixture_disabled=disabled) if captures else None,
    }
    config: Any = SimpleNamespace(pluginmanager=SimpleNamespace(get_plugin=plugins.get))
    TerminalProgress(config).verdict("accuracy 0.3 < 0.4", seconds)
    assert lines == (["", "robustest: accuracy 0.3 < 0.4; its counterexamples are made smaller"] if printed else [])
    plugins["terminalreporter"] = None
    TerminalProgress(config).verdict("accuracy 0.3 < 0.4", seconds)
