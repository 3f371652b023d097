"""A first test, its fixtures and a workflow in a user's repository; nothing is asked, nothing overwritten."""

from __future__ import annotations

import re
from pathlib import Path

from robustest.cli.exits import Exit, wrong
from robustest.cli.first_gates.templates import (
    FRAMEWORKS,
    IGNORED,
    conftest,
    data_fixture,
    model_fixture,
    tests,
    workflow,
)
from robustest.cli.screen import Screen


def init(folder: str) -> int:
    """Write what is not there yet, and say what was written and what comes next.

    Args:
        folder: the repository's root.

    Raises:
        Refused: there is no such folder.
    """
    root = Path(folder)
    if not root.is_dir():
        raise wrong(f"Expected the folder of a project but there is none at {root}.")
    screen = Screen()
    framework = framework_of(root)
    _write(screen, root, "tests/test_robustness.py", tests(framework))
    todo = _fixtures(screen, root, framework)
    _write(screen, root, ".github/workflows/robustness.yml", workflow(_install(root)))
    _write(screen, root, ".robustest/.gitignore", IGNORED)
    screen.write_line()
    screen.write_line("Next:", bold=True)
    steps = [
        todo,
        f"Let a scan find what else it holds, and write that as tests: robustest init --scan {folder}",
        "Run the claims: pytest --robust -m robust",
        "Set their thresholds to what the model holds: robustest suggest -m robust",
        "Commit, and make the job a required check of your main branch",
    ]
    for number, step in enumerate(steps, 1):
        screen.write_line(f"  {number}. {step}")
    return Exit.OK


def _write(screen: Screen, root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
    except FileExistsError:
        screen.write_line(f"kept    {path}: it is there already", yellow=True)
        return
    screen.write_line(f"wrote   {path}", green=True)


def _fixtures(screen: Screen, root: Path, framework: str) -> str:
    """Write a conftest.py, or show what to add to the one there is; what is left to do with it."""
    there = [path for path in (root / "tests" / "conftest.py", root / "conftest.py") if path.is_file()]
    if not there:
        _write(screen, root, "tests/conftest.py", conftest(framework))
        return f"Fill in robust_model and robust_data in {root / 'tests' / 'conftest.py'}"
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in there)
    fixtures = {"robust_model": model_fixture(framework), "robust_data": data_fixture(framework)}
    lacking = [name for name in fixtures if not re.search(rf"\b{name}\b", text)]
    screen.write_line(f"kept    {there[0]}: it is there already", yellow=True)
    if not lacking:
        return f"See that robust_model and robust_data in {there[0]} are those the tests are about"
    screen.write_line(
        f"        add to it{'' if re.search(r'^import pytest$', text, re.M) else ', below import pytest'}:"
    )
    for name in lacking:
        screen.write_line()
        for line in fixtures[name].splitlines():
            screen.write_line(line)
    return f"Add {' and '.join(lacking)} to {there[0]}, as shown above, and fill in what they return"


def framework_of(root: Path) -> str:
    """The framework that the project's files name among what they require; empty where they name none we know."""
    files = [*sorted(root.glob("requirements*.txt")), *sorted(root.glob("requirements/*.txt")), root / "pyproject.toml"]
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in files if path.is_file()).lower()
    named = (word for word in FRAMEWORKS if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text))
    return next((FRAMEWORKS[word] for word in named), "")


def _install(root: Path) -> str:
    """What the workflow has to install: the project's own requirements too."""
    if (root / "requirements.txt").is_file():
        return "'robustest[html]' -r requirements.txt"
    project = root / "pyproject.toml"
    if project.is_file() and re.search(r"^\[project\]", project.read_text(encoding="utf-8", errors="replace"), re.M):
        return "'robustest[html]' ."
    return "'robustest[html]'"
