"""From the arguments of a call to a plan: units, look, settings, and the rule that decides."""

# `Setup.of` takes a call's model, data and options, `Setup.plan` the look and the rule of a claim, `Plan.against` a
# baseline file or another model.

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from robustest import context, decisions
from robustest.checks import is_frame, require
from robustest.data import Samples, Waveforms, as_samples
from robustest.data.benchmarks import Benchmark, ClassMap
from robustest.data.clusters import Clustered
from robustest.data.frames import Frames
from robustest.data.samples import unwrapped
from robustest.decisions.strata import StrataRule
from robustest.errors import ConfigError, StoreError, expected
from robustest.factory import Factory
from robustest.identity.plain import Unhashable
from robustest.identity.walk import DECLARES
from robustest.models import Classifier, Needs, as_classifier
from robustest.models.classifier import logits_of
from robustest.models.trees import cells_of
from robustest.run.comparison import Baseline, Comparison, entry_in, measured_by
from robustest.run.evidence import Look
from robustest.run.naming import current_claim
from robustest.run.options import MODEL_KEYS, Options, options_on
from robustest.run.replay import Replay
from robustest.run.units import ModelUnits, Units
from robustest.settings import Settings
from robustest.tasks import (
    CLASSIFICATION,
    AdaptedCall,
    AdaptedModule,
    Detection,
    Stratified,
    Task,
    checked_task,
    top_of,
)
from robustest.threats import Columns, Threat, is_discrete
from robustest.words import number

# Samples in which a threat looks for words.
_WORDS_OF = 512


def apply(model: object, options: Options) -> tuple[Classifier, Settings]:
    """Return a model as a classifier, and the running test's settings, with a call's options.

    Raises:
        ConfigError: an option is unknown or out of range.
    """
    settings = options_on(options, MODEL_KEYS)
    classifier = as_classifier(model, bounds=options.get("bounds"), preprocessing=options.get("preprocessing"))
    if (names := options.get("classes")) is not None:
        if isinstance(names, str) or not isinstance(names, Sequence) or not all(isinstance(one, str) for one in names):
            raise ConfigError(expected("classes to be a list of names", names))
        classifier = replace(classifier, classes=tuple(names))
    return classifier, settings


@dataclass(frozen=True, slots=True)
class Setup:
    """A model, data, settings and task.

    Attributes:
        settings: the running test's, with the call's options.
        classifier_of: prepares any model as `model` was prepared: bounds, preprocessing, a detector's adapter, the
            classes of a benchmark.
        columns: labels of the columns of a frame that was read as an array.
    """

    model: Classifier
    samples: Samples
    settings: Settings
    task: Task = CLASSIFICATION
    classifier_of: Callable[[object], Classifier] | None = None
    columns: tuple[Any, ...] = ()

    @classmethod
    def of(cls, model: object, data: object, options: Options, task: Task | str | None = None) -> Setup:
        """Return the setup of a call; a task of None is classification.

        Raises:
            ConfigError: an option is unknown or out of range, or the model is none.
            DataError: the data cannot be measured on.
        """
        checked, waves = CLASSIFICATION if task is None else checked_task(task), isinstance(data, Waveforms)

        def prepared(one: object) -> tuple[Classifier, Settings]:
            classifier, settings = apply(one, options)
            # Sounds swing around 0: the bounds that no one gave are not those of images.
            if waves and "bounds" not in options and classifier.bounds == (0.0, 1.0):
                classifier = replace(classifier, bounds=Waveforms.bounds)
            if isinstance(checked, Detection):
                classifier = adapt_detector(classifier, checked)
            return restrict_to(classifier, data.classes) if isinstance(data, Benchmark) else classifier, settings

        classifier, settings = prepared(model)
        clustered = Clustered.of(data, options.get("cluster"))
        given = data = clustered.data
        # Names of classes in the data must be those of the model, in its order; a benchmark has its own map.
        if not isinstance(data, Benchmark):
            labels = classifier.labels or classifier.classes or None
            arrays = classifier.module is not None or "bounds" in options or classifier.preprocessing is not None
            fitted = getattr(classifier.estimator, "feature_names_in_", ())
            given = unwrapped(data, labels if top_of(checked) else None, coded=not arrays, columns=list(fitted))
        samples = as_samples(given, checked)
        samples = replace(samples, clusters=clustered.numbers(len(samples)))
        coding = samples.coding

        def reading(made: Classifier) -> Classifier:
            if coding is None:
                return made
            return replace(made.reading(coding.decode), bounds=coding.bounds or made.bounds)

        def classifier_of(one: object) -> Classifier:
            return reading(prepared(one)[0])

        classifier = reading(classifier)
        frame = data[0] if isinstance(data, (tuple, list)) and len(data) == 2 and is_frame(data[0]) else None
        columns = () if frame is None else tuple(frame.columns)
        return cls(classifier, samples, settings, checked, classifier_of, columns)

    def but(self, **values: Any) -> Setup:
        return replace(self, settings=self.settings.but(values))

    def unpictured(self) -> Setup:
        return replace(self, settings=replace(self.settings, pictures=None))

    def resolve(self, threat: Threat, no_worse_than: Baseline | None = None) -> Threat:
        """Return a threat for these samples: columns of a table by their places and ranges; others as they are.

        A threat may have methods for this: `check_samples(task, kind)` raises ConfigError if samples of a kind, that of
        their `Coding` or "array", are none of its own; `with_words_of(values, labels)` returns it with words to try.

        Raises:
            ConfigError: the threat is not one of such samples, or moves images whose targets would have to move too.
        """
        coding = self.samples.coding
        kind = "array" if coding is None else coding.kind
        if (check := getattr(threat, "check_samples", None)) is not None:
            check(self.task, kind)
        if kind in ("str", "bytes") and not getattr(threat, "of_strings", False):
            raise ConfigError(expected("a threat of texts: Edits, Append or Insert", str(threat)))
        if coding is not None and not is_discrete(threat):
            raise ConfigError(
                f"Expected a threat of single changes for frames but got {threat}. Use Columns(...); for numbers "
                "alone, give arrays and their bounds=(low, high)."
            )
        if coding is not None and (with_words_of := getattr(threat, "with_words_of", None)) is not None:
            # Places in the data, not in the order of evaluation: every shard and worker takes the same ones.
            some = torch.linspace(0, len(self.samples) - 1, min(_WORDS_OF, len(self.samples))).long()
            x, y = self.samples.take(some)
            labels = y.tolist() if top_of(self.task) else [0] * len(x)
            learned: Threat = with_words_of(coding.decode(x), labels)
            return learned
        return self._by_place(threat, no_worse_than) if isinstance(threat, Columns) else threat

    def _by_place(self, threat: Columns, no_worse_than: Baseline | None) -> Columns:
        """Return a threat of columns by their places, with the thresholds of this model's trees if no other is beside.

        Raises:
            ConfigError: a column is none of the table's, or has no such values.
        """
        coding = self.samples.coding
        x = self.samples.take(torch.zeros(1, dtype=torch.int64))[0]
        require(x.ndim == 2, f"rows (N, D) of a table for {threat}", tuple(x.shape))
        estimator, bounds = self.model.estimator, self.model.bounds
        frame = coding if isinstance(coding, Frames) else None
        resolved = threat.resolved(x.shape[1], bounds, coding=frame, names=self.columns)
        other = no_worse_than is not None and not isinstance(no_worse_than, (str, os.PathLike))
        if estimator is None or self.model.preprocessing is not None or other:
            return resolved
        few = self.samples.take(torch.arange(min(2, len(self.samples))))[0]
        cells = cells_of(estimator, few.numpy(), resolved.numbers(), frame)
        if cells is None:
            return resolved
        return threat.resolved(x.shape[1], bounds, coding=frame, cells=cells, names=self.columns)

    def on(self, samples: Samples) -> Setup:
        return replace(self, samples=samples)

    @property
    def terms(self) -> decisions.Terms:
        return decisions.Terms.of(self.settings)

    @property
    def alone(self) -> decisions.Terms:
        """Return the terms of a number that no test claims: it shares its error with no other."""
        alpha = self.settings.alpha
        return decisions.Terms(scope=self.settings.scope, alpha=alpha, fail_alpha=alpha)

    def plan(
        self,
        statement: str,
        look: Look,
        rule: decisions.Rule,
        *,
        identity: object = None,
        measure: object = None,
        replay: Replay | None = None,
        here: bool = False,
        adapts: bool = False,
    ) -> Plan:
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
        return Plan(
            statement=statement,
            units=units,
            settings=self.settings,
            rule=rule,
            # The inputs that a model adapted to are part of no key, and of one process alone.
            identity=None if self.model.reset is not None else identity,
            measure=identity if measure is None else measure,
            here=here or self.model.reset is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A measurement to make, and the rule that decides.

    Attributes:
        statement: the claim in words, without its threshold.
        units: samples with their model and look, or a plugin's units.
        identity: all that outcomes depend on besides units, model and seed: plain values, attacks, threats, shifts or
            cues; part of the key in the store. None: nothing may be stored.
        measure: the same for a comparison with a baseline, where it is known though nothing may be stored; else None.
        here: True if state is kept from chunk to chunk, so that this process measures all of them.
        baseline: the comparison with a baseline or another model, or None.
    """

    statement: str
    units: Units
    settings: Settings
    rule: decisions.Rule
    identity: object = None
    measure: object = None
    here: bool = False
    baseline: Comparison | None = None

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
        of_draws: bool = False,
    ) -> Plan:
        """Return this plan compared with a baseline or another model.

        Args:
            no_worse_than: the baseline's file, or another model; None for no comparison.
            tolerance: allowed fall, in 0..1.
            has_threshold: True if the number has a threshold too.
            groups, columns, parts, together, level: as in `robustest.decisions.BaselineRule`.
            scored: name of the mean of the column "score", to compare scores; "" for outcomes.
            of_draws: True if the units are draws of no set, as episodes are, so that the comparison is about the
                population for either scope.

        Raises:
            ConfigError: an argument is out of range, or the models cannot be compared.
            StoreError: the baseline is missing, damaged, of other samples, or was measured otherwise.
        """
        tolerance = decisions.checked_threshold("tolerance", tolerance, trivial=1)
        if no_worse_than is None:
            return self
        common: dict[str, Any] = {
            "other": self.rule,
            "has_threshold": has_threshold,
            "tolerance": tolerance,
            "terms": decisions.Terms.of(replace(self.settings, scope="population") if of_draws else self.settings),
        }
        rule: decisions.NoWorse
        if scored:
            rule = decisions.ScoreBaselineRule(**common, before=None, seed=self.settings.seed, of=scored)
        else:
            how: dict[str, Any] = {"groups": groups, "columns": columns, "parts": parts, "together": together}
            rule = decisions.BaselineRule(**common, before=None, **how, level=level)
        if not isinstance(no_worse_than, (str, os.PathLike)):
            if not isinstance(self.units, ModelUnits):
                raise ConfigError(expected("no_worse_than to be the path of a baseline file", no_worse_than))
            own, other = self.units.beside(no_worse_than, has_threshold=has_threshold)
            rule = replace(rule, before=np.empty(0))  # with no outcome of the other model the rule passes nothing
            # Chunks now hold every counterexample, and so have another key.
            identity = None if self.identity is None else (self.identity, "every counterexample")
            comparison = Comparison(rule=rule, other=other)
            return replace(self, rule=rule, units=own, identity=identity, baseline=comparison)
        if str(no_worse_than).endswith(".onnx") or str(no_worse_than).startswith(("http://", "https://")):
            as_classifier(str(no_worse_than))  # raises, and says how such a model is opened
        file = Path(no_worse_than)
        end = f" of the {parts[0][0]}" if len(parts) == 1 else ""  # a fall between two data sets has two entries
        key = f"{context.current().claimant}: {current_claim() or self.statement}{end}"
        measure = self.identity if self.measure is None else self.measure
        try:
            by = measured_by(measure, getattr(self.units, "task", None))
        except Unhashable as error:
            raise StoreError(
                f"Expected a measure that can be told from others by the baseline {file.name} but it uses "
                f"{error.reason}: with another one a loss would be hidden. Give it a method {DECLARES}() that returns "
                "the name of its version, or compare with another model in place of a file."
            ) from None
        if self.settings.update_baseline:
            every = self.settings.but({"exact": True, "max_samples": None, "time_budget": None})
            comparison = Comparison(rule=rule, file=file, key=key, measured_by=by)
            return replace(self, rule=rule, settings=every, baseline=comparison)
        entry = entry_in(file, key, len(self.units), len(columns), scored=bool(scored), by=by)
        rule = replace(rule, before=np.array(entry.values))
        if tolerance >= rule.share_before:
            least = (
                f"{f'the {scored} of' if scored else 'the share that held in'} the baseline, "
                f"{number(rule.share_before, tolerance)}"
            )
            remedy = "Nothing could be called worse. Tolerate less, or leave no_worse_than= out."
            raise ConfigError(expected(f"tolerance to be less than {least}", tolerance, remedy))
        return replace(self, rule=rule, baseline=Comparison(rule=rule, file=file, key=key, entry=entry))

    def of_other(self) -> Plan | None:
        if self.baseline is None or self.baseline.other is None:
            return None
        return replace(
            self,
            statement=f"{self.statement}, by the model of no_worse_than",
            units=self.baseline.other,
            rule=decisions.ShareRule(threshold=None, at_least=True, terms=decisions.Terms.of(self.settings)),
            baseline=None,
        )


def deciding(task: Task | str | None) -> Task | None:
    """Return the task of a call that must decide which predictions hold, or None.

    Raises:
        ConfigError: the task has scores without a floor.
    """
    checked = None if task is None else checked_task(task)
    if checked is not None and getattr(checked, "floor", 1.0) is None:
        raise ConfigError(
            f"Expected a floor of the score from which on an answer of {checked.name} holds but got none. Pass "
            "floor=0.9, say, to the task, or claim the mean score with assert_robust_score."
        )
    return checked


def of_task(task: Task) -> str:
    """Return the end of a statement that names a task other than classification."""
    return "" if task.one_class else f", by {task}"


def adapt_detector(model: Classifier, task: Detection) -> Classifier:
    """Return a detector with outputs in rows, by the task's adapter.

    Raises:
        ConfigError: the adapter does not fit the detector.
    """
    adapter = task.adapter
    adapter.check(model.call, task.least if task.score_by == "f1" else 1.0)
    gives = model.gives if adapter.gradient else min(model.gives, Needs.SCORES)
    if model.module is None or model.call is not model.module:
        return replace(model, call=AdaptedCall(model.call, adapter), gives=gives)
    module = AdaptedModule(model.module, adapter)
    # Workers build the detector by its recipe and adapt it there.
    path = "robustest.tasks.detection:built"
    recipe = None if model.recipe is None else Factory(path, recipe=model.recipe, adapter=adapter)
    return replace(model, call=module, module=module, recipe=recipe, gives=gives)


def restrict_to(model: Classifier, classes: ClassMap) -> Classifier:
    """Return a classifier restricted to a benchmark's classes.

    Raises:
        ConfigError: the model gives labels alone, which show no second choice.
    """
    if classes.whole:
        return model
    if model.gives is Needs.LABELS:
        raise ConfigError(
            f"Expected scores to choose among {len(classes)} of {classes.outputs} classes but the model gives labels "
            "alone. Wrap it with scores_model."
        )
    if model.module is None or model.call is not model.module:
        return replace(model, call=_Restricted(model.call, classes))
    module = _RestrictedModule(model.module, classes)
    # No recipe: it would build the model with all its classes.
    return replace(model, call=module, module=module, recipe=None)


@dataclass(frozen=True, slots=True)
class _Restricted:
    call: Callable[[Tensor], Any]
    classes: ClassMap

    def __call__(self, x: Tensor) -> Tensor:
        return self.classes.restrict(logits_of(self.call(x)).float())


class _RestrictedModule(nn.Module):
    def __init__(self, inner: nn.Module, classes: ClassMap) -> None:
        super().__init__()
        self.inner, self.classes = inner, classes
        self.training = inner.training  # in the mode of the wrapped module

    def forward(self, x: Tensor) -> Tensor:
        return self.classes.restrict(logits_of(self.inner(x)).float())
