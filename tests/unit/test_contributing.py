"""CONTRIBUTING's recipes: the files and lists they name are there, and what was added is wherever a recipe says."""

from __future__ import annotations

import ast
import inspect
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from table_entries import check_entries

import robustest
from robustest import attacks, claims, cues, packs, tasks
from robustest.cli.command import VERBS
from robustest.hooks import Hooks
from robustest.kinds import Kind
from robustest.pytest_plugin import options
from robustest.shifts import registry

ROOT = Path(__file__).resolve().parents[2]


def at(path: str) -> Path:
    """A file of the project; of the package where it is installed, which may be a wheel."""
    return Path(robustest.__file__).parents[1] / path if path.startswith("robustest/") else ROOT / path


def text(path: str) -> str:
    return at(path).read_text(encoding="utf-8")


RECIPES = text("CONTRIBUTING.md").partition("\n## Recipes\n")[2].partition("\n## Pull requests\n")[0]
REFERENCE = text("docs/reference.md")


def kinds() -> list[Kind]:
    """The kinds of claim that robustest brings; plugins register theirs in the same place."""
    for name in robustest.__all__:
        if name.startswith("assert_"):
            getattr(robustest, name)  # which registers it
    return [kind for kind in claims.kinds().values() if kind.assertion in robustest.__all__]


def unlisted(kind: Kind, files: dict[str, str]) -> list[str]:
    """What is missing of a kind of claim in the files that list every kind, as what to add.

    Args:
        kind: of claim.
        files: their text, by path; that of a page which is not there is empty.
    """
    name, measure = kind.assertion.removeprefix("assert_"), getattr(robustest, kind.assertion).__wrapped__.__name__
    page = f"claims/{name}.md"
    wanted = {
        f"docs/{page}": (r"^# ", "the page: what is claimed, how it is measured, an example, what it does not say"),
        "docs/reference.md": (rf"^\|.*`{kind.assertion}\(", "its row: run python docs/reference_tables.py"),
        "docs/which-claim.md": (rf"^\|.*\]\({page}\)", f"a row that links {page}: what could go wrong"),
        "tests/contract/test_kinds.py": (rf'"{kind.assertion}"', f'an entry kind("{kind.assertion}", ...) in KINDS'),
        "tests/contract/kinds.py": (rf"\b{measure}\(|_\w+\({measure}\b", f"an entry in KINDS that calls {measure}"),
    }
    return [
        f"Add to {path}: {what}." for path, (line, what) in wanted.items() if not re.search(line, files[path], re.M)
    ]


def lists(kind: Kind) -> dict[str, str]:
    """The files that list every kind of claim, and the page of this one, by path."""
    page = f"docs/claims/{kind.assertion.removeprefix('assert_')}.md"
    paths = (
        "docs/reference.md",
        "docs/which-claim.md",
        "tests/contract/test_kinds.py",
        "tests/contract/kinds.py",
    )
    return {page: text(page) if at(page).exists() else "", **{path: text(path) for path in paths}}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_a_kind_of_claim_is_wherever_kinds_are_listed(kind: Kind) -> None:
    missing = unlisted(kind, lists(kind))
    assert not missing, "\n".join(missing)


def test_what_is_missing_of_a_kind_is_said() -> None:
    kind = kinds()[0]
    files = lists(kind)
    for path in files:
        (missing,) = unlisted(kind, {**files, path: ""})
        assert missing.startswith(f"Add to {path}: ")


def unlisted_pack(name: str, files: dict[str, str]) -> list[str]:
    """What is missing of a pack of this repository, "robustest-NAME", as what to add; `files` as for `unlisted`."""
    short, folder = name.removeprefix("robustest-"), f"plugins/{name}"
    wanted = {
        f"{folder}/LICENSE": (r"^MIT License", "the license"),
        f"{folder}/README.md": (r"^# ", "what the pack is for"),
        f"{folder}/pyproject.toml": (r"^dynamic = \[.*\"urls\"", "urls among what is dynamic, and the core's version"),
        "plugins/README.md": (rf"^\| \[{name}\]", "its row"),
        "pyproject.toml": (rf'^{short} = \["{name}>=', "an extra of its name, and that in `all`"),
        "tox.ini": (rf"^\[testenv:plugins-{short}\]", f"the environment plugins-{short}"),
        ".ci/release.py": (rf'^    "{name}": \(', "an entry in SMOKES: tests that pass with it installed"),
    }
    return [
        f"Add to {path}: {what}." for path, (line, what) in wanted.items() if not re.search(line, files[path], re.M)
    ]


def lists_of_packs(name: str) -> dict[str, str]:
    """The files that list every pack of this repository, and those of one, by path."""
    own = [f"plugins/{name}/{file}" for file in ("LICENSE", "README.md", "pyproject.toml")]
    lists = ["plugins/README.md", "pyproject.toml", "tox.ini", ".ci/release.py"]
    return {path: text(path) if at(path).exists() else "" for path in (*own, *lists)}


PACKS = sorted(folder.name for folder in (ROOT / "plugins").glob("robustest-*"))


@pytest.mark.parametrize("name", PACKS)
def test_a_pack_of_this_repository_is_wherever_packs_are_listed(name: str) -> None:
    missing = unlisted_pack(name, lists_of_packs(name))
    assert not missing, "\n".join(missing)


def test_what_is_missing_of_a_pack_is_said() -> None:
    files = lists_of_packs(PACKS[0])
    for path in files:
        (missing,) = unlisted_pack(PACKS[0], {**files, path: ""})
        assert missing.startswith(f"Add to {path}: ")


def test_every_claim_is_of_a_kind_that_is_listed() -> None:
    claims = [name for name in robustest.__all__ if name.startswith("assert_")]
    check_entries((kind.assertion for kind in kinds()), claims, "the registered kinds (Kind(...) of each assertion)")


def test_the_files_that_the_recipes_name_are_there() -> None:
    named = re.findall(r"`((?:robustest|tests|examples|docs)/[\w./]+)`|\]\(([\w./-]+)\)", RECIPES)
    paths = sorted({code or link for code, link in named} - {"docs/claims/NAME.md"})
    paths = [path for path in paths if not path.endswith("NAME.py")]
    assert len(paths) > 30
    absent = [path for path in paths if not at(path).exists()]
    assert not absent, f"CONTRIBUTING.md names files that are not there: {', '.join(absent)}."


def defined(path: str) -> set[str]:
    """The names that a module defines at its top."""
    names = set()
    for node in ast.parse(text(path)).body:
        targets = node.targets if isinstance(node, ast.Assign) else [node]
        for target in targets:
            inner = getattr(target, "target", target)  # of an annotated assignment
            names.add(getattr(inner, "name", None) or getattr(inner, "id", ""))
    return names


def test_the_lists_that_the_recipes_name_are_where_they_say() -> None:
    named = re.findall(r"`(\w+)`[^`\n]*? in `([\w./]+\.py)`", RECIPES)
    lost = {"_MAKERS", "_BEYOND", "CUES", "KINDS", "Task", "VERBS", "_files"} - {name for name, _ in named}
    assert not lost, f"The recipes of CONTRIBUTING.md no longer name {', '.join(sorted(lost))}."
    absent = [f"{name} in {path}" for name, path in named if name not in defined(path)]
    assert not absent, f"CONTRIBUTING.md names what is not there: {', '.join(absent)}."


CUES = [
    name
    for name, one in vars(cues).items()
    if isinstance(one, type) and hasattr(one, "on") and hasattr(one, "off") and name not in ("Cue", "NullCue")
]


@pytest.mark.parametrize("name", CUES)
def test_a_cue_is_wherever_cues_are_listed(name: str) -> None:
    table = text("docs/features.md").partition("\n## Cues\n")[2].partition("\n## ")[0]
    entries = text("tests/unit/cues/test_cue_family.py").partition("\nCUES")[2].partition("\n}\n")[0]
    entries += text("tests/unit/claims/cues/test_cues_of_texts.py")  # no batch of numbers has these
    for where, listed in (
        ("docs/features.md", table),
        ("CUES of its tests", entries),
    ):
        assert re.search(rf"\b{name}\b", listed), f"Add {name} to {where}."


ATTACKS = sorted({type(make()).__name__ for make in attacks._MAKERS})


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_has_tests_of_its_own(name: str) -> None:
    said = "".join(path.read_text() for path in (ROOT / "tests" / "unit" / "attacks").glob("test_*.py"))
    assert re.search(rf"\b{name}\b", said), f"Add tests of {name} to tests/unit/attacks."


@pytest.mark.parametrize("name", [shift.__name__ for shift in registry._BEYOND])
def test_a_shift_is_wherever_shifts_are_listed(name: str) -> None:
    table = text("docs/shifts.md").partition("\n## Families beyond ImageNet-C\n")[2].partition("\n## ")[0]
    assert re.search(rf"^\|.*`{name}`", table, re.M), f"Add a row for {name} to docs/shifts.md."
    golden = json.loads(text("tests/contract/shifts.json"))
    assert f"{name} 1 32" in golden, f"Add {name} to tests/contract/shifts.json: python tests/contract/test_shifts.py."
    said = "".join(path.read_text() for path in (ROOT / "tests" / "unit" / "shifts").glob("test_*.py"))
    assert re.search(rf"\b{name}\b", said), f"Add an effect of {name} to tests/unit/shifts."


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_has_a_page_and_tests(verb: str) -> None:
    pages = text("docs/cli.md") + text("docs/studies.md") + text("docs/reports.md")
    assert f"\n## {verb}\n" in pages or f"robustest {verb} " in pages, f"Add a section on {verb} to docs/cli.md."
    tests = f"tests/unit/cli/test_{verb}.py"
    assert (ROOT / tests).exists(), f"Add {tests}."


def _is_task(one: object) -> bool:
    if not isinstance(one, type) or getattr(one, "_is_protocol", False):
        return False
    return one.__module__.startswith("robustest.tasks") and hasattr(one, "margin")  # detectors adapt models, for a task


@pytest.mark.parametrize("name", [name for name, one in vars(tasks).items() if _is_task(one)])
def test_a_task_has_tests_of_its_own(name: str) -> None:
    assert {"holds", "margin"} <= set(dir(getattr(tasks, name))), "a task says what holds"
    said = "".join(path.read_text() for path in (ROOT / "tests" / "unit" / "tasks").glob("test_*.py"))
    assert re.search(rf"\b{name}\b", said), f"Add tests of {name} to tests/unit/tasks."


def test_the_reference_has_every_option() -> None:
    source = text("robustest/pytest_plugin/options.py")
    named = {*re.findall(r'addoption\(\s*"(--robust[a-z-]*)"', source), *(f"--robust-{one}" for one in options._FLAGS)}
    table = REFERENCE.partition("| Command line | Effect |")[2].partition("\n\n")[0]
    missing = sorted(option for option in named if not re.search(rf"{option}(?![a-z-])", table))
    assert not missing, f"Add to the table of options in docs/reference.md: {', '.join(missing)}."


def test_the_page_on_reports_has_every_file_that_is_written() -> None:
    source = text("robustest/pytest_plugin/options.py")
    written = set(re.findall(r'addoption\(\s*"(--robust-[a-z]+)",\s*metavar="(?:FILE|DIR)",\s*help="write', source))
    assert written >= {"--robust-json", "--robust-html", "--robust-junit"}
    missing = sorted(option for option in written if f"`{option}=" not in text("docs/reports.md"))
    assert not missing, f"Add to docs/reports.md, to the table and in a section: {', '.join(missing)}."


HOOKS = [name for name in vars(Hooks) if name.startswith("robustest_")]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_on_the_page_of_packs_and_in_the_toy_pack(hook: str) -> None:
    page = text("docs/plugins.md")
    arguments = ", ".join(list(inspect.signature(vars(Hooks)[hook]).parameters)[1:])
    rows = re.findall(rf"^\| \[`{hook}\({arguments}\)`\]\((#[\w-]+)\) \|", page, re.M)
    assert len(rows) == 1, f"Add one row for {hook}({arguments}) to the table of hooks in docs/plugins.md."
    title = rows[0][1:].replace("-", " ").capitalize()
    assert f"\n## {title}\n" in page, f"Add a section {title} to docs/plugins.md."
    assert f"@hookimpl\ndef {hook}(" in page, f"Add an example of {hook} to docs/plugins.md."
    assert f"@hookimpl\ndef {hook}(" in text("tests/toy_pack.py"), f"Add {hook} to tests/toy_pack.py."


def test_packs_import_public_names_alone() -> None:
    public = {"packs", "extensions", "errors", "attacks", "clock", "cues", "data", "measure", "plots", "rng", "shifts"}
    public |= {"tasks", "threats", "first_party", "devices"}  # the last two for the packs of this repository alone
    found = []
    for path in sorted((ROOT / "plugins").glob("*/robustest_*/**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("robustest."):
                found.append((path.name, node.module))
            elif isinstance(node, ast.ImportFrom) and node.module == "robustest":
                modules = [alias.name for alias in node.names if alias.name not in robustest.__all__]
                found += [(path.name, f"robustest.{name}") for name in modules]
            elif isinstance(node, ast.Import):
                found += [(path.name, alias.name) for alias in node.names if alias.name.startswith("robustest.")]
    assert len(found) > 40
    private = sorted({f"{name}: {module}" for name, module in found if module.removeprefix("robustest.") not in public})
    assert not private, f"Packs import from robustest.packs and public modules, not {', '.join(private)}."


def used_in(module: str, paths: list[Path]) -> set[str]:
    """Return the names of a module that files or the blocks of pages use."""
    names: set[str] = set()
    for path in paths:
        text = path.read_text(encoding="utf-8")
        blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S) if path.suffix == ".md" else [text]
        for node in (one for block in blocks for one in ast.walk(ast.parse(block))):
            if isinstance(node, ast.ImportFrom) and node.module == module:
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rb":
                names.add(node.attr)  # `from robustest import packs as rb`
    return names


def test_each_name_of_packs_is_used_by_a_pack_or_a_recipe() -> None:
    packs_of_ours = sorted((ROOT / "plugins").glob("*/robustest_*/**/*.py"))
    recipes = [ROOT / "CONTRIBUTING.md", ROOT / "docs" / "plugins.md", ROOT / "tests" / "toy_claim.py"]
    used = used_in("robustest.packs", [*packs_of_ours, *recipes])
    idle = sorted(set(packs.__all__) - used)
    assert not idle, f"Remove from robustest/packs.py, as no pack or recipe uses it: {', '.join(idle)}."
    assert len(packs.__all__) <= 60, (
        "Authors learn each name: give a pack a function that does more, not one more name."
    )


def test_each_name_of_first_party_is_used_by_a_pack_and_promised_nowhere() -> None:
    tree = ast.parse(text("robustest/first_party.py"))
    names = {alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    used = used_in("robustest.first_party", sorted((ROOT / "plugins").glob("*/robustest_*/**/*.py")))
    assert names == used
    assert not names & set(packs.__all__)
    assert len(names) <= 12, "What packs in step need beside the promised names is to stay an exception."


def test_mutants_are_made_of_modules_that_exist_and_tried_on_tests_that_exist() -> None:
    config = tomllib.loads(text("benchmarks/mutants.toml"))
    listed = [*config["modules"], *config["more"]]
    apart = {test for tests in config["apart"].values() for test in tests}
    paths = {*listed, *config["asked"], *config["apart"], *apart}
    assert len(listed) > 60
    assert len(listed) == len({*listed})
    absent = sorted(path for path in paths if not at(path).exists())
    assert not absent, f"benchmarks/mutants.toml names files that are not there: {', '.join(absent)}."


FAST = text("tests/fast.txt").split()
UNIT = at("tests/unit")


@pytest.fixture
def is_fast(request: pytest.FixtureRequest) -> Any:
    """What decides, in the conftest that marks tests."""
    (conftest,) = (one for _, one in request.config.pluginmanager.list_name_plugin() if hasattr(one, "is_fast"))
    return conftest.is_fast


def test_fast_modules_exist_and_are_of_every_folder() -> None:
    absent = [name for name in FAST if not at(f"tests/{name}").exists()]
    assert not absent, f"tests/fast.txt names modules that are not there: {', '.join(absent)}."
    assert sorted({*FAST}) == FAST, "Sort tests/fast.txt, each module once."
    here = {name.split("/")[1] for name in FAST if name.startswith("unit/")}
    folders = {path.relative_to(UNIT).parts[0] for path in UNIT.rglob("test_*.py") if path.parent != UNIT}
    check_entries(
        {name for name in here if not name.endswith(".py")},
        folders,
        "tests/fast.txt, by a module of this folder of tests/unit",
    )


@pytest.mark.parametrize(("marks", "fast"), [((), True), (("slow",), False), (("gpu",), False)])
def test_a_test_is_fast_by_its_module_and_neither_slow_nor_for_a_gpu(
    is_fast: Any, marks: tuple[str, ...], *, fast: bool
) -> None:
    assert is_fast(at(f"tests/{FAST[0]}"), marks) is fast
    assert not is_fast(at("tests/unit/test_contributing.py"), marks)


def test_no_test_is_marked_as_fast_beside_the_list() -> None:
    mark = "pytest.mark." + "fast"
    marked = [path.name for path in at("tests").rglob("test_*.py") if mark in path.read_text(encoding="utf-8")]
    assert not marked, f"Name the module in tests/fast.txt in place of {mark}: {', '.join(marked)}."
