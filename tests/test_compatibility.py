"""robustest beside libraries that its users have: what resolves, and what runs. `python tests/test_compatibility.py`
writes docs/compatibility.md, in about ten minutes.

`pip install --dry-run` resolves robustest and one more package for an empty environment; for plugins of pytest and for
hypothesis a small project is then run with that release before the others on the path.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "compatibility.md"
OLDEST = {
    "hypothesis": "6.100.0",
    "lightning": "2.4.0",
    "pytest-randomly": "3.16.0",
    "pytest-rerunfailures": "15.0",
    "pytest-xdist": "3.6.1",
    "scikit-learn": "1.4.0",
    "transformers": "4.46.0",
}
"""The oldest release of each that is tried; the newest is the newest that the index has."""
RUN = {
    "hypothesis": (),
    "pytest-randomly": ("-p", "randomly"),
    "pytest-rerunfailures": ("--reruns", "1"),
    "pytest-xdist": ("-n", "2"),
}
"""Packages that a project is run with, and pytest's arguments."""
PROJECT = """
import pytest, torch
from robustest import Linf, assert_robust_accuracy, assert_robust_to
from robustest.strategies import shifts

class Bright(torch.nn.Module):
    def forward(self, x):
        z = 10 * (x.flatten(1).mean(1) - 0.5)
        return torch.stack([-z, z], 1)

@pytest.fixture
def data():
    value = torch.tensor([0.25, 0.75]).repeat(8)
    return value.view(-1, 1, 1, 1).expand(-1, 1, 4, 4).contiguous(), (value > 0.5).long()

def test_attack(data):
    assert_robust_accuracy(Bright(), data, Linf(0.1), at_least=1.0, attack="fgsm")

def test_search(data):
    assert_robust_to(Bright(), data, shifts(["brightness"]), at_least=0.5, max_examples=5)
"""


def resolved(name: str, version: str = "") -> dict[str, str]:
    """Return the releases that pip would install together with robustest.

    Raises:
        subprocess.CalledProcessError: there is no such set; its output says why.
    """
    asked = f"{name}=={version}" if version else name
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", "-"]
    done = subprocess.run(  # noqa: S603 - pip
        [*command, str(ROOT), asked], check=True, capture_output=True, text=True, timeout=900
    )
    report = json.loads(done.stdout[done.stdout.index("{") :])
    found = [one["metadata"] for one in report["install"]]
    return {re.sub(r"[-_.]+", "-", one["name"]).lower(): one["version"] for one in found}


def passes(name: str, version: str) -> bool:
    """Return True if the project's claims pass, and are claims, with this release of a package."""
    with tempfile.TemporaryDirectory() as folder:
        target, here = Path(folder) / "packages", Path(folder) / "project"
        here.mkdir()
        (here / "test_it.py").write_text(PROJECT, encoding="utf-8")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target)]
        subprocess.run([*command, f"{name}=={version}"], check=True, timeout=300)  # noqa: S603 - pip
        paths = [str(target), str(ROOT), os.environ.get("PYTHONPATH", "")]
        done = subprocess.run(  # noqa: S603 - our own project
            [sys.executable, "-m", "pytest", "--robust", *RUN[name]],
            cwd=here,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
            check=False,
            capture_output=True,
            text=True,
            timeout=600,
        )
    return done.returncode == 0 and "2 passed" in done.stdout


@cache
def beside(releases: tuple[str, str] | None = None) -> str:
    """Return the releases of torch and pytest in words; without an argument, those that pip installs today."""
    if releases is None:
        usual = resolved("pytest")
        releases = usual["torch"], usual["pytest"]
    return f"torch {releases[0].partition('+')[0]}, pytest {releases[1]}"


@cache
def row(name: str) -> str:
    """Return a package's row of the page."""
    cells = [f"`{name}`"]
    for version in (OLDEST[name], ""):
        try:
            releases = resolved(name, version)
        except subprocess.CalledProcessError as error:
            cells.append(f"no: {error.stderr.strip().splitlines()[-1][:80]}")
            continue
        release = releases[name]
        ran = "" if name not in RUN else ", runs" if passes(name, release) else ", **does not run**"
        found = beside((releases["torch"], releases["pytest"]))
        cells.append(f"{release}{ran}" if found == beside() else f"{release} ({found}){ran}")
    return f"| {' | '.join(cells)} |"


def test_the_page_has_a_row_of_each() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d.]+)\b.* \| [\d.]+\b.* \|$", PAGE.read_text(encoding="utf-8"), re.M)
    assert rows == list(OLDEST.items())


def test_floors_are_those_of_the_project() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name, floor in re.findall(r'"([\w-]+)>=([\d.]+)', text):
        if name in ("hypothesis", "pytest-rerunfailures", "pytest-xdist"):
            assert f"{OLDEST[name]}.0".startswith(f"{floor}."), name


@pytest.mark.slow
@pytest.mark.parametrize("name", OLDEST)
def test_it_resolves_and_runs(name: str) -> None:
    assert "no: " not in row(name)
    assert "does not run" not in row(name)


if __name__ == "__main__":
    head, _, _ = PAGE.read_text(encoding="utf-8").partition("| Package")
    table = [f"| Package, with {beside()} | Oldest tried | Newest |", "|---|---|---|", *map(row, OLDEST)]
    PAGE.write_text("\n".join([f"{head}{table[0]}", *table[1:], ""]), encoding="utf-8")
