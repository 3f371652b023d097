"""Episodes are functions of seed and number: lanes, workers and neighbours change nothing."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from robustest_rl import Away, Directed, Observation, measure_robust_return
from robustest_rl.episodes import Arena, search_keys, steady_block
from robustest_rl.moments import Untouched
from robustest_rl.policies import BLOCK, as_policy
from robustest_rl.threats import Attacked
from robustest_rl.worlds import World
from torch import nn
from walks import Line, right

from robustest import ConfigError, DataError, Verdict

KEYS = search_keys(0, "a test", 9)


def net(seed: int, *sizes: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for into, out in pairwise(sizes):
        layer = nn.Linear(into, out)
        layer.weight.data = torch.randn(out, into, generator=generator) / into**0.5
        layer.bias.data.zero_()
        layers += [layer, nn.Tanh()]
    return nn.Sequential(*layers[:-1]).eval().requires_grad_(False)


def arena(policy: Any, env: Any, lanes: int, **words: Any) -> Arena:
    world = World.of(env)
    made = world.make()
    within = made.unwrapped.action_space
    acting = as_policy(policy, made.observation_space, made.action_space, within=within)
    return Arena(acting, world, lanes, steady_block(acting, torch.zeros(4, *acting.observations.shape or ())), **words)


@pytest.mark.parametrize(
    "adversary", [Untouched(), Attacked(Observation(0.1), Away(steps=2))], ids=["untouched", "pgd"]
)
@pytest.mark.parametrize("hidden", [16, 50])
def test_returns_are_alike_to_the_bit_for_1_4_and_32_lanes(adversary: Any, hidden: int) -> None:
    def pendulum() -> gymnasium.Env[Any, Any]:
        env = gymnasium.make("Pendulum-v1", max_episode_steps=5)
        return gymnasium.wrappers.ClipAction(env)

    policy = net(0, 3, hidden, 1)
    runs = [arena(policy, pendulum, lanes).play(adversary, KEYS).returns for lanes in (1, 4, 32)]
    assert len(set(runs[0].tolist())) == len(KEYS)
    assert np.array_equal(runs[0], runs[1])
    assert np.array_equal(runs[0], runs[2])
    back = arena(policy, pendulum, 32).play(adversary, KEYS.flip(0)).returns[::-1]
    assert np.array_equal(runs[0], back)


def test_a_policy_whose_last_bits_depend_on_places_is_asked_one_by_one() -> None:
    def odd(seen: Any) -> Any:
        return np.stack([seen.sum(1), np.arange(len(seen)) * 1e-6], 1)

    made = Line()
    assert steady_block(as_policy(odd, made.observation_space, made.action_space), torch.ones(4, 2)) == 1
    assert steady_block(as_policy(right, made.observation_space, made.action_space), torch.ones(4, 2)) == BLOCK


class Uneven(Line):
    """Two steps long, or sixty, by a coin that its seed tosses; each step returns 1."""

    def reset(self, **words: Any) -> Any:
        found = super().reset(**words)
        self.at = 10.0
        self.steps = 60 if self.np_random.random() < 0.5 else 2
        return found


def test_the_mean_is_that_of_episodes_run_one_by_one_and_not_of_the_first_to_finish() -> None:
    keys = search_keys(1, "a test", 160)
    lanes, alone = (arena(right, Uneven, n).play(Untouched(), keys).returns for n in (16, 1))
    assert np.array_equal(lanes, alone)
    assert set(alone.tolist()) == {2.0, 60.0}
    clock, finished = [0.0] * 16, []  # what sixteen lanes finish that take the next episode when they are free
    for length in alone.tolist():
        lane = clock.index(min(clock))
        clock[lane] += length
        finished.append((clock[lane], length))
    first = np.mean([length for _, length in sorted(finished)[:32]])
    assert first < 0.75 * lanes.mean()


def test_a_cost_is_read_from_info_and_a_missing_one_is_an_error() -> None:
    assert arena(right, Line, 4, cost="effort").play(Untouched(), KEYS[:3]).returns.tolist() == [-10.0] * 3
    with pytest.raises(DataError, match="cost 'fuel'"):
        arena(right, Line, 4, cost="fuel").play(Untouched(), KEYS[:3])


def test_a_policy_that_draws_is_a_function_of_its_episode_once_it_says_so() -> None:
    def drawing(seen: Any) -> Any:
        return np.random.randint(0, 2, len(seen))

    def returns(lanes: int) -> Any:
        words: Any = {"episodes": 12, "stochastic": True, "lanes": lanes, "exact": True}
        return measure_robust_return(drawing, Line, at_least=2, min_share=0.5, **words).details["mean_attacked"]

    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    assert returns(1) == returns(5)
    assert np.array_equal(before, np.random.get_state()[1])


def test_a_share_passes_and_fails_and_says_how() -> None:
    passed = measure_robust_return(right, Line, at_least=3, min_share=0.8)
    assert passed.verdict is Verdict.PASSED
    assert passed.numbers.n < passed.numbers.n_total
    failed = measure_robust_return(right, Line, at_least=5, min_share=0.95)
    assert failed.verdict is Verdict.FAILED
    assert failed.subject.scope == "population"


def test_actions_are_attacked_within_the_limits_inside_their_wrappers() -> None:
    def short() -> gymnasium.Env[Any, Any]:
        return gymnasium.wrappers.ClipAction(gymnasium.make("Pendulum-v1", max_episode_steps=5))

    policy = net(0, 3, 16, 1)
    game = arena(policy, short, 8)
    made = game.world.make()
    director = Directed(weights=(0.0, 0.0, 0.0, 3.0))
    touched = game.play(Attacked(Observation(0.5), director), KEYS).returns
    assert not np.array_equal(touched, game.play(Untouched(), KEYS).returns)
    game.policy = as_policy(policy, made.observation_space, made.action_space)
    with pytest.raises(ConfigError, match="finite limits"):
        game.play(Attacked(Observation(0.5), director), KEYS)
