"""`robustest history`: runs are added, and shown, and none that says nothing of its commit is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from robustest.history import ClaimId, HistoryEntry, Origin
from robustest.reports import json_file
from robustest.settings import Settings
from robustest.store import history

Make = Callable[..., Any]
ORIGIN = Origin(time="2026-01-02T00:00:00.000Z", commit="a" * 40, committed="2026-01-01T00:00:00Z", versions="1")


@pytest.fixture
def written(row: Make, made: Make, account: Make) -> Make:
    """A file of a run at a commit: `written("a.json", day=2, held=[True], at_least=0.5)`."""

    def write(name: str, day: int, held: list[bool], at_least: float = 0.5, **changes: Any) -> str:
        result = made(held, at_least, **changes)
        origin = replace(
            ORIGIN,
            time=f"2026-02-{day:02d}T00:00:00.000Z",
            commit=f"{day:040x}"[::-1],
            committed=f"2026-01-{day:02d}T00:00:00Z",
        )
        json_file.write(name, account([row("test_a.py::test_it", result)]), Settings(), origin=origin)
        return name

    return write


@pytest.fixture
def fallen(written: Make, robustest: Make) -> None:
    """A history in `robust-history` whose claim fell at the third day, with another model."""
    good, bad = [True] * 180 + [False] * 20, [False] * 180 + [True] * 20
    files = [written(f"{day}.json", day, good) for day in (1, 2)]
    files += [written(f"{day}.json", day, bad, model="n" * 64) for day in (3, 4)]
    assert robustest("history", "add", *reversed(files)).code == 0


def test_show_tells_the_first_bad_commit_and_what_changed(fallen: None, robustest: Make) -> None:
    done = robustest("history", "show")
    assert done.code == 1
    assert (
        "first bad commit 300000000 (2026-01-03); last good commit 200000000 (2026-01-02); model changed too"
        in done.out
    )
    assert re.search(r"^    \.\.xx$", done.out, re.MULTILINE)
    assert "0.100" in done.out
    assert re.search(r"slack -0\.\d{3}; 400000000 \(2026-01-04\); 4 runs at 4 commits", done.out)


def test_show_is_well_only_where_all_hold_now(written: Make, robustest: Make) -> None:
    robustest("history", "add", written("a.json", 1, [True] * 200))
    assert robustest("history", "show").code == 0
    robustest("history", "add", written("b.json", 2, [True, False] * 100, kind="other", statement="another >= 0.5"))
    done = robustest("history", "show")
    assert done.code == 1, "one of both was not measured at the latest commit"
    assert "not measured test_a.py::test_it" in done.out


def test_a_threshold_that_was_lowered_is_told(written: Make, robustest: Make) -> None:
    held = [True] * 140 + [False] * 60
    files = [written("a.json", 1, held, 0.9), written("b.json", 2, held, 0.5)]
    robustest("history", "add", *files)
    done = robustest("history", "show")
    assert done.code == 0
    assert "changed at 200000000 (2026-01-02): threshold >= 0.9 -> >= 0.5" in done.out


def test_a_file_that_does_not_say_its_commit_is_refused(row: Make, made: Make, account: Make, robustest: Make) -> None:
    json_file.write("a.json", account([row("t", made([True] * 9))]), Settings())
    done = robustest("history", "add", "a.json")
    assert (done.code, Path("robust-history").exists()) == (3, False)
    assert "says when and at which commit" in done.err


@pytest.mark.parametrize("origin", [1, {}, {"time": "now"}, {**asdict(ORIGIN), "commit": "../x"}])
def test_an_origin_that_no_run_writes_is_refused(written: Make, robustest: Make, origin: Any) -> None:
    path = Path(written("a.json", 1, [True] * 9))
    path.write_text(json.dumps({**json.loads(path.read_text()), "origin": origin}))
    assert robustest("history", "add", "a.json").code == 3


def test_a_run_that_lost_something_says_so(row: Make, made: Make, account: Make, robustest: Make) -> None:
    one = account([row("t", made([True] * 200))]).with_lost(["a worker's results"])
    json_file.write("a.json", one, Settings(), origin=ORIGIN)
    assert robustest("history", "add", "a.json").err == ""
    done = robustest("history", "show")
    assert done.code == 1
    assert re.search(r"^error +pytest\n +a worker's results", done.out, re.MULTILINE)


def test_histories_are_added_to_one_another(fallen: None, robustest: Make) -> None:
    robustest("history", "add", "--history", "both", "1.json", "robust-history", "4.json")
    before = {path.name: path.read_bytes() for path in Path("robust-history").iterdir()}
    assert {path.name: path.read_bytes() for path in Path("both").iterdir()} == before


@pytest.mark.parametrize("arguments", [["show"], ["html"], ["show", "--only", "nothing"]])
def test_no_history_is_not_well(robustest: Make, arguments: list[str]) -> None:
    done = robustest("history", *arguments)
    assert (done.code, done.out) == (3, "")


class _Seen(HTMLParser):
    """Tags, ids and references of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]


def test_the_page_has_a_chart_for_each_claim_and_escapes_all(fallen: None, robustest: Make) -> None:
    pytest.importorskip("jinja2")
    evil = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'
    entry = HistoryEntry(
        **{name: value for name, value in asdict(ORIGIN).items() if name not in ("versions", "commit")},
        commit="b" * 12,
        state="failed",
        verdict="failed",
        low=0.1,
        high=0.2,
        threshold=0.4,
        comparison=">=",
        required=evil,
        problem=evil,
    )
    history.add(Path("robust-history"), {ClaimId(evil, evil): [entry]})
    assert robustest("history", "html", "-o", "page").code == 0
    text = Path("page/index.html").read_text(encoding="utf-8")
    seen = _Seen()
    seen.feed(text)
    assert seen.tags.count("svg") == 2
    assert {"script", "img"}.isdisjoint(seen.tags)
    assert len(set(seen.ids)) == len(seen.ids)
    assert "first bad commit 300000000 (2026-01-03)" in text
    assert "2 of 2 claims did not pass at the latest commit" in text


def test_charts_have_each_commits_verdict_and_the_changes(fallen: None, robustest: Make) -> None:
    pytest.importorskip("jinja2")
    robustest("history", "html", "-o", "page")
    text = Path("page/index.html").read_text(encoding="utf-8")
    good, bad = (
        re.search(rf'<g class="mark {word}"><path class="interval" d="([^"]*)"', text) for word in ("passed", "failed")
    )
    assert good is not None
    assert bad is not None
    assert (good[1].count("M"), bad[1].count("M")) == (2, 2)
    assert re.search(r'text-anchor="middle">M</text>', text)


@pytest.mark.slow
def test_two_hundred_claims_and_a_thousand_runs_of_as_many_models_stay_small(robustest: Make) -> None:
    pytest.importorskip("jinja2")
    runs = [
        (f"2026-{1 + at // 84:02d}-{1 + at // 3 % 28:02d}T{at % 3 * 7:02d}:00:00", f"{at * 7919:012x}")
        for at in range(1000)
    ]
    measured = {"used": 512, "total": 512, "threshold": 0.45, "comparison": ">=", "required": ">= 0.45"}
    found = {
        ClaimId(f"test_a.py::test_a[{number}]", "accuracy"): [
            HistoryEntry(
                f"{time}.000Z",
                commit,
                f"{time}Z",
                False,
                *(("failed", "failed") if at % 97 < number % 5 else ("passed", "passed")),
                estimate=round(0.5 + (at + number) % 89 / 1000, 3),
                low=round(0.45 + (at + number) % 89 / 1000, 3),
                high=round(0.55 + (at + number) % 89 / 1000, 3),
                model=commit,
                seconds=at * number % 300 / 10,
                versions="robustest 0.1.0, torch 2.7.1, Python 3.12.3",
                **measured,
            )
            for at, (time, commit) in enumerate(runs)
        ]
        for number in range(200)
    }
    history.add(Path("robust-history"), found)
    assert sum(path.stat().st_size for path in Path("robust-history").iterdir()) < 5_000_000
    assert history.read(Path("robust-history")) == {claim: sorted(ones) for claim, ones in found.items()}
    assert robustest("history", "html", "-o", "page").code == 0
    assert Path("page/index.html").stat().st_size < 5_000_000


def test_shards_of_one_commit_are_a_run_of_it_and_of_several_of_none() -> None:
    from types import SimpleNamespace

    from robustest.cli.runs import origin_of

    def of(*origins: Origin | None) -> Origin | None:
        return origin_of([SimpleNamespace(origin=origin) for origin in origins])  # type: ignore[misc]

    later = replace(ORIGIN, time="2026-01-03T00:00:00.000Z")
    assert of(replace(ORIGIN, dirty=True), later) == replace(later, dirty=True)
    assert of(ORIGIN, replace(later, commit="b" * 40)) is None
    assert of(ORIGIN, None) is None
