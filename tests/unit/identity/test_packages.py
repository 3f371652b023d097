"""Code is a package's, known by its version, or the user's, known by its text and by the text of what it imports."""

from __future__ import annotations

import functools
import json
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from robustest.identity import packages
from robustest.identity.packages import home, home_of, home_of_class, own_code, replaced_anywhere, replacements
from robustest.identity.plain import Unhashable
from robustest.identity.walk import Walk


def source(module: types.ModuleType) -> bytes:
    return Walk().source(module.__name__, module)


STANDARD = os.path.dirname(os.path.realpath(json.__file__ or "")).rpartition(os.sep)[0]
SITE = os.path.dirname(os.path.dirname(os.path.realpath(np.__file__)))


@pytest.mark.parametrize(
    ("module", "file", "begins"),
    [
        ("numpy.linalg", np.__file__, f"numpy {np.__version__}"),
        ("torch.nn", torch.__file__, "torch "),
        ("torch._C._nn", None, "torch "),  # by the file of torch
        ("json", json.__file__, "CPython "),
        ("builtins", None, "CPython "),
        ("robustest.rng", f"{packages._OWN}/rng.py", f"robustest {own_code()}"),
        ("acme", "/somewhere/acme.py", None),
        ("acme", None, None),
        (None, None, None),
        ("acme", f"{STANDARD}/acme.py", None),  # a file that somebody put there
        ("json", "/somewhere/json.py", None),  # a file of the user's under a known name
        ("robustest_own", f"{packages._OWN}_own/a.py", None),
        ("acme", f"{SITE}/not_of_any_distribution.py", None),
    ],
)
def test_a_module_is_of_the_package_that_its_file_lies_in(
    module: str | None, file: str | None, begins: str | None
) -> None:
    found = home(module, file)
    assert found is None if begins is None else str(found).startswith(begins)


def test_modules_and_classes_are_at_home_where_their_module_is() -> None:
    assert home_of(np) == home("numpy", np.__file__)
    assert home_of_class(torch.nn.Linear) == home("torch", torch.__file__)
    assert home_of_class(Path) == home("pathlib", None)
    assert home_of_class(type("Made", (), {"__module__": 3})) is None
    assert home_of_class(type("Made", (), {"__module__": __name__})) is None


@pytest.mark.parametrize("name", ["socket", "urllib.request", "asyncio", "subprocess"])
def test_packages_that_reach_outside_are_refused_as_code_and_not_as_imports(name: str, module: Any) -> None:
    with pytest.raises(Unhashable, match=f"{name}, which reaches outside this process"):
        packages.refuse_opaque(name)
    assert home(name, None)
    assert source(module(f"import {name}", "acme_reaching"))
    assert home("acme_socket", None) is None


def test_a_release_is_known_by_its_version_and_others_by_their_files_too() -> None:
    assert packages._release("numpy") == f"numpy {np.__version__}"
    name, version, digest = str(packages._release("safetensors")).split()
    assert (name, len(digest)) == ("safetensors", 64)
    assert version
    assert packages._release("no_such_thing_at_all") is None
    # A folder that bears another name than its distribution.
    assert str(packages._release("_pytest")).startswith("pytest ")


# Sources

HELPERS = """
import json
def scale(x):
    return x
class One:
    def test_inside(self):
        return 1
def test_scale():
    assert scale(1) == 1
"""


def of(module: Callable[..., Any], text: str, name: str = "acme_module", **others: str) -> bytes:
    for other, content in others.items():
        module(content, other)
    return source(module(text, name))


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("def scale(x):", "def scale(x):  # note", True),
        ("def scale(x):\n", 'def scale(x):\n    """Scale."""\n', True),
        ("class One:\n", 'class One:\n    """One."""\n', True),
        ("\nimport json", '"""A module."""\nimport json', True),
        ("\nimport json", "\n\n\nimport json", True),
        ("return x", "return (x)", True),
        ("return x", "return -x", False),
        ("import json", "import types", False),
        ("return 1", "return 2", False),
        ("== 1", "== 2", False),  # elsewhere a function of such a name may be called
    ],
)
def test_of_a_source_comments_and_formatting_do_not_count(
    module: Callable[..., Any], old: str, new: str, same: bool
) -> None:
    assert HELPERS.count(old) == 1
    before = of(module, HELPERS)
    assert len(before) > 32
    assert (of(module, HELPERS.replace(old, new)) == before) is same


@pytest.mark.parametrize(
    ("name", "same"), [("test_acme", True), ("acme_test", True), ("acme_tests", False), ("my_test_acme", False)]
)
def test_of_a_test_file_the_tests_do_not_count_at_the_top_or_in_a_class(
    module: Callable[..., Any], name: str, same: bool
) -> None:
    before = of(module, HELPERS, name)
    for old, new in (("== 1", "== 2"), ("return 1", "return 2")):
        assert (of(module, HELPERS.replace(old, new), name) == before) is same
    assert of(module, HELPERS.replace("return x", "return -x"), name) != before


@pytest.mark.parametrize(
    ("statement", "counts"),
    [
        ("import acme_other", True),
        ("import acme_other as other, json", True),
        ("import json, acme_other", True),
        ("from acme_other import VALUE", True),
        ("from acme_other import *", True),
        ("def late():\n    import acme_other", True),
        ("import acme_other_not", False),
        ("acme_other = 1", False),
    ],
)
def test_a_source_has_all_that_it_imports(module: Callable[..., Any], statement: str, counts: bool) -> None:
    module("VALUE = 0", "acme_other_not")

    def with_value(value: int) -> bytes:
        return of(module, statement, acme_other=f"VALUE = {value}")

    assert with_value(1) == with_value(1)
    assert (with_value(1) != with_value(2)) is counts


@pytest.mark.parametrize(
    ("importer", "statement", "counts"),
    [
        ("acme/inner/one.py", "from . import two", {"acme/inner/two.py"}),
        ("acme/inner/one.py", "from .two import VALUE", {"acme/inner/two.py"}),
        ("acme/inner/one.py", "from ..two import VALUE", {"acme/two.py"}),
        ("acme/inner/one.py", "from .. import two", {"acme/two.py"}),
        ("acme/inner/one.py", "import acme.two", {"acme/two.py"}),
        ("acme/inner/__init__.py", "from . import two", {"acme/inner/two.py"}),
        ("acme/inner/__init__.py", "from ..two import VALUE", {"acme/two.py"}),
    ],
)
def test_relative_imports_are_of_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, importer: str, statement: str, counts: set[str]
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    (tmp_path / "acme" / "inner").mkdir(parents=True)
    files = ("acme/__init__.py", "acme/inner/__init__.py", "acme/two.py", "acme/inner/two.py")

    def read(changed: str) -> bytes:
        for name in files:
            (tmp_path / name).write_text(f"VALUE = {2222 if name == changed else 1}\n")
        own = (tmp_path / importer).read_text() if importer in files else ""
        (tmp_path / importer).write_text(f"{own}{statement}\n")
        for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
            del sys.modules[name]
        name = importer.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return source(__import__(name, fromlist=["VALUE"]))

    try:
        before = read("")
        assert read("") == before
        assert {name for name in files[2:] if read(name) != before} == counts
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "acme"]:
            del sys.modules[name]


def test_a_compiled_module_counts_by_its_bytes_and_one_without_a_file_not_at_all(tmp_path: Path) -> None:
    compiled = types.ModuleType("acme_compiled")
    compiled.__file__ = str(tmp_path / "acme_compiled.so")
    found = []
    for content in (b"\x00one", b"\x00one", b"\x00other"):
        Path(compiled.__file__).write_bytes(content)
        found.append(source(compiled))
    assert found[0] == found[1] != found[2]
    with pytest.raises(Unhashable, match="a module without a file"):
        source(types.ModuleType("acme_nowhere"))
    compiled.__file__ = str(tmp_path / "gone.py")
    with pytest.raises(Unhashable, match="whose file cannot be read"):
        source(compiled)


# Replaced functions


def own(x: Any) -> Any:
    return x


class Caller:
    def __call__(self, x: Any) -> Any:
        return x


@pytest.mark.parametrize(
    ("held", "found"),
    [
        (own, True),
        (lambda x: x, True),
        (functools.partial(own, 1), True),
        (functools.partial(functools.partial(own), 1), True),
        (Caller().__call__, True),
        (Caller(), True),
        (torch.relu, False),
        (F.gelu, False),
        (functools.partial(F.gelu), False),
        (torch.nn.ReLU, False),
        (torch.nn.ReLU(), False),
        (os, False),
        (3, False),
        ("text", False),
    ],
)
def test_the_users_functions_in_place_of_a_packages_are_found(
    held: Any, found: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, aliases = replacements(F)
    assert before == []
    monkeypatch.setattr(F, "relu", held)
    now, others = replacements(F)
    assert now == ([("relu", held)] if found else [])
    assert (("relu", "gelu") in others) is (held is F.gelu)
    monkeypatch.undo()
    assert replacements(F) == ([], aliases)


@pytest.mark.parametrize(
    ("place", "name", "held", "found"),
    [
        (F, "relu", own, "torch.nn.functional.relu"),
        (np, "exp", mock.Mock(), "numpy.exp"),
        (np, "exp", np.log, None),
        (torch.nn.Linear, "forward", own, "torch.nn.modules.linear.Linear.forward"),
        (np.random, "rand", lambda: 0, "numpy.random.rand"),
        (np, "exp", functools.partial(own), "numpy.exp"),
    ],
)
def test_what_is_replaced_anywhere_in_numerical_packages_is_named(
    place: Any, name: str, held: Any, found: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(replaced_anywhere())
    monkeypatch.setattr(place, name, held)
    now = set(replaced_anywhere()) - before
    assert (found in now) if found else not now
