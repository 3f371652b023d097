"""Whether annotators select what a model says as often as the label, where the two differ.

Two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987): both are selected equally often
to within a margin where the gap is shown to be less than the margin in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robustest.packs import Decision, Terms, Verdict, about, approximate, judge_interval
from robustest_people.statistics.two_way import FEWEST_ANNOTATORS, Estimate, clustered

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers about items where prediction and label differ.

    Attributes:
        item: (R,) positions of the items among all.
        annotator: (R,) who answered.
        about_label, about_prediction: (R,) bool, whether the answer could have selected the label, and the prediction:
            both where annotators chose freely, one where a label was asked about.
        label, prediction: (R,) bool, whether it did.
    """

    item: Ints
    annotator: Ints
    about_label: NDArray[np.bool_]
    about_prediction: NDArray[np.bool_]
    label: NDArray[np.bool_]
    prediction: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionGap:
    """How much more often annotators select the label than the prediction.

    Attributes:
        gap: the difference, -1..1, with its error.
        label, prediction: how often each is selected, 0..1; the mean over items.
    """

    gap: Estimate
    label: float
    prediction: float


def selection_gap(answers: Answers) -> SelectionGap:
    """The gap; every item counts alike, however many answers it has.

    Args:
        answers: of two items or more; about the label and the prediction of each there is an answer.
    """
    label, label_parts = _frequency(answers.item, answers.about_label, answers.label)
    prediction, prediction_parts = _frequency(answers.item, answers.about_prediction, answers.prediction)
    gap = clustered(label - prediction, label_parts - prediction_parts, answers.item, answers.annotator)
    # Where annotators agree on everything nothing varies; one or two items may still be others in another sample.
    gap = replace(gap, error=max(gap.error, 2 / gap.items))
    return SelectionGap(gap=gap, label=label, prediction=prediction)


def decide_selection_gap(found: SelectionGap, margin: float | None, *, terms: Terms) -> Decision:
    """A verdict on the size of the gap, in either direction.

    Clustered variances are approximate, and pass no claim about a population (see `robustest.packs.approximate`).

    Args:
        found: as `selection_gap` gives it.
        margin: the size claimed at most, in 0..1; None where nothing is claimed.
        terms: what the verdict may rest on.
    """
    low, high = found.gap.interval(terms.alpha)
    size = (0.0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high)))
    verdict, rule = Verdict.INCONCLUSIVE, f"two one-sided tests by image and annotator, {about(terms.alpha)}"
    if margin is None:
        rule = "no margin given"
    elif found.gap.annotators < FEWEST_ANNOTATORS:
        rule = f"{found.gap.annotators} annotators: fewer than {FEWEST_ANNOTATORS} do not tell how much others differ"
    elif found.label + found.prediction <= margin:
        rule = (
            f"nothing could have failed it: the label is selected by {found.label:.3f} and the prediction by "
            f"{found.prediction:.3f}, and a gap of {margin:g} is allowed"
        )
    else:
        verdict = judge_interval(size, margin, at_least=False)
    decision = Decision(
        verdict=verdict, rule=rule, estimate=abs(found.gap.value), interval=size, at_alpha=margin is not None
    )
    return approximate(decision, terms, by="Student's t by image and annotator", units="images and annotators")


def _frequency(item: Ints, about: NDArray[np.bool_], selected: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """The mean over items of how often they are selected, and what each answer contributes to its deviation."""
    _, place = np.unique(item, return_inverse=True)
    n = np.bincount(place[about])
    weight = np.where(about, 1 / (len(n) * n[place]), 0.0)
    frequency = float((weight * selected).sum())
    return frequency, weight * (selected - frequency)
