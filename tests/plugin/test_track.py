"""--robust-track and --robust-badge: what a run sends and draws, and that neither changes how it ends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from robustest.reports import trackers
from robustest.reports.trackers import TrackedRun

TESTS = """
    from robustest.errors import ClaimFailed, ModelError

    def test_holds(robust): robust.record(made())

    def test_fails(robust):
        robust.record(made("failed"))
        raise ClaimFailed("it is not so", made("failed"))

    def test_breaks(robust): raise ModelError("nothing but NaN")
"""


@pytest.fixture
def arrived(monkeypatch: pytest.MonkeyPatch) -> list[TrackedRun]:
    """The runs that a tracker in this process got; another one gets none."""
    got: list[TrackedRun] = []

    def take(run: TrackedRun, place: str) -> str:
        got.append(run)
        return f"as {place}"

    def fail(run: TrackedRun, place: str) -> str:
        raise OSError("the network is gone")

    monkeypatch.setattr(trackers, "TRACKERS", {"here": ("json", take), "gone": ("json", fail)})
    return got


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_a_run_is_sent_once_with_every_row(write_light: Any, run: Any, arrived: Any, workers: list[str]) -> None:
    write_light(test_a=TESTS)
    done = run("--robust", "--robust-track=gone,here:there", *workers)
    assert done.ret == 1
    *_, failed, told = done.outlines
    assert failed == "NOT TRACKED: gone: OSError: the network is gone; the verdicts stand"
    assert told == "tracked: here: as there"
    (one,) = arrived
    states = {str(line["test"]).partition("::")[2]: line["state"] for line in one.table}
    assert states == {"test_holds": "passed", "test_fails": "failed", "test_breaks": "error"}
    assert one.failed
    assert one.about["robustest.exit"] == 1


def test_a_tracker_that_fails_leaves_a_green_run_green(write_light: Any, run: Any, arrived: Any) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())")
    done = run("--robust", "--robust-track=gone,here", "--robust-badge=b.json")
    assert done.ret == 0
    assert "NOT TRACKED: gone" in done.stdout.str()
    assert not arrived[0].failed
    assert json.loads(Path("b.json").read_text())["message"] == "1 claim holds"


def test_a_status_that_another_plugin_gives_in_the_end_is_sent_and_drawn(
    project: Any, write_light: Any, run: Any, arrived: Any
) -> None:
    project.makeconftest(
        "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        "def pytest_sessionfinish(session):\n    yield\n    session.exitstatus = 6\n"
    )
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", "--robust-track=here", "--robust-badge=b.json").ret == 6
    (one,) = arrived
    assert one.failed
    assert json.loads(Path("b.json").read_text())["isError"]


def test_what_cannot_be_is_said_before_the_first_test(write_light: Any, run: Any, arrived: Any) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())")
    for option, words in (
        ("--robust-track=hree", "Did you mean 'here'"),
        ("--robust-badge=badge.png", r"\.svg or \.json"),
    ):
        done = run("--robust", option)
        assert done.ret == 4
        done.stderr.re_match_lines([f".*{words}.*"])
    done = run("--robust-track=here", "--robust-badge=b.svg")
    done.stdout.fnmatch_lines(["no effect without --robust: --robust-badge, --robust-track"])
    assert run("--robust", "--robust-track=here", "--collect-only").ret == 0
    assert not arrived
    assert not Path("b.svg").exists()


FILES = (
    "--robust-badge=b.json",
    "--robust-json=out/run.json",
    "--robust-junit=out/junit.xml",
    "--robust-html=out/page",
)


def test_a_run_that_dies_leaves_no_older_files(write_light: Any, run: Any, run_apart: Any) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", *FILES).ret == 0
    assert json.loads(Path("b.json").read_text())["color"] == "brightgreen"
    assert len([path for path in Path("out").rglob("*") if path.is_file()]) == 3
    write_light(test_a="import os\ndef test_it(robust): os._exit(0)")
    run_apart("--robust", *FILES)
    assert json.loads(Path("b.json").read_text())["message"] == "unfinished"
    assert [path for path in Path("out").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("wrong", ["conftest", "--no-such-option", "--robust-profile=none", "--robust-shard=3/2"])
def test_a_run_that_ends_before_its_tests_leaves_no_older_files(
    project: Any, write_light: Any, run: Any, wrong: str
) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", *FILES).ret == 0
    if wrong == "conftest":
        project.makeconftest("raise OSError('no model here')")
    assert run("--robust", *FILES, *(() if wrong == "conftest" else (wrong,))).ret == 4
    assert json.loads(Path("b.json").read_text())["message"] == "unfinished"
    assert [path for path in Path("out").rglob("*") if path.is_file()] == []


def test_what_only_shows_something_takes_nothing_back(write_light: Any, run: Any) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", *FILES).ret == 0
    before = {path: path.read_bytes() for path in Path().rglob("*") if path.suffix in (".json", ".xml", ".html")}
    for option in ("--help", "--version", "--markers"):
        assert run("--robust", *FILES, option).ret == 0
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "workers"])
def test_a_file_that_skips_itself_is_not_green(write_light: Any, run: Any, read_json: Any, workers: list[str]) -> None:
    write_light(
        test_a="def test_it(robust): robust.record(made())",
        test_b="pytest.importorskip('no_such_module', reason='no runtime')\ndef test_it(robust): robust.record(made())",
    )
    Path("test_c.py").write_text("import pytest\npytest.skip('of no concern', allow_module_level=True)\n")
    assert run("--robust", "--robust-badge=b.json", "--robust-json=out.json", *workers).ret == 0
    assert json.loads(Path("b.json").read_text())["message"] == "1 of 2 hold"
    (skipped,) = [one for one in read_json()["tests"] if one["outcome"] == "skipped"]
    assert (skipped["test"], skipped["phase"], skipped["reason"]) == ("test_b.py", "collect", "no runtime")


def test_a_deselected_claim_is_not_green(write_light: Any, run: Any) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())\ndef test_other(robust): robust.record(made())")
    assert run("--robust", "--robust-badge=b.json", "-k", "test_it").ret == 0
    assert json.loads(Path("b.json").read_text())["message"] == "1 test left out"
    assert run("--robust", "--robust-badge=b.json", "--robust-shard=1/2").ret == 0
    assert json.loads(Path("b.json").read_text())["message"] == "1 test left out"


GOOD = "def test_a(robust): robust.record(made())\n"
OTHER = "def test_b(robust): robust.record(made())\n"
FAILS = "robust.record(made('failed')); raise ClaimFailed('it is not so', made('failed'))"
PARTIAL = {
    "ends with 0 inside of a test": (f"{GOOD}def test_b(robust): pytest.exit('enough', returncode=0)", "", ()),
    "ends with 0 after the last claim": (f"{GOOD[:-1]}; pytest.exit('enough', returncode=0)", "", ()),
    "ends with 0 in a fixture": (
        f"{GOOD}@pytest.fixture\ndef end(): pytest.exit('enough', returncode=0)\ndef test_b(robust, end): pass",
        "",
        (),
    ),
    "is stopped by a plugin": (
        GOOD + OTHER,
        "def pytest_runtest_logreport(report):\n    if report.when == 'teardown': session.shouldstop = 'enough'\n"
        "def pytest_sessionstart(session): globals()['session'] = session",
        (),
    ),
    "drops tests without a word": (GOOD + OTHER, "def pytest_collection_modifyitems(items): del items[1:]", ()),
    "drops tests before any other plugin": (
        GOOD + OTHER,
        "import pytest\n@pytest.hookimpl(tryfirst=True, wrapper=True)\ndef pytest_collection_modifyitems(items):\n"
        "    del items[1:]\n    yield",
        (),
    ),
    "runs a test by another plugin": (
        GOOD + OTHER,
        "def pytest_runtest_protocol(item): return True if item.name == 'test_b' else None",
        (),
    ),
    "has a claim in a subtest": (
        f"{GOOD}def test_b(robust, subtests):\n    robust.record(made())\n    with subtests.test(): {FAILS}",
        "",
        (),
    ),
    "has a claim in a subtest of unittest": (
        f"{GOOD}import unittest\nclass TestB(unittest.TestCase):\n    @pytest.fixture(autouse=True)\n"
        f"    def give(self, robust): self.robust = robust\n    def test_b(self):\n        robust = self.robust\n"
        f"        robust.record(made())\n        with self.subTest(): {FAILS}",
        "",
        (),
    ),
    "expects a failure by unittest": (
        f"{GOOD}import unittest\nclass TestB(unittest.TestCase):\n    @pytest.fixture(autouse=True)\n"
        f"    def give(self, robust): self.robust = robust\n    @unittest.expectedFailure\n    def test_b(self):\n"
        f"        robust = self.robust\n        {FAILS}",
        "",
        (),
    ),
    "has no parameters": (
        f"{GOOD}@pytest.mark.parametrize('k', [])\n{OTHER.replace('robust', 'robust, k', 1)}",
        "",
        (),
    ),
    "never runs a test": (f"{GOOD}@pytest.mark.xfail(run=False)\n{OTHER}", "", ()),
    "only sets up": (GOOD + OTHER, "", ("--setup-only",)),
    "only plans": (GOOD + OTHER, "", ("--setup-plan",)),
    "only collects": (GOOD + OTHER, "", ("--collect-only",)),
    "stops at another test": ("def test_0(): raise OSError\n" + GOOD, "", ("-x",)),
    "catches a failure": (f"{GOOD}def test_b(robust):\n    try: {FAILS}\n    except AssertionError: pass", "", ()),
    "claims in a coroutine": (f"{GOOD}async {OTHER}", "", ()),
}


@pytest.mark.parametrize("how", PARTIAL)
def test_a_run_in_part_is_not_green(project: Any, write_light: Any, run: Any, how: str) -> None:
    tests, conftest, options = PARTIAL[how]
    write_light(test_a=f"from robustest.errors import ClaimFailed\n{tests}")
    project.makeconftest(conftest)
    run("--robust", "--robust-badge=b.json", "--robust-json=run.json", "-p", "no:cacheprovider", *options)
    badge = json.loads(Path("b.json").read_text())
    assert badge["color"] != "brightgreen", badge
