"""Signs that returns say nothing of the agent: it, or any other agent, may act without looking."""

# A pass says something only if the agent could have failed it. On some of the judged episodes, undisturbed:
#
# 1. An agent acts at random. If its returns reach what is claimed, or are those of the agent in every episode, the
#    claim is about the environment.
# 2. The agent's own actions are compared. If all are equal, no change of its observations could have mattered.

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import rng
from robustest.errors import ConfigError, DataError
from robustest.packs import Evidence, number
from robustest_rl.asking import FALL, SHARE, Asked
from robustest_rl.judged import Episodes
from robustest_rl.moments import Moment, Stepped, Untouched
from robustest_rl.threats import Sometimes, Threat

# Judged episodes that are played again.
_EPISODES = 64


class AtRandom(Untouched):
    """Carries out uniform actions instead of the agent's."""

    def act(self, moment: Moment, actions: Tensor) -> Tensor:
        key, many = rng.fold(moment.key, "at random"), moment.policy.discrete
        if many is not None:
            return rng.integers(key, (1,), many).squeeze(1)
        low, high = moment.policy.limits
        return low + (high - low) * rng.uniform(key, actions.shape[1:])


@dataclass(slots=True)
class _Actions:
    """Watches if an agent ever acts in two ways."""

    first: Tensor | None = None
    alike: bool = True
    count: int = field(default=0)

    def __call__(self, now: Stepped) -> None:
        actions = now.actions.detach()
        self.first = actions[:1] if self.first is None else self.first
        self.alike, self.count = self.alike and bool((actions == self.first).all()), self.count + len(actions)


def signs(counted: Episodes, evidence: Evidence, asked: Asked, threat: Threat | None) -> Iterator[tuple[str, str]]:
    """Yield the names of health checks that stop the claim, each with its evidence.

    Args:
        evidence: of the judged episodes, with the columns of `Episodes.look`.
        threat: as given; None for undisturbed returns.
    """
    rows = np.arange(min(evidence.n, _EPISODES))
    keys = rng.keys(counted.seed, torch.as_tensor(np.asarray(evidence.ids)[rows]))
    columns: Any = {name: np.asarray(evidence.columns[name])[rows] for name in ("return", "untouched")}
    arena, actions = counted.scene.arena(counted.lanes), _Actions()
    if threat is not None and _of_observations(threat):
        arena.play(Untouched(), keys, record=actions)
        if actions.alike and actions.count > 1:
            yield (
                "constant_answer",
                f"the agent does the same in all of {actions.count} steps: an agent that ignores what it sees would "
                "pass under any change of its observations",
            )
            arena.close()
            return
    try:
        idle = arena.play(AtRandom(), keys).returns
    except (ConfigError, DataError):  # no range to draw from, or no end without the agent
        idle = None
    arena.close()
    if idle is not None and (found := _reached(idle, columns, counted.level, asked)):
        yield "constant_answer", found


def _reached(idle: NDArray[np.float64], columns: Any, level: float, asked: Asked) -> str:
    """Return the reason why the returns (n,) of an agent that acts at random would pass, or ""."""
    told = f"an agent that acts at random returns {idle.mean():.4g} on average"
    if bool((idle == columns["untouched"]).all()):
        return f"{told}, and as much as the agent in each of {len(idle)} episodes: what it does decides nothing"
    if asked.quantity is FALL:
        return ""
    share = float((idle >= level).mean())
    if asked.quantity is SHARE and asked.threshold is None:
        own = float((columns["return"] >= level).mean())
        return (
            f"{told}, and holds in {number(share, own)} of the episodes, the agent in {number(own)}"
            if share >= own
            else ""
        )
    value = share if asked.quantity is SHARE else float(idle.mean())
    if asked.threshold is None or value < asked.threshold:
        return ""
    return f"{told}, and reaches {value:.4g} where {asked.quantity.threshold}={asked.threshold:g} is claimed"


def _of_observations(threat: Threat) -> bool:
    """Return True if a threat changes nothing but observations."""
    inner = threat.threat if isinstance(threat, Sometimes) else threat
    kind = type(inner)
    return kind.observe is not Threat.observe and kind.act is Threat.act and kind.prepare is Threat.prepare
