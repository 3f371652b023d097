"""What type checkers see of the assertions: stubs, made of the signatures that run.

A decorator cannot say that an argument which a measurement may leave out is required by its assertion, nor that one of
several thresholds has to be given. So the stubs have one function for an assertion of one threshold, and an overload
for each threshold of the others. After a change of a signature:

    python tests/type_checks/stubs.py
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import robustest
from robustest import assertions
from robustest.assertions import kinds, strategies
from robustest.kinds import Kind

FOLDER = Path(robustest.__file__).parent / "assertions"
BUILTIN = {"None", "bool", "dict", "float", "int", "list", "object", "str", "tuple", "type"}


def stubs() -> dict[Path, str]:
    """The text of each stub file."""
    asserted = "from robustest.assertions.assertion import assertion as assertion\n"
    asserted += "from robustest.assertions.assertion import kinds as kinds\n"
    return {
        FOLDER / "__init__.pyi": _file(vars(assertions), asserted),
        FOLDER / "strategies.pyi": _file(vars(strategies), ""),
    }


def _file(names: dict[str, Any], exports: str) -> str:
    found = {name: one for name, one in names.items() if name.startswith("assert_")}
    imports: dict[str, set[str]] = defaultdict(set)
    homes: dict[str, str] = {}
    bodies = []
    for name, one in found.items():
        annotations = [part.annotation for part in inspect.signature(one).parameters.values()]
        for used in {
            node.id for text in annotations for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)
        }:
            if used not in BUILTIN:
                home = _home(used, inspect.getmodule(one.__wrapped__))
                # One name for two things would give one of them the other's type.
                assert homes.setdefault(used, home) == home, f"{used} is of {homes[used]} and of {home}"
                imports[home] |= {used} - {home}
        bodies += _functions(name, one, kinds()[name.removeprefix("assert_")])
    imports["robustest.results"].add("Result")
    imports["typing"] |= {"overload"} if any("@overload" in body for body in bodies) else set()
    lines = [
        f"from {home} import {', '.join(sorted(used))}" if used else f"import {home}"
        for home, used in sorted(imports.items())
    ]
    head = "# Made by tests/type_checks/stubs.py of the signatures that run.\n\n"
    return head + "\n".join(lines) + "\n" + exports + "\n" + "\n".join(bodies)


def _functions(name: str, one: Any, kind: Kind) -> list[str]:
    """A function, or an overload for each of the thresholds of which one will do."""
    signature = inspect.signature(one)
    thresholds = [word for word in kind.thresholds if word in signature.parameters]
    claimed = any(signature.parameters[word].default not in (None, inspect.Parameter.empty) for word in thresholds)
    if kind.advises or claimed:
        return [_function(name, signature, set())]
    if kind.together or len(thresholds) == 1:
        return [_function(name, signature, set(thresholds))]
    return [f"@overload\n{_function(name, signature, {word})}" for word in thresholds]


def _function(name: str, signature: inspect.Signature, required: set[str]) -> str:
    lines = [f"def {name}("]
    keyword = False
    for part in signature.parameters.values():
        if part.kind is part.VAR_KEYWORD:
            lines.append(f"    **{part.name}: {part.annotation},")
            continue
        if part.kind is part.KEYWORD_ONLY and not keyword:
            keyword = True
            lines.append("    *,")
        needed = part.name in required
        annotation = re.sub(r" \| None$", "", part.annotation) if needed else part.annotation
        default = "" if needed or part.default is part.empty else " = ..."
        lines.append(f"    {part.name}: {annotation}{default},")
    return "\n".join([*lines, ") -> Result: ...", ""])


def _home(name: str, module: Any) -> str:
    """The module that a name in an annotation is imported from, or defined in."""
    tree = ast.parse(inspect.getsource(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            return str(node.module)
        if isinstance(node, ast.Import) and any(alias.name == name for alias in node.names):
            return name
    assert name in vars(module), f"{name} of {module.__name__}"
    return str(module.__name__)


if __name__ == "__main__":
    for path, text in stubs().items():
        path.write_text(text, encoding="utf-8", newline="\n")
