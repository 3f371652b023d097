"""Training on CartPole by proximal policy optimisation (Schulman et al., 2017), and gradients of what it trains."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LANES, ROLLOUT, EPOCHS, BATCH = 8, 256, 10, 64
DISCOUNT, TRACE, CLIP = 0.99, 0.95, 0.2


def network(outs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outs))


@dataclass
class Rollout:
    seen: Tensor
    actions: Tensor
    logged: Tensor
    advantages: Tensor
    targets: Tensor


def trained(seed: int, steps: int = 30_000) -> nn.Module:
    """A policy, 4 readings to 2 logits, after so many steps of its environments. It seeds torch's global generator."""
    torch.manual_seed(seed)
    policy, values = network(2), network(1)
    optimizer = torch.optim.Adam([*policy.parameters(), *values.parameters()], 3e-4)
    envs: list[gymnasium.Env[Any, Any]] = [gymnasium.make("CartPole-v1") for _ in range(LANES)]
    now = np.stack([env.reset(seed=1000 * seed + lane)[0] for lane, env in enumerate(envs)])
    for _ in range(-(-steps // (LANES * ROLLOUT))):
        batch, now = collected(policy, values, envs, now)
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(batch.seen)).split(BATCH):
                optimizer.zero_grad()
                loss_of(policy, values, batch, rows).backward()
                optimizer.step()
    return policy.eval().requires_grad_(False)


def collected(
    policy: nn.Module, values: nn.Module, envs: list[gymnasium.Env[Any, Any]], now: NDArray[Any]
) -> tuple[Rollout, NDArray[Any]]:
    seen, actions, rewards, going, follow = [], [], [], [], []
    for _ in range(ROLLOUT):
        seen.append(torch.from_numpy(now).float())
        with torch.no_grad():
            actions.append(torch.distributions.Categorical(logits=policy(seen[-1])).sample())
        stepped = [env.step(int(action)) for env, action in zip(envs, actions[-1], strict=True)]
        rewards.append([one[1] for one in stepped])
        going.append([not (one[2] or one[3]) for one in stepped])
        # A limit of steps ends no value: what follows counts on.
        follow.append(torch.from_numpy(np.stack([one[0] for one in stepped])).float())
        ended = [one[2] for one in stepped]
        with torch.no_grad():
            follow[-1] = values(follow[-1]).squeeze(1) * ~torch.tensor(ended)
        now = np.stack(
            [one[0] if on else env.reset()[0] for one, on, env in zip(stepped, going[-1], envs, strict=True)]
        )
    x, a = torch.stack(seen), torch.stack(actions)
    with torch.no_grad():
        worth = values(x).squeeze(2)
        logged = policy(x).log_softmax(2).gather(2, a.unsqueeze(2)).squeeze(2)
    gap = torch.tensor(rewards) + DISCOUNT * torch.stack(follow) - worth
    advantages, last = torch.zeros_like(gap), torch.zeros(LANES)
    for step in reversed(range(ROLLOUT)):
        last = gap[step] + DISCOUNT * TRACE * last * torch.tensor(going[step])
        advantages[step] = last
    flat = [part.flatten(0, 1) for part in (x, a, logged, advantages, advantages + worth)]
    return Rollout(*flat), now


def loss_of(policy: nn.Module, values: nn.Module, batch: Rollout, rows: Tensor) -> Tensor:
    logits = policy(batch.seen[rows]).log_softmax(1)
    ratio = (logits.gather(1, batch.actions[rows].unsqueeze(1)).squeeze(1) - batch.logged[rows]).exp()
    gain = batch.advantages[rows]
    gain = (gain - gain.mean()) / (gain.std() + 1e-8)
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - CLIP, 1 + CLIP) * gain)
    return -surrogate.mean() + 0.5 * (values(batch.seen[rows]).squeeze(1) - batch.targets[rows]).square().mean()


def gradients(policy: nn.Module, *, baseline: bool) -> Callable[[int, int], NDArray[Any]]:
    """The gradient of the return (Williams, 1992), estimated from k whole episodes; `baseline` takes off their mean."""
    policy = policy.requires_grad_(True)

    def gradient(k: int, seed: int) -> NDArray[Any]:
        seen, actions, to_go = played(policy, k, seed)
        weight = to_go - to_go.mean() if baseline else to_go
        logged = policy(seen).log_softmax(1).gather(1, actions.unsqueeze(1)).squeeze(1)
        slopes = torch.autograd.grad((logged * weight).sum() / k, list(policy.parameters()))
        return torch.cat([slope.flatten() for slope in slopes]).double().numpy()

    return gradient


def played(policy: nn.Module, k: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Observations (T, 4), actions (T,) and discounted returns from there on (T,), of k whole episodes."""
    draws = torch.Generator().manual_seed(seed)
    envs = [gymnasium.make("CartPole-v1") for _ in range(k)]
    now = {lane: env.reset(seed=100_000 + 1000 * seed + lane)[0] for lane, env in enumerate(envs)}
    rows: dict[int, list[tuple[Any, int, float]]] = {lane: [] for lane in now}
    while now:
        lanes = list(now)
        with torch.no_grad():
            shares = policy(torch.from_numpy(np.stack([now[lane] for lane in lanes])).float()).softmax(1)
        picked = torch.multinomial(shares, 1, generator=draws).squeeze(1).tolist()
        for lane, action in zip(lanes, picked, strict=True):
            seen, reward, ended, cut, _ = envs[lane].step(action)
            rows[lane].append((now[lane], action, float(reward)))
            now[lane] = seen
            if ended or cut:
                now.pop(lane)
    parts: list[tuple[Any, int, float]] = []
    for episode in rows.values():
        total = 0.0
        for seen, action, reward in reversed(episode):
            total = reward + DISCOUNT * total
            parts.append((seen, action, total))
    return (
        torch.from_numpy(np.stack([part[0] for part in parts])).float(),
        torch.tensor([part[1] for part in parts]),
        torch.tensor([part[2] for part in parts], dtype=torch.float32),
    )
