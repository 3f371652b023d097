"""Names of packs, looked for in robustest: each is answered with the extra that has it, and the tables are complete."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch

import robustest
from robustest import Settings, UnknownNameError, measure, plots
from robustest.errors import ConfigError, NotInstalledError
from robustest.extras import extra_with
from robustest.measure import measure_no_spurious_feature
from robustest.run.workers import engine_for

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = sorted((ROOT / "plugins").glob("robustest-*"))
pytestmark = pytest.mark.skipif(not FOLDERS, reason="the packs are not beside these tests")
DATA = torch.rand(8, 1, 4, 4), torch.arange(8) % 2


def public(folder: Path) -> set[str]:
    """The names that a pack's package imports from its own modules."""
    package = folder.name.replace("-", "_")
    tree = ast.parse((folder / package / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {one.name for node in imports if str(node.module).startswith(package) for one in node.names}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_name_of_a_pack_leads_to_its_extra(folder: Path) -> None:
    names = public(folder)
    assert names
    extra = folder.name.removeprefix("robustest-")
    assert {name: extra_with(name) for name in names} == dict.fromkeys(names, extra)
    assert not names & {*robustest.__all__, *measure.__all__}


def extras_of(folder: Path) -> dict[str, list[str]]:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return dict(project.get("optional-dependencies", {}))


def test_an_extra_has_each_pack_and_all_has_everything() -> None:
    extras = extras_of(ROOT)
    for folder in FOLDERS:
        (requirement,) = extras[folder.name.removeprefix("robustest-")]
        assert requirement.startswith(folder.name)
        if further := sorted({*extras_of(folder)} - {"test"}):
            assert any(one.startswith(f"{folder.name}[{','.join(further)}]") for one in extras["all"][1:]), further
    developing = {"all", "docs", "examples", "lint", "test", "types"}
    assert re.findall(r"[a-z]+", extras["all"][0])[1:] == sorted({*extras} - developing)


@pytest.mark.parametrize("module", [robustest, measure, plots], ids=lambda module: module.__name__)
def test_a_name_of_a_pack_says_where_it_is(module: Any) -> None:
    for name, extra in (
        ("assert_sparse_head", "interpret"),
        ("picture_features", "interpret"),
        ("Responses", "people"),
    ):
        words = rf"from robustest_{extra} import {name}\b.*pip install 'robustest\[{extra}\]'"
        with pytest.raises(NotInstalledError, match=words):
            getattr(module, name)
    with pytest.raises(AttributeError, match="no attribute 'assert_nothing'"):
        module.assert_nothing  # noqa: B018


def test_an_import_of_such_a_name_says_so_too() -> None:
    with pytest.raises(ImportError, match=r"pip install 'robustest\[interpret\]'"):
        from robustest import Discovery  # type: ignore[attr-defined] # noqa: F401
    assert issubclass(NotInstalledError, ConfigError)


def test_what_a_pack_gives_by_a_hook_names_the_extra(packs: Any) -> None:
    packs()
    with pytest.raises(NotInstalledError, match=r"search for cues 'auto'.*pip install 'robustest\[interpret\]'"):
        measure_no_spurious_feature(lambda x: x[:, 0, 0, :2], DATA, "auto", max_flip_rate=0.1)
    with pytest.raises(NotInstalledError, match=r"engine 'ray'.*pip install 'robustest\[ray\]'"):
        engine_for(Settings(engine="ray"))
    with pytest.raises(UnknownNameError, match="Did you mean 'auto'"):
        measure_no_spurious_feature(lambda x: x[:, 0, 0, :2], DATA, "atuo", max_flip_rate=0.1)
