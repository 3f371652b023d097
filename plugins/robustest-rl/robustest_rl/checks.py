"""Checks before any episode is played, and scales of threats, which are measured once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from robustest.packs import checked_whole
from robustest_rl.episodes import env_seed, search_keys
from robustest_rl.moments import Untouched
from robustest_rl.scene import Scene
from robustest_rl.threats import Dynamics, Observation, SensorBias, Sometimes, Threat
from robustest_rl.worlds import check_repeats

_CHECKED = 200
"""Steps of each episode on which repetition of the environment is checked."""


def check(scene: Scene, threat: Threat | None, seed: int) -> None:
    """Raise ConfigError or DataError for spaces, modes and environments that cannot be measured."""
    arena = scene.arena()
    policy = arena.policy
    if threat is not None:
        threat.check(policy)
    if isinstance(threat, Dynamics):
        threat.nominal(scene.world.make())

    memory: list[Any] = [None]

    def act(seen: Any, step: int) -> Any:
        # The policy's actions: an environment may repeat under random ones, and not in states that the agent reaches.
        batch = policy.seen([seen])
        key = torch.tensor([step])
        now = policy.recalling(policy.empty_memory(1) if step == 0 else memory[0])
        with policy.asked(key), torch.no_grad():
            action = policy.given(policy.act(now.outputs(batch), key))[0]
            memory[0] = now.remembered(batch) if now.recurrent else None
        return action

    keys = search_keys(seed, "a check", 2)
    check_repeats(scene.world, [env_seed(key) for key in keys], act, steps=_CHECKED)


def check_counts(**counts: int) -> None:
    """Raise ConfigError for a count that is not a whole number >= 1."""
    for name, count in counts.items():
        checked_whole(name, count, 1)


def settled(scene: Scene, threat: Threat | None, seed: int) -> Threat | None:
    """Check the scene, and return the threat with its scale measured."""
    check(scene, threat, seed)
    return None if threat is None else frozen(scene, threat, seed)


def frozen(scene: Scene, threat: Threat, seed: int) -> Threat:
    """Return the threat with its scale fixed: the standard deviation of each part over 16 undisturbed episodes."""
    if isinstance(threat, Sometimes):
        return replace(threat, threat=frozen(scene, threat.threat, seed))
    if not isinstance(threat, (Observation, SensorBias)) or threat.scale is not None:
        return threat
    seen: list[torch.Tensor] = []
    arena = scene.arena()
    keys = search_keys(seed, "the scale", 16)
    arena.play(Untouched(), keys, record=lambda now: seen.append(now.moment.seen.flatten(1).double()))
    arena.close()
    # Four digits: the scale is part of the threat's name in reports.
    spread = torch.cat(seen).std(0)
    return replace(threat, scale=tuple(float(f"{value:.4g}") for value in spread))
