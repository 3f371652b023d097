"""A common interface of policies: torch modules, callables on numpy batches, and models of stable-baselines3.

Adversaries know two kinds of observations (a box, or one of n) and of actions (a box, or one of n). The spaces of
models of stable-baselines3 are brought to these:

- An observation of a `Dict` of boxes is one vector of all parts, which is split again before the model is called.
- An action of a `MultiDiscrete` or `MultiBinary` is one of all combinations. Its logit is the sum of its parts' logits.
- A recurrent model is a function of an observation and a memory, which belongs to the episode (`Arena`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from gymnasium import Env, Space
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import rng
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.packs import seed_draws

# Rows of every call of a policy: the last bits of its answers may depend on their number.
BLOCK = 64
_COMBINATIONS = 4096
"""Most combinations of a `MultiDiscrete` or `MultiBinary` action: each has a logit of its own."""


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
    parts: Dict | None = None  # the environment's observation space, if `observations` is all parts of it as one vector
    taken: MultiDiscrete | MultiBinary | None = None  # the action space, if `actions` counts combinations
    memory: Tensor | None = None  # (B, 2, L, H) hidden and cell states of a recurrent policy; None at the start

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
        if self.taken is not None:
            choices = np.stack(np.unravel_index(actions.numpy(), _choices(self.taken)), axis=1)
            first = getattr(self.taken, "start", 0)
            return list((choices + first).astype(self.taken.dtype))
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
        if self.parts is not None:
            observations = [_as_vector(one, self.parts) for one in observations]
        batch = np.asarray(observations, dtype=np.float32)
        if batch.shape[1:] != self.observations.shape:
            raise DataError(expected(f"observations of the space's shape {self.observations.shape}", batch.shape[1:]))
        if not np.isfinite(batch).all():
            raise DataError(expected("finite observations of the environment", batch[~np.isfinite(batch)]))
        return torch.from_numpy(batch)

    @property
    def recurrent(self) -> bool:
        """True if the answer depends on a memory of the observations before."""
        return _memory_shape(self.source) is not None

    def empty_memory(self, n: int) -> Tensor | None:
        """Return the memory of n episodes before their first step, (n, 2, L, H); None if the policy has none."""
        shape = _memory_shape(self.source)
        return None if shape is None else torch.zeros(n, 2, *shape)

    def recalling(self, memory: Tensor | None) -> Policy:
        """Return the policy with the memory of the episodes in a batch."""
        return self if memory is None else replace(self, memory=memory)

    def remembered(self, seen: Tensor) -> Tensor:
        """Return the memory (B, 2, L, H) of a recurrent policy after observations (B, *S)."""
        with torch.no_grad():
            _, (hidden, cell) = self._distribution(self._split(seen))
        return torch.stack([hidden, cell]).permute(2, 0, 1, 3).to(seen.device)

    @contextmanager
    def asked(self, key: Tensor) -> Iterator[None]:
        """Seed the policy's own draws by keys (B,) inside the block, and restore the global generators after it."""
        if not self.stochastic:
            yield
            return
        # One generator serves the whole batch, so a stochastic policy is asked about one row at a time
        # (`steady_block`).
        torch_state, numpy_state, python_state = torch.random.get_rng_state(), np.random.get_state(), random.getstate()
        # DQN explores by samples of its space, which has a generator of its own.
        space = getattr(self.source, "action_space", None)
        space_state = None if space is None else space.np_random.bit_generator.state
        if space is not None:
            space.seed(int(rng.fold(key[:1], "space")) & 0x7FFFFFFF)
        # The claim restores the state of an accelerator.
        seed_draws(rng.fold(key, "policy").to(_place(getattr(self.source, "policy", self.source))))
        try:
            yield
        finally:
            torch.random.set_rng_state(torch_state)
            np.random.set_state(numpy_state)
            random.setstate(python_state)
            if space is not None:
                space.np_random.bit_generator.state = space_state

    def _answer(self, seen: Tensor) -> Tensor:
        if isinstance(self.source, nn.Module):
            out = self.source(seen.to(_place(self.source)))
            if not isinstance(out, Tensor):
                raise ModelError(expected("the policy to give a tensor", out))
            return out.float().to(seen.device)
        if not callable(self.source):
            return self._of_baselines(seen)
        with torch.no_grad():
            out = np.asarray(self.source(seen.detach().numpy()))
        if isinstance(self.actions, Discrete) and out.shape == (len(seen),):
            return _certain(out, self.actions)
        return torch.from_numpy(np.asarray(out, dtype=np.float32))

    def _of_baselines(self, seen: Tensor) -> Tensor:
        parts = self._split(seen)
        # No distribution and no Q network: only predictions, without gradients.
        if not self.gradients or self.stochastic:
            return self._predicted(parts, len(seen))
        if hasattr(self.source.policy, "q_net"):
            q: Callable[[Any], Tensor] = self.source.policy.q_net
            return q(_moved_to(parts, _place(self.source.policy))).to(seen.device)
        inner = self._distribution(parts)[0]
        if self.taken is not None:
            return _joint(inner).to(seen.device)
        if isinstance(self.actions, Discrete):
            logits: Tensor = inner.logits
            return logits.to(seen.device)
        mean: Tensor = inner.mean.to(seen.device)
        low, high = torch.from_numpy(self.actions.low), torch.from_numpy(self.actions.high)
        return torch.minimum(torch.maximum(mean, low), high)  # as its own predict does

    def _predicted(self, parts: Any, n: int) -> Tensor:
        given = {name: part.numpy() for name, part in parts.items()} if isinstance(parts, dict) else parts.numpy()
        words: dict[str, Any] = {}
        if self.recurrent:
            words = {"state": tuple(part.numpy() for part in self._lstm_states(n)), "episode_start": np.zeros(n, bool)}
        with torch.no_grad():
            out, state = self.source.predict(given, deterministic=not self.stochastic, **words)
        if state is not None and not self.recurrent:
            mend = "Recurrent models are those of sb3-contrib's RecurrentPPO."
            raise ModelError(expected("a model that keeps no state between steps", type(self.source).__name__, mend))
        out = np.asarray(out)
        if self.taken is not None:
            choices = out.reshape(n, -1) - getattr(self.taken, "start", 0)
            out = np.ravel_multi_index(tuple(choices.astype(np.int64).T), _choices(self.taken))
        if isinstance(self.actions, Discrete):
            return _certain(out, self.actions)
        return torch.from_numpy(out.astype(np.float32))

    def _distribution(self, parts: Any) -> tuple[Any, Any]:
        """Return torch's distribution, or a list of them, of actions, and the LSTM's two next states (L, B, H)."""
        policy = self.source.policy
        there = _moved_to(parts, _place(policy))  # where there is a GPU, these models are on it
        if not self.recurrent:
            found, states = policy.get_distribution(there), None
        else:
            n = len(next(iter(there.values())) if isinstance(there, dict) else there)
            before = tuple(part.to(_place(policy)) for part in self._lstm_states(n))
            # cuDNN differentiates an LSTM in train mode only.
            with torch.backends.cudnn.flags(enabled=False):
                found, states = policy.get_distribution(there, before, torch.zeros(n, device=_place(policy)))
        inner = getattr(found, "distribution", None)
        return (found.distributions if inner is None else inner), states

    def _lstm_states(self, n: int) -> tuple[Tensor, Tensor]:
        memory: Any = self.empty_memory(n) if self.memory is None else self.memory
        hidden, cell = memory.permute(1, 2, 0, 3).contiguous()
        return hidden, cell

    def _split(self, seen: Tensor) -> Any:
        """Return observations as the model takes them: a tensor, or one for each part of a `Dict`; channels first."""
        space: Any = getattr(self.source, "observation_space", None)
        if self.parts is None:
            return _channels_first(seen, space)
        shapes = {name: part.shape or () for name, part in self.parts.items()}
        split = torch.split(seen, [int(np.prod(shape)) for shape in shapes.values()], dim=1)
        return {
            name: _channels_first(flat.reshape(-1, *shape), space[name])
            for (name, shape), flat in zip(shapes.items(), split, strict=True)
        }


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
        ConfigError: the source is none of them or in train mode, or a space is not supported.
    """
    from_baselines = hasattr(source, "policy") and callable(getattr(source, "predict", None))
    parts = taken = None
    if from_baselines:
        _check_spaces(source, observations)
        if isinstance(observations, Dict) and all(isinstance(part, Box) for part in observations.values()):
            parts, observations = observations, _flat(observations)
        if isinstance(actions, (MultiDiscrete, MultiBinary)):
            taken, actions = actions, _combinations(actions)
    if not isinstance(observations, (Box, Discrete)):
        raise ConfigError(
            expected("an observation space that is a Box or Discrete", observations, _FLATTEN[from_baselines])
        )
    if not isinstance(actions, (Box, Discrete)):
        raise ConfigError(expected("an action space that is a Box or Discrete", actions, _TRANSFORM))
    inner = within if isinstance(within, Box) else None
    if isinstance(source, nn.Module):
        if any(part.training for part in source.modules()):
            raise ConfigError("Expected a policy in eval mode but it is in train mode. Call policy.eval() first.")
        return Policy(source, observations, actions, stochastic, gradients=True, within=inner)
    if from_baselines:
        gradients = _differentiable(source)
        return Policy(
            source, observations, actions, stochastic, gradients=gradients, within=inner, parts=parts, taken=taken
        )
    if not callable(source):
        mend = "Give a torch module, a function of a batch, or a model of stable-baselines3."
        raise ConfigError(expected("a policy", source, mend))
    return Policy(source, observations, actions, stochastic, gradients=False, within=inner)


def check_wrappers(source: Any, env: Env[Any, Any]) -> None:
    """Raise ConfigError for a model that acts on more, or on other values, than observations of the environment."""
    if not callable(getattr(source, "predict", None)):
        return
    inner = env.unwrapped
    # Not `inspect.signature`: outcomes of code that reads the module are not remembered.
    arguments = getattr(getattr(source.predict, "__code__", None), "co_varnames", ())
    if "action_masks" in arguments and (env.has_wrapper_attr("action_masks") or hasattr(inner, "action_masks")):
        raise ConfigError(
            "Expected a model that acts on observations alone but it takes masks from the environment's "
            "action_masks(). Put the mask into the observation, and give a function that calls the model's "
            "predict(observation, action_masks=mask) on each row."
        )
    normalise = getattr(source, "get_vec_normalize_env", None)
    trained = normalise() if callable(normalise) else None
    if trained is not None and trained.norm_obs and not getattr(env, "normalises", False):
        raise ConfigError(
            "Expected the environment to normalise observations, as VecNormalize did where the model was trained, but "
            "it does not. Give a factory such as lambda: VecNormalize.load(path, DummyVecEnv([make])) with "
            "training=False and norm_reward=False. If another wrapper normalises, load the model without env=."
        )


_FLATTEN = {
    False: "Flatten it with gymnasium.wrappers.FlattenObservation.",
    True: "A Dict may have Box parts only. Wrap the environment in gymnasium.wrappers.FlattenObservation, and give a "
    "function that calls gymnasium.spaces.unflatten and the model's predict on each row.",
}
_TRANSFORM = (
    "Wrap the environment in gymnasium.wrappers.TransformAction with a Discrete space; models of stable-baselines3 may "
    "also have MultiDiscrete and MultiBinary actions."
)


def _check_spaces(model: Any, observations: Space[Any]) -> None:
    """Raise ConfigError unless a model takes the environment's observations, or images with their channels first."""
    space = getattr(model, "observation_space", None)
    pairs: list[tuple[Any, Any]] = [(space, observations)]
    if isinstance(space, Dict) and isinstance(observations, Dict) and set(space) == set(observations):
        pairs = [(space[name], observations[name]) for name in space]
    for one, other in pairs:
        if space is None or (type(one) is type(other) and one.shape in (other.shape, _moved(other.shape))):
            continue
        mend = "Give the environment the wrappers of the training, such as gymnasium.wrappers.FrameStackObservation."
        raise ConfigError(expected(f"the observations that the model was trained on, {space}", observations, mend))


def _moved(shape: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return the shape (C, H, W) of images (H, W, C)."""
    return (shape[2], shape[0], shape[1]) if shape is not None and len(shape) == 3 else ()


def _channels_first(seen: Tensor, space: Any) -> Tensor:
    """Return observations (B, *S), with the channels of images first if a model's space has them so."""
    # Its `predict` tells by the shape, too: its training moves the channels of images (H, W, C) of 8 bits.
    wanted = getattr(space, "shape", None)
    if wanted is None or tuple(seen.shape[1:]) == wanted or _moved(tuple(seen.shape[1:])) != wanted:
        return seen
    return seen.permute(0, 3, 1, 2)


def _flat(parts: Dict) -> Box:
    boxes: list[Any] = list(parts.values())
    low = np.concatenate([box.low.astype(np.float32).ravel() for box in boxes])
    high = np.concatenate([box.high.astype(np.float32).ravel() for box in boxes])
    return Box(low, high, dtype=np.float32)


def _as_vector(observation: Any, parts: Dict) -> NDArray[np.float32]:
    flat = []
    for name, part in parts.items():
        value = np.asarray(observation[name], dtype=np.float32)
        if value.shape != part.shape:
            raise DataError(expected(f"an observation {name!r} of the space's shape {part.shape}", value.shape))
        flat.append(value.ravel())
    return np.concatenate(flat)


def _choices(actions: MultiDiscrete | MultiBinary) -> tuple[int, ...]:
    """Return the number of choices of each part of an action."""
    if isinstance(actions, MultiBinary):
        return (2,) * int(np.prod(actions.shape))
    return tuple(int(n) for n in actions.nvec.ravel())


def _combinations(actions: MultiDiscrete | MultiBinary) -> Discrete:
    n = int(np.prod([float(part) for part in _choices(actions)]))
    if len(actions.shape) != 1 or n > _COMBINATIONS:
        raise ConfigError(
            expected(f"an action of at most {_COMBINATIONS} combinations, in one row", actions, _TRANSFORM)
        )
    return Discrete(n)


def _joint(inner: Any) -> Tensor:
    """Return (B, A) logits of all combinations, the last part fastest, of independent parts of an action."""
    if isinstance(inner, (list, tuple)):
        parts = [one.logits for one in inner]
    else:
        parts = [torch.stack([torch.zeros_like(one), one], 1) for one in inner.logits.unbind(1)]
    # The best choice of each part has exactly 0, and all others less: rounding of sums makes no ties.
    parts = [one - one.detach().amax(1, keepdim=True) for one in parts]
    out: Tensor = parts[0]
    for one in parts[1:]:
        out = (out.unsqueeze(2) + one.unsqueeze(1)).flatten(1)
    return out


def _memory_shape(model: Any) -> tuple[int, int] | None:
    """Return (L, H), layers and size of the LSTM of a recurrent model of sb3-contrib; None for other policies."""
    shape = getattr(getattr(model, "policy", None), "lstm_hidden_state_shape", None)
    return None if shape is None else (int(shape[0]), int(shape[2]))


def _moved_to(parts: Any, place: torch.device) -> Any:
    return {name: part.to(place) for name, part in parts.items()} if isinstance(parts, dict) else parts.to(place)


def _place(module: object) -> torch.device:
    """Return the device of a module's weights; the host where there are none."""
    weights = chain(module.parameters(), module.buffers()) if isinstance(module, nn.Module) else ()
    return next((one.device for one in weights), torch.device("cpu"))


def _differentiable(model: Any) -> bool:
    return callable(getattr(model.policy, "get_distribution", None)) or hasattr(model.policy, "q_net")
