"""What every measurement takes besides its own arguments.

A detector as robustest asks it: its answers in rows, by the adapter of the task.

A model asked for some of its classes alone: those of a benchmark.

What a call comes to before anything is measured: its model, its data, and the settings that hold for it.

What is to be measured, as one value: made once by a claim, and passed whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from inspect import signature
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import context
from robustest.data import Samples, as_samples
from robustest.data.benchmarks import Benchmark, ClassMap
from robustest.data.samples import unwrapped
from robustest.decisions import Rule, ShareRule, Terms, failure_level
from robustest.decisions.strata import StrataRule
from robustest.errors import ConfigError, expected, unknown
from robustest.factory import Factory
from robustest.models import Classifier, Needs, as_classifier
from robustest.models.classifier import Preprocessing, logits_of
from robustest.run.comparison import Baseline, Compared, compared, measured_by
from robustest.run.evidence import Look
from robustest.run.replay import Replay
from robustest.run.units import ModelUnits, Units
from robustest.settings import MARKER_KEYS, Settings, coerce
from robustest.tasks import CLASSIFICATION, AdaptedCall, AdaptedModule, Detection, Stratified, Task, checked_task


class Options(TypedDict, total=False):
    """Keyword options of every `assert_` and `measure_` function; what is left out comes from the settings.

    Keys:
        seed: seeds the order of the samples and every random draw.
        device: "auto", "cpu", "cuda", "cuda:N" or "mps".
        batch_size: most samples in one model pass.
        precision: "fp32", "bf16" or "auto", for gradients alone.
        scope: "set" (this very test set) or "population" (what it was drawn from).
        alpha: error allowed on each side, in (0, 0.5).
        family_size: claims that share the error of wrong early failures, >= 1.
        examples: counterexamples kept.
        suppress: names of health checks that shall not speak.
        exact: whether every sample is looked at, even where the verdict is settled before.
        max_samples: samples looked at, at most.
        time_budget: seconds after which a claim ends, within the pass of the model that is under way.
        inconclusive: "fail" or "skip": what a claim that was not settled does to its test.
        cache: whether what the store remembers is used.
        recheck: share of remembered chunks that is measured again and must agree, in 0..1.
        bounds: smallest and largest input value; (0, 1) unless given.
        preprocessing: (mean, std) per channel, or a function of a batch, applied before the model.
        classes: names of the classes, in their order, for messages, page and pictures; data sets bring theirs.
    """

    seed: int
    device: str
    batch_size: int | None
    precision: str
    scope: str
    alpha: float
    family_size: int
    examples: int
    suppress: tuple[str, ...]
    exact: bool
    max_samples: int | None
    time_budget: float | None
    inconclusive: str
    cache: bool
    recheck: float
    bounds: tuple[float, float]
    preprocessing: Preprocessing
    classes: Sequence[str]


_MODEL_KEYS = ("bounds", "preprocessing", "classes")


def apply(model: object, options: Options) -> tuple[Classifier, Settings]:
    """The classifier and the settings that a call's options make of the model and the running test's settings.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    _check_names(options, _MODEL_KEYS)
    classifier = as_classifier(model, bounds=options.get("bounds"), preprocessing=options.get("preprocessing"))
    if (names := options.get("classes")) is not None:
        classifier = replace(classifier, classes=_names(names))
    return classifier, _settings(options)


def _names(names: object) -> tuple[str, ...]:
    if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigError(expected("classes to be a list of names", names))
    return tuple(names)


def settings_of(options: Options) -> Settings:
    """The running test's settings with a call's options, where it is no classifier that is measured.

    Raises:
        ConfigError: an option is unknown, out of range, or about a classifier's inputs.
    """
    _check_names(options, ())
    return _settings(options)


def _check_names(options: Options, others: tuple[str, ...]) -> None:
    allowed = MARKER_KEYS - {"attack", "attempts"}  # which are of tests, not of calls
    for key in options:
        if key not in allowed and key not in others:
            raise unknown("option", key, [*allowed, *others])


def _settings(options: Options) -> Settings:
    return context.current().settings.but(coerce({k: v for k, v in options.items() if k not in _MODEL_KEYS}))


def check_keywords(measure: Callable[..., object], given: Iterable[str]) -> None:
    """Refuse a keyword that a measurement does not take: neither itself, nor as all of them do.

    Raises:
        UnknownNameError: it is unknown; the nearest known one is named.
    """
    for name in given:
        if name not in (known := _keywords(measure)):
            raise unknown("option", name, known)


@cache
def _keywords(measure: Callable[..., object]) -> frozenset[str]:
    own = [part.name for part in signature(measure).parameters.values() if part.kind is not part.VAR_KEYWORD]
    return frozenset((*own, *Options.__annotations__))


def terms_of(settings: Settings) -> Terms:
    """What the verdict on a claim may rest on: the settings alone, whatever else is run."""
    level = failure_level(settings.alpha, settings.family_size)
    return Terms(scope=settings.scope, alpha=settings.alpha, fail_alpha=level)


def detecting(model: Classifier, task: Detection) -> Classifier:
    """The model with answers in rows, as the task reads them.

    Raises:
        ConfigError: the task's adapter does not fit the detector.
    """
    adapter = task.adapter
    adapter.check(model.call, task.confidence)
    gives = model.gives if adapter.gradient else min(model.gives, Needs.SCORES)
    if model.module is None or model.call is not model.module:
        return replace(model, call=AdaptedCall(model.call, adapter), gives=gives)
    module = AdaptedModule(model.module, adapter)
    path = "robustest.tasks.detection:built"
    recipe = None if model.recipe is None else Factory(path, recipe=model.recipe, adapter=adapter)
    return replace(model, call=module, module=module, recipe=recipe, gives=gives)


def restricted(model: Classifier, classes: ClassMap) -> Classifier:
    """The classifier that names a benchmark's classes only; the model itself where it has no others.

    Raises:
        ConfigError: the model gives labels alone, and so does not say which of those classes it would name.
    """
    if classes.whole:
        return model
    if model.gives is Needs.LABELS:
        raise ConfigError(
            f"Expected scores to choose among {len(classes)} of {classes.outputs} classes but the model gives labels "
            "alone. Wrap it with scores_model."
        )
    if model.module is None:
        return replace(model, call=_Restricted(model.call, classes))
    module = _RestrictedModule(model.module, classes)
    return replace(model, call=module, module=module, recipe=None)


@dataclass(frozen=True, slots=True)
class _Restricted:
    """A function's logits, of a benchmark's classes alone."""

    call: Callable[[Tensor], Any]
    classes: ClassMap

    def __call__(self, x: Tensor) -> Tensor:
        return self.classes.restrict(logits_of(self.call(x)).float())


class _RestrictedModule(nn.Module):
    """The same of a module."""

    def __init__(self, inner: nn.Module, classes: ClassMap) -> None:
        super().__init__()
        self.inner, self.classes = inner, classes
        self.training = inner.training  # it has no mode of its own

    def forward(self, x: Tensor) -> Tensor:
        """(B, K) logits of the benchmark's classes."""
        return self.classes.restrict(logits_of(self.inner(x)).float())


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
        """The plan of one claim; see `Plan` and `ModelUnits` for the arguments."""
        units = ModelUnits(
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be measured, and what decides.

    Attributes:
        statement: what is claimed, in words, without its threshold.
        units: what is counted, and what is done with a chunk of it; for labelled samples `ModelUnits`, which holds
            model, samples, look and replay.
        settings: device, seed, batch size, examples, budgets, store, engine.
        rule: says when the outcomes settle the claim, and what is decided.
        identity: all that outcomes depend on besides units, model and seed, made of plain values and attacks, threats,
            shifts or cues: what the store keeps them by. None where nothing may be remembered.
        here: whether state is kept from chunk to chunk, so that they are measured in this process on any engine.
        baseline: what the outcomes are compared with; None where nothing is.
    """

    statement: str
    units: Units
    settings: Settings
    rule: Rule
    identity: object = None
    here: bool = False
    baseline: Compared | None = None

    def against(
        self,
        no_worse_than: Baseline | None,
        tolerance: float,
        *,
        has_threshold: bool,
        groups: tuple[tuple[str, NDArray[np.int64]], ...] = (),
        columns: tuple[str, ...] = ("held",),
        parts: tuple[tuple[str, tuple[str, ...]], ...] = (),
        together: bool = True,
        level: float | None = None,
        scored: str = "",
    ) -> Plan:
        """The same, compared with a baseline or another model; a baseline that is being made needs every unit.

        Args:
            no_worse_than: the baseline's file, or another model; None compares with nothing.
            tolerance: the fall from it that is allowed, in 0..1.
            has_threshold: whether the number itself has a threshold.
            groups, columns, parts, together, level: as in `robustest.decisions.BaselineRule`.
            scored: the name of the mean of the column "score", e.g. "mean score": compare that in place of outcomes, as
                `robustest.decisions.ScoreBaselineRule` does. Empty for outcomes.

        Raises:
            ConfigError, StoreError: as `robustest.run.comparison.compared`.
        """
        baseline = compared(
            self.rule,
            self.settings,
            has_threshold=has_threshold,
            statement=self.statement,
            units=self.units,
            terms=terms_of(self.settings),
            no_worse_than=no_worse_than,
            tolerance=tolerance,
            groups=groups,
            columns=columns,
            parts=parts,
            together=together,
            level=level,
            scored=scored,
            by=measured_by(self.identity, getattr(self.units, "task", None)),
        )
        identity = self.identity
        if baseline.other is not None and identity is not None:
            identity = (identity, "every counterexample")  # which the chunks hold
        return replace(
            self,
            rule=baseline.rule,
            settings=baseline.settings,
            units=baseline.units,
            identity=identity,
            baseline=baseline,
        )

    def of_other(self) -> Plan | None:
        """Return the plan of the model that this one is compared with: every sample, and nothing claimed of them.

        None where there is no such model.
        """
        if self.baseline is None or self.baseline.other is None:
            return None
        return replace(
            self,
            statement=f"{self.statement}, by the model of no_worse_than",
            units=self.baseline.other,
            rule=ShareRule(threshold=None, at_least=True, terms=terms_of(self.settings)),
            baseline=None,
        )
