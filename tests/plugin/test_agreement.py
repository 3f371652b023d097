"""Every reporter tells the same run number for number: in one process, with a worker, as two merged shards."""

from __future__ import annotations

import json
import math
import re
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from scipy.stats import binomtest

import robustest.cli.runs  # noqa: F401 - before the first run inside this process
from robustest.cli import main

lxml_html = pytest.importorskip("lxml.html", reason="lxml reads the page")
markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py renders the summary")
pytest.importorskip("jinja2", reason="the HTML report is an extra")
pytest.importorskip("xdist")

HOSTILE = "a|b <i>&amp; `c` *d*"
CLAIMS = f"""
    from toy import data
    from made import made

    @pytest.mark.parametrize("eps", [0.01, 0.1, 0.4])
    def test_linf(robust_model, robust_data, eps):
        claim(robust_model, robust_data, eps, at_least=0.6, exact=True)

    @pytest.mark.parametrize("name", [pytest.param(0, id={HOSTILE!r})])
    def test_hostile(robust_model, robust_data, name):
        claim(robust_model, robust_data, 0.2, at_least=0.9)  # another eps each, or one claim is another's cache

    def test_two(robust_model, robust_data):
        claim(robust_model, robust_data, 0.02, at_least=1.0)
        claim(robust_model, robust_data, 0.15, at_least=0.5, scope="population")

    def test_early(robust_model):
        claim(robust_model, data(times=250, size=2), 0.4, at_least=0.5)

    def test_size(robust_model, robust_data):
        assert_min_perturbation(robust_model, robust_data, "linf", at_least=0.2, attack="fmn")

    def test_drop(robust_model, robust_data):
        assert_shift_accuracy(robust_model, robust_data, "brightness", severity=5, max_drop=0.1)

    def test_cue(robust_model, robust_data):
        assert_no_spurious_feature(robust_model, robust_data, PixelPatch(top=0, left=0), max_flip_rate=0.5)

    def test_breaks(robust_model, robust_data):
        claim(lambda x: robust_model(x) * float("nan"), robust_data, 0.1, at_least=0.5)

    def test_recorded(robust):
        robust.record(made("inconclusive", threshold=None, estimate=-0.25, interval=(-0.5, 0.0)))

    def test_plain(): pass
"""


class Reading(NamedTuple):
    """One claim as a reporter tells it; a test that could not measure has a verdict alone."""

    test: str
    verdict: str
    measured: str = ""
    claimed: str = ""
    n: str = ""


class Told(NamedTuple):
    """What each reporter made of a run; `annotations` and `properties` are None where there are none."""

    content: dict[str, Any]
    terminal: list[str]
    junit: ET.Element
    page: Any
    summary: str
    annotations: list[str] | None
    properties: ET.Element | None


Run = Callable[..., pytest.RunResult]


@pytest.fixture
def on_github(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the step's summary."""
    target = project.path / "summary.md"
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(target))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(project.path))
    return target


@pytest.fixture
def tell(project: pytest.Pytester, run: Run, section: Any, on_github: Path, capsys: Any) -> Any:
    """Runs the claims and gathers what was told: `tell("-n", "2")`, or `tell.merged()`."""

    def gathered(terminal: list[str], said: list[str] | None) -> Told:
        where = project.path / "out"
        properties = where / "pytest.xml"
        told = Told(
            content=json.loads((where / "robust.json").read_text(encoding="utf-8")),
            terminal=terminal,
            junit=ET.parse(where / "junit.xml").getroot(),  # noqa: S314 - our own file
            page=lxml_html.fromstring((where / "page" / "index.html").read_text(encoding="utf-8")),
            summary=on_github.read_text(encoding="utf-8"),
            annotations=said,
            properties=ET.parse(properties).getroot() if properties.is_file() else None,  # noqa: S314
        )
        for folder in (where, project.path / ".robustest"):  # the next run shall find nothing
            shutil.rmtree(folder)
        on_github.unlink()
        return told

    def whole(*arguments: str) -> Told:
        files = ["--robust-json=out/robust.json", "--robust-junit=out/junit.xml", "--robust-html=out/page"]
        done = run("--robust", "--junitxml=out/pytest.xml", *files, *arguments)
        assert done.ret == 1
        return gathered(section(done), [line for line in done.outlines if line.startswith("::")])

    def merged() -> Told:
        for shard in (1, 2):
            assert run("--robust", f"--robust-shard={shard}/2", f"--robust-json=shard-{shard}.json").ret == 1
            on_github.unlink()  # each shard's step has one of its own
        capsys.readouterr()
        files = ["-o", "out/robust.json", "--junit", "out/junit.xml", "--html", "out/page"]
        assert main(["merge", "shard-1.json", "shard-2.json", *files]) == 1
        return gathered(capsys.readouterr().out.splitlines(), None)

    whole.merged = merged  # type: ignore[attr-defined]
    return whole


def from_json(content: dict[str, Any]) -> list[Reading]:
    """The readings by the file's own numbers, put into words here and not by the package."""
    readings = []
    for row in content["results"]:
        result = row["result"]
        if result is None:
            readings.append(Reading(row["test"], "error"))
            continue
        low, high = ends = result["interval"]
        left = result["details"].get("left_interval", ends)
        shown = [format(end, ".3f") for end in left]
        if result["bounds"]:  # rounded outwards
            above = result["bounds"] == "above"
            outward = (math.ceil(high * 1000 - 1e-9) if above else math.floor(low * 1000 + 1e-9)) / 1000
            shown[above] = format(outward, ".3f")
        interval = f"[{shown[0]}, {shown[1]}]"
        value = "in" if result["estimate"] is None else format(result["estimate"], ".3f")
        told = value if result["bounds"] and left == ends and result["estimate"] is not None else f"{value} {interval}"
        if result["bounds"]:
            told += f" {result['captions']['searched']} (true value at {'most' if above else 'least'} {outward:.3f})"
        if (start := result["start"]) is not None:  # where a fall starts
            begun = start["value"] if isinstance(start["value"], str) else format(start["value"], ".3f")
            told = f"{told} from {start['label']} {begun}"
        threshold = result["threshold"]
        used, total = result["n"], result["n_total"]
        readings.append(
            Reading(
                row["test"],
                result["verdict"] if threshold is not None or result["details"].get("baseline") else "measured",
                f"{result['quantity']} {told}",
                "" if threshold is None else f"{result['comparison']} {threshold:.2f}",
                str(used) if used == total else f"{used} of {total}",
            )
        )
    return readings


def parts_of(sentence: str) -> tuple[str, str]:
    """What was measured, and what was required."""
    measured, required = re.fullmatch(r"(.*), (?:required (.*)|nothing required)", sentence).groups()
    return measured, required or ""


def from_terminal(lines: list[str]) -> list[Reading]:
    readings = []
    for line in lines:
        if not line.startswith("test_a.py::"):
            continue
        test, *cells, verdict = re.split(r" {2,}", line)
        if verdict == "ERROR":
            readings.append(Reading(test, "error"))
            continue
        told, n = cells[0].split("; n=")
        readings.append(Reading(test, verdict.lower(), *parts_of(told), n))
    return readings


def from_junit(root: ET.Element) -> list[Reading]:
    """From the results in the properties, with the verdict that the cases have; the texts must say it too."""
    readings = []
    for suite in root:
        rows = [
            {"test": suite.get("name"), "result": json.loads(str(found.get("value")))}
            for found in suite.iter("property")
            if re.fullmatch(r"robustest\.\d+", str(found.get("name")))
        ]
        told = iter(from_json({"results": rows}))
        for case in suite.iter("testcase"):
            if case.find("error") is not None:
                readings.append(Reading(str(suite.get("name")), "error"))
                continue
            reading, failure = next(told), case.find("failure")
            verdict = str(failure.get("type")) if failure is not None else "passed"
            if failure is None and not reading.claimed:  # a file that knows no third kind of case
                verdict = "measured"
            least = f"required {reading.claimed}" if reading.claimed else "nothing required"
            words = f"{reading.measured}, {least}; n={reading.n}"
            assert words == case.findtext("system-out") if failure is None else f"  measured  {words}\n" in failure.text
            readings.append(reading._replace(verdict=verdict))
    return readings


def from_pytests_own(root: ET.Element) -> list[Reading]:
    """From the properties of `--junitxml`, where what could not be measured has none."""
    readings = []
    for case in root.iter("testcase"):
        rows = [
            {"test": f"test_a.py::{case.get('name')}", "result": json.loads(str(found.get("value")))}
            for found in case.iter("property")
        ]
        readings += from_json({"results": rows})
    return readings


def from_table(rows: list[list[str]], *, places: tuple[int, ...]) -> list[Reading]:
    """From a table's rows of texts; `places` are those of test, verdict, measured, claimed and n."""
    readings = []
    for row in rows:
        cells = [row[place] for place in places]
        readings.append(Reading(*cells[:2]) if cells[1] == "error" else Reading(*cells))
    return readings


def texts(element: Any) -> list[str]:
    return [" ".join(cell.text_content().split()) for cell in element]


def from_page(page: Any) -> list[Reading]:
    rows = []
    for tr in page.xpath("//table[@id='overview']/tbody/tr"):
        verdict, _, measured, _, claimed, n, _ = texts(tr)
        (test,) = tr.xpath(".//code[@class='test']")
        rows.append([test.text_content(), verdict.split()[-1], measured, claimed.replace("\N{EN DASH}", ""), n])
    return from_table(rows, places=(0, 1, 2, 3, 4))


def from_summary(markdown: str) -> list[Reading]:
    shown = lxml_html.fromstring(markdown_it.MarkdownIt("commonmark").enable("table").render(markdown))
    rows = [texts(tr) for tr in shown.xpath("//tbody/tr")]
    readings = []
    for mark, _, told, n, test in rows:
        verdict = mark.split()[-1]
        readings.append(Reading(test, verdict) if verdict == "error" else Reading(test, verdict, *parts_of(told), n))
    return readings


def check_numbers(told: Told) -> None:
    wanted = from_json(told.content)
    assert from_terminal(told.terminal) == wanted
    assert from_junit(told.junit) == wanted
    assert sorted(from_page(told.page)) == sorted(wanted)
    assert sorted(from_summary(told.summary)) == sorted(wanted)
    if told.properties is not None:
        measured = [reading for reading in wanted if reading.verdict != "error"]
        assert sorted(from_pytests_own(told.properties)) == sorted(measured)


def check_counts(told: Told) -> None:
    counts = Counter(reading.verdict for reading in from_json(told.content))
    words = ", ".join(f"{counts[v]} {v}" for v in ("failed", "error", "inconclusive", "measured", "passed"))
    assert f"## robustness: {words}\n" in told.summary
    chips = [text.split()[-2:] for text in texts(told.page.xpath("//button[@data-verdict]"))]
    assert {verdict: int(count) for verdict, count in chips} == counts
    bad = {"failures": counts["failed"] + counts["inconclusive"], "errors": counts["error"]}
    assert {name: int(str(told.junit.get(name))) for name in bad} == bad
    if told.annotations is not None:
        kinds = Counter(line.split()[0] for line in told.annotations)
        assert kinds == {"::error": counts["failed"] + counts["error"], "::warning": counts["inconclusive"]}


def check_truth(told: Told) -> None:
    """Without it, reporters could agree on nonsense: three claims have values in closed form."""
    readings = from_json(told.content)
    assert len(readings) == 12
    verdicts = {"passed": 4, "failed": 5, "inconclusive": 1, "measured": 1, "error": 1}
    assert Counter(r.verdict for r in readings) == verdicts
    rows = {reading.test.partition("::")[2]: reading for reading in readings}
    for eps, held in ((0.01, 32), (0.1, 16), (0.4, 0)):
        exact = binomtest(held, 32).proportion_ci(confidence_level=0.98, method="exact")
        reading = rows[f"test_linf[{eps}]"]
        high = f"{math.ceil(exact.high * 1000 - 1e-9) / 1000:.3f}"
        ends = f" [{exact.low:.3f}, {high}]" if held else ""
        assert reading.measured == f"robust accuracy {held / 32:.3f}{ends} after attack (true value at most {high})"
        assert reading.verdict == ("passed" if held / 32 >= 0.6 else "failed")


def timeless(content: dict[str, Any]) -> list[Any]:
    for row in content["results"]:
        if row["result"] is not None:
            row["result"]["cost"]["seconds"] = 0.0
    return list(content["results"])


@pytest.mark.slow
@pytest.mark.usefixtures("as_in_other_processes")
def test_every_reporter_tells_the_same_numbers_however_the_run_was_made(write: Any, tell: Any) -> None:
    write(test_a=CLAIMS)
    ways = {"alone": tell(), "a worker": tell("-n", "1"), "merged shards": tell.merged()}
    for told in ways.values():
        check_truth(told)
        check_numbers(told)
        check_counts(told)
    assert timeless(ways["a worker"].content) == timeless(ways["alone"].content)
    assert timeless(ways["merged shards"].content) == timeless(ways["alone"].content)
