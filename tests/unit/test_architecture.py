"""docs/architecture.md: its floors, its rooms and its routes are those of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from graphlib import TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

import robustest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(robustest.__file__).parent  # of a wheel, where that is tested
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(heading: str) -> str:
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def source(module: str) -> Path:
    """The file of a module, by its name without the package's."""
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if (path / "__init__.py").exists() else path.with_suffix(".py")


def imported(module: str) -> set[str]:
    """Modules of ours that a module imports, wherever in its file, by their names without the package's."""
    nodes = [
        n for n in ast.walk(ast.parse(source(module).read_text(encoding="utf-8"))) if isinstance(n, ast.ImportFrom)
    ]
    names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
    names |= {str(node.module) for node in nodes}
    return {name.removeprefix("robustest.") for name in names if name.startswith("robustest.")}


def floors() -> list[set[str]]:
    """What stands on each floor, the top first, as import-linter holds it."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
    return [set(re.findall(r"robustest\.(\w+)", layer)) for layer in config["contracts"][0]["layers"]]


def floor_of(module: str) -> int:
    """Of a module's room, counted from the top."""
    return next(floor for floor, rooms in enumerate(floors()) if module.split(".", maxsplit=1)[0] in rooms)


ROUTES = [
    (label, re.findall(r"`([\w.]+)`", modules))
    for label, modules in re.findall(r"^\| (`\w+`[^|]*) \| ([^|]*) \|", section("Routes"), re.MULTILINE)
]


def test_there_is_a_route_for_whatever_a_call_is_about() -> None:
    assert {label.split("`")[1] for label, _ in ROUTES} == {"threat", "model", "shift", "cue", "result"}


@pytest.mark.parametrize(("label", "modules"), ROUTES, ids=[label for label, _ in ROUTES])
def test_a_route_is_short_and_goes_down(label: str, modules: list[str]) -> None:
    assert 2 < len(modules) <= 7
    for here, there in pairwise(modules):
        assert source(there).exists(), there
        assert there in imported(here), f"{here} does not import {there}"
        assert floor_of(there) >= floor_of(here), f"{there} is above {here}"


# Pairs of modules that name each other, the one for types alone: a claim's errors and their result, for example.
CIRCLES = [
    {"robustest.errors", "robustest.results"},
    {"robustest.run.units", "robustest.run.workers"},
    {"robustest.run.units", "robustest.run.memory"},
    {"robustest.bounds.graph", "robustest.bounds.linear"},
    {"robustest.data.readers.document", "robustest.data.readers.table"},
    {"robustest.engine.chunks", "robustest.engine.evaluator"},
]


def test_imports_make_no_circle_even_for_types() -> None:
    """import-linter holds the imports that run; a circle of types would make a reader open all files of it."""
    modules = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
        for path in PACKAGE.rglob("*.py")
    }
    graph: dict[str, set[str]] = {}
    for module, path in modules.items():
        nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        names = {(n.module, one.name) for n in nodes if isinstance(n, ast.ImportFrom) for one in n.names}
        named = {f"{home}.{name}" if f"{home}.{name}" in modules else str(home) for home, name in names}
        graph[module] = {one for one in named & {*modules} - {module} if {module, one} not in CIRCLES}
    TopologicalSorter(graph).prepare()


def test_the_floors_on_the_page_are_those_that_are_held() -> None:
    block = section("Floors").split("```")[1]
    lines = re.findall(r"^ *\d+ +(.+)$", block, re.MULTILINE)
    rows = [set(re.findall(r"\w+", line.replace("above", ""))) for line in lines]
    *upper, values, plain = floors()
    assert rows == [*upper, values | plain]  # the page has the two lowest in one line


ROOMS = {
    name
    for cell in re.findall(r"^\| (`[^|]*) \|", section("Rooms"), re.MULTILINE)
    for name in re.findall(r"`(\w+)`", cell)
}


def test_the_rooms_on_the_page_are_there() -> None:
    assert [name for name in ROOMS if not source(name).exists()] == []


def test_every_package_is_on_the_page() -> None:
    found = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert found - ROOMS == set()


@pytest.mark.parametrize("room", ["run", "engine"])
def test_the_modules_that_a_row_names_are_there(room: str) -> None:
    (row,) = re.findall(rf"^\| `{room}` \| (.*) \|$", section("Rooms"), re.MULTILINE)
    named = re.findall(r"`([a-z_]+)`", row)
    assert len(named) > 5
    assert [name for name in named if not source(f"{room}.{name}").exists()] == []


def test_the_page_can_be_read_in_one_sitting() -> None:
    assert len(PAGE.splitlines()) <= 120
