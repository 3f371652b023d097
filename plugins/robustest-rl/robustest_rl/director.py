"""Search for a director (Sun et al., ICLR 2022): a policy of the attack, rewarded with the return that the agent loses.

1. Cross-entropy search (Rubinstein, 1999): draw candidates' weights from a normal distribution, play all on the same
   episodes as one batch, and refit mean and spread to the quarter with the lowest returns.
2. Policy-gradient steps (Williams, 1992) start from the better of the best candidate and the final mean.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest_rl.attacks import Directed
from robustest_rl.episodes import Arena, search_keys
from robustest_rl.moments import Moment, Stepped
from robustest_rl.races import Race
from robustest_rl.threats import Attacked, Threat

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """The effort of a search."""

    candidates: int = 16  # directors in a generation
    episodes: int = 8  # episodes that each candidate plays, the same for all
    generations: int = 5  # generations of the cross-entropy search
    ascents: int = 0  # policy-gradient steps after it


@dataclass(frozen=True)
class Found:
    """A director that a search found."""

    attack: Directed  # with its weights
    by_generation: tuple[float, ...]  # the lowest mean return in each generation

    @property
    def improved(self) -> bool:
        # The first generation is random: only later ones can improve on it.
        return min(self.by_generation) < self.by_generation[0]


def search(arena: Arena, threat: Threat, start: Directed, effort: Effort, seed: int) -> Found:
    """Return a director for a threat.

    Args:
        start: scale and steps; its weights, if any, are the first mean.
        seed: of all draws.
    """
    size = start.parameters(arena.policy)
    mean = np.array(start.weights) if start.weights else np.zeros(size)
    spread = np.ones(size)
    best, lowest, told = mean, np.inf, []
    elite = max(2, effort.candidates // 4)
    for generation in range(effort.generations):
        draws = (
            rng.normal(rng.keys(seed, torch.arange(effort.candidates) + 1000 * generation), (size,)).double().numpy()
        )
        tried = mean + spread * draws
        # The mean competes too (except a first mean of zeros), so that a noisy generation cannot lose it.
        tried[0] = mean if generation or start.weights else tried[0]
        keys = search_keys(seed, f"generation {generation}", effort.episodes)
        returns = play_all(arena, threat, replace(start, weights=()), tried, keys, lowest=elite).mean(1)
        order = np.argsort(returns, kind="stable")
        told.append(float(returns[order[0]]))
        # `<=`: on a tie the later candidate counts, as its distribution was refitted more often.
        if returns[order[0]] <= lowest:
            best, lowest = tried[order[0]], returns[order[0]]
        chosen = tried[order[:elite]]
        # Without a floor the spread collapses before the search is done (Szita and Loerincz, 2006).
        mean, spread = chosen.mean(0), np.maximum(chosen.std(0), 0.1)
    final = _best_of(arena, threat, start, [best, mean], seed)
    for ascent in range(effort.ascents):
        stepped = _ascended(arena, threat, start, weights=final, effort=effort, seed=seed, ascent=ascent)
        final = _best_of(arena, threat, start, [final, stepped], seed)
    return Found(replace(start, weights=tuple(map(float, final))), tuple(told))


def play_all(
    arena: Arena, threat: Threat, attack: Directed, tried: Floats, keys: Tensor, *, lowest: int | None = None
) -> Floats:
    """Return (C, E) returns of C directors with weights (C, P) on the same E episodes, played as one batch.

    With `lowest`, only the returns of that many candidates are exact.
    """
    weights = torch.from_numpy(tried).float().repeat_interleave(len(keys), 0)
    race = None if lowest is None else Race(len(tried), len(keys), lowest)
    played = arena.play(Attacked(threat, attack), keys.repeat(len(tried)), start={"director": weights}, race=race)
    return played.returns.reshape(len(tried), len(keys))


def _best_of(arena: Arena, threat: Threat, start: Directed, tried: list[Floats], seed: int) -> Floats:
    keys = search_keys(seed, "the last choice", 16)
    returns = play_all(arena, threat, replace(start, weights=()), np.stack(tried), keys, lowest=1).mean(1)
    return tried[int(returns.argmin())]


def _ascended(
    arena: Arena, threat: Threat, start: Directed, *, weights: Floats, effort: Effort, seed: int, ascent: int
) -> Floats:
    # REINFORCE (Williams, 1992): slopes weighted by the return still to come, less its mean.
    exploring = replace(start, weights=tuple(map(float, weights)), explore=0.3)
    n = effort.candidates * effort.episodes
    steps: list[tuple[NDArray[np.int64], Tensor, Floats]] = []

    def record(now: Stepped) -> None:
        now.moment.state = {name: part[: len(now.rows)] for name, part in now.moment.state.items()}
        steps.append((now.rows, _slope(exploring, now.moment), now.rewards))

    played = arena.play(Attacked(threat, exploring), search_keys(seed, f"ascent {ascent}", n), record=record)
    to_go = played.returns.copy()
    each = np.zeros((n, len(weights)))
    baseline = float(played.returns.mean())
    for rows, slope, rewards in steps:
        # The baseline shrinks with the share of the return that is still to come.
        advantage = to_go[rows] - baseline * to_go[rows] / np.where(played.returns[rows], played.returns[rows], 1)
        each[rows] += slope.double().numpy() * advantage[:, None]
        to_go[rows] -= rewards
    gradient = each.mean(0)
    # Downhill, as the director wants low returns, by a step of fixed length: rewards come in any unit.
    length = 0.3 * max(1.0, float(np.linalg.norm(weights)) / 4)
    lowered: Floats = weights - length * gradient / max(float(np.linalg.norm(gradient)), 1e-12)
    return lowered


def _slope(attack: Directed, moment: Moment) -> Tensor:
    """Return (B, P) gradients of the log-probability of the drawn targets by the weights."""
    features = attack.features(moment.policy, moment.seen)
    score, target = attack.score(moment), moment.state["target"]
    # Softmax: one-hot minus probabilities; below, a Gaussian through tanh.
    if moment.policy.discrete is not None:
        pull = torch.nn.functional.one_hot(target, moment.policy.discrete).float() - score.softmax(1)
    else:
        low, high = moment.policy.limits
        wanted = (2 * (target - low) / (high - low) - 1).flatten(1)
        pull = (wanted - score) / attack.explore**2 * (1 - score.square())
    return torch.einsum("ba,bf->baf", pull, features).flatten(1)
