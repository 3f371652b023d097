"""A game whose worst case value iteration knows: what is measured lies where it says, and the cascade comes near."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from robustest_rl import Lower, Noise, Shown, Sometimes, measure_robust_return
from torch import Tensor

from robustest.decisions import clopper_pearson

SIDE, STEPS, SHARE = 8, 200, 0.1
MOVES = ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))


def lake() -> gymnasium.Env[Any, Any]:
    return gymnasium.make("FrozenLake-v1", map_name="8x8", is_slippery=True, max_episode_steps=STEPS)


def shown(seen: Tensor) -> Tensor:
    """The true cell and its neighbours inside the grid."""
    row, column = seen // SIDE, seen % SIDE
    cells = [
        torch.where(
            (row + r >= 0) & (row + r < SIDE) & (column + c >= 0) & (column + c < SIDE),
            (row + r) * SIDE + column + c,
            seen,
        )
        for r, c in MOVES
    ]
    return torch.stack(cells, 1)


@dataclass
class Known:
    q: NDArray[np.float64]
    policy: NDArray[np.int64]
    values: dict[str, float]


@pytest.fixture(scope="module")
def known() -> Known:
    moves: Any = lake().unwrapped
    n, p = SIDE * SIDE, np.zeros((SIDE * SIDE, 4, SIDE * SIDE))
    goal = np.zeros((n, 4))
    for s in range(n):
        for a in range(4):
            for chance, t, reward, ended in moves.P[s][a]:
                goal[s, a] += chance * reward
                p[s, a, t] += 0 if ended else chance
    q = np.zeros((n, 4))
    for _ in range(5000):
        q = goal + 0.99 * p @ q.max(1)
    policy = q.argmax(1)
    may = shown(torch.arange(n)).numpy()
    done = policy[may]  # (n, 5) actions that each cell shown provokes
    greedy = done[np.arange(n), q[np.arange(n)[:, None], done].argmin(1)]

    def value(choice: str) -> float:
        v = np.zeros(n)
        for _ in range(STEPS):
            each = goal + p @ v
            if choice == "noise":
                alone = [np.mean([each[s, policy[c]] for c in sorted(set(may[s].tolist()))]) for s in range(n)]
                hit = np.array(alone)
            elif choice == "worst":
                hit = each[np.arange(n)[:, None], done].min(1)
            else:
                hit = each[np.arange(n), greedy if choice == "greedy" else policy]
            v = (1 - SHARE) * each[np.arange(n), policy] + SHARE * hit
        return float(v[0])

    return Known(q, policy, {name: value(name) for name in ("nominal", "noise", "greedy", "worst")})


def test_value_iteration_gives_the_published_values(known: Known) -> None:
    assert known.values == pytest.approx({"nominal": 0.863, "noise": 0.691, "greedy": 0.474, "worst": 0.463}, abs=6e-4)


@pytest.mark.slow
def test_measured_shares_lie_in_their_intervals_and_the_cascade_comes_near_the_worst(known: Known) -> None:
    q = torch.from_numpy(known.q).float()
    threat = Sometimes(Shown(shown), SHARE)

    def measured(threat: Any, attack: Any = "agent-fast") -> float:
        result = measure_robust_return(
            lambda seen: known.policy[seen],
            lake,
            threat,
            at_least=1,
            min_share=0.5,
            episodes=2000,
            attack=attack,
            critic=lambda seen: q[seen],
            exact=True,
        )
        assert result.estimate is not None
        return result.estimate

    for name, share in (
        ("nominal", measured(None)),
        ("noise", measured(threat, Noise())),
        ("greedy", measured(threat, Lower(lambda seen: q[seen]))),
    ):
        low, high = clopper_pearson(round(2000 * share), 2000, 0.005)
        print(f"{name}: {share:.4f} [{low:.4f}, {high:.4f}], value iteration {known.values[name]:.4f}")  # noqa: T201
        assert low <= known.values[name] <= high, name
    cascade = measured(threat)
    print(f"cascade: {cascade:.4f}, worst {known.values['worst']:.4f}")  # noqa: T201
    assert cascade <= known.values["worst"] + 0.03
    assert clopper_pearson(round(2000 * cascade), 2000, 0.005)[1] >= known.values["worst"]
