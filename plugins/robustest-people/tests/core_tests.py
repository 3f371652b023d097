"""Modules of core's tests, by their paths: the fixtures, and the tables that every kind of claim is held to."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

TESTS = Path(__file__).resolve().parents[3] / "tests"


@cache
def load(path: str) -> ModuleType:
    """Return a module of core's tests, under a name of its own: `load("contract/kinds.py")`."""
    name = "core_" + path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, TESTS / path)
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
