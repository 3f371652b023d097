"""The core's fixtures and tables of tests: these tests run from a checkout, beside the core's."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
for folder in ("tests", "tests/contract", "tests/unit/run", "benchmarks"):
    sys.path.append(str(ROOT / folder))

_spec = importlib.util.spec_from_file_location("core_fixtures", ROOT / "tests" / "conftest.py")
assert _spec is not None
assert _spec.loader is not None
_core = importlib.util.module_from_spec(_spec)
sys.modules["core_fixtures"] = _core
_spec.loader.exec_module(_core)
pytest_plugins = ["pytester", "core_fixtures"]


def pytest_configure(config: pytest.Config) -> None:
    """Take the fixtures of runs of pytest on a small project."""
    spec = importlib.util.spec_from_file_location("core_runs", ROOT / "tests" / "plugin" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    runs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(runs)
    config.pluginmanager.register(runs)
