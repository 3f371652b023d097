"""Every fenced block of every page: Python runs, commands parse, and data files name nothing that is not there.

A page takes for granted what `prepared` gives. What else its reader has, such as files, comes from Python in comments
that begin with `<!-- setup`: it is run where it stands, and shown nowhere. Blocks with tests or fixtures become files
of a run with --robust; other blocks run one after the other, as one program. Examples above `<!-- result -->` are run
by the build of the site, which shows their results: here they are compiled.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import json
import os
import pkgutil
import re
import shlex
import sys
import tomllib
from importlib.metadata import EntryPoint, entry_points
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import pytest
import torch
import torchvision  # noqa: F401 - runs inside this process must find it loaded: it cannot be loaded twice
from torch import nn

import robustest
from robustest import extensions
from robustest.cli.command import _parser
from robustest.pytest_plugin import options as pytest_options

# What a run inside this process loads first, pytester takes away again; a kind of claim of a pack cannot be made twice.
for _name in ("robustest", *(one.module.partition(".")[0] for one in entry_points(group="robustest"))):
    for _found in pkgutil.walk_packages(importlib.import_module(_name).__path__, f"{_name}."):
        if not _found.name.endswith("__main__"):
            importlib.import_module(_found.name)

markdown_it = pytest.importorskip("markdown_it", reason="markdown-it-py reads the pages")
yaml = pytest.importorskip("yaml", reason="PyYAML reads workflows")

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
PAGES += sorted([*(ROOT / "plugins").rglob("README.md"), *(ROOT / "examples").rglob("README.md")])
PAGES = [page for page in PAGES if "node_modules" not in page.parts]
PACKS_VERBS = {"study"}
"""Verbs of packs of this repository, whose pages are read without them as well."""
DATA = {"toml": tomllib.loads, "json": json.loads, "yaml": yaml.safe_load, "ini": str}
"""Languages of blocks that are files, and what reads each."""
PROGRAM = re.compile(
    r"^(?:pip install|pytest|tox|mkdocs|lint-imports|ruff|mypy|npm|git|bash|python|robustest [a-z-]).*"
)
REPLAY = re.compile(r"^(?:E  )? *replay:? +(pytest .*)")

CONFTEST = """
import page
import pytest

@pytest.fixture(scope="session")
def robust_model():
    return page.model

@pytest.fixture(scope="session")
def robust_data():
    return page.x, page.y
"""


def of_packs() -> list[extensions.Command]:
    """Return the verbs that installed packs add."""
    return [command for _, command in extensions.all_of("robustest_commands", extensions.Command)]


class Block(NamedTuple):
    """A fenced block, or a comment with what a page takes for granted."""

    line: int  # of its first line, from 0
    language: str  # "setup" for such a comment, "built" for an example that the build of the site runs
    text: str


@functools.cache
def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in its order."""
    found = []
    tokens = markdown_it.MarkdownIt().parse(page.read_text(encoding="utf-8"))
    for token, after in zip_longest(tokens, tokens[1:]):
        if token.type == "fence":
            built = after is not None and after.content.startswith("<!-- result -->")
            found.append(Block(token.map[0] + 1, "built" if built else token.info.strip(), token.content))
        elif token.type == "html_block" and token.content.startswith("<!-- setup\n"):
            text = token.content.split("\n", 1)[1].rpartition("-->")[0]
            found.append(Block(token.map[0] + 1, "setup", text))
    return found


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def having(*languages: str) -> Any:
    """Pages that have a block in one of these languages, as a parameter."""
    pages = [page for page in PAGES if any(block.language in languages for block in blocks(page))]
    return pytest.mark.parametrize("page", pages, ids=named)


class Quadrants(nn.Module):
    """The brightest quadrant of a picture (N, 1, 8, 8) is its class."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 10 * x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(4).mean(4).flatten(1)


def prepared() -> dict[str, Any]:
    """What a page may take as given: a model, and samples far enough from its boundaries for modest claims."""
    y = torch.arange(16) % 4
    bright = 0.6 * nn.functional.one_hot(y, 4).float().view(16, 1, 2, 2)
    noise = 0.1 * torch.rand(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    x = 0.1 + nn.functional.interpolate(bright, scale_factor=4) + noise
    return {"torch": torch, "model": Quadrants(), "x": x, "y": y, "module": module}


def module(name: str, **names: Any) -> None:
    """Give a page's reader a module with these names, such as `my_project`; pytester forgets it again."""
    vars(sys.modules.setdefault(name, ModuleType(name))).update(names)


def defines(source: str) -> set[str]:
    """Of "tests" and "fixtures", what a block defines."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    fixtures = [f for f in functions if any("pytest.fixture" in ast.unparse(d) for d in f.decorator_list)]
    tests = [f for f in functions if f.name.startswith("test_")]
    return {word for word, found in (("tests", tests), ("fixtures", fixtures)) if found}


def run_files(sources: dict[str, str], pytester: pytest.Pytester) -> None:
    """Run a page's test files; what compares with a baseline finds the one that the command for it wrote."""
    pytester.makeconftest(sources.pop("conftest", CONFTEST))
    for name, source in sources.items():
        (pytester.path / f"{name}.py").write_text(source, encoding="utf-8")
    if any("robust_baseline" in source for source in sources.values()):
        pytester.runpytest_inprocess("--robust", "--robust-update-baseline")
    result = pytester.runpytest_inprocess("-W", "error", "--robust", "--import-mode=importlib")
    assert result.ret == 0, result.stdout.str()
    assert set(result.parseoutcomes()) == {"passed"}


@having("python")
def test_every_python_block_runs(page: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)
    there = [block for block in blocks(page) if block.language in ("python", "setup")]
    for block in there:
        compile(block.text, named(page), "exec", dont_inherit=True)
    named_packs = {page.parent.name.replace("-", "_")} if page.parent.parent.name == "plugins" else set()
    for block in there:
        named_packs |= set(re.findall(r"^from (robustest_\w+)", block.text, re.MULTILINE))
    for pack in sorted(named_packs):
        if importlib.util.find_spec(pack) is None:
            pytest.skip(f"{pack} is not installed: the page's blocks were compiled alone")
    with mock.patch.dict(os.environ):
        try:
            run(page, there, pytester)
        finally:
            mock.patch.stopall()  # what a setup put in the place of a server


OURS = {"robustest": ROOT / "robustest"} | {
    package.name: package for package in (ROOT / "plugins").glob("robustest-*/robustest_*") if package.is_dir()
}
"""Folders of this repository's packages: packs are read without being installed."""
PLACEHOLDERS = {"dusk", "my_package", "my_project"}
"""Packages of a reader, which pages invent."""


def file_of(module: str) -> Path | None:
    """Return the source of one of this repository's modules, None if there is none."""
    top, _, rest = module.partition(".")
    path = OURS[top].joinpath(*rest.split(".")) if rest else OURS[top]
    return next((file for file in (path / "__init__.py", path.with_suffix(".py")) if file.is_file()), None)


@functools.cache
def names_of(module: str) -> set[str]:
    """Return the names that a module of this repository has at its top, those under TYPE_CHECKING included."""
    file = file_of(module)
    assert file is not None, module
    if module.partition(".")[0] == "robustest":
        return set(dir(importlib.import_module(module)))  # its names are lazy
    found, left = set[str](), ast.parse(file.read_text(encoding="utf-8")).body
    while left:
        node = left.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.If):
            left += node.body + node.orelse
        elif isinstance(node, ast.ImportFrom | ast.Import):
            found |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return found


def unresolved(source: str) -> list[str]:
    """Return the imports of a block that lead nowhere: to no module, or to no name of one."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wanted = [(alias.name, None) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, ast.unparse(node)
            wanted = [(node.module, alias.name) for alias in node.names]
        else:
            continue
        for module, name in wanted:
            top = module.partition(".")[0]
            if top in OURS:
                there = file_of(module) is not None
                there = there and (name is None or name in names_of(module) or file_of(f"{module}.{name}") is not None)
            elif top in PLACEHOLDERS or importlib.util.find_spec(top) is None:
                continue  # a library that is not installed: whoever runs the block has it
            else:
                there = importlib.util.find_spec(module) is not None
                there = there and (name is None or reachable(module, name))
            if not there:
                wrong.append(f"{module}.{name}" if name else module)
    return wrong


def reachable(module: str, name: str) -> bool:
    if hasattr(importlib.import_module(module), name):
        return True
    return importlib.util.find_spec(f"{module}.{name}") is not None


@having("python", "setup", "built")
def test_every_import_leads_to_a_name_that_is_there(page: Path) -> None:
    there = [block for block in blocks(page) if block.language in ("python", "setup", "built")]
    assert [(block.line, wrong) for block in there if (wrong := unresolved(block.text))] == []


@pytest.mark.parametrize(
    ("source", "wrong"),
    [
        ("import robustest.repair", ["robustest.repair"]),
        ("from robustest.repair import Recipe", ["robustest.repair.Recipe"]),
        ("from robustest import assert_nothing", ["robustest.assert_nothing"]),
        ("def f():\n    from robustest_rl import Nothing", ["robustest_rl.Nothing"]),
        ("from sklearn.datasets import load_nothing", ["sklearn.datasets.load_nothing"]),
        ("from robustest_training.repair import Recipe\nfrom robustest_rl import replay", []),
        ("from robustest import assert_accuracy, cues\nimport robustest_people.measure", []),
    ],
)
def test_an_import_that_leads_nowhere_is_found(source: str, wrong: list[str]) -> None:
    assert unresolved(source) == wrong


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_modules_and_names_in_the_text_are_there(page: Path) -> None:
    wrong = []
    for dotted in re.findall(r"`(robustest(?:_[a-z]+)?(?:\.\w+)+)", page.read_text(encoding="utf-8")):
        parts = dotted.split(".")
        if parts[0] not in OURS or parts[-1] in ("json", "yml", "md", "toml", "svg"):
            continue
        known = next(n for n in range(len(parts), 0, -1) if file_of(".".join(parts[:n])) is not None)
        if known < len(parts) and parts[known] not in names_of(".".join(parts[:known])):
            wrong.append(dotted)
    assert wrong == []


@having("built")
def test_every_example_on_real_data_is_a_program(page: Path) -> None:
    names = {block.language: block.text for block in blocks(page)}
    compile(names["built"], named(page), "exec", dont_inherit=True)
    assert f"assert_{page.stem}(" in names["built"]
    drawn = "\n## On simulated answers\n" in page.read_text(encoding="utf-8")  # no data set has people's answers
    assert drawn or "from sklearn.datasets import load_" in names["built"]


def run(page: Path, there: list[Block], pytester: pytest.Pytester) -> None:
    """Run a page's blocks, from the first to the last."""
    module = ModuleType("page")
    module.__dict__.update(prepared())
    sys.modules["page"] = module  # pytester forgets it again
    sources: dict[str, str] = {}
    for line, language, text in there:
        kinds = defines(text) if language == "python" else set()
        if not kinds:
            code = compile("\n" * line + text, str(page), "exec", dont_inherit=True)
            exec(code, module.__dict__)  # noqa: S102 - our own pages
        elif "tests" in kinds:
            sources[f"test_line_{line}"] = text
        else:
            sources["conftest"] = sources.get("conftest", CONFTEST) + text
    if any(name != "conftest" for name in sources):
        run_files(sources, pytester)


def commands(block: Block) -> list[str]:
    """The command lines of a block: of a shell, of a workflow's steps, or in what a run prints."""
    if block.language in ("", "sh", "bash"):
        text = block.text
    elif block.language == "yaml":
        jobs = yaml.safe_load(block.text).get("jobs", {})
        text = "\n".join(step.get("run", "") for job in jobs.values() for step in job.get("steps", ()))
    else:
        return []
    lines = [line.strip() for line in text.splitlines()]
    found = [line for line in lines if PROGRAM.match(line)] + [m[1] for m in map(REPLAY.match, lines) if m]
    return [part.strip() for line in found for part in re.split(r"&&|;", line)]


def words(command: str) -> list[str]:
    """A command's words, without `python -m` before them."""
    split = shlex.split(command, comments=True)
    return split[2:] if split[:2] == ["python", "-m"] else split


def options_of(path: list[str]) -> list[set[str]]:
    """The options that a command of `robustest` has, beside --help, each with all its names."""
    parser = _parser(of_packs())
    for word in path:
        parser = next(action for action in parser._actions if action.choices).choices[word]
    return [set(a.option_strings) for a in parser._actions if a.option_strings and a.dest != "help"]


def check_robustest(arguments: list[str]) -> None:
    """A command as it is typed parses; a synopsis, in brackets what may be left out, names every option there is."""
    verbs = next(action for action in _parser(of_packs())._actions if action.choices).choices
    if arguments[0] in PACKS_VERBS and arguments[0] not in verbs:
        return  # its pack is not installed
    if not any("[" in word for word in arguments):
        parsed, others = _parser(of_packs()).parse_known_args(arguments)
        assert not others or hasattr(parsed, "rest"), others
        return
    options = options_of([word for word in arguments[:2] if re.fullmatch("[a-z]+", word)])
    given = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", " ".join(arguments)))
    assert given <= set().union(*options)
    assert [names for names in options if not names & given] == []


def check_pip(arguments: list[str]) -> None:
    """Extras of ours, and packs, are there."""
    for word in arguments:
        found = re.fullmatch(r"(robustest[\w-]*|\.)(?:\[(.*)\])?", word)
        if found:
            folder = ROOT if found[1] in ("robustest", ".") else ROOT / "plugins" / found[1]
            folder = ROOT / "distributions" / found[1] if found[1] == "robustest-base" else folder
            project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
            assert set((found[2] or "").split(",")) - {""} <= set(project.get("optional-dependencies", {})), word


def check(command: str, pytester: pytest.Pytester) -> None:
    """That a command would be understood."""
    program, *arguments = words(command)
    if program == "pytest":
        config = pytester.parseconfig(*arguments)
        if config.getoption("--robust-profile") in (None, "dev", "ci", "nightly"):
            pytest_options.settings_of(config)
        pytest_options.shard_of(config)
    elif program == "robustest":
        check_robustest(arguments)
    elif program == "pip":
        check_pip(arguments[1:])
    elif program == "tox":
        tox = (ROOT / "tox.ini").read_text(encoding="utf-8")
        for name in arguments[arguments.index("-e") + 1].split(","):
            assert f"[testenv:{name}]" in tox


@having("", "sh", "bash", "yaml")
def test_every_command_is_understood(page: Path, pytester: pytest.Pytester) -> None:
    for block in blocks(page):
        for command in commands(block):
            try:
                check(command, pytester)
            except (pytest.UsageError, SystemExit, AssertionError, StopIteration, KeyError) as error:
                pytest.fail(f"{named(page)}, block at line {block.line}: {command!r}: {error!r}")


@having(*DATA)
def test_every_data_block_is_read_and_names_what_there_is(page: Path, pytester: pytest.Pytester) -> None:
    for block in blocks(page):
        if block.language not in DATA:
            continue
        content = DATA[block.language](block.text)
        (pytester.path / "pyproject.toml").unlink(missing_ok=True)
        if block.language == "toml":
            (pytester.path / "pyproject.toml").write_text(block.text, encoding="utf-8")
            for group, points in content.get("project", {}).get("entry-points", {}).items():
                assert group == extensions.GROUP
                for name, value in points.items():
                    assert EntryPoint(name, value, group).module
        if block.language == "ini":
            (pytester.path / "pytest.ini").write_text(block.text, encoding="utf-8")
        if block.language in ("toml", "ini"):
            config = pytester.parseconfig("--robust")
            pytest_options.check_ini(config)
            pytest_options.settings_of(config)


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_block_is_in_a_language_that_is_tested(page: Path) -> None:
    known = {"", "sh", "bash", "python", "setup", "built", *DATA}
    assert [(block.line, block.language) for block in blocks(page) if block.language not in known] == []


def test_options_and_commands_named_in_the_text_are_there(pytester: pytest.Pytester) -> None:
    options = {name for option in pytester.parseconfig()._parser._groups for o in option.options for name in o.names()}
    actions = next(action for action in _parser(of_packs())._actions if action.choices).choices
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"--robust(?:-[a-z]+)*\b", text)) <= options, named(page)
        assert set(re.findall(r"`robustest ([a-z]+)", text)) <= {*actions, *PACKS_VERBS}, named(page)


def projects() -> dict[str, dict[str, Any]]:
    """Return the table `project` of each package of this repository."""
    files = [
        ROOT / "pyproject.toml",
        *ROOT.glob("plugins/*/pyproject.toml"),
        *ROOT.glob("distributions/*/pyproject.toml"),
    ]
    found = [tomllib.loads(file.read_text(encoding="utf-8"))["project"] for file in files]
    return {project["name"]: project for project in found}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_extras_named_in_the_text_are_there(page: Path) -> None:
    for name, extras in re.findall(r"\b(robustest(?:-[a-z]+)?)\[([a-z][a-z,]*)\]", page.read_text(encoding="utf-8")):
        assert set(extras.split(",")) <= set(projects()[name]["optional-dependencies"]), f"{name}[{extras}]"


def test_the_list_of_packs_has_each_with_its_extras() -> None:
    table = (ROOT / "plugins" / "README.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| \[(robustest-\w+)\]\(\1/README\.md\) \| [^|]+ \|([^|]*)\|$", table, re.MULTILINE))
    packs = {folder.parent.name for folder in ROOT.glob("plugins/*/pyproject.toml")}
    assert {*rows} == packs
    for name, cell in rows.items():
        extras = {*projects()[name].get("optional-dependencies", ())} - {"test"}
        assert set(re.findall(r"`(\w+)`:", cell)) == extras, name


CLAIMS = [name.removeprefix("assert_") for name in robustest.__all__ if name.startswith("assert_")]
OF_PACKS = [page for page in PAGES if page.parent.name == "claims" and page.stem not in CLAIMS]
OF_PACKS += [page for page in (ROOT / "docs" / "training").glob("*.md") if page.stem not in ("index", "repair")]
SECTIONS = ["When to use it", "Writing it", "On real data", "Reading the result", "Limits of a pass"]
OWN_PAGES = [
    *((f"claims/{name}", f"assert_{name}") for name in CLAIMS),
    *(
        ("threats", name)
        for name in ("Append", "Columns", "Edits", "Insert", "L0", "L1", "L2", "Linf", "Patch", "Spatial", "Unbounded")
    ),
]


@pytest.mark.parametrize(("page", "name"), OWN_PAGES)
def test_every_claim_and_threat_has_a_page_with_an_example(page: str, name: str) -> None:
    code = [block.text for block in blocks(ROOT / "docs" / f"{page}.md") if block.language == "python"]
    assert any(f"{name}(" in text for text in code), f"Add to docs/{page}.md: a block of Python that calls {name}."


@pytest.mark.parametrize(
    "page", [*(ROOT / "docs" / "claims" / f"{name}.md" for name in CLAIMS), *sorted(OF_PACKS)], ids=named
)
def test_a_claims_page_says_when_to_use_it_how_to_read_it_and_its_limits(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("## On simulated answers", "## On real data")
    headings = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS, f"Sections of {named(page)}, in order."
    assert any(block.language == "built" for block in blocks(page)), f"{named(page)} has no example with its result."
    for section in text.split("\n## ")[1:]:
        assert len(section.split()) > 20, section  # the heading alone is no answer
