"""A run says which robustness tests it left out, and so does what its shards are merged into."""

from __future__ import annotations

import json
from typing import Any

import pytest

from robustest.cli import main

TESTS = {
    "test_a": """
    @pytest.mark.parametrize("k", range(3))
    def test_fast(robust, k): robust.record(made(statement=str(k)))

    @pytest.mark.robust
    def test_slow(): raise AssertionError("left out")

    def test_plain(): pass

    class TestMore:
        def test_other(self, robust): robust.record(made())
    """
}
LEFT_OUT = ["test_a.py::test_slow", "test_a.py::TestMore::test_other"]


DESELECT = ("--deselect", "test_a.py::test_slow", "--deselect", "test_a.py::TestMore")
CHOSEN = {
    "keyword": (("-k", "fast"), "-k fast"),
    "deselect": (DESELECT, "--deselect test_a.py::test_slow"),
    "id": (("test_a.py::test_fast",), "test_a.py::test_fast"),
}


@pytest.mark.parametrize(
    ("chosen", "said", "workers"),  # of workers, which take seconds, one way every day
    [
        pytest.param(*CHOSEN[how], workers, id=f"{how}-{name}", marks=pytest.mark.slow if slow else ())
        for name, workers in (("alone", ()), ("workers", ("-n", "2")))
        for how in CHOSEN
        for slow in [bool(workers) and how != "deselect"]
    ],
)
def test_what_is_deselected_is_named_in_terminal_page_file_and_merge(
    *,
    chosen: tuple[str, ...],
    said: str,
    workers: tuple[str, ...],
    project: Any,
    write_light: Any,
    run: Any,
    read_json: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_light(**TESTS)
    for index in (1, 2):
        files = ("--robust-json=out.json", "--robust-html=page", f"--robust-shard={index}/2")
        result = run("--robust", *files, *chosen, *workers)
        assert result.ret == 0
        content = read_json()
        assert sorted(content["pytest"]["deselected"]) == sorted(LEFT_OUT)
        assert said in content["pytest"]["selection"]
        result.stdout.fnmatch_lines([f"2 robustness tests deselected by *{said}*"])
        assert "test_a.py::test_slow" in (project.path / "page" / "index.html").read_text(encoding="utf-8")
        (project.path / "out.json").rename(project.path / f"shard-{index}.json")
    capsys.readouterr()
    shards = [str(project.path / f"shard-{index}.json") for index in (1, 2)]
    code = main(["merge", *shards, "-o", str(project.path / "out.json"), "--html", str(project.path / "whole")])
    told = " ".join(capsys.readouterr().out.split())
    assert code == 0
    assert "2 robustness tests deselected" in told
    assert all(name in told for name in LEFT_OUT)
    assert sorted(read_json()["pytest"]["deselected"]) == sorted(LEFT_OUT)
    assert "test_a.py::test_slow" in (project.path / "whole" / "index.html").read_text(encoding="utf-8")


def test_what_failed_last_time_alone_is_a_selection_too(write_light: Any, run: Any, read_json: Any) -> None:
    write_light(**TESTS, test_b="def test_elsewhere(robust): robust.record(made())")
    assert run("--robust").ret == 1
    run("--robust", "--lf", "--robust-json=out.json")
    content = read_json()
    assert set(content["pytest"]["deselected"]) >= {
        "test_a.py::test_fast[0]",
        "test_a.py::TestMore::test_other",
        "test_b.py::test_elsewhere",
    }
    assert content["pytest"]["selection"] == "--lf"


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (("-m", "slow"), "-m slow"),
        (("-m", "slow", "-k", "one"), "-k one -m slow"),
        (("--sw",), "--sw"),
        (("--sw-skip",), "--sw --sw-skip"),
    ],
    ids=["marker", "marker and keyword", "stepwise", "stepwise, the first skipped"],
)
def test_each_way_to_leave_tests_out_is_told(
    chosen: tuple[str, ...], said: str, write_light: Any, run: Any, read_json: Any
) -> None:
    """The first run fails, and all but what it ran last is left out by the second."""
    write_light(
        test_a="""
        def test_none(robust): robust.record(made())

        @pytest.mark.slow
        def test_one(robust): raise AssertionError("no")

        def test_last(robust): robust.record(made())
        """
    )
    markers = ("-o", "markers=slow")
    run("--robust", "--sw", *markers)
    run("--robust", *chosen, *markers, "--robust-json=out.json")
    content = read_json()
    assert content["pytest"]["selection"] == said
    assert "test_a.py::test_none" in content["pytest"]["deselected"]


HIDING = """
    import helper
    from helper import Checker, check

    def test_plain(): assert helper.nothing() is None

    def test_claims(robust): robust.record(made())

    def test_by_a_function(): check()

    def test_by_a_module(): helper.again()

    def test_by_a_method(): Checker().look()

    def test_by_a_fixture(checked): checked()
"""
HELPER = """
import robustest
from robustest import assert_accuracy

def check(): assert_accuracy(None, None, at_least=0.5)
def again(): check()
def nothing(): pass

class Checker:
    def look(self): return robustest.measure_accuracy(None, None)
"""


@pytest.mark.parametrize(
    "workers", [pytest.param((), id="alone"), pytest.param(("-n", "2"), id="workers", marks=pytest.mark.slow)]
)
def test_a_deselected_claim_is_found_in_a_helper_of_another_file(
    project: Any, write_light: Any, run: Any, read_json: Any, workers: tuple[str, ...]
) -> None:
    write_light(test_a=HIDING)
    (project.path / "helper.py").write_text(HELPER)
    fixture = "import pytest, helper\n@pytest.fixture\ndef checked(): return lambda: helper.check()\n"
    project.makeconftest(fixture)
    assert run("--robust", "-k", "test_claims", "--robust-badge=b.json", "--robust-json=out.json", *workers).ret == 0
    hidden = [f"test_a.py::test_by_a_{name}" for name in ("function", "module", "method", "fixture")]
    assert read_json()["pytest"]["deselected"] == hidden
    assert json.loads((project.path / "b.json").read_text())["message"] == "4 tests left out"


def test_files_that_are_not_collected_are_named(write_light: Any, run: Any, read_json: Any) -> None:
    write_light(
        test_a="def test_good(robust): robust.record(made())", test_b="def test_bad(robust): raise AssertionError"
    )
    assert run("--robust", "--ignore=test_b.py", "--robust-json=out.json").ret == 0
    assert read_json()["pytest"]["selection"] == "--ignore test_b.py"


@pytest.mark.parametrize(
    ("started", "chosen", "ini", "left_out"),
    [
        (".", ("a",), "[pytest]", 1),
        (".", ("a/test_x.py", "a/b"), "", 1),
        (".", ("a", "c/test_z.py"), "", 0),
        (".", ("--ignore=c",), "[pytest]", 1),
        (".", ("--ignore-glob=*/test_[yz].py",), "[pytest]\ntestpaths = a c", 2),
        (".", (), "[pytest]\ntestpaths = a c", 0),
        ("a", (), "[pytest]\ntestpaths = a c", 1),
        ("a", (), "", 0),  # the folder is its own root
        ("a", ("../c", "."), "[pytest]", 0),
    ],
)
def test_a_folder_is_no_whole_run(
    *,
    project: Any,
    write_light: Any,
    run: Any,
    read_json: Any,
    monkeypatch: Any,
    started: str,
    ini: str,
    chosen: Any,
    left_out: int,
) -> None:
    good = "def test_good(robust): robust.record(made())"
    for name in ("a", "a/b", "c"):
        (project.path / name).mkdir()
    write_light(**dict.fromkeys(("a/test_x", "a/b/test_y", "c/test_z"), good))
    if ini:
        project.makeini(ini)
    badge = project.path / "b.json"
    monkeypatch.chdir(project.path / started)
    run("--robust", f"--robust-badge={badge}", f"--robust-json={project.path / 'out.json'}", *chosen)
    session = read_json()["pytest"]
    assert session["files_left_out"] == left_out
    assert ("left out" in json.loads(badge.read_text())["message"]) is (left_out > 0)
    assert bool(session["selection"]) is bool(chosen or left_out)


def test_a_run_of_everything_leaves_nothing_out(write_light: Any, run: Any, read_json: Any) -> None:
    write_light(**TESTS)
    result = run("--robust", "--robust-json=out.json")
    assert (read_json()["pytest"]["deselected"], read_json()["pytest"]["selection"]) == ([], "")
    assert "deselected" not in result.stdout.str()


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (("-o", "python_files=test_a.py", "-o", "robust_alpha=0.02"), "-o python_files=test_a.py"),
        (("-o", "addopts=--ignore=test_b.py"), "--ignore test_b.py -o addopts=--ignore=test_b.py"),
        (("-c", "other.ini", "--noconftest"), "-c other.ini --noconftest"),
    ],
    ids=["names of files", "further options", "another configuration"],
)
def test_another_configuration_is_a_selection(
    *, chosen: tuple[str, ...], said: str, write_light: Any, run: Any, read_json: Any, project: Any
) -> None:
    write_light(test_a="def test_one(robust): robust.record(made())", test_b="def test_b(): assert False")
    (project.path / "other.ini").write_text("[pytest]\npython_files = test_a.py\n", encoding="utf-8")
    run("--robust", *chosen, "--robust-json=out.json")
    assert read_json()["pytest"]["selection"] == said
