"""Ten questions of new users are answered in two clicks: from the front page to a table, from its row to the answer."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
LINK = re.compile(r"\[[^\]]+\]\(([\w./-]+\.md)(?:#[\w-]+)?\)")
QUESTIONS = {
    "two hospitals": "assert_worst_group_accuracy(",
    "quantised": "no_worse_than=float_model",
    "vendor's API": "scores_model(",
    "fraud": "Columns(rules)",
    "typos": '"typos"',
    "audio noise": '"noise"',
    "LLM regression": "assert_rate(",
    "fairness": "assert_worst_group_accuracy(",
    "confidence": "assert_calibrated(",
    "watermark": "assert_no_spurious_feature(",
}
"""Words of each question, and code that answers it."""


def lines_with(page: str, words: str) -> list[str]:
    """Return the lines of a page that have all of the words; of a table's row the first cell alone must have them."""
    text = re.sub(r"<!--.*?-->|```.*?```", "", (DOCS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    heads = {line: line.split(" | ")[0] if line.startswith("|") else line for line in text.splitlines()}
    return [line for line, head in heads.items() if all(word.lower() in head.lower() for word in words.split())]


def links(page: str, lines: list[str]) -> set[str]:
    """Return the pages to which these lines of a page lead, by their paths in the docs."""
    found = {target for line in lines for target in LINK.findall(line)}
    return {posixpath.normpath(posixpath.join(posixpath.dirname(page), target)) for target in found}


def code_of(page: str) -> str:
    """Return the Python of a page: its blocks, and the files of a tutorial."""
    text = (DOCS / page).read_text(encoding="utf-8")
    files = [(DOCS / page).parent / path for path in re.findall(r"^\[\w+\.py\]\((\S+)\)$", text, re.MULTILINE)]
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return "\n".join([*blocks, *(path.read_text(encoding="utf-8") for path in files)])


@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_in_two_clicks(question: str) -> None:
    first = links("index.md", lines_with("index.md", question))
    second = {page for at in first for page in links(at, lines_with(at, question))}
    answers = [page for page in second if QUESTIONS[question] in code_of(page)]
    assert answers, f"Write a row for '{question}' on a page that the front page links: it leads to {sorted(second)}."


def test_words_count_where_a_reader_looks_for_them() -> None:
    """The first cell of a row asks: words of its other cells, or of code, are no question."""
    assert lines_with("index.md", "quaternions") == []
    assert lines_with("index.md", "Verdicts messages") == []
    assert lines_with("index.md", "ImageFolder") == []
