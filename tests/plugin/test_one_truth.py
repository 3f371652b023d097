"""How a test ended is told alike by pytest's exit code and every report: alone, with workers, and merged of shards."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import robustest.cli.runs  # noqa: F401 - before the first run inside this process
from robustest.cli import main

pytest.importorskip("jinja2", reason="the HTML report is an extra")
pytest.importorskip("xdist")


class Outcome(NamedTuple):
    """A second test beside a claim that passes.

    Attributes:
        test: its source.
        exit: pytest's exit status.
        states: what the reports call the lines of this test, worst first.
        words: what a report must say of it.
    """

    test: str
    exit: int
    states: tuple[str, ...]
    words: str


CLAIM = """
def test_it(robust):
    fail("failed")
"""
GOOD = """
def test_it(robust):
    robust.record(made())
"""
XFAIL = "@pytest.mark.xfail(strict={}, reason='a known weakness')"
OUTCOMES = {
    "pass": Outcome(GOOD, 0, ("passed",), ""),
    "fail": Outcome(
        CLAIM.replace("fail(", "robust.record(made('failed')); fail("), 1, ("failed",), "0.500 [0.250, 0.750]"
    ),
    "inconclusive": Outcome(
        CLAIM.replace('fail("failed")', "robust.record(made('inconclusive')); fail('inconclusive')"),
        1,
        ("inconclusive",),
        "0.500 [0.250, 0.750]",
    ),
    "not measured": Outcome(
        "def test_it(robust):\n    raise ModelError('nothing but NaN')", 1, ("error",), "nothing but NaN"
    ),
    "plain assert": Outcome(
        "def test_it(robust):\n    robust.record(made()); assert 1 == 2", 1, ("failed", "passed"), "assert 1 == 2"
    ),
    "exception": Outcome(
        "def test_it(robust):\n    robust.record(made()); raise OSError('no disk')", 1, ("failed", "passed"), "no disk"
    ),
    "error in setup": Outcome(
        "@pytest.fixture\ndef broken(): raise OSError('no data')\ndef test_it(robust, broken): robust.record(made())",
        1,
        ("error",),
        "error in setup: OSError: no data",
    ),
    "error in teardown": Outcome(
        "@pytest.fixture\ndef dirty():\n    yield\n    raise OSError('no end')\n"
        "def test_it(robust, dirty): robust.record(made())",
        1,
        ("error", "passed"),
        "error in teardown: OSError: no end",
    ),
    "xfail": Outcome(
        XFAIL.format(False) + CLAIM.replace("fail(", "robust.record(made('failed')); fail("),
        0,
        ("xfailed",),
        "failed as expected: a known weakness",
    ),
    "strict xfail": Outcome(XFAIL.format(True) + GOOD, 1, ("failed", "passed"), "[XPASS(strict)] a known weakness"),
    "xpass": Outcome(XFAIL.format(False) + GOOD, 0, ("xpassed",), "passed unexpectedly: a known weakness"),
    "skip": Outcome("def test_it(robust): pytest.skip('no data here')", 0, ("skipped",), "skipped: no data here"),
    "lost worker": Outcome("def test_it(robust): os._exit(1)", 1, ("error",), "its worker process was lost"),
    "interrupted": Outcome("def test_it(robust): pytest.exit('enough')", 2, ("unfinished",), "stopped before its call"),
}
SOURCE = """
import os
import pytest
from made import made
from robustest.errors import ClaimFailed, ClaimInconclusive, ModelError

def fail(verdict):
    raise {"failed": ClaimFailed, "inconclusive": ClaimInconclusive}[verdict]("it is not so", made(verdict))

def test_before(robust):
    robust.record(made())

"""
RED = {"failed", "error", "unfinished", "inconclusive"}
FILES = ("--robust-json=out/robust.json", "--robust-junit=out/junit.xml", "--robust-html=out/page")
TEST = "test_a.py::test_it"


class Told(NamedTuple):
    """What a run ended with, and what each report said."""

    exit: int
    terminal: list[str]
    page: str
    junit: ET.Element
    summary: str
    annotations: list[str]


@pytest.fixture
def step(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A step on GitHub; the file of its summary."""
    target = project.path / "summary.md"
    for name, value in (("ACTIONS", "true"), ("STEP_SUMMARY", str(target)), ("WORKSPACE", str(project.path))):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    return target


@pytest.fixture
def tell(project: pytest.Pytester, run: Any, section: Any, step: Path) -> Callable[..., Told]:
    """Runs the tests and gathers what is told of them."""

    def told(*arguments: str) -> Told:
        step.unlink(missing_ok=True)
        done = run("--robust", "-p", "no:faulthandler", *FILES, *arguments)
        return gathered(project.path, int(done.ret), section(done), [x for x in done.outlines if x[:2] == "::"])

    return told


def gathered(folder: Path, code: int, terminal: list[str], annotations: list[str]) -> Told:
    return Told(
        code,
        terminal,
        (folder / "out" / "page" / "index.html").read_text(encoding="utf-8"),
        ET.parse(folder / "out" / "junit.xml").getroot(),  # noqa: S314 - our own file
        (folder / "summary.md").read_text(encoding="utf-8"),
        annotations,
    )


def of_the_terminal(lines: list[str], test: str = TEST) -> list[str]:
    return sorted(line.split("  ")[-1].lower() for line in lines if line.split("  ")[0].strip() == test)


def of_the_page(page: str) -> list[str]:
    rows = re.findall(r'<tr role="row" data-verdict="(\w+)" data-claim="(.*?)</tr>', page, re.DOTALL)
    return sorted(state for state, row in rows if "test_it</code>" in row.replace("<wbr>", ""))


def of_the_summary(markdown: str) -> list[str]:
    rows = [line.split(" | ") for line in markdown.splitlines() if line.startswith("| ") and "test&#95;it<" in line]
    return sorted(row[0].split()[-1] for row in rows)


def of_junit(root: ET.Element) -> Iterator[bool]:
    """For each case of the test, whether it is red."""
    for suite in root:
        if suite.get("name") == TEST:
            yield from (
                case.find("failure") is not None or case.find("error") is not None for case in suite.iter("testcase")
            )


def check(told: Told, outcome: Outcome, *, annotated: bool) -> None:
    states, red = sorted(outcome.states), bool(RED & set(outcome.states))
    assert of_the_terminal(told.terminal) == states
    assert of_the_page(told.page) == states
    assert of_the_summary(told.summary) == states
    assert any(of_junit(told.junit)) == red == (told.exit != 0)
    assert (int(told.junit.get("failures")) + int(told.junit.get("errors")) > 0) == red
    for text in (" ".join(told.terminal), plain(told.page), plain(told.summary)):
        assert outcome.words in text
    (headline,) = re.findall(r"<h1 class=\"(\w+)\">", told.page)
    assert (headline in RED) == red
    if annotated:
        assert {line.split()[0] in ("::error", "::warning") for line in told.annotations} == ({True} if red else set())


def plain(markup: str) -> str:
    import html

    return html.unescape(re.sub(r"<wbr>|&#8203;", "", markup))


def written(project: pytest.Pytester, outcome: Outcome) -> None:
    (project.path / "test_a.py").write_text(SOURCE + outcome.test + "\n", encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in OUTCOMES if name != "lost worker"])
def test_in_one_process(project: pytest.Pytester, tell: Any, capsys: Any, name: str) -> None:
    outcome = OUTCOMES[name]
    written(project, outcome)
    told = tell()
    assert told.exit == outcome.exit
    check(told, outcome, annotated=True)
    shown(project.path / "out" / "robust.json", outcome, capsys)


DAILY = ("fail", "not measured", "error in teardown", "lost worker")
"""With a worker, which takes a second to start; the others are slow tests."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in DAILY else pytest.mark.slow) for name in OUTCOMES if name != "interrupted"],
)
def test_with_a_worker(project: pytest.Pytester, tell: Any, capsys: Any, name: str) -> None:
    outcome = OUTCOMES[name]
    written(project, outcome)
    told = tell("-n", "1")
    assert told.exit == outcome.exit
    check(told, outcome, annotated=True)
    shown(project.path / "out" / "robust.json", outcome, capsys)


def shown(path: Path, outcome: Outcome, capsys: Any) -> None:
    """`robustest show` tells it as the run did, and ends alike."""
    content = json.loads(path.read_text(encoding="utf-8"))
    assert content["pytest"]["exit"] == outcome.exit
    capsys.readouterr()
    code = main(["show", str(path)])
    out = capsys.readouterr().out
    assert code == {2: 3}.get(outcome.exit, outcome.exit)
    assert of_the_terminal(out.splitlines()) == sorted(outcome.states)
    assert outcome.words in out


@pytest.mark.parametrize("name", OUTCOMES)
def test_merged_of_two_shards(project: pytest.Pytester, run: Any, step: Path, capsys: Any, name: str) -> None:
    outcome = OUTCOMES[name]
    written(project, outcome)
    for shard in (1, 2):
        workers = ["-n", "1"] if name == "lost worker" else []
        done = run("--robust", f"--robust-shard={shard}/2", f"--robust-json={shard}.json", *workers)
        assert int(done.ret) == (outcome.exit if shard == 2 else 0)
    step.unlink()
    capsys.readouterr()
    code = main(
        ["merge", "1.json", "2.json", "-o", "out/robust.json", "--junit", "out/junit.xml", "--html", "out/page"]
    )
    out, err = capsys.readouterr()
    if outcome.exit == 2:
        assert code == 3
        assert "2.json was cut short: pytest ended with exit code 2" in err
        assert not Path("out").exists()
        return
    assert code == outcome.exit
    check(gathered(project.path, code, out.splitlines(), []), outcome, annotated=False)
    assert json.loads(Path("out/robust.json").read_text(encoding="utf-8"))["pytest"]["exit"] == outcome.exit
    shown(Path("out/robust.json"), outcome, capsys)
