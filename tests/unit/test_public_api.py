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


def names_of_stub(module: Any) -> dict[str, str]:
    """The module of each name that a type checker sees in a module's stub; assertions are written out there."""
    tree = ast.parse(Path(module.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    names = {n.name: "" for n in tree.body if isinstance(n, ast.FunctionDef)}
    imports = [n for n in tree.body if isinstance(n, ast.ImportFrom)]
    return names | {a.name: str(n.module) for n in imports for a in n.names if a.asname and n.module != "robustest"}


@pytest.mark.parametrize("module", [robustest, robustest.measure, packs], ids=lambda module: module.__name__)
def test_names_that_load_when_used_are_those_that_a_type_checker_sees(module: Any) -> None:
    seen = names_of_stub(module)
    assert module.__all__ == sorted(seen)
    assert {name: home or module._MODULE_OF[name] for name, home in seen.items()} == module._MODULE_OF
    assert all(getattr(module, name) is not None for name in seen)
    with pytest.raises(AttributeError, match="no attribute 'everything'"):
        module.everything  # noqa: B018


@pytest.mark.slow
def test_modules_with_further_names_load_by_their_names(tmp_path: Path) -> None:
    code = "import sys, robustest; before = {*sys.modules}; "
    code += "print([n for n in robustest._MODULES if f'robustest.{n}' in before or not getattr(robustest, n)])"
    assert printed(code, tmp_path) == "[]"


@pytest.mark.parametrize("name", robustest.__all__)
def test_every_name_loads(name: str) -> None:
    assert getattr(robustest, name) is not None
    assert name in dir(robustest)


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


USED = """
import sys, torch, robustest
robustest.assert_robust_accuracy, robustest.cues.PixelPatch, robustest.shifts.corrupt, robustest.plots.plot_severity
net, x = torch.nn.Linear(4, 2), torch.rand(32, 4)
robustest.measure.measure_robust_accuracy(net, (x, net(x).argmax(1)), robustest.Linf(0.01), at_least=0.1)
print(sorted({"torchvision", "torch._dynamo", "hypothesis", "matplotlib", "robustest.bounds"} & set(sys.modules)))
"""


def test_a_claim_brings_in_no_library_that_it_does_not_use(tmp_path: Path) -> None:
    """Each takes as long to import as many a claim does to measure, and few claims need them."""
    assert printed(USED, tmp_path) == "[]"
