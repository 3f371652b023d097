"""Somebody with an empty folder and an environment into which the wheel of this checkout was installed.

The environment is new but for the packages that robustest depends on: those of the interpreter that runs the tests are
on its path, so that nothing is downloaded (but the wheel's build backend, where that is not installed here).
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest
import torch

import robustest

ROOT = Path(__file__).resolve().parents[1]


class User:
    """Somebody with a folder and an environment."""

    def __init__(self, folder: Path, environment: Path) -> None:
        self.folder = folder
        hidden = ("PYTEST", "ROBUSTEST", "PYTHONPATH", "COV", "CI", "BUILD_NUMBER", "GITHUB")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
        scripts = environment / "bin"
        self.environ = {**kept, "PATH": f"{scripts}:{kept['PATH']}", "VIRTUAL_ENV": str(environment), "COLUMNS": "200"}
        self.environ |= {"PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "OMP_NUM_THREADS": "1"}

    def does(self, command: str, code: int = 0, **environ: str) -> str:
        """Type a command; what it printed."""
        done = subprocess.run(  # noqa: S603 - our own commands
            ["bash", "-euo", "pipefail", "-c", command],  # noqa: S607
            cwd=self.folder,
            env={**self.environ, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=600,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def writes(self, name: str, text: str) -> None:
        """Save a file, in the place of one that is there."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def tested_wheel() -> Path | None:
    """Return the folder into which the robustest under test was installed; None for that of this checkout."""
    folder = Path(robustest.__file__).resolve().parents[1]
    return None if folder == ROOT or not any(folder.glob("robustest-*.dist-info")) else folder


def environment(folder: Path) -> Path:
    """A new environment in this folder, with a wheel that is built of this checkout, or with the wheel under test."""
    venv.create(folder / "env", with_pip=True)
    (packages,) = (folder / "env").glob("lib/python*/site-packages")
    wheel = tested_wheel()
    # The folders of torch and pytest have most of what these need; a .pth may add others.
    there = {str(Path(module.__file__ or "").parents[1]) for module in (torch, pytest)}
    there |= {entry for entry in sys.path if entry.endswith("site-packages")}
    first = [] if wheel is None else [str(wheel)]
    (packages / "dependencies.pth").write_text("\n".join([*first, *sorted(there)]) + "\n", encoding="utf-8")
    scripts = folder / "env" / "bin"  # pip writes one of pytest only with what it installs
    _script(scripts, "pytest", "pytest")
    user = User(folder, folder / "env")
    if wheel is not None:
        _script(scripts, "robustest", "robustest.cli")
        return folder / "env"
    if (packages / "setuptools").is_dir():  # older than torch asks for, and before the one that it has
        user.does("pip uninstall --quiet --yes setuptools")
    # Another robustest may be among the interpreter's packages: pip would take its version for this one's.
    user.does(f"pip install --quiet --ignore-installed --no-deps '{wheel_of(ROOT, folder)}'")
    where = user.does("python -c 'import robustest; print(robustest.__file__)'")
    assert where.startswith(str(packages)), where
    return folder / "env"


def _script(scripts: Path, name: str, module: str) -> None:
    (scripts / name).write_text(f'#!/bin/sh\nexec "{scripts}/python" -m {module} "$@"\n', encoding="utf-8")
    (scripts / name).chmod(0o755)


def wheel_of(source: Path, folder: Path) -> Path:
    """A wheel of robustest, or of a pack in this checkout."""
    alone = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *alone, "-w", str(folder), str(source)]
    before = set(folder.glob("*.whl"))
    subprocess.run(command, check=True, timeout=300)  # noqa: S603
    (built,) = set(folder.glob("*.whl")) - before
    return built
