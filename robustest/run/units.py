"""Units: the things that a claim counts, their identity, and the measurement of a chunk of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robustest import devices, rng
from robustest.checks import require
from robustest.columns import ANSWER, LEAD
from robustest.data import Samples, decoded, likely_clusters
from robustest.decisions.drop import NAMED
from robustest.decisions.strata import STRATUM
from robustest.engine.answer_checks import EarlyAnswers, ask_again, check_model, check_radius
from robustest.engine.chunks import Chunk, check_data, check_same, may_repeat, read
from robustest.engine.evaluator import Evaluator, seed_draws
from robustest.engine.gathering import Gathering
from robustest.engine.gradient_checks import probe_gradient
from robustest.engine.inspection import marks_of
from robustest.engine.shown import Shown
from robustest.engine.tuning import choose_batch, choose_precision
from robustest.errors import ConfigError, DataError, ModelError, expected
from robustest.health import Health
from robustest.identity.fingerprint import Fingerprint, Unhashable, digest, fingerprint
from robustest.models import Classifier, Needs, frozen
from robustest.models.shipping import Shipped, ship
from robustest.run.evidence import CLASS, CONSTANT, TARGET, Exhibit, Look, Observation, Tally
from robustest.run.memory import ENDPOINT, FULL, WATCHED, Answered, Memory, Notes, listen
from robustest.run.reading import Reader
from robustest.run.replay import Replay
from robustest.run.workers import Job, Mapper, Station, check_versions, versions
from robustest.settings import Settings
from robustest.store.corpus import Kept
from robustest.tasks import CLASSIFICATION, Constant, Stratified, Task, top_of

# Units: the things that a claim counts, their identity, and the measurement of a chunk of them.

# The driver uses only positions and digests of units; `Units` is everything else. There are labelled samples that a
# look puts to a classifier (`ModelUnits`), and units of plugins (`robustest.run.units.OwnUnits`).


# Bytes of a unit's digest.
WHOLE = 32
# Bytes of a sample from which it is worth a thread to read tensors in memory ahead: copies, checks and digests.
_LARGE = 1 << 14
# Scores are sums of fractions: one this much below a floor has reached it.
_ROUNDING = 1e-9
# Samples of the first chunk, and of later ones, with gradients compared with the model's change.
_ROWS, _ROWS_LATER = 8, 4


class Units:
    """The things that a claim counts, in a fixed order.

    Attributes:
        replay: known counterexamples; None without a search.
        bounds: least and largest value of the units, for pictures.
        sample_rate: of waveforms, in Hz, for pictures and sounds; else None.
        may_repeat: two draws from a population may be equal, as rows of a table and short texts are; equal images and
            sounds are copies.
    """

    replay: Replay | None = None
    bounds: tuple[float, float] = (0.0, 1.0)
    sample_rate: int | None = None
    notes: Sequence[str] = ()
    may_repeat: bool = True

    # Identity

    def __len__(self) -> int:
        raise NotImplementedError

    @property
    def clusters(self) -> NDArray[np.int64] | None:
        """(N,) whole numbers, equal for units that were drawn together; None if all are independent draws."""
        return None

    def likely_clusters(self, chunk: Any) -> str:
        """Return the signs of clusters that nobody named, in words; "" if there are none. `chunk` is the first one."""
        return ""

    def check(self, ids: Tensor) -> None:
        """Refuse units that change when they are read again; ids (n,) int64, in the order of measurement.

        Raises:
            DataError: a unit differs between two reads.
        """
        raise NotImplementedError

    def device(self, settings: Settings) -> torch.device:
        raise NotImplementedError

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        """Return the identity of the measurement, without the units; `exported` allows a slow export."""
        raise NotImplementedError

    def about(self) -> Mapping[str, object]:
        """Return the other dependencies of outcomes by name."""
        raise NotImplementedError

    # Measuring

    def open(self, settings: Settings) -> AbstractContextManager[object]:
        """Return a block in which the methods below may be called; everything is restored at its end."""
        raise NotImplementedError

    def load(self, ids: Tensor) -> Any:
        """Read the chunk of the units at positions (n,) int64, on the host.

        Raises:
            DataError: units cannot be measured on.
        """
        raise NotImplementedError

    def reader(self, chunks: Sequence[Tensor]) -> Reader:
        """Return a reader of chunks in this order; close it before the end of `open`."""
        return Reader(lambda ids, _: self.load(ids), chunks, ahead=lambda: False)

    def digests(self, chunk: Any) -> list[bytes]:
        """Return a digest of each unit, of `WHOLE` bytes; one of its input alone may follow."""
        raise NotImplementedError

    def measure(self, chunk: Any, *, first: bool) -> tuple[Observation, Tally]:
        """Measure a chunk.

        Args:
            first: True for the first chunk of the order, which alone has the cost of the checks before it, so that a
                resumed or shared run has the same cost.

        Raises:
            RobustestError: the chunk cannot be measured.
        """
        raise NotImplementedError

    @property
    def gathers(self) -> bool:
        """True if chunks after the first may be measured together, on a device that they do not fill alone."""
        return False

    def gathering(self) -> Gathering:
        raise NotImplementedError

    def measure_among(self, evaluator: Evaluator, chunk: Any) -> tuple[Observation, Tally]:
        """Measure a chunk that is not the first, with an evaluator of its own; the cost has no seconds."""
        raise NotImplementedError

    def ask(self, memory: Memory, chunk: Any, marks: list[bytes]) -> None:
        """Ask the model about the first chunk, and give the memory its notes."""
        raise NotImplementedError

    def cost(self) -> Tally:
        return Tally()

    def job(self) -> Job:
        """Return the measurement for workers."""
        raise NotImplementedError

    # Searching by other means; None where units are not searched

    def audit(
        self, ids: Tensor, *, first: bool, many: bool = False, again: int = 0
    ) -> Callable[[], tuple[Observation, Tally]] | None:
        """Return a function that attacks the units at positions (n,) int64 by other means.

        Args:
            first: True if no chunk but the first one was measured.
            many: True for the cheaper stages of an audit of many units.
            again: number of the further round over units that an audit left; each has draws of its own.
        """
        return None

    def trial(self, kept: Kept) -> Callable[[], tuple[Observation, Tally]] | None:
        """Return a function that tries counterexamples of another model on these units."""
        return None

    # Known counterexamples; called only where there is a replay

    def still_broken(self) -> set[int]:
        return set()

    def replayed(self, ids: Tensor) -> tuple[Observation, Tally]:
        """Return the outcomes of units that known counterexamples break."""
        raise NotImplementedError

    def reopened(self) -> AbstractContextManager[object]:
        """Return a block like that of `open`, entered after it, for `shrunk` alone."""
        raise NotImplementedError

    def shrunk(self, exhibits: list[Exhibit], *, calls: float, rows: float) -> tuple[Observation, Tally]:
        """Return the same counterexamples made smaller, within a budget (`robustest.engine.shrink.Budget`)."""
        raise NotImplementedError

    def remember(self, found: Sequence[Kept], shown: list[Exhibit]) -> None:
        """Write counterexamples to the corpus."""


@runtime_checkable
class Searching(Protocol):
    """A look that searches for counterexamples of one model, which can be tried on another."""

    def keeping(self) -> Look:
        """Return the same look, with every counterexample in `Observation.kept`."""

    def transfer(self, evaluator: Evaluator, chunk: Chunk, kept: Kept) -> Observation:
        """Return the outcomes of a chunk at inputs found by a search on another model, row by row."""


@dataclass(kw_only=True, eq=False)
class ModelUnits(Units):
    """Labelled samples, and the look that puts each chunk of them to a classifier.

    Attributes:
        look: measures a chunk; with a replay, a frozen dataclass with it as the field `replay`.
        adapts: True if the look has one condition only, so that an adaptive model can be reset before it.
        classifier_of: prepares another model as this one was; None if the look fits this model alone.
        evaluator: makes the model's passes, inside `open`.
        shape: (*S) of a sample, after `check`.

    Raises:
        ConfigError: an adaptive model with another look.
    """

    model: Classifier
    samples: Samples
    look: Look
    replay: Replay | None = None
    adapts: bool = False
    task: Task = CLASSIFICATION
    classifier_of: Callable[[object], Classifier] | None = None
    evaluator: Evaluator = field(init=False, repr=False)
    shape: tuple[int, ...] = field(init=False, repr=False, default=())
    _settings: Settings = field(init=False, repr=False)
    _early: EarlyAnswers | None = field(init=False, repr=False, default=None)
    _busy: bool = field(init=False, repr=False, default=False)
    _answered: tuple[Tensor, Tensor] | None = field(init=False, repr=False, default=None)
    _first: tuple[Tensor, Tensor] | None = field(init=False, repr=False, default=None)
    _draws: bool = field(init=False, repr=False, default=False)
    _sent: tuple[Chunk, Chunk] | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        if self.model.reset is not None and not self.adapts:
            raise ConfigError(
                "Expected a model that answers alike each time but this one adapts to what it is "
                "shown. Measure it with "
                "assert_corruption_robustness, which resets it before each cell."
            )
        self.bounds, self.sample_rate = self.model.bounds, self.samples.sample_rate

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def clusters(self) -> NDArray[np.int64] | None:
        return self.samples.clusters

    def likely_clusters(self, chunk: Chunk) -> str:
        labels = self.samples.labels
        if labels is None and top_of(self.task):
            labels = chunk.y.numpy()
        return likely_clusters.of_samples(self.samples, chunk.floats(), labels)

    def check(self, ids: Tensor) -> None:
        before = decoded.states() if self.samples.slow else None
        self._first = check_data(self.samples, ids)
        self.may_repeat = may_repeat(self._first[0], self.sample_rate)
        self.shape = tuple(self._first[0].shape[1:])
        # Draws of the data set from another thread would come between those of the model, or of the user's shifts.
        self._draws = before is not None and before != decoded.states()

    def device(self, settings: Settings) -> torch.device:
        return self.model.place(settings.device)

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        model = self.model
        found = fingerprint(model.call, model.module, model.preprocessing)
        if not exported or found.digest is not None or model.module is None or model.call is not model.module:
            return found
        if model.decode is not None:  # a graph takes tensors
            return found
        # The exported graph takes the place of code that cannot be read; an export needs an example.
        example = self.samples.take(torch.zeros(1, dtype=torch.int64))[0].to(model.device or self.device(settings))
        return fingerprint(model.call, model.module, model.preprocessing, example=example)

    def about(self) -> Mapping[str, object]:
        model = self.model
        about = {"gives": model.gives.name, "max_queries": model.max_queries, "bounds": model.bounds}
        about |= {} if self.sample_rate is None else {"sample_rate": self.sample_rate}
        return about if self.task == CLASSIFICATION else {**about, "task": self.task}

    @contextmanager
    def open(self, settings: Settings) -> Iterator[None]:
        with torch.inference_mode(False), frozen(self.model.module) as notes:
            evaluator = Evaluator.of(self.model, settings, notes, task=self.task)
            evaluator.health.count("train_mode", failed=notes.training, tried=notes.modal)
            self.begin(evaluator, settings)
            self.notes = notes  # which later passes add to
            yield

    @contextmanager
    def reopened(self) -> Iterator[None]:
        # The evaluator stays: what it knows of the model holds.
        with torch.inference_mode(False), frozen(self.model.module):
            yield

    def begin(self, evaluator: Evaluator, settings: Settings) -> None:
        self.evaluator, self._settings = evaluator, settings
        self._early, self._busy, self._answered = None, False, None

    def load(self, ids: Tensor) -> Chunk:
        return self._read(ids, None, marked=False)

    def _read(self, ids: Tensor, taken: tuple[Tensor, Tensor] | None, *, marked: bool = True) -> Chunk:
        model, device = self.model, self.evaluator.device
        whole = bool(getattr(self.look, "whole_inputs", False))
        if taken is not None and self._first is not None:  # read by a process: the first must be those read here
            first, few = self._first, len(self._first[0])
            check_same((first[0], first[1]), (taken[0][:few], taken[1][:few]), ids[:few])
            self._first = None
        how: dict[str, Any] = {
            "bounds": model.bounds,
            "seed": self._settings.seed,
            "room": getattr(self.look, "room", 0),
        }
        chunk = read(self.samples, ids, **how, whole=whole, taken=taken, marked=marked, device=device)
        return chunk if chunk.sums is not None else replace(chunk, x=devices.pinned(chunk.x, device))

    def reader(self, chunks: Sequence[Tensor]) -> Reader:
        random = self.evaluator.random

        def ahead() -> bool:
            large = self._first is not None and self._first[0][:1].nbytes >= _LARGE
            return (self.samples.slow or large) and not self._draws and not random

        return Reader(self._read, chunks, ahead=ahead, stream=None if random else self.samples.stream)

    def _there(self, chunk: Chunk) -> Chunk:
        """Return a chunk on the device of the model; the last one is kept for a second call."""
        evaluator = self.evaluator
        if chunk.bounds != evaluator.model.bounds:  # integers, such as tokens: the model must get integers again
            evaluator.model = replace(evaluator.model, whole=True)
        if self._sent is None or self._sent[0] is not chunk:
            self._sent = chunk, chunk.on(evaluator.device)
        return self._sent[1]

    def digests(self, chunk: Chunk) -> list[bytes]:
        if chunk.coding is not None:  # the same values are the same data, however they are padded
            own = chunk.coding.identities(chunk.x)
            y = chunk.y.cpu().contiguous().numpy()
            about = f"{y.dtype.str} {y.shape[1:]} ".encode()
            return [sha256(about + len(a).to_bytes(8) + a + b.tobytes()).digest() for a, b in zip(own, y, strict=True)]
        if chunk.marks is not None:
            return chunk.marks
        rate = "" if chunk.sample_rate is None else f"{chunk.sample_rate} Hz "
        return marks_of(chunk.floats(), chunk.y, about=rate)

    def measure(self, chunk: Chunk, *, first: bool) -> tuple[Observation, Tally]:
        evaluator, settings = self.evaluator, self._settings
        started, before = time.perf_counter(), Tally.of(evaluator) if self._busy else Tally()
        chunk, self._sent = self._there(chunk), None
        # Draws of a random model depend on the chunk alone, not on the chunks before it or on the worker.
        seed_draws(chunk.key)
        if first or not self._busy:
            threat = getattr(self.look, "threat", None)
            self._early = check_model(evaluator, chunk, settings.suppress, first_of_all=first, threat=threat)
            if evaluator.rounds_factors():
                evaluator.note(
                    f"{evaluator.device} rounds the factors of float32 products: on the host answers may differ"
                )
            choose_batch(evaluator, chunk.x, chunk.y)
            choose_precision(evaluator, chunk.x, chunk.y, settings.precision)
            self._busy = True
            # Not before: the checks compare answers in batches of different sizes.
            evaluator.fixed_shapes = self.gathers
            # A model that answers at random has drawn in these passes, whose number varies.
            seed_draws(chunk.key)
            if not first:  # a worker's checks are counted by nobody
                before = Tally.of(evaluator)
        observation = self._looked(evaluator, chunk, first=first)
        return observation, Tally.of(evaluator).since(before, time.perf_counter() - started)

    def _looked(self, evaluator: Evaluator, chunk: Chunk, *, first: bool) -> Observation:
        evaluator.check_labels(chunk.y)
        evaluator.probed, evaluator.probe_rows = False, _ROWS if first else _ROWS_LATER
        forward, backward, health = evaluator.forward, evaluator.backward, Health().plus(evaluator.health)
        evaluator.shown = Shown(chunk, getattr(self.look, "threat", None))
        try:
            found = self.look(evaluator, chunk)
            if evaluator.low_precision == "alone":
                evaluator.require_finite()
        except ModelError:
            if evaluator.low_precision != "alone":
                raise
            # Numbers that are not finite in bfloat16, or an operation that it does not have: nothing of it counts. An
            # error of the model itself comes again.
            evaluator.note("gradients in float32: in bfloat16 the model has none, or none that are finite")
            evaluator.health, evaluator.probed = health, False
            evaluator.shown = Shown(chunk, evaluator.shown.threat)
            with evaluator.in_float32(anew=True):
                found = self.look(evaluator, chunk)
        shown, evaluator.shown = evaluator.shown, None
        shown.past = evaluator.forward == forward
        if shown.threat is not None:
            check_radius(evaluator, shown.threat, chunk)
        observation = with_labels(found, evaluator.task, chunk, shown)
        if evaluator.backward > backward and not evaluator.probed:  # a look that took gradients and did not check them
            probe_gradient(evaluator, chunk, searched=False)
        # Early inputs once more: an answer that has changed depends on the inputs between.
        ask_again(evaluator, self._early)
        evaluator.require_finite()
        return observation

    @property
    def gathers(self) -> bool:
        # Draws of a random model depend on the order of passes, and a budget of queries is no batch. Other looks pass
        # each chunk a few times alone, and may run the user's code, which threads of ours are no place for.
        model = self.model
        return (
            self._busy
            and devices.gathers(self.evaluator.device)
            and bool(getattr(self.look, "gathers", False))
            and not self.evaluator.random
            and (model.reset, model.max_queries, model.decode) == (None, None, None)
            and model.module is not None
            and model.call is model.module
        )

    def gathering(self) -> Gathering:
        return Gathering(self.evaluator)

    def measure_among(self, evaluator: Evaluator, chunk: Chunk) -> tuple[Observation, Tally]:
        before = Tally(notes=tuple(evaluator.notes))
        chunk, self._sent = self._there(chunk), None
        return self._looked(evaluator, chunk, first=False), Tally.of(evaluator).since(before, 0.0)

    def ask(self, memory: Memory, chunk: Chunk, marks: list[bytes]) -> None:
        # On every engine, this process's copy of the model is asked.
        look: Any = self.look
        chunk = self._there(chunk)
        if self.replay is not None:  # known counterexamples must not change the questions
            look = replace(look, replay=None)
        model = self.evaluator.model
        remote = memory.self_declared and model.gives is not Needs.GRADIENT
        costly = remote or model.max_queries is not None
        answered: tuple[Tensor, Tensor] | None = None

        def hear(every: bool) -> Notes | None:
            nonlocal answered
            plan = WATCHED if not every else ENDPOINT if costly else FULL
            notes, first = listen(model, look, chunk, self._settings, task=self.evaluator.task, plan=plan)
            answered = first if costly else None
            return notes

        def hear_at(ids: Tensor) -> str | None:
            try:
                rows = self.load(ids).on(self.evaluator.device)
            except Exception:  # samples that cannot be read again
                return None
            notes, _ = listen(model, look, rows, self._settings, task=self.evaluator.task, plan=((len(ids), 1),))
            # Gradients need not repeat to the last bit on every device.
            return None if notes is None else notes.digest(notes.gradient)

        again = not (self.samples.stream or self._draws)
        memory.ask(hear, marks, hear_at=hear_at if again else None, costly=costly)
        self._answered = answered
        if answered is not None:
            self.evaluator.model = replace(model, call=Answered(model.ask, answered), decode=None)

    def cost(self) -> Tally:
        return Tally.of(self.evaluator)

    def job(self) -> ModelJob:
        model, samples = self.model, self.samples
        identity = None if model.recipe is None else fingerprint(model.call, model.module, model.preprocessing).digest
        # Two samples, since `torch.export` specialises on a batch size of 1.
        two = torch.arange(2).clamp(max=len(samples) - 1)
        return ModelJob(
            model=ship(model, lambda: samples.take(two)[0]),
            digest=identity or "",
            samples=samples,
            settings=self._settings,
            look=self.look,
            task=self.task,
            versions=versions(),
            answered=self._answered,
        )

    def audit(
        self, ids: Tensor, *, first: bool, many: bool = False, again: int = 0
    ) -> Callable[[], tuple[Observation, Tally]] | None:
        auditor = getattr(self.look, "auditor", None)
        # A model with a budget of queries per sample has none left for an audit.
        if auditor is None or self.model.max_queries is not None:
            return None
        chunk = self.load(ids).on(self.evaluator.device)
        # Other keys: a search of the same kind would otherwise repeat the attack's draws.
        chunk = replace(chunk, key=rng.fold(chunk.key, f"audit {again}" if again else "audit"))
        # As if this evaluator had measured the chunks, which workers may have measured, or the memory known.
        self.evaluator.probe_rows = _ROWS if first else _ROWS_LATER
        look = auditor(self.evaluator, chunk, many=many)

        def audited(evaluator: Evaluator) -> Observation:
            with evaluator.in_float32():
                observation: Observation = look(evaluator, chunk)
                evaluator.require_finite()
            return observation

        return None if look is None else lambda: self._counted(audited)

    def trial(self, kept: Kept) -> Callable[[], tuple[Observation, Tally]] | None:
        look: Any = self.look
        if not isinstance(look, Searching):
            return None
        chunk = self.load(kept.ids).on(self.evaluator.device)
        return lambda: self._counted(lambda evaluator: look.transfer(evaluator, chunk, kept))

    def still_broken(self) -> set[int]:
        bounds = self.evaluator.model.bounds
        return set() if self.replay is None else self.replay.replay(self.evaluator, self.samples, bounds)

    def replayed(self, ids: Tensor) -> tuple[Observation, Tally]:
        chunk, replay = self.load(ids).on(self.evaluator.device), cast("Replay", self.replay)
        return self._counted(lambda one: with_labels(replay.observed(one, chunk), one.task, chunk))

    def shrunk(self, exhibits: list[Exhibit], *, calls: float, rows: float) -> tuple[Observation, Tally]:
        replay, bounds = cast("Replay", self.replay), self.evaluator.model.bounds
        most: dict[str, float] = {"calls": calls, "rows": rows}

        def polished(evaluator: Evaluator) -> Observation:
            return Observation({}, replay.polish(evaluator, exhibits, bounds, self.samples.coding, **most))

        return self._counted(polished)

    def remember(self, found: Sequence[Kept], shown: list[Exhibit]) -> None:
        if self.replay is not None:
            for part in found:
                self.replay.keep(part)
            self.replay.remember(shown, self.evaluator.model.bounds)

    def _counted(self, make: Callable[[Evaluator], Observation]) -> tuple[Observation, Tally]:
        started, before = time.perf_counter(), Tally.of(self.evaluator)
        observation = make(self.evaluator)
        self.evaluator.require_finite()
        return observation, Tally.of(self.evaluator).since(before, time.perf_counter() - started)

    def beside(self, model: object, *, has_threshold: bool) -> tuple[ModelUnits, ModelUnits]:
        """Return these units, and the same units with another model, ready to be compared.

        Args:
            model: the other model.
            has_threshold: True if the number has a threshold too, and so must not be measured by a weaker search.

        Raises:
            ConfigError: the models cannot be compared.
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
        # A search with the gradients, or the larger budget, of one model alone would find more in that one.
        queries = min((one.max_queries for one in (own, other) if one.max_queries is not None), default=None)
        # The weaker access of both: gradients, scores or labels.
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
        # Known counterexamples are tried on both models; which of them still break is known of each model separately.
        known = None if self.replay is None else self.replay.anew()
        look = look if known is None else replace(look, replay=known)
        return first, replace(first, model=replace(other, gives=gives, max_queries=queries), look=look, replay=known)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelJob:
    """A measurement of samples on a classifier, for a worker in another process.

    Attributes:
        digest: identity of a model with a recipe, as on the worker; "" for others.
        versions: of robustest and torch, in the sending process.
        answered: an input with its logits that the model need not be asked for again, or None.
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
        """Return the function that measures chunks in the worker's process.

        Raises:
            ConfigError: the recipe builds another model here.
        """
        check_versions(self.versions)
        model = self.model.open()
        blocks = ExitStack()
        blocks.enter_context(torch.inference_mode(False))
        blocks.enter_context(frozen(model.module))
        if self.model.recipe is not None and self.digest:  # an exported model is the same everywhere
            here = fingerprint(model.call, model.module, model.preprocessing).digest
            if here is not None and here != self.digest:
                raise ConfigError(
                    f"Expected {self.model.recipe} to build the model that is measured but it builds another: its "
                    "code, or what the module holds besides its weights, differs. Change the module in the factory, "
                    "not after."
                )
        # No notes: how the model was handed over is known in the process that sent the job.
        evaluator = Evaluator.of(model, self.settings, [], task=self.task, device=device)
        if self.answered is not None:
            there = evaluator.model
            evaluator.model = replace(there, call=Answered(there.ask, self.answered), decode=None)
        units = ModelUnits(model=model, samples=self.samples, look=self.look, adapts=True, task=self.task)
        units.begin(evaluator, self.settings)
        return Station(units, blocks)


def with_labels(observation: Observation, task: Task, chunk: Chunk, shown: Shown | None = None) -> Observation:
    """Return an observation with the columns of its samples' classes, or targets, strata, and of the inputs shown.

    Strata decide (`robustest.decisions.strata`), inputs shown may refuse a pass (`robustest.run.grounds`); classes
    only explain.

    Args:
        shown: None for replayed counterexamples, which were changed.
    """
    # All rows of a run must have the same columns, also those of replayed counterexamples.
    columns: dict[str, Any] = (shown or Shown(chunk, changed=torch.ones(len(chunk.ids), dtype=torch.bool))).columns()
    for name in (ANSWER, LEAD):  # a look whose passes are of one sample each says itself what was answered
        if name in observation.columns:
            del columns[name]
    if top_of(task) and chunk.y.ndim == 1:
        columns[CLASS] = chunk.y
        if top_of(task) > 1:
            columns[NAMED] = np.full(len(chunk.y), top_of(task))
    elif not task.one_class:  # equal targets have one number: what a model reaches that says one thing of every sample
        rows = chunk.y.cpu().contiguous().numpy()
        columns[TARGET] = np.array([int.from_bytes(sha256(row.tobytes()).digest()[:7]) for row in rows])
    if isinstance(task, Constant):
        said, floor = task.graded(task.constant(chunk.y), chunk.y), task.floor
        columns[CONSTANT] = said if floor is None or "score" in observation.columns else said >= floor - _ROUNDING
    if isinstance(task, Stratified):
        columns[STRATUM] = task.strata(chunk.y)
    return replace(observation, columns={**observation.columns, **columns}) if columns else observation


# Units of a plugin: games, episodes, pages of annotations. Positions go in, one outcome for each comes out.

# A `Countable` in `OwnUnits` gets seeded order, early verdicts, memory, shards, workers and reports as robustest's
# claims.


# Units that are read twice, and must be the same.
_READ_TWICE = 16
# Units measured twice before anything is recalled, and once more after each chunk.
_ASKED, _WATCHED = 8, 4


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of units.

    Attributes:
        ids: (n,) int64 positions.
        keys: (n,) int64, keys of their randomness (`robustest.rng`), from seed and position alone.
    """

    ids: Tensor
    units: Sequence[Any]
    keys: Tensor
    device: torch.device


class Countable(Protocol):
    """Units of a plugin: best a frozen dataclass in a module that can be imported.

    Class and fields must hold all that outcomes depend on: outcomes are stored under a digest of both. It is pickled
    for other processes. The outcome of a unit must be a function of the unit, its key and the fields, never of other
    units; draws come from the keys.
    """

    def __len__(self) -> int:
        """Return the number of units, >= 1."""

    def load(self, ids: Sequence[int]) -> Sequence[Any]:
        """Return the units at these positions, in 0..len - 1, the same at every read.

        A value consists of numbers, texts, bytes, tensors, arrays, and tuples, lists and dicts of them.
        """

    def look(self, part: Part) -> Mapping[str, NDArray[Any]] | Observation:
        """Return outcomes of some units: arrays (n, ...) of numbers or bools by name, rows as in the part.

        The column "held" (n,) of bools is required: True for units that support the claim. Rules read others by name.
        An `Observation` may also have exhibits, and counts that add up over parts.
        """


@runtime_checkable
class Glancing(Protocol):
    """An optional method of a countable with a slow look.

    Before anything is recalled, and after each chunk, a few units are measured again and compared, by `glance` if there
    is one.
    """

    def glance(self, part: Part) -> Mapping[str, NDArray[Any]]:
        """Return arrays by name, at little cost, that change whenever the outcomes of a look would."""


class OwnUnits(Units):
    """Countable things as the units of a plan. Their counterexamples are not kept, and nothing attacks them.

    If outcomes are stored, eight of the first units are measured twice before anything is recalled, and four again
    after each measured chunk; if they differ, all are measured again.
    """

    def __init__(self, countable: Countable) -> None:
        self.countable = countable
        self._settings = Settings()
        self._on = torch.device("cpu")
        require(len(countable) >= 1, "one unit or more", len(countable))

    def __len__(self) -> int:
        return len(self.countable)

    def check(self, ids: Tensor) -> None:
        few = ids[:_READ_TWICE].tolist()
        first, second = ([_digest(unit) for unit in self._read(few)] for _ in range(2))
        if first != second:
            raise DataError(
                "Expected load(ids) to give the same units when they are read twice but some were others. Draw from "
                "the part's keys in look(), not while units are read."
            )

    def device(self, settings: Settings) -> torch.device:
        return devices.resolve(settings.device, None)

    def fingerprint(self, settings: Settings, *, exported: bool) -> Fingerprint:
        try:
            return Fingerprint(digest(self.countable), "class and fields")
        except Unhashable as error:
            return Fingerprint(None, str(error))

    def about(self) -> Mapping[str, object]:
        return {"units": "own"}

    @contextmanager
    def open(self, settings: Settings) -> Iterator[OwnUnits]:
        self.begin(settings, self.device(settings))
        yield self

    def begin(self, settings: Settings, device: torch.device) -> None:
        self._settings, self._on = settings, device

    def load(self, ids: Tensor) -> Part:
        return Part(ids, self._read(ids.tolist()), rng.keys(self._settings.seed, ids), self._on)

    def _read(self, ids: list[int]) -> Sequence[Any]:
        units = self.countable.load(ids)
        if len(units) != len(ids):
            raise DataError(expected(f"load(ids) to give a unit for each of {len(ids)} positions", len(units)))
        return units

    def digests(self, chunk: Part) -> list[bytes]:
        return [_digest(unit) for unit in chunk.units]

    def measure(self, chunk: Part, *, first: bool) -> tuple[Observation, Tally]:
        started, n = time.perf_counter(), len(chunk.ids)
        outcomes = self.countable.look(chunk)
        observation = outcomes if isinstance(outcomes, Observation) else Observation(dict(outcomes), [])
        held = observation.columns.get("held")
        if not isinstance(held, np.ndarray) or held.dtype != bool or held.shape != (n,):
            raise DataError(expected(f'look(part) to give a column "held" of {n} bools, an array', held))
        for name, column in observation.columns.items():
            if not isinstance(column, np.ndarray) or column.dtype.kind not in "biuf" or len(column) != n:
                what = f"look(part) to give a column {name!r} of {n} numbers or bools, an array"
                raise DataError(expected(what, column))
        return observation, Tally(seconds=time.perf_counter() - started)

    def glance(self, chunk: Part) -> Mapping[str, NDArray[Any]]:
        if isinstance(self.countable, Glancing):
            return self.countable.glance(chunk)
        return self.measure(chunk, first=False)[0].columns

    def ask(self, memory: Memory, chunk: Part, marks: list[bytes]) -> None:
        def hear(every: bool) -> Notes | None:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # the measurement gives them
                    part = self.load(chunk.ids[: _ASKED if every else _WATCHED])
                    return Notes((bytes.fromhex(digest(dict(self.glance(part)))),), 1)
            except Exception:  # the measurement raises it again
                return None

        memory.ask(hear, marks)

    def job(self) -> PartJob:
        identity = self.fingerprint(self._settings, exported=False).digest or ""
        return PartJob(self.countable, identity, self._settings, versions())


@dataclass(frozen=True, slots=True)
class PartJob:
    """A measurement of a plugin's units, for a worker; `digest` and `versions` are those of the sending process."""

    countable: Countable
    digest: str
    settings: Settings
    versions: tuple[str, str]

    def start(self, device: str) -> Station:
        """Return the function that measures chunks in the worker's process.

        Raises:
            ConfigError: other code is installed here.
        """
        check_versions(self.versions)
        units = OwnUnits(self.countable)
        here = units.fingerprint(self.settings, exported=False).digest
        if self.digest and here is not None and here != self.digest:
            raise ConfigError(
                f"Expected {type(self.countable).__name__} to be on every worker what it is here but its code, or what "
                "it holds, differs. Install the same version of the package everywhere."
            )
        units.begin(self.settings, devices.resolve(device or self.settings.device, None))
        return Station(units)


def _digest(unit: object) -> bytes:
    try:
        return bytes.fromhex(digest(unit))
    except Unhashable as error:
        raise DataError(
            f"Expected load(ids) to give plain values, which a digest tells apart, but got: {error}. Give what the "
            "unit is made of (numbers, texts, arrays), and make the rest of it in look()."
        ) from error
