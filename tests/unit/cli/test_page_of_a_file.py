"""`robustest page`: the page of a run, from its file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="the HTML report is an extra")

Make = Callable[..., Any]


def test_the_page_of_a_run_is_written_from_its_file(made: Make, row: Make, run_file: Make, robustest: Make) -> None:
    run_file("a.json", [row("t::a", made([True])), row("t::b", made([False] * 4))])
    done = robustest("page", "a.json", "-o", "there")
    assert (done.code, done.out) == (1, f"wrote {Path('there', 'index.html')}\n")
    text = Path("there/index.html").read_text(encoding="utf-8")
    assert "1 of 2 claims failed" in text
    assert "t::b" in text
    assert text.rstrip().endswith("</html>")


def test_no_page_is_written_of_a_damaged_file(run_file: Make, made: Make, row: Make, robustest: Make) -> None:
    path = run_file("a.json", [row("t::a", made([True]))])
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    assert robustest("page", "a.json").code == 3
    assert not Path("robust-page").exists()
