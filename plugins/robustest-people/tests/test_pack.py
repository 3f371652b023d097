"""How robustest finds this pack: by a light module that every robust run imports; and what the pack is made of."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import robustest_people
import robustest_people.measure
from core_tests import TESTS, load
from robustest_people import pack
from table_entries import check_entries

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
PACKAGE = Path(robustest_people.__file__).parent
PUBLIC = {"data", "errors", "extensions", "measure", "packs", "rng", "shifts", "tasks", "threats"}


def test_the_entry_point_names_the_module() -> None:
    points = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    assert points == {"robustest": {"people": pack.__name__}}


def test_it_brings_in_nothing_heavy() -> None:
    code = f"import sys, {pack.__name__}; print({{'torch', 'numpy', 'scipy', 'starlette'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "set()"


def test_a_study_is_planned_and_read_without_torch() -> None:
    code = "import sys, robustest_people.studies, robustest_people.study_command; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "False"


def imports(path: Path) -> set[str]:
    """The modules of robustest that a file imports, names of functions' bodies included."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    found |= {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    return {name for name in found if name.partition(".")[0].startswith("robustest")}


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_it_uses_public_modules_alone(path: Path) -> None:
    """No private module of robustest, and no other pack."""
    allowed = {"robustest", *(f"robustest.{name}" for name in PUBLIC)}
    foreign = {name for name in imports(path) if name.partition(".")[0] != "robustest_people"}
    assert foreign <= allowed


@pytest.mark.parametrize("module", [robustest_people, robustest_people.measure])
def test_the_names_are_those_that_a_type_checker_sees(module: ModuleType) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    found = {alias.name: str(node.module) for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert found == module._HOME
    assert all(getattr(module, name) is getattr(import_module(home), name) for name, home in found.items())
    with pytest.raises(AttributeError, match="no attribute 'everything'"):
        module.everything  # noqa: B018


ASSERTIONS = [name for name in robustest_people.__all__ if name.startswith("assert_")]


def test_every_assertion_has_a_kind_a_twin_and_a_page() -> None:
    check_entries((kind.assertion for kind in pack.robustest_kinds()), ASSERTIONS, "robustest_kinds of the pack")
    twins = [name.replace("assert_", "measure_") for name in ASSERTIONS]
    check_entries(robustest_people.measure.__all__, twins, "__all__ of robustest_people/measure.py")
    for name in ASSERTIONS:
        page = TESTS.parent / "docs" / "claims" / f"{name.removeprefix('assert_')}.md"
        assert page.exists(), f"Add {page.relative_to(TESTS.parent)}."
        assert f"{name}(" in page.read_text(encoding="utf-8"), f"Add a call of {name} to {page.name}."


RULES = [name for name, rule in vars(load("contract/test_api_rules.py")).items() if name.startswith("test_")
         and list(inspect.signature(rule).parameters) == ["name"]]  # fmt: skip
FIRST = {"assert_simulatable": ["study"], "assert_cue_noticed": ["study"], "assert_label_quality": ["data"]}
VARIED = {"responses", "cue", "new_data"}


@pytest.mark.parametrize("name", ASSERTIONS)
@pytest.mark.parametrize("rule", RULES)
def test_the_api_keeps_the_rules_of_core(rule: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rules: Any = load("contract/test_api_rules.py")
    kinds = {kind.assertion: kind for kind in pack.robustest_kinds()}
    monkeypatch.setattr(rules, "robustest", robustest_people)
    monkeypatch.setattr(rules, "measure", robustest_people.measure)
    monkeypatch.setattr(rules, "kind_of", kinds.get)
    monkeypatch.setattr(rules, "FIRST", FIRST)
    monkeypatch.setattr(rules, "VARIED", VARIED)
    getattr(rules, rule)(name)


def test_every_keyword_is_on_the_page_of_answers() -> None:
    """Words that core has as well mean the same, and stand in its table."""
    signatures = [inspect.signature(getattr(robustest_people, name)).parameters.values() for name in ASSERTIONS]
    used = {one.name for parts in signatures for one in parts if one.kind is not one.VAR_KEYWORD}
    page = (TESTS.parent / "docs" / "labels.md").read_text(encoding="utf-8").partition("## Keywords")[2]
    listed = [word for row in re.findall(r"^\| (`.*?) \|", page, re.M) for word in re.findall(r"`(\w+)`", row)]
    ours = used - set(load("contract/test_api_rules.py").keywords())
    check_entries(listed, ours, "the table Keywords of docs/labels.md")
