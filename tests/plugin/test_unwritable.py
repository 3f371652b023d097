"""An output that cannot be written loses no verdict and no other output: the run is red, and says which it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import robustest.cli.runs  # noqa: F401 - before the first run inside this process
from robustest.cli import main

pytest.importorskip("jinja2", reason="the HTML report is an extra")

OUTPUTS = {
    "json": ("the JSON file", ["--robust-json=file/robust.json"]),
    "html": ("the page", ["--robust-html=file/page"]),
    "junit": ("the JUnit file", ["--robust-junit=file/junit.xml"]),
    "history": ("the history", ["--robust-history=file/history"]),
    "pytest's own": ("could not end", ["--junitxml=file/pytest.xml"]),
    "summary": ("the step's summary", []),
    "picture": ("a picture", ["-o", "robust_pictures=file/pictures"]),
    "baseline": ("baselines", ["--robust-update-baseline", "-o", "robust_baseline=file/baseline.json"]),
}
FILES = {"json": "robust.json", "html": "page/index.html", "junit": "junit.xml", "summary": "summary.md"}
CLAIMS = """
    def test_holds(robust_model, robust_data):
        claim(robust_model, robust_data, 0.01, at_least=1.0, no_worse_than="{baseline}")

    def test_fails(robust_model, robust_data):
        claim(robust_model, robust_data, 0.1, at_least=0.6)
"""


@pytest.fixture
def step(project: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes runs a step on GitHub, with a file for its summary."""

    def to(summary: str) -> None:
        monkeypatch.setenv("GITHUB_ACTIONS", "true")
        monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.path / summary))

    return to


@pytest.mark.thinned
@pytest.mark.parametrize("red", [False, True], ids=["green", "red"])
@pytest.mark.parametrize("name", OUTPUTS)
def test_the_verdict_stands_and_the_run_is_red(
    project: Any, write: Any, run: Any, section: Any, step: Any, *, name: str, red: bool
) -> None:
    (project.path / "file").write_text("no folder", encoding="utf-8")  # what is to lie below cannot be made
    step("file/summary.md" if name == "summary" else "summary.md")
    where = "file/baseline.json" if name == "baseline" else "baseline.json"
    write(test_a=CLAIMS.format(baseline=project.path / where))
    (what, arguments) = OUTPUTS[name]
    good = ["--robust-json=robust.json", "--robust-html=page", "--robust-junit=junit.xml", "--robust-update-baseline"]
    chosen = [] if red or name == "picture" else ["-k", "holds"]
    done = run("--robust", "--junitxml=pytest.xml", *good, *arguments, *chosen)
    counted = {"passed": 1, "failed": 1} if red or name == "picture" else {"passed": 1, "deselected": 1}
    assert done.parseoutcomes() == counted, "the verdicts are those of pytest"
    assert done.ret == 3
    lines = section(done)
    assert lines[0].startswith("test_a.py::test_holds  robust accuracy 1.000 [0.")
    assert lines[0].endswith("passed")
    (lost,) = [line for line in lines if line.startswith("LOST: ")]
    assert what in lost
    assert "file" in lost, "it is named"
    assert "Traceback" not in done.stdout.str() + done.stderr.str()
    assert "INTERNALERROR" not in done.stdout.str() + done.stderr.str()
    for kind, file in FILES.items():
        assert (project.path / file).is_file() == (kind != name)
    if name != "json":
        content = json.loads((project.path / "robust.json").read_text(encoding="utf-8"))
        assert (content["pytest"]["exit"], len(content["lost"])) == (3, 1)
        assert content["results"][0]["result"]["verdict"] == "passed"
        assert main(["show", str(project.path / "robust.json")]) == 3
    if name != "html":
        assert "This run lost results" in (project.path / "page" / "index.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("option", "what"), [("-o", "the JSON file"), ("--junit", "the JUnit file"), ("--html", "the page")]
)
def test_a_merge_names_what_it_could_not_write(
    project: Any, write_light: Any, run: Any, capsys: Any, *, option: str, what: str
) -> None:
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", "--robust-shard=1/1", "--robust-json=shard.json").ret == 0
    (project.path / "file").write_text("no folder", encoding="utf-8")
    good = {"-o": "whole.json", "--junit": "whole.xml", "--html": "page", option: "file/below"}
    capsys.readouterr()
    assert main(["merge", "shard.json", *[part for pair in good.items() for part in pair]]) == 3
    out = capsys.readouterr().out
    assert re.search(f"^LOST: {what}.*could not be written to file/below: .*; this run is not green$", out, re.M)
    assert "test_a.py::test_it  accuracy" in out
    files = {"-o": "whole.json", "--junit": "whole.xml", "--html": "page/index.html"}
    assert [Path(file).is_file() for kind, file in files.items() if kind != option] == [True, True]


def test_a_status_that_another_plugin_gives_in_the_end_is_in_the_file(
    project: Any, write_light: Any, run: Any, read_json: Any
) -> None:
    project.makeconftest(
        "import pytest\n@pytest.hookimpl(wrapper=True, tryfirst=True)\n"
        "def pytest_sessionfinish(session):\n    yield\n    session.exitstatus = 6\n"
    )
    write_light(test_a="def test_it(robust): robust.record(made())")
    assert run("--robust", "--robust-json=out.json").ret == 6
    assert read_json()["pytest"]["exit"] == 6
    assert main(["show", "out.json"]) == 1
