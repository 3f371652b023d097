"""Settings: command line > marker > profile > ini, resolved into one frozen `Settings`, without torch."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from robustest import devices
from robustest.checks import require
from robustest.errors import ConfigError, expected, unknown
from robustest.health import HEALTH_CHECKS


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of measurements."""

    profile: str = "dev"  # name of the profile
    service: str = ""  # part of a repository with a model of its own, whose results are told apart; "" for the whole
    # "auto" (the model's own device, else the accelerator of torch, else cpu), "cpu", a kind of accelerator such as
    # "cuda", one of several ("cuda:1"), or "cuda:all" (a worker process for each)
    device: str = "auto"
    seed: int = 0  # seed of the order of samples and of every random draw
    attack: str = "fast"  # attack of claims that name none
    certify: str | None = None  # method that proves samples in claims on robust accuracy: "auto", "linear" or None
    scope: str = "set"  # "set" (this test set) or "population" (the one that it was drawn from)
    # chance of a wrong verdict on each side of a population claim, and at each end of every interval; in (0, 0.5)
    alpha: float = 0.01
    # number of claims that share the error of wrong early failures, alpha / family_size each; >= 1
    family_size: int = 100
    batch_size: int | None = None  # largest number of samples in one model pass; None lets robustest choose
    # of gradients, never of verdicts: "fp32"; "bf16" (bfloat16 first, then float32 on the samples that are left); or
    # "auto" (on an accelerator bfloat16, with float32 on a few of the samples that are left; on the host fp32)
    precision: str = "auto"
    examples: int = 3  # counterexamples kept and pictured per failed claim
    # largest cost of making them smaller, as a share of the cost of the verdict, in passes of the model; >= 0
    shrink_budget: float = 0.5
    pictures: str | None = None  # folder for pictures of counterexamples, or None
    suppress: tuple[str, ...] = ()  # names of health checks that only add notes
    exact: bool = False  # True to measure every sample, even after the verdict is certain
    audit_values: bool = False  # True to audit the value of every attack, not only the passes that rest on it
    max_samples: int | None = None  # largest number of samples that a claim measures, or None
    time_budget: float | None = None  # seconds after which a claim ends, within the current model pass; or None
    inconclusive: str = "fail"  # effect of an inconclusive claim on its test: "fail" or "skip"; it never passes
    attempts: str = "every"  # "every" or "majority" of the attempts must hold if another plugin runs a test again
    store: str | None = None  # folder of the store, or None
    cache: bool = True  # True to use stored chunks; False only writes them
    recheck: float = 0.01  # share of stored chunks, drawn at random, that is measured again and must agree; in 0..1
    corpus: str | None = None  # folder of the counterexamples to replay, or None
    corpus_max_mb: float = 20.0  # its largest size in megabytes, > 0
    replay_only: bool = False  # True to replay known counterexamples, and search for none
    baseline: str = "robust-baseline.json"  # file of committed outcomes that `no_worse_than` compares with
    update_baseline: bool = False  # True to write outcomes to that file instead of comparing them
    engine: str = "local"  # engine that measures chunks: "local" (this machine), or an engine of a pack, such as "ray"
    address: str | None = None  # address of that engine's cluster; None lets the engine choose
    # number of worker processes; None: none besides this one on one device, one for each with cuda:all, and as many
    # as the cluster has room for elsewhere
    workers: int | None = None
    # GPUs of one worker of a cluster, > 0 (fractions share a GPU); 0 for the CPU; None: one if the cluster has GPUs
    gpus_per_task: float | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))

    def but(self, values: Mapping[str, Any]) -> Settings:
        """Return these settings with some replaced.

        Raises:
            ConfigError: a value is out of range or of the wrong type.
            UnknownNameError: a key is no setting.
        """
        known = {f.name for f in fields(self)}
        for key in values:
            if key not in known:
                raise unknown("robustest setting", key, known)
        return replace(self, **values)


PROFILES: Mapping[str, Mapping[str, Any]] = {
    "dev": {},
    # `ci` decides as `dev` does, so that a red gate can be repeated at the desk, but it rechecks more of a store that
    # other machines have written.
    "ci": {"recheck": 0.05},
    "nightly": {"attack": "thorough", "exact": True, "cache": False},
}
"""Profiles of robustest; `[tool.robustest.profiles]` changes them and adds others."""

_RUN_KEYS = (
    *(
        "profile",
        "service",
        "pictures",
        "store",
        "corpus",
        "corpus_max_mb",
        "replay_only",
        "baseline",
        "update_baseline",
    ),
    "audit_values",
    *("engine", "address", "workers", "gpus_per_task"),
)
MARKER_KEYS = frozenset(f.name for f in fields(Settings)) - set(_RUN_KEYS)
"""Settings that `@pytest.mark.robust(...)` may give."""


def profiles_from(pyproject: Path) -> dict[str, dict[str, Any]]:
    """Return the profiles: those of a pyproject.toml, which may be absent, over those of robustest.

    Raises:
        ConfigError: a value is wrong, or a key of `[tool.robustest]` is unknown.
    """
    table: dict[str, Any] = {}
    if pyproject.is_file():
        try:
            table = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("robustest", {})
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"Expected valid TOML in {pyproject.name} but got: {error}") from error
    require(isinstance(table, Mapping), "a table in [tool.robustest]", table)
    for key in table:
        if key != "profiles":
            raise unknown("key in [tool.robustest]", key, ["profiles"])
    profiles = {name: dict(values) for name, values in PROFILES.items()}
    given = table.get("profiles", {})
    require(isinstance(given, Mapping), "a table of profiles in [tool.robustest.profiles]", given)
    for name, values in given.items():
        require(isinstance(values, Mapping), f"a table of settings in [tool.robustest.profiles.{name}]", values)
        profiles.setdefault(name, {}).update(values)
        Settings().but(coerce(profiles[name]))
    return profiles


def resolve(
    *,
    profiles: Mapping[str, Mapping[str, Any]],
    profile: str,
    ini: Mapping[str, Any] | None = None,
    command_line: Mapping[str, Any] | None = None,
) -> Settings:
    """Return the settings of an ini table, a profile and the command line, the later over the earlier.

    Raises:
        UnknownNameError: there is no such profile or setting.
        ConfigError: a value is out of range.
    """
    if profile not in profiles:
        raise unknown("robustest profile", profile, profiles)
    settings = Settings(profile=profile)
    for layer in (ini or {}, profiles[profile], command_line or {}):
        settings = settings.but(coerce(layer))
    return settings


def coerce(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values from text files in the types of `Settings`: lists, and "a b" for suppress, become tuples."""
    out = dict(values)
    suppress = out.get("suppress")
    if isinstance(suppress, str):
        suppress = suppress.replace(",", " ").split()
    if isinstance(suppress, (list, set, frozenset)):
        out["suppress"] = tuple(suppress)
    return out


# Checks of values, each a function of the setting's name and the value that raises ConfigError.


def _is(what: str, test: Callable[[Any], object]) -> Any:
    def check(name: str, value: object) -> None:
        require(test(value), f"{name} {what}", value)

    return check


def _one_of(*names: str | None) -> Any:
    def check(name: str, value: object) -> None:
        if value not in names:
            raise unknown(f"value of {name}:", value, [one for one in names if one])

    return check


def _whole(low: int, *, none: bool = False) -> Any:
    return _is(
        f"to be a whole number >= {low}",
        lambda value: (none and value is None) or (type(value) is int and value >= low),
    )


def _number(what: str, *, most: float = math.inf, zero: bool = False, none: bool = False) -> Any:
    """Return a check for a finite number above 0, or 0 with `zero`, and at most `most`."""

    def test(value: Any) -> bool:
        if value is None or isinstance(value, bool) or not isinstance(value, (int, float)):
            return none and value is None
        return math.isfinite(value) and 0 <= value <= most and (zero or value != 0)

    return _is(f"to be {what}", test)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def _suppress(name: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
        raise ConfigError(expected("suppress to be a tuple of names of health checks", value))
    for item in value:
        if item not in HEALTH_CHECKS:
            raise unknown("health check", item, HEALTH_CHECKS)


def is_service(value: object) -> bool:
    """Return True for the name of a service: one line that can be shown, of at most 200 characters."""
    return isinstance(value, str) and len(value) <= 200 and value == value.strip() and value.isprintable()


_FLAG = _is("to be true or false", lambda value: isinstance(value, bool))

_CHECKS: Mapping[str, Any] = {
    "service": _is("to be one short line, such as services/a", is_service),
    "attack": _is("to be a name such as 'pgd'", _is_name),
    "certify": _one_of("auto", "linear", None),
    "device": _is(f"to be {devices.NAMES}", devices.is_name),
    "seed": _is("to be a whole number", lambda value: type(value) is int),
    "scope": _one_of("set", "population"),
    "alpha": _is(
        "in (0, 0.5)",
        lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < 0.5,
    ),
    "family_size": _whole(1),
    "batch_size": _whole(1, none=True),
    "precision": _one_of("fp32", "bf16", "auto"),
    "examples": _whole(0),
    "shrink_budget": _number("a share >= 0", zero=True),
    "suppress": _suppress,
    "exact": _FLAG,
    "audit_values": _FLAG,
    "max_samples": _whole(1, none=True),
    "time_budget": _number("seconds > 0", none=True),
    "inconclusive": _one_of("fail", "skip"),
    "attempts": _one_of("every", "majority"),
    "cache": _FLAG,
    "recheck": _number("a share in 0..1", most=1, zero=True),
    "corpus_max_mb": _number("megabytes > 0"),
    "replay_only": _FLAG,
    "update_baseline": _FLAG,
    "engine": _is("to be a name such as 'local'", _is_name),
    "address": _is("to be one such as 'auto' or 'host:6379'", lambda value: value is None or _is_name(value)),
    "workers": _whole(1, none=True),
    "gpus_per_task": _number("GPUs in 0..64", most=64, zero=True, none=True),
}
