"""What a call comes to before anything is measured: its model, its data, and the settings that hold for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from robustest.data import Samples, as_samples
from robustest.data.benchmarks import Benchmark
from robustest.data.unwrapped import unwrapped
from robustest.decisions import Rule, Terms
from robustest.decisions.strata import StrataRule
from robustest.errors import ConfigError
from robustest.models import Classifier
from robustest.run.chunk_measurement import Look
from robustest.run.models.classified import Classified
from robustest.run.models.detecting import detecting
from robustest.run.models.restricting import restricted
from robustest.run.options import Options, apply, terms_of
from robustest.run.plan import Plan
from robustest.run.remembered.replay import Replay
from robustest.settings import Settings
from robustest.tasks import CLASSIFICATION, Detection, Stratified, Task, checked_task


@dataclass(frozen=True, slots=True)
class Setup:
    """A model, data, and how they are measured.

    Attributes:
        model: the classifier.
        samples: the data.
        settings: the running test's, with the call's options.
        task: what the model's answers are, and when they are right.
        classifier_of: prepares any model as `model` was prepared: bounds, preprocessing, a detector's adapter, the
            classes of a benchmark.
    """

    model: Classifier
    samples: Samples
    settings: Settings
    task: Task = CLASSIFICATION
    classifier_of: Callable[[object], Classifier] | None = None

    @classmethod
    def of(cls, model: object, data: object, options: Options, task: Task | str | None = None) -> Setup:
        """What a call's model, data and options stand for, and the task, classification where None.

        Of a benchmark's samples, the model is asked for its classes.

        Raises:
            ConfigError: an option is unknown or out of range, or the model is none.
            DataError: the data cannot be measured on.
        """
        asked = CLASSIFICATION if task is None else checked_task(task)

        def prepared(one: object) -> tuple[Classifier, Settings]:
            classifier, settings = apply(one, options)
            if isinstance(asked, Detection):
                classifier = detecting(classifier, asked)
            return restricted(classifier, data.classes) if isinstance(data, Benchmark) else classifier, settings

        classifier, settings = prepared(model)
        given = data
        if not isinstance(data, Benchmark):
            given = unwrapped(data, (classifier.labels or classifier.classes or None) if asked.one_class else None)
        return cls(classifier, as_samples(given, asked), settings, asked, lambda one: prepared(one)[0])

    def but(self, **values: Any) -> Setup:
        """The same with other settings, by name."""
        return replace(self, settings=self.settings.but(values))

    def unpictured(self) -> Setup:
        """The same without pictures of what speaks against the claim."""
        return replace(self, settings=replace(self.settings, pictures=None))

    def on(self, samples: Samples) -> Setup:
        """The same with other data, a view of them say."""
        return replace(self, samples=samples)

    @property
    def terms(self) -> Terms:
        """What the verdict may rest on."""
        return terms_of(self.settings)

    @property
    def alone(self) -> Terms:
        """What a number may rest on that is no claim of the test's: it shares its error with no other."""
        alpha = self.settings.alpha
        return Terms(scope=self.settings.scope, alpha=alpha, fail_alpha=alpha)

    def plan(
        self,
        statement: str,
        look: Look,
        rule: Rule,
        *,
        identity: object = None,
        replay: Replay | None = None,
        here: bool = False,
        adapts: bool = False,
    ) -> Plan:
        """The plan of one claim; see `Plan` and `Classified` for the arguments."""
        units = Classified(
            model=self.model,
            samples=self.samples,
            look=look,
            replay=replay,
            adapts=adapts,
            task=self.task,
            classifier_of=self.classifier_of,
        )
        if isinstance(self.task, Stratified):
            gates = getattr(self.task, "by", "overall") == "objects"
            rule = StrataRule(whole=rule, nouns=self.task.nouns, gates=gates, alpha=self.settings.alpha)
        kept = None if self.model.reset is not None else identity  # what a model adapted to is no part of it
        here = here or self.model.reset is not None
        return Plan(statement=statement, units=units, settings=self.settings, rule=rule, identity=kept, here=here)


def deciding(asked: Task | str | None) -> Task | None:
    """The task of a call, which must say which answers hold, or None.

    Raises:
        ConfigError: it has scores alone, no floor for them.
    """
    task = None if asked is None else checked_task(asked)
    if task is not None and getattr(task, "floor", 1.0) is None:
        raise ConfigError(
            f"Expected a floor of the score from which on an answer of {task.name} holds but got none. Pass floor=0.9, "
            "say, to the task, or claim the mean score with assert_robust_score."
        )
    return task


def of_task(task: Task) -> str:
    """What a statement adds about a task other than classification: which answers hold."""
    return "" if task.one_class else f", by {task}"
