"""Stubs for type checkers, made from the names that load when first used and from the signatures that run.

Type checkers do not see names that load when first used. Nor can a decorator say that an argument which a measurement
may leave out is required by its assertion, or that one of several thresholds has to be given: so an assertion of one
threshold is a function, and one of several an overload for each. After a new name or a change of a signature:

    python tests/type_checks/stubs.py
"""

from __future__ import annotations

import ast
import inspect
import re
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import robustest
from robustest import measure, packs
from robustest.claims import kinds
from robustest.kinds import Kind

FOLDER = Path(robustest.__file__).parent
BUILTIN = {"None", "bool", "dict", "float", "int", "list", "object", "str", "tuple", "type"}
HEAD = "# Made by tests/type_checks/stubs.py of the names and signatures that run.\n\n"


def stubs() -> dict[Path, str]:
    """The text of each stub file."""
    modules = [f"from robustest import {name} as {name}" for name in sorted(robustest._MODULES)]
    return {
        FOLDER / "__init__.pyi": f"{HEAD}{_names(robustest, modules)}\n__version__: str\n\n{_assertions()}",
        FOLDER / "measure.pyi": HEAD + _names(measure, []),
        FOLDER / "packs.pyi": HEAD + _names(packs, []),
    }


def _names(module: ModuleType, lines: list[str]) -> str:
    """The import of each name that loads when first used, but those of assertions."""
    homes = sorted((home, name) for name, home in module._MODULE_OF.items() if not name.startswith("assert_"))
    listed = ", ".join(f'"{name}"' for name in module.__all__)
    return "\n".join(
        [*lines, *(f"from {home} import {name} as {name}" for home, name in homes), f"\n__all__ = [{listed}]\n"]
    )


def _assertions() -> str:
    imports: dict[str, set[str]] = defaultdict(set)
    homes: dict[str, str] = {}
    bodies = []
    for name in (one for one in robustest.__all__ if one.startswith("assert_")):
        made = getattr(robustest, name)
        annotations = [part.annotation for part in inspect.signature(made).parameters.values()]
        for used in {
            node.id for text in annotations for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)
        }:
            if used not in BUILTIN:
                home = _home(used, inspect.getmodule(made.__wrapped__))
                # One name for two things would give one of them the other's type.
                assert homes.setdefault(used, home) == home, f"{used} is of {homes[used]} and of {home}"
                imports[home] |= {used} - {home}
        bodies += _functions(name, made, kinds()[name.removeprefix("assert_")])
    imports["typing"] |= {"overload"} if any("@overload" in body for body in bodies) else set()
    exported = set(robustest.__all__)
    lines = [
        f"from {home} import {', '.join(sorted(used - exported))}" if used - exported else f"import {home}"
        for home, used in sorted(imports.items())
        if not used or used - exported
    ]
    return "\n".join([*lines, "", *bodies])


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
