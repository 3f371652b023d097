"""An audit of an attack: before a claim passes, a few of the samples that it left are attacked by other means.

An attack can miss what is there: gradients do not reach a part of the input, a chunk holds too few samples for the
stages without gradients, a start lies in a flat place. So a pass looks for what its own attack may have missed:

1. Draw a few of the samples that held (`_LOOKS`, at first 5), with the claim's seed, and attack them by the stages of
   the cascade's audit. A sample that the audit breaks is broken, and the claim is decided anew.
2. Bound the share that the attack left wrongly, from above (Clopper and Pearson, 95 %). If the claim passes even where
   so many of the samples that were not audited do not hold either, it passes: a gap that matters was looked for.
3. Where the audit broke none of `FEW`, the claim passes too, however little room it has: if the attack had left .15 of
   its samples wrongly, none of them would be among so few with a chance of .85^19 = .046.
4. Else draw more, twice as many each time. Once every sample that held was audited, what was found decides.

The share that the audit broke goes to the health check `weak_attack`, which speaks where it is large.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from robustest import clock, rng
from robustest.decisions import clopper_pearson
from robustest.health import Health
from robustest.run.evidence import Columns, Stream, Tally
from robustest.run.memory import Memory
from robustest.run.units import OpenUnits
from robustest.settings import Settings

FEW = 19
"""Samples audited of which none may break: a gap of .15 shows in at least one of them with a chance of 95 %."""
_LOOKS = (5, 10, FEW)
"""Samples audited by the first looks; each further one doubles them."""
_ALPHA = 0.05
"""Error of the bound on the share that the attack left wrongly."""


@dataclass(slots=True)
class Audit:
    """The audit of one measurement. Samples that were audited once are not audited again.

    Attributes:
        opened: the units; they know how a chunk is audited.
        memory: what was audited before is not audited anew.
        settings: seed, and how many examples are kept.
        audited: positions in the data of the samples audited so far, with whether the audit broke them.
    """

    opened: OpenUnits
    memory: Memory
    settings: Settings
    audited: dict[int, bool] = field(default_factory=dict)

    def take(self, stream: Stream, passing: Callable[[Columns], int], confirmed: Callable[[Columns], bool]) -> bool:
        """Audit samples that a pass rests on, until none is left, the pass is confirmed, or the claim does not pass.

        Args:
            stream: outcomes so far; what the audit breaks is entered.
            passing: the number of outcomes, from the first, that a pass on columns like these rests on; 0 where the
                claim does not pass.
            confirmed: whether the claim holds on the samples of such columns, were they all there are.

        Returns:
            False where the time budget ended the audit.
        """
        while rests_on := passing(stream.columns):
            ids, held = stream.columns["id"][:rests_on], _held(stream.columns)
            # The order is drawn by sample, so that who is audited does not depend on when the audit takes place.
            order = np.argsort(rng.fold(rng.keys(self.settings.seed, torch.from_numpy(ids)), "audit").numpy())
            left = [row for row in order.tolist() if held[row] and ids[row] not in self.audited]
            audited, broken = len(self.audited), sum(self.audited.values())
            if not left or (not broken and audited >= FEW):
                return True
            if audited:
                share = clopper_pearson(broken, audited, _ALPHA)[1]
                if confirmed(_first(_spoiled(stream.columns, left[: math.ceil(share * len(left))]), rests_on)):
                    return True
            more = next((look for look in _LOOKS if look > audited), 2 * audited)
            try:
                if not self._audit(stream, sorted(left[: more - audited])):
                    return True
            except clock.OutOfTime:
                return False
        return True

    def _audit(self, stream: Stream, rows: list[int]) -> bool:
        """Audit samples by their rows in the stream, and enter what is found; False where there is no audit."""
        ids = torch.from_numpy(stream.columns["id"][rows])
        attack = self.opened.audit(ids)
        if attack is None:
            return False
        marked = len(stream.marks) == len(stream.columns["id"])
        what = ("audit", ids, [stream.marks[row] for row in rows] if marked else [])
        seen = self.memory.recall(what)
        if seen is None:
            with self.memory.listening():
                seen = attack()
            self.memory.keep(what, *seen)
        observed, tally = seen
        # Coverage is of the attack that is audited; it and the audit must not be added up.
        health = tally.health.without_survivors()
        worse = stream.worsen(ids, observed, replace(tally, health=health), examples=self.settings.examples)
        counted = Health()
        counted.count("weak_attack", failed=int(worse.sum()), tried=len(rows))
        stream.tally = stream.tally.plus(Tally(health=counted))
        self.audited |= {int(one): bool(broke) for one, broke in zip(ids, worse, strict=True)}
        stream.counts["audit"] = sum(self.audited.values())
        return True


def _first(columns: Columns, rows: int) -> Columns:
    """Return the first rows of the columns."""
    return {name: column[:rows] for name, column in columns.items()}


def _held(columns: Columns) -> np.ndarray:
    """(t,) bool: the samples that an audit may bring down."""
    held = columns["score"] > 0 if "score" in columns else columns["held"].astype(bool)
    return held & ~columns["proven"].astype(bool) if "proven" in columns else held  # nothing breaks what is proven


def _spoiled(columns: Columns, rows: list[int]) -> Columns:
    """The columns as they would be if these rows did not hold."""
    spoiled = {**columns, "held": columns["held"].copy()}
    spoiled["held"][rows] = False
    if "score" in columns:
        spoiled["score"] = columns["score"].copy()
        spoiled["score"][rows] = 0.0
    return spoiled
