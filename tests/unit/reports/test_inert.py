"""Text that steers nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robustest.reports.inert import Inert, inert, inert_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain: text, 3 :: 4 # 5 ## 6", "plain: text, 3 :: 4 # 5 ## 6"),
        ("::error::x", "\\x3a:error::x"),
        ("  ::error::x", "  \\x3a:error::x"),
        ("a ::error::x", "a ::error::x"),
        ("a ##[error]x", "a \\x23#[error]x"),
        ("###[error]x", "#\\x23#[error]x"),
        ("##vso[x]", "\\x23#vso[x]"),
        ("\x1b[31m", "\\x1b[31m"),
        ("a\nb", "a\\nb"),
        ("\u202eb", "\\u202eb"),
        ("äé猫", "äé猫"),
    ],
)
def test_what_would_steer_is_spelled_out(text: str, shown: str) -> None:
    assert inert(text) == shown
    assert inert(shown) == shown


@given(st.text(st.sampled_from(":# [\n\t\rev\x1b\x85\u2028so\x00"), max_size=12))
def test_lines_stay_lines_and_none_is_a_command(text: str) -> None:
    lines = inert_lines(text).split("\n")
    assert len(lines) == len(text.split("\n"))
    assert not any(re.match(r"\s*::|.*##\[|.*##vso\[", line) for line in lines)


def test_a_line_that_is_written_in_parts_is_one_line() -> None:
    class Kept:
        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> None:
            self.text += text

        def write_line(self, text: str) -> None:
            self.text += f"{text}\n"

    kept = Kept()
    reporter = Inert(kept)
    reporter.write("  ")
    reporter.write("::error::a")
    reporter.write_line("::b")
    reporter.write_line("::c")
    assert kept.text == "  \\x3a:error::a::b\n\\x3a:c\n"
