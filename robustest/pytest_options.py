"""The plugin's options, and how command line, marker, profile and ini become settings (no torch here)."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from robustest.settings import Settings

_INI = {
    "profile": ("string", "profile used unless --robust-profile is given (default: ci where CI is set, else dev)"),
    "device": ("string", "auto, cpu, cuda, cuda:N or mps"),
    "seed": ("int", "seed of sample order and random draws"),
    "attack": ("string", "attack of claims that name none"),
    "claim": ("string", "set or population"),
    "alpha": ("float", "error allowed on each side of a population claim and of intervals"),
    "batch_size": ("int", "most samples in one model pass"),
    "precision": ("string", "fp32, bf16 or auto: precision of gradients; verdicts are always fp32"),
    "examples": ("int", "counterexamples kept and pictured per failed claim"),
    "suppress": ("args", "names of health checks that shall not speak"),
    "pictures": ("string", "folder of counterexample pictures (default: .robustest/pictures)"),
}


def add(parser: pytest.Parser) -> None:
    """Register every option and ini key."""
    group = parser.getgroup("robustest", "robustness of models")
    group.addoption("--robust", action="store_true", help="run robustness tests (skipped otherwise)")
    group.addoption("--robust-profile", metavar="NAME", help="dev, ci, nightly or one from [tool.robustest.profiles]")
    group.addoption("--robust-device", metavar="DEVICE", help="auto, cpu, cuda, cuda:N or mps")
    group.addoption("--robust-seed", type=int, metavar="N", help="seed of sample order and random draws")
    group.addoption("--robust-details", action="store_true", help="show every number of every claim")
    group.addoption("--robust-json", metavar="FILE", help="write all results as JSON")
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
    strangers = sorted(key for key in given if key.startswith("robust_") and key not in known)
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
    automatic = "ci" if os.environ.get("CI", "").lower() not in ("", "0", "false") else "dev"
    profile = config.getoption("--robust-profile") or ini.pop("profile", None) or automatic
    ini.pop("profile", None)
    ini["pictures"] = str(config.rootpath / ini.get("pictures", ".robustest/pictures"))
    given = {"device": config.getoption("--robust-device"), "seed": config.getoption("--robust-seed")}
    try:
        return resolve(
            profiles=profiles_from(config.rootpath / "pyproject.toml"),
            profile=profile,
            ini=ini,
            command_line={name: value for name, value in given.items() if value is not None},
        )
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from error


def settings_for(item: pytest.Item, settings: Settings, config: pytest.Config) -> Settings:
    """One test's settings: the run's, what its markers say, and the command line over both.

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
    given = {"device": config.getoption("--robust-device"), "seed": config.getoption("--robust-seed")}
    return settings.but({name: value for name, value in given.items() if value is not None})


def rerun_command(config: pytest.Config, settings: Settings) -> str:
    """The command that repeats a test of this run, without seed and test id."""
    parts = ["pytest", "--robust", f"--robust-profile={settings.profile}"]  # named: CI or an ini may choose another
    for override in config.getoption("override_ini") or ():
        if override.startswith("robust_") and not override.startswith("robust_profile"):
            parts += ["-o", override]
    if config.getoption("--robust-device"):
        parts.append(f"--robust-device={settings.device}")
    return shlex.join(parts)


def from_here(config: pytest.Config, nodeid: str) -> str:
    """A node id as it is typed in the folder the run was started in (node ids themselves start at the root)."""
    path, colons, rest = nodeid.partition("::")
    return Path(os.path.relpath(config.rootpath / path, config.invocation_params.dir)).as_posix() + colons + rest


def _ini_values(config: pytest.Config) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in _INI:
        try:
            value = config.getini(f"robust_{name}")
        except (TypeError, ValueError, pytest.UsageError) as error:
            raise pytest.UsageError(f"ini key robust_{name}: {error}") from error
        if value not in (None, [], ""):
            values[name] = value
    return values
