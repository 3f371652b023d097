"""Twelve layouts of repositories: `robustest init` writes a workflow whose lines install and test the project.

The quick test reads the lines. The slow one runs each job's lines for installation and test in an empty environment:
green, and red once the model is broken. There robustest is a wheel of this checkout; a small package that the model
imports comes from the index, so that a green run shows that the lines installed what the project declares. What
robustest itself needs is on the path by links, but for uv, which installs all of it but torch.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from robustest.cli import main
from robustest.cli.questions import Facts

yaml = pytest.importorskip("yaml", reason="PyYAML reads workflows")

ROOT = Path(__file__).resolve().parents[1]
MODULE = '''\
"""A network with one weight, and images that are dark or bright."""
import os

import humanize
import torch
from torch import nn

assert humanize.intcomma(1000) == "1,000"


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(-1.0 if "SPOILED" in os.environ else 1.0))

    def forward(self, x):
        lead = self.scale * (x.mean((1, 2, 3)) - 0.5)
        return torch.stack([-lead, lead], 1)


def test_set(n=40):
    y = torch.arange(n) % 2
    draw = torch.Generator().manual_seed(0)
    return (0.3 + 0.4 * y.view(-1, 1, 1, 1) + 0.1 * torch.rand(n, 3, 8, 8, generator=draw)).clamp(0, 1), y
'''
NOTEBOOK = json.dumps(
    {
        "cells": [
            {"cell_type": "markdown", "source": ["# A model"]},
            {"cell_type": "code", "source": ["%matplotlib inline\n", "!ls\n", "import math"]},
            {"cell_type": "code", "source": MODULE.splitlines(keepends=True)},
        ],
        "nbformat": 4,
    }
)
PACKAGE = '[project]\nname = "my-project"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["humanize"]\n'
HATCH = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
OWN_TEST = "def test_own():\n    raise AssertionError('none of the claims')\n"
SETUP_CFG = (
    "[metadata]\nname = my-project\nversion = 1\n[options]\npy_modules = my_project\ninstall_requires =\n    humanize\n"
)
POETRY = (
    '[tool.poetry]\nname = "my-project"\nversion = "1"\ndescription = ""\nauthors = []\n'
    'packages = [{ include = "my_project.py" }]\n'
    '[tool.poetry.dependencies]\npython = ">=3.11,<4"\n[tool.poetry.group.test.dependencies]\nhumanize = "*"\n'
    '[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'
)
PIP = "python -m pip install --extra-index-url https://download.pytorch.org/whl/cpu 'robustest[html]'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A repository: its files, and the lines that install its only service."""

    files: Mapping[str, str]
    lines: tuple[str, ...]
    python: str = "python"
    options: str = ""
    services: tuple[str, ...] = ("",)
    model: str = "my_project:Net"
    data: str = "my_project:test_set"


LAYOUTS = {
    "src": Layout(
        files={
            "pyproject.toml": f"{PACKAGE}[project.optional-dependencies]\n"
            f'docs = ["absent"]\ntest = ["tomli-w"]\n{HATCH}',
            "src/my_project/__init__.py": MODULE,
        },
        lines=(f"{PIP} -e '.[test]'",),
    ),
    "flat": Layout(
        files={"my_project.py": MODULE, "requirements.txt": "humanize\n", "requirements-dev.txt": "tomli-w\n"},
        lines=(f"{PIP} -r requirements.txt -r requirements-dev.txt",),
    ),
    "poetry": Layout(
        files={"pyproject.toml": POETRY, "my_project.py": MODULE},
        lines=(
            "python -m pip install poetry",
            "poetry install --with test",
            "poetry run python -m ensurepip --upgrade",
            f"poetry run {PIP}",
        ),
        python="poetry run python",
    ),
    "uv": Layout(
        files={
            "pyproject.toml": f'{PACKAGE}[dependency-groups]\ntest = ["tomli-w"]\ndocs = ["tomlkit"]\n',
            "my_project.py": MODULE,
            "uv.lock": "",
        },
        lines=(
            "python -m pip install uv",
            "uv sync --frozen --group test",
            "uv pip install --torch-backend cpu 'robustest[html]'",
        ),
        python="uv run --no-sync python",
    ),
    "setup.cfg": Layout(
        files={
            "setup.cfg": SETUP_CFG,
            "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n',
            "my_project.py": MODULE,
        },
        lines=(f"{PIP} -e .",),
    ),
    "monorepo": Layout(
        files={
            f"services/{name}/{file}": text
            for name in ("a", "b")
            for file, text in {"my_project.py": MODULE, "requirements.txt": "humanize\n"}.items()
        },
        lines=(f"{PIP} -r requirements.txt",),
        services=("services/a", "services/b"),
    ),
    "notebook": Layout(
        files={"model.ipynb": NOTEBOOK},
        lines=(f"{PIP} humanize",),
        model="model.ipynb:Net",
        data="model.ipynb:test_set",
    ),
    "unittest": Layout(
        files={
            "my_project.py": MODULE,
            "setup.cfg": SETUP_CFG,
            "tests/__init__.py": "",
            "tests/test_own.py": "import unittest\n\n\nclass Own(unittest.TestCase):\n    "
            + OWN_TEST.replace("test_own()", "test_own(self)").replace("\n", "\n    ").rstrip()
            + "\n",
        },
        lines=(f"{PIP} humanize",),
    ),
    "xdist and coverage": Layout(
        files={
            "my_project.py": MODULE,
            "requirements.txt": "humanize\n",
            "tests/test_own.py": OWN_TEST,
            "pytest.ini": "[pytest]\naddopts = -n 2 --cov=my_project --cov-fail-under=99\n",
        },
        lines=(f"{PIP} pytest-xdist pytest-cov -r requirements.txt",),
        options=" --no-cov",
    ),
    "strict": Layout(
        files={
            "my_project.py": MODULE,
            "pyproject.toml": f'{PACKAGE}{HATCH}[tool.hatch.build.targets.wheel]\ninclude = ["my_project.py"]\n'
            '[tool.pytest.ini_options]\naddopts = ["--strict-markers", "--strict-config"]\n'
            'filterwarnings = ["error"]\ntestpaths = ["checks"]\npython_files = ["check_*.py"]\ntimeout = 5\n',
            "checks/check_own.py": OWN_TEST,
        },
        lines=(f"{PIP} pytest-timeout -e .",),
        options=" --timeout=0",
    ),
    "conda": Layout(
        files={
            "my_project.py": MODULE,
            "environment.yml": "name: mine\ndependencies:\n  - python=3.12\n  - pip\n  - pip:\n    - humanize\n",
        },
        lines=(
            '"$CONDA/bin/conda" env create --quiet --prefix "$HOME/robustness-env" --file environment.yml',
            f'"$HOME/robustness-env/bin/{PIP[:6]}"{PIP[6:]}',
        ),
        python='"$HOME/robustness-env/bin/python"',
    ),
    "links": Layout(
        files={"my_project.py": MODULE, "requirements.txt": "humanize\n"}, lines=(f"{PIP} -r requirements.txt",)
    ),
}


@pytest.fixture(params=LAYOUTS)
def layout(request: pytest.FixtureRequest) -> Layout:
    return LAYOUTS[request.param]


@pytest.fixture
def repository(layout: Layout, tmp_path: Path) -> Path:
    """A git repository with the layout's files."""
    folder = tmp_path / "repository"
    for name, text in layout.files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (folder / ".git").mkdir()
    return folder


def jobs_of(repository: Path) -> dict[str, Any]:
    text = (repository / ".github" / "workflows" / "robustness.yml").read_text(encoding="utf-8")
    jobs: dict[str, Any] = yaml.safe_load(text)["jobs"]
    return jobs


def lines_of(job: dict[str, Any], name: str) -> str:
    (step,) = [one for one in job["steps"] if one.get("name") == name]
    return str(step["run"])


def test_the_lines_are_those_of_the_layout(layout: Layout, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustest.cli.init.look_at", lambda *_: Facts(kind="images", n=40, guess=0.5))
    for service in layout.services:
        monkeypatch.chdir(repository / service)
        assert main(["init", "--model", layout.model, "--data", layout.data]) == 0
        assert not (repository / service / ".github").exists() or not service
    jobs = jobs_of(repository)
    assert len(jobs) == len(layout.services)
    for job, service in zip(jobs.values(), layout.services, strict=True):
        assert job.get("defaults", {}).get("run", {}).get("working-directory", "") == service
        assert tuple(lines_of(job, "Install").splitlines()) == layout.lines
        test = f"{layout.python} -m pytest --robust -m robust{layout.options} --robust-json=robust.json"
        assert lines_of(job, "Test the claims").startswith(test)
        assert (service in job["name"]) is True
        paths = [step["with"]["path"] for step in job["steps"] if "path" in step.get("with", {})]
        assert all(line.startswith(service) for path in paths for line in path.split())


def test_the_second_time_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    for name in ("a", "b", "a", "b"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / name)
        assert main(["init"]) == 0
    assert list(jobs_of(tmp_path)) == ["robustness-a", "robustness-b"]


def test_a_workflow_of_ones_own_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".git").mkdir()
    workflows = tmp_path / ".github" / "workflows"
    workflows.mkdir(parents=True)
    (workflows / "robustness.yml").write_text("# mine\n", encoding="utf-8")
    (tmp_path / "my service").mkdir()
    monkeypatch.chdir(tmp_path / "my service")
    assert main(["init"]) == 0
    assert (workflows / "robustness.yml").read_text(encoding="utf-8") == "# mine\n"
    (other,) = set(workflows.glob("robustness-my-service-*.yml"))
    (job,) = yaml.safe_load(other.read_text(encoding="utf-8"))["jobs"].values()
    assert job["defaults"]["run"]["working-directory"] == "my service"


# ---- the lines are run


CONDA = """\
#!/bin/bash
# Stands for conda: an environment in --prefix with what the file's list for pip names.
set -eu
while [ $# -gt 0 ]; do
  case "$1" in --prefix) prefix=$2 ;; --file) file=$2 ;; esac
  shift
done
"$FARM_PYTHON" -m venv "$prefix"
echo "$FARM" >"$(echo "$prefix"/lib/python*/site-packages)/farm.pth"
"$prefix/bin/python" -m pip install $(sed -n 's/^    - //p' "$file")
"""


@pytest.fixture(scope="module")
def farm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Links to the packages of this interpreter but for robustest and plugins of pytest, and a folder of wheels."""
    folder = tmp_path_factory.mktemp("farm")
    links, wheels = folder / "lib" / "python" / "site-packages", folder / "wheels"
    links.mkdir(parents=True)
    wheels.mkdir()
    left_out = (
        "robustest",
        "__editable__",
        "xdist",
        "pytest_",
        "humanize",
        "tomli_w",
        "distutils-precedence",
        "_virtualenv",
    )
    for place in dict.fromkeys(one for one in sys.path if one.endswith("site-packages")):
        for path in Path(place).iterdir():
            if (
                not path.name.startswith(left_out)
                and not path.name.endswith(".pth")
                and not (links / path.name).exists()
            ):
                (links / path.name).symlink_to(path.resolve())
    wheel_of = import_module("newcomer").wheel_of
    for source in (ROOT, ROOT / "distributions" / "robustest-base"):
        wheel_of(source, wheels)
    for name in ("torch", "torchvision"):  # for uv, which does not see the links: a name without files
        _empty_wheel(wheels, name)
    yield links, wheels
    shutil.rmtree(folder)


def _empty_wheel(folder: Path, name: str) -> None:
    from zipfile import ZipFile

    about = f"{name}-99.0.dist-info"
    with ZipFile(folder / f"{name}-99.0-py3-none-any.whl", "w") as file:
        file.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 99.0\n")
        file.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr(f"{about}/RECORD", "")


def _environment(folder: Path, farm: Path) -> Path:
    venv.create(folder, with_pip=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "farm.pth").write_text(f"{farm}\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_the_lines_make_a_gate(layout: Layout, repository: Path, tmp_path: Path, farm: tuple[Path, Path]) -> None:
    links, wheels = farm
    shutil.rmtree(repository / ".git")
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "conda").write_text(CONDA, encoding="utf-8")
    (home / "bin" / "conda").chmod(0o755)
    hidden = ("PYTEST", "ROBUSTEST", "PYTHONPATH", "VIRTUAL_ENV", "COV", "CI", "GITHUB")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    empty = _environment(tmp_path / "env", links)
    environ = {
        **kept,
        "HOME": str(home),
        "CONDA": str(home),
        "FARM": str(links),
        "FARM_PYTHON": sys.executable,
        "PATH": f"{empty / 'bin'}:{kept['PATH']}",
        "OMP_NUM_THREADS": "1",
        "PIP_FIND_LINKS": str(wheels),
        "UV_FIND_LINKS": str(wheels),
        "POETRY_VIRTUALENVS_IN_PROJECT": "true",
        "UV_PROJECT_ENVIRONMENT": ".venv",
    }

    def does(command: str, folder: Path, **more: str) -> tuple[int, str]:
        done = subprocess.run(  # noqa: S603 - our own lines
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", command],  # noqa: S607 - as a runner does
            cwd=folder,
            env={**environ, **more},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=900,
        )
        return done.returncode, done.stdout

    # The user's machine: the project's packages, robustest, and what pytest needs.
    mine = _environment(tmp_path / "mine", links)
    code, printed = does(
        f"{mine}/bin/python -m pip install -q robustest humanize pytest-xdist pytest-cov pytest-timeout", home
    )
    if "No matching distribution found for humanize" in printed:
        pytest.skip("there is no index of packages")
    assert code == 0, printed
    assert does("git init -q . && git add -A", repository)[0] == 0
    python = f"{mine}/bin/python"
    if "uv.lock" in layout.files:
        code, printed = does("rm uv.lock && python -m pip install -q uv && uv lock", repository)
        assert code == 0, printed
    source = "src" if (repository / "src").is_dir() else "."
    for service in layout.services:
        places = f"--model {layout.model} --data {layout.data}"
        code, printed = does(f"{python} -m robustest.cli init {places}", repository / service, PYTHONPATH=source)
        assert code == 0, printed
        assert "samples are images, 40 of them" in printed
    for job, service in zip(jobs_of(repository).values(), layout.services, strict=True):
        folder = repository / service
        if layout.python.startswith(("uv", "poetry")):
            _environment(folder / ".venv", links)
        install = lines_of(job, "Install")
        code, printed = does(install, folder)
        if "Failed to fetch: https://download.pytorch.org" in printed:  # where only PyPI is reached
            code, printed = does(install.replace(" --torch-backend cpu", ""), folder)
        assert code == 0, printed
        code, printed = does(lines_of(job, "Test the claims"), folder)
        assert code == 0, printed
        assert "5 passed" in printed, printed
        code, printed = does(lines_of(job, "Test the claims"), folder, SPOILED="1")
        assert code == 1, printed
        assert "FAILED" in printed
