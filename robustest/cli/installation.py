"""Lines of a shell that install a project, robustest and its packs into an empty environment, and that run its tests.

1. A lock or a table of uv, poetry or pipenv: their own command installs, and runs Python in their environment.
2. Else pip installs files of requirements and the package itself (pyproject.toml, setup.py, setup.cfg), with the extras
   and groups that tests are usually named by.
3. Else conda installs its file of an environment.
4. Else nothing says what the project needs: what its modules and notebooks import is installed.

In any case the plugins of pytest that the project's settings need are installed: pytest refuses options that it does
not know. Options that would make a run of the claims alone red, or end it, are switched off: the share of lines that
it covers, and a limit of time.
"""

from __future__ import annotations

import ast
import configparser
import json
import re
import shlex
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet

INDEX = "--extra-index-url https://download.pytorch.org/whl/cpu"
"""Arguments of pip for torch's CPU build: runners have no GPU."""
_PYTHONS = ("3.12", "3.13", "3.11")
# Extras and groups with what tests need; of "dev" only where none of the others is there.
_TESTING = ("test", "tests", "testing", "dev", "develop", "development")
_CONDA = ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml")
# Packages that robustest brings, and modules whose distribution has another name.
_BROUGHT = frozenset({"torch", "torchvision", "numpy", "scipy", "PIL", "hypothesis", "pytest", "_pytest"})
_NAMES = {"cv2": "opencv-python-headless", "skimage": "scikit-image", "sklearn": "scikit-learn", "yaml": "pyyaml"}
_SKIPPED = frozenset({"build", "dist", "node_modules", "site-packages", "__pycache__"})
# Distributions of plugins, by the beginnings of their options and by their settings.
_OPTIONS = {
    "pytest-xdist": ("-n", "--numprocesses", "--maxprocesses", "--dist", "--tx", "--looponfail"),
    "pytest-cov": ("--cov", "--no-cov"),
    "pytest-timeout": ("--timeout", "--session-timeout"),
    "pytest-rerunfailures": ("--reruns", "--only-rerun", "--rerun-except"),
    "pytest-random-order": ("--random-order",),
    "pytest-randomly": ("--randomly",),
    "pytest-benchmark": ("--benchmark",),
    "pytest-html": ("--html", "--self-contained-html"),
    "pytest-asyncio": ("--asyncio",),
    "pytest-django": ("--ds", "--reuse-db", "--create-db", "--nomigrations"),
    "pytest-socket": ("--disable-socket", "--allow-hosts", "--allow-unix-socket"),
    "pytest-mpl": ("--mpl",),
    "pytest-split": ("--splits", "--group"),
    "pytest-forked": ("--forked",),
    "pytest-repeat": ("--count",),
    "pytest-instafail": ("--instafail",),
    "pytest-doctestplus": ("--doctest-plus",),
    "pytest-memray": ("--memray",),
    "pytest-mypy": ("--mypy",),
    "pytest-ruff": ("--ruff",),
    "pytest-pylint": ("--pylint",),
    "allure-pytest": ("--alluredir", "--allure"),
    "nbval": ("--nbval",),
    "syrupy": ("--snapshot",),
}
_SETTINGS = {
    "pytest-timeout": ("timeout", "timeout_method", "timeout_func_only"),
    "pytest-asyncio": ("asyncio_",),
    "pytest-django": ("DJANGO_", "django_"),
    "pytest-env": ("env", "env_"),
    "pytest-mock": ("mock_",),
    "pytest-qt": ("qt_",),
}


@dataclass(frozen=True, slots=True)
class Installation:
    """Lines that install, and the command of Python in the environment that they make."""

    lines: tuple[str, ...]
    python: str = "python"
    options: str = ""  # arguments of pytest for a run of the claims alone


class Project:
    """The files of a project that name its requirements, and how its tests are run."""

    def __init__(self, root: Path, top: Path) -> None:
        self.root, self._top = root, top

    @cached_property
    def pyproject(self) -> Mapping[str, Any]:
        return _toml(self.root / "pyproject.toml")

    @cached_property
    def setup(self) -> configparser.ConfigParser:
        return _ini(self.root / "setup.cfg")

    def above(self, name: str) -> bool:
        """Return True if a file lies in the project, or in a folder between it and the repository's."""
        return any((folder / name).is_file() for folder in self._folders())

    def _folders(self) -> Iterator[Path]:
        folder, top = self.root.resolve(), self._top.resolve()
        yield folder
        while folder != top and top in folder.parents:
            folder = folder.parent
            yield folder

    @cached_property
    def pytest(self) -> Mapping[str, Any]:
        """The settings of pytest: the first file that has some, as pytest looks for it."""
        for folder in self._folders():
            for name in ("pytest.toml", ".pytest.toml"):
                if found := _toml(folder / name).get("pytest"):
                    return dict(found)
            for name in ("pytest.ini", ".pytest.ini"):
                if (folder / name).is_file():
                    return _section(_ini(folder / name), "pytest")
            tables = _toml(folder / "pyproject.toml").get("tool", {}).get("pytest", {})
            if tables:
                return dict(tables.get("ini_options", tables))
            for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
                if found := _section(_ini(folder / name), section):
                    return found
        return {}

    @cached_property
    def options(self) -> list[str]:
        """The arguments that the project gives to every run of pytest."""
        given = self.pytest.get("addopts", "")
        with suppress(ValueError):
            return shlex.split(given) if isinstance(given, str) else [str(one) for one in given]
        return str(given).split()

    def tests_file(self, stem: str) -> str:
        """Return the place of a file of tests, where pytest looks for it: "tests/test_robustness.py"."""
        paths, names = _words(self.pytest.get("testpaths")), _words(self.pytest.get("python_files"))
        folders = [one for one in paths if not set(one) & set("*?[") and (self.root / one).is_dir()]
        folder = "tests" if not paths or "tests" in paths or "." in folders or not folders else folders[0].rstrip("/")
        name = f"test_{stem}.py"
        patterns = [one for one in names if one.endswith(".py")]
        if patterns and not any(Path(name).match(one) for one in patterns):
            name = patterns[0].replace("*", stem).rpartition("/")[2]
        return f"{folder}/{name}"

    def named(self, names: Iterable[str]) -> list[str]:
        """Return the extras or groups of these names that tests need."""
        there = [one for one in _TESTING if one in set(names)]
        first = [one for one in there if one.startswith("test")]
        return first or there[:1]


def installation_of(root: Path, top: Path, packs: Sequence[str]) -> Installation:
    """Return how a project is installed.

    Args:
        root: folder of the project.
        top: folder of its repository.
        packs: distributions of packs that its tests import.
    """
    project = Project(root, top)
    own = " ".join(map(shlex.quote, ["robustest[html]", *packs, *_plugins(project)]))
    off = " --no-cov" if any(one.startswith("--cov") for one in project.options) else ""
    if "timeout" in project.pytest or any(one.startswith("--timeout") for one in project.options):
        off += " --timeout=0"
    tool, table = project.pyproject.get("tool", {}), project.pyproject.get("project", {})
    optional = table.get("optional-dependencies", {})
    groups = project.pyproject.get("dependency-groups", {})
    if project.above("uv.lock"):
        parts = [f"--extra {one}" for one in project.named(optional)]
        parts += [f"--group {one}" for one in project.named(groups)]
        return Installation(
            (
                "python -m pip install uv",
                " ".join(["uv sync --frozen", *parts]),
                f"uv pip install --torch-backend cpu {own}",
            ),
            "uv run --no-sync python",
            off,
        )
    if "poetry" in tool or project.above("poetry.lock"):
        extras = project.named({**optional, **tool.get("poetry", {}).get("extras", {})})
        chosen = project.named({**groups, **tool.get("poetry", {}).get("group", {})})
        parts = [*(f"--extras {one}" for one in extras), *([f"--with {','.join(chosen)}"] if chosen else [])]
        return Installation(
            (
                "python -m pip install poetry",
                " ".join(["poetry install", *parts]),
                "poetry run python -m ensurepip --upgrade",
                f"poetry run python -m pip install {INDEX} {own}",
            ),
            "poetry run python",
            off,
        )
    if (root / "Pipfile").is_file():
        return Installation(
            (
                "python -m pip install pipenv",
                "pipenv install --dev",
                f"pipenv run python -m pip install {INDEX} {own}",
            ),
            "pipenv run python",
            off,
        )
    parts = [f"-r {shlex.quote(one)}" for one in _requirements(root)]
    package = (root / "setup.py").is_file() or bool(table) or "build-system" in project.pyproject
    if package and (table or (root / "setup.py").is_file() or project.setup.has_section("metadata")):
        extras = project.named({**optional, **_section(project.setup, "options.extras_require")})
        parts.append(f"-e '.[{','.join(extras)}]'" if extras else "-e .")
        parts += [f"--group {one}" for one in project.named(groups)]
    elif project.setup.has_option("options", "install_requires"):  # pip does not take it alone for a package
        parts += map(shlex.quote, project.setup.get("options", "install_requires").split("\n"))
        parts = [one for one in parts if one != "''"]
    environment = next((name for name in _CONDA if (root / name).is_file()), None)
    if not parts and environment is not None:
        python = '"$HOME/robustness-env/bin/python"'
        return Installation(
            (
                f'"$CONDA/bin/conda" env create --quiet --prefix "$HOME/robustness-env" --file {environment}',
                f"{python} -m pip install {INDEX} {own}",
            ),
            python,
            off,
        )
    if not parts:
        parts = [shlex.quote(one) for one in imported(root)]
    return Installation((" ".join(["python -m pip install", INDEX, own, *parts]),), "python", off)


def python_of(project: Project) -> str:
    """Return the version of Python for a project: its file's, or the first of robustest's that it admits."""
    with suppress(OSError, UnicodeDecodeError):
        text = (project.root / ".python-version").read_text(encoding="utf-8")
        if found := re.match(r"\s*(3\.\d+)", text):
            return found[1]
    asked = project.pyproject.get("project", {}).get("requires-python")
    if isinstance(asked, str):
        with suppress(InvalidSpecifier):
            return next((one for one in _PYTHONS if SpecifierSet(asked).contains(f"{one}.99")), _PYTHONS[0])
    return _PYTHONS[0]


def _requirements(root: Path) -> list[str]:
    found = []
    for first, others in (
        ("requirements.txt", ("requirements-{}.txt", "requirements_{}.txt", "{}-requirements.txt")),
        ("requirements/base.txt", ("requirements/{}.txt",)),
    ):
        if (root / first).is_file():
            found.append(first)
        names = [one.format(word) for word in _TESTING for one in others]
        there = [one for one in names if (root / one).is_file()]
        found += [one for one in there if "test" in one] or there[:1]
    return found


def _plugins(project: Project) -> list[str]:
    """Return the plugins of pytest without which it refuses the project's settings."""
    found = [one for one in _words(project.pytest.get("required_plugins")) if re.match(r"[A-Za-z]", one)]
    there = {re.split(r"[^\w.-]", one)[0] for one in found}
    for plugin, beginnings in _OPTIONS.items():
        for option in project.options:
            long = option.partition("=")[0]
            # "-n2" is -n with a value; "--co" is pytest's own, and "--cov-report" one of those of --cov.
            if any(
                (long == one or long.startswith(f"{one}-"))
                if one.startswith("--")
                else re.match(rf"{one}(\d|$)", option)
                for one in beginnings
            ):
                found += [] if plugin in there else [plugin]
                there.add(plugin)
    for plugin, beginnings in _SETTINGS.items():
        for name in project.pytest:
            if name in beginnings or any(one.endswith("_") and name.startswith(one) for one in beginnings):
                found += [] if plugin in there else [plugin]
                there.add(plugin)
    return found


# ---- what modules and notebooks import


def imported(root: Path) -> list[str]:
    """Return the distributions that the modules and notebooks of a folder import, but for those of robustest's own."""
    names: set[str] = set()
    own = {"conftest"}
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if any(part.startswith(".") or part in _SKIPPED for part in parts) or path.suffix not in (".py", ".ipynb"):
            continue
        if any((folder / "pyvenv.cfg").is_file() for folder in path.parents):
            continue
        own |= {path.stem, *parts[:-1]}
        with suppress(OSError, SyntaxError, ValueError, KeyError, TypeError):
            text = path.read_text(encoding="utf-8", errors="replace")
            for node in ast.walk(ast.parse(code_of(text) if path.suffix == ".ipynb" else text)):
                if isinstance(node, ast.Import):
                    names |= {one.name.partition(".")[0] for one in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    names.add(node.module.partition(".")[0])
    needed = {one for one in names - own - _BROUGHT - sys.stdlib_module_names if not one.startswith("robustest")}
    installed = packages_distributions()
    return sorted({_NAMES.get(one) or next(iter(installed.get(one, ())), one) for one in needed}, key=str.lower)


def code_of(notebook: str) -> str:
    """Return the code of a notebook's cells, without the commands of IPython.

    Raises:
        ValueError, KeyError, TypeError: the text is no notebook.
    """
    cells = [one for one in json.loads(notebook)["cells"] if one["cell_type"] == "code"]
    texts = ["".join(one["source"]) for one in cells]
    lines = [line for text in texts if not text.lstrip().startswith("%%") for line in [*text.splitlines(), ""]]
    return "\n".join(line for line in lines if not line.lstrip().startswith(("%", "!")))


# ---- files of settings


def _toml(path: Path) -> Mapping[str, Any]:
    with suppress(OSError, ValueError):
        return tomllib.loads(path.read_text(encoding="utf-8"))
    return {}


def _ini(path: Path) -> configparser.ConfigParser:
    read = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
    read.optionxform = str  # type: ignore[assignment, method-assign]
    with suppress(OSError, configparser.Error, UnicodeDecodeError):
        read.read_string(path.read_text(encoding="utf-8"))
    return read


def _section(read: configparser.ConfigParser, name: str) -> dict[str, str]:
    return {key: value or "" for key, value in read[name].items()} if read.has_section(name) else {}


def _words(value: object) -> list[str]:
    return value.split() if isinstance(value, str) else [str(one) for one in value] if isinstance(value, list) else []
