"""The ini keys robust_*: what they set, and what they may not hold."""

from __future__ import annotations

import pytest

VALUES = {
    "profile": "ci",
    "service": "fraud",
    "device": "cpu",
    "seed": 12,
    "attack": "fgsm",
    "certify": "linear",
    "scope": "population",
    "family_size": 7,
    "alpha": 0.025,
    "batch_size": 5,
    "examples": 1,
    "shrink_budget": 2.0,
    "suppress": ["softmax_outputs", "random_forward"],
    "pictures": "shots/here",
    "precision": "bf16",
    "exact": True,
    "max_samples": 70,
    "time_budget": 2.5,
    "attempts": "majority",
    "inconclusive": "skip",
    "store": "kept/here",
    "cache": False,
    "recheck": 0.25,
    "corpus": "kept/points",
    "corpus_max_mb": 1.5,
    "baseline": "kept/baseline.json",
    "engine": "elsewhere",
    "address": "host:6379",
    "workers": 2,
    "gpus_per_task": 0.5,
}
FOLDERS = ("pictures", "store", "corpus", "baseline")
FROM_PROFILE = {"recheck": 0.05}
SWITCHES = {"audit_values": False, "replay_only": False, "update_baseline": False}


def _as_ini(values: dict[str, object]) -> str:
    def text(value: object) -> str:
        return " ".join(value) if isinstance(value, list) else str(value)

    return "[pytest]\n" + "".join(f"robust_{name} = {text(value)}\n" for name, value in values.items())


def _as_toml(values: dict[str, object], table: str) -> str:
    def text(value: object) -> str:
        return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')

    return f"[{table}]\n" + "".join(f"robust_{name} = {text(value)}\n" for name, value in values.items())


@pytest.mark.parametrize("style", ["ini", "tool.pytest.ini_options", "tool.pytest"])
def test_every_key_sets_its_setting(project, run, read_json, style):
    if style == "tool.pytest" and pytest.version_tuple < (9,):
        pytest.skip("pytest reads this table from 9.0 on")
    if style == "ini":
        project.makeini(_as_ini(VALUES))
    elif style == "tool.pytest.ini_options":
        strings = {name: " ".join(v) if isinstance(v, list) else str(v) for name, v in VALUES.items()}
        project.path.joinpath("pyproject.toml").write_text(_as_toml(strings, style), encoding="utf-8")
    else:
        project.path.joinpath("pyproject.toml").write_text(_as_toml(VALUES, style), encoding="utf-8")
    run("--robust", "--robust-json=out.json")
    wanted = {**VALUES, **FROM_PROFILE, **SWITCHES, **{name: str(project.path / str(VALUES[name])) for name in FOLDERS}}
    assert read_json()["settings"] == wanted


def test_without_keys_the_settings_are_the_documented_ones(project, run, read_json):
    run("--robust", "--robust-json=out.json")
    assert read_json()["settings"] == {
        "profile": "dev",
        "service": "",
        "device": "auto",
        "seed": 0,
        "attack": "fast",
        "certify": None,
        "scope": "set",
        "alpha": 0.01,
        "family_size": 100,
        "batch_size": None,
        "examples": 3,
        "shrink_budget": 0.5,
        "suppress": [],
        "pictures": str(project.path / ".robustest" / "pictures"),
        "precision": "auto",
        "exact": False,
        "max_samples": None,
        "time_budget": None,
        "attempts": "every",
        "inconclusive": "fail",
        "store": str(project.path / ".robustest"),
        "cache": True,
        "recheck": 0.01,
        "corpus": str(project.path / ".robustest" / "corpus"),
        "corpus_max_mb": 20.0,
        "baseline": str(project.path / "robust-baseline.json"),
        **SWITCHES,
        "engine": "local",
        "address": None,
        "workers": None,
        "gpus_per_task": None,
    }


def test_claims_are_measured_by_them(project, write, rows_of):
    project.makeini("[pytest]\nrobust_attack = fgsm\nrobust_examples = 2\nrobust_suppress = softmax_outputs\n")
    write(
        test_a="""
        def test_it(robust_model, robust_data):
            softmax = lambda x: robust_model(x).softmax(1)
            assert_robust_accuracy(softmax, robust_data, Linf(0.1), at_least=0.6)  # a warning would be an error
        """
    )
    result = rows_of()["test_it"]["result"]
    assert result["method"] == "fgsm"
    assert len(result["counterexamples"]) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("robust_seed = x", "ini key robust_seed: *"),
        ("robust_alpha = much", "ini key robust_alpha: *"),
        ("robust_batch_size = 1.5", "ini key robust_batch_size: *"),
        ("robust_alpha = 0.5", "Expected alpha in (0, 0.5) but got 0.5 (float)*"),
        ("robust_alpha = nan", "Expected alpha in (0, 0.5) but got nan (float)*"),
        ("robust_batch_size = 0", "Expected batch_size to be a whole number >= 1 but got 0 (int)*"),
        ("robust_examples = -1", "Expected examples to be a whole number >= 0 but got -1 (int)*"),
        ("robust_scope = sets", "Unknown value of scope: 'sets'. Did you mean 'set'?*"),
        ("robust_inconclusive = pass", "Unknown value of inconclusive: 'pass'. Known: fail, skip.*"),
        (
            "robust_device = gpu",
            "Expected device to be auto, cpu, cuda, cuda:N, cuda:all, mps, xpu, xla or another * got 'gpu' (str)*",
        ),
        ("robust_suppress = softmax_output", "Unknown health check 'softmax_output'. Did you mean 'softmax_outputs'?*"),
        ("robust_profile = dave", "Unknown robustest profile 'dave'. Did you mean 'dev'?*"),
    ],
)
def test_a_bad_value_is_a_usage_error(project, write, run, line, message):
    project.makeini(f"[pytest]\n{line}\n")
    write(test_a="def test_plain(): pass")
    result = run("--robust")
    assert result.ret == 4
    where = "" if "Unknown ini key" in message else "tox.ini: "
    result.stderr.fnmatch_lines([f"ERROR: {where}{message}"])


@pytest.mark.parametrize("args", [[], ["--robust"]], ids=["without --robust", "with --robust"])
@pytest.mark.parametrize("style", ["ini", "pyproject", "override"])
def test_an_unknown_key_is_a_usage_error_that_names_the_nearest(project, write, run, style, args):
    write(test_a="def test_plain(): pass")
    if style == "ini":
        project.makeini("[pytest]\nrobust_sede = 3\n")
    elif style == "pyproject":
        project.makepyprojecttoml("[tool.pytest.ini_options]\nrobust_sede = 3\n")
    else:
        args = [*args, "-o", "robust_sede=3"]
    result = run(*args)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: Unknown ini key 'robust_sede'. Did you mean 'robust_seed'? Known: *"])


def test_keys_of_others_are_none_of_ours(project, write, run):
    project.makeconftest('def pytest_addoption(parser): parser.addini("robustness", "of theirs")')
    project.makeini("[pytest]\nrobustness = 3\n")
    write(test_a="def test_plain(): pass")
    assert run("--robust").ret == 0


def test_pictures_go_below_the_root_whatever_folder_the_run_starts_in(project, run, read_json, monkeypatch):
    project.makeini("[pytest]\nrobust_pictures = shots\n")
    monkeypatch.chdir(project.mkdir("sub"))
    run("--robust", f"--robust-json={project.path / 'out.json'}")
    assert read_json()["settings"]["pictures"] == str(project.path / "shots")
