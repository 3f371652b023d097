"""Known counterexamples of a measurement: tried before anything is searched for, made smaller and kept at its end."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

import torch

from robustest import clock
from robustest.decisions import Decision
from robustest.engine.evaluator import BACKWARD
from robustest.results import Verdict
from robustest.run.evidence import Stream
from robustest.run.memory import Memory
from robustest.run.plan import Plan
from robustest.store.corpus import Kept


@dataclass(slots=True)
class KnownCounterexamples:
    """The counterexamples of one measurement.

    Attributes:
        broken: number of units that known ones break, once they were replayed.
        refuted: the verdict, if known ones alone refute the claim.
        found: those of this measurement.
    """

    plan: Plan
    memory: Memory
    stream: Stream
    broken: int = 0
    refuted: Decision | None = None
    found: list[Kept] = field(default_factory=list)
    replayed: bool = False

    def replay(self) -> Decision | None:
        """Replay known counterexamples; if they refute the claim, add them to the stream and return the verdict."""
        self.replayed = True
        units, stream, settings = self.plan.units, self.stream, self.plan.settings
        known = set() if units.replay is None else units.still_broken()
        read = stream.columns["id"].tolist() if stream.n else []
        self.broken = len(known)
        ids = torch.tensor(sorted(known - set(read)), dtype=torch.int64)
        broken = len(ids) + (int((~stream.columns["held"]).sum()) if read else 0)
        # An exact run wants the outcome of every unit, not the verdict alone.
        early = settings.replay_only or not settings.exact
        if not early or not len(ids) or not self.plan.rule.doomed(broken, stream.total):
            return None
        stream.add(ids, *units.replayed(ids), examples=settings.examples, marks=[])
        rule = f"certain: {len(ids)} of {stream.total} samples are broken by replayed counterexamples"
        self.refuted = Decision(
            verdict=Verdict.FAILED, rule=rule, estimate=None, interval=(0.0, 1 - broken / stream.total)
        )
        return self.refuted

    def shrink_and_keep(self, decision: Decision) -> None:
        """Make the counterexamples that are shown of a failed claim smaller, and write all to the corpus."""
        units, stream = self.plan.units, self.stream
        if units.replay is None:
            return
        if decision.verdict is Verdict.FAILED and stream.exhibits:
            most = self._budget()
            what = ("smaller", most, [(exhibit.index, exhibit.after) for exhibit in stream.exhibits])
            with suppress(clock.OutOfTime):  # the claim has failed, if with larger counterexamples
                if self.plan.settings.replay_only:  # such a run neither recalls nor keeps chunks
                    with self.memory.listening():
                        smaller, tally = units.shrunk(stream.exhibits, **most)
                else:
                    smaller, tally = self.memory.once(what, lambda: units.shrunk(stream.exhibits, **most))
                stream.exhibits = smaller.exhibits
                stream.tally = stream.tally.plus(tally)
        units.remember(self.found, stream.exhibits)

    def _budget(self) -> dict[str, float]:
        """Return the most work that makes counterexamples smaller: a share of that of the verdict.

        Counted in passes, so that it is the same on each machine, and where the verdict was recalled.
        """
        share, tally = self.plan.settings.shrink_budget, self.stream.tally
        return {"calls": share * tally.calls, "rows": share * (tally.forward + BACKWARD * tally.backward)}
