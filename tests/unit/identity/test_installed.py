"""robustest's own code counts by what it says, wherever it was installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import robustest
from robustest import Linf
from robustest.identity.fingerprint import digest

SCRIPT = """
import robustest
from robustest import Linf
from robustest.identity.fingerprint import digest
print(robustest.__file__, digest(Linf(0.1)))
"""


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    """A copy of the package below a folder of a name."""

    def made(name: str) -> Path:
        home = tmp_path / name / "robustest"
        shutil.copytree(Path(robustest.__file__).parent, home)  # with its bytecode, which spares seconds
        return home

    return made


def test_a_wheel_and_a_checkout_of_the_same_code_are_one(
    copy: Callable[[str], Path], program: Callable[..., str]
) -> None:
    installed, checkout = copy("site-packages"), copy("checkout")
    notes = installed.parent / "robustest-0.1.0.dist-info"
    notes.mkdir()
    (notes / "METADATA").write_text("Metadata-Version: 2.1\nName: robustest\nVersion: 0.1.0\n", encoding="utf-8")
    (notes / "RECORD").write_text("robustest/__init__.py,sha256=abc,1\n", encoding="utf-8")
    for home in (installed, checkout):
        assert program(SCRIPT, PYTHONPATH=str(home.parent)).split() == [str(home / "__init__.py"), digest(Linf(0.1))]


def test_other_code_of_the_same_version_is_another(copy: Callable[[str], Path], program: Callable[..., str]) -> None:
    home = copy("site-packages")
    with (home / "threats" / "balls.py").open("a", encoding="utf-8") as file:
        file.write("\nMORE = 1\n")
    place, other = program(SCRIPT, PYTHONPATH=str(home.parent)).split()
    assert place == str(home / "__init__.py")
    assert other != digest(Linf(0.1))
