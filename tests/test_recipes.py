"""A first gate is short: what each recipe writes is counted here, and run by `test_docs.py`."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

RECIPES = Path(__file__).resolve().parents[1] / "docs" / "recipes"
MOST = 15
"""Lines of test and conftest, imports too; what stands in `robust_model` is the model's own loading."""
_FENCED = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines_of(text: str) -> int:
    """Lines with code in them, but for what stands in `robust_model`."""
    loading = next(
        one.body for one in ast.parse(text).body if isinstance(one, ast.FunctionDef) and one.name == "robust_model"
    )
    left_out = range(loading[0].lineno, (loading[-1].end_lineno or 0) + 1)
    lines = enumerate(text.splitlines(), 1)
    return sum(bool(line.strip()) and line.strip()[0] != "#" and at not in left_out for at, line in lines)


def first_gate(page: Path) -> str:
    """The page's fixtures, and what it writes up to its first test's end."""
    written = []
    for block in _FENCED.findall(page.read_text(encoding="utf-8")):
        functions = [one for one in ast.parse(block).body if isinstance(one, ast.FunctionDef)]
        tests = [one for one in functions if one.name.startswith("test_")]
        if tests:
            return "".join([*written, *block.splitlines(keepends=True)[: tests[0].end_lineno]])
        written += [block] if functions else []
    pytest.fail(f"{page.name} has no test")


@pytest.mark.parametrize("name", ["torchvision", "lightning", "scikit-learn", "hugging-face", "audio", "tokens"])
def test_the_first_gate_of_every_kind_of_project_is_short(name: str) -> None:
    gate = first_gate(RECIPES / f"{name}.md")
    assert {"robust_model", "robust_data"} <= set(re.findall(r"def (\w+)\(", gate))
    assert "assert_" in gate
    assert lines_of(gate) <= MOST, gate
