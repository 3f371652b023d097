"""What is counted: the contract between the driver and whatever it measures.

The driver knows a unit by its position and its digest, and nothing else of it. How many there are, how they are read,
what is done with a chunk of them, and how a worker in another process does the same is known here. Labelled samples
that a look puts to a classifier are `robustest.run.units.ModelUnits`; units of a plugin's own are
`robustest.run.own_units.OwnUnits`.


One evaluator, what is done with each chunk, and what that took.

Labelled samples that a look puts to a classifier: the units of every claim of robustest's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from robustest import rng
from robustest.data import Samples
from robustest.decisions.strata import STRATUM
from robustest.engine.answer_checks import EarlyAnswers, ask_again, check_model
from robustest.engine.chunks import Chunk, check_data, load
from robustest.engine.evaluator import Evaluator, choose_precision, resolve, seed_draws
from robustest.engine.gradient_checks import probe_gradient
from robustest.errors import ConfigError, expected
from robustest.identity.fingerprint import Fingerprint, fingerprint
from robustest.models import Classifier, frozen
from robustest.models.shipping import Shipped, ship
from robustest.run.evidence import Exhibit, Look, Observation, Tally
from robustest.run.memory import Answered, Asking, Memory
from robustest.run.replay import Replay
from robustest.run.workers import Job, Mapper, Station, check_versions, versions
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.tasks import CLASSIFICATION, Stratified, Task


class Bench(Protocol):
    """Where chunks are measured, in this process or in a worker's; what a chunk is, it alone knows."""

    def load(self, ids: Tensor) -> Any:
        """Read the units at positions (n,) int64.

        Raises:
            DataError: they cannot be measured on.
        """

    def digests(self, chunk: Any) -> list[bytes]:
        """What tells each of its units from others, one for each."""

    def measure(self, chunk: Any, *, first: bool) -> tuple[Observation, Tally]:
        """What a chunk shows, and what that took.

        Args:
            chunk: as loaded.
            first: whether it is the first of the order: what comes before it is counted with it alone.

        Raises:
            RobustestError: it cannot be measured.
        """


class Counterexamples(Protocol):
    """Known counterexamples of a claim, and how new ones are kept."""

    @property
    def notices(self) -> tuple[str, ...]:
        """What a reader must know."""

    def known(self) -> set[int]:
        """Positions of units that known counterexamples still break."""

    def observed(self, ids: Tensor, examples: int) -> tuple[Observation, Tally]:
        """What is to be said of units that known counterexamples break, without looking further."""

    def smaller(self, exhibits: list[Exhibit]) -> tuple[Observation, Tally]:
        """The same counterexamples, made smaller."""

    def keep(self, kept: Kept) -> None:
        """Take what a chunk found, as long as there is room."""

    def remember(self, shown: list[Exhibit]) -> None:
        """Write what was taken, what is shown in its smaller form."""


class OpenUnits(Protocol):
    """Units that can be measured, until the block that opened them ends."""

    @property
    def bench(self) -> Bench:
        """Measures chunks in this process."""

    @property
    def counterexamples(self) -> Counterexamples | None:
        """What is known to break the claim; None where nothing is kept."""

    @property
    def bounds(self) -> tuple[float, float]:
        """Least and largest value of what exhibits show."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader must know of how they were measured."""

    def audit(self, ids: Tensor) -> Callable[[], tuple[Observation, Tally]] | None:
        """Return what attacks units at positions (n,) int64 by other means, here; None where nothing can."""

    def tried(self, kept: Kept) -> Callable[[], tuple[Observation, Tally]] | None:
        """Return what tries counterexamples of another model here; None where units are not searched."""

    def ask(self, memory: Memory, chunk: Any, marks: list[bytes]) -> None:
        """Put the first chunk before what is measured, so that the memory can tell whether it answers as it did."""

    def spent(self) -> Tally:
        """All that it took so far in this process."""

    def remote(self) -> Job:
        """The same measurement, for workers in other processes."""


class Units(Protocol):
    """What is counted, in a fixed order."""

    def __len__(self) -> int:
        """How many there are."""

    def check(self, ids: Tensor) -> None:
        """Refuse units at positions (n,) int64, in the order in which they are looked at, that change when read again.

        Raises:
            DataError: they do.
        """

    def device(self, settings: Settings) -> torch.device:
        """Where they are measured in this process."""

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        """The identity of what is measured, besides the units themselves.

        Args:
            settings: where it is measured.
            exported: whether it is worth the seconds that it takes to export a model whose code cannot be told.
        """

    def about(self) -> Mapping[str, object]:
        """What else outcomes depend on, plain values by name."""

    def open(self, settings: Settings) -> AbstractContextManager[OpenUnits]:
        """Make them ready to be measured; at the end of the block all is as it was before."""


_ROWS, _ROWS_LATER = 8, 4
"""Samples of the first chunk, and of later ones, whose gradients are asked for the truth."""


@runtime_checkable
class Searching(Protocol):
    """A look that searches for counterexamples of one model, which can be tried on another."""

    def keeping(self) -> Look:
        """Return the same look, with the input of every sample that it breaks in `Observation.kept`."""

    def tried(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observation:
        """Return what becomes of a chunk's samples at inputs that a search on another model has found, row by row."""


def stratified(observed: Observation, task: Task, chunk: Chunk) -> Observation:
    """Return an observation with the column of its strata, if the task has some (`robustest.decisions.strata`).

    Every row of a run must have the same columns: those that are measured, and those of replayed counterexamples.
    """
    if not isinstance(task, Stratified):
        return observed
    return replace(observed, columns={**observed.columns, STRATUM: task.strata(chunk.y).cpu().numpy()})


class ModelBench:
    """Measures chunks of samples with one evaluator, and tells what it took.

    Attributes:
        evaluator: makes the model's passes.
        settings: seed, precision, health checks that are switched off.
        look: what is done with a chunk.
        samples: the data.
    """

    def __init__(self, evaluator: Evaluator, settings: Settings, look: Look, samples: Samples) -> None:
        self.evaluator = evaluator
        self.settings = settings
        self.look = look
        self.samples = samples
        self._busy = False
        self._asked: EarlyAnswers | None = None

    def load(self, ids: Tensor) -> Chunk:
        """Read samples by their positions (n,) int64.

        Raises:
            DataError: as `robustest.engine.chunks.load`.
        """
        evaluator = self.evaluator
        bounds = evaluator.model.bounds
        whole = bool(getattr(self.look, "whole_inputs", False))
        chunk = load(self.samples, ids, bounds=bounds, seed=self.settings.seed, device=evaluator.device, whole=whole)
        if chunk.bounds != bounds:  # of whole numbers, such as tokens: the model is to be given such again
            evaluator.model = replace(evaluator.model, whole=True)
        return chunk

    def digests(self, chunk: Chunk) -> list[bytes]:
        """What tells each sample, with its target, from others: its shape, its type and its values."""
        x, y = chunk.x.cpu().contiguous().numpy(), chunk.y.cpu().contiguous().numpy()
        shape = f"{y.shape[1:]} " if y.ndim > 1 else ""
        about = f"{x.dtype.str} {x.shape[1:]} {y.dtype.str} {shape}".encode()
        return [sha256(about + a.tobytes() + b.tobytes()).digest() for a, b in zip(x, y, strict=True)]

    def measure(self, chunk: Chunk, *, first: bool) -> tuple[Observation, Tally]:
        """Look at a chunk.

        What comes before (replayed counterexamples, checks of the model) is counted with the first chunk of the order
        alone, so that a run that was resumed later, or shared by workers, adds up to the same cost.
        """
        started, before = time.perf_counter(), Tally.of(self.evaluator) if self._busy else Tally()
        seed_draws(chunk.key)
        if first or not self._busy:
            self._asked = check_model(self.evaluator, chunk, self.settings.suppress, first_of_all=first)
            choose_precision(self.evaluator, chunk.x, chunk.y, self.settings.precision)
            self._busy = True
            seed_draws(chunk.key)  # a randomised model drew in these passes too, and how many there are may vary
            if not first:
                before = Tally.of(self.evaluator)
        self.evaluator.check_labels(chunk.y)
        self.evaluator.probed, self.evaluator.probe_rows = False, _ROWS if first else _ROWS_LATER
        backward = self.evaluator.backward
        observed = stratified(self.look(self.evaluator, chunk), self.evaluator.task, chunk)
        if self.evaluator.backward > backward and not self.evaluator.probed:  # so that no claim forgets it
            probe_gradient(self.evaluator, chunk, searched=False)
        ask_again(self.evaluator, self._asked)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)

    def counted(self, make: Callable[[Evaluator], Observation]) -> tuple[Observation, Tally]:
        """Do something else with the model."""
        started, before = time.perf_counter(), Tally.of(self.evaluator)
        observed = make(self.evaluator)
        self.evaluator.settle()
        return observed, Tally.of(self.evaluator).since(before, time.perf_counter() - started)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelUnits:
    """Labelled samples, and what is done with each chunk of them on a classifier.

    Attributes:
        model: the classifier.
        samples: the data.
        look: what is done with a chunk; where there is a replay, a frozen dataclass whose field `replay` holds it.
        replay: known counterexamples, and how to make new ones smaller; None where there are none.
        adapts: whether the look shows a model one condition alone, so that one that adapts is measured fresh.
        task: what the model's answers are, and when they are right.
        classifier_of: prepares another model as this one was; None where the units can be put to this one alone.

    Raises:
        ConfigError: the model adapts to what it is shown, and the claim is about one that does not.
    """

    model: Classifier
    samples: Samples
    look: Look
    replay: Replay | None = None
    adapts: bool = False
    task: Task = CLASSIFICATION
    classifier_of: Callable[[object], Classifier] | None = None

    def __post_init__(self) -> None:
        if self.model.reset is not None and not self.adapts:
            raise ConfigError(
                "Expected a model that answers alike each time but this one adapts to what it is "
                "shown. Measure it with "
                "assert_corruption_robustness, which resets it before each cell."
            )

    def __len__(self) -> int:
        return len(self.samples)

    def beside(self, model: object, *, has_threshold: bool) -> tuple[ModelUnits, ModelUnits]:
        """Return these units and the same units put to another model, ready to be compared.

        Both are asked for what both can give, with the smaller budget of queries: a search that could use the gradients
        of one of the models alone would find more in that one. Searches hand over every counterexample, to be tried on
        the other model.

        Args:
            model: the other one, anything that stands for a classifier.
            has_threshold: whether the number itself has a threshold; then it must not be measured by a weaker search.

        Raises:
            ConfigError: the models do not go together.
        """
        if self.classifier_of is None:
            raise ConfigError(expected("no_worse_than to be the path of a baseline file", model))
        own, look = self.model, cast("Any", self.look)
        try:
            other = self.classifier_of(model)
        except ConfigError as error:
            raise ConfigError(f"{error} no_worse_than= takes the path of a baseline file, or another model.") from error
        if other.bounds != own.bounds:
            raise ConfigError(
                f"Expected no_worse_than= to take inputs in {own.bounds}, as the model does, but got {other.bounds}."
            )
        if own.labels is not None and other.labels is not None and own.labels != other.labels:
            raise ConfigError(
                f"Expected no_worse_than= to have the model's classes {own.labels}, in their order, but got "
                f"{other.labels}."
            )
        if own.reset is not None or other.reset is not None:
            raise ConfigError(
                "Expected two models that answer alike each time but one of them adapts to what it is shown. Compare "
                "it with a baseline file."
            )
        queries = min((one.max_queries for one in (own, other) if one.max_queries is not None), default=None)
        gives = min(own.gives, other.gives)
        searches = isinstance(look, Searching)
        if has_threshold and searches and (own.gives, own.max_queries) != (gives, queries):
            raise ConfigError(
                f"Expected no_worse_than= to give {own.gives.name.lower()}, as the model does, with a budget of "
                f"queries as large, but got {other.gives.name.lower()}: both are searched alike, which would weaken "
                "the search that the threshold rests on. Write an assertion for the threshold, and another with "
                "no_worse_than= alone."
            )
        if searches:
            look = look.keeping()
        first = replace(self, model=replace(own, gives=gives, max_queries=queries), look=look)
        # Known counterexamples are tried on both models, and what still breaks is known of each model by itself.
        known = None if self.replay is None else self.replay.anew()
        look = look if known is None else replace(look, replay=known)
        return first, replace(first, model=replace(other, gives=gives, max_queries=queries), look=look, replay=known)

    def check(self, ids: Tensor) -> None:
        """As `Units.check`."""
        check_data(self.samples, ids)

    def device(self, settings: Settings) -> torch.device:
        """As `Units.device`."""
        return resolve(settings.device, self.model.device)

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        """As `Units.fingerprint`: what the model computes."""
        model = self.model
        told = fingerprint(model.call, model.module, model.preprocessing)
        if not exported or told.digest is not None or model.module is None or model.call is not model.module:
            return told
        example = self.samples.take(torch.zeros(1, dtype=torch.int64))[0].to(model.device or self.device(settings))
        return fingerprint(model.call, model.module, model.preprocessing, example=example)

    def about(self) -> Mapping[str, object]:
        """As `Units.about`."""
        model = self.model
        told = {"gives": model.gives.name, "max_queries": model.max_queries, "bounds": model.bounds}
        return told if self.task == CLASSIFICATION else {**told, "task": self.task}

    @contextmanager
    def open(self, settings: Settings) -> Iterator[OpenSamples]:
        """As `Units.open`: with the model frozen, in eval mode."""
        model, device = self.model, self.device(settings)
        with torch.inference_mode(False), frozen(model.module) as notes:
            evaluator = Evaluator(
                model, device, batch_size=settings.batch_size, suppress=settings.suppress, notes=notes, task=self.task
            )
            evaluator.health.count("train_mode", failed=notes.training, tried=notes.modal)
            yield OpenSamples(self, ModelBench(evaluator, settings, self.look, self.samples), notes)


class OpenSamples:
    """As `OpenUnits`: samples, with their model frozen.

    Attributes:
        bench: measures chunks of them.
        counterexamples: what is known to break the claim.
    """

    def __init__(self, units: ModelUnits, bench: ModelBench, notes: list[str]) -> None:
        self.bench = bench
        self.counterexamples = None if units.replay is None else Replaying(units.replay, bench)
        self._units = units
        self._notes = notes
        self._answered: tuple[Tensor, Tensor] | None = None

    @property
    def bounds(self) -> tuple[float, float]:
        """The input's bounds."""
        return self._units.model.bounds

    @property
    def notes(self) -> tuple[str, ...]:
        """What freezing and measuring had to say."""
        return tuple(self._notes)

    def audit(self, ids: Tensor) -> Callable[[], tuple[Observation, Tally]] | None:
        """As `OpenUnits.audit`: by the look that the claim's look names as its auditor, where it names one."""
        auditor = getattr(self._units.look, "auditor", None)
        # A model with a budget of queries a sample has none left for an audit.
        if auditor is None or self._units.model.max_queries is not None:
            return None
        chunk = self.bench.load(ids)
        # Keys of its own: a search of the same kind would otherwise draw again what the attack has drawn.
        chunk = replace(chunk, key=rng.fold(chunk.key, "audit"))
        look = auditor(self.bench.evaluator, chunk)
        return None if look is None else lambda: self.bench.counted(lambda evaluator: look(evaluator, chunk))

    def tried(self, kept: Kept) -> Callable[[], tuple[Observation, Tally]] | None:
        """As `OpenUnits.tried`: by the look that searched, where it does."""
        look: Any = self._units.look
        if not isinstance(look, Searching):
            return None
        chunk = self.bench.load(kept.ids)
        return lambda: self.bench.counted(lambda evaluator: look.tried(evaluator, chunk, kept))

    def ask(self, memory: Memory, chunk: Chunk, marks: list[bytes]) -> None:
        """As `OpenUnits.ask`: on any engine it is this process's copy of the model that is asked."""
        look: Any = self._units.look
        if self._units.replay is not None:  # what is known beforehand of some samples must not decide what is asked
            look = replace(look, replay=None)
        evaluator = self.bench.evaluator
        asking = Asking(evaluator.model, look, chunk, self.bench.settings, said=memory.said, task=evaluator.task)
        memory.ask(asking, marks)
        self._answered = asking.answered
        if self._answered is not None:
            evaluator.model = replace(evaluator.model, call=Answered(evaluator.model.call, self._answered))

    def spent(self) -> Tally:
        """As `OpenUnits.spent`."""
        return Tally.of(self.bench.evaluator)

    def remote(self) -> ModelJob:
        """As `OpenUnits.remote`: the model as a factory with its weights, or exported."""
        model, samples = self._units.model, self._units.samples
        identity = None if model.recipe is None else fingerprint(model.call, model.module, model.preprocessing).digest
        two = torch.arange(2).clamp(max=len(samples) - 1)
        return ModelJob(
            model=ship(model, lambda: samples.take(two)[0]),
            digest=identity or "",
            samples=samples,
            settings=self.bench.settings,
            look=self._units.look,
            task=self._units.task,
            versions=versions(),
            answered=self._answered,
        )


@dataclass(frozen=True, slots=True)
class Replaying:
    """As `Counterexamples`: a replay, with what it takes to try it."""

    replay: Replay
    bench: ModelBench

    @property
    def notices(self) -> tuple[str, ...]:
        """What is wrong with the corpus."""
        return self.replay.notices

    def known(self) -> set[int]:
        """As `Counterexamples.known`."""
        return self.replay.replay(self.bench.evaluator, self.bench.samples, self._bounds)

    def observed(self, ids: Tensor, examples: int) -> tuple[Observation, Tally]:
        """As `Counterexamples.observed`."""
        chunk = self.bench.load(ids)

        def seen(evaluator: Evaluator) -> Observation:
            return stratified(self.replay.observed(evaluator, chunk, examples), evaluator.task, chunk)

        return self.bench.counted(seen)

    def smaller(self, exhibits: list[Exhibit]) -> tuple[Observation, Tally]:
        """As `Counterexamples.smaller`."""
        return self.bench.counted(
            lambda evaluator: Observation({}, self.replay.polish(evaluator, exhibits, self._bounds))
        )

    def keep(self, kept: Kept) -> None:
        """As `Counterexamples.keep`."""
        self.replay.keep(kept)

    def remember(self, shown: list[Exhibit]) -> None:
        """As `Counterexamples.remember`."""
        self.replay.remember(shown, self._bounds)

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.bench.evaluator.model.bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelJob:
    """A measurement of samples on a classifier, for a worker in another process.

    Attributes:
        model: what is measured.
        digest: identity of a model with a recipe, frozen in eval mode as on the worker; empty for others.
        samples: the data.
        settings: as measured with.
        look: what to do with a chunk.
        versions: of robustest and torch, here.
        answered: an input and its logits that the model need not be asked for again; None for most models.
        task: what the model's answers are.
    """

    model: Shipped
    digest: str
    samples: Samples
    settings: Settings
    look: Look
    versions: tuple[str, str]
    answered: tuple[Tensor, Tensor] | None = None
    task: Task = CLASSIFICATION

    def start(self, device: str) -> Mapper:
        """What measures this job's chunks in the worker's process, which it takes over until the process ends."""
        check_versions(self.versions)
        classifier = self.model.open()
        chosen = resolve(device or self.settings.device, classifier.device)
        open_blocks = ExitStack()
        open_blocks.enter_context(torch.inference_mode(False))
        open_blocks.enter_context(frozen(classifier.module))
        self._same_model(classifier)
        if self.answered is not None:
            classifier = replace(classifier, call=Answered(classifier.call, self.answered))
        evaluator = Evaluator(
            classifier,
            chosen,
            batch_size=self.settings.batch_size,
            suppress=self.settings.suppress,
            notes=[],  # how the model was handed over is known where it was
            task=self.task,
        )
        return Station(ModelBench(evaluator, self.settings, self.look, self.samples), open_blocks)

    def _same_model(self, model: Classifier) -> None:
        """Refuse a model that was built otherwise here; exported ones are what they are.

        Raises:
            ConfigError: its identity differs.
        """
        if self.model.recipe is None or not self.digest:
            return
        here = fingerprint(model.call, model.module, model.preprocessing).digest
        if here is not None and here != self.digest:
            raise ConfigError(
                f"Expected {self.model.recipe} to build the model that is measured but it builds another: its code, "
                "or what the module holds besides its weights, differs. Change the module in the factory, not after."
            )
