"""A first test, its fixtures and a workflow in a user's repository; nothing is asked, nothing overwritten."""

from __future__ import annotations

import re
from pathlib import Path

from robustest.cli.exits import Exit, wrong
from robustest.cli.screen import Screen
from robustest.cli.templates import CONFTEST, FIXTURES, TESTS, workflow


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
    _write(screen, root, "tests/test_robustness.py", TESTS)
    todo = _fixtures(screen, root)
    _write(screen, root, ".github/workflows/robustness.yml", workflow(_install(root)))
    screen.write_line()
    screen.write_line("Next:", bold=True)
    steps = [
        todo,
        "Run the claims: pytest --robust -m robust",
        "Set their thresholds to what the model holds: robustest suggest -m robust",
        "Keep .robustest/ out of git: add it to .gitignore",
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


def _fixtures(screen: Screen, root: Path) -> str:
    """Write a conftest.py, or show what to add to the one there is; what is left to do with it."""
    there = [path for path in (root / "tests" / "conftest.py", root / "conftest.py") if path.is_file()]
    if not there:
        _write(screen, root, "tests/conftest.py", CONFTEST)
        return f"Fill in robust_model and robust_data in {root / 'tests' / 'conftest.py'}"
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in there)
    lacking = [name for name in FIXTURES if not re.search(rf"\b{name}\b", text)]
    screen.write_line(f"kept    {there[0]}: it is there already", yellow=True)
    if not lacking:
        return f"See that robust_model and robust_data in {there[0]} are those the tests are about"
    screen.write_line(
        f"        add to it{'' if re.search(r'^import pytest$', text, re.M) else ', below import pytest'}:"
    )
    for name in lacking:
        screen.write_line()
        for line in FIXTURES[name].splitlines():
            screen.write_line(line)
    return f"Add {' and '.join(lacking)} to {there[0]}, as shown above, and fill in what they return"


def _install(root: Path) -> str:
    """What the workflow has to install: the project's own requirements too."""
    if (root / "requirements.txt").is_file():
        return "robustest -r requirements.txt"
    project = root / "pyproject.toml"
    if project.is_file() and re.search(r"^\[project\]", project.read_text(encoding="utf-8", errors="replace"), re.M):
        return "robustest ."
    return "robustest"
