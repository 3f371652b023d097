"""What type checkers see of the assertions: all that a user may write, and no mistake."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
USED, MISTAKES = HERE / "uses_everything.py", HERE / "mistakes.py"
sys.path.insert(0, str(HERE))

from stubs import stubs  # noqa: E402 - beside this file


@pytest.mark.parametrize("path", stubs(), ids=lambda path: path.name)
def test_the_stubs_are_those_of_the_signatures(path: Path) -> None:
    remedy = "Run: python tests/type_checks/stubs.py"
    assert path.read_text(encoding="utf-8") == stubs()[path], remedy


def mypy(folder: Path) -> set[tuple[str, int]]:
    pytest.importorskip("mypy", reason="mypy is an extra of `tox -e types`")
    cache = f"--cache-dir={folder}"
    command = [sys.executable, "-m", "mypy", "--strict", "--no-pretty", cache, str(USED), str(MISTAKES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)  # noqa: S603
    assert done.returncode == 1, done.stdout + done.stderr
    found = re.findall(r"^(\S+):(\d+): error: ", done.stdout, re.M)
    return {(Path(name).name, int(line)) for name, line in found}


def pyright(folder: Path) -> set[tuple[str, int]]:
    program = shutil.which("pyright")
    if program is None:
        pytest.skip("pyright is an extra of `tox -e types`")
    command = [program, "--outputjson", "--pythonpath", sys.executable, str(USED), str(MISTAKES)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=HERE)  # noqa: S603
    assert done.returncode == 1, done.stdout + done.stderr
    found = [one for one in json.loads(done.stdout)["generalDiagnostics"] if one["severity"] == "error"]
    return {(Path(one["file"]).name, one["range"]["start"]["line"] + 1) for one in found}


@pytest.mark.slow
@pytest.mark.parametrize("check", [mypy, pyright])
def test_mistakes_are_found_and_nothing_else(check: Callable[[Path], set[tuple[str, int]]], tmp_path: Path) -> None:
    lines = MISTAKES.read_text(encoding="utf-8").splitlines()
    planted = {(MISTAKES.name, number) for number, line in enumerate(lines, 1) if "# mistake: " in line}
    assert len(planted) == 18
    assert check(tmp_path) == planted
