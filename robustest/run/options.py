"""Options of a call, and the settings and terms that they make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

from robustest import context
from robustest.errors import unknown
from robustest.settings import MARKER_KEYS, Settings, coerce

if TYPE_CHECKING:
    from robustest.data.clusters import Cluster
    from robustest.models.classifier import Preprocessing


class Options(TypedDict, total=False):
    """Keyword options of every `assert_` and `measure_` function; the settings give the others.

    Keys:
        seed: of the order of the samples and every random draw.
        device: "auto", "cpu", or an accelerator such as "cuda", "cuda:1" or "mps".
        batch_size: most samples in one model pass.
        precision: "auto", "fp32" or "bf16", for gradients alone.
        scope: "set" (this very test set) or "population" (the one that it was drawn from).
        alpha: error allowed on each side, in (0, 0.5).
        family_size: claims that share the error of wrong early failures, >= 1.
        examples: counterexamples kept.
        shrink_budget: most passes that make them smaller, as a share of those of the verdict; >= 0.
        suppress: names of health checks that only add notes.
        exact: True to measure every sample, even if the verdict is decided before.
        max_samples: most samples to measure.
        time_budget: seconds after which a claim ends, within a model pass.
        inconclusive: "fail" or "skip" a test with an inconclusive claim.
        cache: True to use the stored chunks.
        recheck: share of stored chunks that is measured again and compared, in 0..1.
        bounds: smallest and largest input value; (0, 1) unless given.
        preprocessing: (mean, std) per channel, or a function of a batch, applied before the model.
        classes: names of the classes, in order; data sets bring theirs.
        cluster: samples that were drawn together, for claims about the population: an id for each, the name of a
            column, or a function of a sample (see `robustest.data.clusters.Clustered`).
    """

    seed: int
    device: str
    batch_size: int | None
    precision: str
    scope: str
    alpha: float
    family_size: int
    examples: int
    shrink_budget: float
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
    cluster: Cluster


MODEL_KEYS = ("bounds", "preprocessing", "classes", "cluster")
"""Options of a call that are no settings."""


def settings_of(options: Options, *, inputs: bool = False) -> Settings:
    """Return the running test's settings with a call's options, without a classifier.

    Args:
        inputs: True to allow options about a classifier's inputs (`bounds`, `preprocessing`, `classes`, `cluster`),
            which are no settings.

    Raises:
        ConfigError: an option is unknown.
    """
    return options_on(options, MODEL_KEYS if inputs else ())


def options_on(options: Options, others: tuple[str, ...]) -> Settings:
    """Return the running test's settings with a call's options.

    Args:
        others: names of options that are no settings, and are allowed.

    Raises:
        ConfigError: an option is unknown.
    """
    settings = context.current().settings
    allowed = MARKER_KEYS - {"attack", "attempts"}  # these are of tests, not of calls
    for key in options:
        if key not in allowed and key not in others:
            raise unknown("option", key, [*allowed, *others])
    changed = {key: value for key, value in options.items() if key not in MODEL_KEYS}
    return settings.but(coerce(changed)) if changed else settings
