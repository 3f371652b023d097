"""Audit of an attack: before a claim passes, some samples that the attack left are attacked by other means."""

# 1. Draw a few of the samples that held (`_LOOKS`, at first 5) with the claim's seed, and attack them by the stages of
#    the cascade's audit. A sample that the audit breaks is broken, and the claim is decided again.
# 2. Bound the share that the attack left wrongly from above (Clopper and Pearson, 95 %), and take twice the bound if
#    the audit broke any: it finds but a part. The claim passes if it passes even when that share of the other samples
#    does not hold. A claim far below the estimate has room for the bound of 5 or 10 samples, .45 or .26.
# 3. Where it broke none of `FEW` samples and the claim has no room for their bound, .15, attack more of them, up to
#    `MANY`, by the cheaper stages for many: with .05 left wrongly, all 59 hold with a chance of .95^59 = .048. The
#    claim may pass if these hold too, or if no stage for many serves. A smaller share would ask for hundreds.
# 4. Where nothing broke, a claim that rests on each single sample that held (`_SPARE`) is not passed by a draw of them,
#    nor by one search: all of them are audited by the stages for few, with other draws, and it passes if these hold.
# 5. Else draw twice as many. Once every sample that held was audited, the claim has to pass even when as many again do
#    not hold as the audit broke. Without that room, those that held are audited once more, by other draws: the claim
#    passes if it passes even when as many again do not hold as this round broke, and after `ROUNDS` it is open.

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
# Share of the samples that held, and at least one sample, for which a claim needs room after audits that broke none.
_SPARE = 0.01
# Rounds over every sample that held, before the attack counts as too weak for a claim so near to the value.
ROUNDS = 3
# Error of the bound on the share that the attack left wrongly.
_ALPHA = 0.05


@dataclass(slots=True)
class Audit:
    """The audit of one measurement.

    Attributes:
        audited: the samples audited so far, with True for broken ones.
        rounds: number of samples that each further round over every sample that held broke.
        few: True once no stage serves an audit of many samples.
    """

    units: Units
    memory: Memory
    settings: Settings
    audited: dict[int, bool] = field(default_factory=dict)
    rounds: list[int] = field(default_factory=list)
    few: bool = False

    def take(
        self,
        stream: Stream,
        passing: Callable[[Columns], int],
        confirmed: Callable[[Columns], bool],
        *,
        again: bool = True,
    ) -> str:
        """Audit samples until the pass is confirmed or the claim does not pass; return why a pass is open, or "".

        Args:
            stream: the outcomes so far, which the audit updates.
            passing: number of outcomes, from the first, on which a pass on such columns rests; 0 for no pass.
            confirmed: True if the claim passes on these columns, were they all the data.
            again: whether samples that held are audited once more where the claim has no room for the broken ones.
        """
        while rests_on := passing(stream.columns):
            held = self._in_question(stream.columns, rests_on)
            left = [row for row in held if stream.columns["id"][row] not in self.audited]
            audited, broken = len(self.audited), sum(self.audited.values())
            last = self.rounds[-1] if self.rounds else broken
            quiet = not last and (not left or audited >= MANY or self.few)
            if not held or (quiet and (self.rounds or not again)):
                return ""
            if quiet:
                spoiled = held[: math.ceil(_SPARE * len(held))]
            else:  # A round over all finds a part of what there is: about as much again may be left.
                spoiled = left[: self._left_wrongly(len(left))] if left else held[:last]
            if audited and confirmed(_without(stream.columns, rests_on, spoiled)):
                return ""
            if left and not quiet:
                many = audited >= FEW and not broken
                looks = _LOOKS_AT_MANY if many else _LOOKS
                rows, number = left[: next((look for look in looks if look > audited), 2 * audited) - audited], 0
            elif again and len(self.rounds) < ROUNDS - 1:
                many, rows, number = False, held, len(self.rounds) + 1
            else:
                return f"weak attack: an audit of all that it left broke {broken} of {audited}, {last} at last"
            try:
                if not self._audit(stream, sorted(rows), many=many, number=number):
                    if not many:
                        return ""
                    self.few = True
            except clock.OutOfTime:
                return "the clock: time ran out before an audit of what the attack left was at its end"
        return ""

    def _in_question(self, columns: Columns, rests_on: int) -> list[int]:
        """Return the rows whose samples held and are not proven, in the order in which they are audited."""
        ids, held = columns["id"][:rests_on], columns["score"] > 0 if "score" in columns else columns["held"] != 0
        if "proven" in columns:  # nothing breaks a proven sample
            held = held & (columns["proven"] == 0)
        # The order is drawn by sample, so that the audited samples do not depend on when the audit takes place.
        order = np.argsort(rng.fold(rng.keys(self.settings.seed, torch.from_numpy(ids)), "audit").numpy())
        return [row for row in order.tolist() if held[row]]

    def _left_wrongly(self, left: int) -> int:
        """Return the number of unaudited samples, of `left`, that the audit may have broken too."""
        audited, broken = len(self.audited), sum(self.audited.values())
        if not audited:
            return left
        share = clopper_pearson(broken, audited, _ALPHA)[1]
        if broken:  # the attack is blind somewhere, and the audit need not see all that is there
            share = min(1.0, 2 * share)
        return math.ceil(share * left)

    def _audit(self, stream: Stream, rows: list[int], *, many: bool, number: int) -> bool:
        """Audit the samples at these rows of the stream, and enter their outcomes; False if there is no audit.

        Args:
            many: True for the cheaper stages of an audit of many samples.
            number: of the further round over samples that were audited; 0 for samples that were not.
        """
        ids = torch.from_numpy(stream.columns["id"][rows])
        attack = self.units.audit(ids, first=stream.chunks == 1, many=many, again=number)
        if attack is None:
            return False
        marked = len(stream.marks) == stream.n
        name = ("audit of many" if many else "audit") + (f" again {number}" if number else "")
        what = (name, ids, [stream.marks[row] for row in rows] if marked else [])
        observation, tally = self.memory.once(what, attack)
        # Counts of coverage are about the attack that is audited, and must not include the audit's.
        health = tally.health.without_survivors()
        worse = stream.worsen(ids, observation, replace(tally, health=health), examples=self.settings.examples)
        counts = Health()
        # A further round looks at samples that may be counted.
        new = len(set(ids.tolist()) - self.audited.keys())
        counts.count("weak_attack", failed=int(worse.sum()), tried=new)
        stream.tally = stream.tally.plus(Tally(health=counts))
        if number:
            self.rounds.append(int(worse.sum()))
        self.audited |= {int(one): bool(broke) for one, broke in zip(ids, worse, strict=True)}
        stream.counts["audit"] = sum(self.audited.values())
        return True


def _without(columns: Columns, n: int, rows: list[int]) -> dict[str, np.ndarray]:
    """Return the first n entries of the columns, with these rows broken."""
    worst = {name: column[:n].copy() for name, column in columns.items()}
    worst["held"][rows] = False
    if "score" in worst:
        worst["score"][rows] = 0.0
    return worst
