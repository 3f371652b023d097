"""How robustest finds this pack: by a module that every robust run imports, and that is light."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

from robustest_rl import pack
from robustest_rl.asking import ROBUST_RETURN

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_entry_point_names_the_module() -> None:
    points = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]
    assert points == {"robustest": {"rl": pack.__name__}}


def test_it_brings_in_nothing_heavy() -> None:
    code = f"import sys, {pack.__name__}; print({{'torch', 'numpy', 'gymnasium', 'hypothesis'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "set()"


def test_its_kind_of_claim_is_declared() -> None:
    assert pack.robustest_kinds() == (ROBUST_RETURN,)
