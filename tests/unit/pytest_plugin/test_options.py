"""A setting comes from the command line, else from marker, ini file, profile or default; a command repeats a test."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from robustest import ConfigError, extensions
from robustest.errors import PackError
from robustest.pytest_plugin import options
from robustest.pytest_plugin.options import SETTINGS
from robustest.settings import MARKER_KEYS, Settings


@pytest.fixture(autouse=True)
def no_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)


def config(
    root: Path, *, ini: Any = None, inipath: Path | None = None, started: Path | None = None, **given: Any
) -> Any:
    """Stands in for pytest's, with options of the command line and ini keys by name."""

    def getini(name: str) -> Any:
        value = (ini or {}).get(name.removeprefix("robust_"))
        if isinstance(value, Exception):
            raise value
        return value

    def getoption(name: str, default: Any = None) -> Any:
        return given.get(name.removeprefix("--").removeprefix("robust-").replace("-", "_"), default)

    return SimpleNamespace(
        getoption=getoption,
        getini=getini,
        _inicfg={f"robust_{name}": value for name, value in (ini or {}).items()},
        invocation_params=SimpleNamespace(dir=started or root),
        rootpath=root,
        inipath=inipath,
        stash={SETTINGS: Settings()},
    )


# Settings of a run


@pytest.mark.parametrize(
    ("ini", "given", "expected"),
    [
        ({}, {}, {"profile": "dev", "recheck": 0.01}),
        ({}, {"ci": True}, {"profile": "ci", "recheck": 0.05}),
        ({"profile": "nightly"}, {"ci": True}, {"profile": "nightly", "attack": "thorough", "exact": True}),
        ({"profile": "nightly"}, {"profile": "dev", "ci": True}, {"profile": "dev", "attack": "fast"}),
        ({"seed": 3}, {}, {"seed": 3}),
        ({"seed": 3}, {"seed": 0}, {"seed": 0}),  # zero is given, too
        ({"recheck": 0.5}, {"ci": True}, {"recheck": 0.05}),  # a profile is over the ini file
        ({"examples": ""}, {}, {"examples": 3}),
        ({"suppress": []}, {}, {"suppress": ()}),
        ({"suppress": ["weak_attack"]}, {}, {"suppress": ("weak_attack",)}),
        ({"plain_runs": "run"}, {}, {"profile": "dev"}),
        ({"examples": 0}, {}, {"examples": 0}),
        ({}, {"no_cache": True, "exact": True}, {"cache": False, "exact": True, "replay_only": False}),
        ({}, {"audit_values": True, "replay_only": True}, {"audit_values": True, "replay_only": True}),
        (
            {},
            {"max_samples": 9, "workers": 2, "device": "cpu"},
            {"max_samples": 9, "workers": 2, "device": "cpu"},
        ),
        ({}, {"gpus_per_task": 0.0, "address": "a", "engine": "ray"}, {"gpus_per_task": 0.0, "address": "a"}),
    ],
)
def test_the_command_line_is_over_profile_and_ini_file(
    ini: dict[str, Any], given: dict[str, Any], expected: dict[str, Any], tmp_path: Path, monkeypatch: Any
) -> None:
    given = dict(given)
    if given.pop("ci", False):
        monkeypatch.setenv("CI", "true")
    found = options.settings_of(config(tmp_path, ini=ini, **given))
    assert {name: getattr(found, name) for name in expected} == expected


def test_folders_lie_below_the_root_and_a_typed_one_where_the_run_was_started(tmp_path: Path) -> None:
    found = options.settings_of(config(tmp_path, ini={"store": "kept"}))
    assert (found.store, found.corpus) == (str(tmp_path / "kept"), str(tmp_path / ".robustest/corpus"))
    assert found.pictures == str(tmp_path / ".robustest/pictures")
    assert found.baseline == str(tmp_path / "robust-baseline.json")
    started = tmp_path / "below"
    assert options.settings_of(config(tmp_path, started=started, corpus="c")).corpus == str(started / "c")


@pytest.mark.parametrize(("ci", "refused"), [("", False), ("false", False), ("1", True)])
def test_a_gate_does_not_rewrite_its_own_baseline(ci: str, refused: bool, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(pytest.UsageError, match="never fails") if refused else nullcontext():
        assert options.settings_of(config(tmp_path, update_baseline=True)).update_baseline


@pytest.mark.parametrize(
    ("ini", "given", "words"),
    [
        ({"seed": ValueError("no number")}, {}, "tox.ini: ini key robust_seed: no number"),
        ({"alpha": 0.7}, {}, "tox.ini: Expected alpha in"),
        ({}, {"profile": "nigthly"}, "Did you mean 'nightly'"),
        ({}, {"max_samples": 0}, "max_samples to be a whole number >= 1"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(
    ini: dict[str, Any], given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(pytest.UsageError, match=words):
        options.settings_of(config(tmp_path, ini=ini, inipath=tmp_path / "tox.ini", **given))


@pytest.mark.parametrize(
    ("ini", "typed", "refused"),
    [
        ({"seed": 1}, (), ""),
        ({"sede": 1}, (), "robust_sede"),
        ({}, ("robust_seed=3",), ""),
        ({}, ("robust_sead=3", "other=1"), "robust_sead"),
        ({}, ("robustness=1",), ""),
    ],
)
def test_an_ini_key_that_does_not_exist_is_refused(ini: Any, typed: Any, refused: str, tmp_path: Path) -> None:
    with pytest.raises(pytest.UsageError, match=f"{refused}.*Did you mean 'robust_seed'") if refused else nullcontext():
        options.check_ini(config(tmp_path, ini=ini, override_ini=typed))
    options.check_ini(config(tmp_path, ini=ini if not refused else {}, override_ini=None))


@pytest.mark.parametrize(("given", "skips"), [(None, True), ("", True), ("skip", True), ("run", False)])
def test_claims_of_plain_runs_are_skipped_unless_an_ini_key_lets_them_run(
    given: Any, skips: bool, tmp_path: Path
) -> None:
    assert options.skips_claims(config(tmp_path, ini={"plain_runs": given})) is skips
    with pytest.raises(pytest.UsageError, match="robust_plain_runs to be skip or run but got 'no'"):
        options.skips_claims(config(tmp_path, ini={"plain_runs": "no"}))


# Settings of a test


def item(*marks: Any, nodeid: str = "t.py::test") -> Any:
    """A test with markers, the nearest first."""
    made = [SimpleNamespace(args=args, kwargs=kwargs) for args, kwargs in marks]
    return SimpleNamespace(nodeid=nodeid, iter_markers=lambda _: iter(made))


def test_the_nearest_marker_wins_and_the_command_line_over_it(tmp_path: Path) -> None:
    marked = item(((), {"seed": 3, "exact": True}), ((), {"seed": 5, "examples": 1, "suppress": "weak_attack"}))
    found = options.settings_for(marked, Settings(alpha=0.02), config(tmp_path))
    assert (found.seed, found.exact, found.examples, found.suppress, found.alpha) == (
        3,
        True,
        1,
        ("weak_attack",),
        0.02,
    )
    assert options.settings_for(marked, Settings(), config(tmp_path, seed=7)).seed == 7
    assert options.settings_for(item(), Settings(seed=2), config(tmp_path)) == Settings(seed=2)


@pytest.mark.parametrize(
    ("mark", "words"),
    [
        (((3,), {}), r"t.py::test: Expected keyword arguments .* but got \(3,\)"),
        (((), {"sede": 3}), "t.py::test: .*Did you mean 'seed'"),
        (((), {"store": "x"}), "argument of @pytest.mark.robust"),
        (((), {"alpha": 0.9}), "t.py::test: @pytest.mark.robust: Expected alpha"),
    ],
)
def test_a_wrong_marker_is_named_with_its_test(mark: Any, words: str, tmp_path: Path) -> None:
    assert "store" not in MARKER_KEYS
    with pytest.raises(pytest.UsageError, match=words):
        options.settings_for(item(mark), Settings(), config(tmp_path))


# The command that repeats a test


@pytest.mark.parametrize(
    ("given", "nodeid", "expected"),
    [
        ({}, "t.py::a", []),
        ({}, "tests/t.py::a", ["--rootdir=ROOT"]),  # no file says where the root is
        ({"inipath": "tox.ini"}, "tests/t.py::a", []),
        ({"inipath": "tox.ini", "inifilename": "tox.ini"}, "t.py::a", ["-c", "tox.ini"]),
        ({"inifilename": "tox.ini"}, "t.py::a", []),
        ({"rootdir": "."}, "t.py::a", ["--rootdir=ROOT"]),
        ({}, "t.py::a[x/y]", []),
        ({"override_ini": ["robust_alpha=0.1", "other=1"]}, "t.py::a", ["-o", "robust_alpha=0.1"]),
        ({"override_ini": ["robust_profile=ci", "robust_pictures=p"]}, "t.py::a", []),
        ({"exact": True}, "t.py::a", ["--robust-exact"]),
        ({"replay_only": True, "no_cache": True}, "t.py::a", ["--robust-replay-only"]),
        ({"device": "cpu"}, "t.py::a", ["--robust-device=auto"]),
        ({"corpus": "c"}, "t.py::a", ["--robust-corpus=None"]),
    ],
)
def test_the_command_has_all_that_a_test_depends_on(
    given: dict[str, Any], nodeid: str, expected: list[str], tmp_path: Path
) -> None:
    given = dict(given)
    inipath = given.pop("inipath", None)
    made = config(tmp_path, inipath=None if inipath is None else tmp_path / inipath, **given)
    command = shlex.split(options.rerun_command(made, Settings(), nodeid))
    assert command[:3] == ["pytest", "--robust", "--robust-profile=dev"]
    assert command[3:] == [one.replace("ROOT", ".") for one in expected]


@pytest.mark.parametrize(
    ("started", "path", "expected"),
    [
        (".", "tests/t.py::Class", "tests/t.py::Class::test[a]"),
        ("tests", "tests/t.py", "t.py::test[a]"),
        ("other", "tests/t.py", "../tests/t.py::test[a]"),
    ],
)
def test_a_test_is_named_from_where_the_run_was_started(started: str, path: str, expected: str, tmp_path: Path) -> None:
    one: Any = SimpleNamespace(parent=SimpleNamespace(nodeid=path), name="test[a]", nodeid="in a group@b")
    assert options.from_here(config(tmp_path, started=tmp_path / started), one) == expected


# What is checked before the first test


@pytest.mark.parametrize("attack", ["fast", "thorough", "pgd", None])
def test_an_attack_that_does_not_exist_ends_the_run_before_its_first_test(attack: str | None, tmp_path: Path) -> None:
    made = config(tmp_path, inipath=tmp_path / "tox.ini")
    with nullcontext() if attack else pytest.raises(pytest.UsageError, match=r"tox\.ini: attack: "):
        options.check_attack(made, Settings(attack=attack or "pgdd"))


def test_a_pack_that_does_not_load_ends_the_run_before_its_first_test(monkeypatch: pytest.MonkeyPatch) -> None:
    options.check_packs()

    def names() -> list[str]:
        raise PackError("a broken pack")

    monkeypatch.setattr(extensions, "names", names)
    with pytest.raises(pytest.UsageError, match="a broken pack"):
        options.check_packs()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, ""),
        ({"badge": "a.svg"}, ""),
        ({"badge": "a.png"}, "a.png"),
        ({"track": "nowhere"}, "nowhere"),
        ({"badge": "a.svg", "track": "nowhere"}, "nowhere"),
    ],
)
def test_a_report_that_cannot_be_made_ends_the_run_before_its_first_test(
    given: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(pytest.UsageError, match=words) if words else nullcontext():
        options.check_reports(config(tmp_path, **given))
    assert issubclass(ConfigError, ValueError)
