"""From a claim to its evidence: the samples in seeded order, chunk by chunk, until the claim is settled.

The algorithm:

1. Put the samples into an order that the seed draws, and cut it into chunks.
2. Ask the model about the first chunk. While it answers as it did, what the store remembers of a chunk counts.
3. Replay known counterexamples, once, before the first chunk that has to be measured: alone they may refute the claim.
4. Read the chunks in their order, remembered or measured here or by workers, and after each ask the rule whether the
   claim is settled, or look at the clock.
5. Decide on what was read. Where the claim failed, make what is shown smaller, and keep it to be replayed.
"""

from __future__ import annotations

import time
import warnings
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from robustest import context, rng
from robustest.data import Samples
from robustest.engine.chunks import Chunk, check_data, load, partition
from robustest.engine.device import resolve
from robustest.engine.evaluator import Evaluator
from robustest.errors import DataError, StoreError
from robustest.identity.fingerprint import fingerprint
from robustest.models import Classifier, frozen
from robustest.models.shipping import ship
from robustest.results import Verdict
from robustest.rules import Rule
from robustest.run.asking import Answered, Asking
from robustest.run.chunk_measurement import Bench
from robustest.run.chunk_measurement import Look as Look
from robustest.run.engines.engine import Engine, InProcess, Mapper, engine_for
from robustest.run.evidence import REPLAYED, Evidence, Exhibit, Observed, Stream, Tally
from robustest.run.memory import Memory
from robustest.run.schedule import Schedule, Work
from robustest.run.worker import RemoteJob, Seen, digests, versions
from robustest.settings import Settings
from robustest.statistics import Decision
from robustest.store.corpus import Kept


class Hunt(Protocol):
    """Known counterexamples of a claim, and how new ones are kept."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know."""

    def replay(self, evaluator: Evaluator, samples: Samples, bounds: tuple[float, float]) -> set[int]:
        """Positions in the data of samples that known counterexamples still break."""

    def observed(self, evaluator: Evaluator, chunk: Chunk, examples: int) -> Observed:
        """What is to be said of samples that known counterexamples break, without looking further."""

    def polish(self, evaluator: Evaluator, exhibits: list[Exhibit], bounds: tuple[float, float]) -> list[Exhibit]:
        """The same counterexamples, made smaller."""

    def keep(self, kept: Kept) -> None:
        """Take what a chunk found, as long as there is room."""

    def remember(self, shown: list[Exhibit], bounds: tuple[float, float]) -> None:
        """Write what was taken, what is shown in its smaller form."""


def observe(
    statement: str,
    model: Classifier,
    samples: Samples,
    settings: Settings,
    look: Look,
    *,
    rule: Rule,
    identity: object = None,
    hunt: Hunt | None = None,
    here: bool = False,
) -> Evidence:
    """Look at chunks of the samples, with the model frozen, until the claim is settled or every sample was seen.

    Outcomes are read in the seeded order, never as they finish: broken samples finish first. What the store remembers
    of a chunk, for the same model, samples and `identity`, is not measured again. Before anything is measured, known
    counterexamples are replayed; with `replay_only` nothing else is done. The settings' engine measures; this process
    decides.

    Args:
        statement: the claim in words, for the progress display.
        model: the classifier.
        samples: the data.
        settings: device, seed, batch size, examples, budgets, store, engine.
        look: what to do with a chunk; where there is a hunt, it takes it as `hunt`, or None.
        rule: what is claimed; it says when the outcomes settle it.
        identity: everything `look` depends on besides model, samples and seed, made of plain values and attacks,
            threats, shifts or cues; None where nothing may be remembered.
        hunt: known counterexamples, and how to make new ones smaller; None where there are none.
        here: whether `look` keeps state from chunk to chunk, so that it is measured in this process on any engine.

    Raises:
        RobustestError: something could not be measured; the model is as it was.
        NotSearched: nothing was searched for, and known counterexamples do not refute the claim.
    """
    device = resolve(settings.device, model.device)
    engine = InProcess() if here else engine_for(settings)
    first = torch.zeros(1, dtype=torch.int64)
    memory = Memory.of(
        model, settings, engine.kind or device, identity, lambda: samples.take(first)[0].to(model.device or device)
    )
    with torch.inference_mode(False), frozen(model.module) as notes:
        evaluator = Evaluator(model, device, batch_size=settings.batch_size, suppress=settings.suppress, notes=notes)
        evaluator.health.modal, evaluator.health.training = notes.modal, notes.training
        bench = Bench(evaluator, settings, look)
        run = _Run(statement, model, samples, settings, rule, hunt, memory, bench, engine, Stream(len(samples)))
        decision = run.decided()
    return run.stream.evidence(
        decision,
        bounds=model.bounds,
        settings=settings,
        cached=memory.when,
        model=memory.model,
        notes=(*notes, *memory.notices, *(() if hunt is None else hunt.notices)),
    )


@dataclass(slots=True)
class UnderWay:
    """A chunk from when it is looked up until its result has come in.

    Attributes:
        ids: (n,) int64, positions in the data.
        marks: digests of its samples; None where they were not read here.
        loaded: its samples, until this process has measured them; None where workers read them.
        remembered: what the store says of it, which measuring it anew must confirm; None where it says nothing.
    """

    ids: Tensor
    marks: list[bytes] | None = None
    loaded: Chunk | None = None
    remembered: Observed | None = None


@dataclass(slots=True)
class _Run:
    """One measurement on its way; the source of its schedule."""

    statement: str
    model: Classifier
    samples: Samples
    settings: Settings
    rule: Rule
    hunt: Hunt | None
    memory: Memory
    bench: Bench
    engine: Engine
    stream: Stream
    known: int = 0
    refuted: Decision | None = None
    answered: tuple[Tensor, Tensor] | None = None
    _under_way: dict[int, UnderWay] = field(default_factory=dict)
    _replayed_yet: bool = False
    _sent: object = None

    def decided(self) -> Decision:
        """Look until the claim is settled, and decide."""
        settings, stream = self.settings, self.stream
        if settings.replay_only:
            return self._finished(self._refuted_alone())
        deadline = time.monotonic() + (settings.time_budget or float("inf"))
        order = rng.permutation(settings.seed, len(self.samples))[: settings.max_samples]
        check_data(self.samples, order)
        ids = partition(order)
        settled = None
        with closing(Schedule(partition(order), self.engine, self).results()) as results:
            for seen in results:
                stream.add(next(ids), seen.observed, seen.tally, examples=settings.examples, marks=seen.marks)
                if self.hunt is not None and seen.observed.kept is not None:
                    self.hunt.keep(seen.observed.kept)
                self._tell()
                settled = None if settings.exact else self.rule.settled(stream.columns, stream.total)
                if settled is not None or time.monotonic() > deadline:
                    break
        return self._finished(self.refuted or self.rule.decide(stream.columns, stream.total, settled))

    def _refuted_alone(self) -> Decision:
        """The verdict of known counterexamples, without looking further; nothing that is remembered is taken either.

        Raises:
            NotSearched: they do not refute the claim.
        """
        refuted = self._replayed()
        if refuted is None:
            reason = f"replayed only: {self.known} known counterexamples still break; nothing was searched for"
            raise context.current().not_searched(self.statement, reason)
        return refuted

    def look_up(self, place: int, ids: Tensor) -> Seen | Work:
        """What the store remembers of a chunk; the work where that is nothing, or is to be compared."""
        chunk = UnderWay(ids)
        # Without a memory the workers read the samples, and reading them here as well would be for nothing.
        if not self.engine.remote or self.memory.remembers:
            loaded = self._load(ids)
            chunk.marks = digests(loaded)
            if place == 0:  # what is remembered counts only once the model has answered
                self._ask(loaded, chunk.marks)
            if not self.engine.remote:
                chunk.loaded = loaded
        found = self.memory.recall(("chunk", ids, chunk.marks or []))
        if found is not None:
            # Known counterexamples change what is attacked: such a chunk would not be measured as it was.
            if found[0].counts.get(REPLAYED) or self.known or not self.memory.doubted():
                return Seen(place=place, observed=found[0], tally=found[1], marks=chunk.marks or [])
            chunk.remembered = found[0]
        self._under_way[place] = chunk
        return Work(place, ids, compared=chunk.remembered is not None)

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
            if self.known:
                self._sent = None  # what was sent knew of none
        if self._sent is None:
            self._sent = self.engine.put(self._remote() if self.engine.remote else self)
        return self._sent

    def start(self, device: str) -> Mapper:
        """What measures chunks in this process."""

        def measure(work: Work) -> Seen:
            chunk = self._under_way[work.place]
            loaded, chunk.loaded = chunk.loaded, None  # its memory is free as soon as it is measured
            if loaded is None:
                raise LookupError(f"chunk {work.place} was measured before")
            with self.memory.listening():
                observed, tally = self.bench.measure(loaded, first=work.place == 0)
            return Seen(place=work.place, observed=observed, tally=tally, marks=chunk.marks or [])

        return measure

    def take(self, result: Seen) -> Seen:
        """A chunk as it is read and remembered.

        Raises:
            RobustestError: it could not be measured, or does not agree with what is known.
        """
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
            result = replace(result, tally=Tally.of(self.bench.evaluator).plus(result.tally))
        if chunk.remembered is not None:
            _agree(chunk.remembered, result.observed)
        self.memory.keep(("chunk", chunk.ids, result.marks), result.observed, result.tally)
        return result

    def _remote(self) -> RemoteJob:
        """This measurement, for workers in other processes."""
        model = self.model
        identity = None if model.recipe is None else fingerprint(model.call, model.module, model.preprocessing).digest
        two = torch.arange(2).clamp(max=len(self.samples) - 1)
        return RemoteJob(
            model=ship(model, lambda: self.samples.take(two)[0]),
            digest=identity or "",
            samples=self.samples,
            settings=self.settings,
            look=self.bench.look,
            versions=versions(),
            answered=self.answered,
        )

    def _ask(self, chunk: Chunk, marks: list[bytes]) -> None:
        """Ask the model about the first samples, on any engine this process's copy, before anything is recalled."""
        bench = self.bench
        look: Any = bench.look
        if self.hunt is not None:  # what is known beforehand of some samples must not decide on what is asked
            look = partial(look, hunt=None)
        asking = Asking(bench.evaluator.model, look, chunk, self.settings, said=self.memory.said)
        self.memory.ask(asking, marks)
        self.answered = asking.answered
        if self.answered is not None:
            model = bench.evaluator.model
            bench.evaluator.model = replace(model, call=Answered(model.call, self.answered))

    def _load(self, ids: Tensor) -> Chunk:
        evaluator = self.bench.evaluator
        bounds = evaluator.model.bounds
        return load(self.samples, ids, bounds=bounds, seed=self.settings.seed, device=evaluator.device)

    def _replayed(self) -> Decision | None:
        """Replay known counterexamples; the verdict, where they alone refute the claim. Then they are in the stream."""
        stream, hunt, bounds = self.stream, self.hunt, self.bench.evaluator.model.bounds
        known = set() if hunt is None else hunt.replay(self.bench.evaluator, self.samples, bounds)
        read = stream.columns["id"].tolist() if stream.columns else []
        self.known = len(known)
        ids = torch.tensor(sorted(known - set(read)), dtype=torch.int64)
        broken = len(ids) + (int((~stream.columns["held"]).sum()) if read else 0)
        early = self.settings.replay_only or not self.settings.exact
        if hunt is not None and early and len(ids) and self.rule.doomed(broken, stream.total):
            chunk, most = self._load(ids), self.settings.examples
            seen = self.bench.counted(lambda evaluator: hunt.observed(evaluator, chunk, most))
            stream.add(ids, *seen, examples=most, marks=[])
            rule = f"certain: {len(ids)} of {stream.total} samples are broken by replayed counterexamples"
            return Decision(verdict=Verdict.FAILED, rule=rule, estimate=None, interval=(0.0, 1 - broken / stream.total))
        return None

    def _finished(self, decision: Decision) -> Decision:
        """Make what is shown smaller where the claim failed, and keep what was found."""
        stream, hunt = self.stream, self.hunt
        if hunt is None:
            return decision
        if decision.verdict is Verdict.FAILED and stream.exhibits:
            what = ("smaller", [(exhibit.index, exhibit.after) for exhibit in stream.exhibits])
            asked = not self.settings.replay_only  # a replay neither takes what is remembered nor adds to it
            seen = self.memory.recall(what) if asked else None
            if seen is None:
                shown, bounds = stream.exhibits, self.bench.evaluator.model.bounds
                seen = self.bench.counted(lambda evaluator: Observed({}, hunt.polish(evaluator, shown, bounds)))
                if asked:
                    self.memory.keep(what, *seen)
            stream.exhibits = seen[0].exhibits
            stream.tally = stream.tally.plus(seen[1])
        hunt.remember(stream.exhibits, self.bench.evaluator.model.bounds)
        return decision

    def _tell(self) -> None:
        tell = context.current().progress
        if tell is not None:
            held = self.stream.columns["held"]
            tell(self.statement, len(held), self.stream.total, len(held) - int(held.sum()))


def _agree(remembered: Observed, fresh: Observed) -> None:
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
