"""Labelled samples that a look puts to a classifier: the units of every claim of robustest's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor

from robustest import rng
from robustest.data import Samples
from robustest.engine.chunks import Chunk, check_data
from robustest.engine.evaluator import Evaluator, resolve
from robustest.errors import ConfigError, expected
from robustest.identity.fingerprint import Fingerprint, fingerprint
from robustest.models import Classifier, frozen
from robustest.models.shipping import ship
from robustest.run.chunk_measurement import Look, ModelBench, Searching, stratified
from robustest.run.evidence import Exhibit, Observed, Tally
from robustest.run.remembered.asking import Answered, Asking
from robustest.run.remembered.memory import Memory
from robustest.run.remembered.replay import Replay
from robustest.run.worker import ModelJob, versions
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.tasks import CLASSIFICATION, Task


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
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

    def beside(self, model: object, *, asked: bool) -> tuple[Classified, Classified]:
        """Return these units and the same units put to another model, ready to be compared.

        Both are asked for what both can give, with the smaller budget of queries: a search that could use the gradients
        of one of the models alone would find more in that one. Searches hand over every counterexample, to be tried on
        the other model.

        Args:
            model: the other one, anything that stands for a classifier.
            asked: whether the number itself has a threshold; then it must not be measured by a weaker search.

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
        if asked and searches and (own.gives, own.max_queries) != (gives, queries):
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
            evaluator.health.modal, evaluator.health.training = notes.modal, notes.training
            yield OpenSamples(self, ModelBench(evaluator, settings, self.look, self.samples), notes)


class OpenSamples:
    """As `OpenUnits`: samples, with their model frozen.

    Attributes:
        bench: measures chunks of them.
        counterexamples: what is known to break the claim.
    """

    def __init__(self, units: Classified, bench: ModelBench, notes: list[str]) -> None:
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

    def audit(self, ids: Tensor) -> Callable[[], tuple[Observed, Tally]] | None:
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

    def tried(self, kept: Kept) -> Callable[[], tuple[Observed, Tally]] | None:
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

    def observed(self, ids: Tensor, examples: int) -> tuple[Observed, Tally]:
        """As `Counterexamples.observed`."""
        chunk = self.bench.load(ids)

        def seen(evaluator: Evaluator) -> Observed:
            return stratified(self.replay.observed(evaluator, chunk, examples), evaluator.task, chunk)

        return self.bench.counted(seen)

    def smaller(self, exhibits: list[Exhibit]) -> tuple[Observed, Tally]:
        """As `Counterexamples.smaller`."""
        return self.bench.counted(lambda evaluator: Observed({}, self.replay.polish(evaluator, exhibits, self._bounds)))

    def keep(self, kept: Kept) -> None:
        """As `Counterexamples.keep`."""
        self.replay.keep(kept)

    def remember(self, shown: list[Exhibit]) -> None:
        """As `Counterexamples.remember`."""
        self.replay.remember(shown, self._bounds)

    @property
    def _bounds(self) -> tuple[float, float]:
        return self.bench.evaluator.model.bounds
