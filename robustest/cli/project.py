"""A user's project: where its model and samples come from, and what they are.

1. Fixtures named `robust_model` and `robust_data` count; else the only fixtures whose names are those of a model and of
   samples (`model`, `clf`, `test_data`, ...); else references such as `my_project:load_model`.
2. pytest gets both fixtures in another process, and `robustest.cli.look` writes the facts.
"""

from __future__ import annotations

import ast
import json
import os
import re
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robustest.cli.installation import Project, code_of
from robustest.cli.questions import Facts
from robustest.cli.screen import wrong
from robustest.cli.warm import WarmPytest
from robustest.repository import repository_of

MODEL, DATA = "robust_model", "robust_data"
"""Names of the fixtures that `init` writes."""
MODELS = (MODEL, "model", "classifier", "clf", "net", "network", "pipeline", "estimator")
SAMPLES = (DATA, "test_data", "test_set", "testset", "data", "samples", "dataset", "loader", "rows")
UNFILLED = "it is still to be filled in"
"""Words of a fixture that `init` wrote and nobody has filled in."""
_PART = r"[A-Za-z_]\w*"
_REFERENCE = re.compile(rf"(?P<module>{_PART}(\.{_PART})*):(?P<name>{_PART})")


@dataclass(frozen=True, slots=True)
class Fixtures:
    """Names of the fixtures with the model and with the samples."""

    model: str = MODEL
    data: str = DATA


@dataclass(frozen=True, slots=True)
class Reference:
    """A place of a value: `module:name`, `notebook.ipynb:name`, or the path of an ONNX file."""

    module: str
    name: str
    notebook: str = ""  # its path

    @classmethod
    def of(cls, text: str) -> Reference:
        """Return the reference that a text names."""
        found = _REFERENCE.fullmatch(text)
        if text.endswith(".onnx"):
            return cls("", text)
        path, _, name = text.rpartition(":")
        if path.endswith(".ipynb") and name.isidentifier():
            return cls("", name, path)
        if found is None:
            raise wrong(
                f"Expected a place such as my_project:load_model but got {text!r}. Name a module and a name in it."
            )
        return cls(found["module"], found["name"])

    def call(self, root: Path) -> str:
        """Return "()" if the name is a class or a function without required arguments, else ""."""
        base = self.module.replace(".", "/")
        files = [root / start / f"{base}{end}" for start in ("", "src") for end in (".py", "/__init__.py")]
        if self.notebook:
            files = [root / self.notebook]
        for path in files:
            if not path.is_file():
                continue
            with suppress(SyntaxError, ValueError, KeyError, TypeError):
                text = path.read_text(encoding="utf-8", errors="replace")
                for one in ast.parse(code_of(text) if self.notebook else text).body:
                    if isinstance(one, ast.ClassDef) and one.name == self.name:
                        return "()"
                    if isinstance(one, ast.FunctionDef) and one.name == self.name:
                        given = one.args
                        return "()" if len(given.args) + len(given.posonlyargs) == len(given.defaults) else ""
            return ""
        return "()"


def conftests(root: Path) -> list[Path]:
    """Return the present conftest.py files of a project's tests."""
    own = (root / Project(root, repository_of(root)).tests_file("look")).parent
    folders = dict.fromkeys((own, root / "tests", root))
    return [path for folder in folders if (path := folder / "conftest.py").is_file()]


def fixtures_of(root: Path) -> Fixtures | None:
    """Return the names of the fixtures with model and samples; None if they cannot be told from others."""
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in conftests(root)]
    # They may be imported, or defined in any way.
    if all(any(re.search(rf"\b{name}\b", text) for text in texts) for name in (MODEL, DATA)):
        return Fixtures()
    names: list[str] = []
    for path, text in zip(conftests(root), texts, strict=True):
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise wrong(
                f"Expected Python in {path} but got: {error.msg} (line {error.lineno}). Mend it first."
            ) from None
        for one in (node for node in tree.body if isinstance(node, ast.FunctionDef)):
            called = [part.func if isinstance(part, ast.Call) else part for part in one.decorator_list]
            if "fixture" in {getattr(part, "attr", getattr(part, "id", "")) for part in called}:
                names.append(one.name)
    model, data = _only(names, MODELS), _only(names, SAMPLES)
    return None if model is None or data is None else Fixtures(model, data)


def _only(names: list[str], vocabulary: tuple[str, ...]) -> str | None:
    for one in vocabulary:
        if one in names:
            return one
    near = [name for name in names if set(name.lower().split("_")) & set(vocabulary)]
    return near[0] if len(near) == 1 else None


def look_at(root: Path, fixtures: Fixtures, pytest: WarmPytest) -> Facts | str:
    """Return the facts about a project's model and samples, or the reason why there are none."""
    with tempfile.TemporaryDirectory() as folder:
        to, plan = Path(folder) / "facts.json", Path(folder) / "plan.json"
        file = Path(folder) / "test_look.py"
        name = Project(root, repository_of(root)).tests_file("look")
        look = f"write_facts(request, {fixtures.model!r}, {fixtures.data!r}, {str(to)!r})"
        test = f"from robustest.cli.look import write_facts\n\n\ndef test_look(request):\n    {look}\n"
        file.write_text(test, encoding="utf-8")
        plan.write_text(json.dumps(plan_of(root, file, name)), encoding="utf-8")
        printed = Path(folder) / "printed.txt"
        pytest.run(["-q", *options_of(plan), str(root)], printed)
        if not to.is_file():
            text = printed.read_text(encoding="utf-8", errors="replace") if printed.is_file() else ""
            last = [line for line in text.splitlines() if line.strip()][-12:]
            return "\n".join(["pytest could not open the project:", *last])
        found: dict[str, Any] = json.loads(to.read_text(encoding="utf-8"))
    if "problem" in found:
        return str(found["problem"])
    return Facts.from_dict({**found, "model": fixtures.model, "data": fixtures.data})


def options_of(plan: Path) -> list[str]:
    """Return the options of pytest for a run of the tests that a plan has."""
    # No rewritten assertions: to rewrite each module of robustest, which has none, takes as long as to load torch. The
    # project's next `pytest --lf` shall run tests that it has; without the cache's plugin `addopts = --lf` would be an
    # unknown option.
    cache = plan.parent / "cache"
    return ["-p", "robustest.cli.inside", f"--robust-plan={plan}", "--assert=plain", "-o", f"cache_dir={cache}"]


def plan_of(root: Path, file: Path, name: str) -> dict[str, Any]:
    """Return a plan for `robustest.cli.inside`: tests of a file as if they lay at `name` in the project."""
    root = root.resolve()
    folder = (root / name).parent
    return {
        "parent": os.getpid(),
        "root": str(root),
        "folder": str(folder if folder.is_dir() else root),
        "file": str(file),
        "name": name,
    }
