"""The text of the user's code: of a function, and of a module with all the user's modules that it imports.

1. A text is a syntax tree without comments, layout, docstrings, annotations of functions and `pass`, written back: it
   is the same in each release of Python.
2. A function has a text only while its file, or the cell of its notebook, compiles to the function's code: a file may
   be edited while its tests run, and the new text would stand for what the old one computed.
3. A module counts by its file and by those of the user's modules that it imports, loaded or not; packages by version.
   pytest's tests (`test_...` in a test file) make no difference, so that an edited threshold changes no other function.
"""

from __future__ import annotations
import __future__

import ast
import hashlib
import importlib.util
import linecache
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, lru_cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import CodeType
from typing import Any

from robustest.identity.plain import Unhashable, joined, part

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def text_of(code: CodeType, *, exact: bool = True) -> str | None:
    """Return the text of a function's code; None if there is none.

    Args:
        exact: True for the text that compiles to this code; False for what has its name at its place, as in a file of
            tests, whose assertions pytest writes anew.
    """
    linecache.checkcache(code.co_filename)
    return _text_in("".join(linecache.getlines(code.co_filename)), code, exact)


@lru_cache(maxsize=8192)
def _text_in(text: str, code: CodeType, exact: bool) -> str | None:
    # Of the flags of a compiler that a file may set, this one alone changes code.
    if not text or (exact and code not in _codes(text, code.co_flags & __future__.annotations.compiler_flag)):
        return None
    found: list[Any] = _functions(text).get((code.co_name, code.co_firstlineno), [])
    if len(found) > 1:  # lambdas in one line
        found = [node for node in found if _spans(node.body, code)][-1:]
    return ast.unparse(found[0]) if found else None


@lru_cache(maxsize=32)
def _codes(text: str, flags: int) -> frozenset[CodeType]:
    """Return the code of all functions in a text."""
    found, waiting = set[CodeType](), list[CodeType]()
    with suppress(SyntaxError, ValueError, RecursionError):
        waiting = [compile(text, "text", "exec", flags=flags, dont_inherit=True)]
    while waiting:
        inside = [one for one in waiting.pop().co_consts if isinstance(one, CodeType)]
        found.update(inside)
        waiting += inside
    return frozenset(found)


@lru_cache(maxsize=32)
def _functions(text: str) -> dict[tuple[str, int], list[Function]]:
    """Return the functions of a text by name and first line, decorators included."""
    found: dict[tuple[str, int], list[Function]] = {}
    try:
        tree = _Plain().visit(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError):
        return found
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            line = min([node.lineno, *(one.lineno for one in node.decorator_list)])
            found.setdefault((node.name, line), []).append(node)
    return found


def _spans(node: ast.expr, code: CodeType) -> bool:
    """Return True if all of a code object lies in an expression."""
    places = [place for place in code.co_positions() if None not in place and place[2:] != (0, 0)]
    begin, end = (node.lineno, node.col_offset), (node.end_lineno, node.end_col_offset)
    return bool(places) and all(begin <= (a, c) and (b, d) <= end for a, b, c, d in places)


class _Plain(ast.NodeTransformer):
    """What computes, alone; formatted strings as calls, since releases of Python write their quotes otherwise."""

    def __init__(self, *, tests: bool = False) -> None:
        self._tests = tests
        self._inside = False  # a function, where annotations of variables change nothing

    def visit_Module(self, node: ast.Module) -> Any:
        return self._block(node, inside=False)

    def visit_ClassDef(self, node: ast.ClassDef) -> Any:
        return self._block(node, inside=False)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        node.returns = None
        return self._block(node, inside=True)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> Any:
        node.returns = None
        return self._block(node, inside=True)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.stmt | None:
        if not self._inside:
            self.generic_visit(node)
            return node
        if node.value is None:
            return None
        made = ast.Assign(targets=[node.target], value=self.visit(node.value))
        return ast.copy_location(made, node)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.expr:
        return self._call("__joined__", node.values, node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> ast.expr:
        given = [node.value, ast.Constant(node.conversion), node.format_spec or ast.Constant(None)]
        return self._call("__formatted__", given, node)

    def _call(self, name: str, given: list[ast.expr], at: ast.expr) -> ast.expr:
        made = ast.Call(func=ast.Name(name), args=[self.visit(one) for one in given], keywords=[])
        return ast.copy_location(made, at)

    def _block(self, node: Any, *, inside: bool) -> Any:
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
        if self._tests:
            node.body = [one for one in node.body if not _is_test(one)]
        before, self._inside = self._inside, inside
        self.generic_visit(node)
        self._inside = before
        node.body = [one for one in node.body if not isinstance(one, ast.Pass)] or [ast.Pass()]
        return node


def _is_test(node: ast.AST) -> bool:
    return isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_")


# Modules


def source(name: str, file: str, package: Callable[[str, str | None], str | None], *, deep: bool = True) -> bytes:
    """Return the digest of a module's text and, recursively, of those of the user's modules that it imports.

    Args:
        file: of the module `name`.
        deep: False for the module alone.
        package: returns what stands for the package that a module (its name, its file) belongs to; None for the user's.
    """
    found: dict[str, bytes] = {}
    packages = set[str]()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        top, above = one.partition(".")[0], one.rpartition(".")[0]
        if one in found or top in packages:
            continue
        at = file if one == name else file_of(one)
        if at is None:  # "from a import b" imports the module a.b only if there is one
            continue
        if (known := package(one, at or None)) is not None:
            # One name for all modules of a package: which of them are found depends on what is loaded.
            packages.add(top)
            found[top] = (package(top, file_of(top) or None) or known).encode()
            continue
        found[one] = b"a folder"
        waiting += [above] if above and deep else []
        if at:
            try:
                status = os.stat(at)
                found[one], imports = _parsed(at, status.st_size, status.st_mtime_ns, one)
            except OSError as error:
                raise Unhashable(f"a module whose file cannot be read ({error})") from None
            waiting += imports if deep else ()
    return joined("sources", [part("name", one.encode()) + part("is", found[one]) for one in sorted(found)])


def file_of(name: str) -> str | None:
    """Return the file of a module, found without loading anything; "" for one without a file, None if there is none."""
    if name in sys.modules:
        return getattr(sys.modules[name], "__file__", None) or ""
    above, _, _ = name.rpartition(".")
    try:
        if not above:
            spec = importlib.util.find_spec(name)
        else:
            places = _places(above)
            spec = None if places is None else PathFinder.find_spec(name, places)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None:
        return None
    return spec.origin if spec.has_location else ""


def _places(package: str) -> Any:
    """Return the folders of a package; None if it is none."""
    if package in sys.modules:
        return getattr(sys.modules[package], "__path__", None)
    above, _, _ = package.rpartition(".")
    if not above:
        spec = importlib.util.find_spec(package)
    else:
        places = _places(above)
        spec = None if places is None else PathFinder.find_spec(package, places)
    return None if spec is None else spec.submodule_search_locations


@cache
def _parsed(file: str, _size: int, _modified: int, name: str) -> tuple[bytes, tuple[str, ...]]:
    # Size and date are arguments only to renew the cache.
    raw = Path(file).read_bytes()
    # Elsewhere a function of such a name may be called: test_time_augmentation, say.
    tests = Path(file).name.startswith("test_") or Path(file).stem.endswith("_test")
    try:
        tree = ast.parse(raw)
        imports = tuple(one for node in ast.walk(tree) for one in _imported_by(node, name, file))
        text = ast.unparse(_Plain(tests=tests).visit(tree))
    except (SyntaxError, ValueError, RecursionError):  # a compiled module
        return hashlib.sha256(raw).digest(), ()
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest(), imports


def _imported_by(node: ast.AST, name: str, file: str) -> Iterator[str]:
    """Yield the modules that a statement of the module `name`, in `file`, may import."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        package = name.split(".") if file.endswith("__init__.py") else name.split(".")[:-1]
        base = package[: len(package) + 1 - node.level] if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        # "from a import b" may import the module a.b
        yield from (origin, *(f"{origin}.{alias.name}" for alias in node.names))
