"""The public names: exact, loaded only when used, and free at start-up."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import robustest
from robustest import packs

HEAVY = ("torch", "torchvision", "numpy", "scipy", "hypothesis", "PIL", "safetensors", "junit_xml")


def type_checking_imports() -> list[tuple[str, str, str | None]]:
    """(module, name, alias) of every import a type checker sees in robustest/__init__.py."""
    tree = ast.parse(Path(robustest.__file__).read_text(encoding="utf-8"))
    blocks = [n for n in tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    imports = [n for block in blocks for n in block.body if isinstance(n, ast.ImportFrom)]
    assert sum(len(block.body) for block in blocks) == len(imports)
    return [(str(n.module), alias.name, alias.asname) for n in imports for alias in n.names if n.module != "robustest"]


def test_all_is_what_a_type_checker_sees() -> None:
    names = [name for _, name, _ in type_checking_imports()]
    assert robustest.__all__ == sorted(names)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("module", [robustest.measure, packs], ids=lambda module: module.__name__)
def test_names_that_load_when_used_are_those_that_a_type_checker_sees(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    block = next(n for n in tree.body if isinstance(n, ast.If))
    seen = {alias.name: str(n.module) for n in block.body if isinstance(n, ast.ImportFrom) for alias in n.names}
    assert module.__all__ == sorted(seen)
    assert seen == module._MODULE_OF
    assert all(getattr(module, name) is not None for name in seen)
    with pytest.raises(AttributeError, match="no attribute 'everything'"):
        module.everything  # noqa: B018


def test_modules_with_further_names_load_by_their_names(tmp_path: Path) -> None:
    code = "import sys, robustest; before = {*sys.modules}; "
    code += "print([n for n in robustest._MODULES if f'robustest.{n}' in before or not getattr(robustest, n)])"
    assert printed(code, tmp_path) == "[]"


def test_every_import_is_an_explicit_export() -> None:
    assert [name for _, name, alias in type_checking_imports() if alias != name] == []


@pytest.mark.parametrize("name", robustest.__all__)
def test_every_name_loads(name: str) -> None:
    assert getattr(robustest, name) is not None
    assert name in dir(robustest)


@pytest.mark.parametrize(("module", "name", "alias"), type_checking_imports(), ids=str)
def test_the_name_that_loads_is_the_one_a_type_checker_sees(module: str, name: str, alias: str) -> None:
    home = __import__(module, fromlist=[name])
    assert getattr(robustest, name) is getattr(home, name)


def test_a_name_that_does_not_exist_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'assert_everything'"):
        robustest.assert_everything  # noqa: B018


def test_the_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert robustest.__version__ == version("robustest")


def printed(code: str, folder: Path) -> str:
    """What code prints in a process and a folder of its own: "-c" imports from where it stands before anything else."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=folder)  # noqa: S603
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["robustest", "robustest.pytest_plugin", "robustest.settings", "robustest.errors"])
def test_start_up_brings_in_nothing_heavy(module: str, tmp_path: Path) -> None:
    code = f"import sys, {module}; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    assert printed(code, tmp_path) == "[]"


def test_a_name_brings_in_no_more_than_it_needs(tmp_path: Path) -> None:
    code = f"import sys, robustest; robustest.ConfigError, robustest.Settings; print(set(sys.modules) & set({HEAVY!r}))"
    assert printed(code, tmp_path) == "set()"


def test_a_claim_brings_in_neither_torchvision_nor_hypothesis(tmp_path: Path) -> None:
    """Each takes as long to import as many a claim does to measure, and few claims need them."""
    code = (
        "import sys, robustest; robustest.assert_robust_accuracy, robustest.cues.PixelPatch, robustest.shifts.corrupt; "
        "print(sorted({'torch', 'torchvision', 'torch._dynamo', 'hypothesis'} & set(sys.modules)))"
    )
    assert printed(code, tmp_path) == "['torch']"
