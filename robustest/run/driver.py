"""From a claim to its evidence: the samples in seeded order, chunk by chunk, until the claim is settled.

The algorithm:

1. Put the samples into an order that the seed draws, and cut it into chunks.
2. Ask the model about the first chunk. While it answers as it did, what the store remembers of a chunk counts.
3. Replay known counterexamples, once, before the first chunk that has to be measured: alone they may refute the claim.
4. Read the chunks in their order, remembered or measured here or by workers, and after each ask the rule whether the
   claim is settled, or look at the clock.
5. Where the claim is compared with another model, do the same with that one, whatever it shows. Then try the
   counterexamples of each model on the other: an input that breaks both is no loss.
6. Decide on what was read. Where the claim failed, make what is shown smaller, and keep it to be replayed.


Which chunks are measured: an engine may finish them in any order, and they are read as they were drawn.

The algorithm:

1. Take the next chunk of the order, as soon as a worker is free, and ask the source about it.
2. What it remembers waits until whatever is under way has come in; what it does not remember goes to the engine.
3. A chunk that is measured only to be compared with what is remembered is the last one handed out before a pause.
4. Each result goes to the source as it comes in, and waits until every chunk before it has been read.
5. Before the first chunk is measured, the source may say that none has to be: then what was read is all there is.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from robustest import clock, context, rng
from robustest.decisions import Decision, Rule
from robustest.decisions.baseline import NoWorse
from robustest.engine.chunks import partition
from robustest.errors import ConfigError, DataError, ModelError, StoreError
from robustest.results import Verdict
from robustest.run.audit import Audit
from robustest.run.evidence import REPLAYED, Beside, Columns, Evidence, Observation, Stream
from robustest.run.memory import Memory
from robustest.run.plan import Plan
from robustest.run.units import OpenUnits
from robustest.run.workers import Engine, InProcess, Mapper, Seen, Work, engine_for
from robustest.store.corpus import Kept
from robustest.tasks import CLASSIFICATION

OF_OTHER = "other model"
"""Samples that were broken by counterexamples of the model that a claim is compared with."""


def observe(plan: Plan) -> Evidence:
    """Look at chunks of a plan's units until the claim is settled or every unit was seen.

    Outcomes are read in the seeded order, never as they finish: broken samples finish first. What the store remembers
    of a chunk, for the same model, units and `identity`, is not measured again. Before anything is measured, known
    counterexamples are replayed; with `replay_only` nothing else is done. The settings' engine measures; this process
    decides.

    Raises:
        RobustestError: something could not be measured; the model is as it was.
        NotSearched: nothing was searched for, and known counterexamples do not refute the claim.
    """
    with _opened(plan) as run:
        decision = run.finished(run.decided())
    return run.evidence(decision)


@contextmanager
def _opened(plan: Plan) -> Iterator[_Run]:
    """A measurement of a plan's units, which are ready to be measured inside the block."""
    units, settings = plan.units, plan.settings
    device = units.device(settings)
    engine = InProcess() if plan.here else engine_for(settings)
    memory = Memory.of(units, settings, engine.kind or device, plan.identity)
    with units.open(settings) as opened:
        yield _Run(plan, opened, memory, engine, Stream(len(units)))


@dataclass(slots=True)
class UnderWay:
    """A chunk from when it is looked up until its result has come in.

    Attributes:
        ids: (n,) int64, positions in the data.
        marks: digests of its units; None where they were not read here.
        loaded: its units, until this process has measured them; None where workers read them.
        remembered: what the store says of it, which measuring it anew must confirm; None where it says nothing.
    """

    ids: Tensor
    marks: list[bytes] | None = None
    loaded: Any = None
    remembered: Observation | None = None


@dataclass(slots=True)
class _Run:
    """One measurement on its way; the source of its schedule.

    Attributes:
        plan, opened, memory, engine: what is measured, and how.
        stream: what was seen so far.
        broken: how many samples known counterexamples break.
        refuted: the verdict where these alone refute the claim.
        other, beside: of the model that the claim is compared with, once it was asked.
        kept: counterexamples that were found.
    """

    plan: Plan
    opened: OpenUnits
    memory: Memory
    engine: Engine
    stream: Stream
    broken: int = 0
    refuted: Decision | None = None
    other: Evidence | None = None
    beside: Beside | None = None
    kept: list[Kept] = field(default_factory=list)
    _under_way: dict[int, UnderWay] = field(default_factory=dict)
    _replayed_yet: bool = False
    _sent: object = None

    def decided(self) -> Decision:
        """Look until the claim is settled, and decide."""
        settings, rule, stream = self.plan.settings, self.plan.rule, self.stream
        if settings.replay_only:
            return self._refuted_alone()
        order = rng.permutation(settings.seed, stream.total)[: settings.max_samples]
        self.plan.units.check(order)
        ids = partition(order)
        settled, audit, audited = None, Audit(self.opened, self.memory, settings), True
        try:
            with closing(Schedule(partition(order), self.engine, self).results()) as results:
                for seen in results:
                    stream.add(next(ids), seen.observed, seen.tally, examples=settings.examples, marks=seen.marks)
                    if seen.observed.kept is not None:
                        self.kept.append(seen.observed.kept)
                    self._tell()
                    settled = None if settings.exact else rule.settle(stream.columns, stream.total)
                    if settled is not None and settled.verdict is Verdict.PASSED:
                        audited = audit.take(stream, self._passing_early, self._holding)
                        settled = rule.settle(stream.columns, stream.total)
                    if settled is not None or clock.left() == 0:
                        break
        except clock.OutOfTime as over:
            # The chunk under way is lost. A part of a claim that needs every unit, or has seen none, cannot decide.
            if settings.time_budget is None or not stream.columns:
                raise clock.OutOfTime(str(over) or self._read()) from over
        if self.refuted is not None:
            return self.refuted
        if settled is None and stream.columns:
            rule = self._compared(rule)
        # A baseline holds what the attack left, so that is what it is compared with: an audit of some samples now, and
        # of none then, would call the same model worse. What the audit finds decides the claim on the number alone.
        found = stream
        if isinstance(rule, NoWorse):
            found = replace(stream, columns=dict(stream.columns), counts=dict(stream.counts))
        if settled is None and stream.columns:
            audited = audit.take(found, self._passing, self._holding)
        decision = rule.decide(stream.columns, stream.total, settled)
        if isinstance(rule, NoWorse) and decision.verdict is Verdict.PASSED:
            stream.tally, stream.counts, stream.exhibits = found.tally, found.counts, found.exhibits
            by_audit = self._audited_rule.decide(found.columns, stream.total, None)
            decision = by_audit if rule.asked and by_audit.verdict is not Verdict.PASSED else decision
        if decision.verdict is Verdict.PASSED and not audited:
            # What the attack left may hold or not: the claim rests on an attack that nothing looked into.
            unaudited = "the clock: time ran out before an audit of what the attack left was at its end"
            decision = replace(
                decision, verdict=Verdict.INCONCLUSIVE, rule=unaudited, at_alpha=False, reasons=("unaudited",)
            )
        stopped = settled is None and len(stream.columns["id"]) < len(order)
        return self._untimed(decision) if stopped else decision

    def evidence(self, decision: Decision) -> Evidence:
        """Return what was seen; of another model that the claim is compared with, all but its samples."""
        known, opened, memory = self.opened.counterexamples, self.opened, self.memory
        seen = self.stream.evidence(
            decision,
            bounds=opened.bounds,
            settings=self.plan.settings,
            cached=memory.when,
            model=memory.model,
            notes=(*opened.notes, *memory.notices, *(() if known is None else known.notices)),
        )
        return seen if self.other is None else replace(seen.including(self.other), beside=self.beside)

    def _compared(self, rule: Rule) -> Rule:
        """Return the rule with the outcomes of the model that the claim is compared with, where it is with one.

        That model is asked once nothing but the comparison is left to decide. Without all of its outcomes the rule
        passes nothing.

        Raises:
            ConfigError: it has another number of classes.
        """
        plan, n = self.plan.of_other(), self.stream.total
        if plan is None or not isinstance(rule, NoWorse) or len(self.stream.columns["id"]) < n:
            return rule
        compared = None
        with _opened(plan) as other:
            try:
                decision = other.decided()
                if len(other.stream.columns["id"]) == n:
                    # In both directions: were one model alone tried at what broke the other, it would look worse.
                    broken = self._try(other.kept)
                    self.stream.counts |= {OF_OTHER: broken} if broken else {}
                    other._try(self.kept)
                    compared = rule.of_model(other.stream.ordered())
                    rule = replace(rule, before=compared)
            except clock.OutOfTime:
                if not other.stream.columns:
                    return rule
                decision = other._untimed(plan.rule.decide(other.stream.columns, n, None))
        self.other = _of_other(other.evidence(decision))
        self.beside = Beside(model=self.other.model, outcomes=compared, counts=self.other.counts)
        own, others = self.stream.tally.classes, self.other.tally.classes
        if own != others and getattr(plan.units, "task", CLASSIFICATION).one_class:
            raise ConfigError(f"Expected no_worse_than= to have {own} classes, as the model has, but got {others}.")
        return rule

    def _try(self, kept: Sequence[Kept]) -> int:
        """Try counterexamples of another model on the samples that are left here; return how many came out worse.

        Raises:
            ModelError: one of them breaks a sample that is proven.
        """
        stream, count = self.stream, 0
        marked = len(stream.marks) == len(stream.columns["id"])
        place = np.argsort(stream.columns["id"])
        for part in kept:
            columns = stream.ordered()
            left = columns["score"] > 0 if "score" in columns else columns["held"]
            rows = part.rows(torch.from_numpy(left[part.ids.numpy()]).nonzero().squeeze(1))
            attempt = self.opened.tried(rows) if len(rows) else None
            if attempt is None:
                continue
            # A chunk's key of its own: the same inputs on the same samples, of the model that the memory is of.
            what = ("tried", rows.ids, rows.x, [stream.marks[at] for at in place[rows.ids.numpy()]] if marked else [])
            seen = self.memory.recall(what)
            if seen is None:
                with self.memory.listening():
                    seen = attempt()
                self.memory.keep(what, *seen)
            worse = stream.worsen(rows.ids, *seen, examples=self.plan.settings.examples)
            if "proven" in columns and bool((wrong := worse & columns["proven"][rows.ids.numpy()]).any()):
                raise ModelError(
                    f"Expected no sample both proven and broken but sample {int(rows.ids[wrong.argmax()])} is: an "
                    "input that was found with the other model breaks it, and the bounds say that none can. Measure "
                    "without certify=, and report the model with this message."
                )
            count += int(worse.sum())
        return count

    @property
    def _audited_rule(self) -> Rule:
        """The claim on the number itself, without its comparison with a baseline."""
        rule = self.plan.rule
        return rule.other if isinstance(rule, NoWorse) else rule

    def _passing_early(self, columns: Columns) -> int:
        """Return the number of outcomes after which the claim is settled, and passes; 0 where it is not."""
        settled = self._audited_rule.settle(columns, self.stream.total)
        return settled.after if settled is not None and settled.verdict is Verdict.PASSED else 0

    def _passing(self, columns: Columns) -> int:
        """Return the number of all outcomes where the claim passes on them, and nothing was settled before; else 0."""
        decision = self._audited_rule.decide(columns, self.stream.total, None)
        return len(columns["id"]) if decision.verdict is Verdict.PASSED else 0

    def _holding(self, columns: Columns) -> bool:
        """Return True if the claim passes on the samples of these columns, were they all there are."""
        return self._audited_rule.decide(columns, len(columns["id"]), None).verdict is Verdict.PASSED

    def _untimed(self, decision: Decision) -> Decision:
        """A decision where the clock ended a run that had settled nothing: none about the population is left to that.

        Broken samples are quicker than others: how many were read by then hangs on what became of them, and bounds at a
        number of samples do not hold for it. Of the set, nothing but what is settled has a verdict anyway.
        """
        if decision.verdict is Verdict.INCONCLUSIVE:
            return decision
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=self._read(), at_alpha=False, reasons=("budget",))

    def _read(self) -> str:
        read = len(self.stream.columns["id"]) if self.stream.columns else 0
        return f"the clock: {read} of {self.stream.total} samples looked at"

    def _refuted_alone(self) -> Decision:
        """The verdict of known counterexamples, without looking further; nothing that is remembered is taken either.

        Raises:
            NotSearched: they do not refute the claim.
        """
        refuted = self._replayed()
        if refuted is None:
            reason = f"replayed only: {self.broken} known counterexamples still break; nothing was searched for"
            raise context.current().not_searched(self.plan.statement, reason)
        return refuted

    def look_up(self, place: int, ids: Tensor) -> Seen | Work:
        """What the store remembers of a chunk; the work where that is nothing, or is to be compared."""
        chunk = UnderWay(ids)
        # Without a memory the workers read the samples, and reading them here as well would be for nothing.
        if not self.engine.remote or self.memory.remembers:
            loaded = self.opened.bench.load(ids)
            chunk.marks = self.opened.bench.digests(loaded)
            if place == 0:  # what is remembered counts only once the model has answered
                self.opened.ask(self.memory, loaded, chunk.marks)
            if not self.engine.remote:
                chunk.loaded = loaded
        found = self.memory.recall(("chunk", ids, chunk.marks or []))
        if found is not None:
            # Known counterexamples change what is attacked: such a chunk would not be measured as it was.
            if found[0].counts.get(REPLAYED) or self.broken or not self.memory.doubted():
                return Seen(place=place, observed=found[0], tally=found[1], marks=chunk.marks or [])
            chunk.remembered = found[0]
        self._under_way[place] = chunk
        return Work(place, ids, compared=chunk.remembered is not None, until=clock.until())

    def job(self, first: Work) -> object | None:
        """The engine's reference to this measurement; None where known counterexamples alone refute the claim.

        They are replayed once, and only if something has to be measured anew: what is remembered whole needs no model.
        A chunk that is compared is measured without them, as it was when it was remembered.
        """
        if not self._replayed_yet and not first.compared:
            self._replayed_yet = True
            self.refuted = self._replayed()
            if self.refuted is not None:
                return None
            if self.broken:
                self._sent = None  # what was sent knew of none
        if self._sent is None:
            self._sent = self.engine.put(self.opened.remote() if self.engine.remote else self)
        return self._sent

    def start(self, device: str) -> Mapper:
        """What measures chunks in this process."""

        def measure(work: Work) -> Seen:
            chunk = self._under_way[work.place]
            loaded, chunk.loaded = chunk.loaded, None  # its memory is free as soon as it is measured
            if loaded is None:
                raise LookupError(f"chunk {work.place} was measured before")
            with self.memory.listening():
                observed, tally = self.opened.bench.measure(loaded, first=work.place == 0)
            return Seen(place=work.place, observed=observed, tally=tally, marks=chunk.marks or [])

        return measure

    def take(self, result: Seen) -> Seen:
        """A chunk as it is read and remembered.

        Raises:
            RobustestError: it could not be measured, or does not agree with what is known.
        """
        if result.over:
            raise clock.OutOfTime
        if result.error is not None:
            raise result.error
        for category, text in result.warned:
            warnings.warn(text, category, stacklevel=2)
        chunk = self._under_way.pop(result.place)
        if chunk.marks is not None and chunk.marks != result.marks:
            raise DataError(
                "Expected workers to read the samples that are read here but some differ. Random transforms, or other "
                "files of the same name on their machines, make every sample another one."
            )
        if self.engine.remote and result.place == 0:  # what came before is counted with the first chunk
            result = replace(result, tally=self.opened.spent().plus(result.tally))
        if chunk.remembered is not None:
            _agree(chunk.remembered, result.observed)
        with suppress(clock.OutOfTime):  # it was measured in time, though the model is not asked whether it has changed
            self.memory.keep(("chunk", chunk.ids, result.marks), result.observed, result.tally)
        return result

    def _replayed(self) -> Decision | None:
        """Replay known counterexamples; the verdict, where they alone refute the claim. Then they are in the stream."""
        stream, settings, found = self.stream, self.plan.settings, self.opened.counterexamples
        known = set() if found is None else found.known()
        read = stream.columns["id"].tolist() if stream.columns else []
        self.broken = len(known)
        ids = torch.tensor(sorted(known - set(read)), dtype=torch.int64)
        broken = len(ids) + (int((~stream.columns["held"]).sum()) if read else 0)
        # A run of every unit wants every outcome, not the verdict alone.
        early = settings.replay_only or not settings.exact
        if found is None or not early or not len(ids) or not self.plan.rule.doomed(broken, stream.total):
            return None
        stream.add(ids, *found.observed(ids, settings.examples), examples=settings.examples, marks=[])
        rule = f"certain: {len(ids)} of {stream.total} samples are broken by replayed counterexamples"
        return Decision(verdict=Verdict.FAILED, rule=rule, estimate=None, interval=(0.0, 1 - broken / stream.total))

    def finished(self, decision: Decision) -> Decision:
        """Make what is shown smaller where the claim failed, and keep what was found."""
        stream, found = self.stream, self.opened.counterexamples
        if found is None:
            return decision
        if decision.verdict is Verdict.FAILED and stream.exhibits:
            what = ("smaller", [(exhibit.index, exhibit.after) for exhibit in stream.exhibits])
            # A run that only replays neither takes what is remembered nor adds to it.
            asked = not self.plan.settings.replay_only
            seen = self.memory.recall(what) if asked else None
            with suppress(clock.OutOfTime):  # the claim has failed, with larger counterexamples
                if seen is None:
                    with self.memory.listening():
                        seen = found.smaller(stream.exhibits)
                    if asked:
                        self.memory.keep(what, *seen)
            if seen is not None:
                stream.exhibits = seen[0].exhibits
                stream.tally = stream.tally.plus(seen[1])
        for part in self.kept:
            found.keep(part)
        found.remember(stream.exhibits)
        return decision

    def _tell(self) -> None:
        tell = context.current().progress
        if tell is not None:
            held = self.stream.columns["held"]
            tell(self.plan.statement, len(held), self.stream.total, len(held) - int(held.sum()))


def _of_other(evidence: Evidence) -> Evidence:
    """Return the evidence of a model that a claim is compared with, whose notes and findings say so."""
    of = "(of the model in no_worse_than=)"
    told = tuple(replace(finding, message=f"{finding.message} {of}") for finding in evidence.findings)
    notes = tuple(f"{note} {of}" for note in evidence.tally.notes)
    return replace(evidence, findings=told, tally=replace(evidence.tally, notes=notes))


def _agree(remembered: Observation, fresh: Observation) -> None:
    """Refuse what the store says where a fresh measurement says otherwise.

    Raises:
        StoreError: an outcome differs.
    """
    for name, column in remembered.columns.items():
        if column.dtype == bool and not np.array_equal(column, fresh.columns[name]):
            differ = int((column != fresh.columns[name]).sum())
            raise StoreError(
                f"Expected a remembered chunk to be measured alike again but {differ} of {len(column)} outcomes "
                f"({name}) differ. Something that the model depends on is not part of it, or its forward is not "
                "repeatable: run with --robust-no-cache, or delete the store."
            )


class Placed(Protocol):
    """What became of a chunk."""

    @property
    def place(self) -> int:
        """The chunk's place in the order."""


R = TypeVar("R", bound=Placed)


class Source(Protocol[R]):
    """Knows what was measured before, and takes in what is measured now."""

    def look_up(self, place: int, ids: Tensor) -> R | Work:
        """What is remembered of a chunk and need not be measured, or the work that it is."""

    def job(self, first: Work) -> object | None:
        """The engine's reference to how chunks are measured from this one on; None where none has to be any more."""

    def take(self, result: R) -> R:
        """Called with each result as it comes, in any order."""


class Schedule(Generic[R]):
    """Results of chunks in their order, remembered or measured.

    Chunks are taken from the order only as workers become free, so little is measured beyond the point where the
    reader stops; what arrives early waits. Its size is that of the workers, however many chunks there are.
    """

    def __init__(self, parts: Iterable[Tensor], engine: Engine, source: Source[R]) -> None:
        self._parts = enumerate(parts)
        self._engine = engine
        self._source = source
        self._waiting: dict[int, R] = {}
        self._over = False

    def results(self) -> Generator[R]:
        """Every result, in the order of the chunks; closing it ends what is under way."""
        place = 0
        while not self._over:
            for result in self._measured():
                self._waiting[result.place] = result
                while place in self._waiting:
                    yield self._waiting.pop(place)
                    place += 1

    def _measured(self) -> Iterator[R]:
        """Results up to the next chunk that need not be measured, and that one's."""
        remembered: list[R] = []
        wanted = self._work_to_do(remembered)
        # The engine wants its job before the work. So the first chunk is looked up before the source is asked for a
        # job: many measurements are remembered whole, and then no model has to be handed over to any worker.
        first = next(wanted, None)
        if first is not None:
            job = self._source.job(first)
            if job is None:
                self._over = True
                return
            results = self._engine.imap_unordered(job, chain([first], wanted))
            try:
                for result in results:
                    yield self._source.take(result)
            finally:  # also where the reader has stopped: what was not begun must not be measured
                close = getattr(results, "close", None)
                if close is not None:
                    close()
                self._engine.cancel()
        yield from remembered

    def _work_to_do(self, remembered: list[R]) -> Iterator[Work]:
        """Chunks to measure, up to one that is remembered, which goes to `remembered`, or one that is compared.

        The engine draws from here as its workers become free; that is what keeps it from running ahead.
        """
        for place, ids in self._parts:
            found = self._source.look_up(place, ids)
            if not isinstance(found, Work):
                remembered.append(found)
                return
            yield found
            if found.compared:  # where it does not agree, nothing after it should have been measured
                return
        self._over = True
