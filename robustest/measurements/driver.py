"""From a claim to its evidence: the samples in seeded order, chunk by chunk, until the claim is settled."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from robustest import context, rng
from robustest.data import Samples
from robustest.engine.chunks import Chunk, check_forward, load, partition
from robustest.engine.device import resolve
from robustest.engine.draws import seed_draws
from robustest.engine.evaluator import Evaluator
from robustest.engine.precision import choose
from robustest.errors import ConfigError, StoreError
from robustest.measurements.memory import Memory
from robustest.measurements.observed import REPLAYED, Evidence, Exhibit, Observed, Stream, Tally
from robustest.models import Classifier, frozen
from robustest.results import Verdict
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.verdicts import Claim, Decision

Look = Callable[[Evaluator, Chunk], Observed]


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

    def remember(self, kept: list[Kept], shown: list[Exhibit], bounds: tuple[float, float]) -> None:
        """Keep what was found."""


def observe(
    statement: str,
    model: Classifier,
    samples: Samples,
    settings: Settings,
    look: Look,
    *,
    claim: Claim,
    identity: object = None,
    hunt: Hunt | None = None,
) -> Evidence:
    """Look at chunks of the samples, with the model frozen, until the claim is settled or every sample was seen.

    Outcomes are read in the seeded order, never as they finish: broken samples finish first. What the store remembers
    of a chunk, for the same model, samples and `identity`, is not measured again. Before anything is measured, known
    counterexamples are replayed.

    Args:
        statement: the claim in words, for the progress display.
        model: the classifier.
        samples: the data.
        settings: device, seed, batch size, examples, budgets, store.
        look: what to do with a chunk.
        claim: what is claimed; it says when the outcomes settle it.
        identity: everything `look` depends on besides model, samples and seed, made of plain values and attacks,
            threats, shifts or cues; None where nothing may be remembered.
        hunt: known counterexamples, and how to make new ones smaller; None where there are none.

    Raises:
        RobustestError: something could not be measured; the model is as it was.
    """
    device = resolve(settings.device, model.device)
    first = torch.zeros(1, dtype=torch.int64)
    memory = Memory.of(model, settings, device, identity, lambda: samples.take(first)[0].to(model.device or device))
    with torch.inference_mode(False), frozen(model.module) as notes:
        evaluator = Evaluator(model, device, batch_size=settings.batch_size, suppress=settings.suppress, notes=notes)
        evaluator.health.modal, evaluator.health.training = notes.modal, notes.training
        bench = Bench(evaluator, settings, look)
        run = _Run(statement, samples, settings, claim, hunt, memory, bench, Stream(len(samples)))
        decision = run.decided()
    return run.stream.evidence(
        decision,
        bounds=model.bounds,
        settings=settings,
        cached=memory.when,
        model=memory.model,
        notes=(*notes, *memory.notices, *(() if hunt is None else hunt.notices)),
    )


class Bench:
    """Measures with one evaluator, and tells what it took.

    Attributes:
        evaluator: makes the model's passes.
        busy: whether a chunk was measured yet.
    """

    def __init__(self, evaluator: Evaluator, settings: Settings, look: Look) -> None:
        self.evaluator = evaluator
        self.busy = False
        self._settings = settings
        self._look = look

    def measure(self, chunk: Chunk, *, first: bool) -> tuple[Observed, Tally]:
        """Look at a chunk.

        What comes before (replayed counterexamples, checks of the model) is counted with the first chunk of the order
        alone, so that a run that was resumed later adds up to the same cost.
        """
        started, before = time.perf_counter(), Tally.of(self.evaluator) if self.busy else Tally()
        seed_draws(chunk.key)
        if not self.busy:
            check_forward(self.evaluator, chunk, self._settings.suppress)
            choose(self.evaluator, chunk, self._settings.precision)
            self.busy = True
            seed_draws(chunk.key)  # a randomised model drew in these passes too, and how many there are may vary
            if not first:
                before = Tally.of(self.evaluator)
        self.evaluator.check_labels(chunk.y)
        observed = self._look(self.evaluator, chunk)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)

    def counted(self, make: Callable[[Evaluator], Observed]) -> tuple[Observed, Tally]:
        """Do something else with the model."""
        started, before = time.perf_counter(), Tally.of(self.evaluator)
        observed = make(self.evaluator)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)


@dataclass(slots=True)
class _Run:
    """One measurement on its way."""

    statement: str
    samples: Samples
    settings: Settings
    claim: Claim
    hunt: Hunt | None
    memory: Memory
    bench: Bench
    stream: Stream
    known: bool = False

    def decided(self) -> Decision:
        """Look until the claim is settled, and decide."""
        settings, stream = self.settings, self.stream
        deadline = time.monotonic() + (settings.time_budget or float("inf"))
        order = rng.permutation(settings.seed, len(self.samples))
        settled = None
        for place, ids in enumerate(partition(order[: settings.max_samples])):
            chunk = self._load(ids)
            marks = _digests(chunk)
            seen = self.memory.recall(("chunk", ids, marks))
            if seen is None and not self.bench.busy:
                refuted = self._replayed()
                if refuted is not None:
                    return self._finished(refuted)
            if seen is None or (self._comparable(seen[0]) and self.memory.doubted()):
                fresh = self.bench.measure(chunk, first=place == 0)
                if seen is not None:
                    _agree(seen[0], fresh[0])
                self.memory.keep(("chunk", ids, marks), *fresh)
                seen = fresh
            stream.add(ids, *seen, examples=settings.examples, marks=marks)
            self._tell()
            settled = None if settings.exact else self.claim.settled(stream.columns, stream.total)
            if settled is not None or time.monotonic() > deadline:
                break
        return self._finished(self.claim.decide(stream.columns, stream.total, settled))

    def _comparable(self, remembered: Observed) -> bool:
        """Whether a chunk would be measured now as it was: known counterexamples change what is attacked."""
        return not remembered.counts.get(REPLAYED) and not self.known

    def _load(self, ids: Tensor) -> Chunk:
        evaluator = self.bench.evaluator
        bounds = evaluator.model.bounds
        return load(self.samples, ids, bounds=bounds, seed=self.settings.seed, device=evaluator.device)

    def _replayed(self) -> Decision | None:
        """Replay known counterexamples; the verdict, where they alone refute the claim. Then they are in the stream."""
        stream, hunt, bounds = self.stream, self.hunt, self.bench.evaluator.model.bounds
        known = set() if hunt is None else hunt.replay(self.bench.evaluator, self.samples, bounds)
        read = stream.columns["id"].tolist() if stream.columns else []
        self.known = bool(known)
        ids = torch.tensor(sorted(known - set(read)), dtype=torch.int64)
        broken = len(ids) + (int((~stream.columns["held"]).sum()) if read else 0)
        early = self.settings.replay_only or not self.settings.exact
        if hunt is not None and early and len(ids) and self.claim.doomed(broken, stream.total):
            chunk, most = self._load(ids), self.settings.examples
            seen = self.bench.counted(lambda evaluator: hunt.observed(evaluator, chunk, most))
            stream.add(ids, *seen, examples=most, marks=[])
            rule = f"certain: {len(ids)} of {stream.total} samples are broken by replayed counterexamples"
            return Decision(verdict=Verdict.FAILED, rule=rule, estimate=None, interval=(0.0, 1 - broken / stream.total))
        if self.settings.replay_only:
            skip = context.current().skip
            if skip is None:
                raise ConfigError(
                    "Expected replay_only in a test that pytest --robust runs: a replay vouches for nothing."
                )
            skip(f"replayed only: {len(known)} known counterexamples still break; nothing was searched for")
        return None

    def _finished(self, decision: Decision) -> Decision:
        """Make what is shown smaller where the claim failed, and keep what was found."""
        stream, hunt = self.stream, self.hunt
        if hunt is None:
            return decision
        if decision.verdict is Verdict.FAILED and stream.exhibits:
            what = ("smaller", [(exhibit.index, exhibit.after) for exhibit in stream.exhibits])
            seen = self.memory.recall(what)
            if seen is None:
                shown, bounds = stream.exhibits, self.bench.evaluator.model.bounds
                seen = self.bench.counted(lambda evaluator: Observed({}, hunt.polish(evaluator, shown, bounds)))
                self.memory.keep(what, *seen)
            stream.exhibits = seen[0].exhibits
            stream.tally = stream.tally.plus(seen[1])
        hunt.remember(stream.kept, stream.exhibits, self.bench.evaluator.model.bounds)
        return decision

    def _tell(self) -> None:
        tell = context.current().progress
        if tell is not None:
            held = self.stream.columns["held"]
            tell(self.statement, len(held), self.stream.total, len(held) - int(held.sum()))


def _digests(chunk: Chunk) -> list[bytes]:
    """What tells each sample, with its label, from others."""
    x, y = chunk.x.cpu().contiguous().numpy(), chunk.y.cpu().numpy()
    return [sha256(a.tobytes() + b.tobytes()).digest() for a, b in zip(x, y, strict=True)]


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
