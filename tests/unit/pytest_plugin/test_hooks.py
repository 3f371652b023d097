"""A test is a robustness test by its marker, its fixtures or its text; a shard takes every N-th of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import robustest.measure
from robustest import assert_robust_accuracy, pytest_plugin
from robustest.measure import measure_robust_accuracy
from robustest.pytest_plugin import _found_tests, _is_robust, _keep_shard, _mentions_robustest, _selection
from robustest.pytest_plugin.options import COLLECTED, DESELECTED, FOUND, SETTINGS
from robustest.settings import Settings

# Texts of tests


def assert_small(x: float) -> None:
    assert x < 1


def helper() -> None:
    assert_robust_accuracy(1, 2, 3)  # type: ignore[arg-type]


def by_helper() -> None:
    helper()


def by_two_helpers() -> None:
    by_helper()


def round_in_circles() -> None:
    round_in_circles()


def by_name() -> None:
    assert_robust_accuracy(1, 2, 3)  # type: ignore[arg-type]


def by_measurement() -> None:
    assert measure_robust_accuracy(1, 2, 3).estimate  # type: ignore[arg-type]


def by_module() -> None:
    robustest.measure.measure_robust_accuracy(1, 2, 3)  # type: ignore[arg-type]


def by_late_import() -> None:
    from robustest import assert_accuracy

    assert_accuracy(1, 2, at_least=3)


def inside() -> Callable[[], None]:
    return lambda: assert_robust_accuracy(1, 2, 3)  # type: ignore[arg-type, return-value]


def own_assertion() -> None:
    assert_small(0.5)


def plain() -> int:
    return len(Settings().attack)


def item(function: Any = None, *, marker: bool = False, fixtures: tuple[str, ...] = (), found: Any = None) -> Any:
    """Stands in for a test of pytest's."""
    return SimpleNamespace(
        obj=function,
        get_closest_marker=lambda _: marker or None,
        fixturenames=fixtures,
        _fixtureinfo=SimpleNamespace(name2fixturedefs=found or {}),
    )


@pytest.mark.parametrize(
    ("function", "claims"),
    [
        (by_name, True),
        (by_measurement, True),
        (by_module, True),
        (by_late_import, True),
        (by_helper, True),
        (by_two_helpers, True),
        (inside, True),
        (round_in_circles, False),
        (own_assertion, False),
        (plain, False),
        (None, False),
        (len, False),
    ],
)
def test_a_test_is_read_for_its_claims(function: Any, claims: bool) -> None:
    assert _is_robust(item(function), by_text=True) is claims
    assert not _is_robust(item(function), by_text=False)


@pytest.mark.parametrize(
    ("fixtures", "claims"),
    [
        (("robust",), True),
        (("robust_model", "tmp_path"), True),
        (("robust_data",), True),
        (("robust_baseline",), True),
        (("robust_responses",), True),
        (("robustness",), False),
        ((), False),
    ],
)
def test_a_marker_or_a_fixture_says_so_without_a_text(fixtures: tuple[str, ...], claims: bool) -> None:
    assert _is_robust(item(plain, fixtures=fixtures), by_text=False) is claims
    assert _is_robust(item(plain, fixtures=fixtures, marker=True), by_text=False)


def test_helpers_in_other_modules_and_fixtures_are_read_below_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    here = Path(__file__).parent
    far = ModuleType("acme_far")
    exec("from robustest import assert_accuracy\ndef check(): assert_accuracy(1, 2, at_least=3)\n", vars(far))  # noqa: S102
    far.check.__module__ = "acme_far"
    namespace: dict[str, Any] = {"__name__": "acme_test", "far": far, "check": far.check}
    exec("def by_module(): far.check()\ndef by_function(): check()\n", namespace)  # noqa: S102
    monkeypatch.setitem(__import__("sys").modules, "acme_far", far)
    for name in ("by_module", "by_function"):
        one = item(namespace[name])
        for file, robust in ((str(here / "far.py"), True), ("/elsewhere/far.py", False), (None, False)):
            far.__file__ = file
            assert _is_robust(one, by_text=True, below=here) is robust, (name, file)
        far.__file__ = str(here / "site-packages" / "far.py")
        assert not _is_robust(one, by_text=True, below=here)
        assert not _is_robust(one, by_text=True)
    fixture = {"model": [SimpleNamespace(func=plain), SimpleNamespace(func=by_name)]}
    assert _is_robust(item(plain, found=fixture), by_text=True, below=here)
    assert not _is_robust(item(plain, found=fixture), by_text=True)


def written(text: str, **names: Any) -> dict[str, Any]:
    """A module's names, after a text was run in it."""
    found: dict[str, Any] = {"__name__": "acme_test", **names}
    exec(text, found)  # noqa: S102
    return found


@pytest.mark.parametrize(
    ("text", "names", "claims"),
    [
        ("def test(): other.measure_it()", {"other": json}, False),
        ("def test(): Settings().measure_it()", {"Settings": Settings}, False),
        ("def test(): robustest.measure_it()", {"robustest": robustest}, True),
        ("def test(): ours.measure_it()", {"ours": robustest.measure}, True),
        ("def test(): robustest.other()", {"robustest": robustest}, False),
        ("def test():\n import robustest.measure as m\n m.measure_it()", {}, True),
        ("def test():\n import other as m\n m.measure_it()", {}, False),
        ("def test(): assert_it()", {"assert_it": assert_robust_accuracy}, True),
        ("def test(): assert_it(robustest)", {"assert_it": plain, "robustest": robustest}, False),
        ("def test(): check()\ndef check(): assert_it()", {"assert_it": assert_robust_accuracy}, True),
        ("def test(): check", {"check": by_name}, False),  # of another module
    ],
)
def test_a_claim_is_a_function_of_robustest(text: str, names: dict[str, Any], claims: bool) -> None:
    assert _is_robust(item(written(text, **names)["test"]), by_text=True) is claims


@pytest.mark.parametrize(
    ("text", "claims"),
    [
        ("def test(): far.check()", True),
        ("def test(): far.other()", False),
        ("def test(): Helper().check()", True),
        ("def test(): Helper().other()", False),
        ("def test(): Mine().check()", True),
        ("def test(): Mine().other()", False),
        ("def test(): check()", True),
    ],
)
def test_helpers_are_functions_of_a_module_and_methods_of_a_class(
    text: str, claims: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = ModuleType("acme_far")
    far.__file__ = str(tmp_path / "far.py")
    monkeypatch.setitem(__import__("sys").modules, "acme_far", far)
    helper = "    def check(self): assert_robust_accuracy(1, 2, 3)\n    def other(self): pass\n"
    function = "def check(): assert_robust_accuracy(1, 2, 3)\ndef other(): pass\n"
    vars(far).update(written(f"class Helper:\n{helper}{function}", assert_robust_accuracy=assert_robust_accuracy))
    far.__name__ = "acme_far"
    for name in ("Helper", "check", "other"):
        getattr(far, name).__module__ = "acme_far"
    names = {"far": far, "Helper": far.Helper, "assert_robust_accuracy": assert_robust_accuracy}
    if "far" not in text:
        del names["far"]
    if text == "def test(): check()":
        names["check"] = far.check
    one = item(written(f"class Mine:\n{helper}{text}", **names)["test"])
    assert _is_robust(one, by_text=True, below=tmp_path) is claims
    assert not _is_robust(one, by_text=True)
    assert not _is_robust(one, by_text=True, below=tmp_path / "elsewhere") or "Mine" in text


@pytest.mark.parametrize("first", [len, plain, round_in_circles])
def test_what_has_no_text_hides_no_other(first: Any) -> None:
    fixtures = {"model": [SimpleNamespace(func=by_name), SimpleNamespace(func=first), SimpleNamespace(func=first)]}
    assert _is_robust(item(plain, found=fixtures), by_text=True, below=Path("/nowhere"))


# Selections


def config(**given: Any) -> Any:
    stash: Any = pytest.Stash()
    stash[SETTINGS] = Settings()
    return SimpleNamespace(
        getoption=lambda name, default=None: given.get(name.removeprefix("--robust-"), default),
        args=given.get("args", []),
        args_source=given.get("source", pytest.Config.ArgsSource.ARGS),
        stash=stash,
        hook=SimpleNamespace(pytest_deselected=lambda *, items: given["left"].append(items)),
        invocation_params=SimpleNamespace(dir=given.get("here", Path("/a b"))),
        rootpath=Path("/a b"),
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ""),
        ({"args": ["a b.py", "c.py::t"]}, "'a b.py' c.py::t"),
        ({"args": ["tests"], "source": pytest.Config.ArgsSource.TESTPATHS}, ""),
        ({"keyword": "not a", "markexpr": "b"}, "-k 'not a' -m b"),
        (
            {"deselect": ["a", "b"], "ignore": ["c"], "ignore_glob": ["d*"]},
            "--deselect a --deselect b --ignore c --ignore-glob 'd*'",
        ),
        ({"lf": True, "stepwise": True, "stepwise_skip": True}, "--lf --sw --sw-skip"),
        ({"keyword": "", "ignore": None, "lf": False}, ""),
        ({"source": pytest.Config.ArgsSource.INVOCATION_DIR}, ""),
        ({"source": pytest.Config.ArgsSource.INVOCATION_DIR, "here": Path("/a b/c")}, "'/a b/c'"),
        ({"inifilename": "a b.ini", "noconftest": True}, "-c 'a b.ini' --noconftest"),
        ({"override_ini": ["python_files =t*", "robust_seed=3", "addopts=-x"]}, "-o 'python_files =t*' -o addopts=-x"),
    ],
)
def test_what_selects_tests_is_named_as_it_was_typed(given: dict[str, Any], words: str) -> None:
    assert _selection(config(**given)) == words


@pytest.mark.parametrize(
    ("shard", "kept"),
    [(None, "abcdefg"), ("1/1", "abcdefg"), ("1/3", "adg"), ("2/3", "be"), ("3/3", "cf"), ("8/9", "")],
)
def test_a_shard_takes_every_nth_robustness_test_and_all_others(shard: str | None, kept: str) -> None:
    left: list[list[Any]] = []
    made = config(shard=shard, left=left)
    items = [
        SimpleNamespace(nodeid=name, get_closest_marker=lambda _, n=name: n.islower() or None) for name in "aXbcdYefg"
    ]
    made.stash[DESELECTED] = ["a", "c", "z"]
    chosen = list(items)
    _keep_shard(made, chosen)  # type: ignore[arg-type]
    assert made.stash[COLLECTED] == list("abcdefg")
    assert [one.nodeid for one in chosen] == [name for name in "aXbcdYefg" if name in kept or name.isupper()]
    assert [one.nodeid for part in left for one in part] == [name for name in "abcdefg" if name not in kept]
    # What is left to other shards was not deselected by the user.
    assert made.stash[DESELECTED] == [name for name in ("a", "c", "z") if name in kept or name == "z"]


def test_tests_of_classes_are_found_and_a_class_that_cannot_be_collected_hides_no_other() -> None:
    class Test(pytest.Item):
        def __init__(self, name: str) -> None:  # as far as it is asked here
            self.name = name

        def runtest(self) -> None:
            """Run nothing."""

    class Class(pytest.Class):
        def __init__(self, parts: Any) -> None:
            self.parts = parts

        def collect(self) -> Any:
            return self.parts()

    def broken() -> Any:
        raise ZeroDivisionError

    first, second, third = (object.__new__(Test) for _ in range(3))
    inner = object.__new__(Class)
    outer, bad = object.__new__(Class), object.__new__(Class)
    vars(inner)["parts"] = lambda: [second]
    vars(outer)["parts"] = lambda: [inner, "no test"]
    vars(bad)["parts"] = broken
    made = config()
    assert _found_tests(made) == []
    made.stash[FOUND] = {"a": first, "b": outer, "c": bad, "d": third}
    assert _found_tests(made) == [first, third, second]


def test_a_skipped_file_counts_where_it_names_robustest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    one, other = tmp_path / "sub" / "a.py", tmp_path / "b.py"
    one.write_text("import robustest")
    other.write_text("import pytest")
    assert [_mentions_robustest(path) for path in (one, other, tmp_path, tmp_path / "none.py")] == [
        True,
        False,
        True,
        False,
    ]
    one.write_text("")
    assert not _mentions_robustest(tmp_path)
    (tmp_path / "sub" / "no_file.py").mkdir()
    assert _mentions_robustest(tmp_path / "sub") is False


def test_a_fixture_of_the_project_is_missed_by_name() -> None:
    assert pytest_plugin._MISSING.format(name="robust_model", what="load()").count("robust_model") == 2
