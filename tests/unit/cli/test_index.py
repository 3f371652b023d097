"""robustest index: one page over those of several runs, which is green for none that is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from accounts import account_of

from robustest.settings import Settings

pytest.importorskip("jinja2", reason="the HTML report is an extra")
from robustest.reports.html.page import write
from robustest.reports.html.several import write_index

Make = Callable[..., Any]


@pytest.fixture
def page(row: Make, made: Make) -> Callable[..., Path]:
    """Writes a run's page: `page("monday", held=[True], date="2026-01-02")`."""

    def make(name: str, held: list[bool], date: str = "2026-01-01", **about: str) -> Path:
        write(f"runs/{name}", account_of([row("t::a", made(held))]), Settings(), about={"date": date, **about})
        return Path("runs", name, "index.html")

    return make


def test_runs_are_listed_the_latest_first_with_what_they_came_to(page: Make, robustest: Make) -> None:
    page("monday", [True] * 200, commit="abc1234")
    page("tuesday", [False] * 200, date="2026-01-02")
    done = robustest("index", "runs")
    assert (done.code, done.out) == (0, f"wrote {Path('runs', 'index.html')}: 2 runs\n")
    text = Path("runs/index.html").read_text(encoding="utf-8")
    assert text.index('href="tuesday/index.html"') < text.index('href="monday/index.html"')
    assert "1 of 2 runs did not pass" in text
    assert "abc1234" in text
    assert robustest("index", "runs").code == 0, "an earlier index is written anew, and is not among the runs"


def test_a_page_that_is_cut_or_says_nothing_known_is_no_pass(page: Make) -> None:
    cut = page("cut", [True] * 200)
    cut.write_bytes(cut.read_bytes()[:-9])
    strange = page("strange", [True] * 200)
    strange.write_text(strange.read_text(encoding="utf-8").replace('<h1 class="passed">', '<h1 class="green">'))
    assert {one.name: one.state for one in write_index(Path("runs"))} == {"cut": "error", "strange": "error"}


def test_names_and_headlines_are_escaped(page: Make) -> None:
    evil = "<script>alert(1)<"
    path = page("a&<b>'", [True] * 200, commit=evil)
    assert evil not in path.read_text(encoding="utf-8")
    write_index(Path("runs"))
    text = Path("runs/index.html").read_text(encoding="utf-8")
    assert "<script" not in text
    assert 'href="a%26%3Cb%3E%27/index.html"' in text


@pytest.mark.parametrize("content", ["<html></html>", ""])
def test_pages_of_others_are_not_listed(page: Make, content: str, robustest: Make) -> None:
    Path("runs/other").mkdir(parents=True)
    Path("runs/other/index.html").write_text(content)
    assert robustest("index", "runs").code != 0
    page("mine", [True] * 200)
    assert [one.name for one in write_index(Path("runs"))] == ["mine"]


def test_another_page_is_not_overwritten(page: Make, robustest: Make) -> None:
    before = page("mine", [True] * 200).read_bytes()
    Path("runs/mine/images").mkdir()
    Path("runs/mine/images/index.html").write_bytes(before)
    done = robustest("index", "runs/mine")
    assert done.code != 0
    assert "Name the folder above" in done.err
    assert Path("runs/mine/index.html").read_bytes() == before


def test_no_folder_is_wrong_usage(robustest: Make) -> None:
    assert robustest("index", "absent").code == 2
