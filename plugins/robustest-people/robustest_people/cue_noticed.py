"""The claim that people notice that a cue is spurious."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest import Result
from robustest.errors import ConfigError, DataError, unknown
from robustest.packs import (
    Kind,
    Options,
    Quantity,
    Terms,
    assertion,
    checked_threshold,
    finish,
    measurement,
    settings_of,
)
from robustest_people.annotator_shares import (
    Estimate,
    Interval,
    decide_noticed,
    difference_by_annotator,
    noticed_interval,
)
from robustest_people.responses import Responses
from robustest_people.study_answers import checked_study, evidence_of, left_out, of_unanswered

Bools = NDArray[np.bool_]
Excess = tuple[Estimate, Interval]
"""The difference in how often two cues are called spurious, with its interval."""


CUE_NOTICED = Kind(
    name="cue_noticed",
    varies="nothing",
    quantities=(
        Quantity.at_least(
            "at_least", "excess of calls", "how much more often people call {} spurious than the null cue"
        ),
    ),
    brief=True,
)


@measurement(CUE_NOTICED)
def measure_cue_noticed(
    study: Responses,
    cue: str,
    *,
    at_least: float | None = None,
    null: str = "null",
    planted: str = "planted",
    **options: Unpack[Options],
) -> Result:
    """Measure how much more often people call a cue spurious than a null cue (Wong et al., ICML 2021).

    People who call everything spurious notice nothing, hence the null cue; and a planted cue must be noticed before a
    verdict. The claim is about other people: one person's answers are one cluster. With `scope="set"` the interval
    rests on the variance between people and is approximate; with `scope="population"` on bets on each person's
    difference, valid for any number of people.

    Args:
        study: answers of annotators who were asked about one cue at a time if it is spurious; its classes are the cues.
        cue: the name of the cue.
        at_least: the claimed difference in share, in -1..1, to be exceeded.
        null, planted: a cue that nobody should call spurious, and one that everybody should.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. Its outcomes are the answers about the cue: True if it is called spurious.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: no answers about the cue, an unknown annotator, or annotators were not asked about cues.
    """
    at_least = checked_threshold("at_least", at_least, within=(-1.0, 1.0), trivial=-1, optional=True)
    if cue in (null, planted):
        raise ConfigError(f"Expected another cue than the null and the planted one but got {cue!r}.")
    study = checked_study(study, "the clusters that the variance is computed by")
    about = _about(study, (cue, null, planted))
    settings = settings_of(options, inputs=True)
    terms = Terms.of(settings)
    called = study.answer == 1
    found = _more_often(study, about[cue], about[null], called, terms)
    control = _more_often(study, about[planted], about[null], called, terms)
    decision = decide_noticed(found, control, at_least, terms=terms)
    rates = {name: float(called[rows].mean()) if rows.any() else None for name, rows in about.items()}
    return finish(
        settings,
        evidence_of(called[about[cue]], decision),
        decision=decision,
        kind=CUE_NOTICED,
        statement=CUE_NOTICED.quantities[0].state(cue),
        threshold=at_least,
        setting=f"{cue}, {len(np.unique(study.annotator[about[cue]]))} annotators",
        method=f"calls beside those of two known cues, {'variance' if terms.scope == 'set' else 'bets'} by annotator",
        details=_details(study, rates, found, control),
        caveats=of_unanswered(study),
        further={"of the null cue": int(about[null].sum())},
    )


@assertion(measure_cue_noticed, at_least=0.0)
def assert_cue_noticed() -> None:
    """Claim that people call a cue spurious more often than a null cue.

    Raises:
        ClaimFailed: the difference is smaller.
        ClaimInconclusive: too few answers to decide, or people do not notice a planted cue either.
    """


def _about(study: Responses, names: tuple[str, ...]) -> dict[str, Bools]:
    if study.chosen:
        raise DataError("Expected annotators who were asked about one cue at a time but they chose among all.")
    if names[0] not in study.classes:
        raise unknown("cue", names[0], study.classes)
    # -2 matches no answer: a missing null or planted cue has no rows, and the claim is then inconclusive.
    places = {name: study.classes.index(name) if name in study.classes else -2 for name in names}
    about = {name: study.asked == place for name, place in places.items()}
    if not about[names[0]].any():
        raise DataError(f"Expected answers about the cue {names[0]!r} but nobody was asked about it.")
    return about


def _more_often(study: Responses, one: Bools, other: Bools, called: Bools, terms: Terms) -> Excess | None:
    if not one.any() or not other.any():
        return None
    found = difference_by_annotator(one, other, called, study.item, study.annotator)
    low, high = noticed_interval((one, other), called, study.annotator, found, terms)
    # Whatever the missing answers about one cue are, they move its share by at most their own share of its questions.
    unsure = sum(_missing(study, rows) for rows in (one, other))
    return found, (max(-1.0, low - unsure), min(1.0, high + unsure))


def _missing(study: Responses, rows: Bools) -> float:
    """Return the share of the questions about a cue, whose answers are `rows`, that have no answer."""
    missing = int((study.unanswered.asked == study.asked[rows][0]).sum())
    return missing / (missing + int(rows.sum()))


def _details(
    study: Responses, rates: dict[str, float | None], found: Excess | None, control: Excess | None
) -> dict[str, Any]:
    return {
        "called_spurious": rates,
        "error": None if found is None else found[0].known_error,
        "planted": None
        if control is None
        else {"excess": control[0].value, "interval": list(control[1]), "error": control[0].known_error},
        **left_out(study),
    }
