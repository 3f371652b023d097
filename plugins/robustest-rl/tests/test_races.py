"""A race breaks off what can no longer win, and nothing else: its winners are those of a race that all run."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from robustest_rl.races import Race


def run(rewards: Any, lowest: int) -> tuple[Any, Any]:
    """Returns (C, E) of rewards (C, E, T), and how many steps of each were played, side by side."""
    candidates, episodes, steps = rewards.shape
    flat, race = rewards.reshape(-1, steps), Race(candidates, episodes, lowest)
    lengths = np.where(np.isnan(flat), 0, 1).sum(1)
    returns, played = np.zeros(len(flat)), np.zeros(len(flat), int)
    alive = torch.arange(len(flat))
    for step in range(steps):
        now = alive.numpy()
        returns[now] += flat[now, step]
        played[now] += 1
        alive = alive[torch.from_numpy(lengths[now] > step + 1)]
        alive = alive[race.still(np.arange(len(flat)), returns, alive.numpy())]
    return returns.reshape(candidates, episodes), played.reshape(candidates, episodes)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("lowest", [1, 3])
def test_the_lowest_are_those_of_a_race_that_all_run(seed: int, lowest: int) -> None:
    random = np.random.default_rng(seed)
    rewards = random.random((8, 4, 50))
    for episode in rewards.reshape(-1, 50):
        episode[random.integers(1, 51) :] = np.nan
    whole = np.nansum(rewards, 2).mean(1)
    returns, played = run(rewards, lowest)
    first, found = np.argsort(whole)[:lowest], np.argsort(returns.mean(1), kind="stable")[:lowest]
    assert np.array_equal(first, found)
    assert returns.mean(1)[found] == pytest.approx(whole[first], rel=1e-12)
    assert played.sum() < np.isfinite(rewards).sum()


def test_nothing_is_broken_off_once_a_reward_is_negative() -> None:
    rewards = np.ones((3, 1, 10))
    rewards[0, 0, 3:] = np.nan
    assert run(rewards, 1)[1].ravel().tolist() == [3, 4, 4]
    rewards[2, 0, 0] = -0.5
    assert run(rewards, 1)[1].ravel().tolist() == [3, 10, 10]


def test_equals_of_the_last_that_is_asked_for_go_on() -> None:
    rewards = np.ones((2, 1, 6))
    rewards[0, 0, 3:] = np.nan
    rewards[1, 0, 3:] = 0
    assert run(rewards, 1)[1].ravel().tolist() == [3, 6]
