"""Colours for people, plain text for files; and nothing that steers a terminal."""

from __future__ import annotations

import io

import pytest

from robustest.cli.screen import Screen
from robustest.reports.inert import visible


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO) -> str:
    screen = Screen(stream)
    screen.write("so ", red=True)
    screen.write_line("far", green=False)
    screen.write_sep("=", "title")
    return stream.getvalue()


@pytest.fixture(autouse=True)
def term(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_a_terminal_gets_colours() -> None:
    text = written(Terminal())
    assert text.startswith("\x1b[31mso \x1b[0mfar\n")


def test_a_file_gets_none() -> None:
    assert "\x1b" not in written(io.StringIO())


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("NO_COLOR", "0"), ("TERM", "dumb")])
def test_a_terminal_gets_none_where_that_is_asked(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    assert "\x1b" not in written(Terminal())


def test_an_empty_no_color_asks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert "\x1b" in written(Terminal())


def test_a_title_is_as_wide_as_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert written(io.StringIO()).splitlines()[1] == "=" * 16 + " title " + "=" * 17


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain üñ 猫", "plain üñ 猫"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("\u202etxt", "\\u202etxt"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_what_steers_a_terminal_is_spelled_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_stream_that_cannot_write_a_letter_gets_its_number() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    Screen(stream).write_line("prüfung")
    stream.flush()
    assert raw.getvalue() == b"pr\\xfcfung\n"
