"""From a plan to its evidence: the units in seeded order, chunk by chunk, until the claim is decided."""

# 1. Put the units into an order drawn with the seed, and cut it into chunks.
# 2. Ask the model about the first chunk. If its logits are the stored ones, stored chunks count.
# 3. Replay known counterexamples before the first chunk that has to be measured: they may refute the claim alone.
# 4. Read the chunks in order (`in_order`). After each one, ask the rule for a verdict, and check the clock.
# 5. Before a pass, audit some of the samples that the attack left (`Audit`).
# 6. For a comparison with another model, measure that one too, on every unit. Then try the counterexamples of each
#    model on the other: an input that breaks both is no loss.
# 7. Decide. If the claim failed, shrink the counterexamples that are shown, and keep them to be replayed.

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import clock, context, devices, rng
from robustest.data import decoded
from robustest.decisions import Decision, EarlyVerdict, Rule
from robustest.decisions.baseline import NoWorse
from robustest.decisions.clusters import counted_once, drawn, whole_clusters
from robustest.engine.chunks import partition
from robustest.engine.gathering import Member
from robustest.errors import ConfigError, DataError, ModelError, StoreError
from robustest.models import Needs
from robustest.results import Verdict
from robustest.run.audit import Audit
from robustest.run.evidence import REPLAYED, Columns, Evidence, Observation, OtherModel, Stream, Tally
from robustest.run.grounds import one_model
from robustest.run.memory import Memory
from robustest.run.plan import Plan
from robustest.run.reading import Reader
from robustest.run.units import WHOLE, ModelUnits, Units
from robustest.run.workers import ChunkResult, Engine, InProcess, Mapper, Work, engine_for
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.tasks import CLASSIFICATION


def without_copies(decision: Decision, *copies: NDArray[np.bool_] | None) -> Decision:
    """Return the decision of a claim on a population that does not pass if each sample counts once.

    Args:
        copies: of each data set, (n,) bool, True for copies; None for none.
    """
    found = [one for one in copies if one is not None]
    n, more = sum(map(len, found)), sum(int(one.sum()) for one in found)
    counted = f"{more} of {n} samples are copies of others, to the bit"
    why = f"{counted}, and no draws from the population: not shown by the other {n - more}"
    return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=why, reasons=("copies",))


# Count of samples that counterexamples of the other model broke.
OF_OTHER = "other model"


def observe(plan: Plan) -> Evidence:
    """Measure chunks of a plan's units until the claim is decided or every unit was measured.

    Raises:
        RobustestError: something could not be measured.
        NotSearched: with `replay_only`, if known counterexamples do not refute the claim.
    """
    with _opened(plan) as run:
        decision = run.decide()
        if not run.doubts_precision():
            run.shrink_and_keep(decision)
            return run.evidence(decision)
    evidence = observe(replace(plan, settings=plan.settings.but({"precision": "fp32"})))
    tally = Tally(notes=("measured anew with gradients in float32: in bfloat16 a health check spoke",))
    return replace(evidence, tally=evidence.tally.plus(tally))


@contextmanager
def _opened(plan: Plan) -> Iterator[_Run]:
    units, settings = plan.units, plan.settings
    engine = InProcess() if plan.here else engine_for(settings)
    if settings.engine != "local" and not devices.present_kind(settings.device):
        # The accelerators are the cluster's; this process asks the model with what it has.
        settings = settings.but({"device": "auto"})
        plan = replace(plan, settings=settings)
    device = units.device(settings)
    memory = Memory.of(units, settings, engine.kind or device, plan.identity)
    with units.open(settings):
        run = _Run(plan, memory, engine, Stream(len(units), drawn_clusters(units, settings)))
        try:
            yield run
        finally:
            run.end_progress()


def drawn_clusters(units: Units, settings: Settings) -> NDArray[np.int64] | None:
    """Return (N,) numbers of clusters in the order in which the seed draws them, for a population; else None."""
    clusters = units.clusters
    return None if clusters is None or settings.scope == "set" else drawn(clusters, settings.seed)


# Samples that count as measured before the first ones that share their passes.
_AT_START = 128


@dataclass(slots=True)
class _Begun:
    """A chunk without a result yet.

    Attributes:
        marks: digests of its units; None if they were not read here.
        loaded: its units, until they are measured here; None if workers read them.
        remembered: stored outcomes that the new ones must equal, or None.
    """

    ids: Tensor
    marks: list[bytes] | None = None
    loaded: Any = None
    remembered: Observation | None = None


@dataclass(slots=True)
class _Run:
    """One measurement.

    Attributes:
        broken: number of units that known counterexamples break.
        refuted: the verdict, if known counterexamples alone refute the claim.
        other, beside: evidence and outcomes of the model in `no_worse_than=`.
    """

    plan: Plan
    memory: Memory
    engine: Engine
    stream: Stream
    broken: int = 0
    refuted: Decision | None = None
    other: Evidence | None = None
    beside: OtherModel | None = None
    kept: list[Kept] = field(default_factory=list)
    reader: Reader = field(init=False)
    likely_clusters: str = ""
    _begun: dict[int, _Begun] = field(default_factory=dict)
    _was_replayed: bool = False
    _under_way: bool = False  # progress was shown, and not its end
    _sent: object = None

    def decide(self) -> Decision:
        settings, rule, stream, total = self.plan.settings, self.plan.rule, self.stream, self.stream.total
        if settings.replay_only:
            # Stored chunks do not count either: such a run must try every known counterexample.
            refuted = self._replay()
            if refuted is None:
                reason = f"replayed only: {self.broken} known counterexamples still break; nothing was searched for"
                raise context.current().not_searched(self.plan.statement, reason)
            return refuted
        order = rng.permutation(settings.seed, total)
        if stream.clusters is not None and settings.max_samples is not None:
            # A cluster is a draw as a whole.
            order = order[whole_clusters(stream.clusters[order.numpy()], settings.max_samples)]
        order = order[: settings.max_samples]
        self.plan.units.check(order)
        chunks = list(partition(order))
        ids, self.reader = iter(chunks), self.plan.units.reader(chunks)
        settled, audit, audited = None, Audit(self.plan.units, self.memory, settings), True
        # A pass is audited on the number itself, without the comparison with a baseline.
        own_rule = rule.other if isinstance(rule, NoWorse) else rule

        def passing_early(columns: Columns) -> int:
            early = own_rule.settle(columns, total)
            return early.after if early is not None and early.verdict is Verdict.PASSED else 0

        def passing(columns: Columns) -> int:
            verdict = self._decide(own_rule, columns, None).verdict
            return len(columns["id"]) if verdict is Verdict.PASSED else 0

        def holding(columns: Columns) -> bool:
            return own_rule.decide(columns, len(columns["id"]), None).verdict is Verdict.PASSED

        try:
            # In the seeded order, never as chunks finish: broken samples finish first, and would bias an early stop.
            engine = self.engine if self.engine.remote else _Here(self)
            results = in_order(chunks, engine, self.look_up, self.begin, self.take)
            with closing(self.reader), closing(results):
                for result in results:
                    observation = result.observation
                    stream.add(next(ids), observation, result.tally, examples=settings.examples, marks=result.marks)
                    if observation.kept is not None:
                        self.kept.append(observation.kept)
                    self._show_progress(total)
                    settled = None if settings.exact else rule.settle(stream.columns, total)
                    if settled is not None and settled.verdict is Verdict.PASSED:
                        audited = audit.take(stream, passing_early, holding)
                        settled = rule.settle(stream.columns, total)
                    if settled is not None or clock.left() == 0:
                        break
        except clock.OutOfTime as over:
            # The chunk under way is lost. A part of a claim that needs every unit, or has measured none, cannot decide.
            if settings.time_budget is None or not stream.n:
                raise clock.OutOfTime(str(over) or self._progress) from over
        if self.refuted is not None:
            return self.refuted
        if settled is None and stream.n:
            rule = self._with_other_model(rule)
        # A baseline holds outcomes without an audit, and is compared with such outcomes: if some samples were audited
        # now and none then, the same model would look worse. The audit decides the claim on the number alone.
        found = stream
        if isinstance(rule, NoWorse):
            found = replace(stream, columns=dict(stream.columns), counts=dict(stream.counts))
        if settled is None and stream.n:
            # A value that a threshold is taken from is audited as a pass is whose threshold equals it: no room is left
            # for what the attack overlooked.
            if settings.audit_values and found is stream:
                audited = audit.take(stream, lambda columns: len(columns["id"]), lambda _: False)
            else:
                audited = audit.take(found, passing, holding)
        decision = self._decide(rule, stream.columns, settled)
        if isinstance(rule, NoWorse) and decision.verdict is Verdict.PASSED:
            stream.tally, stream.counts, stream.exhibits = found.tally, found.counts, found.exhibits
            by_audit = self._decide(own_rule, found.columns, None)
            decision = by_audit if rule.has_threshold and by_audit.verdict is not Verdict.PASSED else decision
        if decision.verdict is Verdict.PASSED and not audited:
            unaudited = "the clock: time ran out before an audit of what the attack left was at its end"
            decision = replace(
                decision, verdict=Verdict.INCONCLUSIVE, rule=unaudited, at_alpha=False, reasons=("unaudited",)
            )
        elif settings.audit_values and not audited:
            decision = replace(decision, reasons=(*decision.reasons, "unaudited"))
        return self._stopped(decision) if settled is None and stream.n < len(order) else decision

    def _decide(self, rule: Rule, columns: Columns, early: EarlyVerdict | None) -> Decision:
        """Return a rule's decision; on a population that without copies, which are no draws of their own.

        Args:
            columns: outcomes of all evaluated samples.
            early: the point at which they decided the claim, if they did.
        """
        decision = rule.decide(columns, self.stream.total, early)
        about_set = self.plan.settings.scope == "set" and not rule.of_population
        if about_set or (copies := self._copies()) is None:
            return decision
        kept = np.delete(np.arange(self.stream.total), columns["id"][copies])
        left = {name: column[~copies] for name, column in columns.items()}
        left["id"] = np.searchsorted(kept, left["id"])
        alone = rule.among(kept)
        found = alone.decide(left, len(kept), None if early is None else alone.settle(left, len(kept)))
        once = counted_once(decision, found, "copies counted once")
        unshown = decision.verdict is Verdict.PASSED and once.verdict is Verdict.INCONCLUSIVE
        return without_copies(once, copies) if unshown else once

    def _inputs(self) -> tuple[bytes, ...]:
        """Return the digests of the evaluated inputs in the order of the data; empty if some were not read here."""
        marks = self.stream.marks
        if len(marks) < self.stream.n:
            return ()
        return tuple(marks[place][WHOLE:] or marks[place] for place in np.argsort(self.stream.columns["id"]))

    def _copies(self) -> NDArray[np.bool_] | None:
        """Return (n,) bool in the order of evaluation, True for copies of earlier samples; None if there are none."""
        # By the input alone, where it is known: the same image with another target is no other draw.
        marks = [mark[WHOLE:] or mark for mark in self.stream.marks]
        if self.plan.units.may_repeat or len(marks) < self.stream.n or len(set(marks)) == len(marks):
            return None
        copies = np.ones(len(marks), dtype=bool)
        copies[[*{mark: place for place, mark in reversed([*enumerate(marks)])}.values()]] = False
        return copies

    def _show_progress(self, total: int) -> None:
        if (progress := context.current().progress) is not None:
            held = self.stream.columns["held"]
            progress(self.plan.statement, len(held), total, len(held) - int(held.sum()))
            self._under_way = len(held) < total

    def end_progress(self) -> None:
        """Show the number evaluated as the number of all: after an early verdict, or an error, no more will come."""
        if self._under_way:
            self._show_progress(self.stream.n)

    def doubts_precision(self) -> bool:
        """Return True if some gradients were bfloat16's, and a health check would stop the claim."""
        # Rounding may be the reason, and float32 shows if it is. `reduced_precision` is among them: what it finds in
        # one chunk says that the others, of which it tried a few samples, cannot be relied on.
        tallies = [self.stream.tally] if self.other is None else [self.stream.tally, self.other.tally]
        reduced = any(tally.health.counts("reduced_precision")[1] for tally in tallies)
        suppress = self.plan.settings.suppress
        findings = chain.from_iterable(tally.health.findings(suppress) for tally in tallies)
        return self.plan.settings.precision == "auto" and reduced and any(finding.stops for finding in findings)

    def evidence(self, decision: Decision) -> Evidence:
        units, memory, stream = self.plan.units, self.memory, self.stream
        columns = stream.ordered()
        # Replayed counterexamples are added without digests: then the data were not read as a whole.
        whole = len(stream.marks) == stream.total
        marks = [stream.marks[place] for place in np.argsort(stream.columns["id"])] if whole else []
        notes = (*units.notes, *memory.notices, *(() if units.replay is None else units.replay.notices))
        copies = self._copies()
        evidence = Evidence(
            decision=decision,
            columns=columns,
            ids=columns["id"],
            total=stream.total,
            exhibits=stream.exhibits,
            tally=stream.tally.plus(Tally(notes=notes)),
            counts=stream.counts,
            bounds=units.bounds,
            sample_rate=units.sample_rate,
            findings=stream.tally.health.findings(self.plan.settings.suppress),
            cached=memory.when,
            data=sha256(b"".join(mark[:WHOLE] for mark in marks)).hexdigest() if whole else "",
            model=memory.model,
            copies=None if copies is None else copies[np.argsort(stream.columns["id"])],
            inputs=self._inputs(),
            may_repeat=units.may_repeat,
            likely_clusters=self.likely_clusters,
        )
        return evidence if self.other is None else replace(evidence.including(self.other), beside=self.beside)

    # Chunks, as `in_order` asks for them

    def look_up(self, place: int, ids: Tensor) -> ChunkResult | Work:
        units, chunk = self.plan.units, _Begun(ids)
        # Without a memory, workers read the units, and reading them here as well would be a waste.
        if not self.engine.remote or self.memory.remembers:
            loaded = self.reader.take(place)
            chunk.marks = units.digests(loaded)
            if place == 0 and self.stream.clusters is None and self.plan.settings.scope != "set":
                self.likely_clusters = units.likely_clusters(loaded)
            if place == 0:  # stored chunks count only after the model was asked
                units.ask(self.memory, loaded, chunk.marks)
            if not self.engine.remote:
                chunk.loaded = loaded
        found = self.memory.recall(("chunk", ids, chunk.marks or []))
        if found is not None:
            # Known counterexamples replace attacks: measured again, such a chunk would differ.
            if found[0].counts.get(REPLAYED) or self.broken or not self.memory.doubted():
                return ChunkResult(place=place, observation=found[0], tally=found[1], marks=chunk.marks or [])
            chunk.remembered = found[0]
            if decoded.recalled():  # the comparison is of what the data set gives now
                with decoded.anew():
                    again = units.digests(units.load(ids))
                if again != chunk.marks:
                    raise DataError(
                        "Expected the samples of a remembered chunk to be what they were when an earlier claim read "
                        "them but some differ, though the data set and its files are unchanged. Run with "
                        "--robust-no-cache, or collect the samples into (x, y) first."
                    )
        self._begun[place] = chunk
        return Work(place, ids, compared=chunk.remembered is not None, until=clock.until())

    def begin(self, first: Work) -> object | None:
        """Return the engine's reference to this measurement; None if known counterexamples refute the claim."""
        # Replay once, and only if something has to be measured: without that, no model is needed. A chunk that is only
        # compared is measured without counterexamples, as when it was stored.
        if not self._was_replayed and not first.compared:
            self._was_replayed = True
            self.refuted = self._replay()
            if self.refuted is not None:
                return None
            if self.broken:
                self._sent = None  # a job that was sent earlier knows of no counterexamples
        if self._sent is None:
            self._sent = self.engine.put(self.plan.units.job() if self.engine.remote else self)
        return self._sent

    def start(self, device: str) -> Mapper:
        return lambda work: next(self.measure_each([work]))

    def measure_each(self, tasks: Iterable[Work]) -> Iterator[ChunkResult]:
        """Yield the results of chunks in their order; where a chunk does not fill the device, several at a time."""
        units, works = self.plan.units, iter(tasks)
        while not units.gathers:  # the first chunk is measured before the model is known
            work = next(works, None)
            if work is None:
                return
            loaded = self._loaded(work)
            with self.memory.listening():
                observation, tally = units.measure(loaded, first=work.place == 0)
            yield self._came(work, observation, tally)
        gathering, begun, more = units.gathering(), deque[tuple[Work, Member]](), True

        def room() -> bool:
            # What a verdict does not need is measured in vain: chunks under way have at most half of the samples before
            # them, or two chunks' at the start.
            ahead = sum(len(work.ids) for work, _ in begun)
            few = self.plan.settings.exact or 2 * ahead <= max(_AT_START, self.stream.n)
            return more and few and gathering.room

        try:
            while True:
                while room():
                    if (work := next(works, None)) is None:
                        more = False
                        break
                    measure = partial(units.measure_among, chunk=self._loaded(work))
                    with self.memory.listening():
                        begun.append((work, gathering.begin(measure)))
                if not begun:
                    return
                with self.memory.listening():
                    while not begun[0][1].over and not room():
                        gathering.step()
                while begun and begun[0][1].over:
                    work, member = begun.popleft()
                    observation, tally = member.result()
                    yield self._came(work, observation, replace(tally, seconds=member.seconds))
        finally:
            gathering.close()

    def _loaded(self, work: Work) -> Any:
        """Return the units of a chunk, once: their memory is free as soon as they are measured."""
        chunk = self._begun[work.place]
        loaded, chunk.loaded = chunk.loaded, None
        if loaded is None:
            raise LookupError(f"chunk {work.place} was measured before")
        return loaded

    def _came(self, work: Work, observation: Observation, tally: Tally) -> ChunkResult:
        marks = self._begun[work.place].marks or []
        return ChunkResult(place=work.place, observation=observation, tally=tally, marks=marks)

    def take(self, result: ChunkResult) -> ChunkResult:
        """Check and store a measured chunk.

        Raises:
            RobustestError: it could not be measured, or differs from the samples read or the outcomes stored here.
        """
        if result.over:
            raise clock.OutOfTime
        if result.error is not None:
            raise result.error
        for category, text in result.warned:
            warnings.warn(text, category, stacklevel=2)
        chunk = self._begun.pop(result.place)
        if chunk.marks is not None and chunk.marks != result.marks:
            raise DataError(
                "Expected workers to read the samples that are read here but some differ. Random transforms, or other "
                "files of the same name on their machines, make every sample another one."
            )
        if self.engine.remote and result.place == 0:  # the cost of what came before belongs to the first chunk
            result = replace(result, tally=self.plan.units.cost().plus(result.tally))
        for name, column in () if chunk.remembered is None else chunk.remembered.columns.items():
            fresh = result.observation.columns[name]
            if column.dtype == bool and not np.array_equal(column, fresh):
                raise StoreError(
                    f"Expected a remembered chunk to be measured alike again but {int((column != fresh).sum())} of "
                    f"{len(column)} outcomes ({name}) differ. Something that the model depends on is not part of it, "
                    "or its forward is not repeatable: run with --robust-no-cache, or delete the store."
                )
        with suppress(clock.OutOfTime):  # it was measured in time, even if the model cannot be asked once more
            self.memory.keep(("chunk", chunk.ids, result.marks), result.observation, result.tally)
        return result

    # Known counterexamples

    def _replay(self) -> Decision | None:
        """Replay known counterexamples; if they refute the claim, add them and return the verdict."""
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
        return Decision(verdict=Verdict.FAILED, rule=rule, estimate=None, interval=(0.0, 1 - broken / stream.total))

    def shrink_and_keep(self, decision: Decision) -> None:
        units, stream = self.plan.units, self.stream
        if units.replay is None:
            return
        if decision.verdict is Verdict.FAILED and stream.exhibits:
            what = ("smaller", [(exhibit.index, exhibit.after) for exhibit in stream.exhibits])
            with suppress(clock.OutOfTime):  # the claim has failed, if with larger counterexamples
                if self.plan.settings.replay_only:  # such a run neither recalls nor keeps chunks
                    with self.memory.listening():
                        smaller, tally = units.shrunk(stream.exhibits)
                else:
                    smaller, tally = self.memory.once(what, lambda: units.shrunk(stream.exhibits))
                stream.exhibits = smaller.exhibits
                stream.tally = stream.tally.plus(tally)
        units.remember(self.kept, stream.exhibits)

    # The model in no_worse_than=

    def _with_other_model(self, rule: Rule) -> Rule:
        """Return the rule with the outcomes of the other model, if any; without all of them it passes nothing."""
        plan, n = self.plan.of_other(), self.stream.total
        if plan is None or not isinstance(rule, NoWorse) or self.stream.n < n:
            return rule
        compared, same = None, ""
        with _opened(plan) as other:
            try:
                decision = other.decide()
                if other.stream.n == n:
                    # In both directions: if only one model were tried at what broke the other, it would look worse.
                    broken = self._try(other.kept)
                    self.stream.counts |= {OF_OTHER: broken} if broken else {}
                    other._try(self.kept)
                    compared = rule.of_model(other.stream.ordered())
                    rule = replace(rule, before=compared)
                    same = self._same(other, rule)
            except clock.OutOfTime:
                if not other.stream.n:
                    return rule
                decision = other._stopped(plan.rule.decide(other.stream.columns, n, None))
        evidence, of = other.evidence(decision), "(of the model in no_worse_than=)"
        findings = tuple(replace(finding, message=f"{finding.message} {of}") for finding in evidence.findings)
        notes = tuple(f"{note} {of}" for note in evidence.tally.notes)
        self.other = replace(evidence, findings=findings, tally=replace(evidence.tally, notes=notes))
        self.beside = OtherModel(model=evidence.model, outcomes=compared, counts=evidence.counts, same=same)
        own, others = self.stream.tally.classes, evidence.tally.classes
        if own != others and getattr(plan.units, "task", CLASSIFICATION).one_class:
            raise ConfigError(f"Expected no_worse_than= to have {own} classes, as the model has, but got {others}.")
        return rule

    def _same(self, other: _Run, rule: NoWorse) -> str:
        """Return why the model in `no_worse_than=` is no other one than the model; "" if it is."""
        own, beside = self.plan.units, other.plan.units
        if not isinstance(own, ModelUnits) or not isinstance(beside, ModelUnits):
            return ""
        remedy = "Give the model that this one is to replace"
        if own.model.call is beside.model.call or (
            own.model.module is not None and own.model.module is beside.model.module
        ):
            return f"no_worse_than= is the model itself, so that nothing can be lost. {remedy}"
        settings = self.plan.settings
        digests = [one.fingerprint(settings, exported=False).digest for one in (own, beside)]
        if digests[0] is not None and digests[0] == digests[1]:
            return f"no_worse_than= has the weights and the code of the model, so that nothing can be lost. {remedy}"
        # Two models that give labels alone may well agree on all of them; no two others give equal scores throughout,
        # with equal outcomes.
        columns, others = self.stream.ordered(), other.stream.ordered()
        alike = np.array_equal(rule.of_model(columns), rule.of_model(others))
        if own.model.gives is not Needs.LABELS and alike and one_model(columns, others):
            return f"no_worse_than= gives the scores of the model on every sample, to the bit. {remedy}"
        return ""

    def _try(self, kept: Sequence[Kept]) -> int:
        """Try counterexamples of the other model on the samples that are left; return the number that became worse."""
        stream, count = self.stream, 0
        marked = len(stream.marks) == stream.n
        place = np.argsort(stream.columns["id"])
        for part in kept:
            columns = stream.ordered()
            left = columns["score"] > 0 if "score" in columns else columns["held"]
            rows = part.rows(torch.from_numpy(left[part.ids.numpy()]).nonzero().squeeze(1))
            trial = self.plan.units.trial(rows) if len(rows) else None
            if trial is None:
                continue
            # Another key than a chunk's: the same inputs on the same samples, of this memory's model.
            what = ("tried", rows.ids, rows.x, [stream.marks[at] for at in place[rows.ids.numpy()]] if marked else [])
            worse = stream.worsen(rows.ids, *self.memory.once(what, trial), examples=self.plan.settings.examples)
            if "proven" in columns and bool((wrong := worse & columns["proven"][rows.ids.numpy()]).any()):
                raise ModelError(
                    f"Expected no sample both proven and broken but sample {int(rows.ids[wrong.argmax()])} is: an "
                    "input that was found with the other model breaks it, and the bounds say that none can. Measure "
                    "without certify=, and report the model with this message."
                )
            count += int(worse.sum())
        return count

    # The clock

    def _stopped(self, decision: Decision) -> Decision:
        if decision.verdict is Verdict.INCONCLUSIVE:
            return decision
        # Broken samples are quicker than others, so the number evaluated by then depends on outcomes, and bounds at a
        # number of samples do not hold for it.
        rule = self._progress
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, at_alpha=False, reasons=("budget",))

    @property
    def _progress(self) -> str:
        return f"the clock: {self.stream.n} of {self.stream.total} samples looked at"


class _Here(InProcess):
    """Measures the chunks of a run in this process."""

    def __init__(self, run: _Run) -> None:
        self._run = run

    def imap_unordered(self, job: object, tasks: Iterable[Any]) -> Iterator[Any]:
        return self._run.measure_each(tasks)


def in_order(
    chunks: Iterable[Tensor],
    engine: Engine,
    look_up: Callable[[int, Tensor], ChunkResult | Work],
    begin: Callable[[Work], object | None],
    take: Callable[[ChunkResult], ChunkResult],
) -> Generator[ChunkResult]:
    """Yield the result of every chunk in the order of the chunks; closing the generator ends its chunks.

    1. Take the next chunk as soon as a worker is free, and look it up.
    2. A stored result waits until everything under way has come in; other chunks go to the engine.
    3. After a chunk that is measured only to be compared with its stored outcomes, wait for its result.
    4. A result that comes in is taken, and waits until every chunk before it was yielded.

    Args:
        chunks: (n,) int64 positions of each chunk.
        engine: measures them.
        look_up: returns the stored result of a chunk, by place and positions, or the work to measure it.
        begin: returns the engine's reference to the job; None ends the generator.
        take: checks each measured result as it comes in, in any order.
    """
    places = enumerate(chunks)
    waiting: dict[int, ChunkResult] = {}
    next_place = 0
    while True:
        remembered: list[ChunkResult] = []

        def work_until_remembered(remembered: list[ChunkResult] = remembered) -> Iterator[Work]:
            # The engine draws from here as its workers become free; that keeps it from running ahead.
            for place, ids in places:
                found = look_up(place, ids)
                if not isinstance(found, Work):
                    remembered.append(found)
                    return
                yield found
                if found.compared:  # if it does not agree, nothing after it should have been measured
                    return

        work = work_until_remembered()
        # The engine wants its job before the work. The first chunk is looked up before the job is made: where all is
        # remembered, no model has to be sent to any worker.
        first = next(work, None)
        if first is not None:
            job = begin(first)
            if job is None:
                return
            results = engine.imap_unordered(job, chain([first], work))
            try:
                for result in results:
                    waiting[result.place] = take(result)
                    while next_place in waiting:
                        yield waiting.pop(next_place)
                        next_place += 1
            finally:  # also if the reader has stopped: no further chunk may be measured
                if hasattr(results, "close"):
                    results.close()
                engine.cancel()
        elif not remembered:
            return
        for result in remembered:
            waiting[result.place] = result
            while next_place in waiting:
                yield waiting.pop(next_place)
                next_place += 1
