"""The claim that annotators select prediction and label equally often, where the two differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Unpack

import numpy as np
from numpy.typing import NDArray

from robustest import Result, Verdict
from robustest.errors import DataError
from robustest.packs import (
    Chunk,
    Decision,
    Evaluator,
    Evidence,
    Kind,
    Observation,
    Options,
    Quantity,
    Setup,
    ShareRule,
    Terms,
    assertion,
    checked_threshold,
    decide_by_interval,
    exhibits_of,
    finish,
    measurement,
    number,
    observe,
)
from robustest_people.annotator_shares import FEWEST_ANNOTATORS, Estimate, clustered
from robustest_people.responses import Responses
from robustest_people.study_answers import check_about, checked_responses, left_out, of_unanswered

SELECTION_GAP = Kind(
    name="selection_gap",
    varies="nothing",
    quantities=(
        Quantity.at_most(
            "at_most",
            "selection gap",
            "gap between how often annotators select the label and the prediction",
            trivial=1,
        ),
    ),
    brief=True,
)


@measurement(SELECTION_GAP)
def measure_selection_gap(
    model: object,
    data: object,
    responses: Responses,
    *,
    at_most: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """Measure how much more often annotators select the label than the prediction, where the two differ.

    A gap below `at_most` in both directions means that people find predictions as right as labels (Tsipras et al., ICML
    2020, section 4.2). The variance is clustered by image and annotator, which are both samples; the interval decides
    also with `scope="set"`, and is approximate, so no claim about the population passes by it.

    Args:
        model, data: as for `measure_robust_accuracy`.
        responses: answers of known annotators, about as many items as there are samples: about label and prediction of
            each sample where the two differ.
        at_most: the largest absolute gap, in 0..1.
        **options: see `robustest.run.options.Options`.

    Returns:
        The result. Its estimate is the absolute gap; `details["gap"]` is positive if annotators prefer the label.

    Raises:
        ConfigError: an argument is out of range or unknown.
        DataError: the responses are about other samples, lack annotators, or lack answers about a label or prediction.
        ModelError, DeviceError, StoreError: as for `measure_robust_accuracy`.
    """
    margin = checked_threshold("at_most", at_most, trivial=1, optional=True)
    checked_responses(responses).known_annotators("the clusters that the variance is computed by")
    setup = Setup.of(model, data, options)
    check_about(responses, len(setup.samples))
    plan = setup.plan(
        SELECTION_GAP.quantities[0].state(),
        Labelling(),
        ShareRule(threshold=None, at_least=True, terms=setup.terms),
        identity=("accuracy and labels",),
    )
    evidence = observe(plan)
    answers, missing, disagreements = _about_disagreements(evidence, responses)
    found = None if len(np.unique(answers.item)) < 2 else selection_gap(answers, missing)
    return finish(
        plan,
        evidence,
        decision=_decided(found, margin, setup.terms, whole=evidence.whole),
        kind=SELECTION_GAP,
        threshold=margin,
        setting=f"{disagreements} samples where label and prediction differ, {len(answers.item)} answers",
        method="two one-sided tests, variance by image and by annotator",
        details=_details(found, disagreements, setup.terms.alpha, responses),
        further={"of disagreement": disagreements},
        caveats=of_unanswered(responses),
        people=responses.answer,
        notes=()
        if found is None
        else (
            f"label selected by {number(found.label)}, prediction by {number(found.prediction)}: gap "
            f"{found.gap.value:+.3f} +- "
            f"{number(found.gap.error)} (standard error), {found.gap.items} images, {found.gap.annotators} annotators",
        ),
    )


@assertion(measure_selection_gap, at_most=0.05)
def assert_selection_gap() -> None:
    """Claim that annotators select prediction and label equally often, to within a margin, where the two differ.

    Raises:
        ClaimFailed: they prefer one of them by more.
        ClaimInconclusive: too few images or annotators to decide.
    """


@dataclass(frozen=True, slots=True)
class Labelling:
    """Records predictions and labels of a chunk."""

    whole_inputs: ClassVar[bool] = True

    def __call__(self, evaluator: Evaluator, chunk: Chunk) -> Observation:
        logits = evaluator.logits(chunk.x)
        predicted = evaluator.task.predictions(logits)
        exhibits = exhibits_of(
            evaluator,
            chunk,
            predicted != chunk.y,
            predicted=predicted,
            badness=-evaluator.task.margin(logits, chunk.y),
        )
        columns = {"held": predicted == chunk.y, "predicted": predicted, "label": chunk.y}
        return Observation(columns, exhibits)


def _about_disagreements(evidence: Evidence, responses: Responses) -> tuple[Answers, Missing, int]:
    """Return the answers about label or prediction where the two differ, what is missing, and the number of such
    samples.
    """
    of = np.full((2, responses.size), -1)
    wrong = ~evidence.columns["held"].astype(bool)
    differ = evidence.ids[wrong]
    of[:, differ] = evidence.columns["label"][wrong], evidence.columns["predicted"][wrong]
    if len(beyond := np.flatnonzero((of >= len(responses.classes)).any(0))):
        raise DataError(
            f"Expected labels and predictions among the {len(responses.classes)} classes of the answers but item "
            f"{beyond[0]} has label {of[0, beyond[0]]} and prediction {of[1, beyond[0]]}. Collect answers "
            "about all classes."
        )
    label, predicted = of[:, responses.item]
    there = label >= 0
    if responses.chosen:
        about_label = about_prediction = there
        selects_label, selects_prediction = responses.answer == label, responses.answer == predicted
    else:
        about_label, about_prediction = there & (responses.asked == label), there & (responses.asked == predicted)
        selects_label = selects_prediction = responses.answer == 1
    missing, both = responses.counts_unanswered(), there.copy()
    for asked, what, of_each in ((about_label, "label", of[0]), (about_prediction, "prediction", of[1])):
        answered = np.bincount(responses.item[asked], minlength=responses.size)
        both &= answered[responses.item] > 0
        if len(silent := differ[(answered[differ] == 0) & (missing[differ, of_each[differ]] == 0)]):
            name = responses.classes[of_each[silent[0]]]
            raise DataError(
                f"Expected answers about label and prediction of each sample where they differ but of {len(silent)} "
                f"samples nobody was asked about the {what}; the first is item {silent[0]}, {name!r}."
            )
    rows = (about_label | about_prediction) & both
    return (
        Answers(
            item=responses.item[rows],
            annotator=responses.annotator[rows],
            about_label=about_label[rows],
            about_prediction=about_prediction[rows],
            label=(about_label & selects_label)[rows],
            prediction=(about_prediction & selects_prediction)[rows],
        ),
        Missing.of(responses, differ, of[:, differ]),
        len(differ),
    )


def _decided(found: SelectionGap | None, margin: float | None, terms: Terms, *, whole: bool) -> Decision:
    if found is None:
        rule = "label and prediction differ on fewer than two samples: there is nothing to compare"
        return Decision(verdict=Verdict.INCONCLUSIVE, rule=rule, estimate=None, interval=(0.0, 1.0))
    decision = decide_selection_gap(found, margin, terms=terms)
    return decision if whole else replace(decision, estimate=None, rule=f"{decision.rule}; budget: not all samples")


def _details(found: SelectionGap | None, disagreements: int, alpha: float, responses: Responses) -> dict[str, Any]:
    details: dict[str, Any] = {
        "disagreements": disagreements,
        **left_out(responses),
    }
    if found is not None:
        details |= {
            "gap": found.gap.value,
            "gap_interval": list(found.interval(alpha)),
            "error": found.gap.known_error,
            "label_frequency": found.label,
            "prediction_frequency": found.prediction,
            "annotators": found.gap.annotators,
        }
    return details


# Two one-sided tests (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987): label and prediction are
# selected equally often, to within a margin, where the gap is shown to be below the margin in both directions.


Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers about items where prediction and label differ."""

    item: Ints  # (R,) positions of the items among all
    annotator: Ints  # (R,) positions
    # about_label, about_prediction: (R,) bool, the answer could have selected the label, the prediction: both if
    # annotators chose freely, one if a label was asked about.
    about_label: NDArray[np.bool_]
    about_prediction: NDArray[np.bool_]
    label: NDArray[np.bool_]  # label, prediction: (R,) bool, the answer selected it
    prediction: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Missing:
    """How far the gap could move if all questions had answers.

    With a share m of the questions about an item unanswered, a frequency f is (1 - m) f to (1 - m) f + m.
    """

    down: float = 0.0  # down, up: means over the items with answers
    up: float = 0.0
    items: float = 0.0  # share of the items where nobody answered about the label, or about the prediction

    @classmethod
    def of(cls, responses: Responses, items: Ints, classes: Ints) -> Missing:
        """Return it for items (n,) with a label and a prediction, classes (2, n)."""
        selected, shown, missing = (
            table[items, classes] for table in (*responses.counts(), responses.counts_unanswered())
        )
        there = (shown > 0).min(0)
        if not missing.any() or not there.any():
            return cls(items=0.0 if not there.size else 1 - float(there.mean()))
        unsure = (missing / np.maximum(missing + shown, 1))[:, there]
        label, prediction = (selected / np.maximum(shown, 1))[:, there]
        down = unsure[0] * label + unsure[1] * (1 - prediction)
        up = unsure[0] * (1 - label) + unsure[1] * prediction
        return cls(float(down.mean()), float(up.mean()), 1 - float(there.mean()))

    def widened(self, low: float, high: float) -> tuple[float, float]:
        there = 1 - self.items
        return max(-1.0, there * (low - self.down) - self.items), min(1.0, there * (high + self.up) + self.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectionGap:
    """The selection frequency of labels minus that of predictions."""

    gap: Estimate  # the difference, -1..1, with its error
    label: float  # label, prediction: selection frequencies, 0..1, means over items
    prediction: float
    missing: Missing

    def interval(self, alpha: float) -> tuple[float, float]:
        """Return the interval of the gap, wide enough for whatever the missing answers would have been."""
        return self.missing.widened(*self.gap.interval(alpha))


def selection_gap(answers: Answers, missing: Missing) -> SelectionGap:
    """Return the gap; items have equal weights, whatever their numbers of answers."""
    label, label_parts = _frequency(answers.item, answers.about_label, answers.label)
    prediction, prediction_parts = _frequency(answers.item, answers.about_prediction, answers.prediction)
    gap = clustered(label - prediction, label_parts - prediction_parts, answers.item, answers.annotator)
    # If annotators agree on everything, nothing varies; yet one or two items may differ in another sample.
    gap = replace(gap, error=max(gap.error, 2 / gap.items))
    return SelectionGap(gap=gap, label=label, prediction=prediction, missing=missing)


def decide_selection_gap(found: SelectionGap, margin: float | None, *, terms: Terms) -> Decision:
    """Return the verdict on the absolute gap.

    Args:
        margin: the claimed size, in 0..1; None for no claim.
    """
    low, high = found.interval(terms.alpha)
    # The absolute value of an interval; it starts at 0 if the interval has both signs.
    size = (0.0 if low <= 0 <= high else min(abs(low), abs(high)), max(abs(low), abs(high)))
    doubt = ""
    if margin is None:
        doubt = "no margin given"
    elif found.gap.annotators < FEWEST_ANNOTATORS:
        doubt = (
            f"{found.gap.annotators} annotators: at least {FEWEST_ANNOTATORS} are needed to estimate their differences"
        )
    elif found.label + found.prediction <= margin:
        doubt = (
            f"nothing could have failed it: the label is selected by {number(found.label)} and the prediction by "
            f"{number(found.prediction)}, and a gap of {margin:g} is allowed"
        )
    # Clustered variances have no guarantee in finite samples, so no claim about a population passes by them.
    return decide_by_interval(
        abs(found.gap.value),
        size,
        margin,
        at_least=False,
        terms=terms,
        how="two one-sided tests by image and annotator",
        by="Student's t by image and annotator",
        units="images and annotators",
        doubt=doubt,
    )


def _frequency(item: Ints, about: NDArray[np.bool_], selected: NDArray[np.bool_]) -> tuple[float, NDArray[np.float64]]:
    """Return the mean selection frequency over items, and the contribution of each answer to its deviation."""
    _, place = np.unique(item, return_inverse=True)
    n = np.bincount(place[about])
    weight = np.where(about, 1 / (len(n) * n[place]), 0.0)
    frequency = float((weight * selected).sum())
    return frequency, weight * (selected - frequency)
