"""Known counterexamples of a measurement: tried before anything is searched for, made smaller and kept at its end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from robustest import clock
from robustest.decisions import Decision
from robustest.engine.evaluator import BACKWARD
from robustest.errors import DeviceError, ModelError
from robustest.health import Health
from robustest.results import Verdict
from robustest.run.evidence import Observation, Stream, Tally
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
        remarks: sentences about those that are shown.
    """

    plan: Plan
    memory: Memory
    stream: Stream
    broken: int = 0
    refuted: Decision | None = None
    found: list[Kept] = field(default_factory=list)
    replayed: bool = False
    remarks: tuple[str, ...] = ()

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

    def keep_examples(self, decision: Decision) -> Callable[[], None] | None:
        """Write the counterexamples to the corpus, once those that are shown of a failed claim were made smaller.

        Returns:
            That work, if it is not known from an earlier run: the verdict does not wait for it. Else None.
        """
        units, stream = self.plan.units, self.stream
        if units.replay is None:
            return None
        if decision.verdict is Verdict.FAILED and stream.exhibits and units.replay.polishes:
            most = self._budget()
            what = ("smaller", most, [(exhibit.index, exhibit.after) for exhibit in stream.exhibits])
            known = None
            with suppress(clock.OutOfTime):
                # A run of replays alone neither recalls nor keeps chunks.
                known = None if self.plan.settings.replay_only else self.memory.recall(what)
            if known is None:
                return partial(self._make_smaller, what, most)
            self._show(*known)
        units.remember(self.found, stream.exhibits)
        return None

    def _make_smaller(self, what: object, most: Mapping[str, float]) -> None:
        units, stream = self.plan.units, self.stream
        try:
            # Out of time, or with a model that fails here, the claim has failed all the same.
            with suppress(clock.OutOfTime), units.reopened():
                with self.memory.listening():
                    known = units.shrunk(stream.exhibits, **most)
                self._show(*known)
                if not self.plan.settings.replay_only:
                    self.memory.keep(what, *known)
                    self.memory.close()
        except (ModelError, DeviceError) as error:
            self.remarks = (f"counterexamples not yet the smallest: {error}",)
        finally:
            units.remember(self.found, stream.exhibits)

    def _show(self, smaller: Observation, tally: Tally) -> None:
        self.stream.exhibits, self.remarks = smaller.exhibits, tally.notes
        # Searches for the smallest perturbation prove nothing about the one that decided.
        self.stream.tally = self.stream.tally.plus(replace(tally, notes=(), health=Health()))

    def _budget(self) -> dict[str, float]:
        """Return the most work that makes counterexamples smaller: a share of that of the verdict.

        Counted in passes, so that it is the same on each machine, and where the verdict was recalled.
        """
        share, tally = self.plan.settings.shrink_budget, self.stream.tally
        return {"calls": share * tally.calls, "rows": share * (tally.forward + BACKWARD * tally.backward)}
