"""The composite actions: their shell steps, run here as a runner would, in a home and with files of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from robustest.reports.github import mark_of

yaml = pytest.importorskip("yaml", reason="PyYAML reads action.yml")
pytest.importorskip("jinja2", reason="the action writes a page")

ROOT = Path(__file__).resolve().parents[1]
ACTIONS = ROOT / ".github" / "actions"
RESULTS = """
import pytest
from robustest.errors import ClaimFailed, ClaimInconclusive, ModelError
from robustest.results import Cost, Result, Verdict

def made(verdict, threshold=0.5):
    return Result.of(
        kind="robust_accuracy", statement="made up >= 0.5", verdict=Verdict(verdict), rule="made up",
        quantity="accuracy", estimate=0.5, interval=(0.25, 0.75), threshold=threshold, comparison=">=", n=4,
        n_total=4, outcomes=(True, False, True, False), cost=Cost(), seed=0, setting="nothing", method="none",
    )
"""
PASSES = """
def test_passes(robust):
    robust.record(made("passed"))
"""
FAILS = """
def test_fails(robust):
    robust.record(made("failed"))
    raise ClaimFailed("it does not hold", made("failed"))
"""
OPEN = """
def test_open(robust):
    robust.record(made("inconclusive"))
    raise ClaimInconclusive("not settled", made("inconclusive"))
"""
BREAKS = """
def test_breaks(robust):
    raise ModelError("nothing but NaN")
"""
EXPECTED = """
@pytest.mark.xfail(strict=True)
def test_expected(robust):
    robust.record(made("failed"))
    raise ClaimFailed("as expected", made("failed"))
"""
STRICT = """
@pytest.mark.xfail(strict=True)
def test_strict(robust):
    robust.record(made("inconclusive", threshold=None))
"""
BESIDE = """
def test_beside(robust):
    robust.record(made("passed"))
    assert 1 == 2
"""
MEASURES = """
def test_measures(robust):
    robust.record(made("inconclusive", threshold=None))
"""
SKIPS = """
def test_skips(robust):
    pytest.skip("no data here")
"""
PLAIN = """
def test_plain():
    assert {}
"""


@dataclass
class Ended:
    """What a job's step that called the action sees."""

    outputs: dict[str, str]
    ok: bool
    log: str
    summary: str
    steps: dict[str, dict[str, str]] = field(default_factory=dict)


Call = Callable[..., Ended]


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    folder = tmp_path / "work space"
    folder.mkdir()
    return folder


@pytest.fixture
def environment(tmp_path: Path, workspace: Path) -> dict[str, str]:
    """A runner's environment, in a home of its own: nothing of this machine's is handed on but the PATH."""
    home = tmp_path / "home"
    home.mkdir()
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "HOME": str(home),
        "TMPDIR": str(tmp_path),
        "CI": "true",
        "GITHUB_ACTIONS": "true",
        "GITHUB_WORKSPACE": str(workspace),
        "GITHUB_REPOSITORY": "someone/something",
        "COLUMNS": "200",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # they take longer to load than these tests to run
        "PYTEST_PLUGINS": "robustest.pytest_plugin",
    }


@pytest.fixture
def call(environment: dict[str, str], workspace: Path, tmp_path: Path) -> Call:
    """Calls an action: `call("robustest", {"shard": "1/2"})`; steps that use other actions are left out."""

    def _call(name: str, given: Mapping[str, str]) -> Ended:
        action = yaml.safe_load((ACTIONS / name / "action.yml").read_text(encoding="utf-8"))
        assert set(given) <= set(action["inputs"])
        inputs = {key: str(about.get("default", "")) for key, about in action["inputs"].items()} | given
        ended = Ended({}, True, "", "")
        for step in action["runs"]["steps"]:
            if "run" in step and ended.ok:
                _run(step, name, inputs, ended)
        ended.outputs = {
            key: _filled(about["value"], inputs, ended.steps) for key, about in action.get("outputs", {}).items()
        }
        return ended

    def _run(step: dict[str, Any], name: str, inputs: Mapping[str, str], ended: Ended) -> None:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"], "nothing may be pasted into a script"
        output, summary = tmp_path / "output", tmp_path / "summary.md"
        output.write_text("", encoding="utf-8")
        done = subprocess.run(  # noqa: S603 - the action's own steps
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],  # noqa: S607 - as a runner does
            cwd=workspace / _filled(step.get("working-directory", "."), inputs, ended.steps),
            env={
                **environment,
                **{key: _filled(value, inputs, ended.steps) for key, value in step.get("env", {}).items()},
                "GITHUB_ACTION_PATH": str(ACTIONS / name),
                "GITHUB_OUTPUT": str(output),
                "GITHUB_STEP_SUMMARY": str(summary),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        lines = [line.partition("=") for line in output.read_text(encoding="utf-8").splitlines()]
        ended.steps[step.get("id", step["name"])] = {key: value for key, _, value in lines}
        ended.log += done.stdout + done.stderr
        ended.ok = done.returncode == 0
        ended.summary = summary.read_text(encoding="utf-8") if summary.exists() else ""

    return _call


def _filled(text: str, inputs: Mapping[str, str], steps: Mapping[str, Mapping[str, str]]) -> str:
    """A text with the expressions that these actions use evaluated, others refused."""

    def value(found: re.Match[str]) -> str:
        kind, *path = found[1].split(".")
        if kind == "inputs":
            return inputs[".".join(path)]
        assert (kind, path[1]) == ("steps", "outputs"), found[0]
        return steps.get(path[0], {}).get(path[2], "")

    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", value, text)


@pytest.fixture
def tested(call: Call, workspace: Path) -> Call:
    """Calls the action on a repository with these tests: `tested(PASSES, FAILS, shard="1/2")`."""

    def _tested(*sources: str, **given: str) -> Ended:
        (workspace / "test_claims.py").write_text(RESULTS + "".join(map(dedent, sources)), encoding="utf-8")
        return call("robustest", {"python": sys.executable, **{k.replace("_", "-"): v for k, v in given.items()}})

    return _tested


@pytest.mark.parametrize(
    ("tests", "conclusion", "counts", "ok"),
    [
        pytest.param([PASSES], "success", (1, 0, 0, 0), True, id="passing"),
        pytest.param([PASSES, FAILS], "failure", (1, 1, 0, 0), False, id="failing"),
        pytest.param([PASSES, OPEN], "inconclusive", (1, 0, 1, 0), False, id="inconclusive"),
        pytest.param([PASSES, BREAKS], "error", (1, 0, 0, 1), False, id="not measured"),
        pytest.param([PLAIN.format("True"), SKIPS, MEASURES], "empty", (0, 0, 0, 0), False, id="without a claim"),
        pytest.param([""], "empty", (0, 0, 0, 0), False, id="no test"),
        pytest.param([PASSES, EXPECTED], "success", (1, 0, 0, 0), True, id="expected failure"),
        pytest.param([EXPECTED], "success", (0, 0, 0, 0), True, id="nothing but an expected failure"),
        pytest.param([PASSES, STRICT], "failure", (1, 1, 0, 0), False, id="a strict xfail that passes"),
        pytest.param([BESIDE], "failure", (1, 1, 0, 0), False, id="fails beside its claim"),
        pytest.param([PASSES, PLAIN.format("False")], "error", (1, 0, 0, 1), False, id="another test fails"),
        pytest.param([PASSES, "\nraise OSError('no file')\n"], "error", (0, 0, 0, 2), False, id="does not import"),
    ],
)
def test_outputs_and_exit_say_what_became_of_the_claims(
    tested: Call, tests: list[str], conclusion: str, counts: tuple[int, ...], ok: bool
) -> None:
    ended = tested(*tests, html="false")
    told = [ended.outputs[name] for name in ("passed", "failed", "inconclusive", "errors")]
    assert (ended.outputs["conclusion"], tuple(map(int, told)), ended.ok) == (conclusion, counts, ok), ended.log


def test_the_report_is_where_the_output_says(tested: Call, workspace: Path) -> None:
    ended = tested(PASSES, FAILS, report="out/of the way")
    report = Path(ended.outputs["report-path"])
    assert report == workspace / "out" / "of the way"
    assert {"index.html", "robust.json", "junit.xml"} <= {path.name for path in report.iterdir()}
    assert "## robustness: 1 failed, 1 passed" in ended.summary


def test_what_an_earlier_run_left_does_not_speak_for_this_one(tested: Call) -> None:
    assert tested(PASSES).ok
    ended = tested(PASSES, arguments="--no-such-option")
    assert (ended.outputs["conclusion"], ended.outputs["passed"], ended.ok) == ("error", "0", False)


@pytest.mark.parametrize(
    ("changes", "conclusion"),
    [
        ({}, "success"),
        ({"lost": ["no report came"]}, "error"),
        ({"counts": {"passed": 1, "failed": 1}}, "failure"),
        ({"counts": {"passed": 1, "error": 1}}, "error"),
        ({"counts": {"passed": "0"}}, "error"),
        ({"counts": {}}, "empty"),
        ({"pytest": {}}, "error"),
        ({"pytest": {"exit": False}}, "error"),
        ({"pytest": {"exit": 5}}, "failure"),
        ({"schema": 4}, "error"),
        (None, "error"),
    ],
)
def test_a_file_that_contradicts_the_exit_code_is_no_success(
    tmp_path: Path, changes: dict[str, Any] | None, conclusion: str
) -> None:
    whole = {"schema": 5, "results": [], "counts": {"passed": 1}, "lost": [], "pytest": {"exit": 0}}
    text = "" if changes is None else json.dumps({**whole, **changes})
    (tmp_path / "robust.json").write_text(text, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - the action's own script
        [sys.executable, str(ACTIONS / "robustest" / "conclude.py")],
        env={"ROBUSTEST_STATUS": "0", "ROBUSTEST_REPORT": str(tmp_path), "GITHUB_OUTPUT": str(tmp_path / "output")},
        check=False,
        timeout=30,
    )
    outputs = (tmp_path / "output").read_text(encoding="utf-8").splitlines()
    assert outputs[0] == f"conclusion={conclusion}"
    assert (done.returncode == 0) is (conclusion == "success")


@pytest.mark.parametrize(
    ("schema", "remedy"), [(4, "Upgrade robustest"), (6, "Upgrade the action"), (True, "not measured")]
)
def test_a_file_of_another_version_is_named_and_not_called_unmeasured(tmp_path: Path, schema: int, remedy: str) -> None:
    (tmp_path / "robust.json").write_text(json.dumps({"schema": schema, "results": []}), encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - the action's own script
        [sys.executable, str(ACTIONS / "robustest" / "conclude.py")],
        env={"ROBUSTEST_STATUS": "0", "ROBUSTEST_REPORT": str(tmp_path)},
        check=False,
        timeout=30,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert remedy in done.stdout
    assert ("not measured" in done.stdout) is (schema is True)


def test_inconclusive_claims_that_may_be_skipped_let_the_job_pass(tested: Call, workspace: Path) -> None:
    skip = 'pytest.skip("inconclusive: open")'
    skipping = OPEN.replace('raise ClaimInconclusive("not settled", made("inconclusive"))', skip)
    ended = tested(PASSES, skipping)
    assert (ended.outputs["conclusion"], ended.outputs["inconclusive"], ended.ok) == ("inconclusive", "1", True)


def test_arguments_are_one_a_line_and_no_shell_sees_them(tested: Call, workspace: Path) -> None:
    ended = tested(PASSES, FAILS, arguments="-k\npasses or $(touch broken) or `touch broken`\r\n\n; touch broken\n")
    assert not (workspace / "broken").exists()
    assert not ended.ok
    fine = tested(PASSES, FAILS, arguments="-k\npasses and not fails\n")
    assert (fine.ok, fine.outputs["passed"], fine.outputs["failed"]) == (True, "1", "0")


def test_profile_and_shard_reach_the_run(tested: Call) -> None:
    ended = tested(PASSES, PASSES.replace("passes", "passes_too"), profile="nightly", shard="1/2", html="false")
    content = json.loads((Path(ended.outputs["report-path"]) / "robust.json").read_text(encoding="utf-8"))
    assert (content["settings"]["profile"], content["shard"]["index"], content["shard"]["count"]) == ("nightly", 1, 2)
    assert ended.outputs["passed"] == "1"
    assert not (Path(ended.outputs["report-path"]) / "index.html").exists()


@pytest.mark.parametrize("report", ["", "a\nconclusion=success"])
def test_a_report_that_is_no_folder_is_refused_before_anything_runs(tested: Call, report: str) -> None:
    ended = tested(PASSES, report=report)
    assert not ended.ok
    assert ended.outputs["conclusion"] == ""


GH = """\
#!/usr/bin/env bash
# Keeps what it is asked, and answers a list of comments as gh would with --jq: the ids of ours alone.
printf '%s\\n' "$*" >>"$HOME/asked"
case "$*" in
  *--paginate*) cat "$HOME/ids" ;;
  *body=@*) cat "${!#//body=@/}" >"$HOME/body" ;;
esac
"""


@pytest.fixture
def commented(
    call: Call, environment: dict[str, str], tested: Call, tmp_path: Path
) -> Callable[..., tuple[Ended, list[str], str]]:
    """Comments on pull request 7: `commented(PASSES, ids="12")`; what gh was asked, and the body it was given."""
    home, tools = Path(environment["HOME"]), tmp_path / "tools"
    tools.mkdir()
    (tools / "gh").write_text(GH, encoding="utf-8")
    (tools / "gh").chmod(0o755)
    environment["PATH"] = f"{tools}{os.pathsep}{environment['PATH']}"

    def _commented(*tests: str, ids: str = "", number: str = "7", results: str = "") -> tuple[Ended, list[str], str]:
        (home / "ids").write_text(ids, encoding="utf-8")
        results = results or f"{tested(*tests).outputs['report-path']}/robust.json"
        given = {"results": results, "pull-request": number, "github-token": "t", "python": sys.executable}
        ended = call("comment", given)
        asked = (home / "asked").read_text(encoding="utf-8").splitlines() if (home / "asked").exists() else []
        return ended, asked, (home / "body").read_text(encoding="utf-8") if (home / "body").exists() else ""

    return _commented


def test_a_red_run_is_told_in_a_comment(commented: Any) -> None:
    ended, asked, body = commented(PASSES, FAILS)
    assert ended.ok, ended.log
    assert "--method POST repos/someone/something/issues/7/comments" in asked[-1]
    assert body.startswith("<!-- robustest -->\n")
    assert "## robustness: 1 failed, 1 passed" in body


def test_a_green_run_says_nothing_unless_something_was_said_before(commented: Any) -> None:
    _, asked, body = commented(PASSES)
    assert (len(asked), body) == (1, "")
    ended, asked, body = commented(PASSES, ids="12\n34\n")
    assert ended.ok, ended.log
    assert "--method PATCH repos/someone/something/issues/comments/12" in asked[-1]
    assert "## robustness: 1 passed" in body


def test_a_run_that_measured_nothing_is_told_and_one_without_results_is_not(commented: Any) -> None:
    ended, _, body = commented("raise OSError\n")
    assert ended.ok, ended.log
    assert "test&#95;claims.py" in body
    assert "OSError" in body
    ended, asked, _ = commented(PASSES, results="nowhere.json")
    assert (ended.ok, len(asked)) == (False, 2), "no more than for the first"


def test_a_service_has_a_comment_of_its_own_and_several_have_one(
    commented: Any, call: Call, tested: Call, workspace: Path, environment: dict[str, str]
) -> None:
    """The green comment of one must not take the place of the red one of another."""
    files = []
    for service, test in {"services/a": FAILS, "services/b --> x": PASSES}.items():
        (workspace / "pytest.ini").write_text(f"[pytest]\nrobust_service = {service}\n", encoding="utf-8")
        files.append(workspace / f"{len(files)}.json")
        found = f"{tested(test, html='false').outputs['report-path']}/robust.json"
        Path(found).rename(files[-1])
    ended, _, body = commented(results=str(files[0]))
    assert ended.ok, ended.log
    assert body.startswith("<!-- robustest services/a -->\n")
    assert "## robustness of services/a: 1 failed" in body
    ended, asked, body = commented(results=str(files[1]), ids="12")
    mark = mark_of(["services/b --> x"])
    assert mark.startswith("<!-- robustest services/b_____x_"), "nothing of a name ends the mark"
    assert body.startswith(f"{mark}\n")
    assert any(f'startswith("{mark}")' in one for one in asked)
    ended, _, body = commented(results=f"{files[1]}\n{files[0]}\n", ids="12")
    assert ended.ok, ended.log
    assert body.startswith("<!-- robustest services/")
    assert body.index("of services/a: 1 failed") < body.index("of services/b"), "the worst first"


def test_a_pull_request_is_a_number(commented: Any) -> None:
    ended, asked, _ = commented(FAILS, number="7/../../x")
    assert (ended.ok, asked) == (False, [])


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(  # noqa: S603 - our own arguments
        ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments],  # noqa: S607 - as a runner does
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture
def hub(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A server with one repository, without a branch."""
    repository = tmp_path / "hub" / "someone" / "something"
    repository.mkdir(parents=True)
    git(repository, "init", "--bare", "--initial-branch=main")
    environment |= {"GITHUB_SERVER_URL": f"file://{tmp_path / 'hub'}", "ROBUSTEST_WAIT": "0"}
    return repository


def keep(call: Call, results: str, branch: str = "robustness-history") -> Ended:
    return call("history", {"results": results, "branch": branch, "github-token": "a-secret", "python": sys.executable})


def kept_of(hub: Path, branch: str = "robustness-history") -> tuple[int, int]:
    """How many claims have a file, and how many runs have a line."""
    names = [name for name in git(hub, "ls-tree", "-r", "--name-only", branch).split() if name.endswith(".jsonl")]
    months = [name for name in names if name.startswith("history/runs-")]
    lines = [line for name in months for line in git(hub, "show", f"{branch}:{name}").splitlines()]
    return len(names) - len(months), sum(line.startswith('["2') for line in lines)


def test_a_history_begins_and_grows_on_a_branch_of_its_own(call: Call, tested: Call, hub: Path) -> None:
    for runs in (1, 2):
        ended = keep(call, f"{tested(PASSES, FAILS).outputs['report-path']}/robust.json")
        assert (ended.ok, "::warning" in ended.log) == (True, False), ended.log
        assert kept_of(hub) == (2, runs)
    assert git(hub, "rev-list", "--count", "robustness-history").strip() == "2"
    assert "a-secret" not in ended.log


def test_a_run_is_kept_once(call: Call, tested: Call, hub: Path) -> None:
    results = f"{tested(PASSES).outputs['report-path']}/robust.json"
    assert keep(call, results).ok
    assert keep(call, results).ok
    assert git(hub, "rev-list", "--count", "robustness-history").strip() == "1"


def test_a_branch_with_anything_else_is_left_alone(call: Call, tested: Call, hub: Path, tmp_path: Path) -> None:
    work = tmp_path / "code"
    work.mkdir()
    git(work, "init", "--initial-branch=main")
    (work / "code.py").write_text("1", encoding="utf-8")
    git(work, "add", "-A")
    git(work, "commit", "-m", "code")
    git(work, "push", str(hub), "main")
    before = git(hub, "rev-parse", "main")
    ended = keep(call, f"{tested(PASSES).outputs['report-path']}/robust.json", branch="main")
    assert (ended.ok, "the branch holds something else" in ended.log) == (True, True), ended.log
    assert git(hub, "rev-parse", "main") == before


@pytest.mark.parametrize("branch", ["", "--force", "a b", "a..b", "x\nconclusion=success", "../x"])
def test_a_name_that_is_no_branch_is_refused(call: Call, hub: Path, branch: str) -> None:
    ended = keep(call, "robust.json", branch=branch)
    assert (ended.ok, git(hub, "for-each-ref")) == (False, "")


def test_what_cannot_be_kept_is_a_warning(call: Call, hub: Path, workspace: Path, environment: dict[str, str]) -> None:
    (workspace / "robust.json").write_text("{}", encoding="utf-8")
    ended = keep(call, "robust.json")
    assert (ended.ok, "the run could not be added" in ended.log) == (True, True), ended.log
    environment["GITHUB_SERVER_URL"] += "/nowhere"
    ended = keep(call, "robust.json")
    assert (ended.ok, "could not be read" in ended.log) == (True, True), ended.log
