"""robustest merge: shards become one run, or it is said what is missing."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import parse

import pytest

from robustest import Settings
from robustest.account import Ending
from robustest.reports import json_file

TESTS = [f"test_a.py::test_{name}" for name in ("one", "two", "three", "four")]
Make = Callable[..., Any]


@pytest.fixture
def rows(made: Make, row: Make) -> list[Any]:
    """Five rows of the four tests in the order of collection, the second test with two claims; all passed."""
    good = [row(test, made([True] * 8 + [False] * place)) for place, test in enumerate(TESTS)]
    other = row(TESTS[1], made([True] * 4, statement="another >= 0.5"))
    return [*good[:2], other, *good[2:]]


@pytest.fixture
def shards(rows: list[Any], run_file: Make) -> list[Path]:
    """Two shards: tests one and three, two and four."""
    parts = [[r for r in rows if r.test in TESTS[start::2]] for start in (0, 1)]
    return [run_file(f"shard-{n}/robust.json", part, shard=(n, 2, TESTS)) for n, part in enumerate(parts, 1)]


def test_the_merged_file_is_that_of_the_whole_run(
    shards: list[Path], rows: list[Any], account: Make, robustest: Make, tmp_path: Path
) -> None:
    done = robustest("merge", *reversed(shards), "-o", "deep/robust.json")
    json_file.write("whole.json", account(rows), Settings())
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "deep" / "robust.json").read_bytes() == (tmp_path / "whole.json").read_bytes()


def test_the_table_has_all_rows_in_the_order_of_collection(shards: list[Path], robustest: Make) -> None:
    done = robustest("merge", *shards)
    table = [line for line in done.lines if line.startswith("test_a.py")]
    assert [line.split()[0] for line in table] == [TESTS[0], TESTS[1], TESTS[1], TESTS[2], TESTS[3]]
    assert all(line.endswith("passed") for line in table)
    assert done.lines[-1] == "5 results: 5 passed"


@pytest.mark.parametrize("other", ["b" * 40, ""])
def test_shards_of_two_commits_are_no_run(shards: list[Path], robustest: Make, other: str) -> None:
    for path, commit in zip(shards, ("a" * 40, other), strict=True):
        content = json.loads(path.read_text(encoding="utf-8"))
        about = {"time": "2026-01-01T00:00:00.000Z", "committed": "", "dirty": False, "versions": ""}
        content["origin"] = {**about, "commit": commit} if commit else None
        path.write_text(json.dumps(content), encoding="utf-8")
    done = robustest("merge", *shards)
    assert (done.code, f"on {other[:12] or 'no known commit'}" in done.err) == (3, True), done.err


def test_shards_of_two_releases_of_torch_are_no_run(shards: list[Path], robustest: Make) -> None:
    for path, versions in zip(shards, ("robustest 0.1.0, torch 2.5.0", "robustest 0.1.0, torch 2.13.0"), strict=True):
        content = json.loads(path.read_text(encoding="utf-8"))
        about = {"time": "2026-01-01T00:00:00.000Z", "committed": "", "dirty": False, "commit": "a" * 40}
        content["origin"] = {**about, "versions": versions}
        path.write_text(json.dumps(content), encoding="utf-8")
    done = robustest("merge", *shards)
    assert (done.code, "was measured with robustest 0.1.0, torch 2.5.0" in done.err) == (3, True), done.err


def test_nothing_is_written_unless_asked(shards: list[Path], robustest: Make, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert robustest("merge", *shards).code == 0
    assert sorted(tmp_path.rglob("*")) == before


def test_junit_has_a_suite_for_each_test(shards: list[Path], robustest: Make) -> None:
    assert robustest("merge", *shards, "--junit", "junit.xml").code == 0
    suites = parse("junit.xml").getroot().findall("testsuite")  # noqa: S314 - our own file
    assert [(suite.get("name"), suite.get("tests")) for suite in suites] == [
        (TESTS[0], "1"),
        (TESTS[1], "2"),
        (TESTS[2], "1"),
        (TESTS[3], "1"),
    ]


def test_the_page_has_every_claim(shards: list[Path], robustest: Make) -> None:
    html = pytest.importorskip("lxml.html", reason="lxml reads the page")
    assert robustest("merge", *shards, "--html", "report").code == 0
    page = html.fromstring(Path("report/index.html").read_text(encoding="utf-8"))
    assert sorted(code.text_content() for code in page.xpath("//table[@id='overview']//code")) == sorted(
        [
            TESTS[0],
            TESTS[1],
            TESTS[1],
            TESTS[2],
            TESTS[3],
        ]
    )


def test_the_page_names_the_commit_of_the_shards(shards: list[Path], robustest: Make) -> None:
    """Not of the checkout that joins them; a shard with changes is enough for a changed run."""
    pytest.importorskip("jinja2", reason="the HTML report is an extra")
    for path, dirty in zip(shards, (False, True), strict=True):
        content = json.loads(path.read_text(encoding="utf-8"))
        about = {"time": "2026-01-01T00:00:00.000Z", "committed": "", "dirty": dirty, "versions": ""}
        content["origin"] = {**about, "commit": "a" * 40}
        path.write_text(json.dumps(content), encoding="utf-8")
    assert robustest("merge", *shards, "--html", "report").code == 0
    assert "<dd>aaaaaaaaa, changed</dd>" in Path("report/index.html").read_text(encoding="utf-8")


def test_on_github_the_step_has_a_summary_of_the_whole_and_no_second_annotation(
    shards: list[Path], robustest: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = robustest("merge", *shards)
    assert "## robustness: 5 passed\n" in (tmp_path / "summary.md").read_text(encoding="utf-8")
    assert "::" not in "".join(line for line in done.lines if not line.startswith("test_a.py::"))


def test_a_page_without_its_extra_names_it_and_writes_nothing(
    shards: list[Path], robustest: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    done = robustest("merge", *shards, "--html", "report", "-o", "robust.json")
    assert done.code == 2
    assert "pip install 'robustest[html]'" in done.err
    assert not Path("report").exists()
    assert not Path("robust.json").exists()


def test_a_pattern_that_no_shell_expanded_is_expanded(shards: list[Path], robustest: Make) -> None:
    assert robustest("merge", "shard-*/robust.json").code == 0


def test_the_same_file_twice_counts_once(shards: list[Path], robustest: Make) -> None:
    done = robustest("merge", shards[0], *shards)
    assert (done.code, done.lines[-1]) == (0, "5 results: 5 passed")


@pytest.mark.parametrize("verdict", ["failed", "inconclusive", "unmeasured"])
def test_one_claim_that_did_not_pass_makes_it_red(
    made: Make, row: Make, run_file: Make, robustest: Make, verdict: str
) -> None:
    bad = {
        "failed": made([True, False], 0.9),
        "inconclusive": made([True, False], 0.5, scope="population"),
        "unmeasured": None,
    }[verdict]
    run_file("1.json", [row(TESTS[0], made([True] * 4))], shard=(1, 2, TESTS[:2]))
    run_file("2.json", [row(TESTS[1], bad)], shard=(2, 2, TESTS[:2]))
    done = robustest("merge", "1.json", "2.json", "-o", "robust.json")
    assert done.code == 1
    assert Path("robust.json").is_file(), "a red run has a file too"
    assert "replay: pytest --robust" in done.out


def test_inconclusive_claims_are_let_off_where_the_settings_say_so(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    open_ = row(TESTS[0], made([True, False], 0.5, scope="population"))
    let_off = Ending(test=TESTS[0], phase="call", outcome="skipped", reason="inconclusive: it is", claimed=True)
    run_file(
        "1.json", [replace(open_, ending=let_off)], shard=(1, 1, TESTS[:1]), settings=Settings(inconclusive="skip")
    )
    done = robustest("merge", "1.json")
    assert (done.code, done.lines[-1]) == (0, "1 result: 1 skipped")
    assert "skipped: inconclusive: it is" in done.out


def test_what_was_recorded_without_a_threshold_is_no_claim(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    run_file("1.json", [row(TESTS[0], made([True, False], None))], shard=(1, 1, TESTS[:1]))
    done = robustest("merge", "1.json")
    assert (done.code, done.lines[-1]) == (0, "1 result: 1 without a claim")


def test_a_claim_to_be_no_worse_than_a_baseline_is_a_claim(
    made: Make, row: Make, run_file: Make, robustest: Make
) -> None:
    open_ = made([True, False], None, details={"baseline": {"file": "b.json", "key": "k", "tolerance": 0.0}})
    run_file("1.json", [row(TESTS[0], open_)], shard=(1, 1, TESTS[:1]))
    assert robustest("merge", "1.json").code == 1


def test_a_missing_shard_is_named(shards: list[Path], robustest: Make) -> None:
    done = robustest("merge", shards[0], "-o", "robust.json")
    assert done.code == 3
    assert "shard 2 of 2 is missing" in done.err
    assert not Path("robust.json").exists()


def test_a_file_that_is_not_there_is_named(shards: list[Path], robustest: Make) -> None:
    done = robustest("merge", *shards, "shard-3/robust.json")
    assert done.code == 3
    assert "shard-3/robust.json" in done.err
    assert "pytest --robust --robust-json=" in done.err


def test_a_shard_that_is_there_twice_and_not_the_same_is_named(
    shards: list[Path], edit: Make, robustest: Make, tmp_path: Path
) -> None:
    again = tmp_path / "again.json"
    again.write_bytes(shards[1].read_bytes())
    edit(again, settings={})
    done = robustest("merge", *shards, again)
    assert done.code == 3
    assert f"shard 2 has two files with different content: {shards[1]} and {again}" in done.err


def test_shards_of_another_version_are_named(shards: list[Path], edit: Make, robustest: Make) -> None:
    edit(shards[1], robustest="99.0")
    done = robustest("merge", *shards)
    assert done.code == 3
    assert "99.0" in done.err
    assert str(shards[1]) in done.err


def test_shards_that_all_are_of_another_version_are_refused(shards: list[Path], edit: Make, robustest: Make) -> None:
    for shard in shards:
        edit(shard, robustest="99.0")
    done = robustest("merge", *shards)
    assert done.code == 3
    assert "99.0" in done.err


@pytest.mark.parametrize(
    ("changes", "told"), [({"seed": 5}, "seed = 5"), ({"attack": "pgd"}, "'pgd'"), ({"corpus": None}, "corpus")]
)
def test_shards_of_other_settings_are_named(
    rows: list[Any], run_file: Make, robustest: Make, changes: dict[str, Any], told: str
) -> None:
    base = {"corpus": "/one/.robustest/corpus"}
    run_file("1.json", rows[:1], shard=(1, 2, TESTS[:2]), settings=Settings(**base))
    run_file("2.json", rows[1:3], shard=(2, 2, TESTS[:2]), settings=Settings(**{**base, **changes}))
    done = robustest("merge", "1.json", "2.json")
    assert done.code == 3
    assert told in done.err


def test_machines_may_keep_their_files_elsewhere(rows: list[Any], run_file: Make, robustest: Make) -> None:
    for n, part in ((1, rows[:1]), (2, rows[1:3])):
        at = f"/machine{n}/.robustest"
        settings = Settings(store=at, corpus=f"{at}/corpus", pictures=f"{at}/pictures", baseline=f"{at}/b.json")
        run_file(f"{n}.json", part, shard=(n, 2, TESTS[:2]), settings=settings)
    assert robustest("merge", "2.json", "1.json", "-o", "robust.json").code == 0
    assert json.loads(Path("robust.json").read_text(encoding="utf-8"))["settings"]["store"] == "/machine1/.robustest"


@pytest.mark.parametrize("others", [[*TESTS, "test_b.py::test_new"], TESTS[::-1]], ids=["more", "order"])
def test_shards_that_collected_other_tests_are_named(
    shards: list[Path], edit: Make, robustest: Make, others: list[str]
) -> None:
    edit(shards[1], shard={"index": 2, "count": 2, "tests": others, "reported": None})
    done = robustest("merge", *shards)
    assert done.code == 3
    assert "collected different tests" in done.err
    assert ("test_b.py::test_new" in done.err) == (len(others) > len(TESTS))


def test_shards_of_another_count_are_named(shards: list[Path], edit: Make, robustest: Make) -> None:
    edit(shards[1], shard={"index": 2, "count": 3, "tests": TESTS, "reported": None})
    done = robustest("merge", *shards)
    assert done.code == 3
    assert "one of 3" in done.err
    assert "shard 3 of 3 is missing" in done.err


def test_a_test_that_no_shard_reported_is_named(rows: list[Any], run_file: Make, robustest: Make) -> None:
    run_file("1.json", rows[:1], shard=(1, 2, TESTS[:3]))
    run_file("2.json", rows[1:3], shard=(2, 2, TESTS[:3]))
    done = robustest("merge", "1.json", "2.json")
    assert done.code == 3
    assert f"no shard reported {TESTS[2]}" in done.err


def test_a_test_that_its_shard_skipped_is_not_missing(rows: list[Any], run_file: Make, robustest: Make) -> None:
    skipped = [Ending(test=TESTS[2], phase="setup", outcome="skipped", reason="no data here")]
    both = {"shard": (1, 2, TESTS[:3]), "reported": [TESTS[0], TESTS[2]]}
    run_file("1.json", rows[:1], endings=skipped, **both)
    run_file("2.json", rows[1:3], shard=(2, 2, TESTS[:3]), reported=[TESTS[1]])
    assert robustest("merge", "1.json", "2.json").code == 0
    run_file("1.json", rows[:1], **both)
    done = robustest("merge", "1.json", "2.json")
    assert (done.code, f"no shard reported {TESTS[2]}" in done.err) == (3, True), "how did it end?"


def test_a_test_that_no_shard_took_is_named(rows: list[Any], run_file: Make, robustest: Make) -> None:
    run_file("1.json", rows[:1], shard=(1, 2, TESTS[:3]), reported=[TESTS[0]])
    run_file("2.json", rows[1:3], shard=(2, 2, TESTS[:3]), reported=[TESTS[1]])
    done = robustest("merge", "1.json", "2.json")
    assert done.code == 3
    assert f"no shard reported {TESTS[2]}" in done.err


def test_a_test_that_two_shards_reported_is_named(rows: list[Any], run_file: Make, robustest: Make) -> None:
    run_file("1.json", rows[:3], shard=(1, 2, TESTS[:2]))
    run_file("2.json", rows[1:3], shard=(2, 2, TESTS[:2]))
    done = robustest("merge", "1.json", "2.json")
    assert done.code == 3
    assert f"{TESTS[1]} was reported by two shards" in done.err


def test_a_test_that_was_not_collected_is_named(rows: list[Any], run_file: Make, robustest: Make) -> None:
    run_file("1.json", [*rows[:1], replace(rows[0], test="test_b.py::test_else")], shard=(1, 1, TESTS[:1]))
    done = robustest("merge", "1.json")
    assert done.code == 3
    assert "test_b.py::test_else, which was not collected" in done.err


def test_what_a_shard_lost_is_named(rows: list[Any], run_file: Make, robustest: Make) -> None:
    run_file("1.json", rows[:1], shard=(1, 1, TESTS[:1]), lost=["no report came from test_a.py::test_one"])
    done = robustest("merge", "1.json")
    assert done.code == 3
    assert "1.json lost results: no report came from test_a.py::test_one" in done.err


def test_a_whole_run_is_no_shard(rows: list[Any], run_file: Make, robustest: Make) -> None:
    path = run_file("1.json", rows)
    done = robustest("merge", path)
    assert done.code == 3
    assert f"{path} is a whole run" in done.err


def test_shards_without_a_result_are_not_green(run_file: Make, robustest: Make) -> None:
    run_file("1.json", [], shard=(1, 1, []))
    done = robustest("merge", "1.json")
    assert done.code == 3
    assert "not green" in done.err


def test_many_problems_are_counted_not_printed(row: Make, made: Make, run_file: Make, robustest: Make) -> None:
    tests = [f"t.py::test_{n}" for n in range(200)]
    run_file("1.json", [row(tests[0], made([True]))], shard=(1, 1, tests))
    done = robustest("merge", "1.json")
    assert done.code == 3
    assert "and 179 more" in done.err
    assert len(done.err.splitlines()) < 30


def test_a_shard_is_not_overwritten(shards: list[Path], robustest: Make) -> None:
    before = shards[0].read_bytes()
    assert robustest("merge", *shards, "-o", shards[0]).code == 2
    assert shards[0].read_bytes() == before
