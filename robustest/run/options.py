"""What every measurement takes besides its own arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import TypedDict

from robustest import context
from robustest.decisions import Terms, failure_level
from robustest.errors import ConfigError, expected, unknown
from robustest.models import Classifier, as_classifier
from robustest.models.classifier import Preprocessing
from robustest.settings import MARKER_KEYS, Settings, coerce


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
