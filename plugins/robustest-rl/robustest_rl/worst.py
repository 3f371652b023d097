"""The episodes of lowest return, and the step at which they broke."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robustest_rl.moments import Untouched
from robustest_rl.traces import Trace, trace

if TYPE_CHECKING:
    from robustest.packs import Evidence
    from robustest_rl.judged import Episodes


def broke_at(attacked: Trace, clean: Trace) -> int | None:
    """Return the step at which an episode broke; None if it lost nothing.

    It is the last step if the environment ended the episode early, else the first step by which half of the loss
    against the undisturbed episode had occurred.
    """
    if attacked.returned >= clean.returned:
        return None
    if attacked.ended and len(attacked.rewards) < len(clean.rewards):
        return len(attacked.rewards) - 1
    n = min(len(attacked.rewards), len(clean.rewards))
    lost = np.cumsum(clean.rewards[:n] - attacked.rewards[:n])
    # A loss after the end of the shorter episode counts at its end.
    return int((lost >= lost[-1] / 2).argmax()) if lost[-1] > 0 else n - 1


def worst_episodes(counted: Episodes, evidence: Evidence, most: int) -> list[dict[str, Any]]:
    """Return rows of the episodes of lowest return, lowest first."""
    columns: Any = evidence.columns
    order: Sequence[int] = np.argsort(columns["return"], kind="stable")[:most].tolist()
    rows = []
    for place in order:
        found = trace(counted, int(evidence.ids[place]))
        if isinstance(counted.adversary, Untouched):
            # Without an adversary there is no twin to compare with.
            step = len(found.rewards) - 1 if found.ended and found.returned < counted.level else None
        else:
            step = broke_at(found, trace(counted, found.episode, untouched=True))
        rows.append(
            {
                "episode": found.episode,
                "seed": found.seed,
                "return": float(columns["return"][place]),
                "untouched": float(columns["untouched"][place]),
                "broke at step": step,
            }
        )
    return rows


def described(row: dict[str, Any]) -> str:
    """Return the seed, undisturbed return and broken step of such a row in words."""
    broke = "" if row["broke at step"] is None else f", broke at step {row['broke at step']}"
    return f"reset with seed {row['seed']}, {row['untouched']:.4g} untouched{broke}"
