"""Audit of an attack: before a claim passes, some samples that the attack left are attacked by other means."""

# 1. Draw a few of the samples that held (`_LOOKS`, at first 5) with the claim's seed, and attack them by the stages of
#    the cascade's audit. A sample that the audit breaks is broken, and the claim is decided again.
# 2. Bound the share that the attack left wrongly from above (Clopper and Pearson, 95 %), and take twice the bound if
#    the audit broke any: it finds but a part. The claim passes if it passes even when that share of the other samples
#    does not hold. A claim far below the estimate has room for the bound of 5 or 10 samples, .45 or .26.
# 3. Where it broke none of `FEW` samples and the claim has no room for their bound, .15, attack more of them, up to
#    `MANY`, by the cheaper stages for many: with .05 left wrongly, all 59 hold with a chance of .95^59 = .048. The
#    claim passes if these hold too, or if no stage for many serves. A smaller share would ask for hundreds of samples.
# 4. Else draw twice as many. Once every sample that held was audited, the outcomes decide.

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
from robustest.run.units import Units
from robustest.settings import Settings

# Audited samples that must all hold: a gap of .15 breaks at least one with a chance of 95 %, and one of .05.
FEW, MANY = 19, 59
# Samples audited by the first looks; each further look doubles them. A claim with room for .10 or .07 needs 29 or 41.
_LOOKS = (5, 10, FEW)
_LOOKS_AT_MANY = (29, 41, MANY)
# Error of the bound on the share that the attack left wrongly.
_ALPHA = 0.05


@dataclass(slots=True)
class Audit:
    """The audit of one measurement; `audited` has the samples audited so far, with True for broken ones."""

    units: Units
    memory: Memory
    settings: Settings
    audited: dict[int, bool] = field(default_factory=dict)

    def take(self, stream: Stream, passing: Callable[[Columns], int], confirmed: Callable[[Columns], bool]) -> bool:
        """Audit samples until none is left, the pass is confirmed, or the claim does not pass; False if time ran out.

        Args:
            stream: the outcomes so far, which the audit updates.
            passing: number of outcomes, from the first, on which a pass on such columns rests; 0 for no pass.
            confirmed: True if the claim passes on these columns, were they all the data.
        """
        while rests_on := passing(stream.columns):
            columns = stream.columns
            ids, held = columns["id"][:rests_on], columns["score"] > 0 if "score" in columns else columns["held"] != 0
            if "proven" in columns:  # nothing breaks a proven sample
                held = held & (columns["proven"] == 0)
            # The order is drawn by sample, so that the audited samples do not depend on when the audit takes place.
            order = np.argsort(rng.fold(rng.keys(self.settings.seed, torch.from_numpy(ids)), "audit").numpy())
            left = [row for row in order.tolist() if held[row] and ids[row] not in self.audited]
            audited, broken = len(self.audited), sum(self.audited.values())
            if not left or (not broken and audited >= MANY):
                return True
            if audited:
                share = clopper_pearson(broken, audited, _ALPHA)[1]
                if broken:  # the attack is blind somewhere, and the audit need not see all that is there
                    share = min(1.0, 2 * share)
                spoiled = left[: math.ceil(share * len(left))]
                worst = {name: column[:rests_on].copy() for name, column in columns.items()}
                worst["held"][spoiled] = False
                if "score" in worst:
                    worst["score"][spoiled] = 0.0
                if confirmed(worst):
                    return True
            many = audited >= FEW and not broken
            looks = _LOOKS_AT_MANY if many else _LOOKS
            more = next((look for look in looks if look > audited), 2 * audited)
            try:
                if not self._audit(stream, sorted(left[: more - audited]), many=many):
                    return True
            except clock.OutOfTime:
                return False
        return True

    def _audit(self, stream: Stream, rows: list[int], *, many: bool) -> bool:
        """Audit the samples at these rows of the stream, and enter their outcomes; False if there is no audit."""
        ids = torch.from_numpy(stream.columns["id"][rows])
        attack = self.units.audit(ids, first=stream.chunks == 1, many=many)
        if attack is None:
            return False
        marked = len(stream.marks) == stream.n
        what = ("audit of many" if many else "audit", ids, [stream.marks[row] for row in rows] if marked else [])
        observation, tally = self.memory.once(what, attack)
        # Counts of coverage are about the attack that is audited, and must not include the audit's.
        health = tally.health.without_survivors()
        worse = stream.worsen(ids, observation, replace(tally, health=health), examples=self.settings.examples)
        counts = Health()
        counts.count("weak_attack", failed=int(worse.sum()), tried=len(rows))
        stream.tally = stream.tally.plus(Tally(health=counts))
        self.audited |= {int(one): bool(broke) for one, broke in zip(ids, worse, strict=True)}
        stream.counts["audit"] = sum(self.audited.values())
        return True
