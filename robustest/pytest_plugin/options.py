"""Options and ini keys of the plugin, and the settings of a run and of a test, without loading torch."""

# A setting comes from the command line, else from the test's marker, the ini file, the profile, or its default.

from __future__ import annotations

import os
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustest.account import Account
    from robustest.context import Context
    from robustest.plain_run import PytestSession
    from robustest.pytest_plugin.ledger import Ledger
    from robustest.pytest_plugin.outcome import FixtureScope
    from robustest.settings import Settings

# Stash keys of a run ...
SETTINGS: pytest.StashKey[Settings] = pytest.StashKey()
LEDGER: pytest.StashKey[Ledger] = pytest.StashKey()
CLAIMS: pytest.StashKey[PytestSession] = pytest.StashKey()  # record of claims outside of tests
FOLLOWED: pytest.StashKey[bool] = pytest.StashKey()  # True while claims of other processes are received
ACCOUNT: pytest.StashKey[Account] = pytest.StashKey()
SESSION: pytest.StashKey[pytest.Session] = pytest.StashKey()
MEASURING: pytest.StashKey[set[FixtureScope]] = pytest.StashKey()  # shared fixtures that made a claim or measured
COLLECTED: pytest.StashKey[list[str]] = pytest.StashKey()  # robustness tests of all shards
LOADED: pytest.StashKey[set[str]] = pytest.StashKey()  # files with code that the workers of pytest-xdist loaded
SILENT: pytest.StashKey[set[str]] = pytest.StashKey()  # workers that have not said what code they loaded
DESELECTED: pytest.StashKey[list[str]] = pytest.StashKey()  # robustness tests that were found and left out
OTHERS: pytest.StashKey[list[pytest.Item]] = pytest.StashKey()  # tests that declare no claim
FOUND: pytest.StashKey[dict[str, pytest.Item | pytest.Class]] = pytest.StashKey()  # tests of modules, chosen or not
# ... and of a test.
CONTEXT: pytest.StashKey[Context] = pytest.StashKey()
WRONG: pytest.StashKey[pytest.UsageError] = pytest.StashKey()  # a mistake in the test's marker

_INI = {
    "profile": ("string", "profile without --robust-profile (default: ci if CI is set, else dev)"),
    "service": ("string", "name of this part of the repository (default: the root's folder in git's)"),
    "device": ("string", "auto, cpu, cuda, cuda:N, cuda:all, xpu, xla, ..."),
    "seed": ("int", "seed of the sample order and of random draws"),
    "attack": ("string", "attack of claims without attack="),
    "certify": ("string", "auto or linear: certify samples that attacks do not break (default: off)"),
    "scope": ("string", "set or population: claims hold for these samples, or for their population"),
    "alpha": ("float", "error probability on each side of population claims and of intervals"),
    "family_size": ("int", "number of claims that share the error probability of early failures (default: 100)"),
    "batch_size": ("int", "largest batch of one model pass"),
    "precision": ("string", "auto, fp32 or bf16: precision of gradients; verdicts are always fp32"),
    "engine": ("string", "engine that measures chunks: local, or one of a plugin, e.g. ray"),
    "address": ("string", "address of the engine's cluster"),
    "workers": ("int", "number of worker processes"),
    "gpus_per_task": ("float", "GPUs for each worker of a cluster; fractions share one, 0 takes none"),
    "examples": ("int", "counterexamples and pictures kept of each failed claim"),
    "shrink_budget": ("float", "cost of making them smaller, as a share of the verdict's (default: 0.5)"),
    "suppress": ("args", "names of health checks to suppress"),
    "pictures": ("string", "folder of counterexample pictures (default: .robustest/pictures)"),
    "exact": ("bool", "evaluate every sample: no early verdicts"),
    "max_samples": ("int", "largest number of samples that a claim evaluates"),
    "time_budget": ("float", "seconds after which a claim stops, at the end of the current model pass"),
    "inconclusive": ("string", "fail or skip: outcome of a test whose claim is inconclusive"),
    "attempts": ("string", "every or majority: attempts that must pass when a test runs again"),
    "store": ("string", "folder of remembered results (default: .robustest)"),
    "cache": ("bool", "use remembered results (default: true)"),
    "recheck": ("float", "share of remembered results that is measured again and must agree (default: 0.01)"),
    "corpus": ("string", "folder of counterexamples to replay (default: .robustest/corpus)"),
    "corpus_max_mb": ("float", "largest size of the corpus in megabytes (default: 20)"),
    "baseline": ("string", "file of committed outcomes (default: robust-baseline.json)"),
    "plain_runs": ("string", "skip or run: tests without the marker that claim, in runs without --robust"),
}
_FLAGS = {
    "exact": ("exact", True, "evaluate every sample: no early verdicts"),
    "audit-values": ("audit_values", True, "audit the value of every attack, not only passes that rest on it"),
    "no-cache": ("cache", False, "measure everything again, ignoring remembered results"),
    "replay-only": ("replay_only", True, "replay known counterexamples without searching for new ones"),
    "update-baseline": ("update_baseline", True, "write the outcomes to the baseline instead of comparing with it"),
}
# Defaults of settings that are paths below the root.
_FOLDERS = {
    "pictures": ".robustest/pictures",
    "store": ".robustest",
    "corpus": ".robustest/corpus",
    "baseline": "robust-baseline.json",
}


def add(parser: pytest.Parser) -> None:
    """Register every option and ini key."""
    group = parser.getgroup("robustest", "robustness of models")
    group.addoption("--robust", action="store_true", help="run robustness tests (skipped otherwise)")
    group.addoption("--robust-profile", metavar="NAME", help="dev, ci, nightly or one from [tool.robustest.profiles]")
    group.addoption("--robust-device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N, cuda:all, xpu, xla, ...")
    group.addoption("--robust-seed", type=int, metavar="N", help="seed of the sample order and of random draws")
    group.addoption("--robust-max-samples", type=int, metavar="N", help="largest number of samples of each claim")
    group.addoption(
        "--robust-engine", metavar="NAME", help="engine that measures chunks: local, ray (robustest-ray) ..."
    )
    group.addoption(
        "--robust-address",
        metavar="ADDRESS",
        help="address of the engine's cluster: auto, HOST:PORT or ray://HOST:PORT",
    )
    group.addoption("--robust-workers", type=int, metavar="N", help="number of worker processes of the engine")
    group.addoption(
        "--robust-gpus-per-task", type=float, metavar="X", help="GPUs of each worker; 0.5 shares one between two"
    )
    group.addoption("--robust-corpus", metavar="DIR", help="folder of counterexamples, kept and replayed")
    for option, (_, _, text) in _FLAGS.items():
        group.addoption(f"--robust-{option}", action="store_true", help=text)
    group.addoption("--robust-shard", metavar="K/N", help="run every N-th robustness test, starting with the K-th")
    group.addoption("--robust-details", action="store_true", help="print every number of every claim")
    group.addoption("--robust-json", metavar="FILE", help="write the results as JSON")
    group.addoption("--robust-html", metavar="DIR", help="write an HTML page with pictures (robustest[html])")
    group.addoption("--robust-html-inline", action="store_true", help="embed the pictures in the page")
    group.addoption("--robust-history", metavar="DIR", help="add the results to a history of runs")
    group.addoption(
        "--robust-junit", metavar="FILE", help="write JUnit XML: a suite for each test, a case for each claim"
    )
    group.addoption("--robust-badge", metavar="FILE", help="write a badge: .svg, or .json for shields.io")
    group.addoption(
        "--robust-track",
        metavar="NAME[:PLACE],...",
        help="send the results to mlflow[:EXPERIMENT], wandb[:PROJECT], tensorboard[:DIR] (robustest[NAME])",
    )
    for name, (kind, text) in _INI.items():
        parser.addini(f"robust_{name}", text, type=kind, default=None)  # type: ignore[arg-type]


def check_ini(config: pytest.Config) -> None:
    """Raise pytest.UsageError for an ini key that begins with `robust_` and does not exist."""
    # A misspelt key would be ignored, and a stricter setting with it.
    keys = {f"robust_{name}" for name in _INI}
    # The public name is deprecated from pytest 9.1.
    given = config._inicfg if hasattr(config, "_inicfg") else config.inicfg
    # pytest 8.4 leaves overrides of the command line out of it.
    typed = (override.partition("=")[0] for override in config.getoption("override_ini") or ())
    if strangers := sorted(key for key in {*given, *typed} if key.startswith("robust_") and key not in keys):
        from robustest.errors import unknown

        raise pytest.UsageError(str(unknown("ini key", strangers[0], keys)))


def settings_of(config: pytest.Config) -> Settings:
    """Return the settings of the run.

    Raises:
        pytest.UsageError: an option, ini key or profile is wrong.
    """
    from robustest.errors import ConfigError
    from robustest.repository import service_of
    from robustest.settings import profiles_from, resolve

    ini: dict[str, Any] = {}
    for name in _INI:
        try:
            value = config.getini(f"robust_{name}")
        except (TypeError, ValueError, pytest.UsageError) as error:
            raise pytest.UsageError(f"{_in_file(config)}ini key robust_{name}: {error}") from error
        if value not in (None, [], ""):
            ini[name] = value
    from_ini = ini.pop("profile", None)
    ini.pop("plain_runs", None)
    profile = config.getoption("--robust-profile") or from_ini or ("ci" if in_ci() else "dev")
    for name, folder in _FOLDERS.items():
        ini[name] = str(config.rootpath / ini.get(name, folder))
    ini.setdefault("service", service_of(config.rootpath))
    given = _command_line(config)
    if given.get("update_baseline") and in_ci():
        raise pytest.UsageError(
            "Expected --robust-update-baseline on a developer's machine but the environment variable CI is set. A gate "
            "that rewrites its own baseline never fails. Update the baseline locally and commit it."
        )
    try:
        return resolve(
            profiles=profiles_from(config.rootpath / "pyproject.toml"), profile=profile, ini=ini, command_line=given
        )
    except ConfigError as error:
        raise pytest.UsageError(f"{_in_file(config)}{error}") from error


def settings_for(item: pytest.Item | pytest.Collector, settings: Settings, config: pytest.Config) -> Settings:
    """Return the settings of one test, or of a module for its fixtures: the run's, then markers, then the command line.

    Raises:
        pytest.UsageError: a marker has positional or unknown arguments, or a value is out of range.
    """
    from robustest.errors import ConfigError, unknown
    from robustest.settings import MARKER_KEYS, coerce

    for mark in reversed(list(item.iter_markers("robust"))):
        if mark.args:
            raise pytest.UsageError(
                f"{item.nodeid}: Expected keyword arguments in @pytest.mark.robust, e.g. seed=3, but got {mark.args!r}"
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


def skips_claims(config: pytest.Config) -> bool:
    """Return True if a run without --robust ends a test at its first claim, as skipped.

    Raises:
        pytest.UsageError: the ini key is wrong.
    """
    given = config.getini("robust_plain_runs") or "skip"
    if given not in ("skip", "run"):
        raise pytest.UsageError(f"{_in_file(config)}Expected robust_plain_runs to be skip or run but got {given!r}.")
    return bool(given == "skip")


def in_ci() -> bool:
    """Return True in a run of a continuous-integration service: all of them set the environment variable CI."""
    return os.environ.get("CI", "").lower() not in ("", "0", "false")


def _command_line(config: pytest.Config) -> dict[str, Any]:
    given: dict[str, Any] = {
        name: config.getoption(f"--robust-{name.replace('_', '-')}")
        for name in ("device", "seed", "max_samples", "engine", "address", "workers", "gpus_per_task")
    }
    corpus = config.getoption("--robust-corpus")
    given["corpus"] = None if corpus is None else str(config.invocation_params.dir / corpus)
    values = {name: value for name, value in given.items() if value is not None}
    flags = {name: value for option, (name, value, _) in _FLAGS.items() if config.getoption(f"--robust-{option}")}
    return values | flags


def shard_of(config: pytest.Config) -> tuple[int, int] | None:
    """Return (K, N) of `--robust-shard=K/N`: this run takes every N-th robustness test, starting with the K-th.

    Raises:
        pytest.UsageError: the option is not K/N with 1 <= K <= N.
    """
    given = config.getoption("--robust-shard")
    if given is None:
        return None
    parts = str(given).split("/")
    if len(parts) == 2 and all(part.isdigit() for part in parts):
        index, count = map(int, parts)
        if 1 <= index <= count:
            return index, count
    raise pytest.UsageError(f"Expected --robust-shard=K/N with 1 <= K <= N, e.g. 2/4, but got {given!r}.")


def check_reports(config: pytest.Config) -> None:
    """Raise pytest.UsageError before the first test if a report could not be made after the last."""
    if config.getoption("--robust-html") and find_spec("jinja2") is None:
        raise pytest.UsageError(
            "Expected Jinja2, which --robust-html needs, but it is not installed: pip install 'robustest[html]'"
        )
    file, targets = config.getoption("--robust-badge"), config.getoption("--robust-track")
    if file is None and targets is None:
        return
    from robustest.errors import ConfigError
    from robustest.reports import badge, trackers

    try:
        if file is not None:
            badge.check_path(file)
        if targets is not None:
            trackers.targets_of(targets)
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


# Options whose effect a person expects to see.
_VISIBLE = (
    *_FLAGS,
    "badge",
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
    "track",
    "workers",
)


def unused(config: pytest.Config) -> list[str]:
    """Return a sentence for each option of the command line that has no effect in this run."""
    on = {name for name in _VISIBLE if config.getoption(f"--robust-{name}")}
    found = []
    if "html-inline" in on and "html" not in on:
        found.append("--robust-html-inline has no effect without --robust-html=DIR")
    if not config.getoption("--robust"):
        others = sorted(f"--robust-{name}" for name in on - {"html-inline"})
        return [*found, f"no effect without --robust: {', '.join(others)}"] if others else found
    corpus = config.stash[SETTINGS].corpus
    if "replay-only" in on and not (corpus and Path(corpus).is_dir()):
        place = "-" if corpus is None else _relative(config, corpus)
        found.append(f"--robust-replay-only has no counterexamples to replay: there is no corpus at {place}")
    return found


def _relative(config: pytest.Config, path: str | Path) -> str:
    return Path(os.path.relpath(path, config.invocation_params.dir)).as_posix()


def check_packs() -> None:
    """Load every installed pack before the first test, or raise pytest.UsageError."""
    from robustest import extensions
    from robustest.errors import PackError

    try:
        # A run without a pack could be green that is red with it.
        extensions.names()
    except PackError as error:
        raise pytest.UsageError(str(error)) from error


def check_attack(config: pytest.Config, settings: Settings) -> None:
    """Raise pytest.UsageError before the first test if the attack does not exist."""
    from robustest.settings import PROFILES

    if settings.attack in ("fast", "thorough") or settings.attack in {p.get("attack") for p in PROFILES.values()}:
        return  # these exist; looking others up loads torch
    from robustest.errors import ConfigError, needing_torch

    try:
        with needing_torch(f"the attack {settings.attack!r}"):
            from robustest.attacks import as_attack
        as_attack(settings.attack)
    except ConfigError as error:
        raise pytest.UsageError(f"{_in_file(config)}attack: {error}") from error


def _in_file(config: pytest.Config) -> str:
    return "" if config.inipath is None else f"{_relative(config, config.inipath)}: "


def rerun_command(config: pytest.Config, settings: Settings, nodeid: str) -> str:
    """Return the command that repeats a test of this run, without seed and test id."""
    parts = ["pytest", "--robust", f"--robust-profile={settings.profile}"]  # named: CI or an ini may choose another
    # Configuration and root, if another selection of tests would find others: ids of tests, and the folders of store
    # and baseline, start at the root.
    if config.getoption("inifilename") and config.inipath is not None:
        parts += ["-c", _relative(config, config.inipath)]
    shared_root = "/" in nodeid.partition("::")[0] and config.inipath is None
    if config.getoption("rootdir") or shared_root:
        parts.append(f"--rootdir={_relative(config, config.rootpath)}")
    for override in config.getoption("override_ini") or ():
        if override.startswith("robust_") and not override.startswith(("robust_profile", "robust_pictures")):
            parts += ["-o", override]
    parts += [f"--robust-{option}" for option in ("exact", "replay-only") if config.getoption(f"--robust-{option}")]
    if config.getoption("--robust-device"):
        parts.append(f"--robust-device={settings.device}")
    if config.getoption("--robust-corpus"):  # known counterexamples are evidence too
        parts.append(f"--robust-corpus={settings.corpus}")
    return shlex.join(parts)


def from_here(config: pytest.Config, item: pytest.Item) -> str:
    """Return a test's node id relative to the folder in which the run was started."""
    # `item.nodeid` ends in `@group` under pytest-xdist's loadgroup, and such a test does not exist.
    above = "" if item.parent is None else item.parent.nodeid
    path, colons, rest = f"{above}::{item.name}".partition("::")
    return _relative(config, config.rootpath / path) + colons + rest
