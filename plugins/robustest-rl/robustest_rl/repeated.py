"""A guard of every claim on agents: its episodes are different ones, and each repeats under its seed.

Bets assume independent draws. Two kinds of environments and policies break this without an error:

1. **Copies.** An environment that builds its generator anew in each reset, from a constant, plays one episode whatever
   the seed is. Its n copies are one draw of the environment, so the claim is decided with n = 1. A threat or a policy
   with draws of its own makes the copies differ, so episodes are not compared with each other alone: episode i is also
   played with the environment's seed of episode i + 1, while the policy and the threat keep the draws of episode i. If
   no episode changes, the environment draws nothing.
2. **Wear.** State that survives a reset, or a policy that changes as it is called, makes an episode depend on those
   before it. The first judged episode is played again once the environment has been reset many times.

Episodes are compared by a checksum of all observations, actions and rewards. Equal episodes among different ones are
no copies: an environment with four starts draws each of them often, and one with a constant start may draw its steps.
With `one_start` the caller declares that the environment draws nothing. The population is then that of the draws of the
threat and the policy, in one episode of the environment: each judged episode is a draw from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from robustest import Verdict, rng
from robustest.errors import DataError
from robustest.packs import Decision, Evidence, Plan
from robustest_rl.episodes import Arena, env_seed, search_keys
from robustest_rl.judged import Episodes
from robustest_rl.moments import Untouched
from robustest_rl.policies import BLOCK
from robustest_rl.scene import Scene, Trajectories

# Resets of one environment before the replay, and steps of each of these episodes. Lanes are short-lived: in the
# measurement itself an environment is reset a few times only, so that state of its own would not show.
_RESETS, _STEPS = 32, 8
_OPENING = 200
"""Most steps of the episode that is played before and after the measurement."""


@dataclass(frozen=True)
class Opening:
    """The first episode of all that a measurement plays, before anything can have worn out."""

    scene: Scene
    seed: int
    trajectory: int  # its checksum

    @classmethod
    def of(cls, scene: Scene, seed: int) -> Opening:
        return cls(scene, seed, _opened(scene, seed))

    def check(self) -> None:
        """Raise DataError if the episode differs now."""
        if _opened(self.scene, self.seed) != self.trajectory:
            first = env_seed(search_keys(self.seed, "the opening", 1)[0])
            raise DataError(
                f"Expected an episode (reset with seed {first}) to repeat in a new environment after the measurement "
                f"but got another one: {_SHARED}"
            )


def guarded(
    opening: Opening, counted: Episodes, plan: Plan, evidence: Evidence, *, one_start: bool = False
) -> Evidence:
    """Return the evidence of judged episodes, in which copies of one episode count once.

    Args:
        one_start: the environment is declared to draw nothing.

    Raises:
        DataError: an episode differs when it is played again with its seed, or an environment that is declared to
            draw nothing draws.
    """
    if not evidence.n:
        return evidence
    _check_wear(counted, evidence)
    opening.check()
    if evidence.n == 1:
        return evidence
    columns: Any = evidence.columns
    drawn = _environment_draws(counted, evidence)
    if drawn and one_start:
        raise DataError(
            "Expected an environment that draws nothing, as one_start=True declares, but its episodes depend on the "
            "seed of reset(). Leave out one_start=: the claim is then about the environment's episodes."
        )
    alike = not np.ptp(columns["trajectory"])
    if drawn or (one_start and not alike):
        return evidence
    alone = {name: column[:1] for name, column in columns.items()}
    decision = _of_one(plan, alone, evidence, alike=alike)
    return replace(evidence, columns=alone, ids=evidence.ids[:1], decision=decision)


def _environment_draws(counted: Episodes, evidence: Evidence) -> bool:
    """Return True if the environment's seed changes any of the judged episodes."""
    columns: Any = evidence.columns
    # A policy without draws answers equal observations alike, so undisturbed episodes differ by the environment alone.
    if not counted.scene.stochastic and np.ptp(columns["untouched trajectory"]):
        return True
    keys = rng.keys(counted.seed, torch.as_tensor(np.asarray(evidence.ids)))
    others, found = keys.roll(-1), False
    arena = counted.scene.arena(counted.lanes)
    # Undisturbed episodes may be equal although the environment draws: on a path that only the threat leads to.
    for rows in torch.split(torch.arange(len(keys)), BLOCK):
        again = Trajectories(len(rows))
        arena.play(counted.adversary, keys[rows], env_keys=others[rows], record=again)
        found = bool((again.sums != columns["trajectory"][rows.numpy()]).any())
        if found:
            break
    arena.close()
    return found


def _of_one(plan: Plan, alone: Mapping[str, Any], evidence: Evidence, *, alike: bool) -> Decision:
    # A claim with a baseline wraps its rule.
    rule = getattr(plan.rule, "other", plan.rule)
    mend = (
        "Draw from self.np_random, which reset(seed=...) seeds, and not from a generator with a constant seed; or vary "
        "the start"
    )
    why = (
        f"n = 1: {evidence.n} episodes reset with different seeds are the same to the bit, so they count as one. {mend}"
    )
    if not alike:
        why = (
            f"n = 1: the environment draws nothing. Played with other seeds of reset(), {evidence.n} episodes stay the "
            "same to the bit, and only draws of the threat or the policy tell them apart, so they count as one. "
            f"{mend}. If one start is meant, one_start=True claims the returns of this start alone"
        )
    decision: Decision = rule.decide(alone, evidence.total, None)
    # One draw neither supports nor refutes a claim about a population, however its outcome is.
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))


_SHARED = (
    "the policy, or state that all environments share, changes from one episode to the next. Give a policy that "
    "answers equal observations alike in every call, and reset all state in reset()."
)
_OWN = "the environment keeps state from one episode to the next. Reset all state in reset()."


def _check_wear(counted: Episodes, evidence: Evidence) -> None:
    columns: Any = evidence.columns
    before = int(columns["untouched trajectory"][0])
    key = rng.keys(counted.seed, torch.as_tensor(np.asarray(evidence.ids)[:1]))
    # A judged episode may have been played in a new environment or in a used one: it has to repeat in both.
    arena = counted.scene.arena(1)
    new = _again(arena, key)
    arena.cut = _STEPS
    arena.play(Untouched(), search_keys(counted.seed, "the wear", _RESETS))
    arena.cut = None
    used = _again(arena, key)
    arena.close()
    if new[0] == used[0] == before:
        return
    # State of its own lets a new environment repeat beside a used one that differs; a worn policy does not.
    arena = counted.scene.arena(1)
    own = new[0] != used[0] and _again(arena, key)[0] == new[0]
    arena.close()
    raise DataError(
        f"Expected episode {int(evidence.ids[0])} (reset with seed {env_seed(key[0])}) to repeat, returning "
        f"{float(columns['untouched'][0]):.6g} undisturbed, but got another trajectory, which returns "
        f"{(used if new[0] == before else new)[1]:.6g}: {_OWN if own else _SHARED}"
    )


def _again(arena: Arena, key: Tensor) -> tuple[int, float]:
    """Return the checksum and the return of an episode."""
    found = Trajectories(1)
    returned = float(arena.play(Untouched(), key, record=found).returns[0])
    return int(found.sums[0]), returned


def _opened(scene: Scene, seed: int) -> int:
    arena = scene.arena(1, cut=_OPENING)
    # Single rows: it is played before `Scene.steady` finds how many rows a call may have.
    arena.block = 1
    trajectory, _ = _again(arena, search_keys(seed, "the opening", 1))
    arena.close()
    return trajectory
