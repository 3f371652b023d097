"""Code as what it does: the same however it is laid out, another for every change."""

from __future__ import annotations

import ast
import copy
import inspect
import textwrap
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest

from robustest import threats
from robustest.engine import cascade, search
from robustest.identity import bytecode, flow, walk
from robustest.identity.bytecode import read
from robustest.store import files, kept


def compiled(text: str, name: str = "nets.py") -> CodeType:
    """The first function of a text."""
    module = compile(textwrap.dedent(text), name, "exec")
    return next(constant for constant in module.co_consts if isinstance(constant, CodeType))


def text_of(text: str) -> bytes:
    return read(compiled(text)).text


PLAIN = """
def f(x, k=2):
    y = [a * k for a in x if a > 0 and a is not None and (a < 9 or not a)]
    try:
        for a in y:
            if a == 3:
                continue
            if a == 4:
                break
            g(a)
        else:
            return None
    except ValueError as error:
        return error
    return {"a": y, "b": f(x, k=k)} if y else None
"""

LAID_OUT = '''


# a comment
def f(
    x,
    k=2,
):
    """What it does."""
    y = [
        a * k
        for a in x
        if a > 0
        and a is not None
        and (
            a < 9
            or not a
        )
    ]
    pass
    try:
        for a in y:  # here
            if (
                a
                == 3
            ): continue
            if a == 4: break
            g(
                a
            )
        else:
            return None
    except ValueError as error:
        return error
    return (
        {
            "a": y,
            "b": f(
                x,
                k=k,
            ),
        }
        if y
        else None
    )
'''

EDITS = [
    ("a * k", "a + k"),
    ("a > 0", "a >= 0"),
    ("a < 9", "a < 8"),
    ("9 or not", "9 and not"),
    ("or not a)", "or a)"),
    ("== 3", "== 3.0"),
    ("continue", "pass"),
    ("break", "continue"),
    ("g(a)", "h(a)"),
    ("g(a)", "x.g(a)"),
    ("g(a)", "g(k)"),
    ("        else:\n            return None\n", ""),
    ("ValueError", "KeyError"),
    ("return error", "return None"),
    ('"a": y, "b"', '"b": y, "a"'),
    ("f(x, k=k)", "f(x, j=k)"),
    ("if y else None", "if x else None"),
    ("if y else None", "if y else ()"),
    ("k=2", "*, k=2"),
    ("(x, k=2)", "(z, x, k=2)"),
]


def test_layout_comments_and_docstrings_make_no_difference() -> None:
    assert text_of(PLAIN) == text_of(LAID_OUT)
    assert compiled(PLAIN).co_code != compiled(LAID_OUT).co_code  # or the test would be of nothing


@pytest.mark.parametrize(("old", "new"), EDITS)
def test_every_edit_makes_a_difference(old: str, new: str) -> None:
    assert PLAIN.count(old) == 1
    assert text_of(PLAIN.replace(old, new)) != text_of(PLAIN)


def test_file_and_place_make_no_difference() -> None:
    assert read(compiled(PLAIN, "a.py")).text == read(compiled("\n" * 50 + PLAIN, "b.py")).text


def test_names_of_local_variables_make_no_difference() -> None:
    assert text_of("def f(x):\n    y = x + 1\n    return y") == text_of("def f(x):\n    z = x + 1\n    return z")
    assert text_of("def f(x): return x") != text_of("def f(y): return y")  # callers may name it


def test_code_inside_counts() -> None:
    outer = "def f(x):\n    def g(y):\n        return y + {}\n    return g(x)"
    assert text_of(outer.format(1)) != text_of(outer.format(2))
    body = "def f(x):\n    class A:\n        '''{}'''\n        b = {}\n    return A"
    assert text_of(body.format("one", 1)) == text_of(body.format("two", 1)) != text_of(body.format("one", 2))


def test_what_is_covered_by_a_try_makes_a_difference() -> None:
    one = "def f():\n    try:\n        a()\n        b()\n    except E:\n        c()"
    other = "def f():\n    try:\n        a()\n    except E:\n        c()\n    else:\n        b()"
    assert text_of(one) != text_of(other)


def test_names_are_read_off_what_they_are_read_from() -> None:
    code = read(
        compiled(
            """
            def f(self, x):
                import json
                from .other import one, two as second
                helper = self.scale(F.relu(x))
                def inner():
                    return a.b.c(helper), list(map(free, "weight"))
                return getattr(self, "bias")
            """
        )
    )
    assert code.globals == {
        "F": {("relu",)},
        "a": {("b", "c")},
        "list": {()},
        "map": {()},
        "free": {()},
        "getattr": {()},
    }
    assert "helper" in code.free
    assert {"scale", "relu", "bias", "weight"} <= code.names
    assert code.imports == {("json", 0, None), ("other", 1, ("one", "two"))}


def functions_of(module: Any) -> list[ast.FunctionDef]:
    tree = ast.parse(inspect.getsource(module))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def bare(function: ast.FunctionDef) -> str:
    """A function without what is evaluated outside it."""
    function = copy.deepcopy(function)
    function.decorator_list, function.returns = [], None
    function.args.defaults = []
    function.args.kw_defaults = [None] * len(function.args.kwonlyargs)
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):  # never evaluated in a function
            node.annotation = ast.Constant(None)
    return ast.unparse(function)


MODULES = [bytecode, flow, walk, files, kept, cascade, search, threats.threat]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_real_code_written_anew_is_the_same(module: Any) -> None:
    source = inspect.getsource(module)
    originals, rewritten = (_codes(compile(text, "m.py", "exec")) for text in (source, ast.unparse(ast.parse(source))))
    assert len(originals) == len(rewritten) > 5
    assert [a.co_qualname for a, b in zip(originals, rewritten, strict=True) if read(a).text != read(b).text] == []


def _codes(code: CodeType) -> list[CodeType]:
    inner = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return [found for one in inner for found in (one, *_codes(one))]


def _number(node: Any) -> bool:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        node.value += 1
        return True
    return False


def _operator(node: Any) -> bool:
    if isinstance(node, ast.BinOp):
        node.op = ast.Add() if isinstance(node.op, ast.Sub) else ast.Sub()
        return True
    return False


def _branches(node: Any) -> bool:
    if isinstance(node, (ast.If, ast.IfExp)) and node.orelse and ast.dump(node.test) != ast.dump(ast.Constant(True)):
        node.body, node.orelse = node.orelse, node.body
        return True
    return False


def _attribute(node: Any) -> bool:
    if isinstance(node, ast.Attribute):
        node.attr += "_"
        return True
    return False


def _connective(node: Any) -> bool:
    if isinstance(node, ast.BoolOp):
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return True
    return False


CHANGES: list[Callable[[Any], bool]] = [_number, _operator, _branches, _attribute, _connective]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_to_real_code_is_seen(change: Callable[[Any], bool]) -> None:
    missed, seen = [], 0
    for function in (function for module in (flow, kept, cascade) for function in functions_of(module)):
        tree = ast.parse(bare(function))
        trial = copy.deepcopy(tree)
        for place in [place for place, node in enumerate(list(ast.walk(trial))) if change(node)]:
            changed = copy.deepcopy(tree)
            change(list(ast.walk(changed))[place])
            seen += 1
            if text_of(ast.unparse(changed)) == text_of(ast.unparse(tree)):
                missed.append((function.name, ast.unparse(changed)))
    assert missed == []
    assert seen >= 10
