"""Reports, histories and the command read the fields of results: none takes words apart that a claim has of itself.

A regular expression that is applied to a statement or a setting finds nothing any more as soon as these are reworded,
and nobody is told. So every use of one in these folders is listed here with the text that it is applied to.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import robustest

PACKAGE = Path(robustest.__file__).parent
FOLDERS = ("reports", "cli")
MODULES = ("account.py", "history.py", "store/history.py")
PROSE = {"statement", "setting", "rule", "method"}
"""Fields of a result that are words."""
TAKES_APART = {"split", "rsplit", "partition", "rpartition", "removeprefix", "removesuffix", "startswith", "endswith"}
TAKES_APART |= {"find", "index", "replace", "splitlines"}

ALLOWED = {
    # forms of the texts of files, which may come from elsewhere, and names of files
    "history.py": {"self.commit", "self.committed", "self.time", "name"},
    "store/history.py": {"name", "value", "r"},
    # names of folders, and a text inside a picture
    "reports/terminal.py": {"test.rpartition('::')[2]"},
    "reports/html/album.py": {"content", "file.name"},
    # names of a benchmark, as a user or a file gives them
    "reports/evidence.py": {"benchmark[name]"},
    # ids of tests: their parameters, and the numbers in these
    "reports/html/overview.py": {"text"},
    "reports/html/figures.py": {"parameters"},
    # characters that are escaped or replaced, one by one, in any text
    "reports/github.py": {
        "' '.join(text.split())",
        "f'{title} ({_short(row.test, _CELL)})'",
        "inert_lines(clipped)",
        "inert(part, at_start=False)",
        "line",
        "text.replace('\\r\\n', '\\n').replace('\\r', '\\n')",
    },
    "reports/inert.py": {"shown", "visible(text)"},
    "reports/junit.py": {"text"},
    # ids of tests, names of variables, and any text: what a name may hold, and secrets
    "reports/trackers.py": {"name", "run.name", "text"},
    # a project's own files
    "cli/project.py": {"text"},
    # settings of pytest, and files of a project
    "cli/installation.py": {"one", "option", "text"},
    "cli/workflow.py": {"service", "text"},
    "cli/init.py": {"text"},
}


def uses_in(tree: ast.Module) -> Iterator[str]:
    """The texts that regular expressions are applied to: `re.sub(pattern, with, TEXT)`, `_COMPILED.sub(with, TEXT)`.

    A pattern is what a name of the module stands for that is made by `re.compile`, alone, as a method of it, or inside
    a mapping.
    """
    patterns = {"re"}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if node_value(node) is not None and "re.compile(" in ast.unparse(node_value(node)):
            patterns |= {target.id for target in targets if isinstance(target, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("robustest"):
            patterns |= {alias.asname or alias.name for alias in node.names if alias.name.endswith("_form")}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or "re.compile" in ast.unparse(node.func):
            continue
        function = node.func
        while isinstance(function, ast.Attribute | ast.Subscript):
            function = function.value
        if isinstance(function, ast.Name) and function.id in patterns and ast.unparse(node.func) != "re.escape":
            last = {"sub": -1, "split": -1, "findall": -1}
            name = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            if name in ("get", "items", "keys", "values"):  # of a mapping
                continue
            positional = [argument for argument in node.args if not ast.unparse(argument).startswith("re.")]
            by_re = function.id == "re"
            at = last.get(name, 1 if by_re else 0)
            yield ast.unparse(positional[at])


def node_value(node: ast.stmt) -> ast.expr | None:
    return node.value if isinstance(node, ast.Assign | ast.AnnAssign) else None


def modules() -> list[Path]:
    folders = [path for folder in FOLDERS for path in (PACKAGE / folder).rglob("*.py")]
    return sorted([*folders, *(PACKAGE / name for name in MODULES)])


def test_regular_expressions_are_applied_to_what_is_listed() -> None:
    found = {
        path.relative_to(PACKAGE).as_posix(): uses
        for path in modules()
        if (uses := set(uses_in(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert found == ALLOWED


@pytest.mark.parametrize("path", modules(), ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_words_of_a_claim_are_taken_apart(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in TAKES_APART:
            of = node.func.value
            assert not (isinstance(of, ast.Attribute) and of.attr in PROSE), ast.unparse(node)
        if isinstance(node, ast.Compare) and any(isinstance(one, ast.In | ast.NotIn) for one in node.ops):
            for one in node.comparators:
                assert not (isinstance(one, ast.Attribute) and one.attr in PROSE), ast.unparse(node)


@pytest.mark.parametrize(
    "line",
    [
        "match = re.search('eps', result.subject.setting)",
        "_EPS = re.compile('eps')\nmatch = _EPS.search(result.subject.setting)",
        "_EPS = re.compile('eps').fullmatch\nmatch = _EPS(result.subject.setting)",
        "_EPS: object = {'a': re.compile('eps')}\nmatch = _EPS['a'].match(result.subject.setting)",
        "words = re.sub('eps', '', result.subject.setting)",
        "_EPS = re.compile('eps')\nwords = _EPS.sub('', result.subject.setting)",
    ],
)
def test_the_test_finds_every_way_of_applying_one(line: str) -> None:
    assert set(uses_in(ast.parse(f"import re\n{line}"))) == {"result.subject.setting"}
