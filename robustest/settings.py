"""Settings: command line > marker > profile > ini, resolved into one frozen `Settings` (no torch here)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from robustest.errors import ConfigError, expected, unknown
from robustest.health import HEALTH_CHECKS

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+|:all)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How claims are measured.

    Attributes:
        profile: the name of the profile these settings come from.
        device: "auto" (the model's own device, else the first CUDA device, else cpu), "cpu",
            "cuda", "cuda:N", "cuda:all" (a worker process for each CUDA device) or "mps".
        seed: seeds the order of samples and every random draw.
        attack: the attack of claims that name none.
        certify: how claims on robust accuracy prove what an attack left: "auto", "linear", or None for not at all.
        scope: "set" (this very test set) or "population" (what it was drawn from).
        alpha: chance of a wrong verdict allowed on each side of a population claim, and of each end
            of every interval; in (0, 0.5).
        family_size: claims that share the error of wrong early failures: each may spend alpha / family_size; >= 1.
        batch_size: samples in one model pass, at most; None lets robustest choose.
        precision: "fp32", "bf16" (gradients in bfloat16 first, what is left again in float32; verdicts always
            in float32) or "auto" (bf16 where a short timing says that it pays).
        examples: counterexamples kept and pictured per failed claim.
        pictures: folder the pictures of counterexamples go to; None keeps none.
        suppress: names of health checks that shall only note, not stop or warn.
        exact: whether every sample is looked at, even where the verdict is settled before.
        max_samples: samples a claim may look at; None sets no limit.
        time_budget: seconds after which a claim ends, within the pass of the model under way; None sets no limit.
        inconclusive: what an inconclusive claim does to its test: "fail" or "skip"; it never passes.
        attempts: "every" or "majority": how many attempts must hold of a test that another plugin runs again.
        store: folder of what robustest remembers; None remembers nothing.
        cache: whether what the store remembers is used, not only written.
        recheck: share of remembered chunks, drawn at random, that is measured again and must agree; in 0..1.
        corpus: folder of the counterexamples to replay; None keeps and replays none.
        corpus_max_mb: the most they may take, in megabytes, > 0.
        replay_only: whether claims only replay known counterexamples and search for none.
        baseline: file of committed outcomes that `no_worse_than` compares with.
        update_baseline: whether outcomes are written to that file instead of compared with it.
        engine: where chunks are measured: "local" (this machine), or what a plugin brings, such as "ray".
        address: where that engine's cluster is; None lets the engine choose.
        workers: worker processes; None: none besides this one on one device, one for each with cuda:all, and as many
            as the cluster has room for elsewhere.
        gpus_per_task: GPUs that one worker of a cluster takes, > 0 (fractions share a GPU); 0 for the CPU; None: one
            where the cluster has GPUs.
    """

    profile: str = "dev"
    device: str = "auto"
    seed: int = 0
    attack: str = "fast"
    certify: str | None = None
    scope: str = "set"
    alpha: float = 0.01
    family_size: int = 100
    batch_size: int | None = None
    precision: str = "fp32"
    examples: int = 3
    pictures: str | None = None
    suppress: tuple[str, ...] = ()
    exact: bool = False
    max_samples: int | None = None
    time_budget: float | None = None
    inconclusive: str = "fail"
    attempts: str = "every"
    store: str | None = None
    cache: bool = True
    recheck: float = 0.01
    corpus: str | None = None
    corpus_max_mb: float = 20.0
    replay_only: bool = False
    baseline: str = "robust-baseline.json"
    update_baseline: bool = False
    engine: str = "local"
    address: str | None = None
    workers: int | None = None
    gpus_per_task: float | None = None

    def __post_init__(self) -> None:
        for name, check in _CHECKS.items():
            check(name, getattr(self, name))

    def but(self, values: Mapping[str, Any]) -> Settings:
        """These settings with some replaced.

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
    "ci": {"recheck": 0.05},
    "nightly": {"attack": "thorough", "exact": True, "cache": False},
}
"""The profiles robustest brings: `ci` decides as `dev` does, so that a red gate is red at the desk, too, but trusts
less what other machines have left in the store. `[tool.robustest.profiles]` changes them and adds others."""

_RUN_KEYS = (
    *("profile", "pictures", "store", "corpus", "corpus_max_mb", "replay_only", "baseline", "update_baseline"),
    *("engine", "address", "workers", "gpus_per_task"),
)
MARKER_KEYS = frozenset(f.name for f in fields(Settings)) - set(_RUN_KEYS)
"""Settings that `@pytest.mark.robust(...)` may give."""


def profiles_from(pyproject: Path) -> dict[str, dict[str, Any]]:
    """The profiles, those in `[tool.robustest.profiles]` of a pyproject.toml laid over our own.

    Args:
        pyproject: the file; it may be absent.

    Raises:
        ConfigError: a value is wrong, or a key of `[tool.robustest]` is not known.
    """
    import tomllib

    table: dict[str, Any] = {}
    if pyproject.is_file():
        try:
            table = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("tool", {}).get("robustest", {})
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"Expected valid TOML in {pyproject.name} but got: {error}") from error
    if not isinstance(table, Mapping):
        raise ConfigError(expected("a table in [tool.robustest]", table))
    for key in table:
        if key != "profiles":
            raise unknown("key in [tool.robustest]", key, ["profiles"])
    profiles = {name: dict(values) for name, values in PROFILES.items()}
    given = table.get("profiles", {})
    if not isinstance(given, Mapping):
        raise ConfigError(expected("a table of profiles in [tool.robustest.profiles]", given))
    for name, values in given.items():
        if not isinstance(values, Mapping):
            raise ConfigError(expected(f"a table of settings in [tool.robustest.profiles.{name}]", values))
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
    """One `Settings` from an ini table, a profile and the command line, the later over the earlier.

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
    """Values as text files give them, in the types `Settings` has (lists become tuples, "a b" for suppress too)."""
    out = dict(values)
    suppress = out.get("suppress")
    if isinstance(suppress, str):
        suppress = suppress.replace(",", " ").split()
    if isinstance(suppress, (list, set, frozenset)):
        out["suppress"] = tuple(suppress)
    return out


def _one_of(*names: str) -> Any:
    def check(name: str, value: object) -> None:
        if value not in names:
            raise unknown(f"value of {name}:", value, names)

    return check


def _whole(low: int, *, none: bool = False) -> Any:
    def check(name: str, value: object) -> None:
        if none and value is None:
            return
        if type(value) is not int or value < low:
            raise ConfigError(expected(f"{name} to be a whole number >= {low}", value))

    return check


def _device(name: str, value: object) -> None:
    if not isinstance(value, str) or not _DEVICE.fullmatch(value):
        raise ConfigError(expected("device to be auto, cpu, cuda, cuda:N, cuda:all or mps", value))


def _attack(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(expected("attack to be a name such as 'pgd'", value))


def _name(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(expected(f"{name} to be a name such as 'local'", value))


def _address(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ConfigError(expected("address to be one such as 'auto' or 'host:6379'", value))


def _alpha(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 0.5:
        raise ConfigError(expected("alpha in (0, 0.5)", value))


def _suppress(name: str, value: object) -> None:
    if not isinstance(value, tuple) or not all(isinstance(v, str) for v in value):
        raise ConfigError(expected("suppress to be a tuple of names of health checks", value))
    for item in value:
        if item not in HEALTH_CHECKS:
            raise unknown("health check", item, HEALTH_CHECKS)


def _optional(*names: str) -> Any:
    """One of these names, or None."""
    check = _one_of(*names)
    return lambda name, value: None if value is None else check(name, value)


def _number(what: str, *, most: float = math.inf, zero: bool = False, none: bool = False) -> Any:
    """A finite number above 0, or 0 where `zero` is set, and at most `most`."""

    def check(name: str, value: object) -> None:
        if none and value is None:
            return
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise ConfigError(expected(f"{name} to be {what}", value))
        if not 0 <= value <= most or (value == 0 and not zero):
            raise ConfigError(expected(f"{name} to be {what}", value))

    return check


def _flag(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise ConfigError(expected(f"{name} to be true or false", value))


def _any_int(name: str, value: object) -> None:
    if type(value) is not int:
        raise ConfigError(expected(f"{name} to be a whole number", value))


_CHECKS: Mapping[str, Any] = {
    "attack": _attack,
    "certify": _optional("auto", "linear"),
    "device": _device,
    "seed": _any_int,
    "scope": _one_of("set", "population"),
    "alpha": _alpha,
    "family_size": _whole(1),
    "batch_size": _whole(1, none=True),
    "precision": _one_of("fp32", "bf16", "auto"),
    "examples": _whole(0),
    "suppress": _suppress,
    "exact": _flag,
    "max_samples": _whole(1, none=True),
    "time_budget": _number("seconds > 0", none=True),
    "inconclusive": _one_of("fail", "skip"),
    "attempts": _one_of("every", "majority"),
    "cache": _flag,
    "recheck": _number("a share in 0..1", most=1, zero=True),
    "corpus_max_mb": _number("megabytes > 0"),
    "replay_only": _flag,
    "update_baseline": _flag,
    "engine": _name,
    "address": _address,
    "workers": _whole(1, none=True),
    "gpus_per_task": _number("GPUs in 0..64", most=64, zero=True, none=True),
}
