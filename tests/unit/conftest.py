"""Fixtures of the store's tests: programs in processes of their own, and modules from text."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from robustest.store.entries import Entry

Runs = Callable[..., str]
Loads = Callable[..., Any]


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Runs Python text in a process of its own: `program(text, *arguments, cwd=None, **environment)` is its output.

    In a folder of its own, too, unless one is given: what "-c" runs imports from where it stands before anything else.
    """
    elsewhere = tmp_path_factory.mktemp("elsewhere")

    def run(text: str, *arguments: object, cwd: Path | None = None, **environment: str) -> str:
        command = [sys.executable, "-c", text, *map(str, arguments)]
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd or elsewhere,
            env={**os.environ, "PYTHONHASHSEED": "1", **environment},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def fork(tmp_path: Path) -> Runs:
    """Runs Python text as `program` does, in a fork of this process: for programs that import only what is here."""
    if not hasattr(os, "fork"):
        pytest.skip("this system cannot fork")

    def run(text: str, *arguments: object, cwd: Path | None = None) -> str:
        output, errors = tmp_path.parent / f"{tmp_path.name}.out", tmp_path.parent / f"{tmp_path.name}.err"
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
            child = os.fork()
        if child == 0:
            code = 1
            with output.open("w") as sys.stdout, errors.open("w") as sys.stderr:
                try:
                    os.chdir(cwd or tmp_path)
                    sys.argv = ["-c", *map(str, arguments)]
                    exec(compile(text, "-c", "exec"), {"__name__": "__main__"})  # noqa: S102 - the tests' own programs
                    code = 0
                except BaseException:
                    traceback.print_exc()
            os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, errors.read_text()
        return output.read_text().strip()

    return run


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    """Writes text to a file of its own and imports it: `module(text, name="nets", folder="a")`."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def load(text: str, name: str = "nets", folder: str = "a") -> ModuleType:
        path = tmp_path / folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return load


@pytest.fixture
def entry() -> Entry:
    """Arrays of several types, one of them empty, and nested meta."""
    arrays = {
        "outcomes": torch.tensor([True, False, True]),
        "x": torch.linspace(0, 1, 12).reshape(3, 4),
        "ids": torch.arange(3),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "none": torch.empty(0, 4),
        "one": torch.tensor(2.5, dtype=torch.float64),
    }
    return Entry(arrays, {"cost": {"forward": 3}, "notes": ["a", "ü"], "share": 0.1, "none": None})
