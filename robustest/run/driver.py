"""From a plan to its evidence: the units in seeded order, chunk by chunk, until the claim is decided."""

# `Measurement` takes these steps, each a method or a module of its own:
#
# 1. order: draw the units with the seed, and cut them into chunks.
# 2. recall and search (`schedule`, `measured_chunks`): read the chunks in order. Stored ones count once the model has
#    answered as before; known counterexamples are replayed before the first chunk that has to be measured (`known`).
#    After each chunk, ask the rule for a verdict, and check the clock.
# 3. compare (`other_model`): measure the model in `no_worse_than=` too, on every unit. Then try the counterexamples of
#    each model on the other: an input that breaks both is no loss.
# 4. audit (`audit`): before a pass, attack some of the samples that the attack left by other means.
# 5. decide: the rule on the outcomes; copies count once (`copies`).
# 6. finish: collect the evidence. Once the verdict is recorded (`afterwards`), make the counterexamples that are shown
#    smaller, and keep all to be replayed.

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from itertools import chain

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from robustest import clock, context, devices, rng
from robustest.decisions import Decision, EarlyVerdict, Rule
from robustest.decisions.baseline import NoWorse
from robustest.decisions.clusters import drawn, whole_clusters
from robustest.engine.chunks import partition
from robustest.errors import ConfigError
from robustest.results import Verdict
from robustest.run.audit import Audit
from robustest.run.copies import copies_among, decided_once
from robustest.run.evidence import Columns, Evidence, OtherModel, Stream, Tally
from robustest.run.known import KnownCounterexamples
from robustest.run.measured_chunks import MeasuredChunks
from robustest.run.memory import Memory
from robustest.run.other_model import OF_OTHER, transfer, why_the_same
from robustest.run.plan import Plan
from robustest.run.purse import PurseEmpty
from robustest.run.schedule import in_order
from robustest.run.units import WHOLE, Units
from robustest.run.workers import Engine, InProcess, engine_for
from robustest.settings import Settings
from robustest.tasks import CLASSIFICATION, top_of


def observe(plan: Plan) -> Evidence:
    """Measure chunks of a plan's units until the claim is decided or every unit was measured.

    Raises:
        RobustestError: something could not be measured.
        NotSearched: with `replay_only`, if known counterexamples do not refute the claim.
    """
    with _opened(plan) as one:
        decision = one.decide()
        one.memory.close()
        if not one.doubts_precision():
            left = one.known.keep_examples(decision)
            evidence = one.evidence(decision)
            return evidence if left is None else replace(evidence, smaller=partial(one.smaller, evidence, left))
    evidence = observe(replace(plan, settings=plan.settings.but({"precision": "fp32"})))
    tally = Tally(notes=("measured anew with gradients in float32: in bfloat16 a health check spoke",))
    return replace(evidence, tally=evidence.tally.plus(tally))


@contextmanager
def _opened(plan: Plan) -> Iterator[Measurement]:
    units, settings = plan.units, plan.settings
    engine = InProcess() if plan.here else engine_for(settings)
    if settings.engine != "local" and not devices.present_kind(settings.device):
        # The accelerators are the cluster's; this process asks the model with what it has.
        settings = settings.but({"device": "auto"})
        plan = replace(plan, settings=settings)
    device = units.device(settings)
    memory = Memory.of(units, settings, engine.kind or device, plan.identity)
    with units.open(settings):
        one = Measurement(plan, memory, engine, Stream(len(units), drawn_clusters(units, settings)))
        try:
            yield one
        finally:
            one.end_progress()
            memory.close()


def drawn_clusters(units: Units, settings: Settings) -> NDArray[np.int64] | None:
    """Return (N,) numbers of clusters in the order in which the seed draws them, for a population; else None."""
    clusters = units.clusters
    return None if clusters is None or settings.scope == "set" else drawn(clusters, settings.seed)


@dataclass(slots=True)
class Measurement:
    """One measurement, inside the block in which its units are open.

    Attributes:
        stream: the outcomes so far.
        unaudited: why an audit leaves the pass open, in words; empty if it does not.
        likely_clusters: see `MeasuredChunks`.
        limit: the limit that ended the measurement, if one did, in words.
        other, beside: evidence and outcomes of the model in `no_worse_than=`.
    """

    plan: Plan
    memory: Memory
    engine: Engine
    stream: Stream
    known: KnownCounterexamples = field(init=False)
    audit: Audit = field(init=False)
    unaudited: str = ""
    likely_clusters: str = ""
    limit: str = "the clock"
    other: Evidence | None = None
    beside: OtherModel | None = None
    _under_way: bool = False  # progress was shown, and not its end

    def __post_init__(self) -> None:
        self.known = KnownCounterexamples(self.plan, self.memory, self.stream)
        self.audit = Audit(self.plan.units, self.memory, self.plan.settings)

    def decide(self) -> Decision:
        """Measure until the claim is decided, and return the decision.

        Raises:
            RobustestError: something could not be measured.
            NotSearched: with `replay_only`, if known counterexamples do not refute the claim.
        """
        if self.plan.settings.replay_only:
            return self._by_replay_alone()
        order = self.order()
        early = self.search(order)
        if self.known.refuted is not None:
            return self.known.refuted
        if early is not None or not self.stream.n:
            decision = self._unless_unaudited(self.decision(self.plan.rule, self.stream.columns, early))
        else:
            decision = self._of_all(self.compare())
        return self._stopped(decision) if early is None and self.stream.n < len(order) else decision

    def _by_replay_alone(self) -> Decision:
        # Stored chunks do not count either: such a run must try every known counterexample.
        refuted = self.known.replay()
        if refuted is None:
            reason = f"replayed only: {self.known.broken} known counterexamples still break; nothing was searched for"
            raise context.current().not_searched(self.plan.statement, reason)
        return refuted

    # Order

    def order(self) -> Tensor:
        """Return the positions (n,) int64 of the units to measure, in the order drawn with the seed."""
        settings, clusters = self.plan.settings, self.stream.clusters
        order = rng.permutation(settings.seed, self.stream.total)
        if clusters is not None and settings.max_samples is not None:
            # A cluster is a draw as a whole.
            order = order[whole_clusters(clusters[order.numpy()], settings.max_samples)]
        return order[: settings.max_samples]

    # Recall and search

    def search(self, order: Tensor) -> EarlyVerdict | None:
        """Read chunks in this order into the stream until the claim is decided; return the early verdict, if any."""
        settings, stream, units, early = self.plan.settings, self.stream, self.plan.units, None
        parts = list(partition(order))
        reader, ids = units.reader(parts), iter(parts)
        chunks = MeasuredChunks(units, settings, self.memory, self.engine, self.known, stream, reader)
        try:
            # In the seeded order, never as chunks finish: broken samples finish first, and would bias an early stop.
            results = in_order(parts, chunks.measuring, chunks.look_up, chunks.begin, chunks.take)
            with closing(reader), closing(results):
                if chunks.read_here:
                    reader.start_stream()
                units.check(order)  # read beside the processes that start
                for result in results:
                    observation = result.observation
                    stream.add(next(ids), observation, result.tally, examples=settings.examples, marks=result.marks)
                    if observation.kept is not None:
                        self.known.found.append(observation.kept)
                    self._show_progress()
                    early = self._early()
                    if early is not None or clock.left() == 0:
                        break
        except clock.OutOfTime as over:
            self.limit = str(over) if isinstance(over, PurseEmpty) else self.limit
            # The chunk under way is lost. A part of a claim that needs every unit, or has measured none, cannot decide.
            if settings.time_budget is None or not stream.n:
                raise clock.OutOfTime(str(over) or self._progress) from over
        finally:
            self.likely_clusters = chunks.likely_clusters
        return early

    def _early(self) -> EarlyVerdict | None:
        """Return the verdict that the outcomes so far decide, audited if it is a pass; None if they decide none."""
        rule, stream = self.plan.rule, self.stream
        if self.plan.settings.exact:
            return None
        early = rule.settle(stream.columns, stream.total)
        if early is None or early.verdict is not Verdict.PASSED:
            return early

        def passing(columns: Columns) -> int:
            again = self._own_rule.settle(columns, stream.total)
            return again.after if again is not None and again.verdict is Verdict.PASSED else 0

        # Further units may give the room that the audit finds missing: no sample is audited twice before they are read.
        self.unaudited = self.audit.take(stream, passing, self._holds, again=False)
        if self.unaudited and clock.left() != 0:
            return None
        return rule.settle(stream.columns, stream.total)

    # Audit

    @property
    def _own_rule(self) -> Rule:
        # A pass is audited on the number itself, without the comparison with a baseline.
        rule = self.plan.rule
        return rule.other if isinstance(rule, NoWorse) else rule

    def _holds(self, columns: Columns) -> bool:
        return self._own_rule.decide(columns, len(columns["id"]), None).verdict is Verdict.PASSED

    def _passes(self, columns: Columns) -> int:
        return len(columns["id"]) if self.decision(self._own_rule, columns, None).verdict is Verdict.PASSED else 0

    def _of_all(self, rule: Rule) -> Decision:
        """Audit the outcomes of all units read, and return the decision."""
        stream = self.stream
        if isinstance(rule, NoWorse):
            return self._unless_unaudited(self._of_comparison(rule))
        # A value that a threshold is taken from is audited as a pass is whose threshold equals it: no room is left for
        # what the attack overlooked.
        if self.plan.settings.audit_values:
            self.unaudited = self.audit.take(stream, lambda columns: len(columns["id"]), lambda _: False)
        else:
            self.unaudited = self.audit.take(stream, self._passes, self._holds)
        return self._unless_unaudited(self.decision(rule, stream.columns, None))

    def _of_comparison(self, rule: NoWorse) -> Decision:
        # A baseline holds outcomes without an audit, and is compared with such outcomes: if some samples were audited
        # now and none then, the same model would look worse. The audit decides the claim on the number alone.
        stream = self.stream
        found = replace(stream, columns=dict(stream.columns), counts=dict(stream.counts))
        self.unaudited = self.audit.take(found, self._passes, self._holds)
        decision = self.decision(rule, stream.columns, None)
        if decision.verdict is not Verdict.PASSED:
            return decision
        stream.tally, stream.counts, stream.exhibits = found.tally, found.counts, found.exhibits
        by_audit = self.decision(self._own_rule, found.columns, None)
        return by_audit if rule.has_threshold and by_audit.verdict is not Verdict.PASSED else decision

    def _unless_unaudited(self, decision: Decision) -> Decision:
        if not self.unaudited:
            return decision
        if decision.verdict is Verdict.PASSED:
            return replace(
                decision, verdict=Verdict.INCONCLUSIVE, rule=self.unaudited, at_alpha=False, reasons=("unaudited",)
            )
        if self.plan.settings.audit_values:
            return replace(decision, reasons=(*decision.reasons, "unaudited"))
        return decision

    # Compare

    def compare(self) -> Rule:
        """Return the rule with the outcomes of the other model, if any; without all of them it passes nothing."""
        rule, stream, n = self.plan.rule, self.stream, self.stream.total
        plan = self.plan.of_other()
        if plan is None or not isinstance(rule, NoWorse) or stream.n < n:
            return rule
        settings, compared, same = self.plan.settings, None, ""
        with _opened(plan) as other:
            try:
                decision = other.decide()
                if other.stream.n == n:
                    # In both directions: if only one model were tried at what broke the other, it would look worse.
                    broken = self._try(other.known)
                    stream.counts |= {OF_OTHER: broken} if broken else {}
                    other._try(self.known)
                    compared = rule.of_model(other.stream.ordered())
                    rule = replace(rule, before=compared)
                    own = self.plan.units
                    same = why_the_same(own, plan.units, rule, stream=stream, other=other.stream, settings=settings)
            except clock.OutOfTime:
                if not other.stream.n:
                    return rule
                decision = other._stopped(plan.rule.decide(other.stream.columns, n, None))
        self._note_other(other.evidence(decision), compared, same)
        return rule

    def _try(self, known: KnownCounterexamples) -> int:
        examples = self.plan.settings.examples
        return transfer(known.found, self.plan.units, self.stream, self.memory, examples=examples)

    def _note_other(self, evidence: Evidence, compared: NDArray[np.bool_] | None, same: str) -> None:
        of = "(of the model in no_worse_than=)"
        findings = tuple(replace(finding, message=f"{finding.message} {of}") for finding in evidence.findings)
        notes = tuple(f"{note} {of}" for note in evidence.tally.notes)
        self.other = replace(evidence, findings=findings, tally=replace(evidence.tally, notes=notes))
        self.beside = OtherModel(model=evidence.model, outcomes=compared, counts=evidence.counts, same=same)
        own, others = self.stream.tally.classes, evidence.tally.classes
        if own != others and top_of(getattr(self.plan.units, "task", CLASSIFICATION)):
            raise ConfigError(f"Expected no_worse_than= to have {own} classes, as the model has, but got {others}.")

    # Decide

    def decision(self, rule: Rule, columns: Columns, early: EarlyVerdict | None) -> Decision:
        """Return a rule's decision; on a population that without copies, which are no draws of their own.

        Args:
            columns: outcomes of all evaluated samples.
            early: the point at which they decided the claim, if they did.
        """
        about_set = self.plan.settings.scope == "set" and not rule.of_population
        if about_set or (copies := self._copies()) is None:
            return rule.decide(columns, self.stream.total, early)
        return decided_once(rule, columns, self.stream.total, early, copies)

    def _inputs(self) -> list[bytes]:
        """Return the digests of the evaluated inputs in the order of evaluation; empty if some were not read here."""
        # By the input alone, where it is known.
        marks = self.stream.marks
        return [] if len(marks) < self.stream.n else [mark[WHOLE:] or mark for mark in marks]

    def _copies(self) -> NDArray[np.bool_] | None:
        return None if self.plan.units.may_repeat else copies_among(self._inputs())

    def _stopped(self, decision: Decision) -> Decision:
        if decision.verdict is Verdict.INCONCLUSIVE:
            return decision
        # Broken samples are quicker than others, so the number evaluated by then depends on outcomes, and bounds at a
        # number of samples do not hold for it.
        rule = self._progress
        return replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule, at_alpha=False, reasons=("budget",))

    @property
    def _progress(self) -> str:
        return f"{self.limit}: {self.stream.n} of {self.stream.total} samples looked at"

    # Finish

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
        """Return all data of the result, in the order of the data."""
        units, memory, stream = self.plan.units, self.memory, self.stream
        columns, back = stream.ordered(), np.argsort(stream.columns["id"])
        # Replayed counterexamples are added without digests: then the data were not read as a whole.
        whole = len(stream.marks) == stream.total
        marks = [stream.marks[place] for place in back] if whole else []
        notes = (*units.notes, *memory.notices, *(() if units.replay is None else units.replay.notices))
        inputs, copies = self._inputs(), self._copies()
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
            copies=None if copies is None else copies[back],
            inputs=tuple(inputs[place] for place in back) if inputs else (),
            may_repeat=units.may_repeat,
            likely_clusters=self.likely_clusters,
            remarks=self.known.remarks,
        )
        return evidence if self.other is None else replace(evidence.including(self.other), beside=self.beside)

    def smaller(self, evidence: Evidence, left: Callable[[], None]) -> Evidence:
        """Make counterexamples smaller by the work that was left, and return the evidence with them."""
        before = self.stream.tally
        left()
        cost = self.stream.tally.since(before, self.stream.tally.seconds - before.seconds)
        return replace(
            evidence,
            exhibits=self.stream.exhibits,
            tally=evidence.tally.plus(cost),
            remarks=self.known.remarks,
            cached=evidence.cached and self.memory.when,
            smaller=None,
        )

    def _show_progress(self) -> None:
        if (progress := context.current().progress) is not None:
            held, total = self.stream.columns["held"], self.stream.total
            progress(self.plan.statement, len(held), total, len(held) - int(held.sum()))
            self._under_way = len(held) < total

    def end_progress(self) -> None:
        """Show the number evaluated as the number of all: after an early verdict, or an error, no more will come."""
        if self._under_way and (progress := context.current().progress) is not None:
            held = self.stream.columns["held"]
            progress(self.plan.statement, len(held), len(held), len(held) - int(held.sum()))
            self._under_way = False
