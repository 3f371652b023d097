"""A release is refused where a version, a license or a pin is wrong: `.ci/release.py` with one thing planted."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from robustest.version import HOME

ROOT = Path(__file__).resolve().parents[1]
if not (ROOT / ".ci").is_dir():
    pytest.skip("these tests are beside a wheel, without the checkout's tools", allow_module_level=True)


@pytest.fixture(scope="module")
def release() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("release_tool", ROOT / ".ci" / "release.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What the checks read of this checkout, and a package of two files for each project, in git."""
    tree = tmp_path / "tree"
    packs = [path.relative_to(ROOT) for path in ROOT.glob("plugins/*/pyproject.toml")]
    base = [Path("distributions/robustest-base/pyproject.toml")]
    names = [
        *("pyproject.toml", "robustest/version.py", "CITATION.cff", "CHANGELOG.md", "LICENSE", ".ci/publish.txt"),
        *(".github/workflows/release.yml", *map(str, base + packs)),
        *(str(path.with_name("LICENSE")) for path in base + packs),
    ]
    packages = ["robustest", *(str(path.with_name(path.parent.name.replace("-", "_"))) for path in packs)]
    for name in [*names, *(f"{package}/{file}" for package in packages for file in ("py.typed", "data.json"))]:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        if name in names:
            shutil.copy(ROOT / name, tree / name)
        else:
            (tree / name).touch()
    for arguments in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", str(tree), *arguments], check=True)  # noqa: S603, S607 - our own command
    return tree


def plant(tree: Path, name: str, old: str, new: str) -> None:
    text = (tree / name).read_text(encoding="utf-8")
    assert old in text
    (tree / name).write_text(text.replace(old, new), encoding="utf-8")


def test_this_checkout_is_in_step(release: ModuleType) -> None:
    assert list(release.versions()) == []
    assert {one.name for one in release.projects()} == set(release.SMOKES)


@pytest.mark.parametrize(
    ("planted", "told"),
    [
        (("plugins/robustest-http/pyproject.toml", '"0.1.0"', '"0.1.1"'), "robustest-http to have the core's version"),
        (("robustest/version.py", "0.1.0", "0.2.0"), "robustest-ray to require robustest>=0.2,<0.3"),
        (("plugins/robustest-ray/pyproject.toml", "robustest>=0.1,<0.2", "robustest"), "robustest-ray to require"),
        (("plugins/robustest-rl/pyproject.toml", "robustest>=0.1,<0.2", "robustest>=0.1"), "robustest-rl to require"),
        (("plugins/robustest-rl/pyproject.toml", '"robustest>=0.1,<0.2",', ""), "another minor version may break it"),
        (("pyproject.toml", "robustest-people>=0.1,<0.2", "robustest-people"), "to require robustest-people>=0.1,<0.2"),
        (("CITATION.cff", "version: 0.1.0", "version: 0.0.9"), "CITATION.cff"),
    ],
)
def test_a_version_out_of_step_is_refused(
    release: ModuleType, tree: Path, planted: tuple[str, str, str], told: str
) -> None:
    assert list(release.versions(tree)) == []
    plant(tree, *planted)
    assert any(told in problem for problem in release.versions(tree))


def test_a_tag_is_of_the_version_and_in_the_changelog(release: ModuleType, tree: Path) -> None:
    plant(tree, "CHANGELOG.md", "## [Unreleased]", "## [Unreleased]\n\n## [0.1.0]")
    assert list(release.versions(tree, "v0.1.0")) == []
    assert any("the tag v0.1.0" in problem for problem in release.versions(tree, "v0.1.1"))
    plant(tree, "CHANGELOG.md", "## [0.1.0]", "")
    assert any("a section [0.1.0]" in problem for problem in release.versions(tree, "v0.1.0"))


def test_a_stale_pin_is_refused(release: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = dict(line.split("==") for line in (tree / ".ci" / "publish.txt").read_text().splitlines()[1:])
    assert set(noted) == {"twine", "packaging"}
    monkeypatch.setattr(release, "installed_version", noted.get)
    assert list(release.pins(tree)) == []
    monkeypatch.setattr(release, "installed_version", lambda _: "6.1.0")
    assert len(list(release.pins(tree))) == 2
    monkeypatch.setattr(release, "installed_version", noted.get)
    commit = (tree / ".ci" / "publish.txt").read_text().partition("@")[2].split()[0]
    plant(tree, ".github/workflows/release.yml", commit, "e" * 40)
    assert any("Copy twine and packaging" in problem for problem in release.pins(tree))


def test_a_placeholder_for_the_owners_is_refused_with_a_tag(
    release: ModuleType, tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = {problem.partition(":")[0] for problem in release.owners(tree)}
    assert files <= {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    before = len(list(release.owners(tree)))
    plant(tree, "CITATION.cff", "authors:", "# PLACEHOLDER: x\nauthors:")
    told = list(release.owners(tree))
    assert len(told) == before + 1
    assert sum(one.startswith("CITATION.cff:") and one.endswith("# PLACEHOLDER: x") for one in told) == 1
    for name in ("versions", "pins", "build", "inspect", "install"):
        monkeypatch.setattr(release, name, nothing)
    monkeypatch.setattr(release, "owners", lambda: iter(["a placeholder"]))
    assert release.main(["--dist", str(tmp_path / "dist"), "--tag", "v0.1.0"]) == 1
    assert release.main(["--dist", str(tmp_path / "dist")]) == 0


@pytest.mark.parametrize("home", ["https://one.org/a/robustest", "https://forge.two.net/robustest"])
def test_a_release_is_rehearsed_from_any_address(release: ModuleType, tree: Path, home: str) -> None:
    """All metadata have it, and nothing is left to replace but what owners alone know; the placeholder is refused."""
    metadata = pytest.importorskip("hatchling.metadata.core", reason="hatchling builds")
    plugins = pytest.importorskip("hatchling.plugin.manager", reason="hatchling builds")
    for name in ("address.py", "backend.py"):
        shutil.copy(ROOT / "distributions" / name, tree / "distributions" / name)
    for one in release.projects():
        shutil.copy(one.folder / "README.md", tree / one.folder.relative_to(ROOT))
    for one in release.projects(tree)[1:]:
        shutil.copy(ROOT / one.folder.relative_to(tree) / "hatch_build.py", one.folder)
    assert len({(one.folder / "hatch_build.py").read_text(encoding="utf-8") for one in release.projects(tree)[1:]}) == 1
    assert any("version.py" in problem and "address" in problem for problem in release.owners(tree))
    plant(tree, "robustest/version.py", f'HOME = "{HOME}"', f'HOME = "{home}"')
    text = (tree / "robustest/version.py").read_text(encoding="utf-8")
    (tree / "robustest/version.py").write_text(text.replace("# PLACEHOLDER", "#"), encoding="utf-8")
    assert not any("version.py" in problem for problem in release.owners(tree))
    link = tree / "distributions" / "robustest-base" / "robustest"
    link.symlink_to(tree / "robustest")
    for one in release.projects(tree):
        core = metadata.ProjectMetadata(str(one.folder), plugins.PluginManager()).core
        assert core.urls["Source"] == home
        assert HOME not in f"{core.urls}{core.readme}"
        assert all(url.startswith(home) for url in core.urls.values())


def distributions(
    release: ModuleType, tree: Path, dist: Path, leave_out: str = "", *, add: str = "", terms: str = "MIT", **about: str
) -> None:
    """An sdist and a wheel of each, of nothing but what is looked at; `about`: `core`, `url`, `text` of METADATA."""
    core, url, text = about.get("core", "2.4"), about.get("url", HOME), about.get("text", "[a](https://a.org)")
    dist.mkdir(exist_ok=True)
    for one in release.projects(tree):
        stem = f"{one.stem}-{one.version}"
        held = [] if one.code is None else sorted((one.code / one.package).iterdir())
        told = f"Metadata-Version: {core}\nLicense-Expression: {terms}\nProject-URL: Source, {url}\n\n{text}"
        files = {
            f"{stem}.dist-info/METADATA": told.encode(),
            f"{stem}.dist-info/licenses/LICENSE": (tree / "LICENSE").read_bytes(),
            **{f"{one.package}/{path.name}": b"" for path in held},
        }
        if held and add.startswith(f"{one.package}/"):
            files[add] = b""
        with zipfile.ZipFile(dist / f"{stem}-py3-none-any.whl", "w") as wheel:
            for name, content in files.items():
                if name != leave_out:
                    wheel.writestr(name, content)
        with tarfile.open(dist / f"{stem}.tar.gz", "w:gz") as sdist:
            for name in (f"{stem}/LICENSE", f"{stem}/PKG-INFO", f"{stem}/.gitignore", add):
                if name.startswith(f"{stem}/") and name != leave_out:
                    sdist.add(tree / "LICENSE", name)


@pytest.fixture
def ran(release: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Tools that find nothing, but for those named in `fail`; and what they were given."""
    about: dict[str, Any] = {"fail": set(), "commands": []}

    def run(command: list[str], cwd: Path | None = None) -> Any:
        about["commands"].append(command)
        return subprocess.CompletedProcess(command, int(command[0] in about["fail"]), f"{command[0]} spoke", "")

    monkeypatch.setattr(release, "_run", run)
    return about


@pytest.mark.parametrize(
    ("leave_out", "told"),
    [
        ("robustest-0.1.0.dist-info/licenses/LICENSE", "LICENSE in robustest-0.1.0-py3-none-any.whl"),
        ("robustest_ray-0.1.0.dist-info/licenses/LICENSE", "LICENSE in robustest_ray-0.1.0-py3-none-any.whl"),
        ("robustest_http-0.1.0/LICENSE", "LICENSE in robustest_http-0.1.0.tar.gz"),
        ("robustest_rl/py.typed", "py.typed in robustest_rl-0.1.0-py3-none-any.whl"),
        ("robustest/data.json", "Expected robustest/data.json in robustest_base-0.1.0-py3-none-any.whl"),
    ],
)
def test_a_missing_license_or_part_of_the_package_is_refused(
    release: ModuleType, tree: Path, ran: dict[str, Any], leave_out: str, told: str
) -> None:
    dist = tree.parent / "dist"
    distributions(release, tree, dist)
    assert list(release.inspect(dist, tree)) == []
    distributions(release, tree, dist, leave_out)
    (problem,) = release.inspect(dist, tree)
    assert told in problem


def test_another_license_is_refused(release: ModuleType, tree: Path, ran: dict[str, Any]) -> None:
    distributions(release, tree, tree.parent / "dist", terms="GPL-3.0-only")
    problems = list(release.inspect(tree.parent / "dist", tree))
    assert len(problems) == len(release.projects(tree))
    assert all("License-Expression: MIT" in problem and "GPL-3.0-only" in problem for problem in problems)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"url": "https://else.org/robustest"}, f"Expected urls below {HOME}"),
        ({"url": f"{HOME}-else"}, f"Expected urls below {HOME}"),
        ({"text": "[a](docs/a.md)"}, "Expected absolute links in the long description"),
        ({"core": "2.5"}, "Expected core metadata 2.4"),
    ],
)
def test_metadata_that_lead_elsewhere_or_are_too_new_are_refused(
    release: ModuleType, tree: Path, ran: dict[str, Any], about: dict[str, str], told: str
) -> None:
    distributions(release, tree, tree.parent / "dist", **about)
    problems = list(release.inspect(tree.parent / "dist", tree))
    assert [told in one for one in problems] == [True] * len(release.projects(tree))


@pytest.mark.parametrize(
    ("add", "told"),
    [
        ("robustest_rl/.env", "robustest_rl-0.1.0-py3-none-any.whl to have nothing that git has not, but got"),
        ("robustest/.env", "robustest_base-0.1.0-py3-none-any.whl to have nothing that git has not, but got"),
        ("robustest-0.1.0/tests/.env", "robustest-0.1.0.tar.gz to have nothing that git has not, but got tests/.env"),
        ("robustest_http-0.1.0/a/b.pyc", "but got a/b.pyc"),
    ],
)
def test_what_git_has_not_is_not_released(
    release: ModuleType, tree: Path, ran: dict[str, Any], add: str, told: str
) -> None:
    distributions(release, tree, tree.parent / "dist", add=add)
    (problem,) = release.inspect(tree.parent / "dist", tree)
    assert told in problem


def test_what_is_of_no_project_is_not_released(release: ModuleType, tree: Path, ran: dict[str, Any]) -> None:
    dist = tree.parent / "dist"
    distributions(release, tree, dist)
    (dist / "robustest-0.0.9.tar.gz").touch()
    assert list(release.inspect(dist, tree)) == ["Expected nothing else in dist, but got robustest-0.0.9.tar.gz."]


@pytest.mark.parametrize("tool", ["twine", "check-wheel-contents", "validate-pyproject", "pyroma"])
def test_what_a_tool_finds_is_a_problem(
    release: ModuleType, tree: Path, tmp_path: Path, ran: dict[str, Any], tool: str
) -> None:
    distributions(release, tree, tmp_path / "dist")
    ran["fail"] = {tool}
    problems = list(release.inspect(tmp_path / "dist", tree))
    assert len(problems) == len(release.projects(tree))
    assert all(f"{tool} spoke" in problem for problem in problems)


def test_a_distribution_that_is_not_there_is_a_problem(
    release: ModuleType, tree: Path, tmp_path: Path, ran: dict[str, Any]
) -> None:
    distributions(release, tree, tmp_path / "dist")
    (tmp_path / "dist" / "robustest_rl-0.1.0.tar.gz").unlink()
    (problem,) = release.inspect(tmp_path / "dist", tree)
    assert "robustest_rl-0.1.0.tar.gz" in problem


@pytest.mark.parametrize(
    "case",
    [
        ("--robust examples/quickstart", (1, "1 failed"), "ended with 1"),
        ("--robust examples/quickstart", (0, "6 skipped"), "ended with 0"),  # nothing passed: nothing was shown
        ("--robust examples/quickstart/failing", (0, "6 passed"), "not 1"),
        ("--robust examples/quickstart/failing", (1, "no model"), "not 1"),
        ("init --example", (1, "both passed"), "init --example ended with 1"),
        ("uv pip check", (1, "conflict"), "uv pip check says\nconflict"),
        ("uv pip install", (1, "no such wheel"), "does not install"),
        ("-I -c", (0, "/a/checkout/robustest/__init__.py"), "Expected robustest from its wheel"),
        ("-c import platform; print(platform.python_version())", (1, "no such Python"), "does not run"),
    ],
)
def test_an_installed_wheel_has_to_pass_and_to_fail(
    release: ModuleType, tree: Path, answers: Callable[..., list[str]], case: tuple[str, tuple[int, str], str]
) -> None:
    command, answer, told = case
    answers(command, answer)
    distributions(release, tree, tree.parent / "dist")
    problems = list(release.install(tree.parent / "dist", sys.executable, {"robustest"}))
    assert [told in problem for problem in problems] == [True]


@pytest.fixture
def answers(release: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Has every command end well, but for one that is given; returns the commands, as they come."""

    def set_up(command: str = "", answer: tuple[int, str] = (0, "")) -> list[str]:
        given: list[str] = []

        def run(words: list[str], cwd: Path | None = None) -> Any:
            given.append(" ".join(words))
            usual = {
                "--robust examples/quickstart/failing": (1, "ClaimFailed: no"),
                "--robust smokes/false_outcomes": (1, "ClaimFailed: no"),
                "--robust": (0, "6 passed"),
                "init --example": (0, ""),
                "uv ": (0, ""),
                "-I -c": (0, f"{Path(words[0]).parent.parent}/lib/x.py"),
                "-c import platform": (0, "3.11.7\n"),
            }
            code, printed = next(usual[part] for part in usual if part in given[-1])
            if command and given[-1].endswith(command) | (f"{command} " in given[-1]):
                code, printed = answer
            return subprocess.CompletedProcess(words, code, printed, "")

        monkeypatch.setattr(release, "_run", run)
        return given

    return set_up


def test_every_wheel_is_installed_alone_and_with_the_others(
    release: ModuleType, tree: Path, answers: Callable[..., list[str]]
) -> None:
    dist, record = tree.parent / "dist", tree.parent / "record.jsonl"
    distributions(release, tree, dist)
    given = answers()
    assert list(release.install(dist, sys.executable, set(), record=record)) == []
    installs = [one for one in given if one.startswith("uv pip install")]
    names = [one.name for one in release.projects()]
    assert len(installs) == len(names) + 1
    for name, command in zip(names, installs, strict=False):
        wheels = {Path(word).name.partition("-")[0] for word in command.split() if word.endswith(".whl")}
        core = set() if name == "robustest-base" else {"robustest"}
        needed = {"robustest_interpret"} if name == "robustest-training" else set()
        assert wheels == {"robustest_base", name.replace("-", "_")} | core | needed
    assert all(f"{name.replace('-', '_')}-0.1.0" in installs[-1] for name in names)
    # What has passed is not repeated, but with other wheels.
    given.clear()
    assert list(release.install(dist, sys.executable, set(), record=record)) == []
    assert not any("uv" in one for one in given)
    with zipfile.ZipFile(dist / "robustest_rl-0.1.0-py3-none-any.whl", "a") as wheel:
        wheel.writestr("robustest_rl/more.py", "")
    assert list(release.install(dist, sys.executable, set(), record=record)) == []
    assert sum(one.startswith("uv pip install") for one in given) == 2, "it alone, and all of them"


def test_a_name_that_no_project_has_installs_nothing_and_is_a_problem(
    release: ModuleType, tree: Path, answers: Callable[..., list[str]]
) -> None:
    distributions(release, tree, tree.parent / "dist")
    answers()
    (problem,) = release.install(tree.parent / "dist", sys.executable, {"robustest-r1"})
    assert "--only to name a project or `all`, but got robustest-r1" in problem


def test_what_did_not_pass_is_repeated(release: ModuleType, tree: Path, answers: Callable[..., list[str]]) -> None:
    dist, record = tree.parent / "dist", tree.parent / "record.jsonl"
    distributions(release, tree, dist)
    answers("uv pip install", (1, "no such wheel"))
    assert len(list(release.install(dist, sys.executable, {"all"}, record=record))) == 1
    assert not record.exists()


def test_what_does_not_build_is_a_problem(release: ModuleType, tree: Path, ran: dict[str, Any]) -> None:
    assert list(release.build(tree.parent / "dist", tree)) == []
    built = [Path(command[-1]).name for command in ran["commands"]]
    assert built == [
        tree.name,
        *(f"robustest-{one}" for one in ("base", "http", "interpret", "onnx", "people", "ray", "rl", "training")),
    ]
    ran["fail"] = {sys.executable}
    problems = list(release.build(tree.parent / "dist", tree))
    assert ["does not build" in problem for problem in problems] == [True] * len(built)


def nothing(*_: object, **__: object) -> Iterator[str]:
    return iter(())


def test_the_first_step_with_a_problem_ends_the_run(
    release: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("versions", "pins", "build", "inspect", "install"):
        monkeypatch.setattr(release, name, nothing)
    assert release.main(["--dist", str(tmp_path / "dist")]) == 0
    monkeypatch.setattr(release, "inspect", lambda *_: iter(["a license is missing"]))
    assert release.main(["--dist", str(tmp_path / "dist")]) == 1
    printed = capsys.readouterr().out
    assert printed.count("install on") == 1, "not after a problem"
    assert "a license is missing" in printed


def test_what_was_built_before_is_taken_as_it_is(
    release: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("pins", "inspect", "install"):
        monkeypatch.setattr(release, name, nothing)
    (tmp_path / "kept.whl").touch()
    assert release.main(["--dist", str(tmp_path), "--built"]) == 0
    assert (tmp_path / "kept.whl").exists()
    assert "build" not in capsys.readouterr().out
