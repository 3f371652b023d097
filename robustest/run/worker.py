"""What a worker is told of a measurement, and what it tells of a chunk."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from robustest import clock
from robustest.data import Samples
from robustest.engine.evaluator import Evaluator, resolve
from robustest.errors import ConfigError, RobustestError
from robustest.identity.fingerprint import fingerprint
from robustest.identity.packages import own_code
from robustest.models import Classifier, frozen
from robustest.models.shipping import Shipped
from robustest.run.chunk_measurement import Look, ModelBench
from robustest.run.engines.engine import Mapper
from robustest.run.evidence import Observed, Tally
from robustest.run.remembered.asking import Answered
from robustest.run.schedule import Work
from robustest.run.units import Bench
from robustest.settings import Settings
from robustest.tasks import CLASSIFICATION, Task
from robustest.version import VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What became of a chunk.

    Attributes:
        place: its place in the order.
        observed, tally: what it showed, and what that took.
        marks: digests of its samples.
        warned: warnings given meanwhile: their categories and texts.
        error: why it could not be measured; the rest is empty then.
        over: whether the claim's time was up before it was measured; the rest is empty then.
    """

    place: int
    observed: Observed = field(default_factory=lambda: Observed({}, []))
    tally: Tally = field(default_factory=Tally)
    marks: list[bytes] = field(default_factory=list)
    warned: tuple[tuple[type[Warning], str], ...] = ()
    error: RobustestError | None = None
    over: bool = False


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


class Station:
    """Measures chunks in a worker's process.

    Args:
        bench: measures them.
        blocks: left open: the process measures one model at a time.
    """

    def __init__(self, bench: Bench, blocks: ExitStack | None = None) -> None:
        self._bench = bench
        self._blocks = blocks

    def __call__(self, work: Work) -> Seen:
        """What became of a chunk; what kept it from being measured is told, not raised."""
        try:
            with clock.budget_until(work.until), warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                chunk = self._bench.load(work.ids)
                observed, tally = self._bench.measure(chunk, first=work.place == 0)
        except RobustestError as error:
            return Seen(place=work.place, error=error)
        except clock.OutOfTime:
            return Seen(place=work.place, over=True)
        warned = tuple((warning.category, str(warning.message)) for warning in caught)
        marks = self._bench.digests(chunk)
        return Seen(place=work.place, observed=observed, tally=tally, marks=marks, warned=warned)


def check_versions(asked: tuple[str, str]) -> None:
    """Refuse to measure where other code is installed than where the measurement was asked for.

    Raises:
        ConfigError: robustest or torch differ.
    """
    here = versions()
    if asked != here:
        raise ConfigError(
            f"Expected robustest {asked[0]} and torch {asked[1]} on every worker, as here, but one has robustest "
            f"{here[0]} and torch {here[1]}."
        )


def versions() -> tuple[str, str]:
    """Of robustest, with its code: two checkouts of one version differ; of torch, without what it was built for."""
    return f"{VERSION} (code {own_code()[:12]})", torch.__version__.split("+")[0]
