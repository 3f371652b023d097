"""Claims about labels, and about what people say, foresee and notice."""

from __future__ import annotations

from typing import Unpack

from numpy.typing import ArrayLike

from robustest.assertions.gate import gate, replayable
from robustest.claims.labels.cue_noticed import measure_cue_noticed
from robustest.claims.labels.label_agreement import measure_label_agreement
from robustest.claims.labels.label_quality import measure_label_quality
from robustest.claims.labels.selection_gap import measure_selection_gap
from robustest.claims.labels.simulatable import measure_simulatable
from robustest.data.responses import Responses
from robustest.data.suspects import Suspects
from robustest.errors import ConfigError
from robustest.results import Result
from robustest.run.comparison import Baseline
from robustest.run.options import Options


@replayable
def assert_label_agreement(
    model: object,
    data: object,
    responses: Responses,
    *,
    contained_at_least: float | None = None,
    max_unsupported: float | None = None,
    main_at_least: float | None = None,
    no_worse_than: Baseline | None = None,
    tolerance: float = 0.0,
    **options: Unpack[Options],
) -> Result:
    """Claim that the model says what those who looked at the samples select for them.

    Arguments and errors are those of `measure_label_agreement`; returns the result.

    Raises:
        ClaimFailed: it says it too seldom, or makes too many errors that nobody supports.
        ClaimInconclusive: samples and answers do not settle it.
    """
    __tracebackhide__ = True
    if all(given is None for given in (contained_at_least, max_unsupported, main_at_least, no_worse_than)):
        raise ConfigError(
            "Expected contained_at_least=, max_unsupported=, main_at_least= or no_worse_than= but got none: there is "
            "nothing to claim."
        )
    return gate(
        measure_label_agreement(
            model,
            data,
            responses,
            contained_at_least=contained_at_least,
            max_unsupported=max_unsupported,
            main_at_least=main_at_least,
            no_worse_than=no_worse_than,
            tolerance=tolerance,
            **options,
        )
    )


@replayable
def assert_selection_gap(
    model: object, data: object, responses: Responses, *, margin: float = 0.05, **options: Unpack[Options]
) -> Result:
    """Claim that annotators select prediction and label equally often, to within a margin, where the two differ.

    Arguments and errors are those of `measure_selection_gap`; returns the result.

    Raises:
        ClaimFailed: they prefer one of them by more.
        ClaimInconclusive: images and annotators do not settle it.
    """
    __tracebackhide__ = True
    return gate(measure_selection_gap(model, data, responses, margin=margin, **options))


@replayable
def assert_label_quality(
    data: object,
    responses: Responses,
    *,
    at_most: float = 0.02,
    suspects: Suspects | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that at most so many labels of a data set are wrong, by a uniform sample that people looked at.

    Arguments and errors are those of `measure_label_quality`; returns the result.

    Raises:
        ClaimFailed: more are wrong.
        ClaimInconclusive: too few were looked at to settle it.
    """
    __tracebackhide__ = True
    return gate(measure_label_quality(data, responses, at_most=at_most, suspects=suspects, **options))


@replayable
def assert_simulatable(
    study: Responses,
    *,
    at_least: float = 0.5,
    truth: ArrayLike | None = None,
    choices: int | None = None,
    **options: Unpack[Options],
) -> Result:
    """Claim that people foresee what the model says.

    Arguments and errors are those of `measure_simulatable`; returns the result.

    Raises:
        ClaimFailed: they foresee less.
        ClaimInconclusive: the answers do not settle it, or nothing need be foreseen to give them.
    """
    __tracebackhide__ = True
    return gate(measure_simulatable(study, at_least=at_least, truth=truth, choices=choices, **options))


@replayable
def assert_cue_noticed(
    study: Responses,
    cue: str,
    *,
    at_least: float = 0.0,
    null: str = "null",
    planted: str = "planted",
    **options: Unpack[Options],
) -> Result:
    """Claim that people call a cue spurious more often than a cue that is none.

    Arguments and errors are those of `measure_cue_noticed`; returns the result.

    Raises:
        ClaimFailed: they do not, by as much.
        ClaimInconclusive: the answers do not settle it, or people do not notice a planted cue either.
    """
    __tracebackhide__ = True
    return gate(measure_cue_noticed(study, cue, at_least=at_least, null=null, planted=planted, **options))
