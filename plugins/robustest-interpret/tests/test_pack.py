"""How robustest finds this pack: by a light module that every robust run imports; and what the pack is made of."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest
import robustest_interpret
from robustest_interpret import pack

from robustest import Result, Verdict
from robustest.extensions import all_of
from robustest.measure import measure_no_spurious_feature
from robustest.packs import CueSearch, Kind

ROOT = Path(__file__).resolve().parents[3]
ASSERTIONS = [name for name in robustest_interpret.__all__ if name.startswith("assert_")]


def test_the_entry_point_names_the_module() -> None:
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"] == {"robustest": {"interpret": pack.__name__}}


def test_it_brings_in_nothing_heavy() -> None:
    code = f"import sys, {pack.__name__}; print({{'torch', 'numpy', 'scipy'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.strip() == "set()"


def test_the_names_are_those_that_a_type_checker_sees() -> None:
    tree = ast.parse(Path(robustest_interpret.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    found = {alias.name: str(node.module) for node in block.body for alias in node.names}  # type: ignore[attr-defined]
    assert found == {name: f"robustest_interpret.{home}" for name, home in robustest_interpret._HOME.items()}
    assert all(getattr(robustest_interpret, name) is getattr(import_module(home), name) for name, home in found.items())
    assert set(found) <= set(dir(robustest_interpret))
    with pytest.raises(AttributeError, match="no attribute 'everything'"):
        robustest_interpret.everything  # noqa: B018


def test_robustest_finds_its_kinds_and_each_has_a_twin_and_a_page() -> None:
    found = [kind for owner, kind in all_of("robustest_kinds", Kind) if owner == "interpret"]
    assert sorted(kind.assertion for kind in found) == ASSERTIONS
    for name in ASSERTIONS:
        assert hasattr(robustest_interpret, name.replace("assert_", "measure_"))
        page = ROOT / "docs" / "claims" / f"{name.removeprefix('assert_')}.md"
        assert f"{name}(" in page.read_text(encoding="utf-8")


def test_auto_is_the_search_of_this_pack() -> None:
    (name, make), = pack.robustest_cue_searches().items()  # fmt: skip
    search = make()
    assert (name, search) == ("auto", robustest_interpret.Discovery())
    assert isinstance(search, CueSearch)


def test_auto_and_its_options_by_themselves_measure_the_same() -> None:
    from kinds import Templates, patterned

    x, y = patterned(0, 4)
    x[y == 2, 0, 1:3, 6:8] = 1.0

    def measured(cue: object, *, good: bool) -> Result:
        return measure_no_spurious_feature(Templates(good=good).eval(), (x, y), cue, max_flip_rate=0.2, seed=0)

    found = [measured(cue, good=False) for cue in ("auto", robustest_interpret.Discovery())]
    assert [one.verdict for one in found] == [Verdict.FAILED] * 2
    assert measured("auto", good=True).verdict is Verdict.PASSED
    assert found[0].details == found[1].details
