"""The plugin's options, and how command line, marker, profile and ini become settings (no torch here)."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustest.settings import Settings

_INI = {
    "profile": ("string", "profile used unless --robust-profile is given (default: ci where CI is set, else dev)"),
    "device": ("string", "auto, cpu, cuda, cuda:N, cuda:all or mps"),
    "seed": ("int", "seed of sample order and random draws"),
    "attack": ("string", "attack of claims that name none"),
    "certify": ("string", "auto or linear: prove what attacks leave (default: not)"),
    "scope": ("string", "set or population: what claims are about"),
    "alpha": ("float", "error allowed on each side of a population claim and of intervals"),
    "family_size": ("int", "claims that share the error of wrong early failures (default: 100)"),
    "batch_size": ("int", "most samples in one model pass"),
    "precision": ("string", "fp32, bf16 or auto: precision of gradients; verdicts are always fp32"),
    "engine": ("string", "where chunks are measured: local, or what a plugin brings, e.g. ray"),
    "address": ("string", "address of the engine's cluster"),
    "workers": ("int", "worker processes"),
    "gpus_per_task": ("float", "GPUs for each worker of a cluster; fractions share one, 0 takes none"),
    "examples": ("int", "counterexamples kept and pictured per failed claim"),
    "suppress": ("args", "names of health checks that shall not speak"),
    "pictures": ("string", "folder of counterexample pictures (default: .robustest/pictures)"),
    "exact": ("bool", "look at every sample, even where the verdict is settled before"),
    "max_samples": ("int", "samples a claim may look at"),
    "time_budget": ("float", "seconds after which a claim ends, within the pass under way"),
    "inconclusive": ("string", "fail or skip: what an inconclusive claim does to its test"),
    "attempts": ("string", "every or majority: how many attempts must hold of a test that is run again"),
    "store": ("string", "folder of what is remembered (default: .robustest)"),
    "cache": ("bool", "use what is remembered (default: true)"),
    "recheck": ("float", "share of what is remembered that is measured again and must agree (default: 0.01)"),
    "corpus": ("string", "folder of counterexamples to replay (default: .robustest/corpus)"),
    "corpus_max_mb": ("float", "the most they may take, in megabytes (default: 20)"),
    "baseline": ("string", "file of committed outcomes (default: robust-baseline.json)"),
}
_FLAGS = {
    "exact": ("exact", True, "look at every sample, even where the verdict is settled before"),
    "no-cache": ("cache", False, "measure everything again"),
    "replay-only": ("replay_only", True, "replay known counterexamples and search for no others"),
    "update-baseline": ("update_baseline", True, "write outcomes to the baseline instead of comparing with it"),
}
_FOLDERS = {"pictures": ".robustest/pictures", "store": ".robustest", "corpus": ".robustest/corpus"}


def add(parser: pytest.Parser) -> None:
    """Register every option and ini key."""
    group = parser.getgroup("robustest", "robustness of models")
    group.addoption("--robust", action="store_true", help="run robustness tests (skipped otherwise)")
    group.addoption("--robust-profile", metavar="NAME", help="dev, ci, nightly or one from [tool.robustest.profiles]")
    group.addoption("--robust-device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, cuda:all or mps")
    group.addoption("--robust-seed", type=int, metavar="N", help="seed of sample order and random draws")
    group.addoption("--robust-engine", metavar="NAME", help="where chunks are measured: local, ray (robustest-ray) ...")
    group.addoption(
        "--robust-address", metavar="ADDRESS", help="the engine's cluster: auto, HOST:PORT, ray://HOST:PORT"
    )
    group.addoption("--robust-workers", type=int, metavar="N", help="worker processes of the engine")
    group.addoption("--robust-gpus-per-task", type=float, metavar="X", help="GPUs for each worker; 0.5 shares one")
    group.addoption("--robust-corpus", metavar="DIR", help="folder of counterexamples to keep and to replay")
    for option, (_, _, text) in _FLAGS.items():
        group.addoption(f"--robust-{option}", action="store_true", help=text)
    group.addoption("--robust-shard", metavar="K/N", help="run every N-th robustness test, from the K-th on")
    group.addoption("--robust-details", action="store_true", help="show every number of every claim")
    group.addoption("--robust-json", metavar="FILE", help="write all results as JSON")
    group.addoption("--robust-html", metavar="DIR", help="write a page to read, with pictures (robustest[html])")
    group.addoption("--robust-html-inline", action="store_true", help="put the pictures into the page itself")
    group.addoption("--robust-history", metavar="DIR", help="add what was found to a history of runs")
    group.addoption("--robust-junit", metavar="FILE", help="write JUnit XML, one suite per test and one case per claim")
    for name, (kind, text) in _INI.items():
        parser.addini(f"robust_{name}", text, type=kind, default=None)  # type: ignore[arg-type]


def check_ini(config: pytest.Config) -> None:
    """Refuse ini keys that begin like ours and are not.

    Raises:
        pytest.UsageError: naming the key and the nearest one.
    """
    known = {f"robust_{name}" for name in _INI}
    # The public name is deprecated from pytest 9.1.
    given = config._inicfg if hasattr(config, "_inicfg") else config.inicfg
    typed = (
        override.partition("=")[0] for override in config.getoption("override_ini") or ()
    )  # not given by pytest 8.4
    strangers = sorted(key for key in {*given, *typed} if key.startswith("robust_") and key not in known)
    if strangers:
        from robustest.errors import unknown

        raise pytest.UsageError(str(unknown("ini key", strangers[0], known)))


def settings_of(config: pytest.Config) -> Settings:
    """The run's settings.

    Raises:
        pytest.UsageError: an option, ini key or profile is wrong.
    """
    from robustest.errors import ConfigError
    from robustest.settings import profiles_from, resolve

    ini = _ini_values(config)
    automatic = "ci" if in_ci() else "dev"
    profile = config.getoption("--robust-profile") or ini.pop("profile", None) or automatic
    ini.pop("profile", None)
    for name, folder in _FOLDERS.items():
        ini[name] = str(config.rootpath / ini.get(name, folder))
    ini["baseline"] = str(config.rootpath / ini.get("baseline", "robust-baseline.json"))
    given = _command_line(config)
    if given.get("update_baseline") and in_ci():
        raise pytest.UsageError(
            "Expected --robust-update-baseline on a person's machine but CI is set: a gate that rewrites what it "
            "compares with lets everything through. Update the baseline locally and commit it."
        )
    try:
        return resolve(
            profiles=profiles_from(config.rootpath / "pyproject.toml"),
            profile=profile,
            ini=ini,
            command_line=given,
        )
    except ConfigError as error:
        raise pytest.UsageError(f"{_in_file(config)}{error}") from error


def settings_for(item: pytest.Item | pytest.Collector, settings: Settings, config: pytest.Config) -> Settings:
    """One test's settings (or a module's, for its fixtures): the run's, its markers', and the command line over both.

    Raises:
        pytest.UsageError: a marker has positional or unknown arguments, or a value is out of range.
    """
    from robustest.errors import ConfigError, unknown
    from robustest.settings import MARKER_KEYS, coerce

    for mark in reversed(list(item.iter_markers("robust"))):
        if mark.args:
            raise pytest.UsageError(
                f"{item.nodeid}: @pytest.mark.robust takes keyword arguments only, got {mark.args!r}"
            )
        for key in mark.kwargs:
            if key not in MARKER_KEYS:
                raise pytest.UsageError(
                    f"{item.nodeid}: {unknown('argument of @pytest.mark.robust', key, MARKER_KEYS)}"
                )
        try:
            settings = settings.but(coerce(mark.kwargs))
        except ConfigError as error:
            raise pytest.UsageError(f"{item.nodeid}: @pytest.mark.robust: {error}") from error
    return settings.but(_command_line(config))


def in_ci() -> bool:
    """Whether this is a run of a continuous-integration service, as they all say in the environment."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _command_line(config: pytest.Config) -> dict[str, Any]:
    """What the command line sets."""
    given: dict[str, Any] = {
        name: config.getoption(f"--robust-{name.replace('_', '-')}")
        for name in ("device", "seed", "engine", "address", "workers", "gpus_per_task")
    }
    corpus = config.getoption("--robust-corpus")
    given["corpus"] = None if corpus is None else str(config.invocation_params.dir / corpus)
    values = {name: value for name, value in given.items() if value is not None}
    flags = {name: value for option, (name, value, _) in _FLAGS.items() if config.getoption(f"--robust-{option}")}
    return values | flags


@dataclass(frozen=True, slots=True)
class Shard:
    """Which robustness tests of all this run takes: every `count`-th, from the `index`-th (1, 2, ...) on."""

    index: int
    count: int


def shard_of(config: pytest.Config) -> Shard | None:
    """The shard that the command line names; None where it names none.

    Raises:
        pytest.UsageError: it is not K/N with 1 <= K <= N.
    """
    given = config.getoption("--robust-shard")
    if given is None:
        return None
    parts = str(given).split("/")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        index, count = map(int, parts)
        if 1 <= index <= count:
            return Shard(index, count)
    raise pytest.UsageError(f"Expected --robust-shard=K/N with 1 <= K <= N, e.g. 2/4, but got {given!r}.")


def check_html(config: pytest.Config) -> None:
    """Refuse a page that could not be written at the end.

    Raises:
        pytest.UsageError: Jinja2 is not there.
    """
    if config.getoption("--robust-html") and find_spec("jinja2") is None:
        raise pytest.UsageError(
            "Expected Jinja2, which --robust-html needs, but it is not installed: pip install 'robustest[html]'"
        )


def idle(config: pytest.Config) -> list[str]:
    """What the command line asks for that changes nothing in this run, in sentences."""
    on = {name for name in _TALKING if config.getoption(f"--robust-{name}")}
    found = []
    if "html-inline" in on and "html" not in on:
        found.append("--robust-html-inline does nothing without --robust-html=DIR")
    if not config.getoption("--robust"):
        others = sorted(f"--robust-{name}" for name in on - {"html-inline"})
        return [*found, f"{', '.join(others)}: nothing without --robust"] if others else found
    from robustest.pytest_plugin.stash import SETTINGS

    corpus = config.stash[SETTINGS].corpus
    if "replay-only" in on and not (corpus and Path(corpus).is_dir()):
        found.append(f"--robust-replay-only has nothing to replay: there is no corpus at {_short(config, corpus)}")
    return found


_TALKING = (
    *_FLAGS,
    "details",
    "history",
    "html",
    "html-inline",
    "json",
    "junit",
    "profile",
    "device",
    "shard",
    "corpus",
    "workers",
)
"""Options of which a person expects to see something."""


def _short(config: pytest.Config, path: str | None) -> str:
    here = config.invocation_params.dir
    return "-" if path is None else Path(os.path.relpath(path, here)).as_posix()


def check_packs() -> None:
    """Load every installed pack, before the first test.

    Raises:
        pytest.UsageError: one cannot be loaded; a run without it could be green where one with it is not.
    """
    from robustest import extensions
    from robustest.errors import PackError

    try:
        extensions.names()
    except PackError as error:
        raise pytest.UsageError(str(error)) from error


def check_attack(config: pytest.Config, settings: Settings) -> None:
    """Refuse an attack that nobody registered, before the first test.

    Raises:
        pytest.UsageError: naming it, and the file that it is in.
    """
    from robustest.settings import PROFILES

    if settings.attack in ("fast", "thorough") or settings.attack in {p.get("attack") for p in PROFILES.values()}:
        return  # known without loading torch
    from robustest.attacks import as_attack
    from robustest.errors import ConfigError

    try:
        as_attack(settings.attack)
    except ConfigError as error:
        raise pytest.UsageError(f"{_in_file(config)}attack: {error}") from error


def _in_file(config: pytest.Config) -> str:
    """The file with the ini keys, as the beginning of a sentence; empty where there is none."""
    return "" if config.inipath is None else f"{_short(config, str(config.inipath))}: "


def rerun_command(config: pytest.Config, settings: Settings, nodeid: str) -> str:
    """The command that repeats a test of this run, without seed and test id."""
    parts = ["pytest", "--robust", f"--robust-profile={settings.profile}"]  # named: CI or an ini may choose another
    parts += _where(config, nodeid)
    for override in config.getoption("override_ini") or ():
        if override.startswith("robust_") and not override.startswith(("robust_profile", "robust_pictures")):
            parts += ["-o", override]
    parts += [f"--robust-{option}" for option in ("exact", "replay-only") if config.getoption(f"--robust-{option}")]
    if config.getoption("--robust-device"):
        parts.append(f"--robust-device={settings.device}")
    if config.getoption("--robust-corpus"):  # known counterexamples are evidence too
        parts.append(f"--robust-corpus={settings.corpus}")
    return shlex.join(parts)


def _where(config: pytest.Config, nodeid: str) -> list[str]:
    """What says which configuration and root a run has, where another choice of tests would choose others.

    Ids of tests, and the places of the store and of the baseline, start at the root.
    """
    here = config.invocation_params.dir
    parts = []
    if config.getoption("inifilename") and config.inipath is not None:
        parts += ["-c", Path(os.path.relpath(config.inipath, here)).as_posix()]
    inside = "/" in nodeid.partition("::")[0] and config.inipath is None  # the root is what all tests named share
    if config.getoption("rootdir") or inside:
        parts.append(f"--rootdir={Path(os.path.relpath(config.rootpath, here)).as_posix()}")
    return parts


def from_here(config: pytest.Config, item: pytest.Item) -> str:
    """An item's node id as it is typed in the folder the run was started in (node ids themselves start at the root).

    Not `item.nodeid`: pytest-xdist ends that in `@group` where it distributes by groups, and no test has such a name.
    """
    above = "" if item.parent is None else item.parent.nodeid
    path, colons, rest = f"{above}::{item.name}".partition("::")
    return Path(os.path.relpath(config.rootpath / path, config.invocation_params.dir)).as_posix() + colons + rest


def _ini_values(config: pytest.Config) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _INI:
        try:
            value = config.getini(f"robust_{name}")
        except (TypeError, ValueError, pytest.UsageError) as error:
            raise pytest.UsageError(f"{_in_file(config)}ini key robust_{name}: {error}") from error
        if value not in (None, [], ""):
            values[name] = value
    return values
