"""Vector environments of one lane as an environment: those of Gymnasium, and those of stable-baselines3.

An agent is often trained in wrappers of vector environments, such as `VecNormalize` or `VecFrameStack`, without which
it sees other observations. A vector of one lane has the same episodes as the environment inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from robustest.errors import ConfigError, expected


def is_vector(env: object) -> bool:
    """Return True for a vector environment: an object with a number of environments, that is no `gymnasium.Env`."""
    return not isinstance(env, gymnasium.Env) and hasattr(env, "num_envs") and callable(getattr(env, "step", None))


class OneLane(gymnasium.Env[Any, Any]):
    """The only lane of a vector environment.

    Attributes:
        vector: the vector environment.
        normalises: True if it normalises observations.
        layers: classes of the vector environment, its wrappers and the environment inside.

    Raises:
        ConfigError: there are several lanes, or statistics of observations or rewards would change outcomes.
    """

    def __init__(self, vector: Any) -> None:
        if vector.num_envs != 1:
            mend = "Give a factory of a vector environment with one lane: each episode is played in a lane of its own."
            raise ConfigError(expected("a vector environment of one lane", f"{vector.num_envs} lanes", mend))
        self.vector = vector
        self._gymnasium = isinstance(vector, gymnasium.vector.VectorEnv)
        self.observation_space = vector.single_observation_space if self._gymnasium else vector.observation_space
        self.action_space = vector.single_action_space if self._gymnasium else vector.action_space
        self.normalises, self.layers = False, []
        # Wrappers of stable-baselines3 pass attributes of those inside on, so each is asked about its own.
        layer = vector
        while layer is not None:
            own = layer.__dict__
            self.layers.append(type(layer))
            if "norm_obs" in own:
                _check_statistics(layer)
                self.normalises = self.normalises or bool(layer.norm_obs)
            layer = own.get("venv", own.get("env"))
        if self.unwrapped is not self:
            self.layers.append(type(self.unwrapped))

    @property
    def unwrapped(self) -> gymnasium.Env[Any, Any]:
        """The environment inside, whose attributes `Dynamics` sets; this one if it runs in another process."""
        inner = getattr(self.vector, "unwrapped", self.vector)
        envs = getattr(inner, "envs", None)
        return envs[0].unwrapped if envs else self

    def has_wrapper_attr(self, name: str) -> bool:
        """Return True if this environment, or a wrapper inside the vector, has an attribute."""
        inside = getattr(self.vector, "has_attr", None)
        return super().has_wrapper_attr(name) or (callable(inside) and bool(inside(name)))

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self._gymnasium:
            seen, _ = self.vector.reset(seed=None if seed is None else [seed], options=options)
        else:
            if seed is not None:
                self.vector.seed(seed)
            seen = self.vector.reset()
        return _first(seen), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        out = self.vector.step(np.asarray([action]))
        # Both reset a lane by themselves after its last step; what follows that step is never used.
        if self._gymnasium:
            seen, rewards, ended, cut, infos = out
            info = {name: value[0] for name, value in infos.items() if isinstance(value, np.ndarray)}
            return _first(seen), float(rewards[0]), bool(ended[0]), bool(cut[0]), info
        seen, rewards, over, infos = out
        cut = bool(over[0]) and bool(infos[0].get("TimeLimit.truncated", False))
        return _first(seen), float(rewards[0]), bool(over[0]) and not cut, cut, infos[0]

    def close(self) -> None:
        self.vector.close()


def _check_statistics(layer: Any) -> None:
    if layer.training:
        mend = "Set training=False in the factory: statistics that go on make an episode depend on those before it."
        raise ConfigError(expected("a VecNormalize that is not in training", "training=True", mend))
    if layer.norm_reward:
        mend = "Set norm_reward=False in the factory: returns are claimed in units of the environment."
        raise ConfigError(expected("a VecNormalize that leaves rewards alone", "norm_reward=True", mend))


def _first(seen: Any) -> Any:
    if isinstance(seen, Mapping):
        return {name: _first(part) for name, part in seen.items()}
    # Vector environments write the next step into the same array.
    return np.array(seen[0], copy=True)
