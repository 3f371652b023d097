"""Replays: any episode of a result, with the same steps and the same return to the last bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any

import numpy as np

from robustest import Result
from robustest.errors import ConfigError, DataError, expected
from robustest_rl.attacks import Attack, Away, Directed, Lower, Noise
from robustest_rl.judged import Episodes
from robustest_rl.moments import Untouched
from robustest_rl.scene import Scene
from robustest_rl.threats import Attacked, Sometimes, Threat
from robustest_rl.traces import Trace, trace
from robustest_rl.worlds import Factory, World

_ATTACKS: Mapping[str, type[Any]] = {kind.__name__: kind for kind in (Noise, Away, Lower, Directed)}
# Fields of threats that a measurement fills in.
_CHOSEN = ("scale", "values", "bias")


def replay(
    result: Result,
    policy: object,
    env: str | Factory,
    threat: Threat | None = None,
    *,
    episode: int | None = None,
    untouched: bool = False,
    critic: Callable[..., Any] | None = None,
) -> Trace:
    """Play one episode of a result again, step by step, with the adversary of the result.

    Args:
        result: of `measure_robust_return`, or read from a run's file.
        policy, env, threat: as measured. An environment may render, with a factory such as `lambda:
            gymnasium.make("CartPole-v1", render_mode="human")`.
        episode: its number, 0..n_total - 1, played before or not; None for the episode of lowest return.
        untouched: leave out the adversary.
        critic: as measured; needed if the adversary uses it.

    Returns:
        The episode; its return is that of the result to the last bit.

    Raises:
        ConfigError: the result is of another kind, has another threat or no such episode, or the critic is missing.
        DataError: the return differs: the policy, environment, threat or a library has changed.
    """
    kept = result.details.get("replay") if isinstance(result, Result) else None
    if not isinstance(kept, Mapping):
        raise ConfigError(expected("a result of measure_robust_return", result))
    again = adversary_of(kept["adversary"], threat, critic)
    words = "no threat" if isinstance(again, Untouched) else str(again.threat)
    if kept["threat"] != words:
        raise ConfigError(expected(f"the threat that was measured, {kept['threat']}", words))
    scene = Scene(policy, World.of(env), kept["stochastic"], max_steps=kept["max_steps"], cost=kept["cost"]).steady()
    counted = Episodes(scene, again, result.numbers.n_total, result.evidence.seed, -np.inf)
    returns = result.details["returns"]
    number = returns["episode"][int(np.argmin(returns["attacked"]))] if episode is None else episode
    found = trace(counted, number, untouched=untouched)
    _compare(returns, found, "untouched" if untouched else "attacked")
    return found


def kept_of(counted: Episodes) -> dict[str, Any]:
    """Return all that `replay` needs besides policy, environment, threat and seed, in plain JSON types."""
    scene, adversary = counted.scene, counted.adversary
    kept: dict[str, Any] = {"cost": scene.cost, "stochastic": scene.stochastic, "max_steps": scene.max_steps}
    if isinstance(adversary, Untouched):
        return kept | {"threat": "no threat", "adversary": None}
    inner = _inner(adversary.threat)
    attack = {part.name: getattr(adversary.attack, part.name) for part in fields(adversary.attack)}
    # A critic is a function: the caller of `replay` gives it again.
    attack.pop("critic", None)
    told = {
        "kind": type(adversary.attack).__name__,
        "attack": {name: list(value) if isinstance(value, tuple) else value for name, value in attack.items()},
        "share": adversary.share,
        "threat": {name: list(getattr(inner, name)) for name in _CHOSEN if getattr(inner, name, None)},
    }
    return kept | {"threat": str(adversary.threat), "adversary": told}


def adversary_of(
    told: Mapping[str, Any] | None, threat: Threat | None, critic: Callable[..., Any] | None
) -> Attacked | Untouched:
    """Return the adversary that a result describes.

    Raises:
        ConfigError: a threat is missing or superfluous, or the critic is missing.
    """
    if told is None or threat is None:
        if told is not None or threat is not None:
            raise ConfigError(expected("the threat that was measured" if told else "no threat, as measured", threat))
        return Untouched()
    words = {name: tuple(value) if isinstance(value, list) else value for name, value in told["attack"].items()}
    if told["kind"] == Lower.__name__:
        if critic is None:
            raise ConfigError("Expected critic= as measured, as its attack was the one judged, but got none.")
        words["critic"] = critic
    attack: Attack = _ATTACKS[told["kind"]](**words)
    return Attacked(_filled(threat, told["threat"]), attack, told["share"])


def _filled(threat: Threat, chosen: Mapping[str, Any]) -> Threat:
    if isinstance(threat, Sometimes):
        return replace(threat, threat=_filled(threat.threat, chosen))
    known: dict[str, Any] = {name: tuple(value) for name, value in chosen.items() if hasattr(threat, name)}
    if "scale" in known and getattr(threat, "scale", None) is not None:
        known.pop("scale")  # a scale that is given stands for itself: another one must not pass unseen
    return replace(threat, **known) if known else threat  # type: ignore[type-var]


def _inner(threat: Threat) -> Threat:
    return _inner(threat.threat) if isinstance(threat, Sometimes) else threat


def _compare(returns: Mapping[str, Any], found: Trace, which: str) -> None:
    if found.episode not in returns["episode"]:
        return
    before = returns[which][returns["episode"].index(found.episode)]
    if found.returned != before:
        mend = "The policy, the environment, the threat or a library is no longer what it was. Measure again."
        raise DataError(expected(f"episode {found.episode} to return {before!r}, as it did", found.returned, mend))
