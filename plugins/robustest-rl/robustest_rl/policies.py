"""A common interface of policies: torch modules, callables on numpy batches, and models of stable-baselines3."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import torch
from gymnasium import Space
from gymnasium.spaces import Box, Discrete
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import rng
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.packs import seed_draws

# Rows of every call of a policy: the last bits of its answers may depend on their number.
BLOCK = 64


@dataclass(frozen=True)
class Policy:
    """A policy with the spaces of its environment."""

    source: Any  # the policy, as in `measure_robust_return`
    observations: Box | Discrete  # observations, actions: the environment's spaces
    actions: Box | Discrete
    stochastic: bool  # draw actions from the softmax of logits, and allow draws inside the policy
    gradients: bool  # True if outputs can be differentiated
    # The action space inside the environment's wrappers: `ClipAction` declares no limits.
    within: Box | Discrete | None = None

    @property
    def limits(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest continuous actions, (*A) each.

        Raises:
            ConfigError: they are not finite, so an adversary's changes have no scale.
        """
        box = self.within if isinstance(self.within, Box) and self.within.shape == self.actions.shape else self.actions
        if not isinstance(box, Box) or not (np.isfinite(box.low).all() and np.isfinite(box.high).all()):
            raise ConfigError(expected("an action space with finite limits, to attack its agent", box))
        return torch.from_numpy(box.low).float(), torch.from_numpy(box.high).float()

    @property
    def discrete(self) -> int | None:
        """The number of discrete actions; None if actions are continuous."""
        return int(self.actions.n) if isinstance(self.actions, Discrete) else None

    def outputs(self, seen: Tensor) -> Tensor:
        """Return float32 logits (B, A) or mean actions (B, *A) of observations. Raises ModelError if malformed."""
        out = self._answer(seen)
        shape = (len(seen), self.discrete) if self.discrete is not None else (len(seen), *(self.actions.shape or ()))
        if tuple(out.shape) != shape:
            what = "logits, an action each" if self.discrete is not None else "mean actions"
            raise ModelError(expected(f"the policy to give {what}: {shape}", tuple(out.shape)))
        if not bool(torch.isfinite(out).all()):
            raise ModelError(expected("finite outputs of the policy", out.detach().cpu().numpy()))
        return out

    def act(self, outputs: Tensor, key: Tensor) -> Tensor:
        """Return actions (B,) int64 or (B, *A) float32, drawn by keys (B,) if the policy is stochastic."""
        if self.discrete is None:
            return outputs
        # Callables and models of stable-baselines3 draw inside themselves (`asked`).
        if not self.stochastic or not isinstance(self.source, nn.Module):
            return outputs.argmax(1)
        draw = rng.uniform(rng.fold(key, "action"), (self.discrete,)).clamp(min=2.0**-25)
        return (outputs - (-draw.log()).log()).argmax(1)  # Gumbel's way to draw from a softmax

    def given(self, actions: Tensor) -> list[Any]:
        """Return actions as environments take them, one each. Raises ModelError for an action outside the space."""
        if isinstance(self.actions, Discrete):
            return (actions + int(self.actions.start)).tolist()
        value = actions.detach().numpy().astype(self.actions.dtype)
        if not bool(((value >= self.actions.low) & (value <= self.actions.high)).all()):
            mend = "Wrap the environment in gymnasium.wrappers.ClipAction, or squash what the policy gives."
            raise ModelError(expected(f"actions inside the action space {self.actions}", value, mend))
        return list(value)

    def seen(self, observations: list[Any]) -> Tensor:
        """Return observations of the environment as a batch. Raises DataError for one outside the space."""
        if isinstance(self.observations, Discrete):
            cells = [int(one) for one in observations]
            first, n = int(self.observations.start), int(self.observations.n)
            if not all(first <= cell < first + n for cell in cells):
                raise DataError(expected(f"observations inside the space {self.observations}", cells))
            return torch.tensor(cells, dtype=torch.int64)
        batch = np.asarray(observations, dtype=np.float32)
        if batch.shape[1:] != self.observations.shape:
            raise DataError(expected(f"observations of the space's shape {self.observations.shape}", batch.shape[1:]))
        if not np.isfinite(batch).all():
            raise DataError(expected("finite observations of the environment", batch[~np.isfinite(batch)]))
        return torch.from_numpy(batch)

    @contextmanager
    def asked(self, key: Tensor) -> Iterator[None]:
        """Seed the policy's own draws by keys (B,) inside the block, and restore the global generators after it."""
        if not self.stochastic:
            yield
            return
        # One generator serves the whole batch, so a stochastic policy is asked about one row at a time
        # (`steady_block`).
        torch_state, numpy_state, python_state = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
        # The claim restores the state of an accelerator.
        seed_draws(rng.fold(key, "policy").to(_place(getattr(self.source, "policy", self.source))))
        try:
            yield
        finally:
            torch.random.set_rng_state(torch_state)
            np.random.set_state(numpy_state)
            random.setstate(python_state)

    def _answer(self, seen: Tensor) -> Tensor:
        if isinstance(self.source, nn.Module):
            out = self.source(seen.to(_place(self.source)))
            if not isinstance(out, Tensor):
                raise ModelError(expected("the policy to give a tensor", out))
            return out.float().to(seen.device)
        if not callable(self.source):
            return _of_baselines(self.source, seen, self.actions, stochastic=self.stochastic)
        with torch.no_grad():
            out = np.asarray(self.source(seen.detach().numpy()))
        if isinstance(self.actions, Discrete) and out.shape == (len(seen),):
            return _certain(out, self.actions)
        return torch.from_numpy(np.asarray(out, dtype=np.float32))


def _certain(chosen: NDArray[Any], actions: Discrete) -> Tensor:
    """Return (B, A) logits of actions (B,) that a policy chose itself, counted from 0."""
    if chosen.dtype.kind not in "iu" or bool(((chosen < 0) | (chosen >= int(actions.n))).any()):
        raise ModelError(expected(f"actions inside the action space {actions}, counted from 0", chosen))
    return torch.nn.functional.one_hot(torch.from_numpy(chosen.astype(np.int64)), int(actions.n)).float()


def as_policy(
    source: object,
    observations: Space[Any],
    actions: Space[Any],
    *,
    stochastic: bool = False,
    within: Space[Any] | None = None,
) -> Policy:
    """Return the policy of a module, a callable or a model of stable-baselines3.

    Raises:
        ConfigError: the source is none of them or in train mode, or a space is neither a box nor discrete.
    """
    if not isinstance(observations, (Box, Discrete)):
        mend = "Flatten it with gymnasium.wrappers.FlattenObservation."
        raise ConfigError(expected("an observation space that is a Box or Discrete", observations, mend))
    if not isinstance(actions, (Box, Discrete)):
        raise ConfigError(expected("an action space that is a Box or Discrete", actions))
    inner = within if isinstance(within, Box) else None
    if isinstance(source, nn.Module):
        if any(part.training for part in source.modules()):
            raise ConfigError("Expected a policy in eval mode but it is in train mode. Call policy.eval() first.")
        return Policy(source, observations, actions, stochastic, gradients=True, within=inner)
    if hasattr(source, "policy") and callable(getattr(source, "predict", None)):
        return Policy(source, observations, actions, stochastic, gradients=_differentiable(source), within=inner)
    if not callable(source):
        mend = "Give a torch module, a function of a batch, or a model of stable-baselines3."
        raise ConfigError(expected("a policy", source, mend))
    return Policy(source, observations, actions, stochastic, gradients=False, within=inner)


def _place(module: object) -> torch.device:
    """Return the device of a module's weights; the host where there are none."""
    weights = chain(module.parameters(), module.buffers()) if isinstance(module, nn.Module) else ()
    return next((one.device for one in weights), torch.device("cpu"))


def _differentiable(model: Any) -> bool:
    return callable(getattr(model.policy, "get_distribution", None)) or hasattr(model.policy, "q_net")


def _of_baselines(model: Any, seen: Tensor, actions: Box | Discrete, *, stochastic: bool) -> Tensor:
    # No distribution and no Q network: only predictions, without gradients.
    if not _differentiable(model) or stochastic:
        with torch.no_grad():
            out = np.asarray(model.predict(seen.detach().numpy(), deterministic=not stochastic)[0])
        if isinstance(actions, Discrete):
            return _certain(out, actions)
        return torch.from_numpy(out.astype(np.float32))
    there = seen.to(_place(model.policy))  # where there is a GPU, these models are on it
    if hasattr(model.policy, "q_net"):
        q: Callable[[Tensor], Tensor] = model.policy.q_net
        return q(there).to(seen.device)
    inner = model.policy.get_distribution(there).distribution
    if isinstance(actions, Discrete):
        logits: Tensor = inner.logits
        return logits.to(seen.device)
    mean: Tensor = inner.mean.to(seen.device)
    low, high = torch.from_numpy(actions.low), torch.from_numpy(actions.high)
    return torch.minimum(torch.maximum(mean, low), high)  # as its own predict does
