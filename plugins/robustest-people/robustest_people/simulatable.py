"""The claim that people predict the answers of a model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike, NDArray

from robustest import Result, Verdict
from robustest.errors import DataError, expected
from robustest.packs import (
    Kind,
    Options,
    Quantity,
    Terms,
    assertion,
    checked_threshold,
    checked_whole,
    finish,
    measurement,
    number,
    settings_of,
)
from robustest_people.annotator_shares import Estimate, decide_foreseen, foreseen_interval, share_by_annotator
from robustest_people.responses import Responses
from robustest_people.study_answers import (
    Uniformity,
    checked_study,
    chosen_sample,
    evidence_of,
    left_out,
    of_unanswered,
    uniformity_details,
    uniformity_of,
    widened,
)

SIMULATABLE = Kind(
    name="simulatable",
    varies="nothing",
    quantities=(Quantity.at_least("at_least", "share foreseen", "share of the model's answers that people foresee"),),
    brief=True,
)


@measurement(SIMULATABLE)
def measure_simulatable(
    study: Responses,
    *,
    at_least: float | None = None,
    truth: ArrayLike | None = None,
    choices: int | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure how often people predict the answer of a model (Wong, Santurkar and Madry, ICML 2021).

    The claim is about other people: one person's answers are one cluster. With `scope="set"` the interval rests on the
    variance between people and is approximate; with `scope="population"` on bets on each person's share, valid for any
    number of people. No claim passes if guessing, or always giving the model's most frequent answer, would be as good,
    or if the answered items cannot be a uniform sample.

    Args:
        study: answers of annotators who chose the class that, they think, the model predicts.
        at_least: the claimed share, in 0..1.
        truth: (size,) the model's answer to each item, -1 for none; None takes `study.truth`.
        choices: classes offered for each item, >= 2; None for all. Guessing reaches 1 / choices.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. Its outcomes are those of the answers, in their order.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: no answers, an unknown annotator or answer of the model, or annotators were asked about one class at
            a time.
    """
    at_least = checked_threshold("at_least", at_least, trivial=0, optional=True)
    if choices is not None:
        checked_whole("choices", choices, 2)
    study = checked_study(study, "the clusters that the variance is computed by")
    right = _truth(study, truth)
    settings = settings_of(options, inputs=True)
    terms = Terms.of(settings)
    held = study.answer == right
    found = share_by_annotator(held, study.item, study.annotator)
    chance, constant = 1 / (choices or len(study.classes)), float(np.bincount(right).max() / len(right))
    interval = widened(foreseen_interval(held, study.annotator, found, terms), len(study.unanswered), len(study))
    decision = decide_foreseen(interval, found, at_least, idle=max(chance, constant), terms=terms)
    sign = _sign_of_choice(study, truth, settings.seed)
    chosen = chosen_sample(sign, found.items, study.size)
    if chosen and at_least is not None:
        rule = f"no uniform sample of the items, so that it says nothing of the others. {chosen}"
        decision = replace(decision, verdict=Verdict.INCONCLUSIVE, rule=rule)
    result = finish(
        settings,
        evidence_of(held, decision),
        decision=decision,
        kind=SIMULATABLE,
        statement=SIMULATABLE.quantities[0].state(),
        threshold=at_least,
        setting=f"{found.items} items, {found.annotators} annotators, {len(study.classes)} classes",
        method=f"people's answers beside the model's, {'variance' if terms.scope == 'set' else 'bets'} by annotator",
        details=_details(study, found, chance, constant) | uniformity_details(sign),
        caveats=of_unanswered(study),
    )
    note = (
        f"guessing is right in {number(chance)}, always giving the model's most frequent answer in {number(constant)}"
    )
    return result.but(notes=(*result.words.notes, note))


@assertion(measure_simulatable, at_least=0.5)
def assert_simulatable() -> None:
    """Claim that people predict the answers of the model.

    Raises:
        ClaimFailed: they predict fewer.
        ClaimInconclusive: too few answers to decide, or guessing would be as good.
    """


def _sign_of_choice(study: Responses, truth: ArrayLike | None, seed: int) -> Uniformity | None:
    """Return the strongest sign that the items with an answer were chosen among those with a truth."""
    given = np.asarray(study.truth if truth is None else truth)
    there = np.flatnonzero(given >= 0)
    asked = np.searchsorted(there, np.intersect1d(there, [*study.item, *study.unanswered.item]))
    return uniformity_of(asked, given[there].astype(np.int64), {}, seed)


def _details(study: Responses, found: Estimate, chance: float, constant: float) -> dict[str, Any]:
    return {
        "error": found.known_error,
        "items": found.items,
        "annotators": found.annotators,
        "chance": chance,
        "constant": constant,
        **left_out(study),
    }


def _truth(study: Responses, truth: ArrayLike | None) -> NDArray[np.int64]:
    if not study.chosen:
        raise DataError("Expected annotators who chose one of the classes but they were asked about one at a time.")
    held = study.truth if truth is None else np.asarray(truth)
    if held is None:
        raise DataError("Expected what the model says to each item: a study with a truth, or truth=.")
    if held.shape != (study.size,) or held.dtype.kind not in "iu":
        raise DataError(expected(f"truth as whole numbers, ({study.size},)", truth))
    right: NDArray[np.int64] = held.astype(np.int64)[study.item]
    if len(wrong := np.flatnonzero((right < 0) | (right >= len(study.classes)))):
        raise DataError(
            f"Expected what the model says to each item, 0..{len(study.classes) - 1}, but to item "
            f"{study.item[wrong[0]]} it is {right[wrong[0]]}."
        )
    return right
