"""Models of stable-baselines3 as they are: every episode equals that of the model's own `predict`, step by step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from robustest_rl import ActionNoise, Observation, measure_robust_return, replay
from robustest_rl.checks import check
from robustest_rl.episodes import env_seed, search_keys
from robustest_rl.moments import Stepped, Untouched
from robustest_rl.scene import Scene
from robustest_rl.worlds import World

from robustest import ConfigError, Verdict

contrib_wrappers = pytest.importorskip("sb3_contrib.common.wrappers", reason="sb3-contrib is not installed")
sb3 = pytest.importorskip("stable_baselines3", reason="stable-baselines3 is not installed")
contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")

NUMBERS = Box(-1, 1, (3,), np.float32)
IMAGE = Box(0, 255, (36, 36, 3), np.uint8)
MIXED = Dict(numbers=NUMBERS, image=IMAGE)
TWO, THREE, PUSH = MultiDiscrete([3, 2]), Discrete(3), Box(-2, 3, (2,), np.float32)
ON = {"n_steps": 32, "batch_size": 16, "n_epochs": 1}
OFF = {"buffer_size": 100, "learning_starts": 20}


class Drawn(gymnasium.Env[Any, Any]):
    """Twelve observations that are drawn, or fewer; a reward tells which action was taken."""

    def __init__(self, observations: Any, actions: Any) -> None:
        self.observation_space, self.action_space = observations, actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed, options=options)
        self.t, self.taken = 0, []
        # Lanes end at different steps, so that a block loses rows.
        self.last = int(self.np_random.integers(6, 13))
        return self._drawn(self.observation_space), {}

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action if np.shape(action) else np.int64(action))
        self.t += 1
        self.taken.append(np.asarray(action))
        reward = float(np.asarray(action, dtype=np.float64) @ [1.0, 10.0] if np.shape(action) else action)
        return self._drawn(self.observation_space), reward, self.t >= self.last, False, {}

    def _drawn(self, space: Any) -> Any:
        if isinstance(space, Dict):
            return {name: self._drawn(part) for name, part in space.items()}
        if isinstance(space, Discrete):
            return int(self.np_random.integers(space.n))
        if space.dtype == np.uint8:
            # Patches of one grey or another: the mean of noise alone is the same in each image.
            return np.full(space.shape, self.np_random.integers(0, 256, space.shape[-1]), np.uint8)
        return self.np_random.uniform(-1, 1, space.shape).astype(np.float32)


def ppo(kind: str, cls: Any = None, **words: Any) -> Callable[[Any], Any]:
    return lambda env: (cls or sb3.PPO)(kind, env, seed=0, **{**ON, **words})


def off(cls: Any, kind: str = "MlpPolicy") -> Callable[[Any], Any]:
    return lambda env: cls(kind, env, seed=0, **OFF)


MODELS: dict[str, tuple[Any, Any, Callable[[Any], Any]]] = {
    "PPO": (NUMBERS, THREE, ppo("MlpPolicy")),
    "PPO, continuous": (NUMBERS, PUSH, ppo("MlpPolicy")),
    "PPO, cells": (Discrete(9), THREE, ppo("MlpPolicy")),
    "PPO, images": (IMAGE, THREE, ppo("CnnPolicy")),
    "PPO, Dict": (MIXED, THREE, ppo("MultiInputPolicy")),
    "PPO, MultiDiscrete": (NUMBERS, TWO, ppo("MlpPolicy")),
    "PPO, MultiBinary": (NUMBERS, MultiBinary(2), ppo("MlpPolicy")),
    "PPO, Dict to MultiDiscrete": (MIXED, TWO, ppo("MultiInputPolicy")),
    "A2C": (NUMBERS, THREE, lambda env: sb3.A2C("MlpPolicy", env, seed=0)),
    "DQN": (NUMBERS, THREE, off(sb3.DQN)),
    "DQN, images": (IMAGE, THREE, off(sb3.DQN, "CnnPolicy")),
    "SAC": (NUMBERS, PUSH, off(sb3.SAC)),
    "SAC, Dict": (MIXED, PUSH, off(sb3.SAC, "MultiInputPolicy")),
    "TD3": (NUMBERS, PUSH, off(sb3.TD3)),
    "DDPG": (NUMBERS, PUSH, off(sb3.DDPG)),
    "TRPO": (NUMBERS, THREE, lambda env: contrib.TRPO("MlpPolicy", env, seed=0, n_steps=32, batch_size=16)),
    "QRDQN": (NUMBERS, THREE, off(contrib.QRDQN)),
    "TQC": (NUMBERS, PUSH, off(contrib.TQC)),
    "RecurrentPPO": (NUMBERS, THREE, ppo("MlpLstmPolicy", contrib.RecurrentPPO)),
    "RecurrentPPO, continuous": (NUMBERS, PUSH, ppo("MlpLstmPolicy", contrib.RecurrentPPO)),
    "RecurrentPPO, images": (IMAGE, THREE, ppo("CnnLstmPolicy", contrib.RecurrentPPO)),
    "RecurrentPPO, Dict to MultiDiscrete": (MIXED, TWO, ppo("MultiInputLstmPolicy", contrib.RecurrentPPO)),
}


def trained(name: str) -> tuple[Any, Callable[[], Drawn]]:
    """Return a model after 64 steps of training, whose actions depend on what it sees; and its world."""
    observations, actions, make = MODELS[name]
    env = Drawn(observations, actions)
    model = make(env).learn(64)
    model.policy.set_training_mode(False)
    last = getattr(model.policy, "action_net", None)
    if isinstance(model, sb3.DQN):
        last = model.policy.q_net.q_net[-1]
    if last is not None:
        # So few steps leave one likeliest action, whatever is seen: the mean of each logit over an episode is moved
        # to 0, and the differences are made larger.
        outputs: list[torch.Tensor] = []
        with torch.no_grad():
            hook = last.register_forward_hook(lambda _module, _given, out: outputs.append(out))
            own_episode(model, env, 1)
            hook.remove()
            last.bias.sub_(torch.cat(outputs).mean(0))
            last.weight.mul_(20)
            last.bias.mul_(20)
    return model, lambda: Drawn(observations, actions)


def own_episode(model: Any, env: Drawn, seed: int) -> list[Any]:
    """Return the actions of an episode as the model's documentation plays it."""
    seen, _ = env.reset(seed=seed)
    state, start, over = None, np.ones(1, bool), False
    while not over:
        action, state = model.predict(seen, state=state, episode_start=start, deterministic=True)
        seen, _, over, _, _ = env.step(action)
        start = np.zeros(1, bool)
    return env.taken


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("lanes", [1, 5])
def test_an_episode_is_that_of_the_models_own_predict(name: str, lanes: int) -> None:
    model, world = trained(name)
    scene = Scene(model, World.of(world)).steady()
    check(scene, None, 0)
    keys = search_keys(0, "a test", 7)
    arena = scene.arena(lanes)
    steps: list[Stepped] = []
    arena.play(Untouched(), keys, record=steps.append)
    taken: list[list[Any]] = [[] for _ in keys]
    for step in steps:
        for row, action in zip(step.rows.tolist(), arena.policy.given(step.actions), strict=True):
            taken[row].append(action)
    wanted = [own_episode(model, world(), env_seed(key)) for key in keys]
    assert [len(one) for one in taken] == [len(one) for one in wanted]
    for ours, theirs in zip(taken, wanted, strict=True):
        np.testing.assert_allclose(np.array(ours), np.array(theirs), atol=2e-5)
    # A policy that always does the same would agree with much that is wrong.
    assert len(np.unique(np.concatenate([np.array(one) for one in wanted]), axis=0)) > 1


@pytest.mark.parametrize("name", [name for name in MODELS if "Recurrent" in name])
def test_a_recurrent_model_without_its_memory_acts_otherwise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above sees a memory that is lost."""
    monkeypatch.setattr("robustest_rl.policies.Policy.recalling", lambda self, _memory: self)
    with pytest.raises(AssertionError):
        test_an_episode_is_that_of_the_models_own_predict(name, 5)


def normalised(**words: Any) -> Callable[[], Any]:
    """Return a factory of a vector of one lane whose observations are normalised by statistics of 500 steps."""

    def make() -> Any:
        inner = sb3.common.vec_env.DummyVecEnv([lambda: Drawn(Box(-5, 5, (3,), np.float32), THREE)])
        vector = sb3.common.vec_env.VecNormalize(inner)
        vector.seed(0)
        vector.reset()
        for _ in range(500):
            vector.step(np.zeros(1, np.int64))
        vector.training = vector.norm_reward = False
        for name, value in words.items():
            setattr(vector, name, value)
        return vector

    return make


VECTORS: dict[str, Callable[[], Any]] = {
    "DummyVecEnv": lambda: sb3.common.vec_env.DummyVecEnv([lambda: Drawn(NUMBERS, THREE)]),
    "DummyVecEnv, Dict": lambda: sb3.common.vec_env.DummyVecEnv([lambda: Drawn(MIXED, TWO)]),
    "VecFrameStack": lambda: sb3.common.vec_env.VecFrameStack(
        sb3.common.vec_env.DummyVecEnv([lambda: Drawn(NUMBERS, THREE)]), 2
    ),
    "VecNormalize": normalised(),
    "SyncVectorEnv": lambda: gymnasium.vector.SyncVectorEnv([lambda: Drawn(NUMBERS, THREE)]),
    "SyncVectorEnv, continuous": lambda: gymnasium.vector.SyncVectorEnv([lambda: Drawn(NUMBERS, PUSH)]),
}


def rewards_of(model: Any, vector: Any, seed: int) -> list[float]:
    """Return the rewards of an episode in a vector of one lane, as its documentation plays it."""
    if isinstance(vector, gymnasium.vector.VectorEnv):
        seen, _ = vector.reset(seed=[seed])
    else:
        vector.seed(seed)
        seen = vector.reset()
    rewards, over = [], False
    while not over:
        seen, reward, ended, *rest = vector.step(model.predict(seen, deterministic=True)[0])
        rewards.append(float(reward[0]))
        over = bool(ended[0]) or (len(rest) == 2 and bool(rest[0][0]))
    return rewards


@pytest.mark.parametrize("name", VECTORS)
def test_an_episode_in_a_vector_of_one_lane_is_that_of_the_vector(name: str) -> None:
    make = VECTORS[name]
    world = World.of(make)
    env = world.make()
    model = sb3.PPO("MultiInputPolicy" if "Dict" in name else "MlpPolicy", env, seed=0, **ON)
    with torch.no_grad():
        model.policy.action_net.weight.mul_(3000)
    model.policy.set_training_mode(False)
    scene = Scene(model, world).steady()
    check(scene, None, 0)
    keys = search_keys(0, "a test", 5)
    steps: list[Stepped] = []
    arena = scene.arena()
    arena.play(Untouched(), keys, record=steps.append)
    for row, key in enumerate(keys):
        ours = [float(step.rewards[step.rows == row][0]) for step in steps if (step.rows == row).any()]
        wanted = rewards_of(model, make(), env_seed(key))
        np.testing.assert_allclose(ours, wanted, atol=1e-4)
        assert len(set(wanted)) > 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sb3.common.vec_env.DummyVecEnv([lambda: Drawn(NUMBERS, THREE)] * 2), "one lane but got '2 lanes'"),
        (normalised(training=True), "Set training=False"),
        (normalised(norm_reward=True), "Set norm_reward=False"),
    ],
)
def test_vectors_whose_episodes_depend_on_others_are_errors(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        World.of(make)


def test_a_model_trained_on_normalised_observations_needs_them() -> None:
    model = sb3.PPO("MlpPolicy", normalised()(), seed=0, **ON)
    world = World.of(lambda: Drawn(Box(-5, 5, (3,), np.float32), THREE))
    with pytest.raises(ConfigError, match="Expected the environment to normalise observations"):
        Scene(model, world).arena()
    Scene(model, World.of(normalised())).arena().close()


class Masked(Drawn):
    def action_masks(self) -> Any:
        return np.array([True, True, False])


def wrapped_masks() -> Any:
    return contrib_wrappers.ActionMasker(Drawn(NUMBERS, THREE), lambda _env: np.ones(3, bool))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Masked(NUMBERS, THREE),
        lambda: gymnasium.wrappers.TimeLimit(Masked(NUMBERS, THREE), 9),
        wrapped_masks,
        lambda: sb3.common.vec_env.DummyVecEnv([wrapped_masks]),
    ],
)
def test_masks_of_the_environment_are_an_error_with_a_remedy(make: Any) -> None:
    model = contrib.MaskablePPO("MlpPolicy", Masked(NUMBERS, THREE), **ON)
    with pytest.raises(ConfigError, match="Put the mask into the observation"):
        Scene(model, World.of(make)).arena()
    Scene(model, World.of(lambda: Drawn(NUMBERS, THREE))).arena().close()


@pytest.mark.parametrize(
    ("observations", "actions", "message"),
    [
        (MultiDiscrete([3, 4]), THREE, "gymnasium.spaces.unflatten"),
        (Dict(cell=Discrete(4), numbers=NUMBERS), THREE, "may have Box parts only"),
        (NUMBERS, MultiDiscrete([9] * 6), "at most 4096 combinations"),
    ],
)
def test_spaces_that_are_not_served_are_errors_with_a_remedy(observations: Any, actions: Any, message: str) -> None:
    env = Drawn(observations, actions)
    model = sb3.PPO("MultiInputPolicy" if isinstance(observations, Dict) else "MlpPolicy", env, **ON)
    with pytest.raises(ConfigError, match=message):
        Scene(model, World.of(lambda: env)).arena()


def test_observations_that_the_model_was_not_trained_on_are_an_error() -> None:
    model, _ = trained("PPO, images")
    other = Box(0, 255, (36, 36, 1), np.uint8)
    with pytest.raises(ConfigError, match="wrappers of the training"):
        Scene(model, World.of(lambda: Drawn(other, THREE))).arena()


class Guessed(Drawn):
    """Returns 1 where the action is the sign of the observation before, which only a memory knows."""

    def __init__(self) -> None:
        super().__init__(Box(-1, 1, (1,), np.float32), Discrete(2))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.signs = [1]
        seen, info = super().reset(seed=seed, options=options)
        self.last = 20
        return seen, info

    def step(self, action: Any) -> Any:
        wanted = self.signs[-2]
        seen, _, *rest = super().step(action)
        return seen, float(int(action) == wanted), *rest

    def _drawn(self, space: Any) -> Any:
        seen = self.np_random.choice([-1.0, 1.0], 1).astype(np.float32)
        self.signs.append(int(seen[0] > 0))
        return seen


@pytest.fixture(scope="module")
def remembering() -> Any:
    """Return a recurrent model that has learned to act on the observation before."""
    model = contrib.RecurrentPPO(
        "MlpLstmPolicy", Guessed(), seed=0, n_steps=256, batch_size=128, learning_rate=3e-3, gamma=0.5,
        policy_kwargs={"lstm_hidden_size": 16},
    ).learn(8000)  # fmt: skip
    model.policy.set_training_mode(False)
    return model


CLAIM: dict[str, Any] = {"at_least": 15, "min_share": 0.7, "cache": False, "attack": "agent-fast"}


def test_a_claim_on_a_recurrent_model_passes_and_fails(remembering: Any) -> None:
    assert measure_robust_return(remembering, Guessed, **CLAIM).verdict is Verdict.PASSED
    assert measure_robust_return(remembering, Guessed, ActionNoise(0.02), **CLAIM).verdict is Verdict.PASSED
    attacked = measure_robust_return(remembering, Guessed, Observation(1.5, scale=(1.0,)), **CLAIM)
    assert attacked.verdict is Verdict.FAILED
    again = replay(attacked, remembering, Guessed, Observation(1.5, scale=(1.0,)))
    assert again.returned == attacked.details["lowest return"]


def test_a_recurrent_model_without_its_memory_fails_the_claim(
    remembering: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("robustest_rl.policies.Policy.recalling", lambda self, _memory: self)
    assert measure_robust_return(remembering, Guessed, **CLAIM).verdict is Verdict.FAILED


@pytest.mark.parametrize("name", ["PPO", "DQN", "RecurrentPPO", "PPO, Dict to MultiDiscrete"])
def test_draws_of_a_model_repeat_and_leave_its_generator_alone(name: str) -> None:
    model, world = trained(name)
    state = model.action_space.np_random.bit_generator.state
    first, again = (
        measure_robust_return(
            model, world, at_least=3, min_share=0.5, stochastic=True, episodes=5, lanes=lanes, cache=False
        )
        for lanes in (1, 5)
    )
    assert first.details["returns"] == again.details["returns"]
    assert model.action_space.np_random.bit_generator.state == state
