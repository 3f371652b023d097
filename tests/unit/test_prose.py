"""Docstrings and pages in plain technical English: openings, words that hide a noun, and unique names."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = [ROOT / "robustest", *sorted((ROOT / "plugins").glob("robustest-*/robustest_*"))]
FILES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])

OPENING = re.compile(r"\s*(What|Which|Whether|Where|How|That|Who)\b")
"""A first line that is no imperative and no noun phrase."""
WORDS = {
    r"\bwhat (is|was|it|they|are|were|has|had|a|an|the)\b": "the noun itself, such as 'outcomes observed so far'",
    r"\bso (many|much)\b": "'the number of' or 'N'",
    r"\b(told|tells? of|says? of|speaks? of)\b": "'reported', 'states', 'for'",
    r"\b(shall|seldom|thither|whither|likewise|alike|askew|oftener|whoever)\b": "'must', 'rarely', 'also', 'equal'",
    r"\b(of ours|of one's own|of a user's|of its own|of their own)\b": "the owner, or 'separate'",
}
"""Phrases per 10,000 words that other projects have 0 to 2 of, with the words to write."""
WHAT = next(iter(WORDS))
"""The phrase that is right now and then; of the others there may be fewer."""


@cache
def statements(path: Path) -> tuple[list[tuple[str, str]], list[str]]:
    """Return the place and the text of each docstring of a file, and the names of its classes."""
    texts, classes = [], []
    left: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while left:
        node = left.pop()
        if isinstance(node, ast.Expr):
            if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                texts.append((f"{path.relative_to(ROOT)}:{node.lineno}", node.value.value))
            continue
        if isinstance(node, ast.ClassDef):
            classes.append(node.name)
        for part in ("body", "orelse", "finalbody", "handlers", "cases"):  # statements stand in no expression
            inner = getattr(node, part, ())
            left += inner if isinstance(inner, list) else ()
    return texts, classes


def docstrings() -> list[tuple[str, str]]:
    return [one for path in FILES for one in statements(path)[0]]


def prose(page: Path) -> str:
    return re.sub(r"```.*?```", " ", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_docstrings_open_with_a_verb_or_a_noun() -> None:
    wrong = [f"{place}: {text.strip()[:60]}" for place, text in docstrings() if OPENING.match(text)]
    assert len(wrong) <= 0.01 * len(docstrings()), "\n".join(wrong)


@pytest.mark.parametrize("where", ["docstrings", "pages"])
@pytest.mark.parametrize("phrase", WORDS)
def test_no_noun_is_left_out(phrase: str, where: str) -> None:
    texts = docstrings()
    if where == "pages":
        texts = [(str(page), prose(page)) for page in PAGES]
    found = [f"{name}: {match[0]}" for name, text in texts for match in re.finditer(phrase, text, re.IGNORECASE)]
    words = sum(len(text.split()) for _, text in texts)
    assert 1e4 * len(found) / words <= (5 if phrase == WHAT else 2), f"Write {WORDS[phrase]}:\n" + "\n".join(found)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_class_name_exists_once(package: Path) -> None:
    owners: dict[str, set[Path]] = {}
    for path in package.rglob("*.py"):
        for name in statements(path)[1]:
            owners.setdefault(name, set()).add(path.relative_to(ROOT))
    assert {name: paths for name, paths in owners.items() if len(paths) > 1} == {}


def test_the_phrases_are_found() -> None:
    dialect = "What is told of its own seldom says so much."
    assert OPENING.match(dialect)
    assert all(re.search(phrase, dialect, re.IGNORECASE) for phrase in WORDS)
