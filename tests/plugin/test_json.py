"""--robust-json: all results as one file of plain JSON."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest

import robustest
from robustest.results import Result

THREE = """
    def test_passes(robust_model, robust_data):
        claim(robust_model, robust_data, 0.01, at_least=1.0)
        claim(robust_model, robust_data, 0.1, at_least=0.5)

    def test_fails(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.6)

    def test_breaks(robust_model, robust_data):
        claim(lambda x: robust_model(x) * float("nan"), robust_data, 0.1, at_least=0.5)

    def test_plain(): pass
"""


ALL = {"selection": "", "files_left_out": 0}


def test_it_says_what_it_is_how_was_measured_and_what_was_found(write, run, read_json):
    write(test_a=THREE)
    run("--robust", "--robust-json=out.json", "--robust-seed=3")
    content = read_json()
    parts = [
        "schema",
        "robustest",
        "origin",
        "settings",
        "shard",
        "pytest",
        "counts",
        "lost",
        "chance",
        "tests",
        "results",
    ]
    assert list(content) == parts
    assert content["schema"] == 5
    assert content["pytest"] == {"exit": 1, "stopped": "", "collected": 3, "deselected": [], "ran": 3, **ALL}
    assert content["counts"] == {"failed": 1, "error": 1, "passed": 2}
    ended = {one["test"].partition("::")[2]: (one["phase"], one["outcome"]) for one in content["tests"]}
    assert ended == {
        "test_passes": ("call", "passed"),
        "test_fails": ("call", "failed"),
        "test_breaks": ("call", "error"),
    }
    assert content["robustest"] == robustest.__version__
    assert content["lost"] == []
    settings = {**content["settings"], "suppress": tuple(content["settings"]["suppress"])}
    assert robustest.Settings(**settings).seed == 3
    assert set(settings) == {field.name for field in dataclasses.fields(robustest.Settings)}


def test_there_is_one_entry_per_claim_in_the_order_of_the_tests(write, run, read_json):
    write(test_b=THREE, test_a=THREE)
    run("--robust", "--robust-json=out.json", "test_b.py", "test_a.py")
    rows = read_json()["results"]
    names = ("test_passes", "test_passes", "test_fails", "test_breaks")
    assert [row["test"] for row in rows] == [f"{file}.py::{name}" for file in ("test_b", "test_a") for name in names]
    assert all(set(row) == {"test", "result", "problem", "replay", "ending"} for row in rows)
    verdicts = [row["result"] and row["result"]["verdict"] for row in rows[:4]]
    assert verdicts == ["passed", "passed", "failed", None]


def test_a_result_can_be_read_back(write, rows_of):
    write(test_a=THREE)
    data = rows_of()["test_fails"]["result"]
    result = Result.from_dict(data)
    assert result.to_dict() == data
    assert result.outcomes == (True, False, False, True) * 8, "0.44 and 0.56 are the samples within 0.1 of 0.5"
    assert (result.estimate, result.numbers.n, result.numbers.n_total, result.ruling.threshold) == (0.5, 32, 32, 0.6)
    assert {worst.index % 4 for worst in result.counterexamples} <= {1, 2}


def test_what_could_not_be_measured_has_a_problem_instead_of_a_result(write, rows_of):
    write(test_a=THREE)
    rows = rows_of()
    assert rows["test_breaks"]["result"] is None
    assert rows["test_breaks"]["problem"].startswith("ModelError: ")
    assert rows["test_breaks"]["replay"].endswith(" test_a.py::test_breaks")
    assert rows["test_fails"]["problem"] == ""


def test_the_file_is_written_without_results_too_and_over_an_older_one(project, write, run, read_json):
    write(test_a="def test_plain(): pass")
    (project.path / "out.json").write_text("old", encoding="utf-8")
    assert run("--robust", "--robust-json=out.json").ret == 0
    assert read_json()["results"] == []


def test_folders_are_made_and_nothing_half_written_stays(project, write, run):
    write(test_a=THREE)
    run("--robust", "--robust-json=new/folder/out.json", "--robust-junit=new/other/out.xml")
    assert [path.name for path in (project.path / "new" / "folder").iterdir()] == ["out.json"]
    assert [path.name for path in (project.path / "new" / "other").iterdir()] == ["out.xml"]


def test_without_robust_there_is_no_file(project, write, run):
    write(test_a=THREE)
    run("--robust-json=out.json", "--robust-junit=out.xml")
    assert not list(project.path.glob("out.*"))


@pytest.mark.thinned
@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
@pytest.mark.parametrize("ignored", [False, True])
@pytest.mark.parametrize("name", ["conftest.py", "test_a.py", "pytest.ini"])
def test_code_that_is_in_no_commit_is_a_change(write_light, run, read_json, name, ignored):
    """The claims hold, but the commit that the file names has no such test, or another model."""
    write_light(test_a="def test_it(robust): robust.record(made())")
    Path("pytest.ini").write_text("[pytest]\n")
    Path(".gitignore").write_text("__pycache__\n.robustest\nout.json\n")
    every = {path.name for path in Path().glob("*.*")} | {".gitignore"}

    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - arguments of this test

    git("init")
    if ignored:
        Path(".git/info/exclude").write_text(name)
    found = []
    for added in (every - {name}, {name}):
        git("add", "--force", *sorted(added))
        git("commit", "-m", "more")
        run("--robust", "--robust-json=out.json", "-p", "no:cacheprovider")
        found.append(read_json()["origin"]["dirty"])
    assert found == [True, False]


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
@pytest.mark.parametrize("options", [(), ("-n", "1")])
def test_a_module_that_tests_import_and_nobody_added_is_a_change(write_light, run, read_json, options):
    """With pytest-xdist, it is loaded in another process than the one that writes the file."""
    write_light(test_a="import helpers\ndef test_it(robust): robust.record(made())", helpers="")
    Path(".gitignore").write_text("__pycache__\n.robustest\nout.json\n")
    others = sorted({path.name for path in Path().glob("*.*")} - {"helpers.py"})

    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - arguments of this test

    git("init")
    found = []
    for added in (others, ["helpers.py"]):
        git("add", "--force", *added)
        git("commit", "-m", "more")
        run("--robust", "--robust-json=out.json", "-p", "no:cacheprovider", *options)
        found.append(read_json()["origin"]["dirty"])
    assert found == [True, False]


@pytest.mark.skipif(shutil.which("git") is None, reason="no git")
def test_code_of_a_worker_that_crashed_is_not_known_to_be_the_commits(write_light, run, read_json):
    """It sent a row, and never said what it had loaded for it."""
    pytest.importorskip("xdist")
    write_light(
        test_a="""
        import os

        def test_it(robust): robust.record(made())

        def test_that_ends_the_process(): os._exit(1)
        """
    )
    Path(".gitignore").write_text("__pycache__\n.robustest\nout.json\n")

    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - arguments of this test

    git("init")
    git("add", "--force", *sorted({path.name for path in Path().glob("*.*")} | {".gitignore"}))
    git("commit", "-m", "one")
    run("--robust", "--robust-json=out.json", "-p", "no:cacheprovider", "-n", "1", "--max-worker-restart=0")
    found = read_json()
    assert [(row["test"], row["result"]["verdict"]) for row in found["results"]] == [("test_a.py::test_it", "passed")]
    assert found["origin"]["dirty"] is True
